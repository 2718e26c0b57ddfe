"""Wrong answers to the exercises of Part 5."""

import numpy as np


def angle(weight, grad, lr, tangent=True, sign=-1, unit=1.0):
    """Compute the angle between a row before a step and after it, with mistakes to choose."""
    after = weight + sign * lr * grad
    cosine = (weight * after).sum(1) / lengths(weight) / lengths(after)
    return unit * np.arccos(np.clip(cosine, -1, 1)) if tangent else cosine


def exact(weight, grad, lr):
    direction = weight / lengths(weight)[:, None]
    along = (grad * direction).sum(1)
    across = lengths(grad - along[:, None] * direction)
    return np.arctan2(lr * across, lengths(weight) - lr * along)


def lengths(weight):
    return np.sqrt((weight**2).sum(1))


def change(gradient, w, shares, rate=None, way=1, per=lambda g, eta: 1, of=max):
    """Compute the change of the gradient along a line, with mistakes to choose from."""
    g = gradient(w)
    unit = np.linalg.norm(w) / np.linalg.norm(g) if rate is None else rate(g)
    found = []
    for eta in shares * unit:
        far = np.linalg.norm(gradient(w - way * eta * g) - g)
        found.append(far / per(g, eta))
    return of(found)


def relative(g, eta):
    return np.linalg.norm(g)


WRONG = {
    "ex-cond-three": [
        ([4 / 9, 1], "is the limit"),
        ([2 / 9, 8 / 9], "The flattest one waits"),
        ([0.4, 7 / 9], "approximation for a large κ"),
        ([0.4, 0.2], "not what is left"),
        ([0.4, 9], "that is κ"),
        ([0.4, 0.5], "the factor a step is wrong"),
        ([1, 0.8], "not where the two meet"),
        ([0.8, 0.4], "first the rate"),
        ([0.4, -0.8], "changes sides"),
    ],
    "ex-cond-uniform": [
        (lambda n: 3 * n, "the variance of the inputs counts, too"),
        (lambda n: 1, "of the centred inputs"),
        (lambda n: 4 * n, "the trace"),
        (lambda n: 1 + n / 4, "it is not 1"),
        (lambda n: 1 + 6 * n, "the mean is squared"),
        (lambda n: n**2, "another number"),
    ],
    "ex-cond-negative": [
        (lambda H, w: w, "the curvature is 0"),
        (lambda H, w: 0 * w, "0 is no direction"),
        (lambda H, w: w - H @ w, "is positive"),
        (lambda H, w: w + 1e-6 * (H @ w), "is positive"),
        (lambda H, w: H, "an array of shape"),
    ],
    "ex-scale-five": [
        ([0.8, -0.6, 50], "its gradient does not"),
        ([4, -3, 50], "it does not grow"),
        ([0.032, -0.024, 50], "the law of the second derivatives"),
        ([0.16, -0.12, 25], "the weights get longer"),
        ([0.16, -0.12, 30], "the squares add"),
        ([0.16, -0.12, 50**0.5], "not its square"),
        ([0.16, -0.12, 26], "the rate times the gradient"),
        ([1, 1, 1], "not the three numbers"),
    ],
    "ex-scale-turn": [
        (angle, "lost in rounding"),
        (lambda *a: angle(*a, tangent=False), "the cosine"),
        (lambda *a: angle(*a, unit=180 / np.pi), "in degrees"),
        (lambda *a: angle(*a, sign=1), "against the gradient"),
        (lambda w, g, lr: lr * lengths(g) / lengths(w), "of a short step"),
        (lambda w, g, lr: np.arctan(lr * lengths(g) / lengths(w)), "it need not be"),
        (lambda w, g, lr: 0.5 * lengths(w), "Each row turns by its own"),
        (lambda w, g, lr: 0.5, "an array of shape (3,)"),
        (lambda *a: np.tan(exact(*a)), "the tangent"),
        (lambda *a: np.arctan(np.tan(exact(*a))), "more than 90°"),
        (
            lambda w, g, lr: np.arccos((w * g).sum(1) / lengths(w) / lengths(g)),
            "with the gradient",
        ),
    ],
    "ex-land-three": [
        ([1, 1, 1], "Its derivatives do not"),
        ([1 / 3, 1 / 3, 1], "two factors"),
        ([3, 9, 1], "the wrong way round"),
        ([1 / 3, 1 / 9, 1 / 9], "change, too"),
        ([1 / 3, 1 / 9, 1 / 3], "in the denominator"),
        ([1 / 3, 1 / 9, 1 / 27], "not vice versa"),
        ([2, 2, 2], "not the three factors"),
    ],
    "ex-land-along": [
        (lambda *a: change(*a, rate=lambda g: 1, per=relative), "not the rates"),
        (lambda *a: change(*a, way=-1, per=relative), "against the gradient"),
        (
            lambda *a: change(*a, rate=lambda g: 1 / np.linalg.norm(g), per=relative),
            "relative to the length of w",
        ),
        (change, "Divide by ‖g‖"),
        (
            lambda *a: change(*a, per=lambda g, eta: eta * np.linalg.norm(g)),
            "the effective β",
        ),
        (lambda *a: change(*a, per=relative, of=np.mean), "not the mean"),
        (lambda *a: change(*a, per=relative, of=lambda f: f[-1]), "the last change"),
        (lambda *a: 2 * change(*a, per=relative), "is wrong"),
    ],
}
