"""Wrong answers to the exercises of Part 4."""

import copy

import numpy as np

from bnlib import BatchNorm1d
from bnlib import functional as F
from bnlib.moments import merge_moments, moments


def rms(weight, bias, row=lambda W: W.mean(0), number=np.mean):
    """Centre a linear layer, with mistakes to choose from."""
    return weight - row(weight), bias - number(bias)


def by_samples(x, groups):
    """Give all tokens of a sample one mean for each group."""
    return F.group_norm(np.ascontiguousarray(x.swapaxes(1, 2)), groups).swapaxes(1, 2)


def by_tokens(x, groups, every=False):
    """Normalize each token's groups, of neighbours or of every n-th feature."""
    rows = x.reshape(-1, x.shape[-1])
    if every:
        rows = rows.reshape(len(rows), -1, groups).swapaxes(1, 2).reshape(len(rows), -1)
    y = F.group_norm(np.ascontiguousarray(rows), groups)
    if every:
        y = y.reshape(len(y), groups, -1).swapaxes(1, 2)
    return y.reshape(x.shape)


def falling(batches, weight=lambda t: max(10 / (t + 9), 0.01), first=1):
    running = np.zeros(batches.shape[1])
    for t, batch in enumerate(batches, start=first):
        running = running + weight(t) * (batch - running)
    return running


def merged(net, x, size, mode="own", clone=copy.deepcopy, merge=merge_moments, ddof=0):
    """Merge the moments of what reaches each normalization, with mistakes to choose from."""
    net = clone(net)
    if mode == "stored":
        net.eval()
    totals = []
    step = len(x) if mode == "whole" else size
    for i in range(0, len(x), step):
        h, k = x[i : i + step], 0
        for layer in net:
            if isinstance(layer, BatchNorm1d):
                mean, var = moments(h, 0)
                if i == 0:
                    totals.append((len(h), mean[0], var[0]))
                else:
                    totals[k] = merge(*totals[k], len(h), mean[0], var[0])
                k += 1
            h = layer(h)
    return [(n, mean, var * n / (n - ddof)) for n, mean, var in totals]


def only_within(n, mean, var, m, other_mean, other_var):
    """Merge means rightly, and average variances."""
    count, both, _ = merge_moments(n, mean, var, m, other_mean, other_var)
    return count, both, (n * var + m * other_var) / (n + m)


