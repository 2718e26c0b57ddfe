"""bnlib against its readable version, PyTorch and the memory: one layer, and whole steps."""

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import torch

import bnlib
from benchmarks import story
from benchmarks.networks import network, step
from benchmarks.rivals import CASES, WHAT, floor, ours, problem, theirs
from benchmarks.timing import in_turns, keep_memory, machine, table
from bnlib import compiled

THREADS = (1, 2)
INPUTS = {"dense": (64, 784), "CNN": (32, 3, 64, 64)}  # batch first
FAR = 10.0  # mean of x, in standard deviations
FIRST = """
import time
import numpy as np
from bnlib import functional as F
x = np.ones((64, 32), "f")
times = [time.perf_counter()]
y, cache = F.batch_norm_forward(x, None, None, training=True)
times.append(time.perf_counter())
F.batch_norm_backward(x, cache)
times.append(time.perf_counter())
y, cache = F.layer_norm_forward(x, (32,))
times.append(time.perf_counter())
F.layer_norm_backward(x, cache)
times.append(time.perf_counter())
print(*np.diff(times))
"""


def layer(case, threads, seconds):
    """Return ``{what: {who: seconds}}`` of a normalization."""
    torch.set_num_threads(threads)
    os.environ["BNLIB_NUM_THREADS"] = str(threads)
    rivals = {
        "compiled": ours(case, "compiled"),
        "readable": ours(case, "reference"),
        "PyTorch": theirs(case),
        "floor": floor(case, threads),
    }
    times = {
        what: in_turns({who: calls[what] for who, calls in rivals.items()}, seconds)
        for what in WHAT
        if what in rivals["PyTorch"]
    }
    far = {"compiled": ours(case, "compiled", FAR), "PyTorch": theirs(case, FAR)}
    calls = {who: calls["both"] for who, calls in far.items()}
    return times | {"both, far from zero": in_turns(calls, seconds)}


def training(name, seconds):
    """Return the seconds of a training step of a reference network, one thread."""
    torch.set_num_threads(1)
    os.environ["BNLIB_NUM_THREADS"] = "1"
    os.environ["BNLIB_BACKEND"] = "auto"
    rng = np.random.default_rng(0)
    x = rng.standard_normal(INPUTS[name], dtype=np.float32)
    target = rng.integers(0, 10, len(x))
    libraries = {"bnlib": bnlib, "PyTorch": torch.nn}
    calls = {
        who: step(lib, network(lib, name, norm=True), x, target)
        for who, lib in libraries.items()
    }
    return in_turns(calls, seconds)


def bounds(seconds):
    """Return the seconds of what nobody can save: the loops of a small array, and the products.

    "BN (64, 128)": forward and backward, with all that surrounds the loops and without it. "dense":
    a training step of the dense network in PyTorch, and NumPy's matrix products of one.
    """
    torch.set_num_threads(1)
    os.environ["BNLIB_NUM_THREADS"] = "1"
    case = "BN (64, 128)"
    x, dy, weight, bias, *_ = problem(case)
    (N, C), dtype = x.shape, x.dtype
    mean, var, invstd, dweight, dbias = np.empty((5, C))
    y, dx = np.empty((2, N, C), dtype)
    forward, backward = (
        loop(dtype) for loop in (compiled.channels_forward, compiled.channels_backward)
    )

    def loops():
        forward(x, C, weight, bias, 1e-5, 1e38, True, mean, var, invstd, y, 0, C)
        backward(dy, x, C, weight, True, mean, invstd, dx, dweight, dbias, 0, C)

    rng = np.random.default_rng(0)
    sizes = [784, 128, 64, 10]
    values = [rng.standard_normal((64, size), np.float32) for size in sizes]
    weights = [
        rng.standard_normal((n, m), np.float32) for m, n in itertools.pairwise(sizes)
    ]

    def products():
        for i, w in enumerate(weights):
            _ = values[i] @ w.T  # forward
            _ = values[i + 1].T @ values[i]  # the gradient of w
            if i > 0:
                _ = values[i + 1] @ w  # that of the layer's input

    calls = {"whole": ours(case, "compiled")["both"], "loops": loops}
    return {
        case: in_turns(calls, seconds),
        "dense": in_turns({"products": products}, seconds),
    }


