"""Batch normalization of small (N, C) arrays, where a call costs more than its work.

The same steps as in `bnlib.kernels`, on the whole array at once. Built in the chapter "The fast
kernel".
"""

import numpy as np

from bnlib.blocks import TALL, row_sums
from bnlib.coefficients import line, plane, shifted_moments

__all__ = ["backward", "forward", "suits"]

SMALL = 2**16  # floats, at most


def suits(x):
    """Whether an array is small, and has samples that can be added up in float32.

    Examples
    --------
    >>> [suits(np.ones((N, 128), np.float32)) for N in (32, 100, 128, 1024)]
    [True, False, True, False]
    """
    return x.ndim == 2 and x.size <= SMALL and (len(x) <= TALL or len(x) % TALL == 0)


def _sums(a, b):
    """Return the sums of a and of a·b over samples, float64."""
    if len(a) <= TALL:
        return row_sums(a, b).astype(np.float64)
    # As they lie in memory, several samples are one row: fewer rows to add up in float32.
    sums = row_sums(a.reshape(TALL, -1), b.reshape(TALL, -1))
    return np.add.reduce(sums.reshape(2, -1, a.shape[1]), 1, np.float64)


def forward(x, mean, var, weight, bias, eps, y):
    """Normalize `x`, by its own statistics or by given ones.

    Parameters
    ----------
    x : ndarray of float32, shape (N, C)
    mean, var : ndarray of float64, shape (C,), or None
        None: those of `x`.
    weight, bias : ndarray of shape (C,) or None
    eps : float
    y : ndarray of float32, shape (N, C)
        Where the output goes.

    Returns
    -------
    pivot, low, var, invstd : ndarray of float64, shape (C,)
        The pivot is None where none was needed.
    None
        Instead of them, if float32 cannot hold the sums.

    Examples
    --------
    >>> x, y = np.array([[1], [3]], np.float32), np.empty((2, 1), np.float32)
    >>> forward(x, None, None, None, None, 3.0, y)
    (None, array([2.]), array([1.]), array([0.5]))
    >>> y.ravel()
    array([-0.5,  0.5], dtype=float32)
    """
    pivot, d, low = None, x, mean
    if mean is None:
        low, var, good = shifted_moments(_sums(x, x), len(x))
    else:
        good = np.maximum.reduce(low * low - 4 * var) <= 0
    if not good:
        pivot = low.astype(np.float32).astype(np.float64)
        d = np.subtract(x, pivot.astype(np.float32), out=y)
        low = low - pivot
    if mean is None and not good:
        low, var, good = shifted_moments(_sums(d, d), len(x))
        if not good:
            return None
    invstd, scale, shift = line(low, var, weight, bias, eps)
    np.multiply(d, scale.astype(np.float32), out=y)
    np.add(y, shift.astype(np.float32), out=y)
    return pivot, low, var, invstd


def backward(dy, x, pivot, low, invstd, weight, training, dx):
    """Gradients of `forward`.

    Parameters
    ----------
    dy, x : ndarray of float32, shape (N, C)
    pivot, low, invstd : ndarray of float64, shape (C,)
        What `forward` returned.
    weight : ndarray of shape (C,) or None
    training : bool
        Whether the statistics were those of `x`.
    dx : ndarray of float32, shape (N, C)
        Where the gradient goes.

    Returns
    -------
    dx, dweight, dbias : ndarray of float32
    """
    d = x if pivot is None else np.subtract(x, pivot.astype(np.float32), out=dx)
    sums = _sums(dy, d)
    dweight, *flat = plane(sums, low, invstd, weight, len(d))
    a, b, c = (v.astype(np.float32) for v in flat)
    if training:
        np.multiply(d, b, out=dx)
        np.add(dx, c, out=dx)
        dy = np.add(dx, dy, out=dx)
    np.multiply(dy, a, out=dx)
    return dx, dweight.astype(np.float32), sums[0].astype(np.float32)
