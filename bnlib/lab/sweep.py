"""Train many small dense networks at once: one lane for each learning rate, seed or scale.

A lane sees the same batches and gets the same numbers as `bnlib.lab.training.fit` would give it
alone; `bnlib.lab.lanes` says how they become one network.
"""

import os
import time

import numpy as np

from bnlib.module import Parameter
from bnlib.optim import SGD

from .data import batches
from .lanes import lane_accuracy, lane_losses, stack
from .training import History, progress

__all__ = ["best_rate", "sweep", "sweep_rates"]


def sweep(
    nets,
    data,
    lrs,
    rngs,
    *,
    steps,
    batch_size,
    evaluate_every=None,
    optimizer=SGD,
    probe=None,
    **settings,
):
    """Train K networks at once, each with its own learning rate and its own order of the data.

    Parameters
    ----------
    nets : sequence of Sequential
        K networks of one architecture, in training mode; see `bnlib.lab.lanes.stack`.
    data : bnlib.lab.data.Data
        With inputs of shape (N, in), in the dtype of the networks.
    lrs : sequence of float
        One learning rate a network.
    rngs : sequence of numpy.random.Generator
        One source of the order of the data a network.
    steps, batch_size, evaluate_every, probe
        As for `bnlib.lab.training.fit`; the probe gets the stacked network.
    optimizer : type
        `SGD` or `Adam`.
    **settings
        For the optimizer: momentum, weight_decay and so on.

    Returns
    -------
    net : Sequential
        The stacked network, trained; `nets` are as they were.
    history : History
        Its columns have the lanes as their last axis; `seconds` are those of all lanes together.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; nothing is trained then.
    """
    K, every = len(nets), steps if evaluate_every is None else evaluate_every
    if not len(lrs) == len(rngs) == K > 0:
        raise ValueError(
            f"sweep: expected a rate and a generator for each of {K} networks, K > 0, "
            f"got {len(lrs)} and {len(rngs)}"
        )
    if steps < 1 or every < 1:
        raise ValueError(
            f"sweep: expected steps and evaluate_every >= 1, got {steps} and {every}"
        )
    if not all(net.training for net in nets):
        raise ValueError("sweep: expected networks in training mode")
    net = stack(nets)
    step_of = optimizer(_groups(net, np.asarray(lrs)), **settings)
    orders = [_orders(len(data.x_train), batch_size, rng) for rng in rngs]
    losses, accuracies, evaluations, probes, seconds = [], [], [], [], 0.0

    def evaluate(step):
        val = lane_accuracy(net, data.x_val, data.y_val, K)
        evaluations.append((step, val, seconds))
        probes.append(None if probe is None else probe(net))

    with np.errstate(all="ignore"):  # lanes whose rate is too high overflow
        evaluate(0)
        net[0].wants_dx = False
        for step in progress(steps):
            start = time.perf_counter()
            rows = np.stack([next(order) for order in orders], axis=1)  # (N, K)
            target = data.y_train[rows]
            logits = net(data.x_train[rows].reshape(batch_size, -1))
            logits = logits.reshape(*target.shape, -1)
            loss, dlogits = lane_losses(logits, target)
            losses.append(loss)
            accuracies.append((logits.argmax(2) == target).mean(0))
            step_of.zero_grad()
            net.backward(dlogits.reshape(batch_size, -1))
            step_of.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                evaluate(step)
        net[0].wants_dx = True
    columns = map(np.array, (losses, accuracies, *zip(*evaluations, strict=True)))
    return net, History(*columns, probes)


def sweep_rates(build, data, rates, seeds, **settings):
    """Train one network for each learning rate and seed; each seed with the same start and order.

    Parameters
    ----------
    build : callable
        ``build(rng)`` returns a new network; all its random numbers come from `rng`.
    data : bnlib.lab.data.Data
    rates : sequence of float
        Learning rates.
    seeds : sequence of int
        A seed gives one initialization and one order of the data, the same for every rate.
    **settings
        As for `sweep`.

    Returns
    -------
    net : Sequential
        The stacked network; lane ``i * len(seeds) + j`` had rate i and seed j.
    history : History
        Its columns have the axes (..., rates, seeds).
    """
    lanes = [(lr, *np.random.default_rng(s).spawn(2)) for lr in rates for s in seeds]
    lrs, starts, orders = zip(*lanes, strict=True)
    net, history = sweep([build(rng) for rng in starts], data, lrs, orders, **settings)
    grid = len(rates), len(seeds)
    columns = {
        name: getattr(history, name).reshape(-1, *grid)
        for name in ("loss", "train_accuracy", "val_accuracy")
    }
    return net, history._replace(**columns)


def best_rate(rates, scores):
    """Find the rate with the highest median score, and refuse one at the grid's edge.

    Parameters
    ----------
    rates : sequence of float
        In rising order.
    scores : array_like of shape (rates, seeds)
        The more the better, such as validation accuracies; NaN is the worst.

    Returns
    -------
    int
        Position of the best rate, the lowest one of equals.

    Raises
    ------
    ValueError
        If it is the first or the last: a better one may lie outside. With real MNIST
        (``BNLIB_MNIST``), for which the book's grids were not made, a line is printed instead.
    """
    scores = np.nan_to_num(np.asarray(scores, float), nan=-np.inf)
    best = int(np.median(scores, axis=1).argmax())
    if best in (0, len(rates) - 1):
        message = (
            f"best_rate: {rates[best]:g} is best, at the edge of the grid from {rates[0]:g} "
            f"to {rates[-1]:g}; sweep further"
        )
        if not os.environ.get("BNLIB_MNIST"):
            raise ValueError(message)
        print(message)
    return best


def _groups(net, lrs):
    """Give each lane of each parameter, a share of its first axis, the lane's rate.

    A large parameter goes to the optimizer in pieces, which its temporary arrays leave in the
    cache; the pieces are views.
    """
    groups = []
    for p in net.parameters():
        lr = np.repeat(lrs.astype(p.data.dtype), len(p.data) // len(lrs))
        lr = lr.reshape(-1, *[1] * (p.data.ndim - 1))
        pieces = min(len(p.data), 1 + p.data.nbytes // 2**20)
        for arrays in zip(
            *(np.array_split(a, pieces) for a in (p.data, p.grad, lr)), strict=True
        ):
            piece = Parameter(arrays[0])
            piece.grad = arrays[1]
            groups.append({"params": [piece], "lr": arrays[2]})
    return groups


def _orders(n, batch_size, rng):
    """Yield the rows of each mini-batch, epoch after epoch, as `batches` shuffles them."""
    rows = np.arange(n)
    while True:
        for batch, _ in batches(rows, rows, batch_size, rng):
            yield batch
