"""The fast kernel gives what the textbook version gives, whichever way it takes through memory."""

import numpy as np
import pytest
from helpers import (
    KERNEL_SIZES,
    LAYOUTS,
    assert_close,
    fingerprint,
    kernel_constants,
    laid_out,
    problem,
    shapes,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnlib import blocks, kernels, normalize
from bnlib import functional as F

seeds = st.integers(0, 2**32 - 1)
offsets = st.lists(
    st.sampled_from([0.0, 0.5, 1.9, -3.0, 1e3, 1e6]), min_size=4, max_size=4
)
REAL = (
    (64, 128),  # small
    (1024, 64),  # small, more samples than are added up in float32
    (100, 128),  # rows, several samples in each, and some left over
    (2047, 4),
    (9, 9000),  # rows, two groups of channels
    (70, 40, 5, 5),  # rows, with planes
    (6, 300, 16, 16),  # planes, several groups of channels
    (3, 5, 9000),  # planes, several runs of floats
    (1, 2, 300_000),  # planes longer than a block
    (2, 3, 4, 9, 16),
)


def wide(a):
    """Return a float64 copy of an array; None for None."""
    return None if a is None else a.astype(np.float64)


def by_textbook(x, dy, mean, var, weight, bias, *settings):
    """Return y, dx, dweight, dbias and the running statistics, computed in float64."""
    x, dy, *vectors = map(wide, (x, dy, mean, var, weight, bias))
    y, cache = normalize.batch_norm_forward(x, *vectors, *settings)
    return y, *normalize.normalize_backward(dy, cache), *vectors[:2]


def by_kernel(x, dy, mean, var, weight, bias, *settings, **options):
    """Return the same from the fast kernel, and make sure that it was the one."""
    stats = [None if v is None else v.copy() for v in (mean, var)]
    y, saved = F.batch_norm_forward(x, *stats, weight, bias, *settings, **options)
    assert isinstance(saved, kernels.Saved)
    assert {v.dtype for v in saved[1:4] if v is not None} == {np.dtype(np.float64)}
    return y, *F.batch_norm_backward(dy, saved, **options), *stats


def assert_same(got, expected, atol=5e-6):
    """Compare the six results to round-off; the running mean to that of its own size."""
    for ours, right in zip(got, expected, strict=True):
        if right is not None:
            assert ours.dtype == np.float32
            assert_close(wide(ours), right, rtol=5e-6, atol=atol)


@settings(max_examples=300)
@given(
    st.data(),
    KERNEL_SIZES,
    seeds,
    shapes(),
    offsets,
    st.sets(st.sampled_from(["weight", "bias", "stats", "training"])),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([1e-5, 0.5, 1e-12]),
)
def test_every_way_gives_what_the_textbook_gives(
    data, sizes, seed, shape, offset, has, momentum, eps
):
    x, dy, weight, bias, mean, var = problem(seed, shape, np.float32)
    offset = np.array(offset[: shape[1]], np.float32)
    x += offset.reshape(-1, *[1] * (len(shape) - 2))
    mean += offset
    training = "training" in has or "stats" not in has
    x = laid_out(x, data.draw(st.sampled_from(["C", "read_only"])))
    dy = laid_out(dy, data.draw(st.sampled_from(LAYOUTS)))
    args = [x, dy, mean, var, weight, bias]
    for name, places in (("stats", (2, 3)), ("weight", (4,)), ("bias", (5,))):
        for i in places:
            args[i] = laid_out(args[i], "read_only") if name in has else None
    before = fingerprint(*args)
    threads = data.draw(st.sampled_from([None, 1, 3]))
    with kernel_constants(**sizes):
        got = by_kernel(*args, training, momentum, eps, threads=threads)
    assert_same(got, by_textbook(*args, training, momentum, eps))
    assert fingerprint(*args) == before


@given(seeds, shapes(), st.sampled_from(LAYOUTS), st.booleans(), st.integers(0, 2))
def test_other_dtypes_and_layouts_go_to_the_textbook(
    seed, shape, layout, training, kind
):
    dtype = (np.float16, np.float32, np.float64)[kind]
    x, dy, *vectors = problem(seed, shape, dtype)
    vectors = [v.astype(np.result_type(dtype, np.float32)) for v in vectors]
    weight, bias, *stats = vectors
    x, dy = laid_out(x, layout), laid_out(dy, layout)
    again = [v.copy() for v in stats]
    y, cache = F.batch_norm_forward(x, *stats, weight, bias, training)
    if dtype == np.float32 and x.flags.c_contiguous:
        assert isinstance(cache, kernels.Saved)
        return
    right, same = normalize.batch_norm_forward(x, *again, weight, bias, training)
    got = y, *F.batch_norm_backward(dy, cache), *stats
    expected = right, *normalize.normalize_backward(dy, same), *again
    assert fingerprint(*got) == fingerprint(*expected)


@pytest.mark.parametrize("offset", [0, 1.9, 30])
@pytest.mark.parametrize("shape", REAL, ids=str)
def test_sizes_as_they_are(shape, offset):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape), np.float32)
    x += np.float32(offset)
    weight, bias, mean = rng.standard_normal((3, shape[1]), np.float32)
    mean += np.float32(offset)
    var = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
    for training in (True, False):
        args = x, dy, mean, var, weight, bias, training, 0.3, 1e-5
        assert_same(
            by_kernel(*args), by_textbook(*args), atol=2e-6 * x[:, 0].size ** 0.5
        )


