"""A cache belongs to one forward: used up by one backward, never stale, never saved."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest
from cases import LAYERS, make
from helpers import assert_close

import bnlib
from bnlib import functional as F
from bnlib import optim

pytestmark = pytest.mark.usefixtures("backend")


def f32(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear(seed=0):
    return bnlib.Linear(3, 3, rng=np.random.default_rng(seed))


class Pair(bnlib.Module):
    """A container of somebody else's: one after the other."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def forward(self, x):
        return self.last(self.first(x))

    def backward(self, dy):
        return self.first.backward(self.last.backward(dy))


class Switch(bnlib.Module):
    """A container that calls one child, and in the backward perhaps the other."""

    def __init__(self):
        super().__init__()
        self.there = self.back = 0
        self.one, self.two = linear(1), linear(2)

    def forward(self, x):
        return (self.one, self.two)[self.there](x)

    def backward(self, dy):
        return (self.one, self.two)[self.back].backward(dy)


class Mixin:
    """What brings the methods, and is no module itself."""

    def forward(self, x):
        self.cache = x
        return x * x

    def backward(self, dy):
        return 2 * dy * self.cache


class Mixed(Mixin, bnlib.Module):
    pass


NETWORKS = {
    "sequential": lambda: bnlib.Sequential(linear(1), bnlib.ReLU(), linear(2)),
    "nested": lambda: bnlib.Sequential(bnlib.Sequential(linear(1)), bnlib.ReLU()),
    "residual": lambda: bnlib.Residual(linear(1), linear(2)),
    "custom": lambda: Pair(linear(1), Pair(bnlib.Tanh(), linear(2))),
    "inside": lambda: bnlib.Sequential(Pair(linear(1), bnlib.Tanh()), linear(2)),
    "mixed": lambda: bnlib.Sequential(linear(1), Mixed()),
}
EVERY = pytest.mark.parametrize("name", NETWORKS)
X, DY = f32(4, 3), f32(4, 3, seed=1)


def refuses(module, message, dy=DY):
    """Fail unless the backward is refused, and adds nothing to a gradient."""
    before = [p.grad.copy() for p in module.parameters()]
    with pytest.raises(ValueError, match=message):
        module.backward(dy)
    for p, grad in zip(module.parameters(), before, strict=True):
        assert np.array_equal(p.grad, grad)


# Used up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", LAYERS)
def test_a_backward_uses_the_cache_of_a_layer_up(text):
    layer = make(text)
    refuses(layer, f"^{type(layer).__name__}.backward: expected a forward call first$")
    y = layer(f32(*LAYERS[text]))
    layer.backward(np.ones_like(y))
    assert layer.cache is None
    refuses(layer, "a backward has used up what the last kept$", np.ones_like(y))


@EVERY
def test_a_backward_uses_the_caches_of_a_network_up(name):
    net = NETWORKS[name]()
    refuses(net, "expected a forward call first$")
    net(X)
    net.backward(DY)
    assert all(module.cache is None for module in net.modules())
    refuses(net, "a backward has used up what the last kept$")
    net(X)
    net.backward(DY)  # and so on


@pytest.mark.parametrize("loss", [bnlib.CrossEntropyLoss(), bnlib.MSELoss()])
def test_a_loss_belongs_to_its_last_forward(loss):
    targets = (np.array([0, 2]), np.array([1, 1]))
    if isinstance(loss, bnlib.MSELoss):
        targets = f32(2, 3, seed=2), f32(2, 3, seed=3)
    for target in targets:
        loss(X[:2], target)
    last = loss.backward()
    refuses(loss, "a backward has used up", 1.0)
    loss(X[:2], targets[1])
    assert_close(loss.backward(2.0), 2 * last)


def test_the_backward_belongs_to_the_last_of_two_forwards():
    net, twin = NETWORKS["sequential"](), NETWORKS["sequential"]()
    net(2 * X)
    net(X)
    twin(X)
    assert_close(net.backward(DY), twin.backward(DY))
    refuses(net, "a backward has used up")


