"""Grade notebooks with answers: ``python -m bnlib.lab.exercises homework/*.ipynb``.

Each notebook runs afresh, in a kernel and an empty folder of its own; a cell that raises does not
stop the others. Then one line per notebook says which exercises were right, by what their checks
print. The code is that of strangers: run it where it can do no harm.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from bnlib.lab.exercises import names

ANSWER = re.compile(r"^([✓✗]) (ex-[\w-]+):", re.M)


def grade(path: Path, timeout: int) -> dict[str, bool]:
    """Run a notebook; return which exercises it tried, and whether the last try was right."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=timeout,
            allow_errors=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for sign, label in ANSWER.findall(output.get("text", "")):
                if label in names():
                    found[label] = sign == "✓"
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python -m bnlib.lab.exercises", description=__doc__.splitlines()[0]
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument(
        "--timeout", type=int, default=120, help="seconds a cell may take"
    )
    args = parser.parse_args(argv)
    try:
        import nbclient  # noqa: F401
    except ImportError:
        sys.exit("Grading runs notebooks: pip install nbclient ipykernel")
    for path in args.notebooks:
        try:
            found = grade(path, args.timeout)
        except Exception as fault:  # whatever a notebook does, the others are graded
            print(f"{path}: {type(fault).__name__}, {str(fault).splitlines()[-1]}")
            continue
        right = [label for label, ok in found.items() if ok]
        wrong = [label for label, ok in found.items() if not ok]
        print(f"{path}: {len(right)} right ({', '.join(right) or 'none'})", end="")
        print(f"; wrong: {', '.join(wrong)}" if wrong else "")


if __name__ == "__main__":
    main()
