"""Normalizations in bnlib, PyTorch, Keras, ONNX and Flax, behind one door.

A `Case` of batch normalization speaks PyTorch's conventions: channels on axis 1, a momentum that
weighs the new batch. Each ``with_*`` function translates it for one framework, takes three training
steps and one evaluation, and returns the same named arrays, translated back.

The other normalizations have no state. What they are called elsewhere is in `ELSEWHERE`, by the
names of the rows of `cases.NORMS`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported, here and nowhere else

import keras
import numpy as np
import onnx
import pytest
import torch
from cases import NORMS
from onnx.reference import ReferenceEvaluator

import bnlib
from bnlib.lab import files

torch.set_num_threads(1)

LAYERS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
GRADIENTS = ("dx", "dweight", "dbias")


@dataclass
class Case:
    """Batches of shape (steps, N, C, ...), the rest of a layer, and a cotangent r."""

    x: np.ndarray
    r: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    eps: float = 1e-5
    momentum: float = 0.1

    @property
    def m(self):
        """Values per channel."""
        return self.r.size // self.weight.size


def make_case(shape, dtype, eps=1e-5, momentum=0.1, steps=3):
    """Return a random case with a mean and a spread of order 1 in each channel."""
    rng = np.random.default_rng(len(shape))
    channels = (shape[1], *(1 for _ in shape[2:]))
    x = rng.normal(
        rng.normal(size=channels), rng.uniform(0.5, 2, channels), (steps, *shape)
    )
    arrays = (
        x,
        rng.normal(size=shape),
        rng.uniform(0.5, 2, shape[1]),
        rng.normal(size=shape[1]),
    )
    return Case(*(a.astype(dtype) for a in arrays), eps, momentum)


def differences(found, expected):
    """Return the largest difference of each array, relative to the array's size or to 1."""
    assert found.keys() == expected.keys()
    result = {}
    for name, b in expected.items():
        assert found[name].shape == b.shape
        assert found[name].dtype == b.dtype
        scale = max(1.0, np.abs(b).max())
        result[name] = float(np.abs(found[name] - b).max() / scale)
    return result


# The conventions -----------------------------------------------------------------------


def channels_last(a, axis=1):
    """Move the channels from `axis` to the end."""
    return np.moveaxis(a, axis, -1)


def channels_first(a, axis=1):
    """Move the channels from the end to `axis`."""
    return np.moveaxis(a, -1, axis)


def other_momentum(momentum):
    """Weight of the old value from the weight of the new batch, and the other way round."""
    return 1 - momentum


def biased_running_var(running_var, m, left):
    """Turn an average of unbiased variances into one of biased variances.

    `left` is the weight that the start value, 1, still has in the average:
    ``(1 - momentum) ** steps``. It is no variance of a batch, and is not scaled.
    """
    return left + (running_var - left) * (m - 1) / m


def as_in_onnx(case):
    """Round the settings as ONNX does: the attributes of its operators are float32."""
    eps = float(np.float32(case.eps))
    return replace(case, eps=eps, momentum=1 - float(np.float32(1 - case.momentum)))


# The frameworks ------------------------------------------------------------------------


def run(case, step, running):
    """Train on each batch, evaluate on the first, and name what `step` returns."""
    found, means, variances = {}, [], []
    for i, x in enumerate(case.x):
        arrays = step(x, True)
        if i == 0:
            found |= dict(zip(("y", *GRADIENTS), arrays, strict=False))
        mean, var = running()
        means.append(mean.copy())
        variances.append(var.copy())
    found |= {"running_mean": np.stack(means), "running_var": np.stack(variances)}
    evaluated = step(case.x[0], False)
    return found | dict(
        zip(("eval_y", *map("eval_{}".format, GRADIENTS)), evaluated, strict=False)
    )


def with_bnlib(case, biased=False):
    """Run `case` in bnlib, with biased running variances where the other side has them."""
    layer = getattr(bnlib, LAYERS[case.r.ndim])
    bn = layer(len(case.weight), case.eps, case.momentum, dtype=case.weight.dtype)
    bn.load_state_dict(bn.state_dict() | {"weight": case.weight, "bias": case.bias})

    def running():
        if not biased:
            return bn.running_mean, bn.running_var
        left = (1 - case.momentum) ** int(bn.num_batches_tracked)
        return bn.running_mean, biased_running_var(bn.running_var, case.m, left)

    def step(x, training):
        bn.train(training).zero_grad()
        if not training:  # the last step of a run
            bn.running_var[...] = running()[1]
        y = bn(x)
        dx = bn.backward(case.r)
        return y, dx, bn.weight.grad.copy(), bn.bias.grad.copy()

    return run(case, step, running)


