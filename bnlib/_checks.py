"""What bnlib says to bad input: one function a question, one form of message.

Every check runs before anything is changed, so a call that raises leaves its caller's state as it
was. A message names the call, what was expected and what came, and the cure where there is one.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from bnlib._types import Array

FLOATS = (np.float16, np.float32, np.float64)
# Other subclasses carry a meaning, such as a mask, that arithmetic here would lose.
ARRAYS = (np.ndarray, np.memmap)
COMPUTE = {np.dtype(dtype): np.result_type(dtype, np.float32) for dtype in FLOATS}
INT = (int, np.integer)
NO_NUMBERS = (bool, np.timedelta64)  # though Python and NumPy take them for integers
INT64 = np.iinfo(np.int64)


def compute_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype to compute in: float64 for float64 inputs, else float32."""
    return COMPUTE[np.dtype(dtype)]


def described(value: Any) -> str:
    """Return a value as a message shows it: short, whatever it is."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:50]}…"


def is_int(value: Any) -> bool:
    """Whether a value is an integer, of Python or NumPy."""
    return isinstance(value, INT) and not isinstance(value, NO_NUMBERS)


# Numbers and other settings: each check returns the value to work with ---------------------


def check_number(
    call: str,
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    low: float = -math.inf,
    high: float = math.inf,
) -> float:
    """Return a number that NumPy can work with; raise unless it is finite and in a range."""
    if type(value) is float and above < value < math.inf and low <= value <= high:
        return value  # as nearly always
    if isinstance(value, NO_NUMBERS) or not isinstance(value, Real):
        kind = type(value).__name__
        raise TypeError(
            f"{call}: expected {name} to be a number, got {kind} {described(value)}"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (above < number < math.inf and low <= number <= high):  # NaN fails too
        if high < math.inf:
            wanted = f"{name} between {low} and {high}"
        elif above > -math.inf:
            wanted = f"a finite {name} > {above}"
        elif low > -math.inf:
            wanted = f"a finite {name} >= {low}"
        else:
            wanted = f"a finite {name}"
        shown = value if isinstance(value, int) else number
        raise ValueError(f"{call}: expected {wanted}, got {described(shown)}")
    return value if isinstance(value, int) else number


def check_bool(call: str, name: str, value: Any) -> bool:
    """Return True or False; raise TypeError for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        kind = type(value).__name__
        raise TypeError(
            f"{call}: expected {name} to be True or False, got {kind} {described(value)}"
        )
    return bool(value)


def check_int(
    call: str, name: str, value: Any, low: int = 1, high: int = INT64.max
) -> int:
    """Return an int; raise unless the value is one, and in a range."""
    if not is_int(value):
        kind = type(value).__name__
        raise TypeError(
            f"{call}: expected {name} to be an int, got {kind} {described(value)}"
        )
    if not low <= value <= high:
        wanted = f">= {low}" if value < low else f"<= {high}"
        shown = described(int(value))
        raise ValueError(f"{call}: expected {name} {wanted}, got {shown}")
    return int(value)


def check_pair(call: str, name: str, value: Any, low: int) -> tuple[int, int]:
    """Return an int, or a pair of them, as a pair; raise unless both are at least `low`."""
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(is_int(v) and low <= v <= INT64.max for v in pair):
        raise ValueError(
            f"{call}: expected {name} as an int >= {low} or a pair, got {described(value)}"
        )
    return int(pair[0]), int(pair[1])


def check_rng(call: str, rng: Any) -> Any:
    """Return a random generator; raise TypeError for anything else."""
    if not isinstance(rng, np.random.Generator):
        seed = described(rng) if is_int(rng) else ""
        raise TypeError(
            f"{call}: expected rng to be a numpy.random.Generator, "
            f"got {type(rng).__name__}: use np.random.default_rng({seed})"
        )
    return rng


def check_param_dtype(call: str, name: str, dtype: Any) -> np.dtype[Any]:
    """Return the dtype of parameters, float32 for None; raise unless it is float32 or float64."""
    found = None
    if isinstance(dtype, (type, str, np.dtype, type(None))):
        with contextlib.suppress(TypeError):
            found = np.dtype(np.float32 if dtype is None else dtype)
    if found is None or found.type not in FLOATS[1:] or not found.isnative:
        raise TypeError(
            f"{call}: expected {name} float32 or float64 (parameters and statistics are never "
            f"kept in less), got {described(dtype) if found is None else found}"
        )
    return found


def check_function(call: str, name: str, value: Any) -> Callable[..., Any]:
    """Return what can be called; raise TypeError for anything else."""
    if not callable(value):
        kind = type(value).__name__
        raise TypeError(f"{call}: expected {name} to be a function, got {kind}")
    return value


# Arrays ------------------------------------------------------------------------------------


def check_array(call: str, name: str, a: Any) -> None:
    """Raise TypeError unless `a` is a NumPy array, and no subclass with a meaning of its own."""
    if type(a) not in ARRAYS:
        cure = ""
        if isinstance(a, np.ma.MaskedArray):
            cure = " (its mask would be ignored: use x.compressed() or x.filled())"
        elif isinstance(a, np.ndarray):
            cure = " (use np.asarray(x))"
        raise TypeError(
            f"{call}: expected {name} to be a NumPy array, got {type(a).__name__}{cure}"
        )


