"""What the laboratory says to nonsense: each call with the error and its whole message below."""

import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import fingerprint, state_of

import bnlib
import bnlib.lab
from bnlib import (
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    RMSNorm,
    Sequential,
)
from bnlib.lab import claims, trial
from bnlib.lab.data import FONTS, Data
from bnlib.lab.training import History
from bnlib.optim import SGD

CASES = """
accuracy(net(), x, y[:, None])
    ValueError: accuracy: expected y of shape (N,), N > 0, one label for each of 6 inputs, got
        (6, 1): use y[:, 0]
accuracy(net(), x, y.astype(float))
    TypeError: accuracy: expected y of an integer dtype, got float64
accuracy(net(), x, [0.0] * 6)
    TypeError: accuracy: expected y of an integer dtype, got float64
accuracy(net(), x, [[0], [1, 2]])
    TypeError: accuracy: expected y of an integer dtype, got [[0], [1, 2]]
accuracy(net(), x, y[:5])
    ValueError: accuracy: expected y of shape (N,), N > 0, one label for each of 6 inputs, got
        (5,)
accuracy(net(), x, y + 1)
    ValueError: accuracy: expected y from 0 to 2, got 1 to 3
accuracy(net(), x, y - 1)
    ValueError: accuracy: expected y from 0 on, got -1 to 1
accuracy(net(), x, np.ma.array(y))
    TypeError: accuracy: expected y to be a NumPy array, got MaskedArray (its mask would be
        ignored: use x.compressed() or x.filled())
accuracy(net(), x[:0], y[:0])
    ValueError: accuracy: expected y of shape (N,), N > 0, one label for each of 0 inputs, got
        (0,)
accuracy(net(), x.tolist(), y)
    TypeError: accuracy: expected x to be a NumPy array, got list
accuracy(net(), np.ma.array(x), y)
    TypeError: accuracy: expected x to be a NumPy array, got MaskedArray (its mask would be
        ignored: use x.compressed() or x.filled())
accuracy(net(), x, y, batch_size=0)
    ValueError: accuracy: expected batch_size >= 1, got 0
accuracy(net(), x, y, batch_size=2.0)
    TypeError: accuracy: expected batch_size to be an int, got float 2.0
accuracy(net()[0].weight, x, y)
    TypeError: accuracy: expected net to be a Module, got Parameter
accuracy(BatchNorm2d(3), np.ones((6, 3, 2, 2), np.float32), y)
    ValueError: accuracy: expected a network with outputs of shape (N, classes), got (6, 3, 2,
        2)
evaluating(x).__enter__()
    TypeError: evaluating: expected net to be a Module, got ndarray
progress("9")
    TypeError: progress: expected steps to be an int, got str '9'
progress(-1)
    ValueError: progress: expected steps >= 0, got -1
steps_to(runs().loss, 0.9)
    TypeError: steps_to: expected history to be a History, got ndarray
steps_to(runs(), "0.9")
    TypeError: steps_to: expected level to be a number, got str '0.9'
steps_to(runs()._replace(steps=np.arange(7)), 0.9)
    ValueError: steps_to: expected val_accuracy of shape (evaluations, ...), one for each of 7
        steps, got (3,)
fit(x, data, sgd(), **run)
    TypeError: fit: expected net to be a Module, got ndarray
fit(net(), x, sgd(), **run)
    TypeError: fit: expected data to be a bnlib.lab.data.Data with x_train and y_train, got
        ndarray
fit(net(), data, "SGD", **run)
    TypeError: fit: expected optimizer to be an Optimizer, got str
fit(net(), data, sgd(), **run | {"steps": 2.5})
    TypeError: fit: expected steps to be an int, got float 2.5
fit(net(), data, sgd(), **run | {"steps": True})
    TypeError: fit: expected steps to be an int, got bool True
fit(net(), data, sgd(), **run | {"batch_size": "4"})
    TypeError: fit: expected batch_size to be an int, got str '4'
fit(net(), data, sgd(), **run | {"batch_size": 7})
    ValueError: fit: expected batch_size from 1 to 6, got 7
fit(net(), data, sgd(), **run | {"evaluate_every": -1})
    ValueError: fit: expected evaluate_every >= 1, got -1
fit(net(), data, sgd(), **run | {"rng": 0})
    TypeError: fit: expected rng to be a numpy.random.Generator, got int: use
        np.random.default_rng(0)
fit(net(), data, sgd(), **run | {"rng": None})
    TypeError: fit: expected rng to be a numpy.random.Generator, got NoneType: use
        np.random.default_rng()
fit(net(), data, sgd(), **run, probe="rms")
    TypeError: fit: expected probe to be a function, got str
fit(net(), data._replace(y_train=y[:, None]), sgd(), **run)
    ValueError: fit: expected data.y_train of shape (N,), N > 0, one label for each of 6
        inputs, got (6, 1): use data.y_train[:, 0]
fit(net(), data._replace(y_train=y.astype(np.float32)), sgd(), **run)
    TypeError: fit: expected data.y_train of an integer dtype, got float32
fit(net(), data._replace(y_train=y.tolist()), sgd(), **run)
    TypeError: fit: expected data.y_train to be a NumPy array, got list
fit(net(), data._replace(y_train=y + 1), sgd(), **run)
    ValueError: fit: expected data.y_train from 0 to 2, got 1 to 3
fit(net(), data._replace(y_val=y - 1), sgd(), **run)
    ValueError: fit: expected data.y_val from 0 on, got -1 to 1
fit(net(), data._replace(x_val=x[:0], y_val=y[:0]), sgd(), **run)
    ValueError: fit: expected data.y_val of shape (N,), N > 0, one label for each of 0 inputs,
        got (0,)
fit(net(), data._replace(x_train=None), sgd(), **run)
    TypeError: fit: expected data to be a bnlib.lab.data.Data with x_train and y_train, got
        Data
fit(net().eval(), data, sgd(), **run)
    ValueError: fit: expected a network in training mode; call net.train() first
sweep(net(), data, [0.1], [rng()], **many)
    ValueError: sweep: expected a rate and a generator for each of 3 networks, got 1 and 1
sweep([], data, [], [], **many)
    ValueError: sweep: expected at least one item in nets, got none
sweep([x], data, [0.1], [rng()], **many)
    TypeError: sweep: expected each of nets to be a Sequential, got ndarray
sweep([net()], data, 0.1, [rng()], **many)
    TypeError: sweep: expected lrs to be a sequence, got float
sweep([net()], data, [np.nan], [rng()], **many)
    ValueError: sweep: expected a finite lr >= 0, got nan
sweep([net()], data, [True], [rng()], **many)
    TypeError: sweep: expected lr to be a number, got bool True
sweep([net()], data, ["0.1"], [rng()], **many)
    TypeError: sweep: expected lr to be a number, got str '0.1'
sweep([net()], data, [0.1, 0.2], [rng()], **many)
    ValueError: sweep: expected a rate and a generator for each of 1 networks, got 2 and 1
sweep([net()], data, [0.1], [0], **many)
    TypeError: sweep: expected rng to be a numpy.random.Generator, got int: use
        np.random.default_rng(0)
sweep([net()], data, [0.1], rng(), **many)
    TypeError: sweep: expected rngs to be a sequence, got Generator
sweep([net()], data, [0.1], [rng()], **many, optimizer="SGD")
    TypeError: sweep: expected optimizer to be a class such as SGD, got 'SGD'
sweep([net()], data, [0.1], [rng()], **many, lr=0.1)
    TypeError: sweep: expected the rates as lrs, got a setting lr or params
sweep([net()], data, [0.1], [rng()], **many, probe=3)
    TypeError: sweep: expected probe to be a function, got int
sweep([net()], data, [0.1], [rng()], **many | {"steps": 0})
    ValueError: sweep: expected steps >= 1, got 0
sweep([net()], data, [0.1], [rng()], **many | {"batch_size": 7})
    ValueError: sweep: expected batch_size from 1 to 6, got 7
sweep([net()], data._replace(y_train=y + 1), [0.1], [rng()], **many)
    ValueError: sweep: expected data.y_train from 0 to 2, got 1 to 3
sweep([net()], data._replace(y_val=y[:, None]), [0.1], [rng()], **many)
    ValueError: sweep: expected data.y_val of shape (N,), N > 0, one label for each of 6
        inputs, got (6, 1): use data.y_val[:, 0]
sweep([net().eval()], data, [0.1], [rng()], **many)
    ValueError: sweep: expected networks in training mode
sweep_rates(build, data, [], [0], **many)
    ValueError: sweep_rates: expected at least one item in rates, got none
sweep_rates(build, data, [np.inf], [0], **many)
    ValueError: sweep_rates: expected a finite rate >= 0, got inf
sweep_rates(build, data, [0.1], 0, **many)
    TypeError: sweep_rates: expected seeds to be a sequence, got int
sweep_rates(build, data, [0.1], [0.5], **many)
    TypeError: sweep_rates: expected each of seeds to be an int, got float 0.5
sweep_rates(build, data, [0.1], [-1], **many)
    ValueError: sweep_rates: expected each of seeds >= 0, got -1
sweep_rates(build, data, [0.1], [None], **many)
    TypeError: sweep_rates: expected each of seeds to be an int, got NoneType None
best_rate([0.1, np.nan, 0.3], np.ones((3, 2)))
    ValueError: best_rate: expected a finite rate >= 0, got nan
best_rate([0.3, 0.2, 0.1], np.ones((3, 2)))
    ValueError: best_rate: expected rates in rising order, got [0.3, 0.2, 0.1]
best_rate(["a", "b", "c"], np.ones((3, 2)))
    TypeError: best_rate: expected rate to be a number, got str 'a'
best_rate([0.1, 0.2, 0.3], np.ones((2, 3)))
    ValueError: best_rate: expected scores of shape (3, seeds), got (2, 3)
best_rate([0.1, 0.2, 0.3], np.ones(3))
    ValueError: best_rate: expected scores of shape (3, seeds), got (3,)
best_rate([0.1, 0.2, 0.3], np.ones((3, 0)))
    ValueError: best_rate: expected scores of shape (3, seeds), got (3, 0)
best_rate([0.1, 0.2, 0.3], [["a"], ["b"], ["c"]])
    TypeError: best_rate: expected scores to hold real numbers, got <U1
best_rate([0.1, 0.2, 0.3], [[1], [1, 2], [3]])
    TypeError: best_rate: expected scores to hold real numbers, got [[1], [1, 2], [3]]
stack(net())
    TypeError: stack: expected each of nets to be a Sequential, got Linear
stack([])
    ValueError: stack: expected at least one item in nets, got none
stack([Linear(2, 2)])
    TypeError: stack: expected each of nets to be a Sequential, got Linear
stack([Sub(Linear(2, 2))])
    TypeError: stack: expected each of nets to be a Sequential, got Sub
stack([Sequential(), Sequential()])
    ValueError: stack: expected networks of one architecture, got [0, 0] layers
stack([Sequential(LayerNorm((2, 3)))])
    ValueError: stack: expected a LayerNorm over one axis, got normalized_shape=(2, 3)
stack([Sequential(Flatten())])
    TypeError: stack: expected a layer that can be stacked, got Flatten: a lane has samples
        of shape (N, C), so Linear, BatchNorm1d, LayerNorm, GroupNorm, RMSNorm, Dropout,
        activations, or a class of yours with a static method stack(layers)
stack([counted(0), counted(1)])
    ValueError: stack: expected one num_batches_tracked in all networks, got [0, 1]
LaneLinear([])
    ValueError: LaneLinear: expected at least one item in layers, got none
LaneLinear([ReLU()])
    TypeError: LaneLinear: expected each of layers to be a Linear, got ReLU
LaneLinear([Linear(2, 2), Linear(2, 3)])
    ValueError: LaneLinear: expected layers of one kind, got [Linear(2, 2, bias=True),
        Linear(2, 3, bias=True)]
LaneLinear([Linear(4, 2)] * 3)(np.ones((6, 5), np.float32))
    ValueError: LaneLinear: expected x of shape (N, 4) or (N, 12), got (6, 5)
LaneLinear([Linear(4, 2)] * 3).backward(x)
    ValueError: LaneLinear.backward: expected a forward call first
LaneRMSNorm([LayerNorm(2)])
    TypeError: LaneRMSNorm: expected each of layers to be a RMSNorm, got LayerNorm
LaneRMSNorm([RMSNorm((2, 2))])
    ValueError: LaneRMSNorm: expected a RMSNorm over one axis, got normalized_shape=(2, 2)
LaneRMSNorm([RMSNorm(2), RMSNorm(2, 0.5)])
    ValueError: LaneRMSNorm: expected layers of one kind, got [RMSNorm((2,), eps=None,
        elementwise_affine=True), RMSNorm((2,), eps=0.5, elementwise_affine=True)]
LaneRMSNorm([RMSNorm(2)] * 3)(x)
    ValueError: LaneRMSNorm: expected x of shape (N, 6), got (6, 4)
LaneRMSNorm([RMSNorm(2)] * 2)(x.astype(float))
    TypeError: LaneRMSNorm: x is float64, the layer float32: use x.astype(np.float32) or
        dtype=float
LaneDropout([ReLU()])
    TypeError: LaneDropout: expected each of layers to be a Dropout, got ReLU
LaneDropout([Dropout(0.5)] * 3)(x)
    ValueError: LaneDropout: expected x of shape (N, 3·C), got (6, 4)
LaneDropout([Dropout(0.5)] * 2)(x.tolist())
    TypeError: LaneDropout: expected x to be a NumPy array, got list
for_lanes(x, x, 2)
    TypeError: for_lanes: expected net to be a Sequential, got ndarray
for_lanes(net(), x[0], 2)
    ValueError: for_lanes: expected x of shape (N, in), got (4,)
for_lanes(net(), x, 2.0)
    TypeError: for_lanes: expected lanes to be an int, got float 2.0
lane_losses(x, y)
    ValueError: lane_losses: expected logits of shape (N, lanes, classes), got (6, 4)
lane_losses(x[:, None], y)
    ValueError: lane_losses: expected target of shape (6, 1), got (6,)
lane_losses(x[:, None], y[:, None] / 1.0)
    TypeError: lane_losses: expected target of an integer dtype, got float64
lane_losses(x[:, None], y[:, None] + 2)
    ValueError: lane_losses: expected target from 0 to 3, got 2 to 4
lane_losses(x[:0, None], y[:0, None])
    ValueError: lane_losses: expected logits of shape (N, lanes, classes), got (0, 1, 4)
lane_losses(y[:, None, None], y[:, None])
    TypeError: lane_losses: expected logits of a floating dtype, got int64
lane_accuracy(stack([net()] * 2), x, y[:, None], 2)
    ValueError: lane_accuracy: expected y of shape (N,), N > 0, one label for each of 6
        inputs, got (6, 1): use y[:, 0]
lane_accuracy(stack([net()] * 2), x, y, 0)
    ValueError: lane_accuracy: expected lanes >= 1, got 0
lane_accuracy(stack([net()] * 2), x, y, 5)
    ValueError: lane_accuracy: expected a network of 5 lanes, got outputs of shape (6, 6)
lane_accuracy(stack([net()] * 2), x, y + 3, 2)
    ValueError: lane_accuracy: expected y from 0 to 2, got 3 to 5
lane_accuracy(stack([net()] * 2), x[:0], y[:0], 2)
    ValueError: lane_accuracy: expected y of shape (N,), N > 0, one label for each of 0
        inputs, got (0,)
lane_accuracy(x, x, y, 2)
    TypeError: lane_accuracy: expected net to be a Sequential, got ndarray
trace(x, x, y)
    TypeError: trace: expected net to be a Sequential, got ndarray
trace(net(), x, y[:, None])
    ValueError: trace: expected y of shape (N,), N > 0, one label for each of 6 inputs, got
        (6, 1): use y[:, 0]
trace(net(), x, y + 1)
    ValueError: trace: expected y from 0 to 2, got 1 to 3
trace(net(), x.tolist(), y)
    TypeError: trace: expected x to be a NumPy array, got list
trace(net(), x, y, lanes=1.5)
    TypeError: trace: expected lanes to be an int, got float 1.5
trace(stack([net()] * 2), x, y, lanes=4)
    ValueError: trace: expected a network of 4 lanes with outputs of shape (N, lanes·classes),
        got (6, 6)
percentiles(x.tolist())
    TypeError: percentiles: expected a to be a NumPy array, got list
percentiles(x, (15, 101))
    ValueError: percentiles: expected each of percent between 0 and 100, got 101
percentiles(x, 15)
    TypeError: percentiles: expected percent to be a sequence, got int
percentiles(x[0])
    ValueError: percentiles: expected a of shape (N, C), (N, lanes, C) or (N, C, H, W), not
        empty, got (4,)
percentiles(x[:0])
    ValueError: percentiles: expected a of shape (N, C), (N, lanes, C) or (N, C, H, W), not
        empty, got (0, 4)
rms(y[:, None])
    TypeError: rms: expected a of a floating dtype, got int64
rms(x[0])
    ValueError: rms: expected a of shape (N, C), (N, lanes, C) or (N, C, H, W), not empty, got
        (4,)
saturated(x, low=1, high=0)
    ValueError: saturated: expected (low, high) as a pair of finite numbers that rise, got (1,
        0)
saturated(x, low=np.nan)
    ValueError: saturated: expected (low, high) as a pair of finite numbers that rise, got
        (nan, 1.0)
saturated(x, tail=-1)
    ValueError: saturated: expected tail between 0 and 0.5, got -1
saturated("x")
    TypeError: saturated: expected a to be a NumPy array, got str
dead(x > 0)
    TypeError: dead: expected a of a floating dtype, got bool
dead(x[:, :0])
    ValueError: dead: expected a of shape (N, C), (N, lanes, C) or (N, C, H, W), not empty,
        got (6, 0)
update_ratios(x, 0.1)
    TypeError: update_ratios: expected seen to be a Trace, got ndarray
update_ratios(trace(net(), x, y), -1)
    ValueError: update_ratios: expected a finite lr >= 0, got -1.0
update_ratios(trace(net(), x, y), [0.1, 0.2])
    ValueError: update_ratios: expected lr of shape (), got (2,)
update_ratios(trace(net(), x, y), "0.1")
    TypeError: update_ratios: expected lr to hold real numbers, got <U3
drift(x)
    ValueError: drift: expected bands of shape (evaluations, 3, ...), got (6, 4)
drift([[1, 2, 3], [4, 5]])
    TypeError: drift: expected bands to hold real numbers, got [[1, 2, 3], [4, 5]]
drift(x[:, :3], relative=1)
    TypeError: drift: expected relative to be True or False, got int 1
Data(*[[1]] * 6, (), "").flat()
    TypeError: Data.flat: expected x_train to be a NumPy array, got list
digits(2.5)
    TypeError: digits: expected each split size to be an int, got float 2.5
digits(-1)
    ValueError: digits: expected each split size >= 0, got -1
digits(True)
    TypeError: digits: expected each split size to be an int, got bool True
digits(2, 2, 2, seed=-1)
    ValueError: digits: expected seed >= 0, got -1
digits(2, 2, 2, seed=0.5)
    TypeError: digits: expected seed to be an int, got float 0.5
digits(2, 2, 2, seed="0")
    TypeError: digits: expected seed to be an int, got str '0'
digits(2, 2, 2, fonts=[3])
    ValueError: digits: expected fonts from FONTS, got [3]
shapes("2")
    TypeError: shapes: expected each split size to be an int, got str '2'
shapes(2, 2, 2, seed="a")
    TypeError: shapes: expected seed to be an int, got str 'a'
small_digits(seed=1.0)
    TypeError: small_digits: expected seed to be an int, got float 1.0
mnist(3)
    TypeError: read_mnist: expected folder to be a path, got int
mnist(".", n_val=-1)
    ValueError: mnist: expected each split size >= 0, got -1
mnist(".", n_train=None, n_val=None)
    ValueError: mnist: expected one of n_train and n_val, got None for both
mnist(".", seed=None)
    TypeError: mnist: expected seed to be an int, got NoneType None
batches(x.tolist(), y, 2, rng())
    TypeError: batches: expected x to be a NumPy array, got list
batches(x, y.tolist(), 2, rng())
    TypeError: batches: expected y to be a NumPy array, got list
batches(x, y[:5], 2, rng())
    ValueError: batches: expected as many labels as inputs, 6, got 5
batches(x, y, 0, rng())
    ValueError: batches: expected batch_size >= 1, got 0
batches(x, y, 2.0, rng())
    TypeError: batches: expected batch_size to be an int, got float 2.0
batches(x, y, 7, rng())
    ValueError: batches: expected batch_size from 1 to 6, got 7
batches(x, y, 2, 0)
    TypeError: batches: expected rng to be a numpy.random.Generator, got int: use
        np.random.default_rng(0)
batches(x, y, 2, rng(), drop_last=1)
    TypeError: batches: expected drop_last to be True or False, got int 1
batches(np.array(1), y, 2, rng())
    ValueError: batches: expected x of shape (N, ...), got ()
draw_digits(y + 8, rng())
    ValueError: draw_digits: expected labels from 0 to 9, got 8 to 10
draw_digits(y / 1.0, rng())
    TypeError: draw_digits: expected labels of an integer dtype, got float64
draw_digits(y[:, None], rng())
    ValueError: draw_digits: expected labels of shape (N,), N > 0, one label for each of 6
        inputs, got (6, 1): use labels[:, 0]
draw_digits(y, 0)
    TypeError: draw_digits: expected rng to be a numpy.random.Generator, got int: use
        np.random.default_rng(0)
draw_digits(y, rng(), fonts=())
    ValueError: draw_digits: expected fonts from FONTS, got ()
draw_shapes(y - 1, rng())
    ValueError: draw_shapes: expected labels from 0 to 9, got -1 to 1
draw_shapes(y, None)
    TypeError: draw_shapes: expected rng to be a numpy.random.Generator, got NoneType: use
        np.random.default_rng()
glyphs("Arial")
    ValueError: glyphs: expected fonts from FONTS, got ('Arial',)
smooth_field(-1, rng())
    ValueError: smooth_field: expected n >= 0, got -1
smooth_field(2, rng(), spacing=0)
    ValueError: smooth_field: expected spacing >= 1, got 0
smooth_field(2, 0)
    TypeError: smooth_field: expected rng to be a numpy.random.Generator, got int: use
        np.random.default_rng(0)
outline("blob", x, x)
    ValueError: outline: expected one of ('disc', 'square', 'triangle', 'ring', 'plus',
        'rows', 'columns', 'diamond', 'star', 'checker'), got 'blob'
outline("disc", x, x[0])
    ValueError: outline: expected v of shape (6, 4), got (4,)
outline("disc", 1.0, x)
    TypeError: outline: expected u to be a NumPy array, got float
read_idx(3)
    TypeError: read_idx: expected path to be a path, got int
read_mnist(3, "train")
    TypeError: read_mnist: expected folder to be a path, got int
read_mnist(".", "test")
    ValueError: read_mnist: expected part 'train' or 't10k', got 'test'
claims.check(3, [1] * 5)
    TypeError: check: expected id_ to be a str, got int
claims.judge("gain", [1] * 5)
    TypeError: judge: expected claim to be a Claim, got str
claims.judge(claim, [1] * 5)
    TypeError: judge: expected measured to be a dict, got list
claims.judge(claim, {"all": ["a"] * 5})
    TypeError: judge: expected all of gain to hold real numbers, got <U1
claims.judge(claim, {"all": [1j] * 5})
    TypeError: judge: expected all of gain to hold real numbers, got complex128
claims.judge(claim, {"all": [[1], [1, 2]]})
    TypeError: judge: expected all of gain to hold real numbers, got [[1], [1, 2]]
claims.markdown(claim, claim)
    TypeError: markdown: expected result to be a Result, got Claim
claims.markdown(claim, claims.Result("gain", {"b": [1, 1, 1, 5, "undecided"]}))
    ValueError: markdown: expected a result of gain with the parts ['all'], got
        Result(id='gain', parts={'b': [1, 1, 1, 5, 'undecided']})
claims.box(claim, claim)
    TypeError: markdown: expected result to be a Result, got Claim
claims.interval("a")
    TypeError: interval: expected values to hold real numbers, got <U1
claims.interval([])
    ValueError: interval: expected values of shape (n,), got (0,)
claims.interval([1, 2], level=2)
    ValueError: interval: expected level between 0 and 1, got 2
shades("theory")
    ValueError: shades: expected one of ['none', 'batch', 'layer', 'group', 'instance', 'dropout'],
        got 'theory'
shades("batch", 1)
    ValueError: shades: expected n >= 2, got 1
shades("batch", 2.0)
    TypeError: shades: expected n to be an int, got float 2.0
claims.bootstrap([0, 1])
    ValueError: bootstrap: expected lead of shape (seeds, samples), got (2,)
claims.bootstrap([[np.nan, 1]])
    ValueError: bootstrap: expected numbers (seeds, samples), got [[nan  1.]]
claims.bootstrap([[0, 1]], draws=0)
    ValueError: bootstrap: expected draws >= 1, got 0
claims.bootstrap([[0, 1]], level=-1)
    ValueError: bootstrap: expected level between 0 and 1, got -1
claims.overall([3])
    TypeError: overall: expected each result to be a Result, got int
claims.fingerprint("gain")
    TypeError: fingerprint: expected claim to be a Claim, got str
claims.confirmed("gain")
    TypeError: confirmed: expected claim to be a Claim, got str
claims.confirmed(claim, "old")
    ValueError: confirmed: expected how as one of ['drawn', 'mnist', 'longer'], got 'old'
claims.restored(3)
    TypeError: restored: expected stored to be a dict, got int
trial.seeds("5")
    TypeError: seeds: expected n to be an int, got str '5'
trial.steps(1.5)
    TypeError: steps: expected n to be an int, got float 1.5
claims.ledger([claim], {})
    TypeError: ledger: expected claims to be a dict, got list
claims.ledger({"gain": claim}, {})
    ValueError: ledger: expected a result for each claim, got none for ['gain']
claims.stored_results(3)
    TypeError: stored_results: expected book to be a path, got int
scores(None, [1, 2], [[1], [2]])
    TypeError: scores: expected ax to be an Axes, got NoneType
scores(ax, [0, 1], [[1], [2]])
    ValueError: scores: expected finite x > 0, got [0. 1.]
scores(ax, [1, 2], [1, 2])
    ValueError: scores: expected values of shape (2, seeds), got (2,)
scores(ax, ["a", "b"], [[1], [2]])
    TypeError: scores: expected x to hold real numbers, got <U1
scores(ax, [1, 2], [[1], [2]], best=2)
    ValueError: scores: expected best < 2, got 2
scores(ax, [1, 2], [[1], [2]], best=-1)
    ValueError: scores: expected best >= 0, got -1
scores(ax, [1, 2], [[1], [2]], color="blurple")
    ValueError: color_of: expected a colour or one of ['none', 'batch', 'layer', 'group',
        'instance', 'dropout', 'theory'], got 'blurple'
heat_map(ax, [1, 2], ["a"], ["b", "c"])
    ValueError: heat_map: expected values of shape (rows, columns), got (2,)
heat_map(ax, [[1, 2]], ["a"], ["b"])
    ValueError: heat_map: expected 2 columns, got 1
heat_map(ax, [[1, 2]], "a", ["b", "c"])
    TypeError: heat_map: expected rows to be a sequence, got str
heat_map(ax, [["1", "2"]], ["a"], ["b", "c"])
    TypeError: heat_map: expected values to hold real numbers, got <U1
heat_map(ax, [[1, 2]], ["a"], ["b", "c"], text=2)
    TypeError: heat_map: expected text to be a str, got int
ridge(ax, [[1], []], ["a", "b"], (0, 1))
    ValueError: ridge: expected each of arrays of shape (...), not empty, got (0,)
ridge(ax, [[1], [2]], ["a"], (0, 1))
    ValueError: ridge: expected 2 names, got 1
ridge(ax, [[1]], ["a"], (1, 0))
    ValueError: ridge: expected limits as a pair of finite numbers that rise, got (1, 0)
ridge(ax, [[1]], ["a"], (0, "1"))
    TypeError: ridge: expected limits as a pair of finite numbers that rise, got (0, '1')
ridge(ax, [[1]], ["a"], (0, np.nan))
    ValueError: ridge: expected limits as a pair of finite numbers that rise, got (0, nan)
ridge(ax, [[1]], ["a"], (0, 1), bins=0)
    ValueError: ridge: expected bins >= 1, got 0
ridge(ax, 3, ["a"], (0, 1))
    TypeError: ridge: expected arrays to be a sequence, got int
band(ax, [1, 2], [[1, 2, 3]])
    ValueError: band: expected runs of shape (seeds, 2), got (1, 3)
band(ax, [1, 2], [])
    ValueError: band: expected runs of shape (seeds, 2), got (0,)
band(ax, [1, 2], [["a", "b"]])
    TypeError: band: expected runs to hold real numbers, got <U1
band(ax, [1, 2], [[1, 2]], percent=(0, 101))
    ValueError: band: expected each of percent between 0 and 100, got 101
band(ax, [1, 2], [[1, 2]], percent=(50,))
    ValueError: band: expected percent as a pair, got (50,)
band(3, [1, 2], [[1, 2]])
    TypeError: band: expected ax to be an Axes, got int
color_of(None, "blurple")
    ValueError: color_of: expected a colour or one of ['none', 'batch', 'layer', 'group',
        'instance', 'dropout', 'theory'], got 'blurple'
label_lines(None)
    TypeError: label_lines: expected ax to be an Axes, got NoneType
sheet(ax, x)
    ValueError: sheet: expected x of shape (N, 1 or 3, H, W), got (6, 4)
sheet(ax, [[[[0.5]]]])
    TypeError: sheet: expected x to be a NumPy array, got list
sheet(ax, np.ones((2, 1, 3, 3)), columns=0)
    ValueError: sheet: expected columns >= 1, got 0
norm_axes(0)
    ValueError: norm_axes: expected c >= 1, got 0
norm_axes(6, groups=4)
    ValueError: norm_axes: expected groups to divide c = 6, got 4
norm_axes(6.0)
    TypeError: norm_axes: expected c to be an int, got float 6.0
graph(ax, [("x", 0, 0)], [])
    TypeError: graph: expected nodes to be a dict, got list
graph(ax, {"x": (0, 0)}, [])
    ValueError: graph: expected node 'x' as (x, y, label), got (0, 0)
graph(ax, {"x": (0, "0", "x")}, [])
    TypeError: graph: expected each place of node 'x' to be a number, got str '0'
graph(ax, nodes, [("x", "y")])
    ValueError: graph: expected each edge as (start, end, forward) or (start, end, forward,
        backward), got ('x', 'y')
graph(ax, nodes, [("x", "z", None)])
    ValueError: graph: expected nodes among ['x', 'y'], got ['z']
graph(ax, nodes, [], highlight=3)
    TypeError: graph: expected highlight to be a sequence, got int
animate(ax, print, ["a", "b"], "A line.")
    TypeError: animate: expected figure to be a Figure, got Axes
animate(ax.figure, None, ["a", "b"], "A line.")
    TypeError: animate: expected draw to be a function, got NoneType
animate(ax.figure, print, "ab", "A line.")
    TypeError: animate: expected names to be a sequence, got str
animate(ax.figure, print, ["a"], "A line.")
    ValueError: animate: expected 2 frames or more and an alt text, got 1, 'A line.'
animate(ax.figure, print, ["a", "b"], " ")
    ValueError: animate: expected 2 frames or more and an alt text, got 2, ' '
animate(ax.figure, print, ["a", "b"], None)
    TypeError: animate: expected alt to be a str, got NoneType
animate(ax.figure, print, ["a", "b"], "A line.", pause=0)
    ValueError: animate: expected pause >= 1, got 0
animate(ax.figure, print, ["a", "b"], "A line.", dpi="80")
    TypeError: animate: expected dpi to be an int, got str '80'
read(3)
    TypeError: read: expected name to be a str, got int
read("costs")
    ValueError: read: expected one of ['cost', 'depth-budgets', 'fast-kernel', 'fast-kernel-gpu',
        'flax'], got 'costs'
show(3)
    TypeError: show: expected name to be a str, got int
show("bach")
    ValueError: show: no explorer 'bach'; did you mean 'batch'?
"""


