"""The door: every function of bnlib, with its arguments checked.

``*_forward`` returns the output and a cache; ``*_backward`` turns the gradient of the output and
that cache into gradients of the inputs. `batch_norm` and its like have PyTorch's signatures. The
channel axis is axis 1. The formula of all normalizations is in `bnlib.normalize`, to be read, and
in `bnlib.compiled`, for Numba; which one runs is decided here, by `compiled_for`. Convolution and
pooling come from `bnlib.convolution`, everything else from `bnlib.ops`.
"""

import functools
import importlib
import math
import os
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from bnlib import convolution, normalize, ops
from bnlib._checks import (
    check_batch_norm,
    check_bool,
    check_cache,
    check_channel_norm,
    check_floats,
    check_function,
    check_gradient,
    check_int,
    check_last_axes,
    check_memory,
    check_number,
    check_running,
    compute_dtype,
)
from bnlib._types import AllReduce, Array
from bnlib.convolution import *  # noqa: F403
from bnlib.moments import moments
from bnlib.normalize import (
    BatchNormCache,
    NormCache,
    normalize_backward,
    normalize_forward,
    update_running,
)
from bnlib.ops import *  # noqa: F403
from bnlib.threads import num_threads

__all__ = [
    "GroupNormCache",
    "InstanceNormCache",
    "LayerNormCache",
    "RMSNormCache",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
]
__all__ += convolution.__all__ + ops.__all__

BACKENDS = ("auto", "reference", "compiled")
SMALL = 2**10  # numbers below which no compiled loop pays for itself
Cache = TypeVar("Cache", bound=NormCache)


# Readable or compiled ----------------------------------------------------------------------


@functools.cache
def import_compiled() -> ModuleType | None:
    """Return `bnlib.compiled`, imported when it is first needed; None without Numba."""
    try:
        return importlib.import_module("bnlib.compiled")
    except ImportError:
        return None


def compiled_for(x: Array) -> ModuleType | None:
    """Return the compiled loops if they are to normalize `x`, None for the readable way.

    Parameters
    ----------
    x : ndarray
        Input. The loops take float32 and float64 in C order.

    Returns
    -------
    module or None
        `bnlib.compiled`.

    Raises
    ------
    ValueError, ImportError
        If the environment variable ``BNLIB_BACKEND`` is none of its three values: "auto" (the same
        as not set: compiled where Numba is installed and x is not small), "reference" (readable)
        or "compiled" (for small arrays too); if that needs Numba, and it is not installed.
    """
    backend = os.environ.get("BNLIB_BACKEND", "auto")
    if backend not in BACKENDS:
        raise ValueError(
            f"bnlib: expected BNLIB_BACKEND as one of {', '.join(BACKENDS)}, "
            f"got {backend!r}"
        )
    if backend == "reference" or (backend == "auto" and x.size < SMALL):
        return None
    compiled = import_compiled()
    if backend == "compiled" and compiled is None:
        raise ImportError(
            "bnlib: BNLIB_BACKEND=compiled needs Numba: pip install 'bnlib[fast]'"
        )
    flags = x.flags
    fits = x.size and x.dtype != np.float16 and flags.c_contiguous and flags.aligned
    return compiled if fits else None


# Batch normalization -----------------------------------------------------------------------


