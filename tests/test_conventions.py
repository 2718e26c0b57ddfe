"""How PyTorch, Keras, ONNX and Flax differ, and where bnlib stands: measured."""

import numpy as np
import onnx
import pytest
import torch
from frameworks import (
    FLAX,
    differences,
    keras,
    make_case,
    over_norms,
    run_onnx,
    with_bnlib,
    with_keras,
)

import bnlib


def bnlib_step(x, **settings):
    """Return y, running mean and variance of a fresh layer after one training step."""
    bn = bnlib.BatchNorm1d(x.shape[1], **settings)
    return bn(x), bn.running_mean, bn.running_var


def torch_step(x, **settings):
    bn = torch.nn.BatchNorm1d(x.shape[1], **settings)
    y = bn(torch.from_numpy(x)).detach().numpy()
    return y, bn.running_mean.numpy(), bn.running_var.numpy()


def keras_step(x, **settings):
    bn = keras.layers.BatchNormalization(**settings)
    y = bn(x, training=True).detach().numpy()
    return y, bn.moving_mean.value.numpy(), bn.moving_variance.value.numpy()


def onnx_step(x, **settings):
    zeros, ones = np.zeros(x.shape[1], np.float32), np.ones(x.shape[1], np.float32)
    inputs = [x, ones, zeros, zeros, ones]
    return run_onnx(
        "BatchNormalization", inputs, 15, outputs=3, training_mode=1, **settings
    )


def flax_step(name):
    record = FLAX["behaviour"][name]
    stats = [np.array(record[key], record["stats_dtype"]) for key in ("mean", "var")]
    return np.array(record["y"], record["y_dtype"]), *stats


SMALL = np.arange(8, dtype=np.float32).reshape(4, 2)  # also what Flax was given


@pytest.mark.parametrize(
    ("step", "new", "eps", "ddof"),
    [
        (bnlib_step, 0.1, 1e-5, 1),
        (torch_step, 0.1, 1e-5, 1),
        (keras_step, 0.01, 1e-3, 0),
        (onnx_step, 0.1, 1e-5, 0),
        (lambda x: flax_step("integer"), 0.01, 1e-5, 0),
    ],
    ids=["bnlib", "torch", "keras", "onnx", "flax"],
)
def test_defaults(step, new, eps, ddof):
    y, running_mean, running_var = step(SMALL)
    x = SMALL.astype(np.float64)
    np.testing.assert_allclose(running_mean, new * x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        running_var, 1 - new + new * x.var(0, ddof=ddof), rtol=1e-6
    )
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + eps), rtol=3e-7)


def test_default_momentum_weighs():
    assert bnlib.BatchNorm1d(2).momentum == torch.nn.BatchNorm1d(2).momentum == 0.1
    assert keras.layers.BatchNormalization().momentum == 0.99
    assert FLAX["defaults"]["momentum"] == 0.99
    attribute = onnx.defs.get_schema("BatchNormalization").attributes["momentum"]
    assert attribute.default_value.f == np.float32(0.9)


@over_norms("keras", "onnx", "flax")
def test_default_eps(norm, row):
    name, arguments = norm.layers[4], norm.arguments(row.shape, row.setting)
    ours, theirs = (getattr(library, name)(*arguments) for library in (bnlib, torch.nn))
    assert ours.eps == theirs.eps
    # PyTorch's RMSNorm takes the distance of 1 to the next number instead.
    assert theirs.eps == (None if norm.name == "RMSNorm" else 1e-5)
    for make, _ in row.keras:
        assert make().epsilon == row.keras_epsilon
    assert FLAX["defaults"][f"{row.flax[0]}_epsilon"] == 1e-6
    attribute = onnx.defs.get_schema(row.onnx[0]).attributes["epsilon"]
    assert attribute.default_value.f == np.float32(1e-5)


def test_default_channel_axis():
    x = np.zeros((2, 3, 4, 5), np.float32)
    assert torch.nn.BatchNorm2d(3)(torch.from_numpy(x)).shape == x.shape
    assert bnlib.BatchNorm2d(3)(x).shape == x.shape
    assert onnx_step(x)[1].shape == (3,)
    assert keras_step(x)[1].shape == (5,)
    assert FLAX["defaults"]["axis"] == -1


