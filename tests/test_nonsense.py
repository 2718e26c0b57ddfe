"""Nonsense is refused by the name of the call and of the argument, or works as in PyTorch.

Every argument of every function and constructor is given everything that somebody once gave to
such a library. What is taken is listed; all else must be refused, with nothing changed.
"""

import decimal
import fractions
import math
import re

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import LAYERS, NAMES, make
from helpers import everything, fingerprint

import bnlib
from bnlib import folding, moments, optim
from bnlib import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")


def f32(*shape):
    return np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)


class Odd:
    """An object of no use."""

    def __repr__(self):
        return "Odd\n()"


# What may stand where a number, a flag, a pair, a function or a generator belongs.
VALUES = {
    "None": None,
    "'0.1'": "0.1",
    "b'1'": b"1",
    "True": True,
    "np.True_": np.True_,
    "1j": 1j,
    "complex64": np.complex64(1),
    "nan": math.nan,
    "inf": np.float64(np.inf),
    "-inf": -math.inf,
    "10**400": 10**400,
    "2**63": 2**63,
    "-1": -1,
    "0": 0,
    "2": 2,
    "np.int64(2)": np.int64(2),
    "0.5": 0.5,
    "float16": np.float16(0.5),
    "longdouble": np.longdouble(0.5),
    "Fraction": fractions.Fraction(1, 2),
    "2.5": 2.5,
    "Decimal": decimal.Decimal("0.5"),
    "timedelta": np.timedelta64(1, "s"),
    "datetime": np.datetime64(1, "s"),
    "masked": np.ma.masked,
    "array": np.ones(2),
    "0-d array": np.array(0.5),
    "tensor": torch.tensor(0.5),
    "[0.5]": [0.5],
    "(2, 2)": (2, 2),
    "[2, 2]": [2, 2],
    "(2, 2, 2)": (2, 2, 2),
    "(True, 2)": (True, 2),
    "((1, 2), 3)": ((1, 2), 3),
    "(2.0, 2)": (2.0, 2),
    "{}": {},
    "Odd": Odd(),
    "ReLU": bnlib.ReLU(),
    "Parameter": bnlib.Parameter(np.ones(2)),
    "Generator": np.random.default_rng(0),
    "RandomState": np.random.RandomState(0),
    "np.random": np.random,
    "function": lambda vector: vector,
    "float": float,
    "float32": np.float32,
    "'float32'": "float32",
    "half": np.float16,
    "'>f4'": ">f4",
    "bfloat16": ml_dtypes.bfloat16,
    "int": int,
}
NUMBERS = {"0.5", "float16", "longdouble", "Fraction"}
LARGER = {"2", "np.int64(2)", "2.5", "2**63"}
INTS = {"2", "np.int64(2)"}
FLAGS = {"True", "np.True_"}
PAIRS = {*INTS, "(2, 2)", "[2, 2]"}
DTYPES = {"None", "float", "float32", "'float32'"}
CALLABLES = {"function", "ReLU", "float", "float32", "half", "bfloat16", "int"}
EPS = NUMBERS | LARGER
SHARE = NUMBERS | {"0"}
# What each setting takes; a name with a dot is that of one call.
TAKES = {
    "eps": EPS,
    "fold_bn_weights.eps": EPS,
    "momentum": SHARE,
    "layer.momentum": SHARE | {"None"},
    "training": FLAGS,
    "use_input_stats": FLAGS,
    "threads": INTS | {"None"},
    "all_reduce": {"None"},
    "layer.all_reduce": CALLABLES,
    "p": SHARE,
    "rng": {"Generator"},
    "layer.rng": {"Generator", "None"},
    "ignore_index": INTS | {"0", "-1"},
    "label_smoothing": SHARE,
    "stride": PAIRS,
    "layer.stride": PAIRS,
    "kernel_size": PAIRS,
    "padding": PAIRS | {"0"},
    "num_groups": INTS,
    "normalized_shape": {"(2, 2)", "[2, 2]"},
    "layer.normalized_shape": PAIRS | {"(2, 2, 2)"},
    "dtype": DTYPES,
    "directions": INTS | {"None"},
    "step": EPS,
    "rtol": EPS | {"0"},
    "atol": EPS | {"0"},
    "lr": EPS | {"0", "0-d array", "array"},
    "weight_decay": EPS | {"0", "0-d array", "array"},
    "dloss": EPS | {"0", "-1"},
    "branch": {"ReLU"},
    "shortcut": {"ReLU", "None"},
    "axes": {"0", "-1"},
    "Adam.eps": EPS | {"0"},
}
TAKES |= dict.fromkeys(
    ("num_features", "in_features", "out_features", "in_channels", "out_channels"), INTS
)
TAKES |= dict.fromkeys(("num_channels", "count_a", "count_b"), INTS)
TAKES |= dict.fromkeys(
    ("affine", "bias", "track_running_stats", "elementwise_affine", "nesterov"), FLAGS
)
for pooling in ("max_pool2d", "avg_pool2d"):
    TAKES[f"{pooling}.stride"] = PAIRS | {"None"}
