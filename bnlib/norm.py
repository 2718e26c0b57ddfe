"""Normalization layers, with PyTorch's names, arguments, defaults and state.

The arithmetic is in `bnlib.functional`; here are the state and its rules.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bnlib import functional as F
from bnlib._checks import (
    check_array,
    check_bool,
    check_channels,
    check_function,
    check_int,
    check_norm_input,
    check_normalized_shape,
    check_number,
    check_param_dtype,
    check_shape,
    check_writeable,
    is_int,
)
from bnlib._types import AllReduce, Array, DType
from bnlib.module import Layer, Parameter

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
    "SyncBatchNorm",
]


class _Norm(Layer):
    """What all normalization layers share: a scale γ, a shift β, and a backward."""

    gradients: ClassVar[Callable[..., Any]]
    _settings: ClassVar = {
        **Layer._settings,
        "eps": partial(check_number, above=0),
        "dtype": check_param_dtype,
    }
    _fixed: ClassVar[tuple[str, ...]] = ("dtype",)

    eps: Any
    dtype: Any
    # What is there decides. The second is the name that PyTorch gives it in LayerNorm and RMSNorm.
    affine = property(lambda self: self.weight is not None)
    elementwise_affine = affine

    def __init__(
        self,
        shape: tuple[int, ...],
        eps: float | None,
        affine: bool,
        bias: bool,
        dtype: DType,
    ):
        super().__init__()
        for name, value in (("affine", affine), ("bias", bias)):
            check_bool(type(self).__name__, name, value)
        self.eps = eps
        self.dtype = dtype
        self.weight = Parameter(np.ones(shape, self.dtype)) if affine else None
        self.bias = Parameter(np.zeros(shape, self.dtype)) if affine and bias else None

    def affine_data(self) -> tuple[Array | None, Array | None]:
        """Return the arrays of weight and bias.

        Returns
        -------
        weight, bias : ndarray or None
            None where there is none.
        """
        return (
            None if self.weight is None else self.weight.data,
            None if self.bias is None else self.bias.data,
        )

    def backward(self, dy: Array) -> Array:
        """Add to the gradients of weight and bias, where there are any.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output, in its shape and dtype.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        dx: Array
        dx, dweight, dbias = self.gradients(dy, self.saved_cache())
        if self.weight is not None:
            self.weight.grad += dweight
        if self.bias is not None:
            self.bias.grad += dbias
        return dx


def _momentum(call: str, name: str, value: Any) -> float | None:
    """Return a momentum, which may be None."""
    return None if value is None else check_number(call, name, value, low=0, high=1)


def _counter(call: str, name: str, value: Any) -> Array | None:
    """Return an array for a count, or None; raise unless it is an int64 scalar."""
    if value is not None:
        check_array(call, name, value)
        check_shape(call, name, value, ())
        if value.dtype != np.int64:
            raise TypeError(
                f"{call}: expected {name} of dtype int64, got {value.dtype}"
            )
    return value


