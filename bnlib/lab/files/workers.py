"""One worker of a data-parallel batch normalization.

``python -m bnlib.lab.files.workers FOLDER RANK WORKERS`` reads ``FOLDER/batch-RANK.npz`` with x,
dy, weight and bias, meets the other workers through a file in that folder, and writes
``FOLDER/result-RANK.npz``.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

if sys.platform == "linux":  # all workers are on this machine; the name is Linux's
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import numpy as np
import torch
import torch.distributed as dist

from bnlib import SyncBatchNorm


def all_reduce(vector):
    """Return the sum of the vectors of all workers."""
    total = torch.from_numpy(vector)
    dist.all_reduce(total)
    return total.numpy()


def work(x, dy, weight, bias):
    """Take part in one forward and one backward; return what this worker has then."""
    bn = SyncBatchNorm(x.shape[1], all_reduce=all_reduce, dtype=float)
    bn.weight.data[...], bn.bias.data[...] = weight, bias
    y = bn(x)
    dx = bn.backward(dy)
    shares = {"dweight": bn.weight.grad, "dbias": bn.bias.grad}
    running = {"running_mean": bn.running_mean, "running_var": bn.running_var}
    return {"y": y, "dx": dx, **shares, **running}


def meet(folder, rank, workers):
    """Wait until all workers are there."""
    dist.init_process_group(
        "gloo",
        init_method=(Path(folder).resolve() / "meet").as_uri(),
        rank=int(rank),
        world_size=int(workers),
        timeout=timedelta(seconds=60),
    )


def main(folder, rank, workers):
    """Do the work with this worker's part of the batch."""
    meet(folder, rank, workers)
    batch = np.load(Path(folder, f"batch-{rank}.npz"))
    np.savez(Path(folder, f"result-{rank}.npz"), **work(**batch))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
