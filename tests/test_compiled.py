"""The compiled loops give what the readable version gives, for every number of threads."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    SOURCES,
    assert_close,
    fingerprint,
    laid_out,
    problem,
    shapes,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnlib import functional as F

compiled = pytest.importorskip("bnlib.compiled", exc_type=ImportError)

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
# Short and long channels, rows of several of them and parts of one, one block and many.
REAL = [
    (64, 8, 32, 32),
    (5, 3, 257),
    (700, 300),
    (4001, 7),
    (3, 5, 70_001),
    (40, 130, 12, 12),
    (64, 1024, 2, 2),
]


@pytest.fixture(autouse=True, scope="module")
def always_compiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNLIB_BACKEND", "compiled")
        yield patch


def by_reference(call):
    """Return what a call returns when the readable version does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNLIB_BACKEND", "reference")
        return call()


def batch_norm(x, dy, weight, bias, mean, var, training, momentum=0.1, eps=1e-5, **how):
    """Return output, gradients and statistics of batch normalization."""
    stats = [None if a is None else a.copy() for a in (mean, var)]
    args = x, *stats, weight, bias, training, momentum, eps
    y, cache = F.batch_norm_forward(*args, **how)
    return y, *F.batch_norm_backward(dy, cache, **how), *stats


def group_norm(x, dy, weight, bias, groups):
    """Return output and gradients of group normalization."""
    y, cache = F.group_norm_forward(x, groups, weight, bias)
    return y, *F.group_norm_backward(dy, cache)


def layer_norm(x, dy, weight, bias):
    """Return output and gradients of layer normalization over the last axis."""
    y, cache = F.layer_norm_forward(x, x.shape[-1:], weight, bias)
    return y, *F.layer_norm_backward(dy, cache)


def rms_norm(x, dy, weight, bias):
    """Return output and gradients of root-mean-square normalization over the last axis."""
    y, cache = F.rms_norm_forward(x, x.shape[-1:], weight)
    return y, *F.rms_norm_backward(dy, cache)


def assert_same(got, expected, scale=1.0):
    """Compare to round-off; sums to that of their terms."""
    for ours, right in zip(got, expected, strict=True):
        if right is not None:
            tolerance = 16 * float(np.finfo(right.dtype).eps) * scale
            assert_close(ours, right, rtol=tolerance, atol=tolerance)


# Against the readable version --------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.data(),
    seeds,
    shapes(),
    dtypes,
    st.sets(st.sampled_from(["weight", "bias", "stats", "training"])),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([1e-5, 0.5]),
)
def test_batch_norm(data, seed, shape, dtype, has, momentum, eps):
    x, dy, *vectors = problem(seed, shape, dtype)
    training = "training" in has or "stats" not in has
    x = laid_out(x, data.draw(st.sampled_from(LAYOUTS)))
    dy = laid_out(dy, data.draw(st.sampled_from(LAYOUTS)))
    names = ("weight", "bias", "stats", "stats")
    vectors = [
        laid_out(v, "read_only" if name != "stats" else "C") if name in has else None
        for v, name in zip(vectors, names, strict=True)
    ]
    before = fingerprint(x, dy, *vectors)
    args = x, dy, *vectors, training, momentum, eps
    threads = data.draw(st.sampled_from([None, 1, 3]))
    assert_same(
        batch_norm(*args, threads=threads), by_reference(lambda: batch_norm(*args)), 20
    )
    assert fingerprint(x, dy, *vectors) == before


@settings(max_examples=200)
@given(st.data(), seeds, shapes((2, 3, 4)), dtypes)
def test_groups(data, seed, shape, dtype):
    x, dy, weight, bias, *_ = problem(seed, shape, dtype)
    x = laid_out(x, data.draw(st.sampled_from(LAYOUTS)))
    dy = laid_out(dy, data.draw(st.sampled_from(LAYOUTS)))
    if data.draw(st.booleans()):
        weight = bias = None
    C = shape[1]
    groups = data.draw(st.sampled_from([g for g in range(1, C + 1) if C % g == 0]))
    args = x, dy, weight, bias, groups
    # The sharpest curve is where a group hardly varies.
    scale = 20 / min(1, x.reshape(shape[0], groups, -1).std(2).min() + 1e-3)
    assert_same(group_norm(*args), by_reference(lambda: group_norm(*args)), scale**2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 30, 1e6])
