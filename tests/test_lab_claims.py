"""A claim is judged by its measurement, and a chapter fails where the two part."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import IPython.display
import nbformat
import numpy as np
import pytest

from bnlib import BatchNorm1d, Linear, ReLU, Sequential
from bnlib.lab import claims
from bnlib.lab.claims import Claim, ClaimError, Result
from bnlib.lab.data import small_digits
from bnlib.lab.training import accuracy, fit
from bnlib.optim import SGD

ROOT = Path(__file__).parents[1]
ENTRY = """
[gain]
sentence = "X gains."
source = "ioffe2015"
measure = "Gain, in points"
true_from = 1.0
stated = { wide = [1.5, 2.5], deep = [1.5, 2.5] }
verdict = "holds"
"""
TWO = [1.9, 1.95, 2, 2.05, 2.1]


@pytest.fixture(autouse=True)
def listed(tmp_path, monkeypatch):
    """Put a list of one claim in place of the book's; return a function that changes it."""
    monkeypatch.delenv("BNLIB_MNIST", raising=False)
    monkeypatch.setattr(claims, "LIST", tmp_path / "ledger")
    chapter = tmp_path / "ledger" / "3-evidence" / "speed.toml"
    chapter.parent.mkdir(parents=True)

    def write(old="", new=""):
        assert old in ENTRY
        chapter.write_text(ENTRY.replace(old, new, 1) if old else ENTRY + new)

    write()
    return write


@pytest.fixture
def shown(monkeypatch):
    """Catch what is displayed."""
    calls = []

    def display(bundle, metadata, raw):
        calls.append((bundle, metadata, raw))

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


# the list


def test_an_entry_is_read():
    stated = {"wide": [1.5, 2.5], "deep": [1.5, 2.5]}
    words = ("gain", "3-evidence/speed", "X gains.", "ioffe2015", "Gain, in points")
    claim = Claim(*words, true_from=1.0, true_to=np.inf, stated=stated, verdict="holds")
    assert claims.read_claims() == {"gain": claim}


def test_one_part_needs_no_name(listed):
    listed("{ wide = [1.5, 2.5], deep = [1.5, 2.5] }", "[1, 2]")
    claim = claims.read_claims()["gain"]
    assert claim.stated == {"all": [1, 2]}
    text = claims.markdown(claim, Result("gain", "holds", {"all": [2, 1, 3, 5]}))
    assert "Gain, in points, median and range of 5 seeds: **2** (1 to 3).\n" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "ioffe2015"\n', "", "3-evidence/speed, gain: expected"),
        ('source = "ioffe2015"', 'origin = "ioffe2015"', "expected .* got .*origin"),
        ('verdict = "holds"', 'verdict = "true"', "one of .*, got 'true'"),
        ("true_from = 1.0\n", "", "true_from or true_to, got neither"),
        ("[1.5, 2.5]", "[2.5, 1.5]", "intervals"),
        ("{ wide = [1.5, 2.5], deep = [1.5, 2.5] }", "{}", "intervals"),
    ],
)
def test_a_bad_entry_is_refused(listed, old, new, message):
    listed(old, new)
    with pytest.raises(ValueError, match=message):
        claims.read_claims()


def test_an_id_that_two_chapters_take_is_refused():
    (claims.LIST / "3-evidence" / "again.toml").write_text(ENTRY)
    with pytest.raises(ValueError, match="speed: gain is in 3-evidence/again too"):
        claims.read_claims()


# the verdict

HIGH, MIXED, LOW = [2.0] * 5, [0.5, 0.5, 1.5, 2, 2], [0.5, 0.5, 0.5, 2, 2]


@pytest.mark.parametrize(
    ("wide", "deep", "verdict"),
    [
        (HIGH, HIGH, "holds"),
        (HIGH, MIXED, "holds in part"),
        (MIXED, MIXED, "holds in part"),
        (HIGH, LOW, "holds in part"),
        (LOW, MIXED, "holds in part"),
        (LOW, LOW, "does not replicate"),
        ([1.0] * 5, HIGH, "holds"),
    ],
)
def test_the_verdict(wide, deep, verdict):
    claim = claims.read_claims()["gain"]
    assert claims.judge(claim, {"wide": wide, "deep": deep}).verdict == verdict
    # Upside down, with an upper bound, it is the same.
    mirrored = claim._replace(true_from=-np.inf, true_to=-claim.true_from)
    parts = {"wide": -np.array(wide), "deep": -np.array(deep)}
    assert claims.judge(mirrored, parts).verdict == verdict