def torch_gradients(forward, x, r, *parameters):
    """Return y and the gradients of ``sum(forward(x) * r)``; the parameters are torch's."""
    x = torch.tensor(x, requires_grad=True)
    y = forward(x)
    gradients = torch.autograd.grad(y, (x, *parameters), torch.from_numpy(r))
    return tuple(a.detach().numpy() for a in (y, *gradients))


def with_torch(case):
    """Run `case` in PyTorch."""
    dtype = getattr(torch, str(case.weight.dtype))
    layer = getattr(torch.nn, LAYERS[case.r.ndim])
    bn = layer(len(case.weight), case.eps, case.momentum, dtype=dtype)
    with torch.no_grad():
        bn.weight.copy_(torch.from_numpy(case.weight))
        bn.bias.copy_(torch.from_numpy(case.bias))

    def step(x, training):
        return torch_gradients(bn.train(training), x, case.r, bn.weight, bn.bias)

    return run(case, step, lambda: (bn.running_mean.numpy(), bn.running_var.numpy()))


def with_keras(case, axis=-1):
    """Run `case` in Keras, with the channels at the end (axis −1) or on axis 1."""
    there, back = (channels_last, channels_first) if axis == -1 else (np.asarray,) * 2
    bn = keras.layers.BatchNormalization(
        axis=axis,
        epsilon=case.eps,
        momentum=other_momentum(case.momentum),
        dtype=str(case.weight.dtype),
    )
    bn.build(there(case.r).shape)
    bn.gamma.assign(case.weight)
    bn.beta.assign(case.bias)

    def step(x, training):
        y, dx, dweight, dbias = torch_gradients(
            lambda x: bn(x, training=training),
            there(x),
            there(case.r),
            bn.gamma.value,
            bn.beta.value,
        )
        return back(y), back(dx), dweight, dbias

    return run(
        case,
        step,
        lambda: (bn.moving_mean.value.numpy(), bn.moving_variance.value.numpy()),
    )


def run_onnx(operator, inputs, opset, outputs=1, **attributes):
    """Run one operator in ONNX's reference implementation."""
    info = onnx.helper.make_tensor_value_info
    names = [f"input{i}" for i in range(len(inputs))]
    results = [f"output{i}" for i in range(outputs)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, names, results, **attributes)],
        operator,
        [
            info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in zip(names, inputs, strict=True)
        ],
        [info(name, onnx.TensorProto.UNDEFINED, None) for name in results],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))


def with_onnx(case, opset=15):
    """Run `case` in ONNX's reference implementation. It has no gradients."""
    state = [np.zeros_like(case.weight), np.ones_like(case.weight)]

    def step(x, training):
        inputs = [x, case.weight, case.bias, *state]
        if not training:
            return run_onnx("BatchNormalization", inputs, opset, epsilon=case.eps)
        y, *state[:] = run_onnx(
            "BatchNormalization",
            inputs,
            opset,
            outputs=3,
            training_mode=1,
            epsilon=case.eps,
            momentum=other_momentum(case.momentum),
        )
        return (y,)

    return run(case, step, lambda: state)


FLAX = files.read("flax")


def recorded(record, prefix=""):
    """Return y and the gradients as Flax gave them, by bnlib's names and axes."""
    names = {"y": "y", "dx": "dx", "dscale": "dweight", "dbias": "dbias"}
    arrays = {
        prefix + ours: np.array(record[prefix + theirs], record["dtype"])
        for theirs, ours in names.items()
        if prefix + theirs in record
    }
    return {name: channels_first(a) if a.ndim > 1 else a for name, a in arrays.items()}


def recorded_case(record):
    """Return the case of a recording."""
    arrays = {
        key: np.array(a, record["dtype"])
        for key, a in FLAX["inputs"][record["input"]].items()
    }
    return Case(
        channels_first(arrays["x"], axis=2),
        channels_first(arrays["r"]),
        arrays["scale"],
        arrays["bias"],
        record["epsilon"],
        other_momentum(record.get("momentum", 0.9)),
    )


def with_flax(record):
    """Return what Flax gave for `recorded_case(record)`."""
    running = {
        f"running_{key}": np.array(record[key], record["dtype"])
        for key in ("mean", "var")
    }
    return recorded(record) | running | recorded(record, "eval_")


# Normalizations without state ----------------------------------------------------------


class Elsewhere(NamedTuple):
    """A normalization in the other frameworks, where they have it, with a setting all can do."""

    shape: tuple[int, ...]  # of x
    setting: dict[str, Any]  # of bnlib's function
    options: dict[str, Any] = {}  # of the layers of bnlib and PyTorch  # noqa: RUF012
    # Layers of Keras, each with whether the channels are at the end; and their default.
    keras: tuple[tuple[Callable[..., Any], bool], ...] = ()
    keras_epsilon: float = 1e-3
    # Operator, opset, number of outputs, and attributes for a dtype.
    onnx: tuple[str, int, int, Callable[[str], dict[str, Any]]] | None = None
    # Key of the recordings, and the setting for one of them.
    flax: tuple[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None


def group_normalization(groups, axis):
    """Return a function that makes Keras' layer."""
    return lambda **options: keras.layers.GroupNormalization(groups, axis, **options)


def grouped_in_onnx(dtype):
    """Return the attributes of ONNX's operator, the one whose reference heeds `stash_type`."""
    stash = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))  # to compute in
    return {"num_groups": 2, "stash_type": stash}


