"""Batch normalization as functions, and the door to all other functions of bnlib.

``*_forward`` returns the output and a cache; ``*_backward`` turns the gradient of the output and
that cache into gradients of the inputs. `batch_norm` has PyTorch's signature. The channel axis is
axis 1. Layer and group normalization live in `bnlib.sample_norm`, convolution and pooling in
`bnlib.convolution`, everything else in `bnlib.ops`; all of them are found here too.

Reference: Ioffe & Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift".
"""

import math

import numpy as np

from bnlib import convolution, ops, sample_norm
from bnlib._checks import check_batch_norm, check_gradient, compute_dtype
from bnlib.convolution import *  # noqa: F403
from bnlib.moments import center, moments
from bnlib.ops import *  # noqa: F403
from bnlib.ops import per_channel
from bnlib.sample_norm import *  # noqa: F403

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_forward"]
__all__ += sample_norm.__all__ + convolution.__all__ + ops.__all__


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

    Parameters and errors are those of `batch_norm`.

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
    check_batch_norm(
        "batch_norm",
        x,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
    )
    if training:
        axes = (0, *range(2, x.ndim))  # every axis but the channels'
        m = math.prod(x.shape[axis] for axis in axes)  # values per channel
        mean, var = moments(x, axes)
        if running_mean is not None and m > 0:
            running_mean *= 1 - momentum
            running_mean += momentum * mean.ravel()
            running_var *= 1 - momentum
            running_var += momentum * var.ravel() * (m / (m - 1))  # unbiased
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

    Raises
    ------
    TypeError, ValueError
        If `dy` has not the dtype and shape of the output.

    Notes
    -----
    In training ``dx = weight · invstd · (dy − mean(dy) − x_hat · mean(dy · x_hat))``: Ioffe &
    Szegedy (2015), section 3, in closed form. In evaluation the statistics are constants and
    ``dx = weight · invstd · dy``. Derived in the chapter "Backward".
    """
    x_hat, invstd, weight, training, dtype = cache
    check_gradient("batch_norm_backward", dy, x_hat.shape, dtype)
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


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """Batch normalization over all axes but axis 1.

    Parameters
    ----------
    x : ndarray of shape (N, C) or (N, C, ...), float16, float32 or float64
        Input. It is not changed.
    running_mean, running_var : ndarray of shape (C,) or None
        Running statistics, float32 (float64 for a float64 input). In training they are updated in
        place, `running_var` with the unbiased variance of the batch; in evaluation they normalize.
    weight, bias : ndarray of shape (C,) or None
        Scale γ and shift β, dtype as the running statistics.
    training : bool
        Whether to normalize with the statistics of this batch.
    momentum : float
        Weight of the new batch in the running statistics, from 0 to 1.
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of shape (N, C, ...)
        Output, in the dtype of `x`. An empty batch gives an empty output, and leaves the running
        statistics alone.

    Raises
    ------
    TypeError
        If an array has not the dtype above.
    ValueError
        If a shape does not fit; if there is only one value per channel in training; if running
        statistics are missing in evaluation; if `eps` or `momentum` is out of range.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithms 1 and 2. Chapters "Forward" and "Running statistics".

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> batch_norm(x, None, None, training=True).round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    y, _ = batch_norm_forward(
        x, running_mean, running_var, weight, bias, training, momentum, eps
    )
    return y
