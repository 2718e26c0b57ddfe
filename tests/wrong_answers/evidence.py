"""Wrong answers to the exercises of the part "evidence"."""

import copy

import numpy as np


def signal(v, scale, eps, layers, power=2, factor=1 - 1 / np.pi, more=0):
    """Return the share behind the last BN, with mistakes to choose from."""
    for _ in range(layers - 1 + more):
        v = scale**power * factor * v / (v + eps)
    return v / (v + eps)


def leaky(a, m, half=False, mean=None, batch=True, power=0.5):
    """Return the growth per layer, with mistakes to choose from."""
    slope = (1 + a**2) / 2
    mean = (1 - a) / np.sqrt(2 * np.pi) if mean is None else mean
    square = (0.5 if half else slope) / (slope - mean**2)
    return (square * ((m - 2) / (m - 3) if batch else 1)) ** power


def fold(layer, s, t, axis=1, bias=True, scaled=False):
    """Fold an affine map into a layer, with mistakes to choose from."""
    folded, old = copy.deepcopy(layer), layer.weight.data
    shape = [1] * old.ndim
    shape[axis] = -1
    folded.weight.data *= s.reshape(shape)
    if axis == 0:
        folded.bias.data[...] = s * layer.bias.data + t
    elif bias:
        by = folded.weight.data if scaled else old
        folded.bias.data += (by * t.reshape(shape)).sum(tuple(range(1, old.ndim)))
    return folded


def spoil(layer, s, t):
    layer.weight.data *= 2
    return layer


def width(rates, accuracy, points=0.02, axis=0, best=False):
    """Return highest over lowest usable rate, with mistakes to choose from."""
    usable = accuracy >= accuracy.max(axis) - points
    low = accuracy.argmax(0) if best else usable.argmax(0)
    return rates[len(rates) - 1 - usable[::-1].argmax(0)] / rates[low]


def ghost(x, group, eps, axes=1, ddof=0, order="rows"):
    """Normalize in groups, with mistakes to choose from."""
    if order == "strided":
        parts = x.reshape(group, -1, x.shape[1])
        return ((parts - parts.mean(0)) / np.sqrt(parts.var(0) + eps)).reshape(x.shape)
    parts = x.reshape(-1, group, x.shape[1])
    mean = parts.mean(axes, keepdims=True)
    var = parts.var(axes, ddof=ddof, keepdims=True)
    return ((parts - mean) / np.sqrt(var + eps)).reshape(x.shape)


def spread(bands):
    return (bands[:, 2] - bands[:, 0]).mean(0)


N = np.array([32, 128, 1024])
M = np.array([4, 16, 64])
LOW = [-1, -1 / 3, -1 / 3, 5 / 3]
HIGH = [0, 0, 0, 5 / 3]

