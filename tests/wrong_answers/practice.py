"""Wrong answers to the exercises of Part 6."""

import copy

import numpy as np

from bnlib import BatchNorm1d
from bnlib import functional as F
from bnlib.moments import merge_moments


def moved(state, step, ends="running_var"):
    return {k: v + step if k.endswith(ends) else v for k, v in state.items()}


def unfold(weight, bias, mean, var, gamma, beta, eps, slope=None, axis=0, back=None):
    """Take a fold back, with mistakes to choose from."""
    a = gamma / np.sqrt(var + eps) if slope is None else slope(gamma, var, eps)
    W = weight / (a if axis else a[:, None])
    return W, (bias - beta) / a + mean if back is None else back(bias, a, mean, beta)


def two(weight, bias, first, second, order=1):
    """Fold twice, in one order or the other."""
    for mean, var, gamma, beta in (first, second)[::order]:
        a = gamma / np.sqrt(var + 1e-5)
        weight, bias = weight * a[:, None], (bias - mean) * a + beta
    return weight, bias


def one_of_two(weight, bias, first, second):
    return two(weight, bias, first, (0, 1 - 1e-5, np.ones(len(bias)), 0))


def half_two(weight, bias, first, second):
    """Fold both slopes, and let the bias pass the first of them alone."""
    W, _ = two(weight, bias, first, second)
    _, b = one_of_two(weight, bias, first, second)
    mean, var, gamma, beta = second
    return W, b - mean * gamma / np.sqrt(var + 1e-5) + beta


def prune(
    W, b, V, c, relu=True, sign=1, constants=True, kept=lambda W, b: W.any(axis=1)
):
    """Remove constant channels, with mistakes to choose from."""
    keep = kept(W, b)
    values = np.maximum(b[~keep], 0) if relu else b[~keep]
    return W[keep], b[keep], V[:, keep], c + constants * sign * V[:, ~keep] @ values


def levels(norm=True, axis=None, square=False):
    """Count the levels of each row."""
    W = np.random.default_rng(0).standard_normal((4, 256))
    var = np.array([1.0, 1e2, 1e4, 1e6])
    W = W / (var if square else np.sqrt(var))[:, None] if norm else W
    step = np.abs(W).max(axis, keepdims=True) / 127
    return [len(np.unique(row)) for row in np.round(W / step)]


def share(width, peak, bandwidth, longer=max, weights=True, operations=2, of=None):
    """Estimate BN's share of the time, with mistakes to choose from."""
    values = 64 * width
    moved = 4 * (2 * values + weights * width**2)
    layer = longer(operations * values * width / peak, moved / bandwidth)
    norm = longer(7 * values / peak, 8 * values / bandwidth)
    return norm / (norm + layer) if of is None else of(norm, layer)


def into(batches, mean, var, y, keep=lambda y: y.max(), **settings):
    kept = []
    for batch in batches:
        F.batch_norm(batch, mean, var, out=y, **settings)
        kept.append(keep(y))
    return kept


def overwritten(batches, mean, var, y):
    return [out.max() for out in into(batches, mean, var, y, keep=lambda y: y)]


def fresh(batches, mean, var, y):
    return [F.batch_norm(batch, mean, var).max() for batch in batches]


def copied_after(batches, mean, var, y):
    kept = []
    for batch in batches:
        y[...] = 0
        kept.append((F.batch_norm(batch, mean, var), y[...].fill(0))[0])
        y[...] = kept[-1]
    return [a.max() for a in kept]


def in_training(batches, mean, var, y):
    return into(batches, None, None, y, training=True)


def moving(batches, mean, var, y):
    return into(batches, mean, var, y, training=True)


def merged(groups, weights=lambda m: m, between=True, ddof=0):
    """Merge moments, with mistakes to choose from."""
    groups = [g for g in groups if g[0]]
    w = np.array([weights(g[0]) for g in groups], float)[:, None]
    means, variances = (np.array([g[i] for g in groups]) for i in (1, 2))
    mean, m = (w * means).sum(0) / w.sum(), sum(g[0] for g in groups)
    squares = variances + between * (means - mean) ** 2
    return m, mean, (w * squares).sum(0) / (w.sum() - ddof)


