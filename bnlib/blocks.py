"""The way through memory of `bnlib.kernels`: blocks that a cache can hold.

An array (N, C, ...) in C order is cut into groups of channels, which have nothing to do with each
other, and each group into blocks. The cuts depend on the shape alone. Built in the chapter "The
fast kernel".
"""

import functools
import math
import threading

import numpy as np

__all__ = ["Planes", "Rows", "cuts", "empty", "row_sums", "scratch", "walk_of"]

BLOCK = 2**18  # floats in a block, at most: 1 MB
RUN = 2**11  # floats of a plane that are added up in float32, at most
TALL = 64  # rows that are added up in float32, at most
PLANE = 256  # floats in a plane, at least: where there are fewer, rows are faster
ROW = 2**12  # floats in a row, where short samples are laid end to end
WIDE = 2**13  # floats in a row, at most
ONES = np.ones(BLOCK, np.float32)
_own = threading.local()


def cuts(length, step):
    """Cut ``range(length)`` into slices of `step`, of which the last may be shorter.

    Examples
    --------
    >>> cuts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(i, min(length, i + step)) for i in range(0, length, step)]


def empty(shape):
    """Return new float32 memory that begins at a cache line, 64 bytes; NumPy's own at 16.

    Examples
    --------
    >>> empty((512, 512)).ctypes.data % 64
    0
    """
    size = math.prod(shape)
    if size < BLOCK // 4:  # nothing to gain
        return np.empty(shape, np.float32)
    room = np.empty(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shape)


def scratch(shape):
    """Return float32 memory of this thread, which the next call in it overwrites.

    Examples
    --------
    >>> scratch((2, 3)).shape
    (2, 3)
    """
    size = math.prod(shape)
    if getattr(_own, "room", ONES[:0]).size < size:
        _own.room = empty((max(size, 2**14),))
    return _own.room[:size].reshape(shape)


def row_sums(a, b):
    """Add up a and a·b over the rows of two blocks.

    Parameters
    ----------
    a, b : ndarray of float32, shape (rows, columns)

    Returns
    -------
    ndarray of float32, shape (2, columns)

    Examples
    --------
    >>> a = np.array([[1, 2], [3, 4]], np.float32)
    >>> row_sums(a, a)
    array([[ 4.,  6.],
           [10., 20.]], dtype=float32)
    """
    sums = np.empty((2, a.shape[1]), np.float32)
    # np.dot and np.einsum let other threads run; np.vecdot and a @ b do not.
    np.dot(ONES[: len(a)], a, out=sums[0])
    np.einsum("ij,ij->j", a, b, out=sums[1])
    return sums


class Planes:
    """A walk over (N, C, L) arrays whose planes of L floats are long.

    Attributes
    ----------
    groups : list of (slice, list)
        Channels, and the steps to the blocks that hold them.
    """

    def __init__(self, N, C, L):
        self.view = N, C, L
        least = -(-L // RUN)
        parts = (k for k in range(least, 4 * least) if L % k == 0)
        self.run = next((L // k for k in parts), min(L, RUN))
        channels = max(1, min(C, BLOCK // L))
        samples = max(1, BLOCK // (channels * L))
        runs = max(1, BLOCK // self.run) * self.run
        self.groups = [
            (c, [(n, c, k) for n in cuts(N, samples) for k in cuts(L, runs)])
            for c in cuts(C, channels)
        ]

    def block(self, a, step):
        """Return a block of `a`, shape (samples, channels, floats)."""
        return a.reshape(self.view)[step]

    def sums(self, a, b):
        """Return the sums of a and of a·b for each channel, float64."""
        samples, channels, length = a.shape
        # Where runs of one length fill the plane, each is a row; else rows are cut into runs.
        row = self.run if length % self.run == 0 else length
        a, b = a.reshape(-1, row), b.reshape(-1, row)
        runs = cuts(row, RUN)
        sums = np.empty((len(runs), 2, len(a)), np.float32)
        for part, k in zip(sums, runs, strict=True):
            np.dot(a[:, k], ONES[: k.stop - k.start], out=part[0])
            np.einsum("ij,ij->i", a[:, k], b[:, k], out=part[1])
        sums = sums.reshape(len(runs), 2, samples, channels, -1)
        return np.add.reduce(sums, (0, 2, 4), np.float64)

    def spread(self, vectors):
        """Return vectors of one number per channel in a shape that fits a block."""
        return np.array(vectors, np.float32)[:, :, None]

    def fit(self, spread, a):
        """Return the part of spread vectors that fits the block `a`: all of it."""
        return spread


class Rows:
    """A walk over (N, C, L) arrays whose planes are short: along rows of C·L floats.

    Attributes
    ----------
    groups : list of (slice, list)
        Channels, and the steps to the blocks that hold them.
    """

    def __init__(self, N, C, L):
        self.view, self.length = (N, C * L), L
        channels = max(1, min(C, WIDE // L))
        self.width = channels * L
        # As they lie in memory, several short samples are one long row.
        self.fold = min(N, max(1, ROW // self.width)) if channels == C else 1
        rows = min(TALL, BLOCK // (self.width * self.fold))
        samples = max(1, rows) * self.fold
        whole = N - N % self.fold
        spans = cuts(whole, samples) + [slice(whole, N)] * (whole < N)
        self.groups = [
            (c, [(n, slice(c.start * L, c.stop * L)) for n in spans])
            for c in cuts(C, channels)
        ]

    def block(self, a, step):
        """Return a block of `a`, shape (rows, floats)."""
        a = a.reshape(self.view)[step]
        if self.fold > 1:  # what is left over at the end is one row, a shorter one
            a = a.reshape(-1, min(self.fold, len(a)) * self.width)
        return a

    def sums(self, a, b):
        """Return the sums of a and of a·b for each channel, float64."""
        sums = row_sums(a, b).astype(np.float64)
        if self.fold > 1:
            sums = np.add.reduce(sums.reshape(2, -1, self.width), 1)
        if self.length > 1:
            sums = np.add.reduce(sums.reshape(2, -1, self.length), 2)
        return sums

    def spread(self, vectors):
        """Return vectors of one number per channel as rows of a block."""
        rows = np.array(vectors, np.float32).repeat(self.length, axis=1)
        return np.tile(rows, self.fold)

    def fit(self, spread, a):
        """Return the part of spread vectors that fits the block `a`: the last is shorter."""
        return spread[:, : a.shape[1]]


@functools.lru_cache(maxsize=256)
def walk_of(shape):
    """Return the walk over arrays of a shape (N, C, ...).

    Examples
    --------
    >>> type(walk_of((64, 32, 28, 28))).__name__, type(walk_of((64, 128))).__name__
    ('Planes', 'Rows')
    """
    N, C, L = *shape[:2], math.prod(shape[2:])
    return (Planes if L >= PLANE else Rows)(N, C, L)
