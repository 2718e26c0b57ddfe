"""Bad calls of modules: the error, its message, and that no byte of their state has changed."""

import numpy as np
import pytest
from bad_calls import check, f32, rows, used

import bnlib

# Each layer: how to make it, an input that it takes, and the name that its functions go by.
LAYERS = [
    ("BatchNorm1d(3)", (4, 3), "batch_norm"),
    ("BatchNorm2d(3)", (2, 3, 2, 2), "batch_norm"),
    ("BatchNorm3d(3)", (2, 3, 2, 2, 2), "batch_norm"),
    ("LayerNorm(3)", (4, 3), "layer_norm"),
    ("GroupNorm(3, 6)", (4, 6), "group_norm"),
    ("Linear(3, 2)", (4, 3), "linear"),
    ("Conv2d(3, 2, 2)", (2, 3, 4, 4), "conv2d"),
    ("MaxPool2d(2)", (2, 3, 4, 4), "max_pool2d"),
    ("ReLU()", (4, 3), "relu"),
    ("Sigmoid()", (4, 3), "sigmoid"),
    ("Tanh()", (4, 3), "tanh"),
    ("Dropout()", (4, 3), "dropout"),
    ("Flatten()", (4, 3, 2), "Flatten"),
]
CHECKED_BY_THE_LAYER = (
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "Flatten",
)


@pytest.mark.parametrize(("layer", "shape", "function"), LAYERS)
class TestEveryLayer:
    def test_refuses_a_backward_before_a_forward(self, layer, shape, function):
        name = layer.split("(")[0]
        message = f"{name}.backward: expected a forward call first"
        check(layer, "m.backward(f32(4, 3))", "ValueError", message)

    def test_refuses_what_is_no_floating_array(self, layer, shape, function):
        name = layer.split("(")[0]
        name = name if name in CHECKED_BY_THE_LAYER else function
        ready = f"used({layer}, *{shape})"
        message = f"{name}: expected x to be a NumPy array, got list"
        check(ready, f"m(f32(*{shape}).tolist())", "TypeError", message)
        message = f"{name}: expected x of a floating dtype, got int32"
        check(ready, f"m(f32(*{shape}).astype(i32))", "TypeError", message)

    def test_refuses_a_gradient_that_does_not_fit(self, layer, shape, function):
        y = eval(layer, vars(bnlib).copy())(f32(*shape))
        name = "Flatten.backward" if function == "Flatten" else f"{function}_backward"
        for change, error, message in (
            ("[None]", "ValueError", f"dy of shape {y.shape}, got {(1, *y.shape)}"),
            ("[:1]", "ValueError", f"dy of shape {y.shape}, got {(1, *y.shape[1:])}"),
            (".astype(f64)", "TypeError", "dy of dtype float32, got float64"),
            (".astype(f16)", "TypeError", "dy of dtype float32, got float16"),
            (".astype(i32)", "TypeError", "dy of a floating dtype, got int32"),
            (".tolist()", "TypeError", "dy to be a NumPy array, got list"),
        ):
            call = f"m.backward(np.ones({y.shape}, np.float32){change})"
            check(
                f"used({layer}, *{shape})", call, error, f"{name}: expected {message}"
            )


