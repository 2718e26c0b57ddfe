"""What several tests share: one comparison, memory layouts, and the way to PyTorch."""

import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

import bnlib

SOURCES = Path(bnlib.__file__).parent
LAYOUTS = ("C", "fortran", "channels_last", "strided", "reversed", "read_only")
# Allowed difference from PyTorch where the values are of order 1.
TOLERANCE = {
    np.float32: {"rtol": 2e-4, "atol": 2e-5},
    np.float64: {"rtol": 1e-9, "atol": 1e-11},
}


def assert_close(actual, desired, rtol=0.0, atol=0.0):
    """Fail unless dtype, shape and values agree; NaN agrees with nothing."""
    actual, desired = (
        a.detach().numpy() if isinstance(a, torch.Tensor) else np.asarray(a)
        for a in (actual, desired)
    )
    assert actual.dtype == desired.dtype
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol, atol, equal_nan=False)


def laid_out(x, layout):
    """Return an array equal to `x` that lies in memory in another way."""
    if layout == "fortran":
        return np.asfortranarray(x)
    if layout == "channels_last":
        return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    if layout == "strided":
        room = np.full([2 * size for size in x.shape], np.nan, x.dtype)
        view = room[tuple(slice(0, None, 2) for _ in x.shape)]
        view[...] = x
        return view
    if layout == "reversed":
        flip = tuple(slice(None, None, -1) for _ in x.shape)
        return x[flip].copy()[flip]
    x = x.copy()
    x.flags.writeable = layout != "read_only"
    return x


def problem(seed, shape, dtype):
    """Return x, dy, weight, bias, running_mean and running_var, all of them random.

    Every channel of x has a spread of about 1, so that no rounding error is blown up.
    """
    rng = np.random.default_rng(seed)
    N, C, *space = shape
    ladder = np.linspace(-1.5, 1.5, N * math.prod(space))
    x = rng.permuted(np.tile(ladder, (C, 1)), axis=1) + rng.uniform(-3, 3, (C, 1))
    x = np.moveaxis(x.reshape(C, N, *space), 0, 1)
    x = x + 0.1 * rng.standard_normal(shape)
    vectors = (*rng.standard_normal((3, C)), rng.uniform(0.2, 3, C))
    return [a.astype(dtype) for a in (x, rng.standard_normal(shape), *vectors)]


def to_torch(a, grad=False):
    """Return a PyTorch tensor with the values of `a` in memory of its own; None for None."""
    if a is None:
        return None
    return torch.tensor(np.array(a, order="C")).requires_grad_(grad)


def fingerprint(*arrays):
    """Return all bytes of some arrays: to see later that none has changed."""
    return [None if a is None else a.tobytes() for a in arrays]


def state_of(module):
    """Return all bytes of a module's parameters, buffers and gradients, and its mode."""
    state = dict(module.named_state())
    gradients = [p.grad for p in module.parameters()]
    return list(state), fingerprint(*state.values(), *gradients), module.training


def shapes(ranks=(2, 3, 4, 5)):
    """Draw shapes (N, C, ...) with at least two values per channel."""

    def of_rank(rank):
        space = st.lists(st.integers(1, 4), min_size=rank - 2, max_size=rank - 2)
        return st.tuples(st.integers(1, 6), st.integers(1, 4), space).map(
            lambda parts: (parts[0], parts[1], *parts[2])
        )

    return (
        st.sampled_from(ranks)
        .flatmap(of_rank)
        .filter(lambda shape: np.prod(shape) > shape[1])
    )


def everything(*things):
    """Return a picture of all state in modules, optimizers and parameters, but no caches."""
    picture, todo, seen = [], list(things), set()
    while todo:
        thing = todo.pop()
        if isinstance(thing, np.ndarray):
            picture.append((id(thing), thing.tobytes()))
        elif isinstance(thing, np.random.Generator):
            picture.append(repr(thing.bit_generator.state))
        elif isinstance(thing, dict):
            todo += [item for pair in thing.items() for item in pair]
        elif isinstance(thing, (list, tuple, set)):
            todo += thing
        elif isinstance(thing, (bnlib.Module, bnlib.Parameter, bnlib.optim.Optimizer)):
            if id(thing) not in seen:
                seen.add(id(thing))
                own = vars(thing).items()
                todo.append({k: v for k, v in own if k not in ("_cache", "_span")})
            picture.append(id(thing))
        else:
            picture.append(repr(thing))
    return picture
