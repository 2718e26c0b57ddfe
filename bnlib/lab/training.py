"""The training loop that the chapters share: mini-batches in, a history of the run out."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bnlib._checks import (
    check_array,
    check_function,
    check_int,
    check_number,
    check_rng,
)
from bnlib._types import Array
from bnlib.layers import CrossEntropyLoss
from bnlib.module import Module, Sequential, no_grad
from bnlib.optim import Optimizer

from ._checks import check_classes, check_kind, check_labels, check_split
from .data import Data, batches

__all__ = ["History", "accuracy", "evaluating", "fit", "progress", "steps_to"]


class History(NamedTuple):
    """What `fit` saw, once a step and once an evaluation.

    Parameters
    ----------
    loss, train_accuracy : ndarray of shape (steps,)
        Of each mini-batch, in training mode, before its update.
    steps : ndarray of shape (evaluations,)
        Updates made before each evaluation: 0 first, all of them last.
    val_accuracy, seconds : ndarray of shape (evaluations,)
        Accuracy in evaluation mode, and time spent on training (not on evaluations) until then.
    probes : list
        What the argument `probe` of `fit` returned at each evaluation.

    Examples
    --------
    >>> none = np.zeros(0)
    >>> history = History(none, none, np.array([0, 10]), np.array([0.1, 0.6]), none, [])
    >>> float(history.val_accuracy[-1])
    0.6
    """

    loss: Array
    train_accuracy: Array
    steps: Array
    val_accuracy: Array
    seconds: Array
    probes: list[Any]


@contextmanager
def evaluating(net: Module) -> Iterator[Module]:
    """Put a network in evaluation mode for a ``with`` block, then each module back as it was.

    The block is for predictions: it is under `bnlib.no_grad`, so that nothing is kept, and no
    backward belongs to a forward in it.

    Parameters
    ----------
    net : Module
        The network.

    Yields
    ------
    Module
        The same network.

    Raises
    ------
    TypeError
        If `net` is no module.

    Examples
    --------
    >>> from bnlib import BatchNorm1d
    >>> net = BatchNorm1d(3)
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    check_kind("evaluating", "net", net, Module)
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with no_grad():
            yield net
    finally:
        for module, mode in modes:
            module.training = mode


def accuracy(net: Module, x: Array, y: Array, *, batch_size: int = 64) -> float:
    """Return the share of samples whose largest logit is that of their label, in evaluation mode.

    Parameters
    ----------
    net : Module
        A classifier. Nothing is kept in it, and each module gets its mode back.
    x : ndarray of shape (N, ...)
        Samples.
    y : ndarray of int of shape (N,)
        Labels.
    batch_size : int
        Bounds the memory.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If there is no sample, not one label for each, a label is no class of the network, or an
        argument is not what it should be.

    Examples
    --------
    >>> from bnlib import ReLU
    >>> accuracy(ReLU(), np.eye(3), np.array([0, 1, 1]))
    0.6666666666666666
    """
    check_kind("accuracy", "net", net, Module)
    check_array("accuracy", "x", x)
    batch_size = check_int("accuracy", "batch_size", batch_size)
    labels = check_labels("accuracy", "y", y, len(x) if x.ndim else 0)
    guesses, classes = _guesses("accuracy", net, x, batch_size)
    check_classes("accuracy", "y", labels, classes)
    return float(np.mean(guesses == labels))


def _guesses(call: str, net: Module, x: Array, batch_size: int) -> tuple[Array, int]:
    """Return the class with the largest logit for each sample, and the number of classes."""
    guesses = []
    with evaluating(net):
        for i in range(0, len(x), batch_size):
            logits = net(x[i : i + batch_size])
            if logits.ndim != 2 or logits.shape[1] == 0:
                raise ValueError(
                    f"{call}: expected a network with outputs of shape (N, classes), "
                    f"got {logits.shape}"
                )
            guesses.append(logits.argmax(1))
    return np.concatenate(guesses), logits.shape[1]


def progress(steps: int) -> Iterator[int]:
    """Iterate over the steps 1, 2, … of a run, with a progress bar where somebody watches.

    That is in a terminal, and wherever ``BNLIB_PROGRESS`` is set, as ``make lab`` does. Elsewhere,
    in CI and in the stored notebooks, nothing is printed. The bar goes away when the run ends.

    Parameters
    ----------
    steps : int
        Number of steps.

    Returns
    -------
    iterator of int
        From 1 to `steps`.

    Raises
    ------
    TypeError, ValueError
        If `steps` is no integer, or negative.

    Examples
    --------
    >>> for step in progress(2):
    ...     print(step)
    1
    2
    """
    steps = check_int("progress", "steps", steps, low=0)
    watched = bool(os.environ.get("BNLIB_PROGRESS"))
    unless_terminal = None  # tqdm's word for: only where stderr is a terminal
    disable = False if watched else unless_terminal
    bar = tqdm(range(1, steps + 1), unit="step", leave=False, disable=disable)
    return iter(bar)


def caches(net: Module) -> list[Any]:
    """Return what a forward kept, for a loop to hold until the next one.

    A backward lets go of it, and large arrays would go back to the system and be asked for again in
    each step: a fifth of the time of a convolutional network.
    """
    return [module.cache for module in net.modules()]