# The same object twice ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "places"),
    [
        (lambda a: bnlib.Sequential(a, bnlib.ReLU(), a), "0 and 2"),
        (lambda a: bnlib.Sequential(bnlib.Sequential(a), a), "0.0 and 1"),
        (lambda a: bnlib.Sequential(bnlib.Residual(a), a), "0.branch and 1"),
        (lambda a: bnlib.Sequential(Pair(a, bnlib.ReLU()), a), "0.first and 1"),
        (lambda a: bnlib.Sequential({"x": a, "y": a}), "x and y"),
    ],
)
def test_a_sequential_refuses_the_same_object_twice(build, places):
    with pytest.raises(
        ValueError, match=f"each module once, got the same Linear at {places}"
    ):
        build(linear())


def test_a_residual_refuses_to_share():
    a = linear()
    for shortcut in (a, bnlib.Sequential(a), Pair(a, bnlib.ReLU())):
        with pytest.raises(ValueError, match="branch and shortcut to share no module"):
            bnlib.Residual(a, shortcut)


def test_replacing_a_layer_by_one_that_is_there_is_refused():
    net = bnlib.Sequential(linear(1), bnlib.ReLU(), linear(2))
    for act in (
        lambda: net.__setitem__(2, net[0]),
        lambda: setattr(net, "2", net[0]),
        lambda: net.__setitem__(1, bnlib.Sequential(net[0])),
    ):
        layers = [*net]
        with pytest.raises(ValueError, match="each module once"):
            act()
        assert [*net] == layers


@pytest.mark.parametrize("where", ["pair", "residual", "later", "deeper"])
def test_the_same_object_twice_where_nobody_looks_is_refused_in_the_backward(where):
    a = linear()
    if where == "pair":
        net = Pair(a, a)
    elif where == "residual":
        net = bnlib.Residual(a)
        net.shortcut = a
    else:
        net = bnlib.Sequential(Pair(linear(1), linear(2)), bnlib.ReLU(), linear(3))
        net[0].first = net[2]
        if where == "deeper":
            net[0].last = net[0].first
    net(X)
    refuses(net, "used up what the last kept")


# Called or changed in between --------------------------------------------------------------


@EVERY
def test_a_child_that_was_called_again(name):
    net = NETWORKS[name]()
    for child in [*net.modules()][1:]:
        net(X)
        child(X)
        refuses(net, f"a {type(child).__name__} inside was called again since")
        net(X)
        with bnlib.no_grad():
            child(2 * X)
        net.backward(DY)


@EVERY
@pytest.mark.parametrize(
    "change",
    [
        lambda net: optim.SGD(net.parameters()).step(),
        lambda net: optim.Adam([[*net.parameters()][-1]]).step(),
        lambda net: net.load_state_dict(net.state_dict()),
        lambda net: [*net.modules()][-1].load_state_dict(
            [*net.modules()][-1].state_dict()
        ),
        lambda net: vars(next(net.parameters())).update(version=10**9),
        lambda net: setattr(next(net.parameters()), "data", np.ones((3, 3), "f")),
        lambda net: next(net.parameters()).__setattr__(
            "data", next(net.parameters()).data
        ),
    ],
    ids=["SGD", "Adam", "load", "load a child", "version", "data", "data again"],
)
def test_a_parameter_that_was_changed(name, change):
    net = NETWORKS[name]()
    changed = [*net.parameters()]
    net(X)
    versions = [p.version for p in changed]
    change(net)
    if versions != [p.version for p in changed]:  # the last module may have none
        refuses(net, "a Parameter was changed since")


def test_a_parameter_that_was_changed_in_place_by_an_assignment():
    net = NETWORKS["sequential"]()
    net(X)
    net[0].weight.data -= 1
    refuses(net, "a Parameter was changed since")
    net(X)
    net[2].weight = bnlib.Parameter(np.ones((3, 3), np.float32))
    refuses(net, "a Parameter was changed since")


