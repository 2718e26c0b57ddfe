"""Layer and group normalization: the statistics of one sample at a time.

`normalize` is the formula that all normalizations share; the axes are what differs. Instance
normalization is group normalization with one channel a group.

References: Ba, Kiros & Hinton (2016), "Layer Normalization"; Wu & He (2018), "Group
Normalization".
"""

import math

import numpy as np

from bnlib._checks import (
    check_gradient,
    check_group_norm,
    check_layer_norm,
    compute_dtype,
)
from bnlib.moments import center, moments
from bnlib.ops import per_channel

__all__ = [
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "normalize",
    "normalize_backward",
]


def normalize(x, axes, eps):
    """Bring the values along `axes` to mean 0 and standard deviation 1.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
    axes : tuple of int
        The axes that share one mean and one variance: the choice that tells batch, layer, group
        and instance normalization apart.
    eps : float
        Added to the variance.

    Returns
    -------
    x_hat : ndarray of float32 or float64
        Shape of `x`.
    invstd : ndarray of float32 or float64
        ``1 / √(var + eps)``, of length 1 along `axes`.
    """
    mean, var = moments(x, axes)
    invstd = (1 / np.sqrt(var + eps)).astype(compute_dtype(x.dtype))
    return center(x, mean) * invstd, invstd


def normalize_backward(dx_hat, x_hat, invstd, axes):
    """Gradient of `normalize`: take from `dx_hat` its components along 1 and x_hat, and scale.

    Parameters
    ----------
    dx_hat : ndarray
        Gradient with respect to `x_hat`.
    x_hat, invstd : ndarray
        From `normalize`.
    axes : tuple of int
        The same axes.

    Returns
    -------
    ndarray of the shape and dtype of `x_hat`
    """
    along_one = dx_hat.mean(axes, dtype=np.float64, keepdims=True)
    along_x_hat = (dx_hat * x_hat).mean(axes, dtype=np.float64, keepdims=True)
    dx = (
        dx_hat - along_one.astype(x_hat.dtype) - x_hat * along_x_hat.astype(x_hat.dtype)
    )
    return dx * invstd


def layer_norm_forward(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalize each sample over its last axes; keep what the backward needs.

    Parameters and errors are those of `layer_norm`; returns ``(y, cache)``.
    """
    check_layer_norm("layer_norm", x, normalized_shape, weight, bias, eps)
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    x_hat, invstd = normalize(x, axes, eps)
    y = x_hat if weight is None else x_hat * weight
    y = y if bias is None else y + bias
    return y.astype(x.dtype, copy=y is x_hat), (x_hat, invstd, weight, axes, x.dtype)


def layer_norm_backward(dy, cache):
    """Gradients of a layer normalization: ``(dx, dweight, dbias)``, as `batch_norm_backward`."""
    x_hat, invstd, weight, axes, dtype = cache
    check_gradient("layer_norm_backward", dy, x_hat.shape, dtype)
    samples = tuple(range(axes[0]))  # the axes that the parameters are shared over
    dbias = dy.sum(samples, dtype=np.float64)
    dweight = (dy * x_hat).sum(samples, dtype=np.float64)
    dx_hat = dy if weight is None else dy * weight
    dx = normalize_backward(dx_hat, x_hat, invstd, axes).astype(dtype)
    return dx, dweight.astype(x_hat.dtype), dbias.astype(x_hat.dtype)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Layer normalization over the last axes, one sample at a time.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Its last axes have the shape `normalized_shape`.
    normalized_shape : tuple of int
        Shape of the last axes, over which each sample is normalized.
    weight, bias : ndarray of shape `normalized_shape` or None
        float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of the shape and dtype of `x`

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, or `eps` is not positive.

    Notes
    -----
    Ba, Kiros & Hinton (2016), eq. 3 and 4.

    Examples
    --------
    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), (2,)).round(4)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return layer_norm_forward(x, normalized_shape, weight, bias, eps)[0]


def group_norm_forward(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalize each sample over groups of channels; keep what the backward needs.

    Parameters and errors are those of `group_norm`; returns ``(y, cache)``.
    """
    check_group_norm("group_norm", x, num_groups, weight, bias, eps)
    groups = x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    x_hat, invstd = normalize(groups, (2,), eps)
    x_hat = x_hat.reshape(x.shape)
    y = x_hat if weight is None else x_hat * per_channel(weight, x)
    y = y if bias is None else y + per_channel(bias, x)
    return y.astype(x.dtype, copy=y is x_hat), (
        x_hat,
        invstd,
        weight,
        groups.shape,
        x.dtype,
    )


def group_norm_backward(dy, cache):
    """Gradients of a group normalization: ``(dx, dweight, dbias)``, as `batch_norm_backward`."""
    x_hat, invstd, weight, groups, dtype = cache
    check_gradient("group_norm_backward", dy, x_hat.shape, dtype)
    axes = (0, *range(2, dy.ndim))
    dbias = dy.sum(axes, dtype=np.float64)
    dweight = (dy * x_hat).sum(axes, dtype=np.float64)
    dx_hat = dy if weight is None else dy * per_channel(weight, dy)
    dx = normalize_backward(dx_hat.reshape(groups), x_hat.reshape(groups), invstd, (2,))
    dx = dx.reshape(dy.shape).astype(dtype)
    return dx, dweight.astype(x_hat.dtype), dbias.astype(x_hat.dtype)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Group normalization: each sample over groups of neighbouring channels and all of space.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float16, float32 or float64
    num_groups : int
        Number of groups; divides C. 1 group normalizes over a whole sample, C groups are instance
        normalization.
    weight, bias : ndarray of shape (C,) or None
        float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of the shape and dtype of `x`

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, if `num_groups` does not divide C, or `eps` is not
        positive.

    Notes
    -----
    Wu & He (2018), eq. 1, 2, 6 and 7.

    Examples
    --------
    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), num_groups=2).round(4)
    array([[-1.,  1., -1.,  1.]])
    """
    return group_norm_forward(x, num_groups, weight, bias, eps)[0]
