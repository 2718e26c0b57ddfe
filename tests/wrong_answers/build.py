"""Wrong answers to the exercises of Part 2."""

import numpy as np

from bnlib import BatchNorm1d
from bnlib.moments import merge_moments, moments


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


def gradient(dy, x, weight, eps, ddof=0, mean=True, var=True):
    """Send a gradient through batch normalization, with mistakes to choose from."""
    invstd = 1 / np.sqrt(x.var(0, ddof=ddof) + eps)
    x_hat = (x - x.mean(0)) * invstd
    d = dy * weight
    return invstd * (d - mean * d.mean(0) - var * x_hat * (d * x_hat).mean(0))


def reversed_gradient(dy, x, weight, eps):
    """Add the path through the variance instead of taking it out."""
    plain = gradient(dy, x, weight, eps, var=False)
    return 2 * plain - gradient(dy, x, weight, eps)


def rms(dy, x, eps, axis=0, center=False, through=True):
    """Send a gradient through x · s, with mistakes to choose from."""
    s = 1 / np.sqrt((x**2).mean(axis, keepdims=True) + eps)
    mean = (dy * x * s).mean(axis, keepdims=True)
    return s * (dy - center * dy.mean(axis, keepdims=True) - through * x * s * mean)


def channels(x, weight, bias, eps, axes=None, ddof=0):
    """Normalize with channels last, with mistakes to choose from."""
    axes = tuple(range(x.ndim - 1)) if axes is None else axes
    var = x.var(axes, ddof=ddof, keepdims=True)
    return weight * (x - x.mean(axes, keepdims=True)) / np.sqrt(var + eps) + bias


def undo(mean, var, t, momentum, start=1.0):
    q = (1 - momentum) ** t
    return mean / (1 - q), (var - start * q) / (1 - q)


def least_error(d, sigma):
    """Find the momentum with the least error, by trying."""
    a = np.geomspace(1e-5, 0.9, 1_000_000)
    return a[((d * (1 - a) / a) ** 2 + sigma**2 * a / (2 - a)).argmin()]


def average(bn, batches):
    """Average means and variances of batches that differ in size."""
    bn.running_mean[...] = np.mean([b.mean((0, 2)) for b in batches], axis=0)
    bn.running_var[...] = np.mean([b.var((0, 2), ddof=1) for b in batches], axis=0)


def merged(bn, batches, n_of=lambda n: (n, n)):
    total = 0, np.zeros(bn.num_features), np.zeros(bn.num_features)
    for b in batches:
        mean, var = moments(b, (0, 2))
        total = merge_moments(*total, b.size // b.shape[1], mean.ravel(), var.ravel())
    up, down = n_of(total[0])
    bn.running_mean[...], bn.running_var[...] = total[1], total[2] * up / down


def within(bn, batches):
    average(bn, batches)
    bn.running_mean[...] = np.concatenate(batches).mean((0, 2))


def reshaped(bn, batches):
    merged(bn, batches, lambda n: (n, n - 1))
    bn.running_mean = bn.running_mean.reshape(1, -1, 1)


def with_momentum(bn, batches):
    bn.train()
    bn.momentum = None
    for b in batches:
        bn(b)


def all_layers(net):
    net.eval()


def top_layers(net):
    for layer in net:
        if isinstance(layer, BatchNorm1d):
            layer.eval()


def no_momentum(net):
    for module in net.modules():
        if isinstance(module, BatchNorm1d):
            module.momentum = 0.0


def no_gradients(net):
    for module in net.modules():
        if isinstance(module, BatchNorm1d):
            module.eval()
            module.weight.data[...] = 0
            module.bias.data[...] = -1  # below ReLU's corner, and times 0 behind it


def soft(logits, q, shift=True, n=None, target=None, loss=np.mean, sign=1):
    """Compute a cross-entropy with soft targets, with mistakes to choose from."""
    z = logits - logits.max(1, keepdims=True) if shift else logits
    e = np.exp(z)
    p = e / e.sum(1, keepdims=True)
    losses = np.log(e.sum(1)) - (q * z).sum(1)
    dlogits = sign * (p - (q if target is None else target(q)))
    return loss(losses), dlogits / (len(q) if n is None else n)


def late_logarithm(logits, q):
    """Take the logarithm of each probability: that of a zero is infinite."""
    _, gradient = soft(logits, q)
    z = logits - logits.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return -(q * np.log(p)).sum(1).mean(), gradient


def by_class(logits, q):
    z = logits - logits.max(1, keepdims=True)
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(len(q)), q.argmax(1)]
    return loss.mean(), soft(logits, q)[1]


