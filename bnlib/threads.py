"""Share work among threads, for functions that let the others run while they compute."""

import contextlib
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from bnlib._checks import check_int

__all__ = ["num_threads", "run"]


def num_threads(threads: int | None = None) -> int:
    """Return how many threads to use.

    Parameters
    ----------
    threads : int or None
        None: as many as the environment variable ``BNLIB_NUM_THREADS`` says, or, without it, as
        the CPUs that this process may use.

    Returns
    -------
    int
        At least one.

    Raises
    ------
    TypeError, ValueError
        If the argument or the variable is not an integer of at least one.

    Notes
    -----
    Built in the chapter "The fast kernel".

    Examples
    --------
    >>> num_threads(2)
    2
    """
    variable = os.environ.get("BNLIB_NUM_THREADS")
    if threads is not None:
        return check_int("num_threads", "threads", threads)
    if variable is not None:
        if not variable.strip().isdecimal() or int(variable) < 1:
            raise ValueError(
                f"num_threads: expected BNLIB_NUM_THREADS as an int >= 1, got {variable!r}"
            )
        return int(variable)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    """Return a pool of threads, made when it is first needed."""
    return ThreadPoolExecutor(helpers, "bnlib")


if hasattr(os, "register_at_fork"):
    # A child process has only the thread that made it: it needs a pool of its own.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(
    work: Callable[..., object], items: list[tuple[Any, ...]], threads: int
) -> None:
    """Call a function with each tuple of arguments, in several threads.

    Parameters
    ----------
    work : callable
        What is called.
    items : list of tuple
        The arguments of each call.
    threads : int
        At most so many work, the caller among them; with one, nobody else is asked.

    Notes
    -----
    Whoever is free takes the next item, and the caller takes part: so the work is done even where
    no other thread comes, as at the end of the interpreter. An exception reaches the caller when
    all threads have ended. Built in the chapter "The fast kernel".

    Examples
    --------
    >>> found = {}
    >>> run(found.setdefault, [("a", 1), ("b", 2)], threads=2)
    >>> sorted(found)
    ['a', 'b']
    """
    number = min(threads, len(items)) - 1
    if number < 1:
        for item in items:
            work(*item)
        return
    waiting = iter(items)

    def share() -> None:
        for item in waiting:
            work(*item)

    helpers = []
    with contextlib.suppress(RuntimeError):  # the interpreter is about to end
        helpers += [_pool(number).submit(share) for _ in range(number)]
    try:
        share()
    finally:
        busy = [helper for helper in helpers if not helper.cancel()]
        wait(busy)  # all of them, before one may raise
    for helper in busy:
        helper.result()