# These columns stand beside those of `cases.NORMS`: few tests need to import Keras.
ELSEWHERE = {
    "LayerNorm": Elsewhere(
        shape=(4, 6, 3, 5),
        setting={"normalized_shape": (6, 3, 5)},
        keras=(
            (lambda **o: keras.layers.LayerNormalization(axis=[1, 2, 3], **o), False),
        ),
        onnx=("LayerNormalization", 17, 3, lambda dtype: {"axis": 1}),
        flax=("layer_norm", lambda record: {"normalized_shape": (5,)}),
    ),
    "GroupNorm": Elsewhere(
        shape=(4, 6, 3, 5),
        setting={"num_groups": 2},
        keras=((group_normalization(2, 1), False), (group_normalization(2, -1), True)),
        onnx=("GroupNormalization", 21, 1, grouped_in_onnx),
        flax=("group_norm", lambda record: {"num_groups": record["num_groups"]}),
    ),
    "InstanceNorm": Elsewhere(
        shape=(4, 6, 3, 5),
        setting={},
        options={"affine": True},
        # As many groups as channels.
        keras=(
            (group_normalization(-1, 1), False),
            (group_normalization(-1, -1), True),
        ),
        onnx=("InstanceNormalization", 22, 1, lambda dtype: {}),
        flax=("instance_norm", lambda record: {}),
    ),
    "RMSNorm": Elsewhere(
        shape=(4, 6, 3, 5),
        setting={"normalized_shape": (6, 3, 5)},
        keras=(
            (lambda **o: keras.layers.RMSNormalization(axis=[1, 2, 3], **o), False),
        ),
        keras_epsilon=1e-6,
        onnx=("RMSNormalization", 23, 1, lambda dtype: {"axis": 1}),
        flax=("rms_norm", lambda record: {"normalized_shape": (5,)}),
    ),
}


def over_norms(*frameworks):
    """Parametrize a test over the rows of both tables, those that some frameworks have."""
    rows = [(norm, ELSEWHERE[norm.name]) for norm in NORMS if norm.name in ELSEWHERE]
    return pytest.mark.parametrize(
        ("norm", "row"),
        [
            pytest.param(norm, row, id=norm.name)
            for norm, row in rows
            if all(getattr(row, name) for name in frameworks)
        ],
    )


def sample_arrays(norm, row, dtype):
    """Return random x, r, and parameters by their names."""
    rng = np.random.default_rng(0)
    size = norm.parameters(row.shape, row.setting)
    shapes = {"x": row.shape, "r": row.shape, **dict.fromkeys(norm.affine, size)}
    arrays = {
        name: rng.normal(0.5, 1.5, shape).astype(dtype)
        for name, shape in shapes.items()
    }
    return arrays.pop("x"), arrays.pop("r"), arrays


def make_layer(library, norm, row, shape, setting, dtype):
    """Return the layer of bnlib or of PyTorch for an input of a shape, with eps 1e-5."""
    layer = getattr(library, norm.layers[len(shape)])
    dtype = dtype if library is bnlib else getattr(torch, dtype)
    arguments = norm.arguments(shape, setting)
    return layer(*arguments, eps=1e-5, dtype=dtype, **row.options)


def named(arrays, parameters):
    """Name y and gradients."""
    return dict(zip(("y", "dx", *map("d{}".format, parameters)), arrays, strict=True))


def with_layer(layer, x, r, parameters):
    """Return y and gradients of a layer of bnlib, its parameters set."""
    layer.load_state_dict(parameters)
    arrays = [layer(x), layer.backward(r)]
    return named([*arrays, *(p.grad for p in layer.parameters())], parameters)


def with_torch_layer(layer, x, r, parameters):
    """Return y and gradients of a layer of PyTorch, its parameters set."""
    layer.load_state_dict({name: torch.tensor(a) for name, a in parameters.items()})
    return named(torch_gradients(layer, x, r, *layer.parameters()), parameters)


def with_keras_layer(layer, x, r, parameters, last=False):
    """Return y and gradients of a layer of Keras, its parameters set."""
    if last:
        x, r = channels_last(x), channels_last(r)
    layer.build(x.shape)
    weights = layer.trainable_variables
    for variable, a in zip(weights, parameters.values(), strict=True):
        variable.assign(a)
    arrays = torch_gradients(layer, x, r, *(variable.value for variable in weights))
    found = named(arrays, parameters)
    if last:
        found |= {name: channels_first(found[name]) for name in ("y", "dx")}
    return found
