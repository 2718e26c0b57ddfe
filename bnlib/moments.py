"""Mean and variance: the only code of the readable path that computes them.

Reference: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance: analysis
and recommendations", The American Statistician 37(3).
"""

import numpy as np

from bnlib._checks import (
    check_axes,
    check_floats,
    check_int,
    check_shape,
    compute_dtype,
)
from bnlib._types import AllReduce, Array

__all__ = ["center", "merge_moments", "moments", "reduce_moments"]


def center(x: Array, mean: Array) -> Array:
    """Subtract a mean that may be far larger than the spread of `x`, without losing its digits.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Values, any shape.
    mean : ndarray of float32 or float64
        Mean, broadcastable to `x`.

    Returns
    -------
    ndarray of float32 or float64
        ``x - mean``, shape of `x`, in float32 (float64 where `x` is float64).

    Notes
    -----
    At a mean of 1e6 the float32 numbers are 1/16 apart. So the mean is split into the float32
    nearest to it and the rest: the first difference is exact where x is close to the mean
    (Sterbenz's lemma), and the rest is subtracted from a small number. Derived in the chapter
    "Forward".

    Examples
    --------
    >>> x = np.array([1e6, 1e6 + 1], dtype=np.float32)
    >>> center(x, np.array(1e6 + 0.4))
    array([-0.4,  0.6], dtype=float32)
    """
    check_floats("center", "x", x)
    check_floats("center", "mean", mean)
    dtype = compute_dtype(x.dtype)
    high = mean.astype(dtype)
    low = (mean - high).astype(dtype)
    return (x - high) - low


def moments(
    x: Array, axes: int | tuple[int, ...], centered: bool = True
) -> tuple[Array, Array]:
    """Return mean and biased variance over `axes`, by the corrected two-pass algorithm.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Values, any shape.
    axes : int or tuple of int
        Axes to average over.
    centered : bool
        False for the second moment about 0 instead of the mean.

    Returns
    -------
    mean : ndarray of float64
        Shaped like `x`, with length 1 along `axes`; 0 if not `centered`.
    var : ndarray of float64
        The same shape. Both are NaN where there is nothing to average.

    Raises
    ------
    TypeError
        If `x` is no floating array.

    Notes
    -----
    ``var = mean(d²) − mean(d)²`` with ``d = x − mean`` (Chan, Golub & LeVeque 1983, eq. 1.7). The
    second term is zero but for the rounding of `mean`. All sums and squares are kept in float64,
    whatever the dtype of `x`: the square of a float32 may be beyond float32. Derived in the chapter
    "Forward".

    Examples
    --------
    >>> mean, var = moments(np.array([[1.0, 10.0], [3.0, 10.0]]), axes=0)
    >>> mean, var
    (array([[ 2., 10.]]), array([[1., 0.]]))
    """
    check_floats("moments", "x", x)
    check_axes("moments", axes, x.ndim)
    if x.size == 0:
        nothing = np.full_like(x.sum(axes, keepdims=True), np.nan, dtype=np.float64)
        return nothing, nothing.copy()
    mean = x.mean(axes, dtype=np.float64, keepdims=True)
    if not centered:
        square = np.square(x, dtype=np.float64).mean(axes, keepdims=True)
        return np.zeros_like(mean), square
    d = center(x, mean)
    correction = d.mean(axes, dtype=np.float64, keepdims=True)
    square = np.square(d, dtype=np.float64).mean(axes, keepdims=True)
    return mean, square - correction**2