def first_calls():
    """Return the seconds of four first calls: compiling, and with the code on disk."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "NUMBA_CACHE_DIR": folder, "BNLIB_BACKEND": "compiled"}
        runs = [
            subprocess.run(
                [sys.executable, "-c", FIRST],
                env=env,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
            for _ in range(4)
        ]
    names = ["import and BN forward", "BN backward", "LN forward", "LN backward"]
    later = np.median(np.array(runs[1:], float), axis=0)
    return {
        "compiled": dict(zip(names, map(float, runs[0]), strict=True)),
        "from disk": dict(zip(names, map(float, later), strict=True)),
    }


def measure(seconds=1.0):
    """Measure everything; a dict that JSON can hold."""
    first = first_calls()
    keep_memory()  # else the fresh pages, which come by chance, hide what a layer costs
    os.environ["BNLIB_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    modules = {"NumPy": np, "Numba": numba, "torch": torch}
    return {
        "machine": machine(),
        "versions": {name: module.__version__ for name, module in modules.items()},
        "steps": story.rivals(seconds, in_turns),
        "layer": {
            str(threads): {case: layer(case, threads, seconds) for case in CASES}
            for threads in THREADS
        },
        "training": {name: training(name, 4 * seconds) for name in INPUTS},
        "bounds": bounds(seconds),
        "first": first,
    }


def geometric_mean(values):
    """Return the mean for ratios."""
    return math.prod(values) ** (1 / len(values))


def ratios(cases, over="PyTorch"):
    """Return rows of ratios of the compiled loops, for each case, and their means."""
    columns = [*WHAT, "both, far from zero"]
    found = {
        case: [
            times[what]["compiled"] / times[what][over] if what in times else None
            for what in columns
        ]
        for case, times in cases.items()
    }
    rows = [
        [case, *("" if r is None else f"{r:.2f}" for r in row)]
        for case, row in found.items()
    ]
    for title, kind in (("BN", True), ("others", False)):
        both = [row[2] for case, row in found.items() if case.startswith("BN") == kind]
        mean = f"{geometric_mean(both):.2f}"
        rows.append([f"geometric mean, {title}", "", "", mean, "", ""])
    return table(["", *columns], rows)


def report(found):
    """Return the tables as text, ratios first."""
    text = [
        found["machine"],
        " ".join(f"{k} {v}" for k, v in found["versions"].items()),
    ]
    for threads, cases in found["layer"].items():
        text += ["", f"compiled / PyTorch, threads: {threads}", ratios(cases)]
    for threads, cases in found["layer"].items():
        text += ["", f"milliseconds, threads: {threads}"]
        who = ["compiled", "readable", "PyTorch", "floor"]
        rows = []
        for case, times in cases.items():
            for what in WHAT:
                if what in times:
                    cells = [f"{1e3 * times[what][name]:.3f}" for name in who]
                    floors = times[what]["compiled"] / times[what]["floor"]
                    rows.append([f"{case} {what}", *cells, f"{floors:.1f}"])
        text.append(table(["", *who, "compiled / floor"], rows))

    text += ["", "forward, step by step: milliseconds, one thread"]
    names = list(next(iter(found["steps"].values())))
    rows = [
        [case, *(f"{1e3 * times[name]:.3f}" for name in names)]
        for case, times in found["steps"].items()
    ]
    text.append(table(["", *names], rows))

    text += ["", "training step, one thread: milliseconds"]
    rows = [
        [
            name,
            *(f"{1e3 * t:.2f}" for t in times.values()),
            f"{times['bnlib'] / times['PyTorch']:.2f}",
        ]
        for name, times in found["training"].items()
    ]
    text.append(table(["", "bnlib", "PyTorch", "bnlib / PyTorch"], rows))

    text += ["", "bounds: microseconds"]
    rows = [
        [f"{where}: {what}", f"{1e6 * seconds:.0f}"]
        for where, times in found["bounds"].items()
        for what, seconds in times.items()
    ]
    text.append(table(["", "µs"], rows))

    text += ["", "first calls: seconds"]
    rows = [
        [when, *(f"{s:.2f}" for s in times.values())]
        for when, times in found["first"].items()
    ]
    text.append(table(["", *found["first"]["compiled"]], rows))
    return "\n".join(text)


def main(path=None):
    """Print the tables; write the times to a file, if a path is given."""
    found = measure()
    print(report(found))
    if path is not None:
        text = json.dumps(found, indent=1) + "\n"
        Path(path).write_text(text, encoding="utf-8")
