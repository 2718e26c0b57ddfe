"""The fast kernel gives the same bits with every number of threads, and shares its work out."""

import numpy as np
import pytest
from helpers import (
    KERNEL_SIZES,
    fingerprint,
    kernel_constants,
    laid_out,
    problem,
    shapes,
)
from hypothesis import given
from hypothesis import strategies as st

from bnlib import functional as F
from bnlib import kernels, threads

THREADS = (1, 2, 3, 5)
SHAPES = (
    (64, 32, 16, 16),
    (5000, 300),
    (5001, 7),
    (3, 5, 70_001),
    (40, 600, 12, 12),
    (30, 700, 5, 5),
)


def bits(x, dy, weight, bias, mean, var, training, number):
    """Return all bytes of the results of so many threads."""
    stats = mean.copy(), var.copy()
    y, cache = F.batch_norm_forward(x, *stats, weight, bias, training, threads=number)
    return fingerprint(
        y, *F.batch_norm_backward(dy, cache, threads=number), *stats, *cache[1:4]
    )


@pytest.mark.parametrize("offset", [0, 50])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_number_of_threads_gives_the_same_bits(shape, offset):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape), np.float32)
    x[:, ::2] += np.float32(offset)
    vectors = rng.uniform(0.5, 2, (4, shape[1])).astype(np.float32)
    with kernel_constants(ALONE=1):
        first, *others = [bits(x, dy, *vectors, True, number) for number in THREADS]
    assert all(other == first for other in others)


@given(
    KERNEL_SIZES,
    st.integers(0, 2**32 - 1),
    shapes(),
    st.booleans(),
    st.sampled_from(["C", "fortran"]),
)
def test_in_small_blocks_too(sizes, seed, shape, training, layout):
    x, dy, *vectors = problem(seed, shape, np.float32)
    dy = laid_out(dy, layout)
    x[:, -1:] += 1e4
    with kernel_constants(**sizes | {"ALONE": 1}):
        first, *others = [bits(x, dy, *vectors, training, n) for n in THREADS]
    assert all(other == first for other in others)


@pytest.fixture
def asked(monkeypatch):
    """Gather ``(items, threads)`` of each call of `run` by the kernel."""
    calls = []

    def run(function, items, number):
        calls.append((len(items), number))
        return threads.run(function, items, number)

    monkeypatch.setattr(kernels, "run", run)
    return calls


def step(shape, **options):
    """Normalize ones forward and backward, in training."""
    x = np.ones(shape, np.float32)
    _, cache = F.batch_norm_forward(x, None, None, training=True, **options)
    F.batch_norm_backward(x, cache, **options)


def test_threads_share_groups_of_channels(asked):
    with kernel_constants(ALONE=1, BLOCK=2**12):
        step((3, 5, 4096), threads=3)
    # One block each: nothing to share inside of a group, where the caller is alone.
    assert [items for items, _ in asked if items == 5] == [5, 5]
    assert {number for items, number in asked if items == 5} == {3}
    assert {number for items, number in asked if items != 5} == {1}


def test_threads_share_the_blocks_of_one_group(asked):
    with kernel_constants(ALONE=1):
        step((16, 2, 2**16), threads=3)
    groups = [number for items, number in asked if items == 1]
    inside = [number for items, number in asked if items == 8]
    assert groups == [3, 3]
    # Sums without and with a pivot, then y; sums, then dx.
    assert inside == [3, 3, 3, 3, 3]


@pytest.mark.parametrize(("size", "number"), [(2**20 - 1, 1), (2**20, 3)])
def test_a_small_array_is_for_one_thread(asked, size, number):
    step((size, 1), threads=3)
    assert {number for _, number in asked} == {number}


def test_the_default_is_what_the_environment_says(asked, monkeypatch):
    monkeypatch.setenv("BNLIB_NUM_THREADS", "4")
    step((2**20, 1))
    assert {number for _, number in asked} == {4}


@pytest.mark.parametrize("size", [4, 2**20])
@pytest.mark.parametrize(
    ("number", "error"),
    [(0, ValueError), (-2, ValueError), (1.0, TypeError), (True, TypeError)],
)
def test_a_wrong_number_of_threads_is_refused_and_changes_nothing(size, number, error):
    x = np.ones((size, 1), np.float32)
    x[0] = 3
    stats = np.zeros(1, np.float32), np.ones(1, np.float32)
    with pytest.raises(error, match="batch_norm: expected threads "):
        F.batch_norm(x, *stats, training=True, threads=number)
    assert stats == (0, 1)
    y, cache = F.batch_norm_forward(x, *stats)
    with pytest.raises(error, match="batch_norm_backward: expected threads "):
        F.batch_norm_backward(y, cache, threads=number)


def test_a_wrong_variable_is_refused_and_changes_nothing(monkeypatch):
    monkeypatch.setenv("BNLIB_NUM_THREADS", "many")
    x = np.ones((2**20, 1), np.float32)
    x[0] = 3
    stats = np.zeros(1, np.float32), np.ones(1, np.float32)
    with pytest.raises(ValueError, match="BNLIB_NUM_THREADS"):
        F.batch_norm(x, *stats, training=True)
    assert stats == (0, 1)
    F.batch_norm(x, *stats, training=True, threads=1)
    assert stats[0] > 0
