"""The steps of the chapter "The fast kernel", timed: the cells of the notebook themselves."""

import json
from pathlib import Path

import numpy as np

from benchmarks.rivals import floor, ours, problem
from benchmarks.timing import in_turns
from bnlib import blocks

NOTEBOOK = Path(__file__).parent.parent / "book" / "6-practice" / "fast-kernel.ipynb"
SHAPE = (64, 64, 32, 32)
TAG = "timed"
SIZES = [2**k for k in range(13, 23)]  # floats in a block


def steps():
    """Return the forward passes that the notebook defines in cells tagged `TAG`, by name."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    space = {}
    for cell in cells:
        if TAG in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), space)
    return {
        name: thing
        for name, thing in space.items()
        if callable(thing) and name.startswith("forward_")
    }


def measure(seconds):
    """Return the seconds of each step, one thread, then of bnlib with one and two."""
    x, _, _, _, weight, bias = problem(SHAPE)
    planes = x.reshape(*SHAPE[:2], -1)
    expected = np.array(ours(SHAPE, 1)["forward"]()).reshape(planes.shape)
    calls = {}
    for name, step in steps().items():
        assert np.allclose(step(planes, weight, bias), expected, atol=1e-4), name
        calls[name] = lambda step=step: step(planes, weight, bias)
    calls["bnlib"] = ours(SHAPE, 1)["forward"]
    calls["bnlib, two threads"] = ours(SHAPE, 2)["forward"]
    calls["floor"] = floor(SHAPE, 1)["forward"]
    return in_turns(calls, seconds)


def block_sizes(seconds):
    """Return the seconds of a forward and backward pass of bnlib, for each size of block."""
    usual = blocks.BLOCK, blocks.ONES
    blocks.ONES = np.ones(max(SIZES), np.float32)

    def with_size(size, call):
        blocks.BLOCK = size
        blocks.walk_of.cache_clear()
        call()

    calls = {size: lambda size=size: with_size(size, ours_both) for size in SIZES}
    ours_both = ours(SHAPE, 1)["both"]
    try:
        return in_turns(calls, seconds)
    finally:
        blocks.BLOCK, blocks.ONES = usual
        blocks.walk_of.cache_clear()
