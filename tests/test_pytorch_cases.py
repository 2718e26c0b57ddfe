"""PyTorch's own cases of layers and functions, given to bnlib: the same numbers, or a refusal.

`torch.testing._internal` holds the inputs by which PyTorch tests itself: ``module_db`` those of its
layers, ``op_db`` those of its functions, both with calls that it refuses. A case that asks for what
bnlib does not do on purpose is recognized by one of the reasons below, and must be refused.
"""

import inspect
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

import bnlib
from bnlib import functional as F

pytestmark = pytest.mark.usefixtures("backend")

CROSS_ENTROPY = ("CrossEntropyLoss", "cross_entropy")
# Ranks of x, where not all are taken.
RANKS = {
    "batch_norm": (2, 3, 4, 5),
    **{f"InstanceNorm{d}d": (d + 2,) for d in (1, 2, 3)},
    **dict.fromkeys(("Linear", "linear", *CROSS_ENTROPY), (2,)),
    **dict.fromkeys(("Conv2d", "MaxPool2d", "AvgPool2d"), (4,)),
    **dict.fromkeys(("conv2d", "max_pool2d", "avg_pool2d"), (4,)),
}
LAYERS = [
    *(f"{kind}Norm{d}d" for kind in ("Batch", "Instance") for d in (1, 2, 3)),
    *("LayerNorm", "GroupNorm", "RMSNorm", "Linear", "Conv2d", "MaxPool2d"),
    *("AvgPool2d", "ReLU", "Sigmoid", "Tanh", "CrossEntropyLoss", "MSELoss"),
]
FUNCTIONS = [
    *(f"{kind}_norm" for kind in ("batch", "instance", "layer", "group", "rms")),
    *("linear", "conv2d", "max_pool2d", "avg_pool2d", "relu", "sigmoid", "tanh"),
    *("cross_entropy", "mse_loss"),
]
# The arguments of PyTorch's functions that are written in C++, which do not tell them.
SIGNATURES = {
    "linear": "weight bias",
    "conv2d": "weight bias stride padding dilation groups",
    "avg_pool2d": "kernel_size stride padding ceil_mode count_include_pad divisor_override",
}
# Options that bnlib does not have, and the value at which they change nothing.
ABSENT = {
    "ceil_mode": False,
    "count_include_pad": True,
    "dilation": 1,
    "divisor_override": None,
    "groups": 1,
    "padding_mode": "zeros",
    "reduction": "mean",
    "return_indices": False,
}
TOLERANCE = {"float16": 2e-3, "float32": 5e-6, "float64": 1e-13}
# By "mixed" the input is float16 and the parameters are float32, as bnlib wants them.
DTYPES = ("float64", "float32", "mixed", "float16", "int64", "complex64")


@dataclass
class Case:
    """A call of a layer or a function: of PyTorch's, and by the same name of bnlib's."""

    call: str
    dtype: str
    theirs: Any
    args: tuple[Any, ...]  # of the constructor, or of the function after x
    kwargs: dict[str, Any]
    inputs: tuple[Any, ...]  # x, and the target of a loss that is a layer
    fails: bool = False  # in PyTorch too
    label: str = ""

    def __post_init__(self):
        """Find the names of the arguments that come by position."""
        names = []
        if self.call in SIGNATURES:
            names = SIGNATURES[self.call].split()
        elif self.args:
            names = list(inspect.signature(self.theirs).parameters)
            names = names if self.is_layer else names[1:]
        given = zip(names[: len(self.args)], self.args, strict=True)
        self.settings = dict(given) | self.kwargs

    @property
    def is_layer(self):
        """Whether this is a call of a layer."""
        return isinstance(self.theirs, type)

    @property
    def target(self):
        """The target of a loss; None without."""
        if len(self.inputs) > 1:
            return self.inputs[1]
        return self.settings.get("target")


def idle_options(case):
    """Return the options that bnlib does not have, and that change nothing."""
    return {
        name
        for name, value in ABSENT.items()
        if name in case.settings and case.settings[name] == value
    }


def takes_dtype(case):
    """Tell whether the layer of bnlib has parameters, or could have some."""
    return "dtype" in inspect.signature(getattr(bnlib, case.call)).parameters


