"""Mistakes planted in bnlib's own source: a short comparison catches each."""

import importlib

import numpy as np
import pytest
import torch
from helpers import assert_close, edited, to_torch


def check_batch_norm(F):
    """Compare training and evaluation with PyTorch, once."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 3))
    x *= 0.1  # so small that the place of eps shows
    weight, bias, mean, var = rng.uniform(0.5, 2, (4, 3))
    stats = to_torch(mean), to_torch(var)
    for training in (True, False):
        tx, tw, tb = (to_torch(a, grad=True) for a in (x, weight, bias))
        ty = torch.nn.functional.batch_norm(tx, *stats, tw, tb, training, 0.3, 1e-2)
        ty.backward(to_torch(dy))
        y, cache = F.batch_norm_forward(x, mean, var, weight, bias, training, 0.3, 1e-2)
        gradients = F.batch_norm_backward(dy, cache)
        pairs = [(y, ty), *zip(gradients, (tx.grad, tw.grad, tb.grad), strict=True)]
        for ours, theirs in [*pairs, (mean, stats[0]), (var, stats[1])]:
            assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def check_moments(module):
    """Compare mean and variance far from zero with integers, which are exact."""
    x = 1e15 + np.array([0.0, 1, 1, 3, 3, 3, 5])
    mean, var = module.moments(x, 0)
    assert_close(mean - 1e15, np.array([16 / 7]), atol=0.2)
    assert_close(var, np.array([122 / 49]), rtol=1e-12)
    x = (1e6 + np.arange(4)).astype(np.float32)
    assert_close(
        module.center(x, np.array(1e6 + 1.3)),
        x - np.float32(1e6) - np.float32(1.3),
        1e-6,
    )
    merged = module.merge_moments(2, 1.0, 2.0, 6, 5.0, 4.0)
    np.testing.assert_allclose(merged, (8, 4.0, 6.5), rtol=1e-12)


def check_sample_norm(module):
    """Compare layer and group normalization with PyTorch, once."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 4))
    weight, bias = rng.uniform(0.5, 2, (2, 4))
    for name, setting in (("layer", (4,)), ("group", 2)):
        tx, tw, tb = (to_torch(a, grad=True) for a in (x, weight, bias))
        getattr(torch.nn.functional, f"{name}_norm")(tx, setting, tw, tb).backward(
            to_torch(dy)
        )
        _, cache = getattr(module, f"{name}_norm_forward")(x, setting, weight, bias)
        gradients = getattr(module, f"{name}_norm_backward")(dy, cache)
        for ours, theirs in zip(gradients, (tx.grad, tw.grad, tb.grad), strict=True):
            assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def check_layer(module):
    """Compare the state of three steps with PyTorch, plain and cumulative."""
    rng = np.random.default_rng(0)
    for momentum in (0.3, None):
        ours = module.BatchNorm1d(3, momentum=momentum, dtype=np.float64)
        theirs = torch.nn.BatchNorm1d(3, momentum=momentum, dtype=torch.float64)
        for _ in range(3):
            x, dy = rng.standard_normal((2, 5, 3))
            theirs(to_torch(x)).backward(to_torch(dy))
            ours(x)
            ours.backward(dy)
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value, rtol=1e-12)
        for p, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, twin.grad, rtol=1e-9, atol=1e-12)


def vectors(*numbers):
    """Return float64 vectors of one number."""
    return [np.array([float(number)]) for number in numbers]


def check_coefficients(module):
    """Compare with the definitions, on a few numbers."""
    d = np.array([1.0, 2, 3, 8])
    for far, right in ((0, True), (1.9, True), (-1.9, True), (2.1, False)):
        e = d - d.mean() + far * d.std()
        low, var, good = module.shifted_moments(np.array([[sum(e)], [e @ e]]), 4)
        assert_close(low, vectors(e.mean())[0], atol=1e-12)
        assert_close(var, vectors(d.var())[0], rtol=1e-12)
        assert good is right
    for wrong in (np.nan, np.inf):
        assert not module.shifted_moments(np.array([[0.0, 0], [1, wrong]]), 1)[2]
    found = module.line(*vectors(3, 3.75, 6, 7), 0.25)
    assert found == (0.5, 3, -2)
    assert module.line(*vectors(3, 3), None, None, 1) == (0.5, 0.5, -1.5)

    dy, x_hat = np.array([2.0, 1, -4, 3]), (d - 3.5) / 2
    sums = np.array([[sum(dy)], [dy @ d]])
    for weight in (None, np.array([5.0])):
        dweight, a, b, c = module.plane(sums.copy(), *vectors(3.5, 0.5), weight, 4)
        scale = 0.5 if weight is None else 0.5 * weight
        dx = scale * (dy - dy.mean() - x_hat * (dy * x_hat).mean())
        assert_close(dweight, vectors(dy @ x_hat)[0], rtol=1e-12)
        assert_close(a * (b * d + c + dy), dx, rtol=1e-12)