for pooling in ("MaxPool2d", "AvgPool2d"):
    TAKES[f"{pooling}.stride"] = PAIRS | {"None"}
for kind in ("count_a", "count_b"):
    TAKES[kind] = INTS | {"0"}

CHANNELS = {"weight": f32(3), "bias": f32(3)}
RUNNING = {"running_mean": np.zeros(3, "f"), "running_var": np.ones(3, "f")}
IMAGES = f32(1, 2, 4, 4)
FUNCTIONS = {
    "batch_norm": {
        **{"x": f32(4, 3), **RUNNING, **CHANNELS, "training": True},
        **{"momentum": 0.1, "eps": 0.1, "threads": None, "all_reduce": None},
    },
    "layer_norm": {
        **{"x": f32(4, 2, 2), "normalized_shape": (2, 2)},
        **{"weight": f32(2, 2), "bias": f32(2, 2), "eps": 0.1},
    },
    "group_norm": {"x": f32(4, 4), "num_groups": 2, "weight": f32(4), "eps": 0.1},
    "instance_norm": {
        **{"x": f32(4, 3, 2), **RUNNING, **CHANNELS},
        **{"use_input_stats": True, "momentum": 0.1, "eps": 0.1},
    },
    "rms_norm": {
        **{"x": f32(4, 2, 2), "normalized_shape": (2, 2)},
        **{"weight": f32(2, 2)},
    },
    "linear_forward": {"x": f32(4, 3), "weight": f32(2, 3), "bias": f32(2)},
    "relu_forward": {"x": f32(4, 3)},
    "sigmoid_forward": {"x": f32(4, 3)},
    "tanh_forward": {"x": f32(4, 3)},
    "dropout_forward": {"x": f32(4, 3), "p": 0.5, "rng": np.random.default_rng(0)},
    "softmax": {"x": f32(4, 3)},
    "cross_entropy_forward": {
        **{"logits": f32(4, 3), "target": np.array([0, 1, 2, 0])},
        **{"ignore_index": -100, "label_smoothing": 0.1},
    },
    "mse_loss_forward": {"x": f32(4, 3), "target": f32(4, 3)},
    "conv2d_forward": {
        **{"x": IMAGES, "weight": f32(3, 2, 2, 2), "bias": f32(3)},
        **{"stride": 1, "padding": 0},
    },
    "max_pool2d_forward": {"x": IMAGES, "kernel_size": 4, "stride": 1, "padding": 0},
    "avg_pool2d_forward": {"x": IMAGES, "kernel_size": 4, "stride": 1, "padding": 0},
    "windows": {"x": IMAGES, "kernel_size": (2, 2), "stride": (1, 1)},
}
FUNCTIONS = {name: args for name, args in FUNCTIONS.items() if hasattr(F, name)}
CALLS = {name: (getattr(F, name), args) for name, args in FUNCTIONS.items()}
CALLS |= {
    "fold_bn_weights": (
        folding.fold_bn_weights,
        {
            **{"weight": f32(3, 2), "bias": f32(3), "running_mean": f32(3)},
            **{"running_var": f32(3), "bn_weight": f32(3), "bn_bias": f32(3)},
            "eps": 0.1,
        },
    ),
    "moments": (moments.moments, {"x": f32(4, 3), "axes": 0}),
    "center": (moments.center, {"x": f32(4, 3), "mean": np.ones(3)}),
    "merge_moments": (
        lambda count_a, count_b: moments.merge_moments(
            count_a, np.ones(1), np.ones(1), count_b, np.ones(1), np.ones(1)
        ),
        {"count_a": 2, "count_b": 2},
    ),
    "gradcheck": (
        bnlib.gradcheck,
        {
            **{"loss": lambda x: 0 * x.sum(), "x": np.ones(3), "gradient": np.zeros(3)},
            **{"directions": None, "step": 1e-6, "rtol": 0.1, "atol": 0.1},
        },
    ),
    "cross_entropy_backward": (
        lambda dloss: F.cross_entropy_backward(
            dloss, F.cross_entropy_forward(f32(1, 2), np.array([0]))[1]
        ),
        {"dloss": 1.0},
    ),
    "mse_loss_backward": (
        lambda dloss: F.mse_loss_backward(dloss, F.mse_loss_forward(f32(2), f32(2))[1]),
        {"dloss": 1.0},
    ),
}
SOME = {"affine": True, "bias": True, "dtype": None}
TRACKING = {"num_features": 3, "eps": 0.1, "momentum": 0.1, "track_running_stats": True}
CONSTRUCTORS = {
    "BatchNorm1d": {**TRACKING, **SOME},
    "SyncBatchNorm": {**TRACKING, **SOME, "all_reduce": VALUES["function"]},
    "InstanceNorm1d": {**TRACKING, "affine": True, "dtype": None},
    "LayerNorm": {
        **{"normalized_shape": (3,), "eps": 0.1, "elementwise_affine": True},
        **{"bias": True, "dtype": None},
    },
    "RMSNorm": {"normalized_shape": (3,), "elementwise_affine": True, "dtype": None},
    "GroupNorm": {"num_groups": 2, "num_channels": 4, "eps": 0.1, **SOME},
    "Linear": {
        **{"in_features": 2, "out_features": 2, "bias": True, "dtype": None},
        "rng": None,
    },
    "Conv2d": {
        **{"in_channels": 2, "out_channels": 2, "kernel_size": 2, "stride": 1},
        **{"padding": 0, "bias": True, "dtype": None, "rng": None},
    },
    "MaxPool2d": {"kernel_size": 4, "stride": None, "padding": 0},
    "AvgPool2d": {"kernel_size": 4, "stride": None, "padding": 0},
    "Dropout": {"p": 0.5, "rng": None},
    "CrossEntropyLoss": {"ignore_index": -100, "label_smoothing": 0.0},
    "Residual": {"branch": bnlib.ReLU(), "shortcut": None},
}
CALLS |= {
    name: (getattr(bnlib, name), args)
    for name, args in CONSTRUCTORS.items()
    if hasattr(bnlib, name)
}
OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "nesterov": True},
    "Adam": {"lr": 0.1, "eps": 0.1, "weight_decay": 0.1},
}


