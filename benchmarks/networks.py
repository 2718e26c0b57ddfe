"""The two reference networks, in bnlib and in PyTorch, and a training step of each."""

import torch

import bnlib
from bnlib import optim


def network(lib, name, norm):
    """Return a reference network of a library, with or without batch normalization."""
    if name == "dense":
        layers = [lib.Linear(784, 128), lib.BatchNorm1d(128), lib.ReLU()]
        layers += [lib.Linear(128, 64), lib.BatchNorm1d(64), lib.ReLU()]
        layers += [lib.Linear(64, 10)]
    else:
        layers = [lib.Conv2d(3, 32, 3), lib.BatchNorm2d(32), lib.ReLU()]
        layers += [lib.Flatten(), lib.Linear(32 * 62 * 62, 10)]
    return lib.Sequential(
        *(
            layer
            for layer in layers
            if norm or not isinstance(layer, (lib.BatchNorm1d, lib.BatchNorm2d))
        )
    )


def step(lib, net, x, target):
    """Return a function that makes one training step."""
    loss = lib.CrossEntropyLoss()
    if lib is bnlib:
        sgd = optim.SGD(net.parameters(), lr=0.01)

        def ours():
            sgd.zero_grad()
            loss(net(x), target)
            net.backward(loss.backward(), input_gradient=False)
            sgd.step()

        return ours
    sgd = torch.optim.SGD(net.parameters(), lr=0.01)
    x, target = torch.tensor(x), torch.tensor(target)

    def theirs():
        sgd.zero_grad()
        loss(net(x), target).backward()
        sgd.step()

    return theirs