class Sub(Sequential):
    """It might do more than run its layers."""


def build(rng):
    return Sequential(Linear(4, 8, rng=rng), BatchNorm1d(8), Linear(8, 3, rng=rng))


def counted(batches):
    net = Sequential(BatchNorm1d(2))
    net[0].num_batches_tracked[...] = batches
    return net


def public():
    """Return all public functions and classes of the laboratory that take arguments, by name."""
    found = {}
    for info in pkgutil.iter_modules(bnlib.lab.__path__, "bnlib.lab."):
        if info.name == "bnlib.lab.exercises":  # test_exercises.py asks them
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            own = getattr(thing, "__module__", None) == info.name
            if own and callable(thing):
                found[name] = thing
    return found


@pytest.fixture
def names():
    """Return what the calls of the table can use."""
    rng = np.random.default_rng
    x = rng(0).standard_normal((6, 4)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1, 2])
    nets = [build(rng(0))]
    fig, ax = plt.subplots()
    stated = {"all": [0.5, 2.0]}
    words = ("gain", "3-evidence/speed", "X gains.", "ours", "Gain")
    yield {
        **public(),
        **{"BatchNorm2d": BatchNorm2d, "Dropout": Dropout, "Flatten": Flatten},
        **{"LayerNorm": LayerNorm, "Linear": Linear, "ReLU": ReLU, "RMSNorm": RMSNorm},
        **{"Sequential": Sequential, "Sub": Sub, "counted": counted, "build": build},
        **{"np": np, "x": x, "y": y, "ax": ax, "claims": claims, "trial": trial},
        "data": Data(x, y, x, y, None, None, ("a", "b", "c"), "toy"),
        "rng": lambda: rng(0),
        "net": lambda: nets[0],
        "sgd": lambda: SGD(nets[0].parameters(), 0.1),
        "run": {"steps": 2, "batch_size": 4, "rng": rng(0)},
        "many": {"steps": 2, "batch_size": 4},
        "runs": lambda: History(*np.zeros((5, 3)), []),
        "claim": claims.Claim(*words, 1.0, np.inf, stated),
        "nodes": {"x": (0, 0, "x"), "y": (1, 0, "y")},
    }
    plt.close(fig)


