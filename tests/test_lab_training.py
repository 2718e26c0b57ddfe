import subprocess
import sys

import numpy as np
import pytest

from bnlib import BatchNorm1d, Dropout, Linear, ReLU, Sequential
from bnlib.lab.data import Data
from bnlib.lab.training import accuracy, evaluating, fit
from bnlib.module import Module
from bnlib.optim import SGD, Adam


def toy(n=120, seed=0):
    """Three clouds in the plane, well apart, in float64."""
    rng = np.random.default_rng(seed)
    parts = []
    for size in (n, 60, 60):
        y = rng.permutation(np.arange(size) % 3)
        centres = 3 * np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])
        parts += [centres[y] + 0.5 * rng.standard_normal((size, 2)), y]
    return Data(*parts, ("a", "b", "c"), "toy")


def net(seed=0):
    rng = np.random.default_rng(seed)
    return Sequential(
        Linear(2, 8, bias=False, dtype=np.float64, rng=rng),
        BatchNorm1d(8, dtype=np.float64),
        ReLU(),
        Linear(8, 3, dtype=np.float64, rng=rng),
    )


def run(seed=0, order=0, steps=30, lr=0.5, **settings):
    model = net(seed)
    settings = {"batch_size": 20, "evaluate_every": 10, **settings}
    rng = np.random.default_rng(order)
    return model, fit(
        model, toy(), SGD(model.parameters(), lr), steps=steps, rng=rng, **settings
    )


