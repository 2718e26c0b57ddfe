"""Layers that do not normalize, and losses, with PyTorch's names, arguments and initialization.

The arithmetic is in `bnlib.ops` and `bnlib.convolution`; here are the state and its rules. Random
numbers come from the `numpy.random.Generator` that the caller passes, or from a fresh one.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bnlib import functional as F
from bnlib._checks import (
    check_bool,
    check_floats,
    check_gradient,
    check_input,
    check_int,
    check_number,
    check_pair,
    check_param_dtype,
    check_rng,
)
from bnlib._types import Array, DType, Pair
from bnlib.module import Layer, Parameter

__all__ = [
    "AvgPool2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "ReLU",
    "Sigmoid",
    "Tanh",
]


def _parameter(call: str, name: str, value: Any) -> Parameter:
    """Return a parameter that a layer cannot do without."""
    if not isinstance(value, Parameter):
        kind = type(value).__name__
        raise TypeError(f"{call}: expected {name} to be a Parameter, got {kind}")
    return value


class _Affine(Layer):
    """A linear map with a weight and perhaps a bias: what `Linear` and `Conv2d` share."""

    _settings: ClassVar = {
        **Layer._settings,
        "weight": _parameter,
        "dtype": check_param_dtype,
    }
    _fixed = ("dtype",)
    _may_skip = True

    dtype: Any

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        dtype: DType,
        rng: np.random.Generator | None,
    ):
        super().__init__()
        call = type(self).__name__
        check_bool(call, "bias", bias)
        rng = check_rng(call, np.random.default_rng() if rng is None else rng)
        self.dtype = dtype
        bound = 1 / math.sqrt(math.prod(shape[1:]))  # PyTorch's default for both

        def drawn(shape: tuple[int, ...]) -> Parameter:
            return Parameter(rng.uniform(-bound, bound, shape).astype(self.dtype))

        self.weight = drawn(shape)
        self.bias = drawn(shape[:1]) if bias else None

    def gather(self, dweight: Array, dbias: Array) -> None:
        """Add to the gradients of weight and bias.

        Parameters
        ----------
        dweight, dbias : ndarray
            What to add.
        """
        self.weight.grad += dweight
        if self.bias is not None:
            self.bias.grad += dbias


class Linear(_Affine):
    """Fully connected layer: ``y = x @ weight.T + bias`` for x of shape (N, in_features).

    Parameters
    ----------
    in_features, out_features : int
        Length of a row of the input and of the output.
    bias : bool
        Whether to learn a bias; before a batch normalization it has no effect.
    dtype : dtype
        Of parameters and inputs: float32, the default, or float64.
    rng : numpy.random.Generator or None
        Where the first weights come from.

    Attributes
    ----------
    in_features, out_features : int
        As the weight's shape says.
    weight : Parameter of shape (out_features, in_features)
        Drawn from U(−1/√in_features, 1/√in_features).
    bias : Parameter of shape (out_features,) or None
        Drawn likewise.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, and for an input of another shape or dtype.

    Examples
    --------
    >>> layer = Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer(np.ones((4, 3), np.float32)).shape
    (4, 2)
    >>> layer.in_features, layer.out_features
    (3, 2)
    """

    in_features = property(lambda self: self.weight.data.shape[1])
    out_features = property(lambda self: self.weight.data.shape[0])

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DType = None,
        rng: np.random.Generator | None = None,
    ):
        in_features = check_int("Linear", "in_features", in_features)
        out_features = check_int("Linear", "out_features", out_features)
        super().__init__((out_features, in_features), bias, dtype, rng)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        bias = self.bias is not None
        return f"{self.in_features}, {self.out_features}, bias={bias}"

    def forward(self, x: Array) -> Array:
        """Return ``x @ weight.T + bias``.

        Parameters
        ----------
        x : ndarray of shape (N, in_features)
            Input. It must not change before the backward.

        Returns
        -------
        ndarray of shape (N, out_features)
            Output.
        """
        check_input("Linear", x, self.dtype)
        bias = None if self.bias is None else self.bias.data
        y, self.cache = F.linear_forward(x, self.weight.data, bias)
        return y

    def backward(self, dy: Array, *, input_gradient: bool = True) -> Array | None:
        """Add to the gradients of weight and bias.

        Parameters
        ----------
        dy : ndarray of shape (N, out_features)
            Gradient of the loss with respect to the output.
        input_gradient : bool
            Whether to compute the gradient with respect to x, which a first layer does not need.

        Returns
        -------
        ndarray of shape (N, in_features) or None
            Gradient with respect to x.
        """
        dx, *gradients = F.linear_backward(
            dy, self.saved_cache(), input_gradient=input_gradient
        )
        self.gather(*gradients)
        return dx


class Conv2d(_Affine):
    """2-D convolution of images of shape (N, in_channels, H, W).

    Parameters
    ----------
    in_channels, out_channels : int
        Number of channels of the input and of the output.
    kernel_size, stride, padding : int or pair of int
        Along height and width; the padding is zeros on all four sides.
    bias : bool
        Whether to learn a bias; before a batch normalization it has no effect.
    dtype : dtype
        Of parameters and inputs: float32, the default, or float64.
    rng : numpy.random.Generator or None
        Where the first weights come from.

    Attributes
    ----------
    in_channels, out_channels : int
        As the weight's shape says.
    kernel_size, stride, padding : tuple of int
        A pair each.
    weight : Parameter of shape (out_channels, in_channels, kH, kW)
        Drawn from U(−1/√fan_in, 1/√fan_in) with fan_in = in_channels · kH · kW.
    bias : Parameter of shape (out_channels,) or None
        Drawn likewise.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, and for an input of another shape or dtype.

    Examples
    --------
    >>> layer = Conv2d(3, 8, kernel_size=3, padding=1)
    >>> layer(np.ones((2, 3, 5, 5), np.float32)).shape
    (2, 8, 5, 5)
    >>> layer.weight
    Parameter(shape=(8, 3, 3, 3), dtype=float32)
    """

    _settings: ClassVar = {
        **_Affine._settings,
        "stride": partial(check_pair, low=1),
        "padding": partial(check_pair, low=0),
    }
    in_channels = property(lambda self: self.weight.data.shape[1])
    out_channels = property(lambda self: self.weight.data.shape[0])
    kernel_size = property(lambda self: self.weight.data.shape[2:])

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        *,
        bias: bool = True,
        dtype: DType = None,
        rng: np.random.Generator | None = None,
    ):
        in_channels = check_int("Conv2d", "in_channels", in_channels)
        out_channels = check_int("Conv2d", "out_channels", out_channels)
        kernel = check_pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = stride
        self.padding = padding
        super().__init__((out_channels, in_channels, *kernel), bias, dtype, rng)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )

    def forward(self, x: Array) -> Array:
        """Return the convolution.

        Parameters
        ----------
        x : ndarray of shape (N, in_channels, H, W)
            Images. They must not change before the backward.

        Returns
        -------
        ndarray of shape (N, out_channels, Ho, Wo)
            Output.
        """
        check_input("Conv2d", x, self.dtype)
        bias = None if self.bias is None else self.bias.data
        y, self.cache = F.conv2d_forward(
            x, self.weight.data, bias, self.stride, self.padding
        )
        return y

    def backward(self, dy: Array, *, input_gradient: bool = True) -> Array | None:
        """Add to the gradients of weight and bias.

        Parameters
        ----------
        dy : ndarray of shape (N, out_channels, Ho, Wo)
            Gradient of the loss with respect to the output.
        input_gradient : bool
            Whether to compute the gradient with respect to x, which a first layer does not need.

        Returns
        -------
        ndarray of shape (N, in_channels, H, W) or None
            Gradient with respect to x.
        """
        dx, *gradients = F.conv2d_backward(
            dy, self.saved_cache(), input_gradient=input_gradient
        )
        self.gather(*gradients)
        return dx


def _stride(call: str, name: str, value: Any) -> tuple[int, int] | None:
    """Return a stride, which may be None."""
    return None if value is None else check_pair(call, name, value, 1)


class _Pool2d(Layer):
    """A map from windows of images to numbers: what the two poolings share."""

    _settings: ClassVar = {
        **Layer._settings,
        "kernel_size": partial(check_pair, low=1),
        "stride": _stride,
        "padding": partial(check_pair, low=0),
    }

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = self.kernel_size if stride is None else stride
        self.padding = padding

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )


class MaxPool2d(_Pool2d):
    """Largest value of each window of images of shape (N, C, H, W).

    Parameters
    ----------
    kernel_size : int or pair of int
        Size of a window.
    stride : int, pair of int or None
        Distance of two windows; None: as the kernel, so that the windows tile the image.
    padding : int or pair of int
        Width of a border of −∞, at most half the kernel's size.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, and for an input of another rank or smaller than a window.

    Examples
    --------
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    def forward(self, x: Array) -> Array:
        """Return the largest value of each window.

        Parameters
        ----------
        x : ndarray of shape (N, C, H, W)
            Images.

        Returns
        -------
        ndarray of shape (N, C, Ho, Wo)
            Output.
        """
        y, self.cache = F.max_pool2d_forward(
            x, self.kernel_size, self.stride, self.padding
        )
        return y

    def backward(self, dy: Array) -> Array:
        """Give each gradient to the pixel that won its window.

        Parameters
        ----------
        dy : ndarray of shape (N, C, Ho, Wo)
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray of shape (N, C, H, W)
            Gradient with respect to x.
        """
        return F.max_pool2d_backward(dy, self.saved_cache())


