"""A stacked layer does what its layers do, lane by lane."""

import numpy as np
import pytest

from bnlib import BatchNorm1d, Flatten, GroupNorm, LayerNorm, Linear, ReLU, Sequential
from bnlib.lab.lanes import stack


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: BatchNorm1d(6, 1e-2, 0.3, dtype=float),
        lambda: BatchNorm1d(6, affine=False, dtype=float),
        lambda: BatchNorm1d(6, track_running_stats=False, dtype=float),
        lambda: BatchNorm1d(6, momentum=None, bias=False, dtype=float),
        lambda: LayerNorm(6, 1e-2, bias=False, dtype=float),
        lambda: LayerNorm(6, elementwise_affine=False, dtype=float),
        lambda: GroupNorm(2, 6, 1e-2, bias=False, dtype=float),
        lambda: GroupNorm(2, 6, affine=False, dtype=float),
        lambda: Linear(6, 4, bias=False, dtype=float),
    ],
)
def test_a_stacked_layer_does_what_its_layers_do(make, training):
    rng = np.random.default_rng(0)
    layers = [make() for _ in range(3)]
    for layer in layers:
        for name, array in layer.named_state():
            array[...] = 2 if name == "num_batches_tracked" else rng.random(array.shape)
        layer.train(training)
    (stacked,) = stack([Sequential(layer) for layer in layers])
    x = rng.standard_normal((7, 18))
    y = stacked(x)
    dy = rng.standard_normal(y.shape)
    dx = stacked.backward(dy)
    for k, layer in enumerate(layers):
        x_k, y_k, dy_k, dx_k = (np.hsplit(a, 3)[k] for a in (x, y, dy, dx))
        np.testing.assert_allclose(y_k, layer(x_k), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(dx_k, layer.backward(dy_k), rtol=1e-12, atol=1e-14)
        for all_, one in zip(stacked.parameters(), layer.parameters(), strict=True):
            grad = all_.grad.reshape(3, *one.grad.shape)[k]
            np.testing.assert_allclose(grad, one.grad, rtol=1e-12, atol=1e-14)
        for all_, one in zip(stacked.buffers(), layer.buffers(), strict=True):
            part = all_.reshape(3, -1)[k] if all_.ndim else all_
            np.testing.assert_allclose(part, one, rtol=1e-12)


def test_one_input_may_serve_all_lanes():
    x, nets = np.ones((7, 5)), [Sequential(Linear(5, 3, dtype=float)) for _ in range(3)]
    one = stack(nets)(x)
    np.testing.assert_array_equal(one, stack(nets)(np.tile(x, 3)))


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ([Linear(5, 3), ReLU()], ValueError, "networks of one architecture"),
        ([Linear(5, 4)], ValueError, "layers of one kind"),
        ([Linear(5, 3, bias=False)], ValueError, "layers of one kind"),
        ([Linear(5, 3, dtype=float)], ValueError, "layers of one kind"),
        ([BatchNorm1d(5)], ValueError, "layers of one kind"),
    ],
)
def test_stack_refuses_networks_that_differ(others, error, message):
    with pytest.raises(error, match=message):
        stack([Sequential(Linear(5, 3)), Sequential(*others)])


@pytest.mark.parametrize(
    "pair",
    [
        (BatchNorm1d(4), BatchNorm1d(4, eps=1e-3)),
        (BatchNorm1d(4), BatchNorm1d(4, momentum=0.2)),
        (BatchNorm1d(4), BatchNorm1d(4).eval()),
        (GroupNorm(2, 4), GroupNorm(4, 4)),
    ],
)
def test_stack_refuses_settings_that_differ(pair):
    with pytest.raises(ValueError, match="layers of one kind"):
        stack([Sequential(layer) for layer in pair])


def test_stack_refuses_a_layer_that_it_does_not_know():
    with pytest.raises(TypeError, match="can be stacked, got Flatten"):
        stack([Sequential(Flatten())] * 2)
