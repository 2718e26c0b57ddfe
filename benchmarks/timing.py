"""Timing that is fair on a busy machine: the rivals take turns, and medians are compared."""

import ctypes
import os
import platform
import statistics
import time
from pathlib import Path


def alternate(calls, seconds=0.5, least=5, clock=time.perf_counter, prepare=None):
    """Run functions in turn for about `seconds`, each at least `least` times; median time of each.

    Parameters
    ----------
    calls : dict of str to callable
    seconds : float
    least : int
    clock : callable
        What is read before and after a call; `time.process_time` leaves out what others do.
    prepare : callable or None
        Runs before each call, and does not count.

    Returns
    -------
    dict of str to float
        Seconds.
    """
    times = {name: [] for name in calls}
    for call in calls.values():
        call()  # to warm up
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or time.perf_counter() < end:
        for name, call in calls.items():
            if prepare is not None:
                prepare()
            start = clock()
            call()
            times[name].append(clock() - start)
        rounds += 1
    return {name: statistics.median(values) for name, values in times.items()}


def in_turns(calls, seconds=1.0, pause=0.015, warm=3, measured=5):
    """Run functions in turn, each several times in a row; median seconds of each.

    What one library leaves behind (threads that wait for more work, caches full of its data) is
    gone after a pause and some runs that do not count. So this is the time in a loop of one's own.

    Parameters
    ----------
    calls : dict of str to callable
    seconds : float
        How long to measure, about, pauses aside; at least three turns.
    pause : float
        Seconds before each turn.
    warm, measured : int
        Runs in a turn: first those that do not count.

    Returns
    -------
    dict of str to float
    """
    times = {name: [] for name in calls}
    spent = turns = 0.0
    while turns < 3 or spent < seconds:
        for name, call in calls.items():
            time.sleep(pause)
            for run in range(warm + measured):
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                spent += end - start
                if run >= warm:
                    times[name].append(end - start)
        turns += 1
    return {name: statistics.median(values) for name, values in times.items()}


def keep_memory():
    """Tell glibc to keep the memory that arrays give back, and not to ask the system each time."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # glibc's numbers for what to set
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**25)  # the largest that it takes
        libc.mallopt(trim_threshold, 2**30)


def processor():
    """Return the processor's name, as well as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [
        line.split(":")[1].strip() for line in lines if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def machine():
    """Describe the machine in one line."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{processor()}, {os.cpu_count()} CPUs, {system}, Python {platform.python_version()}"


def table(headings, rows):
    """Return rows of strings as aligned text under headings, the first column to the left."""
    cells = [headings, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for first, *rest in cells:
        right = [
            cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)
        ]
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
