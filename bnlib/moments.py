"""Mean and variance: the only code in bnlib that computes them.

Reference: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance: analysis
and recommendations", The American Statistician 37(3).
"""

import numpy as np

from bnlib._checks import compute_dtype

__all__ = ["center", "merge_moments", "moments"]


def center(x, mean):
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
    dtype = compute_dtype(x.dtype)
    high = mean.astype(dtype)
    low = (mean - high).astype(dtype)
    return (x - high) - low


def moments(x, axes):
    """Mean and biased variance of `x` over `axes`, by the corrected two-pass algorithm.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Values, any shape.
    axes : int or tuple of int
        Axes to average over.

    Returns
    -------
    mean, var : ndarray of float64
        Shaped like `x`, with length 1 along `axes`. NaN where there is nothing to average.

    Notes
    -----
    ``var = mean(d²) − mean(d)²`` with ``d = x − mean`` (Chan, Golub & LeVeque 1983, eq. 1.7). The
    second term is zero but for the rounding of `mean`. All sums are kept in float64, whatever the
    dtype of `x`. Derived in the chapter "Forward".

    Examples
    --------
    >>> mean, var = moments(np.array([[1.0, 10.0], [3.0, 10.0]]), axes=0)
    >>> mean, var
    (array([[ 2., 10.]]), array([[1., 0.]]))
    """
    if x.size == 0:
        nothing = np.full_like(x.sum(axes, keepdims=True), np.nan, dtype=np.float64)
        return nothing, nothing.copy()
    mean = x.mean(axes, dtype=np.float64, keepdims=True)
    d = center(x, mean)
    correction = d.mean(axes, dtype=np.float64, keepdims=True)
    var = np.square(d).mean(axes, dtype=np.float64, keepdims=True) - correction**2
    return mean, var


def merge_moments(count_a, mean_a, var_a, count_b, mean_b, var_b):
    """Moments of two groups of values together, from the moments of each.

    Parameters
    ----------
    count_a, count_b : int
        Number of values in each group; one of them may be 0.
    mean_a, mean_b : ndarray of float64
        Means, any shape.
    var_a, var_b : ndarray of float64
        Biased variances, the same shape.

    Returns
    -------
    count : int
    mean, var : ndarray of float64
        Of the union; `var` is biased.

    Raises
    ------
    ValueError
        If a count is negative, or both are 0.

    Notes
    -----
    Chan, Golub & LeVeque (1983), eq. 2.1. Derived in the chapter "Running statistics".

    Examples
    --------
    >>> merge_moments(2, np.array(1.0), np.array(1.0), 2, np.array(3.0), np.array(1.0))
    (4, np.float64(2.0), np.float64(2.0))
    """
    if min(count_a, count_b) < 0 or count_a + count_b == 0:
        raise ValueError(
            f"merge_moments: expected counts >= 0, got {count_a} and {count_b}"
        )
    if count_a == 0:
        return count_b, mean_b, var_b
    if count_b == 0:
        return count_a, mean_a, var_a
    count = count_a + count_b
    a, b = count_a / count, count_b / count
    shift = mean_b - mean_a
    return count, mean_a + b * shift, a * var_a + b * var_b + a * b * shift**2
