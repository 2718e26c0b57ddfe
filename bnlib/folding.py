"""Folding: a batch normalization in evaluation mode disappears into the layer before it.

In evaluation mode batch normalization is one multiplication and one addition per channel, and so
is the end of a linear layer or a convolution. Folding multiplies the two together once; after that
inference costs what the layer alone costs.
"""

import copy
from typing import Any

import numpy as np

from bnlib._checks import (
    check_floats,
    check_number,
    check_same_dtype,
    check_shape,
)
from bnlib._types import Array
from bnlib.layers import Conv2d, Linear
from bnlib.module import Module, Parameter, Residual, Sequential
from bnlib.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm

__all__ = ["fold", "fold_bn", "fold_bn_weights"]

# By exact type: what a subclass adds would be lost.
PARTNERS: dict[type, tuple[type, ...]] = {
    BatchNorm1d: (Linear,),
    BatchNorm2d: (Conv2d,),
    BatchNorm3d: (),
    SyncBatchNorm: (Linear, Conv2d),
}


def fold_bn_weights(
    weight: Array,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    bn_weight: Array | None = None,
    bn_bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array]:
    """Fold the constants of a batch normalization into those of the layer before it.

    Parameters
    ----------
    weight : ndarray of shape (out, in, ...), float32 or float64
        Weight of a linear layer, (out, in), or of a convolution, (out, in, kH, kW).
    bias : ndarray of shape (out,) or None
        Bias of that layer.
    running_mean, running_var : ndarray of shape (out,)
        Running statistics.
    bn_weight, bn_bias : ndarray of shape (out,) or None
        Scale γ and shift β.
    eps : float
        What the batch normalization adds to the variance.

    Returns
    -------
    weight : ndarray of shape (out, in, ...)
        Each output's weights times ``γ / √(running_var + eps)``.
    bias : ndarray of shape (out,)
        ``(bias − running_mean) · γ / √(running_var + eps) + β``. Both are computed in float64 and
        have the dtype of `weight`.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype than `weight`, or another length than its outputs; if `eps`
        is out of range.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithm 2, step 11, put into the layer. Derived in the chapter
    "Folding".

    Examples
    --------
    >>> weight, bias = np.array([[2.0, 4.0]]), np.array([1.0])
    >>> fold_bn_weights(weight, bias, np.array([3.0]), np.array([4.0]), eps=1e-12)
    (array([[1., 2.]]), array([-1.]))
    """
    call = "fold_bn_weights"
    check_floats(call, "weight", weight)
    if weight.ndim < 2:
        raise ValueError(f"{call}: expected weight (out, in, ...), got {weight.shape}")
    vectors = {"running_mean": running_mean, "running_var": running_var}
    optional = {"bias": bias, "bn_weight": bn_weight, "bn_bias": bn_bias}
    vectors |= {name: a for name, a in optional.items() if a is not None}
    for name, vector in vectors.items():
        check_same_dtype(call, weight, name, vector, "weight")
        check_shape(call, name, vector, weight.shape[:1])
    eps = check_number(call, "eps", eps, above=0)
    scale = 1 / np.sqrt(np.float64(running_var) + eps)
    if bn_weight is not None:
        scale = scale * bn_weight
    shift = -running_mean * scale
    if bias is not None:
        shift = shift + bias * scale  # the bias goes through γ/σ as well
    if bn_bias is not None:
        shift = shift + bn_bias
    columns = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return (weight * columns).astype(weight.dtype), shift.astype(weight.dtype)


