"""One place says which seeds, pictures and steps an experiment has; a confirmation has others."""

import numpy as np
import pytest

from bnlib.lab import data, trial
from bnlib.lab.idx import read_mnist


@pytest.fixture(autouse=True)
def exploring(monkeypatch):
    for name in ("BNLIB_MNIST", "BNLIB_CONFIRM", "BNLIB_BUDGET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def confirming(monkeypatch, tmp_path):
    monkeypatch.setenv("BNLIB_CONFIRM", str(tmp_path / "values.json"))


def test_no_seed_serves_for_two_things(monkeypatch):
    explored = trial.seeds(24), trial.seeds(24, choosing=True)
    monkeypatch.setenv("BNLIB_CONFIRM", "values.json")
    every = [*explored, trial.seeds(24), trial.seeds(24, choosing=True)]
    assert len({seed for some in every for seed in some}) == 4 * 24


def test_a_confirmation_has_at_least_twelve_seeds(confirming):
    assert len(trial.seeds(5)) == 12
    assert len(trial.seeds(24)) == 24
    assert len(trial.seeds(3, choosing=True)) == 3


def test_a_confirmation_has_pictures_of_its_own(confirming, monkeypatch):
    new = data.digits(20, 10, 10)
    monkeypatch.delenv("BNLIB_CONFIRM")
    old = data.digits(20, 10, 10)
    assert not np.array_equal(new.x_train, old.x_train)
    assert np.array_equal(old.x_train, data.digits(20, 10, 10, seed=0).x_train)


def test_a_budget_makes_all_runs_longer(monkeypatch):
    assert trial.steps(300) == 300
    monkeypatch.setenv("BNLIB_BUDGET", "4")
    assert trial.steps(300) == 1200


@pytest.mark.parametrize("budget", ["0", "-1", "two", "1.5"])
def test_a_bad_budget_is_refused(monkeypatch, budget):
    monkeypatch.setenv("BNLIB_BUDGET", budget)
    with pytest.raises(
        ValueError, match=f"BNLIB_BUDGET as an int >= 1, got '{budget}'"
    ):
        trial.steps(300)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="seeds: expected n >= 1"):
        trial.seeds(0)
    with pytest.raises(TypeError, match="seeds: expected choosing"):
        trial.seeds(1, choosing=1)
    with pytest.raises(TypeError, match="steps: expected n"):
        trial.steps(1.5)


def idx(a):
    """Return an array as an IDX file."""
    head = bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes()
    return head + a.astype(np.uint8).tobytes()


def test_chapters_fit_themselves_to_the_pictures_there_are(tmp_path, monkeypatch):
    for name, n in (("train", 60), ("t10k", 20)):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(np.zeros((n, 28, 28))))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    assert len(read_mnist(tmp_path, "train")[0]) == 60
    monkeypatch.setenv("BNLIB_MNIST", str(tmp_path))
    some = data.digits(90, 30, 30)
    assert [len(some.y_train), len(some.y_val), len(some.y_test)] == [45, 15, 20]
    some = data.digits(30, 10, 10)
    assert [len(some.y_train), len(some.y_val), len(some.y_test)] == [30, 10, 10]
