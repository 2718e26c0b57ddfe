"""The notebooks for readers: plain Markdown, folded solutions, captions, and nothing lost."""

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
MYST = re.compile(r"\{[\w:-]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$|^\$\$ \(|^:\w+: ", re.M)
spec = importlib.util.spec_from_file_location("reader", ROOT / "tools" / "reader.py")
reader = importlib.util.module_from_spec(spec)
sys.modules["reader"] = reader
sys.path.insert(0, str(ROOT / "tools"))  # it imports its neighbours
spec.loader.exec_module(reader)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with all notebooks as readers get them."""
    made = tmp_path_factory.mktemp("reader")
    reader.main([str(made)])
    return made


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """Return a folder with all notebooks as a class gets them."""
    made = tmp_path_factory.mktemp("exercises")
    reader.main([str(made), "--solutions=none"])
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Return a folder with all notebooks as a teacher gets them."""
    made = tmp_path_factory.mktemp("solutions")
    reader.main([str(made), "--solutions=open"])
    return made


def read(path):
    """Return the cells of a notebook: those of text, and those of code."""
    cells = nbformat.read(path, as_version=4).cells
    kinds = ("markdown", "code")
    return ([c for c in cells if c.cell_type == kind] for kind in kinds)


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_needs_to_know_markdown_alone(folder, page):
    text, code = read(folder / page)
    shown = [c.source for c in text]
    outputs = [output for cell in code for output in cell.outputs]
    shown += [o.get("data", {}).get("text/markdown", "") for o in outputs]
    assert [found[0] for t in shown for found in MYST.finditer(t)] == []
    assert sum(t.count("<details>") - t.count("</details>") for t in shown) == 0


@pytest.mark.parametrize("page", PAGES)
def test_code_and_numbers_are_the_books_own(folder, page):
    _, code = read(folder / page)
    _, own = read(BOOK / page)
    assert [c.source for c in code] == [c.source for c in own]
    for cell, source in zip(code, own, strict=True):
        texts = (
            [[o.get("text"), o.get("data", {}).get("image/png")] for o in c.outputs]
            for c in (cell, source)
        )
        assert next(texts) == next(texts)


@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_hides_is_collapsed_and_each_figure_has_its_caption(folder, page):
    cells = nbformat.read(folder / page, as_version=4).cells
    _, own = read(BOOK / page)
    code = [at for at, cell in enumerate(cells) if cell.cell_type == "code"]
    for at, source in zip(code, own, strict=True):
        if reader.HIDDEN & {*source.metadata.get("tags", [])}:
            assert cells[at].metadata.jupyter.source_hidden
        caption = source.metadata.get("mystnb", {}).get("figure", {}).get("caption")
        if caption:
            below = cells[at + 1].source
            assert re.match(r"\*Fig\. [\w.-]+\.\* ", below)
            assert below.split()[-1] == caption.split()[-1]


@pytest.mark.parametrize("page", PAGES)
def test_no_solution_stands_open(folder, page):
    """Between the start and the end of a solution text is folded, and code is hidden."""
    source = (BOOK / page).read_text(encoding="utf-8")
    cells = nbformat.read(folder / page, as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert text.count("> **Exercise ") == source.count("```{exercise}")
    inside = False
    expected, own = [], nbformat.read(BOOK / page, as_version=4).cells
    for cell in own:
        if cell.cell_type == "code":
            expected.append(inside)
        else:
            for marker in re.findall(r"\{solution-(start|end)\}", cell.source):
                inside = marker == "start"
    hidden = [
        c.metadata.get("jupyter", {}).get("outputs_hidden", False)
        for c in cells
        if c.cell_type == "code"
    ]
    assert hidden == expected


def solved(page):
    """Return the sources of a notebook's code cells: outside its solutions, and inside."""
    inside, cells = False, ([], [])
    for cell in nbformat.read(BOOK / page, as_version=4).cells:
        if cell.cell_type == "code":
            cells[inside].append(cell.source)
        for marker in re.findall(r"\{solution-(start|end)\}", cell.source):
            inside = marker == "start"
    return cells


@pytest.mark.parametrize("page", PAGES)
def test_a_class_gets_no_solution_but_a_cell_for_each_answer(without, page):
    text, code = map(list, read(without / page))
    source = "\n".join(c.source for c in next(read(BOOK / page)))
    asked = re.findall(r"\{exercise\}.*\n:label: (ex-[\w-]+)", source)
    answers = [c for c in code if c.id.startswith("answer-")]
    assert [c.id for c in answers] == [f"answer-{label}" for label in asked]
    for cell in answers:
        label = cell.id.removeprefix("answer-")
        check = f'# exercises.check("{label}", '
        has_check = f'Check: `exercises.check("{label}"' in source
        assert (check in cell.source) == has_check
        assert "# your answer" in cell.source
        exec(cell.source, {})
    assert [c.source for c in code if c not in answers] == solved(page)[0]
    shown = "\n".join(c.source for c in text)
    assert "<summary>Solution" not in shown
    assert "**Solution**" not in shown
    assert shown.count("> **Exercise ") == len(asked)
    assert [found[0] for found in MYST.finditer(shown)] == []


def test_the_answer_stands_under_its_exercise(without):
    cells = nbformat.read(without / "2-build/forward.ipynb", as_version=4).cells
    for before, cell in pairwise(cells):
        if cell.id.startswith("answer-"):
            assert before.source.splitlines()[-1].startswith("> ")


@pytest.mark.parametrize("page", PAGES)
def test_a_teacher_gets_open_solutions(opened, page):
    text, code = read(opened / page)
    source = (BOOK / page).read_text(encoding="utf-8")
    shown = "\n".join(c.source for c in text)
    assert "<details>" not in shown
    assert shown.count("**Solution**") == source.count("{solution-start}")
    _, own = read(BOOK / page)
    assert [c.source for c in code] == [c.source for c in own]
    inside = solved(page)[1]
    for cell in code:
        if cell.source in inside:
            assert "outputs_hidden" not in cell.metadata.get("jupyter", {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_that_are_there(folder, page):
    text, _ = read(folder / page)
    links = re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)", "\n".join(c.source for c in text)
    )
    relative = [link for link in links if not link.startswith("http")]
    missing = [link for link in relative if not ((BOOK / page).parent / link).exists()]
    assert missing == []


def test_numbers_are_those_of_the_page():
    targets = reader.find_targets()
    assert targets["eq-forward-rate"].text == "(2.1)"
    assert targets["fig-conditioning"].text == "Fig. 2.2"
    assert targets["ex-forward-bound"].text == "Exercise 2.2"


def test_a_notebook_that_was_changed_is_kept(tmp_path, capsys):
    reader.main([str(tmp_path)])
    paths = [tmp_path / "2-build" / f"{name}.ipynb" for name in ("forward", "backward")]
    mine, run = (nbformat.read(path, as_version=4) for path in paths)
    mine.cells[2].source += "\nmine = 1"
    nbformat.write(mine, paths[0])
    run.cells[-1].metadata["mine"] = True  # its cells are as they were
    nbformat.write(run, paths[1])
    reader.main([str(tmp_path)])
    assert "forward.ipynb was changed, and is kept" in capsys.readouterr().out
    assert "mine = 1" in nbformat.read(paths[0], as_version=4).cells[2].source
    again = nbformat.read(paths[1], as_version=4)
    assert "mine" not in again.cells[-1].metadata
