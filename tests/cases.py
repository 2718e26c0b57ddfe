"""One table of all normalizations, and one of all layers: what the tests go through.

A new normalization is one row of `NORMS`; parity with PyTorch, gradients, accuracy, memory layouts,
errors and repr follow from it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from helpers import shapes
from hypothesis import strategies as st

import bnlib

flags = st.booleans()
epsilons = st.sampled_from([1e-5, 1e-3, 0.5])
momenta = st.sampled_from([0.0, 0.1, 0.7, 1.0])


def f32(*shape):
    """Return float32 values that are not all the same."""
    return np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)


def locked(a):
    """Return `a`, read-only."""
    a.flags.writeable = False
    return a


# What the texts of calls in the tables may name.
NAMES = {**{name: getattr(bnlib, name) for name in bnlib.__all__}, "np": np}
NAMES |= {"f32": f32, "locked": locked, "i32": np.int32, "f16": np.float16}
NAMES |= {"f64": np.float64, "F": bnlib.functional}


class Norm(NamedTuple):
    """A normalization: its functions are ``F.NAME``, ``F.NAME_forward`` and ``F.NAME_backward``."""

    function: str
    # Shapes of inputs, each with the setting of the function, under PyTorch's names. The setting
    # "running" says whether there are running statistics.
    cases: st.SearchStrategy[tuple[tuple[int, ...], dict[str, Any]]]
    # x, in which each row is what shares one mean and one variance.
    rows: Callable[[np.ndarray, dict[str, Any]], np.ndarray]
    # Shape of weight and bias for an input of a shape.
    parameters: Callable[[tuple[int, ...], dict[str, Any]], tuple[int, ...]]
    # Layers by the rank of their input, with their arguments for an input and a setting.
    layers: dict[int, str]
    arguments: Callable[[tuple[int, ...], dict[str, Any]], tuple[Any, ...]]
    options: st.SearchStrategy[dict[str, Any]]  # of the layers
    setting: dict[str, Any]  # for an input of the shape below
    affine: tuple[str, ...] = ("weight", "bias")
    centered: bool = True
    shape: tuple[int, ...] = (4, 6)  # of an input: six channels, or features
    # Bad arguments besides those that all refuse, each with the error and its message.
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Name of the layer, without the rank."""
        return next(iter(self.layers.values())).rstrip("123d")


def of_channels(shape, setting):
    """Return the shape of one value per channel."""
    return shape[1:2]


def wider(ranks=(2, 3, 4, 5)):
    """Draw shapes with at least three values on the last axis."""
    return shapes(ranks).map(lambda shape: (*shape[:-1], shape[-1] + 2))


def with_setting(drawn, **settings):
    """Draw a shape and a setting."""
    return st.tuples(drawn, st.fixed_dictionaries(settings))


@st.composite
def last_axes(draw):
    """Draw a shape, and how many of its last axes are normalized over: all of them too."""
    shape = draw(wider())
    return shape, {"normalized_shape": shape[draw(st.integers(0, len(shape) - 1)) :]}


@st.composite
def groups(draw):
    """Draw a shape, and a number of groups that divides its channels."""
    shape, num_groups = draw(wider()), draw(st.integers(1, 3))
    shape = (shape[0], shape[1] * num_groups, *shape[2:])
    return shape, {"num_groups": num_groups}


