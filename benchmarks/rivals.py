"""What is timed of normalization: bnlib, compiled and readable, PyTorch, and bare memory."""

import math
import os
from functools import partial

import numpy as np
import torch

from bnlib import functional as F
from bnlib.threads import run

BATCH = [
    (64, 64, 32, 32),
    (64, 32, 62, 62),
    (32, 256, 14, 14),
    (128, 64, 8, 8),
    (1024, 512),
    (256, 128),
    (64, 128),
]
# name: (function, shape of x, what it is called with)
CASES = {f"BN {shape}": ("batch_norm", shape, None) for shape in BATCH}
CASES |= {
    "LN (512, 1024)": ("layer_norm", (512, 1024), (1024,)),
    "LN (32, 128, 256)": ("layer_norm", (32, 128, 256), (256,)),
    "LN (64, 128)": ("layer_norm", (64, 128), (128,)),
    "GN 32 × (32, 256, 14, 14)": ("group_norm", (32, 256, 14, 14), 32),
    "GN 8 × (64, 64, 32, 32)": ("group_norm", (64, 64, 32, 32), 8),
    "RMS (512, 1024)": ("rms_norm", (512, 1024), (1024,)),
}
LARGE = 2**17  # floats from which memory is shared out among threads
WHAT = ("forward", "backward", "both", "evaluation")


def problem(case, offset=0.0):
    """Return x, dy, weight, bias, mean and var in float32."""
    name, shape, setting = CASES[case]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in "ab")
    x += np.float32(offset)
    length = shape[1] if name in ("batch_norm", "group_norm") else setting[0]
    weight, var = (rng.uniform(0.5, 2, length).astype(np.float32) for _ in "ab")
    bias, mean = (rng.standard_normal(length).astype(np.float32) for _ in "ab")
    return x, dy, weight, bias, mean + np.float32(offset), var


def arguments(case, weight, bias, mean, var):
    """Return what a function is called with after x, in training and in evaluation."""
    name, _, setting = CASES[case]
    if name == "batch_norm":
        return (mean, var, weight, bias, True), (mean, var, weight, bias, False)
    args = (setting, weight) if name == "rms_norm" else (setting, weight, bias)
    return args, None


def ours(case, backend, offset=0.0):
    """Return the calls of bnlib, as anyone makes them: with all checks."""
    x, dy, *vectors = problem(case, offset)
    name = CASES[case][0]
    function, forward, backward = (
        getattr(F, name + end) for end in ("", "_forward", "_backward")
    )
    training, evaluation = arguments(case, *vectors)

    def with_backend(call):
        def timed():
            os.environ["BNLIB_BACKEND"] = backend
            call()

        return timed

    def both():
        _, cache = forward(x, *training)
        backward(dy, cache)

    os.environ["BNLIB_BACKEND"] = backend
    _, cache = forward(x, *training)
    assert (cache.x_hat is None) == (backend == "compiled")
    calls = {
        "forward": lambda: function(x, *training),
        "backward": lambda: backward(dy, cache),
        "both": both,
    }
    if evaluation:
        calls["evaluation"] = lambda: function(x, *evaluation)
    return {what: with_backend(call) for what, call in calls.items()}


def theirs(case, offset=0.0):
    """Return the calls of PyTorch."""
    x, dy, weight, bias, *stats = (torch.tensor(a) for a in problem(case, offset))
    name = CASES[case][0]
    training, evaluation = arguments(case, weight, bias, *stats)
    inputs = [x, weight] if name == "rms_norm" else [x, weight, bias]
    for tensor in inputs:
        tensor.requires_grad_()
    function = getattr(torch.nn.functional, name)
    forward = partial(function, x, *training)
    y = forward()
    calls = {
        "forward": forward,
        "backward": lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True),
        "both": lambda: torch.autograd.grad(forward(), inputs, dy),
    }
    if evaluation:

        def without_graph():
            with torch.inference_mode():
                function(x, *evaluation)

        calls["evaluation"] = without_graph
    return calls


def floor(case, threads):
    """Return calls that move as many bytes as a normalization must, and do nothing else.

    Forward one array is read and one written; backward two are read and one is written.
    """
    a, b = (array.reshape(-1) for array in problem(case)[:2])
    out = np.empty_like(a)
    length = math.ceil(a.size / (threads if a.size >= LARGE else 1))
    parts = [(slice(i, i + length),) for i in range(0, a.size, length)]

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