def grouped(net, decay=0.1, rest=True, matrices=lambda p: p.data.ndim == 2):
    """Make groups of parameters, with mistakes to choose from."""
    both = [], []
    for p in net.parameters():
        both[not matrices(p)].append(p)
    groups = [{"params": both[0], "weight_decay": decay}, {"params": both[1]}]
    return groups if rest else groups[:1]


def agree(a, b, tolerance, finite=True, shape=True, dtype=True, empty=True):
    """Compare two arrays, with mistakes to choose from."""
    if (shape and a.shape != b.shape) or (dtype and a.dtype != b.dtype):
        return False
    if a.size == 0:
        return not empty
    if finite and not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(np.abs(a - b).max() < tolerance)


def one_hot(q):
    return q == q.max(1, keepdims=True)


FOUR = np.array([1, 3, 3, 9.0])

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
        (lambda x: symmetric(x - x.mean(), center=False), "the mean of each feature"),
    ],
    "ex-forward-blocks": [
        (lambda b: (np.mean(b, (0, 1)), np.var(b, 1).mean(0)), "lie apart"),
        (lambda b: (np.mean(b, (0, 1)), np.concatenate(b).var(0, ddof=1)), "m − 1"),
        (one_pass, "loses its digits"),
        (spoiling, "in place"),
        (lambda b: np.concatenate(b).mean(0), "to return 2 values, mean, var"),
        (lambda b: (b[0].mean(0), np.concatenate(b).var(0)), "the mean is wrong"),
        (
            lambda b: (
                np.mean(b, (0, 1)),
                np.var(b, 1).mean(0) + np.var(np.mean(b, 1), 0, ddof=1),
            ),
            "not by one less",
        ),
        (lambda b: np.array([1.0, 2.0]), "to return 2 values"),
    ],
    "ex-backward-four": [
        ([0, 0, 0, 8], "takes the mean and the variance for constants"),
        ([-2, -2, -2, 6], "through the variance is missing"),
        (np.array([4, -8 / 3, -8 / 3, 4 / 3]) / 18, "γ is missing"),
        ([4, -8 / 3, -8 / 3, 4 / 3], "the division by σ is missing"),
        ([1, 1, 1, 1], "does not sum to 0"),
        ([0, 1, 1, -2], "not at right angles"),
        ([0, 1, -1, 0], "points another way"),
        ([2, -4 / 3, -4 / 3, 2 / 3], "not the right length"),
        (4, "an array of shape (4,), got 4"),
        (np.array([-12, 8, 8, -4]) / 9, "the sign is wrong"),
        (gradient(np.array([0, 0, 0, 4.0]), FOUR, 6, 0, ddof=1), "divides by m − 1"),
        ([0, 0, 0, 0], "points another way"),
    ],
    "ex-backward-possible": [
        (1, "does not sum to 0"),
        (2, "it is x̂ itself"),
        (4, "not at right angles"),
        (7, "from 1 to 4"),
    ],
    "ex-backward-means": [
        (lambda *a: gradient(*a, mean=False, var=False), "for constants"),
        (lambda dy, x, w, eps: gradient(dy, x, 1, eps), "lacks the factor γ"),
        (lambda *a: gradient(*a) * np.sqrt(a[1].var(0) + a[3]), "lacks the factor 1/σ"),
        (lambda *a: gradient(*a, ddof=1), "m − 1"),
        (lambda dy, x, w, eps: gradient(dy, x, w, 1e-5), "ε is an argument"),
        (lambda *a: gradient(*a, mean=False), "does not sum to 0 over the batch"),
        (lambda *a: gradient(*a, var=False), "not at right angles"),
        (reversed_gradient, "not at right angles"),
        (lambda *a: 1.1 * gradient(*a), "off by 10%"),
        (lambda dy, x: dy, "raised TypeError"),
        (lambda *a: gradient(*a).mean(0), "expected dx to be an array of shape (8, 3)"),
        (lambda *a: -gradient(*a), "the sign is wrong"),
        (lambda dy, x, w, eps: gradient(dy, x, w, 0), "ε is missing"),
        (
            lambda dy, x, w, eps: gradient(dy.T, x.T, w[:, None], eps).T,
            "does not sum to 0",
        ),
    ],
    "ex-backward-rms": [
        (lambda *a: rms(*a, through=False), "takes s for a constant"),
        (lambda *a: rms(*a, center=True), "no mean was subtracted"),
        (
            lambda dy, x, eps: rms(dy, x, eps) * np.sqrt((x**2).mean(0) + eps),
            "factor s",
        ),
        (lambda dy, x, eps: gradient(dy, x, 1, eps), "of batch normalization"),
        (lambda *a: rms(*a, axis=1), "over the features"),
        (lambda dy, x, eps: dy, "not the gradient"),
        (lambda *a: 2 * rms(*a, through=False) - rms(*a), "not added"),
        (lambda *a: -rms(*a), "the sign is wrong"),
    ],
    "ex-convolution-count": [
        ([16, 8, 32], "over space too"),
        ([16, 196, 32], "over the batch too"),
        ([16, 25_088, 32], "not run over the channels"),
        ([16, 1568, 64], "kept, and not learned"),
        ([8, 1568, 32], "one for each channel"),
        ([16, 1568, 16], "γ and β"),
    ],
    "ex-convolution-last": [
        (lambda *a: channels(*a, axes=(0,)), "one for each place"),
        (
            lambda x, *a: channels(x, *a, axes=(0, *range(2, x.ndim))),
            "axis 1 is treated as the channels",
        ),
        (lambda *a: channels(*a, ddof=1), "m − 1"),
        (lambda x, w, b, eps: channels(x, w, b, 1e-5), "ε is an argument"),
        (lambda x, w, b, eps: channels(x, 1, 0, eps), "γ and β are missing"),
        (lambda x, *a: channels(x, *a, axes=(1, 2)), "not the batch normalization"),
        (lambda x, w, b, eps: channels(x, w, b, 0), "ε is missing"),
        (lambda x, w, b, eps: channels(x, 1, b, eps), "γ is missing"),
        (lambda x, w, b, eps: channels(x, w, 0, eps), "β is missing"),
        (lambda *a: channels(*a, axes=(-1,)), "layer normalization"),
        (
            lambda x, w, b, eps: (
                w
                * channels(x, 1, 0, eps)
                / np.sqrt(x.var(tuple(range(x.ndim - 1))) + eps)
                + b
            ),
            "not by its root",
        ),
        (
            lambda x, w, b, eps: (
                w
                * (x - x.mean(tuple(range(x.ndim - 1))))
                / (x.std(tuple(range(x.ndim - 1))) + eps)
                + b
            ),
            "under the root",
        ),
    ],
    "ex-running-four": [
        ([0.4, 1.8], "the biased variance went in"),
        ([3.6, 10.9], "the convention of Keras"),
        ([0.4, 1.2], "starts at 1"),
        ([4, 12], "They weigh 0.1"),
        ([2.1, 0.4], "first the mean"),
        (0.4, "an array of shape (2,)"),
    ],
    "ex-running-debias": [
        (lambda m, v, t, a: (m, v), "the mean still carries the start"),
        (lambda m, v, t, a: (m / (1 - a) ** t, v), "the batches the rest"),
        (lambda m, v, t, a: (m / (1 - a**t), v), "not αᵗ"),
        (lambda *a: undo(*a, start=0), "starts at 1, not at 0"),
        (lambda m, v, t, a: (undo(m, v, t, a)[0], v), "the variance still carries"),
        (lambda m, v, t, a: (-m, v), "without the start"),
        (
            lambda m, v, t, a: (undo(m, v, t, a)[0], v - (1 - a) ** t),
            "what the batches weigh",
        ),
        (
            lambda m, v, t, a: (undo(m, v, t, a)[0], 0 * v),
            "the variance without the start",
        ),
    ],
    "ex-running-momentum": [
        (lambda d, s: (2 * d / s) ** (1 / 3), "with its square"),
        (lambda d, s: (2 * d**2 / s) ** (1 / 3), "with its variance"),
        (lambda d, s: (d / s) ** (2 / 3), "α/2, not α"),
        (lambda d, s: 0.5, "smaller error"),
        (least_error, "the exact minimum"),
    ],
    "ex-running-recompute": [
        (average, "small batches count as much"),
        (lambda bn, b: merged(bn, b), "the biased one"),
        (within, "means lie apart"),
        (with_momentum, "still NaN"),
        (lambda bn, b: None, "still NaN"),
        (lambda bn: None, "raised TypeError"),
        (
            lambda bn, b: merged(
                bn, b, lambda n: (n // b[0].shape[2], n // b[0].shape[2] - 1)
            ),
            "lie in space, too",
        ),
        (reshaped, "the running mean to be an array of shape (3,)"),
    ],
    "ex-running-freeze": [
        (lambda net: None, "still move"),
        (all_layers, "the whole network is in evaluation"),
        (top_layers, "inside another module"),
        (no_momentum, "still normalize with their batch"),
        (no_gradients, "no gradient of γ"),
    ],
    "ex-network-logits": [
        ([0.5, 0.25, 0.25], "that is the softmax"),
        ([-0.5, 0.75, -0.25], "the sign is wrong"),
        ([-0.5, 0.25, 0.25], "count from 0"),
        ([0, -1, 0], "alone"),
        ([1, 1, 1], "not the gradient"),
    ],
    "ex-network-smoothing": [
        (lambda *a: soft(*a, loss=np.sum), "mean over the batch"),
        (by_class, "the likeliest class alone"),
        (lambda *a: soft(*a, n=1), "factor 1/N"),
        (lambda *a: soft(*a, sign=-1), "the sign of the gradient"),
        (lambda *a: soft(*a, target=one_hot), "one-hot target"),
        (lambda *a: soft(*a, shift=False), "largest logit"),
        (lambda *a: soft(*a)[0], "to return 2 values"),
        (lambda z, q: (soft(z, q)[0], 0 * z), "the gradient is wrong"),
        (lambda z, q: (0.0, 0 * z), "the loss is wrong"),
        (lambda *a: (-soft(*a)[0], soft(*a)[1]), "the sign of the loss"),
        (lambda *a: (soft(*a)[0] / a[0].shape[1], soft(*a)[1]), "not a mean"),
        (late_logarithm, "the logarithm of the sum alone"),
    ],
    "ex-network-groups": [
        (lambda net: grouped(net, matrices=lambda p: True), "a vector, and it decays"),
        (lambda net: grouped(net, decay=0), "does not decay"),
        (lambda net: grouped(net, decay=0.01), "is not 0.1"),
        (lambda net: grouped(net, rest=False), "in no group"),
        (lambda net: grouped(net)[0], "a list of groups"),
        (lambda net: [{"parameters": 1}], "dicts with `params`"),
        (lambda net: [{"params": [1]}], "expected each Parameter once"),
    ],
    "ex-network-dropout": [
        (lambda mean, var, p: var / (1 - p), "the mean adds"),
        (lambda mean, var, p: var, "in evaluation"),
        (lambda mean, var, p: (mean**2 + var) / (1 - p), "the mean square"),
        (lambda mean, var, p: (1 - p) * var + p * (1 - p) * mean**2, "scaled up"),
        (lambda mean, var, p: 7.0, "another number"),
    ],
    "ex-verification-port": [
        ([0.99, 32 / 31], "weighs the new batch"),
        ([0.5, 32 / 31], "the momentum is wrong"),
        ([0.01, 1], "stores the biased variance"),
        ([0.01, 31 / 32], "upside down"),
        ([0.01, 8 / 7], "counts the pixels too"),
        ([0.01, 2], "is wrong"),
        ([32 / 31, 0.01], "first the momentum"),
    ],
    "ex-verification-agree": [
        (lambda a, b, t: agree(a, b, t, finite=False), "gave a RuntimeWarning"),
        (lambda a, b, t: agree(a, b, t, shape=False), "shapes that broadcast"),
        (lambda a, b, t: agree(a, b, t, dtype=False), "another dtype"),
        (lambda a, b, t: agree(a, b, t, empty=False), "empty arrays"),
        (lambda a, b, t: np.array_equal(a, b), "below the tolerance"),
        (lambda a, b, t: abs(a.mean() - b.mean()) < t * 1e7, "goes unseen"),
        (
            lambda a, b, t: not np.abs(np.subtract(a, b)).max() > t,
            "NaN agrees with NaN",
        ),
        (lambda a, b, t: 1, "return True or False"),
        (lambda a, b, t: None, "True or False, got None"),
        (lambda a, b, t: agree(a, b, 1e-9), "it is not used"),
    ],
}
