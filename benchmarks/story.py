"""The steps of the chapter "The fast kernel", timed: the cells of the notebook themselves."""

import json
from pathlib import Path

import numpy as np

from benchmarks.rivals import BATCH, ours, problem

NOTEBOOK = Path(__file__).parent.parent / "book" / "6-practice" / "fast-kernel.ipynb"
TAG = "timed"


def steps(case):
    """Return calls of the forward passes that the notebook defines in cells tagged `TAG`."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    space = {}
    for cell in cells:
        if TAG in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), space)
    found = [name for name in space if name.startswith("forward_")]
    x, _, weight, bias, *_ = problem(case)
    x = x.reshape(*x.shape[:2], -1)
    expected = space[found[0]](x, weight, bias)
    calls = {}
    for name in found:
        step = space[name]
        assert np.allclose(step(x, weight, bias), expected, atol=1e-4), name
        calls[name] = lambda step=step: step(x, weight, bias)
    return calls


def rivals(seconds, in_turns):
    """Return ``{case: {step: seconds}}``, one thread."""
    found = {}
    for shape in BATCH:
        case = f"BN {shape}"
        calls = steps(case) | {"compiled": ours(case, "compiled")["forward"]}
        found[case] = in_turns(calls, seconds)
    return found