def fold_bn(layer: Any, bn: Any) -> Linear | Conv2d:
    """Return a copy of `layer` that does what `layer` and then `bn` do in evaluation mode.

    Parameters
    ----------
    layer : Linear or Conv2d
        With or without a bias; no subclass, since what that adds is not known here.
    bn : BatchNorm1d after a Linear, BatchNorm2d after a Conv2d, SyncBatchNorm after both
        In evaluation mode, with running statistics.

    Returns
    -------
    Linear or Conv2d
        In evaluation mode, with a bias. `layer` and `bn` are as they were.

    Raises
    ------
    TypeError
        If the two are not such a pair.
    ValueError
        If `bn` is in training mode, keeps no running statistics, or has another number of channels.

    Examples
    --------
    >>> layer, bn = Linear(4, 3, bias=False), BatchNorm1d(3).eval()
    >>> x = np.ones((2, 4), dtype=np.float32)
    >>> bool(np.allclose(fold_bn(layer, bn)(x), bn(layer(x)), atol=1e-6))
    True
    """
    if type(layer) not in PARTNERS.get(type(bn), ()):
        raise TypeError(
            "fold_bn: expected Linear and BatchNorm1d, or Conv2d and BatchNorm2d, got "
            f"{type(layer).__name__} and {type(bn).__name__}"
        )
    if bn.training:
        raise ValueError(
            "fold_bn: expected a batch normalization in evaluation mode; call eval() first"
        )
    if bn.running_mean is None:
        raise ValueError(
            "fold_bn: expected running statistics, got track_running_stats=False: "
            "such a layer uses its batch in evaluation too"
        )
    if len(layer.weight.data) != bn.num_features:
        raise ValueError(
            f"fold_bn: expected a batch normalization of {len(layer.weight.data)} channels, "
            f"got {bn.num_features}"
        )
    gamma, beta = bn.affine_data()
    weight, bias = fold_bn_weights(
        layer.weight.data,
        None if layer.bias is None else layer.bias.data,
        bn.running_mean,
        bn.running_var,
        gamma,
        beta,
        bn.eps,
    )
    folded = copy.copy(layer)
    folded.weight, folded.bias = Parameter(weight), Parameter(bias)
    return folded.eval()


def fold(net: Module) -> Module:
    """Return a copy of a network, for inference, with each batch normalization folded away.

    Parameters
    ----------
    net : Sequential or Residual
        In evaluation mode. Those inside it are folded too; modules of other classes, subclasses
        among them, are copied as they are, with the normalizations that they hold.

    Returns
    -------
    Module
        In evaluation mode; it shares no array with `net`, which is as it was.

    Raises
    ------
    TypeError
        If `net` is of another class.
    ValueError
        If a batch normalization does not come right after a Linear or a Conv2d that it fits, is in
        training mode, or keeps no running statistics.

    Notes
    -----
    Derived in the chapter "Folding".

    Examples
    --------
    >>> from bnlib import ReLU
    >>> fold(Sequential(Linear(4, 3, bias=False), BatchNorm1d(3), ReLU()).eval())
    Sequential(
      (0): Linear(4, 3, bias=True)
      (1): ReLU()
    )
    """
    if type(net) not in (Sequential, Residual):
        raise TypeError(
            f"fold: expected a Sequential or a Residual, got {type(net).__name__}"
        )
    return _folded(net).eval()


def _folded(module: Module) -> Module:
    """Return a folded copy of a module; of a module of an unknown class, a plain copy."""
    if type(module) is Residual:
        shortcut = None if module.shortcut is None else _folded(module.shortcut)
        return Residual(_folded(module.branch), shortcut)
    if type(module) in PARTNERS:
        name = type(module).__name__
        raise ValueError(f"fold: expected a Linear or a Conv2d before the {name}")
    if type(module) is not Sequential:
        return copy.deepcopy(module)
    layers: dict[str, Module] = {}
    before: tuple[str, Module] | None = None
    for name, layer in module.named_children():
        if type(layer) not in PARTNERS:
            layers[name] = _folded(layer)
        elif before is not None and type(before[1]) in PARTNERS[type(layer)]:
            layers[before[0]] = fold_bn(before[1], layer)
        else:
            found = "nothing" if before is None else type(before[1]).__name__
            raise ValueError(
                f"fold: expected a Linear before a BatchNorm1d, a Conv2d before a BatchNorm2d, "
                f"got {found} before the {type(layer).__name__} at {name}"
            )
        before = name, layer
    if list(module._layers) == [str(i) for i in range(len(module))]:
        return Sequential(*layers.values())  # positions close up
    return Sequential(layers)
