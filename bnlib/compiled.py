"""The formula of `bnlib.normalize` as loops that Numba compiles.

NumPy walks through memory once for each operation; a loop does all of them on its way. Sums are
kept in float64, whatever the dtype of x: no square is beyond it, and one value of x is near enough
to the mean for a pivot. Each sum is added up by one thread, in one order, so that the number of
threads changes no bit. Built in the chapter "The fast kernel".

All arrays are in C order, of one dtype, float32 or float64; `bnlib.functional` sees to that.
"""

import functools
import itertools

import numpy as np
from numba import njit, types
from numba.np.numpy_support import from_dtype

from bnlib.threads import run

__all__ = [
    "channels_backward",
    "channels_forward",
    "groups_backward",
    "groups_forward",
]

OPTIONS = {
    "nogil": True,  # other threads may run meanwhile
    "error_model": "numpy",  # 1 / 0 is infinite, and no exception
    # Sums may be reordered; NaN and infinities keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}
RUN = 1024  # numbers of one sample that are worked on together
SHORT = 257  # values of a channel in a sample: with fewer, several channels are one row
LARGE = 2**18  # numbers from which on the work is shared out
LEAST = 256  # numbers of one sample in a part: with fewer, too little lies together
LIMIT = {char: float(np.finfo(char).max) for char in "fd"}  # no scale is beyond
BLOCKS = (
    16  # of samples, each with sums of its own for the gradients of weight and bias
)


# Compiling ---------------------------------------------------------------------------------


def loop(arguments):
    """Compile a function for arguments of such kinds: for a dtype, when it is first asked for."""

    def decorate(function):
        @functools.cache
        def compiled(dtype):
            real = from_dtype(dtype)
            kinds = {
                "rows": types.Array(real, 2, "C", readonly=True),
                "out": types.Array(real, 2, "C"),
                "vector": types.Array(real, 1, "C", readonly=True),
                "sums": types.Array(types.float64, 1, "C"),
                "float": types.float64,
                "bool": types.boolean,
                "int": types.int64,
            }
            signature = types.void(*(kinds[kind] for kind in arguments.split()))
            try:
                return njit(signature, cache=True, **OPTIONS)(function)
            except (OSError, RuntimeError):  # no folder can be written
                return njit(signature, **OPTIONS)(function)

        return compiled

    return decorate


inner = njit(forceinline=True, **OPTIONS)


@inner
def start(value):
    """Return a first pivot: a value of x, or 0 where that is not finite."""
    return np.float64(value) if np.isfinite(value) else 0.0


@inner
def is_far(low, var, x):
    """Whether a pivot was so far from the mean that the variance has lost digits."""
    return low * low > (4 if x.itemsize == 8 else 1e6) * var


@inner
def bounded(scale, limit):
    """Return a scale that is not infinite: 0 · ∞ would be NaN where values do not vary."""
    return -limit if scale < -limit else limit if scale > limit else scale


# Walks along a row of x, from column a to b. They cut it out themselves: a part that is handed
# from one function to another is counted, which takes as long as some dozen numbers.


@inner
def sums(x, n, a, b, pivot):
    """Return the sum of the differences from a pivot, and the sum of their squares."""
    row = x[n, a:b]
    one = two = 0.0
    for j in range(len(row)):
        d = row[j] - pivot
        one += d
        two += d * d
    return one, two


@inner
def affine(x, n, a, b, high, scale, shift, y):
    """Write ``(x − high) · scale + shift``."""
    row, out = x[n, a:b], y[n, a:b]
    for j in range(len(row)):
        out[j] = (row[j] - high) * scale + shift


@inner
def products(dy, x, n, a, b, mean):
    """Return the sum of dy, and that of its products with the differences from the mean."""
    g, row = dy[n, a:b], x[n, a:b]
    one = along = 0.0
    for j in range(len(row)):
        gj = np.float64(g[j])
        one += gj
        along += gj * (row[j] - mean)
    return one, along


@inner
def project(dy, x, n, a, b, weight, high, low, invstd, one, along, dx):
    """Write what is left of weight · dy without its parts along 1 and x_hat, times invstd."""
    g, row, out = dy[n, a:b], x[n, a:b], dx[n, a:b]
    for j in range(len(row)):
        x_hat = (row[j] - high) * invstd - low
        out[j] = (weight * g[j] - one - x_hat * along) * invstd


# The same with a vector of sums and settings, one for each column.


@inner
def add_sums(x, n, a, b, pivot, one, two):
    """Add up what `sums` returns, each column for itself."""
    row = x[n, a:b]
    for j in range(len(row)):
        d = row[j] - pivot[j]
        one[j] += d
        two[j] += d * d


@inner
def affines(x, n, a, b, high, scale, shift, y):
    """Write what `affine` writes."""
    row, out = x[n, a:b], y[n, a:b]
    for j in range(len(row)):
        out[j] = (row[j] - high[j]) * scale[j] + shift[j]


@inner
def add_products(dy, x, n, a, b, mean, one, along):
    """Add up what `products` returns."""
    g, row = dy[n, a:b], x[n, a:b]
    for j in range(len(row)):
        one[j] += g[j]
        along[j] += g[j] * (row[j] - mean[j])


@inner
def projects(dy, x, n, a, b, weight, high, low, invstd, one, along, dx):
    """Write what `project` writes."""
    g, row, out = dy[n, a:b], x[n, a:b], dx[n, a:b]
    for j in range(len(row)):
        x_hat = (row[j] - high[j]) * invstd[j] - low[j]
        out[j] = (weight[j] * g[j] - one[j] - x_hat * along[j]) * invstd[j]


# A channel of all samples shares a mean: batch normalization -------------------------------


@inner
def channel_moments(x, S, a, b, mean, var):
    """Compute the moments of the channels a to b, in two passes where one would lose digits."""
    N = len(x)
    L = S if S < SHORT else 1  # sums of a channel
    pivot = np.empty(b - a)
    for c in range(a, b):
        pivot[c - a] = start(x[0, c * S])
    for _ in range(2):
        one, two = np.zeros((b - a) * L), np.zeros((b - a) * L)
        if S < SHORT:
            pivots = np.repeat(pivot, S)
            for n in range(N):
                add_sums(x, n, a * S, b * S, pivots, one, two)
        else:
            for n in range(N):
                for c in range(a, b):
                    d, square = sums(x, n, c * S, (c + 1) * S, pivot[c - a])
                    one[c - a] += d
                    two[c - a] += square
        again = False
        for c in range(a, b):
            i = c - a
            low = one[i * L : (i + 1) * L].sum() / (N * S)
            mean[c] = pivot[i] + low
            var[c] = two[i * L : (i + 1) * L].sum() / (N * S) - low * low
            if is_far(low, var[c], x):
                pivot[i] = mean[c]
                again = True
        if not again:
            break


@loop("rows vector vector float float bool sums sums sums out int int")
def _channels_forward(
    x, weight, bias, eps, limit, batch, mean, var, invstd, y, first, last
):
    N, S = len(x), x.shape[1] // len(weight)
    width = max(
        1, RUN // S
    )  # channels whose numbers stay in the cache until the output
    for a in range(first, last, width):
        b = min(a + width, last)
        if batch:
            channel_moments(x, S, a, b, mean, var)
        high, scale, shift = np.empty((3, b - a), x.dtype)
        for c in range(a, b):
            i = c - a
            invstd[c] = bounded(1 / np.sqrt(var[c] + eps), limit)
            k = bounded(weight[c] * invstd[c], limit)
            high[i] = mean[c]
            scale[i] = k
            shift[i] = bias[c] - k * (mean[c] - high[i])
        if S < SHORT:
            highs, scales = np.repeat(high, S), np.repeat(scale, S)
            shifts = np.repeat(shift, S)
            for n in range(N):
                affines(x, n, a * S, b * S, highs, scales, shifts, y)
        else:
            for n in range(N):
                for i in range(b - a):
                    j = (a + i) * S
                    affine(x, n, j, j + S, high[i], scale[i], shift[i], y)


@loop("rows rows vector bool sums sums out sums sums int int")
def _channels_backward(
    dy, x, weight, batch, mean, invstd, dx, dweight, dbias, first, last
):
    N, S = len(x), x.shape[1] // len(weight)
    L = S if S < SHORT else 1
    width = max(1, RUN // S)
    for a in range(first, last, width):
        b = min(a + width, last)
        ones, alongs = np.zeros((b - a) * L), np.zeros((b - a) * L)
        if S < SHORT:
            means = np.repeat(mean[a:b], S)
            for n in range(N):
                add_products(dy, x, n, a * S, b * S, means, ones, alongs)
        else:
            for n in range(N):
                for c in range(a, b):
                    g, gd = products(dy, x, n, c * S, (c + 1) * S, mean[c])
                    ones[c - a] += g
                    alongs[c - a] += gd
        w, high, low, inv, one, along = np.empty((6, b - a), x.dtype)
        for c in range(a, b):
            i = c - a
            dbias[c] = ones[i * L : (i + 1) * L].sum()
            dweight[c] = alongs[i * L : (i + 1) * L].sum() * invstd[c]
            w[i], high[i], inv[i] = weight[c], mean[c], invstd[c]
            low[i] = (mean[c] - high[i]) * invstd[c]
            one[i] = weight[c] * (dbias[c] / (N * S))
            along[i] = weight[c] * (dweight[c] / (N * S))
        if batch and S < SHORT:
            ws, highs, lows = np.repeat(w, S), np.repeat(high, S), np.repeat(low, S)
            invs, os = np.repeat(inv, S), np.repeat(one, S)
            als = np.repeat(along, S)
            for n in range(N):
                projects(dy, x, n, a * S, b * S, ws, highs, lows, invs, os, als, dx)
        else:
            for n in range(N):
                for i in range(b - a):
                    j = (a + i) * S
                    if batch:
                        settings = w[i], high[i], low[i], inv[i], one[i], along[i]
                        project(dy, x, n, j, j + S, *settings, dx)
                    else:
                        affine(dy, n, j, j + S, 0, w[i] * inv[i], 0, dx)


# Some channels of one sample share a mean: layer, group, instance, RMS normalization --------


@inner
def weighted(x, r, high, low, invstd, weight, bias, c, y):
    """Write ``weight · x_hat + bias`` for a row, whose first channel is c."""
    row, out = x[r], y[r]
    w, t = weight[c : c + len(row)], bias[c : c + len(row)]
    for k in range(len(row)):
        out[k] = ((row[k] - high) * invstd - low) * w[k] + t[k]


@inner
def weighted_products(dy, x, r, mean, invstd, weight, c, dweight, dbias):
    """Add to the gradients of weight and bias, and return the two sums of weight · dy."""
    g, row = dy[r], x[r]
    w, dw = weight[c : c + len(row)], dweight[c : c + len(row)]
    db = dbias[c : c + len(row)]
    one = along = 0.0
    for k in range(len(row)):
        gk = np.float64(g[k])
        product = gk * ((row[k] - mean) * invstd)
        db[k] += gk
        dw[k] += product
        one += gk * w[k]
        along += product * w[k]
    return one, along


@inner
def weighted_project(dy, x, r, weight, c, high, low, invstd, one, along, dx):
    """Write what `project` writes, with a weight for each number."""
    g, row, out = dy[r], x[r], dx[r]
    w = weight[c : c + len(row)]
    for k in range(len(row)):
        x_hat = (row[k] - high) * invstd - low
        out[k] = (w[k] * g[k] - one - x_hat * along) * invstd


@loop("rows int vector vector float float bool sums sums sums out int int")
def _groups_forward(
    x, groups, weight, bias, eps, limit, centered, mean, var, invstd, y, first, last
):
    m, K = x.shape[1], len(weight) // groups
    S = m // K
    real = x.dtype.type
    for r in range(first, last):
        pivot = start(x[r, 0]) if centered else 0.0
        for _ in range(2):
            one, two = sums(x, r, 0, m, pivot)
            low = one / m if centered else 0.0
            mean[r] = pivot + low
            var[r] = two / m - low * low
            if not is_far(low, var[r], x):
                break
            pivot = mean[r]
        invstd[r] = bounded(1 / np.sqrt(var[r] + eps), limit)
        high, inv, c = real(mean[r]), real(invstd[r]), (r % groups) * K
        if S == 1:
            low = (mean[r] - high) * invstd[r]
            weighted(x, r, high, real(low), inv, weight, bias, c, y)
        else:
            for k in range(K):
                scale = bounded(weight[c + k] * invstd[r], limit)
                shift = bias[c + k] - scale * (mean[r] - high)
                affine(x, r, k * S, (k + 1) * S, high, real(scale), real(shift), y)


@loop("rows rows int vector bool sums sums out sums sums int int")
def _groups_backward(
    dy, x, groups, weight, centered, mean, invstd, dx, dweight, dbias, first, last
):
    m, K = x.shape[1], len(weight) // groups
    S = m // K
    real = x.dtype.type
    for r in range(first, last):
        p, s, c = mean[r], invstd[r], (r % groups) * K
        if S == 1:
            one, along = weighted_products(dy, x, r, p, s, weight, c, dweight, dbias)
        else:
            one = along = 0.0
            for k in range(K):
                g, product = products(dy, x, r, k * S, (k + 1) * S, p)
                product *= s
                dbias[c + k] += g
                dweight[c + k] += product
                one += g * weight[c + k]
                along += product * weight[c + k]
        high, inv = real(p), real(s)
        low, along = real((p - high) * s), real(along / m)
        one = real(one / m if centered else 0.0)
        if S == 1:
            weighted_project(dy, x, r, weight, c, high, low, inv, one, along, dx)
        else:
            for k in range(K):
                w = weight[c + k]
                a, b = k * S, (k + 1) * S
                project(dy, x, r, a, b, w, high, low, inv, one, along, dx)


# What `bnlib.functional` calls -------------------------------------------------------------


def parts(length, size, threads, most):
    """Return ``(first, last)`` of each part of the work on an array of so many numbers."""
    if size < LARGE or threads == 1:
        return [(0, length)]
    number = max(1, min(length, 2 * threads, most))
    cuts = [length * i // number for i in range(number + 1)]
    return list(itertools.pairwise(cuts))


def vector(a, value, length, dtype):
    """Return what stands for a weight or bias: it in C order, or a vector of one value."""
    if a is None:
        return np.full(length, value, dtype)
    a = a.reshape(-1)
    fits = a.flags.c_contiguous and a.flags.aligned
    return a if fits else np.require(a, dtype, "CA")


def channels_forward(x, mean, var, weight, bias, eps, out, threads):
    """Normalize the channels of x, over batch and space.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...)
        Input.
    mean, var : ndarray of shape (C,) or None
        Constants to normalize with; None for the moments of the batch.
    weight, bias : ndarray of shape (C,) or None
        Scale and shift.
    eps : float
        Added to the variance.
    out : ndarray or None
        Memory for the output, like x.
    threads : int
        How many may work.

    Returns
    -------
    y : ndarray
        Output, like x.
    mean, var, invstd : ndarray of float64, shape (C,)
        What normalized.
    """
    N, C = x.shape[:2]
    batch = mean is None
    if batch:
        mean, var = np.empty((2, C))
    else:
        mean, var = mean.astype(np.float64), var.astype(np.float64)
    invstd = np.empty(C)
    y = np.empty(x.shape, x.dtype) if out is None else out
    w, t = vector(weight, 1, C, x.dtype), vector(bias, 0, C, x.dtype)
    function, limit = _channels_forward(x.dtype), LIMIT[x.dtype.char]
    rows, out = x.reshape(N, -1), y.reshape(N, -1)

    def work(first, last):
        function(rows, w, t, eps, limit, batch, mean, var, invstd, out, first, last)

    run(work, parts(C, x.size, threads, rows.shape[1] // LEAST), threads)
    return y, mean, var, invstd


def channels_backward(dy, x, batch, weight, mean, invstd, out, threads):
    """Return the gradients of `channels_forward`.

    Parameters
    ----------
    dy, x : ndarray of shape (N, C, ...)
        Gradient of the output, and the input.
    batch : bool
        Whether mean and variance depend on x.
    weight : ndarray of shape (C,) or None
        Scale.
    mean, invstd : ndarray of float64, shape (C,)
        From the forward.
    out : ndarray or None
        Memory for `dx`.
    threads : int
        How many may work.

    Returns
    -------
    dx : ndarray
        Like x.
    dweight, dbias : ndarray of float64, shape (C,)
        Gradients of scale and shift.
    """
    N, C = x.shape[:2]
    dx = np.empty(x.shape, x.dtype) if out is None else out
    w = vector(weight, 1, C, x.dtype)
    dweight, dbias = np.empty(C), np.empty(C)
    function = _channels_backward(x.dtype)
    g, rows, out = (a.reshape(N, -1) for a in (dy, x, dx))

    def work(first, last):
        function(g, rows, w, batch, mean, invstd, out, dweight, dbias, first, last)

    run(work, parts(C, x.size, threads, rows.shape[1] // LEAST), threads)
    return dx, dweight, dbias


def groups_forward(x, view, weight, bias, eps, centered, threads):
    """Normalize groups of channels of each sample.

    Parameters
    ----------
    x : ndarray
        Input.
    view : tuple of int
        Its samples, groups, channels of a group, and positions: ``N, G, K, S``.
    weight, bias : ndarray of ``G · K`` numbers or None
        Scale and shift.
    eps : float
        Added to the variance.
    centered : bool
        Whether to subtract the mean.
    threads : int
        How many may work.

    Returns
    -------
    y : ndarray
        Output, like x.
    mean, var, invstd : ndarray of float64, shape (N · G,)
        What normalized; the mean is 0 if not `centered`.
    """
    N, G, K, _ = view
    mean, var, invstd = np.empty((3, N * G))
    y = np.empty(x.shape, x.dtype)
    w, t = vector(weight, 1, G * K, x.dtype), vector(bias, 0, G * K, x.dtype)
    function, limit = _groups_forward(x.dtype), LIMIT[x.dtype.char]
    rows, out = x.reshape(N * G, -1), y.reshape(N * G, -1)

    def work(first, last):
        function(
            rows, G, w, t, eps, limit, centered, mean, var, invstd, out, first, last
        )

    run(work, parts(N * G, x.size, threads, N * G), threads)
    return y, mean, var, invstd


def groups_backward(dy, x, view, centered, weight, mean, invstd, out, threads):
    """Return the gradients of `groups_forward`.

    Parameters
    ----------
    dy, x : ndarray
        Gradient of the output, and the input.
    view, centered, weight : see `groups_forward`
        As there.
    mean, invstd : ndarray of float64, N · G numbers
        From the forward.
    out : ndarray or None
        Memory for `dx`.
    threads : int
        How many may work.

    Returns
    -------
    dx : ndarray
        Like x.
    dweight, dbias : ndarray of float64, shape (G · K,)
        Gradients of scale and shift.
    """
    N, G, K, _ = view
    dx = np.empty(x.shape, x.dtype) if out is None else out
    w = vector(weight, 1, G * K, x.dtype)
    # The sums over samples, in blocks that do not depend on the number of threads.
    blocks = 1 if x.size < LARGE else min(N, BLOCKS, 1 + 2**15 // (G * K))
    sums = np.zeros((blocks, 2, G * K))
    function = _groups_backward(x.dtype)
    g, rows, out = (a.reshape(N * G, -1) for a in (dy, x, dx))
    mean, invstd = mean.reshape(-1), invstd.reshape(-1)

    def work(i):
        first, last = (N * k // blocks * G for k in (i, i + 1))
        function(g, rows, G, w, centered, mean, invstd, out, *sums[i], first, last)

    run(work, [(i,) for i in range(blocks)], threads)
    return dx, *sums.sum(0)