CHECKS = {
    "textbook": check_batch_norm,
    "moments": check_moments,
    "sample_norm": check_sample_norm,
    "norm": check_layer,
    "coefficients": check_coefficients,
}
MUTATIONS = {
    "no mean term": ("textbook", ("dy - per_channel(dbias / m, dy) -", "dy -")),
    "no projection": ("textbook", ("- x_hat * per_channel(dweight / m, dy)", "")),
    "statistics detached": (
        "textbook",
        ("dx = dy\n    if training:", "dx = dy\n    if False:"),
    ),
    "no bias correction": ("textbook", ("(m / (m - 1)) * ", "")),
    "output with the unbiased variance": (
        "textbook",
        (
            "    invstd = (1",
            "    var = var * 5 / 4 if training else var\n    invstd = (1",
        ),
    ),
    "momentum turned round": (
        "textbook",
        ("*= 1 - momentum", "*= momentum"),
        ("+= momentum *", "+= (1 - momentum) *"),
    ),
    "no weight in dx": (
        "textbook",
        ("invstd if weight is None else invstd * per_channel(weight, dy)", "invstd"),
    ),
    "eps outside the root": (
        "textbook",
        ("1 / np.sqrt(var + eps)", "1 / (np.sqrt(var) + eps)"),
    ),
    "no eps": ("textbook", ("np.sqrt(var + eps)", "np.sqrt(var)")),
    "batch statistics in evaluation": (
        "textbook",
        ("    if training:\n        axes", "    if True:\n        axes"),
    ),
    "running variance from the mean": (
        "textbook",
        ("(m / (m - 1)) * var", "(m / (m - 1)) * mean"),
    ),
    "output without the weight": (
        "textbook",
        ("y = y * per_channel(weight, x)", "pass"),
    ),
    "bias subtracted": ("textbook", ("y = y + per_channel", "y = y - per_channel")),
    "sums of dy in place of dy times x_hat": (
        "textbook",
        ("(dy * x_hat).sum", "dy.sum"),
    ),
    "pivot wanted where there is need of none": ("coefficients", ("<= 0", ">= 0")),
    "pivot wanted too late": ("coefficients", ("4 * var", "9 * var")),
    "sums that are not finite are good": (
        "coefficients",
        ("< math.inf", "<= math.inf"),
    ),
    "mean not subtracted from the squares": ("coefficients", ("var -= square", "pass")),
    "low lost in the shift": (
        "coefficients",
        ("shift = low * scale", "shift = 0 * scale"),
    ),
    "bias lost": ("coefficients", ("0 if bias is None else bias", "0")),
    "weight lost in the scale": (
        "coefficients",
        ("scale = invstd if weight is None else weight * invstd", "scale = invstd"),
    ),
    "no eps in the scale": ("coefficients", ("var + eps", "var + 0")),
    "sign of b": ("coefficients", ("b /= -m", "b /= m")),
    "sign of d": ("coefficients", ("along_one / -m", "along_one / m")),
    "low lost in d": ("coefficients", ("d -= b * low", "pass")),
    "low lost in dweight": ("coefficients", ("along - low * along_one", "along")),
    "weight lost in a": (
        "coefficients",
        ("a = invstd if weight is None else weight * invstd", "a = invstd"),
    ),
    "no correction of the variance": ("moments", (" - correction**2", "")),
    "low part of the mean lost": ("moments", ("(x - high) - low", "x - high")),
    "merging forgets the shift": ("moments", (" + a * b * shift**2", "")),
    "merging swaps the weights": (
        "moments",
        ("mean_a + b * shift", "mean_a + a * shift"),
    ),
    "no mean term in the others": (
        "sample_norm",
        ("dx_hat - along_one.astype(x_hat.dtype)", "dx_hat"),
    ),
    "no projection in the others": (
        "sample_norm",
        ("- x_hat * along_x_hat.astype(x_hat.dtype)", ""),
    ),
    "no weight in layer norm": (
        "sample_norm",
        ("dy if weight is None else dy * weight", "dy"),
    ),
    "a batch is not counted": ("norm", ("self.num_batches_tracked += 1", "pass")),
    "cumulative average off by one": (
        "norm",
        ("int(self.num_batches_tracked) + 1", "int(self.num_batches_tracked) + 2"),
    ),
    "gradients do not gather": (
        "norm",
        ("parameter.grad += gradient", "parameter.grad = gradient"),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_check_passes_for_the_source_as_it_is(name):
    CHECKS[name](importlib.import_module(f"bnlib.{name}"))
    CHECKS[name](edited(name))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_planted_mistake_is_caught(mutation):
    name, *edits = MUTATIONS[mutation]
    module = edited(name, *edits)
    with pytest.raises(AssertionError):
        CHECKS[name](module)
