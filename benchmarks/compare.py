"""bnlib against PyTorch: batch normalization, and a whole training step."""

import math

import numpy as np
import torch

import bnlib
from benchmarks.networks import network, step
from benchmarks.timing import alternate, machine, table
from bnlib import functional as F

SHAPES = [
    (64, 64, 32, 32),
    (64, 32, 62, 62),
    (32, 256, 14, 14),
    (128, 64, 8, 8),
    (1024, 512),
    (256, 128),
    (64, 128),
]


def batch_norm_calls(shape):
    """Return, for each thing to time, the calls of bnlib and PyTorch, in float32."""
    rng = np.random.default_rng(0)
    C = shape[1]
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in "ab")
    weight, var = (rng.uniform(0.5, 2, C).astype(np.float32) for _ in "ab")
    bias, mean = (rng.standard_normal(C).astype(np.float32) for _ in "ab")
    stats = mean, var
    _, cache = F.batch_norm_forward(x, *stats, weight, bias, training=True)

    tx, tdy, tw, tb = (torch.tensor(a) for a in (x, dy, weight, bias))
    tstats = torch.tensor(mean), torch.tensor(var)
    inputs = [t.requires_grad_() for t in (tx, tw, tb)]
    ty = torch.nn.functional.batch_norm(tx, *tstats, tw, tb, training=True)

    def ours():
        _, cache = F.batch_norm_forward(x, *stats, weight, bias, training=True)
        F.batch_norm_backward(dy, cache)

    def theirs(training):
        return torch.nn.functional.batch_norm(tx, *tstats, tw, tb, training)

    def their_evaluation():
        with torch.inference_mode():
            theirs(training=False)

    return {
        "forward": {
            "bnlib": lambda: F.batch_norm(x, *stats, weight, bias, training=True),
            "torch": lambda: theirs(training=True),
        },
        "backward": {
            "bnlib": lambda: F.batch_norm_backward(dy, cache),
            "torch": lambda: torch.autograd.grad(ty, inputs, tdy, retain_graph=True),
        },
        "both": {
            "bnlib": ours,
            "torch": lambda: torch.autograd.grad(theirs(training=True), inputs, tdy),
        },
        "evaluation": {
            "bnlib": lambda: F.batch_norm(x, *stats, weight, bias),
            "torch": their_evaluation,
        },
    }


def step_calls(batch=64):
    """Return a training step of the dense network in bnlib and in eager PyTorch."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 784), dtype=np.float32)
    target = rng.integers(0, 10, batch)
    libraries = {"bnlib": bnlib, "torch": torch.nn}
    return {
        name: step(lib, network(lib, "dense", norm=True), x, target)
        for name, lib in libraries.items()
    }


def main():
    """Print the tables."""
    torch.set_num_threads(1)
    print(machine())
    print(f"NumPy {np.__version__}, torch {torch.__version__}, one thread\n")
    print("Batch normalization in float32: bnlib's time over PyTorch's, medians of")
    print(
        "alternating runs; below 1 bnlib is the faster one. The last column is PyTorch's"
    )
    print("forward and backward.\n")
    rows, ratios = [], {}
    for shape in SHAPES:
        times = {
            name: alternate(calls) for name, calls in batch_norm_calls(shape).items()
        }
        for name, time in times.items():
            ratios.setdefault(name, []).append(time["bnlib"] / time["torch"])
        rows.append([str(shape), *(f"{values[-1]:.2f}" for values in ratios.values())])
        rows[-1].append(f"{1e3 * times['both']['torch']:.3g} ms")
    means = [
        f"{math.prod(values) ** (1 / len(values)):.2f}" for values in ratios.values()
    ]
    rows.append(["geometric mean", *means, ""])
    print(table(["shape", *ratios, "PyTorch"], rows))

    times = alternate(step_calls(), seconds=3)
    print(
        "\nTraining steps per second, 784-128-64-10 with batch normalization, batch 64:"
    )
    print(f"bnlib {1 / times['bnlib']:.0f}, PyTorch {1 / times['torch']:.0f}, ", end="")
    print(f"ratio {times['torch'] / times['bnlib']:.2f}")
