"""Read notebooks, and write each in one canonical form.

JupyterLab and jupytext edit notebooks (CONTRIBUTING.md tells how). ``make notebooks`` runs what
they leave and writes it in this form, so that a commit shows what has changed and no more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import nbformat
from nbformat import NotebookNode

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
CELL_METADATA = ("mystnb", "tags")


def read(path: Path) -> NotebookNode:
    """Read a notebook file."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in its canonical form: the same notebook gives the same bytes."""
    if not notebook.cells:
        raise ValueError(f"{path} is kept: what would take its place has no cells")
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
