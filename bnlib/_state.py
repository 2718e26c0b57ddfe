"""Change several arrays at once: all of them, or none."""

import operator
from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import Any

from bnlib._checks import check_writeable
from bnlib._types import Array

__all__ = ["assign"]


def assign(
    call: str, changes: Iterable[tuple[Array, Array]], copy: bool = True
) -> None:
    """Write new values into arrays; if that cannot be done, no array has changed.

    Parameters
    ----------
    call : str
        Who asks, for the message.
    changes : iterable of (ndarray, ndarray)
        Each array with its new value, of the same shape, which is cast to the dtype of its array.
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
    >>> assign("swap", [(a, b), (b, a)])
    >>> a, b
    (array([3., 4.]), array([1., 2.]))
    """
    changes = list(changes)
    for target, _ in changes:
        check_writeable(call, "an array to be written", target)
    targets = [target for target, _ in changes]
    # First all casts, which may raise (np.errstate).
    values = [value.astype(target.dtype, copy=copy) for target, value in changes]
    # One pass in C: no KeyboardInterrupt comes between two arrays.
    write: Any = operator.setitem
    deque(map(write, targets, repeat(...), values), maxlen=0)
