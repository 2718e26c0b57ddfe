"""The book's claims: each is listed, measured in its chapter as listed, and in the ledger."""

import re
from pathlib import Path

import nbformat
import pytest

from bnlib.lab.claims import ledger, markdown, read_claims, stored_results

BOOK = Path(__file__).parents[1] / "book"
AT_LEAST = 87  # raised with the book: a claim that leaves list and chapter is noticed
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
def test_each_claim_has_a_source_in_the_references(id_):
    keys = re.split(r",\s*", CLAIMS[id_].source)
    assert keys == ["folklore"] or set(keys) <= set(SOURCES)


@measured
def test_each_claim_is_measured_in_its_chapter_with_the_listed_verdict(id_):
    claim, (chapter, result) = CLAIMS[id_], RESULTS[id_]
    assert chapter == claim.chapter
    assert result.verdict == claim.verdict
    assert result.parts.keys() == claim.stated.keys()
    for name, (median, low, high, seeds) in result.parts.items():
        assert claim.stated[name][0] <= median <= claim.stated[name][1]
        assert low <= median <= high
        assert seeds >= 5


@measured
def test_each_chapter_shows_the_claim_that_it_stores(id_):
    chapter, result = RESULTS[id_]
    shown = outputs((BOOK / chapter).with_suffix(".ipynb"))
    assert shown.count(markdown(CLAIMS[id_], result)) == 1


def test_the_ledger_shows_what_the_chapters_store():
    shown = outputs(BOOK / "appendix" / "claims.ipynb")
    assert ledger(CLAIMS, RESULTS) in shown, "run it again: make notebooks"
