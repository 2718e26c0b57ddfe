"""A claim is judged by its measurement, and a chapter fails where the two part."""

import json
import math
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
from bnlib.lab.claims import Claim, ClaimError, Part, Result
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
"""
TWO = [1.9, 1.95, 2, 2.05, 2.1]


@pytest.fixture(autouse=True)
def listed(tmp_path, monkeypatch):
    """Put a list of one claim in place of the book's; return a function that changes it."""
    for name in ("BNLIB_MNIST", "BNLIB_CONFIRM", "BNLIB_BUDGET"):
        monkeypatch.delenv(name, raising=False)
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
    claim = Claim(*words, true_from=1.0, true_to=np.inf, stated=stated)
    assert claims.read_claims() == {"gain": claim}


def test_one_part_needs_no_name(listed):
    listed("{ wide = [1.5, 2.5], deep = [1.5, 2.5] }", "[1, 2]")
    claim = claims.read_claims()["gain"]
    assert claim.stated == {"all": [1, 2]}
    text = claims.markdown(claim, Result("gain", {"all": Part(2, 1, 3, 5, "")}))
    assert "\n|  | explored, 5 seeds |\n| --- | --- |\n|  | **2** (1 to 3) |\n" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "ioffe2015"\n', "", "3-evidence/speed, gain: expected"),
        ('source = "ioffe2015"', 'origin = "ioffe2015"', "expected .* got .*origin"),
        ("[gain]", '[gain]\nkind = "true"', "one of .*, got 'true'"),
        ("[gain]", '[gain]\nverdict = "holds"', "got .*verdict"),
        ("true_from = 1.0\n", "", "true_from or true_to, got neither"),
        ("[1.5, 2.5]", "[2.5, 1.5]", "intervals"),
        ("{ wide = [1.5, 2.5], deep = [1.5, 2.5] }", "{}", "intervals"),
        ("[gain]", '[gain]\ndigits = ["high"]', "digits as some of its parts"),
        ("[gain]", "[gain]\ndigits = []", "digits as some of its parts"),
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


# the interval and the verdict


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (12, 3), (24, 7)]
)
def test_the_interval_is_the_narrowest_that_holds_the_median(n, k):
    values = np.random.default_rng(0).permutation(n)
    assert claims.interval(values) == (k - 1, n - k)

    def outside(k):
        return 2 * sum(math.comb(n, i) for i in range(k)) / 2**n

    assert outside(k) <= 0.05 or k == 1
    assert outside(k + 1) > 0.05


def test_how_often_an_interval_holds_the_median():
    drawn = np.random.default_rng(0).exponential(size=(4000, 12))
    found = np.array([claims.interval(values) for values in drawn])
    held = (found[:, 0] <= np.log(2)) & (np.log(2) <= found[:, 1])
    assert abs(held.mean() - 0.9614) < 0.015
    low, high = claims.interval(drawn[0], level=0.5)
    assert found[0, 0] < low < high < found[0, 1]


@pytest.mark.parametrize("values", [[], [[1, 2]], [1, np.nan]])
def test_no_interval_of_nothing(values):
    with pytest.raises(ValueError, match="expected"):
        claims.interval(values)


HIGH, MIXED, LOW = [2.0] * 5, [0.5, 0.5, 1.5, 2, 2], [0.5, 0.5, 0.5, 0.6, 0.9]


@pytest.mark.parametrize(
    ("wide", "deep", "verdict"),
    [
        (HIGH, HIGH, "supported"),
        (HIGH, MIXED, "supported in part"),
        (MIXED, MIXED, "not found"),
        (HIGH, LOW, "supported in part"),
        (LOW, MIXED, "not found"),
        (LOW, LOW, "not found"),
        ([1.0] * 5, HIGH, "supported"),
    ],
)
def test_the_verdict(wide, deep, verdict):
    claim = claims.read_claims()["gain"]
    result = claims.judge(claim, {"wide": wide, "deep": deep})
    assert claims.overall([result]) == verdict
    # Upside down, with an upper bound, it is the same.
    mirrored = claim._replace(true_from=-np.inf, true_to=-claim.true_from)
    parts = {"wide": -np.array(wide), "deep": -np.array(deep)}
    assert claims.overall([claims.judge(mirrored, parts)]) == verdict
    settings = {"[2.0": "supported", "[1.0": "supported", "[0.5": "contradicted"}
    for name, values in (("wide", wide), ("deep", deep)):
        expected = "undecided" if values is MIXED else settings[str(values)[:4]]
        assert result.parts[name].verdict == expected


