"""Claims: sentences of the form "BN does X", tied to a measurement.

The folder ``ledger`` beside this module lists every claim, in one file for each chapter: the
sentence that the book prints, its source, what was measured, and the verdict. A chapter measures it
in a cell with `check`, which shows the claim and raises where the measurement is no longer what the
list says. The appendix prints the ledger from what the chapters stored.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._checks import check_kind, check_path, check_values

__all__ = [
    "Claim",
    "ClaimError",
    "Result",
    "check",
    "judge",
    "ledger",
    "markdown",
    "read_claims",
    "stored_results",
]

KEY = "bnlib_claim"  # where an output's metadata hold a result
LIST = Path(__file__).with_name("ledger")
VERDICTS = {"holds": "●", "holds in part": "◐", "does not replicate": "○"}


class ClaimError(AssertionError):
    """A measurement is not what the list of claims says; the message shows both."""


class Claim(NamedTuple):
    """An entry of the list.

    Parameters
    ----------
    id, chapter : str
        Short name, and the chapter that measures it, such as ``3-evidence/placement``.
    sentence : str
        The claim, worded as it was measured.
    source : str
        Who says so: keys of the bibliography, or "folklore".
    measure : str
        What the numbers are, with their unit.
    true_from, true_to : float
        The claim is true of a value in this range.
    stated : dict of str to list of two float
        For each part of the measurement, the interval that its median must not leave.
    verdict : str
        One of `VERDICTS`.
    """

    id: str
    chapter: str
    sentence: str
    source: str
    measure: str
    true_from: float
    true_to: float
    stated: dict[str, list[float]]
    verdict: str


class Result(NamedTuple):
    """What a chapter measured: for each part the median, and the range over the seeds.

    Parameters
    ----------
    id, verdict : str
        The claim, and what became of it: one of `VERDICTS`.
    parts : dict of str to list
        ``[median, lowest, highest, number of seeds]``.
    """

    id: str
    verdict: str
    parts: dict[str, list[float]]


def read_claims() -> dict[str, Claim]:
    """Return the list of claims.

    Returns
    -------
    dict of str to Claim
        By id; chapters in the order of their paths, claims in the order of their file.

    Raises
    ------
    ValueError
        If an entry is not complete, or an id is taken twice.
    """
    claims: dict[str, Claim] = {}
    for path in sorted(LIST.rglob("*.toml")):
        chapter = path.relative_to(LIST).with_suffix("").as_posix()
        for id_, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            claim = _read_claim(id_, chapter, entry)
            if id_ in claims:
                raise ValueError(f"{chapter}: {id_} is in {claims[id_].chapter} too")
            claims[id_] = claim
    return claims


def _read_claim(id_: str, chapter: str, entry: dict[str, Any]) -> Claim:
    """Turn an entry into a claim; ValueError if it is not complete."""
    entry = {"true_from": -np.inf, "true_to": np.inf, **entry}
    if isinstance(entry.get("stated"), list):
        entry["stated"] = {"all": entry["stated"]}
    keys = [key for key in Claim._fields if key not in ("id", "chapter")]
    expected = f"{chapter}, {id_}: expected"
    if set(entry) != set(keys):
        raise ValueError(f"{expected} {keys}, got {list(entry)}")
    claim = Claim(id_, chapter, **entry)
    if claim.verdict not in VERDICTS:
        raise ValueError(f"{expected} one of {[*VERDICTS]}, got {claim.verdict!r}")
    if claim.true_from == -np.inf and claim.true_to == np.inf:  # always borne out
        raise ValueError(f"{expected} true_from or true_to, got neither")
    if not claim.stated or not all(a < b for a, b in claim.stated.values()):
        raise ValueError(f"{expected} intervals [low, high], got {claim.stated}")
    return claim


def judge(claim: Claim, measured: Mapping[str, Any]) -> Result:
    """Compare a measurement with what is claimed.

    A part bears the claim out if all seeds do, and speaks for it in part if the median does.

    Parameters
    ----------
    claim : Claim
        An entry of the list.
    measured : dict of str to array_like of shape (seeds,)
        One value for each seed, for each part of the measurement.

    Returns
    -------
    Result
        The claim holds if every part bears it out, does not replicate if no median does, and
        holds in part otherwise.

    Raises
    ------
    TypeError
        If `claim` is no claim, `measured` no dict, or a value no number.
    ValueError
        If the parts are not those of the list, there are fewer than five seeds, or a value is
        not finite.
    """
    check_kind("judge", "claim", claim, Claim)
    check_kind("judge", "measured", measured, Mapping)
    if set(measured) != set(claim.stated):
        raise ValueError(
            f"judge: expected parts {list(claim.stated)} for {claim.id}, got {list(measured)}"
        )
    parts: dict[str, list[float]] = {}
    borne_out, median_does = [], []
    for name, values in measured.items():
        of_claim = f"{name} of {claim.id}"
        values = check_values("judge", of_claim, values, range(64), "(seeds,)")
        if values.ndim != 1 or len(values) < 5 or not np.isfinite(values).all():
            raise ValueError(
                f"judge: expected at least 5 finite numbers for {claim.id}, {name}, got {values}"
            )
        true = (values >= claim.true_from) & (values <= claim.true_to)
        median = float(np.median(values))
        borne_out.append(bool(true.all()))
        median_does.append(claim.true_from <= median <= claim.true_to)
        numbers = (median, values.min(), values.max())
        parts[name] = [*(float(f"{number:.3g}") for number in numbers), len(values)]
    holds, in_part, not_at_all = VERDICTS
    verdict = holds if all(borne_out) else in_part if any(median_does) else not_at_all
    return Result(claim.id, verdict, parts)


def check(id_: str, measured: Any) -> None:
    """Measure a claim in a chapter: show it with its verdict, and hold it to the list.

    The list is about the book's own digits. With real MNIST (``BNLIB_MNIST``) the measurement is
    shown, and not held to anything.

    Parameters
    ----------
    id_ : str
        A claim of the list.
    measured : array_like of shape (seeds,), or dict of str to array_like
        One value for each seed; a dict where the measurement has parts. A single array is the
        part "all".

    Raises
    ------
    ClaimError
        If the claim is not listed, its verdict is another one, or a median has left its interval.
    TypeError, ValueError
        As `judge`.
    """
    check_kind("check", "id_", id_, str)
    from IPython import display

    claims = read_claims()
    if id_ not in claims:
        raise ClaimError(f"check: {id_} is not listed")
    claim = claims[id_]
    result = judge(claim, measured if isinstance(measured, dict) else {"all": measured})
    plain = f"{id_}: {result.verdict}"
    bundle = {"text/markdown": markdown(claim, result), "text/plain": plain}
    show: Any = display.display  # without annotations
    show(bundle, metadata={KEY: result._asdict()}, raw=True)
    if os.environ.get("BNLIB_MNIST"):
        return
    if result.verdict != claim.verdict:
        raise ClaimError(
            f"{id_}: expected '{claim.verdict}', measured '{result.verdict}': {result.parts}"
        )
    for name, (low, high) in claim.stated.items():
        median = result.parts[name][0]
        if not low <= median <= high:
            raise ClaimError(
                f"{id_}, {name}: expected a median from {low} to {high}, got {median}"
            )


def markdown(claim: Claim, result: Result) -> str:
    """Return a claim and its measurement as a chapter shows them.

    Parameters
    ----------
    claim : Claim
        An entry of the list.
    result : Result
        From `judge`.

    Returns
    -------
    str
        MyST Markdown.

    Raises
    ------
    TypeError, ValueError
        If one is of another kind, or their parts differ.
    """
    _check_pair("markdown", claim, result)
    counts = {part[-1] for part in result.parts.values()}
    seeds = " to ".join(f"{count}" for count in sorted({min(counts), max(counts)}))
    return (
        f":::{{admonition}} Claim {_verdict(result)}\n"
        f":class: claim\n:name: claim-{claim.id}\n\n{_sentence(claim)}\n\n"
        f"{claim.measure}, median and range of {seeds} seeds{_numbers(claim, result)}.\n:::"
    )


def ledger(
    claims: Mapping[str, Claim], results: Mapping[str, tuple[str, Result]]
) -> str:
    """Return all claims and what was measured as tables, one for each chapter.

    Parameters
    ----------
    claims : dict of str to Claim
        From `read_claims`.
    results : dict of str to tuple of (str, Result)
        From `stored_results`, one for each claim.

    Returns
    -------
    str
        MyST Markdown.

    Raises
    ------
    TypeError, ValueError
        If one of them is no dict, or a claim has no result that fits.
    """
    check_kind("ledger", "claims", claims, Mapping)
    check_kind("ledger", "results", results, Mapping)
    missing = [id_ for id_ in claims if id_ not in results]
    if missing:
        raise ValueError(
            f"ledger: expected a result for each claim, got none for {missing}"
        )
    chapters: dict[str, list[str]] = {}
    for id_, claim in claims.items():
        chapter, result = results[id_]
        _check_pair("ledger", claim, result)
        chapters.setdefault(chapter, []).append(
            f"* - {{ref}}`{id_} <claim-{id_}>`: {_sentence(claim)}\n"
            f"  - {claim.measure}{_numbers(claim, result)}.\n"
            f"  - {_verdict(result)}\n"
        )
    head = ":header-rows: 1\n:widths: 42 42 16\n\n"
    head += "* - Claim\n  - Measured\n  - Verdict\n"
    return "\n".join(
        f"**{{doc}}`/book/{chapter}`**\n\n:::{{list-table}}\n{head}{''.join(rows)}:::\n"
        for chapter, rows in chapters.items()
    )


def _check_pair(call: str, claim: Any, result: Any) -> None:
    """Raise unless a result is that of a claim."""
    check_kind(call, "claim", claim, Claim)
    check_kind(call, "result", result, Result)
    if set(claim.stated) != set(result.parts) or result.verdict not in VERDICTS:
        raise ValueError(
            f"{call}: expected a result of {claim.id} with the parts {list(claim.stated)}, "
            f"got {result}"
        )


def _sentence(claim: Claim) -> str:
    """Return the sentence of a claim, and its source as the book cites it."""
    folklore = claim.source == "folklore"
    source = "(folklore)" if folklore else f"{{cite}}`{claim.source}`"
    return f"{claim.sentence.removesuffix('.')} {source}."


def _verdict(result: Result) -> str:
    """Return a verdict and its sign."""
    return f"{VERDICTS[result.verdict]} {result.verdict}"


def _numbers(claim: Claim, result: Result) -> str:
    """Return the end of a sentence; tests/nbval.cfg knows the numbers by their form."""
    texts = []
    for name in claim.stated:
        median, low, high = (f"{n:g}".replace("-", "−") for n in result.parts[name][:3])
        label = "" if name == "all" else f"{name}: "
        texts.append(f"{label}**{median}** ({low} to {high})")
    return (": " if "all" in claim.stated else "; ") + "; ".join(texts)


def stored_results(book: str | os.PathLike[str]) -> dict[str, tuple[str, Result]]:
    """Read what the chapters measured from their stored outputs.

    Parameters
    ----------
    book : str or path-like
        Folder of the notebooks.

    Returns
    -------
    dict of str to tuple of (str, Result)
        By id: the chapter, such as ``3-evidence/placement``, and the result.

    Raises
    ------
    TypeError
        If `book` is no path.
    ValueError
        If two cells measure one claim.
    """
    check_path("stored_results", "book", book)
    book = Path(book)
    results: dict[str, tuple[str, Result]] = {}
    for path in sorted(book.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if not (stored := output.get("metadata", {}).get(KEY)):
                    continue
                if stored["id"] in results:
                    raise ValueError(f"stored_results: {stored['id']} stands twice")
                chapter = path.relative_to(book).with_suffix("").as_posix()
                results[stored["id"]] = chapter, Result(**stored)
    return results
