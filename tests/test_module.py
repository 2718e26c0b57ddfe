"""Modules: state that travels to PyTorch and back, modes, gradients, nesting."""

import copy

import numpy as np
import pytest
import torch
from helpers import assert_close, to_torch

import bnlib
from bnlib import Sequential


def dense(lib):
    """Return the dense reference network, 784-128-64-10, of a library."""
    return lib.Sequential(
        lib.Linear(784, 128),
        lib.BatchNorm1d(128),
        lib.ReLU(),
        lib.Linear(128, 64),
        lib.BatchNorm1d(64),
        lib.ReLU(),
        lib.Linear(64, 10),
    )


def cnn(lib):
    """Return a network for images of 64 × 64 × 3."""
    return lib.Sequential(
        lib.Conv2d(3, 32, 3, bias=False),
        lib.BatchNorm2d(32),
        lib.ReLU(),
        lib.MaxPool2d(2),
        lib.Conv2d(32, 8, 3, stride=2, padding=1),
        lib.GroupNorm(2, 8),
        lib.ReLU(),
        lib.Sequential(
            lib.Flatten(), lib.LayerNorm(8 * 16 * 16), lib.Linear(8 * 16 * 16, 10)
        ),
    )


NETWORKS = pytest.mark.parametrize(
    ("network", "shape"),
    [(dense, (4, 784)), (cnn, (2, 3, 64, 64))],
    ids=["dense", "cnn"],
)


@NETWORKS
def test_state_dict_is_pytorchs(network, shape):
    ours, theirs = network(bnlib).state_dict(), network(torch.nn).state_dict()
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert ours[key].shape == tuple(value.shape)
        assert ours[key].dtype == value.numpy().dtype
    names = [name for name, _ in network(bnlib).named_parameters()]
    assert names == [name for name, _ in network(torch.nn).named_parameters()]


@NETWORKS
def test_a_state_travels_to_bnlib_and_back_bit_by_bit(network, shape):
    theirs, ours, again = network(torch.nn), network(bnlib), network(torch.nn)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        theirs(to_torch(x))  # so that the running statistics are something
    ours.load_state_dict(theirs.state_dict())
    again.load_state_dict(
        {key: torch.tensor(a) for key, a in ours.state_dict().items()}
    )
    for key, value in theirs.state_dict().items():
        assert again.state_dict()[key].dtype == value.dtype
        assert again.state_dict()[key].numpy().tobytes() == value.numpy().tobytes()
    with torch.no_grad():
        expected = theirs.eval()(to_torch(x))
    assert_close(ours.eval()(x), expected, rtol=1e-4, atol=1e-5)


def test_loading_is_in_place():
    net = dense(bnlib)
    arrays = dict(net.named_state())
    state = {key: np.full_like(value, 3) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    for key, array in net.named_state():
        assert array is arrays[key]
        assert (array == 3).all()
        assert not np.shares_memory(array, state[key])


def test_a_state_dict_is_a_copy():
    net = dense(bnlib)
    state = net.state_dict()
    for key, array in net.named_state():
        assert not np.shares_memory(array, state[key])
    state["1.running_mean"] += 1
    assert (net[1].running_mean == 0).all()


def test_loading_casts_floats_and_takes_any_integer():
    net = bnlib.BatchNorm1d(2)
    state = {key: value.astype(np.float64) for key, value in net.state_dict().items()}
    net.load_state_dict({**state, "num_batches_tracked": np.uint8(7)})
    assert net.running_var.dtype == np.float32
    assert net.num_batches_tracked == 7
    assert net.num_batches_tracked.dtype == np.int64
    wide = bnlib.BatchNorm1d(2, dtype=np.float64)
    wide.load_state_dict(net.state_dict())
    assert wide.weight.data.dtype == np.float64


def test_train_and_eval_reach_every_module():
    net = Sequential(
        bnlib.ReLU(), Sequential(bnlib.Dropout(), Sequential(bnlib.BatchNorm1d(2)))
    )
    modules = list(net.modules())
    assert len(modules) == 6
    assert all(m.training for m in modules)
    assert net.eval() is net
    assert not any(m.training for m in modules)
    assert net.train() is net
    assert all(m.training for m in modules)
    net.train(False)
    assert not any(m.training for m in modules)


def test_gradients_gather_until_they_are_zeroed():
    net = Sequential(bnlib.Linear(3, 4), bnlib.BatchNorm1d(4), bnlib.LayerNorm(4))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    dy = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    gradients = [p.grad for p in net.parameters()]
    net(x)
    net.backward(dy)
    once = [g.copy() for g in gradients]
    net(x)
    net.backward(dy)
    for gradient, first, parameter in zip(
        gradients, once, net.parameters(), strict=True
    ):
        assert parameter.grad is gradient
        assert_close(gradient, 2 * first, rtol=1e-6)
        assert (
            first.any() or parameter is net[0].bias
        )  # a bias before BN has no gradient
    net.zero_grad()
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert not gradient.any()


def test_sequential_is_a_chain():
    rng = np.random.default_rng(0)
    a, b = bnlib.Linear(3, 4, rng=rng), bnlib.Tanh()
    net = Sequential(a, b)
    assert len(net) == 2
    assert (net[0], net[-1]) == (a, b)
    x, dy = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3), (2, 4))
    )
    assert_close(net(x), b(a(x)))
    dx = a.backward(b.backward(dy))
    net(x)
    assert_close(net.backward(dy), dx)
    empty = Sequential()
    assert len(empty) == 0
    assert empty(x) is x
    assert empty.backward(dy) is dy