def as_array(call: str, name: str, value: Any) -> Array:
    """Return an array, a list or a tensor as an array; raise TypeError for what cannot be one."""
    if isinstance(value, np.ndarray):
        check_array(call, name, value)
        return value
    try:
        return np.asarray(value)
    except Exception as error:  # whatever a foreign array raises
        raise TypeError(
            f"{call}: expected {name} as an array, got {type(value).__name__} "
            f"({described(error)})"
        ) from None


def check_axes(call: str, axes: Any, ndim: int) -> None:
    """Raise unless `axes` is an axis of an array, or a tuple of them."""
    for axis in axes if isinstance(axes, tuple) else (axes,):
        if not is_int(axis) or not -ndim <= axis < ndim:
            raise ValueError(
                f"{call}: expected axes of an array with {ndim}, got {described(axes)}"
            )


def check_floats(call: str, name: str, a: Any) -> None:
    """Raise TypeError unless `a` is a float16, float32 or float64 array."""
    if type(a) is not np.ndarray:
        check_array(call, name, a)
    if a.dtype.type not in FLOATS or not a.dtype.isnative:
        raise TypeError(f"{call}: expected {name} of a floating dtype, got {a.dtype}")


def check_vector(call: str, name: str, a: Any, shape: Sequence[int], x: Array) -> None:
    """Raise unless the parameter or buffer `a` is None or fits `x` in dtype, and has `shape`."""
    if a is None:
        return
    wanted = COMPUTE[x.dtype]
    if type(a) is np.ndarray and a.dtype == wanted and a.shape == shape:
        return  # as nearly always
    check_floats(call, name, a)
    if a.dtype != wanted:
        raise TypeError(
            f"{call}: x is {x.dtype}, {name} {a.dtype}: expected {name} of dtype {wanted}, "
            f"or use x.astype(np.{a.dtype})"
        )
    check_shape(call, name, a, shape)


def check_shape(call: str, name: str, a: Array, shape: Sequence[int]) -> None:
    """Raise ValueError unless `a` has `shape`."""
    if a.shape != tuple(shape):
        raise ValueError(
            f"{call}: expected {name} of shape {tuple(shape)}, got {a.shape}"
        )


def check_same_dtype(call: str, x: Array, name: str, a: Any, other: str = "x") -> None:
    """Raise TypeError unless the array `a` has the dtype of `x`, whose name is `other`."""
    check_floats(call, name, a)
    if a.dtype != x.dtype:
        raise TypeError(
            f"{call}: {other} is {x.dtype}, {name} {a.dtype}: expected one dtype, "
            f"use {other}.astype(np.{a.dtype})"
        )


def check_weight(call: str, x: Array, weight: Any, bias: Any, ndim: int) -> None:
    """Raise unless `weight` has `ndim` axes, `bias` is None or fits it, and all have one dtype."""
    check_same_dtype(call, x, "weight", weight)
    if weight.ndim != ndim:
        raise ValueError(f"{call}: expected {ndim}-D weight, got shape {weight.shape}")
    if bias is not None:
        check_same_dtype(call, x, "bias", bias)
        check_shape(call, "bias", bias, weight.shape[:1])


def check_input(call: str, x: Any, dtype: np.dtype[Any]) -> None:
    """Raise unless `x` is a floating array that a layer with parameters of `dtype` can take."""
    check_floats(call, "x", x)
    if x.dtype != dtype:
        other = compute_dtype(x.dtype)  # of a layer that could take this x
        cure = f"use x.astype(np.{dtype})" + (
            f" or dtype={'float' if other == np.float64 else 'np.float32'}"
            if other != dtype
            else ""
        )
        raise TypeError(f"{call}: x is {x.dtype}, the layer {dtype}: {cure}")


def check_norm_input(call: str, x: Any, dtype: np.dtype[Any]) -> None:
    """Do what `check_input` does, but for float16, which a layer of float32 takes too."""
    check_floats(call, "x", x)
    if x.dtype != dtype and compute_dtype(x.dtype) != dtype:
        check_input(call, x, dtype)


def check_channels(
    call: str, x: Array, channels: int, ranks: Sequence[int] = (), axis: int = 1
) -> None:
    """Raise unless `x` has `channels` channels and a number of axes that is among `ranks`."""
    if x.ndim not in (ranks or range(2, 65)):
        expected = " or ".join(f"{rank}-D" for rank in ranks) or "at least 2-D"
        raise ValueError(f"{call}: expected {expected} input, got shape {x.shape}")
    if x.shape[axis] != channels:
        raise ValueError(f"{call}: expected {channels} channels, got shape {x.shape}")


