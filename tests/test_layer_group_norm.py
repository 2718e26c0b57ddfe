"""Layer, group and instance normalization against PyTorch."""

import numpy as np
import pytest
import torch
from helpers import (
    LAYOUTS,
    TOLERANCE,
    assert_close,
    fingerprint,
    laid_out,
    shapes,
    state_of,
    to_torch,
)
from hypothesis import given
from hypothesis import strategies as st

import bnlib
from bnlib import functional as F

seeds = st.integers(0, 2**32 - 1)
floats = st.sampled_from([np.float32, np.float64])
layouts = st.sampled_from(LAYOUTS)
epsilons = st.sampled_from([1e-5, 1e-3, 0.5])
wide_shapes = shapes().map(lambda shape: (*shape[:-1], shape[-1] + 2))


def problem(seed, shape, parameter_shape, dtype):
    """Return random x, dy, weight and bias."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3) + rng.uniform(0.5, 2) * rng.standard_normal(shape)
    arrays = x, rng.standard_normal(shape), *rng.standard_normal((2, *parameter_shape))
    return [a.astype(dtype) for a in arrays]


def check(ours, theirs, x, dy, weight, bias, dtype):
    """Compare ``ours(x, weight, bias) → (y, backward)`` with ``theirs(x, weight, bias) → y``."""
    before = fingerprint(x, dy, weight, bias)
    tx, tw, tb = (to_torch(a, grad=True) for a in (x, weight, bias))
    ty = theirs(tx, tw, tb)
    ty.backward(to_torch(dy))
    y, backward = ours(x, weight, bias)
    dx, dweight, dbias = backward(dy)
    # A group of few values may have a small spread, which makes its gradients large.
    rtol = TOLERANCE[dtype]["rtol"]
    scale = TOLERANCE[dtype]["atol"] * max(1.0, float(tx.grad.abs().max()))
    assert_close(y, ty, rtol, scale)
    assert_close(dx, tx.grad, rtol, 5 * scale)
    if weight is not None:
        assert_close(dweight, tw.grad, rtol, 5 * scale)
    if bias is not None:
        assert_close(dbias, tb.grad, rtol, scale)
    assert fingerprint(x, dy, weight, bias) == before


def with_backward(forward, backward, *settings, eps):
    """Return a function of x, weight and bias that gives y and a backward of dy."""

    def call(x, weight, bias):
        y, cache = forward(x, *settings, weight, bias, eps)
        return y, lambda dy: backward(dy, cache)

    return call


@given(st.data(), seeds, wide_shapes, floats, st.booleans(), st.booleans(), epsilons)
def test_layer_norm(data, seed, shape, dtype, has_weight, has_bias, eps):
    axes = data.draw(st.integers(1, len(shape)))  # all of them too
    normalized = shape[len(shape) - axes :]
    x, dy, weight, bias = problem(seed, shape, normalized, dtype)
    x, dy = laid_out(x, data.draw(layouts)), laid_out(dy, data.draw(layouts))
    check(
        with_backward(F.layer_norm_forward, F.layer_norm_backward, normalized, eps=eps),
        lambda x, w, b: torch.nn.functional.layer_norm(x, normalized, w, b, eps),
        x,
        dy,
        laid_out(weight, "read_only") if has_weight else None,
        laid_out(bias, "reversed") if has_bias else None,
        dtype,
    )


@given(
    st.data(),
    seeds,
    wide_shapes,
    st.integers(1, 3),
    floats,
    st.booleans(),
    st.booleans(),
    epsilons,
)
def test_group_norm(data, seed, shape, groups, dtype, has_weight, has_bias, eps):
    shape = (shape[0], shape[1] * groups, *shape[2:])
    x, dy, weight, bias = problem(seed, shape, shape[1:2], dtype)
    x, dy = laid_out(x, data.draw(layouts)), laid_out(dy, data.draw(layouts))

    def theirs(x, w, b):
        # PyTorch's backward cannot do a bias without a weight.
        w = torch.ones_like(b) if w is None and b is not None else w
        return torch.nn.functional.group_norm(x, groups, w, b, eps)

    check(
        with_backward(F.group_norm_forward, F.group_norm_backward, groups, eps=eps),
        theirs,
        x,
        dy,
        laid_out(weight, "read_only") if has_weight else None,
        laid_out(bias, "strided") if has_bias else None,
        dtype,
    )


@given(seeds, shapes(ranks=(3, 4, 5)), floats, epsilons)
def test_as_many_groups_as_channels_is_instance_norm(seed, shape, dtype, eps):
    shape = (*shape[:-1], shape[-1] + 3)
    check(
        with_backward(F.group_norm_forward, F.group_norm_backward, shape[1], eps=eps),
        lambda x, w, b: torch.nn.functional.instance_norm(x, weight=w, bias=b, eps=eps),
        *problem(seed, shape, shape[1:2], dtype),
        dtype,
    )


@given(seeds, shapes(ranks=(2, 4)), floats)
def test_one_group_is_layer_norm_of_a_whole_sample(seed, shape, dtype):
    x, *_ = problem(seed, shape, (1,), dtype)
    tol = TOLERANCE[dtype]
    assert_close(F.group_norm(x, 1), F.layer_norm(x, shape[1:]), **tol)


@given(st.data(), seeds, wide_shapes, floats, epsilons, st.booleans(), st.booleans())
def test_modules_gather_gradients_as_pytorch(
    data, seed, shape, dtype, eps, affine, bias
):
    layer_norm = data.draw(st.booleans())
    groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4) if shape[1] % g == 0]))
    name, arguments = (
        ("LayerNorm", (shape[-1],)) if layer_norm else ("GroupNorm", (groups, shape[1]))
    )
    ours = getattr(bnlib, name)(*arguments, eps, affine, bias, dtype=dtype)
    theirs = getattr(torch.nn, name)(*arguments, eps, affine, bias=bias)
    theirs = theirs.to(to_torch(np.zeros(1, dtype)).dtype)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(seed)
    for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data[...] = rng.standard_normal(parameter.data.shape)
        twin.data = to_torch(parameter.data)
    for step in range(2):
        x, dy, *_ = problem(seed + step, shape, (1,), dtype)
        tx = to_torch(x, grad=True)
        ty = theirs(tx)
        ty.backward(to_torch(dy))
        rtol = TOLERANCE[dtype]["rtol"]
        scale = 5 * TOLERANCE[dtype]["atol"] * max(1.0, float(tx.grad.abs().max()))
        assert_close(ours(x), ty, rtol, scale)
        assert_close(ours.backward(dy), tx.grad, rtol, scale)
        for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(parameter.grad, twin.grad, rtol, scale)
        ours.eval()  # makes no difference
        theirs.eval()


@pytest.mark.parametrize(
    ("name", "arguments"), [("LayerNorm", (4,)), ("GroupNorm", (2, 4))]
)
def test_constructor_defaults_are_those_of_pytorch(name, arguments):
    ours = getattr(bnlib, name)(*arguments)
    theirs = getattr(torch.nn, name)(*arguments)
    assert ours.eps == theirs.eps
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value)


def test_functional_defaults_are_those_of_pytorch():
    x, *_ = problem(0, (3, 4), (1,), np.float64)
    x *= 1e-3  # so small that eps shows
    expected = torch.nn.functional.layer_norm(to_torch(x), (4,))
    assert_close(F.layer_norm(x, (4,)), expected, atol=1e-12)
    assert_close(F.layer_norm_forward(x, (4,))[0], expected, atol=1e-12)
    expected = torch.nn.functional.group_norm(to_torch(x), 2)
    assert_close(F.group_norm(x, 2), expected, atol=1e-12)
    assert_close(F.group_norm_forward(x, 2)[0], expected, atol=1e-12)


@given(seeds, wide_shapes, floats)
def test_short_forms_are_the_forwards_without_a_cache(seed, shape, dtype):
    x, _, weight, bias = problem(seed, shape, shape[1:2], dtype)
    y, _ = F.group_norm_forward(x, shape[1], weight, bias, 0.1)
    assert_close(F.group_norm(x, shape[1], weight, bias, 0.1), y)
    _, _, weight, bias = problem(seed, shape, shape[1:], dtype)
    y, _ = F.layer_norm_forward(x, shape[1:], weight, bias, 0.1)
    assert_close(F.layer_norm(x, list(shape[1:]), weight, bias, 0.1), y)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (0, 4, 2, 2)])
def test_an_empty_batch_gives_an_empty_output(shape):
    for layer in (bnlib.GroupNorm(2, 4), bnlib.LayerNorm(shape[1:])):
        before = state_of(layer)
        y = layer(np.zeros(shape, np.float32))
        assert y.shape == layer.backward(y).shape == shape
        assert state_of(layer) == before


def test_a_group_of_one_value_gives_the_bias_and_no_gradient():
    x, dy, weight, bias = problem(0, (3, 4), (4,), np.float64)
    y, cache = F.group_norm_forward(x, 4, weight, bias)
    assert_close(y, np.broadcast_to(bias, (3, 4)))
    assert_close(F.group_norm_backward(dy, cache)[0], np.zeros((3, 4)), atol=1e-12)


@pytest.mark.parametrize("name", ["layer", "group"])
def test_float16_is_worked_on_in_float32(name):
    x, dy, weight, bias = problem(0, (8, 6), (6,), np.float16)
    weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    forward, backward = (
        getattr(F, f"{name}_norm_forward"),
        getattr(F, f"{name}_norm_backward"),
    )
    setting = (6,) if name == "layer" else 2
    y, cache = forward(x, setting, weight, bias)
    dx, dweight, dbias = backward(dy, cache)
    wide, wide_cache = forward(x.astype(np.float32), setting, weight, bias)
    expected = backward(dy.astype(np.float32), wide_cache)
    assert_close(y, wide.astype(np.float16))
    assert_close(dx, expected[0].astype(np.float16))
    assert_close(dweight, expected[1])
    assert_close(dbias, expected[2])


def test_the_output_is_never_the_cache():
    x, dy, *_ = problem(0, (6, 4), (1,), np.float64)
    for forward, backward, setting in (
        (F.layer_norm_forward, F.layer_norm_backward, (4,)),
        (F.group_norm_forward, F.group_norm_backward, 2),
    ):
        y, cache = forward(x, setting)
        expected = backward(dy, cache)[0]
        y[...] = np.nan
        assert_close(backward(dy, cache)[0], expected)