def test_a_module_finds_what_its_attributes_are():
    class Residual(bnlib.Module):
        buffer_names = ("count", "nothing")

        def __init__(self):
            super().__init__()
            self.inner = Sequential(bnlib.Linear(3, 3), bnlib.BatchNorm1d(3))
            self.scale = bnlib.Parameter(np.ones(1))
            self.count, self.nothing, self.other = np.zeros(2), None, np.zeros(3)

        def forward(self, x):
            return x + self.scale.data * self.inner(x)

    net = Residual()
    names = [name for name, _ in net.named_parameters()]
    inner = ["inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias"]
    assert names == ["scale", *inner]
    stats = [f"inner.1.{name}" for name in bnlib.BatchNorm1d.buffer_names]
    assert list(net.state_dict()) == ["scale", "count", *inner, *stats]
    assert [name for name, _ in net.named_children()] == ["inner"]
    assert list(net.children()) == [net.inner]
    assert list(net.modules()) == [net, net.inner, *net.inner]
    bn = net.inner[1]
    expected = [net.count, bn.running_mean, bn.running_var, bn.num_batches_tracked]
    assert all(a is b for a, b in zip(net.buffers(), expected, strict=True))
    assert list(net.parameters()) == [p for _, p in net.named_parameters()]
    assert repr(net) == "Residual()"
    assert net(np.ones((2, 3), np.float32)).shape == (2, 3)


def test_a_parameter_starts_with_no_gradient():
    data = np.ones((2, 3))
    parameter = bnlib.Parameter(data)
    assert parameter.data is data
    assert_close(parameter.grad, np.zeros((2, 3)))
    assert repr(parameter) == "Parameter(shape=(2, 3), dtype=float64)"


def test_a_deep_copy_is_independent():
    net = dense(bnlib)
    twin = copy.deepcopy(net)
    twin(np.random.default_rng(0).standard_normal((4, 784)).astype(np.float32))
    assert net[1].num_batches_tracked == 0
    assert twin[1].num_batches_tracked == 1


def test_repr_shows_the_nesting_as_pytorch_does():
    ours, theirs = (
        lib.Sequential(lib.ReLU(), lib.Sequential(lib.BatchNorm1d(3), lib.Tanh()))
        for lib in (bnlib, torch.nn)
    )
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "first",
    [
        lambda: bnlib.Conv2d(3, 2, 3),
        lambda: bnlib.Sequential(bnlib.Conv2d(3, 2, 3), bnlib.ReLU()),
        lambda: bnlib.ReLU(),
        lambda: bnlib.Residual(bnlib.Conv2d(3, 3, 3, padding=1)),
        lambda: bnlib.Sequential(bnlib.Flatten(), bnlib.Linear(75, 4)),
    ],
)
def test_a_backward_may_leave_out_the_gradient_of_the_input(first):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3, 5, 5), np.float32)
    net = bnlib.Sequential(first(), bnlib.Flatten())
    dy = rng.standard_normal(net(x).shape, np.float32)
    assert net.backward(dy).shape == x.shape
    expected = [p.grad.copy() for p in net.parameters()]
    net.zero_grad()
    net(x)
    assert net.backward(dy, input_gradient=False) is None
    for parameter, grad in zip(net.parameters(), expected, strict=True):
        assert np.array_equal(parameter.grad, grad)
        assert grad.any()


@pytest.mark.parametrize("layer", [bnlib.Linear(3, 2), bnlib.Conv2d(3, 2, 1)])
def test_a_first_layer_does_not_compute_it(layer):
    x = np.ones((4, 3) if isinstance(layer, bnlib.Linear) else (4, 3, 2, 2), "f")
    dy = np.ones_like(layer(x))
    assert layer.backward(dy, input_gradient=False) is None
    layer(x)
    before = layer.weight.grad.copy()
    with pytest.raises(TypeError, match="expected input_gradient to be True or False"):
        layer.backward(dy, input_gradient=0)
    assert np.array_equal(layer.weight.grad, before)
    assert layer.backward(dy).shape == x.shape  # what was refused has used up nothing
    net = bnlib.Sequential(layer)
    net(x)
    with pytest.raises(TypeError, match="expected input_gradient to be True or False"):
        net.backward(dy, input_gradient="no")


# Residual ----------------------------------------------------------------------------------


