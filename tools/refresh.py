"""Execute notebooks in place, so that two runs give the same bytes.

    python tools/refresh.py                              # every notebook of the book
    python tools/refresh.py book/2-build/forward.ipynb   # some

Each notebook runs in its own folder, in a fresh kernel, on one thread. A cell that raises (without
the tag ``raises-exception``) or writes to stderr stops the run, and its notebook stays as it was.
``jupyter execute --inplace`` would store what is on stderr, the times and loose pieces of streams.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbclient
from notebook import read, write

from bnlib.lab._machine import one_cpu

BOOK = Path(__file__).resolve().parents[1] / "book"
TIMEOUT = 600  # seconds a cell may take; the tests allow 120, on a machine that is idle


def prepare() -> None:
    """Give every kernel the same surroundings; kernels inherit them."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ.pop("MPLBACKEND", None)  # the kernel chooses the one that shows pictures
    one_cpu()
    import matplotlib.font_manager  # noqa: F401 (builds its cache here and not in a cell)


def refresh(path: Path) -> None:
    """Execute one notebook and write it back."""
    notebook = read(path)
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise RuntimeError(
                    f"this cell writes to stderr:\n{cell.source}\n\n{output.text}"
                )
            if output.output_type == "execute_result":
                output.execution_count = count
    write(notebook, path)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="default: all under book/"
    )
    paths = parser.parse_args().notebooks or sorted(BOOK.rglob("*.ipynb"))
    paths = [path for path in paths if ".ipynb_checkpoints" not in path.parts]
    prepare()
    failed = []
    for path in paths:
        start = time.perf_counter()
        try:
            refresh(path)
        except (
            nbclient.exceptions.CellExecutionError,
            RuntimeError,
            ValueError,
        ) as error:
            failed.append(path)
            print(f"{path}: FAILED\n{error}", file=sys.stderr)
        else:
            print(f"{path}: {time.perf_counter() - start:.1f} s", flush=True)
    if failed:
        sys.exit(
            f"{len(failed)} of {len(paths)} notebooks failed; they are left as they were."
        )


if __name__ == "__main__":
    main()