def merge_moments(
    count_a: int,
    mean_a: Array,
    var_a: Array,
    count_b: int,
    mean_b: Array,
    var_b: Array,
) -> tuple[int, Array, Array]:
    """Merge the moments of two groups of values, without the values.

    Parameters
    ----------
    count_a : int
        Number of values in the first group; one of the two may be 0.
    mean_a, var_a : ndarray of float64
        Mean and biased variance of the first group, any shape.
    count_b : int
        Number of values in the second group.
    mean_b, var_b : ndarray of float64
        Mean and biased variance of the second group.

    Returns
    -------
    count : int
        Number of values in both groups.
    mean, var : ndarray of float64
        Of the union; `var` is biased.

    Raises
    ------
    TypeError, ValueError
        If a count is not an integer or negative, or both are 0.

    Notes
    -----
    Chan, Golub & LeVeque (1983), eq. 2.1. Derived in the chapter "Running statistics".

    Examples
    --------
    >>> merge_moments(2, np.array(1.0), np.array(1.0), 2, np.array(3.0), np.array(1.0))
    (4, np.float64(2.0), np.float64(2.0))
    """
    check_int("merge_moments", "count_a", count_a, low=0)
    check_int("merge_moments", "count_b", count_b, low=0)
    if count_a + count_b == 0:
        raise ValueError(
            "merge_moments: expected at least one value, got two counts of 0"
        )
    if count_a == 0:
        return count_b, mean_b, var_b
    if count_b == 0:
        return count_a, mean_a, var_a
    count = count_a + count_b
    a, b = count_a / count, count_b / count
    shift = mean_b - mean_a
    return count, mean_a + b * shift, a * var_a + b * var_b + a * b * shift**2


def reduce_moments(
    count: int, mean: Array, var: Array, all_reduce: AllReduce
) -> tuple[int, Array, Array]:
    """Merge the moments of the values of all workers.

    Parameters
    ----------
    count : int
        Number of values per channel that this worker has; it may be 0.
    mean, var : ndarray of float64
        Mean and biased variance of each channel; without meaning where `count` is 0.
    all_reduce : callable
        Takes a float64 vector and returns its sum over all workers. It is called twice, by every
        worker, whatever its count.

    Returns
    -------
    count : int
        Number of values per channel, of all workers.
    mean, var : ndarray of float64
        Of all values; `var` is biased. NaN where there is nothing to average.

    Raises
    ------
    TypeError, ValueError
        If `all_reduce` does not return a float64 vector of the length that it was given, or a sum
        that is less than what this worker has.

    Notes
    -----
    First the counts and sums, then the squares about the common mean, as in Chan, Golub & LeVeque
    (1983), eq. 2.1: sums of squares about 0 would lose a variance that is small beside the mean.
    Derived in the chapter "Many machines".

    Examples
    --------
    >>> twice = lambda vector: 2 * vector  # two workers with the same values
    >>> reduce_moments(2, np.array([1.0]), np.array([4.0]), twice)
    (4, array([1.]), array([4.]))
    """
    # What an empty batch has is NaN, and counts nothing.
    local_sum = count * mean.ravel() if count else np.zeros(mean.size)
    totals = reduced("reduce_moments", np.array([count, *local_sum]), all_reduce)
    if not totals[0] >= count:
        raise ValueError(
            "reduce_moments: expected all_reduce to return a sum over all workers, "
            f"got {totals[0]:g} values in all of them and {count} in this one"
        )
    if totals[0] == 0:
        return 0, mean, var
    mean_all = totals[1:].reshape(mean.shape) / totals[0]
    squares = var + (mean - mean_all) ** 2  # about the common mean
    local_sum = count * squares.ravel() if count else np.zeros(mean.size)
    var_all = reduced("reduce_moments", local_sum, all_reduce) / totals[0]
    return int(totals[0]), mean_all, var_all.reshape(var.shape)


def reduced(call: str, vector: Array, all_reduce: AllReduce) -> Array:
    """Return the sum of `vector` over all workers; raise if that is no vector like it."""
    total = all_reduce(vector.copy())
    if not isinstance(total, np.ndarray):
        raise TypeError(
            f"{call}: expected all_reduce to return a NumPy array, got "
            f"{type(total).__name__}: turn it into one, such as tensor.numpy()"
        )
    check_floats(call, "what all_reduce returns", total)
    if total.dtype != np.float64:
        raise TypeError(
            f"{call}: expected all_reduce to return float64, got {total.dtype}"
        )
    check_shape(call, "what all_reduce returns", total, vector.shape)
    return total