def by_zero(groups):
    m = sum(g[0] for g in groups)
    mean = sum(g[0] * g[1] for g in groups) / m
    return m, mean, sum(g[0] * (g[2] + (g[1] - mean) ** 2) for g in groups) / m


def right_mean(groups):
    """Merge the means rightly and average the variances."""
    return *merged(groups)[:2], np.mean([g[2] for g in groups if g[0]], axis=0)


def first_two(groups):
    return merge_moments(*groups[0], *groups[1]) if groups[1:] else groups[0]


def absorb(w, b, old, new, eps, ratio=None, shift=None):
    """Take new statistics into γ and β, with mistakes to choose from."""
    s, t = np.sqrt(old[1] + eps), np.sqrt(new[1] + eps)
    d = old[0] - new[0]
    right = w * s / t, b + w * d / t
    return (
        right[0] if ratio is None else ratio(w, s, t),
        right[1] if shift is None else shift(w, b, d, s, t),
    )


def mates(net, x, other=None, same=np.allclose, clone=copy.deepcopy):
    """Try whether outputs depend on the other half of the batch, with mistakes to choose from."""
    half = len(x) // 2
    one, two = clone(net)(x)[:half], clone(net)(x[:half] if other is None else other(x))
    return not same(one, two[:half])


def shuffled(net, x):
    order = np.arange(len(x))[::-1]
    return not np.allclose(copy.deepcopy(net)(x[order]), copy.deepcopy(net)(x)[order])


def looked_at(net, x):
    """Look at the layers in place of the outputs."""
    return any(
        isinstance(m, BatchNorm1d) and (m.training or m.running_mean is None)
        for m in (net.modules() if hasattr(net, "modules") else ())
    )


def alone(net, x):
    return not np.allclose(copy.deepcopy(net)(x[:1]), copy.deepcopy(net)(x)[:1])


