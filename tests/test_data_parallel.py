"""Batch normalization over two real processes is batch normalization of the whole batch."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close

from bnlib import BatchNorm1d

ROOT = Path(__file__).parents[1]
WEIGHT, BIAS = np.linspace(0.5, 2, 5), np.linspace(-1, 1, 5)
CLOSE = {"rtol": 1e-10, "atol": 1e-10}

# Runs all cases of FOLDER/cases.pickle in one process: a start costs seconds.
SCRIPT = """
import pickle, sys
from pathlib import Path
import numpy as np
import torch.distributed as dist
from bnlib import SyncBatchNorm
from bnlib.lab.files.workers import all_reduce, meet

folder, rank = sys.argv[1], int(sys.argv[2])
meet(folder, rank, 2)
results = []
for momentum, weight, bias, steps in pickle.loads(Path(folder, "cases.pickle").read_bytes()):
    bn = SyncBatchNorm(5, momentum=momentum, all_reduce=all_reduce, dtype=float)
    bn.weight.data[...], bn.bias.data[...] = weight, bias
    found = []
    for parts, dys in steps:
        x, dy = parts[rank], dys[rank]
        try:
            found.append((bn(x), bn.backward(dy)))
        except ValueError as error:
            found.append(str(error))
    gradients = bn.weight.grad, bn.bias.grad
    results.append((found, gradients, bn.state_dict(), bn.eval()(parts[rank])))
Path(folder, f"result-{rank}.pickle").write_bytes(pickle.dumps(results))
dist.barrier()  # nobody leaves while another is still at work
dist.destroy_process_group()
"""


def run(*commands):
    """Run commands at the same time; fail unless all succeed."""
    workers = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()


def batch(rng, size, offset):
    """Return x and dy of a batch."""
    x = offset + rng.standard_normal((size, 5)) * [1, 2, 3, 4, 5]
    return x, rng.standard_normal((size, 5))


def one_machine(momentum=0.1):
    """Return the layer that has the whole batch."""
    bn = BatchNorm1d(5, momentum=momentum, dtype=float)
    bn.weight.data[...], bn.bias.data[...] = WEIGHT, BIAS
    return bn


def test_the_workers_of_the_chapter_agree_with_one_machine(tmp_path):
    x, dy = batch(np.random.default_rng(0), 24, offset=1e4)
    for rank, rows in enumerate((slice(3), slice(3, None))):
        part = {"x": x[rows], "dy": dy[rows], "weight": WEIGHT, "bias": BIAS}
        np.savez(tmp_path / f"batch-{rank}.npz", **part)
    run(*(("-m", "bnlib.lab.files.workers", tmp_path, rank, 2) for rank in (0, 1)))
    found = [np.load(tmp_path / f"result-{rank}.npz") for rank in (0, 1)]

    bn = one_machine()
    rough = {"rtol": 1e-10, "atol": 1e-6}  # at a mean of 1e4 x has lost four digits
    assert_close(np.concatenate([part["y"] for part in found]), bn(x), **rough)
    dx = np.concatenate([part["dx"] for part in found])
    assert_close(dx, bn.backward(dy), **rough)
    for name, parameter in (("dweight", bn.weight), ("dbias", bn.bias)):
        assert_close(sum(part[name] for part in found), parameter.grad, **rough)
    for part in found:
        assert_close(part["running_mean"], bn.running_mean, rtol=1e-12)
        assert_close(part["running_var"], bn.running_var, rtol=1e-10)


CASES = {  # sizes of the two workers' batches in each step
    "equal": (0.1, [(8, 8), (8, 8)]),
    "unequal": (0.1, [(3, 21), (20, 4), (1, 1)]),
    "empty": (0.1, [(24, 0), (0, 9), (5, 6)]),
    "cumulative": (None, [(4, 4), (2, 6), (7, 3)]),
    "cumulative, empty": (None, [(4, 4), (0, 6), (7, 3)]),
    "all empty": (0.1, [(4, 4), (0, 0), (7, 3)]),
    "too few": (0.1, [(1, 0), (0, 1), (3, 2)]),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return the steps of all cases, and what the two processes found, by name."""
    folder, rng = tmp_path_factory.mktemp("workers"), np.random.default_rng(1)
    cases = {}
    for name, (momentum, sizes) in CASES.items():
        steps = []
        for a, b in sizes:
            whole = batch(rng, a + b, offset=3)
            steps.append([np.split(array, [a]) for array in whole])
        cases[name] = momentum, WEIGHT, BIAS, steps
    (folder / "cases.pickle").write_bytes(pickle.dumps([*cases.values()]))
    run(*(("-c", SCRIPT, folder, rank) for rank in (0, 1)))
    found = [
        pickle.loads((folder / f"result-{rank}.pickle").read_bytes()) for rank in (0, 1)
    ]
    pairs = zip(*found, strict=True)
    return {
        name: (steps, *pair)
        for (name, (*_, steps)), pair in zip(cases.items(), pairs, strict=True)
    }


@pytest.mark.parametrize(
    "name",
    [
        "equal",
        "unequal",
        "empty",
        "cumulative",
        "cumulative, empty",
        "all empty",
    ],
)
def test_two_processes_agree_with_one_machine(both, name):
    steps, *workers = both[name]
    bn = one_machine(CASES[name][0])
    for at, (parts, dys) in enumerate(steps):
        ys, dxs = zip(*(found[at] for found, *_ in workers), strict=True)
        assert_close(np.concatenate(ys), bn(np.concatenate(parts)), **CLOSE)
        assert_close(np.concatenate(dxs), bn.backward(np.concatenate(dys)), **CLOSE)
        assert [len(y) for y in ys] == [len(part) for part in parts]
    for k, parameter in enumerate((bn.weight, bn.bias)):
        shares = [gradients[k] for _, gradients, *_ in workers]
        assert_close(sum(shares), parameter.grad, **CLOSE)
    for rank, (*_, state, y) in enumerate(workers):
        for key, array in bn.state_dict().items():
            assert_close(state[key], array, **CLOSE)
        assert_close(y, bn.eval()(parts[rank]), **CLOSE)  # without a message


def test_one_value_among_all_processes_is_refused_by_all_of_them(both):
    steps, *workers = both["too few"]
    bn = one_machine()
    y = bn(np.concatenate(steps[2][0]))
    for found, _, state, _ in workers:
        assert all("got 1 in all workers together" in text for text in found[:2])
        assert_close(state["running_mean"], bn.running_mean, **CLOSE)
    assert_close(np.concatenate([found[2][0] for found, *_ in workers]), y, **CLOSE)
