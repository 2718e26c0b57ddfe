"""SGD and Adam against PyTorch over 30 steps, in float64 and in float32."""

import numpy as np
import pytest
import torch
from helpers import assert_close, to_torch

import bnlib
from bnlib import Parameter, optim

SHAPES = (4, 3), (3,), ()
SGD_SETTINGS = [
    {},
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "weight_decay": 0.2},
    {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2, "nesterov": True},
]
ADAM_SETTINGS = [
    {},
    {"lr": 0.1, "betas": (0.5, 0.7)},
    {"lr": 0.1, "betas": (0.0, 0.999), "eps": 0.1},
    {"lr": 0.1, "weight_decay": 0.2},
]
CASES = [("SGD", s) for s in SGD_SETTINGS] + [("Adam", s) for s in ADAM_SETTINGS]


def parameters(dtype=np.float64):
    """Return parameters of bnlib and PyTorch with the same values."""
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    values = [np.asarray(value) for value in values]
    return [Parameter(v.copy()) for v in values], [
        to_torch(v, grad=True) for v in values
    ]


def run(ours, theirs, groups, steps=30, tolerance=1e-12):
    """Give both optimizers the same gradients and compare the parameters after each step."""
    rng = np.random.default_rng(1)
    our_parameters, their_parameters = groups
    for _ in range(steps):
        ours.zero_grad()
        for p, twin in zip(our_parameters, their_parameters, strict=True):
            assert not p.grad.any()
            gradient = p.data + 0.3 * rng.standard_normal(p.data.shape)
            p.grad += gradient.astype(p.data.dtype)
            twin.grad = to_torch(p.grad)
        gradients = [p.grad.copy() for p in our_parameters]
        ours.step()
        theirs.step()
        for p, twin, gradient in zip(
            our_parameters, their_parameters, gradients, strict=True
        ):
            assert_close(p.data, twin, atol=tolerance)
            assert_close(p.grad, gradient)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_steps_are_pytorchs(name, settings):
    ours, theirs = parameters()
    twin = getattr(torch.optim, name)(theirs, **settings)
    run(getattr(optim, name)(ours, **settings), twin, (ours, theirs))


@pytest.mark.parametrize(
    ("name", "settings"), [CASES[5], CASES[9]], ids=["SGD", "Adam"]
)
def test_float32_stays_float32(name, settings):
    ours, theirs = parameters(np.float32)
    twin = getattr(torch.optim, name)(theirs, **settings)
    run(getattr(optim, name)(ours, **settings), twin, (ours, theirs), tolerance=1e-5)
    assert all(p.data.dtype == np.float32 for p in ours)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_groups_have_settings_of_their_own(name):
    ours, theirs = parameters()
    groups = [
        [{"params": p[:1], "lr": 0.1}, {"params": p[1:], "weight_decay": 0.0}]
        for p in (ours, theirs)
    ]
    settings = {"lr": 0.02, "weight_decay": 0.3}
    one = getattr(optim, name)(groups[0], **settings)
    two = getattr(torch.optim, name)(groups[1], **settings)
    assert [g["lr"] for g in one.param_groups] == [0.1, 0.02]
    assert [g["weight_decay"] for g in one.param_groups] == [0.3, 0.0]
    assert "weight_decay" not in groups[0][0]  # the caller's dicts are left alone
    run(one, two, (ours, theirs), steps=5)
    for optimizer in (one, two):  # a schedule changes them on the way
        for group in optimizer.param_groups:
            group["lr"] *= 0.1
    run(one, two, (ours, theirs), steps=5)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_generator_of_parameters_will_do(name):
    ours, theirs = parameters()
    one = getattr(optim, name)(p for p in ours)
    run(one, getattr(torch.optim, name)(p for p in theirs), (ours, theirs), steps=3)


def test_parameters_are_updated_in_place():
    (p, *_), _ = parameters()
    data, before = p.data, p.data.copy()
    p.grad += 1
    optim.SGD([p], lr=0.5).step()
    assert p.data is data
    assert_close(p.data, before - 0.5)


def test_adams_first_step_has_the_size_of_the_rate():
    p = Parameter(np.zeros(3))
    p.grad += [1e-3, -1.0, 1e3]
    optim.Adam([p], lr=0.1, eps=0.0).step()
    assert_close(p.data, np.array([-0.1, 0.1, -0.1]), rtol=1e-12)


def parameter(*shape):
    """Return a parameter of ones."""
    return bnlib.Parameter(np.ones(shape))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([p, p]), ValueError, "expected each Parameter once"),
        (lambda p: optim.SGD(p), TypeError, "iterable of Parameter, got one Parameter"),
        (
            lambda p: optim.Adam(bnlib.Linear(2, 2)),
            TypeError,
            "iterable of Parameter, got one Linear",
        ),
        (
            lambda p: optim.SGD([p], lr=np.array([0.1, -1e-9])),
            ValueError,
            "expected a finite lr >= 0",
        ),
        (
            lambda p: optim.SGD([p], lr=np.array([0.1, np.inf])),
            ValueError,
            "expected a finite lr >= 0",
        ),
        (
            lambda p: optim.SGD([p], weight_decay=np.ones(3)),
            ValueError,
            r"weight_decay as a number or an array that fits \(4, 2\), got shape \(3,\)",
        ),
        (
            lambda p: optim.SGD([p], lr=np.ones((1, 4, 2))),
            ValueError,
            r"lr as a number or an array that fits \(4, 2\)",
        ),
    ],
)
def test_what_an_optimizer_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make(parameter(4, 2))


@pytest.mark.parametrize("shape", [(2,), (1,), (4, 1), (1, 2), (4, 2), ()])
def test_a_rate_may_be_an_array_that_fits(shape):
    p = parameter(4, 2)
    p.grad += 1
    rate = np.zeros(shape)
    rate[...] = np.arange(rate.size).reshape(shape)
    optim.SGD([p], lr=rate).step()
    np.testing.assert_array_equal(p.data, 1 - np.broadcast_to(rate, (4, 2)))


def test_the_base_has_no_rule():
    p = parameter(2)
    base = optim.Optimizer([p], lr=0.1, weight_decay=0.0)
    with pytest.raises(NotImplementedError):
        base.step()


def test_groups_that_were_spoilt_are_named():
    sgd = optim.SGD([parameter(2)], lr=0.1)
    sgd.param_groups = [{"lr": 0.1}]
    with pytest.raises(ValueError, match="SGD: expected a group as a dict with params"):
        sgd.zero_grad()