def cases():
    """Return the calls of the table, each with its error and message."""
    lines = CASES.strip().replace("\n        ", " ").replace("\n    ", " | ")
    params = []
    for line in lines.splitlines():
        expression, outcome = line.rsplit(" | ", 1)
        error, message = outcome.replace("FONTS", str(FONTS)).split(": ", 1)
        params.append(pytest.param(expression, error, message, id=expression))
    return params


@pytest.mark.parametrize(("expression", "error", "message"), cases())
def test_nonsense_is_refused_by_name(expression, error, message, names, monkeypatch):
    monkeypatch.delenv("BNLIB_MNIST", raising=False)
    net, arrays = names["net"](), (names["x"], names["y"])
    before = state_of(net), fingerprint(*arrays)
    modes = [module.training for module in net.modules()]
    evaluation = ".eval()" in expression
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(expression, names)
    assert (type(raised.value).__name__, str(raised.value)) == (error, message)
    if evaluation:
        net.train()
    assert (state_of(net), fingerprint(*arrays)) == before
    assert [module.training for module in net.modules()] == modes
    assert all(module.cache is None for module in net.modules())


def test_each_public_function_is_asked():
    for name, thing in public().items():
        if inspect.isclass(thing) and issubclass(thing, (tuple, Exception)):
            continue
        if inspect.signature(thing).parameters:
            assert f"{name}(" in CASES, name