class _Tracking(_Norm):
    """A normalization of channels that can keep running statistics."""

    ranks: ClassVar[tuple[int, ...]] = ()
    _settings: ClassVar = {
        **_Norm._settings,
        "num_features": check_int,
        "momentum": _momentum,
        "track_running_stats": check_bool,
        "num_batches_tracked": _counter,
    }
    _fixed = ("dtype", "num_features")
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: DType,
    ):
        self.num_features = num_features
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        super().__init__((self.num_features,), eps, affine, bias, dtype)
        self.running_mean: Array | None = None
        self.running_var: Array | None = None
        self.num_batches_tracked: Array | None = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features, self.dtype)
            self.running_var = np.ones(num_features, self.dtype)
            self.num_batches_tracked = np.array(0, np.int64)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def next_count(self) -> int:
        """Return the number of the batch that comes next.

        Returns
        -------
        int
            From 1 on; 0 where no batch is counted.

        Raises
        ------
        ValueError
            If the counter is below 0, or full, or read-only.
        """
        counting = self.training and self.track_running_stats
        if not counting or self.num_batches_tracked is None:
            return 0
        check_writeable(
            type(self).__name__, "num_batches_tracked", self.num_batches_tracked
        )
        count = int(self.num_batches_tracked)
        if not 0 <= count < np.iinfo(np.int64).max:
            raise ValueError(
                f"{type(self).__name__}: expected num_batches_tracked from 0 on and below "
                f"2⁶³ − 1, got {count}"
            )
        return count + 1

    def normalize(self, x: Array, forward: Callable[..., Any]) -> Array:
        """Run a functional forward with the state of this layer, and count the batch.

        Parameters
        ----------
        x : ndarray
            Input, of a rank and number of channels that fit.
        forward : callable
            ``forward(x, running_mean, running_var, weight, bias, by_batch, momentum, eps)``.

        Returns
        -------
        ndarray
            Output.

        Notes
        -----
        As in PyTorch, what there is decides, not what was asked for in the constructor: running
        statistics that are there normalize in evaluation, and are updated while
        `track_running_stats` is true.
        """
        count = self.next_count()
        momentum = self.momentum
        if momentum is None:  # cumulative: each of n batches weighs 1/n
            momentum = 1 / count if count else 0
        mean, var = self.running_mean, self.running_var
        by_batch = self.training or (mean is None and var is None)
        if self.training and not self.track_running_stats:
            mean = var = None
        y, self.cache = forward(
            x, mean, var, *self.affine_data(), by_batch, momentum, self.eps
        )
        # A worker counts a batch of which others have the samples; nobody counts an empty one.
        seen = x.size or self.cache.m
        if count and seen and self.num_batches_tracked is not None:
            self.num_batches_tracked[...] = count
        return y


class _BatchNorm(_Tracking):
    """Batch normalization over axis 1 of an input with one of `ranks` axes."""

    gradients = staticmethod(F.batch_norm_backward)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DType = None,
    ):
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias, dtype
        )

    def forward(self, x: Array) -> Array:
        """Normalize with the batch's statistics in training, the running ones in evaluation.

        Parameters
        ----------
        x : ndarray of shape (N, C, ...)
            Input. It must not change before the backward.

        Returns
        -------
        ndarray of shape (N, C, ...)
            Output, in the dtype of `x`.
        """
        check_norm_input(type(self).__name__, x, self.dtype)
        check_channels(type(self).__name__, x, self.num_features, self.ranks)
        return self.normalize(x, F.batch_norm_forward)


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
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

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

    Attributes and errors are those of `BatchNorm1d`. Derived in the chapter
    "Convolution"; Ioffe & Szegedy (2015), section 3.2.

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
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Examples
    --------
    >>> BatchNorm2d(3)(np.zeros((2, 3, 4, 4), dtype=np.float32)).shape
    (2, 3, 4, 4)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of volumes or videos, (N, C, D, H, W).

    Attributes and errors are those of `BatchNorm1d`.

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
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Examples
    --------
    >>> BatchNorm3d(3)(np.ones((2, 3, 4, 4, 4), dtype=np.float32)).shape
    (2, 3, 4, 4, 4)
    """

    ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalization over the batches of several workers, as if they were one.

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
    all_reduce : callable
        Takes a float64 vector and returns its sum over all workers, in whatever engine they run.
        Each worker calls it twice in a training forward and once in the backward, also with an
        empty batch.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Raises
    ------
    TypeError, ValueError
        As `BatchNorm1d`; one value per channel is refused where all workers together have no more.
        If `all_reduce` cannot be called, or returns anything but a float64 vector of that length.

    Notes
    -----
    Running statistics come out the same in all workers. The gradients of weight and bias are those
    of this worker's batch: they are summed over workers as those of every other layer. Derived in
    the chapter "Many machines".

    Examples
    --------
    >>> bn = SyncBatchNorm(1, all_reduce=lambda vector: vector)  # a single worker
    >>> bn(np.array([[1.0], [3.0]], dtype=np.float32)).ravel().round(3)
    array([-1.,  1.], dtype=float32)
    """

    _settings: ClassVar = {**_BatchNorm._settings, "all_reduce": check_function}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        all_reduce: AllReduce,
        bias: bool = True,
        dtype: DType = None,
    ):
        self.all_reduce = all_reduce
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            bias=bias,
            dtype=dtype,
        )

    def forward(self, x: Array) -> Array:
        """Normalize with the statistics of all workers in training.

        Parameters
        ----------
        x : ndarray of shape (N, C, ...)
            Input of this worker.

        Returns
        -------
        ndarray of shape (N, C, ...)
            Output, in the dtype of `x`.
        """
        check_norm_input("SyncBatchNorm", x, self.dtype)
        check_channels("SyncBatchNorm", x, self.num_features)

        def forward(*args: Any) -> Any:
            return F.batch_norm_forward(*args, all_reduce=self.all_reduce)

        return self.normalize(x, forward)


