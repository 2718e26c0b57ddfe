"""Change several arrays and attributes at once: all of them, or none."""

import itertools
import operator
from collections import deque
from collections.abc import Iterable
from typing import Any

from bnlib._checks import check_writeable
from bnlib._types import Array

__all__ = ["assign", "fill", "tick"]

# One clock for all forwards and all changes of parameters: what comes later has a larger number.
tick = itertools.count(1).__next__


def assign(
    call: str,
    changes: Iterable[tuple[str, Array, Array]],
    attributes: Iterable[tuple[object, str, Any]] = (),
    copy: bool = True,
) -> None:
    """Write new values into arrays and attributes; if that cannot be done, nothing has changed.

    Parameters
    ----------
    call : str
        Who asks, for the message.
    changes : iterable of (str, ndarray, ndarray)
        The name of each array, itself, and its new value, which is cast to its dtype.
    attributes : iterable of (object, str, object)
        Objects, the name of an attribute, and its new value.
    copy : bool
        Whether a value may be a view of another array of the list, so that all are copied first.

    Raises
    ------
    ValueError
        If an array is read-only.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> assign("swap", [("a", a, b), ("b", b, a)])
    >>> a, b
    (array([3., 4.]), array([1., 2.]))
    """
    changes = list(changes)
    for name, target, _ in changes:
        check_writeable(call, name, target)
    targets: list[Any] = [target for _, target, _ in changes]
    keys: list[Any] = [...] * len(targets)
    # First all casts, which may raise (np.errstate).
    values = [value.astype(target.dtype, copy=copy) for _, target, value in changes]
    for owner, name, value in attributes:
        targets.append(vars(owner))
        keys.append(name)
        values.append(value)
    # One pass in C: no KeyboardInterrupt comes between two of them.
    deque(map(operator.setitem, targets, keys, values), maxlen=0)


def fill(arrays: list[Array], value: float) -> None:
    """Write one number into all of some arrays, which can be written, in one pass in C.

    Parameters
    ----------
    arrays : list of ndarray
        Where it goes.
    value : float
        The number.
    """
    write: Any = operator.setitem
    deque(map(write, arrays, itertools.repeat(...), itertools.repeat(value)), maxlen=0)
