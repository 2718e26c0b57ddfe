"""What the laboratory says to bad input, beyond `bnlib._checks`: labels, splits, rates, pictures.

A message has the same form: the call, what was expected, what came, and perhaps the cure.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from bnlib._checks import check_array, check_number, described
from bnlib._types import Array


def check_kind(call: str, name: str, value: Any, kind: type) -> None:
    """Raise TypeError unless `value` is an instance of `kind`."""
    if not isinstance(value, kind):
        wanted = "dict" if kind is Mapping else kind.__name__
        article = "an" if wanted[0] in "AEIOU" else "a"
        raise TypeError(
            f"{call}: expected {name} to be {article} {wanted}, got {type(value).__name__}"
        )


def check_path(call: str, name: str, value: Any) -> None:
    """Raise TypeError unless `value` is the path of a file or folder."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(
            f"{call}: expected {name} to be a path, got {type(value).__name__}"
        )


def check_items(call: str, name: str, values: Any, empty: bool = False) -> list[Any]:
    """Return a sequence as a list; raise unless it is one, and not empty unless it may be."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(
            f"{call}: expected {name} to be a sequence, got {type(values).__name__}"
        )
    items = list(values)
    if not items and not empty:
        raise ValueError(f"{call}: expected at least one item in {name}, got none")
    return items


def check_strings(call: str, name: str, values: Any, count: int) -> list[str]:
    """Return names as strings; raise unless there are `count` of them."""
    items = check_items(call, name, values, empty=True)
    if len(items) != count:
        raise ValueError(f"{call}: expected {count} {name}, got {len(items)}")
    return [str(item) for item in items]


def check_rates(call: str, name: str, values: Any, one: str) -> list[float]:
    """Return learning rates as a list; raise unless there is `one`, and each is from 0 on."""
    rates = check_items(call, name, values)
    return [check_number(call, one, rate, low=0) for rate in rates]


def check_limits(call: str, name: str, value: Any) -> tuple[float, float]:
    """Return the two ends of a range; raise unless they are finite numbers that rise."""
    numbers = isinstance(value, (tuple, list, np.ndarray)) and all(
        isinstance(end, Real) and not isinstance(end, bool) for end in value
    )
    if not numbers or len(value) != 2 or not -np.inf < value[0] < value[1] < np.inf:
        raise (ValueError if numbers else TypeError)(
            f"{call}: expected {name} as a pair of finite numbers that rise, "
            f"got {described(value)}"
        )
    return float(value[0]), float(value[1])


def check_values(
    call: str, name: str, values: Any, ndim: Sequence[int], shape: str
) -> Array:
    """Return numbers as an array of float64; raise unless it has one of `ndim` axes.

    NaN and infinities are numbers here: a run that diverged is one of the results.
    """
    array = _as_array(call, name, values)
    if array is None or array.dtype.kind not in "biuf":
        got = described(values) if array is None else array.dtype
        raise TypeError(f"{call}: expected {name} to hold real numbers, got {got}")
    if array.ndim not in ndim or array.size == 0:
        raise ValueError(f"{call}: expected {name} of shape {shape}, got {array.shape}")
    return array.astype(np.float64)


def _as_array(call: str, name: str, values: Any) -> Array | None:
    """Return values as an array; None where rows of a list differ in length."""
    if isinstance(values, np.ndarray):
        check_array(call, name, values)
    try:
        return np.asarray(values)
    except ValueError:
        return None


def check_labels(
    call: str, name: str, y: Any, n: int, classes: int | None = None
) -> Array:
    """Return labels as an array; raise unless they are integers, one for each of `n` samples.

    With `classes`, each label must be one of 0 … classes − 1.
    """
    labels = _as_array(call, name, y)
    if labels is None or (labels.dtype.kind not in "iu" and labels.size):
        got = described(y) if labels is None else labels.dtype
        raise TypeError(f"{call}: expected {name} of an integer dtype, got {got}")
    if labels.shape != (n,) or n == 0:
        column = labels.shape == (n, 1) and n > 0
        cure = f": use {name}[:, 0]" if column else ""
        raise ValueError(
            f"{call}: expected {name} of shape (N,), N > 0, one label for each of {n} "
            f"inputs, got {labels.shape}{cure}"
        )
    check_classes(call, name, labels, classes)
    return labels


def check_classes(call: str, name: str, labels: Array, classes: int | None) -> None:
    """Raise ValueError unless labels are classes: from 0 to classes − 1, for None from 0 on."""
    low, high = labels.min(), labels.max()
    if low < 0 or (classes is not None and high >= classes):
        wanted = "from 0 on" if classes is None else f"from 0 to {classes - 1}"
        raise ValueError(f"{call}: expected {name} {wanted}, got {low} to {high}")


def check_split(call: str, data: Any, part: str) -> None:
    """Raise unless `data` has inputs and labels of one of its splits, and at least one of each."""
    x, y = (getattr(data, f"{axis}_{part}", None) for axis in "xy")
    if x is None or y is None:
        raise TypeError(
            f"{call}: expected data to be a bnlib.lab.data.Data with x_{part} and "
            f"y_{part}, got {type(data).__name__}"
        )
    check_array(call, f"data.x_{part}", x)
    check_array(call, f"data.y_{part}", y)
    check_labels(call, f"data.y_{part}", y, len(x) if x.ndim else 0)