def _last_axes(call: str, name: str, value: Any) -> tuple[int, ...]:
    """Return the shape of the last axes, of which there may be only one."""
    if is_int(value):
        value = (value,)
    return check_normalized_shape(call, name, value)


class LayerNorm(_Norm):
    """Layer normalization: each sample over its last axes.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Shape of the axes to normalize over, the last ones of the input.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether to learn a scale and a shift for each element.
    bias : bool
        Whether to learn a shift, if `elementwise_affine`.
    dtype : dtype
        Of the parameters: float32, the default (for float16 and float32 inputs), or float64.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; in a call, as `bnlib.functional.layer_norm`.

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
    _settings: ClassVar = {**_Norm._settings, "normalized_shape": _last_axes}
    normalized_shape: Any

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DType = None,
    ):
        check_bool("LayerNorm", "elementwise_affine", elementwise_affine)
        self.normalized_shape = normalized_shape
        super().__init__(self.normalized_shape, eps, elementwise_affine, bias, dtype)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.weight is not None}, bias={self.bias is not None}"
        )

    def forward(self, x: Array) -> Array:
        """Normalize each sample.

        Parameters
        ----------
        x : ndarray
            Input, whose last axes have the shape `normalized_shape`.
            It must not change before the backward.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        check_norm_input("LayerNorm", x, self.dtype)
        y, self.cache = F.layer_norm_forward(
            x, self.normalized_shape, *self.affine_data(), self.eps
        )
        return y


def _eps_or_none(call: str, name: str, value: Any) -> float | None:
    """Return what is added to the mean square, which may be left to the dtype."""
    return None if value is None else check_number(call, name, value, above=0)


class RMSNorm(_Norm):
    """Root-mean-square normalization: each sample divided by the root mean square of its last axes.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Shape of the axes to normalize over, the last ones of the input.
    eps : float or None
        Added to the mean square; None for the distance from 1 to the next number of the dtype.
    elementwise_affine : bool
        Whether to learn a scale for each element. There is no shift.
    dtype : dtype
        Of the parameter: float32, the default (for float16 and float32 inputs), or float64.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; in a call, as `bnlib.functional.rms_norm`.

    Notes
    -----
    Zhang & Sennrich (2019). Built in the chapter "Layer and group normalization".

    Examples
    --------
    >>> RMSNorm(2)(np.array([[3, 4], [-30, 40]], dtype=np.float32)).round(3)
    array([[ 0.849,  1.131],
           [-0.849,  1.131]], dtype=float32)
    """

    gradients = staticmethod(lambda dy, cache: (*F.rms_norm_backward(dy, cache), None))
    _settings: ClassVar = {
        **_Norm._settings,
        "normalized_shape": _last_axes,
        "eps": _eps_or_none,
    }
    normalized_shape: Any

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DType = None,
    ):
        check_bool("RMSNorm", "elementwise_affine", elementwise_affine)
        self.normalized_shape = normalized_shape
        super().__init__(self.normalized_shape, eps, elementwise_affine, False, dtype)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        affine = self.weight is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"

    def forward(self, x: Array) -> Array:
        """Normalize each sample.

        Parameters
        ----------
        x : ndarray
            Input, whose last axes have the shape `normalized_shape`.
            It must not change before the backward.

        Returns
        -------
        ndarray
            Output, in the shape and dtype of `x`.
        """
        check_norm_input("RMSNorm", x, self.dtype)
        weight, _ = self.affine_data()
        y, self.cache = F.rms_norm_forward(x, self.normalized_shape, weight, self.eps)
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
        Of the parameters: float32, the default (for float16 and float32 inputs), or float64.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; in a call, as `bnlib.functional.group_norm`.

    Notes
    -----
    Wu & He (2018). With `num_channels` groups it is instance normalization.

    Examples
    --------
    >>> GroupNorm(2, 4)(np.array([[1, 3, 10, 30]], dtype=np.float32)).round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    gradients = staticmethod(F.group_norm_backward)
    _settings: ClassVar = {
        **_Norm._settings,
        "num_groups": check_int,
        "num_channels": check_int,
    }
    _fixed = ("dtype", "num_channels")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: DType = None,
    ):
        self.num_groups = num_groups
        self.num_channels = num_channels
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: expected num_groups to divide {num_channels}, got {num_groups}"
            )
        super().__init__((self.num_channels,), eps, affine, bias, dtype)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}, bias={self.bias is not None}"
        )

    def forward(self, x: Array) -> Array:
        """Normalize each group of each sample.

        Parameters
        ----------
        x : ndarray of shape (N, C, ...)
            Input. It must not change before the backward.

        Returns
        -------
        ndarray of shape (N, C, ...)
            Output, in the dtype of `x`.
        """
        check_norm_input("GroupNorm", x, self.dtype)
        check_channels("GroupNorm", x, self.num_channels)
        y, self.cache = F.group_norm_forward(
            x, self.num_groups, *self.affine_data(), self.eps
        )
        return y


