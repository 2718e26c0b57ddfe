"""Where bnlib differs from PyTorch on purpose: each row of the API page's table, measured."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import bnlib
from bnlib import functional as F

PAGE = Path(__file__).parent.parent / "book" / "appendix" / "api.md"
ROWS = {}
X = np.arange(6, dtype=np.float32).reshape(3, 2)
T = torch.from_numpy(X)


def row(name):
    """Register the test of a row, by what stands in its first column."""

    def register(function):
        ROWS[name] = function
        return function

    return register


def both(name, *arguments, **options):
    """Return a layer of bnlib and its twin of PyTorch."""
    return (getattr(lib, name)(*arguments, **options) for lib in (bnlib, torch.nn))


@row("empty batch in training")
def _():
    ours, theirs = both("BatchNorm1d", 2)
    ours(X[:0])
    theirs(T[:0])
    assert (ours.num_batches_tracked, theirs.num_batches_tracked) == (0, 1)


@row("one value per channel in training")
def _():
    for layer, x in zip(both("BatchNorm1d", 2), (X, T), strict=True):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            layer(x[:1])
        assert layer.num_batches_tracked == isinstance(layer, torch.nn.Module)


@row("one object twice in a `Sequential`")
def _():
    relu = torch.nn.ReLU()
    assert torch.nn.Sequential(relu, relu)(T).shape == T.shape
    relu = bnlib.ReLU()
    with pytest.raises(
        ValueError, match="each module once, got the same ReLU at 0 and 1"
    ):
        bnlib.Sequential(relu, relu)


@row("backward")
def _():
    layer = bnlib.Linear(2, 2)
    layer(X)
    assert layer.backward(X).shape == X.shape
    with pytest.raises(ValueError, match="expected a forward call first"):
        layer.backward(X)
    assert not hasattr(torch.nn.Linear(2, 2), "backward")


@row("loss")
def _():
    ours, theirs = both("CrossEntropyLoss")
    assert type(ours(X, [0, 1, 1])) is float
    assert ours.backward().shape == X.shape
    assert isinstance(theirs(T, torch.tensor([0, 1, 1])), torch.Tensor)


@row("gradient of a parameter that got none")
def _():
    ours, theirs = both("Linear", 2, 2)
    assert not ours.weight.grad.any()
    assert theirs.weight.grad is None
    before = ours.weight.data.copy(), theirs.weight.detach().clone()
    bnlib.optim.SGD(ours.parameters(), lr=0.1, weight_decay=1).step()
    torch.optim.SGD(theirs.parameters(), lr=0.1, weight_decay=1).step()
    np.testing.assert_allclose(ours.weight.data, 0.9 * before[0], rtol=1e-6)
    assert torch.equal(theirs.weight, before[1])


@row("`zero_grad`")
def _():
    ours, theirs = both("Linear", 2, 2)
    theirs(T).sum().backward()
    for net in (ours, theirs):
        net.zero_grad()
    assert not ours.weight.grad.any()
    assert theirs.weight.grad is None


@row("constructor arguments")
def _():
    one, two = (bnlib.Linear(2, 2, rng=np.random.default_rng(0)) for _ in "ab")
    assert np.array_equal(one.weight.data, two.weight.data)
    with pytest.raises(TypeError, match="device"):
        bnlib.Linear(2, 2, device="cpu")
    torch.nn.Linear(2, 2, device="cpu", dtype=torch.float64)
    assert bnlib.Linear(2, 2, dtype=float).weight.data.dtype == np.float64


@row("float16 parameters")
def _():
    torch.nn.Linear(2, 2, dtype=torch.float16)
    with pytest.raises(TypeError, match="never kept in less"):
        bnlib.Linear(2, 2, dtype=np.float16)
    with pytest.raises(TypeError, match="got float16"):
        bnlib.Parameter(np.ones(2, np.float16))


@row("array types")
def _():
    for x in (np.ma.ones((3, 2)), X.astype(">f4"), X.view(np.recarray)):
        with pytest.raises(TypeError, match=r"^relu: expected x"):
            bnlib.ReLU()(x)


@row("integer inputs")
def _():
    assert torch.nn.ReLU()(torch.tensor([1])).dtype == torch.int64
    with pytest.raises(TypeError, match="floating dtype, got int64"):
        bnlib.ReLU()(np.array([1]))


@row("eps = 0")
def _():
    torch.nn.functional.layer_norm(T, (2,), eps=0)
    torch.nn.functional.batch_norm(T, T[0], T[1] + 1, eps=0)
    for call in (
        lambda: F.layer_norm(X, (2,), eps=0),
        lambda: F.batch_norm(X, X[0], X[1] + 1, eps=0),
    ):
        with pytest.raises(ValueError, match="a finite eps > 0, got 0"):
            call()


@row("momentum above 1, or below 0")
def _():
    for momentum in (-0.5, 1.5):
        torch.nn.BatchNorm1d(2, momentum=momentum)(T)
        with pytest.raises(ValueError, match="momentum between 0 and 1"):
            bnlib.BatchNorm1d(2, momentum=momentum)


@row("settings that are NaN, infinite, strings or booleans")
def _():
    for eps in (math.nan, True):
        torch.nn.BatchNorm1d(2, eps=eps)
    for eps in (math.nan, math.inf, "1e-5", True):
        with pytest.raises((TypeError, ValueError), match=r"^BatchNorm1d: expected"):
            bnlib.BatchNorm1d(2, eps=eps)


@row("`load_state_dict`, errors")
def _():
    ours, theirs = both("Linear", 2, 2)
    state, twin = ours.state_dict(), theirs.state_dict()
    for change, error in (
        ({"other": X}, KeyError),
        ({"bias": X[0, :1]}, ValueError),
        ({"bias": np.array([1, 2])}, TypeError),
    ):
        with pytest.raises(error, match=r"Linear.load_state_dict: "):
            ours.load_state_dict(state | change)
    for change in ({"other": T}, {"bias": T[0, :1]}):
        with pytest.raises(RuntimeError):
            theirs.load_state_dict(twin | change)


@row("`load_state_dict`, after an error")
def _():
    ours, theirs = both("Linear", 2, 2)
    before = ours.state_dict()
    with pytest.raises(ValueError, match="bias"):
        ours.load_state_dict({"weight": X[:2], "bias": X[0, :1]})
    assert all(np.array_equal(a, before[name]) for name, a in ours.named_state())
    with pytest.raises(RuntimeError):
        theirs.load_state_dict({"weight": T[:2], "bias": T[0, :1]})
    assert torch.equal(theirs.weight, T[:2])


@row("cross entropy, no target that counts")
def _():
    ours, theirs = both("CrossEntropyLoss", ignore_index=0)
    assert theirs(T, torch.tensor([0, 0, 0])).isnan()
    with pytest.raises(ValueError, match="a target that is not ignored"):
        ours(X, [0, 0, 0])


@row("`MSELoss`, two shapes")
def _():
    ours, theirs = both("MSELoss")
    with pytest.warns(UserWarning, match="broadcasting"):
        theirs(T, T[:1])
    with pytest.raises(ValueError, match="target of shape"):
        ours(X, X[:1])


@row("tails of sigmoid, tanh, cross entropy")
def _():
    x = np.array([[20.0]], np.float32)
    for name in ("Sigmoid", "Tanh"):
        ours, theirs = both(name)
        tx = torch.from_numpy(x).requires_grad_()
        theirs(tx).sum().backward()
        ours(x)
        assert tx.grad == 0
        assert ours.backward(np.ones_like(x)) > 0
    logits = np.array([[20.0, 0.0]], np.float32)
    ours, theirs = both("CrossEntropyLoss")
    assert theirs(torch.from_numpy(logits), torch.tensor([0])) == 0
    assert ours(logits, [0]) == pytest.approx(math.exp(-20), rel=1e-6)


@row("dropped unit, infinite gradient")
def _():
    torch.manual_seed(0)
    tx = torch.ones(50, requires_grad=True)
    torch.nn.Dropout()(tx).backward(torch.full((50,), math.inf))
    assert tx.grad.isnan().any()
    layer = bnlib.Dropout(rng=np.random.default_rng(0))
    layer(np.ones(50))
    dx = layer.backward(np.full(50, math.inf))
    assert not np.isnan(dx).any()
    assert (dx == 0).any()


@row("`SyncBatchNorm`")
def _():
    torch.nn.SyncBatchNorm(2, process_group=None)
    layer = bnlib.SyncBatchNorm(2, all_reduce=lambda vector: 2 * vector)
    np.testing.assert_allclose(layer(X), bnlib.BatchNorm1d(2)(np.tile(X, (2, 1)))[:3])


@pytest.mark.parametrize("name", ROWS)
def test_row_is_true(name):
    ROWS[name]()


def test_every_row_of_the_page_is_tested():
    text = PAGE.read_text(encoding="utf-8")
    table = text.split("(api-differences)=")[1].split("\n## ")[1]
    names = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert names[0] == "What"
    assert names[1:] == list(ROWS)
