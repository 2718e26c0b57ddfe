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
from numba.extending import overload
from numba.np.numpy_support import from_dtype

from bnlib.threads import run

__all__ = ["backward", "forward"]

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
BLOCKS = (
    16  # of samples, each with sums of its own for the gradients of weight and bias
)
LIMIT = {char: float(np.finfo(char).max) for char in "fd"}  # no scale is beyond


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
# Where nothing is summed, the order stays as it is written: arrays that lie close together take
# another road through the compiler, and it must give the same bits.
ordered = njit(forceinline=True, **OPTIONS | {"fastmath": {"contract"}})


def at(value, j):
    """Return number j of a vector, or the one number that stands for all."""


@overload(at, inline="always")
def _at(value, j):
    if isinstance(value, types.Array):
        return lambda value, j: value[j]
    return lambda value, j: value


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


@inner
def three(n, dtype):
    """Return three vectors, of which the compiler knows that they do not overlap."""
    return np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype)


@inner
def summed(a, i, n):
    """Return the sum of the n numbers from i on."""
    s = 0.0
    for j in range(i, i + n):
        s += a[j]
    return s


# Walks along a row of x, from column a to b. They cut it out themselves: a part that is handed
# from one function to another is counted, which takes as long as some dozen numbers. Settings are
# one number for the row, or a vector with one for each column.


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
def add_sums(x, n, a, b, pivot, one, two):
    """Add up what `sums` returns, each column for itself."""
    row = x[n, a:b]
    for j in range(len(row)):
        d = row[j] - pivot[j]
        one[j] += d
        two[j] += d * d


@ordered
def affine(x, n, a, b, high, scale, shift, y):
    """Write ``(x − high) · scale + shift``."""
    row, out = x[n, a:b], y[n, a:b]
    for j in range(len(row)):
        out[j] = (row[j] - at(high, j)) * at(scale, j) + at(shift, j)


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
def add_products(dy, x, n, a, b, mean, one, along):
    """Add up what `products` returns, each column for itself."""
    g, row = dy[n, a:b], x[n, a:b]
    for j in range(len(row)):
        one[j] += g[j]
        along[j] += g[j] * (row[j] - mean[j])


@ordered
def project(dy, x, n, a, b, weight, high, low, invstd, one, along, dx):
    """Write what is left of weight · dy without its parts along 1 and x_hat, times invstd."""
    g, row, out = dy[n, a:b], x[n, a:b], dx[n, a:b]
    for j in range(len(row)):
        x_hat = (row[j] - at(high, j)) * at(invstd, j) - at(low, j)
        rest = at(weight, j) * g[j] - at(one, j) - x_hat * at(along, j)
        out[j] = rest * at(invstd, j)


# A channel of all samples shares a mean: batch normalization. Its values in one sample are worked
# on with settings of their own; or, where they are few, with those of other channels in one row,
# which has each setting L = S times.


@inner
def channel_moments(x, S, a, b, mean, var):
    """Compute the moments of the channels a to b, in two passes where one would lose digits."""
    N, L = len(x), S if S < SHORT else 1
    pivot = np.empty((b - a) * L)
    for c in range(a, b):
        pivot[(c - a) * L : (c - a + 1) * L] = start(x[0, c * S])
    for _ in range(2):
        one, two = np.zeros(len(pivot)), np.zeros(len(pivot))
        for n in range(N):
            if S < SHORT:
                add_sums(x, n, a * S, b * S, pivot, one, two)
            else:
                for c in range(a, b):
                    d, square = sums(x, n, c * S, (c + 1) * S, pivot[c - a])
                    one[c - a] += d
                    two[c - a] += square
        again = False
        for c in range(a, b):
            i = (c - a) * L
            low = summed(one, i, L) / (N * S)
            mean[c] = pivot[i] + low
            var[c] = summed(two, i, L) / (N * S) - low * low
            if is_far(low, var[c], x):
                pivot[i : i + L] = mean[c]
                again = True
        if not again:
            break