MODULES = """
BatchNorm1d(3) | m(f32(4))
    ValueError: BatchNorm1d: expected 2-D or 3-D input, got shape (4,)
BatchNorm1d(3) | m(f32(2, 3, 2, 2))
    ValueError: BatchNorm1d: expected 2-D or 3-D input, got shape (2, 3, 2, 2)
BatchNorm2d(3) | m(f32(4, 3))
    ValueError: BatchNorm2d: expected 4-D input, got shape (4, 3)
BatchNorm2d(3) | m(f32(2, 3, 2, 2, 2))
    ValueError: BatchNorm2d: expected 4-D input, got shape (2, 3, 2, 2, 2)
BatchNorm3d(3) | m(f32(2, 3, 2, 2))
    ValueError: BatchNorm3d: expected 5-D input, got shape (2, 3, 2, 2)
BatchNorm1d(3) | m(f32(4, 2))
    ValueError: BatchNorm1d: expected 3 channels, got shape (4, 2)
BatchNorm1d(3).eval() | m(f32(4, 5))
    ValueError: BatchNorm1d: expected 3 channels, got shape (4, 5)
BatchNorm2d(3) | m(f32(2, 2, 3, 3))
    ValueError: BatchNorm2d: expected 3 channels, got shape (2, 2, 3, 3)
BatchNorm1d(3, affine=False) | m(f32(4, 5))
    ValueError: BatchNorm1d: expected 3 channels, got shape (4, 5)
BatchNorm1d(3) | m(np.ones((4, 3)))
    TypeError: batch_norm: expected weight of dtype float64, got float32
BatchNorm1d(3, affine=False) | m(np.ones((4, 3)))
    TypeError: batch_norm: expected running_mean of dtype float64, got float32
BatchNorm1d(3, dtype=f64) | m(f32(4, 3))
    TypeError: batch_norm: expected weight of dtype float32, got float64
BatchNorm1d(3, momentum=None) | m(f32(1, 3))
    ValueError: batch_norm: expected more than 1 value per channel when training, got shape (1, 3)
BatchNorm1d(3, track_running_stats=False).eval() | m(f32(1, 3))
    ValueError: batch_norm: expected more than 1 value per channel when training, got shape (1, 3)
used(BatchNorm1d(3), 2, 3, 2) | m(f32(1, 3))
    ValueError: batch_norm: expected more than 1 value per channel when training, got shape (1, 3)
LayerNorm((2, 3)) | m(f32(4, 3))
    ValueError: layer_norm: expected x with last axes (2, 3), got shape (4, 3)
GroupNorm(2, 4) | m(f32(4))
    ValueError: GroupNorm: expected at least 2-D input, got shape (4,)
GroupNorm(2, 4) | m(f32(3, 6))
    ValueError: GroupNorm: expected 4 channels, got shape (3, 6)
GroupNorm(2, 4) | m(np.ones((3, 4)))
    TypeError: group_norm: expected weight of dtype float64, got float32
Linear(3, 2) | m(f32(4, 5))
    ValueError: linear: expected x of shape (N, 3), got (4, 5)
Linear(3, 2) | m(f32(4, 2, 3))
    ValueError: linear: expected x of shape (N, 3), got (4, 2, 3)
Linear(3, 2) | m(np.ones((4, 3)))
    TypeError: linear: expected weight of dtype float64, got float32
Conv2d(3, 2, 2) | m(np.ones((1, 3, 4, 4)))
    TypeError: conv2d: expected weight of dtype float64, got float32
Conv2d(3, 2, 2) | m(f32(3, 4, 4))
    ValueError: conv2d: expected x of shape (N, 3, H >= 2, W >= 2), got (3, 4, 4)
Conv2d(3, 2, 2) | m(f32(1, 4, 4, 4))
    ValueError: conv2d: expected x of shape (N, 3, H >= 2, W >= 2), got (1, 4, 4, 4)
Conv2d(3, 2, 2) | m(f32(1, 3, 1, 4))
    ValueError: conv2d: expected x of shape (N, 3, H >= 2, W >= 2), got (1, 3, 1, 4)
Conv2d(3, 2, 2) | m(f32(1, 3, 4, 1))
    ValueError: conv2d: expected x of shape (N, 3, H >= 2, W >= 2), got (1, 3, 4, 1)
Conv2d(3, 2, (5, 4), padding=(1, 0)) | m(f32(1, 3, 2, 4))
    ValueError: conv2d: expected x of shape (N, 3, H >= 3, W >= 4), got (1, 3, 2, 4)
MaxPool2d(3) | m(f32(1, 3, 2, 4))
    ValueError: max_pool2d: expected x of shape (N, C, >= 3, >= 3), got (1, 3, 2, 4)
MaxPool2d((2, 3)) | m(f32(1, 3, 4, 2))
    ValueError: max_pool2d: expected x of shape (N, C, >= 2, >= 3), got (1, 3, 4, 2)
MaxPool2d(3) | m(f32(3, 4, 4))
    ValueError: max_pool2d: expected x of shape (N, C, >= 3, >= 3), got (3, 4, 4)
Flatten() | m(f32(4))
    ValueError: Flatten: expected at least 2-D input, got (4,)
Flatten() | m(f32())
    ValueError: Flatten: expected at least 2-D input, got ()
"""


