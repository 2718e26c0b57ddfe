"""Tables of bad calls, each with the error and its whole message on the line below.

The subject of a call is a module, or a dict of arguments, and goes by the name `m`. After the call
not one byte of it may have changed.
"""

import numpy as np
import pytest
from helpers import fingerprint, state_of

import bnlib
from bnlib import functional as F


def f32(*shape):
    """Return float32 values that are not all alike."""
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def locked(a):
    """Return `a`, read-only."""
    a.flags.writeable = False
    return a


def used(module, *shape):
    """Return a module after one forward and one backward: it has a cache and gradients."""
    y = module(f32(*shape))
    module.backward(np.ones_like(y))
    return module


NAMES = {
    **{name: getattr(bnlib, name) for name in bnlib.__all__},
    **{"F": F, "np": np, "f32": f32, "locked": locked, "used": used},
    **{"i32": np.int32, "f16": np.float16, "f64": np.float64},
}


def rows(table):
    """Return the cases of a table as pytest parameters: expressions, error, message."""
    params = []
    cases = table.replace("\n    ", " | ").splitlines()
    for case in filter(None, cases):
        *expressions, outcome = case.split(" | ")
        params.append(pytest.param(*expressions, *outcome.split(": ", 1), id=case))
    return params


def snapshot(subject):
    """Return all bytes of a module's state, or of the arrays in a dict."""
    if isinstance(subject, bnlib.Module):
        return state_of(subject)
    return fingerprint(*(a for a in subject.values() if isinstance(a, np.ndarray)))


def check(subject, call, error, message, **names):
    """Run the bad call; fail unless it raises just this and changes nothing."""
    names = {**NAMES, **names}
    names["m"] = subject = eval(subject, names)
    before = snapshot(subject)
    with pytest.raises(Exception) as info:  # noqa: PT011
        eval(call, names)
    assert type(info.value).__name__ == error, info.value
    assert info.value.args[0] == message
    assert snapshot(subject) == before
