"""Gradient checks: an analytic gradient against differences of the loss itself.

Work in float64. Choose the loss with care: for a normalization, ``sum(y · R)`` with a random R and
a random `weight`. With ``sum(y)``, or with all weights 1, wrong backwards pass (chapter
"Backward").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from bnlib._checks import (
    as_array,
    check_array,
    check_function,
    check_int,
    check_number,
    check_rng,
    check_shape,
)
from bnlib._types import Array

__all__ = [
    "GradcheckError",
    "directional_derivative",
    "gradcheck",
    "numerical_gradient",
]


class GradcheckError(AssertionError):
    """An analytic gradient differs from the numerical one; the message shows both.

    Examples
    --------
    >>> x = np.array([1.0, -2.0])
    >>> try:
    ...     gradcheck(lambda x: (x**2).sum(), x, 3 * x)
    ... except GradcheckError as error:
    ...     print(str(error)[:30])
    gradient check failed at (1,):
    """


def numerical_gradient(
    loss: Callable[[Array], Any], x: Array, step: float = 1e-6
) -> Array:
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

    Raises
    ------
    TypeError, ValueError
        If `x` is no float64 array, `step` not positive, or the loss not a number.

    Examples
    --------
    >>> numerical_gradient(lambda x: (x**2).sum(), np.array([1.0, -2.0])).round(6)
    array([ 2., -4.])
    """
    check_float64("numerical_gradient", "x", x)
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        direction = np.zeros_like(x)
        direction[i] = 1
        gradient[i] = directional_derivative(loss, x, direction, step)
    return gradient


def directional_derivative(
    loss: Callable[[Array], Any], x: Array, direction: Array, step: float = 1e-6
) -> float:
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
        Central difference.

    Raises
    ------
    TypeError, ValueError
        If an array is not float64, shapes differ, `step` is not positive, or the loss no number.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> round(directional_derivative(lambda x: (x**2).sum(), x, np.array([1.0, 0.0])), 6)
    2.0
    """
    call = "directional_derivative"
    check_float64(call, "x", x)
    check_float64(call, "direction", direction)
    check_shape(call, "direction", direction, x.shape)
    check_function(call, "loss", loss)
    step = float(check_number(call, "step", step, above=0))
    values = [loss(x + side * direction) for side in (step, -step)]
    for value in values:
        number = as_array(call, "the loss", value)
        if number.shape != () or number.dtype.kind not in "fiu":
            raise TypeError(
                f"{call}: expected the loss to be a number, got {type(value).__name__} "
                f"of shape {number.shape}"
            )
    return float((values[0] - values[1]) / (2 * step))


def gradcheck(
    loss: Callable[[Array], Any],
    x: Array,
    gradient: Array,
    *,
    directions: int | None = None,
    step: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    rng: np.random.Generator | None = None,
) -> Literal[True]:
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
        It never returns False.

    Raises
    ------
    GradcheckError
        If they differ, or one of them is NaN or infinite. The message shows the worst pair.
    TypeError, ValueError
        If `x` or `gradient` is no float64 array, their shapes differ, a setting is out of range, or
        the loss is not a number.

    Examples
    --------
    >>> x = np.array([1.0, -2.0])
    >>> gradcheck(lambda x: (x**2).sum(), x, 2 * x)
    True
    """
    check_float64("gradcheck", "x", x)
    check_float64("gradcheck", "gradient", gradient)
    check_shape("gradcheck", "gradient", gradient, x.shape)
    rtol, atol = (
        float(check_number("gradcheck", name, value, low=0))
        for name, value in (("rtol", rtol), ("atol", atol))
    )
    check_function("gradcheck", "loss", loss)
    if directions is not None:
        check_int("gradcheck", "directions", directions)
    if directions is None:
        numerical, analytic = numerical_gradient(loss, x, step), gradient
    else:
        if rng is None:
            rng = np.random.default_rng()
        check_rng("gradcheck", rng)
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


def check_float64(call: str, name: str, a: Any) -> None:
    """Raise TypeError unless `a` is a float64 array: differences need its digits."""
    check_array(call, name, a)
    if a.dtype != np.float64:
        raise TypeError(f"{call}: expected {name} of dtype float64, got {a.dtype}")
