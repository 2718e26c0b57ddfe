"""One worker of a data-parallel batch normalization.

``python workers.py FOLDER RANK WORKERS`` reads ``FOLDER/batch-RANK.npz`` with x, dy, weight and
bias, meets the other workers through a file in that folder, and writes ``FOLDER/result-RANK.npz``.
"""

import os
import sys
from datetime import timedelta
from functools import reduce
from pathlib import Path

if sys.platform == "linux":  # all workers are on this machine; the name is Linux's
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import numpy as np
import torch
import torch.distributed as dist

from bnlib.moments import center, merge_moments, moments

EPS = 1e-5


def gather(a):
    """Return the arrays of all workers, in the order of their ranks."""
    mine = torch.from_numpy(np.ascontiguousarray(a))
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return [part.numpy() for part in parts]


def add_up(a):
    """Return the sum of the arrays of all workers."""
    total = torch.from_numpy(np.array(a))
    dist.all_reduce(total)
    return total.numpy()


def forward(x, weight, bias):
    """Normalize this worker's part of the batch with the moments of the whole batch."""
    mean, var = (a[0] for a in moments(x, 0))
    mine = np.stack([np.full_like(mean, len(x)), mean, var])
    groups = [(int(count[0]), mean, var) for count, mean, var in gather(mine)]
    m, mean, var = reduce(lambda a, b: merge_moments(*a, *b), groups)
    invstd = 1 / np.sqrt(var + EPS)
    x_hat = center(x, mean) * invstd
    return weight * x_hat + bias, (x_hat, invstd, weight, m)


def backward(dy, cache):
    """Return dx, and this worker's share of dweight and dbias."""
    x_hat, invstd, weight, m = cache
    share = np.stack([dy.sum(0), (dy * x_hat).sum(0)])
    dbias, dweight = add_up(share) / m
    dx = weight * invstd * (dy - dbias - x_hat * dweight)
    return dx, share[1], share[0]


def main(folder, rank, workers):
    """Take part in one forward and one backward."""
    dist.init_process_group(
        "gloo",
        init_method=(Path(folder).resolve() / "meet").as_uri(),
        rank=int(rank),
        world_size=int(workers),
        timeout=timedelta(seconds=60),
    )
    batch = np.load(Path(folder, f"batch-{rank}.npz"))
    y, cache = forward(batch["x"], batch["weight"], batch["bias"])
    dx, dweight, dbias = backward(batch["dy"], cache)
    result = {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}
    np.savez(Path(folder, f"result-{rank}.npz"), **result)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
