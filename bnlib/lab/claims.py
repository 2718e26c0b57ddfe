"""Claims: sentences of the form "BN does X", tied to a measurement.

The file ``claims.toml`` beside this module lists every claim: the sentence that the book prints,
its source, what was measured, and the verdict. A chapter measures it in a cell with `check`, which
shows the claim and raises where the measurement is no longer what the list says. The appendix
prints the ledger from what the chapters stored.
"""

import json
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
    "read_claims",
    "stored_results",
]

MIME = "application/vnd.bnlib.claim+json"
VERDICTS = ("holds", "holds in part", "does not replicate")


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
        By id, in the order of the file.

    Raises
    ------
    ValueError
        If an entry is not complete.
    """
    text = Path(__file__).with_name("claims.toml").read_text(encoding="utf-8")
    claims = {}
    for id_, entry in tomllib.loads(text).items():
        entry = {"true_from": -np.inf, "true_to": np.inf, **entry}
        if isinstance(entry.get("stated"), list):
            entry["stated"] = {"all": entry["stated"]}
        if set(entry) != set(Claim._fields) - {"id"}:
            raise ValueError(
                f"claims.toml, {id_}: expected {Claim._fields}, got {list(entry)}"
            )
        claims[id_] = claim = Claim(id_, **entry)
        if claim.verdict not in VERDICTS:
            raise ValueError(
                f"claims.toml, {id_}: expected a verdict of {VERDICTS}, got {claim.verdict!r}"
            )
        if claim.true_from == -np.inf and claim.true_to == np.inf:
            raise ValueError(
                f"claims.toml, {id_}: expected true_from or true_to, got neither: "
                "every measurement would bear it out"
            )
        if not claim.stated or not all(a < b for a, b in claim.stated.values()):
            raise ValueError(
                f"claims.toml, {id_}: expected intervals [low, high], got {claim.stated}"
            )
    return claims


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
    verdict = VERDICTS[0 if all(borne_out) else 1 if any(median_does) else 2]
    return Result(claim.id, verdict, parts)


def check(id_, measured):
    """Measure a claim in a chapter: show it with its verdict, and hold it to the list.

    Parameters
    ----------
    id_ : str
        A claim of ``claims.toml``.
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
        raise ClaimError(f"claims.check: {id_} is not in claims.toml")
    claim = claims[id_]
    result = judge(claim, measured if isinstance(measured, dict) else {"all": measured})
    bundle = {"text/markdown": markdown(claim, result), MIME: result._asdict()}
    display({**bundle, "text/plain": f"{id_}: {result.verdict}"}, raw=True)
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
    """Return a claim and its measurement as the book shows them."""
    numbers = [
        f"{name + ': ' if name != 'all' else ''}**{median:g}** ({low:g} to {high:g})"
        for name, (median, low, high, _) in result.parts.items()
    ]
    seeds = min(part[-1] for part in result.parts.values())
    return (
        f"**Claim** `{claim.id}`: {claim.sentence} *Verdict:* **{result.verdict}**.\n\n"
        f"{claim.measure}, median and range of {seeds} seeds: {'; '.join(numbers)}."
    )


def stored_results(book):
    """Read what the chapters measured from their stored outputs.

    Parameters
    ----------
    book : str or Path
        Folder of the notebooks.

    Returns
    -------
    dict of str to tuple of (str, Result)
        By id: the chapter that measured it, and the result.

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
                stored = output.get("data", {}).get(MIME)
                if stored is None:
                    continue
                if stored["id"] in results:
                    raise ValueError(
                        f"stored_results: {stored['id']} is measured twice"
                    )
                chapter = path.relative_to(book).with_suffix("").as_posix()
                results[stored["id"]] = chapter, Result(**stored)
    return results
