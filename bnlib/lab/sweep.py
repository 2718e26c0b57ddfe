"""Train many small dense networks at once: one lane for each learning rate, seed or scale.

A lane sees the same batches and gets the same numbers as `bnlib.lab.training.fit` would give it
alone; `bnlib.lab.lanes` says how they become one network.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bnlib._checks import check_function, check_int, check_rng
from bnlib._types import Array
from bnlib.module import Parameter, Sequential, unguarded
from bnlib.optim import SGD, Adam, Optimizer

from ._checks import (
    check_classes,
    check_items,
    check_rates,
    check_values,
)
from .data import Data, batches
from .lanes import lane_accuracy, losses_and_gradients, stacked
from .training import History, caches, check_run, progress

__all__ = ["best_rate", "sweep", "sweep_rates"]


def sweep(
    nets: Sequence[Sequential],
    data: Data,
    lrs: Sequence[float],
    rngs: Sequence[np.random.Generator],
    *,
    steps: int,
    batch_size: int,
    evaluate_every: int | None = None,
    optimizer: Callable[..., Optimizer] = SGD,
    probe: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> tuple[Sequential, History]:
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
    steps, batch_size : int
        Number of updates, and samples in each.
    evaluate_every : int or None
        Updates between two evaluations; None evaluates only before the first and after the last.
    optimizer : callable
        `SGD`, `Adam`, or what makes an optimizer of a list of groups, one for each parameter. A
        class that says ``elementwise = True`` treats each weight by itself: it may get several
        parameters in one array, or a large one in parts.
    probe : callable, optional
        Called as ``probe(net)`` with the stacked network at each evaluation; must leave it as it
        was.
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

    Examples
    --------
    >>> from bnlib import Linear, Sequential
    >>> from bnlib.lab import data as sets
    >>> data = sets.small_digits().flat()
    >>> rngs = [np.random.default_rng(seed) for seed in range(2)]
    >>> nets = [Sequential(Linear(64, 10, rng=rng)) for rng in rngs]
    >>> net, history = sweep(nets, data, [0.01, 0.5], rngs, steps=50, batch_size=50)
    >>> history.val_accuracy.shape, bool(np.diff(history.val_accuracy[-1])[0] > 0)
    ((2, 2), True)
    """
    nets, rngs = check_items("sweep", "nets", nets), check_items("sweep", "rngs", rngs)
    lrs = check_rates("sweep", "lrs", lrs, "lr")
    K = len(nets)
    if not len(lrs) == len(rngs) == K:
        raise ValueError(
            f"sweep: expected a rate and a generator for each of {K} networks, "
            f"got {len(lrs)} and {len(rngs)}"
        )
    for rng in rngs:
        check_rng("sweep", rng)
    run = data, steps, batch_size, evaluate_every, probe
    steps, batch_size, every = check_run("sweep", *run)
    is_other = isinstance(optimizer, type) and not issubclass(optimizer, Optimizer)
    if is_other or not callable(optimizer):
        raise TypeError(
            f"sweep: expected optimizer to be a class such as SGD, got {optimizer!r}"
        )
    if "lr" in settings or "params" in settings:
        raise TypeError("sweep: expected the rates as lrs, got a setting lr or params")
    net = stacked("sweep", nets)
    if not all(module.training for module in nets):
        raise ValueError("sweep: expected networks in training mode")
    optimizers = _optimizers(net, np.asarray(lrs), optimizer, settings)
    orders = [_orders(len(data.x_train), batch_size, rng) for rng in rngs]
    losses, accuracies, evaluations, probes, seconds = [], [], [], [], 0.0
    kept: list[Any] = []

    def evaluate(step: int) -> None:
        val = lane_accuracy(net, data.x_val, data.y_val, K)
        evaluations.append((step, val, seconds))
        probes.append(None if probe is None else probe(net))

    with np.errstate(all="ignore"):  # lanes whose rate is too high overflow
        evaluate(0)
        for step in progress(steps):
            start = time.perf_counter()
            rows = np.stack([next(order) for order in orders], axis=1)  # (N, K)
            target = data.y_train[rows]
            with unguarded():
                logits = net(data.x_train[rows].reshape(batch_size, -1))
            kept[:] = caches(net)
            logits = logits.reshape(*target.shape, -1)
            if step == 1:
                check_classes("sweep", "data.y_train", data.y_train, logits.shape[2])
            guess = logits.argmax(2)
            loss, dlogits = losses_and_gradients(logits, target, guess)
            losses.append(loss)
            accuracies.append((guess == target).mean(0))
            for one in optimizers:
                one.zero_grad()
            with unguarded():
                net.backward(dlogits.reshape(batch_size, -1), input_gradient=False)
            for one in optimizers:
                one.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                evaluate(step)
    at, val_accuracy, times = map(np.array, zip(*evaluations, strict=True))
    loss, train_accuracy = np.array(losses), np.array(accuracies)
    history = History(loss, train_accuracy, at, val_accuracy, times, probes)
    return net, history


