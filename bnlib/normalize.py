"""One formula for all normalizations, as the equations say it: the axes are what differs.

This is the version to read, and the one by which the fast one is tested. Arguments are checked in
`bnlib.functional`, which chooses between the two.

References: Ioffe & Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift"; Ba, Kiros & Hinton (2016), "Layer Normalization"; Wu & He
(2018), "Group Normalization".
"""

import math
from typing import Any, NamedTuple

import numpy as np

from bnlib._checks import compute_dtype
from bnlib._state import assign
from bnlib._types import AllReduce, Array
from bnlib.moments import center, moments, reduce_moments, reduced
from bnlib.ops import per_channel

__all__ = [
    "BatchNormCache",
    "NormCache",
    "batch_norm_forward",
    "normalize_backward",
    "normalize_forward",
    "update_running",
]


class NormCache(NamedTuple):
    """What the backward of a normalization needs. Each normalization has a kind of its own.

    Parameters
    ----------
    x_hat : ndarray or None
        Normalized values. They may have another shape than x, with the channels in groups; `axes`,
        `shared` and `weight` belong to that shape. None in the compiled way, which computes them
        again from `x` and `mean`.
    invstd : ndarray
        ``1 / √(var + eps)``, of length 1 along `axes`.
    weight : ndarray or None
        Scale, broadcastable to `x_hat`.
    axes : tuple of int or None
        The axes that share one mean and one variance; None where these are constants.
    shared : tuple of int
        The axes that share one weight and one bias.
    shape : tuple of int
        Shape of x.
    parameters : tuple of int
        Shape of weight and bias.
    dtype : dtype
        Dtype of x.
    centered : bool
        Whether the mean was subtracted.
    m : int
        Number of values that share one mean, of all workers; 0 for what `axes` says.
    all_reduce : callable or None
        Sums a vector over all workers.
    x, mean : ndarray or None
        Input, and mean in float64.
    view : tuple of int or None
        Samples, groups, channels of a group, and positions.
    """

    x_hat: Any
    invstd: Array
    weight: Array | None
    axes: tuple[int, ...] | None
    shared: tuple[int, ...]
    shape: tuple[int, ...]
    parameters: tuple[int, ...]
    dtype: np.dtype[Any]
    centered: bool = True
    m: int = 0
    all_reduce: AllReduce | None = None
    x: Array | None = None
    mean: Array | None = None
    view: tuple[int, ...] | None = None


class BatchNormCache(NormCache):
    """The cache of batch normalization."""

    __slots__ = ()


