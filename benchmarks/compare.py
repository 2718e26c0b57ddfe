"""bnlib against its readable version, PyTorch and the memory: one layer, and whole steps."""

import json
import math
from pathlib import Path

import numpy as np
import torch

import bnlib
from benchmarks import story
from benchmarks.networks import network, step
from benchmarks.rivals import SHAPES, WHAT, by_the_book, floor, ours, theirs
from benchmarks.timing import in_turns, keep_memory, machine, table

THREADS = (1, 2)
INPUTS = {"dense": (64, 784), "CNN": (32, 3, 64, 64)}  # batch first
FAR = 10.0  # mean of x, in standard deviations, where a pivot is needed


def layer(shape, threads, seconds):
    """Return ``{what: {who: seconds}}`` of a batch normalization."""
    torch.set_num_threads(threads)
    rivals = {
        "bnlib": ours(shape, threads),
        "textbook": by_the_book(shape),
        "PyTorch": theirs(shape),
        "floor": floor(shape, threads),
    }
    times = {
        what: in_turns({who: calls[what] for who, calls in rivals.items()}, seconds)
        for what in WHAT
    }
    far = {"bnlib": ours(shape, threads, FAR), "PyTorch": theirs(shape, FAR)}
    calls = {who: calls["both"] for who, calls in far.items()}
    return times | {"both, far from zero": in_turns(calls, seconds)}


def training(name, seconds):
    """Return the seconds of a training step of a reference network, one thread."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(INPUTS[name], dtype=np.float32)
    target = rng.integers(0, 10, len(x))
    libraries = {"bnlib": bnlib, "PyTorch": torch.nn}
    calls = {
        who: step(lib, network(lib, name, norm=True), x, target)
        for who, lib in libraries.items()
    }
    return in_turns(calls, seconds)


def measure(seconds=1.0):
    """Measure everything; a dict that JSON can hold."""
    keep_memory()  # else the fresh pages, which come by chance, hide what a layer costs
    return {
        "machine": machine(),
        "versions": {"NumPy": np.__version__, "torch": torch.__version__},
        "layer": {
            str(threads): {
                str(shape): layer(shape, threads, seconds) for shape in SHAPES
            }
            for threads in THREADS
        },
        "steps": story.measure(6 * seconds),
        "blocks": story.block_sizes(6 * seconds),
        "training": {name: training(name, 4 * seconds) for name in INPUTS},
    }


def geometric_mean(values):
    """Return the mean for ratios."""
    return math.prod(values) ** (1 / len(values))


def report(found):
    """Return the tables as text, ratios first."""
    text = [
        found["machine"],
        " ".join(f"{k} {v}" for k, v in found["versions"].items()),
    ]
    what = [*WHAT, "both, far from zero"]
    for threads, shapes in found["layer"].items():
        text += ["", f"bnlib's time / PyTorch's, threads: {threads}"]
        ratios = {
            shape: [times[w]["bnlib"] / times[w]["PyTorch"] for w in what]
            for shape, times in shapes.items()
        }
        rows = [[shape, *(f"{r:.2f}" for r in row)] for shape, row in ratios.items()]
        means = map(geometric_mean, zip(*ratios.values(), strict=True))
        rows.append(["geometric mean", *(f"{mean:.2f}" for mean in means)])
        text.append(table(["shape", *what], rows))

    for threads, shapes in found["layer"].items():
        text += ["", f"milliseconds, threads: {threads}"]
        who = ["bnlib", "textbook", "PyTorch", "floor"]
        rows = []
        for shape, times in shapes.items():
            for w in WHAT:
                cells = [f"{1e3 * times[w][name]:.3f}" for name in who]
                floors = times[w]["bnlib"] / times[w]["floor"]
                rows.append([f"{shape} {w}", *cells, f"{floors:.1f}"])
        text.append(table(["", *who, "bnlib / floor"], rows))

    text += ["", f"forward of {story.SHAPE}, step by step: milliseconds"]
    rows = [[name, f"{1e3 * seconds:.2f}"] for name, seconds in found["steps"].items()]
    text.append(table(["step", "ms"], rows))

    text += ["", f"forward and backward of {story.SHAPE}: milliseconds"]
    rows = [[str(size), f"{1e3 * s:.2f}"] for size, s in found["blocks"].items()]
    text.append(table(["floats in a block", "ms"], rows))

    text += ["", "training steps per second, one thread"]
    rows = []
    for name, times in found["training"].items():
        rates = [1 / times[who] for who in ("bnlib", "PyTorch")]
        cells = [f"{rate:.0f}" for rate in rates]
        rows.append([name, *cells, f"{rates[0] / rates[1]:.2f}"])
    text.append(table(["network", "bnlib", "PyTorch", "bnlib / PyTorch"], rows))
    return "\n".join(text)


def main(path=None):
    """Print the tables; write the times to a file, if a path is given."""
    found = measure()
    print(report(found))
    if path is not None:
        text = json.dumps(found, indent=1) + "\n"
        Path(path).write_text(text, encoding="utf-8")
