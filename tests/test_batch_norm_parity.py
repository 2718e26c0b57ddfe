"""Batch normalization against PyTorch: values, gradients and statistics."""

import inspect

import numpy as np
import pytest
import torch
from helpers import (
    LAYOUTS,
    TOLERANCE,
    assert_close,
    fingerprint,
    laid_out,
    problem,
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
momenta = st.sampled_from([0.0, 0.1, 0.7, 1.0])
epsilons = st.sampled_from([1e-5, 1e-3, 0.5])
LAYERS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}


@given(
    st.data(),
    seeds,
    shapes(),
    floats,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    momenta,
    epsilons,
)
def test_functional(
    data, seed, shape, dtype, has_weight, has_bias, has_stats, momentum, eps
):
    x, dy, weight, bias, mean, var = problem(seed, shape, dtype)
    training = data.draw(st.booleans()) or not has_stats
    x, dy = laid_out(x, data.draw(layouts)), laid_out(dy, data.draw(layouts))
    weight = laid_out(weight, "read_only") if has_weight else None
    bias = laid_out(bias, "reversed") if has_bias else None
    mean, var = (mean, laid_out(var, "strided")) if has_stats else (None, None)
    inputs = [x, dy, weight, bias] if training else [x, dy, weight, bias, mean, var]
    before = fingerprint(*inputs)

    tx, tw, tb = (to_torch(a, grad=True) for a in (x, weight, bias))
    tm, tv = to_torch(mean), to_torch(var)
    ty = torch.nn.functional.batch_norm(tx, tm, tv, tw, tb, training, momentum, eps)
    ty.backward(to_torch(dy))

    args = mean, var, weight, bias, training, momentum, eps
    y, cache = F.batch_norm_forward(x, *args)
    dx, dweight, dbias = F.batch_norm_backward(dy, cache)

    tol = TOLERANCE[dtype]
    assert_close(y, ty, **tol)
    assert_close(dx, tx.grad, **tol)
    if has_weight:
        assert_close(dweight, tw.grad, **tol)
    if has_bias:
        assert_close(dbias, tb.grad, **tol)
    if has_stats:
        assert_close(mean, tm, **tol)
        assert_close(var, tv, **tol)
    assert fingerprint(*inputs) == before


@given(seeds, shapes(), floats, layouts, st.booleans(), epsilons)
def test_batch_norm_is_the_forward_without_a_cache(
    seed, shape, dtype, layout, training, eps
):
    x, _, weight, bias, mean, var = problem(seed, shape, dtype)
    x = laid_out(x, layout)
    stats = mean.copy(), var.copy()
    y, _ = F.batch_norm_forward(x, mean, var, weight, bias, training, 0.3, eps)
    assert_close(F.batch_norm(x, *stats, weight, bias, training, 0.3, eps), y)
    assert_close(stats[0], mean)
    assert_close(stats[1], var)


def test_defaults_are_those_of_pytorch():
    x, _, _, _, mean, var = problem(0, (5, 3), np.float32)
    y = F.batch_norm(x, mean, var)
    expected = torch.nn.functional.batch_norm(
        to_torch(x), to_torch(mean), to_torch(var)
    )
    assert_close(y, expected, rtol=1e-5, atol=1e-6)
    F.batch_norm(x, mean, var, training=True)
    stats = [to_torch(a) for a in problem(0, (5, 3), np.float32)[4:]]
    torch.nn.functional.batch_norm(to_torch(x), *stats, training=True)
    assert_close(mean, stats[0], rtol=1e-6)
    assert_close(var, stats[1], rtol=1e-6)


