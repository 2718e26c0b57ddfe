"""Convolution and pooling over images of shape (N, C, H, W), by windows and matrix products.

Each is a pair: ``*_forward`` returns ``(y, cache)``, ``*_backward(dy, cache)`` the gradients. They
are found in `bnlib.functional` too.
"""

import numpy as np

from bnlib._checks import check_floats, check_gradient, check_vector, check_weight
from bnlib.ops import per_channel

__all__ = [
    "conv2d_backward",
    "conv2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "windows",
]


def windows(x, kernel_size, stride):
    """Every window of an image that a kernel visits, as a view: no number is copied.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
    kernel_size, stride : tuple of two int

    Returns
    -------
    ndarray of shape (N, C, kH, kW, Ho, Wo)
        ``windows(x, …)[n, c, i, j, p, q] == x[n, c, p * stride[0] + i, q * stride[1] + j]``.
    """
    view = np.lib.stride_tricks.sliding_window_view(x, kernel_size, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]].transpose(0, 1, 4, 5, 2, 3)


def conv2d_forward(x, weight, bias=None, stride=(1, 1), padding=(0, 0)):
    """2-D convolution (cross-correlation, as in every framework) as one matrix product.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
    weight : ndarray of shape (O, C, kH, kW)
    bias : ndarray of shape (O,) or None
    stride, padding : tuple of two int

    Returns
    -------
    y : ndarray of shape (N, O, Ho, Wo)
        With ``Ho = (H + 2·padding − kH) // stride + 1``, and Wo alike.
    cache : tuple

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, or the kernel is larger than the padded image.
    """
    check_floats("conv2d", "x", x)
    check_weight("conv2d", weight, 4, x.dtype)
    out, C, kH, kW = weight.shape
    pH, pW = padding
    if (
        x.ndim != 4
        or x.shape[1] != C
        or x.shape[2] + 2 * pH < kH
        or x.shape[3] + 2 * pW < kW
    ):
        raise ValueError(
            f"conv2d: expected x of shape (N, {C}, H >= {kH - 2 * pH}, W >= {kW - 2 * pW}), "
            f"got {x.shape}"
        )
    check_vector("conv2d", "bias", bias, (out,), x.dtype)
    padded = np.pad(x, ((0, 0), (0, 0), (pH, pH), (pW, pW))) if pH or pW else x
    patches = windows(padded, (kH, kW), stride)  # (N, C, kH, kW, Ho, Wo)
    N, *_, Ho, Wo = patches.shape
    columns = patches.reshape(N, C * kH * kW, Ho * Wo)  # im2col: one copy
    y = (weight.reshape(out, -1) @ columns).reshape(N, out, Ho, Wo)
    if bias is not None:
        y += per_channel(bias, y)
    return y, (columns, weight, x.shape, padded.shape, stride, padding)


def conv2d_backward(dy, cache):
    """Gradients of `conv2d_forward`: ``(dx, dweight, dbias)``, shaped like x, weight and bias."""
    columns, weight, shape, padded_shape, stride, (pH, pW) = cache
    out, C, kH, kW = weight.shape
    N, C, H, W = shape
    Ho, Wo = (
        (padded_shape[2] - kH) // stride[0] + 1,
        (padded_shape[3] - kW) // stride[1] + 1,
    )
    check_gradient("conv2d_backward", dy, (N, out, Ho, Wo), columns.dtype)
    rows = dy.reshape(N, out, Ho * Wo)
    dweight = (rows @ columns.transpose(0, 2, 1)).sum(0).reshape(weight.shape)
    dcolumns = (weight.reshape(out, -1).T @ rows).reshape(N, C, kH, kW, Ho, Wo)
    padded = np.zeros(padded_shape, dy.dtype)
    for i in range(kH):  # col2im: give every pixel the sum over the windows that saw it
        for j in range(kW):
            h, w = i + stride[0] * Ho, j + stride[1] * Wo
            padded[:, :, i : h : stride[0], j : w : stride[1]] += dcolumns[:, :, i, j]
    return padded[:, :, pH : pH + H, pW : pW + W], dweight, dy.sum((0, 2, 3))


def max_pool2d_forward(x, kernel_size, stride):
    """Largest value of each window.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
    kernel_size, stride : tuple of two int

    Returns
    -------
    y : ndarray of shape (N, C, Ho, Wo)
    cache : tuple

    Raises
    ------
    TypeError, ValueError
        If `x` is not a 4-D floating array at least as large as the window.
    """
    check_floats("max_pool2d", "x", x)
    kH, kW = kernel_size
    if x.ndim != 4 or x.shape[2] < kH or x.shape[3] < kW:
        raise ValueError(
            f"max_pool2d: expected x of shape (N, C, >= {kH}, >= {kW}), got {x.shape}"
        )
    patches = windows(x, kernel_size, stride)
    N, C, _, _, Ho, Wo = patches.shape
    patches = patches.reshape(N, C, kH * kW, Ho, Wo)
    winner = patches.argmax(2)  # the first of equals, as in PyTorch
    y = np.take_along_axis(patches, winner[:, :, None], 2)[:, :, 0]
    return y, (winner, x.shape, x.dtype, kernel_size, stride)


def max_pool2d_backward(dy, cache):
    """Gradient of `max_pool2d_forward`: each value goes to the pixel that won its window."""
    winner, shape, dtype, (kH, kW), stride = cache
    check_gradient("max_pool2d_backward", dy, winner.shape, dtype)
    dx = np.zeros(shape, dtype)
    Ho, Wo = winner.shape[2:]
    for k in range(kH * kW):
        i, j = divmod(k, kW)
        h, w = i + stride[0] * Ho, j + stride[1] * Wo
        dx[:, :, i : h : stride[0], j : w : stride[1]] += dy * (winner == k)
    return dx