@pytest.mark.parametrize(("module", "call", "error", "message"), rows(MODULES))
def test_a_module_refuses(module, call, error, message):
    check(module, call, error, message)


# A later layer fails after an earlier one has done its work.
NETWORKS = """
Sequential(BatchNorm2d(3), Flatten(), BatchNorm1d(12)) | m(f32(1, 3, 2, 2))
    ValueError: batch_norm: expected more than 1 value per channel when training, got shape (1, 12)
Sequential(Sequential(BatchNorm1d(4, momentum=None), ReLU()), Linear(3, 2)) | m(f32(5, 4))
    ValueError: linear: expected x of shape (N, 3), got (5, 4)
Sequential(BatchNorm1d(4), Sequential(Linear(4, 3), BatchNorm1d(2))) | m(f32(5, 4))
    ValueError: BatchNorm1d: expected 2 channels, got shape (5, 3)
"""


@pytest.mark.parametrize(("network", "call", "error", "message"), rows(NETWORKS))
def test_a_network_that_refuses_is_unchanged(network, call, error, message):
    check(network, call, error, message)


def network():
    """Return a small network with every kind of state, after one step."""
    layers = bnlib.Linear(4, 3), bnlib.BatchNorm1d(3), bnlib.ReLU(), bnlib.Linear(3, 2)
    return used(bnlib.Sequential(*layers), 5, 4)


def other_state(without=(), **changes):
    """Return a state for `network` in which all is new, and some is wrong."""
    state = {key: value + 1 for key, value in network().state_dict().items()}
    for key in without:
        del state[key]
    return state | changes


# What is wrong comes last, so that a careless loader would have changed all before it.
STATES = """
network() | without=['3.bias']
    KeyError: missing ['3.bias'], unexpected []
network() | **{'4.bias': f32(2)}
    KeyError: missing [], unexpected ['4.bias']
network() | without=['0.bias', '3.bias'], more=f32(2)
    KeyError: missing ['0.bias', '3.bias'], unexpected ['more']
network() | **{'3.bias': f32(3)}
    ValueError: expected 3.bias of shape (2,), got (3,)
network() | **{'3.bias': f32(1)}
    ValueError: expected 3.bias of shape (2,), got (1,)
network() | **{'3.bias': 1.0}
    ValueError: expected 3.bias of shape (2,), got ()
network() | **{'3.bias': [1, 2]}
    TypeError: expected 3.bias of dtype float32, got int64
network() | **{'3.bias': [1j, 2j]}
    TypeError: expected 3.bias of dtype float32, got complex128
network() | **{'3.bias': None}
    TypeError: expected 3.bias of dtype float32, got object
network() | **{'1.num_batches_tracked': 3.0}
    TypeError: expected 1.num_batches_tracked of dtype int64, got float64
network() | **{'1.num_batches_tracked': True}
    TypeError: expected 1.num_batches_tracked of dtype int64, got bool
network() | **{'1.num_batches_tracked': [3]}
    ValueError: expected 1.num_batches_tracked of shape (), got (1,)
network() | **{'1.running_var': f32(4)}
    ValueError: expected 1.running_var of shape (3,), got (4,)
"""


@pytest.mark.parametrize(("module", "changes", "error", "message"), rows(STATES))
def test_a_state_that_does_not_fit_is_not_loaded_in_part(
    module, changes, error, message
):
    call = f"m.load_state_dict(other_state({changes}))"
    message = f"Sequential.load_state_dict: {message}"
    check(module, call, error, message, network=network, other_state=other_state)


def test_a_backward_that_raises_can_be_repeated_rightly():
    layer = used(bnlib.BatchNorm1d(3), 4, 3)
    layer.zero_grad()
    with pytest.raises(ValueError, match="dy of shape"):
        layer.backward(f32(4, 2))
    layer.backward(f32(4, 3))
    assert np.array_equal(layer.bias.grad, f32(4, 3).sum(0))
