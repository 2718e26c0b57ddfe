"""What walks a network knows exact types, and what is kept for a parameter stays its own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import assert_close, everything, state_of, to_torch

import bnlib
from bnlib import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    SyncBatchNorm,
    fold,
    optim,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def f32(*shape, seed=0):
    return rng(seed).standard_normal(shape).astype(np.float32)


def lived_in(net, seed=7):
    """Give all parameters and running statistics other values; return the net in evaluation."""
    own = rng(seed)
    for name, array in net.named_state():
        if array.dtype.kind == "f":
            array[...] = own.uniform(0.3, 2, array.shape)
            if not name.endswith("running_var"):
                array *= own.choice([-1, 1], array.shape)
    return net.eval()


class Pair(Module):
    """A container of somebody else's: what it does with its parts nobody knows."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def forward(self, x):
        return self.first(x) - self.last(self.first(x))


class Skip(Sequential):
    """A Sequential that adds a connection."""

    def forward(self, x):
        return x + super().forward(x)


class Doubled(Linear):
    """A Linear that does more."""

    def forward(self, x):
        return 2 * super().forward(x)


class Shifted(BatchNorm1d):
    """A batch normalization that does more."""

    def forward(self, x):
        return super().forward(x) + 1


def block(n=3):
    return [Linear(n, n, rng=rng()), BatchNorm1d(n)]


SYNC = {"all_reduce": lambda vector: vector}
# Networks, with the kinds of the modules that are left when they are folded.
FOLDED = {
    "plain": (lambda: Sequential(*block(), ReLU()), "Linear ReLU"),
    "twice": (lambda: Sequential(*block(), *block()), "Linear Linear"),
    "named": (
        lambda: Sequential({"map": block()[0], "norm": block()[1], "act": ReLU()}),
        "Linear ReLU",
    ),
    "slice": (lambda: Sequential(ReLU(), *block())[1:], "Linear"),
    "nested": (
        lambda: Sequential(Sequential(*block()), Sequential(ReLU(), *block())),
        "Sequential Linear Sequential ReLU Linear",
    ),
    "residual": (
        lambda: Residual(Sequential(*block()), Sequential(*block())),
        "Sequential Linear Sequential Linear",
    ),
    "residual inside": (
        lambda: Sequential(Residual(Sequential(*block(), ReLU())), *block()),
        "Residual Sequential Linear ReLU Linear",
    ),
    "sync": (
        lambda: Sequential(block()[0], SyncBatchNorm(3, **SYNC)),
        "Linear",
    ),
    "subclass of Sequential": (
        lambda: Sequential(Skip(*block())),
        "Skip Linear BatchNorm1d",
    ),
    "subclass of Linear": (
        lambda: Sequential(Sequential(Doubled(3, 3, rng=rng()), LayerNorm(3))),
        "Sequential Doubled LayerNorm",
    ),
    "subclass of BatchNorm1d": (
        lambda: Sequential(block()[0], Shifted(3)),
        "Linear Shifted",
    ),
    "subclass between": (
        lambda: Sequential(*block(), Shifted(3), *block()),
        "Linear Shifted Linear",
    ),
    "custom": (
        lambda: Sequential(*block(), Pair(Sequential(*block()), ReLU())),
        "Linear Pair Sequential Linear BatchNorm1d ReLU",
    ),
    "custom in a residual": (
        lambda: Residual(Pair(Sequential(*block()), ReLU())),
        "Pair Sequential Linear BatchNorm1d ReLU",
    ),
    "nothing": (lambda: Sequential(), ""),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_network_computes_the_same_and_shares_nothing(name):
    make, kinds = FOLDED[name]
    net, x = lived_in(make()), f32(5, 3)
    before, expected = everything(net), net(x)
    folded = fold(net)
    assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)
    assert [type(m).__name__ for m in folded.modules()][1:] == kinds.split()
    assert type(folded) is type(net)
    assert not any(m.training for m in folded.modules())
    arrays = [array for _, array in net.named_state()]
    for _, array in folded.named_state():
        assert not any(np.shares_memory(array, other) for other in arrays)
    assert everything(net) == before
    assert fold(folded)(x).tobytes() == folded(x).tobytes()


