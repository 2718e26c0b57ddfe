"""Claims: sentences of the form "BN does X", tied to a measurement.

The folder ``ledger`` beside this module lists every claim, in one file for each chapter: the
sentence that the book prints, its source, and what was measured. A chapter measures it in a cell
with `check`, which shows the claim and raises where the measurement is no longer what the list
says. That is exploring. ``make confirm`` measures all claims again, with other seeds and on other
pictures, and writes each value to ``ledger/confirmed.json``: the verdict comes from there. The
appendix prints the ledger.
"""

import functools
import hashlib
import json
import math
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnlib._checks import check_int, check_number
from bnlib._types import Array

from ._checks import check_kind, check_path, check_values
from .trial import record

__all__ = [
    "Claim",
    "ClaimError",
    "Part",
    "Result",
    "bootstrap",
    "box",
    "check",
    "confirmed",
    "fingerprint",
    "interval",
    "judge",
    "ledger",
    "markdown",
    "overall",
    "read_claims",
    "restored",
    "stored_results",
]

KEY = "bnlib_claim"  # where an output's metadata hold a result
LIST = Path(__file__).with_name("ledger")
KINDS = ("effect", "identity", "control")
SETTINGS = ("supported", "contradicted", "undecided")  # a part, on some pictures
VERDICTS = {"supported": "●", "supported in part": "◐", "not found": "○"}
PICTURES = {"drawn": "drawn digits", "mnist": "real digits"}


class ClaimError(AssertionError):
    """A measurement is not what the list of claims says; the message shows both.

    Examples
    --------
    >>> issubclass(ClaimError, AssertionError)
    True
    """


class Claim(NamedTuple):
    """An entry of the list.

    Parameters
    ----------
    id, chapter : str
        Short name, and the chapter that measures it, such as ``3-evidence/placement``.
    sentence : str
        The claim, worded as it was measured.
    source : str
        Who says so: keys of the bibliography, or "ours".
    measure : str
        What the numbers are, with their unit.
    true_from, true_to : float
        The claim is true of a value in this range.
    stated : dict of str to list of two float
        For each part of the measurement, the interval that the explored median must not leave.
    kind : str
        "effect"; "identity", which is true by construction and is not counted; or "control", in
        which there is nothing to find.
    steps : int
        Length of the training runs; 0 where nothing is trained.
    digits : bool or list of str
        Whether it is about pictures of digits, and confirmed on real ones too; where only some
        parts are, their names.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> claim.measure[:45]
    'Mean distance from the normal quantiles after'
    >>> claim.true_from, claim.true_to, sorted(claim.stated)
    (1.0, inf, ['ReLU', 'deep ReLU', 'sigmoid', 'tanh'])
    """

    id: str
    chapter: str
    sentence: str
    source: str
    measure: str
    true_from: float
    true_to: float
    stated: dict[str, list[float]]
    kind: str = "effect"
    steps: int = 0
    digits: bool | list[str] = True


class Part(NamedTuple):
    """What one part of a measurement says.

    Parameters
    ----------
    median, low, high : float
        Median over the seeds, and the ends of its `interval`.
    seeds : int
        Their number.
    verdict : str
        One of `SETTINGS`.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> result = judge(claim, {part: np.linspace(0.5, 5, 12) for part in claim.stated})
    >>> part = result.parts["tanh"]
    >>> part.seeds, part.verdict
    (12, 'supported')
    """

    median: float
    low: float
    high: float
    seeds: int
    verdict: str


