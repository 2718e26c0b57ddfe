"""Many small dense networks side by side in one, a lane each.

The lanes' channels stand side by side. Batch normalization of K·C channels *is* K batch
normalizations of C channels, layer normalization of K lanes is group normalization with K groups,
and activations do not care: bnlib's own layers serve as they are. Only linear layers and dropout
are replaced, by one matrix product and one random stream a lane.
"""

import numpy as np

from bnlib import functional as F
from bnlib.layers import Dropout, Linear, ReLU, Sigmoid, Tanh
from bnlib.module import Module, Parameter, Sequential
from bnlib.norm import BatchNorm1d, GroupNorm, LayerNorm

from .training import evaluating

__all__ = [
    "LaneDropout",
    "LaneLinear",
    "for_lanes",
    "lane_accuracy",
    "lane_losses",
    "stack",
]


class LaneLinear(Module):
    """K linear layers side by side, from (N, K·in), or (N, in) for all lanes, to (N, K·out).

    Parameters
    ----------
    layers : sequence of Linear
        Of one shape; their weights are copied.

    Attributes
    ----------
    weight : Parameter of shape (K, out, in)
    bias : Parameter of shape (K, out) or None
    wants_dx : bool
        Whether `backward` returns dx; False for a first layer, whose dx nobody asks for.
    """

    def __init__(self, layers):
        super().__init__()
        self.weight = Parameter(np.stack([layer.weight.data for layer in layers]))
        self.bias = None
        if layers[0].bias is not None:
            self.bias = Parameter(np.stack([layer.bias.data for layer in layers]))
        self.wants_dx = True

    def forward(self, x):
        """Return each lane's ``x @ weight.T + bias``."""
        K, n_out, n_in = self.weight.data.shape
        lanes = x.reshape(len(x), -1, n_in).transpose(1, 0, 2)  # (K or 1, N, in)
        y = np.empty((len(x), K, n_out), x.dtype)
        np.matmul(lanes, self.weight.data.transpose(0, 2, 1), out=y.transpose(1, 0, 2))
        if self.bias is not None:
            y += self.bias.data
        self.cache = lanes
        return y.reshape(len(x), K * n_out)

    def backward(self, dy):
        """Return dx, if it is wanted; add to the gradients of weight and bias."""
        K, n_out, n_in = self.weight.data.shape
        dy = dy.reshape(len(dy), K, n_out).transpose(1, 0, 2)  # (K, N, out)
        self.weight.grad += dy.transpose(0, 2, 1) @ self.saved_cache()
        if self.bias is not None:
            self.bias.grad += dy.sum(1)
        if not self.wants_dx:
            return None
        dx = np.empty((dy.shape[1], K, n_in), dy.dtype)
        np.matmul(dy, self.weight.data, out=dx.transpose(1, 0, 2))
        return dx.reshape(len(dx), K * n_in)


class LaneDropout(Module):
    """K dropout layers side by side, each with its own probability and its own random stream.

    Parameters
    ----------
    layers : sequence of Dropout
        Their random streams are shared, not copied.
    """

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        """Drop values in training; return x unchanged in evaluation."""
        lanes = np.split(x, len(self.layers), axis=1)
        pairs = [
            F.dropout_forward(lane, layer.p if self.training else 0, layer.rng)
            for lane, layer in zip(lanes, self.layers, strict=True)
        ]
        y, self.cache = (np.hstack(arrays) for arrays in zip(*pairs, strict=True))
        return y

    def backward(self, dy):
        """Return dx."""
        return F.dropout_backward(dy, self.saved_cache())


def _stack_norms(layers):
    """Make one normalization of K·C channels out of K of C channels."""
    first, K = layers[0], len(layers)
    same = {"eps": first.eps, "affine": first.weight is not None}
    same |= {"bias": first.bias is not None, "dtype": first.dtype}
    if isinstance(first, BatchNorm1d):
        same |= {"momentum": first.momentum}
        same |= {"track_running_stats": first.track_running_stats}
        norm = BatchNorm1d(K * first.num_features, **same)
    elif isinstance(first, GroupNorm):
        norm = GroupNorm(K * first.num_groups, K * first.num_channels, **same)
    else:
        norm = GroupNorm(K, K * first.normalized_shape[0], **same)
    for (_, target), *parts in zip(
        norm.named_state(), *(layer.named_state() for layer in layers), strict=True
    ):
        arrays = [array for _, array in parts]
        target[...] = np.concatenate(arrays) if target.ndim else arrays[0]
    return norm