def batch_norm_forward(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
    threads: int | None = None,
    all_reduce: AllReduce | None = None,
) -> tuple[Array, Any]:
    """Normalize each channel of a mini-batch, then scale and shift; keep what the backward needs.

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
    out : ndarray of shape (N, C, ...) or None
        Memory for the output, in C order, of the dtype of `x` and apart from all other arrays.
    threads : int or None
        How many threads may work on a large array; None for what the environment variable
        ``BNLIB_NUM_THREADS`` says, or else all CPUs of the process. Any number gives the same bits.
    all_reduce : callable or None
        Takes a float64 vector and returns its sum over all workers, whose batches are normalized
        as one: see `bnlib.SyncBatchNorm`.

    Returns
    -------
    y : ndarray of shape (N, C, ...)
        Output, in the dtype of `x`; `out`, if that is given.
    cache : BatchNormCache
        For `batch_norm_backward`.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm`.

    Notes
    -----
    `x` and `weight` must not change before the backward, which needs them: they are not always
    copied.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = batch_norm_forward(x, None, None, training=True)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    args = x, running_mean, running_var, weight, bias, training
    settings = check_batch_norm(
        "batch_norm", *args, momentum, eps, one_is_enough=all_reduce is not None
    )
    check_threads("batch_norm", threads)
    if all_reduce is not None:
        check_function("batch_norm", "all_reduce", all_reduce)
    check_memory(
        "batch_norm",
        out,
        x,
        x=x,
        weight=weight,
        bias=bias,
        running_mean=running_mean,
        running_var=running_var,
    )
    compiled = None if all_reduce is not None else compiled_for(x)
    if compiled is None:
        y, cache = normalize.batch_norm_forward(*args, *settings, all_reduce)
        return into(out, y), cache
    momentum, eps = settings
    axes = (0, *range(2, x.ndim))
    m = x.size // x.shape[1]
    view = x.shape[0], x.shape[1], 1, m // x.shape[0]
    constants = None if training else (running_mean, running_var)
    y, mean, var, invstd = compiled.forward(
        *(x, view, True, weight, bias, eps, training, constants, out),
        num_threads(threads),
    )
    if training and running_mean is not None and running_var is not None:
        update_running(running_mean, running_var, mean, var, m, momentum)
    return y, BatchNormCache(
        x_hat=None,
        invstd=invstd,
        weight=weight,
        axes=axes if training else None,
        shared=axes,
        shape=x.shape,
        parameters=x.shape[1:2],
        dtype=x.dtype,
        x=x,
        mean=mean,
        view=view,
    )


def batch_norm_backward(
    dy: Array, cache: Any, *, out: Array | None = None, threads: int | None = None
) -> tuple[Array, Array, Array]:
    """Return the gradients of a batch normalization, in training and in evaluation.

    Parameters
    ----------
    dy : ndarray of shape (N, C, ...)
        Gradient of the loss with respect to the output, in its dtype.
    cache : BatchNormCache
        From `batch_norm_forward`.
    out : ndarray of shape (N, C, ...) or None
        Memory for `dx`, apart from all that is read.
    threads : int or None
        As in `batch_norm`.

    Returns
    -------
    dx : ndarray of shape (N, C, ...)
        Gradient with respect to `x`, in its dtype; `out`, if that is given.
    dweight, dbias : ndarray of shape (C,)
        Gradients with respect to `weight` and `bias`; where there is none, with respect to the 1
        or 0 that stands in for it. With `all_reduce`, those of this worker's batch.

    Raises
    ------
    TypeError, ValueError
        If `dy` or `out` has another dtype or shape than the output, the cache is that of another
        function, or `out` is no memory to write into.

    Notes
    -----
    In training ``dx = weight · invstd · (dy − mean(dy) − x_hat · mean(dy · x_hat))``: Ioffe &
    Szegedy (2015), section 3, in closed form. Derived in the chapter "Backward".

    Examples
    --------
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> y, cache = batch_norm_forward(x, None, None, training=True)
    >>> dx, dweight, dbias = batch_norm_backward(dy, cache)
    >>> dx.ravel().round(3)
    array([ 0.176, -0.22 ,  0.044])
    """
    call = "batch_norm_backward"
    check_threads(call, threads)
    return gradients(call, BatchNormCache, dy, cache, out, threads)


def gradients(
    call: str,
    kind: type[NormCache],
    dy: Array,
    cache: NormCache,
    out: Array | None = None,
    threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Check the arguments of a normalization's backward, and do it the way of its forward.

    Parameters
    ----------
    call : str
        Who asks, for messages.
    kind : type
        Of the cache.
    dy, cache, out, threads : see `batch_norm_backward`
        As there.

    Returns
    -------
    dx, dweight, dbias : ndarray
        As there.
    """
    check_cache(call, cache, kind)
    check_gradient(call, dy, cache.shape, cache.dtype)
    kept = cache.x if cache.x_hat is None else cache.x_hat
    check_memory(call, out, dy, dy=dy, x=kept, weight=cache.weight)
    if cache.x_hat is not None:
        dx, dweight, dbias = normalize_backward(dy, cache)
        return into(out, dx), dweight, dbias
    compiled: Any = import_compiled()
    across = cache.axes is None or 0 in cache.axes
    own = cache.axes is not None and cache.centered
    dx, *sums = compiled.backward(
        *(np.ascontiguousarray(dy), cache.x, cache.view, across, cache.weight, own),
        *(cache.mean, cache.invstd, out, num_threads(threads)),
    )
    dweight, dbias = (a.reshape(cache.parameters).astype(dx.dtype) for a in sums)
    return dx, dweight, dbias