class AvgPool2d(_Pool2d):
    """Mean value of each window of images of shape (N, C, H, W).

    Parameters
    ----------
    kernel_size : int or pair of int
        Size of a window.
    stride : int, pair of int or None
        Distance of two windows; None: as the kernel, so that the windows tile the image.
    padding : int or pair of int
        Width of a border of zeros, which are averaged too; at most half the kernel's size.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, and for an input of another rank or smaller than a window.

    Examples
    --------
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    def forward(self, x: Array) -> Array:
        """Return the mean value of each window.

        Parameters
        ----------
        x : ndarray of shape (N, C, H, W)
            Images.

        Returns
        -------
        ndarray of shape (N, C, Ho, Wo)
            Output.
        """
        y, self.cache = F.avg_pool2d_forward(
            x, self.kernel_size, self.stride, self.padding
        )
        return y

    def backward(self, dy: Array) -> Array:
        """Share each gradient out evenly over its window.

        Parameters
        ----------
        dy : ndarray of shape (N, C, Ho, Wo)
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray of shape (N, C, H, W)
            Gradient with respect to x.
        """
        return F.avg_pool2d_backward(dy, self.saved_cache())


class ReLU(Layer):
    """``max(x, 0)``.

    Examples
    --------
    >>> relu = ReLU()
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    >>> relu.backward(np.array([10.0, 10.0]))
    array([ 0., 10.])
    """

    def forward(self, x: Array) -> Array:
        """Return ``max(x, 0)``.

        Parameters
        ----------
        x : ndarray
            Input, any shape.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        y, self.cache = F.relu_forward(x)
        return y

    def backward(self, dy: Array) -> Array:
        """Let the gradient through where x > 0.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        return F.relu_backward(dy, self.saved_cache())


class Sigmoid(Layer):
    """``1 / (1 + exp(−x))``.

    Examples
    --------
    >>> Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """

    def forward(self, x: Array) -> Array:
        """Return the logistic function of x.

        Parameters
        ----------
        x : ndarray
            Input, any shape.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        y, self.cache = F.sigmoid_forward(x)
        return y

    def backward(self, dy: Array) -> Array:
        """Multiply by the slope.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        return F.sigmoid_backward(dy, self.saved_cache())


class Tanh(Layer):
    """``tanh(x)``.

    Examples
    --------
    >>> Tanh()(np.array([0.0, 20.0]))
    array([0., 1.])
    """

    def forward(self, x: Array) -> Array:
        """Return tanh(x).

        Parameters
        ----------
        x : ndarray
            Input, any shape.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        y, self.cache = F.tanh_forward(x)
        return y

    def backward(self, dy: Array) -> Array:
        """Multiply by the slope.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        return F.tanh_backward(dy, self.saved_cache())


def _generator(call: str, name: str, value: Any) -> Any:
    return check_rng(call, value)


class Dropout(Layer):
    """In training, set each value to 0 with probability p and scale the rest by 1 / (1 − p).

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : numpy.random.Generator or None
        Where the choice comes from.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> dropout = Dropout(0.5, rng=np.random.default_rng(0))
    >>> dropout(np.ones(6))
    array([2., 0., 0., 0., 2., 2.])
    >>> dropout.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    _settings: ClassVar = {
        **Layer._settings,
        "p": partial(check_number, low=0, high=1),
        "rng": _generator,
    }

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None):
        super().__init__()
        self.p = p
        self.rng = np.random.default_rng() if rng is None else rng

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return f"p={self.p}"

    def forward(self, x: Array) -> Array:
        """Drop values in training; return a copy of x in evaluation.

        Parameters
        ----------
        x : ndarray
            Input, any shape.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        y, self.cache = F.dropout_forward(x, self.p if self.training else 0, self.rng)
        return y

    def backward(self, dy: Array) -> Array:
        """Drop and scale the same elements.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        return F.dropout_backward(dy, self.saved_cache())