@pytest.mark.parametrize("shape", REAL, ids=str)
def test_sizes_as_they_are(shape, offset, dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    x += dtype(offset)
    C = shape[1]
    weight, bias, mean, var = rng.uniform(0.5, 2, (4, C)).astype(dtype)
    mean += dtype(offset)
    # At an offset even a mean in float64 has a last digit.
    far = 1 + offset if dtype == np.float64 else 1 + offset / 2**20
    scale = far * x[:, 0].size ** 0.5
    for training in (True, False):
        args = x, dy, weight, bias, mean, var, training
        assert_same(
            batch_norm(*args), by_reference(lambda a=args: batch_norm(*a)), scale
        )
    for groups in (1, C):
        if x[0].size > groups:
            args = x, dy, weight, bias, groups
            expected = by_reference(lambda a=args: group_norm(*a))
            assert_same(group_norm(*args), expected, 4 * scale)
    weight, bias = rng.uniform(0.5, 2, (2, shape[-1])).astype(dtype)
    for norm in (layer_norm, rms_norm):
        args = x, dy, weight, bias
        if shape[-1] > 2:  # of two numbers the gradient is nothing but round-off
            expected = by_reference(lambda norm=norm, args=args: norm(*args))
            assert_same(norm(*args), expected, 4 * far * (x.size / shape[-1]) ** 0.5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_the_loops_cannot_take_goes_the_readable_way(dtype, layout):
    x = laid_out(problem(0, (6, 4, 5), dtype)[0], layout)
    _, cache = F.batch_norm_forward(x, None, None, training=True)
    fits = dtype != np.float16 and layout in ("C", "read_only")
    assert (cache.x_hat is None) == fits
    assert (F.group_norm_forward(x, 2)[1].x_hat is None) == fits


# Numbers of every kind ---------------------------------------------------------------------


@given(seeds, shapes(), st.sampled_from([0.0, 0.1, -7e6, 1e30]))
@example(0, (6, 4), 0.1)
def test_a_constant_channel_gives_the_bias(seed, shape, value):
    x, dy, weight, bias, mean, var = problem(seed, shape, np.float32)
    x[:, 0] = value
    y, dx, dweight, _, mean, var = batch_norm(
        x, dy, weight, bias, mean, var, True, momentum=1.0
    )
    assert (y[:, 0] == bias[0]).all()
    assert (mean[0], var[0]) == (np.float32(value), 0)
    centered = dy[:, 0].astype(float) - dy[:, 0].mean(dtype=float)
    assert_close(
        dx[:, 0].astype(float), centered * float(weight[0]) / 1e-5**0.5, atol=1e-3
    )
    assert dweight[0] == 0


@pytest.mark.parametrize("S", [1, 300])
def test_a_pivot_that_misses_is_put_right(S):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2**18 // S, 2, S))
    x[0, :, 0] = 1e9  # the first value of each channel, and of the row below
    exact = x.astype(np.longdouble)
    var = ((exact - exact.mean((0, 2), keepdims=True)) ** 2).mean((0, 2))
    _, cache = F.batch_norm_forward(x, None, None, training=True)
    np.testing.assert_allclose(cache.invstd**-2 - 1e-5, var.astype(float), rtol=1e-13)
    row = np.ascontiguousarray(x[:, 0].reshape(1, -1))
    _, cache = F.layer_norm_forward(row, row.shape[1:])
    np.testing.assert_allclose(
        cache.invstd.ravel() ** -2 - 1e-5, float(var[0]), rtol=1e-13
    )


@pytest.mark.parametrize("eps", [1e-30, 1e-45, 1e-300])
def test_no_eps_is_too_small(eps):
    x, dy, *vectors = problem(0, (8, 3), np.float32)
    x[:, 0] = 5
    x[:, 1] *= 1e-20
    with np.errstate(over="ignore"):  # of dx, where values hardly vary
        y, dx, *_ = batch_norm(x, dy, *vectors, True, eps=eps)
        right = by_reference(lambda: batch_norm(x, dy, *vectors, True, eps=eps))
    assert_close(y, right[0], rtol=1e-5, atol=1e-6)
    assert_close(dx[:, 2], right[1][:, 2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e14, 1e30])
def test_squares_may_be_beyond_float32(scale):
    x, dy, *_ = problem(0, (400, 3), np.float32)
    x *= np.float32(scale)
    args = x, dy, None, None, None, None, True, 0.1, 1e-70
    got, expected = batch_norm(*args), by_reference(lambda: batch_norm(*args))
    for ours, right in zip(got[:4], expected[:4], strict=True):
        assert_close(ours, right, atol=5e-6 * float(np.abs(right).max()))


@given(seeds, shapes((3, 4)), st.sampled_from([1e2, 1e4, -1e6]))
def test_one_value_far_from_the_others(seed, shape, value):
    x, dy, weight, bias, mean, var = problem(seed, shape, np.float32)
    x.ravel()[seed % x.size] += np.float32(value)
    args = x, dy, weight, bias, mean, var, True
    got, expected = batch_norm(*args), by_reference(lambda: batch_norm(*args))
    assert_same(got[:4], expected[:4], 20)
    for ours, right in zip(got[4:], expected[4:], strict=True):
        assert_close(ours, right, rtol=1e-6, atol=1e-6 * abs(value))


@given(
    seeds,
    shapes(),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -3e38]),
    st.booleans(),
)
def test_what_is_not_finite_stays_in_its_channel(seed, shape, value, training):
    x, dy, *vectors = problem(seed, shape, np.float32)
    # In evaluation the readable version works in float32 too, and overflows elsewhere.
    x[-1, -1] = value if training else value * 1e-8
    with np.errstate(all="ignore"):
        got = batch_norm(x, dy, *vectors, training)
        expected = by_reference(lambda: batch_norm(x, dy, *vectors, training))
    for ours, right in zip(got, expected, strict=True):
        assert (np.isnan(ours) == np.isnan(right)).all()
        # The readable version rounds products of such a size to float32.
        np.testing.assert_allclose(ours, right, rtol=1e-3, atol=2e-5)
    assert np.isfinite(got[0][:, :-1]).all()
    assert np.isfinite(got[1][:, :-1]).all()