def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
    threads: int | None = None,
    all_reduce: AllReduce | None = None,
) -> Array:
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
    out : ndarray of shape (N, C, ...) or None
        Memory for the output, in C order, of the dtype of `x` and apart from all other arrays.
    threads : int or None
        How many threads may work on a large array; None for what the environment variable
        ``BNLIB_NUM_THREADS`` says, or else all CPUs of the process. Any number gives the same bits.
    all_reduce : callable or None
        Takes a float64 vector and returns its sum over all workers, whose batches are normalized
        as one: see `bnlib.SyncBatchNorm`.

    Returns
    -------
    ndarray of shape (N, C, ...)
        Output, in the dtype of `x`; `out`, if that is given. An empty batch gives an empty output,
        and leaves the running statistics alone.

    Raises
    ------
    TypeError
        If an array has another dtype than the one above.
    ValueError
        If a shape does not fit; if there is only one value per channel in training; if running
        statistics are missing in evaluation; if `eps`, `momentum` or `threads` is out of range;
        if `out` cannot be written, or arrays that are written share memory with others.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithms 1 and 2. Derived in the chapters "Forward" and "Running
    statistics".

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> batch_norm(x, None, None, training=True).round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    y, _ = batch_norm_forward(
        x,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        out=out,
        threads=threads,
        all_reduce=all_reduce,
    )
    return y


def check_threads(call: str, threads: Any) -> None:
    """Raise unless `threads` is None or an integer of at least one."""
    if threads is not None:
        check_int(call, "threads", threads)


def into(out: Array | None, a: Array) -> Array:
    """Return `a`, in the memory of `out` if there is such."""
    if out is None:
        return a
    out[...] = a
    return out


# Groups of channels of one sample ----------------------------------------------------------


def groups_forward(
    kind: type[Cache],
    x: Array,
    view: tuple[int, int, int, int],
    weight: Array | None,
    bias: Array | None,
    eps: float,
    parameters: tuple[int, ...],
    centered: bool = True,
) -> tuple[Array, Cache, Array, Array]:
    """Normalize each group of channels of each sample.

    Parameters
    ----------
    kind : type
        Of the cache.
    x : ndarray
        Input.
    view : tuple of int
        Its samples, groups, channels of a group, and positions: ``N, G, K, S``.
    weight, bias : ndarray or None
        Scale and shift, G · K numbers.
    eps : float
        Added to the variance.
    parameters : tuple of int
        Shape of weight and bias.
    centered : bool
        Whether to subtract the mean.

    Returns
    -------
    y : ndarray of the shape and dtype of `x`
        Output.
    cache : NormCache
        Of that kind.
    mean, var : ndarray of float64, shape (N, G, 1, 1)
        Of each group.
    """
    N, G, K, _ = view
    gamma, beta = (None if a is None else a.reshape(1, G, K, 1) for a in (weight, bias))
    compiled, kept = compiled_for(x), {}
    if compiled is None:
        grouped = x.reshape(view)
        mean, var = moments(grouped, (2, 3), centered)
        y, x_hat, invstd = normalize_forward(grouped, mean, var, gamma, beta, eps)
    else:
        y, mean, var, invstd = compiled.forward(
            x, view, False, gamma, beta, eps, centered, None, None, num_threads()
        )
        invstd = invstd.reshape(N, G, 1, 1)
        x_hat, kept = None, {"x": x, "mean": mean, "view": view}
    cache = kind(
        x_hat=x_hat,
        invstd=invstd,
        weight=gamma,
        axes=(2, 3),
        shared=(0, 3),
        shape=x.shape,
        parameters=parameters,
        dtype=x.dtype,
        centered=centered,
        **kept,
    )
    mean, var = (a.reshape(N, G, 1, 1) for a in (mean, var))
    return y.reshape(x.shape), cache, mean, var


# Normalization over the last axes ----------------------------------------------------------


class LayerNormCache(NormCache):
    """The cache of layer normalization."""

    __slots__ = ()


