"""Normalization layers, with PyTorch's names, arguments, defaults and state.

The arithmetic is in `bnlib.functional`; here are the state and its rules.
"""

import numpy as np

from bnlib import functional as F
from bnlib._checks import (
    check_channels,
    check_eps,
    check_normalized_shape,
    check_param_dtype,
    check_positive_int,
    check_probability,
)
from bnlib.module import Module, Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "LayerNorm"]


class _Norm(Module):
    """What all normalization layers share: a scale γ, a shift β, and a backward."""

    def __init__(self, shape, eps, affine, bias, dtype):
        super().__init__()
        check_eps(type(self).__name__, eps)
        self.eps = eps
        self.dtype = check_param_dtype(type(self).__name__, dtype)
        self.weight = Parameter(np.ones(shape, self.dtype)) if affine else None
        self.bias = Parameter(np.zeros(shape, self.dtype)) if affine and bias else None

    def affine_data(self):
        """Return the arrays of weight and bias, None where there is none."""
        return [None if p is None else p.data for p in (self.weight, self.bias)]

    def backward(self, dy):
        """Return dx; add to the gradients of weight and bias, where there are any."""
        dx, *gradients = self.gradients(dy, self.saved_cache())
        for parameter, gradient in zip(
            (self.weight, self.bias), gradients, strict=True
        ):
            if parameter is not None:
                parameter.grad += gradient
        return dx


class _BatchNorm(_Norm):
    """Batch normalization over axis 1 of an input with one of `ranks` axes."""

    ranks = ()
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    gradients = staticmethod(F.batch_norm_backward)

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        *,
        bias=True,
        dtype=np.float32,
    ):
        check_positive_int(type(self).__name__, "num_features", num_features)
        if momentum is not None:
            check_probability(type(self).__name__, "momentum", momentum)
        super().__init__((num_features,), eps, affine, bias, dtype)
        self.num_features = num_features
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features, self.dtype)
            self.running_var = np.ones(num_features, self.dtype)
            self.num_batches_tracked = np.array(0, np.int64)

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def forward(self, x):
        """Normalize with the batch's statistics in training, the running ones in evaluation."""
        check_channels(type(self).__name__, x, self.num_features, self.ranks)
        tracking = self.training and self.track_running_stats
        momentum = self.momentum
        if momentum is None:  # cumulative: each of n batches weighs 1/n
            momentum = 1 / (int(self.num_batches_tracked) + 1) if tracking else 0
        running = self.running_mean, self.running_var
        by_batch = self.training or not self.track_running_stats
        y, self.cache = F.batch_norm_forward(
            x, *running, *self.affine_data(), by_batch, momentum, self.eps
        )
        if tracking and x.size:
            self.num_batches_tracked += 1
        return y


class BatchNorm1d(_BatchNorm):
    """Batch normalization of features, (N, C), or of sequences, (N, C, L).

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch in the running statistics; None for a cumulative average.
    affine : bool
        Whether to learn a scale γ (`weight`) and a shift β (`bias`).
    track_running_stats : bool
        Whether to keep running statistics. Without them the batch's are used in evaluation too.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of parameters and statistics: float32 (for float16 and float32 inputs) or float64.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,) or None
        Start at 1 and 0.
    running_mean, running_var : ndarray of shape (C,) or None
        Start at 0 and 1; `running_var` averages unbiased variances.
    num_batches_tracked : ndarray of int64, shape () or None
        Number of training batches seen; an empty one does not count.

    Raises
    ------
    TypeError, ValueError
        In the constructor, for arguments out of range; in a call, as `bnlib.functional.batch_norm`
        does, and for an input of another rank or number of channels. Nothing is changed then.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithms 1 and 2. Derived in the chapter "Running statistics".

    Examples
    --------
    >>> bn = BatchNorm1d(2)
    >>> bn(np.array([[1, 10], [3, 30]], dtype=np.float32)).round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> bn.running_mean
    array([0.2, 2. ], dtype=float32)
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of images, (N, C, H, W): each channel over batch and space.

    Parameters, attributes and errors are those of `BatchNorm1d`. Derived in the chapter
    "Convolution"; Ioffe & Szegedy (2015), section 3.2.

    Examples
    --------
    >>> BatchNorm2d(3)(np.zeros((2, 3, 4, 4), dtype=np.float32)).shape
    (2, 3, 4, 4)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of volumes or videos, (N, C, D, H, W).

    Parameters, attributes and errors are those of `BatchNorm1d`.
    """

    ranks = (5,)


class LayerNorm(_Norm):
    """Layer normalization: each sample over its last axes.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Shape of the axes to normalize over, the last ones of the input.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether to learn a scale and a shift of `normalized_shape`.
    bias : bool
        Whether to learn a shift, if `elementwise_affine`.
    dtype : dtype
        Of the parameters: float32 (for float16 and float32 inputs) or float64.

    Notes
    -----
    Ba, Kiros & Hinton (2016). It keeps no running statistics: training and evaluation are the same.

    Examples
    --------
    >>> LayerNorm(2)(np.array([[1, 3], [10, 30]], dtype=np.float32)).round(3)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    gradients = staticmethod(F.layer_norm_backward)

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        *,
        dtype=np.float32,
    ):
        if isinstance(normalized_shape, (int, np.integer)):
            normalized_shape = (normalized_shape,)
        check_normalized_shape("LayerNorm", normalized_shape)
        self.normalized_shape = tuple(normalized_shape)
        super().__init__(self.normalized_shape, eps, elementwise_affine, bias, dtype)

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        affine = self.weight is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"

    def forward(self, x):
        """Normalize each sample."""
        y, self.cache = F.layer_norm_forward(
            x, self.normalized_shape, *self.affine_data(), self.eps
        )
        return y


class GroupNorm(_Norm):
    """Group normalization: each sample over groups of channels and all of space.

    Parameters
    ----------
    num_groups : int
        Number of groups; divides `num_channels`.
    num_channels : int
        Number of channels C.
    eps : float
        Added to the variance.
    affine : bool
        Whether to learn a scale and a shift per channel.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of the parameters: float32 (for float16 and float32 inputs) or float64.

    Notes
    -----
    Wu & He (2018). With `num_channels` groups it is instance normalization.

    Examples
    --------
    >>> GroupNorm(2, 4)(np.array([[1, 3, 10, 30]], dtype=np.float32)).round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    gradients = staticmethod(F.group_norm_backward)

    def __init__(
        self,
        num_groups,
        num_channels,
        eps=1e-5,
        affine=True,
        bias=True,
        *,
        dtype=np.float32,
    ):
        check_positive_int("GroupNorm", "num_groups", num_groups)
        check_positive_int("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: expected num_groups to divide {num_channels}, got {num_groups}"
            )
        super().__init__((num_channels,), eps, affine, bias, dtype)
        self.num_groups = num_groups
        self.num_channels = num_channels

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        affine = self.weight is not None
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={affine}"
        )

    def forward(self, x):
        """Normalize each group of each sample."""
        check_channels("GroupNorm", x, self.num_channels)
        y, self.cache = F.group_norm_forward(
            x, self.num_groups, *self.affine_data(), self.eps
        )
        return y
