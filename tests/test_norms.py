"""Every normalization of the table: against PyTorch, differences, float64, and bad input."""

import inspect
import math

import numpy as np
import pytest
import torch
from cases import NAMES, NORMS, f32
from helpers import (
    LAYOUTS,
    TOLERANCE,
    assert_close,
    fingerprint,
    laid_out,
    state_of,
    to_torch,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import bnlib
from bnlib import functional as F
from bnlib import normalize

pytestmark = pytest.mark.usefixtures("backend")

seeds = st.integers(0, 2**32 - 1)
floats = st.sampled_from([np.float32, np.float64])
layouts = st.sampled_from(LAYOUTS)
epsilons = st.sampled_from([1e-5, 1e-3, 0.5])
each_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)


def problem(norm, seed, shape, setting, dtype):
    """Return random x and dy, and a dict of weight, bias and running statistics."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3) + rng.uniform(0.5, 2) * rng.standard_normal(shape)
    size = norm.parameters(shape, setting)
    arrays = {name: rng.standard_normal(size) for name in norm.affine}
    if setting.get("running"):
        arrays["running_mean"] = rng.standard_normal(shape[1])
        arrays["running_var"] = rng.uniform(0.2, 3, shape[1])
    elif "running" in setting:
        arrays |= {"running_mean": None, "running_var": None}
    arrays = {k: a if a is None else a.astype(dtype) for k, a in arrays.items()}
    return x.astype(dtype), rng.standard_normal(shape).astype(dtype), arrays


def settings_of(norm, setting):
    """Return the setting of a function, without what it says of running statistics."""
    return {name: value for name, value in setting.items() if name != "running"}


def run(norm, x, dy, **arguments):
    """Return y, dx, dweight and dbias."""
    y, cache = getattr(F, f"{norm.function}_forward")(x, **arguments)
    return y, *getattr(F, f"{norm.function}_backward")(dy, cache)


def run_torch(norm, x, dy, **arguments):
    """Return y, dx, dweight and dbias of PyTorch, None where there is none, and the statistics."""
    tx = to_torch(x, grad=True)
    tensors = {
        name: to_torch(a, grad=name in norm.affine)
        for name, a in arguments.items()
        if isinstance(a, np.ndarray)
    }
    function = getattr(torch.nn.functional, norm.function)
    given = arguments | tensors
    if norm.function == "group_norm" and given["weight"] is None:
        # PyTorch's backward cannot do a bias without a weight.
        given["weight"] = torch.ones(x.shape[1], dtype=tx.dtype)
    y = function(tx, **given)
    y.backward(to_torch(dy))
    gradients = [tensors[n].grad if n in tensors else None for n in norm.affine]
    return y, tx.grad, *gradients, tensors


def scale(dx):
    """Few values may have a small spread, which makes gradients, and round-off, large."""
    return max(1.0, float(dx.abs().max())) if dx.numel() else 1.0


@each_norm
@given(st.data(), seeds, floats, st.booleans(), st.booleans(), epsilons)
def test_function_is_pytorchs(norm, data, seed, dtype, has_weight, has_bias, eps):
    shape, setting = data.draw(norm.cases)
    x, dy, arrays = problem(norm, seed, shape, setting, dtype)
    x, dy = laid_out(x, data.draw(layouts)), laid_out(dy, data.draw(layouts))
    for name, given_, layout in (
        ("weight", has_weight, "read_only"),
        ("bias", has_bias, "reversed"),
    ):
        if name in norm.affine:
            arrays[name] = laid_out(arrays[name], layout) if given_ else None
    if arrays.get("running_var") is not None:
        arrays["running_var"] = laid_out(arrays["running_var"], "strided")
    arguments = {**settings_of(norm, setting), **arrays, "eps": eps}
    ty, *theirs, tensors = run_torch(norm, x, dy, **arguments)

    training = setting.get("training", setting.get("use_input_stats", True))
    kept = [a for n, a in arrays.items() if not (training and n.startswith("running"))]
    before = fingerprint(x, dy, *kept)
    y, *gradients = run(norm, x, dy, **arguments)
    rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"] * scale(theirs[0])
    assert_close(y, ty, rtol, atol)
    for name, ours, gradient in zip(
        ("dx", *norm.affine), gradients, theirs, strict=False
    ):
        if gradient is not None:
            assert_close(ours, gradient, rtol, 5 * atol), name
    for name in ("running_mean", "running_var"):
        if arrays.get(name) is not None:
            assert_close(arrays[name], tensors[name], rtol, TOLERANCE[dtype]["atol"])
    assert fingerprint(x, dy, *kept) == before


@each_norm
@settings(max_examples=50)
@given(st.data(), seeds, floats, st.integers(1, 3))
def test_layer_over_several_steps_is_pytorchs(norm, data, seed, dtype, steps):
    shape, setting = data.draw(norm.cases)
    if len(shape) not in norm.layers:
        return
    options = data.draw(norm.options)
    arguments = norm.arguments(shape, setting)
    name = norm.layers[len(shape)]
    ours = getattr(bnlib, name)(*arguments, **options, dtype=dtype)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    theirs = theirs.to(to_torch(np.zeros(1, dtype)).dtype)
    rng = np.random.default_rng(seed)
    for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data[...] = rng.standard_normal(parameter.data.shape)
        twin.data = to_torch(parameter.data)
    rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"]
    largest = 1.0
    for step in range(steps + 2):
        if step == steps:  # at last two steps in evaluation, gradients still gathering
            ours.eval()
            theirs.eval()
        x, dy, _ = problem(norm, seed + step, shape, setting, dtype)
        tx = to_torch(x, grad=True)
        ty = theirs(tx)
        ty.backward(to_torch(dy))
        before = state_of(ours) if step >= steps else None
        y = ours(x)
        assert before is None or state_of(ours) == before
        largest = max(largest, scale(tx.grad))
        assert_close(y, ty, rtol, atol * scale(tx.grad))
        assert_close(ours.backward(dy), tx.grad, rtol, 5 * atol * scale(tx.grad))
        expected, state = theirs.state_dict(), ours.state_dict()
        assert list(state) == list(expected)
        for key, value in state.items():
            assert_close(value, expected[key], rtol, atol)
        for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(parameter.grad, twin.grad, rtol, 5 * atol * largest)


@each_norm
def test_defaults_are_those_of_pytorch(norm):
    x = 1e-3 * np.random.default_rng(0).standard_normal(
        norm.shape
    )  # so small that eps shows
    setting = {
        k: v for k, v in norm.setting.items() if k not in ("training", "running")
    }
    theirs = inspect.signature(getattr(torch.nn.functional, norm.function)).parameters
    ours = inspect.signature(getattr(F, norm.function)).parameters
    names = [n for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert names == [name.replace("input", "x", name == "input") for name in theirs]
    assert [ours[n].default for n in names[1:]] == [
        p.default for n, p in theirs.items() if n != "input"
    ]
    forward = inspect.signature(getattr(F, f"{norm.function}_forward")).parameters
    assert [p.default for p in forward.values()] == [p.default for p in ours.values()]
    assert list(forward) == list(ours)
    if "training" not in norm.setting:
        expected = getattr(torch.nn.functional, norm.function)(to_torch(x), **setting)
        assert_close(getattr(F, norm.function)(x, **setting), expected, atol=1e-12)

    for name in set(norm.layers.values()):
        arguments = norm.arguments(norm.shape, norm.setting)
        ours, theirs = (getattr(lib, name)(*arguments) for lib in (bnlib, torch.nn))
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value)
        for setting_ in ("eps", "momentum", "track_running_stats"):
            assert getattr(ours, setting_, None) == getattr(theirs, setting_, None)


@each_norm
@settings(max_examples=20)
@given(st.data(), seeds)
def test_gradients_are_those_of_differences(norm, data, seed):
    shape, setting = data.draw(norm.cases)
    x, dy, arrays = problem(norm, seed, shape, setting, np.float64)
    arguments = {**settings_of(norm, setting), "eps": 0.1}
    stats = {name: a for name, a in arrays.items() if name not in norm.affine}
    affine = {name: arrays[name] for name in norm.affine}

    def loss(**changed):
        running = {k: None if a is None else a.copy() for k, a in stats.items()}
        values = {"x": x, **affine, **running, **arguments, **changed}
        return (getattr(F, norm.function)(**values) * dy).sum()

    running = {k: None if a is None else a.copy() for k, a in stats.items()}
    _, *gradients = run(norm, x, dy, **affine, **running, **arguments)
    for name, gradient in zip(("x", *norm.affine), gradients, strict=False):
        point = x if name == "x" else affine[name]
        rng = np.random.default_rng(seed)
        bnlib.gradcheck(
            lambda a, name=name: loss(**{name: a}),
            point,
            gradient,
            directions=3,
            rng=rng,
        )


@each_norm
@pytest.mark.parametrize("offset", [0, 1, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("shape", [(4, 6, 4096), (64, 6, 4, 4), (4096, 6)], ids=str)
def test_float32_is_right_to_round_off(norm, shape, offset):
    if len(shape) not in norm.layers:
        return
    offset = offset if norm.centered else 0
    rng = np.random.default_rng(len(shape))
    x = (offset + rng.standard_normal(shape)).astype(np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    setting = dict(norm.setting)
    if "normalized_shape" in setting:
        setting["normalized_shape"] = shape[1:]
    arguments = {**settings_of(norm, setting), "eps": 1e-5}
    if "running" in setting:
        arguments |= {"running_mean": None, "running_var": None}
    y, dx, *_ = run(norm, x, dy, **arguments)

    wide = norm.rows(x.astype(np.float64) - offset, setting)  # the difference is exact
    g = norm.rows(dy.astype(np.float64), setting)
    mean = wide.mean(1, keepdims=True) if norm.centered else 0
    std = np.sqrt(((wide - mean) ** 2).mean(1, keepdims=True) + 1e-5)
    x_hat = (wide - mean) / std
    right = g - x_hat * (g * x_hat).mean(1, keepdims=True)
    right = (right - (g.mean(1, keepdims=True) if norm.centered else 0)) / std
    assert y.dtype == dx.dtype == np.float32
    assert_close(norm.rows(y, setting).astype(float), x_hat, atol=2e-5)
    assert_close(
        norm.rows(dx, setting).astype(float), right, atol=2e-4 * np.abs(right).mean()
    )


@each_norm
def test_float16_is_worked_on_in_float32(norm):
    x, dy, arrays = problem(norm, 0, norm.shape, norm.setting, np.float16)
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    arguments = settings_of(norm, norm.setting)
    copies = {name: a.copy() for name, a in arrays.items()}
    y, dx, *gradients = run(norm, x, dy, **arrays, **arguments)
    wide_y, wide_dx, *wide = run(
        norm, x.astype(np.float32), dy.astype(np.float32), **copies, **arguments
    )
    step = 2.0**-10  # of float16 near 1
    assert_close(y, wide_y.astype(np.float16), rtol=step, atol=1e-6)
    assert_close(dx, wide_dx.astype(np.float16), rtol=step, atol=1e-5)
    for ours, same in zip(gradients, wide, strict=True):
        assert_close(ours, same, rtol=1e-5, atol=1e-5)
    for name, a in arrays.items():
        assert_close(a, copies[name], rtol=1e-6, atol=1e-6)


@each_norm
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 6), (0, 6, 4), (0, 6, 2, 2), (0, 6, 2, 2, 2)])
def test_an_empty_batch_gives_an_empty_output_and_changes_nothing(norm, shape, dtype):
    if len(shape) not in norm.layers:
        return
    setting = dict(norm.setting)
    if "normalized_shape" in setting:
        setting["normalized_shape"] = shape[1:]
    wide = np.result_type(dtype, np.float32)
    arguments = norm.arguments(shape, setting)
    layer = getattr(bnlib, norm.layers[len(shape)])(*arguments, dtype=wide)
    before = state_of(layer)
    for mode in (True, False):
        layer.train(mode)
        y = layer(np.zeros(shape, dtype))
        dx = layer.backward(y)
        assert (y.shape, dx.shape) == (shape, shape)
        assert y.dtype == dx.dtype == dtype
    assert state_of(layer.train()) == before  # gradients too: they stayed 0


@each_norm
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_out_shares_no_memory_with_what_the_backward_needs(norm, dtype):
    x, dy, arrays = problem(norm, 0, norm.shape, norm.setting, dtype)
    arguments = settings_of(norm, norm.setting)
    stats = {name: a for name, a in arrays.items() if name not in norm.affine}
    for names in ((), ("weight",), ("bias",)):
        affine = {n: arrays[n] for n in names if n in norm.affine}
        forward = getattr(F, f"{norm.function}_forward")
        backward = getattr(F, f"{norm.function}_backward")
        y, cache = forward(x, **affine, **stats, **arguments)
        expected = backward(dy, cache)
        y[...] = np.nan  # a caller may do what it likes with the output
        for ours, same in zip(backward(dy, cache), expected, strict=True):
            assert_close(ours, same)
            assert not np.shares_memory(ours, dy)


@each_norm
def test_gradients_of_a_missing_weight_and_bias_are_those_of_one_and_zero(norm):
    x, dy, _ = problem(norm, 0, norm.shape, norm.setting, np.float64)
    arguments = settings_of(norm, norm.setting)
    if "running" in norm.setting:
        arguments |= {"running_mean": None, "running_var": None}
    size = norm.parameters(norm.shape, norm.setting)
    both = {"weight": np.ones(size), "bias": np.zeros(size)}
    both = {name: both[name] for name in norm.affine}
    plain, with_both = (
        run(norm, x, dy, **arguments),
        run(norm, x, dy, **arguments, **both),
    )
    for ours, expected in zip(plain, with_both, strict=True):
        assert_close(ours, expected, rtol=1e-15)


@each_norm
def test_nan_stays_among_those_that_share_its_mean(norm):
    x, _, arrays = problem(norm, 0, norm.shape, norm.setting, np.float32)
    arguments = settings_of(norm, norm.setting)
    x[2, 1] = np.nan
    with np.errstate(invalid="ignore"):
        y = getattr(F, norm.function)(x, **arrays, **arguments)
    there = np.isnan(norm.rows(x, norm.setting)).any(1)
    assert (np.isnan(norm.rows(y, norm.setting)) == there[:, None]).all()
    assert 0 < there.sum() < len(there)


REFUSED_BY_ALL = (
    ("x=[[1.0], [2.0]]", "x to be a NumPy array, got list"),
    ("x=None", "x to be a NumPy array, got NoneType"),
    ("x=np.ma.ones((4, 6))", "x to be a NumPy array, got MaskedArray"),
    ("x=np.asmatrix(np.ones((4, 6)))", "x to be a NumPy array, got matrix"),
    ("x=np.ones((4, 6), i32)", "x of a floating dtype, got int32"),
    ("x=f32(4, 6) > 2", "x of a floating dtype, got bool"),
    ("x=f32(4, 6) * 1j", "x of a floating dtype, got complex64"),
    ("x=f32(4, 6).astype('>f4')", "x of a floating dtype, got >f4"),
    ("x=f32(4, 6).astype(np.longdouble)", "x of a floating dtype, got"),
    ("eps=0", "a finite eps > 0, got 0"),
    ("eps=-1e-05", "a finite eps > 0, got -1e-05"),
    ("eps=np.nan", "a finite eps > 0, got nan"),
    ("eps=np.inf", "a finite eps > 0, got inf"),
    ("eps=True", "eps to be a number, got bool"),
    ("eps='1e-5'", "eps to be a number, got str"),
    ("eps=1e-5j", "eps to be a number, got complex"),
)
REFUSED_AFFINE = (
    ("{0}=f32(2)", "{0} of shape (6,), got (2,)"),
    ("{0}=f32(1, 6)", "{0} of shape (6,), got (1, 6)"),
    ("{0}=f32()", "{0} of shape (6,), got ()"),
    ("{0}=np.ones(6)", "x is float32, {0} float64"),
    ("{0}=np.ones(6, f16)", "x is float32, {0} float16"),
    ("{0}=np.ones(6, i32)", "{0} of a floating dtype, got int32"),
    ("{0}=[1.0] * 6", "{0} to be a NumPy array, got list"),
)
BAD = [
    pytest.param(norm, changes, message, id=f"{norm.function}({changes})")
    for norm in NORMS
    for changes, message in (
        *REFUSED_BY_ALL,
        *((a.format(n), b.format(n)) for n in norm.affine for a, b in REFUSED_AFFINE),
        *norm.refused,
    )
]


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(("norm", "changes", "message"), BAD)
def test_bad_arguments_are_refused_and_change_nothing(norm, changes, message):
    _, _, arrays = problem(norm, 0, norm.shape, norm.setting, np.float32)
    good = {"x": f32(*norm.shape), **arrays, **settings_of(norm, norm.setting)}
    arguments = {**good, **eval(f"dict({changes})", dict(NAMES))}
    before = fingerprint(*(a for a in good.values() if isinstance(a, np.ndarray)))
    for function in (norm.function, f"{norm.function}_forward"):
        with pytest.raises((TypeError, ValueError)) as info:
            getattr(F, function)(**arguments)
        assert str(info.value).startswith(f"{norm.function}: ")
        assert message in str(info.value)
    after = fingerprint(*(a for a in good.values() if isinstance(a, np.ndarray)))
    assert after == before


@each_norm
def test_a_backward_refuses_the_cache_and_the_gradient_of_another(norm):
    x, dy, arrays = problem(norm, 0, norm.shape, norm.setting, np.float64)
    arguments = settings_of(norm, norm.setting)
    _, cache = getattr(F, f"{norm.function}_forward")(x, **arrays, **arguments)
    call = f"{norm.function}_backward"
    for other in NORMS:
        if other is not norm:
            with pytest.raises(
                TypeError, match=f"^{other.function}_backward: expected"
            ):
                getattr(F, f"{other.function}_backward")(dy, cache)
    for bad, error in (
        (dy[:2], ValueError),
        (dy[None], ValueError),
        (dy.astype(np.float32), TypeError),
        (dy.tolist(), TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match=f"^{call}: expected dy"):
            getattr(F, call)(bad, cache)
    with pytest.raises(TypeError, match=f"^{call}: expected the cache"):
        getattr(F, call)(dy, tuple(cache))


def test_as_many_groups_as_values_gives_the_bias_and_no_gradient():
    rng = np.random.default_rng(0)
    x, dy, bias = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), np.ones(4)
    y, cache = F.group_norm_forward(x, 4, None, bias)
    assert_close(y, np.broadcast_to(bias, (3, 4)))
    assert_close(F.group_norm_backward(dy, cache)[0], np.zeros((3, 4)), atol=1e-12)


def test_one_group_is_layer_norm_of_a_whole_sample():
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    assert_close(F.group_norm(x, 1), F.layer_norm(x, (4, 3)), rtol=1e-12)
    assert math.isclose(F.group_norm(x, 1)[0].std(), 1, rel_tol=1e-4)


# Settings and their defaults ---------------------------------------------------------------

NORM_LAYERS = [name for name in bnlib.norm.__all__ if name != "SyncBatchNorm"]


@pytest.mark.parametrize("name", NORM_LAYERS)
def test_defaults_of_a_layer_are_pytorchs(name):
    ours = inspect.signature(getattr(bnlib, name)).parameters
    theirs = inspect.signature(getattr(torch.nn, name)).parameters
    shared = {key for key in ours if key in theirs and key != "dtype"}
    assert {"eps"} <= shared
    for key in shared:
        assert ours[key].default == theirs[key].default, key


@pytest.mark.parametrize("function", ["batch_norm", "layer_norm", "rms_norm"])
def test_defaults_of_a_function_are_pytorchs(function):
    theirs = inspect.signature(getattr(torch.nn.functional, function)).parameters
    for end in ("", "_forward"):
        ours = inspect.signature(getattr(F, function + end)).parameters
        for key, parameter in ours.items():
            if key in theirs:
                assert parameter.default == theirs[key].default, key


def test_the_readable_version_has_the_same_defaults():
    ours = inspect.signature(F.batch_norm_forward).parameters
    for key, parameter in inspect.signature(
        normalize.batch_norm_forward
    ).parameters.items():
        assert parameter.default == ours[key].default, key


@pytest.mark.parametrize(
    ("make", "shape", "dtype", "error", "message"),
    [
        (
            lambda: bnlib.SyncBatchNorm(3, all_reduce=lambda v: v),
            (4, 3),
            np.float64,
            TypeError,
            "SyncBatchNorm: x is float64, the layer float32",
        ),
        (
            lambda: bnlib.SyncBatchNorm(3, all_reduce=lambda v: v),
            (4, 2),
            np.float32,
            ValueError,
            "SyncBatchNorm: expected .*3 channels",
        ),
        (
            lambda: bnlib.InstanceNorm1d(3),
            (4, 2, 5),
            np.float32,
            ValueError,
            "InstanceNorm1d: expected .*3 channels",
        ),
        (
            lambda: bnlib.GroupNorm(2, 3),
            (4, 3),
            np.float32,
            ValueError,
            "GroupNorm: expected num_groups to divide 3, got 2",
        ),
    ],
)
def test_a_layer_says_what_does_not_fit(make, shape, dtype, error, message):
    with pytest.raises(error, match=message):
        make()(np.ones(shape, dtype))


def test_a_counter_that_cannot_be_written_is_named():
    bn = bnlib.BatchNorm1d(2)
    bn.num_batches_tracked.flags.writeable = False
    with pytest.raises(ValueError, match="expected num_batches_tracked to be writ"):
        bn(np.ones((3, 2), np.float32))


def test_one_running_statistic_alone_is_refused():
    bn = bnlib.BatchNorm1d(2).eval()
    bn.running_mean = None
    with pytest.raises(ValueError, match="both or neither"):
        bn(np.ones((3, 2), np.float32))