def half_parameters(case):
    """Tell whether parameters or statistics would be kept in float16."""
    if case.is_layer:
        return case.dtype == "float16" and takes_dtype(case)
    arrays = [a for a in case.settings.values() if isinstance(a, torch.Tensor)]
    return "norm" in case.call and any(a.dtype == torch.float16 for a in arrays)


# Why bnlib refuses a case: the first reason that holds.
REASONS = {
    "PyTorch refuses it too": lambda case: case.fails,
    "an option that bnlib does not have": lambda case: (
        not ABSENT.keys().isdisjoint(case.settings.keys() - idle_options(case))
    ),
    "weights of classes": lambda case: (
        case.call in CROSS_ENTROPY and case.settings.get("weight") is not None
    ),
    "a padding by name": lambda case: isinstance(case.settings.get("padding"), str),
    "no floating dtype": lambda case: not case.inputs[0].dtype.is_floating_point,
    "parameters in less than float32": half_parameters,
    "an input without a batch axis, or with more axes": lambda case: (
        case.call in RANKS and case.inputs[0].ndim not in RANKS[case.call]
    ),
    "probabilities of classes as a target": lambda case: (
        case.call in CROSS_ENTROPY and case.target.is_floating_point()
    ),
    "eps of 0 or less": lambda case: (case.settings.get("eps") or 1) < 0,
    "a momentum outside 0 to 1": lambda case: (case.settings.get("momentum") or 0) < 0,
    "a target in which no row counts": lambda case: (
        case.call in CROSS_ENTROPY
        and bool((case.target == case.settings.get("ignore_index", -100)).all())
    ),
}


def reason(case):
    """Return why bnlib refuses a case; None if it does not."""
    return next((why for why, holds in REASONS.items() if holds(case)), None)


# Where the cases come from -------------------------------------------------------------


def of_layer(info, dtype):
    """Return PyTorch's cases of a layer."""
    name = info.module_cls.__name__
    own = {"mixed": "float32", "int64": None, "complex64": None}.get(dtype, dtype)
    if own is None or (dtype == "mixed" and "Norm" not in name):
        return []
    options = {"device": "cpu", "dtype": getattr(torch, own), "requires_grad": False}
    options["training"] = True
    found = [(a, False, a.desc) for a in info.module_inputs_func(info, **options)]
    if info.module_error_inputs_func and dtype == "float32":
        errors = info.module_error_inputs_func(info, **options)
        found += [(a.module_error_input, True, "error") for a in errors]
    cases = []
    for a, fails, label in found:
        inputs = ()
        if a.forward_input is not None:
            inputs = *a.forward_input.args, *a.forward_input.kwargs.values()
        if dtype == "mixed":
            inputs = tuple(x.half() for x in inputs)
        args, kwargs = a.constructor_input.args, a.constructor_input.kwargs
        cases.append(
            Case(name, dtype, info.module_cls, args, kwargs, inputs, fails, label)
        )
    return cases


def of_function(info, name, dtype):
    """Return PyTorch's cases of a function."""
    own = getattr(torch, "float32" if dtype == "mixed" else dtype)
    if own not in info.dtypes or (dtype == "mixed" and "norm" not in name):
        return []
    # `info.sample_inputs` would look for the running test on the stack: 10 ms a sample.
    found = [(a, False) for a in info.sample_inputs_func(info, "cpu", own, False)]
    if info.error_inputs_func and dtype == "float32":
        found += [(a.sample_input, True) for a in info.error_inputs_func(info, "cpu")]
    cases = []
    for a, fails in found:
        x = a.input.half() if dtype == "mixed" else a.input
        cases.append(Case(name, dtype, info.op, a.args, a.kwargs, (x,), fails))
    return cases


