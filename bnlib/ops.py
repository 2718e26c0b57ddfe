"""Linear maps, activations, dropout and losses: what a network needs around its norms.

Each is a pair: ``*_forward`` returns ``(y, cache)``, ``*_backward(dy, cache)`` the gradients. They
are found in `bnlib.functional` too.
"""

from typing import Any, NamedTuple

import numpy as np

from bnlib._checks import (
    as_array,
    check_bool,
    check_cache,
    check_floats,
    check_gradient,
    check_int,
    check_number,
    check_rng,
    check_same_dtype,
    check_shape,
    check_weight,
    compute_dtype,
)
from bnlib._types import Array

__all__ = [
    "CrossEntropyCache",
    "DropoutCache",
    "LinearCache",
    "MSELossCache",
    "ReLUCache",
    "SigmoidCache",
    "TanhCache",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "linear_backward",
    "linear_forward",
    "mse_loss_backward",
    "mse_loss_forward",
    "per_channel",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax",
    "tanh_backward",
    "tanh_forward",
]


def per_channel(a: Any, x: Array) -> Any:
    """Shape a vector of C values so that it broadcasts along axis 1 of `x`.

    Parameters
    ----------
    a : ndarray of shape (C,) or None
        One value per channel.
    x : ndarray of shape (N, C, ...)
        What it is for.

    Returns
    -------
    ndarray of shape (1, C, 1, ...) or None
        A view of `a`, in the dtype in which `x` is worked on where that is another; None for None.

    Examples
    --------
    >>> per_channel(np.ones(3), np.ones((2, 3, 4, 4))).shape
    (1, 3, 1, 1)
    """
    if a is None:
        return None
    shape = (1, -1, *[1] * (x.ndim - 2))
    return a.reshape(shape).astype(compute_dtype(x.dtype), copy=False)


# Linear maps -------------------------------------------------------------------------------


class LinearCache(NamedTuple):
    """The cache of `linear_forward`.

    Parameters
    ----------
    x, weight : ndarray
        The arrays themselves, no copies.
    """

    x: Array
    weight: Array


def linear_forward(
    x: Array, weight: Array, bias: Array | None = None
) -> tuple[Array, LinearCache]:
    """Multiply by a matrix and add a vector: ``y = x @ weight.T + bias``.

    Parameters
    ----------
    x : ndarray of shape (N, in_features)
        Input. It must not change before the backward, which needs it, and is not copied.
    weight : ndarray of shape (out_features, in_features)
        Matrix, of the dtype of `x`. It must not change before the backward either.
    bias : ndarray of shape (out_features,) or None
        Vector, of the dtype of `x`.

    Returns
    -------
    y : ndarray of shape (N, out_features)
        Output, in the dtype of `x`.
    cache : LinearCache
        For `linear_backward`.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit.

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    >>> y, cache = linear_forward(x, weight, np.array([0.5]))
    >>> y
    array([[11.5]])
    """
    check_floats("linear", "x", x)
    check_weight("linear", x, weight, bias, 2)
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected x of shape (N, {weight.shape[1]}), got {x.shape}"
        )
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y, LinearCache(x, weight)