def linear(seed, n_in=3, n_out=3):
    """Return a small linear layer in float64."""
    return bnlib.Linear(n_in, n_out, dtype=float, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("shortcut", [None, lambda: linear(2), bnlib.Tanh])
def test_residual_adds_what_goes_around(shortcut):
    shortcut = None if shortcut is None else shortcut()
    net = bnlib.Residual(Sequential(linear(1), bnlib.Sigmoid()), shortcut)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 3))
    around = x if shortcut is None else shortcut(x)
    assert_close(net(x), net.branch(x) + around)

    def loss(x):
        with bnlib.no_grad():
            return float((net(x) * dy).sum())

    net(x)
    bnlib.gradcheck(loss, x, net.backward(dy))


def test_residual_says_what_is_in_it():
    net = bnlib.Residual(Sequential(bnlib.ReLU()), bnlib.Tanh())
    assert repr(net) == (
        "Residual(\n  (branch): Sequential(\n    (0): ReLU()\n  )\n  (shortcut): Tanh()\n)"
    )
    with pytest.raises(TypeError, match=r"^Residual: expected branch to be a Module"):
        bnlib.Residual("x")


class Constant(bnlib.Module):
    """Returns what it was given, whatever comes in."""

    def __init__(self, y):
        self.y = y

    def forward(self, x):
        return self.y

    def backward(self, dy):
        raise ValueError(*self.y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (
            np.zeros((2, 3)),
            ValueError,
            r"\(2, 3\) float64 from the branch and \(2, 3\) float32",
        ),
        (
            np.zeros((1, 3), "f"),
            ValueError,
            r"\(1, 3\) float32 from the branch and \(2, 3\) float32",
        ),
        (np.zeros((2, 3), int), TypeError, "the branch's output of a float"),
    ],
)
def test_residual_adds_like_to_like(y, error, message):
    with pytest.raises(error, match=f"^Residual: expected .*{message}"):
        bnlib.Residual(Constant(y))(np.zeros((2, 3), "f"))


# What is refused, and how ------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [Sequential, bnlib.Residual])
@pytest.mark.parametrize("reason", [(5,), ("a", 2), ()])
def test_an_error_that_is_no_text_stays_as_it_is(wrap, reason):
    net = wrap(Constant(np.zeros((1, 1), "f")))
    net(np.zeros((1, 1), "f"))
    inner = net[0] if wrap is Sequential else net.branch
    inner.y = reason
    with pytest.raises(ValueError) as info:  # noqa: PT011
        net.backward(np.zeros((1, 1), "f"))
    assert info.value.args == reason


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda net: net["0"], TypeError, "Sequential: expected a position as an int"),
        (lambda net: net[2], IndexError, "Sequential: expected a position below 2"),
        (lambda net: net[-3], IndexError, "Sequential: expected a position below 2"),
        (lambda net: net.apply(3), TypeError, "Sequential.apply: expected function"),
        (lambda net: net.train("x"), TypeError, "Sequential.train: expected mode"),
        (
            lambda net: net.load_state_dict(5),
            TypeError,
            "Sequential.load_state_dict: expected state to be a dict, got int",
        ),
        (
            lambda net: net.load_state_dict(net.state_dict(), strict=1),
            TypeError,
            "Sequential.load_state_dict: expected strict to be True or False",
        ),
        (
            lambda net: net.backward(np.zeros((2, 3))),
            ValueError,
            "Sequential.backward: expected a forward call first",
        ),
        (
            lambda net: net[0].saved_cache(),
            ValueError,
            "Linear.backward: expected a forward call first",
        ),
        (
            lambda _: bnlib.Parameter(np.zeros(2, np.float16)),
            TypeError,
            "Parameter: expected data of dtype float32 or float64, got float16",
        ),
    ],
)
def test_what_a_module_refuses(wrong, error, message):
    net = Sequential(linear(1), bnlib.ReLU())
    with pytest.raises(error, match=f"^{message}"):
        wrong(net)


def test_positions_count_from_both_ends():
    net = Sequential(linear(1), bnlib.ReLU())
    assert net[-2] is net[0]
    assert net[-1] is net[1]


def test_a_parameter_may_carry_a_note(tmp_path):
    p = bnlib.Parameter(np.zeros(2))
    p.note = "the last layer"
    assert p.note == "the last layer"
    room = np.memmap(tmp_path / "weights", np.float64, "w+", shape=(3,))
    assert type(bnlib.Parameter(room).grad) is np.ndarray


def test_a_module_that_stands_twice_is_named_once():
    class Twice(bnlib.Module):
        def __init__(self):
            self.a = self.b = bnlib.ReLU()

    assert [name for name, _ in Twice().named_modules()] == ["", "a"]


def test_a_base_beside_module_hears_of_its_subclasses():
    class Registry:
        seen = ()

        def __init_subclass__(cls, tag, **kwargs):
            super().__init_subclass__(**kwargs)
            Registry.seen += (tag,)

    class Tagged(bnlib.Module, Registry, tag="x"):
        pass

    assert Registry.seen == ("x",)
    assert isinstance(Tagged(), bnlib.Module)
