"""What teachers get: slides and figures of the book's own, a homework, and a way to grade it."""

import csv
import importlib
import io
import re
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from bnlib.lab import exercises, explorers
from bnlib.lab.exercises import __main__ as grading

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "book" / "teaching").glob("*.md"))
PAGE = (ROOT / "book" / "appendix" / "teaching.md").read_text("utf-8")


@pytest.fixture(scope="module")
def lessons():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("lessons")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def written(lessons, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teaching")
    lessons.write(folder)
    return folder


def test_the_archive_holds_all_figures_and_says_what_they_show(written):
    with zipfile.ZipFile(written / "figures.zip") as archive:
        table = list(
            csv.DictReader(io.StringIO(archive.read("figures.csv").decode("utf-8")))
        )
        assert len(table) > 100
        for row in table:
            assert archive.read(row["file"]).startswith(b"\x89PNG")
            assert row["caption"]
            assert row["what is seen"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_slides_are_whole(lessons, written, path):
    text, page = path.read_text("utf-8"), (written / f"{path.stem}.html").read_text()
    assert (
        page.count('<section class="slide">')
        == len(re.findall("^---$", text, re.M)) + 1
    )
    assert page.count('class="note"') == page.count('<section class="slide">')
    for name in re.findall(r"^\{explorer\} (\w+)$", text, re.M):
        assert name in explorers.names()
        assert f'data-explorer="{name}"' in page
    assert page.count("<figure>") == text.count("![](")
    assert not re.search(r"\{explorer\}|!\[\]|\$\$|Note:", page)
    links = set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page))
    assert all(link.startswith("../") for link in links)
    for link in links - {"../_static/tex-svg.js"}:
        source = link.partition("#")[0].removeprefix("../").removesuffix(".html")
        assert [*ROOT.glob(f"{source}.*")], link


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_minutes_add_up(path):
    text = path.read_text("utf-8")
    whole = int(re.search(r"in (\d+) minutes", text)[1])
    minutes = [int(m) for m in re.findall(r"^Note: (\d+) minutes?\b(?!,)", text, re.M)]
    assert 0.9 * whole <= sum(minutes) <= 1.2 * whole
    assert f"A lesson of {whole} minutes" in PAGE


def test_an_unknown_figure_is_refused(lessons):
    with pytest.raises(KeyError, match="fig-nowhere"):
        lessons.slides("# A\n\n![](fig-nowhere)", {})


def test_the_homework_is_what_the_page_says(lessons, written):
    notebook = nbformat.read(written / "homework.ipynb", as_version=4)
    labels = [cell.id for cell in notebook.cells if cell.id.startswith("ex-")]
    assert labels == list(lessons.HOMEWORK)
    assert set(labels) <= set(exercises.names())
    rubric = PAGE.partition("## The homework")[2]
    assert re.findall(r"^\| \d \| \{ref\}`(ex-[\w-]+)`", rubric, re.M) == labels
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"\{\w+\}`|```\{", text)
    assert "solution" not in text.lower()


def test_a_notebook_is_graded(tmp_path, monkeypatch, capsys):
    cells = [
        "from bnlib.lab import exercises",
        "1 / 0",
        'exercises.check("ex-forward-four", [-5, -1, -1, 11])',
        'exercises.check("ex-forward-bound", 3)',
        'print("✓ ex-nonsense: right")',
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    file = tmp_path / "one.ipynb"
    nbformat.write(notebook, file)
    (tmp_path / "two.ipynb").write_text("no notebook")
    grading.main([str(file), str(tmp_path / "two.ipynb")])
    one, two = capsys.readouterr().out.strip().split("\n")
    assert one.endswith("1 right (ex-forward-four); wrong: ex-forward-bound")
    assert two.startswith(f"{tmp_path / 'two.ipynb'}: NotJSONError")