def test_a_layer_by_layer_backward_knows_the_same():
    net, twin = NETWORKS["sequential"](), NETWORKS["sequential"]()
    net(X)
    twin(X)
    dy = DY
    for layer in reversed([*net]):
        dy = layer.backward(dy)
    assert_close(dy, twin.backward(DY))
    refuses(net, r"a backward has used up what the last kept \[in layer 2\]$")
    net(X)
    optim.SGD(net.parameters()).step()
    refuses(net[2], "a Parameter was changed since")
    net(X)
    net[1](X)
    net[2].backward(DY)  # that belongs to the forward of the network still


def test_a_stale_cache_of_a_child_is_refused():
    net = Switch()
    net(X)
    net.there = net.back = 1
    net(X)  # nobody has used what `one` kept
    net.back = 0
    refuses(net, "Linear.backward: .* the last is older than that of the caller$")
    net.back = 1
    net.backward(DY)


def test_a_layer_put_in_after_its_own_forward_is_refused():
    net, other = NETWORKS["sequential"](), linear(5)
    other(X)
    net(X)
    net[0] = other
    refuses(net, "the last is older than that of the caller")
    net(X)
    net[0] = bnlib.Linear(3, 3)
    refuses(net, "a Parameter was changed since")
    net(X)
    net[1] = bnlib.Tanh()
    refuses(net, "Tanh.backward: expected a forward call first")


@EVERY
def test_a_forward_that_raised_leaves_no_cache(name):
    net = NETWORKS[name]()
    net(X)
    with pytest.raises(TypeError, match="x is float64, the layer float32"):
        net(X.astype(float))
    refuses(net, "expected a forward call first$")
    assert all(module.cache is None for module in net.modules())
    net(X)
    net.backward(DY)


# Nothing is kept ---------------------------------------------------------------------------


def kept(net):
    return [module.cache for module in net.modules() if module.cache is not None]


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_no_grad_keeps_nothing_and_loses_nothing(name, training):
    net, twin = NETWORKS[name]().train(training), NETWORKS[name]().train(training)
    with bnlib.no_grad():
        y = net(X)
    assert not kept(net)
    refuses(net, "expected a forward call first$")
    assert_close(y, twin(X))
    net(X)
    before = kept(net)
    with bnlib.no_grad():
        net(2 * X)
        assert all(a is b for a, b in zip(kept(net), before, strict=True))
        assert_close(net.backward(DY), twin.backward(DY))
        with pytest.raises(TypeError):
            net(X.astype(float))
    assert not kept(net)


def test_no_grad_ends_where_it_should():
    relu = bnlib.ReLU()

    def keeps():
        relu(X)
        result = relu.cache is not None
        if result:
            relu.backward(DY)
        return result

    @bnlib.no_grad()
    def predict(error=None):
        """Say so."""
        if error is not None:
            raise error
        return keeps()

    again = bnlib.no_grad()
    assert keeps()
    assert not predict()
    assert keeps()
    assert (predict.__name__, predict.__doc__) == ("predict", "Say so.")
    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            predict(error)
        assert keeps()
        try:
            with bnlib.no_grad(), again, again:
                assert not keeps()
                assert not predict()
                raise error
        except type(error):
            assert keeps()


def test_no_grad_refuses_what_does_not_run_when_it_is_called():
    def generator():
        yield 1

    async def coroutine():
        pass

    for bad in (generator, coroutine, 3, None):
        with pytest.raises(TypeError, match=r"^no_grad: expected a function"):
            bnlib.no_grad()(bad)


def test_no_grad_holds_for_its_thread():
    net, inside, done = NETWORKS["sequential"](), threading.Event(), threading.Event()
    guard, seen = bnlib.no_grad(), []

    @guard
    def predict():
        inside.set()
        done.wait(10)
        net(X)
        seen.append(len(kept(net)))

    thread = threading.Thread(target=predict)
    thread.start()
    assert inside.wait(10)
    net(X)
    with guard:  # the same object in two threads
        pass
    before = kept(net)
    done.set()
    thread.join()
    assert seen == [3]
    assert all(a is b for a, b in zip(kept(net), before, strict=True))
    net.backward(DY)


