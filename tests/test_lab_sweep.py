"""A lane of a sweep is the run that `fit` makes alone, whatever its neighbours do."""

import copy

import numpy as np
import pytest
from helpers import state_of

from bnlib import (
    BatchNorm1d,
    Dropout,
    GroupNorm,
    LayerNorm,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from bnlib.lab.data import Data
from bnlib.lab.lanes import LaneLinear, lane_accuracy, stack
from bnlib.lab.sweep import best_rate, sweep, sweep_rates
from bnlib.lab.training import History, accuracy, fit, steps_to
from bnlib.module import Module, Parameter
from bnlib.optim import SGD, Adam

NORMS = {
    "none": lambda c: [],
    "batch": lambda c: [BatchNorm1d(c, dtype=float)],
    "layer": lambda c: [LayerNorm(c, dtype=float)],
    "group": lambda c: [GroupNorm(3, c, dtype=float)],
}


def toy(n_in=5, dtype=float):
    """Three clouds that overlap."""
    rng = np.random.default_rng(0)
    centres, parts = rng.standard_normal((3, n_in)), []
    for n in (110, 50, 60):
        y = rng.permutation(np.arange(n) % 3)
        x = centres[y] + rng.standard_normal((n, n_in))
        parts += [x.astype(dtype), y]
    return Data(*parts, ("a", "b", "c"), "toy")


def build(rng, norm="batch", activation=ReLU, p=0.0, n_in=5, width=12, scale=1.0):
    layers = []
    for a, b in ((n_in, width), (width, width)):
        # A bias before a normalization has no gradient but round-off, which Adam would enlarge.
        linear = Linear(a, b, bias=norm == "none", dtype=float, rng=rng)
        linear.weight.data *= scale
        layers += [linear, *NORMS[norm](b), activation()]
        layers += [Dropout(p, rng=rng)] if p else []
    return Sequential(*layers, Linear(width, 3, dtype=float, rng=rng))


def rngs(n, offset=100):
    return [np.random.default_rng(offset + k) for k in range(n)]


SETTINGS = {"steps": 23, "batch_size": 20, "evaluate_every": 10}
LRS = [0.003, 0.03, 0.3, 1.0]


def compare(make, optimizer=SGD, lrs=LRS, data=None, settings=SETTINGS, **optimizing):
    """Hold a sweep over ``make(k)`` to single runs, and return it."""
    K, data = len(lrs), data or toy()
    nets = [make(k) for k in range(K)]
    before = [net.state_dict() for net in nets]
    net, history = sweep(
        nets, data, lrs, rngs(K), optimizer=optimizer, **settings, **optimizing
    )
    test = lane_accuracy(net, data.x_test, data.y_test, K, batch_size=25)
    for k, lr in enumerate(lrs):
        for name, array in nets[k].state_dict().items():
            np.testing.assert_array_equal(array, before[k][name])
        alone = make(k)
        step_of = optimizer(alone.parameters(), lr, **optimizing)
        single = fit(alone, data, step_of, rng=rngs(K)[k], **settings)
        np.testing.assert_allclose(
            history.loss[:, k], single.loss, rtol=1e-9, atol=1e-12
        )
        for column in ("train_accuracy", "val_accuracy"):
            both = getattr(history, column)[:, k], getattr(single, column)
            np.testing.assert_array_equal(*both)
        np.testing.assert_array_equal(history.steps, single.steps)
        assert test[k] == accuracy(alone, data.x_test, data.y_test)
        for (name, lanes), (_, one) in zip(
            net.named_state(), alone.named_state(), strict=True
        ):
            lane = lanes.reshape(K, *one.shape)[k] if lanes.ndim else lanes
            np.testing.assert_allclose(lane, one, rtol=1e-9, atol=1e-12, err_msg=name)
    return net, history


# a lane is a single run


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("norm", NORMS)
def test_a_lane_is_a_single_run(norm, optimizer):
    momentum = {"momentum": 0.9, "weight_decay": 1e-3} if optimizer is SGD else {}
    _, history = compare(
        lambda k: build(np.random.default_rng(k), norm), optimizer, **momentum
    )
    assert len(np.unique(history.loss[-1])) == len(LRS)
    assert (np.diff(history.seconds) > 0).all()


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
def test_a_lane_is_a_single_run_with_every_activation(activation):
    compare(lambda k: build(np.random.default_rng(k), activation=activation))


def test_a_lane_draws_its_own_dropout_with_its_own_probability():
    compare(lambda k: build(np.random.default_rng(k), p=0.2 * (k + 1)))


def test_lanes_may_start_from_different_scales():
    scales = [1e-3, 1, 10, 100]
    compare(lambda k: build(np.random.default_rng(0), "none", Tanh, scale=scales[k]))


def test_lanes_too_large_for_the_cache_are_updated_in_pieces():
    data = toy(n_in=500)
    nets = [build(rng, n_in=500, width=120) for rng in rngs(3)]
    assert stack(nets)[0].weight.data.nbytes > 2**20
    settings = {"steps": 4, "batch_size": 20}
    compare(
        lambda k: build(np.random.default_rng(k), n_in=500, width=120),
        lrs=LRS[:3],
        data=data,
        settings=settings,
    )


def test_small_parameters_share_an_array_and_large_ones_do_not():
    nets = [build(rng, width=120) for rng in rngs(3)]
    arrays = [p.data for p in stack(nets).parameters()]
    small = [a.nbytes <= 2**16 for a in arrays]
    assert 1 < sum(small) < len(small)
    net, _ = sweep(nets, toy(), LRS[:3], rngs(3), **SETTINGS)
    owners = [p.data.base for p in net.parameters()]
    shared = {
        id(owner) for owner, is_small in zip(owners, small, strict=True) if is_small
    }
    assert len(shared) == 1
    for p, owner, is_small in zip(net.parameters(), owners, small, strict=True):
        assert (id(owner) in shared) == is_small
        assert p.data.flags.c_contiguous


class Falling(SGD):
    """An optimizer of the reader's own."""

    def step(self):
        super().step()
        for group in self.param_groups:
            group["lr"] = 0.9 * group["lr"]


class ElementwiseFalling(Falling):
    elementwise = True


def test_parameters_are_joined_for_an_optimizer_of_ones_own_if_it_says_so():
    found = []
    for optimizer in (Falling, ElementwiseFalling):
        settings = SETTINGS | {"optimizer": optimizer, "momentum": 0.9}
        net, _ = sweep(
            [build(rng) for rng in rngs(3)], toy(), LRS[:3], rngs(3), **settings
        )
        found.append([p.data for p in net.parameters()])
    apart, joined = (
        {id(a.base) for a in arrays if a.base is not None} for arrays in found
    )
    assert (len(apart), len(joined)) == (0, 1)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_may_begin_with_a_normalization():
    def make(k):
        rng = np.random.default_rng(k)
        return Sequential(BatchNorm1d(5, dtype=float), *build(rng))

    compare(make)


def test_frozen_layers_stay_frozen():
    def make(k):
        net = build(np.random.default_rng(k))
        net[1].eval()
        return net

    net, _ = compare(make)
    assert (net[1].running_mean == 0).all()
    assert (net[4].running_mean != 0).all()


class Scale(Module):
    """A layer of the reader's own: one factor a lane."""

    def __init__(self, factors):
        super().__init__()
        self.factors = Parameter(np.array(factors, float))

    @staticmethod
    def stack(layers):
        return Scale([layer.factors.data[0] for layer in layers])

    def forward(self, x):
        self.cache = x.reshape(len(x), len(self.factors.data), -1)
        return (self.cache * self.factors.data[:, None]).reshape(len(x), -1)

    def backward(self, dy):
        dy = dy.reshape(self.cache.shape)
        self.factors.grad += (dy * self.cache).sum((0, 2))
        return (dy * self.factors.data[:, None]).reshape(len(dy), -1)


def test_a_layer_of_ones_own_says_how_it_is_stacked():
    compare(lambda k: Sequential(*build(np.random.default_rng(k))[:3], Scale([2.0])))


def test_float32_stays_float32():
    def make(k):
        rng = np.random.default_rng(k)
        return Sequential(Linear(5, 8, rng=rng), BatchNorm1d(8), Linear(8, 3, rng=rng))

    data = toy(dtype=np.float32)
    net, history = sweep([make(k) for k in range(4)], data, LRS, rngs(4), **SETTINGS)
    assert {p.data.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    for k, lr in enumerate(LRS):
        alone = make(k)
        run = fit(alone, data, SGD(alone.parameters(), lr), rng=rngs(4)[k], **SETTINGS)
        np.testing.assert_allclose(history.loss[:, k], run.loss, rtol=1e-4)


# neighbours


def test_a_lane_that_diverges_does_not_disturb_the_others():
    def run(lrs):
        nets = [build(np.random.default_rng(0), norm) for _ in lrs]
        return sweep(
            nets, toy(), lrs, [np.random.default_rng(0) for _ in lrs], **SETTINGS
        )

    for norm in NORMS:
        net, history = run([0.1, 1e250, 0.3])
        _, calm = run([0.1, 0.2, 0.3])
        np.testing.assert_array_equal(history.loss[:, ::2], calm.loss[:, ::2])
        np.testing.assert_array_equal(
            history.val_accuracy[:, ::2], calm.val_accuracy[:, ::2]
        )
        assert np.isfinite(net[0].weight.data[::2]).all()
        if norm == "none":
            assert np.isnan(history.loss[-1, 1])


# arguments


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lrs": [0.1]}, ValueError, "each of 2 networks, got 1 and 2"),
        ({"rngs": rngs(3)}, ValueError, "got 2 and 3"),
        (
            {"nets": [], "lrs": [], "rngs": []},
            ValueError,
            "at least one item in nets, got none",
        ),
        ({"steps": 0}, ValueError, "^sweep: expected steps >= 1, got 0"),
        ({"evaluate_every": 0}, ValueError, "expected evaluate_every >= 1, got 0"),
        ({"batch_size": 111}, ValueError, "batch_size from 1 to 110, got 111"),
        ({"rngs": [0, 1]}, TypeError, "Generator, got int"),
        ({"nets": [build(rng).eval() for rng in rngs(2)]}, ValueError, "training mode"),
        ({"lrs": [0.1, -1]}, ValueError, "^sweep: expected a finite lr >= 0, got -1"),
    ],
)
def test_sweep_refuses(change, error, message):
    nets = [build(rng) for rng in rngs(2)]
    call = {"nets": nets, "lrs": [0.1, 0.2], "rngs": rngs(2), **SETTINGS, **change}
    with pytest.raises(error, match=message):
        sweep(data=toy(), **call)