class Result(NamedTuple):
    """What a claim's measurement says.

    Parameters
    ----------
    id : str
        The claim.
    parts : dict of str to Part
        For each part of the measurement.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> result = judge(claim, {part: np.linspace(0.5, 5, 12) for part in claim.stated})
    >>> result.id, sorted(result.parts)
    ('place-gaussian', ['ReLU', 'deep ReLU', 'sigmoid', 'tanh'])
    """

    id: str
    parts: dict[str, Part]


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

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> claim.chapter, claim.source
    ('3-evidence/placement', 'ioffe2015')
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
    needed = [key for key in Claim._fields[2:] if key not in Claim._field_defaults]
    expected = f"{chapter}, {id_}: expected"
    if not set(needed) <= set(entry) <= set(Claim._fields[2:]):
        raise ValueError(f"{expected} {needed}, got {list(entry)}")
    claim = Claim(id_, chapter, **entry)
    if claim.kind not in KINDS:
        raise ValueError(f"{expected} one of {[*KINDS]}, got {claim.kind!r}")
    if claim.true_from == -np.inf and claim.true_to == np.inf:  # always borne out
        raise ValueError(f"{expected} true_from or true_to, got neither")
    if not claim.stated or not all(a < b for a, b in claim.stated.values()):
        raise ValueError(f"{expected} intervals [low, high], got {claim.stated}")
    some = claim.digits
    if not isinstance(some, bool) and not set() < set(some) < set(claim.stated):
        raise ValueError(f"{expected} digits as some of its parts, got {claim.digits}")
    return claim


def interval(values: Any, level: float = 0.95) -> tuple[float, float]:
    """Return an interval that holds the median of what was sampled.

    Parameters
    ----------
    values : array_like of shape (n,)
        A sample, of whatever distribution.
    level : float
        How often the interval is to hold the median, from 0 to 1.

    Returns
    -------
    low : float
        Lower end of the narrowest pair of values, equally far from both ends of the sorted sample,
        that does; the smallest where none does (n < 6 at 0.95: 0.9375 at n = 5).
    high : float
        Upper end.

    Raises
    ------
    TypeError, ValueError
        If a value is no number, there is none, or `level` is out of range.

    Notes
    -----
    The number of values below the median is binomial with p = 1/2, so that the k-th from either end
    enclose it with probability ``1 − 2 P(B < k)``.

    Examples
    --------
    >>> interval(range(1, 13))  # the third from either end: 96.1 %
    (3.0, 10.0)
    """
    check_number("interval", "level", level, low=0, high=1)
    values = check_values("interval", "values", values, range(2), "(n,)")
    if values.ndim != 1 or len(values) == 0 or np.isnan(values).any():
        raise ValueError(f"interval: expected numbers (n,), got {values}")
    n, k, outside = len(values), 0, 1
    while (
        k + 1 < (n + 1) / 2 and 1 - 2 * (outside + math.comb(n, k + 1)) / 2**n >= level
    ):
        k += 1
        outside += math.comb(n, k)
    values = np.sort(values)
    return float(values[k]), float(values[n - 1 - k])


