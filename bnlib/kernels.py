"""Batch normalization as fast as NumPy can: for float32 arrays that lie in memory in C order.

The results are those of `bnlib.normalize` to round-off; what differs is the way through memory
(`bnlib.blocks`). Every number of threads gives the same bits. Built step by step in the chapter
"The fast kernel".
"""

import functools
import operator
from typing import NamedTuple

import numpy as np

from bnlib import small
from bnlib.blocks import cuts, empty, scratch, walk_of
from bnlib.coefficients import line, plane, shifted_moments
from bnlib.normalize import update_running
from bnlib.threads import num_threads, run

__all__ = ["Saved", "batch_norm_backward", "batch_norm_forward", "suits"]

ALONE = 2**20  # floats below which two threads are slower than one
BUFFER = 128  # floats below which NumPy copies what it broadcasts: its default is 8192
STRANDS = 8  # parts of the work in a group: more threads than this bring nothing


class Saved(NamedTuple):
    """What the backward needs: x itself, and vectors of one number per channel, float64.

    ``x_hat = (x − pivot − low) · invstd``; a pivot of None stands for 0.
    """

    x: np.ndarray
    pivot: np.ndarray | None
    low: np.ndarray
    invstd: np.ndarray
    weight: np.ndarray | None
    training: bool

    @property
    def shape(self):
        """Return the shape of x."""
        return self.x.shape

    @property
    def dtype(self):
        """Return the dtype of x."""
        return self.x.dtype


def suits(x, eps):
    """Whether these kernels can normalize `x`; `bnlib.normalize` always can.

    Parameters
    ----------
    x : ndarray
    eps : float

    Returns
    -------
    bool

    Examples
    --------
    >>> x = np.ones((8, 3), np.float32)
    >>> suits(x, 1e-5), suits(x.T, 1e-5), suits(x.astype(np.float64), 1e-5)
    (True, False, False)
    """
    # With an eps below 1e-30, squares that are 0 in float32 would count.
    return x.dtype == np.float32 and x.flags.c_contiguous and x.size > 0 and eps > 1e-30