def test_a_claim_needs_support_on_all_pictures():
    claim = claims.read_claims()["gain"]
    high = claims.judge(claim, {"wide": HIGH, "deep": HIGH})
    low = claims.judge(claim, {"wide": LOW, "deep": LOW})
    assert claims.overall([high, high]) == "supported"
    assert claims.overall([high, low]) == "supported in part"
    assert claims.overall([low, low]) == "not found"


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
def test_noise_is_seldom_taken_for_an_effect(draw):
    """Where the median is the bound of the claim, a verdict for or against it is wrong."""
    claim = claims.read_claims()["gain"]._replace(stated={"all": [0, 1]})
    noise = getattr(np.random.default_rng(0), draw)(size=(3000, 12))
    if draw == "exponential":
        noise -= np.log(2)
    found = [
        claims.judge(claim, {"all": 1 + values}).parts["all"].verdict
        for values in noise
    ]
    assert 0.02 < np.mean([verdict != "undecided" for verdict in found]) < 0.05


def test_more_seeds_decide_more():
    claim = claims.read_claims()["gain"]._replace(stated={"all": [0, 1]})
    rng = np.random.default_rng(0)

    def power(n):
        drawn = rng.normal(1.8, 1, (400, n))
        results = [claims.judge(claim, {"all": values}) for values in drawn]
        return np.mean([r.parts["all"].verdict == "supported" for r in results])

    powers = [power(n) for n in (6, 12, 24, 48)]
    assert powers == sorted(powers)
    assert powers[0] < 0.4
    assert powers[-1] > 0.95


def test_the_numbers_are_median_interval_and_seeds_to_three_digits():
    values = [1.23456, 30.0, 2.34567, 1.0, 99.99]
    result = claims.judge(
        claims.read_claims()["gain"], {"wide": values, "deep": [*TWO, 3]}
    )
    assert result.parts["wide"] == (2.35, 1.0, 100.0, 5, "supported")
    assert result.parts["deep"] == (2.02, 1.9, 3.0, 6, "supported")


def test_a_rounded_number_stays_on_its_side_of_what_is_claimed(listed):
    listed("true_from = 1.0", "true_from = 1.0\ntrue_to = 1.02")
    over, under = [1.02001, *4 * [1.02015], 1.0206], 6 * [0.99996]
    result = claims.judge(claims.read_claims()["gain"], {"wide": over, "deep": under})
    wide, deep = result.parts["wide"], result.parts["deep"]
    assert (wide.median, wide.low, wide.high) == (1.0201, 1.02001, 1.021)
    assert 0.9999 < deep.high < 1.0
    assert wide.verdict == deep.verdict == "contradicted"


def test_what_is_claimed_itself_is_not_moved(listed):
    listed("true_from = 1.0", "true_from = 1.0\ntrue_to = 1.02")
    same = claims.judge(
        claims.read_claims()["gain"], dict.fromkeys(("wide", "deep"), 6 * [1.02])
    )
    assert {part.verdict for part in same.parts.values()} == {"supported"}
    assert same.parts["wide"].median == 1.02


def test_a_run_that_never_got_there_counts():
    result = claims.judge(
        claims.read_claims()["gain"], {"wide": [*TWO, np.inf], "deep": TWO}
    )
    assert result.parts["wide"] == (2.02, 1.9, np.inf, 6, "supported")


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"wide": TWO}, r"expected parts \['wide', 'deep'\] for gain, got \['wide'\]"),
        ({"wide": TWO, "narrow": TWO}, "got .*narrow"),
        ({"wide": TWO, "deep": TWO[:4]}, "at least 5 numbers for gain, deep"),
        ({"wide": TWO, "deep": [*TWO, np.nan]}, "at least 5 numbers"),
        ({"wide": TWO, "deep": [TWO] * 5}, "at least 5 numbers"),
    ],
)
def test_a_bad_measurement_is_refused(measured, message):
    with pytest.raises(ValueError, match=message):
        claims.judge(claims.read_claims()["gain"], measured)