class _InstanceNorm(_Tracking):
    """Instance normalization of an input with one of `ranks` axes."""

    gradients = staticmethod(F.instance_norm_backward)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: DType = None,
    ):
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias, dtype
        )

    def forward(self, x: Array) -> Array:
        """Normalize each channel of each sample; with running statistics, not in evaluation.

        Parameters
        ----------
        x : ndarray of shape (N, C, ...)
            Input. It must not change before the backward.

        Returns
        -------
        ndarray of shape (N, C, ...)
            Output, in the dtype of `x`.
        """
        check_norm_input(type(self).__name__, x, self.dtype)
        check_channels(type(self).__name__, x, self.num_features, self.ranks)
        y, self.cache = F.instance_norm_forward(
            x,
            self.running_mean,
            self.running_var,
            *self.affine_data(),
            self.training or not self.track_running_stats,
            0 if self.momentum is None else self.momentum,  # as PyTorch
            self.eps,
        )
        return y


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of sequences, (N, C, L): each channel of each sample.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch in the running statistics; None for 0, as in PyTorch.
    affine : bool
        Whether to learn a scale γ (`weight`) and a shift β (`bias`).
    track_running_stats : bool
        Whether to keep running statistics, which normalize in evaluation. Nothing counts batches:
        `num_batches_tracked` stays 0, as in PyTorch.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Raises
    ------
    TypeError, ValueError
        In the constructor, for arguments out of range; in a call, as
        `bnlib.functional.instance_norm`, and for an input of another rank or number of channels.

    Notes
    -----
    Ulyanov, Vedaldi & Lempitsky (2016). Built in the chapter "Layer and group normalization".

    Examples
    --------
    >>> InstanceNorm1d(1)(np.array([[[1, 3]], [[10, 30]]], dtype=np.float32)).round(3)
    array([[[-1.,  1.]],
    <BLANKLINE>
           [[-1.,  1.]]], dtype=float32)
    """

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of images, (N, C, H, W).

    Attributes and errors are those of `InstanceNorm1d`.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch in the running statistics; None for 0, as in PyTorch.
    affine : bool
        Whether to learn a scale γ (`weight`) and a shift β (`bias`).
    track_running_stats : bool
        Whether to keep running statistics, which normalize in evaluation. Nothing counts batches:
        `num_batches_tracked` stays 0, as in PyTorch.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Examples
    --------
    >>> InstanceNorm2d(3)(np.ones((2, 3, 4, 4), dtype=np.float32)).shape
    (2, 3, 4, 4)
    """

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of volumes or videos, (N, C, D, H, W).

    Attributes and errors are those of `InstanceNorm1d`.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch in the running statistics; None for 0, as in PyTorch.
    affine : bool
        Whether to learn a scale γ (`weight`) and a shift β (`bias`).
    track_running_stats : bool
        Whether to keep running statistics, which normalize in evaluation. Nothing counts batches:
        `num_batches_tracked` stays 0, as in PyTorch.
    bias : bool
        Whether to learn a shift, if `affine`.
    dtype : dtype
        Of parameters and statistics: float32, the default (for float16 and float32 inputs), or
        float64.

    Examples
    --------
    >>> InstanceNorm3d(3)(np.ones((2, 3, 4, 4, 4), dtype=np.float32)).shape
    (2, 3, 4, 4, 4)
    """

    ranks = (5,)
