"""Look into a network: what its layers put out, which gradients they get, how far weights move.

`trace` runs one batch through a copy of the network, so that it can serve as the `probe` of
`bnlib.lab.training.fit`; the other functions sum up what it found. Their arrays are a layer's,
of shape (N, C) or (N, C, H, W), or those of the lanes of a sweep, (N, lanes, C); results have one
value a lane then.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bnlib._checks import (
    check_array,
    check_bool,
    check_floats,
    check_int,
    check_number,
)
from bnlib._types import Array
from bnlib.module import Sequential

from ._checks import (
    check_classes,
    check_items,
    check_kind,
    check_labels,
    check_limits,
    check_values,
)
from .lanes import for_lanes, losses_and_gradients

__all__ = [
    "Trace",
    "dead",
    "drift",
    "percentiles",
    "rms",
    "saturated",
    "trace",
    "update_ratios",
]


class Trace(NamedTuple):
    """What `trace` saw.

    Parameters
    ----------
    names : list of str
        Class of each layer.
    outputs, gradients : list of ndarray of shape (N, ...) or (N, lanes, C)
        Output of each layer, and the gradient of the loss with respect to it.
    weights, weight_gradients : dict of str to ndarray
        Matrices and kernels, not the scales of normalizations, and their gradients; by name. In
        a sweep the lanes are the first axis.
    loss : float, or ndarray of shape (lanes,)
        Cross-entropy, mean over the batch.

    Examples
    --------
    >>> from bnlib import Linear, ReLU, Sequential
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng))
    >>> seen = trace(net, np.ones((5, 4), np.float32), np.zeros(5, int))
    >>> [y.shape for y in seen.after("ReLU")]
    [(5, 8)]
    """

    names: list[str]
    outputs: list[Array]
    gradients: list[Array]
    weights: dict[str, Array]
    weight_gradients: dict[str, Array]
    loss: Any

    def after(self, kind: str) -> list[Array]:
        """Return the outputs of all layers of one class.

        Parameters
        ----------
        kind : str
            Name of the class, such as "ReLU".

        Returns
        -------
        list of ndarray
            In the order of the layers; empty where there is no such layer.
        """
        return [self.outputs[i] for i, name in enumerate(self.names) if name == kind]


def trace(net: Sequential, x: Array, y: Array, lanes: int | None = None) -> Trace:
    """Run one batch forward and backward through a copy of a network, and keep all of it.

    Parameters
    ----------
    net : Sequential
        A classifier. It is not changed: no gradient, buffer, cache or random stream of it. Its
        layers run in the mode in which they are: in training, with the statistics of this batch.
    x : ndarray of shape (N, ...)
        Samples.
    y : ndarray of int of shape (N,)
        Labels.
    lanes : int or None
        Number of lanes, if `net` is the stacked network of a sweep.

    Returns
    -------
    Trace
        Outputs, gradients, weights and loss.

    Raises
    ------
    TypeError, ValueError
        If there is no sample, not one label for each, a label is no class of the network, or an
        argument is not what it should be. If the call is under `bnlib.no_grad`, which keeps
        nothing for a backward.

    Examples
    --------
    >>> from bnlib import Linear, ReLU, Sequential
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng))
    >>> seen = trace(net, np.ones((5, 4), np.float32), np.zeros(5, int))
    >>> seen.names, seen.gradients[1].shape, list(seen.weights)
    (['Linear', 'ReLU', 'Linear'], (5, 8), ['0.weight', '2.weight'])
    """
    check_kind("trace", "net", net, Sequential)
    check_array("trace", "x", x)
    labels = check_labels("trace", "y", y, len(x) if x.ndim else 0)
    if lanes is not None:
        lanes = check_int("trace", "lanes", lanes)
    net = copy.deepcopy(net)
    net.zero_grad()
    x = x if lanes is None else for_lanes(net, x, lanes)
    outputs: list[Array] = []
    gradients: list[Array] = []
    split = (len(labels), lanes or 1, -1)
    with np.errstate(all="ignore"):  # a network that diverges is worth a look, too
        for layer in net:
            x = layer(x)
            outputs.append(x)
        if x.ndim != 2 or x.shape[1] % (lanes or 1):
            raise ValueError(
                f"trace: expected a network of {lanes or 1} lanes with outputs of shape "
                f"(N, lanes·classes), got {x.shape}"
            )
        logits = x.reshape(split)
        check_classes("trace", "y", labels, logits.shape[2])
        target = np.repeat(labels[:, None], lanes or 1, axis=1)
        loss, dlogits = losses_and_gradients(logits, target, logits.argmax(2))
        dy = dlogits.reshape(x.shape)
        for layer in reversed(list(net)):
            gradients.insert(0, dy)
            dy = layer.backward(dy)
    if lanes is not None:
        outputs, gradients = (
            [a.reshape(split) for a in arrays] for arrays in (outputs, gradients)
        )
    matrices = {
        k: p
        for k, p in net.named_parameters()
        if k.endswith("weight") and p.data.ndim > 1
    }
    return Trace(
        [type(layer).__name__ for layer in net],
        outputs,
        gradients,
        {k: p.data for k, p in matrices.items()},
        {k: p.grad for k, p in matrices.items()},
        float(loss[0]) if lanes is None else loss,
    )


def _units_last(call: str, a: Any) -> Array:
    """Return an array of shape (samples, units) or (samples, lanes, units)."""
    check_floats(call, "a", a)
    if a.ndim not in (2, 3, 4) or a.size == 0:
        raise ValueError(
            f"{call}: expected a of shape (N, C), (N, lanes, C) or (N, C, H, W), not empty, "
            f"got {a.shape}"
        )
    units: Array = np.moveaxis(a, 1, -1).reshape(-1, a.shape[1]) if a.ndim == 4 else a
    return units


def percentiles(a: Array, percent: Sequence[float] = (15, 50, 85)) -> Array:
    """Find percentiles of all values of a layer, samples and units together.

    Parameters
    ----------
    a : ndarray
        Outputs or gradients of the layer.
    percent : sequence of float
        Which, from 0 to 100.

    Returns
    -------
    ndarray of shape (percent,) or (percent, lanes)
        The percentiles, in the order of `percent`.

    Raises
    ------
    TypeError, ValueError
        If `a` is no floating array of one of the shapes above, or a percentage is out of range.

    Examples
    --------
    >>> percentiles(np.arange(101.0)[:, None])
    array([15., 50., 85.])
    """
    wanted = [
        check_number("percentiles", "each of percent", number, low=0, high=100)
        for number in check_items("percentiles", "percent", percent)
    ]
    units = _units_last("percentiles", a)
    return np.percentile(units, wanted, axis=(0, -1))


def rms(a: Array) -> Any:
    """Return the root mean square of all values of a layer: the size of its outputs or gradients.

    Parameters
    ----------
    a : ndarray
        Outputs or gradients of the layer.

    Returns
    -------
    float, or ndarray of shape (lanes,)
        The size.

    Raises
    ------
    TypeError, ValueError
        If `a` is no floating array of one of the shapes above.

    Examples
    --------
    >>> float(rms(np.array([[3.0, -3.0], [3.0, 3.0]])))
    3.0
    """
    square = np.square(_units_last("rms", a), dtype=np.float64)
    return np.sqrt(np.mean(square, axis=(0, -1)))


def saturated(
    a: Array, low: float = -1.0, high: float = 1.0, tail: float = 0.03
) -> Any:
    """Share of values in the outer `tail` of a range, where tanh or sigmoid is all but flat.

    Parameters
    ----------
    a : ndarray
        Outputs of the activation.
    low, high : float
        Its limits: -1 and 1 for tanh, 0 and 1 for sigmoid.
    tail : float
        Part of the range, at each end. At 0.03 the slope is at most 12 % of its largest value.

    Returns
    -------
    float, or ndarray of shape (lanes,)
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If `a` is no floating array of one of the shapes above, or a number is out of range.

    Examples
    --------
    >>> float(saturated(np.array([[0.99, 0.5], [0.999, 0.98]])))
    0.75
    """
    low, high = check_limits("saturated", "(low, high)", (low, high))
    tail = check_number("saturated", "tail", tail, low=0, high=0.5)
    a, margin = _units_last("saturated", a), tail * (high - low)
    return np.mean((a < low + margin) | (a > high - margin), axis=(0, -1))


def dead(a: Array) -> Any:
    """Share of units that are above 0 for no sample: with ReLU they pass no gradient at all.

    Parameters
    ----------
    a : ndarray
        Outputs of the activation.

    Returns
    -------
    float, or ndarray of shape (lanes,)
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If `a` is no floating array of one of the shapes above.

    Examples
    --------
    >>> float(dead(np.array([[0.0, 1.0], [0.0, 0.0]])))
    0.5
    """
    return np.mean(~(_units_last("dead", a) > 0).any(0), axis=-1)


def update_ratios(seen: Trace, lr: Any) -> dict[str, Any]:
    """Length of each weight's plain gradient step relative to the weight.

    Parameters
    ----------
    seen : Trace
        From `trace`.
    lr : float, or array_like of shape (lanes,)
        Learning rate, or one for each lane.

    Returns
    -------
    dict of str to float, or to ndarray of shape (lanes,)
        ``lr · ‖gradient‖ / ‖weight‖``, both norms over all elements.

    Raises
    ------
    TypeError, ValueError
        If `seen` is no trace, or a rate is no number from 0 on, or there is not one for each lane.

    Examples
    --------
    >>> from bnlib import Linear, ReLU, Sequential
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng))
    >>> seen = trace(net, np.ones((5, 4), np.float32), np.zeros(5, int))
    >>> {name: round(float(ratio), 4) for name, ratio in update_ratios(seen, 0.1).items()}
    {'0.weight': 0.0425, '2.weight': 0.1948}
    """
    check_kind("update_ratios", "seen", seen, Trace)
    lanes = np.shape(seen.loss)
    shape = f"() or {lanes}" if lanes else "()"
    rates = check_values("update_ratios", "lr", lr, (0, len(lanes)), shape)
    if rates.shape not in ((), lanes):
        raise ValueError(
            f"update_ratios: expected lr of shape {shape}, got {rates.shape}"
        )
    for rate in rates.ravel():
        check_number("update_ratios", "lr", rate, low=0)
    axes = (1, 2) if lanes else None
    lengths = [
        {
            k: np.sqrt(np.square(a, dtype=np.float64).sum(axes))
            for k, a in arrays.items()
        }
        for arrays in (seen.weights, seen.weight_gradients)
    ]
    return {k: rates * lengths[1][k] / lengths[0][k] for k in seen.weights}


def drift(bands: Any, *, relative: bool = False) -> Any:
    """Measure how far the middle of a distribution wandered during training.

    Parameters
    ----------
    bands : array_like of shape (evaluations, 3, ...)
        Low, middle and high percentile at each evaluation, of a layer or of each unit.
    relative : bool
        Divide by the mean distance of high and low, the distribution's own width.

    Returns
    -------
    ndarray of shape (...)
        Largest minus smallest middle.

    Raises
    ------
    TypeError, ValueError
        If `bands` has another shape or holds no numbers, or `relative` is neither True nor False.

    Examples
    --------
    >>> float(drift([[-1, 0, 1], [2, 3, 4], [1, 2, 3]]))
    3.0
    >>> float(drift([[-1, 0, 1], [2, 3, 4], [1, 2, 3]], relative=True))
    1.5
    """
    check_bool("drift", "relative", relative)
    shape = "(evaluations, 3, ...)"
    values = check_values("drift", "bands", bands, range(2, 64), shape)
    if values.shape[1] != 3:
        raise ValueError(f"drift: expected bands of shape {shape}, got {values.shape}")
    low, middle, high = np.moveaxis(values, 1, 0)
    wandered = np.ptp(middle, axis=0)
    return wandered / np.mean(high - low, axis=0) if relative else wandered
