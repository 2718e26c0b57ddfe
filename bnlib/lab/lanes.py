"""Many small dense networks side by side in one, a lane each.

The lanes' channels stand side by side. Batch normalization of K·C channels *is* K batch
normalizations of C channels, layer normalization of K lanes is group normalization with K groups,
and activations do not care: bnlib's own layers serve as they are. Only linear layers, RMS
normalization and dropout are replaced, by one matrix product, one mean square and one random stream
a lane.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from bnlib import functional as F
from bnlib._checks import (
    check_array,
    check_floats,
    check_gradient,
    check_input,
    check_int,
    compute_dtype,
)
from bnlib._types import Array
from bnlib.layers import Dropout, Linear, ReLU, Sigmoid, Tanh
from bnlib.module import Layer, Module, Parameter, Sequential
from bnlib.norm import BatchNorm1d, GroupNorm, LayerNorm, RMSNorm

from ._checks import check_classes, check_items, check_kind, check_labels
from .training import evaluating

__all__ = [
    "LaneDropout",
    "LaneLinear",
    "LaneRMSNorm",
    "for_lanes",
    "lane_accuracy",
    "lane_losses",
    "stack",
]


class LaneLinear(Layer):
    """K linear layers side by side, from (N, K·in), or (N, in) for all lanes, to (N, K·out).

    Parameters
    ----------
    layers : sequence of Linear
        Of one shape and dtype; their weights are copied.

    Attributes
    ----------
    weight : Parameter of shape (K, out, in)
        Weights of all lanes.
    bias : Parameter of shape (K, out) or None
        Biases of all lanes.

    Raises
    ------
    TypeError, ValueError
        If a layer is not a `Linear`, or they differ in shape, dtype or in having a bias; in a call,
        for an input of another shape or dtype.

    Examples
    --------
    >>> lanes = LaneLinear([Linear(3, 2), Linear(3, 2)])
    >>> lanes(np.ones((5, 3), np.float32)).shape
    (5, 4)
    """

    _may_skip = True

    def __init__(self, layers: Sequence[Linear]):
        super().__init__()
        layers = _alike("LaneLinear", layers, Linear)
        self.weight = Parameter(np.stack([layer.weight.data for layer in layers]))
        biases = [layer.bias.data for layer in layers if layer.bias is not None]
        self.bias = Parameter(np.stack(biases)) if biases else None

    def forward(self, x: Array) -> Array:
        """Return each lane's ``x @ weight.T + bias``.

        Parameters
        ----------
        x : ndarray of shape (N, K·in) or (N, in)
            Inputs of the lanes side by side, or one input for all of them. It must not change
            before the backward.

        Returns
        -------
        ndarray of shape (N, K·out)
            Outputs side by side.
        """
        weight = self.weight.data
        K, n_out, n_in = weight.shape
        check_input("LaneLinear", x, weight.dtype)
        if x.ndim != 2 or x.shape[1] not in (n_in, K * n_in):
            raise ValueError(
                f"LaneLinear: expected x of shape (N, {n_in}) or (N, {K * n_in}), got {x.shape}"
            )
        lanes = x.reshape(len(x), -1, n_in).transpose(1, 0, 2)  # (K or 1, N, in)
        y = np.empty((len(x), K, n_out), x.dtype)
        np.matmul(lanes, weight.transpose(0, 2, 1), out=y.transpose(1, 0, 2))
        if self.bias is not None:
            y += self.bias.data
        self.cache = lanes
        return y.reshape(len(x), K * n_out)

    def backward(self, dy: Array, *, input_gradient: bool = True) -> Array | None:
        """Return dx, if it is wanted; add to the gradients of weight and bias.

        Parameters
        ----------
        dy : ndarray of shape (N, K·out)
            Gradient of the loss with respect to the output.
        input_gradient : bool
            Whether to compute the gradient with respect to the input.

        Returns
        -------
        ndarray of shape (N, K·in) or None
            Gradient with respect to the input of each lane.
        """
        lanes, weight = self.saved_cache(), self.weight.data
        K, n_out, n_in = weight.shape
        N = lanes.shape[1]
        check_gradient("LaneLinear.backward", dy, (N, K * n_out), weight.dtype)
        dy = dy.reshape(N, K, n_out).transpose(1, 0, 2)  # (K, N, out)
        dx = None
        if input_gradient:
            dx = np.empty((N, K, n_in), dy.dtype)
            np.matmul(dy, weight, out=dx.transpose(1, 0, 2))
            dx = dx.reshape(N, K * n_in)
        dweight, dbias = dy.transpose(0, 2, 1) @ lanes, dy.sum(1)
        self.weight.grad += dweight
        if self.bias is not None:
            self.bias.grad += dbias
        return dx


class LaneRMSNorm(Layer):
    """K root-mean-square normalizations side by side, each with its own scale.

    Parameters
    ----------
    layers : sequence of RMSNorm
        Over one axis, of one shape, dtype and eps; their weights are copied.

    Attributes
    ----------
    weight : Parameter of shape (K, C) or None
        Scales of all lanes.

    Raises
    ------
    TypeError, ValueError
        If a layer is not a `RMSNorm` over one axis, or they differ in more than their weights'
        values; in a call, for an input of another shape or dtype.

    Examples
    --------
    >>> lanes = LaneRMSNorm([RMSNorm(2), RMSNorm(2)])
    >>> lanes(np.array([[3, 4, -30, 40]], dtype=np.float32)).round(3)
    array([[ 0.849,  1.131, -0.849,  1.131]], dtype=float32)
    """

    def __init__(self, layers: Sequence[RMSNorm]):
        super().__init__()
        layers = _alike("LaneRMSNorm", layers, RMSNorm)
        first, weights = layers[0], [layer.weight for layer in layers]
        _check_one_axis("LaneRMSNorm", first)
        self.shape = len(layers), *first.normalized_shape
        self.eps, self.dtype = first.eps, first.dtype
        self.weight = (
            Parameter(np.stack([w.data for w in weights if w is not None]))
            if first.affine
            else None
        )

    def forward(self, x: Array) -> Array:
        """Divide each lane of each sample by its root mean square.

        Parameters
        ----------
        x : ndarray of shape (N, K·C)
            Inputs of the lanes side by side. It must not change before the backward.

        Returns
        -------
        ndarray of shape (N, K·C)
            Outputs side by side.
        """
        check_input("LaneRMSNorm", x, self.dtype)
        K, C = self.shape
        if x.ndim != 2 or x.shape[1] != K * C:
            raise ValueError(
                f"LaneRMSNorm: expected x of shape (N, {K * C}), got {x.shape}"
            )
        lanes = x.reshape(-1, K, C)
        y, cache = F.rms_norm_forward(lanes, (C,), None, self.eps)
        self.cache = cache, y
        return (y.copy() if self.weight is None else y * self.weight.data).reshape(
            x.shape
        )

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x; add to that of weight.

        Parameters
        ----------
        dy : ndarray of shape (N, K·C)
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray of shape (N, K·C)
            Gradient with respect to x.
        """
        cache, x_hat = self.saved_cache()
        N, K, C = x_hat.shape
        check_gradient("LaneRMSNorm.backward", dy, (N, K * C), x_hat.dtype)
        lanes = dy.reshape(x_hat.shape)
        weighted = lanes if self.weight is None else lanes * self.weight.data
        dx, _ = F.rms_norm_backward(weighted, cache)
        if self.weight is not None:
            self.weight.grad += (lanes * x_hat).sum(0)
        return dx.reshape(N, K * C)