def as_often(n, mean, var, m, other_mean, other_var):
    """Let each batch count as often as the others."""
    k = -(-n // 4)
    return n + m, (k * mean + other_mean) / (k + 1), var


def one_pass(x, shift=0.0, ddof=0):
    d = x - shift
    m = x.shape[1]
    return ((d * d).mean(1) - d.mean(1) ** 2) * np.float32(m / (m - ddof))


def kahan(rows, sign=1, last=True, dtype=None):
    """Add up rows, with mistakes to choose from."""
    total, lost = np.zeros_like(rows[0], dtype), np.zeros_like(rows[0], dtype)
    for row in rows if last else rows[:-1]:
        t = row - sign * lost
        new = total + t
        lost = (new - total) - t
        total = new
    return total


FOUR = np.array([1, 3, 3, 9.0])
KAPPA = 1.7e9 / (86_400 / np.sqrt(12))

WRONG = {
    "ex-small-two": [
        ([-1, 1, -1, 1], "γ and β are missing"),
        ([-0.414, 2.414, -0.414, 2.414], "divides by m − 1"),
        ([0, 4, 0, 4], "β comes last"),
        ([3, -1, 3, -1], "comes first"),
        ([-2, 2, -2, 2], "β is missing"),
        ([-3, 5, -3, 5], "half of 4"),
        ([-1, 3, -1, 6997], "grows as well"),
        ([-1, 3, -3500, 3500], "grows as well"),
        ([0, 0, 0, 0], "the first two numbers"),
        ([-1, 3], "an array of shape (4,)"),
        ([0, 2, 0, 2], "γ is missing"),
    ],
    "ex-small-eps": [
        (lambda eps: 1 / np.sqrt(eps), "twice that to the mean"),
        (lambda eps: 1 / (4 * eps), "without the root"),
        (lambda eps: 1 / (2 * eps), "ε stands under a root"),
        (lambda eps: 1 / (4 * np.sqrt(eps)), "the root of 4"),
        (lambda eps: 2 * np.sqrt(eps), "upside down"),
        (lambda eps: 158.0, "is another one"),
        (158.1, "expected a function, slope(eps)"),
    ],
    "ex-small-image": [
        (lambda n, p, r: 1 / (r + (1 - r) / p), "that is one image"),
        (lambda n, p, r: n * p, "share its level"),
        (lambda n, p, r: n, "averages out"),
        (lambda n, p, r: n / (1 - r + r / p), "not that within"),
        (lambda n, p, r: n / (r + 1 / p), "the share 1 − ρ"),
        (lambda n, p, r: n / (r + (1 - r) / np.sqrt(p)), "not its root"),
        (lambda n, p, r: n / np.sqrt(r + (1 - r) / p), "not standard deviations"),
        (lambda n, p, r: n / max(r, 1e-9), "for ever more pixels"),
        (lambda n, p, r: 7.0, "more, or less"),
    ],
    "ex-ln-four": [
        (10 * (FOUR - 4) / 3, "that is layer normalization"),
        (FOUR / 5, "γ is missing"),
        (FOUR, "not their sum"),
        (10 * FOUR / 25, "root of the mean square"),
        (10 * FOUR / 3, "squares about 0"),
        (10 * FOUR / 4, "not of their squares"),
        (10 * (FOUR - 4) / 5, "no mean is subtracted"),
        ([1, 1, 1, 1], "not the four outputs"),
    ],
    "ex-ln-places": [
        ([128, 25_088], "first `LayerNorm`"),
        ([12_544, 64], "beside its weight"),
        ([25_088, 2], "the weights do not"),
        ([128, 128], "the shape that it is given"),
        ([25_088, 25_088], "for each channel"),
        ([392, 128], "for each channel, too"),
        ([1, 1], "not the two numbers"),
    ],
    "ex-ln-fold": [
        (lambda W, b: (W, b), "nothing has changed"),
        (lambda W, b: rms(W, b, number=lambda b: 0), "the bias has a mean"),
        (lambda W, b: rms(W, b, row=lambda W: 0), "a mean row as well"),
        (
            lambda W, b: rms(W, b, row=lambda W: W.mean(1, keepdims=True)),
            "not one per row",
        ),
        (
            lambda W, b: (W - W.mean(1, keepdims=True), b),
            "not over the inputs",
        ),
        (lambda W, b: rms(W, b, row=np.mean), "one number does not do"),
        (lambda W, b: (2 * W, b), "RMSNorm after this layer"),
        (lambda W, b: W - W.mean(0), "to return 2 values"),
    ],
    "ex-ln-two": [
        ([8, 9], "is fixed in both"),
        ([8, 8], "RMSNorm lacks"),
        ([7, 7], "does not fix the mean"),
        ([8, 7], "in the other order"),
        ([9, 9], "forgets something"),
        ([7, 9], "a length as well"),
        ([0, 1], "not the two dimensions"),
    ],
    "ex-ln-causal": [
        (by_samples, "it looks ahead"),
        (lambda x, groups: by_tokens(x, 1), "where are the groups"),
        (lambda x, groups: by_tokens(x, groups, every=True), "neighbouring"),
        (lambda x, groups: x, "nothing is normalized"),
        (lambda x, groups: 2 * x, "not the groups"),
        (lambda x, groups: F.group_norm(x, groups), "raised ValueError"),
        (lambda x, groups: by_tokens(x, x.shape[-1] // groups), "is their number"),
    ],
    "ex-rnn-steps": [
        ([0.6, 0.216], "the recurrent side"),
        ([0.5714, 0.1866], "variances add up"),
        ([4 / 3, 64 / 27], "the whole state"),
        ([0.64, 0.2621], "is a length"),
        ([0.8, 0.64], "that is two steps"),
        ([0.8, 2.4], "multiplies"),
        ([0.04, 0.000064], "own scale"),
        ([0.7071, 0.3536], "not equal here"),
        ([1, 1], "not the factor"),
    ],
    "ex-rnn-sum": [
        (lambda g: np.sqrt(0.5), "two BNs of equal scale"),
        (lambda g: 1 / np.sqrt(1 + g**2), "multiplies by γ, too"),
        (lambda g: g, "nearly"),
        (lambda g: g**2 / (1 + g**2), "ratio of variances"),
        (lambda g: g / np.sqrt(2), "the variance γ², not 1"),
        (lambda g: g / (1 + g), "not scales"),
        (lambda g: g / (1 + g**2), "root of the variance"),
        (lambda g: 0.0995, "another factor"),
    ],
    "ex-rnn-ratio": [
        (lambda n: np.sqrt(2 ** (2 / n) - 1), "upside down"),
        (lambda n: 1 / np.sqrt(2 ** (1 / n) - 1), "have to be squared"),
        (lambda n: 0.5 ** (1 / n), "not the ratio"),
        (lambda n: 1 / (2 ** (2 / n) - 1), "square of the ratio"),
        (lambda n: 0.5 ** (1 / n) / (1 - 0.5 ** (1 / n)), "variances add up"),
        (lambda n: 1.0, "0.00098 of the gradient is left after 20 steps"),
        (3.73, "expected a function"),
        (lambda n: -1 / np.sqrt(2 ** (2 / n) - 1), "is positive"),
        (lambda n: 3.73, "0.49952 of the gradient"),
    ],
    "ex-gap-four": [
        ([4, 9.33], "starts at 1, not at 0"),
        ([8 / 3, 9], "no start to take away"),
        ([6, 13], "There were two"),
        ([12, 27], "what the batches weigh"),
        ([3, 6.75], "less than 1 together"),
        ([3, 7], "with the start"),
        ([9, 4], "first the mean"),
        ([0, 0], "not the averages"),
    ],
    "ex-gap-warm": [
        (lambda b: falling(b, lambda t: 0.1), "0.1 throughout"),
        (lambda b: falling(b, lambda t: min(10 / (t + 9), 0.01)), "not the largest"),
        (lambda b: falling(b, lambda t: 10 / (t + 9)), "falls below 0.01"),
        (lambda b: falling(b, first=0), "not 0"),
        (lambda b: falling(b, first=2), "not 2"),
        (lambda b: b.mean(0), "weigh the same"),
        (
            lambda b: falling(b, lambda t: 1 - max(10 / (t + 9), 0.01)),
            "α weighs the new batch",
        ),
        (lambda b: b[-1], "is another one"),
        (lambda b: falling(b)[0], "an array of shape (3,)"),
    ],
    "ex-gap-theirs": [
        (lambda *a: merged(*a, mode="whole"), "with all rows"),
        (lambda *a: merged(*a, mode="stored"), "its stored statistics"),
        (lambda *a: merged(*a, clone=lambda net: net), "changes the network"),
        (lambda *a: merged(*a, merge=only_within), "means lie apart"),
        (lambda *a: merged(*a, ddof=1), "the biased variance"),
        (lambda *a: merged(*a)[:1], "one entry for each"),
        (lambda *a: [e[1:] for e in merged(*a)], "a count, a mean and a variance"),
        (lambda *a: [(1, *e[1:]) for e in merged(*a)], "not that of all rows"),
        (lambda *a: [(e[0], 2 * e[1], e[2]) for e in merged(*a)], "the mean in layer"),
        (lambda *a: [(*e[:2], 2 * e[2]) for e in merged(*a)], "the variance in layer"),
    ],
    "ex-numerics-digits": [
        (16, "in standard deviations"),
        (32, "multiply κ by it"),
        (128, "the limit of the data"),
        (256, "counted in σ"),
        (2048, "keeps 8 bits"),
        (4096, "with σ = 1"),
        (1, "κ²u is not 1"),
    ],
    "ex-numerics-shift": [
        (one_pass, "to x as it is"),
        (lambda x: one_pass(x, x[0, 0]), "a c of its own"),
        (lambda x: one_pass(x, x[:, :1], ddof=1), "divides by m − 1"),
        (lambda x: np.sqrt(one_pass(x, x[:, :1])), "the standard deviation"),
        (lambda x: ((x - x[:, :1]) ** 2).mean(1), "its square is missing"),
        (lambda x: 0 * x[:, 0], "off by more than 1e-4"),
        (lambda x: one_pass(x).mean(), "an array of shape (4,)"),
        (lambda x: x.astype(float).var(1), "stay in float32"),
    ],
    "ex-numerics-kahan": [
        (lambda rows: rows.sum(0), "the running sum"),
        (lambda rows: kahan(rows, sign=-1), "the wrong sign"),
        (lambda rows: rows.mean(0), "not a mean"),
        (lambda rows: kahan(rows, last=False), "larger than that"),
        (lambda rows: kahan(rows, dtype=float), "stay in float32"),
        (lambda rows: rows.sum(0, dtype=float), "stay in float32"),
        (lambda rows: 0 * rows[0], "larger than that"),
    ],
    "ex-numerics-budget": [
        (1.7e9 / 86_400, "not the whole day"),
        (2 * 1.7e9 / 86_400, "less than half its length"),
        (12 * 1.7e9 / 86_400, "the root of 12"),
        (KAPPA**2, "that is κ²"),
        (1.7e9 / np.sqrt(86_400), "a part of its length"),
        (1, "is another one"),
    ],
}
