"""ONNX's own cases of operators, given to bnlib: the same numbers, or a refusal.

Each module of `onnx.backend.test.case.node` holds the models, inputs and outputs by which a backend
for ONNX is tested. A case that asks for what bnlib does not do on purpose is recognized by one of
the reasons below, and must be refused.
"""

from collections import Counter
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx.backend.test.case import node

import bnlib
from bnlib import functional as F

pytestmark = pytest.mark.usefixtures("backend")

TOLERANCE = 1e-6  # all that is compared is float32
EPSILON = float(np.float32(1e-5))  # attributes are float32
MOMENTUM = float(np.float32(0.9))


class Case(NamedTuple):
    """One call of an operator."""

    operator: str
    inputs: list[np.ndarray]
    attributes: dict[str, Any]
    outputs: list[np.ndarray]


# The operators in bnlib ----------------------------------------------------------------


def batch_normalization(case, training_mode=0, momentum=MOMENTUM, epsilon=EPSILON):
    """Weigh the old value, and keep the biased variance, as ONNX does."""
    x, weight, bias, mean, var = case.inputs
    left, training = momentum * var, bool(training_mode)
    y = F.batch_norm(x, mean, var, weight, bias, training, 1 - momentum, epsilon)
    m = x.size / len(var)
    return [y, mean, left + (var - left) * ((m - 1) / m)] if training else [y]


def layer_normalization(case, axis=-1, epsilon=EPSILON):
    """Return the output, the mean and 1 / standard deviation."""
    x, *parameters = case.inputs
    shape = x.shape[axis:]
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    y, cache = F.layer_norm_forward(x, shape, *parameters, epsilon)
    mean = bnlib.moments.moments(x, axes)[0].astype(x.dtype)
    return [y, mean, cache.invstd.reshape(mean.shape).astype(x.dtype)]


def rms_normalization(case, axis=-1, epsilon=EPSILON):
    """Normalize by the root of the mean square over the axes from one on."""
    x, weight = case.inputs
    return [F.rms_norm(x, x.shape[axis:], weight, epsilon)]


def group_normalization(case, num_groups, epsilon=EPSILON):
    """Normalize groups of channels."""
    x, weight, bias = case.inputs
    return [F.group_norm(x, num_groups, weight, bias, epsilon)]


def instance_normalization(case, epsilon=EPSILON):
    """Normalize each channel of each sample."""
    x, weight, bias = case.inputs
    return [F.instance_norm(x, weight=weight, bias=bias, eps=epsilon)]


def windows(
    case,
    kernel_shape,
    strides=None,
    pads=None,
    auto_pad=None,
    dilations=(1,),
    ceil_mode=0,
    count_include_pad=0,
    storage_order=0,
):
    """Return PyTorch's options of a convolution or a pooling, those that change something."""
    n = len(kernel_shape)
    pads = pads or [0] * 2 * n
    padding = tuple(pads[:n]) if pads[:n] == pads[n:] else tuple(pads)
    options = {"stride": tuple(strides or [1] * n), "padding": auto_pad or padding}
    if case.operator != "Conv":
        options["kernel_size"] = tuple(kernel_shape)
    if max(dilations) > 1:
        options["dilation"] = tuple(dilations)
    if ceil_mode:
        options["ceil_mode"] = True
    if case.operator == "AveragePool" and any(pads) and not count_include_pad:
        options["count_include_pad"] = False
    if case.operator == "MaxPool" and len(case.outputs) > 1:
        options["return_indices"] = True
    return options


def max_pool(case, **attributes):
    """Return the largest value of each window."""
    return [F.max_pool2d_forward(*case.inputs, **windows(case, **attributes))[0]]


def average_pool(case, **attributes):
    """Return the mean value of each window."""
    return [F.avg_pool2d_forward(*case.inputs, **windows(case, **attributes))[0]]


def convolve(case, **attributes):
    """Return the convolution."""
    x, weight, *bias = case.inputs
    return [F.conv2d_forward(x, weight, *bias, **windows(case, **attributes))[0]]


def gemm(case, alpha=1.0, beta=1.0, transA=0, transB=0):
    """Return ``alpha · A' B' + beta · C``."""
    a, b, *biases = case.inputs
    x = np.float32(alpha) * (a.T if transA else a)
    weight = b if transB else b.T
    # A row is the one C that PyTorch would call a bias.
    row = (1, len(weight))
    biases = [np.float32(beta) * (c[0] if c.shape == row else c) for c in biases]
    return [F.linear_forward(x, weight, *biases)[0]]


def softmax(case, axis=-1):
    """Return the softmax of rows."""
    return [F.softmax(*case.inputs)]


def cross_entropy(case, reduction="mean", ignore_index=-100):
    """Return the loss, and the logarithm of the probabilities where they are asked for."""
    x, target, *weight = case.inputs
    options = {"ignore_index": ignore_index}
    if weight:
        options["weight"] = weight[0]
    if reduction != "mean":
        options["reduction"] = reduction
    loss, _ = F.cross_entropy_forward(x, target, **options)
    return [np.array(loss, x.dtype), np.log(F.softmax(x))][: len(case.outputs)]


def elementwise(name):
    """Return the forward of an activation, on a case."""
    return lambda case: [getattr(F, f"{name}_forward")(*case.inputs)[0]]


