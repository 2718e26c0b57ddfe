"""What the laboratory says to nonsense: each call with the error and its whole message below."""

import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import fingerprint, state_of

import bnlib
import bnlib.lab
from bnlib import (
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    Sequential,
)
from bnlib.lab import claims
from bnlib.lab.data import Data
from bnlib.lab.training import History
from bnlib.optim import SGD

CASES = """
TABLE
"""


class Sub(Sequential):
    """It might do more than run its layers."""


def build(rng):
    return Sequential(Linear(4, 8, rng=rng), BatchNorm1d(8), Linear(8, 3, rng=rng))


def counted(batches):
    net = Sequential(BatchNorm1d(2))
    net[0].num_batches_tracked[...] = batches
    return net


def public():
    """Return all public functions and classes of the laboratory that take arguments, by name."""
    found = {}
    for info in pkgutil.iter_modules(bnlib.lab.__path__, "bnlib.lab."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            own = getattr(thing, "__module__", None) == info.name
            if own and callable(thing):
                found[name] = thing
    return found


@pytest.fixture
def names():
    """Return what the calls of the table can use."""
    rng = np.random.default_rng
    x = rng(0).standard_normal((6, 4)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1, 2])
    nets = [build(rng(0))]
    fig, ax = plt.subplots()
    stated = {"all": [0.5, 2.0]}
    words = ("gain", "3-evidence/speed", "X gains.", "folklore", "Gain")
    yield {
        **public(),
        **{"BatchNorm2d": BatchNorm2d, "Dropout": Dropout, "Flatten": Flatten},
        **{"LayerNorm": LayerNorm, "Linear": Linear, "ReLU": ReLU},
        **{"Sequential": Sequential, "Sub": Sub, "counted": counted, "build": build},
        **{"np": np, "x": x, "y": y, "ax": ax, "claims": claims},
        "data": Data(x, y, x, y, None, None, ("a", "b", "c"), "toy"),
        "rng": lambda: rng(0),
        "net": lambda: nets[0],
        "sgd": lambda: SGD(nets[0].parameters(), 0.1),
        "run": {"steps": 2, "batch_size": 4, "rng": rng(0)},
        "many": {"steps": 2, "batch_size": 4},
        "runs": lambda: History(*np.zeros((5, 3)), []),
        "claim": claims.Claim(*words, 1.0, np.inf, stated, "holds"),
        "nodes": {"x": (0, 0, "x"), "y": (1, 0, "y")},
    }
    plt.close(fig)


def cases():
    lines = CASES.strip().replace("\n    ", " | ").splitlines()
    for line in lines:
        expression, outcome = line.rsplit(" | ", 1)
        yield pytest.param(expression, *outcome.split(": ", 1), id=expression)


@pytest.mark.parametrize(("expression", "error", "message"), cases())
def test_nonsense_is_refused_by_name(expression, error, message, names, monkeypatch):
    monkeypatch.delenv("BNLIB_MNIST", raising=False)
    net, arrays = names["net"](), (names["x"], names["y"])
    before = state_of(net), fingerprint(*arrays)
    modes = [module.training for module in net.modules()]
    evaluation = ".eval()" in expression
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(expression, names)
    assert (type(raised.value).__name__, str(raised.value)) == (error, message)
    if evaluation:
        net.train()
    assert (state_of(net), fingerprint(*arrays)) == before
    assert [module.training for module in net.modules()] == modes
    assert all(module.cache is None for module in net.modules())


def test_each_public_function_is_asked():
    for name, thing in public().items():
        takes = inspect.signature(thing).parameters
        fields = issubclass(thing, tuple) if inspect.isclass(thing) else False
        if takes and not fields and not issubclass(type(thing), type(ValueError)):
            assert f"{name}(" in CASES, name
