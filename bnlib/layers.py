"""Layers that do not normalize, with PyTorch's names, arguments and initialization.

The arithmetic is in `bnlib.ops` and `bnlib.convolution`; here are the state and its rules. Random
numbers come from the `numpy.random.Generator` that the caller passes, or from a fresh one.
"""

import numpy as np

from bnlib import functional as F
from bnlib._checks import (
    check_floats,
    check_gradient,
    check_pair,
    check_param_dtype,
    check_positive_int,
    check_probability,
)
from bnlib.module import Module, Parameter

__all__ = [
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sigmoid",
    "Tanh",
]


def _uniform(shape, fan_in, dtype, rng):
    """Draw a Parameter from U(−1/√fan_in, 1/√fan_in): PyTorch's default for weights and biases."""
    rng = np.random.default_rng() if rng is None else rng
    bound = 1 / np.sqrt(fan_in)
    return Parameter(rng.uniform(-bound, bound, shape).astype(dtype))


class Linear(Module):
    """Fully connected layer: ``y = x @ weight.T + bias`` for x of shape (N, in_features).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to learn a bias; in front of a batch normalization it has no effect.
    dtype : dtype
        Of parameters and inputs, float32 or float64.
    rng : numpy.random.Generator or None

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,) or None
        Both drawn from U(−1/√in_features, 1/√in_features).
    """

    def __init__(
        self, in_features, out_features, bias=True, *, dtype=np.float32, rng=None
    ):
        super().__init__()
        check_positive_int("Linear", "in_features", in_features)
        check_positive_int("Linear", "out_features", out_features)
        dtype = check_param_dtype("Linear", dtype)
        self.weight = _uniform((out_features, in_features), in_features, dtype, rng)
        self.bias = _uniform((out_features,), in_features, dtype, rng) if bias else None

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        out_features, in_features = self.weight.data.shape
        return f"{in_features}, {out_features}, bias={self.bias is not None}"

    def forward(self, x):
        """Return ``x @ weight.T + bias``."""
        bias = None if self.bias is None else self.bias.data
        y, self.cache = F.linear_forward(x, self.weight.data, bias)
        return y

    def backward(self, dy):
        """Return dx; add to the gradients of weight and bias."""
        dx, dweight, dbias = F.linear_backward(dy, self.saved_cache())
        self.weight.grad += dweight
        if self.bias is not None:
            self.bias.grad += dbias
        return dx