@given(seeds, shapes(), st.sampled_from([np.nan, np.inf, 1e30]), st.booleans())
def test_a_gradient_that_is_not_finite_stays_in_its_channel(
    seed, shape, value, training
):
    x, dy, *vectors = problem(seed, shape, np.float32)
    dy[-1, -1] = value
    with np.errstate(all="ignore"):
        got = batch_norm(x, dy, *vectors, training)
        expected = by_reference(lambda: batch_norm(x, dy, *vectors, training))
    for ours, right in zip(got[1:4], expected[1:4], strict=True):
        assert (np.isfinite(ours) == np.isfinite(right)).all()
        channels = (..., slice(0, -1)) if ours.ndim == 1 else np.s_[:, :-1]
        assert_close(ours[channels], right[channels], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_stays_in_its_sample(norm, value):
    x, dy, *_ = problem(0, (6, 40), np.float32)
    x[2, 3] = value
    with np.errstate(all="ignore"):
        y, dx, *_ = norm(x, dy, None, None)
        right = by_reference(lambda: norm(x, dy, None, None))
    rest = np.arange(6) != 2
    for ours, theirs in ((y, right[0]), (dx, right[1])):
        assert np.isfinite(ours[rest]).all()
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


# Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1e5])
@pytest.mark.parametrize("shape", REAL, ids=str)
def test_every_number_of_threads_gives_the_same_bits(shape, offset, monkeypatch):
    monkeypatch.setattr(compiled, "LARGE", 1)
    monkeypatch.setattr(compiled, "LEAST", 1)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape), np.float32)
    x[:, ::2] += np.float32(offset)
    x[0, ::3] += 1000  # pivots that miss: a channel is done twice, its neighbour once
    weight, bias, mean, var = rng.uniform(0.5, 2, (4, shape[1])).astype(np.float32)
    last = rng.uniform(0.5, 2, (2, shape[-1])).astype(np.float32)
    found = []
    for number in (1, 2, 3, 5, 64):
        monkeypatch.setenv("BNLIB_NUM_THREADS", str(number))
        found.append(
            fingerprint(
                *batch_norm(x, dy, weight, bias, mean, var, True),
                *batch_norm(x, dy, weight, bias, mean, var, False),
                *group_norm(x, dy, weight, bias, 1),
                *layer_norm(x, dy, *last),
                *rms_norm(x, dy, *last),
            )
        )
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize(
    ("length", "size", "threads", "most", "number"),
    [
        (64, 2**10, 4, 64, 1),
        (64, 2**20, 1, 64, 1),
        (64, 2**20, 2, 64, 4),
        (64, 2**20, 2, 3, 3),
        (3, 2**20, 2, 99, 3),
        (1, 2**20, 8, 0, 1),
    ],
)
def test_the_work_is_cut_into_parts(length, size, threads, most, number):
    cuts = compiled.parts(length, size, threads, most)
    assert len(cuts) == number
    assert [i for first, last in cuts for i in range(first, last)] == list(
        range(length)
    )


