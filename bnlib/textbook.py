"""Batch normalization as the equations say it, for every floating dtype and memory layout.

This is the version to read, and the one by which `bnlib.kernels`, the fast one, is tested. The
arguments are checked in `bnlib.functional`, which chooses between the two.

Reference: Ioffe & Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift".
"""

import math

import numpy as np

from bnlib._checks import compute_dtype
from bnlib.moments import center, moments
from bnlib.ops import per_channel

__all__ = ["batch_norm_backward", "batch_norm_forward", "update_running"]


def update_running(running_mean, running_var, mean, var, m, momentum):
    """Move running statistics towards those of a batch, in place.

    Parameters
    ----------
    running_mean, running_var : ndarray of shape (C,)
    mean, var : ndarray of float64, shape (C,)
        Of a batch; `var` is biased, and made unbiased here.
    m : int
        Number of values per channel, at least 2.
    momentum : float
        Weight of the batch.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithm 2, step 10, as an exponential average. Derived in the chapter
    "Running statistics".

    Examples
    --------
    >>> running_mean, running_var = np.zeros(1), np.ones(1)
    >>> update_running(running_mean, running_var, np.array([4.0]), np.array([2.0]), 2, 0.5)
    >>> running_mean, running_var
    (array([2.]), array([2.5]))
    """
    running_mean *= 1 - momentum
    running_mean += momentum * mean
    running_var *= 1 - momentum
    running_var += momentum * (m / (m - 1)) * var  # unbiased


def batch_norm_forward(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """Normalize each channel of a mini-batch, then scale and shift; keep what the backward needs.

    Parameters are those of `bnlib.functional.batch_norm`, checked already.

    Returns
    -------
    y : ndarray of shape (N, C, ...)
        Output, in the dtype of `x`.
    cache : tuple
        For `batch_norm_backward`.

    Notes
    -----
    ``y = weight · (x − mean) / √(var + eps) + bias``: Ioffe & Szegedy (2015), Algorithm 1 in
    training, Algorithm 2 (step 11) in evaluation. Derived in the chapters "Forward" and "Running
    statistics".
    """
    if training:
        axes = (0, *range(2, x.ndim))  # every axis but the channels'
        m = math.prod(x.shape[axis] for axis in axes)  # values per channel
        mean, var = moments(x, axes)
        if running_mean is not None and m > 0:
            mean_c, var_c = mean.ravel(), var.ravel()
            update_running(running_mean, running_var, mean_c, var_c, m, momentum)
    else:
        mean, var = per_channel(running_mean, x), per_channel(running_var, x)

    invstd = (1 / np.sqrt(var + eps)).astype(compute_dtype(x.dtype))
    x_hat = center(x, mean) * invstd
    y = x_hat
    if weight is not None:
        y = y * per_channel(weight, x)
    if bias is not None:
        y = y + per_channel(bias, x)
    # Never hand out x_hat itself: the backward needs it unchanged.
    return y.astype(x.dtype, copy=y is x_hat), (
        x_hat,
        invstd,
        weight,
        training,
        x.dtype,
    )


def batch_norm_backward(dy, cache):
    """Gradients of a batch normalization, in training and in evaluation.

    Parameters
    ----------
    dy : ndarray of shape (N, C, ...)
        Gradient of the loss with respect to the output, in its dtype.
    cache : tuple
        From `batch_norm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, ...)
        Gradient with respect to `x`, in its dtype.
    dweight, dbias : ndarray of shape (C,)
        Gradients with respect to `weight` and `bias`; where there is none, with respect to the 1
        or 0 that stands in for it.

    Notes
    -----
    In training ``dx = weight · invstd · (dy − mean(dy) − x_hat · mean(dy · x_hat))``: Ioffe &
    Szegedy (2015), section 3, in closed form. In evaluation the statistics are constants and
    ``dx = weight · invstd · dy``. Derived in the chapter "Backward".
    """
    x_hat, invstd, weight, training, dtype = cache
    axes = (0, *range(2, dy.ndim))
    dbias = dy.sum(axes, dtype=np.float64)
    dweight = (dy * x_hat).sum(axes, dtype=np.float64)

    dx = dy
    if training:
        # An empty batch has m = 0, and no dx either.
        m = max(1, math.prod(dy.shape[axis] for axis in axes))
        dx = dy - per_channel(dbias / m, dy) - x_hat * per_channel(dweight / m, dy)
    scale = invstd if weight is None else invstd * per_channel(weight, dy)
    dx = (dx * scale).astype(dtype)
    return dx, dweight.astype(x_hat.dtype), dbias.astype(x_hat.dtype)
