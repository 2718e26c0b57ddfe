"""Edit a notebook as text, and write every notebook in one canonical form.

    python tools/notebook.py to-text book/2-build/forward.ipynb > forward.md
    python tools/notebook.py from-text forward.md book/2-build/forward.ipynb

The text is jupytext's ``md:myst`` (a ``.md`` file) or ``py:percent`` (a ``.py`` file, or
``to-text --py``). It holds sources, tags and the alternative texts and captions of pictures. A code
cell that the text leaves unchanged keeps its stored outputs, a new or changed one has none until
``make notebooks`` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter, defaultdict
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
CELL_METADATA = ("mystnb", "tags")
FORMATS = {".md": "md:myst", ".py": "py:percent"}


def read(path: Path) -> NotebookNode:
    """Read a notebook file."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in its canonical form: the same notebook gives the same bytes."""
    notebook = canonical(notebook)
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")


def canonical(notebook: NotebookNode) -> NotebookNode:
    """Drop what varies from one run, machine or editor to the next."""
    seen: Counter[str] = Counter()
    cells = []
    for cell in notebook.cells:
        metadata = {
            key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)
        }
        if cell.cell_type == "code":
            outputs = merge_streams(cell.outputs)
            new = nbformat.v4.new_code_cell(
                cell.source, execution_count=cell.execution_count, outputs=outputs
            )
        else:
            new = nbformat.v4.new_markdown_cell(cell.source.strip("\n"))
        new.metadata.update(metadata)
        # An id that follows from the text stays the same wherever the cell moves.
        text = f"{cell.cell_type}\n{new.source}"
        new.id = hashlib.sha256(f"{seen[text]}\n{text}".encode()).hexdigest()[:12]
        seen[text] += 1
        cells.append(new)
    canon = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    canon.nbformat_minor = 5
    return canon


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream, whose borders depend on timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            merged.append(nbformat.from_dict(output))
    return merged


def to_text(notebook: NotebookNode, suffix: str) -> str:
    """Return the notebook as text, and refuse to lose anything on the way back."""
    notebook = canonical(notebook)
    del notebook.metadata["language_info"]
    notebook.metadata["jupytext"] = {"notebook_metadata_filter": "kernelspec,-jupytext"}
    text = jupytext.writes(notebook, FORMATS[suffix])
    for before, after in zip(
        notebook.cells, canonical(parse(text, suffix)).cells, strict=True
    ):
        if before.id != after.id or before.metadata != after.metadata:
            raise ValueError(
                f"this cell does not survive the way to {suffix}:\n{before.source}"
            )
    return text


def parse(text: str, suffix: str) -> NotebookNode:
    """Return the notebook, without outputs, that a text describes."""
    return jupytext.reads(text, FORMATS[suffix])


def from_text(text: str, suffix: str, old: NotebookNode | None = None) -> NotebookNode:
    """Return the notebook that a text describes, with the outputs of the old one's same cells."""
    notebook = parse(text, suffix)
    stored = defaultdict(list)
    for cell in old.cells if old else []:
        if cell.cell_type == "code":
            stored[cell.source].append(cell)
    for cell in notebook.cells:
        if cell.cell_type == "code" and stored[cell.source]:
            match = stored[cell.source].pop(0)
            cell.outputs, cell.execution_count = match.outputs, match.execution_count
    return canonical(notebook)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("to-text", help="print a notebook as text")
    command.add_argument("notebook", type=Path)
    command.add_argument(
        "--py", action="store_true", help="py:percent instead of md:myst"
    )
    command = commands.add_parser(
        "from-text", help="write a notebook from a .md or .py file"
    )
    command.add_argument("text", type=Path)
    command.add_argument("notebook", type=Path)
    args = parser.parse_args()
    if args.command == "to-text":
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the terminal
        sys.stdout.write(to_text(read(args.notebook), ".py" if args.py else ".md"))
    else:
        old = read(args.notebook) if args.notebook.exists() else None
        text = args.text.read_text(encoding="utf-8")
        if not parse(text, args.text.suffix).cells:
            sys.exit(f"{args.text} holds no cells; {args.notebook} is kept")
        write(from_text(text, args.text.suffix, old), args.notebook)


if __name__ == "__main__":
    main()
