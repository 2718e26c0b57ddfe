"""What an experiment draws and how long it trains, said in one place.

A chapter asks here for its seeds and steps, and `bnlib.lab.data.digits` for its pictures. So one
notebook both explores, with the few seeds whose outputs the book shows, and confirms, with other
seeds on other pictures, and does not know which of the two it does. ``make confirm`` sets the
environment variables: ``BNLIB_CONFIRM``, a file for the values of all claims, and
``BNLIB_BUDGET``, a factor for the length of all runs.
"""

import os

from bnlib._checks import check_bool, check_int

__all__ = ["data_seed", "record", "seeds", "steps"]

LEAST = 12  # seeds of a confirmation


def record() -> str | None:
    """Return the file that the values of a confirmation go to.

    Returns
    -------
    str or None
        None while exploring.

    Examples
    --------
    >>> record() is None
    True
    """
    return os.environ.get("BNLIB_CONFIRM") or None


def seeds(n: int, *, choosing: bool = False) -> range:
    """Return the seeds of an experiment.

    Parameters
    ----------
    n : int
        How many while exploring. A confirmation has other ones, and at least 12 to report.
    choosing : bool
        Whether they serve to choose a setting, such as a learning rate, and not to report: then no
        seed is among those that are reported.

    Returns
    -------
    range
        Exploring, 0 to n − 1, or 100 to 99 + n for choosing.

    Raises
    ------
    TypeError, ValueError
        If `n` is no integer of at least one, or `choosing` neither True nor False.

    Examples
    --------
    >>> list(seeds(3)), list(seeds(2, choosing=True))
    ([0, 1, 2], [100, 101])
    """
    n = check_int("seeds", "n", n)
    first = 100 if check_bool("seeds", "choosing", choosing) else 0
    if record() is not None:
        first, n = first + 1000, n if choosing else max(n, LEAST)
    return range(first, first + n)


def data_seed() -> int:
    """Return the seed of the pictures.

    Returns
    -------
    int
        0 while exploring; a confirmation has pictures of its own.

    Examples
    --------
    >>> data_seed()
    0
    """
    return 0 if record() is None else 1


def steps(n: int) -> int:
    """Return the number of training steps of a run.

    Parameters
    ----------
    n : int
        The book's number of steps.

    Returns
    -------
    int
        As many times more as ``BNLIB_BUDGET`` says.

    Raises
    ------
    TypeError, ValueError
        If `n` or ``BNLIB_BUDGET`` is no integer of at least one.

    Examples
    --------
    >>> steps(300)
    300
    """
    factor = os.environ.get("BNLIB_BUDGET") or "1"
    if not factor.isdecimal() or int(factor) < 1:
        raise ValueError(f"steps: expected BNLIB_BUDGET as an int >= 1, got {factor!r}")
    return check_int("steps", "n", n) * int(factor)