def linear_backward(
    dy: Array, cache: LinearCache, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of `linear_forward`.

    Parameters
    ----------
    dy : ndarray of shape (N, out_features)
        Gradient of the loss with respect to the output, in its dtype.
    cache : LinearCache
        From `linear_forward`.
    input_gradient : bool
        False for None as `dx`, without computing it: in a first layer nobody needs it.

    Returns
    -------
    dx : ndarray of shape (N, in_features) or None
        Gradient with respect to x.
    dweight, dbias : ndarray
        Gradients with respect to weight and bias, in their shapes.

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    >>> y, cache = linear_forward(x, weight)
    >>> linear_backward(np.array([[10.0]]), cache)
    (array([[30., 40.]]), array([[10., 20.]]), array([10.]))
    """
    check_cache("linear_backward", cache, LinearCache)
    x, weight = cache
    check_gradient("linear_backward", dy, (len(x), len(weight)), x.dtype)
    dbias = dy.sum(0, dtype=compute_dtype(dy.dtype)).astype(dy.dtype, copy=False)
    check_bool("linear_backward", "input_gradient", input_gradient)
    return dy @ weight if input_gradient else None, dy.T @ x, dbias


# Activations -------------------------------------------------------------------------------


class ReLUCache(NamedTuple):
    """The cache of `relu_forward`.

    Parameters
    ----------
    dead : ndarray of bool
        Where x <= 0.
    dtype : dtype
        Dtype of x.
    """

    dead: Array
    dtype: np.dtype[Any]


def relu_forward(x: Array) -> tuple[Array, ReLUCache]:
    """``max(x, 0)``, elementwise.

    Parameters
    ----------
    x : ndarray
        Input, any shape.

    Returns
    -------
    y : ndarray
        Shape and dtype of `x`.
    cache : ReLUCache
        For `relu_backward`.

    Examples
    --------
    >>> y, cache = relu_forward(np.array([-1.0, 2.0]))
    >>> y
    array([0., 2.])
    """
    check_floats("relu", "x", x)
    return np.asarray(np.maximum(x, 0)), ReLUCache(np.asarray(x <= 0), x.dtype)


def relu_backward(dy: Array, cache: ReLUCache) -> Array:
    """Return the gradient of `relu_forward`: `dy` where x > 0, and 0 elsewhere.

    Parameters
    ----------
    dy : ndarray
        Gradient of the loss with respect to the output, in its shape and dtype.
    cache : ReLUCache
        From `relu_forward`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> y, cache = relu_forward(np.array([-1.0, 2.0]))
    >>> relu_backward(np.array([10.0, 10.0]), cache)
    array([ 0., 10.])
    """
    check_cache("relu_backward", cache, ReLUCache)
    check_gradient("relu_backward", dy, cache.dead.shape, cache.dtype)
    # All bits of a number, or none: exact where dy is infinite, and far quicker than np.where.
    bits = np.dtype(f"i{dy.itemsize}")
    dx = np.asarray(np.subtract(cache.dead, 1, dtype=bits, casting="unsafe"))  # −1 or 0
    dx &= dy.view(bits)
    return dx.view(dy.dtype)


class SigmoidCache(NamedTuple):
    """The cache of `sigmoid_forward`.

    Parameters
    ----------
    slope : ndarray
        Derivative of y with respect to x, elementwise.
    dtype : dtype
        Of x.
    """

    slope: Array
    dtype: np.dtype[Any]


def sigmoid_forward(x: Array) -> tuple[Array, SigmoidCache]:
    """``1 / (1 + exp(−x))``, elementwise.

    Parameters
    ----------
    x : ndarray
        Input, any shape.

    Returns
    -------
    y : ndarray
        Shape and dtype of `x`.
    cache : SigmoidCache
        For `sigmoid_backward`.

    Notes
    -----
    With ``e = exp(−|x|)``, which never overflows, y is ``1 / (1 + e)`` or ``e / (1 + e)``, and the
    slope ``e / (1 + e)²``: both keep their digits in both tails, as ``y · (1 − y)`` does not.
    Derived in the chapter "Network".

    Examples
    --------
    >>> sigmoid_forward(np.array([-20.0, 0.0, 20.0]))[0]
    array([2.06115362e-09, 5.00000000e-01, 9.99999998e-01])
    """
    check_floats("sigmoid", "x", x)
    e = np.exp(-np.abs(x.astype(compute_dtype(x.dtype), copy=False)))
    y = np.where(x < 0, e, 1) / (1 + e)
    slope = e / (1 + e) ** 2
    y = np.asarray(y).astype(x.dtype, copy=False)
    return y, SigmoidCache(np.asarray(slope), x.dtype)


def sigmoid_backward(dy: Array, cache: SigmoidCache) -> Array:
    """Return the gradient of `sigmoid_forward`: `dy` times the slope.

    Parameters
    ----------
    dy : ndarray
        Gradient of the loss with respect to the output, in its shape and dtype.
    cache : SigmoidCache
        From `sigmoid_forward`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> y, cache = sigmoid_forward(np.array([0.0, 100.0]))
    >>> sigmoid_backward(np.array([1.0, 1.0]), cache)
    array([2.50000000e-01, 3.72007598e-44])
    """
    check_cache("sigmoid_backward", cache, SigmoidCache)
    check_gradient("sigmoid_backward", dy, cache.slope.shape, cache.dtype)
    # A slope of 0 lets nothing through, an infinity neither.
    dx = np.zeros_like(dy)
    return np.multiply(dy, cache.slope, out=dx, where=cache.slope != 0)


class TanhCache(NamedTuple):
    """The cache of `tanh_forward`.

    Parameters
    ----------
    slope : ndarray
        Derivative of y with respect to x, elementwise.
    dtype : dtype
        Of x.
    """

    slope: Array
    dtype: np.dtype[Any]


def tanh_forward(x: Array) -> tuple[Array, TanhCache]:
    """``tanh(x)``, elementwise.

    Parameters
    ----------
    x : ndarray
        Input, any shape.

    Returns
    -------
    y : ndarray
        Shape and dtype of `x`.
    cache : TanhCache
        For `tanh_backward`.

    Notes
    -----
    The slope is ``4e / (1 + e)²`` with ``e = exp(−2|x|)``: in the tails ``1 − y²`` has no digits.

    Examples
    --------
    >>> y, cache = tanh_forward(np.array([0.0, 20.0]))
    >>> y
    array([0., 1.])
    """
    check_floats("tanh", "x", x)
    size = np.abs(x.astype(compute_dtype(x.dtype), copy=False))
    e = np.exp(-2 * np.minimum(size, 1e4))  # twice the largest number is none
    slope = 4 * e / (1 + e) ** 2
    return np.asarray(np.tanh(x)), TanhCache(np.asarray(slope), x.dtype)


def tanh_backward(dy: Array, cache: TanhCache) -> Array:
    """Return the gradient of `tanh_forward`: `dy` times the slope.

    Parameters
    ----------
    dy : ndarray
        Gradient of the loss with respect to the output, in its shape and dtype.
    cache : TanhCache
        From `tanh_forward`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> y, cache = tanh_forward(np.array([0.0, 1.0]))
    >>> tanh_backward(np.array([1.0, 1.0]), cache).round(3)
    array([1.  , 0.42])
    """
    check_cache("tanh_backward", cache, TanhCache)
    check_gradient("tanh_backward", dy, cache.slope.shape, cache.dtype)
    # A slope of 0 lets nothing through, an infinity neither.
    dx = np.zeros_like(dy)
    return np.multiply(dy, cache.slope, out=dx, where=cache.slope != 0)


# Dropout -----------------------------------------------------------------------------------


class DropoutCache(NamedTuple):
    """The cache of `dropout_forward`.

    Parameters
    ----------
    kept : ndarray of bool or None
        Where a value is kept; None for everywhere.
    scale : float
        What the others are multiplied by.
    shape : tuple of int
        Shape of x.
    dtype : dtype
        Dtype of x.
    """

    kept: Array | None
    scale: float
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def dropout_forward(x: Array, p: float, rng: Any = None) -> tuple[Array, DropoutCache]:
    """Set each value to 0 with probability `p`, and scale the others by ``1 / (1 − p)``.

    Parameters
    ----------
    x : ndarray
        Input, any shape.
    p : float
        From 0 to 1.
    rng : numpy.random.Generator or None
        Where the choice comes from. With ``p = 0`` nothing is drawn, and None will do.

    Returns
    -------
    y : ndarray
        Shape and dtype of `x`.
    cache : DropoutCache
        For `dropout_backward`.

    Raises
    ------
    TypeError, ValueError
        If `p` is no number from 0 to 1, or `rng` no generator.

    Notes
    -----
    Srivastava et al. (2014), in the "inverted" form that needs nothing at inference.

    Examples
    --------
    >>> y, cache = dropout_forward(np.ones(6), 0.5, np.random.default_rng(0))
    >>> y
    array([2., 0., 0., 0., 2., 2.])
    """
    check_floats("dropout", "x", x)
    p = check_number("dropout", "p", p, low=0, high=1)
    if p == 0:  # as in evaluation
        return x.copy(), DropoutCache(None, 1.0, x.shape, x.dtype)
    check_rng("dropout", rng)
    scale = 1 / (1 - p) if p < 1 else 0.0
    before = rng.bit_generator.state
    try:
        kept = np.asarray(rng.random(x.shape) >= p)
        cache = DropoutCache(kept, scale, x.shape, x.dtype)
        return dropout_backward(x, cache), cache  # the same map, forward and backward
    except BaseException:  # an overflow, where NumPy is told to raise
        rng.bit_generator.state = before
        raise


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    """Return the gradient of `dropout_forward`: scaled where kept, 0 where dropped.

    Parameters
    ----------
    dy : ndarray
        Gradient of the loss with respect to the output, in its shape and dtype.
    cache : DropoutCache
        From `dropout_forward`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> y, cache = dropout_forward(np.ones(6), 0.5, np.random.default_rng(0))
    >>> dropout_backward(np.ones(6), cache)
    array([2., 0., 0., 0., 2., 2.])
    """
    check_cache("dropout_backward", cache, DropoutCache)
    kept, scale, shape, dtype = cache
    check_gradient("dropout_backward", dy, shape, dtype)
    dx = np.zeros_like(dy)
    return np.multiply(
        dy,
        scale,
        out=dx,
        where=True if kept is None else kept,
        dtype=compute_dtype(dtype),
        casting="same_kind",
    )


# Losses ------------------------------------------------------------------------------------


def softmax(x: Array) -> Array:
    """Turn rows into probabilities, without overflow at any size of x.

    Parameters
    ----------
    x : ndarray of shape (N, K)
        Logits.

    Returns
    -------
    ndarray of shape (N, K)
        Probabilities, in the dtype of `x`; each row adds up to 1.

    Raises
    ------
    TypeError, ValueError
        If `x` is no floating array of two axes, or has no column.

    Examples
    --------
    >>> softmax(np.array([[0.0, np.log(3.0)]])).round(4)
    array([[0.25, 0.75]])
    """
    check_logits("softmax", "x", x)
    wide = x.astype(compute_dtype(x.dtype), copy=False)
    e = np.exp(wide - wide.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(x.dtype, copy=False)


def check_logits(call: str, name: str, logits: Any) -> None:
    """Raise unless `logits` is a floating array of shape (N, K), K > 0."""
    check_floats(call, name, logits)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"{call}: expected {name} of shape (N, K), got {logits.shape}")


def check_target(call: str, target: Any, shape: tuple[int, int], ignored: int) -> Array:
    """Return class indices as a new array of int64; raise unless each fits a row of `shape`."""
    target = as_array(call, "target", target)
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"{call}: expected target of an integer dtype, got {target.dtype}"
        )
    if target.shape != shape[:1] or len(target) == 0:
        raise ValueError(
            f"{call}: expected logits of shape (N, K) and target of shape (N,), N > 0, "
            f"got {shape} and {target.shape}"
        )
    counted = target[target != ignored]
    if counted.size == 0:
        raise ValueError(f"{call}: expected a target that is not ignored, got none")
    if counted.min() < 0 or counted.max() >= shape[1]:
        raise ValueError(
            f"{call}: expected classes from 0 to {shape[1] - 1}, "
            f"got {counted.min()} to {counted.max()}"
        )
    return target.astype(np.int64)


class CrossEntropyCache(NamedTuple):
    """The cache of `cross_entropy_forward`.

    Parameters
    ----------
    dlogits : ndarray of shape (N, K)
        The gradient for dloss = 1, in the dtype that was computed in.
    dtype : dtype
        Dtype of the logits.
    """

    dlogits: Array
    dtype: np.dtype[Any]


def cross_entropy_forward(
    logits: Array,
    target: Array,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[float, CrossEntropyCache]:
    """Mean negative log-likelihood of the right classes under softmax(logits).

    Parameters
    ----------
    logits : ndarray of shape (N, K)
        One score per class.
    target : ndarray of int of shape (N,)
        Class indices, from 0 to K − 1.
    ignore_index : int
        A class index whose rows do not count.
    label_smoothing : float
        Share of the target that is spread evenly over all K classes, from 0 to 1.

    Returns
    -------
    loss : float
        Mean over the rows that count.
    cache : CrossEntropyCache
        For `cross_entropy_backward`. It holds neither `logits` nor `target`.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, no row counts, or a class is out of range.

    Notes
    -----
    A loss near 0 and a gradient near 0 keep their digits: what is summed is all but the largest
    exponential, whose share is exactly 1, and ``p − 1`` is the negative sum of the other
    probabilities. Derived in the chapter "Network".

    Examples
    --------
    >>> loss, cache = cross_entropy_forward(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([0, 0]))
    >>> round(loss, 4)
    0.3466
    """
    check_logits("cross_entropy", "logits", logits)
    ignore_index = check_int(
        "cross_entropy", "ignore_index", ignore_index, low=-(2**63)
    )
    label_smoothing = check_number(
        "cross_entropy", "label_smoothing", label_smoothing, low=0, high=1
    )
    target = check_target("cross_entropy", target, logits.shape, ignore_index)
    N, K = logits.shape
    counted = target != ignore_index
    rows, target = np.arange(N), np.where(counted, target, 0)

    largest = logits.argmax(1)
    shifted = logits.astype(compute_dtype(logits.dtype), copy=False)
    shifted = shifted - shifted[rows, largest][:, None]
    e = np.exp(shifted)
    e[rows, largest] = 0
    others = e.sum(1, dtype=np.float64)
    log_sum = np.log1p(others)  # of all exponentials: the largest is 1
    loss = log_sum - shifted[rows, target]

    e[rows, largest] = 1
    p = e / (1 + others)[:, None]
    p[rows, target] = 0
    p[rows, target] = -p.sum(1)  # p − 1
    if label_smoothing > 0:
        everywhere = log_sum - shifted.mean(1, dtype=np.float64)
        loss = (1 - label_smoothing) * loss + label_smoothing * everywhere
        p[rows, target] += label_smoothing
        p -= label_smoothing / K
    n = counted.sum()
    p /= n
    p[~counted] = 0
    loss = float(np.where(counted, loss, 0).sum() / n)
    return loss, CrossEntropyCache(p, logits.dtype)


def cross_entropy_backward(dloss: float, cache: CrossEntropyCache) -> Array:
    """Return the gradient of `cross_entropy_forward`: ``dloss · (softmax − target) / N``.

    Parameters
    ----------
    dloss : float
        Gradient of what is minimized with respect to the loss.
    cache : CrossEntropyCache
        From `cross_entropy_forward`.

    Returns
    -------
    ndarray of shape (N, K)
        Gradient with respect to the logits, in their dtype.

    Examples
    --------
    >>> logits, target = np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([0, 0])
    >>> loss, cache = cross_entropy_forward(logits, target)
    >>> cross_entropy_backward(1.0, cache).round(4)
    array([[-2.5e-01,  2.5e-01],
           [-1.0e-04,  1.0e-04]])
    """
    check_cache("cross_entropy_backward", cache, CrossEntropyCache)
    dloss = check_number("cross_entropy_backward", "dloss", dloss)
    return (dloss * cache.dlogits).astype(cache.dtype)


class MSELossCache(NamedTuple):
    """The cache of `mse_loss_forward`.

    Parameters
    ----------
    difference : ndarray
        What is left of x after the target is subtracted.
    dtype : dtype
        Dtype of x.
    """

    difference: Array
    dtype: np.dtype[Any]


def mse_loss_forward(x: Array, target: Array) -> tuple[float, MSELossCache]:
    """Mean squared difference: ``mean((x − target)²)``.

    Parameters
    ----------
    x : ndarray
        Predictions, any shape but an empty one.
    target : ndarray
        What they should be, in the shape and dtype of `x`.

    Returns
    -------
    loss : float
        Mean over all elements.
    cache : MSELossCache
        For `mse_loss_backward`. It holds neither `x` nor `target`.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes differ: nothing is broadcast. If there is no element.

    Examples
    --------
    >>> loss, cache = mse_loss_forward(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> loss
    2.0
    """
    check_floats("mse_loss", "x", x)
    check_same_dtype("mse_loss", x, "target", target)
    check_shape("mse_loss", "target", target, x.shape)
    if x.size == 0:
        raise ValueError(f"mse_loss: expected at least one element, got {x.shape}")
    difference = np.asarray(np.subtract(x, target, dtype=compute_dtype(x.dtype)))
    loss = float(np.square(difference, dtype=np.float64).mean())
    return loss, MSELossCache(difference, x.dtype)


def mse_loss_backward(dloss: float, cache: MSELossCache) -> Array:
    """Return the gradient of `mse_loss_forward`: ``dloss · 2 (x − target) / n``.

    Parameters
    ----------
    dloss : float
        Gradient of what is minimized with respect to the loss.
    cache : MSELossCache
        From `mse_loss_forward`.

    Returns
    -------
    ndarray
        Gradient with respect to x, in its shape and dtype.

    Examples
    --------
    >>> loss, cache = mse_loss_forward(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> mse_loss_backward(1.0, cache)
    array([0., 2.])
    """
    check_cache("mse_loss_backward", cache, MSELossCache)
    dloss = check_number("mse_loss_backward", "dloss", dloss)
    difference, dtype = cache
    dx = 2 * dloss / difference.size * difference
    return np.asarray(dx).astype(dtype, copy=False)