def all_cases():
    """Return the cases of all that bnlib has: those to compare, and those to be refused.

    Of refused ones that differ in numbers only, one is enough: max-pooling has thousands.
    """
    cases = []
    for dtype in DTYPES:
        for info in module_db:
            name = info.module_cls.__name__
            torch.default_generator.manual_seed(0)
            if name in LAYERS and hasattr(bnlib, name):
                cases += of_layer(info, dtype)
        for info in op_db:
            name = info.name.removeprefix("nn.functional.")
            torch.default_generator.manual_seed(0)
            known = name in FUNCTIONS and hasattr(F, f"{name}_forward")
            if known and not info.variant_test_name:
                cases += of_function(info, name, dtype)

    compared, refused = [], {}
    for i, case in enumerate(cases):
        label = f"{case.call}-{case.dtype}-{i}-{case.label}".rstrip("-")
        why = reason(case)
        if why is None:
            compared.append(pytest.param(case, id=label))
            continue
        wanted = [name for name in case.settings if name not in idle_options(case)]
        ranks = [(a.ndim, a.is_floating_point()) for a in case.inputs]
        key = case.call, why, *wanted, *ranks, id(case) if case.fails else None
        refused.setdefault(key, pytest.param(case, why, id=label))
    return compared, list(refused.values())


with torch.random.fork_rng(devices=[]):
    COMPARED, REFUSED = all_cases()


# The two sides -------------------------------------------------------------------------


def to_numpy(a):
    """Return a NumPy array with the values of a tensor in memory of its own; else `a`."""
    return a.detach().numpy().copy() if isinstance(a, torch.Tensor) else a


def arguments(case, values):
    """Return the values of the settings as the case gives them: by position, and by name."""
    names = list(values)
    first, rest = names[: len(case.args)], names[len(case.args) :]
    return [values[name] for name in first], {name: values[name] for name in rest}


def our_arguments(case):
    """Return the arguments for bnlib, without options that it has not and that change nothing."""
    args, kwargs = arguments(
        case, {name: to_numpy(value) for name, value in case.settings.items()}
    )
    return args, {
        name: kwargs[name] for name in kwargs if name not in idle_options(case)
    }


def our_layer(case):
    """Return the layer of bnlib, made by the same arguments."""
    args, kwargs = our_arguments(case)
    if takes_dtype(case):
        kwargs["dtype"] = case.dtype.replace("mixed", "float32")
    return getattr(bnlib, case.call)(*args, **kwargs)


def their_layer(case):
    """Return the layer of PyTorch, with random parameters."""
    layer = case.theirs(*case.args, **case.kwargs)
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            rng = np.random.default_rng(i)
            parameter.copy_(torch.from_numpy(rng.uniform(-1, 1, parameter.shape)))
    return layer.to(getattr(torch, case.dtype.replace("mixed", "float32")))


def as_double(a):
    """Return a tensor of floats as float64; anything else as it is."""
    floating = isinstance(a, torch.Tensor) and a.is_floating_point()
    return a.double() if floating else a


def cotangent(y):
    """Return a gradient of `y` for the backward to begin with."""
    rng = np.random.default_rng(7)
    return torch.from_numpy(np.array(rng.uniform(-1, 1, y.shape))).to(y.dtype)


def assert_same(found, expected, exact):
    """Fail unless arrays have PyTorch's dtypes and shapes, and its numbers in float64."""
    assert found.keys() == expected.keys() == exact.keys()
    for name, b in expected.items():
        a, b, c = found[name], to_numpy(b), to_numpy(exact[name])
        if type(a) is float:  # bnlib returns a loss as a number
            a = np.array(a, b.dtype)
        assert type(a) is np.ndarray, f"{name} is a {type(a).__name__}"
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        limit = TOLERANCE.get(str(b.dtype), 0) * np.abs(c).max(initial=1)
        assert np.abs(a - c).max(initial=0) <= limit, name


mixed_rms_norm = pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")


def layer_step(layer, inputs, training, r=None):
    """Return what PyTorch gives in one step, by names, and the gradient of y."""
    layer.train(training).zero_grad()
    x, *rest = inputs
    x = x.detach().requires_grad_()
    y = layer(x, *rest)
    r = cotangent(y) if r is None else r
    y.backward(r)
    gradients = {f"d{key}": p.grad for key, p in layer.named_parameters()}
    return {"y": y, "dx": x.grad, **layer.state_dict(), **gradients}, r


