"""The book's code is the library's code: see ``tools/book_code.py``, which writes the cells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from book_code import cell_source, definitions, notebooks, plain, tagged  # noqa: E402

CORE = (
    "moments",
    "normalize",
    "functional",
    "threads",
    "compiled",
    "convolution",
    "ops",
    "module",
    "norm",
    "layers",
    "optim",
    "testing",
    "folding",
)
CELLS = [
    (f"{path.stem}[{i}]", names, "".join(cell["source"]))
    for path in notebooks()
    for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"])
    if (names := tagged(cell))
]


@pytest.mark.parametrize(
    ("names", "source"), [c[1:] for c in CELLS], ids=[c[0] for c in CELLS]
)
def test_cell_is_the_library_code(names, source):
    assert source == cell_source(names)


@pytest.mark.parametrize("module", CORE)
def test_every_public_name_is_built_in_a_chapter(module):
    built = {name for _, names, _ in CELLS for name in names}
    own = pytest.importorskip(f"bnlib.{module}", exc_type=ImportError)
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


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(LookupError, match=r"bnlib/moments.py defines no median"):
        cell_source(("moments.median",))


def test_docstrings_and_annotations_go_and_nothing_else():
    source = '''\
class A(NamedTuple):
    """A class."""

    x: int = 1  # kept


class B(A):
    y: ClassVar[int] = 2  # kept
    z: float

    def f(
        self, a: int, *b: str, c: float = 1e-3, **d: Any
    ) -> dict[str, int]:  # type: ignore[x]
        """One line."""
        e: list[int] = [1,  # kept
                        2]
        g: int
        return "kept"  # kept


class C(Exception):
    """Nothing but this."""
'''
    assert plain(source) == (
        "class A(NamedTuple):\n    x: int = 1  # kept\n\n\n"
        "class B(A):\n    y = 2  # kept\n\n"
        "    def f(self, a, *b, c=1e-3, **d):\n"
        "        e = [1,  # kept\n                        2]\n"
        '        return "kept"  # kept\n\n\n'
        'class C(Exception):\n    """Nothing but this."""'
    )


def test_a_decorator_is_shown():
    assert definitions("compiled")["sums"].startswith(
        "@inner\ndef sums(x, n, a, b, pivot):"
    )
    assert definitions("threads")["_pool"].startswith("@functools.cache\n")


def test_what_the_book_shows_can_be_compiled():
    for module in CORE:
        for name, source in definitions(module).items():
            compile(source, name, "exec")


def test_the_writer_fills_a_cell_and_leaves_the_rest(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "a", "id": "a"},
        {
            "cell_type": "code",
            "metadata": {"tags": ["bnlib:moments.center"]},
            "source": "old",
            "outputs": [],
            "execution_count": None,
            "id": "b",
        },
    ]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book))
    command = [sys.executable, str(ROOT / "tools" / "book_code.py"), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    written = json.loads(path.read_text())["cells"]
    assert "".join(written[0]["source"]) == "a"
    assert "".join(written[1]["source"]) == cell_source(("moments.center",))
