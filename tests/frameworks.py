"""Batch normalization in bnlib, PyTorch, Keras, ONNX and Flax, behind one door.

A `Case` speaks PyTorch's conventions: channels on axis 1, a momentum that weighs the new
batch. Each ``with_*`` function translates it for one framework, takes three training
steps and one evaluation, and returns the same named arrays, translated back.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported, here and nowhere else

import keras
import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

import bnlib

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


def torch_gradients(forward, x, r, weight, bias):
    """Return y, dx, dweight, dbias of ``sum(forward(x) * r)``; the parameters are torch's."""
    x = torch.tensor(x, requires_grad=True)
    y = forward(x)
    gradients = torch.autograd.grad(y, (x, weight, bias), torch.from_numpy(r))
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


FLAX = json.loads((Path(__file__).parent / "vectors" / "flax.json").read_text())


def recorded(record, prefix=""):
    """Return y, dx, dweight, dbias as Flax gave them, by bnlib's names and axes."""
    names = {"y": "y", "dx": "dx", "dscale": "dweight", "dbias": "dbias"}
    arrays = {
        prefix + ours: np.array(record[prefix + theirs], record["dtype"])
        for theirs, ours in names.items()
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