def layer_norm_forward(
    x: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, LayerNormCache]:
    """Normalize each sample over its last axes; keep what the backward needs.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Its last axes have the shape `normalized_shape`.
    normalized_shape : tuple of int
        Shape of the last axes, over which each sample is normalized.
    weight, bias : ndarray of shape `normalized_shape` or None
        Scale and shift, float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    y : ndarray of the shape and dtype of `x`
        Output.
    cache : LayerNormCache
        For `layer_norm_backward`.

    Raises
    ------
    TypeError, ValueError
        As `layer_norm`.

    Notes
    -----
    `x` and `weight` must not change before the backward, which needs them: they are not always
    copied.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = layer_norm_forward(x, (2,))
    >>> y.round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    shape, eps = check_last_axes("layer_norm", x, normalized_shape, weight, bias, eps)
    view = last_axes(x, shape)
    return groups_forward(LayerNormCache, x, view, weight, bias, eps, shape)[:2]


def last_axes(x: Array, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return samples, groups, channels and positions where each sample is one group."""
    return math.prod(x.shape[: x.ndim - len(shape)]), 1, math.prod(shape), 1


def layer_norm_backward(dy: Array, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """Return the gradients of a layer normalization.

    Parameters
    ----------
    dy : ndarray of the shape and dtype of the output
        Gradient of the loss with respect to it.
    cache : LayerNormCache
        From `layer_norm_forward`.

    Returns
    -------
    dx : ndarray
        Gradient with respect to `x`, in its shape and dtype.
    dweight, dbias : ndarray
        Gradients with respect to `weight` and `bias`, as `batch_norm_backward`.

    Examples
    --------
    >>> x, dy = np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 0.0, 0.0]])
    >>> y, cache = layer_norm_forward(x, (3,))
    >>> dx, dweight, dbias = layer_norm_backward(dy, cache)
    >>> dx.round(3)
    array([[ 0.176, -0.22 ,  0.044]])
    """
    return gradients("layer_norm_backward", LayerNormCache, dy, cache)


def layer_norm(
    x: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Layer normalization over the last axes, one sample at a time.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Its last axes have the shape `normalized_shape`.
    normalized_shape : tuple of int
        Shape of the last axes, over which each sample is normalized.
    weight, bias : ndarray of shape `normalized_shape` or None
        Scale and shift, float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of the shape and dtype of `x`
        Output.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, or `eps` is not positive.

    Notes
    -----
    Ba, Kiros & Hinton (2016), eq. 3 and 4. Built in the chapter "Layer and group normalization".

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), (2,)).round(4)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return layer_norm_forward(x, normalized_shape, weight, bias, eps)[0]


class RMSNormCache(NormCache):
    """The cache of root-mean-square normalization."""

    __slots__ = ()


def rms_norm_forward(
    x: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, RMSNormCache]:
    """Divide each sample by its root mean square; keep what the backward needs.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Its last axes have the shape `normalized_shape`.
    normalized_shape : tuple of int
        Shape of the last axes, over which each sample is normalized.
    weight : ndarray of shape `normalized_shape` or None
        Scale, float32 (float64 for a float64 input).
    eps : float or None
        Added to the mean square, greater than 0; None for the distance from 1 to the next number
        of float32 (of float64 for a float64 input).

    Returns
    -------
    y : ndarray of the shape and dtype of `x`
        Output.
    cache : RMSNormCache
        For `rms_norm_backward`.

    Raises
    ------
    TypeError, ValueError
        As `rms_norm`.

    Notes
    -----
    `x` and `weight` must not change before the backward, which needs them: they are not always
    copied.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = rms_norm_forward(x, (2,))
    >>> y.round(3)
    array([[0.141, 1.407],
           [0.141, 1.407]])
    """
    check_floats("rms_norm", "x", x)
    if eps is None:
        eps = float(np.finfo(compute_dtype(x.dtype)).eps)
    shape, eps = check_last_axes("rms_norm", x, normalized_shape, weight, None, eps)
    view = last_axes(x, shape)
    return groups_forward(RMSNormCache, x, view, weight, None, eps, shape, False)[:2]


def rms_norm_backward(dy: Array, cache: RMSNormCache) -> tuple[Array, Array]:
    """Return the gradients of a root-mean-square normalization.

    Parameters
    ----------
    dy : ndarray of the shape and dtype of the output
        Gradient of the loss with respect to it.
    cache : RMSNormCache
        From `rms_norm_forward`.

    Returns
    -------
    dx : ndarray
        Gradient with respect to `x`, in its shape and dtype.
    dweight : ndarray
        Gradient with respect to `weight`; where there is none, with respect to the 1 that stands in
        for it.

    Examples
    --------
    >>> x, dy = np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 0.0, 0.0]])
    >>> y, cache = rms_norm_forward(x, (3,))
    >>> dx, dweight = rms_norm_backward(dy, cache)
    >>> dx.round(3)
    array([[ 0.264, -0.013, -0.04 ]])
    """
    dx, dweight, _ = gradients("rms_norm_backward", RMSNormCache, dy, cache)
    return dx, dweight


