"""Folding: a batch normalization in evaluation mode disappears into the layer before it.

In evaluation mode batch normalization is one multiplication and one addition per channel, and so
is the end of a linear layer or a convolution. Folding multiplies the two together once; after that
inference costs what the layer alone costs.
"""

import copy

import numpy as np

from bnlib._checks import check_eps, check_floats, check_vector
from bnlib.layers import Conv2d, Linear
from bnlib.module import Parameter, Sequential
from bnlib.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["fuse", "fuse_bn", "fuse_bn_weights"]

PARTNERS = {BatchNorm1d: Linear, BatchNorm2d: Conv2d}


def fuse_bn_weights(
    weight, bias, running_mean, running_var, bn_weight=None, bn_bias=None, eps=1e-5
):
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
    weight : ndarray of shape (out, ...)
        Each output's weights times ``γ / √(running_var + eps)``.
    bias : ndarray of shape (out,)
        ``(bias − running_mean) · γ / √(running_var + eps) + β``. Both are computed in float64 and
        have the dtype of `weight`.

    Raises
    ------
    TypeError, ValueError
        If an array has not the dtype of `weight`, or not one value for each output; if `eps` is
        out of range.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithm 2, step 11, put into the layer. Derived in the chapter
    "Folding".

    Examples
    --------
    >>> weight, bias = np.array([[2.0, 4.0]]), np.array([1.0])
    >>> fuse_bn_weights(weight, bias, np.array([3.0]), np.array([4.0]), eps=1e-12)
    (array([[1., 2.]]), array([-1.]))
    """
    call = "fuse_bn_weights"
    check_floats(call, "weight", weight)
    if weight.ndim < 2:
        raise ValueError(f"{call}: expected weight (out, in, ...), got {weight.shape}")
    check_floats(call, "running_mean", running_mean)
    check_floats(call, "running_var", running_var)
    vectors = {"bias": bias, "running_mean": running_mean, "running_var": running_var}
    vectors |= {"bn_weight": bn_weight, "bn_bias": bn_bias}
    for name, vector in vectors.items():
        check_vector(call, name, vector, weight.shape[:1], weight.dtype)
    check_eps(call, eps)
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


def fuse_bn(layer, bn):
    """Return a copy of `layer` that does what `layer` and then `bn` do in evaluation mode.

    Parameters
    ----------
    layer : Linear or Conv2d
        With or without a bias.
    bn : BatchNorm1d after a Linear, BatchNorm2d after a Conv2d
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
    >>> bool(np.allclose(fuse_bn(layer, bn)(x), bn(layer(x)), atol=1e-6))
    True
    """
    if not isinstance(layer, PARTNERS.get(type(bn), ())):
        raise TypeError(
            "fuse_bn: expected Linear and BatchNorm1d, or Conv2d and BatchNorm2d, got "
            f"{type(layer).__name__} and {type(bn).__name__}"
        )
    if bn.training:
        raise ValueError(
            "fuse_bn: expected a batch normalization in evaluation mode; call eval() first"
        )
    if bn.running_mean is None:
        raise ValueError(
            "fuse_bn: expected running statistics, got track_running_stats=False: "
            "such a layer uses its batch in evaluation too"
        )
    if len(layer.weight.data) != bn.num_features:
        raise ValueError(
            f"fuse_bn: expected a batch normalization of {len(layer.weight.data)} channels, "
            f"got {bn.num_features}"
        )
    bias = None if layer.bias is None else layer.bias.data
    weight, bias = fuse_bn_weights(
        layer.weight.data,
        bias,
        bn.running_mean,
        bn.running_var,
        *bn.affine_data(),
        bn.eps,
    )
    fused = copy.copy(layer)
    fused.weight, fused.bias = Parameter(weight), Parameter(bias)
    fused.training, fused.cache = False, None
    return fused


def fuse(net):
    """Return a copy of a network, for inference, with each batch normalization folded away.

    Parameters
    ----------
    net : Sequential
        In evaluation mode; sequences inside it are folded too.

    Returns
    -------
    Sequential
        In evaluation mode; it shares no array with `net`, which is as it was.

    Raises
    ------
    TypeError
        If `net` is not a Sequential.
    ValueError
        If a batch normalization does not come right after a Linear or a Conv2d that it fits, is in
        training mode, or keeps no running statistics.

    Examples
    --------
    >>> from bnlib import ReLU
    >>> fuse(Sequential(Linear(4, 3, bias=False), BatchNorm1d(3), ReLU()).eval())
    Sequential(
      (0): Linear(4, 3, bias=True)
      (1): ReLU()
    )
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"fuse: expected a Sequential, got {type(net).__name__}")
    layers = []
    for i, layer in enumerate(net):
        if isinstance(layer, Sequential):
            layers.append(fuse(layer))
        elif not isinstance(layer, (BatchNorm1d, BatchNorm2d, BatchNorm3d)):
            layers.append(copy.deepcopy(layer).eval())
        elif i and isinstance(net[i - 1], PARTNERS.get(type(layer), ())):
            layers[-1] = fuse_bn(net[i - 1], layer)
        else:
            before = type(net[i - 1]).__name__ if i else "nothing"
            raise ValueError(
                f"fuse: expected a Linear before a BatchNorm1d, a Conv2d before a BatchNorm2d, "
                f"got {before} before the {type(layer).__name__} at {i}"
            )
    return Sequential(*layers).eval()
