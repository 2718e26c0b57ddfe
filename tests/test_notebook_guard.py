"""The tests of the book's notebooks catch what they are there to catch.

Each fault is planted in a cell of its own, so that one run of one notebook shows which are caught.
"""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.combine import combine_inputs_with_outputs
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from notebook import canonical, read  # noqa: E402

ALT = {"mystnb": {"image": {"alt": "A line."}}}

DRAW = """
import base64, io
from IPython.display import HTML, Image as Show, display
from PIL import Image, ImageDraw

def draw(*line, size=(120, 80), width=3):
    picture = Image.new("RGB", (4 * size[0], 4 * size[1]), "white")
    ImageDraw.Draw(picture).line([4 * v for v in line], fill="black", width=4 * width)
    data = io.BytesIO()
    picture.resize(size, Image.LANCZOS).save(data, "png")
    return data.getvalue()

def frame(*line, alt="A line."):
    data = base64.encodebytes(draw(*line)).decode()
    return HTML(f'<img alt="{alt}" src="data:image/png;base64,{data}">')

assert draw(0, 0, 9, 9)
"""


def png(*line, width=3, smooth=Image.LANCZOS):
    """Return a picture of a line, encoded as a notebook stores it."""
    picture = Image.new("RGB", (480, 320), "white")
    ImageDraw.Draw(picture).line([4 * v for v in line], fill="black", width=4 * width)
    data = io.BytesIO()
    picture.resize((120, 80), smooth).save(data, "png")
    return base64.encodebytes(data.getvalue()).decode()


def run(folder, *command, **environment):
    """Run a Python command in a folder."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def outcomes(folder, **environment):
    """Run the tests of the notebooks in a folder: each cell's failure, or None, by notebook."""
    shutil.copy(ROOT / "book" / "conftest.py", folder)
    options = [
        "-c",
        ROOT / "pyproject.toml",
        "--rootdir",
        folder,
        "-p",
        "no:cacheprovider",
    ]
    report = folder / "report.xml"
    plugins = ["-p", "no:xdist", "-p", "no:cov", "-p", "no:hypothesispytest"]
    done = run(
        ROOT,
        "-m",
        "pytest",
        *options,
        *plugins,
        "--junitxml",
        report,
        folder,
        **environment,
    )
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ET.parse(report).iter("testcase"):
        failure = case.find("failure")
        cells = found.setdefault(case.get("classname").rpartition(".")[0], [])
        cells.append(None if failure is None else failure.get("message") + failure.text)
    assert found, done.stdout + done.stderr
    return found


def write(path, *cells):
    """Write a notebook of code cells, each a source or a pair of source and metadata."""
    pairs = [cell if isinstance(cell, tuple) else (cell, {}) for cell in cells]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(s, metadata=m) for s, m in pairs]
    nbformat.write(notebook, path)


# name: the cell, what is planted in it once it has run, and what the failure says (None: it passes)
PLANTS = {
    "healthy number": ("round(2**0.5, 4)", {}, lambda cell: None, None),
    "changed number": (
        "print(round(2**0.5, 4))",
        {},
        lambda cell: cell.outputs[0].update(text="1.4143\n"),
        "Cell outputs differ",
    ),
    "hidden value": ("object();", {}, lambda cell: None, None),
    "healthy picture": (
        "display(Show(draw(9, 9, 99, 60)))",
        ALT,
        lambda cell: None,
        None,
    ),
    "otherwise smoothed picture": (
        "display(Show(draw(9, 9, 99, 60)))",
        ALT,
        lambda cell: cell.outputs[0].data.update(
            {"image/png": png(9, 9, 99, 60, smooth=Image.BOX)}
        ),
        None,
    ),
    "changed picture": (
        "display(Show(draw(9, 9, 99, 60)))",
        ALT,
        lambda cell: cell.outputs[0].data.update({"image/png": png(9, 9, 99, 56)}),
        "picture 1 differs",
    ),
    "a small thing in a picture": (
        "display(Show(draw(40, 40, 46, 40)))",
        ALT,
        lambda cell: cell.outputs[0].data.update({"image/png": png(40, 40, 49, 40)}),
        "picture 1 differs",
    ),
    "missing picture": (
        "display(Show(draw(9, 9, 9, 60)))",
        ALT,
        lambda cell: cell.outputs[0].data.pop("image/png"),
        "0 pictures are stored, and a fresh run gives 1",
    ),
    "picture too many": (
        "display(Show(draw(9, 9, 9, 60)))",
        ALT,
        lambda cell: cell.outputs.append(
            nbformat.v4.new_output("display_data", {"image/png": png(9, 9, 9, 60)})
        ),
        "2 pictures are stored, and a fresh run gives 1",
    ),
    "healthy frame": ("frame(9, 9, 99, 60)", {}, lambda cell: None, None),
    "changed frame": (
        "frame(9, 9, 99, 60)",
        {},
        lambda cell: cell.outputs[0].data.update(
            {
                "text/html": f'<img alt="A line." src="data:image/png;base64,{png(9, 9, 99, 56)}">'
            }
        ),
        "picture 1 differs",
    ),
    "frame without alt text": (
        "frame(9, 9, 99, 60, alt='')",
        {},
        lambda cell: None,
        "a picture inside HTML has no alt text",
    ),
    "picture without alt text": (
        "display(Show(draw(9, 9, 99, 60)))",
        {},
        lambda cell: None,
        "no alt text in mystnb.image.alt",
    ),
    "cell never run": (
        "unused = 1",
        {},
        lambda cell: cell.update(execution_count=None),
        "the cell was never run",
    ),
    "cell out of order": (
        "unused = 2",
        {},
        lambda cell: cell.update(execution_count=3),
        "out of order",
    ),
    "skipped cell": (
        "1 / 0",
        {"tags": ["raises-exception"]},
        lambda cell: cell.metadata.update(tags=["nbval-skip"]),
        "may not be skipped",
    ),
    "text on stderr": (
        "unused = 3",
        {},
        lambda cell: (
            cell.update(source="print('!', file=__import__('sys').stderr)"),
            cell.outputs.append(
                nbformat.v4.new_output("stream", name="stderr", text="!\n")
            ),
        ),
        "text on stderr is stored",
    ),
    "wanted error": ("None.x", {"tags": ["raises-exception"]}, lambda cell: None, None),
    "path of a machine": (
        "print('/'.join(['', 'home', 'me', 'data']))",
        {},
        lambda cell: None,
        "paths of a machine",
    ),
    "path that is none": (
        "print('N/tmp, see a.org/home/x')",
        {},
        lambda cell: None,
        None,
    ),
}