def test_names_stay_and_positions_close_up():
    assert list(fold(FOLDED["named"][0]().eval()).state_dict()) == [
        "map.weight",
        "map.bias",
    ]
    names = [name for name, _ in fold(FOLDED["twice"][0]().eval()).named_children()]
    assert names == ["0", "1"]
    names = [name for name, _ in fold(FOLDED["slice"][0]().eval()).named_children()]
    assert names == ["1"]


def test_parameters_that_are_shared_are_folded_apart():
    net = Sequential(*block(), ReLU(), *block())
    net[3].weight, net[3].bias = net[0].weight, net[0].bias
    lived_in(net)
    x, before = f32(5, 3), everything(net)
    assert_close(fold(net)(x), net(x), rtol=1e-4, atol=1e-4)
    assert everything(net) == before
    assert len([*fold(net).parameters()]) == 4


def test_a_shared_module_outside_is_folded_where_it_is():
    """`a` is in two networks: folding one leaves the other as it was."""
    a, bn = block()
    one, two = lived_in(Sequential(a, bn)), Sequential(a, ReLU()).eval()
    expected = two(f32(5, 3))
    fold(one)
    assert_close(two(f32(5, 3)), expected)


def training(net):
    net.train()
    return net


REFUSED = {
    "subclass": (lambda: Skip(*block()), "expected a Sequential or a Residual"),
    "custom": (lambda: Pair(*block()), "expected a Sequential or a Residual"),
    "layer": (lambda: block()[0], "expected a Sequential or a Residual"),
    "none": (lambda: None, "expected a Sequential or a Residual"),
    "training": (lambda: training(Sequential(*block())), "evaluation mode"),
    "alone": (lambda: Sequential(BatchNorm1d(3)), "got nothing before the BatchNorm1d"),
    "late": (
        lambda: Sequential(block()[0], ReLU(), BatchNorm1d(3)),
        "got ReLU before the BatchNorm1d at 2",
    ),
    "after a subclass": (
        lambda: Sequential(Doubled(3, 3), BatchNorm1d(3)),
        "got Doubled before the BatchNorm1d at 1",
    ),
    "after a residual": (
        lambda: Sequential(Residual(block()[0]), BatchNorm1d(3)),
        "got Residual before the BatchNorm1d at 1",
    ),
    "residual": (lambda: Residual(BatchNorm1d(3)), "a Linear or a Conv2d before the"),
    "kind": (
        lambda: Sequential(block()[0], BatchNorm2d(3)),
        "got Linear before the BatchNorm2d at 1",
    ),
    "channels": (lambda: Sequential(block()[0], BatchNorm1d(4)), "of 3 channels"),
    "no statistics": (
        lambda: Sequential(block()[0], BatchNorm1d(3, track_running_stats=False)),
        "track_running_stats=False",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_folded_is_refused_and_left_alone(name):
    make, message = REFUSED[name]
    net = make()
    if isinstance(net, Module) and name != "training":
        net.eval()
    before = everything(net)
    with pytest.raises((TypeError, ValueError), match=f"^fold.*{message}"):
        fold(net)
    assert everything(net) == before


# Optimizers --------------------------------------------------------------------------------

SETTINGS = {
    "SGD": {},
    "SGD momentum": {"lr": 0.1, "momentum": 0.9},
    "SGD nesterov": {
        "lr": 0.1,
        "momentum": 0.5,
        "weight_decay": 0.2,
        "nesterov": True,
    },
    "Adam": {"lr": 0.1},
    "Adam betas": {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2},
}
EVERY = pytest.mark.parametrize("name", SETTINGS)


def kind(name, lib=optim):
    return getattr(lib, name.split()[0])


def small(seed=0, dtype=None):
    return Sequential(
        Linear(3, 4, rng=rng(seed), dtype=dtype), BatchNorm1d(4, dtype=dtype)
    )


def train(net, opt, steps=3, seed=1):
    """Learn something: every parameter gets a gradient."""
    own = rng(seed)
    dtype = net[0].dtype
    for _ in range(steps):
        opt.zero_grad()
        net(own.standard_normal((5, 3)).astype(dtype))
        net.backward(own.standard_normal((5, 4)).astype(dtype))
        opt.step()


@EVERY
@pytest.mark.parametrize(
    "twin",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_of_network_and_optimizer_goes_on_like_the_original(name, twin):
    net = small()
    opt = kind(name)(
        [
            {"params": [*net[0].parameters()]},
            {"params": [*net[1].parameters()], "lr": 0.02},
        ],
        **SETTINGS[name],
    )
    train(net, opt)
    other, other_opt = twin((net, opt))
    assert [*other_opt.state] == [*other.parameters()]
    train(net, opt, seed=2)
    train(other, other_opt, seed=2)
    assert state_of(other) == state_of(net)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_optimizer_goes_on_like_the_original(name, dtype):
    net, other = small(dtype=dtype), small(seed=9, dtype=dtype)
    opt = kind(name)(net.parameters(), **SETTINGS[name])
    train(net, opt)
    other_opt = kind(name)(other.parameters())  # its settings are loaded too
    other.load_state_dict(net.state_dict())
    saved = pickle.loads(pickle.dumps(opt.state_dict()))
    other_opt.load_state_dict(saved)
    for value in saved["state"].values():  # it was copied
        for array in value.values():
            if isinstance(array, np.ndarray):
                array += 1
    train(net, opt, seed=2)
    train(other, other_opt, seed=2)
    assert state_of(other) == state_of(net)
    for p in other.parameters():
        for key, array in other_opt.state[p].items():
            assert key == "step" or array.dtype == dtype


def tensors(state):
    """Return a state of bnlib as PyTorch's optimizers take it: in tensors."""
    return {
        "param_groups": state["param_groups"],
        "state": {
            i: {
                key: torch.tensor(a) if isinstance(a, np.ndarray) else a
                for key, a in own.items()
            }
            for i, own in state["state"].items()
        },
    }


@EVERY
@pytest.mark.parametrize("scheduled", [False, True])
def test_the_state_travels_to_pytorch_and_back(name, scheduled):
    values = [f32(2, 3).astype(float), f32(3, seed=1).astype(float)]
    ours = [Parameter(v.copy()) for v in values]
    theirs = [to_torch(v, grad=True) for v in values]
    one = kind(name)(ours, **SETTINGS[name])
    two = kind(name, torch.optim)(theirs, **SETTINGS[name])
    if scheduled:  # it leaves a setting of its own
        torch.optim.lr_scheduler.StepLR(two, 1)

    def steps(seed):
        own = rng(seed)
        for _ in range(3):
            for p, twin in zip(ours, theirs, strict=True):
                p.grad[...] = own.standard_normal(p.data.shape)
                twin.grad = to_torch(p.grad)
            one.step()
            two.step()
        for p, twin in zip(ours, theirs, strict=True):
            assert_close(p.data, twin, rtol=1e-12, atol=1e-12)

    steps(0)
    with torch.no_grad():
        two.load_state_dict(tensors(one.state_dict()))
    steps(1)
    one.load_state_dict(two.state_dict())
    steps(2)
    numpy = two.state_dict()
    numpy["state"] = {
        i: {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in own.items()}
        for i, own in numpy["state"].items()
    }
    one.load_state_dict(numpy)
    steps(3)


def test_a_momentum_may_be_switched_on_by_a_state():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    plain, heavy = optim.SGD([p], 0.1), optim.SGD([q], 0.1, momentum=0.9)
    for parameter, opt in ((p, plain), (q, heavy)):
        parameter.grad[...] = 1
        opt.step()
    states = plain.state_dict(), heavy.state_dict()
    plain.load_state_dict(states[1])
    heavy.load_state_dict(states[0])
    assert plain.param_groups[0]["momentum"] == 0.9
    assert plain.state[p].keys() == {"momentum_buffer"}
    assert not heavy.state.get(q)
    twin = torch.optim.SGD([torch.ones(2, requires_grad=True)], 0.1)
    twin.param_groups[0]["params"][0].grad = torch.ones(2)
    twin.step()  # PyTorch keeps a buffer of None
    heavy.load_state_dict(twin.state_dict())
    assert not heavy.state.get(q)


WRONG = {
    "no dict": (lambda s: [s], "state_dict to be a dict, got list"),
    "no state": (lambda s: s.pop("state"), "a dict of state"),
    "no groups": (lambda s: s.pop("param_groups"), "param_groups"),
    "strings": (lambda s: s.update(param_groups=["a"]), "param_groups"),
    "params": (lambda s: s["param_groups"][0].update(params="ab"), "params"),
    "fewer": (lambda s: s["param_groups"][0].update(params=[0]), "of [4] parameters"),
    "groups": (lambda s: s["param_groups"].append({"params": []}), "[4] parameters"),
    "setting": (lambda s: s["param_groups"][0].pop("lr"), "none for ['lr']"),
    "value": (lambda s: s["param_groups"][0].update(lr="1"), "lr to be a number"),
    "range": (lambda s: s["param_groups"][0].update(lr=-1), "lr >= 0"),
    "maximize": (
        lambda s: s["param_groups"][0].update(maximize=True),
        "['maximize'] besides",
    ),
    "amsgrad": (
        lambda s: s["param_groups"][0].update(amsgrad=np.True_),
        "['amsgrad'] besides",
    ),
    "own": (lambda s: s["state"].update({3: 5}), "parameter 3: expected a dict"),
    "names": (
        lambda s: s["state"][3].update(max_exp_avg_sq=np.ones(4)),
        "got ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'step']",
    ),
    "shape": (
        lambda s: s["state"][3].update(exp_avg=np.ones(3)),
        "exp_avg of shape (4,), got (3,)",
    ),
    "dtype": (
        lambda s: s["state"][3].update(exp_avg=np.ones(4, int)),
        "exp_avg of dtype float32, got int64",
    ),
    "mask": (
        lambda s: s["state"][3].update(exp_avg=np.ma.ones(4)),
        "exp_avg to be a NumPy array, got MaskedArray",
    ),
    "ragged": (
        lambda s: s["state"][3].update(exp_avg=[[1], [1, 2]]),
        "exp_avg as an array, got list",
    ),
    "step": (lambda s: s["state"][3].update(step=-1), "step >= 0, got -1"),
    "half": (lambda s: s["state"][3].update(step=2.5), "step as a count, got 2.5"),
    "nan": (lambda s: s["state"][3].update(step=np.nan), "step as a count, got nan"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_state_that_does_not_fit_is_refused_whole(name):
    spoil, message = WRONG[name]
    net = small()
    opt = optim.Adam(net.parameters(), lr=0.1)
    train(net, opt)
    state = copy.deepcopy(opt.state_dict())
    for own in state["state"].values():
        own["exp_avg"] += 1
    state["param_groups"][0]["eps"] = 0.5
    result = spoil(state)
    before = everything(opt, net)
    with pytest.raises((TypeError, ValueError)) as info:
        opt.load_state_dict(result if name == "no dict" else state)
    assert str(info.value).startswith(("Adam.load_state_dict: ", "Adam: "))
    assert message in str(info.value)
    assert everything(opt, net) == before


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_a_new_parameter_inherits_nothing(make):
    p = Parameter(np.ones(3))
    opt = make([p], **({"momentum": 0.9} if make is optim.SGD else {}))
    p.grad += 1
    opt.step()
    for _ in range(50):  # ids are used again
        q = Parameter(np.ones(3))
        opt.param_groups[0]["params"] = [q]
        opt.step()
        assert (q.data == 1).all()
        del q


def test_an_array_in_two_parameters_would_lose_a_gradient():
    a = np.ones(3)
    with pytest.raises(ValueError, match="use one Parameter in both places"):
        optim.SGD([Parameter(a), Parameter(a)])


# Names and trees ---------------------------------------------------------------------------


def tree(lib):
    """Return a nested network with tied weights and a shared module, of a library."""

    class Net(lib.Module):
        def __init__(self):
            super().__init__()
            self.body = lib.Sequential(lib.Linear(3, 3), lib.Sequential(lib.ReLU()))
            self.head = lib.Linear(3, 3)
            self.again = self.head
            self.head.weight = self.body[0].weight
            self.norm = lib.BatchNorm1d(3)
            self.nothing = None

    return Net()


@pytest.mark.parametrize(
    "names",
    [
        lambda net: [name for name, _ in net.named_modules()],
        lambda net: [name for name, _ in net.named_children()],
        lambda net: [name for name, _ in net.named_parameters()],
        lambda net: [type(m).__name__ for m in net.modules()],
        lambda net: [type(m).__name__ for m in net.children()],
        lambda net: [tuple(p.shape) for p in net.buffers()],
        lambda net: len([*net.parameters()]),
        lambda net: list(net.state_dict()),
        lambda net: [m.training for m in net.eval().modules()],
    ],
)
def test_a_walk_is_pytorchs(names):
    ours, theirs = names(tree(bnlib)), names(tree(torch.nn))
    assert ours == theirs


def test_apply_visits_as_pytorch_does():
    visits = []
    for lib in (bnlib, torch.nn):
        seen = []
        net = tree(lib)
        assert net.apply(lambda m, seen=seen: seen.append(type(m).__name__)) is net
        visits.append(seen)
    assert visits[0] == visits[1]


def sequentials(lib):
    """Return what a library's Sequential does with names, slices and replacements."""
    layers = [lib.Linear(3, 3), lib.ReLU(), lib.Tanh(), lib.Flatten()]
    net, named = lib.Sequential(*layers), None
    Ordered = dict if lib is bnlib else __import__("collections").OrderedDict
    named = lib.Sequential(Ordered(first=lib.Linear(3, 3), act=lib.ReLU()))

    def names(net):
        return [(name, type(m).__name__) for name, m in net.named_children()]

    seen = [
        names(net),
        names(net[1:]),
        names(net[-1:]),
        names(net[::2]),
        names(net[3:1:-1]),
        names(net[1:2][:]),
        names(named[1:]),
        list(named.state_dict()),
        list(net[2:].state_dict()),
        (len(net), len(named[:1]), type(net[-2]).__name__, type(named.act).__name__),
        [type(m).__name__ for m in net],
        net[1:][0] is net[1],
    ]
    net[1] = lib.Sigmoid()
    net[-1] = lib.ReLU()
    named.act = lib.Tanh()
    setattr(net, "2", lib.ReLU())
    return [*seen, names(net), names(named)]


def test_a_sequential_is_named_sliced_and_replaced_as_pytorchs():
    for ours, theirs in zip(sequentials(bnlib), sequentials(torch.nn), strict=True):
        assert ours == theirs


@pytest.mark.parametrize("i", [4, -5, 10**30])
def test_a_position_that_is_not_there(i):
    net = Sequential(*block(), *block())
    with pytest.raises(IndexError, match=r"^Sequential: expected a position below 4"):
        net[i]
    with pytest.raises(IndexError, match=r"^Sequential: expected a position below 4"):
        net[i] = ReLU()


@pytest.mark.parametrize(
    "name", ["", "a.b", "forward", "training", "cache", "_layers", "_cache", 3, None]
)
def test_a_name_that_would_hide_something_is_refused(name):
    with pytest.raises(ValueError, match=r"^Sequential: expected another name"):
        Sequential({name: ReLU()})


def test_a_layer_can_only_take_the_place_of_one():
    net = Sequential(ReLU())
    with pytest.raises(AttributeError, match="has no layer 'more'"):
        net.more = ReLU()
    with pytest.raises(AttributeError, match="Sequential has no attribute or layer"):
        _ = net.more
    for bad in (None, 3, ReLU):
        with pytest.raises(TypeError, match=r"^Sequential: expected modules, got"):
            net[0] = bad
    assert type(net[0]) is ReLU


def test_a_subclass_of_sequential_may_hold_more():
    class More(Sequential):
        def __init__(self):
            super().__init__(Linear(3, 3))
            self.head = BatchNorm1d(3)

    net = More()
    assert [name for name, _ in net.named_children()] == ["0", "head"]
    assert len(net) == 1
    assert list(copy.deepcopy(net).state_dict()) == list(net.state_dict())


class Holder(Module):
    """A module with buffers of all kinds."""

    buffer_names = ("mask", "order", "count", "half", "nothing", "words")

    def __init__(self):
        super().__init__()
        self.mask, self.order = np.array([True, False]), np.array([-1, 1], np.int8)
        self.count, self.half = np.array(3, np.uint8), np.ones(2, np.float16)
        self.words, self.nothing = np.array([1 + 2j]), None


def test_the_state_of_a_custom_module_can_be_loaded_again():
    one, two = Sequential(Holder()), Sequential(Holder())
    for array in one.buffers():
        array[...] = 0
    report = two.load_state_dict(one.state_dict())
    assert report == ([], [])
    assert not any(array.any() for array in two.buffers())
    for key, value in (("0.count", 256), ("0.count", -1), ("0.order", [200, 0])):
        with pytest.raises(ValueError, match=f"load_state_dict: expected {key} [<>]="):
            two.load_state_dict({**one.state_dict(), key: np.array(value)})
    for key, value in (("0.mask", [1, 0]), ("0.order", [1.0, 2.0]), ("0.half", [1, 2])):
        with pytest.raises(
            TypeError, match=f"load_state_dict: expected {key} of dtype"
        ):
            two.load_state_dict({**one.state_dict(), key: np.array(value)})


def test_strict_and_the_report():
    net = Sequential(Conv2d(1, 2, 1), BatchNorm2d(2), Flatten())
    state = {"0.weight": net[0].weight.data + 1, "more": np.ones(2)}
    missing = [name for name in net.state_dict() if name != "0.weight"]
    with pytest.raises(KeyError, match=r"missing .*1.running_var.* unexpected .*more"):
        net.load_state_dict(state)
    report = net.load_state_dict(state, strict=False)
    assert report.missing_keys == missing
    assert report.unexpected_keys == ["more"]
    assert_close(net[0].weight.data, state["0.weight"])


def test_the_arrays_of_a_network_may_be_swapped_by_loading():
    net = Sequential(Linear(2, 2, rng=rng()), Linear(2, 2, rng=rng(1)))
    a, b = net[0].weight.data.copy(), net[1].weight.data.copy()
    live = dict(net.named_state())
    live["0.weight"], live["1.weight"] = live["1.weight"], live["0.weight"]
    live["0.bias"] = live["1.bias"][::-1]
    last = net[1].bias.data.copy()
    net.load_state_dict(live)
    assert_close(net[0].weight.data, b)
    assert_close(net[1].weight.data, a)
    assert_close(net[0].bias.data, last[::-1])
    assert_close(net[1].bias.data, last)
