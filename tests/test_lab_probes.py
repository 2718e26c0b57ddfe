import copy

import numpy as np
import pytest

from bnlib import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    ReLU,
    Sequential,
    Tanh,
)
from bnlib.lab import probes
from bnlib.lab.data import Data
from bnlib.lab.lanes import stack
from bnlib.lab.sweep import sweep
from bnlib.lab.training import fit
from bnlib.optim import SGD


def build(seed=0, p=0.0, first=()):
    rng = np.random.default_rng(seed)
    layers = [*first, Linear(4, 6, dtype=float, rng=rng), BatchNorm1d(6, dtype=float)]
    layers += [ReLU(), Dropout(p, rng=rng), Linear(6, 3, dtype=float, rng=rng)]
    return Sequential(*layers)


def batch(n=20):
    rng = np.random.default_rng(9)
    return rng.standard_normal((n, 4)), rng.integers(3, size=n)


def everything(net):
    """Return all that a network holds, its random streams included."""
    state = [(name, array) for name, array in net.state_dict().items()]
    state += [("grad", p.grad.copy()) for p in net.parameters()]
    state += [("training", module.training) for module in net.modules()]
    state += [("cache", copy.deepcopy(module.cache)) for module in net.modules()]
    rngs = [m.rng for m in net.modules() if hasattr(m, "rng")]
    return state + [("rng", rng.bit_generator.state) for rng in rngs]


@pytest.mark.parametrize("training", [True, False])
def test_a_trace_leaves_no_trace(training):
    net, (x, y) = build(p=0.5).train(training), batch()
    net.backward(net(x))
    dy = net(x)
    before = everything(net)
    probes.trace(net, x, y)
    np.testing.assert_equal(everything(net), before)
    net.backward(dy)  # the gradient of the forward before the trace is not lost


def test_it_sees_what_a_step_sees():
    net, (x, y) = build(), batch()
    seen = probes.trace(net, x, y)
    assert seen.names == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert list(seen.weights) == list(seen.weight_gradients) == ["0.weight", "4.weight"]
    criterion, outputs = CrossEntropyLoss(), []
    for layer in net:
        outputs.append(layer(outputs[-1] if outputs else x))
    assert seen.loss == pytest.approx(criterion(outputs[-1], y), rel=1e-12)
    dy = criterion.backward()
    for i in range(4, -1, -1):
        np.testing.assert_array_equal(seen.outputs[i], outputs[i])
        np.testing.assert_allclose(seen.gradients[i], dy, rtol=1e-12, atol=1e-16)
        dy = net[i].backward(dy)
    for name, parameter in net.named_parameters():
        if name in seen.weights:
            np.testing.assert_array_equal(seen.weights[name], parameter.data)
            np.testing.assert_allclose(
                seen.weight_gradients[name], parameter.grad, rtol=1e-12, atol=1e-16
            )
    assert seen.after("ReLU")[0] is seen.outputs[2]
    assert seen.after("Tanh") == []


def test_gradients_from_before_are_not_counted():
    net, (x, y) = build(), batch()
    first = probes.trace(net, x, y).weight_gradients["0.weight"]
    net.backward(net(x))
    again = probes.trace(net, x, y).weight_gradients["0.weight"]
    np.testing.assert_array_equal(first, again)


def test_the_mode_of_the_network_is_the_mode_of_the_trace():
    net, (x, y) = build(), batch()
    normalized = probes.trace(net, x, y).outputs[1]
    np.testing.assert_allclose(normalized.mean(0), 0, atol=1e-12)
    assert abs(probes.trace(net.eval(), x, y).outputs[1].mean(0)).max() > 0.01


@pytest.mark.parametrize("first", [(), (BatchNorm1d,)])
def test_each_lane_is_traced_as_alone(first):
    nets = [build(k, first=[norm(4, dtype=float) for norm in first]) for k in range(3)]
    x, y = batch()
    seen, lrs = probes.trace(stack(nets), x, y, lanes=3), np.array([0.1, 0.2, 0.3])
    ratios = probes.update_ratios(seen, lrs)
    for k, net in enumerate(nets):
        alone = probes.trace(net, x, y)
        assert seen.loss[k] == pytest.approx(alone.loss, rel=1e-12)
        for kind in ("outputs", "gradients"):
            for many, one in zip(
                getattr(seen, kind), getattr(alone, kind), strict=True
            ):
                np.testing.assert_allclose(many[:, k], one, rtol=1e-9, atol=1e-15)
                for sum_up in (probes.rms, probes.saturated, probes.dead):
                    assert sum_up(many)[k] == pytest.approx(sum_up(one), rel=1e-9)
                bands = probes.percentiles(many)[:, k], probes.percentiles(one)
                np.testing.assert_allclose(*bands, rtol=1e-9, atol=1e-15)
        single = probes.update_ratios(alone, lrs[k])
        assert ratios.keys() == single.keys()
        for name, ratio in single.items():
            assert ratios[name][k] == pytest.approx(ratio, rel=1e-9)