def check_run(
    call: str,
    data: Any,
    steps: Any,
    batch_size: Any,
    evaluate_every: Any,
    probe: Any,
) -> tuple[int, int, int]:
    """Return steps, batch_size and evaluate_every; raise unless `fit` and `sweep` can train so."""
    steps = check_int(call, "steps", steps)
    batch_size = check_int(call, "batch_size", batch_size)
    every = steps
    if evaluate_every is not None:
        every = check_int(call, "evaluate_every", evaluate_every)
    if probe is not None:
        check_function(call, "probe", probe)
    check_split(call, data, "train")
    check_split(call, data, "val")
    if batch_size > len(data.x_train):
        raise ValueError(
            f"{call}: expected batch_size from 1 to {len(data.x_train)}, got {batch_size}"
        )
    return steps, batch_size, every


def fit(
    net: Module,
    data: Data,
    optimizer: Optimizer,
    *,
    steps: int,
    batch_size: int,
    rng: np.random.Generator,
    evaluate_every: int | None = None,
    probe: Callable[[Any], Any] | None = None,
) -> History:
    """Train a classifier with softmax cross-entropy, epoch after epoch in shuffled mini-batches.

    Parameters
    ----------
    net : Module
        In training mode; modules inside it that are in evaluation mode (frozen ones) stay so.
    data : bnlib.lab.data.Data
        Its training and validation splits are used. The test split is not touched.
    optimizer : bnlib.optim.SGD or bnlib.optim.Adam
        Over the parameters of `net`.
    steps, batch_size : int
        Number of updates, and samples in each.
    rng : numpy.random.Generator
        Source of the order of the data.
    evaluate_every : int or None
        Updates between two evaluations; None evaluates only before the first and after the last.
    probe : callable, optional
        Called as ``probe(net)`` at each evaluation; must leave the network as it was.

    Returns
    -------
    History
        A run that diverges has losses of inf or NaN there; nothing is raised.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; nothing is trained then.

    Examples
    --------
    >>> from bnlib import Linear, Sequential
    >>> from bnlib.lab import data as sets
    >>> data = sets.small_digits().flat()
    >>> from bnlib.optim import SGD
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(64, 10, rng=rng))
    >>> sgd = SGD(net.parameters(), lr=0.5)
    >>> history = fit(net, data, sgd, steps=100, batch_size=50, rng=rng)
    >>> history.steps, bool(history.val_accuracy[-1] > 0.9)
    (array([  0, 100]), True)
    """
    check_kind("fit", "net", net, Module)
    check_kind("fit", "optimizer", optimizer, Optimizer)
    run = data, steps, batch_size, evaluate_every, probe
    steps, batch_size, every = check_run("fit", *run)
    check_rng("fit", rng)
    if not net.training:
        raise ValueError(
            "fit: expected a network in training mode; call net.train() first"
        )
    epochs = (batches(data.x_train, data.y_train, batch_size, rng) for _ in count())
    criterion, seconds = CrossEntropyLoss(), 0.0
    trained, evaluated, probes = [], [], []
    kept: list[Any] = []

    def evaluate(step: int) -> None:
        guesses, classes = _guesses("fit", net, data.x_val, 64)
        if step == 0:
            check_classes("fit", "data.y_val", data.y_val, classes)
            check_classes("fit", "data.y_train", data.y_train, classes)
        evaluated.append((step, np.mean(guesses == data.y_val), seconds))
        probes.append(None if probe is None else probe(net))

    # Nobody needs the gradient with respect to the images.
    skip = {"input_gradient": False} if type(net) is Sequential else {}
    # With a learning rate that is too high, numbers overflow.
    with np.errstate(all="ignore"):
        evaluate(0)
        samples = islice(chain.from_iterable(epochs), steps)
        for step, (x, y) in zip(progress(steps), samples, strict=True):
            start = time.perf_counter()
            logits = net(x)
            kept[:] = caches(net)
            trained.append((criterion(logits, y), np.mean(logits.argmax(1) == y)))
            optimizer.zero_grad()
            net.backward(criterion.backward(), **skip)
            optimizer.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                evaluate(step)
    loss, train_accuracy = np.array(trained).T
    at, val_accuracy, times = map(np.array, zip(*evaluated, strict=True))
    return History(loss, train_accuracy, at, val_accuracy, times, probes)


def steps_to(history: History, level: float) -> Array:
    """Find the first evaluation with a validation accuracy of at least `level`.

    Parameters
    ----------
    history : History
        Of one run, or of a sweep: further axes of `val_accuracy` are runs.
    level : float
        An accuracy.

    Returns
    -------
    ndarray of float
        Updates made until then, for each run; inf where it was never reached.

    Raises
    ------
    TypeError, ValueError
        If `history` is no history, its columns do not fit each other, or `level` is no number.

    Examples
    --------
    >>> none = np.zeros(0)
    >>> history = History(none, none, np.array([0, 10, 20]), np.array([0.1, 0.6, 0.9]), none, [])
    >>> steps_to(history, 0.5)
    array(10.)
    """
    check_kind("steps_to", "history", history, History)
    check_number("steps_to", "level", level)
    values, steps = np.asarray(history.val_accuracy), np.asarray(history.steps)
    if values.ndim == 0 or len(values) == 0 or steps.shape != values.shape[:1]:
        raise ValueError(
            "steps_to: expected val_accuracy of shape (evaluations, ...), one for each of "
            f"{steps.size} steps, got {values.shape}"
        )
    reached = values >= level
    return np.where(reached.any(0), steps[reached.argmax(0)], np.inf)
