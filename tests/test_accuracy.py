"""The sweep of accuracy of batch normalization: against float64, far from zero and in bulk."""

import math

import numpy as np
import pytest
import torch
from helpers import assert_close, to_torch

from bnlib import functional as F
from bnlib.moments import moments

pytestmark = pytest.mark.usefixtures("backend")

OFFSETS = (0, 1, 1.9, 1e2, 1e4, 1e5, 1e6)  # from 2 on, a pivot is subtracted first
SHAPES = (
    (2**18, 4),
    (1, 4, 2**18),
    (4096, 64),
    (64, 8),
    (2, 16, 2),
    (8, 16, 32, 32),
    (256, 8, 4, 4),
    (2, 4, 8, 8, 8),
    # What the fast kernel takes other ways with.
    (256, 128),
    (1000, 130),
    (2047, 4),
    (64, 4, 62, 62),
    (16, 3, 112, 112),
)
EPS = 1e-5
VAR_RTOL, Y_ATOL, DX_OF_MEAN = 1e-6, 2e-5, 2e-4
# The standard deviation is 1, and float32 numbers near 1 are 6e-8 apart.
MEAN_RTOL, MEAN_ATOL = 1e-7, 3e-8


def batch(shape, offset, dtype=np.float32):
    """Return x of mean `offset` and standard deviation 1, and dy, in a dtype."""
    rng = np.random.default_rng(int(offset) + len(shape))
    x = (offset + rng.standard_normal(shape)).astype(dtype)
    return x, rng.standard_normal(shape).astype(dtype)


def oracle(x, dy, offset):
    """Return mean, variance, y and dx in float64; subtracting `offset` first is exact."""
    axes = (0, *range(2, x.ndim))
    x = x.astype(np.float64) - offset
    dy = dy.astype(np.float64)
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    std = np.sqrt(var + EPS)
    y = (x - mean) / std
    along_y = (dy * y).mean(axes, keepdims=True)
    dx = (dy - dy.mean(axes, keepdims=True) - y * along_y) / std
    return mean.ravel() + offset, var.ravel(), y, dx


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_is_right_to_round_off(shape, offset):
    x, dy = batch(shape, offset)
    mean, var, y, dx = oracle(x, dy, offset)
    running = np.zeros(shape[1], np.float32), np.zeros(shape[1], np.float32)
    got_y, cache = F.batch_norm_forward(
        x, *running, training=True, momentum=1.0, eps=EPS
    )
    got_dx, dweight, dbias = F.batch_norm_backward(dy, cache)

    axes = (0, *range(2, x.ndim))
    m = x.size // shape[1]
    _, got_var = moments(x, axes)
    assert_close(got_var.ravel(), var, rtol=VAR_RTOL)
    assert_close(running[0].astype(float), mean, rtol=MEAN_RTOL, atol=MEAN_ATOL)
    assert_close(running[1].astype(float), var * m / (m - 1), rtol=VAR_RTOL)
    assert got_y.dtype == got_dx.dtype == np.float32
    assert_close(got_y.astype(float), y, atol=Y_ATOL)
    assert_close(got_dx.astype(float), dx, atol=DX_OF_MEAN * np.abs(dx).mean())
    wide = dy.astype(np.float64)
    # Sums of m terms, each with a round-off of its own. Up to two standard deviations from 0 the
    # terms of dweight are those of dy · x, where the mean is not subtracted from x.
    atol = 2e-6 * m**0.5
    assert_close(dbias.astype(float), wide.sum(axes), atol=atol)
    size = math.hypot(1, offset) if offset < 2 else 1
    assert_close(dweight.astype(float), (wide * y).sum(axes), atol=size * atol)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("shape", [(4096, 64), (8, 16, 32, 32)], ids=str)
def test_evaluation_is_right_to_round_off(shape, offset):
    x, dy = batch(shape, offset)
    C = shape[1]
    mean = np.full(C, offset, np.float32) + np.linspace(-1, 1, C).astype(np.float32)
    var = np.linspace(0.5, 2, C).astype(np.float32)
    y, cache = F.batch_norm_forward(x, mean, var, eps=EPS)
    dx, *_ = F.batch_norm_backward(dy, cache)
    along = (1, C, *[1] * (len(shape) - 2))
    std = np.sqrt(var.astype(np.float64) + EPS).reshape(along)
    difference = x.astype(np.float64) - mean.astype(np.float64).reshape(along)
    assert_close(y.astype(float), difference / std, atol=Y_ATOL)
    assert_close(dx.astype(float), dy / std, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4096, 8), (64, 8, 8, 8)], ids=str)
@pytest.mark.parametrize(
    ("low", "high"), [(-56_000, 56_000), (40_000, 56_000), (-1, 1)]
)
def test_float16_up_to_56000(shape, low, high):
    rng = np.random.default_rng(0)
    x = rng.uniform(low, high, shape).astype(np.float16)
    dy = rng.standard_normal(shape).astype(np.float16)
    mean, var, y, dx = oracle(x, dy, 0.0)
    running = np.zeros(shape[1], np.float32), np.zeros(shape[1], np.float32)
    got_y, cache = F.batch_norm_forward(
        x, *running, training=True, momentum=1.0, eps=EPS
    )
    got_dx, dweight, _ = F.batch_norm_backward(dy, cache)
    m = x.size // shape[1]
    assert_close(running[0].astype(float), mean, rtol=1e-7, atol=1e-9)
    assert_close(running[1].astype(float), var * m / (m - 1), rtol=VAR_RTOL)
    # Half a step of float16, the last rounding, and the threshold of float32.
    assert got_y.dtype == got_dx.dtype == np.float16
    assert_close(got_y.astype(float), y, rtol=2.0**-11, atol=Y_ATOL)
    allowed = 2.0**-25 + DX_OF_MEAN * np.abs(dx).mean()
    assert_close(got_dx.astype(float), dx, rtol=2.0**-11, atol=allowed)
    assert dweight.dtype == np.float32


@pytest.mark.parametrize("offset", [1e4, 1e5, 1e6])
def test_pytorch_fails_where_we_pass(offset):
    """If this fails, PyTorch's float32 kernel has become better: say so in the book."""
    x, dy = batch((2**18, 4), offset)
    _, _, y, _ = oracle(x, dy, offset)
    theirs = torch.nn.functional.batch_norm(
        to_torch(x), None, None, training=True, eps=EPS
    )
    ours = F.batch_norm(x, None, None, training=True, eps=EPS)
    their_error = np.abs(theirs.numpy() - y).max()
    our_error = np.abs(ours - y).max()
    assert our_error < Y_ATOL
    assert their_error > 10 * Y_ATOL, f"PyTorch is now right to {their_error:.1e} here"