def rms_norm(
    x: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """Root-mean-square normalization: layer normalization without a mean and without a shift.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Its last axes have the shape `normalized_shape`.
    normalized_shape : tuple of int
        Shape of the last axes, over which each sample is normalized.
    weight : ndarray of shape `normalized_shape` or None
        Scale, float32 (float64 for a float64 input).
    eps : float or None
        Added to the mean square, greater than 0; None for the distance from 1 to the next number
        of float32 (of float64 for a float64 input).

    Returns
    -------
    ndarray of the shape and dtype of `x`
        Output.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, or `eps` is not positive.

    Notes
    -----
    Zhang & Sennrich (2019), "Root Mean Square Layer Normalization", eq. 4. Built in the chapter
    "Layer and group normalization".

    Examples
    --------
    >>> import numpy as np
    >>> rms_norm(np.array([[3.0, 4.0], [-30.0, 40.0]]), (2,)).round(4)
    array([[ 0.8485,  1.1314],
           [-0.8485,  1.1314]])
    """
    return rms_norm_forward(x, normalized_shape, weight, eps)[0]


# Normalization over groups of channels -----------------------------------------------------


class GroupNormCache(NormCache):
    """The cache of group normalization."""

    __slots__ = ()


def group_norm_forward(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, GroupNormCache]:
    """Normalize each sample over groups of channels; keep what the backward needs.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float16, float32 or float64
        Input.
    num_groups : int
        Number of groups; divides C. 1 group normalizes over a whole sample, C groups are instance
        normalization.
    weight, bias : ndarray of shape (C,) or None
        Scale and shift, float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    y : ndarray of the shape and dtype of `x`
        Output.
    cache : GroupNormCache
        For `group_norm_backward`.

    Raises
    ------
    TypeError, ValueError
        As `group_norm`.

    Notes
    -----
    `x` and `weight` must not change before the backward, which needs them: they are not always
    copied.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = group_norm_forward(x, 1)
    >>> y.round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    eps = check_channel_norm("group_norm", x, weight, bias, eps)
    num_groups = check_int("group_norm", "num_groups", num_groups)
    if x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: expected num_groups to divide {x.shape[1]}, got {num_groups}"
        )
    N, C, *space = x.shape
    view = N, num_groups, C // num_groups, math.prod(space)
    return groups_forward(GroupNormCache, x, view, weight, bias, eps, (C,))[:2]


def group_norm_backward(dy: Array, cache: GroupNormCache) -> tuple[Array, Array, Array]:
    """Return the gradients of a group normalization.

    Parameters
    ----------
    dy : ndarray of the shape and dtype of the output
        Gradient of the loss with respect to it.
    cache : GroupNormCache
        From `group_norm_forward`.

    Returns
    -------
    dx : ndarray
        Gradient with respect to `x`, in its shape and dtype.
    dweight, dbias : ndarray
        Gradients with respect to `weight` and `bias`, as `batch_norm_backward`.

    Examples
    --------
    >>> x, dy = np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 0.0, 0.0]])
    >>> y, cache = group_norm_forward(x, 1)
    >>> dx, dweight, dbias = group_norm_backward(dy, cache)
    >>> dx.round(3)
    array([[ 0.176, -0.22 ,  0.044]])
    """
    return gradients("group_norm_backward", GroupNormCache, dy, cache)


def group_norm(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Group normalization: each sample over groups of neighbouring channels and all of space.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float16, float32 or float64
        Input.
    num_groups : int
        Number of groups; divides C. 1 group normalizes over a whole sample, C groups are instance
        normalization.
    weight, bias : ndarray of shape (C,) or None
        Scale and shift, float32 (float64 for a float64 input).
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of the shape and dtype of `x`
        Output.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, if `num_groups` does not divide C, or `eps` is not
        positive.

    Notes
    -----
    Wu & He (2018), eq. 1, 2, 6 and 7. Built in the chapter "Layer and group normalization".

    Examples
    --------
    >>> import numpy as np
    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), num_groups=2).round(4)
    array([[-1.,  1., -1.,  1.]])
    """
    return group_norm_forward(x, num_groups, weight, bias, eps)[0]


class InstanceNormCache(NormCache):
    """The cache of instance normalization."""

    __slots__ = ()