def judge(name, argument, call, *subjects):
    """Do a call; return whether it was taken. Fail unless a refusal is by name."""
    before = everything(*subjects)
    try:
        call()
    except (TypeError, ValueError) as error:
        message = str(error)
        assert re.match(rf"(?i){name.removesuffix('_forward')}[.:]", message), message
        assert argument in message or "last axes" in message
        assert "expected" in message
        assert "\n" not in message
        assert len(message) < 300
        assert everything(*subjects) == before
        return False
    return True


SETTINGS = [
    (name, argument)
    for name, (_, args) in CALLS.items()
    for argument, value in args.items()
    if not isinstance(value, np.ndarray) and argument != "loss"
]


@pytest.mark.parametrize(("name", "argument"), SETTINGS)
def test_a_setting_takes_what_it_should_and_refuses_the_rest(name, argument):
    function, args = CALLS[name]
    places = (
        f"{name.removesuffix('_forward')}.{argument}",
        f"layer.{argument}" if name in CONSTRUCTORS else "",
        argument,
    )
    takes = next(TAKES[place] for place in places if place in TAKES)
    taken = set()
    for text, value in VALUES.items():
        if argument == "all_reduce" and name in FUNCTIONS and callable(value):
            continue  # what it does is its own affair
        arrays = [a for a in args.values() if isinstance(a, np.ndarray)]
        if judge(
            name if name != "gradcheck" else "(gradcheck|directional_derivative)",
            argument,
            lambda value=value: function(**{**args, argument: value}),
            {k: a for k, a in enumerate(arrays) if not name.endswith("e_norm")},
        ):
            taken.add(text)
        for key, start in (("running_mean", 0), ("running_var", 1)):
            if key in args:
                args[key][...] = start
    assert taken == takes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_what_it_should(name):
    for argument in OPTIMIZERS[name]:
        for how in ("argument", "group", "later"):
            taken = set()
            for text, value in VALUES.items():
                p = bnlib.Parameter(np.ones(2))
                p.grad += 1

                def act(p=p, value=value, how=how, argument=argument):
                    settings = dict(OPTIMIZERS[name])
                    groups = [{"params": [p]}]
                    if how == "argument":
                        settings[argument] = value
                    elif how == "group":
                        groups[0][argument] = value
                    opt = getattr(optim, name)(groups, **settings)
                    if how == "later":
                        opt.param_groups[0][argument] = value
                    opt.step()

                if judge(name, argument, act, p):
                    taken.add(text)
                    assert p.data.dtype == np.float64
            takes = TAKES.get(f"{name}.{argument}", TAKES[argument])
            if argument == "momentum":
                takes = takes - {"0"}  # with nesterov
            assert taken == takes


