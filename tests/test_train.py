"""Training: the same losses as PyTorch, step for step, from the same start."""

import numpy as np
import pytest
import torch
from helpers import assert_close, to_torch

import bnlib
from bnlib import optim

STEPS = 20


def dense(lib, **dtype):
    layers = [lib.Linear(12, 16, **dtype), lib.BatchNorm1d(16, **dtype), lib.ReLU()]
    layers += [
        lib.Linear(16, 8, bias=False, **dtype),
        lib.BatchNorm1d(8, **dtype),
        lib.ReLU(),
        lib.Linear(8, 3, **dtype),
    ]
    return lib.Sequential(*layers)


def cnn(lib, **dtype):
    return lib.Sequential(
        lib.Conv2d(2, 4, 3, padding=1, bias=False, **dtype),
        lib.BatchNorm2d(4, momentum=None, **dtype),
        lib.ReLU(),
        lib.MaxPool2d(2),
        lib.Conv2d(4, 4, 3, stride=2, **dtype),
        lib.GroupNorm(2, 4, **dtype),
        lib.Tanh(),
        lib.Flatten(),
        lib.Linear(16, 8, **dtype),
        lib.LayerNorm(8, **dtype),
        lib.Sigmoid(),
        lib.Linear(8, 3, **dtype),
    )


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "Adam": {"lr": 0.01},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("network", "shape"), [(dense, (32, 12)), (cnn, (16, 2, 11, 10))]
)
def test_losses_are_pytorchs(network, shape, optimizer):
    torch.manual_seed(0)
    theirs = network(torch.nn, dtype=torch.float64)
    ours = network(bnlib, dtype=float)
    ours.load_state_dict(theirs.state_dict())
    settings = OPTIMIZERS[optimizer]
    our_optimizer = getattr(optim, optimizer)(ours.parameters(), **settings)
    their_optimizer = getattr(torch.optim, optimizer)(theirs.parameters(), **settings)
    loss, their_loss = bnlib.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, *shape[1:]))
    losses, expected = [], []
    for _ in range(STEPS):
        target = rng.integers(0, 3, shape[0])
        x = centres[target] + rng.standard_normal(shape)
        ours.zero_grad()
        losses.append(loss(ours(x), target))
        ours.backward(loss.backward())
        our_optimizer.step()

        their_optimizer.zero_grad()
        value = their_loss(theirs(to_torch(x)), torch.tensor(target))
        value.backward()
        their_optimizer.step()
        expected.append(value.item())
    assert_close(np.array(losses), np.array(expected), atol=1e-10)
    assert losses[-1] < losses[0] / 1.5  # it learns

    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, rtol=1e-8, atol=1e-10)
    with torch.no_grad():
        expected = theirs.eval()(to_torch(x))
    assert_close(ours.eval()(x), expected, rtol=1e-8, atol=1e-9)
