"""Convolution and pooling over images of shape (N, C, H, W), by windows and matrix products.

Each is a pair: ``*_forward`` returns ``(y, cache)``, ``*_backward(dy, cache)`` the gradients. They
are found in `bnlib.functional` too.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from bnlib._checks import (
    check_bool,
    check_cache,
    check_floats,
    check_gradient,
    check_pair,
    check_weight,
    compute_dtype,
)
from bnlib._types import Array, Pair
from bnlib.ops import per_channel

__all__ = [
    "AvgPool2dCache",
    "Conv2dCache",
    "MaxPool2dCache",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "windows",
]


def windows(x: Array, kernel_size: tuple[int, int], stride: tuple[int, int]) -> Array:
    """Every window of an image that a kernel visits, as a view: no number is copied.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    kernel_size, stride : tuple of two int
        Size of a window, and distance from one to the next.

    Returns
    -------
    ndarray of shape (N, C, kH, kW, Ho, Wo)
        ``windows(x, …)[n, c, i, j, p, q] == x[n, c, p * stride[0] + i, q * stride[1] + j]``.

    Raises
    ------
    TypeError, ValueError
        If `x` is no 4-D floating array at least as large as the kernel, or a setting is no pair.

    Examples
    --------
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> windows(x, (2, 2), (1, 2)).shape
    (1, 1, 2, 2, 2, 2)
    >>> windows(x, (2, 2), (1, 2))[0, 0, 0, 1]
    array([[1., 3.],
           [5., 7.]])
    """
    kernel_size = check_pair("windows", "kernel_size", kernel_size, 1)
    stride = check_pair("windows", "stride", stride, 1)
    check_images("windows", x, None, kernel_size)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel_size, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]].transpose(0, 1, 4, 5, 2, 3)


def overlap_add(
    patches: Array, shape: tuple[int, ...], stride: tuple[int, int]
) -> Array:
    """Give every pixel the sum over the windows that saw it: the transpose of `windows`.

    Parameters
    ----------
    patches : ndarray of shape (N, C, kH, kW, Ho, Wo)
        One value for each pixel of each window.
    shape : tuple of int
        Shape of the images, (N, C, H, W).
    stride : tuple of two int
        Distance from one window to the next.

    Returns
    -------
    ndarray of shape (N, C, H, W)
        Sums, in the dtype of `patches`.
    """
    x = np.zeros(shape, patches.dtype)
    kH, kW, Ho, Wo = patches.shape[2:]
    for i in range(kH):
        for j in range(kW):
            h, w = i + stride[0] * Ho, j + stride[1] * Wo
            x[:, :, i : h : stride[0], j : w : stride[1]] += patches[:, :, i, j]
    return x


def padded(x: Array, padding: tuple[int, int], value: float = 0) -> Array:
    """Return images with a border of `value`; the images themselves where there is none."""
    pH, pW = padding
    if not (pH or pW):
        return x
    border = ((0, 0), (0, 0), (pH, pH), (pW, pW))
    return np.pad(x, border, constant_values=value)


def cropped(x: Array, padding: tuple[int, int]) -> Array:
    """Return images without the border that `padded` gave them."""
    pH, pW = padding
    return x[:, :, pH : x.shape[2] - pH, pW : x.shape[3] - pW]


def check_images(
    call: str, x: Any, channels: int | None, least: tuple[int, int]
) -> None:
    """Raise unless `x` has shape (N, C, H, W), with images of at least a size."""
    check_floats(call, "x", x)
    H, W = least
    if (
        x.ndim != 4
        or x.shape[1] != (channels or x.shape[1])
        or x.shape[2] < H
        or x.shape[3] < W
    ):
        raise ValueError(
            f"{call}: expected x of shape (N, {channels or 'C'}, H >= {H}, W >= {W}), "
            f"got {x.shape}"
        )


class Conv2dCache(NamedTuple):
    """The cache of `conv2d_forward`.

    Parameters
    ----------
    columns : ndarray of shape (N, C · kH · kW, Ho · Wo)
        One window in each column.
    weight : ndarray
        The kernels themselves, no copy.
    shape, out_shape : tuple of int
        Shapes of the padded x and of y.
    stride, padding : tuple of two int
        Settings.
    """

    columns: Array
    weight: Array
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
) -> tuple[Array, Conv2dCache]:
    """2-D convolution (cross-correlation, as in every framework) as one matrix product.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images. They must not change before the backward: a kernel of 1 × 1 copies nothing.
    weight : ndarray of shape (O, C, kH, kW)
        Kernels, of the dtype of `x`. They must not change before the backward either.
    bias : ndarray of shape (O,) or None
        One number per output channel.
    stride, padding : int or pair of int
        Distance of two windows, and width of the border of zeros; along height and width.

    Returns
    -------
    y : ndarray of shape (N, O, Ho, Wo)
        With ``Ho = (H + 2·padding − kH) // stride + 1``, and Wo likewise.
    cache : Conv2dCache
        For `conv2d_backward`.

    Raises
    ------
    TypeError, ValueError
        If a dtype, shape or setting does not fit, or the kernel is larger than the padded image.

    Examples
    --------
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> y, cache = conv2d_forward(x, weight)
    >>> y[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    check_floats("conv2d", "x", x)
    check_weight("conv2d", x, weight, bias, 4)
    stride = check_pair("conv2d", "stride", stride, 1)
    padding = check_pair("conv2d", "padding", padding, 0)
    out, C, kH, kW = weight.shape
    check_pair("conv2d", "the kernel's size", (kH, kW), 1)
    check_images("conv2d", x, C, (kH - 2 * padding[0], kW - 2 * padding[1]))
    image = padded(x, padding)
    patches = windows(image, (kH, kW), stride)  # (N, C, kH, kW, Ho, Wo)
    N, *_, Ho, Wo = patches.shape
    columns = patches.reshape(N, C * kH * kW, Ho * Wo)  # im2col: one copy
    y = (weight.reshape(out, -1) @ columns).reshape(N, out, Ho, Wo)
    if bias is not None:
        y += per_channel(bias, y)
    return y, Conv2dCache(columns, weight, image.shape, y.shape, stride, padding)


def conv2d_backward(
    dy: Array, cache: Conv2dCache, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of `conv2d_forward`.

    Parameters
    ----------
    dy : ndarray of shape (N, O, Ho, Wo)
        Gradient of the loss with respect to the output, in its dtype.
    cache : Conv2dCache
        From `conv2d_forward`.
    input_gradient : bool
        False for None as `dx`, without computing it: in a first layer nobody needs it.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W) or None
        Gradient with respect to x.
    dweight, dbias : ndarray
        Gradients with respect to weight and bias, in their shapes.

    Examples
    --------
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> y, cache = conv2d_forward(x, weight)
    >>> dx, dweight, dbias = conv2d_backward(np.ones_like(y), cache)
    >>> dx[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    >>> dbias
    array([4.])
    """
    check_cache("conv2d_backward", cache, Conv2dCache)
    columns, weight, shape, out_shape, stride, padding = cache
    check_gradient("conv2d_backward", dy, out_shape, columns.dtype)
    N, out, Ho, Wo = out_shape
    rows = dy.reshape(N, out, Ho * Wo)
    wide = compute_dtype(dy.dtype)
    dweight = (rows @ columns.transpose(0, 2, 1)).sum(0, wide).reshape(weight.shape)
    dweight, dbias = (
        a.astype(dy.dtype, copy=False) for a in (dweight, dy.sum((0, 2, 3), wide))
    )
    if not check_bool("conv2d_backward", "input_gradient", input_gradient):
        return None, dweight, dbias
    dcolumns = weight.reshape(out, -1).T @ rows
    patches = dcolumns.reshape(N, *weight.shape[1:], Ho, Wo)
    dx = cropped(overlap_add(patches, shape, stride), padding)  # col2im
    return dx, dweight, dbias


def check_pooling(
    call: str, x: Any, kernel_size: Any, stride: Any, padding: Any
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel size, stride and padding as pairs; raise unless they and `x` fit."""
    kernel = check_pair(call, "kernel_size", kernel_size, 1)
    stride = check_pair(call, "stride", kernel if stride is None else stride, 1)
    padding = check_pair(call, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(
            f"{call}: expected padding of at most half the kernel's size {kernel}, "
            f"got {padding}"
        )
    least = (kernel[0] - 2 * padding[0], kernel[1] - 2 * padding[1])
    check_images(call, x, None, least)
    return kernel, stride, padding


class MaxPool2dCache(NamedTuple):
    """The cache of `max_pool2d_forward`.

    Parameters
    ----------
    winner : ndarray of int, shape (N, C, Ho, Wo)
        Which pixel of its window was the largest.
    shape : tuple of int
        Shape of the padded x.
    dtype : dtype
        Dtype of x.
    kernel_size, stride, padding : tuple of two int
        Settings.
    """

    winner: Array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def max_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> tuple[Array, MaxPool2dCache]:
    """Largest value of each window.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    kernel_size : int or pair of int
        Size of a window.
    stride : int, pair of int or None
        Distance of two windows; None: as `kernel_size`, so that the windows tile the image.
    padding : int or pair of int
        Width of a border of −∞, at most half the kernel's size.

    Returns
    -------
    y : ndarray of shape (N, C, Ho, Wo)
        Output, in the dtype of `x`.
    cache : MaxPool2dCache
        For `max_pool2d_backward`. It does not hold `x`.

    Raises
    ------
    TypeError, ValueError
        If `x` is no 4-D floating array at least as large as the window, or a setting is no pair.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, cache = max_pool2d_forward(x, 2)
    >>> y[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    kernel, stride, padding = check_pooling(
        "max_pool2d", x, kernel_size, stride, padding
    )
    image = padded(x, padding, -math.inf)
    patches = windows(image, kernel, stride)
    N, C, kH, kW, Ho, Wo = patches.shape
    patches = patches.reshape(N, C, kH * kW, Ho, Wo)
    winner = patches.argmax(2)  # the first of equals, as in PyTorch
    y = np.take_along_axis(patches, winner[:, :, None], 2)[:, :, 0]
    return y, MaxPool2dCache(winner, image.shape, x.dtype, kernel, stride, padding)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """Return the gradient of `max_pool2d_forward`: each value for the winner of its window.

    Parameters
    ----------
    dy : ndarray of shape (N, C, Ho, Wo)
        Gradient of the loss with respect to the output, in its dtype.
    cache : MaxPool2dCache
        From `max_pool2d_forward`.

    Returns
    -------
    ndarray of shape (N, C, H, W)
        Gradient with respect to x.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, cache = max_pool2d_forward(x, 2)
    >>> max_pool2d_backward(np.ones_like(y), cache)[0, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 0., 1.],
           [0., 0., 0., 0.],
           [0., 1., 0., 1.]])
    """
    check_cache("max_pool2d_backward", cache, MaxPool2dCache)
    winner, shape, dtype, (kH, kW), stride, padding = cache
    check_gradient("max_pool2d_backward", dy, winner.shape, dtype)
    pixels = np.arange(kH * kW).reshape(1, 1, kH, kW, 1, 1)
    won = winner[:, :, None, None] == pixels
    wide = dy.astype(compute_dtype(dtype), copy=False)  # windows overlap: sums
    patches = np.where(won, wide[:, :, None, None], 0)
    dx = overlap_add(patches, shape, stride).astype(dtype, copy=False)
    return cropped(dx, padding)


class AvgPool2dCache(NamedTuple):
    """The cache of `avg_pool2d_forward`.

    Parameters
    ----------
    shape, out_shape : tuple of int
        Shapes of the padded x and of y.
    dtype : dtype
        Dtype of x.
    kernel_size, stride, padding : tuple of two int
        Settings.
    """

    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def avg_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> tuple[Array, AvgPool2dCache]:
    """Mean value of each window, the zeros of the border among them.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    kernel_size : int or pair of int
        Size of a window.
    stride : int, pair of int or None
        Distance of two windows; None: as `kernel_size`, so that the windows tile the image.
    padding : int or pair of int
        Width of a border of zeros, at most half the kernel's size.

    Returns
    -------
    y : ndarray of shape (N, C, Ho, Wo)
        Output, in the dtype of `x`.
    cache : AvgPool2dCache
        For `avg_pool2d_backward`. It does not hold `x`.

    Raises
    ------
    TypeError, ValueError
        If `x` is no 4-D floating array at least as large as the window, or a setting is no pair.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, cache = avg_pool2d_forward(x, 2)
    >>> y[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    kernel, stride, padding = check_pooling(
        "avg_pool2d", x, kernel_size, stride, padding
    )
    image = padded(x, padding)
    y = windows(image, kernel, stride).mean((2, 3), dtype=np.float64).astype(x.dtype)
    return y, AvgPool2dCache(image.shape, y.shape, x.dtype, kernel, stride, padding)


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """Return the gradient of `avg_pool2d_forward`: each value is shared out evenly over its window.

    Parameters
    ----------
    dy : ndarray of shape (N, C, Ho, Wo)
        Gradient of the loss with respect to the output, in its dtype.
    cache : AvgPool2dCache
        From `avg_pool2d_forward`.

    Returns
    -------
    ndarray of shape (N, C, H, W)
        Gradient with respect to x.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, cache = avg_pool2d_forward(x, 2)
    >>> avg_pool2d_backward(np.ones_like(y), cache)[0, 0]
    array([[0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25]])
    """
    check_cache("avg_pool2d_backward", cache, AvgPool2dCache)
    shape, out_shape, dtype, kernel, stride, padding = cache
    check_gradient("avg_pool2d_backward", dy, out_shape, dtype)
    wide = dy.astype(compute_dtype(dtype), copy=False)  # windows overlap: sums
    share = (wide / math.prod(kernel))[:, :, None, None]
    patches = np.broadcast_to(share, (*dy.shape[:2], *kernel, *dy.shape[2:]))
    dx = overlap_add(patches, shape, stride).astype(dtype, copy=False)
    return cropped(dx, padding)
