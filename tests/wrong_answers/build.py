"""Wrong answers to the exercises of Part 2."""

import numpy as np


def symmetric(x, center=True, ddof=0, back=True):
    """Whiten, with mistakes to choose from."""
    d = x - x.mean(0)
    values, vectors = np.linalg.eigh(d.T @ d / (len(x) - ddof))
    y = (d if center else x) @ (vectors / np.sqrt(values))
    return y @ vectors.T if back else y


def one_pass(blocks):
    whole = np.concatenate(blocks)
    return whole.mean(0), (whole**2).mean(0) - whole.mean(0) ** 2


def spoiling(blocks):
    whole = np.concatenate(blocks)
    blocks[0] -= 1
    return whole.mean(0), whole.var(0)


WRONG = {
    "ex-forward-four": [
        (6 * np.array([-3, -1, -1, 5]) / np.sqrt(12) + 1, "divides by m − 1"),
        ([-1, -1 / 3, -1 / 3, 5 / 3], "γ and β are missing"),
        ([0, 4, 4, 16], "γ does not multiply it"),
        ([-1, 1 / 3, 1 / 3, 13 / 3], "not by its root"),
        ([-5, -1, -1], "expected your answer to be an array of shape (4,)"),
        ([-5, -1, -1, np.nan], "NaN"),
        (abs, "got a function"),
    ],
    "ex-forward-bound": [
        (lambda m: np.sqrt(m), "not attained"),
        (lambda m: (m - 1) / np.sqrt(m), "divides by m − 1"),
        (lambda m: m - 1, "its square"),
        (lambda m: 3.873, "another number"),
        (np.sqrt(15), "expected a function, bound(m), got"),
    ],
    "ex-forward-whiten": [
        (lambda x: (x - x.mean(0)) / x.std(0), "still correlate"),
        (lambda x: symmetric(x, center=False), "mean of the output is not 0"),
        (lambda x: symmetric(x, ddof=1), "divides by m − 1"),
        (lambda x: symmetric(x, back=False), "a rotation"),
        (lambda x: 2 * symmetric(x), "not every variance is 1"),
        (lambda x: symmetric(x).T, "expected the result to be an array of shape"),
        (lambda x: symmetric(x, tiny=1), "raised TypeError"),
    ],
    "ex-forward-blocks": [
        (lambda b: (np.mean(b, (0, 1)), np.var(b, 1).mean(0)), "lie apart"),
        (lambda b: (np.mean(b, (0, 1)), np.concatenate(b).var(0, ddof=1)), "m − 1"),
        (one_pass, "loses its digits"),
        (spoiling, "in place"),
        (lambda b: np.concatenate(b).mean(0), "to return 2 values, mean, var"),
        (lambda b: (b[0].mean(0), np.concatenate(b).var(0)), "the mean is wrong"),
    ],
}