def instance_norm_forward(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, InstanceNormCache]:
    """Normalize each channel of each sample over space; keep what the backward needs.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float16, float32 or float64
        Input.
    running_mean, running_var : ndarray of shape (C,) or None
        Running statistics, float32 (float64 for a float64 input). With `use_input_stats` they move
        towards the means, over the samples, of their means and unbiased variances; else they
        normalize.
    weight, bias : ndarray of shape (C,) or None
        Scale and shift, dtype as the running statistics.
    use_input_stats : bool
        Whether to normalize with the statistics of each sample.
    momentum : float
        Weight of the new batch in the running statistics, from 0 to 1.
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    y : ndarray of shape (N, C, ...)
        Output, in the dtype of `x`.
    cache : InstanceNormCache
        For `instance_norm_backward`.

    Raises
    ------
    TypeError, ValueError
        As `instance_norm`.

    Notes
    -----
    `x` and `weight` must not change before the backward, which needs them: they are not always
    copied.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0], [10.0, 30.0]]])
    >>> y, cache = instance_norm_forward(x)
    >>> y.round(3)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    call = "instance_norm"
    eps = check_channel_norm(call, x, weight, bias, eps)
    own = check_bool(call, "use_input_stats", use_input_stats)
    check_running(call, x, running_mean, running_var, own, weight=weight, bias=bias)
    momentum = check_number(call, "momentum", momentum, low=0, high=1)
    m = math.prod(x.shape[2:])  # values that share one mean
    if own and m == 1:
        raise ValueError(
            f"{call}: expected more than 1 value per channel and sample, got shape {x.shape}"
        )
    if not own and running_mean is None:
        raise ValueError(
            f"{call}: expected running_mean and running_var when not use_input_stats"
        )
    if not own:  # constants for each channel, as batch normalization has in evaluation
        y, cache = batch_norm_forward(
            x, running_mean, running_var, weight, bias, eps=eps
        )
        return y, InstanceNormCache(*cache)
    N, C = x.shape[:2]
    y, cache, mean, var = groups_forward(
        InstanceNormCache, x, (N, C, 1, m), weight, bias, eps, (C,)
    )
    if running_mean is not None and running_var is not None and x.size > 0:
        mean, var = mean.mean(0).ravel(), var.mean(0).ravel()
        update_running(running_mean, running_var, mean, var, m, momentum)
    return y, cache


def instance_norm_backward(
    dy: Array, cache: InstanceNormCache
) -> tuple[Array, Array, Array]:
    """Return the gradients of an instance normalization.

    Parameters
    ----------
    dy : ndarray of the shape and dtype of the output
        Gradient of the loss with respect to it.
    cache : InstanceNormCache
        From `instance_norm_forward`.

    Returns
    -------
    dx : ndarray
        Gradient with respect to `x`, in its shape and dtype.
    dweight, dbias : ndarray
        Gradients with respect to `weight` and `bias`, as `batch_norm_backward`.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0], [10.0, 30.0]]])
    >>> y, cache = instance_norm_forward(x)
    >>> dx, dweight, dbias = instance_norm_backward(x, cache)
    >>> dbias
    array([ 4., 40.])
    """
    return gradients("instance_norm_backward", InstanceNormCache, dy, cache)


def instance_norm(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Instance normalization: each channel of each sample over space.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float16, float32 or float64
        Input.
    running_mean, running_var : ndarray of shape (C,) or None
        Running statistics, float32 (float64 for a float64 input). With `use_input_stats` they move
        towards the means, over the samples, of their means and unbiased variances; else they
        normalize.
    weight, bias : ndarray of shape (C,) or None
        Scale and shift, dtype as the running statistics.
    use_input_stats : bool
        Whether to normalize with the statistics of each sample.
    momentum : float
        Weight of the new batch in the running statistics, from 0 to 1.
    eps : float
        Added to the variance, greater than 0.

    Returns
    -------
    ndarray of shape (N, C, ...)
        Output, in the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, a setting is out of range, there is only one value per
        channel and sample, or running statistics are missing where they normalize.

    Notes
    -----
    Ulyanov, Vedaldi & Lempitsky (2016), "Instance Normalization: The Missing Ingredient for Fast
    Stylization". Built in the chapter "Layer and group normalization".

    Examples
    --------
    >>> import numpy as np
    >>> instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]])).round(4)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    y, _ = instance_norm_forward(
        x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )
    return y