def test_the_numbers_are_median_range_and_seeds_to_three_digits():
    values = [1.23456, 30.0, 2.34567, 1.0, 99.99]
    result = claims.judge(
        claims.read_claims()["gain"], {"wide": values, "deep": [*TWO, 3]}
    )
    assert result.parts["wide"] == [2.35, 1.0, 100.0, 5]
    assert result.parts["deep"] == [2.02, 1.9, 3.0, 6]


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"wide": TWO}, r"expected parts \['wide', 'deep'\] for gain, got \['wide'\]"),
        ({"wide": TWO, "narrow": TWO}, "got .*narrow"),
        ({"wide": TWO, "deep": TWO[:4]}, "at least 5 finite numbers for gain, deep"),
        ({"wide": TWO, "deep": [*TWO, np.nan]}, "finite numbers"),
        ({"wide": [np.inf, *TWO], "deep": TWO}, "finite numbers"),
        ({"wide": TWO, "deep": [TWO] * 5}, "finite numbers"),
    ],
)
def test_a_bad_measurement_is_refused(measured, message):
    with pytest.raises(ValueError, match=message):
        claims.judge(claims.read_claims()["gain"], measured)


# a cell


def test_a_claim_that_stands_is_shown(shown):
    claims.check("gain", {"wide": TWO, "deep": [-v for v in [-2, -2, -2, -2, -9e5]]})
    ((bundle, metadata, raw),) = shown
    text = bundle["text/markdown"]
    assert raw
    assert text.startswith(":::{admonition} Claim ● holds\n")
    assert ":name: claim-gain\n" in text
    assert "\nX gains {cite}`ioffe2015`.\n" in text
    assert "of 5 seeds; wide: **2** (1.9 to 2.1); deep: **2** (2 to 900000)." in text
    result = metadata["bnlib_claim"]
    assert json.loads(json.dumps(result)) == result
    assert Result(**result).parts["wide"] == [2.0, 1.9, 2.1, 5]


def test_numbers_below_zero_have_a_minus_sign_and_folklore_no_citation(listed, shown):
    listed('source = "ioffe2015"', 'source = "folklore"')
    claim = claims.read_claims()["gain"]._replace(stated={"pre-act": [-1, 0]})
    result = Result("gain", "holds", {"pre-act": [-0.5, -1e-5, 1.0, 5]})
    text = claims.markdown(claim, result)
    assert "X gains (folklore)." in text
    assert "pre-act: **−0.5** (−1e−05 to 1)." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("true_from = 1.0", "true_from = 1.92"), "expected 'holds', measured 'holds"),
        (("true_from = 1.0", "true_from = 3.0"), "measured 'does not replicate'"),
        (('= "holds"', '= "holds in part"'), "expected 'holds in part', measured"),
        (("[1.5, 2.5]", "[2.1, 2.5]"), "gain, wide: expected a median from 2.1"),
        (("[1.5, 2.5]", "[1.5, 1.9]"), "gain, wide: .* to 1.9, got 2.0"),
        (("[gain]", "[loss]"), "gain is not listed"),
    ],
)
def test_a_claim_that_does_not_stand_stops_the_chapter(listed, shown, change, message):
    listed(*change)
    with pytest.raises(ClaimError, match=message):
        claims.check("gain", {"wide": TWO, "deep": TWO})


