"""The book's code is the library's code.

A notebook cell tagged ``bnlib:MODULE.NAME`` holds the definition of NAME in ``bnlib/MODULE.py``,
letter by letter, docstrings aside; with several such tags it holds them one after the other.
"""

import ast
import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = (
    "moments",
    "textbook",
    "functional",
    "threads",
    "coefficients",
    "blocks",
    "small",
    "kernels",
    "sample_norm",
    "convolution",
    "ops",
    "module",
    "norm",
    "layers",
    "optim",
    "gradcheck",
    "fuse",
)
PREFIX = "bnlib:"


def without_docstrings(source):
    """Return source without the docstrings that other statements follow."""
    lines = source.splitlines()
    dropped = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if ast.get_docstring(node) and len(node.body) > 1:
            text = node.body[0]
            dropped.update(range(text.lineno - 1, text.end_lineno))
            if not lines[text.end_lineno].strip():
                dropped.add(text.end_lineno)
    return "\n".join(line for i, line in enumerate(lines) if i not in dropped)


def book_source(module, name):
    """Return the text of a definition as a cell of the book shows it."""
    source = (ROOT / "bnlib" / f"{module}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return without_docstrings(ast.get_source_segment(source, node))
    raise LookupError(f"bnlib/{module}.py defines no {name}")


def tagged_cells():
    """Return ``(place, names, source)`` for each tagged cell of the book."""
    cells = []
    for path in sorted((ROOT / "book").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for i, cell in enumerate(notebook["cells"]):
            tags = cell["metadata"].get("tags", [])
            names = tuple(
                tag.removeprefix(PREFIX) for tag in tags if tag.startswith(PREFIX)
            )
            if names:
                cells.append((f"{path.stem}[{i}]", names, "".join(cell["source"])))
    return cells


CELLS = tagged_cells()


@pytest.mark.parametrize(
    ("names", "source"), [c[1:] for c in CELLS], ids=[c[0] for c in CELLS]
)
def test_cell_is_the_library_code(names, source):
    assert source == "\n\n\n".join(book_source(*name.split(".")) for name in names)


@pytest.mark.parametrize("module", CORE)
def test_every_public_name_is_built_in_a_chapter(module):
    built = {name for _, names, _ in CELLS for name in names}
    own = importlib.import_module(f"bnlib.{module}")
    public = [
        name for name in own.__all__ if getattr(own, name).__module__ == own.__name__
    ]
    assert [name for name in public if f"{module}.{name}" not in built] == []


def test_no_name_is_built_twice():
    built = [name for _, names, _ in CELLS for name in names]
    assert sorted(built) == sorted(set(built))


def test_the_core_is_all_of_the_library():
    modules = {
        path.stem for path in (ROOT / "bnlib").glob("*.py") if path.stem[0] != "_"
    }
    assert modules == set(CORE)


def test_docstrings_are_stripped_and_nothing_else():
    source = '''\
class A:
    """A class."""

    x = 1  # kept

    def f(self):
        """One line."""
        return "kept"


class B(Exception):
    """Nothing but this."""
'''
    assert without_docstrings(source) == (
        'class A:\n    x = 1  # kept\n\n    def f(self):\n        return "kept"\n\n\n'
        'class B(Exception):\n    """Nothing but this."""'
    )
