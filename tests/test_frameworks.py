"""bnlib against PyTorch, Keras, ONNX and Flax: the same numbers."""

import numpy as np
import onnx
import pytest
import torch
from frameworks import (
    FLAX,
    GRADIENTS,
    as_in_onnx,
    channels_first,
    channels_last,
    differences,
    keras,
    make_case,
    recorded,
    recorded_case,
    run_onnx,
    torch_gradients,
    with_bnlib,
    with_flax,
    with_keras,
    with_onnx,
    with_torch,
)

import bnlib

SHAPES = [(8, 5), (4, 3, 7), (4, 3, 6, 6), (2, 3, 2, 4, 3)]
DTYPES = ["float32", "float64"]
SETTINGS = [{}, {"eps": 1e-3, "momentum": 0.25}]
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}

over_cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            make_case(shape, dtype, **settings), id=f"{shape}-{dtype}-{settings}"
        )
        for shape in SHAPES
        for dtype in DTYPES
        for settings in SETTINGS
    ],
)
over_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def assert_close(found, expected, tolerance):
    """Fail for a difference above `tolerance`, and for NaN."""
    for name, difference in differences(found, expected).items():
        assert difference <= tolerance, f"{name} differs by {difference}"


def without_gradients(arrays):
    return {name: a for name, a in arrays.items() if not name.endswith(GRADIENTS)}


@over_cases
def test_batch_norm_is_pytorchs(case):
    assert_close(with_bnlib(case), with_torch(case), TOLERANCE[str(case.r.dtype)])


@over_cases
@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_norm_is_keras(case, axis):
    # float32 accuracy also in float64: see test_conventions.py.
    assert_close(
        with_bnlib(case, biased=True), with_keras(case, axis), TOLERANCE["float32"]
    )


@over_cases
def test_batch_norm_is_onnx(case):
    case = as_in_onnx(case)
    ours = without_gradients(with_bnlib(case, biased=True))
    assert_close(ours, with_onnx(case), TOLERANCE[str(case.r.dtype)])


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(r, id="{input}-{dtype}-{epsilon}".format(**r))
        for r in FLAX["batch_norm"]
    ],
)
def test_batch_norm_is_flax(record):
    ours = with_bnlib(recorded_case(record), biased=True)
    assert_close(ours, with_flax(record), TOLERANCE[record["dtype"]])


def with_layer(layer, x, r, weight, bias):
    """Return y and gradients of a layer of bnlib or PyTorch, its parameters set."""
    if isinstance(layer, torch.nn.Module):
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        arrays = torch_gradients(layer, x, r, layer.weight, layer.bias)
    else:
        layer.load_state_dict({"weight": weight, "bias": bias})
        arrays = layer(x), layer.backward(r), layer.weight.grad, layer.bias.grad
    return dict(zip(("y", *GRADIENTS), arrays, strict=True))


def with_keras_layer(layer, x, r, weight, bias):
    """Return y and gradients of a layer of Keras, its parameters set."""
    layer.build(x.shape)
    layer.gamma.assign(weight)
    layer.beta.assign(bias)
    arrays = torch_gradients(layer, x, r, layer.gamma.value, layer.beta.value)
    return dict(zip(("y", *GRADIENTS), arrays, strict=True))


def sample_arrays(dtype, *parameter_shape):
    rng = np.random.default_rng(0)
    shapes = (4, 6, 3, 5), (4, 6, 3, 5), parameter_shape, parameter_shape
    return [rng.normal(0.5, 1.5, shape).astype(dtype) for shape in shapes]


@over_dtypes
def test_layer_norm(dtype):
    shape = (6, 3, 5)
    arrays = sample_arrays(dtype, *shape)
    ours = with_layer(bnlib.LayerNorm(shape, dtype=dtype), *arrays)
    theirs = torch.nn.LayerNorm(shape, dtype=getattr(torch, dtype))
    assert_close(ours, with_layer(theirs, *arrays), TOLERANCE[dtype])

    theirs = keras.layers.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5, dtype=dtype)
    assert_close(ours, with_keras_layer(theirs, *arrays), TOLERANCE["float32"])

    x, _, weight, bias = arrays
    ours = bnlib.functional.layer_norm(x, shape, weight, bias, float(np.float32(1e-5)))
    (y, _, _) = run_onnx("LayerNormalization", [x, weight, bias], 17, outputs=3, axis=1)
    assert_close({"y": ours}, {"y": y}, TOLERANCE[dtype])


@over_dtypes
def test_group_norm(dtype):
    x, r, weight, bias = arrays = sample_arrays(dtype, 6)
    ours = with_layer(bnlib.GroupNorm(2, 6, dtype=dtype), *arrays)
    theirs = torch.nn.GroupNorm(2, 6, dtype=getattr(torch, dtype))
    assert_close(ours, with_layer(theirs, *arrays), TOLERANCE[dtype])

    theirs = keras.layers.GroupNormalization(2, axis=1, epsilon=1e-5, dtype=dtype)
    assert_close(ours, with_keras_layer(theirs, *arrays), TOLERANCE["float32"])
    theirs = keras.layers.GroupNormalization(2, axis=-1, epsilon=1e-5, dtype=dtype)
    last = with_keras_layer(theirs, channels_last(x), channels_last(r), weight, bias)
    last |= {name: channels_first(last[name]) for name in ("y", "dx")}
    assert_close(ours, last, TOLERANCE["float32"])

    # ONNX computes in float32 unless `stash_type` says otherwise.
    stash = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ours = bnlib.functional.group_norm(x, 2, weight, bias, float(np.float32(1e-5)))
    (y,) = run_onnx(
        "GroupNormalization", [x, weight, bias], 21, num_groups=2, stash_type=stash
    )
    assert_close({"y": ours}, {"y": y}, TOLERANCE[dtype])


@pytest.mark.parametrize("record", FLAX["layer_norm"], ids=lambda r: r["dtype"])
def test_layer_norm_is_flax(record):
    case = recorded_case(record)
    layer = bnlib.LayerNorm(5, record["epsilon"], dtype=record["dtype"])
    ours = with_layer(layer, case.x[0], case.r, case.weight, case.bias)
    assert_close(ours, recorded(record), TOLERANCE[record["dtype"]])


@pytest.mark.parametrize("record", FLAX["group_norm"], ids=lambda r: r["dtype"])
def test_group_norm_is_flax(record):
    case = recorded_case(record)
    layer = bnlib.GroupNorm(
        record["num_groups"], 4, record["epsilon"], dtype=record["dtype"]
    )
    ours = with_layer(layer, case.x[0], case.r, case.weight, case.bias)
    assert_close(ours, recorded(record), TOLERANCE[record["dtype"]])