def _add_up(term, steps, threads):
    """Add up ``term(step)``, in an order that does not depend on the number of threads."""

    def strand(part):
        return functools.reduce(operator.add, map(term, steps[part]))

    parts = cuts(len(steps), -(-len(steps) // STRANDS))
    return functools.reduce(operator.add, run(strand, parts, threads))


def _do(change, steps, threads):
    """Call ``change(step)`` for every step."""
    parts = cuts(len(steps), -(-len(steps) // STRANDS))
    run(lambda part: [change(step) for step in steps[part]], parts, threads)


def _moments(walk, x, steps, m, threads):
    """Return pivot, mean − pivot and variance of a group of channels.

    First without a pivot (None), then with one near the mean. None if nothing helps.
    """
    pivot = spread = None

    def term(step):
        a = walk.block(x, step)
        if pivot is not None:
            a = np.subtract(a, *walk.fit(spread, a), out=scratch(a.shape))
        return walk.sums(a, a)

    for _ in range(4):
        low, var, good = shifted_moments(_add_up(term, steps, threads), m)
        if good:
            return pivot, low, var
        mean = low if pivot is None else pivot + low
        pivot = mean.astype(np.float32).astype(np.float64)
        spread = walk.spread([pivot])
    return None


def _wide(*vectors):
    """Return vectors in float64."""
    return [v.astype(np.float64) for v in vectors]


def _join(found):
    """Join pivot, low, var and invstd of all groups of channels."""
    if len(found) == 1:
        return found[0]
    pivots, *parts = zip(*found, strict=True)
    low, var, invstd = (np.concatenate(part) for part in parts)
    if all(pivot is None for pivot in pivots):
        return None, low, var, invstd
    pivots = [
        0 * p[0] if p[1] is None else p[1] for p in zip(parts[0], pivots, strict=True)
    ]
    return np.concatenate(pivots), low, var, invstd


def batch_norm_forward(
    x,
    running_mean,
    running_var,
    weight,
    bias,
    training,
    momentum,
    eps,
    out=None,
    threads=None,
):
    """Normalize each channel of a mini-batch, then scale and shift; keep what the backward needs.

    Parameters are those of `bnlib.functional.batch_norm`, checked already; `x` is one that `suits`.

    Returns
    -------
    y : ndarray of float32, shape of x
        `out`, if that is given.
    saved : Saved
        It holds `x` itself, not a copy.
    None
        Instead of both, if float32 cannot hold the sums: infinities, NaN, squares beyond it. The
        running statistics are as they were then.

    Notes
    -----
    ``y = scale · (x − pivot) + shift``, with one scale and one shift per channel: Ioffe & Szegedy
    (2015), Algorithm 2, step 11, here in training as well.
    """
    y = empty(x.shape) if out is None else out
    given = (None, None) if training else _wide(running_mean, running_var)
    with np.errstate(all="ignore"):
        found = None
        if small.suits(x):
            found = small.forward(x, *given, weight, bias, eps, y)
        if found is None:
            np.setbufsize(BUFFER)  # until the end of this block
            found = _by_blocks(x, *given, weight, bias, eps, y, threads)
            if found is None:
                return None
    pivot, low, var, invstd = found
    if training and running_mean is not None:
        mean = low if pivot is None else pivot + low
        update_running(
            running_mean, running_var, mean, var, x.size // len(mean), momentum
        )
    return y, Saved(x, pivot, low, invstd, weight, training)


def _by_blocks(x, mean, var, weight, bias, eps, y, threads):
    """Do what `small.forward` does, block by block."""
    m = x.size // x.shape[1]
    threads = 1 if x.size < ALONE else num_threads(threads)
    walk = walk_of(x.shape)
    # Threads share the groups, or, where there is only one, what is in it.
    inside = threads if len(walk.groups) == 1 else 1

    def group(group):
        c, steps = group
        w, b = (None if v is None else v[c] for v in (weight, bias))
        if mean is None:
            moments = _moments(walk, x, steps, m, inside)
            if moments is None:
                return None
            pivot, low, square = moments
        else:
            pivot, low, square = None, mean[c], var[c]
            if (low * low > 4 * square).any():
                pivot, low = low, 0 * low
        invstd, *straight = line(low, square, w, b, eps)
        spread = walk.spread(straight if pivot is None else [*straight, pivot])

        def change(step):
            a, o = walk.block(x, step), walk.block(y, step)
            scale, shift, *pivots = walk.fit(spread, a)
            for pivot in pivots:
                a = np.subtract(a, pivot, out=o)
            np.multiply(a, scale, out=o)
            np.add(o, shift, out=o)

        _do(change, steps, inside)
        return pivot, low, square, invstd

    found = run(group, walk.groups, threads)
    return None if None in found else _join(found)


def batch_norm_backward(dy, saved, out=None, threads=None):
    """Gradients of a batch normalization, in training and in evaluation.

    Parameters
    ----------
    dy : ndarray of float32, shape of x
        In any layout.
    saved : Saved
    out : ndarray of float32, shape of x, or None
        Memory for `dx`.
    threads : int or None

    Returns
    -------
    dx : ndarray of float32, shape of x
    dweight, dbias : ndarray of float32, shape (C,)

    Notes
    -----
    In training ``dx = a · (b · (x − pivot) + d + dy)``, with one a, b and d per channel: the closed
    form of the chapter "Backward", with x_hat written out.
    """
    x, pivot, low, invstd, weight, training = saved
    m = x.size // x.shape[1]
    dx = empty(x.shape) if out is None else out
    if not dy.flags.c_contiguous:
        np.copyto(dx, dy)
        dy = dx  # each block is read before it is written
    elif small.suits(x):
        with np.errstate(all="ignore"):
            return small.backward(dy, x, pivot, low, invstd, weight, training, dx)
    threads = 1 if x.size < ALONE else num_threads(threads)
    walk = walk_of(x.shape)
    inside = threads if len(walk.groups) == 1 else 1
    dweight, dbias = np.empty((2, x.shape[1]), np.float32)

    def group(group):
        c, steps = group
        pivots = [] if pivot is None else walk.spread([pivot[c]])

        def centred(step, out):
            a = walk.block(x, step)
            return a if pivot is None else np.subtract(a, *walk.fit(pivots, a), out=out)

        def term(step):
            g = walk.block(dy, step)
            return walk.sums(g, centred(step, scratch(g.shape)))

        sums = _add_up(term, steps, inside)
        w = None if weight is None else weight[c]
        dweight[c], *flat = plane(sums, low[c], invstd[c], w, m)
        dbias[c] = sums[0]
        spread = walk.spread(flat)

        def change(step):
            g, o = walk.block(dy, step), walk.block(dx, step)
            a, b, d = walk.fit(spread, g)
            if training:
                u = scratch(g.shape)
                np.multiply(centred(step, u), b, out=u)
                np.add(u, d, out=u)
                g = np.add(u, g, out=u)
            np.multiply(g, a, out=o)

        _do(change, steps, inside)

    with np.errstate(all="ignore"):
        np.setbufsize(BUFFER)
        run(group, walk.groups, threads)
    return dx, dweight, dbias