@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-2, ValueError), ("2", TypeError)]
)
def test_a_wrong_number_of_threads_is_refused_and_changes_nothing(number, error):
    x, dy, _, _, mean, var = problem(0, (64, 32), np.float32)
    before = fingerprint(mean, var)
    with pytest.raises(error, match="batch_norm: expected threads "):
        F.batch_norm(x, mean, var, training=True, threads=number)
    assert fingerprint(mean, var) == before
    _, cache = F.batch_norm_forward(x, mean, var)
    with pytest.raises(error, match="batch_norm_backward: expected threads "):
        F.batch_norm_backward(dy, cache, threads=number)


@pytest.mark.parametrize("shape", [(64, 32), (8, 4, 12, 12)])
def test_a_wrong_variable_is_refused_and_changes_nothing(monkeypatch, shape):
    monkeypatch.setenv("BNLIB_NUM_THREADS", "many")
    x, _, _, _, mean, var = problem(0, shape, np.float32)
    before = fingerprint(mean, var)
    with pytest.raises(ValueError, match="BNLIB_NUM_THREADS"):
        F.batch_norm(x, mean, var, training=True)
    with pytest.raises(ValueError, match="BNLIB_NUM_THREADS"):
        F.layer_norm(x, shape[-1:])
    assert fingerprint(mean, var) == before


# Which way is taken ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "size", "ours"),
    [
        (None, 2, False),
        (None, 2000, True),
        ("auto", 2, False),
        ("auto", 2000, True),
        ("compiled", 2, True),
        ("reference", 2000, False),
    ],
)
def test_the_variable_says_which_way(monkeypatch, backend, size, ours):
    if backend is None:
        monkeypatch.delenv("BNLIB_BACKEND")
    else:
        monkeypatch.setenv("BNLIB_BACKEND", backend)
    x = np.ones((size, 2), np.float32)
    assert (F.batch_norm_forward(x, None, None, training=True)[1].x_hat is None) == ours
    assert (F.layer_norm_forward(x, (2,))[1].x_hat is None) == ours


def test_another_value_is_refused(monkeypatch):
    monkeypatch.setenv("BNLIB_BACKEND", "fast")
    message = "expected BNLIB_BACKEND as one of auto, reference, compiled, got 'fast'"
    with pytest.raises(ValueError, match=message):
        F.rms_norm(np.ones((2, 3)), (3,))


