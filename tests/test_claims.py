"""The book's claims: each is listed, measured in its chapter as listed, and in the ledger."""

import re
from pathlib import Path

import nbformat
import pytest

from bnlib.lab.claims import (
    confirmed,
    ledger,
    markdown,
    read_claims,
    stored_results,
)
from bnlib.lab.trial import LEAST

BOOK = Path(__file__).parents[1] / "book"
CONFIRMED = 88  # raised with the book, too
AT_LEAST = 95  # raised with the book: a claim that leaves list and chapter is noticed
CLAIMS, RESULTS = read_claims(), stored_results(BOOK)
SOURCES = re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), re.M)
measured = pytest.mark.parametrize("id_", sorted(CLAIMS.keys() & RESULTS.keys()))


def outputs(path):
    """Return what the cells of a notebook show as Markdown."""
    cells = nbformat.read(path, as_version=4).cells
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    return [output.get("data", {}).get("text/markdown", "") for output in shown]


def test_each_claim_that_is_listed_is_measured_and_each_measured_one_is_listed():
    assert set(CLAIMS) == set(RESULTS)


def test_no_claim_is_lost():
    assert len(CLAIMS) >= AT_LEAST


@pytest.mark.parametrize("id_", CLAIMS)
def test_each_claim_has_a_source_in_the_references_or_is_ours(id_):
    keys = re.split(r",\s*", CLAIMS[id_].source)
    assert keys == ["ours"] or set(keys) <= set(SOURCES)


@measured
def test_each_claim_is_measured_in_its_chapter_as_listed(id_):
    claim, (chapter, result) = CLAIMS[id_], RESULTS[id_]
    assert chapter == claim.chapter
    assert result.parts.keys() == claim.stated.keys()
    for name, part in result.parts.items():
        assert claim.stated[name][0] <= part.median <= claim.stated[name][1]
        assert part.low <= part.median <= part.high
        assert part.seeds >= 5


def confirmations(claim):
    """Return what was confirmed of a claim, on all pictures that it is about."""
    ways = ("drawn", "mnist") if claim.digits else ("drawn",)
    return [confirmed(claim, how) for how in ways]


def test_claims_are_confirmed_as_they_stand():
    """One that was changed after its confirmation has none: make confirm."""
    whole = [id_ for id_, claim in CLAIMS.items() if all(confirmations(claim))]
    assert len(whole) >= CONFIRMED


@pytest.mark.parametrize("id_", CLAIMS)
def test_a_confirmation_has_enough_seeds(id_):
    for result in confirmations(CLAIMS[id_]):
        if result is not None:
            assert all(part.seeds >= LEAST for part in result.parts.values())


def test_in_the_control_nothing_is_found():
    controls = [claim for claim in CLAIMS.values() if claim.kind == "control"]
    assert controls
    for claim in controls:
        for how in ("drawn", "mnist"):
            parts = confirmed(claim, how).parts.values()
            assert {part.verdict for part in parts} == {"undecided"}


@measured
def test_each_chapter_shows_the_claim_that_it_stores(id_):
    chapter, result = RESULTS[id_]
    shown = outputs((BOOK / chapter).with_suffix(".ipynb"))
    assert shown.count(markdown(CLAIMS[id_], result)) == 1


def test_the_ledger_shows_what_the_chapters_store():
    shown = outputs(BOOK / "appendix" / "claims.ipynb")
    for counted in (True, False):
        some = {i: c for i, c in CLAIMS.items() if (c.kind == "effect") == counted}
        assert ledger(some, RESULTS) in shown, "run it again: make notebooks"
