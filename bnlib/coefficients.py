"""From sums over a mini-batch to the few numbers per channel that the fast kernel needs.

All of them are float64 vectors of C numbers. A pivot is a number per channel that is subtracted
from x before anything is added up; without one it is 0. Built in the chapter "The fast kernel".
"""

import math

import numpy as np

__all__ = ["line", "plane", "shifted_moments"]


def shifted_moments(sums, m):
    """Turn the sums of d = x − pivot and of d² into the mean of d and the variance.

    Parameters
    ----------
    sums : ndarray of float64, shape (2, C)
        They are overwritten.
    m : int
        Number of values per channel.

    Returns
    -------
    low, var : ndarray of float64, shape (C,)
        ``low = mean − pivot``; `var` is biased.
    good : bool
        Whether every variance is as exact as its sums: False where the pivot is more than two
        standard deviations away from the mean, or where a sum is not finite.

    Notes
    -----
    ``var = mean(d²) − low²``. It loses digits only where ``low²`` is much the larger of `var` and
    itself: Chan, Golub & LeVeque (1983), section 3.

    Examples
    --------
    >>> shifted_moments(np.array([[4.0], [10.0]]), 2)
    (array([2.]), array([1.]), True)
    """
    sums /= m
    low, var = sums
    square = low * low
    var -= square
    square -= 4 * var
    good = np.maximum.reduce(square) <= 0 and np.dot(var, var) < math.inf
    return low, var, bool(good)


def line(low, var, weight, bias, eps):
    """Find the straight line that batch normalization is, for each channel.

    Parameters
    ----------
    low, var : ndarray of float64, shape (C,)
    weight, bias : ndarray of shape (C,) or None
    eps : float

    Returns
    -------
    invstd, scale, shift : ndarray of float64, shape (C,)
        ``y = scale · (x − pivot) + shift``.

    Examples
    --------
    >>> line(np.array([2.0]), np.array([3.0]), None, None, 1)
    (array([0.5]), array([0.5]), array([-1.]))
    """
    invstd = var + eps
    np.sqrt(invstd, out=invstd)
    np.divide(1, invstd, out=invstd)
    scale = invstd if weight is None else weight * invstd
    shift = low * scale
    np.subtract(0 if bias is None else bias, shift, out=shift)
    return invstd, scale, shift


def plane(sums, low, invstd, weight, m):
    """Turn the sums of dy and of dy·(x − pivot) into the numbers that give dx.

    Parameters
    ----------
    sums : ndarray of float64, shape (2, C)
    low, invstd : ndarray of float64, shape (C,)
    weight : ndarray of shape (C,) or None
    m : int
        Number of values per channel.

    Returns
    -------
    dweight, a, b, d : ndarray of float64, shape (C,)
        In training ``dx = a · (b · (x − pivot) + d + dy)``, in evaluation ``dx = a · dy``.

    Notes
    -----
    The closed form of the chapter "Backward" with ``x_hat = (x − pivot − low) · invstd``.

    Examples
    --------
    >>> plane(np.array([[2.0], [5.0]]), np.array([1.0]), np.array([0.5]), None, 4)
    (array([1.5]), array([0.5]), array([-0.1875]), array([-0.3125]))
    """
    along_one, along = sums
    dweight = along - low * along_one
    dweight *= invstd
    a = invstd if weight is None else weight * invstd
    b = dweight * invstd
    b /= -m
    d = along_one / -m
    d -= b * low
    return dweight, a, b, d
