"""Train many small dense networks at once: one lane for each learning rate, seed or scale.

The lanes' channels stand side by side. Batch normalization of K·C channels *is* K batch
normalizations of C channels, layer normalization of K lanes is group normalization with K groups,
and activations do not care: bnlib's own layers serve as they are. Only linear layers and dropout
are replaced, by one batched matrix product and by one random stream a lane. A lane sees the same
batches and gets the same numbers as `bnlib.lab.training.fit` would give it alone.
"""

import time

import numpy as np

from bnlib import functional as F
from bnlib.layers import Dropout, Linear, ReLU, Sigmoid, Tanh
from bnlib.module import Module, Parameter, Sequential
from bnlib.norm import BatchNorm1d, GroupNorm, LayerNorm
from bnlib.optim import SGD

from .data import batches
from .training import History, evaluating

__all__ = ["LaneDropout", "LaneLinear", "stack", "sweep"]


class LaneLinear(Module):
    """K linear layers side by side, from (N, K·in), or (N, in) for all lanes, to (N, K·out).

    Parameters
    ----------
    layers : sequence of Linear
        Of one shape; their weights are copied.
    """

    def __init__(self, layers):
        super().__init__()
        self.weight = Parameter(np.stack([layer.weight.data for layer in layers]))
        self.bias = None
        if layers[0].bias is not None:
            self.bias = Parameter(np.stack([layer.bias.data for layer in layers]))

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
        """Return dx; add to the gradients of weight and bias."""
        K, n_out, n_in = self.weight.data.shape
        dy = dy.reshape(len(dy), K, n_out).transpose(1, 0, 2)  # (K, N, out)
        self.weight.grad += dy.transpose(0, 2, 1) @ self.saved_cache()
        if self.bias is not None:
            self.bias.grad += dy.sum(1)
        dx = np.empty((dy.shape[1], K, n_in), dy.dtype)
        np.matmul(dy, self.weight.data, out=dx.transpose(1, 0, 2))
        return dx.reshape(len(dx), K * n_in)


class LaneDropout(Module):
    """K dropout layers side by side, each with its own probability and its own random stream."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        """Drop values in training; return x unchanged in evaluation."""
        parts = np.split(x, len(self.layers), axis=1)
        pairs = [
            F.dropout_forward(part, layer.p if self.training else 0, layer.rng)
            for part, layer in zip(parts, self.layers, strict=True)
        ]
        y, self.cache = (
            np.concatenate(arrays, axis=1) for arrays in zip(*pairs, strict=True)
        )
        return y

    def backward(self, dy):
        """Return dx."""
        return F.dropout_backward(dy, self.saved_cache())


def _stack_norm(layers):
    """Make one normalization of K·C channels out of K of C channels."""
    first, K = layers[0], len(layers)
    same = {"eps": first.eps, "affine": first.weight is not None, "dtype": first.dtype}
    same["bias"] = first.bias is not None
    if isinstance(first, BatchNorm1d):
        same |= {
            "momentum": first.momentum,
            "track_running_stats": first.track_running_stats,
        }
        norm = BatchNorm1d(K * first.num_features, **same)
    elif isinstance(first, GroupNorm):
        norm = GroupNorm(K * first.num_groups, K * first.num_channels, **same)
    else:
        norm = GroupNorm(K, K * first.normalized_shape[0], **same)
    states = [layer.state_dict() for layer in layers]
    norm.load_state_dict(
        {
            name: np.concatenate([state[name] for state in states])
            if value.ndim
            else value
            for name, value in states[0].items()
        }
    )
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
        From (N, K·in), or (N, in) for all lanes, to (N, K·out).

    Raises
    ------
    TypeError, ValueError
        If a layer cannot be stacked, or the architectures differ.
    """
    stacked = []
    if len({len(net) for net in nets}) != 1:
        raise ValueError("stack: expected networks of one architecture")
    for layers in zip(*(net.layers for net in nets), strict=True):
        kind = type(layers[0])
        shapes = {
            tuple((k, v.shape) for k, v in layer.named_state()) for layer in layers
        }
        if len(shapes) != 1 or {type(layer) for layer in layers} != {kind}:
            raise ValueError(f"stack: expected layers of one shape, got {layers}")
        if hasattr(kind, "stack"):
            stacked.append(kind.stack(layers))
        elif kind is Linear:
            stacked.append(LaneLinear(layers))
        elif kind in (BatchNorm1d, LayerNorm, GroupNorm):
            stacked.append(_stack_norm(layers))
        elif kind is Dropout:
            stacked.append(LaneDropout(layers))
        elif kind in (ReLU, Sigmoid, Tanh):
            stacked.append(kind())
        else:
            raise TypeError(
                f"stack: expected a layer that can be stacked, got {kind.__name__}"
            )
    return Sequential(*stacked)