def python(code, **variables):
    """Run a program that imports bnlib; return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(SOURCES.parent), **variables}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


STEP = """
import sys
{before}
import numpy as np
from bnlib import functional as F
x = np.random.default_rng(0).standard_normal((64, 32, 3), np.float32)
y, cache = F.batch_norm_forward(x, None, None, training=True)
z, other = F.group_norm_forward(y, 4)
results = [*F.group_norm_backward(x, other), *F.batch_norm_backward(x, cache)]
print(cache.x_hat is None, *(float(np.vdot(a, a)) for a in (y, z, *results)))
"""


def test_without_numba_the_readable_version_runs():
    without = "sys.modules['numba'] = None"
    way, *found = python(STEP.format(before=without), BNLIB_BACKEND="auto").split()
    assert way == "False"
    expected = python(STEP.format(before=""), BNLIB_BACKEND="reference").split()
    assert [way, *found] == expected
    way, *others = python(STEP.format(before=""), BNLIB_BACKEND="auto").split()
    assert way == "True"
    np.testing.assert_allclose(
        [float(a) for a in found], [float(a) for a in others], rtol=1e-5, atol=1e-8
    )
    code = "import sys; sys.modules['numba'] = None; import numpy as np, bnlib\n"
    code += "try: bnlib.LayerNorm(3)(np.ones((2, 3), 'f'))\n"
    code += "except ImportError as error: print(error)"
    message = "bnlib: BNLIB_BACKEND=compiled needs Numba: pip install 'bnlib[fast]'"
    assert python(code, BNLIB_BACKEND="compiled") == message


def test_numba_is_imported_when_it_is_needed():
    code = "import sys, numpy as np, bnlib\n"
    code += "for n in (2, 2000): bnlib.BatchNorm1d(2)(np.ones((n, 2), 'f')); "
    code += "print('numba' in sys.modules)"
    assert python(code, BNLIB_BACKEND="auto") == "False\nTrue"


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    file = tmp_path / "file"
    file.touch()
    way, *_ = python(
        STEP.format(before=""), NUMBA_CACHE_DIR=str(file / "folder")
    ).split()
    assert way == "True"


def test_compiled_code_is_kept_on_disk(tmp_path):
    code = STEP.format(before="") + (
        "from bnlib import compiled\n"
        "loop = compiled.channels_forward(np.dtype('float32'))\n"
        "print(sum(loop.stats.cache_hits.values()))"
    )
    first, second = (
        python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines() for _ in "ab"
    )
    assert (first[1], second[1]) == ("0", "1")
    assert first[0] == second[0]


# N, G, K, S, and whether samples share a mean: rows of one channel each, short and long runs.
PLACES = [
    ((2, 1, 18, 1), False),
    ((3, 2, 9, 1), False),
    ((2, 1, 3, 20), False),
    ((6, 5, 1, 9), True),
    ((2, 3, 1, 300), True),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("view", "across"), PLACES)
def test_where_arrays_lie_changes_no_bit(view, across, dtype):
    """Arrays less than a vector apart: there the compiler takes another road."""
    N, G, K, S = view
    rng = np.random.default_rng(0)
    sizes = {
        "x": (N, G * K * S),
        "dy": (N, G * K * S),
        "w": G * K,
        "out": (N, G * K * S),
    }
    arrays = {name: rng.standard_normal(n).astype(dtype) for name, n in sizes.items()}
    found = set()
    for order, gap in itertools.product(itertools.permutations(arrays), (0, 16, 64)):
        memory = np.zeros(sum(a.nbytes + gap for a in arrays.values()), np.uint8)
        placed, at = {}, 0
        for name in order:
            a = arrays[name]
            placed[name] = memory[at : at + a.nbytes].view(dtype).reshape(a.shape)
            placed[name][...] = a
            at += a.nbytes + gap
        x, dy, w, out = (placed[name] for name in sizes)
        y, mean, _, invstd = compiled.forward(
            x, view, across, w, w, 1e-5, True, None, out, 1
        )
        bits = [y.tobytes(), mean.tobytes()]
        gradients = compiled.backward(
            dy, x, view, across, w, True, mean, invstd, out, 1
        )
        found.add(tuple(bits + [a.tobytes() for a in gradients]))
    assert len(found) == 1