@mixed_rms_norm
@pytest.mark.parametrize("case", [p for p in COMPARED if p.values[0].is_layer])
def test_layer(case):
    ours, theirs = our_layer(case), their_layer(case)
    ours.load_state_dict({key: to_numpy(a) for key, a in theirs.state_dict().items()})
    double = their_layer(case).double()
    for scale, training in ((1, True), (0.5, True), (1, False)):
        inputs = scale * case.inputs[0], *case.inputs[1:]
        expected, r = layer_step(theirs, inputs, training)
        exact, _ = layer_step(double, map(as_double, inputs), training, as_double(r))

        ours.train(training).zero_grad()
        y = ours(*map(to_numpy, inputs))
        dx = ours.backward(r.item() if type(y) is float else to_numpy(r))
        found = {"y": y, "dx": dx, **ours.state_dict()}
        found |= {f"d{key}": p.grad for key, p in ours.named_parameters()}
        if inputs[0].numel() == 0 and "num_batches_tracked" in found:
            # PyTorch counts a batch without samples, bnlib does not.
            counts = [a.pop("num_batches_tracked") for a in (found, expected, exact)]
            assert counts[0] == 0 < counts[1]
        assert_same(found, expected, exact)


def function_step(case, convert=lambda a: a, r=None):
    """Return what PyTorch gives by names, the arrays that it was given among them."""
    given = {name: convert(a) for name, a in case.settings.items()}
    tensors = {key: a for key, a in given.items() if isinstance(a, torch.Tensor)}
    for name, a in tensors.items():
        given[name] = a = tensors[name] = a.clone()
        a.requires_grad_(name in ("weight", "bias"))
    x = convert(case.inputs[0]).clone().requires_grad_()
    args, kwargs = arguments(case, given)
    y = case.theirs(x, *args, **kwargs)
    r = cotangent(y) if r is None else r
    y.backward(r)
    gradients = {f"d{key}": a.grad for key, a in tensors.items() if a.requires_grad}
    return {"y": y, "dx": x.grad, **tensors, **gradients}, r


@mixed_rms_norm
@pytest.mark.parametrize("case", [p for p in COMPARED if not p.values[0].is_layer])
def test_function(case):
    expected, r = function_step(case)
    exact, _ = function_step(case, as_double, as_double(r))

    args, kwargs = our_arguments(case)
    x = to_numpy(case.inputs[0])
    y, cache = getattr(F, f"{case.call}_forward")(x, *args, **kwargs)
    backward = getattr(F, f"{case.call}_backward")
    gradients = backward(r.item() if type(y) is float else to_numpy(r), cache)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    found = dict(zip(case.settings, args, strict=False)) | kwargs | {"y": y}
    found |= dict(zip(("dx", "dweight", "dbias"), gradients, strict=False))
    # There are gradients of a weight of 1 and a bias of 0 too, where none were given.
    assert_same({key: found[key] for key in expected}, expected, exact)


def our_call(case):
    """Make the call with bnlib."""
    inputs = map(to_numpy, case.inputs)
    if case.is_layer:
        return our_layer(case)(*inputs)
    args, kwargs = our_arguments(case)
    return getattr(F, f"{case.call}_forward")(*inputs, *args, **kwargs)


def names_of(case):
    """Return how a message may name the call, without underscores and in lower case.

    A layer may leave the check to its function, and Python names the class that has `__init__`.
    """
    names = [case.call]
    if case.is_layer:
        names += [kind.__name__ for kind in getattr(bnlib, case.call).mro()]
        names += [case.call.removesuffix("Loss"), case.call.rstrip("123d")]
    return {name.replace("_", "").lower() for name in names}


@pytest.mark.parametrize(("case", "why"), REFUSED)
def test_refused(case, why):
    with pytest.raises((TypeError, ValueError)) as error:
        our_call(case)
    # "linear: expected ...", or Python's "linear_forward() got an unexpected keyword ...".
    call = re.match(r"(\w+?)(_forward)?(\.__init__)?(:|\(\)) ", str(error.value))
    assert call, error.value
    assert call[1].replace("_", "").lower() in names_of(case), error.value


def test_no_case_is_lost():
    compared = Counter(p.values[0].call for p in COMPARED)
    refused = Counter(p.values[1] for p in REFUSED)
    for name in LAYERS:
        assert compared[name] > 0 or not hasattr(bnlib, name), name
    for name in FUNCTIONS:
        assert compared[name] > 0 or not hasattr(F, f"{name}_forward"), name
    assert refused.keys() == REASONS.keys()
    assert compared.total() >= 790
    assert refused.total() >= 275