def sweep_rates(
    build: Callable[[np.random.Generator], Sequential],
    data: Data,
    rates: Sequence[float],
    seeds: Sequence[int],
    **settings: Any,
) -> tuple[Sequential, History]:
    """Train one network for each learning rate and seed; each seed with the same start and order.

    Parameters
    ----------
    build : callable
        ``build(rng)`` returns a new network; all its random numbers come from `rng`.
    data : bnlib.lab.data.Data
        As for `sweep`.
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

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; nothing is trained then.

    Examples
    --------
    >>> from bnlib import Linear, Sequential
    >>> from bnlib.lab import data as sets
    >>> data = sets.small_digits().flat()
    >>> def build(rng):
    ...     return Sequential(Linear(64, 10, rng=rng))
    >>> net, history = sweep_rates(build, data, [0.01, 0.5], [0, 1, 2], steps=50, batch_size=50)
    >>> history.val_accuracy[-1].shape  # rates, seeds
    (2, 3)
    """
    check_function("sweep_rates", "build", build)
    rates = check_rates("sweep_rates", "rates", rates, "rate")
    seeds = [
        check_int("sweep_rates", "each of seeds", seed, low=0)
        for seed in check_items("sweep_rates", "seeds", seeds)
    ]
    lanes = [(lr, *np.random.default_rng(s).spawn(2)) for lr in rates for s in seeds]
    lrs, starts, orders = zip(*lanes, strict=True)
    net, history = sweep([build(rng) for rng in starts], data, lrs, orders, **settings)
    grid = len(rates), len(seeds)
    return net, history._replace(
        loss=history.loss.reshape(-1, *grid),
        train_accuracy=history.train_accuracy.reshape(-1, *grid),
        val_accuracy=history.val_accuracy.reshape(-1, *grid),
    )


def best_rate(rates: Sequence[float], scores: Any) -> int:
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
    TypeError
        If a rate is no number, or a score.
    ValueError
        If the rates do not rise, or there are not as many rows of scores. If the best is the first
        or the last: a better one may lie outside. With real MNIST (``BNLIB_MNIST``), for which the
        book's grids were not made, a line is printed instead.

    Examples
    --------
    >>> best_rate([0.01, 0.1, 1.0], [[0.5, 0.6], [0.9, 0.8], [0.1, 0.2]])
    1
    """
    rates = check_rates("best_rate", "rates", rates, "rate")
    if any(a >= b for a, b in pairwise(rates)):
        raise ValueError(f"best_rate: expected rates in rising order, got {rates}")
    shape = f"({len(rates)}, seeds)"
    scores = check_values("best_rate", "scores", scores, (2,), shape)
    if len(scores) != len(rates):
        raise ValueError(
            f"best_rate: expected scores of shape {shape}, got {scores.shape}"
        )
    scores = np.nan_to_num(scores, nan=-np.inf)
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


def _optimizers(
    net: Sequential,
    lrs: Array,
    kind: Callable[..., Optimizer],
    settings: dict[str, Any],
) -> list[Optimizer]:
    """Give each lane of each parameter, a share of its first axis, the lane's rate.

    A large parameter goes to optimizers of its own, in pieces whose temporary arrays the cache
    holds: one optimizer computes all its steps before it makes the first. The pieces are views.
    Small ones share an array: most of a step's time would go into the calls. An optimizer that is
    not bnlib's gets all parameters as they are, for it may look at them, unless it says not to.
    """
    whole = kind not in (SGD, Adam) and not getattr(kind, "elementwise", False)
    small, large = [], []
    parameters = [*net.parameters()]
    if not whole:
        for several in _small(parameters):
            small.append(_together(several, lrs))
            parameters = [p for p in parameters if p not in several]
    for p in parameters:
        lr = np.repeat(lrs.astype(p.data.dtype), len(p.data) // len(lrs))
        lr = lr.reshape(-1, *[1] * (p.data.ndim - 1))
        pieces = 1 if whole else min(len(p.data), 1 + p.data.nbytes // 2**20)
        for arrays in zip(
            *(np.array_split(a, pieces) for a in (p.data, p.grad, lr)), strict=True
        ):
            piece = Parameter(arrays[0])
            piece.grad = arrays[1]
            group = {"params": [piece], "lr": arrays[2]}
            if pieces == 1:
                small.append(group)
            else:
                large.append([group])
    groups = ([small] if small else []) + large
    return [kind(group, **settings) for group in groups]


def _small(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """Return small parameters of one dtype in lists of two or more, each for the cache."""
    lists: list[list[Parameter]] = []
    room = 0
    for p in sorted(parameters, key=lambda p: p.data.dtype.name):
        if p.data.nbytes > 2**16:
            continue
        if p.data.nbytes > room or p.data.dtype != lists[-1][-1].data.dtype:
            lists.append([])
            room = 2**18
        lists[-1].append(p)
        room -= p.data.nbytes
    return [several for several in lists if len(several) > 1]


def _together(parameters: Sequence[Parameter], lrs: Array) -> dict[str, Any]:
    """Move parameters into one array; return it as a group with each lane's rate."""
    whole = Parameter(np.concatenate([p.data.ravel() for p in parameters]))
    whole.grad = np.concatenate([p.grad.ravel() for p in parameters])
    ends = np.cumsum([p.data.size for p in parameters])[:-1]
    pairs = zip(np.split(whole.data, ends), np.split(whole.grad, ends), strict=True)
    for p, (data, grad) in zip(parameters, pairs, strict=True):
        p.data, p.grad = data.reshape(p.data.shape), grad.reshape(p.data.shape)
    lrs = lrs.astype(whole.data.dtype)
    rates = [np.repeat(lrs, p.data.size // len(lrs)) for p in parameters]
    return {"params": [whole], "lr": np.concatenate(rates)}


def _orders(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the rows of each mini-batch, epoch after epoch, as `batches` shuffles them."""
    rows = np.arange(n)
    while True:
        for batch, _ in batches(rows, rows, batch_size, rng):
            yield batch