def test_it_probes_training_without_changing_it():
    x, y = batch(60)
    data = Data(x[:40], y[:40], x[40:], y[40:], None, None, ("a", "b", "c"), "toy")
    settings = {"steps": 9, "batch_size": 8, "evaluate_every": 3}

    def run(probe):
        net = build(p=0.3)
        rng, optimizer = np.random.default_rng(1), SGD(net.parameters(), 0.1)
        return fit(net, data, optimizer, rng=rng, probe=probe, **settings)

    seen = run(lambda net: probes.trace(net, data.x_val, data.y_val))
    np.testing.assert_array_equal(seen.loss, run(None).loss)
    assert len({trace.loss for trace in seen.probes}) == 4
    nets, rngs = [build(k) for k in range(2)], np.random.default_rng(0).spawn(2)
    _, history = sweep(
        nets,
        data,
        [0.1, 0.2],
        rngs,
        probe=lambda net: probes.trace(net, data.x_val, data.y_val, 2).loss,
        **settings,
    )
    assert np.shape(history.probes) == (4, 2)


def test_convolutional_networks():
    rng = np.random.default_rng(0)
    net = Sequential(
        Conv2d(1, 3, 3, rng=rng),
        BatchNorm2d(3),
        ReLU(),
        Flatten(),
        Linear(48, 2, rng=rng),
    )
    net[1].bias.data[0] = -100  # this channel dies
    x = rng.standard_normal((5, 1, 6, 6)).astype(np.float32)
    seen = probes.trace(net, x, np.array([0, 1, 0, 1, 0]))
    assert seen.outputs[0].shape == seen.gradients[0].shape == (5, 3, 4, 4)
    assert probes.dead(seen.after("ReLU")[0]) == pytest.approx(1 / 3)
    assert probes.rms(seen.outputs[3]) == pytest.approx(probes.rms(seen.outputs[2]))
    assert list(probes.update_ratios(seen, 0.1)) == ["0.weight", "4.weight"]


def test_a_network_that_has_diverged_is_traced_without_a_warning():
    net, (x, y) = build(), batch()
    net[0].weight.data *= 1e300
    net[4].weight.data *= 1e300
    assert not np.isfinite(probes.trace(net, x, y).loss)


# summaries


def test_summaries_of_known_numbers():
    a = np.array([[-1.0, 0.0, 0.5, 0.0], [-0.95, -3.0, 0.9, 0.0]])
    assert probes.saturated(a) == 3 / 8  # -1, -0.95 and -3
    assert probes.saturated(a, tail=0.06) == 4 / 8
    assert probes.saturated(a, low=0, high=1, tail=0.2) == 7 / 8
    assert probes.dead(a) == 3 / 4
    assert probes.rms(np.array([[3.0, 4.0], [0.0, 0.0]])) == 2.5
    uniform = np.linspace(0, 100, 101).reshape(101, 1)
    np.testing.assert_allclose(probes.percentiles(uniform), [15, 50, 85])
    np.testing.assert_allclose(probes.percentiles(uniform, (0, 100)), [0, 100])


def test_update_ratios_of_known_numbers():
    net, (x, y) = Sequential(Linear(4, 3, dtype=float)), batch()
    net[0].weight.data[...] = 2
    seen = probes.trace(net, x, y)
    length = np.linalg.norm(seen.weight_gradients["0.weight"])
    assert probes.update_ratios(seen, 0.5) == {
        "0.weight": pytest.approx(0.5 * length / np.sqrt(12 * 4))
    }


def test_drift_of_known_numbers():
    low = np.array([-1.0, 0.0, 2.0, 1.0])
    bands = np.stack([low, low + 1, low + 2], axis=1)
    assert probes.drift(bands) == 3
    assert probes.drift(bands, relative=True) == 1.5
    still = np.tile([-1.0, 0.0, 1.0], (4, 1))
    both = np.stack([bands, still], axis=2)
    np.testing.assert_array_equal(probes.drift(both), [3, 0])
    np.testing.assert_array_equal(probes.drift(both, relative=True), [1.5, 0])


def test_saturation_is_where_the_slope_is_small():
    x = np.linspace(-5, 5, 10001)[:, None]
    y = Tanh()(x)
    small = 1 - y**2 < 4 * 0.03 * 0.97
    assert probes.saturated(y) == pytest.approx(small.mean(), abs=1e-3)
