"""What is timed of batch normalization: bnlib, its readable version, PyTorch, and bare memory."""

import functools

import numpy as np
import torch

from bnlib import functional as F
from bnlib import kernels, normalize
from bnlib.blocks import cuts
from bnlib.threads import run

SHAPES = [
    (64, 64, 32, 32),
    (64, 32, 62, 62),
    (32, 256, 14, 14),
    (128, 64, 8, 8),
    (1024, 512),
    (256, 128),
    (64, 128),
]
LARGE = 2**20  # floats from which memory is shared out among threads
WHAT = ("forward", "backward", "both", "evaluation")


def problem(shape, offset=0.0):
    """Return x, dy and float32 vectors for mean, variance, weight and bias."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in "ab")
    x += np.float32(offset)
    weight, var = (rng.uniform(0.5, 2, shape[1]).astype(np.float32) for _ in "ab")
    bias, mean = (rng.standard_normal(shape[1]).astype(np.float32) for _ in "ab")
    return x, dy, mean + np.float32(offset), var, weight, bias


def ours(shape, threads, offset=0.0):
    """Return the calls of bnlib, as anyone makes them: with all checks."""
    x, dy, *vectors = problem(shape, offset)
    _, cache = F.batch_norm_forward(x, *vectors, training=True)
    assert isinstance(cache, kernels.Saved)

    def both():
        _, cache = F.batch_norm_forward(x, *vectors, training=True, threads=threads)
        F.batch_norm_backward(dy, cache, threads=threads)

    return {
        "forward": lambda: F.batch_norm(x, *vectors, training=True, threads=threads),
        "backward": lambda: F.batch_norm_backward(dy, cache, threads=threads),
        "both": both,
        "evaluation": lambda: F.batch_norm(x, *vectors, threads=threads),
    }


def by_the_book(shape):
    """Return the calls of the readable version, without the checks of its arguments."""
    x, dy, *vectors = problem(shape)
    forward = functools.partial(
        normalize.batch_norm_forward, x, *vectors, momentum=0.1, eps=1e-5
    )
    _, cache = forward(training=True)

    def both():
        _, cache = forward(training=True)
        normalize.normalize_backward(dy, cache)

    return {
        "forward": lambda: forward(training=True),
        "backward": lambda: normalize.normalize_backward(dy, cache),
        "both": both,
        "evaluation": lambda: forward(training=False),
    }


def theirs(shape, offset=0.0):
    """Return the calls of PyTorch."""
    x, dy, *vectors = (torch.tensor(a) for a in problem(shape, offset))
    inputs = [t.requires_grad_() for t in (x, *vectors[2:])]  # weight and bias
    y = torch.nn.functional.batch_norm(x, *vectors, training=True)

    def forward():
        return torch.nn.functional.batch_norm(x, *vectors, training=True)

    def evaluation():
        with torch.inference_mode():
            torch.nn.functional.batch_norm(x, *vectors)

    return {
        "forward": forward,
        "backward": lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True),
        "both": lambda: torch.autograd.grad(forward(), inputs, dy),
        "evaluation": evaluation,
    }


def floor(shape, threads):
    """Return calls that move as many bytes as batch normalization must, and do nothing else.

    Forward one array is read and one written; backward two are read and one is written.
    """
    a, b = (array.reshape(-1) for array in problem(shape)[:2])
    out = np.empty_like(a)
    parts = cuts(a.size, -(-a.size // (threads if a.size >= LARGE else 1)))

    def copy(part):
        np.copyto(out[part], a[part])

    def add(part):
        np.add(a[part], b[part], out=out[part])

    return {
        "forward": lambda: run(copy, parts, threads),
        "backward": lambda: run(add, parts, threads),
        "both": lambda: (run(copy, parts, threads), run(add, parts, threads)),
        "evaluation": lambda: run(copy, parts, threads),
    }
