"""Claims: sentences of the form "BN does X", tied to a measurement.

The folder ``ledger`` beside this module lists every claim, in one file for each chapter: the
sentence that the book prints, its source, what was measured, and the verdict. A chapter measures it
in a cell with `check`, which shows the claim and raises where the measurement is no longer what the
list says. The appendix prints the ledger from what the chapters stored.
"""

import json
import os
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np

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

    Attributes
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
    stated: dict
    verdict: str


class Result(NamedTuple):
    """What a chapter measured: for each part the median, and the range over the seeds.

    Attributes
    ----------
    id, verdict : str
    parts : dict of str to list
        ``[median, lowest, highest, number of seeds]``.
    """

    id: str
    verdict: str
    parts: dict


def read_claims():
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
    claims = {}
    for path in sorted(LIST.rglob("*.toml")):
        chapter = path.relative_to(LIST).with_suffix("").as_posix()
        for id_, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            claim = _read_claim(id_, chapter, entry)
            if id_ in claims:
                raise ValueError(f"{chapter}: {id_} is in {claims[id_].chapter} too")
            claims[id_] = claim
    return claims


def _read_claim(id_, chapter, entry):
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


def judge(claim, measured):
    """Compare a measurement with what is claimed.

    A part bears the claim out if all seeds do, and speaks for it in part if the median does.

    Parameters
    ----------
    claim : Claim
    measured : dict of str to array_like of shape (seeds,)
        One value for each seed, for each part of the measurement.

    Returns
    -------
    Result
        The claim holds if every part bears it out, does not replicate if no median does, and
        holds in part otherwise.

    Raises
    ------
    ValueError
        If the parts are not those of the list, there are fewer than five seeds, or a value is
        not finite.
    """
    if set(measured) != set(claim.stated):
        raise ValueError(
            f"judge: expected parts {list(claim.stated)} for {claim.id}, got {list(measured)}"
        )
    parts, borne_out, median_does = {}, [], []
    for name, values in measured.items():
        values = np.asarray(values, float)
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


def check(id_, measured):
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
    """
    from IPython.display import display

    claims = read_claims()
    if id_ not in claims:
        raise ClaimError(f"check: {id_} is not listed")
    claim = claims[id_]
    result = judge(claim, measured if isinstance(measured, dict) else {"all": measured})
    plain = f"{id_}: {result.verdict}"
    bundle = {"text/markdown": markdown(claim, result), "text/plain": plain}
    display(bundle, metadata={KEY: result._asdict()}, raw=True)
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


def markdown(claim, result):
    """Return a claim and its measurement as a chapter shows them, in MyST Markdown."""
    counts = {part[-1] for part in result.parts.values()}
    seeds = " to ".join(f"{count}" for count in sorted({min(counts), max(counts)}))
    return (
        f":::{{admonition}} Claim {_verdict(result)}\n"
        f":class: claim\n:name: claim-{claim.id}\n\n{_sentence(claim)}\n\n"
        f"{claim.measure}, median and range of {seeds} seeds{_numbers(claim, result)}.\n:::"
    )


def ledger(claims, results):
    """Return all claims and what was measured as tables, one a chapter, in MyST Markdown.

    `claims` are those of `read_claims`, and `results`, one for each, those of `stored_results`.
    """
    chapters = {}
    for id_, claim in claims.items():
        chapter, result = results[id_]
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


def _sentence(claim):
    """Return the sentence of a claim, and its source as the book cites it."""
    folklore = claim.source == "folklore"
    source = "(folklore)" if folklore else f"{{cite}}`{claim.source}`"
    return f"{claim.sentence.removesuffix('.')} {source}."


def _verdict(result):
    """Return a verdict and its sign."""
    return f"{VERDICTS[result.verdict]} {result.verdict}"


def _numbers(claim, result):
    """Return the end of a sentence; tests/nbval.cfg knows the numbers by their form."""
    texts = []
    for name in claim.stated:
        median, low, high = (f"{n:g}".replace("-", "−") for n in result.parts[name][:3])
        label = "" if name == "all" else f"{name}: "
        texts.append(f"{label}**{median}** ({low} to {high})")
    return (": " if "all" in claim.stated else "; ") + "; ".join(texts)


def stored_results(book):
    """Read what the chapters measured from their stored outputs.

    Parameters
    ----------
    book : str or Path
        Folder of the notebooks.

    Returns
    -------
    dict of str to tuple of (str, Result)
        By id: the chapter, such as ``3-evidence/placement``, and the result.

    Raises
    ------
    ValueError
        If two cells measure one claim.
    """
    book, results = Path(book), {}
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
