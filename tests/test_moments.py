"""Mean and variance against exact arithmetic, and the merging of moments."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import LAYOUTS, assert_close, fingerprint, laid_out
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlib.moments import center, merge_moments, moments, reduce_moments


def exact_moments(values):
    """Return mean and biased variance of one column, computed with fractions."""
    values = [Fraction(float(v)) for v in values]
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    st.sampled_from([0, 1, 1e2, 1e4, 1e6, -1e6]),
    st.sampled_from([np.float32, np.float64]),
)
def test_moments_are_right_to_round_off(values, offset, dtype):
    x = (np.array(values) + offset).astype(dtype)
    mean, var = exact_moments(x)
    got_mean, got_var = moments(x, 0)
    size = float(np.abs(x).max())
    assert abs(Fraction(float(got_mean[0])) - mean) <= 1e-15 * size
    # Besides the round-off of d there is that of the mean, which counts by its square only.
    rtol = 3e-7 if dtype is np.float32 else 3e-15
    assert abs(Fraction(float(got_var[0])) - var) <= rtol * var + (1e-15 * size) ** 2


@pytest.mark.parametrize("offset", [1e14, 1e15, -1e15])
def test_float64_at_huge_offsets_needs_the_correction(offset):
    x = offset + np.array([0.0, 1, 1, 3, 3, 3, 5])
    mean, var = moments(x, 0)
    _, exact = exact_moments(x)
    assert_close(var, np.array([float(exact)]), rtol=1e-15)
    without_correction = np.square(center(x, mean)).mean()
    assert abs(without_correction - float(exact)) > 1e-6


@given(
    st.integers(2, 30),
    st.floats(1e-9, 1e15),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_nearly_constant_column_has_no_negative_variance(n, value, seed, dtype):
    x = np.full(n, value, dtype)
    steps = np.random.default_rng(seed).integers(0, 2, n).astype(bool)
    x[steps] = np.nextafter(x[steps], dtype(np.inf))
    assert moments(x, 0)[1] >= 0
    assert moments(np.full(n, value, dtype), 0)[1] >= 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axes", [0, 1, -1, (0,), (0, 2), (0, 2, 3), (1, 2, 3)])
def test_axes_layouts_and_dtypes(axes, dtype, layout):
    x = np.random.default_rng(0).standard_normal((5, 3, 4, 2)).astype(dtype)
    x = laid_out(x, layout)
    before = fingerprint(x)
    mean, var = moments(x, axes)
    wide = x.astype(np.float64)
    assert_close(mean, wide.mean(axes, keepdims=True), atol=1e-15)
    assert_close(var, wide.var(axes, keepdims=True), rtol=3e-7)
    assert fingerprint(x) == before


def test_float16_up_to_its_largest_value():
    x = np.array([[65504], [-65504], [65504], [65504]], np.float16)
    mean, var = moments(x, 0)
    assert mean == 32752
    assert var == pytest.approx(3 * 32752**2, rel=1e-7)


@pytest.mark.parametrize(
    ("shape", "axes", "result"),
    [
        ((0, 3), 0, (1, 3)),
        ((0, 3, 2), (0, 2), (1, 3, 1)),
        ((2, 3, 0), (0, 2), (1, 3, 1)),
    ],
)
def test_nothing_to_average_is_nan_without_a_warning(shape, axes, result):
    mean, var = moments(np.zeros(shape, np.float16), axes)
    for a in (mean, var):
        assert a.dtype == np.float64
        assert a.shape == result
        assert np.isnan(a).all()
    assert not np.shares_memory(mean, var)


def test_nan_stays_in_its_column():
    x = np.array([[1.0, np.nan], [3.0, 2.0]])
    mean, var = moments(x, 0)
    assert (mean[0, 0], var[0, 0]) == (2, 1)
    assert np.isnan([mean[0, 1], var[0, 1]]).all()


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8),
    st.floats(-1e7, 1e7),
    st.floats(-1, 1),
)
def test_center_keeps_the_digits_of_a_small_difference(values, offset, rest):
    x = (np.array(values) + offset).astype(np.float32)
    mean = np.array(float(x[0]) + rest)
    got = center(x, mean)
    assert got.dtype == np.float32
    for value, difference in zip(x, got, strict=True):
        exact = Fraction(float(value)) - Fraction(float(mean))
        # The rest of the mean is at most half a step of float32, kept to 24 bits itself.
        allowed = abs(exact) * 2.0**-22 + abs(offset) * 2.0**-46 + 1e-12
        assert abs(Fraction(float(difference)) - exact) <= allowed


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_center_works_in_float32_or_float64(given_dtype, dtype):
    x = np.array([[1, 2], [3, 5]], given_dtype)
    assert_close(
        center(x, np.array([0.5, 1.5])), np.array([[0.5, 0.5], [2.5, 3.5]], dtype)
    )


columns = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 1.0, 1e4, -1e8]),
        st.integers(0, n),
        st.integers(0, n),
    )
)


@given(columns)
def test_merging_any_split_gives_the_whole(case):
    n, seed, offset, *cuts = case
    x = offset + np.random.default_rng(seed).standard_normal((n, 3))
    i, j = sorted(cuts)
    a, b, c = ((len(part), *moments(part, 0)) for part in np.split(x, [i, j]))
    left = merge_moments(*merge_moments(*a, *b), *c) if j > 0 else c
    right = merge_moments(*a, *merge_moments(*b, *c)) if i < n else a
    mean, var = moments(x, 0)
    for count, merged_mean, merged_var in (left, right):
        assert count == n
        assert_close(merged_mean, mean, rtol=1e-14, atol=1e-14)
        # A mean's round-off, 1e-16 of it, shows in the distance of the two means.
        assert_close(merged_var, var, rtol=1e-13, atol=abs(offset) * 1e-15)


@given(columns)
def test_merging_in_either_order_is_the_same(case):
    n, seed, offset, i, _ = case
    x = offset + np.random.default_rng(seed).standard_normal((n, 3))
    a, b = ((len(part), *moments(part, 0)) for part in np.split(x, [i]))
    one, other = merge_moments(*a, *b), merge_moments(*b, *a)
    assert one[0] == other[0] == n
    assert_close(one[1], other[1], rtol=1e-14, atol=1e-14)
    assert_close(one[2], other[2], rtol=1e-13)


def test_an_empty_group_changes_nothing_though_its_moments_are_nan():
    empty = (0, *moments(np.zeros((0, 2)), 0))
    group = (2, np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    for merged in (merge_moments(*empty, *group), merge_moments(*group, *empty)):
        assert merged[0] == 2
        assert_close(merged[1], group[1])
        assert_close(merged[2], group[2])


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(-50, 50), st.integers(-50, 50))
def test_merge_against_fractions(count_a, count_b, mean_a, mean_b):
    var_a, var_b = 2, 7
    count, mean, var = merge_moments(
        count_a,
        np.float64(mean_a),
        np.float64(var_a),
        count_b,
        np.float64(mean_b),
        np.float64(var_b),
    )
    n = count_a + count_b
    exact_mean = Fraction(count_a * mean_a + count_b * mean_b, n)
    square = Fraction(count_a * (var_a + mean_a**2) + count_b * (var_b + mean_b**2), n)
    assert count == n
    assert mean == pytest.approx(float(exact_mean), rel=1e-14, abs=1e-14)
    assert var == pytest.approx(float(square - exact_mean**2), rel=1e-13)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((0, 0), "at least one value, got two counts of 0"),
        ((-1, 3), "count_a >= 0, got -1"),
        ((3, -1), "count_b >= 0, got -1"),
    ],
)
def test_merge_refuses_impossible_counts(counts, message):
    zero = np.zeros(2)
    a, b = counts
    with pytest.raises(ValueError, match=f"^merge_moments: expected {message}"):
        merge_moments(a, zero, zero, b, zero, zero)


@pytest.mark.parametrize("axes", [2, -3, (0, 2), "0", None, 0.0, [0], True])
def test_axes_that_are_not_there(axes):
    with pytest.raises(ValueError, match=r"^moments: expected axes of an array with 2"):
        moments(np.ones((3, 2)), axes)


@given(columns)
def test_reduced_moments_are_those_of_all_values(case):
    n, seed, offset, *cuts = case
    x = offset + np.random.default_rng(seed).standard_normal((n, 3))
    parts = np.split(x, sorted(cuts))  # of three workers; some may have nothing
    own = [(len(part), *moments(part, 0)) for part in parts]
    # First round: counts and sums. Second round: squares about the common mean.
    counts = sum(
        np.array([m, *(m * mean.ravel() if m else np.zeros(3))]) for m, mean, _ in own
    )
    common = counts[1:] / counts[0]
    squares = sum(
        m * (var + (mean - common) ** 2).ravel() if m else np.zeros(3)
        for m, mean, var in own
    )
    for m, mean, var in own:
        sums = iter([counts, squares])
        count, mean, var = reduce_moments(
            m, mean, var, lambda vector, sums=sums: next(sums)
        )
        right_mean, right_var = moments(x, 0)
        assert count == n
        assert_close(mean, right_mean, rtol=1e-13, atol=1e-13)
        assert_close(var, right_var, rtol=1e-11, atol=abs(offset) * 1e-14)


@pytest.mark.parametrize(
    ("total", "message"),
    [
        (lambda v: None, "to return a NumPy array, got NoneType"),
        (lambda v: v.tolist(), "to return a NumPy array, got list"),
        (lambda v: v.astype(np.float32), "to return float64, got float32"),
        (lambda v: -v, "a sum over all workers, got -4 values in all of them and 4"),
        (lambda v: v * np.nan, "a sum over all workers, got nan values"),
        (lambda v: v[1:], r"of shape \(3,\), got \(2,\)"),
        (lambda v: v.sum(), "to return a NumPy array, got float64"),
    ],
)
def test_what_all_reduce_returns_is_checked(total, message):
    mean, var = moments(np.ones((4, 2)), 0)
    with pytest.raises(
        (TypeError, ValueError),
        match=f"^reduce_moments: expected .*all_reduce.*{message}",
    ):
        reduce_moments(4, mean, var, total)


def test_all_reduce_may_write_into_its_vector():
    def twice(vector):
        vector *= 2
        return vector

    mean, var = moments(np.array([[1.0], [3.0]]), 0)
    before = fingerprint(mean, var)
    assert reduce_moments(2, mean, var, twice)[0] == 4
    assert fingerprint(mean, var) == before


def test_workers_without_any_value_have_no_moments():
    nothing = np.full(2, np.nan)
    count, mean, var = reduce_moments(0, nothing, nothing, lambda vector: vector)
    assert count == 0
    assert np.isnan([mean, var]).all()


def test_one_value_in_all_workers_is_its_own_mean():
    def with_an_empty_worker(vector):
        return vector

    one = np.array([3.0, -2.0])
    count, mean, var = reduce_moments(1, one, np.zeros(2), with_an_empty_worker)
    assert count == 1
    assert_close(mean, one)
    assert_close(var, np.zeros(2))
    # The last entry of what is summed may be 0 or −1: the count is the first.
    for last in (0.0, -1.0):
        values = np.array([5.0, last])
        assert reduce_moments(2, values, np.ones(2), with_an_empty_worker)[0] == 2