@pytest.mark.parametrize("how", ["argument", "later"])
@pytest.mark.parametrize(
    "betas",
    [
        *(None, 0.9, "ab", (0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, "x"), (0.9, None)),
        *(np.ones((2, 2)) / 2, np.array([0.5, 0.5]), (0.5, np.nan), (True, 0.5)),
    ],
    ids=str,
)
def test_betas_are_a_pair_of_numbers_below_1(betas, how):
    p = bnlib.Parameter(np.ones(2))
    opt = optim.Adam([p], betas=(fractions.Fraction(1, 2), np.float32(0.5)))
    opt.step()
    assert opt.state[p]["exp_avg"].dtype == np.float64

    def act():
        if how == "argument":
            optim.Adam([p], betas=betas)
        opt.param_groups[0]["betas"] = betas
        opt.step()

    assert not judge("Adam", "betas", act, p)


@pytest.mark.parametrize(
    "params",
    [
        *(None, 3, "w", np.ones(2), np.array(0.5), [np.ones(2)], [None], [], [{}]),
        *([{"params": None}], [{"params": []}], [{"lr": 1}], {"params": []}, [Odd()]),
        *(bnlib.Linear(2, 2), bnlib.Parameter(np.ones(2)), bnlib.Sequential()),
        [{"params": bnlib.Linear(2, 2)}],
        list(bnlib.Linear(2, 2).named_parameters()),
        [{"params": [bnlib.Parameter(np.ones(2))], "rate": 1}],
        [bnlib.Parameter(np.ones(2)), {"params": []}],
    ],
    ids=lambda value: f"{value!r:.30}",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_parameters_and_groups(name, params):
    assert not judge(name, "", lambda: getattr(optim, name)(params))


@pytest.mark.parametrize(
    "groups",
    [None, 3, [None], [{}], [{"params": []}], [{"params": None, "lr": 1}], {}],
    ids=str,
)
def test_groups_that_were_spoiled(groups):
    opt = optim.SGD([bnlib.Parameter(np.ones(2))])
    opt.param_groups = groups
    for act in (
        opt.step,
        lambda: opt.load_state_dict({"state": {}, "param_groups": 3}),
    ):
        assert not judge("SGD", "", act)


# Arrays ------------------------------------------------------------------------------------

EXOTIC = [
    *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e3m4"),
    *("float8_e8m0fnu", "float6_e2m3fn", "float4_e2m1fn", "int4", "uint4", "int2"),
]


def wrong(a):
    """Yield what may stand in the place of a floating array, and must not."""
    yield "list", a.tolist()
    yield "None", None
    yield "string", "x"
    yield "number", 1.0
    yield "scalar", a.dtype.type(1)
    yield "True", True
    yield "object", Odd()
    yield "generator", (x for x in a)
    yield "Parameter", bnlib.Parameter(a.copy())
    yield "tensor", torch.tensor(a)
    yield "masked", np.ma.masked_array(a)
    yield "masked in part", np.ma.masked_array(a, a > 1)
    yield "recarray", a.view(np.recarray)
    if a.ndim == 2:
        yield "matrix", np.asmatrix(a)
    for dtype in ("i4", "?", "c8", "O", "g", ">f4", "S8", "U8", "m8[s]", [("x", "f4")]):
        yield str(dtype), np.zeros(a.shape, dtype)
    for name in EXOTIC:
        if hasattr(ml_dtypes, name):
            yield name, np.zeros(a.shape, getattr(ml_dtypes, name))


ARRAYS = [
    (name, argument)
    for name, (_, args) in CALLS.items()
    for argument, value in args.items()
    if isinstance(value, np.ndarray) and value.dtype.kind == "f"
]
OPTIONAL = {"weight", "bias", "running_mean", "running_var", "bn_weight", "bn_bias"}


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_an_array_is_a_plain_one_of_a_known_dtype(name, argument):
    function, args = CALLS[name]
    before = fingerprint(*(a for a in args.values() if isinstance(a, np.ndarray)))
    for text, value in wrong(args[argument]):
        if text == "None" and argument in OPTIONAL:
            continue
        taken = judge(
            name if name != "gradcheck" else "(gradcheck|directional_derivative)",
            argument,
            lambda value=value: function(**{**args, argument: value}),
        )
        assert not taken, text
    after = fingerprint(*(a for a in args.values() if isinstance(a, np.ndarray)))
    assert after == before


@pytest.mark.parametrize("name", ["relu", "linear", "batch_norm", "cross_entropy"])
def test_a_memory_map_is_an_array(name, tmp_path):
    args = dict(FUNCTIONS.get(f"{name}_forward", FUNCTIONS.get(name)))
    key = "logits" if name == "cross_entropy" else "x"
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=args[key].shape)
    x[...] = args[key]
    expected, cache = getattr(F, f"{name}_forward")(**args)
    for array in RUNNING.values():
        array[...] = array is RUNNING["running_var"]
    y, cache = getattr(F, f"{name}_forward")(**{**args, key: x})
    assert np.array_equal(y, expected)
    if name != "cross_entropy":
        assert type(y) is np.ndarray
        getattr(F, f"{name}_backward")(y, cache)
    for array in RUNNING.values():
        array[...] = array is RUNNING["running_var"]


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "dropout", "mse_loss"])
def test_an_array_without_axes_gives_arrays(name):
    x = np.array(0.5)
    rest = {"dropout": (0.0,), "mse_loss": (np.array(2.0),)}.get(name, ())
    y, cache = getattr(F, f"{name}_forward")(x, *rest)
    dx = getattr(F, f"{name}_backward")(1.0 if name == "mse_loss" else x, cache)
    assert type(dx) is np.ndarray
    assert dx.shape == ()
    assert name == "mse_loss" or (type(y) is np.ndarray and y.shape == ())


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        *(([0, 1], True), ((0, 1), True), (torch.tensor([0, 1]), True)),
        *((np.array([0, 1], t), True) for t in ("u1", "i2", "u8", ">i4")),
        *((np.array([0, 1], t), False) for t in ("f4", "?", "O", "c8", "m8[s]", "S1")),
        *(([0.0, 1.0], False), ([True, False], False), ([[0], [1, 2]], False)),
        *((None, False), ("ab", False), (np.array([[0], [1]]), False), (1, False)),
        *(
            (np.ma.array([0, 1]), False),
            (np.zeros(2, int).view(np.recarray), False),
            ([0, 3], False),
        ),
        *(([0, -1], False), ([-100, -100], False), ([], False), (Odd(), False)),
        *((np.array([0, 1], ml_dtypes.int4), False), (np.array([0, 2**64 - 1]), False)),
    ],
    ids=repr,
)
def test_labels_are_integers_one_per_row(target, taken):
    def act():
        F.cross_entropy_forward(f32(2, 3), target)

    assert judge("cross_entropy", "", act) == taken