WRONG = {
    "ex-init-ten": [
        ([1, 1, 1], "but its gradient does"),
        ([0.1, 0.1, 10], "ten times as long"),
        ([0.1, 0.01, 10], "the gradient alone"),
        ([10, 1, 1], "a smaller gradient"),
        ([0.1, 0.01, 0.01], "not repeat it"),
        ([0.1, 0.01], "an array of shape (3,)"),
    ],
    "ex-init-signal": [
        (lambda *a: signal(*a, power=1), "the square of s"),
        (lambda *a: signal(*a, factor=1), "are missing"),
        (lambda *a: signal(*a, factor=0.5 - 0.5 / np.pi), "double what ReLU leaves"),
        (lambda *a: signal(*a, more=1), "one BN too many"),
        (
            lambda v, s, eps, n: s**2 * (1 - 1 / np.pi) * signal(v, s, eps, n),
            "in front of the next BN",
        ),
        (lambda v, s, eps, n: 1.0, "another share is left"),
        (0.9, "expected a function"),
        (lambda *a: signal(*a, more=-1 * (a[3] > 1)), "one BN too few"),
    ],
    "ex-depth-leaky": [
        (lambda a, m: leaky(a, m, power=1), "the square of the norm"),
        (lambda a, m: leaky(a, m, batch=False), "finite mini-batch is missing"),
        (lambda a, m: leaky(0, m), "the factor of ReLU"),
        (lambda a, m: leaky(a, m, half=True), "more than half"),
        (lambda a, m: leaky(a, m, mean=(2 * np.pi) ** -0.5), "is smaller than"),
        (lambda a, m: leaky(a, m, power=-0.5), "this shrinks"),
        (lambda a, m: 1.0, "another factor"),
    ],
    "ex-placement-four": [
        ([LOW, HIGH], "swapped"),
        ([HIGH, HIGH], "before they are centred"),
        ([LOW, LOW], "no output is negative"),
        ([HIGH, [-0.577, -0.577, -0.577, 1.732]], "not in both"),
        ([[1, 3, 3, 9], LOW], "BN is missing"),
        (LOW, "an array of shape (2, 4)"),
    ],
    "ex-placement-lag": [
        ([43, 458], "round up"),
        ([2, 1], "the share that is kept"),
        ([10, 100], "more than a third"),
        ([459, 44], "takes longer"),
        ([22, 230], "a tenth is left"),
        ([60, 600], "not the two counts"),
        ([43.71, 458.21], "batches are whole"),
    ],
    "ex-placement-fold": [
        (lambda layer, s, t: copy.deepcopy(layer), "as it was"),
        (lambda *a: fold(*a, bias=False), "t is missing"),
        (lambda layer, s, t: fold(layer, 1 + 0 * s, t), "s is missing"),
        (lambda *a: fold(*a, scaled=True), "the old weights"),
        (lambda *a: fold(*a, axis=0), "in front of BN. Here BN"),
        (spoil, "Fold a copy"),
        (lambda layer, s, t: s, "a layer of the same kind"),
        (lambda layer, s, t: fold(layer, 2 * s, t), "the outputs differ"),
    ],
    "ex-speed-time": [
        ([2.33, 14.76], "the lead in steps"),
        ([2.91, 18.45], "makes the lead smaller"),
        ([1.86, 6.33], "against Inception, too"),
        ([1.86, 5.07], "pay for BN"),
        ([0.54, 0.08], "the other way round"),
        ([1.17, 7.38], "not twice as much"),
        ([1, 1], "not the leads in time"),
        ([11.81, 1.865], "first BN-Baseline"),
    ],
    "ex-speed-count": [
        (10 / N, "forward product alone"),
        (5 / N, "two gradients"),
        (1000 / 3 / N, "not in percent"),
        (10 / (3 * N + 10), "not with the sum"),
        (0.3 * N, "upside down"),
        (10 / 192 / N, "the batch cancels"),
        ([0.1, 0.1, 0.1], "not the three shares"),
    ],
    "ex-speed-width": [
        (lambda r, a: width(r, a, axis=None), "its own best rate"),
        (lambda r, a: width(r, a, points=0.02 * a.max(0)), "not 2 % of"),
        (lambda r, a: width(r, a, best=True), "not at the best"),
        (lambda r, a: 1 / width(r, a), "upside down"),
        (lambda r, a: np.log10(width(r, a)), "its logarithm"),
        (lambda r, a: (a >= a.max(0) - 0.02).sum(0), "counts rates"),
        (
            lambda r, a: np.ptp(np.where(a >= a.max(0) - 0.02, 1, 0), 0),
            "not the widths",
        ),
        (
            lambda r, a: [np.ptp(r[u]) for u in (a >= a.max(0) - 0.02).T],
            "is a ratio",
        ),
        (lambda r, a: width(r, a).max(), "expected the widths to be an array"),
    ],
    "ex-ics-four": [
        ([7, 36, 25, 144], "normalization is missing"),
        ([-1, 2, -1, 2], "the square of γ"),
        ([-1, 4, 25, 144], "its own statistics"),
        ([-1, 4, 5, 16], "not of the first"),
        ([2, 1, 2, 1], "β is the mean"),
        ([0, 1, 0, 1], "γ and β are missing"),
    ],
    "ex-ics-scale": [
        ([1, 1, 1], "its gradient does not"),
        ([2, 1, 1], "a smaller gradient"),
        ([0.25, 1, 1], "belongs to the rate"),
        ([0.5, 0.5, 1], "both lengths are halved"),
        ([0.5, 0.5, 0.5], "a common factor"),
    ],
    "ex-ics-drift": [
        (lambda b: np.ptp(b[:, 1], 0), "absolute drift"),
        (lambda b: abs(b[-1, 1] - b[0, 1]) / spread(b), "go and come back"),
        (lambda b: np.ptp(b[:, 1], 0) / (b[0, 2] - b[0, 0]), "mean over the snapshots"),
        (lambda b: np.ptp(b, (0, 1)) / spread(b), "only the median wanders"),
        (lambda b: b[:, 1].std(0) / spread(b), "minus the lowest median"),
        (lambda b: abs(np.diff(b[:, 1], axis=0)).sum(0) / spread(b), "adds up all"),
        (lambda b: 0 * b[0, 0], "not the relative drift"),
        (lambda b: 2 * np.ptp(b[:, 1], 0) / spread(b), "not half as far"),
    ],
    "ex-reg-equal": [
        (1 / M, "is not p"),
        (M**-0.5, "standard deviations are roots"),
        (1 / (1 + M**0.5), "is a root, too"),
        (1 / (2 * M + 1), "noise of BN's scale"),
        (M / (M + 1), "the chance to stay"),
        (1 / (M - 1), "watch the sign"),
    ],
    "ex-reg-groups": [
        (lambda x, g, eps: ghost(x, len(x), eps), "whole mini-batch at once"),
        (lambda *a: ghost(*a, order="strided"), "that lie apart"),
        (lambda x, g, eps: ghost(x, len(x) // g, eps), "not the number of groups"),
        (lambda *a: ghost(*a, axes=(1, 2)), "its own mean"),
        (lambda *a: ghost(*a, ddof=1), "m − 1"),
        (lambda x, g, eps: ghost(x, g, 0), "ε is missing"),
        (
            lambda x, g, eps: (
                (x - np.repeat(x.reshape(-1, g, x.shape[1]).mean(1), g, 0))
                / np.sqrt(x.var(0) + eps)
            ),
            "variance comes from the group",
        ),
        (lambda x, g, eps: x, "not normalized by their own"),
    ],
}