def test_the_probe_sees_all_lanes_at_each_evaluation():
    nets = [build(rng) for rng in rngs(3)]

    def probe(net):
        assert isinstance(net[0], LaneLinear)
        return net[0].weight.data[:, 0, 0].tolist()

    net, history = sweep(nets, toy(), LRS[:3], rngs(3), probe=probe, **SETTINGS)
    assert len(history.probes) == len(history.steps) == 4
    assert history.probes[0] == [net[0].weight.data[0, 0] for net in nets]
    assert history.probes[-1] == probe(net)
    assert net.backward(net(toy().x_val) * 0).shape == (50, 15)


def test_a_probe_gets_gradients_of_the_inputs():
    def probe(net):
        copied = copy.deepcopy(net)
        return copied.backward(np.ones_like(copied(toy().x_val))).shape

    nets = [build(rng) for rng in rngs(2)]
    _, history = sweep(nets, toy(), LRS[:2], rngs(2), probe=probe, **SETTINGS)
    assert history.probes == [(50, 10)] * 4


def test_an_interrupt_leaves_the_networks_as_they_were():
    def probe(net):
        raise KeyboardInterrupt

    nets = [build(rng) for rng in rngs(2)]
    before = [state_of(net) for net in nets]
    with pytest.raises(KeyboardInterrupt):
        sweep(nets, toy(), LRS[:2], rngs(2), probe=probe, **SETTINGS)
    assert [state_of(net) for net in nets] == before


