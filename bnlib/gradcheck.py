"""Gradient checks: an analytic gradient against differences of the loss itself.

Work in float64. Choose the loss with care: for a normalization, ``sum(y · R)`` with a random R and
a random `weight`. With ``sum(y)``, or with all weights 1, wrong backwards pass (chapter
"Backward").
"""

import numpy as np

__all__ = [
    "GradcheckError",
    "directional_derivative",
    "gradcheck",
    "numerical_gradient",
]


class GradcheckError(AssertionError):
    """An analytic gradient differs from the numerical one; the message shows both."""


def numerical_gradient(loss, x, step=1e-6):
    """Gradient of ``loss(x)`` by central differences, one element at a time.

    Parameters
    ----------
    loss : callable
        Takes an array like `x`, returns a float.
    x : ndarray of float64
        Where to take the gradient. It is not changed.
    step : float
        Half the distance of the two evaluations.

    Returns
    -------
    ndarray of float64
        Shape of `x`. The error is of order step², plus round-off of order 1e-16 / step.

    Examples
    --------
    >>> numerical_gradient(lambda x: (x**2).sum(), np.array([1.0, -2.0])).round(6)
    array([ 2., -4.])
    """
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        direction = np.zeros_like(x)
        direction[i] = 1
        gradient[i] = directional_derivative(loss, x, direction, step)
    return gradient


def directional_derivative(loss, x, direction, step=1e-6):
    """Rate of change of ``loss(x)`` along `direction`: two evaluations, whatever the size of x.

    Parameters
    ----------
    loss : callable
        Takes an array like `x`, returns a float.
    x, direction : ndarray of float64
        Point and direction, of one shape.
    step : float
        Half the distance of the two evaluations, in units of `direction`.

    Returns
    -------
    float
    """
    return (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)


def gradcheck(
    loss, x, gradient, *, directions=None, step=1e-6, rtol=1e-6, atol=1e-7, rng=None
):
    """Compare an analytic gradient of ``loss(x)`` with the numerical one.

    Parameters
    ----------
    loss : callable
        Takes an array like `x`, returns a float.
    x : ndarray of float64
        Where the gradient was taken. It is not changed.
    gradient : ndarray of float64
        The analytic gradient.
    directions : int or None
        None checks every element; a number checks that many random directions instead, which is
        cheap and misses an error only if it is at right angles to all of them.
    step : float
        Of the central differences.
    rtol, atol : float
        Allowed difference, relative to the largest numerical value and absolute.
    rng : numpy.random.Generator or None
        For the directions.

    Returns
    -------
    True

    Raises
    ------
    GradcheckError
        If they differ, or one of them is NaN or infinite. The message shows the worst pair.
    TypeError, ValueError
        If `x` or `gradient` is not float64, their shapes differ, or there is no direction.

    Examples
    --------
    >>> x = np.array([1.0, -2.0])
    >>> gradcheck(lambda x: (x**2).sum(), x, 2 * x)
    True
    """
    if x.dtype != np.float64 or gradient.dtype != np.float64:
        raise TypeError(
            f"gradcheck: expected float64 arrays, got {x.dtype} and {gradient.dtype}"
        )
    if x.shape != gradient.shape:
        raise ValueError(
            f"gradcheck: expected gradient of shape {x.shape}, got {gradient.shape}"
        )
    if directions is not None and directions < 1:
        raise ValueError(f"gradcheck: expected directions >= 1, got {directions}")
    if directions is None:
        numerical, analytic = numerical_gradient(loss, x, step), gradient
    else:
        rng = np.random.default_rng() if rng is None else rng
        vs = rng.standard_normal((directions, *x.shape)) / np.sqrt(x.size)
        numerical = np.array([directional_derivative(loss, x, v, step) for v in vs])
        analytic = np.array([np.vdot(gradient, v) for v in vs])
    difference = np.abs(numerical - analytic)
    allowed = atol + rtol * np.abs(numerical).max(initial=0)
    if not ((difference <= allowed) & (difference < np.inf)).all():  # NaN fails too
        worst = np.unravel_index(
            np.argmax(np.nan_to_num(difference, nan=np.inf)), difference.shape
        )
        raise GradcheckError(
            f"gradient check failed at {tuple(map(int, worst))}: analytic {analytic[worst]:.10g}, "
            f"numerical {numerical[worst]:.10g}, allowed difference {allowed:.3g}"
        )
    return True