def check_gradient(
    call: str, dy: Any, shape: Sequence[int], dtype: Any, name: str = "dy"
) -> None:
    """Raise unless the incoming gradient `dy` has the shape and dtype of the output."""
    check_floats(call, name, dy)
    if dy.dtype != dtype:
        raise TypeError(
            f"{call}: expected {name} of dtype {np.dtype(dtype)}, got {dy.dtype}"
        )
    check_shape(call, name, dy, shape)


def check_cache(call: str, cache: Any, *kinds: type) -> None:
    """Raise TypeError unless `cache` is of a kind that the forward of this backward returns."""
    if type(cache) not in kinds:
        forward = call.replace("_backward", "_forward")
        raise TypeError(
            f"{call}: expected the cache of {forward} ({kinds[0].__name__}), "
            f"got {type(cache).__name__}"
        )


def check_writeable(call: str, name: str, a: Array) -> None:
    """Raise ValueError if `a` is read-only."""
    if not a.flags.writeable:
        raise ValueError(f"{call}: expected {name} to be writeable")


def check_apart(call: str, name: str, a: Any, **others: Any) -> None:
    """Raise ValueError if `a`, which is going to be written, shares memory with another array."""
    for other, b in others.items():
        if b is None or (a.base is None and b.base is None and a is not b):
            continue  # each has memory of its own
        if np.may_share_memory(a, b):
            raise ValueError(f"{call}: expected {name} to share no memory with {other}")


def check_memory(call: str, out: Any, like: Array, **others: Any) -> None:
    """Raise unless `out` is None or memory for a result, apart from all that is read."""
    if out is None:
        return
    check_floats(call, "out", out)
    if out.dtype != like.dtype:
        raise TypeError(f"{call}: expected out of dtype {like.dtype}, got {out.dtype}")
    check_shape(call, "out", out, like.shape)
    if not out.flags.c_contiguous:
        raise ValueError(f"{call}: expected out in C order")
    check_writeable(call, "out", out)
    check_apart(call, "out", out, **others)


# Normalizations ----------------------------------------------------------------------------


def check_running(
    call: str,
    x: Array,
    running_mean: Any,
    running_var: Any,
    training: bool,
    **others: Any,
) -> None:
    """Raise unless running statistics fit `x`, and in training can be written."""
    if (running_mean is None) != (running_var is None):
        raise ValueError(
            f"{call}: expected running_mean and running_var both or neither"
        )
    if running_mean is None:
        return
    pairs = (("running_mean", running_mean), ("running_var", running_var))
    for name, a in pairs:
        check_vector(call, name, a, x.shape[1:2], x)
    if not training:
        return
    for (name, a), (other, b) in zip(pairs, reversed(pairs), strict=True):
        check_writeable(call, name, a)
        rest = {} if a is b else {other: b}
        check_apart(call, name, a, x=x, **others, **rest)
    if running_mean is running_var:
        raise ValueError(
            f"{call}: expected running_mean to share no memory with running_var"
        )


def check_channel_norm(call: str, x: Any, weight: Any, bias: Any, eps: Any) -> float:
    """Check what every normalization with one weight per channel is given; return eps."""
    check_floats(call, "x", x)
    if x.ndim < 2:
        raise ValueError(
            f"{call}: expected x with at least 2 axes (N, C, ...), got {x.shape}"
        )
    check_vector(call, "weight", weight, x.shape[1:2], x)
    check_vector(call, "bias", bias, x.shape[1:2], x)
    return check_number(call, "eps", eps, above=0)


def check_batch_norm(
    call: str,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: Any,
    momentum: Any,
    eps: Any,
    one_is_enough: bool = False,
) -> tuple[float, float]:
    """Check all arguments of `bnlib.functional.batch_norm`; return momentum and eps."""
    eps = check_channel_norm(call, x, weight, bias, eps)
    check_bool(call, "training", training)
    check_running(
        call, x, running_mean, running_var, training, weight=weight, bias=bias
    )
    momentum = check_number(call, "momentum", momentum, low=0, high=1)
    one = x.shape[0] * math.prod(x.shape[2:]) == 1
    if training and one and not one_is_enough:
        raise ValueError(
            f"{call}: expected more than 1 value per channel when training, got shape {x.shape}"
        )
    if not training and running_mean is None:
        raise ValueError(
            f"{call}: expected running_mean and running_var when not training"
        )
    return momentum, eps


def check_normalized_shape(call: str, name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple; raise unless it has at least one axis, and each a length."""
    if not isinstance(shape, (tuple, list)) or len(shape) == 0:
        raise ValueError(
            f"{call}: expected {name} as a tuple of ints, got {described(shape)}"
        )
    return tuple(check_int(call, name, size) for size in shape)


def check_last_axes(
    call: str, x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: Any
) -> tuple[tuple[int, ...], float]:
    """Check what a normalization over the last axes is given; return their shape, and eps."""
    check_floats(call, "x", x)
    shape = check_normalized_shape(call, "normalized_shape", normalized_shape)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{call}: expected x with last axes {shape}, got shape {x.shape}"
        )
    check_vector(call, "weight", weight, shape, x)
    check_vector(call, "bias", bias, shape, x)
    return shape, check_number(call, "eps", eps, above=0)