WRONG = {
    "ex-frameworks-count": [
        ([5660, 5760], "first Keras"),
        ([5760, 5760], "a parameter in PyTorch"),
        ([5660, 5660], "Keras counts all weights"),
        ([5660, 5560], "two numbers per channel"),
        ([5760, 5560], "learned in PyTorch too"),
        ([5700, 5600], "biases of the dense layers"),
        ([5564, 5562], "for each channel"),
        ([5760, 0], "not the two counts"),
        (5760, "an array of shape (2,), got 5760"),
    ],
    "ex-frameworks-eps": [
        (lambda state, old, new: state, "nothing has changed"),
        (lambda s, old, new: moved(s, new - old), "the wrong sign"),
        (lambda s, old, new: moved(s, old), "adds its own ε"),
        (lambda s, old, new: moved(s, old - new, "1.running_var"), "second normal"),
        (lambda s, old, new: moved(s, old - new, "weight"), "does not compute"),
        (lambda s, old, new: [*s.values()], "to return a dict"),
        (lambda s, old, new: s | {"eps": new}, "to return a dict"),
        (lambda s, old, new: dict.fromkeys(s, 0.0), "of no use"),
    ],
    "ex-frameworks-pool": [
        (1354, "kept, and not learned"),
        (1226, "γ and β are learned"),
        (1280, "the dense layer has biases"),
        (1258, "the convolution has biases"),
        (1248, "the convolution and the dense layer"),
        (1_231_050, "with `Flatten`"),
        (330, "the dense layer alone"),
        (1000, "not the number of learned"),
    ],
    "ex-frameworks-lag": [
        ([44, 459], "first Keras"),
        ([459, 2], "PyTorch's 0.1"),
        ([2, 44], "Keras' 0.99"),
        ([458, 43], "a step earlier"),
        ([458.21, 43.71], "round up"),
        ([100, 10], "a third is still left"),
        ([99, 10], "by a factor"),
        ([1, 1], "not the two numbers"),
    ],
    "ex-frameworks-forget": [
        ([1.00099, 1.0989, 10], "divides by a root"),
        ([0.9995, 0.954, 0.316], "upside down: with"),
        ([0.999, 0.91, 0.1], "without the root"),
        ([10, 10, 10], "a variance of 0 only"),
        ([1, 1, 1], "larger than the variance"),
        ([3.162, 1.048, 1.0005], "first the variance 1"),
        ([1, 2, 3], "not the three factors"),
    ],
    "ex-folding-four": [
        ([1, -4], "the old bias goes through the slope"),
        ([1, 3], "the mean goes through the slope"),
        ([1, -7], "the old bias is lost"),
        ([1, 15], "subtracted, not added"),
        ([1, -2], "β is missing"),
        ([1, 0], "β comes last"),
        ([1 / 3, 1 / 3], "by the variance, not by its root"),
        ([1 / 6, 2 / 3], "γ is missing"),
        ([0.5, -1], "the weight is still the old one"),
        ([-1, 1], "first the weight"),
        ([7, 7], "do not give what the two layers give"),
    ],
    "ex-folding-undo": [
        (
            lambda *a: unfold(*a, slope=lambda g, v, e: np.sqrt(v + e) / g),
            "once more",
        ),
        (lambda *a: unfold(*a, slope=lambda g, v, e: np.sqrt(v + e)), "holds γ too"),
        (
            lambda *a: unfold(*a, slope=lambda g, v, e: 1 / np.sqrt(v + e)),
            "holds γ too",
        ),
        (
            lambda *a: unfold(*a, slope=lambda g, v, e: g / np.sqrt(v + 1e-5)),
            "argument of its own",
        ),
        (lambda *a: unfold(*a, slope=lambda g, v, e: g / (v + e)), "by a root"),
        (lambda *a: unfold(*a, axis=1), "raised ValueError"),
        (
            lambda *a: unfold(*a, axis=int(len(a[1]) == a[0].shape[1])),
            "so to a row",
        ),
        (lambda *a: unfold(*a, back=lambda b, a, m, q: b / a - q + m), "added last"),
        (lambda *a: unfold(*a, back=lambda b, a, m, q: (b - q) / a), "put back"),
        (lambda *a: unfold(*a, back=lambda b, a, m, q: (b - q) / a - m), "wrong sign"),
        (
            lambda *a: unfold(*a, back=lambda b, a, m, q: (b - q + m) / a),
            "after the division",
        ),
        (
            lambda *a: unfold(*a, back=lambda b, a, m, q: b - q + a * m),
            "through the slope",
        ),
        (lambda *a: unfold(*a, back=lambda b, a, m, q: b / a + m), "still in it"),
        (lambda *a: unfold(*a, back=lambda b, a, m, q: b), "bias is not the one"),
        (lambda *a: (0 * a[0], a[1]), "weight is not the one"),
        (lambda *a: unfold(*a)[0], "to return 2 values"),
    ],
    "ex-folding-twice": [
        (lambda *a: two(*a, order=-1), "in the other order"),
        (one_of_two, "only the first"),
        (lambda W, b, first, second: one_of_two(W, b, second, first), "only the sec"),
        (lambda W, b, *pair: (W, two(W, b, *pair)[1]), "is the old one"),
        (half_two, "through the second slope"),
        (lambda W, b, *pair: (two(W, b, *pair)[0], b), "the bias is wrong"),
        (lambda W, b, *pair: (2 * W, b), "the weight is wrong"),
    ],
    "ex-folding-prune": [
        (lambda *a: prune(*a, constants=False), "are lost"),
        (lambda *a: prune(*a, relu=False), "does not pass the ReLU"),
        (lambda *a: prune(*a, sign=-1), "the wrong sign"),
        (lambda *a: a, "a channel is left"),
        (lambda *a: prune(*a, kept=lambda W, b: W.all(1)), "a channel is gone"),
        (
            lambda *a: prune(*a, kept=lambda W, b: W.any(1) & (b > 0)),
            "a channel is gone",
        ),
        (lambda W, b, V, c: (W[:3, :2], b[:3], V, c), "expected weight to be an array"),
        (lambda W, b, V, c: (*prune(W, b, V, c)[:3], 2 * c + 1), "has changed"),
        (lambda W, b, V, c: prune(W, b, V, c)[:2], "to return 4 values"),
    ],
    "ex-folding-levels": [
        ([levels(axis=1), levels()], "first one step for all"),
        ([levels(), levels()], "a step of its own"),
        ([levels(axis=1), levels(axis=1)], "all rows have one step"),
        ([levels(False), levels(False, 1)], "before folding"),
        ([levels(square=True), levels(axis=1)], "root of the variance"),
        (np.ones((2, 4)), "not the numbers of levels"),
        ([levels(), levels(axis=1), levels()], "an array of shape (2, 4)"),
        (np.add([levels(), levels(axis=1)], 1), "not the numbers of levels"),
    ],
    "ex-cost-pays": [
        (1600, "fewer steps, not more"),
        (400, "is not made up by"),
        (600, "compare the times"),
        (375, "how many may be left"),
        (1000, "takes longer"),
        (3, "do not take equally long"),
    ],
    "ex-cost-width": [
        (lambda *a: share(*a, of=lambda n, la: n / la), "Its share is of both"),
        (lambda *a: share(*a, longer=lambda w, b: w), "bytes take time too"),
        (lambda *a: share(*a, longer=lambda w, b: b), "operations take time too"),
        (lambda *a: share(*a, longer=lambda w, b: w + b), "the larger of the two"),
        (lambda *a: share(*a, longer=min), "the slower of the two"),
        (lambda *a: share(*a, weights=False), "the weights have to be read"),
        (lambda *a: share(*a, operations=1), "a multiplication and an addition"),
        (lambda *a: 100 * share(*a), "not in percent"),
        (lambda *a: 0.5, "the share is another one"),
        (lambda width: 0.5, "raised TypeError"),
    ],
    "ex-cost-twice": [
        ([0.2, 0.05], "nearly"),
        ([0.2, 0.0513], "less distance left"),
        ([0.19, 0.05], "less distance left"),
        ([0.81, 0.9487], "what stays of the old value"),
        ([0.01, 0.3162], "multiplied twice"),
        ([0.0513, 0.19], "in the other order"),
        ([0.1, 0.1], "one update with the first is not two"),
    ],
    "ex-cost-half": [
        ([9, 4.125, 4], "the next layer's input"),
        ([5, 2.125, 4], "can be recomputed"),
        ([5, 3, 0], "share a byte"),
        ([5, 2.125, 1], "the sign of a leaky"),
        ([8, 2.125, 0], "one byte per value"),
        ([4, 2, 0], "the masks are missing"),
        ([9, 2.125, 0], "one array, not two"),
        ([1, 1, 1], "not the bytes"),
    ],
    "ex-kernel-floor": [
        ([2, 3, 1], "A copy makes two"),
        ([1, 1.5, 2], "come from memory"),
        ([2, 3, 2], "where is a row"),
        ([1, 2, 1], "three passes"),
        ([1, 1, 1], "reads two arrays"),
        ([1.5, 1.5, 1], "and no more"),
        ([8, 12, 1], "not in bytes"),
        ([0, 0, 0], "not the two floors"),
    ],
    "ex-kernel-out": [
        (overwritten, "belong to the last batch"),
        (fresh, "where did they go"),
        (copied_after, "takes fresh memory"),
        (in_training, "as in training"),
        (moving, "have moved"),
        (lambda b, m, v, y: [a.max() for a in b], "the largest input"),
        (lambda *a: into(*a)[-1], "one number for each batch"),
        (lambda *a: into(*a, keep=np.sum), "are not the largest"),
    ],
    "ex-machines-order": [
        (lambda g: merged(g, weights=lambda m: 1), "count as much as the large"),
        (lambda g: merged(g, between=False), "means lie apart"),
        (right_mean, "means lie apart"),
        (lambda g: merged(g, ddof=1), "divides by m − 1"),
        (by_zero, "NaN times 0"),
        (first_two, "not that of all samples"),
        (lambda g: merged(g)[1:], "a count, a mean and a variance"),
        (lambda g: (*merged(g)[:2], 0 * g[0][1]), "the variance is wrong"),
        (lambda g: (*merged(g)[:2], 1.0), "expected the variance to be an array"),
    ],
    "ex-machines-ghost": [
        ([4, 0.25, 10], "Its root"),
        ([4, 0.5, 25], "that each worker needs"),
        ([4, 0.5, 10.24], "workers are whole"),
        ([4, 0.5, 11], "fewer samples than it needs"),
        ([4, 0.5, 51], "the root of m"),
        ([64, 0.125, 10], "How many samples has each"),
        ([256, 0.0625, 10], "its own part only"),
        ([1, 1, 1], "not the samples per worker"),
    ],
    "ex-machines-apart": [
        (0.5, "the sign is wrong"),
        (-1, "Take the root"),
        (1, "with the wrong sign"),
        (-0.25, "the root twice"),
        (0, "another power"),
    ],
    "ex-tune-frozen": [
        ([0, 0, 1, 0], "no gradient moves"),
        ([1, 1, 1, 0], "in evaluation mode"),
        ([1, 0, 0, 0], "the second call"),
        ([1, 0, 1, 1], "since TensorFlow 2"),
        ([1, 0, 2, 0], "each 1 (it moves)"),
        ([1, 0, 1], "an array of shape (4,)"),
    ],
    "ex-tune-absorb": [
        (lambda *a: absorb(*a, ratio=lambda w, s, t: w * t / s), "upside down"),
        (lambda *a: absorb(*a, ratio=lambda w, s, t: w * (s / t) ** 2), "their roots"),
        (lambda *a: absorb(*a, ratio=lambda w, s, t: w), "the other σ"),
        (lambda *a: absorb(*a, ratio=lambda w, s, t: s / t), "γ is missing in γ'"),
        (lambda *a: absorb(*a[:4], 0.0), "under the root as well"),
        (lambda *a: absorb(*a[:4], 1e-5), "an argument of its own"),
        (
            lambda *a: absorb(*a, shift=lambda w, b, d, s, t: b - w * d / t),
            "are swapped",
        ),
        (lambda *a: absorb(*a, shift=lambda w, b, d, s, t: b + d / t), "missing in β'"),
        (
            lambda *a: absorb(*a, shift=lambda w, b, d, s, t: b + w * d / s),
            "by the old σ",
        ),
        (
            lambda *a: absorb(*a, shift=lambda w, b, d, s, t: b + w * d),
            "not divide by σ'",
        ),
        (lambda *a: absorb(*a, shift=lambda w, b, d, s, t: b), "the other mean"),
        (lambda w, b, *rest: (w + 1, b), "the slope of the two lines"),
    ],
    "ex-tune-momentum": [
        ([459, 44], "first for momentum 0.1"),
        ([43, 458], "a step earlier"),
        ([43.71, 458.21], "round up"),
        ([2, 1], "keep 1 − α"),
        ([10, 100], "that is 1/α"),
        ([5, 51], "the epochs"),
        ([7, 7], "not the two numbers"),
    ],
    "ex-field-untracked": [
        (shuffled, "is in training mode: its outputs depend"),
        (alone, "raised ValueError"),
        (lambda net, x: mates(net, x, clone=lambda net: net), "statistics of the net"),
        (lambda net, x: getattr(net, "training", False), "in evaluation, too"),
        (lambda net, x: True, "uses its running statistics"),
        (lambda net, x: mates(net, x, same=np.array_equal), "in the last digits"),
        (lambda net, x: "yes", "True or False"),
        (looked_at, "a plain function that subtracts"),
    ],
    "ex-field-fill": [
        ([5.6, 4], "it counts as well"),
        ([10.4, 0.4], "weight of the new batch"),
        ([11, 0], "weigh 0.1"),
        ([5.6, 7.2], "about its own mean"),
        ([5.6, 3.7], "is not 1"),
        ([3.6, 5.6], "first the mean"),
        ([0, 0], "not the two buffers"),
    ],
}