# the confirmation


@pytest.fixture
def confirm(monkeypatch):
    """Return a function that writes values into the committed file."""
    monkeypatch.setattr(claims, "_confirmed", claims._confirmed.__wrapped__)

    def write(claim, **values):
        entry = {"fingerprint": claims.fingerprint(claim)}
        chapters = {
            how: {claim.chapter: {"claims": {claim.id: {**entry, "values": of}}}}
            for how, of in values.items()
        }
        (claims.LIST / "confirmed.json").write_text(json.dumps(chapters))

    return write


def test_what_was_confirmed_stands_beside_what_was_explored(confirm):
    claim = claims.read_claims()["gain"]
    explored = claims.judge(claim, {"wide": TWO, "deep": TWO})
    assert claims.confirmed(claim) is None
    assert "Claim not confirmed yet\n" in claims.markdown(claim, explored)
    twelve = {"wide": [3.0] * 12, "deep": [0.5] * 12}
    confirm(claim, drawn=twelve)
    assert claims.confirmed(claim) == claims.judge(claim, twelve)
    assert claims.confirmed(claim, "mnist") is None
    text = claims.markdown(claim, explored)
    assert ":::{admonition} Claim ◐ supported in part: 1 of 2\n" in text
    assert "|  | explored, 5 seeds | drawn digits, 12 new seeds |\n" in text
    assert "| deep | **2** (1.9 to 2.1) | ○ **0.5** (0.5 to 0.5) |" in text
    confirm(claim, drawn={"wide": HIGH, "deep": HIGH}, mnist=twelve)
    assert "in part: 3 of 4\n" in claims.markdown(claim, explored)
    table = claims.ledger({"gain": claim}, {"gain": (claim.chapter, explored)})
    wide, deep = "  - ● **3** (3 to 3)\n", "  - ○ **0.5** (0.5 to 0.5)\n"
    drawn = "  - ● **2** (2 to 2)\n"
    assert f"* - – wide\n  - **2** (1.9 to 2.1)\n{drawn}{wide}" in table
    assert f"* - – deep\n  - **2** (1.9 to 2.1)\n{drawn}{deep}" in table
    assert "\n* - ◐ supported in part: 3 of 4, {ref}`gain <claim-gain>`: " in table


def test_a_part_without_digits_counts_once(confirm):
    claim = claims.read_claims()["gain"]._replace(digits=["deep"])
    values = {"wide": [3.0] * 12, "deep": [0.5] * 12}
    confirm(claim, drawn=values, mnist=values)
    assert list(claims.confirmed(claim).parts) == ["wide", "deep"]
    assert list(claims.confirmed(claim, "mnist").parts) == ["deep"]
    text = claims.markdown(claim, claims.judge(claim, values))
    assert ":::{admonition} Claim ◐ supported in part: 1 of 3\n" in text
    number = "**3** (3 to 3)"
    assert f"| wide | {number} | ● {number} | — |\n" in text


@pytest.mark.parametrize(
    "change",
    [
        {"sentence": "X gains much."},
        {"measure": "Gain"},
        {"true_from": 1.5},
        {"true_to": 9.0},
        {"stated": {"wide": [1, 2]}},
        {"steps": 10},
        {"kind": "identity"},
    ],
)
def test_a_claim_that_changed_after_its_confirmation_has_none(confirm, change):
    claim = claims.read_claims()["gain"]
    confirm(claim, drawn={"wide": TWO, "deep": TWO})
    assert claims.confirmed(claim)
    assert claims.confirmed(claim._replace(**change)) is None
    # Nobody has to measure again for a source, or for an interval of the exploration.
    stated = {"deep": [0.0, 9.0], "wide": [0.0, 9.0]}
    assert claims.confirmed(claim._replace(source="ours", stated=stated))


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("identity", "true by construction"), ("control", "control: undecided")],
)
def test_what_is_not_counted_says_so(confirm, kind, verdict):
    claim = claims.read_claims()["gain"]._replace(kind=kind)
    confirm(claim, drawn={"wide": MIXED, "deep": MIXED})
    result = claims.judge(claim, {"wide": TWO, "deep": TWO})
    assert f"Claim {verdict}\n" in claims.markdown(claim, result)