# Shapes ------------------------------------------------------------------------------------

# What is wrong with an input that is a floating array: the call, and the whole message.
SHAPES = {
    "BatchNorm1d(3)(f32(4))": "expected 2-D or 3-D input, got shape (4,)",
    "BatchNorm1d(3)(f32(2, 3, 2, 2))": "expected 2-D or 3-D input, got shape (2, 3, 2, 2)",
    "BatchNorm2d(3)(f32(4, 3))": "expected 4-D input, got shape (4, 3)",
    "BatchNorm3d(3)(f32(2, 3, 2, 2))": "expected 5-D input, got shape (2, 3, 2, 2)",
    "BatchNorm1d(3)(f32(4, 2))": "expected 3 channels, got shape (4, 2)",
    "BatchNorm1d(3).eval()(f32(4, 5))": "expected 3 channels, got shape (4, 5)",
    "BatchNorm1d(3, affine=False)(f32(4, 5))": "expected 3 channels, got shape (4, 5)",
    "BatchNorm1d(3)(f32(1, 3))": (
        "expected more than 1 value per channel when training, got shape (1, 3)"
    ),
    "BatchNorm1d(3, track_running_stats=False).eval()(f32(1, 3))": (
        "expected more than 1 value per channel when training, got shape (1, 3)"
    ),
    "LayerNorm((2, 3))(f32(4, 3))": "expected x with last axes (2, 3), got shape (4, 3)",
    "GroupNorm(2, 4)(f32(4))": "expected at least 2-D input, got shape (4,)",
    "GroupNorm(2, 4)(f32(3, 6))": "expected 4 channels, got shape (3, 6)",
    "Linear(3, 2)(f32(4, 5))": "expected x of shape (N, 3), got (4, 5)",
    "Linear(3, 2)(f32(4, 2, 3))": "expected x of shape (N, 3), got (4, 2, 3)",
    "Linear(3, 2)(f32(3))": "expected x of shape (N, 3), got (3,)",
    "Conv2d(3, 2, 2)(f32(3, 4, 4))": (
        "expected x of shape (N, 3, H >= 2, W >= 2), got (3, 4, 4)"
    ),
    "Conv2d(3, 2, 2)(f32(1, 4, 4, 4))": (
        "expected x of shape (N, 3, H >= 2, W >= 2), got (1, 4, 4, 4)"
    ),
    "Conv2d(3, 2, (5, 4), padding=(1, 0))(f32(1, 3, 2, 4))": (
        "expected x of shape (N, 3, H >= 3, W >= 4), got (1, 3, 2, 4)"
    ),
    "MaxPool2d(3)(f32(1, 3, 2, 4))": (
        "expected x of shape (N, C, H >= 3, W >= 3), got (1, 3, 2, 4)"
    ),
    "AvgPool2d((2, 3))(f32(1, 3, 4, 2))": (
        "expected x of shape (N, C, H >= 2, W >= 3), got (1, 3, 4, 2)"
    ),
    "MaxPool2d(2, padding=2)(f32(1, 3, 4, 4))": (
        "expected padding of at most half the kernel's size (2, 2), got (2, 2)"
    ),
    "Flatten()(f32(4))": "expected at least 2-D input, got (4,)",
    "Flatten()(f32())": "expected at least 2-D input, got ()",
    "CrossEntropyLoss()(f32(2, 3), np.zeros(3, int))": (
        "expected logits of shape (N, K) and target of shape (N,), N > 0, got (2, 3) and (3,)"
    ),
    "CrossEntropyLoss()(f32(2, 3), np.array([0, 3]))": (
        "expected classes from 0 to 2, got 0 to 3"
    ),
    "CrossEntropyLoss()(f32(3), np.zeros(3, int))": (
        "expected logits of shape (N, K), got (3,)"
    ),
    "MSELoss()(f32(2, 3), f32(2, 1))": "expected target of shape (2, 3), got (2, 1)",
    "MSELoss()(f32(0, 3), f32(0, 3))": "expected at least one element, got (0, 3)",
}


