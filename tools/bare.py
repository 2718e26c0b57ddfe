"""Run downloaded notebooks as a stranger does: bnlib's wheel, a bare environment, an empty folder.

    python tools/bare.py                                  # every notebook
    python tools/bare.py book/2-build/forward.ipynb       # some

pip brings what ``bnlib[book]`` asks for, from wherever it is set up to look. On Linux that is a
PyTorch for GPUs, of several gigabytes; the file that ``PIP_CONSTRAINT`` names may ask for another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import package
import reader

BOOK = Path(__file__).resolve().parents[1] / "book"
READS_THE_CHAPTERS = "appendix"  # the list of claims, which means nothing without them
# A stranger's terminal has nothing of this project's, but for the one thread of BLAS.
OURS = ("BNLIB_", "JUPYTER_", "NUMBA_", "PYTHON")


def make_environment(folder: Path) -> Path:
    """Make a bare environment with bnlib's wheel; return the folder of its commands."""
    wheel = package.build("wheel", folder)
    venv.create(folder / "venv", with_pip=True)
    commands = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    install = [commands / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*install, f"{wheel}[book]"], check=True)
    return commands


def run(jupyter: Path, notebook: Path) -> str:
    """Run one notebook, alone in a folder; return what is said if it fails."""
    terminal = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    with tempfile.TemporaryDirectory() as empty:
        shutil.copy(notebook, empty)
        done = subprocess.run(
            [jupyter, "execute", notebook.name],
            cwd=empty,
            env=terminal,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    return done.stderr if done.returncode else ""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="default: all that stand alone"
    )
    chosen = [path.resolve() for path in parser.parse_args().notebooks]
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        commands = make_environment(Path(temporary))
        print(f"installed in {time.perf_counter() - start:.0f} s", flush=True)
        copies = Path(temporary, "notebooks")
        reader.main([str(copies)])
        every = sorted(copies.rglob("*.ipynb"))
        alone = [path for path in every if path.parent.name != READS_THE_CHAPTERS]
        for path in [copies / path.relative_to(BOOK) for path in chosen] or alone:
            start = time.perf_counter()
            said = run(commands / "jupyter", path)
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
            if said:
                failed.append(path.stem)
                print(said, file=sys.stderr)
    if failed:
        sys.exit(f"these notebooks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
