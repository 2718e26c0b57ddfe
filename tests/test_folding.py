"""A folded layer computes what the layer and its normalization compute, and harms nothing.

Networks are walked in `test_walking.py`.
"""

import numpy as np
import pytest
import torch
from helpers import assert_close, state_of, to_torch
from hypothesis import given
from hypothesis import strategies as st

from bnlib import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from bnlib.folding import fold, fold_bn, fold_bn_weights

DTYPES = (np.float32, np.float64)
# float32: the folded weights and the two ways to compute are rounded differently.
CLOSE = {
    np.float32: {"rtol": 1e-4, "atol": 1e-4},
    np.float64: {"rtol": 1e-11, "atol": 1e-11},
}


def lived_in(bn, rng):
    """Give a batch normalization constants that are far from those of a new one."""
    for p in (bn.weight, bn.bias):
        if p is not None:
            p.data[...] = rng.normal(0.5, 1, p.data.shape)
    bn.running_mean[...] = rng.normal(2, 1, bn.num_features)
    bn.running_var[...] = rng.uniform(0.1, 4, bn.num_features)
    return bn.eval()


def pair(kind, rng, dtype=np.float64, biased=True, **settings):
    """Return a layer, a batch normalization that follows it, and an input."""
    if kind == "linear":
        layer = Linear(5, 4, bias=biased, dtype=dtype, rng=rng)
        bn, x = BatchNorm1d(4, dtype=dtype, **settings), rng.standard_normal((6, 5))
    else:
        layer = Conv2d(2, 4, 3, 2, 1, bias=biased, dtype=dtype, rng=rng)
        bn, x = (
            BatchNorm2d(4, dtype=dtype, **settings),
            rng.standard_normal((3, 2, 7, 6)),
        )
    return layer, lived_in(bn, rng), x.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"affine": False}, {"bias": False}, {"eps": 0.1}]
)
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_folded_layer_does_what_the_two_did(kind, settings, bias, dtype):
    layer, bn, x = pair(kind, np.random.default_rng(0), dtype, bias, **settings)
    before = state_of(layer), state_of(bn)
    folded = fold_bn(layer, bn)
    assert type(folded) is type(layer)
    assert_close(folded(x), bn(layer(x)), **CLOSE[dtype])
    assert (state_of(layer), state_of(bn)) == before
    assert not folded.training
    assert not np.shares_memory(folded.weight.data, layer.weight.data)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_whatever_the_constants(seed, scale):
    rng = np.random.default_rng(seed)
    layer, bn, x = pair("linear", rng)
    bn.running_mean *= scale
    bn.running_var *= scale**2
    bn.weight.data *= scale
    expected = bn(layer(x))
    size = np.abs(expected).max() + scale * np.abs(bn.weight.data).max()
    assert_close(fold_bn(layer, bn)(x), expected, atol=1e-10 * size)


@pytest.mark.parametrize("bias", [True, False])
def test_pytorch_folds_to_the_same_numbers(bias):
    rng = np.random.default_rng(1)
    layer, bn, _ = pair("conv", rng, biased=bias)
    arrays = [layer.weight.data, layer.bias.data if bias else None]
    mean, var, weight, shift = (
        to_torch(a) for a in (bn.running_mean, bn.running_var, *bn.affine_data())
    )
    theirs = torch.nn.utils.fusion.fuse_conv_bn_weights(
        *map(to_torch, arrays), mean, var, bn.eps, weight, shift
    )
    ours = fold_bn(layer, bn)
    for mine, other in zip((ours.weight, ours.bias), theirs, strict=True):
        assert_close(mine.data, other, rtol=1e-12, atol=1e-13)


def test_a_network_is_folded_whole():
    rng = np.random.default_rng(2)
    block = Sequential(
        Conv2d(3, 4, 3, dtype=float, rng=rng), BatchNorm2d(4, dtype=float), ReLU()
    )
    net = Sequential(
        block,
        MaxPool2d(2),
        Flatten(),
        Linear(36, 8, bias=False, dtype=float, rng=rng),
        BatchNorm1d(8, dtype=float),
        ReLU(),
        Dropout(0.5, rng=rng),
        Linear(8, 3, dtype=float, rng=rng),
    )
    for module in net.modules():
        if isinstance(module, (BatchNorm1d, BatchNorm2d)):
            lived_in(module, rng)
    x, before = rng.standard_normal((5, 3, 8, 8)), state_of(net.eval())
    folded = fold(net)
    kinds = [type(module).__name__ for module in folded.modules()]
    assert not any("BatchNorm" in kind for kind in kinds)
    assert len(folded) == len(net) - 1
    assert not any(module.training for module in folded.modules())
    assert_close(folded(x), net(x), rtol=1e-11, atol=1e-11)
    for parameter in folded.parameters():
        parameter.data += 1
    assert state_of(net) == before


def pairs(**settings):
    """Return a layer and a batch normalization that fit, in evaluation mode."""
    return Linear(4, 3), BatchNorm1d(3, **settings).eval()


@pytest.mark.parametrize(
    ("layer", "bn", "error", "message"),
    [
        (Linear(4, 3), BatchNorm1d(3), ValueError, "in evaluation mode; call eval"),
        (*pairs(track_running_stats=False), ValueError, "track_running_stats=False"),
        (
            Linear(4, 3),
            BatchNorm1d(4).eval(),
            ValueError,
            "of 3 channels, got 4",
        ),
        (Linear(4, 3), BatchNorm2d(3).eval(), TypeError, "got Linear and BatchNorm2d"),
        (
            Conv2d(4, 3, 1),
            BatchNorm1d(3).eval(),
            TypeError,
            "got Conv2d and BatchNorm1d",
        ),
        (
            Conv2d(4, 3, 1),
            BatchNorm3d(3).eval(),
            TypeError,
            "got Conv2d and BatchNorm3d",
        ),
        (ReLU(), BatchNorm1d(3).eval(), TypeError, "got ReLU and BatchNorm1d"),
        (Linear(4, 3), ReLU(), TypeError, "got Linear and ReLU"),
    ],
)
def test_a_pair_that_cannot_be_folded_is_refused_and_left_alone(
    layer, bn, error, message
):
    before = state_of(layer), state_of(bn)
    with pytest.raises(error, match=message):
        fold_bn(layer, bn)
    assert (state_of(layer), state_of(bn)) == before


W, V = np.ones((3, 4)), np.ones(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((V, None, V, V), ValueError, r"weight \(out, in, ...\), got \(3,\)"),
        ((W.astype(int), None, V, V), TypeError, "weight of a floating dtype"),
        ((W, None, None, V), TypeError, "running_mean to be a NumPy array"),
        ((W, None, V, None), TypeError, "running_var to be a NumPy array"),
        ((W, V[:2], V, V), ValueError, r"bias of shape \(3,\), got \(2,\)"),
        (
            (W, V, V, V, V.astype("f")),
            TypeError,
            "weight is float64, bn_weight float32",
        ),
        ((W, V, V, V, V, V, 0), ValueError, "eps > 0"),
    ],
)
def test_bad_arrays_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fold_bn_weights(*arguments)
