"""Share work among threads: NumPy lets the others run while it computes."""

import contextvars
import functools
import os
from concurrent.futures import ThreadPoolExecutor, wait

from bnlib._checks import check_int

__all__ = ["num_threads", "run"]


def num_threads(threads=None):
    """Return how many threads to use.

    Parameters
    ----------
    threads : int or None
        None: as many as the environment variable ``BNLIB_NUM_THREADS`` says, or, without it, as
        the CPUs that this process may use.

    Returns
    -------
    int

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
        check_int("num_threads", "threads", threads)
        return threads
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
def _pool(helpers):
    """Return a pool of threads, made when it is first needed."""
    return ThreadPoolExecutor(helpers, "bnlib")


if hasattr(os, "register_at_fork"):
    # A child process has only the thread that made it: it needs a pool of its own.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(function, items, threads):
    """Call a function on each item, in several threads.

    Parameters
    ----------
    function : callable
    items : list
    threads : int
        At most so many work, the caller among them; with one, nobody else is asked.

    Returns
    -------
    list
        The results, in the order of `items`.

    Notes
    -----
    Whoever is free takes the next item, and the caller takes part: so the work is done even where
    no other thread comes, as at the end of the interpreter. What `numpy.errstate` and
    `numpy.setbufsize` say to the caller holds in all of them. An exception reaches the caller when
    all threads have ended. Built in the chapter "The fast kernel".

    Examples
    --------
    >>> run(abs, [-1, 2, -3], threads=2)
    [1, 2, 3]
    """
    threads = min(threads, len(items))
    if threads <= 1:
        return [function(item) for item in items]
    results = [None] * len(items)
    waiting = iter(range(len(items)))

    def work():
        for i in waiting:
            results[i] = function(items[i])

    helpers = []
    try:
        for _ in range(threads - 1):
            context = contextvars.copy_context()
            helpers.append(_pool(threads - 1).submit(context.run, work))
    except RuntimeError:  # the interpreter is about to end
        pass
    try:
        work()
    finally:
        busy = [helper for helper in helpers if not helper.cancel()]
        wait(busy)  # all of them, before one may raise
    for helper in busy:
        helper.result()
    return results
