"""The training loop that the chapters share: mini-batches in, a history of the run out."""

import os
import time
from contextlib import contextmanager
from itertools import chain, count, islice
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from bnlib.layers import CrossEntropyLoss

from .data import batches

__all__ = ["History", "accuracy", "evaluating", "fit", "progress", "steps_to"]


class History(NamedTuple):
    """What `fit` saw, once a step and once an evaluation.

    Attributes
    ----------
    loss, train_accuracy : ndarray of shape (steps,)
        Of each mini-batch, in training mode, before its update.
    steps : ndarray of shape (evaluations,)
        Updates made before each evaluation: 0 first, all of them last.
    val_accuracy, seconds : ndarray of shape (evaluations,)
        Accuracy in evaluation mode, and time spent on training (not on evaluations) until then.
    probes : list
        What the argument `probe` of `fit` returned at each evaluation.
    """

    loss: np.ndarray
    train_accuracy: np.ndarray
    steps: np.ndarray
    val_accuracy: np.ndarray
    seconds: np.ndarray
    probes: list


@contextmanager
def evaluating(net):
    """Put a network in evaluation mode for a ``with`` block, then each module back as it was."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for module, mode in modes:
            module.training = mode


def accuracy(net, x, y, *, batch_size=64):
    """Share of samples whose largest logit is that of their label, in evaluation mode.

    `batch_size` bounds the memory. ValueError if there is no sample, or not one label for each.
    """
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"accuracy: expected one label for each input, got {len(y)} for {len(x)}"
        )
    with evaluating(net):
        starts = range(0, len(x), batch_size)
        guesses = [net(x[i : i + batch_size]).argmax(1) for i in starts]
    return float(np.mean(np.concatenate(guesses) == y))


def progress(steps):
    """Iterate over the steps 1, 2, … of a run, with a progress bar where somebody watches.

    That is in a terminal, and wherever ``BNLIB_PROGRESS`` is set, as ``make lab`` does. Elsewhere,
    in CI and in the stored notebooks, nothing is printed. The bar goes away when the run ends.
    """
    watched = bool(os.environ.get("BNLIB_PROGRESS"))
    unless_terminal = None  # tqdm's word for: only where stderr is a terminal
    disable = False if watched else unless_terminal
    return tqdm(range(1, steps + 1), unit="step", leave=False, disable=disable)


def fit(
    net, data, optimizer, *, steps, batch_size, rng, evaluate_every=None, probe=None
):
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
    """
    every = steps if evaluate_every is None else evaluate_every
    if steps < 1 or every < 1:
        raise ValueError(
            f"fit: expected steps and evaluate_every >= 1, got {steps} and {every}"
        )
    if not net.training:
        raise ValueError(
            "fit: expected a network in training mode; call net.train() first"
        )
    epochs = (batches(data.x_train, data.y_train, batch_size, rng) for _ in count())
    criterion, seconds, trained, evaluated, probes = CrossEntropyLoss(), 0.0, [], [], []

    def evaluate(step):
        evaluated.append((step, accuracy(net, data.x_val, data.y_val), seconds))
        probes.append(None if probe is None else probe(net))

    with np.errstate(
        all="ignore"
    ):  # with a learning rate that is too high, numbers overflow
        evaluate(0)
        samples = islice(chain.from_iterable(epochs), steps)
        for step, (x, y) in zip(progress(steps), samples, strict=True):
            start = time.perf_counter()
            logits = net(x)
            trained.append((criterion(logits, y), np.mean(logits.argmax(1) == y)))
            optimizer.zero_grad()
            net.backward(criterion.backward())
            optimizer.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                evaluate(step)
    return History(
        *np.array(trained).T, *map(np.array, zip(*evaluated, strict=True)), probes
    )


def steps_to(history, level):
    """Find the first evaluation with a validation accuracy of at least `level`.

    Parameters
    ----------
    history : History
        Of one run, or of a sweep: further axes of `val_accuracy` are runs.
    level : float

    Returns
    -------
    ndarray of float
        Updates made until then, for each run; inf where it was never reached.
    """
    reached = np.asarray(history.val_accuracy) >= level
    return np.where(reached.any(0), history.steps[reached.argmax(0)], np.inf)