def stack(nets):
    """Put K networks of one architecture side by side into one.

    Parameters
    ----------
    nets : sequence of Sequential
        Of `Linear`, `BatchNorm1d`, `LayerNorm`, `GroupNorm`, `Dropout` and activations; another
        class of layer needs a static method ``stack(layers)``. The networks are not changed, but
        their dropout goes on to draw from the same random streams.

    Returns
    -------
    Sequential
        From (N, K·in), or from (N, in) where the first layer is linear, to (N, K·out).

    Raises
    ------
    TypeError, ValueError
        If a layer cannot be stacked, or the networks differ in more than their arrays' values and
        the probabilities of their dropout.
    """
    if len({len(net) for net in nets}) != 1:
        raise ValueError("stack: expected networks of one architecture")
    stacked = []
    for layers in zip(*(net.layers for net in nets), strict=True):
        if len({_signature(layer) for layer in layers}) != 1:
            raise ValueError(f"stack: expected layers of one kind, got {layers}")
        kind = type(layers[0])
        if hasattr(kind, "stack"):
            stacked.append(kind.stack(layers))
        elif kind is Linear:
            stacked.append(LaneLinear(layers))
        elif kind in (BatchNorm1d, LayerNorm, GroupNorm):
            stacked.append(_stack_norms(layers))
        elif kind is Dropout:
            stacked.append(LaneDropout(layers))
        elif kind in (ReLU, Sigmoid, Tanh):
            stacked.append(kind())
        else:
            raise TypeError(
                f"stack: expected a layer that can be stacked, got {kind.__name__}"
            )
        stacked[-1].train(layers[0].training)
    return Sequential(*stacked)


def _signature(layer):
    """Return what layers must have in common to be stacked."""
    settings = None if isinstance(layer, Dropout) else repr(layer)
    arrays = tuple((k, v.shape, v.dtype) for k, v in layer.named_state())
    return type(layer), layer.training, settings, arrays


def for_lanes(net, x, lanes):
    """Return samples of shape (N, in) as a stacked network takes them for all its lanes.

    A first layer that is linear takes them as they are; any other needs a copy a lane.
    """
    return x if isinstance(net[0], LaneLinear) else np.tile(x, lanes)


def lane_losses(logits, target):
    """Cross-entropy of each lane, and its gradient.

    Parameters
    ----------
    logits : ndarray of shape (N, lanes, classes)
    target : ndarray of int of shape (N, lanes)

    Returns
    -------
    loss : ndarray of shape (lanes,)
    dlogits : ndarray of the shape and dtype of `logits`
    """
    shifted = logits - logits.max(2, keepdims=True)
    e = np.exp(shifted)
    total, right = e.sum(2, keepdims=True), target[:, :, None]
    loss = np.mean(np.log(total) - np.take_along_axis(shifted, right, 2), axis=(0, 2))
    dlogits = e / total
    picked = np.take_along_axis(dlogits, right, 2)
    np.put_along_axis(dlogits, right, picked - 1, 2)
    return loss, dlogits / len(target)


def lane_accuracy(net, x, y, lanes, *, batch_size=250):
    """Accuracy of each lane of a stacked network on the same samples, in evaluation mode.

    Parameters
    ----------
    net : Sequential
        From `stack`.
    x : ndarray of shape (N, in)
    y : ndarray of int of shape (N,)
    lanes : int
    batch_size : int
        Bounds the memory.

    Returns
    -------
    ndarray of shape (lanes,)
    """
    right = np.zeros(lanes)
    with evaluating(net), np.errstate(all="ignore"):
        for i in range(0, len(x), batch_size):
            batch, labels = x[i : i + batch_size], y[i : i + batch_size]
            guesses = (
                net(for_lanes(net, batch, lanes))
                .reshape(len(labels), lanes, -1)
                .argmax(2)
            )
            right += (guesses == labels[:, None]).sum(0)
    return right / len(x)
