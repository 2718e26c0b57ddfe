"""Memory that the caller gives (`out`), and how much more batch normalization takes.

What the compiled loops take for themselves is not seen: some vectors of a few kilobytes.
"""

import tracemalloc

import numpy as np
import pytest
from helpers import LAYOUTS, fingerprint, laid_out, problem

from bnlib import functional as F

MB = 2**20
DTYPES = (np.float16, np.float32, np.float64)


pytestmark = pytest.mark.usefixtures("backend")


def arguments(shape, dtype=np.float32):
    """Return x, dy, and running statistics, weight and bias."""
    x, dy, weight, bias, mean, var = problem(0, shape, dtype)
    wide = np.result_type(dtype, np.float32)
    return x, dy, [v.astype(wide) for v in (mean, var, weight, bias)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (7, 5, 9), (4, 2, 12, 12)], ids=str)
def test_results_are_in_the_memory_of_the_caller(shape, dtype, layout, training):
    x, dy, vectors = arguments(shape, dtype)
    x, dy = laid_out(x, layout), laid_out(dy, layout)
    for offset in (0, 50):
        x = laid_out(x + dtype(offset), layout)
        again = [v.copy() for v in vectors]
        y, cache = F.batch_norm_forward(x, *vectors, training)
        expected = y, *F.batch_norm_backward(dy, cache), *vectors
        y, dx = np.full((2, *shape), np.nan, dtype)
        got, cache = F.batch_norm_forward(x, *again, training, out=y)
        assert got is y
        found, *gradients = F.batch_norm_backward(dy, cache, out=dx)
        assert found is dx
        results = fingerprint(y, dx, *gradients, *again)
        assert results == fingerprint(*expected)
        again = [v.copy() for v in vectors]
        y[...] = np.nan
        assert F.batch_norm(x, *again, training, out=y) is y
        y, _ = F.batch_norm_forward(x, *vectors, training)
        assert fingerprint(F.batch_norm(x, *again, training)) == fingerprint(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (4, 0)], ids=str)
def test_empty_batches_have_memory_too(shape, training, dtype):
    x = np.zeros(shape, dtype)
    wide = np.result_type(dtype, np.float32)
    stats = np.zeros(shape[1], wide), np.ones(shape[1], wide)
    y, dx = np.empty((2, *shape), dtype)
    got, cache = F.batch_norm_forward(x, *stats, training=training, out=y)
    assert got is y
    assert F.batch_norm_backward(x, cache, out=dx)[0] is dx
    assert (stats[0] == 0).all()
    assert (stats[1] == 1).all()


def test_numbers_that_are_not_finite_go_into_the_same_memory():
    x, dy, vectors = arguments((5, 3))
    x[2, 0] = np.nan
    y, dx = np.full((2, 5, 3), np.nan, np.float32)
    got, cache = F.batch_norm_forward(x, *vectors, True, out=y)
    assert got is y
    assert F.batch_norm_backward(dy, cache, out=dx)[0] is dx
    assert np.isnan([y[:, 0], dx[:, 0]]).all()
    assert np.isfinite([y[:, 1:], dx[:, 1:]]).all()


def read_only(a):
    """Return `a`, locked."""
    a.flags.writeable = False
    return a