# A notebook whose numbers depend on eps, and cells that the tool refuses.
EPS = (
    "import numpy as np\nfrom bnlib.functional import batch_norm",
    "print(batch_norm(np.array([[0.0], [0.1]]), None, None, training=True).round(4))",
)
BAD = (["1 / 0"], ["import sys; print('!', file=sys.stderr)"], [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of notebooks: two healthy ones, one with faults, one that depends on eps."""
    folder = tmp_path_factory.mktemp("book")
    for name in ("healthy", "twin"):
        picture = ("display(Show(draw(1, 1, 50, 50)))", ALT)
        write(folder / f"{name}.ipynb", DRAW, picture, "print(1)\nprint(2)", "{1, 2}")
    faulty = folder / "faulty.ipynb"
    write(
        faulty,
        DRAW,
        *((source, metadata) for source, metadata, _, _ in PLANTS.values()),
    )
    write(folder / "eps.ipynb", *EPS)
    bad = [folder / f"bad{number}.ipynb" for number in range(len(BAD))]
    for path, sources in zip(bad, BAD, strict=True):
        write(path, *sources)
    before = [path.read_bytes() for path in bad]

    done = run(ROOT, ROOT / "tools" / "refresh.py", *sorted(folder.glob("*.ipynb")))

    # A notebook that fails, warns or has no cells is reported and left alone.
    assert "3 of 7 notebooks failed" in done.stderr
    assert "has no cells" in done.stderr
    assert done.returncode != 0
    assert [path.read_bytes() for path in bad] == before
    for path in bad:
        path.unlink()
    notebook = nbformat.read(faulty, as_version=4)
    for cell, (_, _, plant, _) in zip(notebook.cells[1:], PLANTS.values(), strict=True):
        plant(cell)
    nbformat.write(notebook, faulty)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """Return what the tests say of these notebooks."""
    return outcomes(folder)


def test_two_runs_give_the_same_bytes(folder):
    assert (folder / "healthy.ipynb").read_bytes() == (
        folder / "twin.ipynb"
    ).read_bytes()


def test_a_healthy_notebook_passes(found):
    assert found["healthy"] == [None] * 4
    assert found["faulty"][0] is None


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_caught(found, name):
    said, expected = found["faulty"][1 + list(PLANTS).index(name)], PLANTS[name][-1]
    assert (
        (said is None) if expected is None else (said is not None and expected in said)
    ), said


def test_a_notebook_that_asserts_nothing_is_caught(found):
    assert "nothing in this notebook is asserted" in found["eps"][0]


def test_a_wrong_eps_in_the_library_is_caught(folder, found, tmp_path):
    assert found["eps"][1] is None
    book = tmp_path / "book"
    book.mkdir()
    shutil.copy(folder / "eps.ipynb", book)
    patched = tmp_path / "patched"
    shutil.copytree(
        ROOT / "bnlib", patched / "bnlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    source = patched / "bnlib" / "functional.py"
    text, changes = re.subn(
        r"\beps((?:: float)?\s*=\s*)1e-0?5", r"eps\g<1>1e-3", source.read_text()
    )
    assert changes
    source.write_text(text)
    cells = outcomes(book, PYTHONPATH=str(patched))["eps"]
    assert "Cell outputs differ" in cells[1]


def test_a_notebook_that_is_edited_as_text_comes_back_whole():
    for path in (ROOT / "book").rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in path.parts:
            stored = read(path)
            text = jupytext.writes(stored, "md:myst")
            edited = combine_inputs_with_outputs(
                jupytext.reads(text, "md:myst"), stored
            )
            assert canonical(edited) == canonical(stored), path


def test_the_commands_that_edit_a_notebook_as_text(tmp_path):
    name = "book/2-build/forward.ipynb"
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    to_text, to_notebook = re.findall(r"^ *\.venv/bin/(jupytext .*)$", guide, re.M)
    (tmp_path / name).parent.mkdir(parents=True)
    shutil.copy(ROOT / name, tmp_path / name)
    terminal = {"HOME": str(tmp_path), "LC_ALL": "C", "PYTHONUTF8": "0"}
    old, new = "1,024 samples", "1,025 samples"
    for command in (to_text, to_notebook):
        done = run(tmp_path, "-m", *command.split(), **terminal)
        assert done.returncode == 0, done.stderr
        text = tmp_path / "forward.md"
        source = text.read_text(encoding="utf-8")
        text.write_text(source.replace(old, new), encoding="utf-8")
    assert new in source
    stored, edited = canonical(read(ROOT / name)), canonical(read(tmp_path / name))
    for before, after in zip(stored.cells, edited.cells, strict=True):
        assert after.source == before.source.replace(old, new)
        assert after.metadata == before.metadata
        assert after.get("outputs") == before.get("outputs")
