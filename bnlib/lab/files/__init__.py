"""What some chapters need beside themselves, so that each of them runs alone.

Measurements that were kept: times of ``make bench``, and runs that are too long for a chapter.
And two programs for PyTorch, which bnlib never imports: ``first_aid``, the checks and cures of the
field guide, and ``workers``, one worker of a data-parallel network.
"""

import json
from pathlib import Path
from typing import Any

from bnlib.lab._checks import check_kind

__all__ = ["read"]


def read(name: str) -> Any:
    """Return measurements that were kept.

    Parameters
    ----------
    name : str
        "cost", "depth-budgets", "fast-kernel", "fast-kernel-gpu" or "flax", what Flax answered.

    Returns
    -------
    dict
        What was measured; of times, with the machine and the versions.

    Raises
    ------
    TypeError, ValueError
        If `name` is no string, or none of these.

    Examples
    --------
    >>> sorted(read("depth-budgets"))
    ['arms', 'steps']
    """
    check_kind("read", "name", name, str)
    kept = {path.stem: path for path in Path(__file__).parent.glob("*.json")}
    if name not in kept:
        raise ValueError(f"read: expected one of {sorted(kept)}, got {name!r}")
    return json.loads(kept[name].read_text(encoding="utf-8"))