WRONG = {
    "shape": (
        lambda x: x[:3].copy(),
        ValueError,
        "out of shape (4, 3, 2), got (3, 3, 2)",
    ),
    "rank": (
        lambda x: x[..., 0].copy(),
        ValueError,
        "out of shape (4, 3, 2), got (4, 3)",
    ),
    "list": (lambda x: x.tolist(), TypeError, "out to be a NumPy array, got list"),
    "integers": (
        lambda x: x.astype(np.int32),
        TypeError,
        "out of a floating dtype, got int32",
    ),
    "dtype": (
        lambda x: x.astype(np.float16 if x.dtype == np.float64 else np.float64),
        TypeError,
        "out of dtype {dtype}, got {other}",
    ),
    "read-only": (
        lambda x: read_only(x.copy()),
        ValueError,
        "out to be writeable",
    ),
    "fortran": (np.asfortranarray, ValueError, "out in C order"),
    "strided": (lambda x: np.repeat(x, 2, axis=0)[::2], ValueError, "out in C order"),
    "the input": (lambda x: x, ValueError, "out to share no memory with {input}"),
    "a view": (
        lambda x: x.reshape(-1)[:].reshape(x.shape),
        ValueError,
        "out to share no memory with {input}",
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", WRONG)
def test_memory_that_is_none_is_refused_and_nothing_changes(wrong, dtype):
    make, error, message = WRONG[wrong]
    x, dy, vectors = arguments((4, 3, 2), dtype)
    other = np.float16 if dtype == np.float64 else np.float64
    names = {"dtype": np.dtype(dtype), "other": np.dtype(other)}
    y, cache = F.batch_norm_forward(x, *[v.copy() for v in vectors], True)
    kept = cache.x if cache.x_hat is None else cache.x_hat
    for name, a, call in (
        ("batch_norm", x, lambda out: F.batch_norm(x, *vectors, True, out=out)),
        ("batch_norm", x, lambda out: F.batch_norm_forward(x, *vectors, True, out=out)),
        ("batch_norm", x, lambda out: F.batch_norm(x, *vectors, out=out)),
        (
            "batch_norm_backward",
            dy,
            lambda out: F.batch_norm_backward(dy, cache, out=out),
        ),
        # Where it is neither x nor dy, but what the cache holds, x or x_hat.
        (
            "batch_norm_backward",
            kept,
            lambda out: F.batch_norm_backward(dy, cache, out=out),
        ),
    ):
        if a is kept and "memory with" not in message:
            continue
        if a is kept and a.dtype != dtype:
            continue  # the x_hat of float16 is float32: refused for its dtype
        out = make(a)
        before = fingerprint(x, dy, y, *vectors, kept, np.array(out))
        with pytest.raises(error) as info:
            call(out)
        text = message.format(**names, input="dy" if a is dy else "x")
        assert str(info.value) == f"{name}: expected {text}"
        assert before == fingerprint(x, dy, y, *vectors, kept, np.array(out))


@pytest.mark.parametrize("shift", [-5, 0, 1, 5, 6])
def test_memory_that_overlaps_in_part_is_refused(shift):
    room = np.arange(18, dtype=np.float32)
    x, out = room[6:12].reshape(3, 2), room[6 + shift :][:6].reshape(3, 2)
    before = room.copy()
    if shift == 6:  # side by side
        F.batch_norm(x, None, None, training=True, out=out)
        assert fingerprint(room[:12]) == fingerprint(before[:12])
        return
    with pytest.raises(ValueError, match="share no memory"):
        F.batch_norm(x, None, None, training=True, out=out)
    assert fingerprint(room) == fingerprint(before)


def peak(call):
    """Return what a call returns, and the memory that it took on the way, in bytes."""
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        result = call()
        return result, tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", ["C", "channels_last"])
@pytest.mark.parametrize(
    "shape",
    [
        (64, 64, 32, 32),
        (4096, 1000),
        (2, 3, 1100, 1100),
        (48, 20_000, 3),
        (4, 2**18),
        (2**20, 4),
        (128, 64, 8, 8),
    ],
    ids=str,
)
def test_a_large_array_takes_little_more_than_its_results(
    monkeypatch, shape, layout, threads
):
    pytest.importorskip("numba", exc_type=ImportError)
    monkeypatch.setenv("BNLIB_BACKEND", "compiled")
    one = np.ones((2, 1), np.float32)  # compiling takes memory, once
    F.batch_norm_backward(one, F.batch_norm_forward(one, None, None, training=True)[1])
    x = np.zeros(shape, np.float32)
    x.reshape(-1)[::7] = 1
    x += 100  # with a pivot
    dy = laid_out(x, layout)
    y, dx = np.ones((2, *shape), np.float32)
    # Ten vectors of float64 count where there are very many channels.
    limit = MB + (80 * shape[1] if shape[1] > 10_000 else 0)
    copy = 0 if dy.flags.c_contiguous else dy.nbytes

    def forward(training):
        stats = np.full(shape[1], 100, np.float32), np.ones(shape[1], np.float32)
        return lambda: F.batch_norm_forward(
            x, *stats, None, None, training, out=y, threads=threads
        )

    for training in (True, False):
        (_, saved), used = peak(forward(training))
        vectors = saved.mean.nbytes + saved.invstd.nbytes
        assert used - vectors < limit
        (_, *vectors), used = peak(
            lambda saved=saved: F.batch_norm_backward(
                dy, saved, out=dx, threads=threads
            )
        )
        assert used - sum(v.nbytes for v in vectors) < limit + copy
    _, used = peak(lambda: F.batch_norm_backward(dy, saved, threads=threads))
    assert dx.nbytes <= used < dx.nbytes + limit + copy


def test_the_measure_sees_a_copy():
    x = np.ones((64, 64, 32, 32), np.float32)
    assert peak(x.copy)[1] >= x.nbytes
    strided = x[:, ::2]  # for the readable version
    _, used = peak(lambda: F.batch_norm(strided, None, None, training=True))
    assert used > 2 * strided.nbytes