@given(
    seeds,
    shapes(),
    floats,
    st.sampled_from([0.0, 0.1, 1.0, None]),
    epsilons,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
def test_module_over_several_steps(
    seed, shape, dtype, momentum, eps, affine, bias, tracking, steps
):
    name = LAYERS[len(shape)]
    settings = {"affine": affine, "track_running_stats": tracking, "bias": bias}
    ours = getattr(bnlib, name)(shape[1], eps, momentum, **settings, dtype=dtype)
    theirs = getattr(torch.nn, name)(shape[1], eps, momentum, **settings)
    theirs = theirs.to(to_torch(np.zeros(1, dtype)).dtype)
    rng = np.random.default_rng(seed)
    for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data[...] = rng.standard_normal(parameter.data.shape)
        twin.data = to_torch(parameter.data)

    tol = TOLERANCE[dtype]
    for step in range(steps + 2):
        if step == steps:  # at last two steps in evaluation, gradients still gathering
            ours.eval()
            theirs.eval()
        x, dy, *_ = problem(seed + step, shape, dtype)
        tx = to_torch(x, grad=True)
        ty = theirs(tx)
        ty.backward(to_torch(dy))
        before = state_of(ours) if step >= steps else None
        assert_close(ours(x), ty, **tol)
        assert before is None or state_of(ours) == before
        assert_close(ours.backward(dy), tx.grad, **tol)
        expected = theirs.state_dict()
        state = ours.state_dict()
        assert list(state) == list(expected)
        for key, value in state.items():
            assert_close(value, expected[key], **tol)
        for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(
                parameter.grad, twin.grad, rtol=tol["rtol"], atol=5 * tol["atol"]
            )


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_constructor_defaults_are_those_of_pytorch(name):
    ours, theirs = getattr(bnlib, name)(3), getattr(torch.nn, name)(3)
    for setting in (
        "eps",
        "momentum",
        "track_running_stats",
        "num_features",
        "training",
    ):
        assert getattr(ours, setting) == getattr(theirs, setting)
    assert repr(ours) == repr(theirs)
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value)


def test_gradients_of_a_missing_weight_and_bias_are_those_of_one_and_zero():
    x, dy, *_ = problem(0, (6, 3, 2), np.float64)
    _, cache = F.batch_norm_forward(x, None, None, training=True)
    _, with_both = F.batch_norm_forward(
        x, None, None, np.ones(3), np.zeros(3), training=True
    )
    for ours, expected in zip(
        F.batch_norm_backward(dy, cache),
        F.batch_norm_backward(dy, with_both),
        strict=True,
    ):
        assert_close(ours, expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(64, 5), (16, 3, 4, 4)])
def test_float16_has_float32_statistics_and_a_float16_output(shape, training):
    x, dy, *vectors = problem(0, shape, np.float32)
    half, dhalf = x.astype(np.float16), dy.astype(np.float16)
    weight, bias, mean, var = vectors
    stats = to_torch(mean), to_torch(var)
    tx, tw, tb = (to_torch(a, grad=True) for a in (half, weight, bias))
    ty = torch.nn.functional.batch_norm(tx, *stats, tw, tb, training, 0.1, 1e-5)
    ty.backward(to_torch(dhalf))

    y, cache = F.batch_norm_forward(half, mean, var, weight, bias, training, 0.1, 1e-5)
    dx, dweight, dbias = F.batch_norm_backward(dhalf, cache)
    assert_close(y, ty, rtol=2e-3, atol=2e-3)  # a step or two of float16
    assert_close(dx, tx.grad, rtol=2e-3, atol=4e-3)
    assert_close(dweight, tw.grad, rtol=1e-3, atol=1e-2)
    assert_close(dbias, tb.grad, rtol=1e-3, atol=1e-2)
    assert_close(mean, stats[0], rtol=1e-5, atol=1e-6)
    assert_close(var, stats[1], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(0, 3), (0, 3, 4), (2, 3, 0), (0, 3, 2, 2), (0, 3, 2, 2, 2)]
)
def test_an_empty_batch_gives_an_empty_output_and_keeps_the_statistics(shape, dtype):
    name = LAYERS[len(shape)]
    wide = np.result_type(dtype, np.float32)
    for momentum in (0.1, None):
        layer = getattr(bnlib, name)(3, momentum=momentum, dtype=wide)
        before = state_of(layer)
        x = np.zeros(shape, dtype)
        for mode in (True, False):
            layer.train(mode)
            y = layer(x)
            dx = layer.backward(y)
            assert (y.shape, dx.shape) == (shape, shape)
            assert y.dtype == dx.dtype == dtype
        assert state_of(layer.train()) == before  # gradients too: they stayed 0


