"""Batch normalization over real processes is batch normalization of the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close

from bnlib import functional as F

WORKER = Path(__file__).parents[1] / "book" / "6-practice" / "workers.py"


@pytest.mark.parametrize(("sizes", "offset"), [((16, 16), 0), ((3, 21), 1e4)])
def test_two_processes_agree_with_one(tmp_path, sizes, offset):
    rng = np.random.default_rng(0)
    x = offset + rng.standard_normal((sum(sizes), 5)) * [1, 2, 3, 4, 5]
    dy, weight = rng.standard_normal(x.shape), rng.uniform(0.5, 2, 5)
    bias, cut = rng.standard_normal(5), sizes[:1]
    parts = zip(np.split(x, cut), np.split(dy, cut), strict=True)
    for rank, (x_part, dy_part) in enumerate(parts):
        batch = {"x": x_part, "dy": dy_part, "weight": weight, "bias": bias}
        np.savez(tmp_path / f"batch-{rank}.npz", **batch)
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, tmp_path, str(rank), "2"],
            cwd=WORKER.parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()

    results = [np.load(tmp_path / f"result-{rank}.npz") for rank in (0, 1)]
    y, cache = F.batch_norm_forward(x, None, None, weight, bias, training=True)
    dx, dweight, dbias = F.batch_norm_backward(dy, cache)
    tolerance = {"rtol": 1e-10, "atol": 1e-10 * max(1, offset)}
    whole = {"y": y, "dx": dx}
    for name, expected in whole.items():
        found = np.concatenate([result[name] for result in results])
        assert_close(found, expected, **tolerance)
    shares = {"dweight": dweight, "dbias": dbias}
    for name, expected in shares.items():
        assert_close(sum(result[name] for result in results), expected, **tolerance)
