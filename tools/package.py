"""Build bnlib's wheel, or its source distribution, and leave nothing behind in this folder.

    python tools/package.py wheel FOLDER    # FOLDER/bnlib-VERSION-py3-none-any.whl
    python tools/package.py sdist FOLDER    # FOLDER/bnlib-VERSION.tar.gz

Setuptools builds in place and keeps what an earlier build left there, files that are gone included.
So it works on a copy. It is called as a back end, without a network: what it needs is installed.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import build_meta

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", "_build", "_lab", "build", "*.egg-info", "__pycache__"),
    *(".*_cache", ".hypothesis", ".coverage*", ".ipynb_checkpoints", "shared"),
)


def build(kind: str, folder: Path) -> Path:
    """Build a wheel or an sdist in a folder; return its path."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, "bnlib")
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        os.chdir(copy)
        try:
            name = getattr(build_meta, f"build_{kind}")(str(folder))
        finally:
            os.chdir(before)
    return folder / name


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("wheel", "sdist"):
        sys.exit(__doc__)
    print(build(sys.argv[1], Path(sys.argv[2])))