def test_one_value_per_channel_is_refused_in_training_and_fine_in_evaluation():
    layer = bnlib.BatchNorm1d(3)
    x = np.ones((1, 3), np.float32)
    before = state_of(layer)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(x)
    assert state_of(layer) == before
    assert_close(layer.eval()(x), x, rtol=1e-5)
    untracked = bnlib.BatchNorm1d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        untracked(x)


def test_running_variance_is_unbiased_and_the_output_biased():
    x = np.array([[1.0], [3.0]])
    layer = bnlib.BatchNorm1d(1, momentum=1.0, dtype=np.float64)
    assert_close(layer(x), np.array([[-1.0], [1.0]]), rtol=1e-5)
    assert_close(layer.running_var, np.array([2.0]))


def test_momentum_weighs_the_new_batch():
    layer = bnlib.BatchNorm1d(1, momentum=0.25, dtype=np.float64)
    layer(np.array([[7.0], [9.0]]))
    assert_close(layer.running_mean, np.array([0.25 * 8]))
    assert_close(layer.running_var, np.array([0.75 * 1 + 0.25 * 2]))


def test_momentum_none_is_the_plain_average_of_all_batches():
    layer = bnlib.BatchNorm1d(2, momentum=None, dtype=np.float64)
    batches = np.random.default_rng(0).standard_normal((5, 4, 2))
    for batch in batches:
        layer(batch)
    assert_close(layer.running_mean, batches.mean((0, 1)), atol=1e-15)
    assert_close(layer.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-14)
    layer(batches[:0, 0])
    assert layer.num_batches_tracked == 5


def test_without_running_statistics_evaluation_uses_the_batch():
    x, *_ = problem(0, (6, 3), np.float32)
    layer = bnlib.BatchNorm1d(3, track_running_stats=False)
    assert_close(layer.eval()(x), layer.train()(x))
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert (layer.running_mean, layer.running_var, layer.num_batches_tracked) == (
        None,
    ) * 3


def test_the_output_is_never_the_cache():
    x, dy, *_ = problem(0, (6, 3), np.float64)
    for arguments in (
        (None, None, True),
        (np.ones(3), None, True),
        (None, np.ones(3), True),
    ):
        weight, bias, training = arguments
        y, cache = F.batch_norm_forward(x, None, None, weight, bias, training)
        expected = F.batch_norm_backward(dy, cache)
        y[...] = np.nan  # a caller may do what it likes with the output
        for ours, same in zip(F.batch_norm_backward(dy, cache), expected, strict=True):
            assert_close(ours, same)


def test_a_gradient_never_shares_memory_with_what_came_in():
    x, dy, *_ = problem(0, (6, 3), np.float64)
    for training in (True, False):
        _, cache = F.batch_norm_forward(x, np.zeros(3), np.ones(3), training=training)
        assert not np.shares_memory(F.batch_norm_backward(dy, cache)[0], dy)


def test_nan_in_one_channel_leaves_the_others_alone():
    x, *_ = problem(0, (6, 3), np.float32)
    clean = F.batch_norm(x, None, None, training=True)
    x[2, 1] = np.nan
    y = F.batch_norm(x, None, None, training=True)
    assert np.isnan(y[:, 1]).all()
    assert_close(y[:, [0, 2]], clean[:, [0, 2]], rtol=1e-6, atol=1e-7)


def test_the_forward_has_the_same_arguments_and_defaults():
    assert inspect.signature(F.batch_norm_forward) == inspect.signature(F.batch_norm)
    theirs = inspect.signature(torch.nn.functional.batch_norm).parameters
    ours = inspect.signature(F.batch_norm).parameters
    defaults = [(p.name.replace("input", "x"), p.default) for p in theirs.values()]
    positional = [p for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in positional] == defaults