def test_real_mnist_is_measured_but_not_held_to_the_list(shown, monkeypatch):
    monkeypatch.setenv("BNLIB_MNIST", "somewhere")
    claims.check("gain", {"wide": LOW, "deep": LOW})
    assert "does not replicate" in shown[0][0]["text/markdown"]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_claim_breaks_with_the_thing_that_it_is_about(listed, shown, frozen):
    """BN learns the digits fast; with γ frozen at 0 it learns nothing."""
    digits = small_digits().flat()

    def final(seed):
        rng = np.random.default_rng(seed)
        norm, head = BatchNorm1d(32), Linear(32, 10, rng=rng)
        net = Sequential(Linear(64, 32, bias=False, rng=rng), norm, ReLU(), head)
        if frozen:
            norm.weight.data[...] = 0
        trained = [p for p in net.parameters() if p is not norm.weight]
        fit(net, digits, SGD(trained, lr=0.5), steps=40, batch_size=32, rng=rng)
        return 2 * accuracy(net, digits.x_val, digits.y_val)

    values = [final(seed) for seed in range(5)]
    measured = {"wide": values, "deep": values}
    if frozen:
        with pytest.raises(ClaimError, match="measured 'does not replicate'"):
            claims.check("gain", measured)
    else:
        claims.check("gain", measured)


# what the chapters stored


def run(*command):
    """Run a Python command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_chain_from_the_cell_to_the_tests_of_the_book(tmp_path):
    # In a copy of the healthy cell each: numbers may differ within their interval, words may not.
    tampered = {
        "number": ("**2** (−3 to 2)", "**2.01** (−3.02 to 2)"),
        "verdict": ("◐ holds in part", "● holds"),
        "sentence": ("X gains", "X gains much"),
        "interval": ("", ""),  # moved in the list, below
    }
    folder = tmp_path / "book" / "3-evidence"
    folder.mkdir(parents=True)
    entry = ENTRY.replace('"holds"', '"holds in part"')
    entries = {key: entry.replace("gain", key, 1) for key in tampered}
    listed = claims.LIST / "3-evidence" / "speed.toml"
    listed.write_text("".join(entries.values()))
    sources = ["from pathlib import Path\n\nfrom bnlib.lab import claims"]
    sources += ['claims.LIST = Path("../../ledger")']
    measured = '{"wide": [2] * 5, "deep": [2, 2, 2, 2, -3]}'
    sources += [f'claims.check("{key}", {measured})' for key in tampered]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / "speed.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    done = run(ROOT / "tools" / "refresh.py", path)
    assert done.returncode == 0, done.stderr

    results = claims.stored_results(tmp_path / "book")
    parts = {"wide": [2, 2, 2, 5], "deep": [2, -3, 2, 5]}
    place = "3-evidence/speed"
    for key in tampered:
        assert results[key] == (place, Result(key, "holds in part", parts))
    table = claims.ledger(claims.read_claims(), results)
    assert "`ioffe2015`.\n  - Gain, in points; wide: **2** (2 to 2)" in table
    assert table.count("{doc}`/book/3-evidence/speed`") == 1
    assert table.count("\n  - ◐ holds in part\n") == 4

    notebook = nbformat.read(path, as_version=4)
    for cell, (old, new) in zip(notebook.cells[2:], tampered.values(), strict=True):
        data = cell.outputs[0]["data"]
        assert old in data["text/markdown"]
        data["text/markdown"] = data["text/markdown"].replace(old, new)
    nbformat.write(notebook, path)
    entries["interval"] = entries["interval"].replace("[1.5, 2.5]", "[2.1, 2.5]", 1)
    listed.write_text("".join(entries.values()))
    shutil.copy(ROOT / "book" / "conftest.py", folder)
    options = []
    for plugin in ("cacheprovider", "xdist", "cov", "hypothesispytest"):
        options += ["-p", f"no:{plugin}"]
    options += ["-c", ROOT / "pyproject.toml", "--rootdir", folder, "-rA"]
    done = run("-m", "pytest", *options, folder)
    failed = re.findall(r"^FAILED .*::Cell (\d)", done.stdout, re.MULTILINE)
    assert failed == ["3", "4", "5"], done.stdout
    assert "interval, wide: expected a median from 2.1 to 2.5, got 2.0" in done.stdout


def test_a_claim_that_is_measured_twice_is_refused(tmp_path, listed):
    output = nbformat.v4.new_output(
        "display_data", metadata={"bnlib_claim": Result("gain", "holds", {})._asdict()}
    )
    cell = nbformat.v4.new_code_cell("check", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    for name in ("a.ipynb", "b.ipynb"):
        nbformat.write(notebook, tmp_path / name)
    with pytest.raises(ValueError, match="gain stands twice"):
        claims.stored_results(tmp_path)