def test_one_value_per_channel_in_training():
    x = np.full((1, 2), 3, np.float32)
    for library, data in ((bnlib, x), (torch.nn, torch.from_numpy(x))):
        bn = library.BatchNorm1d(2)
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            bn(data)
        # PyTorch counts the batch that it rejects.
        assert bn.num_batches_tracked == (library is torch.nn)
    for y, _, running_var in (keras_step(x), onnx_step(x), flax_step("one_value")):
        assert not y.any()  # β, which is 0
        assert (running_var < 1).all()  # drawn towards 0


def test_momentum_none():
    batches = make_case((8, 5), "float32").x
    ours, theirs = (
        bnlib.BatchNorm1d(5, momentum=None),
        torch.nn.BatchNorm1d(5, momentum=None),
    )
    for x in batches:
        ours(x)
        theirs(torch.from_numpy(x))
    np.testing.assert_allclose(ours.running_mean, batches.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-6)
    with pytest.raises(TypeError):
        keras.layers.BatchNormalization(momentum=None)
    assert FLAX["behaviour"]["momentum_none"] == {"raises": "TypeError"}


def test_without_running_statistics():
    batches = make_case((8, 5), "float32").x
    ours = bnlib.BatchNorm1d(5, track_running_stats=False).eval()
    theirs = torch.nn.BatchNorm1d(5, track_running_stats=False).eval()
    for x in batches:
        y = theirs(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(ours(x), y, atol=1e-6)
        np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    with pytest.raises(ValueError, match="track_running_stats"):
        keras.layers.BatchNormalization(track_running_stats=False)


def test_float16():
    x = SMALL.astype(np.float16)
    half, single = np.float16, np.float32
    expected = {
        "bnlib": (bnlib_step(x), half, single),
        "torch": (torch_step(x), half, single),
        "keras": (keras_step(x), single, single),
        "keras, mixed": (keras_step(x, dtype="mixed_float16"), half, single),
        "keras, float16": (keras_step(x, dtype="float16"), half, half),
        "flax": (flax_step("float16"), single, single),
        "onnx": (onnx_step(x), half, half),
    }
    for name, ((y, *running), y_dtype, stats_dtype) in expected.items():
        assert y.dtype == y_dtype, name
        assert [a.dtype for a in running] == [stats_dtype] * 2, name
        np.testing.assert_allclose(y, torch_step(SMALL)[0], atol=2e-3, err_msg=name)


def test_integers():
    x = SMALL.astype(np.int64)
    with pytest.raises(TypeError, match="floating dtype, got int64"):
        bnlib_step(x)
    with pytest.raises(NotImplementedError, match="Long"):
        torch_step(x)
    for y, _, _ in (keras_step(x), flax_step("integer")):
        assert y.dtype == np.float32
    types = onnx.defs.get_schema("BatchNormalization").type_constraints[0]
    assert "tensor(float)" in types.allowed_type_strs
    assert "tensor(int64)" not in types.allowed_type_strs
    # The reference does not check: it truncates the output.
    assert onnx_step(x)[0].dtype == np.int64


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in ONNX's reference
def test_empty_batch():
    x = np.ones((0, 2), np.float32)
    for step in (bnlib_step, torch_step):
        y, running_mean, running_var = step(x)
        assert y.shape == x.shape
        assert not running_mean.any()
        assert (running_var == 1).all()
    for y, *running in (keras_step(x), onnx_step(x), flax_step("empty")):
        assert y.size == 0
        assert np.isnan(running).all()
    ours, theirs = bnlib.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    ours(x)
    theirs(torch.from_numpy(x))
    assert (ours.num_batches_tracked, theirs.num_batches_tracked) == (0, 1)


def test_keras_normalizes_in_float32():
    case = make_case((8, 5), "float64")
    found = differences(with_bnlib(case, biased=True), with_keras(case))
    assert keras.backend.result_type("float64", "float32") == "float32"
    assert 1e-9 < found["y"] < 5e-6


def test_keras_and_flax_lose_a_variance_far_from_zero():
    x = np.array(FLAX["behaviour"]["far_from_zero"]["x"], np.float32)
    var = x.astype(np.float64).var(0)
    unbiased = len(x) / (len(x) - 1)
    for found in (
        bnlib_step(x, momentum=1.0)[2] / unbiased,
        torch_step(x, momentum=1.0)[2] / unbiased,
        onnx_step(x, momentum=0.0)[2],
    ):
        np.testing.assert_allclose(found, var, rtol=1e-3)
    # E[x²] − E[x]² in float32: near 1e8 the numbers are 8 apart.
    for found in (keras_step(x, momentum=0.0)[2], flax_step("far_from_zero")[2]):
        assert np.abs(found - var).max() > 1