def test_while_claims_are_confirmed_each_value_is_written_down(
    shown, tmp_path, monkeypatch
):
    file = tmp_path / "values.json"
    monkeypatch.setenv("BNLIB_CONFIRM", str(file))
    claims.check("gain", {"deep": LOW, "wide": [1.23456789, 2, 3, 4, np.inf]})
    entry = json.loads(file.read_text())["gain"]
    assert entry["values"] == {"wide": [1.23457, 2, 3, 4, np.inf], "deep": LOW}
    assert entry["fingerprint"] == claims.fingerprint(claims.read_claims()["gain"])
    assert len(shown) == 1


# a cell


def test_a_claim_is_shown_with_what_was_measured(shown):
    claims.check("gain", {"wide": TWO, "deep": [-v for v in [-2, -2, -2, -2, -9e5]]})
    ((bundle, metadata, raw),) = shown
    text = bundle["text/markdown"]
    assert raw
    assert text.startswith(":::{admonition} Claim not confirmed yet\n")
    assert ":name: claim-gain\n" in text
    assert "\nX gains {cite}`ioffe2015`.\n\nGain, in points:\n\n" in text
    assert "| wide | **2** (1.9 to 2.1) |\n| deep | **2** (2 to 900000) |\n" in text
    html = bundle["text/html"]  # the same words and numbers
    assert "<b>Claim not confirmed yet</b>\n<p>X gains (Ioffe 2015).</p>\n" in html
    assert "<tr><td>deep</td><td><b>2</b> (2 to 900000)</td></tr>" in html
    stored = json.loads(json.dumps(metadata["bnlib_claim"]))
    assert claims.restored(stored).parts["wide"] == (2.0, 1.9, 2.1, 5, "supported")


def test_numbers_below_zero_have_a_minus_sign_and_ours_no_citation(listed, shown):
    listed('source = "ioffe2015"', 'source = "ours"')
    claim = claims.read_claims()["gain"]._replace(stated={"pre-act": [-1, 0]})
    result = Result("gain", {"pre-act": Part(-0.5, -1e-5, 1.0, 5, "undecided")})
    text = claims.markdown(claim, result)
    assert "X gains (ours)." in text
    assert "| pre-act | **−0.5** (−1e−05 to 1) |" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
    assert "**0.5**" in shown[0][0]["text/markdown"]


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
        with pytest.raises(ClaimError, match="gain, wide: expected a median"):
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
        "verdict": ("not confirmed yet", "● supported"),
        "sentence": ("X gains", "X gains much"),
        "interval": ("", ""),  # moved in the list, below
    }
    folder = tmp_path / "book" / "3-evidence"
    folder.mkdir(parents=True)
    entries = {key: ENTRY.replace("gain", key, 1) for key in tampered}
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
    wide, deep = Part(2, 2, 2, 5, "supported"), Part(2, -3, 2, 5, "undecided")
    place = "3-evidence/speed"
    for key in tampered:
        assert results[key] == (place, Result(key, {"wide": wide, "deep": deep}))
    table = claims.ledger(claims.read_claims(), results)
    assert "`ioffe2015`. *Gain, in points*\n  - \n  - \n  - \n" in table
    assert "* - – wide\n  - **2** (2 to 2)\n  - —\n  - —\n" in table
    assert table.count("{doc}`/book/3-evidence/speed`") == 1
    assert table.count("\n* - not confirmed yet, {ref}`") == 4

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
        "display_data", metadata={"bnlib_claim": Result("gain", {})._asdict()}
    )
    cell = nbformat.v4.new_code_cell("check", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    for name in ("a.ipynb", "b.ipynb"):
        nbformat.write(notebook, tmp_path / name)
    with pytest.raises(ValueError, match="gain stands twice"):
        claims.stored_results(tmp_path)
