"""The book's exercises check themselves: `check` an answer, ask for a `hint`, get the `setup`.

``from bnlib.lab import exercises`` in a chapter, or anywhere. Each exercise of the book that says
"checks itself" is here under its label. A check tries an answer on hidden cases and says which
property fails and what to reread. It never shows code.
"""

import difflib
from types import SimpleNamespace
from typing import Any

import numpy as np

from bnlib._checks import check_int
from bnlib.lab._checks import check_kind
from bnlib.lab.exercises._core import AnswerError, Exercise, load

__all__ = ["check", "hint", "names", "setup"]

_given: dict[str, int] = {}  # how many hints each exercise has given


def check(label: str, answer: Any) -> None:
    """Try an answer, and print whether it is right.

    Parameters
    ----------
    label : str
        The exercise, such as "ex-forward-whiten". It stands in the text of the exercise.
    answer : callable or array_like or float
        What the exercise asks for: a function, an array or a number.

    Raises
    ------
    TypeError, ValueError
        If `label` is no string, or no exercise. A wrong answer raises nothing.

    Notes
    -----
    A function is called on copies of hidden, seeded inputs. It must not change them, and NaN is
    never right.

    Examples
    --------
    >>> from bnlib.lab import exercises
    >>> exercises.check("ex-forward-four", [-5, -1, -1, 11])
    ✓ ex-forward-four: right, to within 0.01.
    """
    exercise = _find("check", label)
    try:
        print(f"✓ {label}: right, {exercise.tried(answer)}.")
    except AnswerError as fault:
        print(f"✗ {label}: {fault}")


def hint(label: str, number: int | None = None) -> None:
    """Print the next of the three hints to an exercise, or the one with a number.

    Parameters
    ----------
    label : str
        The exercise.
    number : int, optional
        1, 2 or 3; each helps more than the one before. None: the one after the last.

    Raises
    ------
    TypeError, ValueError
        If `label` is no exercise, or `number` is none of these.

    Examples
    --------
    >>> from bnlib.lab import exercises
    >>> exercises.hint("ex-forward-four", 1)
    Hint 1 of 3: the mean first, then how far each value lies from it.
    """
    hints = _find("hint", label).hints
    if number is None:
        number = min(_given.get(label, 0) + 1, len(hints))
    number = check_int("hint", "number", number, low=1)
    if number > len(hints):
        raise ValueError(f"hint: expected number <= {len(hints)}, got {number}")
    _given[label] = number
    print(f"Hint {number} of {len(hints)}: {hints[number - 1]}")


def setup(label: str) -> SimpleNamespace:
    """Return what an exercise starts from, without the chapter.

    Parameters
    ----------
    label : str
        The exercise.

    Returns
    -------
    types.SimpleNamespace
        `np`, a fresh generator `rng`, and the arrays and functions that the exercise names.

    Raises
    ------
    TypeError, ValueError
        If `label` is no string, or no exercise.

    Examples
    --------
    >>> from bnlib.lab import exercises
    >>> exercises.setup("ex-forward-four").x
    array([1., 3., 3., 9.])
    """
    exercise = _find("setup", label)
    rng = np.random.default_rng(0)
    extra = exercise.setup(rng) if exercise.setup else {}
    return SimpleNamespace(np=np, rng=rng, **extra)


def names() -> list[str]:
    """Return the labels of all exercises that check themselves, in the order of the book.

    Returns
    -------
    list of str
        The labels.

    Examples
    --------
    >>> from bnlib.lab import exercises
    >>> "ex-forward-whiten" in exercises.names()
    True
    """
    return [*load()]


def _find(call: str, label: str) -> Exercise:
    """Return an exercise; raise with the nearest label unless there is one of this name."""
    check_kind(call, "label", label, str)
    known = load()
    if label not in known:
        near = difflib.get_close_matches(label, known, 1, 0)[0]
        raise ValueError(
            f"{call}: expected the label of an exercise that checks itself, got {label!r}: "
            f"did you mean {near!r}?"
        )
    return known[label]
