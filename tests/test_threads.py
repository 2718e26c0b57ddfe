"""Threads that share work: how many, in what order, after a fork and at the end of a program."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import fingerprint

import bnlib
from bnlib import functional as F
from bnlib.threads import num_threads, run

SECONDS = 60  # to wait for what takes one: then it hangs


def script(code):
    """Run a program that imports bnlib; return its exit code and what it said.

    Later versions of Python warn of every fork where there are threads.
    """
    env = {**os.environ, "PYTHONPATH": str(Path(bnlib.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("variable", [None, "7", "x"])
@pytest.mark.parametrize("number", [1, 5, np.int64(3)])
def test_the_argument_comes_first(monkeypatch, variable, number):
    if variable is None:
        monkeypatch.delenv("BNLIB_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("BNLIB_NUM_THREADS", variable)
    assert num_threads(number) == number


@pytest.mark.parametrize(("variable", "number"), [("1", 1), (" 3 ", 3), ("12\n", 12)])
def test_the_variable_comes_second(monkeypatch, variable, number):
    monkeypatch.setenv("BNLIB_NUM_THREADS", variable)
    assert num_threads() == number


@pytest.mark.parametrize("variable", ["0", "x", "-1", "", "1.5", "2 3", "00", "²"])
def test_a_wrong_variable_is_named(monkeypatch, variable):
    monkeypatch.setenv("BNLIB_NUM_THREADS", variable)
    with pytest.raises(ValueError, match="BNLIB_NUM_THREADS") as info:
        num_threads()
    assert str(info.value).endswith(f"as an int >= 1, got {variable!r}")


@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError)]
)
def test_a_wrong_argument_is_named(number, error):
    with pytest.raises(error, match="num_threads: expected threads "):
        num_threads(number)


def test_the_default_is_the_cpus_of_the_process(monkeypatch):
    monkeypatch.delenv("BNLIB_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert num_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert num_threads() == 9
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_threads() == 1


def items(number):
    """Return the arguments of so many calls."""
    return [(i,) for i in range(number)]


@pytest.mark.parametrize("threads", [1, 2, 3, 20])
@pytest.mark.parametrize("length", [0, 1, 2, 11])
def test_each_item_is_done_once(threads, length):
    done = []

    def later(i):
        time.sleep(0.002 * (length - i))  # the first ends last
        done.append(i)

    run(later, items(length), threads)
    assert sorted(done) == list(range(length))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_so_many_threads_work_and_the_caller_is_one(threads):
    barrier = threading.Barrier(threads)
    workers = set()

    def who(_):
        barrier.wait(SECONDS)
        workers.add(threading.current_thread())

    run(who, items(threads), threads)
    assert len(workers) == threads
    assert threading.current_thread() in workers


@pytest.mark.parametrize(("length", "threads"), [(9, 1), (1, 9)])
def test_one_thread_is_the_caller_alone(length, threads):
    workers = []
    run(lambda _: workers.append(threading.current_thread()), items(length), threads)
    assert workers == [threading.current_thread()] * length


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_an_exception_comes_when_all_threads_have_ended(wrong):
    barrier = threading.Barrier(3)
    ended = []

    def work(i):
        if i < 3:
            barrier.wait(SECONDS)
        if i == wrong:
            raise LookupError(i)
        time.sleep(0.02)
        ended.append(i)

    with pytest.raises(LookupError, match=str(wrong)):
        run(work, items(6), 3)
    now = list(ended)
    assert {0, 1, 2} - {wrong} <= set(now)
    time.sleep(0.05)
    assert ended == now
    run(ended.append, items(3), 3)  # and the pool is as good as before
    assert sorted(ended[len(now) :]) == [0, 1, 2]


def test_many_threads_may_call_at_once(monkeypatch):
    monkeypatch.setenv("BNLIB_BACKEND", "compiled")
    compiled = pytest.importorskip("bnlib.compiled", exc_type=ImportError)
    monkeypatch.setattr(compiled, "LARGE", 1)
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((40 + i, 5, 9, 9), np.float32) for i in range(12)]

    def step(x):
        y, cache = F.batch_norm_forward(x, None, None, training=True, threads=3)
        return fingerprint(y, *F.batch_norm_backward(x, cache, threads=3))

    expected = [step(x) for x in batches]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert list(pool.map(step, batches, timeout=SECONDS)) == expected


LARGE = """
import os, sys, threading
import numpy as np
from bnlib import functional as F
x = np.random.default_rng(0).standard_normal((64, 8, 64, 64), np.float32)
def step():
    y, cache = F.batch_norm_forward(x, None, None, training=True, threads=2)
    return [a.tobytes() for a in (y, *F.batch_norm_backward(x, cache, threads=2))]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("used", [True, False])
def test_a_child_process_has_threads_of_its_own(used):
    code = f"""{LARGE}
expected = step() if {used} else None
child = os.fork()
if child == 0:
    right = expected is None or step() == expected
    os._exit(0 if right else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert expected is None or step() == expected
"""
    exit_code, _, errors = script(code)
    assert (exit_code, errors) == (0, "")


def test_a_pool_is_there_again_in_the_child():
    code = f"""{LARGE}
from bnlib.threads import run
barrier = threading.Barrier(2)
def meet(_):
    barrier.wait(20)
run(meet, [(0,), (1,)], 2)
if (child := os.fork()) == 0:
    run(meet, [(0,), (1,)], 2)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    exit_code, _, errors = script(code)
    assert (exit_code, errors) == (0, "")


@pytest.mark.parametrize("used", [True, False])
def test_the_end_of_the_interpreter_is_no_obstacle(used):
    code = f"""{LARGE}
import atexit
expected = step() if {used} else None
def last():
    y = F.batch_norm(x, None, None, training=True, threads=2)
    print(abs(y.mean()) < 1e-6, abs(y.std() - 1) < 1e-4)
atexit.register(last)
"""
    assert script(code) == (0, "True True\n", "")