NORMS = [
    Norm(
        function="batch_norm",
        cases=with_setting(
            shapes(), training=flags, running=flags, momentum=momenta
        ).filter(lambda case: case[1]["training"] or case[1]["running"]),
        rows=lambda x, setting: np.moveaxis(x, 1, 0).reshape(x.shape[1], -1),
        parameters=of_channels,
        layers={
            2: "BatchNorm1d",
            3: "BatchNorm1d",
            4: "BatchNorm2d",
            5: "BatchNorm3d",
        },
        arguments=lambda shape, setting: shape[1:2],
        options=st.fixed_dictionaries(
            {
                "eps": epsilons,
                "momentum": momenta | st.none(),
                "affine": flags,
                "track_running_stats": flags,
                "bias": flags,
            }
        ),
        setting={"training": True, "running": True},
        refused=(
            ("x=f32(4)", "x with at least 2 axes (N, C, ...), got (4,)"),
            ("x=f32(1, 6)", "more than 1 value per channel when training"),
            ("x=f32(1, 6, 1)", "more than 1 value per channel when training"),
            ("running_mean=None", "running_mean and running_var both or neither"),
            ("running_var=None", "running_mean and running_var both or neither"),
            ("running_mean=f32(5)", "running_mean of shape (6,), got (5,)"),
            ("running_var=f32(6).astype(f64)", "running_var float64"),
            ("running_mean=locked(f32(6))", "running_mean to be writeable"),
            ("running_var=locked(f32(6))", "running_var to be writeable"),
            (
                "running_mean=None, running_var=None, training=False",
                "running_mean and running_var when not training",
            ),
            ("training='eval'", "training to be True or False, got str 'eval'"),
            ("momentum=-0.1", "momentum between 0 and 1, got -0.1"),
            ("momentum=1.1", "momentum between 0 and 1, got 1.1"),
            ("momentum=np.nan", "momentum between 0 and 1, got nan"),
            ("momentum=None", "momentum to be a number, got NoneType"),
            ("threads=0", "threads >= 1, got 0"),
            ("out=f32(4, 5)", "out of shape (4, 6), got (4, 5)"),
            ("out=f32(6, 4).T", "out in C order"),
        ),
    ),
    Norm(
        function="layer_norm",
        cases=last_axes(),
        rows=lambda x, setting: x.reshape(-1, math.prod(setting["normalized_shape"])),
        parameters=lambda shape, setting: setting["normalized_shape"],
        layers=dict.fromkeys((2, 3, 4, 5), "LayerNorm"),
        arguments=lambda shape, setting: (setting["normalized_shape"],),
        options=st.fixed_dictionaries(
            {"eps": epsilons, "elementwise_affine": flags, "bias": flags}
        ),
        setting={"normalized_shape": (6,)},
        refused=(
            ("x=f32(4, 2)", "x with last axes (6,), got shape (4, 2)"),
            ("normalized_shape=(1, 4, 6)", "x with last axes (1, 4, 6)"),
            ("normalized_shape=()", "normalized_shape as a tuple of ints, got ()"),
            ("normalized_shape=6", "normalized_shape as a tuple of ints, got 6"),
            ("normalized_shape=(0,)", "normalized_shape >= 1, got 0"),
            ("normalized_shape=(6.0,)", "normalized_shape to be an int, got float"),
        ),
    ),
    Norm(
        function="rms_norm",
        cases=last_axes(),
        rows=lambda x, setting: x.reshape(-1, math.prod(setting["normalized_shape"])),
        parameters=lambda shape, setting: setting["normalized_shape"],
        layers=dict.fromkeys((2, 3, 4, 5), "RMSNorm"),
        arguments=lambda shape, setting: (setting["normalized_shape"],),
        options=st.fixed_dictionaries(
            {"eps": epsilons | st.none(), "elementwise_affine": flags}
        ),
        setting={"normalized_shape": (6,)},
        affine=("weight",),
        centered=False,
        refused=(
            ("x=f32(4, 2)", "x with last axes (6,), got shape (4, 2)"),
            ("normalized_shape=6", "normalized_shape as a tuple of ints, got 6"),
        ),
    ),
    Norm(
        function="group_norm",
        cases=groups(),
        rows=lambda x, setting: x.reshape(len(x) * setting["num_groups"], -1),
        parameters=of_channels,
        layers=dict.fromkeys((2, 3, 4, 5), "GroupNorm"),
        arguments=lambda shape, setting: (setting["num_groups"], shape[1]),
        options=st.fixed_dictionaries(
            {"eps": epsilons, "affine": flags, "bias": flags}
        ),
        setting={"num_groups": 3},
        refused=(
            ("x=f32(6)", "x with at least 2 axes (N, C, ...), got (6,)"),
            ("num_groups=4", "num_groups to divide 6, got 4"),
            ("num_groups=0", "num_groups >= 1, got 0"),
            ("num_groups=-3", "num_groups >= 1, got -3"),
            ("num_groups=3.0", "num_groups to be an int, got float"),
            ("num_groups=True", "num_groups to be an int, got bool"),
        ),
    ),
    Norm(
        function="instance_norm",
        cases=with_setting(
            wider(ranks=(3, 4, 5)),
            use_input_stats=flags,
            running=flags,
            momentum=momenta,
        ).filter(lambda case: case[1]["use_input_stats"] or case[1]["running"]),
        rows=lambda x, setting: x.reshape(x.shape[0] * x.shape[1], -1),
        parameters=of_channels,
        layers={3: "InstanceNorm1d", 4: "InstanceNorm2d", 5: "InstanceNorm3d"},
        arguments=lambda shape, setting: shape[1:2],
        options=st.fixed_dictionaries(
            {
                "eps": epsilons,
                "momentum": momenta | st.none(),
                "affine": flags,
                "track_running_stats": flags,
                "bias": flags,
            }
        ),
        setting={"running": True},
        shape=(4, 6, 5),
        refused=(
            ("x=f32(6)", "x with at least 2 axes (N, C, ...), got (6,)"),
            ("x=f32(4, 6)", "more than 1 value per channel and sample"),
            ("x=f32(4, 6, 1)", "more than 1 value per channel and sample"),
            ("running_mean=None", "running_mean and running_var both or neither"),
            ("running_var=f32(5)", "running_var of shape (6,), got (5,)"),
            ("running_mean=locked(f32(6))", "running_mean to be writeable"),
            (
                "running_mean=None, running_var=None, use_input_stats=False",
                "running_mean and running_var when not use_input_stats",
            ),
            ("use_input_stats=1", "use_input_stats to be True or False, got int 1"),
            ("momentum=None", "momentum to be a number, got NoneType"),
        ),
    ),
]

# Layers, as `repr` shows them, each with the shape of an input that it takes. Losses apart.
LAYERS = {
    "Linear(3, 2, bias=True)": (4, 3),
    "Linear(3, 2, bias=False)": (4, 3),
    "Conv2d(3, 2, kernel_size=(2, 1), stride=(1, 2), padding=(0, 1), bias=True)": (
        2,
        3,
        4,
        4,
    ),
    "MaxPool2d(kernel_size=(3, 2), stride=(1, 2), padding=(1, 0))": (2, 3, 4, 4),
    "AvgPool2d(kernel_size=(2, 2), stride=(2, 1), padding=(0, 1))": (2, 3, 4, 4),
    "ReLU()": (4, 3),
    "Sigmoid()": (4, 3),
    "Tanh()": (4, 3),
    "Dropout(p=0.3)": (4, 3),
    "Flatten()": (4, 3, 2),
}
LAYERS |= {
    repr(
        getattr(bnlib, norm.layers[len(shape)])(*norm.arguments(shape, norm.setting))
    ): shape
    for norm in NORMS
    for shape in (norm.shape, (2, 6, 2, 3), (2, 6, 2, 1, 3))
    if shape == norm.shape or norm.parameters is of_channels
}


def make(text, **options):
    """Return a fresh layer from a text of `LAYERS`, with more options."""
    name = text.partition("(")[0]
    return eval(text, {name: functools.partial(NAMES[name], **options)})