# Operator: the function of bnlib, what calls it, and the module with the cases.
OPERATORS = {
    "BatchNormalization": ("batch_norm", batch_normalization, "batch_normalization"),
    "LayerNormalization": ("layer_norm", layer_normalization, "layernormalization"),
    "GroupNormalization": ("group_norm", group_normalization, "groupnormalization"),
    "InstanceNormalization": (
        "instance_norm",
        instance_normalization,
        "instance_normalization",
    ),
    "RMSNormalization": ("rms_norm", rms_normalization, "rmsnormalization"),
    "Relu": ("relu", elementwise("relu"), "relu"),
    "Sigmoid": ("sigmoid", elementwise("sigmoid"), "sigmoid"),
    "Tanh": ("tanh", elementwise("tanh"), "tanh"),
    "MaxPool": ("max_pool2d", max_pool, "maxpool"),
    "AveragePool": ("avg_pool2d", average_pool, "averagepool"),
    "Conv": ("conv2d", convolve, "conv"),
    "Gemm": ("linear", gemm, "gemm"),
    "Softmax": ("softmax", softmax, "softmax"),
    "SoftmaxCrossEntropyLoss": (
        "cross_entropy",
        cross_entropy,
        "softmax_cross_entropy_loss",
    ),
}
POOLS = ("MaxPool", "AveragePool")
ROWS = ("Softmax", "SoftmaxCrossEntropyLoss")


def of_attribute(name, odd):
    """Return a rule: whether an attribute is there, and is odd."""
    return lambda case: name in case.attributes and odd(case.attributes[name])


# Why bnlib refuses a case: the first reason that holds.
REASONS = {
    "no floating dtype": lambda case: case.inputs[0].dtype.kind != "f",
    "images of one or three dimensions": lambda case: (
        case.operator in (*POOLS, "Conv") and case.inputs[0].ndim != 4
    ),
    "windows with holes": of_attribute("dilations", lambda a: max(a) > 1),
    "windows that reach over the border": of_attribute("ceil_mode", bool),
    "a padding that is worked out": of_attribute("auto_pad", bool),
    "a padding of more than half a window": lambda case: (
        case.operator in POOLS
        and max(case.attributes.get("pads", [0])) * 2
        > min(case.attributes["kernel_shape"])
    ),
    "a mean without the padding": lambda case: (
        case.operator == "AveragePool"
        and any(case.attributes.get("pads", []))
        and not case.attributes.get("count_include_pad")
    ),
    "places of the largest values": lambda case: (
        case.operator == "MaxPool" and len(case.outputs) > 1
    ),
    "a bias that is no vector": lambda case: (
        case.operator == "Gemm"
        and case.inputs[2:]
        and case.inputs[2].shape != (1, case.outputs[0].shape[1])
    ),
    "rows on other axes than the second": lambda case: (
        case.operator in ROWS and case.inputs[0].ndim != 2
    ),
    "weights of classes": lambda case: (
        case.operator == "SoftmaxCrossEntropyLoss" and len(case.inputs) > 2
    ),
    "a loss that is no mean": of_attribute("reduction", lambda a: a != "mean"),
}


def all_cases():
    """Return the cases of the operators that bnlib has: to compare, and to be refused."""
    for function, _, module in OPERATORS.values():
        if hasattr(F, function) or hasattr(F, f"{function}_forward"):
            # Importing one makes its cases; importing all, as ONNX does, takes 8 s.
            import_module(f"onnx.backend.test.case.node.{module}")
    compared, refused = [], []
    for found in node._NodeTestCases:
        graph = found.model.graph
        operator = graph.node[0].op_type
        if operator not in OPERATORS or found.name.partition("_expanded")[1]:
            continue
        attributes = {
            a.name: onnx.helper.get_attribute_value(a) for a in graph.node[0].attribute
        }
        for name, a in attributes.items():
            if isinstance(a, bytes):
                attributes[name] = a.decode()
        (inputs, outputs), *_ = found.data_sets
        case = Case(operator, inputs, attributes, outputs)
        why = next((why for why, holds in REASONS.items() if holds(case)), None)
        if why is None:
            compared.append(pytest.param(case, id=found.name))
        else:
            refused.append(pytest.param(case, why, id=found.name))
    return compared, refused


COMPARED, REFUSED = all_cases()


def run(case):
    """Return what bnlib gives for a case; the inputs of the case stay as they are."""
    case = case._replace(inputs=[a.copy() for a in case.inputs])
    return OPERATORS[case.operator][1](case, **case.attributes)


@pytest.mark.parametrize("case", COMPARED)
def test_operator(case):
    for a, b in zip(run(case), case.outputs, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max(initial=1)


@pytest.mark.parametrize(("case", "why"), REFUSED)
def test_refused(case, why):
    with pytest.raises((TypeError, ValueError)) as error:
        run(case)
    # "max_pool2d: expected ...", or Python's "max_pool2d_forward() got an unexpected ...".
    function = OPERATORS[case.operator][0]
    assert str(error.value).startswith((f"{function}: ", f"{function}_forward() "))


def test_no_case_is_lost():
    compared = Counter(p.values[0].operator for p in COMPARED)
    refused = Counter(p.values[1] for p in REFUSED)
    for operator, (function, *_) in OPERATORS.items():
        there = hasattr(F, function) or hasattr(F, f"{function}_forward")
        assert (compared[operator] > 0) == there, operator
    assert refused.keys() == REASONS.keys()
    assert compared.total() >= 57
    assert refused.total() >= 70