@given(KERNEL_SIZES, seeds, shapes(), st.sampled_from([0.0, 0.1, -7e6, 1e30]))
@example({"SMALL": 0}, 0, (6, 4), 0.1)
def test_a_constant_channel_gives_the_bias(sizes, seed, shape, value):
    x, dy, weight, bias, mean, var = problem(seed, shape, np.float32)
    x[:, 0] = value
    args = x, mean, var, weight, bias, True, 1.0
    with kernel_constants(**sizes):
        y, cache = F.batch_norm_forward(*args)
        dx, dweight, _ = F.batch_norm_backward(dy, cache)
    assert (y[:, 0] == bias[0]).all()
    assert (mean[0], var[0]) == (np.float32(value), 0)
    m = dy[:, 0].size
    centred = wide(dy[:, 0]) - wide(dy[:, 0]).mean()
    assert_close(wide(dx[:, 0]), centred * wide(weight)[0] / 1e-5**0.5, atol=1e-3)
    assert abs(dweight[0]) <= 1e-4 * m


def test_a_pivot_that_misses_is_put_right():
    x = np.full((2, 1, 2000), 0.1, np.float32)  # long sums in float32 are not exact
    with kernel_constants(RUN=2000):
        y, saved = F.batch_norm_forward(x, None, None, training=True)
    assert (saved.pivot, saved.low) == (x[0, 0, 0], 0)
    assert (y == 0).all()


@pytest.mark.parametrize(("C", "fold"), [(1, 4096), (3, 1365), (4096, 1), (9000, 1)])
def test_short_samples_are_laid_end_to_end(C, fold):
    assert blocks.walk_of((5000, C)).fold == fold


@pytest.mark.parametrize("size", [2**16, 2**16 + 1, 2**18 + 7])
def test_large_memory_begins_at_a_cache_line(size):
    room = [blocks.empty((size,)) for _ in range(4)]
    assert {a.ctypes.data % 64 for a in room} == {0}
    assert {a.size for a in room} == {size}


@given(KERNEL_SIZES, seeds, shapes((3, 4)), st.sampled_from([1e2, 1e4, -1e6]))
def test_one_value_far_from_the_others(sizes, seed, shape, value):
    x, dy, *vectors = problem(seed, shape, np.float32)
    x.ravel()[seed % x.size] += value
    weight, bias, mean, var = vectors
    args = x, dy, mean, var, weight, bias, True, 0.1, 1e-5
    with kernel_constants(**sizes):
        got = by_kernel(*args)
    expected = by_textbook(*args)
    assert_same(got[:4], expected[:4], atol=2e-5)
    for ours, right in zip(got[4:], expected[4:], strict=True):
        assert_close(wide(ours), right, rtol=1e-6, atol=1e-6 * abs(value))


@given(
    KERNEL_SIZES,
    seeds,
    shapes(),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -3e38]),
    st.booleans(),
)
def test_what_is_not_finite_stays_in_its_channel(sizes, seed, shape, value, training):
    x, dy, weight, bias, *stats = problem(seed, shape, np.float32)
    # In evaluation the textbook works in float32 too, and overflows elsewhere.
    x[-1, -1] = value if training else value * 1e-8
    again = [v.copy() for v in stats]
    with kernel_constants(**sizes), np.errstate(all="ignore"):
        y, cache = F.batch_norm_forward(x, *stats, weight, bias, training)
        got = y, *F.batch_norm_backward(dy, cache)
        right, same = normalize.batch_norm_forward(x, *again, weight, bias, training)
        expected = right, *normalize.normalize_backward(dy, same)
    for ours, theirs in zip((*got, *stats), (*expected, *again), strict=True):
        assert (np.isnan(ours) == np.isnan(theirs)).all()
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    rest = (slice(None), slice(0, -1))
    assert np.isfinite(y[rest]).all()
    assert np.isfinite(got[1][rest]).all()


@given(
    KERNEL_SIZES,
    seeds,
    shapes(),
    st.sampled_from([np.nan, np.inf, 1e30]),
    st.booleans(),
)
def test_a_gradient_that_is_not_finite_stays_in_its_channel(
    sizes, seed, shape, value, training
):
    x, dy, weight, bias, *stats = problem(seed, shape, np.float32)
    dy[-1, -1] = value
    with kernel_constants(**sizes), np.errstate(all="ignore"):
        _, cache = F.batch_norm_forward(x, *stats, weight, bias, training)
        dx, dweight, dbias = F.batch_norm_backward(dy, cache)
        _, same = normalize.batch_norm_forward(x, *stats, weight, bias, training)
        right, *vectors = normalize.normalize_backward(dy, same)
    assert (np.isfinite(dx) == np.isfinite(right)).all()
    assert_close(dx[:, :-1], right[:, :-1], rtol=1e-4, atol=2e-5)
    for ours, theirs in zip((dweight, dbias), vectors, strict=True):
        assert_close(ours[:-1], theirs[:-1], rtol=1e-4, atol=2e-5)
        assert np.isfinite(ours[-1]) == np.isfinite(theirs[-1])


@pytest.mark.parametrize("eps", [1e-30, 1.1e-30])
def test_an_eps_that_float32_squares_cannot_see_goes_to_the_textbook(eps):
    x = np.array([[-1e-24], [1e-24]], np.float32)
    y, cache = F.batch_norm_forward(x, None, None, training=True, eps=eps)
    assert isinstance(cache, kernels.Saved) == (eps > 1e-30)
    right, _ = normalize.batch_norm_forward(x, None, None, training=True, eps=eps)
    assert_close(y, right, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-14, 1e-6, 1e6, 1e14])
def test_scales_that_float32_can_square(scale):
    x, dy, *_ = problem(0, (40, 3), np.float32)
    x *= np.float32(scale)
    args = x, dy, None, None, None, None, True, 0.1, 1e-29
    got, expected = by_kernel(*args), by_textbook(*args)
    for ours, right in zip(got[:4], expected[:4], strict=True):
        assert_close(wide(ours), right, atol=5e-6 * np.abs(right).max())
