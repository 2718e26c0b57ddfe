"""A stacked layer does what its layers do, lane by lane."""

import numpy as np
import pytest

from bnlib import (
    BatchNorm1d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm1d,
    LayerNorm,
    Linear,
    ReLU,
    RMSNorm,
    Sequential,
)
from bnlib.lab.lanes import (
    LaneDropout,
    LaneLinear,
    LaneRMSNorm,
    lane_accuracy,
    lane_losses,
    stack,
)


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
        lambda: RMSNorm(6, 1e-2, dtype=float),
        lambda: RMSNorm(6, elementwise_affine=False, dtype=float),
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


@pytest.mark.parametrize("layer", [Flatten(), InstanceNorm1d(3)])
def test_stack_refuses_a_layer_that_it_does_not_know_and_says_why(layer):
    name = type(layer).__name__
    with pytest.raises(TypeError, match=rf"can be stacked, got {name}: .*\(N, C\)"):
        stack([Sequential(layer)] * 2)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_a_lane_has_one_axis_to_normalize_over(norm):
    with pytest.raises(ValueError, match=f"stack: expected a {norm.__name__} over one"):
        stack([Sequential(norm((2, 3)))] * 2)


def test_an_output_may_change_before_the_backward():
    lanes = LaneRMSNorm([RMSNorm(3, elementwise_affine=False)] * 2)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    lanes(x)
    expected = lanes.backward(x)
    lanes(x)[...] = 7
    np.testing.assert_array_equal(lanes.backward(x), expected)
    with pytest.raises(ValueError, match=r"LaneRMSNorm: expected x of shape \(N, 6\)"):
        lanes(x[:, :3])


def test_buffers_decide_as_in_the_layer_itself():
    layers = [BatchNorm1d(2, dtype=float) for _ in range(2)]
    for layer in layers:
        layer.track_running_stats = False  # after construction: no longer updated
        layer.running_mean[...] = 1
    (stacked,) = stack([Sequential(layer) for layer in layers])
    x = np.random.default_rng(0).standard_normal((5, 4))
    for mode in (True, False):
        y = stacked.train(mode)(x)
        parts = [layer.train(mode)(x[:, :2]) for layer in layers[:1]]
        np.testing.assert_allclose(y[:, :2], parts[0], rtol=1e-12)
    assert (stacked.running_mean == 1).all()


def test_a_stack_has_the_mode_of_its_networks():
    nets = [Sequential(Linear(5, 3), BatchNorm1d(3)) for _ in range(2)]
    nets[0][1].eval()
    nets[1][1].eval()
    modes = [module.training for module in stack(nets).modules()]
    assert modes == [True, True, False]
    assert not stack([net.eval() for net in nets]).training


def test_a_call_that_fails_gives_back_what_dropout_has_drawn():
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    before = [rng.bit_generator.state for rng in rngs]
    lanes = LaneDropout([Dropout(0.5, rng=rng) for rng in rngs])
    net = Sequential(lanes, LaneLinear([Linear(3, 3)] * 2))  # float32 after float64
    with pytest.raises(TypeError, match=r"LaneLinear: x is float64.*\[in layer 1\]"):
        net(np.ones((4, 6)))
    assert [rng.bit_generator.state for rng in rngs] == before
    lanes(np.ones((4, 6)))
    assert all(
        rng.bit_generator.state != b for rng, b in zip(rngs, before, strict=True)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_lane_losses_are_those_of_cross_entropy_in_the_tails_too(dtype):
    rng = np.random.default_rng(0)
    for size in (1, 30, 1000):
        logits = (size * rng.standard_normal((7, 3, 10))).astype(dtype)
        target = rng.integers(10, size=(7, 3))
        target[:4] = logits[:4].argmax(2)  # right by far: a loss near 0
        losses, dlogits = lane_losses(logits, target)
        assert dlogits.dtype == dtype
        for k in range(3):
            criterion = CrossEntropyLoss()
            loss = criterion(logits[:, k], target[:, k])
            tiny = 1e-3 if dtype is np.float16 else 1e-6
            assert losses[k] == pytest.approx(loss, rel=tiny, abs=0)
            expected = criterion.backward()
            np.testing.assert_allclose(
                dlogits[:, k], expected, rtol=tiny, atol=1e-7 * (tiny > 1e-4)
            )


def test_a_loss_of_a_hundred_zeros_keeps_its_digits():
    logits = np.array([[[40.0, 0.0]]], np.float32)
    losses, dlogits = lane_losses(logits, np.array([[0]]))
    assert losses[0] == pytest.approx(np.exp(-40), rel=1e-6, abs=0)
    assert dlogits[0, 0].tolist() == pytest.approx(
        [-np.exp(-40), np.exp(-40)], rel=1e-6, abs=0
    )


def test_predictions_of_lanes_keep_nothing_and_take_lists_of_labels():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 5)), rng.integers(3, size=30)
    nets = [Sequential(Linear(5, 3, dtype=float, rng=rng)) for _ in range(2)]
    net = stack(nets)
    found = lane_accuracy(net, x, y.tolist(), 2, batch_size=7)
    expected = [np.mean(one(x).argmax(1) == y) for one in nets]
    np.testing.assert_array_equal(found, expected)
    assert net.cache is None
    assert net[0].cache is None
