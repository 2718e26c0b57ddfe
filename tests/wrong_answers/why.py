"""Wrong answers to the exercises of Part 1."""

import numpy as np

from bnlib import Linear
from bnlib.lab.probes import rms


def entropy(labels, log=np.log, keep=lambda n: n[n > 0]):
    p = keep(np.bincount(labels)) / len(labels)
    return -(p * log(p)).sum()


def spread(y):
    return np.sqrt(y.var(0).mean())


def measure(net, x, size=spread, follow=True, bias="new", last=False):
    """Divide weights by what they measure, with mistakes to choose from."""
    for layer in net if last else net[:-1]:
        y = layer(x)
        if isinstance(layer, Linear):
            divisor = np.asarray(size(y)).reshape(-1, 1)
            before = y - layer.bias.data
            layer.weight.data /= divisor
            if bias:
                mean = before.mean(0)
                layer.bias.data[...] = -mean / (divisor[:, 0] if bias == "new" else 1)
            y = layer(x) if follow else y
        x = y


def last_bias(net, x):
    measure(net, x)
    net[-1].bias.data[...] -= net(x).mean(0)


WRONG = {
    "ex-sick-width": [
        ([0.01, 0.1732], "not its root"),
        ([0.0707, 0.1225], "halves the variance"),
        ([0.1, 0.1], "than its half-width"),
        ([0.1, 0.0577], "multiply by 3"),
        ([0.1, 0.3464], "the whole width"),
        ([0.1, 0.0707], "PyTorch's default"),
        ([1, 1], "not the two numbers"),
        ([0.1732, 0.1], "first the standard deviation"),
        (["a", "b"], "not all of it is a number"),
    ],
    "ex-sick-guess": [
        (lambda labels: np.log(len(np.unique(labels))), "not equally frequent"),
        (lambda labels: np.log(labels.max() + 1), "not equally frequent"),
        (lambda labels: entropy(labels, log=np.log2), "in bits"),
        (lambda labels: entropy(labels, keep=lambda n: n), "makes the loss NaN"),
        (
            lambda labels: (
                -np.log(np.unique(labels, return_counts=True)[1] / len(labels)).mean()
            ),
            "counts each class once",
        ),
        (
            lambda labels: -np.log(np.bincount(labels).max() / len(labels)),
            "frequent class",
        ),
        (lambda labels: np.exp(entropy(labels)), "the loss is wrong"),
        (lambda labels: -entropy(labels), "not negative"),
        (lambda labels: print(end=""), "as a function without `return` gives it"),
    ],
    "ex-sick-measure": [
        (lambda net, x: None, "have not changed"),
        (lambda net, x: measure(net, x, size=rms), "not 1"),
        (lambda net, x: measure(net, x, follow=False), "the corrected layers"),
        (lambda net, x: measure(net, x, size=lambda y: y.std(0)), "one number a layer"),
        (lambda net, x: measure(net, x, bias="old"), "follows the new weights"),
        (lambda net, x: measure(net, x, bias=None), "mean 0"),
        (lambda net, x: measure(net, x, last=True), "the output layer"),
        (
            lambda net, x: measure(
                net, x, size=lambda y: spread(y) * (len(x) / (len(x) - 1)) ** 0.5
            ),
            "the samples less one",
        ),
        (
            lambda net, x: measure(net, x, size=np.std),
            "root of the mean variance of its units",
        ),
        (last_bias, "the output layer"),
    ],
}