# rates and seeds


def test_sweep_rates_gives_each_seed_one_start_and_one_order():
    net, history = sweep_rates(build, toy(), LRS, [7, 8, 9], **SETTINGS)
    assert history.loss.shape == history.train_accuracy.shape == (23, 4, 3)
    assert history.val_accuracy.shape == (4, 4, 3)
    assert (np.diff(history.loss[0], axis=0) == 0).all()
    assert len(np.unique(history.loss[0])) == 3
    for i, j in ((0, 0), (2, 1), (3, 2)):
        start, order = np.random.default_rng(7 + j).spawn(2)
        alone = build(start)
        run = fit(alone, toy(), SGD(alone.parameters(), LRS[i]), rng=order, **SETTINGS)
        np.testing.assert_allclose(history.loss[:, i, j], run.loss, rtol=1e-9)
        np.testing.assert_array_equal(history.val_accuracy[:, i, j], run.val_accuracy)
        weights = net[0].weight.data.reshape(4, 3, 12, 5)[i, j]
        np.testing.assert_allclose(weights, alone[0].weight.data, rtol=1e-9)


def test_the_best_rate_is_that_of_the_median():
    scores = [[0.1, 0.1, 0.1], [0.2, 0.3, 0.9], [0.4, 0.4, 0.0], [0.0, 0.1, 0.9]]
    assert best_rate(LRS, scores) == 2
    assert best_rate(LRS, [[0.0] * 3, [0.5] * 3, [0.5] * 3, [0.1] * 3]) == 1
    assert best_rate(LRS, [[-np.inf], [-80], [-90], [np.nan]]) == 1


@pytest.mark.parametrize("edge", [0, 3])
def test_a_best_rate_at_the_edge_is_refused(edge, monkeypatch):
    monkeypatch.delenv("BNLIB_MNIST", raising=False)
    scores = np.zeros((4, 5))
    scores[edge] = 1
    with pytest.raises(ValueError, match=f"{LRS[edge]:g} is best, at the edge"):
        best_rate(LRS, scores)
    scores[edge] = np.nan
    scores[1] = 2
    assert best_rate(LRS, scores) == 1


def test_with_real_mnist_an_edge_is_only_told(monkeypatch, capsys):
    monkeypatch.setenv("BNLIB_MNIST", "a folder")
    assert best_rate([1, 2], [[0.5], [0.1]]) == 0
    assert "1 is best, at the edge of the grid from 1 to 2" in capsys.readouterr().out


def test_steps_to_a_level():
    val = np.array([[0.1, 0.9, 0.1], [0.5, 0.2, 0.2], [0.7, 0.8, 0.3], [0.6, 0.8, 0.3]])
    history = History(None, None, np.array([0, 10, 20, 25]), val, None, [])
    np.testing.assert_array_equal(steps_to(history, 0.7), [20, 0, np.inf])
    np.testing.assert_array_equal(steps_to(history, 0.5), [10, 0, np.inf])
    assert steps_to(history._replace(val_accuracy=val[:, 0]), 0.7) == 20
    assert steps_to(history._replace(val_accuracy=val[:, 2]), 0.7) == np.inf