@pytest.mark.parametrize("call", SHAPES)
def test_an_input_of_another_shape(call):
    layer, x = re.fullmatch(r"(.*)(\(f32\(.*)", call).groups()
    layer = eval(layer, dict(NAMES))
    before = everything(layer)
    with pytest.raises(ValueError, match=re.escape(SHAPES[call]) + "$") as info:
        eval(f"layer{x}", {**NAMES, "layer": layer})
    name = str(info.value).partition(":")[0].replace("_", "").lower()
    own = type(layer).__name__.lower().removesuffix("loss")
    assert own.startswith(name.removesuffix("loss"))
    assert everything(layer) == before


@pytest.mark.parametrize("text", LAYERS)
def test_a_gradient_that_does_not_fit(text):
    layer = make(text)
    y = layer(f32(*LAYERS[text]))
    good, before = np.ones_like(y), everything(layer)
    for bad, error, message in (
        (good[None], ValueError, f"dy of shape {y.shape}, got {(1, *y.shape)}"),
        (good[:1], ValueError, f"dy of shape {y.shape}, got {(1, *y.shape[1:])}"),
        (good.astype(float), TypeError, "dy of dtype float32, got float64"),
        (good.astype(np.float16), TypeError, "dy of dtype float32, got float16"),
        (good.astype(int), TypeError, "dy of a floating dtype, got int64"),
        (np.ma.array(good), TypeError, "dy to be a NumPy array, got MaskedArray"),
        (good.tolist(), TypeError, "dy to be a NumPy array, got list"),
        (None, TypeError, "dy to be a NumPy array, got NoneType"),
    ):
        with pytest.raises(
            error, match=rf"[a-z_.]*backward: expected {re.escape(message)}"
        ):
            layer.backward(bad)
        assert everything(layer) == before
    layer.backward(good)  # it can still be done


