"""A setting that is changed after the construction works as in PyTorch, or is refused by name."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import assert_close, everything, to_torch

import bnlib


def f32(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def identity(vector):
    return vector


# Each layer with a name of its own: how to make it, and an input.
MAKE = {
    "BatchNorm1d": (lambda lib: lib.BatchNorm1d(3), f32(4, 3)),
    "BatchNorm2d": (lambda lib: lib.BatchNorm2d(3), f32(2, 3, 2, 2)),
    "untracked": (
        lambda lib: lib.BatchNorm1d(3, track_running_stats=False),
        f32(4, 3),
    ),
    "cumulative": (lambda lib: lib.BatchNorm1d(3, momentum=None), f32(4, 3)),
    "LayerNorm": (
        lambda lib: lib.LayerNorm((2, 3), elementwise_affine=False),
        f32(4, 2, 3),
    ),
    "GroupNorm": (lambda lib: lib.GroupNorm(2, 4), f32(4, 4, 3)),
    "Linear": (lambda lib: lib.Linear(3, 2), f32(4, 3)),
    "Conv2d": (lambda lib: lib.Conv2d(2, 3, 2), f32(2, 2, 5, 6)),
    "MaxPool2d": (lambda lib: lib.MaxPool2d(4), f32(2, 2, 9, 9)),
    "AvgPool2d": (lambda lib: lib.AvgPool2d(4), f32(2, 2, 9, 9)),
    "Dropout": (lambda lib: lib.Dropout(0.5), f32(4, 3)),
}
GOOD = {
    "BatchNorm1d": {
        "eps": [1.0, 1, 1e-8],
        "momentum": [0.5, 0, 1, None],
        "track_running_stats": [False, True],
        "training": [False, True],
        "weight": [None],
        "bias": [None],
        "num_batches_tracked": [None],
    },
    "BatchNorm2d": {"momentum": [None, 0.7], "track_running_stats": [False]},
    "untracked": {"track_running_stats": [True], "training": [False]},
    "cumulative": {"momentum": [0.2], "track_running_stats": [False]},
    "LayerNorm": {"normalized_shape": [(3,), (4, 2, 3)], "eps": [0.5]},
    "GroupNorm": {"num_groups": [1, 4], "eps": [0.5], "bias": [None]},
    "Linear": {"bias": [None]},
    "Conv2d": {"stride": [2, (1, 3)], "padding": [1, (0, 2)], "bias": [None]},
    "MaxPool2d": {"kernel_size": [3, (2, 5)], "stride": [1, (3, 2), None]},
    "AvgPool2d": {"kernel_size": [2], "stride": [1, None], "padding": [(1, 2)]},
    "Dropout": {"p": [0.0, 1.0], "training": [False]},
}
CHANGES = [
    (name, setting, value)
    for name, settings in GOOD.items()
    for setting, values in settings.items()
    for value in values
]


@pytest.mark.parametrize(("name", "setting", "value"), CHANGES, ids=str)
def test_another_good_value_works_as_in_pytorch(name, setting, value):
    make, x = MAKE[name]
    ours, theirs = make(bnlib), make(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    for step in range(4):
        if step == 1:
            setattr(ours, setting, value)
            setattr(theirs, setting, value)
        if step == 3:  # and in the other mode
            ours.train(not ours.training)
            theirs.train(not theirs.training)
        if name == "Dropout" and ours.training and 0 < ours.p < 1:
            continue  # the two draw differently
        tx = to_torch((step + 1) * x, grad=True)
        ty = theirs(tx)
        ty.sum().backward()
        y = ours((step + 1) * x)
        assert_close(y, ty, rtol=1e-4, atol=1e-5)
        assert_close(ours.backward(np.ones_like(y)), tx.grad, rtol=1e-4, atol=1e-4)
        if setting != "num_batches_tracked":
            twin = theirs.state_dict()
            assert list(ours.state_dict()) == list(twin)
            for key, array in ours.state_dict().items():
                assert_close(array, twin[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("setting", ["eps", "momentum"])
@pytest.mark.parametrize(
    "value", [Fraction(1, 4), np.float16(0.25), np.longdouble(0.25), np.float64(0.25)]
)
def test_any_real_number_is_a_number(setting, value):
    layers = bnlib.BatchNorm1d(3), bnlib.BatchNorm1d(3), bnlib.BatchNorm1d(3)
    layers = [*layers, bnlib.BatchNorm1d(3, **{setting: value})]
    for layer, given in zip(layers, (0.25, value, 0.25), strict=False):
        setattr(layer, setting, given)
    results = []
    for layer in layers:
        y = layer(f32(4, 3))
        results.append([y, layer.running_mean, layer.running_var])
        assert type(getattr(layer, setting)) is float
        assert repr(layer) == repr(layers[0])
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            assert_close(a, b)


def test_a_loss_may_be_changed():
    ours, theirs = bnlib.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    x, target = f32(4, 3), np.array([0, 2, 1, 1])
    for setting, value in (("ignore_index", 1), ("label_smoothing", 0.2)):
        setattr(ours, setting, value)
        setattr(theirs, setting, value)
        expected = theirs(to_torch(x), torch.tensor(target))
        assert ours(x, target) == pytest.approx(expected.item(), rel=1e-5)


def test_a_sync_batch_norm_may_get_another_function():
    bn = bnlib.SyncBatchNorm(3, all_reduce=identity)
    twin, x = bnlib.BatchNorm1d(3), f32(4, 3)
    bn.all_reduce = lambda vector: 2 * vector  # two workers with one batch
    assert_close(bn(x), twin(np.concatenate([x, x]))[:4], rtol=1e-5, atol=1e-6)
    assert_close(bn.running_var, twin.running_var, rtol=1e-6)


def test_a_dropout_may_get_another_generator():
    one = bnlib.Dropout(0.5, rng=np.random.default_rng(0))
    two = bnlib.Dropout(0.5, rng=np.random.default_rng(1))
    two.rng = np.random.default_rng(0)
    assert_close(one(f32(9, 9)), two(f32(9, 9)))


def test_parts_of_a_residual_may_be_replaced():
    net = bnlib.Residual(bnlib.ReLU())
    x = f32(4, 3)
    net.branch = bnlib.Tanh()
    net.shortcut = bnlib.Sigmoid()
    assert_close(net(x), bnlib.Tanh()(x) + bnlib.Sigmoid()(x))
    net.shortcut = None
    assert_close(net(x), bnlib.Tanh()(x) + x)


# Nonsense ----------------------------------------------------------------------------------

NO_NUMBER = "0.1", None, True, 1j, [0.1], np.ones(2), np.array(0.1), np.ma.masked
NO_NUMBER += np.timedelta64(1, "s"), object(), np.True_
NO_BOOL = "eval", None, 1, 0, 1.0, np.ones(1, bool), []
NO_INT = "3", None, True, 2.0, np.array(3), (3,), np.timedelta64(3, "s")
OUT_OF_RANGE = np.nan, np.inf, -np.inf, -1, 10**400
NO_PAIR = (
    "2",
    None,
    2.0,
    True,
    (1,),
    (1, 2, 3),
    (True, 2),
    ((1, 2), 3),
    np.array([1, 2]),
)
BAD = {
    ("BatchNorm1d", "eps"): (*NO_NUMBER, *OUT_OF_RANGE, 0, 0.0),
    ("BatchNorm1d", "momentum"): (*NO_NUMBER[:1], *NO_NUMBER[2:], *OUT_OF_RANGE, 1.01),
    ("BatchNorm1d", "track_running_stats"): NO_BOOL,
    ("BatchNorm1d", "training"): NO_BOOL,
    ("BatchNorm1d", "num_features"): (*NO_INT, 4, 0, -3),
    ("BatchNorm1d", "dtype"): (float, "float16", int, "x", 3, np.dtype(">f4")),
    ("BatchNorm1d", "weight"): (np.ones(3), 3, "w", [1.0], bnlib.ReLU()),
    ("BatchNorm1d", "bias"): (np.ones(3), 3, "w", [1.0], bnlib.ReLU()),
    ("BatchNorm1d", "running_mean"): ([0.0] * 3, 3, np.ma.ones(3), "x"),
    ("BatchNorm1d", "running_var"): ([0.0] * 3, 3, np.ma.ones(3), "x"),
    ("BatchNorm1d", "num_batches_tracked"): (
        *(5, 5.0, np.array(5.0), np.array([5]), np.array(5, np.int8), "5"),
    ),
    ("LayerNorm", "normalized_shape"): (0, (), 2.0, "3", None, (2, True), (2, 0), -1),
    ("LayerNorm", "eps"): (*NO_NUMBER, *OUT_OF_RANGE, 0),
    ("GroupNorm", "num_groups"): (*NO_INT, 0, -1),
    ("GroupNorm", "num_channels"): (*NO_INT, 8),
    ("Linear", "weight"): (None, np.ones((2, 3)), 3),
    ("Linear", "bias"): (np.ones(2), 3, False),
    ("Linear", "dtype"): (float, np.float16),
    ("Conv2d", "weight"): (None, np.ones((3, 2, 2, 2))),
    ("Conv2d", "stride"): (*NO_PAIR, 0, -1, (1, 0)),
    ("Conv2d", "padding"): (*NO_PAIR, -1, "same"),
    ("MaxPool2d", "kernel_size"): (*NO_PAIR, 0),
    ("MaxPool2d", "stride"): (*NO_PAIR[:1], *NO_PAIR[2:], 0),
    ("MaxPool2d", "padding"): (*NO_PAIR, -1),
    ("AvgPool2d", "kernel_size"): (*NO_PAIR, 0),
    ("Dropout", "p"): (*NO_NUMBER, *OUT_OF_RANGE, 1.5),
    ("Dropout", "rng"): (None, 0, np.random.RandomState(0), np.random, "x"),
}
REFUSED = [
    pytest.param(name, setting, value, id=f"{name}.{setting}={value!r:.20}")
    for (name, setting), values in BAD.items()
    for value in values
]


@pytest.mark.parametrize(("name", "setting", "value"), REFUSED)
def test_nonsense_is_refused_at_once(name, setting, value):
    make, x = MAKE[name]
    layer = make(bnlib)
    before = everything(layer)
    with pytest.raises((TypeError, ValueError)) as info:
        setattr(layer, setting, value)
    message = str(info.value)
    assert message.startswith(f"{name}: expected {setting} ") or (
        setting in message and message.startswith(f"{name}: expected a finite ")
    )
    assert "\n" not in message
    assert len(message) < 250
    assert everything(layer) == before
    layer(x)


@pytest.mark.parametrize("setting", ["ignore_index", "label_smoothing"])
@pytest.mark.parametrize("value", ["1", None, True, 1j, np.nan, [1]])
def test_nonsense_for_a_loss(setting, value):
    loss = bnlib.CrossEntropyLoss()
    with pytest.raises((TypeError, ValueError), match=r"^CrossEntropyLoss: expected "):
        setattr(loss, setting, value)
    assert loss.ignore_index == -100


@pytest.mark.parametrize("value", [None, 3, "sum", np.ones(2)])
def test_nonsense_for_all_reduce(value):
    bn = bnlib.SyncBatchNorm(3, all_reduce=identity)
    with pytest.raises(TypeError, match=r"^SyncBatchNorm: expected all_reduce to be a"):
        bn.all_reduce = value
    assert bn.all_reduce is identity


@pytest.mark.parametrize(
    ("setting", "value"), [("branch", None), ("branch", abs), ("shortcut", 3)]
)
def test_nonsense_for_a_residual(setting, value):
    net = bnlib.Residual(bnlib.ReLU(), bnlib.Tanh())
    with pytest.raises(
        TypeError, match=f"^Residual: expected {setting} to be a Module"
    ):
        setattr(net, setting, value)
    assert type(net.branch) is bnlib.ReLU


# What can only be seen in a call.
LATER = {
    "weight of another shape": (
        lambda bn: setattr(bn, "weight", bnlib.Parameter(f32(4))),
        "batch_norm: expected weight of shape (3,), got (4,)",
    ),
    "weight of another dtype": (
        lambda bn: setattr(bn, "weight", bnlib.Parameter(np.ones(3))),
        "batch_norm: x is float32, weight float64",
    ),
    "mean of another shape": (
        lambda bn: setattr(bn, "running_mean", f32(2)),
        "batch_norm: expected running_mean of shape (3,), got (2,)",
    ),
    "mean alone": (
        lambda bn: setattr(bn, "running_var", None),
        "batch_norm: expected running_mean and running_var both or neither",
    ),
    "mean is var": (
        lambda bn: setattr(bn, "running_var", bn.running_mean),
        "batch_norm: expected running_mean to share no memory with running_var",
    ),
    "mean is bias": (
        lambda bn: setattr(bn, "running_mean", bn.bias.data),
        "batch_norm: expected running_mean to share no memory with bias",
    ),
    "var is a view of weight": (
        lambda bn: setattr(bn, "running_var", bn.weight.data[::-1]),
        "batch_norm: expected running_var to share no memory with weight",
    ),
    "negative count": (
        lambda bn: bn.num_batches_tracked.__setitem__(..., -1),
        "BatchNorm1d: expected num_batches_tracked from 0 on and below 2⁶³ − 1, got -1",
    ),
    "full count": (
        lambda bn: bn.num_batches_tracked.__setitem__(..., 2**63 - 1),
        "BatchNorm1d: expected num_batches_tracked from 0 on and below 2⁶³ − 1, got 92",
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_what_does_not_fit_is_refused_by_the_next_call(name):
    change, message = LATER[name]
    bn = bnlib.BatchNorm1d(3)
    change(bn)
    before = everything(bn)
    with pytest.raises((TypeError, ValueError)) as info:
        bn(f32(4, 3))
    assert str(info.value).startswith(message)
    assert everything(bn) == before


def test_what_there_is_decides_not_what_was_asked_for():
    bn = bnlib.BatchNorm1d(3).eval()
    bn.track_running_stats = False
    before = copy.deepcopy(bn.state_dict())
    y = bn(f32(4, 3))
    assert_close(y, bnlib.BatchNorm1d(3).eval()(f32(4, 3)))
    bn.train()(f32(4, 3))
    assert all(np.array_equal(a, before[key]) for key, a in bn.state_dict().items())
    bn.running_mean = bn.running_var = None
    bn.eval()
    assert_close(bn(f32(4, 3)), bnlib.BatchNorm1d(3)(f32(4, 3)))


# Parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["data", "grad"])
@pytest.mark.parametrize(
    "value",
    [
        *(None, 3.0, [1.0], np.ones(2), np.ones(3, "f"), np.ones(3, np.float16)),
        *(np.ones(3, int), np.ma.ones(3), np.asarray(1.0), np.ones(3, ">f8")),
    ],
    ids=repr,
)
def test_a_parameter_takes_arrays_like_its_own(part, value):
    p = bnlib.Parameter(np.zeros(3))
    before = everything(p)
    with pytest.raises((TypeError, ValueError), match=f"^Parameter: expected {part} "):
        setattr(p, part, value)
    assert everything(p) == before
    other = np.ones(3)
    setattr(p, part, other)
    assert getattr(p, part) is other


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda lib: lib.Linear(3, 2), "in_features out_features"),
        (
            lambda lib: lib.Conv2d(2, 3, (2, 5), 2, padding=(1, 0)),
            "in_channels out_channels kernel_size stride padding",
        ),
        (lambda lib: lib.BatchNorm2d(3), "num_features eps momentum affine"),
        (lambda lib: lib.BatchNorm1d(3, affine=False), "affine track_running_stats"),
        (lambda lib: lib.InstanceNorm2d(3), "num_features affine track_running_stats"),
        (
            lambda lib: lib.LayerNorm((2, 3)),
            "normalized_shape eps elementwise_affine",
        ),
        (
            lambda lib: lib.RMSNorm(3, elementwise_affine=False),
            "normalized_shape eps elementwise_affine",
        ),
        (lambda lib: lib.GroupNorm(2, 4), "num_groups num_channels eps affine"),
        (lambda lib: lib.MaxPool2d((2, 3)), "kernel_size stride"),
        (lambda lib: lib.Dropout(0.3), "p"),
        (lambda lib: lib.CrossEntropyLoss(), "ignore_index label_smoothing"),
    ],
)
def test_a_layer_has_pytorchs_attributes(make, names):
    ours, theirs = make(bnlib), make(torch.nn)
    for name in names.split():
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (bnlib.Linear(3, 2), "in_features", 4),
        (bnlib.Linear(3, 2), "out_features", 4),
        (bnlib.Conv2d(2, 3, 5), "kernel_size", (3, 3)),
        (bnlib.Conv2d(2, 3, 5), "out_channels", 4),
        (bnlib.BatchNorm1d(3), "affine", False),
        (bnlib.GroupNorm(2, 4), "affine", False),
        (bnlib.LayerNorm(3), "elementwise_affine", False),
    ],
)
def test_what_follows_from_the_weight_cannot_be_set(layer, name, value):
    before = getattr(layer, name)
    call = type(layer).__name__
    with pytest.raises(ValueError, match=f"{call}: expected {name} to stay"):
        setattr(layer, name, value)
    setattr(layer, name, before)  # nothing changes, nothing is said
    assert getattr(layer, name) == before


def test_what_follows_from_the_weight_follows_it():
    layer = bnlib.Linear(3, 2)
    layer.weight, layer.bias = bnlib.Parameter(f32(4, 5)), None
    assert repr(layer) == "Linear(5, 4, bias=False)"
    norm = bnlib.LayerNorm(3)
    norm.weight = None
    assert not norm.elementwise_affine


def test_a_class_of_the_users_may_have_properties():
    class Scaled(bnlib.Linear):
        @property
        def factor(self):
            return self._factor

        @factor.setter
        def factor(self, value):
            self._factor = 2 * value

    layer = Scaled(3, 2)
    layer.factor = 3
    assert layer.factor == 6


LAYERS = [
    thing
    for thing in vars(bnlib).values()
    if isinstance(thing, type) and issubclass(thing, bnlib.Module)
]


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_an_error_of_pythons_own_names_the_layer(kind):
    """Not a base of which the caller knows nothing."""
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\b") as raised:
        kind(1, 2, 3, 4, 5, 6, 7, 8, ceil_mode=True)
    assert "_" not in str(raised.value).split("(")[0].replace("__init__", "")
    for name in ("forward", "backward"):
        method = getattr(kind, name, None)
        if method is not None:
            with pytest.raises(TypeError, match=rf"^{kind.__name__}\.{name}\(\)"):
                getattr(method, "__wrapped__", method)()
