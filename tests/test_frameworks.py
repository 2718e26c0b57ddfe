"""bnlib against PyTorch, Keras, ONNX and Flax: the same numbers."""

import numpy as np
import pytest
import torch
from cases import NORMS
from frameworks import (
    ELSEWHERE,
    FLAX,
    GRADIENTS,
    as_in_onnx,
    differences,
    make_case,
    make_layer,
    over_norms,
    recorded,
    recorded_case,
    run_onnx,
    sample_arrays,
    with_bnlib,
    with_flax,
    with_keras,
    with_keras_layer,
    with_layer,
    with_onnx,
    with_torch,
    with_torch_layer,
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


@over_norms()
@over_dtypes
def test_norm_is_pytorchs(norm, row, dtype):
    arrays = sample_arrays(norm, row, dtype)
    ours, theirs = (
        make_layer(library, norm, row, row.shape, row.setting, dtype)
        for library in (bnlib, torch.nn)
    )
    expected = with_torch_layer(theirs, *arrays)
    assert_close(with_layer(ours, *arrays), expected, TOLERANCE[dtype])


@over_norms("keras")
@over_dtypes
def test_norm_is_keras(norm, row, dtype):
    arrays = sample_arrays(norm, row, dtype)
    layer = make_layer(bnlib, norm, row, row.shape, row.setting, dtype)
    ours = with_layer(layer, *arrays)
    for make, last in row.keras:
        theirs = with_keras_layer(make(epsilon=1e-5, dtype=dtype), *arrays, last)
        # float32 accuracy also in float64: see test_conventions.py.
        assert_close(ours, theirs, TOLERANCE["float32"])


@over_norms("onnx")
@over_dtypes
def test_norm_is_onnx(norm, row, dtype):
    x, _, parameters = sample_arrays(norm, row, dtype)
    operator, opset, outputs, attributes = row.onnx
    inputs = [x, *parameters.values()]
    y, *_ = run_onnx(operator, inputs, opset, outputs, **attributes(dtype))
    function = getattr(bnlib.functional, norm.function)
    eps = float(np.float32(1e-5))  # as in ONNX
    ours = function(x, **row.setting, **parameters, eps=eps)
    assert_close({"y": ours}, {"y": y}, TOLERANCE[dtype])


@over_norms("flax")
@over_dtypes
def test_norm_is_flax(norm, row, dtype):
    key, setting_of = row.flax
    (record,) = (record for record in FLAX[key] if record["dtype"] == dtype)
    case, setting = recorded_case(record), setting_of(record)
    assert case.eps == 1e-5
    layer = make_layer(bnlib, norm, row, case.r.shape, setting, dtype)
    parameters = {name: getattr(case, name) for name in norm.affine}
    ours = with_layer(layer, case.x[0], case.r, parameters)
    assert_close(ours, recorded(record), TOLERANCE[dtype])


def test_every_norm_has_a_row():
    assert {norm.name for norm in NORMS} <= {"BatchNorm", *ELSEWHERE}