class Fixed(Module):
    """Returns its input as logits, and says how it was called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.training))
        return x


# progress


def test_a_progress_bar_shows_where_it_is_asked_for_and_nowhere_else(
    monkeypatch, capsys
):
    monkeypatch.delenv("BNLIB_PROGRESS", raising=False)
    run(steps=12)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("BNLIB_PROGRESS", "1")
    run(steps=12)
    out, err = capsys.readouterr()
    assert out == ""
    assert "/12" in err


# accuracy


def test_accuracy_counts_the_right_ones_in_pieces():
    logits = np.eye(4)[[0, 1, 2, 3, 0]]
    labels = np.array([0, 1, 2, 0, 1])
    for batch_size in (1, 2, 5, 64):
        assert accuracy(Fixed(), logits, labels, batch_size=batch_size) == 0.6
    fixed = Fixed()
    accuracy(fixed, logits, labels, batch_size=2)
    assert fixed.calls == [(2, False), (2, False), (1, False)]


def test_accuracy_uses_running_statistics_and_leaves_no_trace():
    data, model = toy(), net()
    before = model.state_dict()
    assert accuracy(model, data.x_val[:1], data.y_val[:1]) in (0, 1)  # a batch of one
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "modes", [(True, True), (False, False), (True, False), (False, True)]
)
def test_each_module_gets_its_mode_back(modes):
    model = net()
    model.training, model[1].training = modes
    with evaluating(model) as same:
        assert same is model
        assert not any(module.training for module in model.modules())
    assert (model.training, model[1].training) == modes
    assert model[0].training


class Interrupt(Module):
    """Whoever watches the run gives up in the middle of a prediction."""

    def forward(self, x):
        if not self.training:
            raise KeyboardInterrupt
        self.cache = x
        return x

    def backward(self, dy):
        return dy


@pytest.mark.parametrize("modes", [(True, True), (True, False)])
def test_modes_come_back_after_an_interrupt(modes):
    model = Sequential(*net(), Interrupt())
    model.training, model[1].training = modes
    with pytest.raises(KeyboardInterrupt):
        accuracy(model, toy().x_val, toy().y_val)
    assert (model.training, model[1].training) == modes
    x = toy().x_val  # no_grad is over, too: a forward keeps what its backward needs
    assert model.backward(model(x)).shape == x.shape


def test_an_interrupt_between_two_modules_leaves_no_mode_behind(monkeypatch):
    model, switch = net(), Module.eval

    def half_way(self):
        switch(self[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(Sequential, "eval", half_way)
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        pytest.fail("the block must not run")
    assert all(module.training for module in model.modules())


def test_predictions_keep_nothing_and_leave_the_last_forward_alone():
    model, data = net(), toy()
    with evaluating(model):
        model(data.x_val)
    accuracy(model, data.x_val, data.y_val)
    assert all(module.cache is None for module in model.modules())
    dy = np.ones_like(model(data.x_train))
    accuracy(model, data.x_val, data.y_val)
    assert model.backward(dy).shape == data.x_train.shape


def test_modes_come_back_after_an_error():
    model = net()
    with pytest.raises(ValueError, match="linear"):
        accuracy(model, np.zeros((2, 5)), np.zeros(2, int))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(("n", "labels"), [(0, 0), (3, 2)])
def test_accuracy_refuses(n, labels):
    with pytest.raises(ValueError, match=rf"each of {n} inputs, got \({labels},\)"):
        accuracy(net(), np.zeros((n, 2)), np.zeros(labels, int))


# fit


def test_it_learns_a_separable_problem():
    model, history = run()
    assert history.val_accuracy[0] < 0.9
    assert history.val_accuracy[-1] == 1
    assert history.loss[-5:].mean() < 0.3 * history.loss[:5].mean()
    assert accuracy(model, toy().x_test, toy().y_test) == 1


def test_it_learns_with_adam():
    model = net()
    rng = np.random.default_rng(0)
    history = fit(
        model, toy(), Adam(model.parameters(), 0.05), steps=40, batch_size=20, rng=rng
    )
    assert history.val_accuracy[-1] == 1


def test_the_history_has_one_entry_a_step_and_one_an_evaluation():
    _, history = run(steps=25)
    assert history.loss.shape == history.train_accuracy.shape == (25,)
    assert history.steps.tolist() == [0, 10, 20, 25]
    assert history.val_accuracy.shape == history.seconds.shape == (4,)
    assert history.probes == [None] * 4
    assert history.seconds[0] == 0
    assert (np.diff(history.seconds) > 0).all()
    assert run(steps=20)[1].steps.tolist() == [0, 10, 20]  # the last one only once
    assert run(steps=7, evaluate_every=None)[1].steps.tolist() == [0, 7]


def test_the_first_loss_and_the_first_update_are_those_of_the_definition():
    model, history = run(
        steps=1, batch_size=120
    )  # one batch of all data: order is all the same
    data, again = toy(), net()
    logits = again(data.x_train)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = p[np.arange(120), data.y_train]
    assert history.loss == pytest.approx([-np.log(right).mean()])
    assert history.train_accuracy == pytest.approx(
        [np.mean(p.argmax(1) == data.y_train)]
    )
    again.backward((p - np.eye(3)[data.y_train]) / 120)
    for new, old in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_allclose(
            new.data, old.data - 0.5 * old.grad, rtol=0, atol=1e-12
        )


def test_gradients_do_not_pile_up_over_steps():
    model, _ = run(steps=2, lr=0.0, batch_size=120)
    once, _ = run(steps=1, lr=0.0, batch_size=120)
    for two, one in zip(model.parameters(), once.parameters(), strict=True):
        np.testing.assert_allclose(two.grad, one.grad, rtol=0, atol=1e-12)


def test_integers_of_numpy_will_do():
    _, history = run(steps=np.int8(127), batch_size=np.int16(20))
    assert len(history.loss) == 127
    np.testing.assert_array_equal(history.loss, run(steps=127)[1].loss)


def test_one_seed_gives_one_run():
    (a, first), (b, second) = run(), run()
    np.testing.assert_array_equal(first.loss, second.loss)
    np.testing.assert_array_equal(first.val_accuracy, second.val_accuracy)
    state = b.state_dict()
    assert all(np.array_equal(v, state[k]) for k, v in a.state_dict().items())


def test_the_order_of_the_data_comes_from_rng_and_changes_each_epoch():
    _, first = run(order=0, lr=0.0, steps=12)  # 6 batches an epoch; nothing is learned
    _, second = run(order=1, lr=0.0, steps=12)
    assert not np.isclose(first.loss, second.loss).any()
    assert not np.isclose(first.loss[:6], first.loss[6:]).any()


def test_each_epoch_sees_every_sample_once():
    data = toy()
    x, y = np.eye(120), data.y_train
    data = data._replace(x_train=x, x_val=x, y_val=y)
    model = Sequential(Linear(120, 3, bias=False, dtype=np.float64))
    model[0].weight.data[...] = 0
    rng = np.random.default_rng(0)
    fit(model, data, SGD(model.parameters(), lr=1e-9), steps=6, batch_size=20, rng=rng)
    # Each one-hot sample moves its own column, by the same amount up to the size of the others.
    moved = np.abs(model[0].weight.data).max(0)
    np.testing.assert_allclose(moved, moved[0], rtol=1e-6)


def test_the_probe_sees_the_network_of_each_evaluation():
    _, history = run(steps=20, probe=lambda model: model[0].weight.data[0, 0].item())
    assert len(set(history.probes)) == 3
    assert history.probes[0] == net()[0].weight.data[0, 0]


def test_after_a_run_nothing_is_kept():
    model, _ = run(steps=3)
    assert all(module.cache is None for module in model.modules())


def test_bad_labels_are_found_before_anything_is_trained():
    model, data = net(), toy()
    before = model.state_dict()
    data.y_train[-1] = 3  # a class that the network does not have
    optimizer, rng = SGD(model.parameters(), 0.1), np.random.default_rng(0)
    with pytest.raises(ValueError, match="y_train from 0 to 2, got 0 to 3"):
        fit(model, data, optimizer, steps=9, batch_size=20, rng=rng)
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_frozen_modules_stay_frozen():
    model = net()
    model[1].eval()
    data, rng = toy(), np.random.default_rng(0)
    fit(model, data, SGD(model.parameters(), 0.1), steps=5, batch_size=20, rng=rng)
    assert model[1].num_batches_tracked == 0
    assert not model[1].training
    assert model.training


def test_the_test_split_is_not_touched():
    data = toy()._replace(x_test=None, y_test=None)
    model = net()
    rng = np.random.default_rng(0)
    fit(model, data, SGD(model.parameters(), 0.1), steps=2, batch_size=20, rng=rng)


def test_a_run_that_diverges_is_recorded():
    rng = np.random.default_rng(0)
    layers = (
        Linear(2, 8, dtype=np.float64, rng=rng),
        Linear(8, 3, dtype=np.float64, rng=rng),
    )
    model = Sequential(*layers)
    optimizer = SGD(model.parameters(), lr=1e200)
    history = fit(model, toy(), optimizer, steps=9, batch_size=20, rng=rng)
    assert np.isfinite(history.loss[0])
    assert np.isnan(history.loss[-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "^fit: expected steps >= 1, got 0"),
        ({"evaluate_every": 0}, "evaluate_every >= 1, got 0"),
        ({"batch_size": 0}, "batch_size >= 1, got 0"),
        ({"batch_size": 121}, "batch_size from 1 to 120, got 121"),
    ],
)
def test_fit_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        run(**settings)


def test_fit_refuses_a_network_in_evaluation_mode():
    model = net().eval()
    before = model.state_dict()
    optimizer, rng = SGD(model.parameters(), 0.1), np.random.default_rng(0)
    with pytest.raises(ValueError, match="expected a network in training mode"):
        fit(model, toy(), optimizer, steps=1, batch_size=20, rng=rng)
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_fit_refuses_a_seed_in_place_of_a_generator():
    model = net()
    with pytest.raises(TypeError, match="Generator, got int"):
        fit(model, toy(), SGD(model.parameters(), 0.1), steps=1, batch_size=20, rng=0)


def test_dropout_is_on_in_training_and_off_in_evaluation():
    rng = np.random.default_rng(0)
    model = Sequential(Dropout(0.9, rng=rng), Linear(2, 3, dtype=np.float64, rng=rng))
    data = toy()
    assert accuracy(model, data.x_val, data.y_val) == accuracy(
        model, data.x_val, data.y_val
    )
    history = fit(
        model, data, SGD(model.parameters(), 0.0), steps=2, batch_size=120, rng=rng
    )
    assert history.loss[0] != history.loss[1]


def test_it_does_not_need_matplotlib():
    code = "import sys, bnlib.lab.training; print('matplotlib' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