# Messages ----------------------------------------------------------------------------------

F64 = np.ones((4, 3))


def linear():
    return bnlib.Linear(3, 3)


MESSAGES = [
    (linear, F64, "Linear", "", "float"),
    (lambda: bnlib.Sequential(linear()), F64, "Linear", " [in layer 0]", "float"),
    (
        lambda: bnlib.Sequential(
            bnlib.ReLU(), bnlib.Sequential(bnlib.Tanh(), linear())
        ),
        F64,
        "Linear",
        " [in layer 1.1]",
        "float",
    ),
    (
        lambda: bnlib.Sequential({"body": bnlib.Residual(bnlib.Sequential(linear()))}),
        F64,
        "Linear",
        " [in layer body.branch.0]",
        "float",
    ),
    (
        lambda: bnlib.Residual(bnlib.ReLU(), bnlib.Sequential(bnlib.BatchNorm1d(3))),
        F64,
        "BatchNorm1d",
        " [in layer shortcut.0]",
        "float",
    ),
    (lambda: bnlib.LayerNorm(3), F64, "LayerNorm", "", "float"),
    (lambda: bnlib.GroupNorm(1, 3), F64, "GroupNorm", "", "float"),
    (lambda: bnlib.BatchNorm1d(3).eval(), F64, "BatchNorm1d", "", "float"),
    (lambda: bnlib.BatchNorm1d(3, affine=False), F64, "BatchNorm1d", "", "float"),
    (lambda: bnlib.Conv2d(1, 1, 1), np.ones((1, 1, 2, 2)), "Conv2d", "", "float"),
    (
        lambda: bnlib.BatchNorm1d(3, dtype=float),
        F64.astype("f"),
        "BatchNorm1d",
        "",
        "np.float32",
    ),
    (
        lambda: bnlib.Linear(3, 3, dtype=float),
        F64.astype("f"),
        "Linear",
        "",
        "np.float32",
    ),
    (linear, F64.astype(np.float16), "Linear", "", None),
]


@pytest.mark.parametrize(("make", "x", "layer", "place", "cure"), MESSAGES)
def test_a_message_blames_what_the_caller_got_wrong(make, x, layer, place, cure):
    net = make()
    dtype = "float64" if cure == "np.float32" else "float32"
    end = "" if cure is None else f" or dtype={cure}"
    before = everything(net)
    with pytest.raises(TypeError) as info:
        net(x)
    assert str(info.value) == (
        f"{layer}: x is {x.dtype}, the layer {dtype}: use x.astype(np.{dtype}){end}{place}"
    )
    assert everything(net) == before
    net(x.astype(dtype))  # the cure works


PLACES = [
    (lambda: bnlib.Sequential(bnlib.ReLU(), bnlib.Linear(4, 2)), "[in layer 1]"),
    (
        lambda: bnlib.Sequential(bnlib.Sequential(bnlib.ReLU(), bnlib.BatchNorm1d(4))),
        "[in layer 0.1]",
    ),
    (lambda: bnlib.Residual(bnlib.Linear(4, 3)), "[in layer branch]"),
    (
        lambda: bnlib.Sequential(bnlib.Residual(bnlib.ReLU(), bnlib.Linear(4, 3))),
        "[in layer 0.shortcut]",
    ),
    (
        lambda: bnlib.Sequential({"a": bnlib.Sequential({"b": bnlib.Linear(4, 3)})}),
        "[in layer a.b]",
    ),
]


