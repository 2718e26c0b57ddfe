"""Linear maps, activations, dropout and the loss: what a dense network needs around its norms.

Each is a pair: ``*_forward`` returns ``(y, cache)``, ``*_backward(dy, cache)`` the gradients. They
are found in `bnlib.functional` too.
"""

import numpy as np

from bnlib._checks import (
    check_floats,
    check_gradient,
    check_probability,
    check_vector,
    check_weight,
    compute_dtype,
)

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "linear_backward",
    "linear_forward",
    "per_channel",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax",
    "tanh_backward",
    "tanh_forward",
]


def per_channel(a, x):
    """Shape a vector of C values so that it broadcasts along axis 1 of `x`.

    Parameters
    ----------
    a : ndarray of shape (C,)
    x : ndarray of shape (N, C, ...)

    Returns
    -------
    ndarray of shape (1, C, 1, ...)
        A view of `a`, in the dtype in which `x` is worked on where that is another.

    Examples
    --------
    >>> per_channel(np.ones(3), np.ones((2, 3, 4, 4))).shape
    (1, 3, 1, 1)
    """
    return a.reshape(1, -1, *[1] * (x.ndim - 2)).astype(
        compute_dtype(x.dtype), copy=False
    )


def linear_forward(x, weight, bias=None):
    """Multiply by a matrix and add a vector: ``y = x @ weight.T + bias``.

    Parameters
    ----------
    x : ndarray of shape (N, in_features)
    weight : ndarray of shape (out_features, in_features)
    bias : ndarray of shape (out_features,) or None

    Returns
    -------
    y : ndarray of shape (N, out_features)
    cache : tuple

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit.
    """
    check_floats("linear", "x", x)
    check_weight("linear", weight, 2, x.dtype)
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected x of shape (N, {weight.shape[1]}), got {x.shape}"
        )
    check_vector("linear", "bias", bias, weight.shape[:1], x.dtype)
    y = x @ weight.T
    return (y if bias is None else y + bias), (x, weight)


def linear_backward(dy, cache):
    """Gradients of `linear_forward`: ``(dx, dweight, dbias)``, shaped like x, weight and bias."""
    x, weight = cache
    check_gradient("linear_backward", dy, (len(x), len(weight)), x.dtype)
    return dy @ weight, dy.T @ x, dy.sum(0)


def relu_forward(x):
    """``max(x, 0)``, elementwise; the cache is where x > 0, and the dtype."""
    check_floats("relu", "x", x)
    return np.maximum(x, 0), (x > 0, x.dtype)


def relu_backward(dy, cache):
    """Gradient of `relu_forward`; at 0 it is 0."""
    positive, dtype = cache
    check_gradient("relu_backward", dy, positive.shape, dtype)
    return dy * positive


def sigmoid_forward(x):
    """``1 / (1 + exp(−x))``, elementwise, by way of tanh, which never overflows."""
    check_floats("sigmoid", "x", x)
    y = 0.5 + 0.5 * np.tanh(0.5 * x)
    return y, y


def sigmoid_backward(dy, cache):
    """Gradient of `sigmoid_forward`: ``dy · y · (1 − y)``."""
    check_gradient("sigmoid_backward", dy, cache.shape, cache.dtype)
    return dy * cache * (1 - cache)


def tanh_forward(x):
    """``tanh(x)``, elementwise."""
    check_floats("tanh", "x", x)
    y = np.tanh(x)
    return y, y


def tanh_backward(dy, cache):
    """Gradient of `tanh_forward`: ``dy · (1 − y²)``."""
    check_gradient("tanh_backward", dy, cache.shape, cache.dtype)
    return dy * (1 - cache**2)


def dropout_forward(x, p, rng):
    """Set each value to 0 with probability `p`, and scale the others by ``1 / (1 − p)``.

    Parameters
    ----------
    x : ndarray
    p : float
        From 0 to 1.
    rng : numpy.random.Generator

    Returns
    -------
    y, cache : ndarray
        Shape and dtype of `x`; the cache is the scaled mask.

    Notes
    -----
    Srivastava et al. (2014), in the "inverted" form that needs nothing at inference.
    """
    check_floats("dropout", "x", x)
    check_probability("dropout", "p", p)
    if p == 0:  # as in evaluation: draws nothing
        return x.copy(), np.ones_like(x)
    kept = rng.random(x.shape) >= p
    scale = 1 / (1 - p) if p < 1 else 0
    mask = (kept * scale).astype(x.dtype)
    return x * mask, mask


def dropout_backward(dy, cache):
    """Gradient of `dropout_forward`."""
    check_gradient("dropout_backward", dy, cache.shape, cache.dtype)
    return dy * cache


def softmax(x):
    """Turn the rows of `x`, shape (N, K), into probabilities; no overflow at any size of x."""
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy_forward(logits, target):
    """Mean negative log-likelihood of the right classes under softmax(logits).

    Parameters
    ----------
    logits : ndarray of shape (N, K)
    target : ndarray of int of shape (N,)
        Class indices, from 0 to K − 1.

    Returns
    -------
    loss : float
    cache : tuple

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, the batch is empty, or a class is out of range.
    """
    check_floats("cross_entropy", "logits", logits)
    target = np.asarray(target)
    if not np.issubdtype(target.dtype, np.integer):
        raise TypeError(
            f"cross_entropy: expected target of an integer dtype, got {target.dtype}"
        )
    if logits.ndim != 2 or target.shape != logits.shape[:1] or len(target) == 0:
        raise ValueError(
            f"cross_entropy: expected logits of shape (N, K) and target of shape (N,), N > 0, "
            f"got {logits.shape} and {target.shape}"
        )
    if target.min() < 0 or target.max() >= logits.shape[1]:
        raise ValueError(
            f"cross_entropy: expected classes from 0 to {logits.shape[1] - 1}, "
            f"got {target.min()} to {target.max()}"
        )
    shifted = logits - logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(1))
    loss = np.mean(log_sum - shifted[np.arange(len(target)), target])
    return float(loss), (logits, target)


def cross_entropy_backward(dloss, cache):
    """Gradient of `cross_entropy_forward`: ``dloss · (softmax − one_hot) / N``."""
    logits, target = cache
    dlogits = softmax(logits)
    dlogits[np.arange(len(target)), target] -= 1
    return dlogits * logits.dtype.type(dloss / len(target))