class Conv2d(Module):
    """2-D convolution of images of shape (N, in_channels, H, W).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair of int
        Along height and width; the padding is zeros on all four sides.
    bias : bool
        Whether to learn a bias; in front of a batch normalization it has no effect.
    dtype : dtype
        Of parameters and inputs, float32 or float64.
    rng : numpy.random.Generator or None

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels, kH, kW)
    bias : Parameter of shape (out_channels,) or None
        Both drawn from U(−1/√fan_in, 1/√fan_in) with fan_in = in_channels · kH · kW.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        *,
        bias=True,
        dtype=np.float32,
        rng=None,
    ):
        super().__init__()
        check_positive_int("Conv2d", "in_channels", in_channels)
        check_positive_int("Conv2d", "out_channels", out_channels)
        kernel_size = check_pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = check_pair("Conv2d", "stride", stride, 1)
        self.padding = check_pair("Conv2d", "padding", padding, 0)
        dtype = check_param_dtype("Conv2d", dtype)
        fan_in = in_channels * kernel_size[0] * kernel_size[1]
        self.weight = _uniform(
            (out_channels, in_channels, *kernel_size), fan_in, dtype, rng
        )
        self.bias = _uniform((out_channels,), fan_in, dtype, rng) if bias else None

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        out_channels, in_channels, *kernel_size = self.weight.data.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={tuple(kernel_size)}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )

    def forward(self, x):
        """Return the convolution, of shape (N, out_channels, Ho, Wo)."""
        bias = None if self.bias is None else self.bias.data
        y, self.cache = F.conv2d_forward(
            x, self.weight.data, bias, self.stride, self.padding
        )
        return y

    def backward(self, dy):
        """Return dx; add to the gradients of weight and bias."""
        dx, dweight, dbias = F.conv2d_backward(dy, self.saved_cache())
        self.weight.grad += dweight
        if self.bias is not None:
            self.bias.grad += dbias
        return dx


class MaxPool2d(Module):
    """Largest value of each window of images of shape (N, C, H, W).

    Parameters
    ----------
    kernel_size : int or pair of int
    stride : int, pair of int or None
        None: as the kernel, so that the windows tile the image.
    """

    def __init__(self, kernel_size, stride=None):
        super().__init__()
        self.kernel_size = check_pair("MaxPool2d", "kernel_size", kernel_size, 1)
        stride = kernel_size if stride is None else stride
        self.stride = check_pair("MaxPool2d", "stride", stride, 1)

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"

    def forward(self, x):
        """Return the largest value of each window, shape (N, C, Ho, Wo)."""
        y, self.cache = F.max_pool2d_forward(x, self.kernel_size, self.stride)
        return y

    def backward(self, dy):
        """Return dx: each gradient at the pixel that won its window."""
        return F.max_pool2d_backward(dy, self.saved_cache())


class ReLU(Module):
    """``max(x, 0)``."""

    def forward(self, x):
        """Return max(x, 0)."""
        y, self.cache = F.relu_forward(x)
        return y

    def backward(self, dy):
        """Return dx."""
        return F.relu_backward(dy, self.saved_cache())


class Sigmoid(Module):
    """``1 / (1 + exp(−x))``."""

    def forward(self, x):
        """Return the logistic function of x."""
        y, self.cache = F.sigmoid_forward(x)
        return y

    def backward(self, dy):
        """Return dx."""
        return F.sigmoid_backward(dy, self.saved_cache())


class Tanh(Module):
    """``tanh(x)``."""

    def forward(self, x):
        """Return tanh(x)."""
        y, self.cache = F.tanh_forward(x)
        return y

    def backward(self, dy):
        """Return dx."""
        return F.tanh_backward(dy, self.saved_cache())


class Dropout(Module):
    """In training, set each value to 0 with probability p and scale the rest by 1 / (1 − p).

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : numpy.random.Generator or None
    """

    def __init__(self, p=0.5, *, rng=None):
        super().__init__()
        check_probability("Dropout", "p", p)
        self.p = p
        self.rng = np.random.default_rng() if rng is None else rng

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        return f"p={self.p}"

    def forward(self, x):
        """Drop values in training; return x unchanged in evaluation."""
        y, self.cache = F.dropout_forward(x, self.p if self.training else 0, self.rng)
        return y

    def backward(self, dy):
        """Return dx."""
        return F.dropout_backward(dy, self.saved_cache())


class Flatten(Module):
    """Make one axis of all axes but the first: (N, C, H, W) to (N, C·H·W)."""

    def forward(self, x):
        """Return x as a matrix with one row a sample."""
        check_floats("Flatten", "x", x)
        if x.ndim < 2:
            raise ValueError(f"Flatten: expected at least 2-D input, got {x.shape}")
        y = x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
        self.cache = x.shape, y.shape, x.dtype
        return y

    def backward(self, dy):
        """Return dy in the shape of x."""
        x_shape, y_shape, dtype = self.saved_cache()
        check_gradient("Flatten.backward", dy, y_shape, dtype)
        return dy.reshape(x_shape)


class CrossEntropyLoss(Module):
    """Softmax and mean negative log-likelihood in one, as PyTorch's: logits in, one number out.

    Examples
    --------
    >>> loss = CrossEntropyLoss()
    >>> round(loss(np.zeros((2, 10)), np.array([3, 7])), 4)  # log(10)
    2.3026
    """

    def __call__(self, logits, target):
        """Run `forward`."""
        return self.forward(logits, target)

    def forward(self, logits, target):
        """Return the loss of logits (N, K) for the class indices `target` (N,)."""
        loss, self.cache = F.cross_entropy_forward(logits, target)
        return loss

    def backward(self, dloss=1.0):
        """Return the gradient of the logits."""
        return F.cross_entropy_backward(dloss, self.saved_cache())