def normalize_forward(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Bring values to mean 0 and standard deviation 1, then scale and shift.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Values, any shape.
    mean, var : ndarray of float32 or float64
        Mean and variance, broadcastable to `x`.
    weight, bias : ndarray or None
        Scale γ and shift β, broadcastable to `x`.
    eps : float
        Added to the variance.

    Returns
    -------
    y : ndarray of the shape and dtype of `x`
        ``weight · x_hat + bias``.
    x_hat : ndarray of float32 or float64
        ``(x − mean) · invstd``.
    invstd : ndarray of float32 or float64
        ``1 / √(var + eps)``.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithm 1. Derived in the chapter "Forward".

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, x_hat, invstd = normalize_forward(x, x.mean(0), x.var(0), None, None, 1e-5)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    dtype = compute_dtype(x.dtype)
    # No infinity from a tiny eps: 0 · ∞ would be NaN where values do not vary.
    invstd = np.minimum(1 / np.sqrt(var + eps), np.finfo(dtype).max).astype(dtype)
    x_hat = center(x, mean) * invstd
    y = x_hat
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    # Never hand out x_hat itself: the backward needs it unchanged.
    return y.astype(x.dtype, copy=y is x_hat), x_hat, invstd


def normalize_backward(dy: Array, cache: NormCache) -> tuple[Array, Array, Array]:
    """Return the gradients of a normalization, whichever its axes are.

    Parameters
    ----------
    dy : ndarray
        Gradient of the loss with respect to the output, in the shape and dtype of x.
    cache : NormCache
        What the forward kept.

    Returns
    -------
    dx : ndarray
        Gradient with respect to x, in its shape and dtype.
    dweight, dbias : ndarray
        Gradients with respect to `weight` and `bias`, in their shape; where there is none, with
        respect to the 1 or 0 that stands in for it.

    Notes
    -----
    With the gradient g of x_hat, ``dx = invstd · (g − mean(g) − x_hat · mean(g · x_hat))``: what is
    left of g without its components along 1 and along x_hat (Ioffe & Szegedy 2015, section 3, in
    closed form). Where no mean was subtracted, the component along 1 stays; where the statistics
    are constants, ``dx = invstd · g``. Derived in the chapter "Backward".

    Examples
    --------
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> y, cache = batch_norm_forward(x, None, None, training=True)
    >>> dx, dweight, dbias = normalize_backward(dy, cache)
    >>> dx.ravel().round(3)
    array([ 0.176, -0.22 ,  0.044])
    """
    x_hat, invstd, weight, axes, shared, *_ = cache
    dy = dy.reshape(x_hat.shape)
    product = dy * x_hat
    dbias = dy.sum(shared, dtype=np.float64, keepdims=True)
    dweight = product.sum(shared, dtype=np.float64, keepdims=True)

    dx = dy
    scale = invstd if weight is None else invstd * weight
    if axes == shared:  # batch normalization: the weight is constant along the axes
        along_one, along_x_hat = dbias, dweight
        if cache.all_reduce is not None:
            sums = np.stack([dbias.ravel(), dweight.ravel()])
            total = reduced("batch_norm_backward", sums.ravel(), cache.all_reduce)
            along_one, along_x_hat = total.reshape(2, *dbias.shape)
    elif axes is not None:
        if weight is not None:
            dx, product, scale = dy * weight, product * weight, invstd
        along_one = dx.sum(axes, dtype=np.float64, keepdims=True)
        along_x_hat = product.sum(axes, dtype=np.float64, keepdims=True)
    if axes is not None:
        # An empty batch has m = 0, and no dx either.
        m = max(1, cache.m or math.prod(dy.shape[axis] for axis in axes))
        one, along = ((a / m).astype(x_hat.dtype) for a in (along_one, along_x_hat))
        dx = (dx - one if cache.centered else dx) - x_hat * along
    dx = (dx * scale).astype(cache.dtype).reshape(cache.shape)
    dweight, dbias = (
        a.reshape(cache.parameters).astype(x_hat.dtype) for a in (dweight, dbias)
    )
    return dx, dweight, dbias


def update_running(
    running_mean: Array,
    running_var: Array,
    mean: Array,
    var: Array,
    m: int,
    momentum: float,
) -> None:
    """Move running statistics towards those of a batch, in place: both of them, or none.

    Parameters
    ----------
    running_mean, running_var : ndarray of shape (C,)
        Running statistics, which are changed.
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
    unbiased = m / (m - 1) * var
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * unbiased
    changes = [
        ("running_mean", running_mean, new_mean),
        ("running_var", running_var, new_var),
    ]
    assign("update_running", changes, copy=False)


def batch_norm_forward(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    all_reduce: AllReduce | None = None,
) -> tuple[Array, BatchNormCache]:
    """Normalize each channel of a mini-batch, then scale and shift; keep what the backward needs.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...)
        Input. This and all the rest has been checked in `bnlib.functional`.
    running_mean, running_var : ndarray of shape (C,) or None
        Running statistics; in training they are updated in place.
    weight, bias : ndarray of shape (C,) or None
        Scale γ and shift β.
    training : bool
        Whether to normalize with the statistics of this batch.
    momentum : float
        Weight of the new batch in the running statistics.
    eps : float
        Added to the variance.
    all_reduce : callable or None
        Sums a float64 vector over all workers, whose batches are normalized as one.

    Returns
    -------
    y : ndarray of shape (N, C, ...)
        Output, in the dtype of `x`.
    cache : BatchNormCache
        For the backward.

    Raises
    ------
    ValueError
        If all workers together have one value per channel.

    Notes
    -----
    ``y = weight · (x − mean) / √(var + eps) + bias``: Ioffe & Szegedy (2015), Algorithm 1 in
    training, Algorithm 2 (step 11) in evaluation. Derived in the chapters "Forward" and "Running
    statistics".

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = batch_norm_forward(x, None, None, training=True)
    >>> cache.x_hat.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    axes = (0, *range(2, x.ndim))  # every axis but the channels'
    m = math.prod(x.shape[axis] for axis in axes)  # values per channel
    if training:
        mean, var = moments(x, axes)
        if all_reduce is not None:
            m, mean, var = reduce_moments(m, mean, var, all_reduce)
            if m == 1:
                raise ValueError(
                    "batch_norm: expected more than 1 value per channel when training, "
                    "got 1 in all workers together"
                )
    else:
        mean, var = per_channel(running_mean, x), per_channel(running_var, x)

    gamma, beta = per_channel(weight, x), per_channel(bias, x)
    y, x_hat, invstd = normalize_forward(x, mean, var, gamma, beta, eps)
    if training and running_mean is not None and running_var is not None and m > 0:
        mean, var = mean.ravel(), var.ravel()
        update_running(running_mean, running_var, mean, var, m, momentum)
    return y, BatchNormCache(
        x_hat=x_hat,
        invstd=invstd,
        weight=gamma,
        axes=axes if training else None,
        shared=axes,
        shape=x.shape,
        parameters=x.shape[1:2],
        dtype=x.dtype,
        m=m,
        all_reduce=all_reduce if training else None,
    )
