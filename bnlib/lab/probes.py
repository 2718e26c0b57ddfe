"""Look into a network: what its layers put out, which gradients they get, how far weights move.

`trace` runs one batch through a copy of the network, so that it can serve as the `probe` of
`bnlib.lab.training.fit`; the other functions sum up what it found. Their arrays are a layer's,
of shape (N, C) or (N, C, H, W), or those of the lanes of a sweep, (N, lanes, C); results have one
value a lane then.
"""

import copy
from typing import NamedTuple

import numpy as np

from .lanes import for_lanes, lane_losses

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

    Attributes
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
    """

    names: list
    outputs: list
    gradients: list
    weights: dict
    weight_gradients: dict
    loss: float

    def after(self, kind):
        """Return the outputs of all layers of one class, such as "ReLU"."""
        return [self.outputs[i] for i, name in enumerate(self.names) if name == kind]


def trace(net, x, y, lanes=None):
    """Run one batch forward and backward through a copy of a network, and keep all of it.

    Parameters
    ----------
    net : Sequential
        A classifier. It is not changed: no gradient, buffer, cache or random stream of it. Its
        layers run in the mode in which they are: in training, with the statistics of this batch.
    x : ndarray of shape (N, ...)
    y : ndarray of int of shape (N,)
        Labels.
    lanes : int or None
        Number of lanes, if `net` is the stacked network of a sweep.

    Returns
    -------
    Trace

    Examples
    --------
    >>> from bnlib import Linear, ReLU, Sequential
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng))
    >>> seen = trace(net, np.ones((5, 4), np.float32), np.zeros(5, int))
    >>> seen.names, seen.gradients[1].shape, list(seen.weights)
    (['Linear', 'ReLU', 'Linear'], (5, 8), ['0.weight', '2.weight'])
    """
    net = copy.deepcopy(net)
    net.zero_grad()
    x = x if lanes is None else for_lanes(net, x, lanes)
    outputs, split = [], (len(y), lanes or 1, -1)
    with np.errstate(all="ignore"):  # a network that diverges is worth a look, too
        for layer in net.layers:
            x = layer(x)
            outputs.append(x)
        target = np.repeat(y[:, None], lanes or 1, axis=1)
        loss, dy = lane_losses(x.reshape(split), target)
        dy = dy.reshape(x.shape)
        gradients = []
        for layer in reversed(net.layers):
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
        [type(layer).__name__ for layer in net.layers],
        outputs,
        gradients,
        {k: p.data for k, p in matrices.items()},
        {k: p.grad for k, p in matrices.items()},
        float(loss[0]) if lanes is None else loss,
    )


def _units_last(a):
    """Return an array of shape (samples, units) or (samples, lanes, units)."""
    return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1]) if a.ndim == 4 else a


def percentiles(a, percent=(15, 50, 85)):
    """Percentiles of all values of a layer, samples and units together.

    Returns
    -------
    ndarray of shape (percent,) or (percent, lanes)
    """
    return np.percentile(_units_last(a), percent, axis=(0, -1))


def rms(a):
    """Root mean square of all values of a layer: the size of its outputs or gradients."""
    return np.sqrt(np.mean(np.square(_units_last(a)), axis=(0, -1)))


def saturated(a, low=-1.0, high=1.0, tail=0.03):
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
    """
    a, margin = _units_last(a), tail * (high - low)
    return np.mean((a < low + margin) | (a > high - margin), axis=(0, -1))


def dead(a):
    """Share of units that are above 0 for no sample: with ReLU they pass no gradient at all."""
    return np.mean(~(_units_last(a) > 0).any(0), axis=-1)


def update_ratios(seen, lr):
    """Length of each weight's plain gradient step relative to the weight.

    Parameters
    ----------
    seen : Trace
    lr : float, or array_like of shape (lanes,)

    Returns
    -------
    dict of str to float, or to ndarray of shape (lanes,)
        ``lr · ‖gradient‖ / ‖weight‖``, both norms over all elements.
    """
    axes = None if np.ndim(seen.loss) == 0 else (1, 2)
    norms = [
        {k: np.sqrt(np.square(a).sum(axes)) for k, a in arrays.items()}
        for arrays in (seen.weights, seen.weight_gradients)
    ]
    return {k: np.asarray(lr) * norms[1][k] / norms[0][k] for k in seen.weights}


def drift(bands, *, relative=False):
    """How far the middle of a distribution wandered during training.

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
    """
    low, middle, high = np.moveaxis(np.asarray(bands), 1, 0)
    wandered = np.ptp(middle, axis=0)
    return wandered / np.mean(high - low, axis=0) if relative else wandered