class Flatten(Layer):
    """Make one axis of all axes but the first: (N, C, H, W) to (N, C·H·W).

    Examples
    --------
    >>> Flatten()(np.ones((2, 3, 4, 4))).shape
    (2, 48)
    """

    def forward(self, x: Array) -> Array:
        """Return x as a matrix with one row per sample.

        Parameters
        ----------
        x : ndarray of shape (N, ...)
            Input with at least 2 axes.

        Returns
        -------
        ndarray of shape (N, M)
            The same values; perhaps in the same memory.
        """
        check_floats("Flatten", "x", x)
        if x.ndim < 2:
            raise ValueError(f"Flatten: expected at least 2-D input, got {x.shape}")
        y = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        self.cache = x.shape, y.shape, x.dtype
        return y

    def backward(self, dy: Array) -> Array:
        """Return the gradient in the shape of x.

        Parameters
        ----------
        dy : ndarray of shape (N, M)
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray of shape (N, ...)
            Gradient with respect to x.
        """
        x_shape, y_shape, dtype = self.saved_cache()
        check_gradient("Flatten.backward", dy, y_shape, dtype)
        return dy.reshape(x_shape)


class CrossEntropyLoss(Layer):
    """Softmax and mean negative log-likelihood in one, as PyTorch's: logits in, one number out.

    Parameters
    ----------
    ignore_index : int
        A class index whose rows do not count.
    label_smoothing : float
        Share of the target that is spread evenly over all classes, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; in a call, as `bnlib.functional.cross_entropy_forward`.

    Examples
    --------
    >>> loss = CrossEntropyLoss()
    >>> round(loss(np.zeros((2, 10)), np.array([3, 7])), 4)  # log(10)
    2.3026
    """

    _settings: ClassVar = {
        **Layer._settings,
        "ignore_index": partial(check_int, low=-(2**63)),
        "label_smoothing": partial(check_number, low=0, high=1),
    }

    def __init__(self, ignore_index: int = -100, label_smoothing: float = 0.0):
        super().__init__()
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, logits: Array, target: Any) -> float:
        """Return the loss.

        Parameters
        ----------
        logits : ndarray of shape (N, K)
            One score per class.
        target : ndarray of int of shape (N,)
            Class indices.

        Returns
        -------
        float
            Mean over the rows that count.
        """
        loss, self.cache = F.cross_entropy_forward(
            logits, target, self.ignore_index, self.label_smoothing
        )
        return loss

    def backward(self, dloss: float = 1.0) -> Array:
        """Return the gradient of the logits.

        Parameters
        ----------
        dloss : float
            Gradient of what is minimized with respect to the loss.

        Returns
        -------
        ndarray of shape (N, K)
            Gradient with respect to the logits.
        """
        return F.cross_entropy_backward(dloss, self.saved_cache())


class MSELoss(Layer):
    """Mean squared difference of two arrays of one shape and dtype.

    Examples
    --------
    >>> MSELoss()(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    4.5
    """

    def forward(self, x: Array, target: Array) -> float:
        """Return the loss.

        Parameters
        ----------
        x : ndarray
            Predictions.
        target : ndarray
            What they should be, in the shape and dtype of `x`.

        Returns
        -------
        float
            Mean over all elements.
        """
        loss, self.cache = F.mse_loss_forward(x, target)
        return loss

    def backward(self, dloss: float = 1.0) -> Array:
        """Return the gradient of the predictions.

        Parameters
        ----------
        dloss : float
            Gradient of what is minimized with respect to the loss.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        return F.mse_loss_backward(dloss, self.saved_cache())
