"""The book's code is the library's code: write the cells that show it.

    python tools/book_code.py [NOTEBOOK …]

A notebook cell tagged ``bnlib:MODULE.NAME`` holds the definition of NAME in ``bnlib/MODULE.py``,
docstrings and the annotations of signatures aside, as ruff formats it; with several such tags it
holds them one after the other. This fills all such cells from the library; ``make notebooks`` then
runs what has changed. `tests/test_book_code.py` asks whether every cell is up to date.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
PREFIX = "bnlib:"
COMMENT = re.compile(r"  #[^#\"']*$")
# A class that is nothing but its docstring shows that, without the example.
EXAMPLE = re.compile(r'\n\n +Examples\n +-+\n(?:(?!""").)*(?=""")', re.DOTALL)
FOR_TOOLS = re.compile(r"\s*# (noqa|type: ignore)\b.*")  # comments that no reader needs


def plain(source: str) -> str:
    """Return source without docstrings that other statements follow, and without annotations.

    The fields of a named tuple keep theirs, which make them fields.
    """
    source = EXAMPLE.sub("", source)
    source = "\n".join(FOR_TOOLS.sub("", line) for line in source.splitlines())
    lines = source.splitlines()
    edits: list[tuple[int, int, str | None]] = []  # first line, end, new text
    tree = ast.parse(source)
    fields = {
        id(line)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and "NamedTuple" in map(ast.unparse, node.bases)
        for line in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.lineno - 1
            colon = first + signature_length(lines[first:])
            text = f"def {node.name}({arguments(source, node.args)}):"
            edits.append((first, colon, " " * node.col_offset + text))
        if isinstance(node, ast.AnnAssign) and id(node) not in fields:
            text = without_annotation(source, node)
            edits.append((node.lineno - 1, node.end_lineno, text))
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and ast.get_docstring(node) is not None
            and len(node.body) > 1
        ):
            doc = node.body[0]
            blank = not lines[doc.end_lineno].strip()
            edits.append((doc.lineno - 1, doc.end_lineno + blank, None))
    for first, after, text in sorted(edits, reverse=True, key=lambda edit: edit[:2]):
        comment = COMMENT.search(lines[after - 1]) if text else None
        text = text + comment.group() if text and comment else text
        lines[first:after] = [] if text is None else text.splitlines()
    return "\n".join(lines)


def arguments(source: str, node: ast.arguments) -> str:
    """Return the arguments of a function, without annotations."""
    positional = [*node.posonlyargs, *node.args]
    required = len(positional) - len(node.defaults)
    defaults = [*[None] * required, *node.defaults]
    pairs = list(zip(positional, defaults, strict=True))
    parts = [argument(source, *pair) for pair in pairs]
    if node.vararg:
        parts.append(f"*{node.vararg.arg}")
    elif node.kwonlyargs:
        parts.append("*")
    keywords = zip(node.kwonlyargs, node.kw_defaults, strict=True)
    parts += [argument(source, *pair) for pair in keywords]
    if node.kwarg:
        parts.append(f"**{node.kwarg.arg}")
    return ", ".join(parts)


def argument(source: str, node: ast.arg, default: ast.expr | None) -> str:
    """Return one argument with its default."""
    if default is None:
        return node.arg
    return f"{node.arg}={ast.get_source_segment(source, default)}"


def without_annotation(source: str, node: ast.AnnAssign) -> str | None:
    """Return ``x = value`` of ``x: type = value``, and nothing of ``x: type``."""
    if node.value is None:
        return None
    target = ast.get_source_segment(source, node.target)
    value = ast.get_source_segment(source, node.value)
    return " " * node.col_offset + f"{target} = {value}"


def signature_length(lines: list[str]) -> int:
    """Return the number of lines that the signature of a function takes, the first of `lines`."""
    for count in range(1, len(lines) + 1):
        head = textwrap.dedent("\n".join(lines[:count]))
        with contextlib.suppress(SyntaxError):
            ast.parse(head.rstrip().removesuffix(":") + ": pass")
            return count
    raise ValueError("a function whose signature does not end")


def formatted(sources: list[str]) -> list[str]:
    """Return sources as ruff formats cells of notebooks."""
    mark = "\n\n\n# ---- 8< ----\n\n\n"
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", "cells.py", "-"],
        input=mark.join(sources),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [part.strip("\n") for part in run.stdout.split("# ---- 8< ----")]


@functools.cache
def definitions(module: str) -> dict[str, str]:
    """Return the text of each class and function of a module, as the book shows it."""
    source = (ROOT / "bnlib" / f"{module}.py").read_text(encoding="utf-8")
    names, parts = [], []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
            first = min([node.lineno, *(line.lineno for line in node.decorator_list)])
            lines = source.splitlines()[first - 1 : node.end_lineno]
            parts.append(plain("\n".join(lines)))
    return dict(zip(names, formatted(parts), strict=True))


def cell_source(names: tuple[str, ...]) -> str:
    """Return what a cell with these tags, ``MODULE.NAME``, should hold."""
    parts = []
    for name in names:
        module, _, definition = name.partition(".")
        if definition not in definitions(module):
            raise LookupError(f"bnlib/{module}.py defines no {definition}")
        parts.append(definitions(module)[definition])
    return "\n\n\n".join(parts)


def tagged(cell: dict) -> tuple[str, ...]:
    """Return the definitions that a cell is tagged with."""
    tags = cell["metadata"].get("tags", [])
    return tuple(tag.removeprefix(PREFIX) for tag in tags if tag.startswith(PREFIX))


def notebooks() -> list[Path]:
    """Return all notebooks of the book."""
    paths = sorted((ROOT / "book").rglob("*.ipynb"))
    return [path for path in paths if ".ipynb_checkpoints" not in path.parts]


def main() -> None:
    """Fill the tagged cells of some notebooks, or of all."""
    for path in [Path(name) for name in sys.argv[1:]] or notebooks():
        notebook = nbformat.read(path, as_version=4)
        changed = 0
        for cell in notebook.cells:
            names = tagged(cell)
            if names and cell.source != cell_source(names):
                cell.source, changed = cell_source(names), changed + 1
        if changed:
            text = nbformat.writes(notebook).rstrip("\n") + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {changed} cells written")


if __name__ == "__main__":
    main()