def test_predictions_in_many_threads_neither_mix_nor_keep():
    net = bnlib.Sequential(NETWORKS["custom"](), bnlib.BatchNorm1d(3)).eval()
    inputs = [f32(50, 3, seed=seed) for seed in range(8)]
    expected, found = [net(x) for x in inputs], [None] * 8
    net.load_state_dict(net.state_dict())

    def predict(i):
        with bnlib.no_grad():
            for _ in range(50):
                found[i] = net(inputs[i])

    net(X)
    before = kept(net)
    threads = [threading.Thread(target=predict, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for y, right in zip(found, expected, strict=True):
        assert_close(y, right)
    assert all(a is b for a, b in zip(kept(net), before, strict=True))


class Reads(bnlib.Module):
    """A module that reads its cache in the forward, and one of a base class."""

    def forward(self, x):
        self.cache = x + 1
        return self.cache * 2


class ReadsMore(Reads):
    def forward(self, x):
        y = super().forward(x)
        self.cache = self.cache, y
        return self.cache[0] + self.cache[1]


@pytest.mark.parametrize("kind", [Reads, ReadsMore])
def test_no_grad_lets_a_forward_read_what_it_wrote(kind):
    module = kind()
    y = module(X)
    before = module.cache
    with bnlib.no_grad():
        assert_close(module(X), y)
        assert not np.array_equal(module(2 * X), y)
    assert module.cache is before


# Weight ------------------------------------------------------------------------------------

TEXTS = pytest.mark.parametrize("text", LAYERS)


@TEXTS
def test_a_pickle_and_a_copy_are_as_small_after_a_forward_as_before(text):
    layer = make(text)
    net = bnlib.Sequential(layer)
    before = len(pickle.dumps(layer)), len(pickle.dumps(net))
    x = f32(500, *LAYERS[text][1:])
    for call in range(300):
        y = net(x[: 500 if call == 0 else 2])
    after = len(pickle.dumps(layer)), len(pickle.dumps(net))
    # The state of a generator is as long as its numbers.
    assert np.abs(np.subtract(after, before)).max() <= 30
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert not kept(twin) or type(twin) is bnlib.Sequential
        refuses(twin, "expected a forward call first$", y)
        assert len(pickle.dumps(twin)) <= after[1] + 100
    net.backward(np.ones_like(y))  # the original has lost nothing


def test_a_copy_works_like_a_new_module_in_another_clock():
    net = NETWORKS["sequential"]()
    opt = optim.SGD(net.parameters())
    for _ in range(3):
        net(X)
        net.backward(DY)
        opt.step()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [p.version for p in twin.parameters()] == [0] * 4
        twin(X)
        twin.backward(DY)


@TEXTS
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_warns_nobody(text, training):
    layer = make(text).train(training)
    x = np.empty((0, *LAYERS[text][1:]), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(x)
        dx = layer.backward(y)
    assert len(y) == 0
    assert_close(dx, x)
    assert not any(p.grad.any() for p in layer.parameters())


# Values that the caller changes ------------------------------------------------------------


@TEXTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
def test_an_output_that_is_changed_does_not_spoil_the_gradient(text, dtype, training):
    options = {"dtype": dtype} if hasattr(make(text), "dtype") else {}
    one, two = make(text, **options), make(text, **options)
    two = copy.deepcopy(one)
    x = f32(*LAYERS[text]).astype(dtype)
    gradients = []
    for layer, change in ((one, False), (two, True)):
        layer.train(training)
        y = layer(x.copy())
        dy = f32(*y.shape, seed=2).astype(dtype)
        if change:
            y[...] = np.nan
        gradients.append([layer.backward(dy), *(p.grad for p in layer.parameters())])
        gradients[-1][0][...] *= 1  # and a gradient is the caller's
    for a, b in zip(*gradients, strict=True):
        assert_close(a, b)


# What a layer or function needs unchanged, it says.
HOLDS_X = ("Linear", "Conv2d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
HOLDS_X += ("LayerNorm", "RMSNorm", "GroupNorm")
HOLDS_X += ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")


@TEXTS
@pytest.mark.parametrize("training", [True, False])
def test_an_input_that_is_changed_does_not_spoil_the_gradient_unless_it_is_said(
    text, training
):
    layer = make(text).train(training)
    twin = copy.deepcopy(layer)
    says = "must not change before the backward" in type(layer).forward.__doc__
    assert says == (type(layer).__name__ in HOLDS_X)
    gradients = []
    for module, change in ((layer, False), (twin, True)):
        x = f32(*LAYERS[text])
        y = module(x)
        if change:
            x[...] = 7
        dx = module.backward(f32(*y.shape, seed=2))
        gradients.append([dx, *(p.grad for p in module.parameters())])
    same = all(np.array_equal(a, b) for a, b in zip(*gradients, strict=True))
    assert same or says


def test_the_module_says_so_too():
    text = " ".join(bnlib.Module.__doc__.split())
    assert "must not change in between" in text


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("linear", f32(2, 3)),
        ("conv2d", f32(2, 3, 1, 1)),
        ("batch_norm", f32(3)),
        ("layer_norm", f32(3)),
        ("group_norm", f32(3)),
    ],
)
def test_a_function_says_which_arrays_it_holds(name, weight):
    doc = " ".join(getattr(F, f"{name}_forward").__doc__.split())
    assert "must not change before the backward" in doc
    if name.endswith("norm"):
        assert "`x` and `weight` must not change" in doc


def test_what_a_loss_was_given_may_change():
    for loss, target in (
        (bnlib.CrossEntropyLoss(), np.array([0, 2])),
        (bnlib.CrossEntropyLoss(0, 0.1), np.array([0, 2])),
        (bnlib.MSELoss(), f32(2, 3, seed=4)),
    ):
        x = f32(2, 3)
        loss(x, target)
        expected = loss.backward()
        loss(x, target)
        x[...] = np.nan
        target[...] = 1
        assert_close(loss.backward(), expected)


def test_the_mask_of_a_dropout_is_its_own():
    dropout = bnlib.Dropout(0.5, rng=np.random.default_rng(0))
    y = dropout(np.ones((4, 3), np.float32))
    kept = y != 0
    dropout.rng.random(100)
    dropout.p = 0.9
    y[...] = 0
    assert np.array_equal(dropout.backward(np.ones_like(y)), 2 * kept)


def test_a_cache_is_refused_by_the_backward_of_another_function():
    caches = {
        "relu": F.relu_forward(X)[1],
        "sigmoid": F.sigmoid_forward(X)[1],
        "tanh": F.tanh_forward(X)[1],
        "dropout": F.dropout_forward(X, 0)[1],
        "linear": F.linear_forward(X, X)[1],
        "batch_norm": F.batch_norm_forward(X, None, None, training=True)[1],
        "layer_norm": F.layer_norm_forward(X, (3,))[1],
        "group_norm": F.group_norm_forward(X, 1)[1],
        "cross_entropy": F.cross_entropy_forward(X, np.array([0, 1, 2, 0]))[1],
        "mse_loss": F.mse_loss_forward(X, DY)[1],
        "conv2d": F.conv2d_forward(X[None, None], X[None, None, :2, :2])[1],
        "max_pool2d": F.max_pool2d_forward(X[None, None], 2)[1],
        "avg_pool2d": F.avg_pool2d_forward(X[None, None], 2)[1],
    }
    for name in caches:
        for other, cache in {**caches, "None": None, "tuple": (X, X)}.items():
            if other != name:
                with pytest.raises(
                    TypeError,
                    match=f"^{name}_backward: expected the cache of {name}_forward",
                ):
                    getattr(F, f"{name}_backward")(DY, cache)