@loop("rows int vector vector float float bool sums sums sums out int int")
def channels_forward(
    x, C, weight, bias, eps, limit, batch, mean, var, invstd, y, first, last
):
    N, S = len(x), x.shape[1] // C
    L, width = S if S < SHORT else 1, max(1, RUN // S)  # what stays in the cache
    for a in range(first, last, width):
        b = min(a + width, last)
        if batch:
            channel_moments(x, S, a, b, mean, var)
        high, scale, shift = three((b - a) * L, x.dtype)
        for c in range(a, b):
            i, j = (c - a) * L, (c - a + 1) * L
            invstd[c] = bounded(1 / np.sqrt(var[c] + eps), limit)
            k = bounded(weight[c] * invstd[c], limit)
            high[i:j], scale[i:j] = mean[c], k
            shift[i:j] = bias[c] - k * (mean[c] - high[i])
        for n in range(N):
            if S < SHORT:
                affine(x, n, a * S, b * S, high, scale, shift, y)
            else:
                for i in range(b - a):
                    j = (a + i) * S
                    affine(x, n, j, j + S, high[i], scale[i], shift[i], y)


@loop("rows rows int vector bool sums sums out sums sums int int")
def channels_backward(
    dy, x, C, weight, batch, mean, invstd, dx, dweight, dbias, first, last
):
    N, S = len(x), x.shape[1] // C
    L, width = S if S < SHORT else 1, max(1, RUN // S)
    for a in range(first, last, width):
        b = min(a + width, last)
        size = (b - a) * L
        ones, alongs, means = np.zeros(size), np.zeros(size), np.empty(size)
        for c in range(a, b):
            means[(c - a) * L : (c - a + 1) * L] = mean[c]
        for n in range(N):
            if S < SHORT:
                add_products(dy, x, n, a * S, b * S, means, ones, alongs)
            else:
                for c in range(a, b):
                    g, gd = products(dy, x, n, c * S, (c + 1) * S, mean[c])
                    ones[c - a] += g
                    alongs[c - a] += gd
        w, high, low = three(size, x.dtype)
        inv, one, along = three(size, x.dtype)
        for c in range(a, b):
            i, j = (c - a) * L, (c - a + 1) * L
            dbias[c] = summed(ones, i, L)
            dweight[c] = summed(alongs, i, L) * invstd[c]
            w[i:j], high[i:j], inv[i:j] = weight[c], mean[c], invstd[c]
            low[i:j] = (mean[c] - high[i]) * invstd[c]
            one[i:j] = weight[c] * (dbias[c] / (N * S))
            along[i:j] = weight[c] * (dweight[c] / (N * S))
        for n in range(N if batch else 0):
            if S < SHORT:
                project(dy, x, n, a * S, b * S, w, high, low, inv, one, along, dx)
            else:
                for i in range(b - a):
                    j = (a + i) * S
                    args = w[i], high[i], low[i], inv[i], one[i], along[i]
                    project(dy, x, n, j, j + S, *args, dx)


# Some channels of one sample share a mean: layer, group, instance, RMS normalization. A row of x is
# such a group; each channel has a run of S numbers in it.


@ordered
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


@loop("rows int vector vector float float bool sums sums sums out int int")
def groups_forward(
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
def groups_backward(
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
            w = weight[c : c + K]
            project(dy, x, r, 0, m, w, high, low, inv, one, along, dx)
        else:
            for k in range(K):
                a, b = k * S, (k + 1) * S
                project(dy, x, r, a, b, weight[c + k], high, low, inv, one, along, dx)


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


def forward(x, view, across, weight, bias, eps, own, constants, out, threads):
    """Normalize x.

    Parameters
    ----------
    x : ndarray
        Input.
    view : tuple of int
        Its samples, groups, channels of a group, and positions: ``N, G, K, S``.
    across : bool
        Whether a group of all samples shares a mean (K is 1 then), or each sample has its own.
    weight, bias : ndarray of ``G · K`` numbers or None
        Scale and shift.
    eps : float
        Added to the variance.
    own : bool
        Whether to subtract a mean of x; `across` samples whether the moments are those of x.
    constants : pair of ndarray or None
        Mean and variance of each group that are not those of x.
    out : ndarray or None
        Memory for the output, like x.
    threads : int
        How many may work.

    Returns
    -------
    y : ndarray
        Output, like x.
    mean, var, invstd : ndarray of float64, shape (G,) if `across`, else (N · G,)
        What normalized.
    """
    N, G, K, S = view
    shape, number = ((N, G * S), G) if across else ((N * G, K * S), N * G)
    moments = np.empty((3, number))
    if constants is not None:
        moments[:2] = constants
    y = np.empty(x.shape, x.dtype) if out is None else out
    w, t = vector(weight, 1, G * K, x.dtype), vector(bias, 0, G * K, x.dtype)
    settings = G, w, t, eps, LIMIT[x.dtype.char], own, *moments
    function = (channels_forward if across else groups_forward)(x.dtype)
    work = functools.partial(function, x.reshape(shape), *settings, y.reshape(shape))
    most = G * S // LEAST if across else number
    run(work, parts(number, x.size, threads, most), threads)
    return y, *moments


def backward(dy, x, view, across, weight, own, mean, invstd, out, threads):
    """Return the gradients of `forward`.

    Parameters
    ----------
    dy, x : ndarray
        Gradient of the output, and the input.
    view, across, weight, own : see `forward`
        As there.
    mean, invstd : ndarray of float64
        From the forward.
    out, threads : see `forward`
        As there.

    Returns
    -------
    dx : ndarray
        Like x.
    dweight, dbias : ndarray of float64, shape (G · K,)
        Gradients of scale and shift.
    """
    N, G, K, S = view
    shape = (N, G * S) if across else (N * G, K * S)
    dx = np.empty(x.shape, x.dtype) if out is None else out
    w = vector(weight, 1, G * K, x.dtype)
    if across:
        function, cuts = channels_backward, parts(G, x.size, threads, G * S // LEAST)
        sums = [np.empty((2, G))] * len(cuts)
    else:  # sums over samples, in blocks that do not depend on the number of threads
        blocks = 1 if x.size < LARGE else min(N, BLOCKS, 1 + 2**15 // (G * K))
        edges = [N * i // blocks * G for i in range(blocks + 1)]
        function, cuts = groups_backward, [*itertools.pairwise(edges)]
        sums = np.zeros((blocks, 2, G * K))
    settings = G, w, own, mean.reshape(-1), invstd.reshape(-1), dx.reshape(shape)
    work = functools.partial(
        function(x.dtype), dy.reshape(shape), x.reshape(shape), *settings
    )
    run(work, [(*pair, *cut) for pair, cut in zip(sums, cuts, strict=True)], threads)
    dweight, dbias = sums[0] if len(sums) == 1 or across else sums.sum(0)
    if across and not own:  # constants: nothing to project
        scale = w * invstd.astype(x.dtype)
        np.multiply(dy.reshape(N, G, S), scale[:, None], dx.reshape(N, G, S))
    return dx, dweight, dbias