@pytest.mark.parametrize(("make", "place"), PLACES)
def test_an_error_says_where_it_came_from(make, place):
    with pytest.raises(ValueError, match=re.escape(place) + "$"):
        make()(f32(4, 3))


def test_an_error_in_a_backward_says_where():
    net = bnlib.Sequential(bnlib.Linear(3, 2), bnlib.Sequential(bnlib.ReLU()))
    net(f32(4, 3))
    with pytest.raises(
        ValueError,
        match=r"^relu_backward: expected dy of shape \(4, 2\), got \(4, 3\) "
        r"\[in layer 1\.0\]$",
    ):
        net.backward(f32(4, 3))


# Aliases -----------------------------------------------------------------------------------

BATCH = FUNCTIONS["batch_norm"]


def good():
    """Return fresh arguments of batch_norm."""
    return {k: a.copy() if isinstance(a, np.ndarray) else a for k, a in BATCH.items()}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(("running_mean", name) for name in ("running_var", "weight", "bias", "x")),
        *(("running_var", name) for name in ("running_mean", "weight", "bias", "x")),
    ],
)
@pytest.mark.parametrize("view", ["the same", "reversed", "in part"])
def test_what_is_written_shares_no_memory_with_what_is_read(written, read, view):
    args = good()
    if read == "x":
        args[written] = args["x"][0]
    elif view == "the same":
        args[written] = args[read]
    elif view == "reversed":
        args[written] = args[read][::-1]
    else:
        room = np.ones(5, np.float32)
        args[written], args[read] = room[:3], room[2:]
    arrays = [a for a in args.values() if isinstance(a, np.ndarray)]
    before = fingerprint(*arrays)
    for function in (F.batch_norm, F.batch_norm_forward):
        with pytest.raises(ValueError, match=r"^batch_norm: .*share no memory with"):
            function(**args)
    assert fingerprint(*arrays) == before
    F.batch_norm(**{**args, "training": False})  # there nothing is written


@pytest.mark.parametrize(
    "read", ["x", "weight", "bias", "running_mean", "running_var", "another x"]
)
@pytest.mark.parametrize("training", [True, False])
def test_out_overlaps_nothing(read, training):
    args = {**good(), "training": training}
    room = np.zeros(24, np.float32)
    out = room[6:18].reshape(4, 3)
    if read == "another x":
        args["x"] = room[:12].reshape(4, 3)
    else:
        shape = args[read].shape
        place = out.ravel() if read == "x" else room[16:19]
        place[...] = args[read].ravel()
        args[read] = place.reshape(shape)
    before = fingerprint(room)
    with pytest.raises(
        ValueError, match=r"^batch_norm: expected out to share no memory"
    ):
        F.batch_norm(**args, out=out)
    assert fingerprint(room) == before


def test_out_of_a_backward_overlaps_nothing():
    x, weight = f32(4, 3), f32(3)
    y, cache = F.batch_norm_forward(x, None, None, weight, None, True)
    room = np.ones(14, np.float32)
    _, other = F.batch_norm_forward(x, None, None, room[11:], None, True)
    for dy, kept, out in (
        (y, cache, y),
        (y, cache, cache.x_hat),
        (y, other, room[:12].reshape(4, 3)),
        (room[2:].reshape(4, 3), cache, room[:12].reshape(4, 3)),
    ):
        before = fingerprint(dy, out, x)
        with pytest.raises(
            ValueError, match=r"^batch_norm_backward: expected out to sh"
        ):
            F.batch_norm_backward(dy, kept, out=out)
        assert fingerprint(dy, out, x) == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x", "out to be a NumPy array"),
        (np.ma.zeros((4, 3), "f"), "out to be a NumPy array"),
        (np.zeros((4, 3)), "out of dtype float32"),
        (np.zeros((3, 4), "f"), r"out of shape \(4, 3\)"),
        (np.zeros((3, 4), "f").T, "out in C order"),
        (np.broadcast_to(np.float32(0), (4, 3)), "out"),
    ],
)
def test_out_is_memory_to_write_into(out, message):
    args = good()
    before = fingerprint(args["running_mean"], args["running_var"])
    with pytest.raises(
        (TypeError, ValueError), match=f"^batch_norm: expected {message}"
    ):
        F.batch_norm(**args, out=out)
    assert fingerprint(args["running_mean"], args["running_var"]) == before