class LaneDropout(Layer):
    """K dropout layers side by side, each with its own probability and its own random stream.

    Parameters
    ----------
    layers : sequence of Dropout
        Their random streams are shared, not copied.

    Attributes
    ----------
    probabilities : tuple of float
        Each lane's probability that a value is dropped.

    Raises
    ------
    TypeError, ValueError
        If a layer is not a `Dropout`, or there is none; in a call, for an input that does not have
        K equal parts.

    Examples
    --------
    >>> lanes = LaneDropout([Dropout(0.0), Dropout(1.0)])
    >>> lanes(np.ones((1, 4)))
    array([[1., 1., 0., 0.]])
    """

    def __init__(self, layers: Sequence[Dropout]):
        super().__init__()
        layers = check_items("LaneDropout", "layers", layers)
        for layer in layers:
            check_kind("LaneDropout", "each of layers", layer, Dropout)
        self.probabilities = tuple(layer.p for layer in layers)
        # An attribute each: a call that raises gives back what it has drawn (see `Module`).
        for lane, layer in enumerate(layers):
            setattr(self, f"rng{lane}", layer.rng)

    def forward(self, x: Array) -> Array:
        """Drop values in training; return x unchanged in evaluation.

        Parameters
        ----------
        x : ndarray of shape (N, K·C)
            Inputs of the lanes side by side.

        Returns
        -------
        ndarray of shape (N, K·C)
            Outputs side by side.
        """
        check_floats("LaneDropout", "x", x)
        K = len(self.probabilities)
        if x.ndim != 2 or x.shape[1] % K:
            raise ValueError(
                f"LaneDropout: expected x of shape (N, {K}·C), got {x.shape}"
            )
        kept = np.ones((len(x), K, x.shape[1] // K), bool)
        scale = np.ones((K, 1), compute_dtype(x.dtype))
        for lane, p in enumerate(self.probabilities if self.training else ()):
            if p > 0:  # else nothing is drawn
                draws = vars(self)[f"rng{lane}"].random(kept[:, lane].shape)
                kept[:, lane] = draws >= p
                scale[lane] = 1 / (1 - p) if p < 1 else 0
        self.cache = kept, scale, x.dtype
        return _dropped(x, kept, scale)

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x.

        Parameters
        ----------
        dy : ndarray of shape (N, K·C)
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray of shape (N, K·C)
            Gradient with respect to x.
        """
        kept, scale, dtype = self.saved_cache()
        N, K, C = kept.shape
        check_gradient("LaneDropout.backward", dy, (N, K * C), dtype)
        return _dropped(dy, kept, scale)


def _dropped(a: Array, kept: Array, scale: Array) -> Array:
    """Scale what is kept, and write 0 in place of the rest."""
    scaled = a.reshape(kept.shape) * scale
    return np.where(kept, scaled, 0).astype(a.dtype, copy=False).reshape(a.shape)


def _alike(call: str, layers: Any, kind: type) -> list[Any]:
    """Return layers as a list; raise unless all are of one kind, with the same settings."""
    layers = check_items(call, "layers", layers)
    for layer in layers:
        check_kind(call, "each of layers", layer, kind)
    if len({_signature(layer) for layer in layers}) != 1:
        raise ValueError(f"{call}: expected layers of one kind, got {layers}")
    return layers


def _check_one_axis(call: str, layer: LayerNorm | RMSNorm) -> None:
    """Raise unless a layer normalizes over the one axis that a lane has."""
    if len(layer.normalized_shape) != 1:
        raise ValueError(
            f"{call}: expected a {type(layer).__name__} over one axis, "
            f"got normalized_shape={layer.normalized_shape}"
        )


def _stack_norms(call: str, layers: list[Any]) -> Module:
    """Make one normalization of K·C channels out of K of C channels."""
    first, K = layers[0], len(layers)
    same = {"eps": first.eps, "affine": first.weight is not None}
    same |= {"bias": first.bias is not None, "dtype": first.dtype}
    norm: BatchNorm1d | GroupNorm
    if isinstance(first, BatchNorm1d):
        # As in the layer itself, it is the buffers that are there which decide.
        tracks = first.running_mean is not None
        norm = BatchNorm1d(K * first.num_features, **same, track_running_stats=tracks)
        norm.momentum = first.momentum
        norm.track_running_stats = first.track_running_stats
    elif isinstance(first, GroupNorm):
        norm = GroupNorm(K * first.num_groups, K * first.num_channels, **same)
    else:
        _check_one_axis(call, first)
        norm = GroupNorm(K, K * first.normalized_shape[0], **same)
    for (name, target), *parts in zip(
        norm.named_state(), *(layer.named_state() for layer in layers), strict=True
    ):
        arrays = [array for _, array in parts]
        if target.ndim == 0 and len({array.item() for array in arrays}) != 1:
            raise ValueError(
                f"{call}: expected one {name} in all networks, "
                f"got {[array.item() for array in arrays]}"
            )
        target[...] = np.concatenate(arrays) if target.ndim else arrays[0]
    return norm


def stack(nets: Sequence[Sequential]) -> Sequential:
    """Put K networks of one architecture side by side into one.

    Parameters
    ----------
    nets : sequence of Sequential
        Dense ones, whose layers map (N, C) to (N, C): `Linear`, `BatchNorm1d`, `LayerNorm`,
        `GroupNorm`, `RMSNorm`, `Dropout` and activations. Another class of layer needs a static
        method ``stack(layers)``. The networks are not changed, but their dropout goes on to draw
        from the same random streams.

    Returns
    -------
    Sequential
        From (N, K·in), or from (N, in) where the first layer is linear, to (N, K·out).

    Raises
    ------
    TypeError, ValueError
        If a layer cannot be stacked, or the networks differ in more than their arrays' values and
        the probabilities of their dropout.

    Examples
    --------
    >>> nets = [Sequential(Linear(3, 2), BatchNorm1d(2), ReLU()) for _ in range(4)]
    >>> stack(nets)(np.ones((5, 3), np.float32)).shape
    (5, 8)
    """
    return stacked("stack", nets)


def stacked(call: str, nets: Any) -> Sequential:
    """Do what `stack` does, in the name of another call."""
    nets = check_items(call, "nets", nets)
    for net in nets:
        if type(net) is not Sequential:  # a subclass may do more than run its layers
            raise TypeError(
                f"{call}: expected each of nets to be a Sequential, got {type(net).__name__}"
            )
    lengths = [len(net) for net in nets]
    if len(set(lengths)) != 1 or lengths[0] == 0:
        raise ValueError(
            f"{call}: expected networks of one architecture, got {lengths} layers"
        )
    together: list[Module] = []
    for side_by_side in zip(*nets, strict=True):
        layers = _alike(call, side_by_side, Module)
        kind = type(layers[0])
        lanes: Module
        if hasattr(kind, "stack"):
            lanes = kind.stack(layers)
            check_kind(call, f"{kind.__name__}.stack(layers)", lanes, Module)
        elif kind is Linear:
            lanes = LaneLinear(layers)
        elif kind in (BatchNorm1d, LayerNorm, GroupNorm):
            lanes = _stack_norms(call, layers)
        elif kind is RMSNorm:
            _check_one_axis(call, layers[0])
            lanes = LaneRMSNorm(layers)
        elif kind is Dropout:
            lanes = LaneDropout(layers)
        elif kind in (ReLU, Sigmoid, Tanh):
            lanes = cast(Module, kind())
        else:
            raise TypeError(
                f"{call}: expected a layer that can be stacked, got {kind.__name__}: "
                "a lane has samples of shape (N, C), so Linear, BatchNorm1d, LayerNorm, "
                "GroupNorm, RMSNorm, Dropout, activations, or a class of yours with a "
                "static method stack(layers)"
            )
        together.append(lanes.train(layers[0].training))
    network = Sequential(*together)
    network.training = nets[0].training
    return network


def _signature(layer: Module) -> tuple[Any, ...]:
    """Return what layers must have in common to be stacked."""
    settings = None if isinstance(layer, Dropout) else repr(layer)
    arrays = tuple((k, v.shape, v.dtype) for k, v in layer.named_state())
    return type(layer), layer.training, settings, arrays


def for_lanes(net: Sequential, x: Array, lanes: int) -> Array:
    """Return samples of shape (N, in) as a stacked network takes them for all its lanes.

    Parameters
    ----------
    net : Sequential
        From `stack`.
    x : ndarray of shape (N, in)
        Samples.
    lanes : int
        Number of lanes.

    Returns
    -------
    ndarray of shape (N, in) or (N, lanes·in)
        A first layer that is linear takes `x` as it is; any other needs a copy a lane.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be.

    Examples
    --------
    >>> net = stack([Sequential(BatchNorm1d(3)), Sequential(BatchNorm1d(3))])
    >>> for_lanes(net, np.ones((5, 3), np.float32), 2).shape
    (5, 6)
    """
    check_kind("for_lanes", "net", net, Sequential)
    check_array("for_lanes", "x", x)
    lanes = check_int("for_lanes", "lanes", lanes)
    if x.ndim != 2:
        raise ValueError(f"for_lanes: expected x of shape (N, in), got {x.shape}")
    return x if isinstance(net[0], LaneLinear) else np.tile(x, lanes)


def lane_losses(logits: Array, target: Array) -> tuple[Array, Array]:
    """Cross-entropy of each lane, and its gradient.

    Parameters
    ----------
    logits : ndarray of shape (N, lanes, classes)
        One score per class.
    target : ndarray of int of shape (N, lanes)
        Labels, from 0 to classes − 1.

    Returns
    -------
    loss : ndarray of shape (lanes,)
        Mean over the samples.
    dlogits : ndarray of shape (N, lanes, classes)
        Gradient of each lane's loss with respect to its logits, in their dtype.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit, there is nothing to average, or a label is out of range.

    Notes
    -----
    The formula is that of `bnlib.functional.cross_entropy_forward`, and keeps the same digits.

    Examples
    --------
    >>> losses, dlogits = lane_losses(np.zeros((5, 2, 3)), np.zeros((5, 2), int))
    >>> losses.round(4)
    array([1.0986, 1.0986])
    """
    check_floats("lane_losses", "logits", logits)
    if logits.ndim != 3 or logits.size == 0:
        raise ValueError(
            "lane_losses: expected logits of shape (N, lanes, classes), "
            f"got {logits.shape}"
        )
    if isinstance(target, np.ndarray):
        check_array("lane_losses", "target", target)
    labels = np.asarray(target)
    if labels.shape != logits.shape[:2]:
        raise ValueError(
            f"lane_losses: expected target of shape {logits.shape[:2]}, got {labels.shape}"
        )
    flat = check_labels("lane_losses", "target", labels.ravel(), labels.size)
    check_classes("lane_losses", "target", flat, logits.shape[2])
    return losses_and_gradients(logits, labels, logits.argmax(2))


def losses_and_gradients(
    logits: Array, target: Array, guess: Array
) -> tuple[Array, Array]:
    """Do what `lane_losses` does, without its checks; `guess` is where the largest logits are."""
    rows = logits.shape[2] * np.arange(guess.size)
    largest, right = rows + guess.ravel(), rows + target.ravel()  # in flat arrays
    wide = logits.astype(compute_dtype(logits.dtype), copy=False)
    shifted = wide - wide.ravel()[largest].reshape(*guess.shape, 1)
    p = np.exp(shifted, order="C")
    flat = p.reshape(-1)
    flat[largest] = 0
    others = p.sum(2, keepdims=True, dtype=np.float64)  # the largest adds exactly 1
    loss = np.log1p(others) - shifted.ravel()[right].reshape(others.shape)
    flat[largest] = 1
    p /= 1 + others
    flat[right] = 0
    flat[right] = -p.sum(2).ravel()  # p − 1
    p /= len(target)
    return loss.mean((0, 2)), p.astype(logits.dtype, copy=False)


def lane_accuracy(
    net: Sequential, x: Array, y: Array, lanes: int, *, batch_size: int = 250
) -> Array:
    """Accuracy of each lane of a stacked network on the same samples, in evaluation mode.

    Parameters
    ----------
    net : Sequential
        From `stack`. Nothing is kept in it.
    x : ndarray of shape (N, in)
        Samples.
    y : ndarray of int of shape (N,)
        Labels.
    lanes : int
        Number of lanes.
    batch_size : int
        Bounds the memory.

    Returns
    -------
    ndarray of shape (lanes,)
        Share of right answers.

    Raises
    ------
    TypeError, ValueError
        If there is no sample, not one label for each, a label is no class of the network, or an
        argument is not what it should be.

    Examples
    --------
    >>> net = stack([Sequential(ReLU()), Sequential(ReLU())])
    >>> lane_accuracy(net, np.eye(3), np.array([0, 1, 1]), 2).round(3)
    array([0.667, 0.667])
    """
    check_kind("lane_accuracy", "net", net, Sequential)
    lanes = check_int("lane_accuracy", "lanes", lanes)
    check_array("lane_accuracy", "x", x)
    batch_size = check_int("lane_accuracy", "batch_size", batch_size)
    labels = check_labels("lane_accuracy", "y", y, len(x))
    right = np.zeros(lanes)
    with evaluating(net), np.errstate(all="ignore"):
        for i in range(0, len(x), batch_size):
            logits = net(for_lanes(net, x[i : i + batch_size], lanes))
            if logits.ndim != 2 or logits.shape[1] % lanes:
                raise ValueError(
                    f"lane_accuracy: expected a network of {lanes} lanes, "
                    f"got outputs of shape {logits.shape}"
                )
            logits = logits.reshape(len(logits), lanes, -1)
            if i == 0:
                check_classes("lane_accuracy", "y", labels, logits.shape[2])
            here = labels[i : i + batch_size, None]
            right += (logits.argmax(2) == here).sum(0)
    return right / len(x)