def bootstrap(lead: Any, draws: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of a mean over seeds and samples, both of which were drawn.

    Seeds that are scored on one set of test images share its luck: more of them do not average it
    out. Here both are drawn again, with replacement.

    Parameters
    ----------
    lead : array_like of shape (seeds, samples)
        Such as 1 where one arm is right and the other is not, -1 the other way round, else 0.
    draws : int
        How often both are drawn again.
    level : float
        Share of the means that lie inside, from 0 to 1.

    Returns
    -------
    low : float
        Lower quantile of the means.
    high : float
        Upper one.

    Raises
    ------
    TypeError, ValueError
        If `lead` is no such array, or a number is out of range.

    Notes
    -----
    The pigeonhole bootstrap of Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics,
    2007), whose variance is never too small by much. The draws are the same in each call.

    Examples
    --------
    >>> lead = np.tile(np.arange(400) % 20 == 0, (5, 1))  # five seeds say the same
    >>> low, high = bootstrap(lead)
    >>> print(f"{low:.3f} to {high:.3f}")  # as of 400 samples, not of 2000
    0.030 to 0.070
    """
    check_int("bootstrap", "draws", draws, low=1)
    check_number("bootstrap", "level", level, low=0, high=1)
    lead = check_values("bootstrap", "lead", lead, range(2, 3), "(seeds, samples)")
    if lead.size == 0 or np.isnan(lead).any():
        raise ValueError(f"bootstrap: expected numbers (seeds, samples), got {lead}")
    rng = np.random.default_rng(0)
    seeds, samples = (
        rng.multinomial(n, np.full(n, 1 / n), draws) / n for n in lead.shape
    )
    low, high = np.quantile(
        np.einsum("ds,dn,sn->d", seeds, samples, lead, optimize=True),
        ((1 - level) / 2, (1 + level) / 2),
    )
    return float(low), float(high)


def judge(claim: Claim, measured: Mapping[str, Any]) -> Result:
    """Compare a measurement with what is claimed.

    A part is *supported* if the `interval` of its median lies in the claimed range, *contradicted*
    if it lies outside, and *undecided* otherwise.

    Parameters
    ----------
    claim : Claim
        An entry of the list.
    measured : dict of str to array_like of shape (seeds,)
        One value for each seed, for each part of the measurement.

    Returns
    -------
    Result
        Numbers in three digits, or in as many as keep them on their side of what is claimed.

    Raises
    ------
    TypeError
        If `claim` is no claim, `measured` no dict, or a value no number.
    ValueError
        If the parts are not those of the list, there are fewer than five seeds, or a value is
        NaN.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> values = {part: np.linspace(3, 5, 12) for part in claim.stated}
    >>> result = judge(claim, values)
    >>> result.parts["ReLU"].verdict, result.parts["ReLU"].median
    ('supported', 4.0)
    """
    check_kind("judge", "claim", claim, Claim)
    check_kind("judge", "measured", measured, Mapping)
    if set(measured) != set(claim.stated):
        raise ValueError(
            f"judge: expected parts {list(claim.stated)} for {claim.id}, got {list(measured)}"
        )
    parts: dict[str, Part] = {}
    for name in claim.stated:
        values = _values(claim, name, measured[name])
        low, high = interval(values)
        if claim.true_from <= low and high <= claim.true_to:
            verdict = "supported"
        elif high < claim.true_from or claim.true_to < low:
            verdict = "contradicted"
        else:
            verdict = "undecided"
        median, low, high = (
            _shown(claim, float(x)) for x in (np.median(values), low, high)
        )
        parts[name] = Part(median, low, high, len(values), verdict)
    return Result(claim.id, parts)


def _shown(claim: Claim, x: float) -> float:
    """Round to three digits, or to as many as keep a number on its side of the claimed range."""
    for digits in range(3, 17):
        short = float(f"{x:.{digits}g}")
        if all(
            (x < end) == (short < end) and (x > end) == (short > end)
            for end in (claim.true_from, claim.true_to)
        ):
            return short
    return x


def _values(claim: Claim, name: str, values: Any) -> Array:
    """Return the values of a part; raise unless they are at least five numbers."""
    of_claim = f"{name} of {claim.id}"
    values = check_values("judge", of_claim, values, range(64), "(seeds,)")
    if values.ndim != 1 or len(values) < 5 or np.isnan(values).any():
        raise ValueError(
            f"judge: expected at least 5 numbers for {claim.id}, {name}, got {values}"
        )
    return values


def overall(results: Iterable[Result]) -> str:
    """Return what becomes of a claim.

    Parameters
    ----------
    results : iterable of Result
        Its results, on one kind of pictures or several.

    Returns
    -------
    str
        "supported" if that is every part of every result, "not found" if none is, else "supported
        in part".

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> overall([judge(claim, {part: np.linspace(3, 5, 12) for part in claim.stated})])
    'supported'
    """
    results = list(results)
    for result in results:
        check_kind("overall", "each result", result, Result)
    verdicts = Counter(part.verdict for r in results for part in r.parts.values())
    count = verdicts["supported"]
    everywhere, in_part, nowhere = VERDICTS
    return nowhere if not count else everywhere if len(verdicts) == 1 else in_part


def fingerprint(claim: Claim) -> str:
    """Return what changes when the meaning of a claim does.

    Parameters
    ----------
    claim : Claim
        An entry of the list.

    Returns
    -------
    str
        Of sentence, measure, range, parts, steps and kind.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> fingerprint(claim) == fingerprint(claim._replace(sentence="Another."))
    False
    """
    check_kind("fingerprint", "claim", claim, Claim)
    meaning = (
        *(claim.sentence, claim.measure, claim.true_from, claim.true_to),
        *(sorted(claim.stated), claim.steps, claim.kind),
    )
    return hashlib.sha256(repr(meaning).encode()).hexdigest()[:12]


@functools.cache
def _confirmed(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def confirmed(claim: Claim, how: str = "drawn") -> Result | None:
    """Return what the confirmation says of a claim.

    Parameters
    ----------
    claim : Claim
        An entry of the list.
    how : str
        "drawn" or "mnist", for the pictures; "longer" for four times the steps.

    Returns
    -------
    Result or None
        Of the parts that are about digits, if these are real. None where the claim was not
        measured so, or has changed since then.

    Raises
    ------
    TypeError, ValueError
        If `claim` is no claim, or `how` none of the three.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> result = confirmed(claim, "drawn")
    >>> result is None or result.id == claim.id
    True
    """
    check_kind("confirmed", "claim", claim, Claim)
    if how not in (*PICTURES, "longer"):
        raise ValueError(
            f"confirmed: expected how as one of {[*PICTURES, 'longer']}, got {how!r}"
        )
    chapters = _confirmed(LIST / "confirmed.json").get(how, {})
    entry = chapters.get(claim.chapter, {}).get("claims", {}).get(claim.id)
    if entry is None or entry["fingerprint"] != fingerprint(claim):
        return None
    result = judge(claim, entry["values"])
    if how == "mnist" and not isinstance(claim.digits, bool):
        result = Result(claim.id, {name: result.parts[name] for name in claim.digits})
    return result


def check(id_: str, measured: Any) -> None:
    """Measure a claim in a chapter: show it with its verdict, and hold it to the list.

    The list is about the book's own digits. With real MNIST (``BNLIB_MNIST``) the measurement is
    shown, and not held to anything. While claims are confirmed, the values are written down.

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
        If the claim is not listed, or a median has left its interval.
    TypeError, ValueError
        As `judge`.

    Examples
    --------
    >>> check("no-such-claim", [1.0])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    bnlib.lab.claims.ClaimError: check: no-such-claim is not listed
    """
    check_kind("check", "id_", id_, str)
    from IPython import display

    claims = read_claims()
    if id_ not in claims:
        raise ClaimError(f"check: {id_} is not listed")
    claim = claims[id_]
    measured = measured if isinstance(measured, dict) else {"all": measured}
    result = judge(claim, measured)
    if file := record():
        _write_down(file, claim, measured)
    show: Any = display.display  # without annotations
    show(box(claim, result), metadata={KEY: result._asdict()}, raw=True)
    if os.environ.get("BNLIB_MNIST") or record():
        return
    for name, (low, high) in claim.stated.items():
        median = result.parts[name].median
        if not low <= median <= high:
            raise ClaimError(
                f"{id_}, {name}: expected a median from {low} to {high}, got {median}"
            )


def box(claim: Claim, result: Result) -> dict[str, str]:
    """Return what a cell shows of a claim, by MIME type.

    Parameters
    ----------
    claim, result : see `markdown`
        As there.

    Returns
    -------
    dict of str to str
        The box for the page, the same for JupyterLab, and a line for a terminal.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> result = judge(claim, {part: np.linspace(3, 5, 12) for part in claim.stated})
    >>> sorted(box(claim, result))
    ['text/html', 'text/markdown', 'text/plain']
    """
    return {
        "text/markdown": markdown(claim, result),
        "text/html": _html(claim, result),
        "text/plain": f"{claim.id}: {_verdict(claim)}",
    }


def _html(claim: Claim, result: Result) -> str:
    """Return the box for viewers that do not know MyST."""

    def row(cells: list[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    head, *rows = (list(map(escape, cells)) for cells in _table(claim, result))
    source = re.sub(
        r"([a-z]+)(\d{4})\w*", lambda m: f"{m[1].title()} {m[2]}", claim.source
    )
    table = "\n".join([row(head, "th"), *map(row, rows)])
    table = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", table)
    return (
        f"<b>Claim {_verdict(claim)}</b>\n"
        f"<p>{escape(claim.sentence).removesuffix('.')} ({source}).</p>\n"
        f"<p>{escape(claim.measure)}:</p>\n"
        f"<table>\n{table}\n</table>"
    )


def _write_down(file: str, claim: Claim, measured: Mapping[str, Any]) -> None:
    """Add what was measured to the file of a confirmation."""
    path = Path(file)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found[claim.id] = {
        "fingerprint": fingerprint(claim),
        "values": {
            name: [float(f"{v:.6g}") for v in _values(claim, name, measured[name])]
            for name in claim.stated
        },
    }
    path.write_text(json.dumps(found), encoding="utf-8")


def markdown(claim: Claim, result: Result) -> str:
    """Return a claim and its measurement as a chapter shows them.

    Parameters
    ----------
    claim : Claim
        An entry of the list.
    result : Result
        From `judge`: what was explored. What was confirmed stands beside it.

    Returns
    -------
    str
        MyST Markdown.

    Raises
    ------
    TypeError, ValueError
        If one is of another kind, or their parts differ.

    Examples
    --------
    >>> claim = read_claims()["place-gaussian"]
    >>> result = judge(claim, {part: np.linspace(3, 5, 12) for part in claim.stated})
    >>> print(markdown(claim, result).splitlines()[0])
    :::{admonition} Claim ● supported
    """
    _check_pair("markdown", claim, result)
    head, *rows = _table(claim, result)
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return (
        f":::{{admonition}} Claim {_verdict(claim)}\n"
        f":class: claim\n:name: claim-{claim.id}\n\n{_sentence(claim)}\n\n"
        f"{claim.measure}:\n\n{table}\n:::"
    )


def _table(claim: Claim, result: Result) -> list[list[str]]:
    """Return a head and a row for each part: what was explored, and what was confirmed."""
    columns = {"explored": result}
    columns |= {PICTURES[how]: r for how, r in _confirmations(claim).items()}
    seeds = [max(p.seeds for p in r.parts.values()) for r in columns.values()]
    heads = [
        f"{name}, {n} {'seeds' if name == 'explored' else 'new seeds'}"
        for name, n in zip(columns, seeds, strict=True)
    ]
    rows = [
        [
            "" if name == "all" else name,
            *(_number(r, name, r is not result) for r in columns.values()),
        ]
        for name in claim.stated
    ]
    return [["", *heads], *rows]


def ledger(
    claims: Mapping[str, Claim], results: Mapping[str, tuple[str, Result]]
) -> str:
    """Return claims and what was measured as tables, one for each chapter.

    Parameters
    ----------
    claims : dict of str to Claim
        From `read_claims`, or some of those.
    results : dict of str to tuple of (str, Result)
        From `stored_results`: what was explored, one for each claim.

    Returns
    -------
    str
        MyST Markdown.

    Raises
    ------
    TypeError, ValueError
        If one of them is no dict, or a claim has no result that fits.

    Examples
    --------
    >>> claims = {"place-gaussian": read_claims()["place-gaussian"]}
    >>> claim = claims["place-gaussian"]
    >>> result = judge(claim, {part: np.linspace(3, 5, 12) for part in claim.stated})
    >>> "place" in ledger(claims, {claim.id: (claim.chapter, result)})
    True
    """
    check_kind("ledger", "claims", claims, Mapping)
    check_kind("ledger", "results", results, Mapping)
    missing = [id_ for id_ in claims if id_ not in results]
    if missing:
        raise ValueError(
            f"ledger: expected a result for each claim, got none for {missing}"
        )
    chapters: dict[str, list[list[str]]] = {}
    for id_, claim in claims.items():
        chapter, result = results[id_]
        _check_pair("ledger", claim, result)
        rows = chapters.setdefault(chapter, [])
        columns = [result, *map(_confirmations(claim).get, PICTURES)]
        title = (
            f"{_verdict(claim)}, {{ref}}`{id_} <claim-{id_}>`: {_sentence(claim)} "
            f"*{claim.measure}*"
        )
        if len(claim.stated) > 1:  # a row for the sentence, and one for each part
            rows.append([title, "", "", ""])
        for name in claim.stated:
            numbers = (_number(r, name, r is not result) for r in columns)
            rows.append([title if name == "all" else f"– {name}", *numbers])
    heads = ["Claim", "Explored", *(f"Confirmed, {name}" for name in PICTURES.values())]
    tables = []
    for chapter, rows in chapters.items():
        lines = "".join(
            f"* - {cells}\n" for cells in map("\n  - ".join, [heads, *rows])
        )
        tables.append(
            f"**{{doc}}`/book/{chapter}`**\n\n:::{{list-table}}\n:header-rows: 1\n"
            f":widths: 49 17 17 17\n:class: ledger\n\n{lines}:::\n"
        )
    return "\n".join(tables)


def _confirmations(claim: Claim) -> dict[str, Result]:
    """Return what was confirmed, for each kind of pictures."""
    results = ((how, confirmed(claim, how)) for how in PICTURES)
    return {how: result for how, result in results if result is not None}


def _check_pair(call: str, claim: Any, result: Any) -> None:
    """Raise unless a result is that of a claim."""
    check_kind(call, "claim", claim, Claim)
    check_kind(call, "result", result, Result)
    if set(claim.stated) != set(result.parts):
        raise ValueError(
            f"{call}: expected a result of {claim.id} with the parts {list(claim.stated)}, "
            f"got {result}"
        )


def _sentence(claim: Claim) -> str:
    """Return the sentence of a claim, and its source as the book cites it."""
    source = "(ours)" if claim.source == "ours" else f"{{cite}}`{claim.source}`"
    return f"{claim.sentence.removesuffix('.')} {source}."


def _verdict(claim: Claim) -> str:
    """Return what a confirmation makes of a claim, with its sign."""
    results = _confirmations(claim)
    if not results:
        return "not confirmed yet"
    if claim.kind == "identity":
        return "true by construction"
    parts = [part.verdict for r in results.values() for part in r.parts.values()]
    if claim.kind == "control":
        return f"control: {Counter(parts).most_common(1)[0][0]}"
    verdict = overall(results.values())
    text = f"{VERDICTS[verdict]} {verdict}"
    if verdict == "supported in part":
        text += f": {parts.count('supported')} of {len(parts)}"
    return text


SIGNS = dict(zip(SETTINGS, "●○·", strict=True))


def _number(result: Result | None, name: str, signed: bool) -> str:
    """Return a part's median and interval; tests/nbval.cfg knows the numbers by their form."""
    if result is None or name not in result.parts:
        return "—"
    part = result.parts[name]
    median, low, high = (f"{n:g}".replace("-", "−") for n in part[:3])
    return (
        f"{SIGNS[part.verdict] + ' ' if signed else ''}**{median}** ({low} to {high})"
    )


def restored(stored: Mapping[str, Any]) -> Result:
    """Return a result from an output's metadata.

    Parameters
    ----------
    stored : dict
        A result as JSON holds it.

    Returns
    -------
    Result
        The same.

    Examples
    --------
    >>> result = restored({"id": "gain", "parts": {"all": [2.0, 1.5, 2.5, 12, "supported"]}})
    >>> result.parts["all"].median
    2.0
    """
    check_kind("restored", "stored", stored, Mapping)
    parts = {name: Part(*part) for name, part in stored["parts"].items()}
    return Result(stored["id"], parts)


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
                results[stored["id"]] = chapter, restored(stored)
    return results