def lane_accuracy(net, x, y, lanes, *, batch_size=250):
    """Accuracy of each lane of a stacked network on the same samples, in evaluation mode.

    Returns
    -------
    ndarray of shape (lanes,)
    """
    right = np.zeros(lanes)
    with evaluating(net), np.errstate(all="ignore"):
        for i in range(0, len(x), batch_size):
            labels = y[i : i + batch_size]
            logits = net(x[i : i + batch_size]).reshape(len(labels), lanes, -1)
            right += (logits.argmax(2) == labels[:, None]).sum(0)
    return right / len(x)


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
        K networks of one architecture; see `stack`.
    data : bnlib.lab.data.Data
        With inputs of shape (N, in).
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
        The stacked network, trained.
    history : History
        Its columns have the lanes as their last axis; `seconds` are those of all lanes together.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, before anything is trained.
    """
    K, every = len(nets), evaluate_every or steps
    if not len(lrs) == len(rngs) == K > 0:
        raise ValueError(
            f"sweep: expected {K} rates and generators, got {len(lrs)}, {len(rngs)}"
        )
    net = stack(nets)
    lr = np.asarray(lrs, data.x_train.dtype)
    groups = [
        {"params": [p], "lr": np.repeat(lr, p.data.size // K).reshape(p.data.shape)}
        for p in net.parameters()
    ]
    step_of = optimizer(groups, **settings)
    orders = [_orders(len(data.x_train), batch_size, rng) for rng in rngs]
    losses, accuracies, evaluations, seconds = [], [], [], 0.0

    def evaluate(step):
        probed = None if probe is None else probe(net)
        val = lane_accuracy(net, data.x_val, data.y_val, K)
        evaluations.append((step, val, seconds, probed))

    with np.errstate(
        all="ignore"
    ):  # lanes whose rate is too high overflow, and stay there
        evaluate(0)
        for step in range(1, steps + 1):
            start = time.perf_counter()
            rows = np.stack([next(order) for order in orders], axis=1)  # (N, K)
            logits = net(data.x_train[rows].reshape(batch_size, -1))
            loss, dlogits = _lane_losses(logits, data.y_train[rows])
            losses.append(loss)
            guesses = logits.reshape(batch_size, K, -1).argmax(2)
            accuracies.append((guesses == data.y_train[rows]).mean(0))
            step_of.zero_grad()
            net.backward(dlogits)
            step_of.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                evaluate(step)
    *columns, probes = zip(*evaluations, strict=True)
    columns = [np.array(losses), np.array(accuracies), *map(np.array, columns)]
    return net, History(*columns, list(probes))


def _orders(n, batch_size, rng):
    """Yield the rows of each mini-batch, epoch after epoch, as `batches` shuffles them."""
    rows = np.arange(n)
    while True:
        for batch, _ in batches(rows, rows, batch_size, rng):
            yield batch


def _lane_losses(logits, target):
    """Return the cross-entropy of each lane, and the gradients of all logits."""
    N, K = target.shape
    logits = logits.reshape(N, K, -1)
    shifted = logits - logits.max(2, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(2)
    picked = np.take_along_axis(shifted, target[:, :, None], 2)[:, :, 0]
    dlogits = e / total[:, :, None]
    dlogits[np.arange(N)[:, None], np.arange(K), target] -= 1
    return np.mean(np.log(total) - picked, 0), (dlogits / N).reshape(N, -1)
