"""A call that raises has changed nothing, wherever it was, and the first error is what arrives."""

import contextlib
import copy
import itertools
import linecache
import sys

import numpy as np
import pytest
from helpers import SOURCES, assert_close, everything

import bnlib
from bnlib import functional as F
from bnlib import module, optim

pytestmark = pytest.mark.usefixtures("backend")


def f32(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class Busy(bnlib.Module):
    """A leaf with every kind of attribute, all of which change in both directions."""

    buffer_names = ("seen",)
    error = None

    def __init__(self):
        super().__init__()
        self.weight = bnlib.Parameter(np.ones(3, np.float32))
        self.seen, self.table = np.zeros(3), np.zeros(2)
        self.steps, self.log, self.counts, self.kinds = 0, [], {"calls": 0}, set()
        self.rng = np.random.default_rng(3)

    def change(self, x):
        self.seen += x.shape[0]
        self.table = self.table + 1
        self.steps += 1
        self.log.append(x.shape)
        self.counts["calls"] += 1
        self.kinds.add(x.ndim)
        self.rng.random()
        self.weight.data *= np.float32(0.5)
        if self.error is not None:
            raise self.error

    def forward(self, x):
        self.cache = x, self.weight.data.copy()
        self.change(x)
        return x * self.cache[1]

    def backward(self, dy):
        x, weight = self.saved_cache()
        self.weight.grad = self.weight.grad + (dy * x).sum(0)
        self.change(x)
        return dy * weight


class Chain(bnlib.Module):
    """A container that is no Sequential."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last, self.calls = first, last, 0

    def forward(self, x):
        self.calls += 1
        return self.last(self.first(x))

    def backward(self, dy):
        return self.first.backward(self.last.backward(dy))


class Halved(bnlib.Sequential):
    """A subclass whose methods run those of its base."""

    def forward(self, x):
        y = super().forward(x)
        self.cache = np.float32(0.5)
        return y * self.cache

    def backward(self, dy):
        return super().backward(dy * self.saved_cache())


class Careless(bnlib.Module):
    """A container that goes on after an error of what it holds."""

    def __init__(self, child):
        super().__init__()
        self.child = child

    def forward(self, x):
        try:
            return self.child(x)
        except (ValueError, FloatingPointError) as error:
            self.caught = error
            return x

    def backward(self, dy):
        try:
            return self.child.backward(dy)
        except (ValueError, FloatingPointError) as error:
            self.caught = error
            return dy


def dense():
    """Return a network of all kinds of modules for vectors, and an input."""
    rng = np.random.default_rng(1)
    net = bnlib.Sequential(
        bnlib.BatchNorm1d(3, momentum=None),
        Chain(bnlib.Linear(3, 3, rng=rng), Busy()),
        bnlib.Residual(
            bnlib.Sequential(bnlib.SyncBatchNorm(3, all_reduce=lambda v: v)),
            Halved(bnlib.Dropout(0.5, rng=rng)),
        ),
    )
    return net, f32(4, 3)


def images():
    """Return a network of all kinds of modules for images, and an input."""
    net = bnlib.Sequential(
        bnlib.Conv2d(1, 2, 2, padding=1, rng=np.random.default_rng(1)),
        bnlib.BatchNorm2d(2),
        bnlib.ReLU(),
        bnlib.MaxPool2d(2, 1, padding=1),
        bnlib.AvgPool2d(2, 1),
        bnlib.Flatten(),
        bnlib.LayerNorm(18),
        bnlib.Tanh(),
        bnlib.GroupNorm(2, 18),
        bnlib.Sigmoid(),
    )
    return net, f32(2, 1, 2, 2)


NETWORKS = pytest.mark.parametrize("network", [dense, images])


# Interrupts --------------------------------------------------------------------------------


def traced(act, visit):
    """Do something, and visit each line of bnlib before it is run."""

    def trace(frame, event, arg):
        # What a `with` calls at its end cannot be interrupted safely in Python.
        inside = frame.f_code.co_filename.startswith(str(SOURCES))
        if not inside or frame.f_code.co_name == "__exit__":
            return None
        if event == "line":
            visit(frame.f_code.co_filename, frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)


def interrupts(make):
    """Yield what `make` returns, each time after an interrupt at another line of bnlib.

    `make` returns what to do, and what must not change. Of a line that runs often, the first and
    the last run are interrupted.
    """
    make()[0]()  # what is done only once is done now
    places = []
    traced(make()[0], lambda *place: places.append(place))
    first = {place: i for i, place in reversed([*enumerate(places)])}
    last = {place: i for i, place in enumerate(places)}
    for stop in sorted({*first.values(), *last.values()}):
        if linecache.getline(*places[stop]).strip() == "return report":
            continue  # all is loaded then
        act, *subjects = made = make()
        before, count = everything(*subjects), itertools.count()

        def interrupt(file, line, count=count, stop=stop):
            if next(count) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            traced(act, interrupt)
        assert everything(*subjects) == before, places[stop]
        assert not any(vars(module._local).values()), places[stop]
        yield made
    assert len(first) > 5


@NETWORKS
@pytest.mark.parametrize("under", [False, True], ids=["", "no_grad"])
def test_an_interrupted_forward_changes_nothing(network, under):
    net, x = network()

    def make():
        twin = copy.deepcopy(net)

        def act():
            with bnlib.no_grad() if under else contextlib.nullcontext():
                twin(x)

        return act, twin

    for _, twin in interrupts(make):
        with pytest.raises(ValueError, match=r"expected a forward call first$"):
            twin.backward(x)


@NETWORKS
def test_an_interrupted_backward_can_be_repeated(network):
    net, x = network()
    dy = f32(*copy.deepcopy(net)(x).shape)

    def make():
        twin = copy.deepcopy(net)
        twin(x)
        return lambda: twin.backward(dy), twin

    act, right = make()
    dx = act()
    for act, twin in interrupts(make):
        assert_close(act(), dx)
        for p, q in zip(twin.parameters(), right.parameters(), strict=True):
            assert_close(p.grad, q.grad)


def with_optimizer(kind):
    """Return an optimizer with a state, and the network of its parameters."""
    net = bnlib.Sequential(bnlib.Linear(3, 2), bnlib.BatchNorm1d(2))
    opt = kind(net.parameters())
    for step in range(2):
        for p in net.parameters():
            p.grad += step
        opt.step()
    return opt, net


OPTIMIZERS = pytest.mark.parametrize(
    "kind",
    [
        lambda params: optim.SGD(params, 0.1, momentum=0.9, weight_decay=0.1),
        lambda params: optim.Adam(params, 0.1),
    ],
    ids=["SGD", "Adam"],
)


@OPTIMIZERS
@pytest.mark.parametrize(
    "act",
    [
        lambda opt, net: opt.step(),
        lambda opt, net: opt.zero_grad(),
        lambda opt, net: opt.load_state_dict(opt.state_dict()),
        lambda opt, net: net.zero_grad(),
        lambda opt, net: net.load_state_dict(
            {name: a + 1 for name, a in net.named_state()}
        ),
    ],
    ids=["step", "zero_grad", "load", "net.zero_grad", "net.load"],
)
def test_an_interrupted_change_is_none(kind, act):
    subjects = with_optimizer(kind)

    def make():
        opt, net = copy.deepcopy(subjects)
        return lambda: act(opt, net), opt, net

    for _ in interrupts(make):
        pass


@pytest.mark.parametrize(
    ("loss", "target"),
    [(bnlib.CrossEntropyLoss(), np.array([0, 2])), (bnlib.MSELoss(), f32(2, 3) + 1)],
    ids=["cross_entropy", "mse"],
)
def test_an_interrupted_loss(loss, target):
    x = f32(2, 3)
    loss(x, target)
    dx = loss.backward()

    def forward():
        twin = copy.deepcopy(loss)
        return lambda: twin(x, target), twin

    for _, twin in interrupts(forward):
        with pytest.raises(ValueError, match=r"expected a forward call first$"):
            twin.backward()

    def backward():
        loss(x, target)
        return loss.backward, loss

    for act, _ in interrupts(backward):
        assert_close(act(), dx)


# Errors ------------------------------------------------------------------------------------


def raising(act, *subjects):
    """Do what must raise; fail unless nothing has changed. Return the error."""
    before = everything(*subjects)
    with pytest.raises(Exception) as info:  # noqa: PT011
        act()
    assert everything(*subjects) == before
    assert not any(vars(module._local).values())
    return info.value


class Custom(Exception):  # noqa: N818
    """An error that nobody expects."""


@pytest.mark.parametrize("kind", [Custom, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_first_error_arrives_though_the_rollback_meets_a_read_only_array(kind):
    net, x = dense()
    net[0].running_mean.flags.writeable = net[1].first.bias.grad.flags.writeable = False
    net.eval()(x)
    busy, first = net[1].last, kind("first")
    busy.error = first
    for act in (lambda: net.backward(f32(4, 3)), lambda: net(x)):
        before = everything(net)
        with pytest.raises(kind) as info:
            act()
        assert info.value is first
        assert everything(net) == before


ARRAYS = [
    *((i, name) for i in (0, 2) for name in ("running_mean", "running_var")),
    *((i, "num_batches_tracked") for i in (0, 2)),
    *((i, name) for i in (0, 1) for name in ("weight.grad", "bias.grad")),
    *((i, name) for i in (0, 1) for name in ("weight.data", "bias.data")),
]


@pytest.mark.parametrize(("i", "name"), ARRAYS)
def test_read_only_arrays(i, name):
    rng = np.random.default_rng(0)
    net = bnlib.Sequential(
        bnlib.BatchNorm1d(3), bnlib.Linear(3, 3, rng=rng), bnlib.BatchNorm1d(3)
    )
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, dy = f32(4, 3), f32(4, 3)
    owner, _, part = name.partition(".")
    owner = getattr(net[i], owner)
    array = getattr(owner, part) if part else owner
    array.flags.writeable = False
    forward = not part
    if forward:
        error = raising(lambda: net(x), net)
        assert str(error).endswith(f"expected {name} to be writeable [in layer {i}]")
        net.eval()
    net(x)
    if part == "grad":
        raising(lambda: net.backward(dy), net)
        error = raising(net.zero_grad, net)
        assert str(error).startswith("Sequential.zero_grad: expected the gradient of")
        raising(opt.zero_grad, net, opt)
        return
    net.backward(dy)
    state = {key: a + 1 for key, a in net.state_dict().items()}
    error = raising(lambda: net.load_state_dict(state), net)
    key = f"{i}.{name.removesuffix('.data')}"
    assert str(error) == f"Sequential.load_state_dict: expected {key} to be writeable"
    if part == "data":
        error = raising(opt.step, net, opt)
        assert str(error).startswith("SGD.step: expected parameter ")
        net(x)  # nothing was learned: a backward may follow


def overflowing():
    """Return calls that overflow late, and what they must not change."""
    big = np.full((2, 3), 1e38, np.float32)
    big[0] *= -1
    bn = bnlib.BatchNorm1d(3)
    dropout = bnlib.Dropout(0.9, rng=np.random.default_rng(0))
    linear = bnlib.Linear(3, 3)
    linear(np.ones((2, 3), np.float32))
    linear.bias.grad += np.float32(3e38)
    p = bnlib.Parameter(np.array([1.0, 3e38], np.float32))
    p.grad -= np.float32(3e38)
    opt = optim.SGD([p], lr=1.0, momentum=0.9)
    net = bnlib.Sequential(bnlib.BatchNorm1d(3), bnlib.Linear(3, 2))
    state = {key: a.astype(float) for key, a in net.state_dict().items() if a.ndim}
    state["1.bias"][1] = 1e300
    chain = bnlib.Sequential(bnlib.Linear(3, 3), bnlib.BatchNorm1d(3), dropout)
    return {
        "running_var": (lambda: bn(big), bn),
        "dropout": (lambda: dropout(4 * big), dropout),
        "functional dropout": (
            lambda: F.dropout_forward(4 * big, 0.9, dropout.rng),
            dropout,
        ),
        "gradient": (lambda: linear.backward(np.abs(big)), linear),
        "step": (opt.step, opt, p),
        "load": (lambda: net.load_state_dict(state, strict=False), net),
        "network": (lambda: chain(big), chain),
    }


@pytest.mark.parametrize("name", overflowing())
def test_overflow(name):
    act, *subjects = overflowing()[name]
    with np.errstate(over="raise"):
        error = raising(act, *subjects)
        assert isinstance(error, FloatingPointError)


@NETWORKS
def test_invalid_numbers(network, monkeypatch):
    monkeypatch.setenv("BNLIB_BACKEND", "reference")  # compiled loops raise nothing
    net, x = network()
    net(x)
    x = x.copy()
    x.flat[0] = np.inf
    with np.errstate(invalid="raise"):
        assert isinstance(raising(lambda: net(x), net), FloatingPointError)


@pytest.mark.parametrize("error", [Custom(), KeyboardInterrupt()])
def test_a_module_that_raises_in_the_end_undoes_what_it_holds(error):
    net, x = dense()
    net = Chain(Chain(net, Busy()), bnlib.Sequential(Busy()))
    net(x)
    net.last[0].error = error
    for act in (lambda: net.backward(f32(4, 3)), lambda: net(x)):
        before = everything(net)
        with pytest.raises(type(error)):
            act()
        assert everything(net) == before


CHILDREN = {
    "network": lambda: bnlib.Sequential(
        bnlib.BatchNorm1d(3), Busy(), bnlib.Linear(4, 2)
    ),
    "container": lambda: Chain(Chain(bnlib.BatchNorm1d(3), Busy()), bnlib.Linear(4, 2)),
    "leaf": Busy,
    "residual": lambda: bnlib.Residual(bnlib.BatchNorm1d(3), bnlib.Linear(3, 2)),
    "batch_norm": lambda: bnlib.BatchNorm1d(3),
    "dropout": lambda: bnlib.Dropout(0.9, rng=np.random.default_rng(0)),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_who_goes_on_after_an_error_finds_what_it_holds_unchanged(name):
    child = CHILDREN[name]()
    x = f32(4, 3)
    if name == "leaf":
        child.error = ValueError("in the end")
    if name == "batch_norm":
        child.num_batches_tracked.flags.writeable = False
    if name == "dropout":
        x *= 1e38
    net = bnlib.Sequential(bnlib.Flatten(), Careless(child))
    before = everything(child)
    with np.errstate(over="raise"):
        y = net(x)
    assert everything(child) == before
    assert_close(y, x)
    assert type(net[1].caught) in (ValueError, FloatingPointError)
    with pytest.raises(ValueError, match="expected a forward call first"):
        child.backward(x)
    assert_close(net.backward(x), x)
    assert everything(child) == before


def test_who_goes_on_after_an_error_in_a_backward_finds_no_half_of_a_gradient():
    linear, x = bnlib.Linear(3, 3), f32(4, 3)
    net = bnlib.Sequential(Careless(bnlib.Sequential(bnlib.Linear(3, 3), linear)))
    linear.bias.grad.flags.writeable = False
    net(x)
    before = everything(linear)
    net.backward(x)
    assert everything(linear) == before
    assert net[0].caught is not None


def test_only_a_loop_that_owns_its_network_goes_without_a_way_back():
    net, x = bnlib.Sequential(Busy()), f32(4, 3)
    net[0].error = ValueError("stop")
    with module.unguarded(), pytest.raises(ValueError, match="stop"):
        net(x)
    assert net[0].steps == 1  # what it had done stays
    with pytest.raises(ValueError, match="stop"):
        net(x)
    assert net[0].steps == 1  # behind the context everything is guarded again
