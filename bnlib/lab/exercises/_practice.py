"""Checks of the exercises of Part 6, practice."""

import copy
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bnlib import Sequential
from bnlib import functional as F
from bnlib._types import Array
from bnlib.lab.exercises._core import (
    AnswerError,
    Calls,
    Function,
    Given,
    Rng,
    Value,
    as_answer,
    as_array,
    as_arrays,
    exercise,
    expect,
    kind_of,
    match,
    near,
)
from bnlib.layers import Linear, ReLU
from bnlib.norm import BatchNorm1d, LayerNorm

FRAMEWORKS = "6-practice/keras-and-pytorch"
FOLDING = "6-practice/folding"
COST = "6-practice/cost"
KERNEL = "6-practice/fast-kernel"
MACHINES = "6-practice/many-machines"
TUNING = "6-practice/fine-tuning"
MODES = "6-practice/field-guide-modes"
CODE = "6-practice/field-guide-code"


@exercise(
    "ex-frameworks-count",
    Value((2,)),
    reread=(FRAMEWORKS, "Every parameter"),
    hints=(
        "a dense layer has weights and biases. What does a batch normalization hold for each "
        "channel?",
        "four numbers per channel, and the optimizer moves two of them.",
        "the two dense layers have 5,050 and 510 parameters. Add what each library counts for "
        "the 50 channels.",
    ),
)
def frameworks_count(answer: Given, rng: Rng) -> None:
    """Compare what the two libraries print as the number of parameters."""
    dense, channels = 100 * 50 + 50 + 50 * 10 + 10, 50
    keras, torch = dense + 4 * channels, dense + 2 * channels
    answer.match(
        (keras, torch),
        "these are not the two counts.",
        known={
            "first Keras, then PyTorch.": (torch, keras),
            "the libraries do not agree: is a running mean a parameter in PyTorch?": (
                (keras, keras)
            ),
            "the libraries do not agree: Keras counts all weights.": (torch, torch),
            "you have counted two numbers per channel where a layer holds four.": (
                (torch, dense)
            ),
            "γ and β are learned in PyTorch too.": (keras, dense),
            "the biases of the dense layers are missing.": (keras - 60, torch - 60),
            "there are γ, β and statistics for each channel.": (dense + 4, dense + 2),
        },
    )


def two_norms(rng: Rng, features: int, eps: float) -> Sequential:
    """Return a network with two batch normalizations, nothing in it as in a new one."""
    net = Sequential(
        Linear(5, features, dtype=float, rng=rng),
        BatchNorm1d(features, eps, dtype=float),
        ReLU(),
        Linear(features, 3, dtype=float, rng=rng),
        BatchNorm1d(3, eps, dtype=float),
    )
    for bn in (net[1], net[4]):
        c = bn.num_features
        bn.weight.data[...], bn.bias.data[...] = (
            rng.uniform(0.5, 2, c),
            rng.normal(0, 1, c),
        )
        bn.running_mean[...], bn.running_var[...] = (
            rng.normal(0, 1, c),
            rng.uniform(0.2, 2, c),
        )
    return net.eval()


@exercise(
    "ex-frameworks-eps",
    Function("move_eps(state, old, new)"),
    reread=(FRAMEWORKS, "Carry the weights across"),
    hints=(
        "ε enters the layer at one place only, beside one of the arrays.",
        "the network computes the same if the sum under the root stays what it was.",
        "what has to be added to each running variance? Mind the sign, and leave everything "
        "else alone.",
    ),
    setup=lambda rng: {"state": two_norms(rng, 4, 1e-3).state_dict()},
)
def frameworks_eps(answer: Calls, rng: Rng) -> None:
    """Compare the outputs of a network with the old ε, and of one with the new."""
    for features, old, new in ((4, 1e-3, 1e-5), (3, 1e-5, 1e-3), (6, 0.1, 1e-5)):
        source, target = two_norms(rng, features, old), two_norms(rng, features, new)
        state, x = source.state_dict(), rng.standard_normal((20, 5))
        found = answer(state, old, new)
        expect(
            isinstance(found, dict) and found.keys() == state.keys(),
            "expected your function to return a dict with the names of `state`.",
        )

        def output(
            changed: dict[str, Any], net: Sequential = target, x: Array = x
        ) -> Array:
            net.load_state_dict({k: np.asarray(v) for k, v in changed.items()})
            return net(x)

        def shifted(step: float, state: dict[str, Any] = state) -> dict[str, Any]:
            return {
                k: v + step if k.endswith("running_var") else v
                for k, v in state.items()
            }

        def only_first(state: dict[str, Any] = state, d: float = old - new) -> Any:
            return state | {"1.running_var": state["1.running_var"] + d}

        match(
            output(found),
            source(x),
            "with the new ε the network does not compute what it did with the old one.",
            {
                "nothing has changed: the outputs feel the other ε.": output(state),
                "the wrong sign: the sum under the root moved away from the old one.": (
                    output(shifted(new - old))
                ),
                "the layer adds its own ε to your variance.": output(shifted(old)),
                "the network has a second normalization.": output(only_first()),
            },
            rtol=1e-6,
        )


@exercise(
    "ex-frameworks-pool",
    Value(),
    reread=(FRAMEWORKS, "Every parameter"),
    hints=(
        "how many numbers does the average leave of each image?",
        "one for each channel. They are the inputs of the dense layer.",
        "add up: the convolution with its biases, γ and β, the dense layer with its biases.",
    ),
)
def frameworks_pool(answer: Given, rng: Rng) -> None:
    """Compare the number of learned parameters."""
    right = 9 * 3 * 32 + 32 + 2 * 32 + 32 * 10 + 10
    answer.match(
        right,
        "this is not the number of learned parameters.",
        known={
            "the running statistics are kept, and not learned.": right + 64,
            "γ and β are learned.": right - 64,
            "the dense layer has biases.": right - 10,
            "the convolution has biases.": right - 32,
            "the convolution and the dense layer have biases.": right - 42,
            "that is the network with `Flatten`.": right - 320 + 320 * 62 * 62,
            "that is the dense layer alone.": 330,
        },
    )


@exercise(
    "ex-frameworks-lag",
    Value((2,), tolerance=0.1),
    reread=(FRAMEWORKS, "As they come out of the box"),
    hints=(
        "each step multiplies what is left of the start value by the same factor.",
        "the factors are 0.99 and 0.9: which library calls which number its momentum?",
        "solve factorᵗ < 0.01 with logarithms, and round up.",
    ),
)
def frameworks_lag(answer: Given, rng: Rng) -> None:
    """Compare the numbers of steps after which less than 1 % of the start is left."""
    exact = np.log(0.01) / np.log([0.99, 0.9])
    answer.match(
        np.ceil(exact),
        "these are not the two numbers of steps.",
        known={
            "first Keras, then PyTorch.": np.ceil(exact)[::-1],
            "PyTorch's 0.1 is the weight of the new batch, not of the old value.": (
                (459, 2)
            ),
            "Keras' 0.99 is the weight of the old value.": (2, 44),
            "a step earlier more than 1 % is still left.": np.floor(exact),
            "a step is a whole number: round up.": exact,
            "that is 1/α. Then about a third is still left.": (100, 10),
            "what is left falls by a factor a step, not by an amount.": (99, 10),
        },
    )


@exercise(
    "ex-frameworks-forget",
    Value((3,), tolerance=0.01),
    reread=(FRAMEWORKS, "Carry the weights across"),
    hints=(
        "an output is divided by the root of variance plus ε. Form the quotient of two such "
        "outputs.",
        "two layers of one channel, the same running variance, another `eps`, evaluation mode.",
        "divide the output of the layer with 10⁻⁵ by that of the layer with 10⁻³.",
    ),
)
def frameworks_forget(answer: Given, rng: Rng) -> None:
    """Compare how much too large the outputs are, for three running variances."""
    var = np.array([1, 1e-2, 1e-4])
    ratio = (var + 1e-3) / (var + 1e-5)
    answer.match(
        np.sqrt(ratio),
        "these are not the three factors.",
        known={
            "that is the ratio of the variances. The output divides by a root.": ratio,
            "upside down: with the smaller ε outputs are larger.": 1 / np.sqrt(ratio),
            "upside down, and without the root.": 1 / ratio,
            "that holds for a variance of 0 only.": np.full(3, 10.0),
            "in one of the three channels ε is larger than the variance.": np.ones(3),
            "in another order: first the variance 1.": np.sqrt(ratio)[::-1],
        },
    )


@exercise(
    "ex-folding-four",
    Value((2,), tolerance=0.01),
    reread=(FOLDING, "The derivation"),
    hints=(
        "the slope first: γ over the root of the running variance.",
        "put u = 0 through both layers. What comes out is the new bias.",
        "the slope is 2. The old bias goes through it too, after the mean was subtracted.",
    ),
)
def folding_four(answer: Given, rng: Rng) -> None:
    """Compare weight and bias of one folded unit."""
    w, b, mean, var, gamma, beta = 0.5, 3, 4, 9, 6, 1
    a = gamma / np.sqrt(var)
    shift = a * (b - mean) + beta
    answer.match(
        (a * w, shift),
        "u = 0 and u = 1 do not give what the two layers give.",
        known={
            "the old bias goes through the slope as well.": (
                (a * w, b - a * mean + beta)
            ),
            "the mean goes through the slope as well.": (a * w, a * b - mean + beta),
            "the old bias is lost.": (a * w, beta - a * mean),
            "the mean is subtracted, not added.": (a * w, a * (b + mean) + beta),
            "β is missing.": (a * w, a * (b - mean)),
            "β comes last: the slope does not reach it.": (
                (a * w, a * (b - mean + beta))
            ),
            "the slope divides by the variance, not by its root.": (
                (gamma / var * w, gamma / var * (b - mean) + beta)
            ),
            "γ is missing in the slope.": (w / 3, (b - mean) / 3 + beta),
            "the weight is still the old one.": (w, shift),
            "first the weight, then the bias.": (shift, a * w),
        },
    )


def vectors(rng: Rng, c: int) -> tuple[Array, Array, Array, Array]:
    """Return running mean and variance, γ and β, all far from those of a new layer."""
    gamma = rng.uniform(0.5, 2, c) * rng.choice([-1, 1], c)
    return rng.normal(1, 1, c), rng.uniform(0.3, 4, c), gamma, rng.normal(1, 1, c)


@exercise(
    "ex-folding-undo",
    Function("unfold(weight, bias, mean, var, gamma, beta, eps)"),
    reread=(FOLDING, "The derivation"),
    hints=(
        "read the two formulas of the folded layer backwards.",
        "the slope is known: it is made of γ, the running variance and ε. Each belongs to an "
        "output channel, so to a row.",
        "the bias: take β away, divide by the slope, and put the mean back.",
    ),
    setup=lambda rng: {
        "weight": rng.standard_normal((4, 6)),
        "bias": rng.standard_normal(4),
        **dict(zip(("mean", "var", "gamma", "beta"), vectors(rng, 4), strict=True)),
        "eps": 1e-5,
    },
)
def folding_undo(answer: Calls, rng: Rng) -> None:
    """Fold a layer and ask for it back."""
    for inputs, outputs, eps in ((6, 4, 1e-5), (5, 5, 1e-5), (3, 7, 0.1)):
        W, b = rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)
        mean, var, gamma, beta = vectors(rng, outputs)
        a = gamma / np.sqrt(var + eps)
        Wf, bf = W * a[:, None], (b - mean) * a + beta
        weight, bias = answer.arrays(
            *(Wf, bf, mean, var, gamma, beta, eps),
            shapes={"weight": W.shape, "bias": b.shape},
        )
        usual = gamma / np.sqrt(var + 1e-5)
        known = {
            "the slope is multiplied once more: divide by it.": Wf * a[:, None],
            "the slope holds γ too, above the root.": Wf / np.sqrt(var + eps)[:, None],
            "ε is an argument of its own here.": Wf / usual[:, None],
            "the slope holds γ too.": Wf * np.sqrt(var + eps)[:, None],
            "the slope divides by a root.": Wf / (gamma / (var + eps))[:, None],
        }
        if inputs == outputs:
            known["a slope belongs to an output channel, so to a row."] = Wf / a
        match(weight, W, "the weight is not the one before folding.", known)
        match(
            bias,
            b,
            "the bias is not the one before folding.",
            {
                "β was added last, so take it away first.": bf / a - beta + mean,
                "the mean has to be put back.": (bf - beta) / a,
                "the mean has the wrong sign.": (bf - beta) / a - mean,
                "the mean comes back after the division.": (bf - beta + mean) / a,
                "the old bias went through the slope as well.": bf - beta + a * mean,
                "β is still in it.": bf / a + mean,
            },
        )


@exercise(
    "ex-folding-twice",
    Function("fold_both(weight, bias, first, second)"),
    reread=(FOLDING, "The derivation"),
    hints=(
        "after one folding you have a linear layer again.",
        "which of the two layers stands beside the linear one?",
        "the statistics of the second layer belong to the outputs of the first.",
    ),
    setup=lambda rng: {
        "weight": rng.standard_normal((4, 6)),
        "bias": rng.standard_normal(4),
        "first": vectors(rng, 4),
        "second": vectors(rng, 4),
    },
)
def folding_twice(answer: Calls, rng: Rng) -> None:
    """Compare with two batch normalizations, one after the other."""
    for inputs, outputs in ((6, 4), (5, 5), (2, 3)):
        W, b = rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)
        pair = vectors(rng, outputs), vectors(rng, outputs)
        lines = []
        for mean, var, gamma, beta in pair:
            a = gamma / np.sqrt(var + 1e-5)
            lines.append((a, beta - a * mean))
        (a, c), (p, q) = lines
        shapes = {"weight": W.shape, "bias": b.shape}
        weight, bias = answer.arrays(W, b, *pair, shapes=shapes)
        known = {
            "the weight is the old one.": W,
            "only the first layer is folded.": W * a[:, None],
            "only the second layer is folded.": W * p[:, None],
        }
        match(weight, W * (a * p)[:, None], "the weight is wrong.", known)
        match(
            bias,
            p * (a * b + c) + q,
            "the weight is right, and the bias is wrong.",
            {
                "this is what the two layers do in the other order. The weight cannot "
                "tell, the bias does.": a * (p * b + q) + c,
                "the bias goes through both slopes.": b + c + q,
                "the bias goes through the first slope, too.": p * (b + c) + q,
                "what the first gives goes through the second slope.": a * b + c + q,
            },
        )


def prunable(rng: Rng, dead: list[int], inputs: int, hidden: int) -> tuple[Array, ...]:
    """Return a folded pair of linear layers in which some channels are constants."""
    W, b = rng.standard_normal((hidden, inputs)), rng.standard_normal(hidden)
    W[dead] = 0
    b[dead] = (-1.0) ** np.arange(len(dead)) * rng.uniform(0.5, 2, len(dead))
    return W, b, rng.standard_normal((3, hidden)), rng.standard_normal(3)


@exercise(
    "ex-folding-prune",
    Function("prune(weight, bias, next_weight, next_bias)"),
    reread=(FOLDING, "The derivation"),
    hints=(
        "which rows of the folded weight belong to such channels? And what does the next layer "
        "see in their columns?",
        "a constant. It passed a ReLU on its way.",
        "add each constant, times its column, to the next bias. Then drop rows, biases and "
        "columns.",
    ),
    setup=lambda rng: dict(
        zip(
            ("weight", "bias", "next_weight", "next_bias"),
            prunable(rng, [1, 3], 6, 5),
            strict=True,
        )
    ),
)
def folding_prune(answer: Calls, rng: Rng) -> None:
    """Ask for fewer channels and the same function."""
    for dead, inputs, hidden in (
        ([1, 3], 6, 5),
        ([], 4, 4),
        ([0, 2, 3, 5], 5, 6),
        ([4], 5, 5),
    ):
        W, b, V, c = prunable(rng, dead, inputs, hidden)
        if not dead:
            b[1] = W[0, 2] = 0  # neither of them makes a channel constant
        keep = np.setdiff1d(np.arange(hidden), dead)
        shapes = {
            "weight": (len(keep), inputs),
            "bias": (len(keep),),
            "next_weight": (3, len(keep)),
            "next_bias": (3,),
        }
        found = answer(W, b, V, c)
        if isinstance(found, (tuple, list)) and len(found) == 4:
            rows = len(np.atleast_1d(found[0]))
            expect(
                rows <= len(keep), "a channel is left that is the same for each input."
            )
            expect(
                rows >= len(keep),
                "a channel is gone that is not constant. Its bias or one of its weights may be 0.",
            )
        w, beta, v, last = as_arrays(found, shapes)
        x = rng.standard_normal((20, inputs))

        def output(w: Array, b: Array, v: Array, c: Array, x: Array = x) -> Array:
            return np.maximum(x @ w.T + b, 0) @ v.T + c

        rest = W[keep], b[keep], V[:, keep]
        match(
            output(w, beta, v, last).astype(np.result_type(w, np.float32)),
            output(W, b, V, c),
            "the function has changed.",
            {
                "the constants of the dropped channels are lost.": output(*rest, c),
                "a constant below 0 does not pass the ReLU.": (
                    output(*rest, c + V[:, dead] @ b[dead])
                ),
                "the constants have the wrong sign.": (
                    output(*rest, c - V[:, dead] @ np.maximum(b[dead], 0))
                ),
            },
        )


def unlike(rng: Rng) -> dict[str, Any]:
    """Return the weight of a linear layer, and running variances that differ greatly."""
    return {
        "weight": rng.standard_normal((4, 256)),
        "running_var": np.array([1.0, 1e2, 1e4, 1e6]),
    }


@exercise(
    "ex-folding-levels",
    Value((2, 4)),
    reread=(FOLDING, "How equal is equal"),
    hints=(
        "how large are the entries of the folded weight in each row, beside those of the first?",
        "divide by the step, round, and count the different numbers in each row.",
        "for one step per row the largest entry of each row is divided by 127, for one step in "
        "all the largest of the matrix.",
    ),
    setup=unlike,
)
def folding_levels(answer: Given, rng: Rng) -> None:
    """Compare the numbers of levels that each row uses."""
    given = unlike(np.random.default_rng(0))
    W, a = given["weight"], 1 / np.sqrt(given["running_var"] + 1e-5)

    def levels(w: Array, per_row: bool) -> list[int]:
        size = np.abs(w).max(1, keepdims=True) if per_row else np.abs(w).max()
        return [len(np.unique(row)) for row in np.round(w / (size / 127))]

    folded = W * a[:, None]
    one, each = levels(folded, False), levels(folded, True)
    answer.match(
        (one, each),
        "these are not the numbers of levels.",
        known={
            "first one step for all, then one for each row.": (each, one),
            "the second time each row has a step of its own.": (one, one),
            "the first time all rows have one step.": (each, each),
            "that is the weight before folding. Its rows are all of one size.": (
                (levels(W, False), levels(W, True))
            ),
            "the slope divides by the root of the variance.": (
                (levels(W / given["running_var"][:, None], False), each)
            ),
        },
    )


@exercise(
    "ex-cost-pays",
    Value((), tolerance=1),
    reread=(COST, "When does it pay?"),
    hints=(
        "time is steps times the time of a step.",
        "measure time in plain steps: how many of them fit into one with BN?",
        "how many steps of 1.6 take as long as 1,000 of 1?",
    ),
)
def cost_pays(answer: Given, rng: Rng) -> None:
    """Compare the number of steps with BN that take as long as those without."""
    answer.match(
        1000 / 1.6,
        "at this number of steps the two do not take equally long.",
        known={
            "BN must need fewer steps, not more.": 1600,
            "60 % more time per step is not made up by 60 % fewer steps.": 400,
            "that is what BN saves on its way, in no unit: compare the times.": 600,
            "that many steps have to be saved; how many may be left?": 375,
            "a step with BN takes longer.": 1000,
        },
    )


@exercise(
    "ex-cost-width",
    Function("bn_share(width, peak, bandwidth)"),
    reread=(COST, "The roofline"),
    hints=(
        "for each of the two layers: how many operations, and how many bytes at least?",
        "a layer takes the longer of two times, that of its operations and that of its bytes.",
        "the dense layer reads its inputs and its weights and writes its outputs; BN makes seven "
        "operations per value and reads and writes each once. All in float32.",
    ),
)
def cost_width(answer: Calls, rng: Rng) -> None:
    """Compare the share of BN, on machines where arithmetic or bytes are the limit."""

    def times(width: int, peak: float, bandwidth: float) -> tuple[Array, Array]:
        values = 64 * width
        flops = np.array([2 * values * width, 7 * values])
        moved = np.array([4 * (2 * values + width**2), 8 * values])
        return flops / peak, moved / bandwidth

    for width, peak, bandwidth in (
        (1024, 9e10, 1.2e10),
        (64, 9e10, 1.2e10),
        (4096, 1e13, 1e11),
        (256, 1e9, 1e11),
    ):
        work, bytes_ = times(width, peak, bandwidth)
        longer = np.maximum(work, bytes_)
        light = bytes_ - [4 * width**2 / bandwidth, 0]

        def share(t: Array) -> float:
            return t[1] / t.sum()

        match(
            answer.number(width, peak, bandwidth, what="the share"),
            share(longer),
            "the share is another one.",
            {
                "that is BN's time over the layer's. Its share is of both.": (
                    longer[1] / longer[0]
                ),
                "bytes take time too.": share(work),
                "operations take time too.": share(bytes_),
                "the roofline takes the larger of the two times.": share(work + bytes_),
                "the slower of the two is the limit.": share(np.minimum(work, bytes_)),
                "the weights have to be read as well.": share(np.maximum(work, light)),
                "a weight takes a multiplication and an addition.": (
                    share(np.maximum(work / [2, 1], bytes_))
                ),
                "as a share of 1, not in percent.": 100 * share(longer),
            },
        )


@exercise(
    "ex-cost-twice",
    Value((2,), tolerance=0.001),
    reread=(COST, "What can go wrong"),
    hints=(
        "look at the distance between running mean and batch mean. By what does an update "
        "multiply it?",
        "two updates multiply it twice. Which single update has this factor?",
        "for the second number ask for a factor whose square is 0.9.",
    ),
)
def cost_twice(answer: Given, rng: Rng) -> None:
    """Compare the momentum of one update for two, and the other way round."""
    one, half = 1 - 0.9**2, 1 - np.sqrt(0.9)
    answer.match(
        (one, half),
        "one update with the first is not two with 0.1, or two with the second not one with 0.1.",
        known={
            "nearly: the second update has less distance left to go.": (0.2, 0.05),
            "the second update has less distance left to go.": (0.2, half),
            "half of 0.1 is nearly right: the second has less distance left to go.": (
                (one, 0.05)
            ),
            "that is what stays of the old value.": (0.81, np.sqrt(0.9)),
            "it is the distance that is multiplied twice.": (0.01, np.sqrt(0.1)),
            "in the other order.": (half, one),
        },
    )


@exercise(
    "ex-cost-half",
    Value((3,), tolerance=0.001),
    reread=(COST, "What is kept for the backward pass"),
    hints=(
        "two things may be kept: an array for BN, and which values the ReLU let through.",
        "bytes per value: float32 has 4, float16 has 2, a boolean 1, and a bit an eighth.",
        "whatever is the next layer's input is kept by the next layer.",
    ),
)
def cost_half(answer: Given, rng: Rng) -> None:
    """Compare the bytes that are kept per value."""
    answer.match(
        (5, 2.125, 0),
        "these are not the bytes per value.",
        known={
            "the ReLU's output is the next layer's input, and kept there.": (
                (9, 4.125, 4)
            ),
            "from the last output x̂ can be recomputed, and who keeps it?": (
                (5, 2.125, 4)
            ),
            "eight bits share a byte.": (5, 3, 0),
            "the sign of a leaky ReLU's output says all that a mask does.": (
                (5, 2.125, 1)
            ),
            "a NumPy mask has one byte per value.": (8, 2.125, 0),
            "the masks are missing.": (4, 2, 0),
            "BN works out x̂ again from x: it keeps one array, not two.": (9, 2.125, 0),
        },
    )


@exercise(
    "ex-kernel-floor",
    Value((3,), tolerance=0.01),
    reread=(KERNEL, "The floor, and the passes"),
    hints=(
        "does the floor depend on which values share a mean?",
        "a copy reads an array and writes one. Forward reads x and writes y; backward reads two "
        "arrays and writes one.",
        "a row of some thousand numbers fits into the cache. Where is it when the loop comes to "
        "it for the second time?",
    ),
)
def kernel_floor(answer: Given, rng: Rng) -> None:
    """Compare both floors in copies, and the readings from memory."""
    answer.match(
        (1, 1.5, 1),
        "these are not the two floors and the number of readings.",
        known={
            "those are passes. A copy makes two.": (2, 3, 1),
            "the loop needs each row twice. Does the second come from memory?": (
                (1, 1.5, 2)
            ),
            "those are passes; a copy makes two. And where is a row, once read?": (
                (2, 3, 2)
            ),
            "backward reads x and dy and writes dx: three passes.": (1, 2, 1),
            "backward reads two arrays.": (1, 1, 1),
            "forward reads x and writes y, and no more.": (1.5, 1.5, 1),
            "in copies, not in bytes.": (8, 12, 1),
        },
    )


@exercise(
    "ex-kernel-out",
    Function("largest(batches, mean, var, y)"),
    reread=(KERNEL, "The door"),
    hints=(
        "`F.batch_norm` has an argument that says where the result goes.",
        "what is in `y` is overwritten by the next batch. Take what you need of it before.",
        "no training: the running statistics normalize, and they do not move.",
    ),
    setup=lambda rng: {
        "batches": [*rng.standard_normal((10, 32, 8, 16, 16), dtype=np.float32)],
        "mean": np.zeros(8, "f"),
        "var": np.ones(8, "f"),
        "y": np.zeros((32, 8, 16, 16), "f"),
    },
)
def kernel_out(answer: Calls, rng: Rng) -> None:
    """Compare the values, and the memory that the function takes."""
    for k, shape in ((10, (32, 8, 16, 16)), (3, (256, 100)), (4, (8, 16, 300))):
        c = shape[1]
        batches = [
            (1 + i % 3) * rng.standard_normal(shape, dtype=np.float32) for i in range(k)
        ]
        mean, var = rng.normal(0, 1, c).astype("f"), rng.uniform(0.5, 2, c).astype("f")
        y = np.full(shape, np.nan, "f")
        args = batches, mean, var, y
        right = [F.batch_norm(b, mean, var) for b in batches]
        _, least = peak(partial(each_into, *args))
        y[...] = np.nan
        old = mean.copy(), var.copy()
        found, most = peak(partial(answer, *args, changes=(0, 1, 2, 3)))
        expect(
            np.array_equal(mean, old[0]) and np.array_equal(var, old[1]),
            "the running statistics have moved. Evaluation leaves them alone.",
        )
        expect(
            isinstance(found, (list, tuple, np.ndarray)) and len(found) == k,
            "expected your function to return one number for each batch.",
        )
        maxima = [r.max() for r in right]
        match(
            as_answer(found, (k,)),
            np.array(maxima, dtype=float),
            "the numbers are not the largest outputs.",
            {
                "all numbers belong to the last batch: it has overwritten the others.": (
                    np.full(k, maxima[-1], dtype=float)
                ),
                "these are normalized with their own statistics, as in training.": (
                    np.array(
                        [
                            F.batch_norm(b, None, None, training=True).max()
                            for b in batches
                        ],
                        dtype=float,
                    )
                ),
                "that is the largest input of each batch.": (
                    np.array([b.max() for b in batches], dtype=float)
                ),
            },
            rtol=1e-5,
        )
        expect(
            near(y, right[-1], rtol=1e-5, atol=1e-6),
            "`y` does not hold the outputs of the last batch: where did they go?",
        )
        expect(
            most < least + y.nbytes / 2,
            "your function takes fresh memory for at least one array of the size of a batch.",
        )


def each_into(batches: list[Array], mean: Array, var: Array, y: Array) -> None:
    """Normalize batches into the same memory."""
    for batch in batches:
        F.batch_norm(batch, mean, var, out=y)


def peak(function: Callable[[], Any]) -> tuple[Any, int]:
    """Return a function's result, and the most memory that it held, in bytes."""
    ran = tracemalloc.is_tracing()
    if not ran:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = function()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        if not ran:
            tracemalloc.stop()


def groups_of(rng: Rng, sizes: list[int], c: int) -> tuple[list[Array], list[Any]]:
    """Return the parts of a batch whose means differ, and their moments."""
    parts = [
        rng.normal(rng.normal(0, 3, c), rng.uniform(0.5, 2, c), (m, c)) for m in sizes
    ]
    nothing = np.full(c, np.nan)
    return parts, [
        (len(p), p.mean(0), p.var(0)) if len(p) else (0, nothing, nothing)
        for p in parts
    ]


@exercise(
    "ex-machines-order",
    Function("merge_all(groups)"),
    reread=(MACHINES, "Forward: two sums"),
    hints=(
        "the mean of all is a mean of the means. How much does each of them count?",
        "the mean square about the common mean has two parts: what scatters within a worker, "
        "and how far its mean lies from the common one.",
        "`merge_moments` merges two groups. Merge the result with the third, and so on; a "
        "worker without samples must not be multiplied by 0.",
    ),
    setup=lambda rng: {"groups": groups_of(rng, [8, 8, 8, 8], 3)[1]},
)
def machines_order(answer: Calls, rng: Rng) -> None:
    """Compare with the moments of all samples, for unequal and empty parts."""
    for sizes, c in (
        ([8, 8, 8, 8], 3),
        ([1, 5, 6, 20], 4),
        ([0, 30, 0, 2], 2),
        ([9], 3),
    ):
        parts, groups = groups_of(rng, sizes, c)
        whole = np.concatenate(parts)
        result = answer(groups)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 3,
            "expected your function to return a count, a mean and a variance.",
        )
        values = [np.squeeze(np.asarray(a, dtype=float)) for a in result]
        expect(
            0 not in sizes or all(np.isfinite(a).all() for a in values),
            "a worker without samples has NaN as its mean, and NaN times 0 is NaN.",
        )
        m, mean, var = values
        match(m, len(whole), "the count is not that of all samples.")
        as_array(mean, (c,), "the mean")
        as_array(var, (c,), "the variance")
        present = [g for g in groups if g[0]]
        match(
            mean,
            whole.mean(0),
            "the mean is wrong.",
            {
                "the small parts count as much as the large ones.": (
                    np.mean([g[1] for g in present], axis=0)
                ),
            },
        )
        within = sum(g[0] * g[2] for g in present) / len(whole)
        match(
            var,
            whole.var(0),
            "the variance is wrong.",
            {
                "what is lost is how far the workers' means lie apart.": within,
                "this averages variances: sizes, and how far the means lie apart, are lost.": (
                    np.mean([g[2] for g in present], axis=0)
                ),
                "this divides by m − 1. BN divides by m.": whole.var(0, ddof=1),
            },
        )


@exercise(
    "ex-machines-ghost",
    Value((3,), tolerance=0.01),
    reread=(MACHINES, "Many machines: whose batch?"),
    hints=(
        "without synchronization a batch is what one worker has.",
        "the mean of m independent samples scatters by σ/√m.",
        "for the third number: how many samples must each worker have at least, and how many "
        "workers is that? Whole ones.",
    ),
)
def machines_ghost(answer: Given, rng: Rng) -> None:
    """Compare samples per worker, scatter of the mean, and the largest number of workers."""
    answer.match(
        (4, 0.5, 10),
        "these are not the samples per worker, the scatter and the number of workers.",
        known={
            "0.25 is the variance of the mean. Its root is asked for.": (4, 0.25, 10),
            "25 is the number of samples that each worker needs.": (4, 0.5, 25),
            "workers are whole.": (4, 0.5, 10.24),
            "with eleven workers each has fewer samples than it needs.": (4, 0.5, 11),
            "the scatter falls with the root of m.": (4, 0.5, 51),
            "there are 64 workers. How many samples has each?": (64, 0.125, 10),
            "each worker sees its own part only.": (256, 1 / 16, 10),
        },
    )


@exercise(
    "ex-machines-apart",
    Value((), tolerance=0.06),
    reread=(MACHINES, "Many machines: whose batch?"),
    hints=(
        "normalize the whole batch, and each part for itself. Subtract the two.",
        "the root mean square of the difference, for each size of the parts, in a diagram with "
        "two logarithmic axes.",
        "the slope there is the power. How does the scatter of a mean of m samples depend on m?",
    ),
)
def machines_apart(answer: Given, rng: Rng) -> None:
    """Compare the power of m with that of the scatter of a mean."""
    answer.match(
        -0.5,
        "the difference grows or falls with another power of m.",
        known={
            "the sign is wrong: with larger parts the outputs come nearer.": 0.5,
            "that is the power of the mean square. Take the root.": -1,
            "that is the power of the mean square, with the wrong sign.": 1,
            "you have taken the root twice.": -0.25,
        },
    )


@exercise(
    "ex-tune-frozen",
    Value((4,)),
    reread=(TUNING, "What is frozen by what"),
    hints=(
        "who moves the running mean, the optimizer or the forward pass?",
        "the forward pass, in training mode. Which of the four calls changes the mode?",
        "the third line changes the mode twice, and Keras' switch does more than its name says.",
    ),
)
def tune_frozen(answer: Given, rng: Rng) -> None:
    """Go through the four ways to freeze, one after the other."""
    replies = (
        "at bn.requires_grad_(False): no gradient moves a running mean, so what stops it?",
        "at bn.eval(): which statistics does a layer use, and keep, in evaluation mode?",
        "at bn.eval(), then net.train(): what does the second call do to the first?",
        "at Keras' trainable = False: since TensorFlow 2 it sets more than the weights.",
    )
    expect(
        np.isin(answer.value, (0, 1)).all(),
        "expected four numbers, each 1 (it moves) or 0 (it stays).",
    )
    for found, right, reply in zip(answer.value, (1, 0, 1, 0), replies, strict=True):
        expect(found == right, reply)


@exercise(
    "ex-tune-absorb",
    Function("absorb(weight, bias, old, new, eps)"),
    reread=(TUNING, "Why a frozen network stands so little"),
    hints=(
        "in evaluation mode a channel is a straight line. Write both lines down.",
        "their slopes must be equal: that gives γ'. Then let the input be 0.",
        "the old line has an offset of β' − γ' μ / σ, the new one of β − γ μ' / σ'.",
    ),
    setup=lambda rng: {
        "weight": rng.uniform(0.5, 2, 4),
        "bias": rng.standard_normal(4),
        "old": vectors(rng, 4)[:2],
        "new": vectors(rng, 4)[:2],
        "eps": 1e-5,
    },
)
def tune_absorb(answer: Calls, rng: Rng) -> None:
    """Compare γ and β of a layer with the old statistics that does what one with the new does."""
    for c, eps in ((4, 1e-5), (1, 1e-5), (6, 0.3)):
        mean, var, gamma, beta = vectors(rng, c)
        mean_new, var_new, _, _ = vectors(rng, c)
        found, shift = answer.arrays(
            *(gamma, beta, (mean, var), (mean_new, var_new), eps),
            shapes={"weight": (c,), "bias": (c,)},
        )
        s, s_new = np.sqrt(var + eps), np.sqrt(var_new + eps)
        plain = gamma * np.sqrt(var / var_new)
        usual = gamma * np.sqrt((var + 1e-5) / (var_new + 1e-5))
        match(
            found,
            gamma * s / s_new,
            "the slope of the two lines differs: γ' is wrong.",
            {
                "γ' is upside down: the layer divides by the old σ.": gamma * s_new / s,
                "variances where their roots belong.": gamma * (s / s_new) ** 2,
                "γ' must make up for the other σ.": gamma,
                "ε stands under the root as well.": plain,
                "ε is an argument of its own here.": usual,
                "γ is missing in γ'.": s / s_new,
            },
            rtol=1e-8,
        )
        match(
            shift,
            beta + gamma * (mean - mean_new) / s_new,
            "γ' is right; at the input 0 the two lines differ.",
            {
                "the means are swapped in β'.": (
                    beta + gamma * (mean_new - mean) / s_new
                ),
                "γ is missing in β'.": beta + (mean - mean_new) / s_new,
                "β' divides by the old σ.": beta + gamma * (mean - mean_new) / s,
                "β' does not divide by σ'.": beta + gamma * (mean - mean_new),
                "β' must make up for the other mean.": beta,
            },
            rtol=1e-8,
        )


@exercise(
    "ex-tune-momentum",
    Value((2,), tolerance=0.1),
    reread=(TUNING, "The old statistics survive"),
    hints=(
        "each step multiplies the weight of the old statistics by the same number.",
        "by 1 − α: PyTorch's momentum α is what the new batch weighs.",
        "solve with logarithms and round up. You should find that ten times the momentum takes "
        "about a tenth of the steps.",
    ),
)
def tune_momentum(answer: Given, rng: Rng) -> None:
    """Compare the steps after which the old statistics weigh less than 1 %."""
    exact = np.log(0.01) / np.log([0.9, 0.99])
    answer.match(
        np.ceil(exact),
        "these are not the two numbers of steps.",
        known={
            "first for momentum 0.1, then for 0.01.": np.ceil(exact)[::-1],
            "a step earlier they still weigh more than 1 %.": np.floor(exact),
            "steps are whole: round up.": exact,
            "α is what the new batch weighs. The old ones keep 1 − α.": (2, 1),
            "that is 1/α. Then about a third is still left.": (10, 100),
            "those are the epochs.": (5, 51),
        },
    )


@exercise(
    "ex-field-untracked",
    Function("has_company(net, x)"),
    reread=(MODES, "Prediction in training mode"),
    hints=(
        "keep a few rows, and give them other mates. Does their output change?",
        "to shuffle the rows is not enough: the batch's mean stays. And a forward in training "
        "mode moves the buffers, so experiment on a copy.",
        "compare to within round-off, and never with a batch of one: BN refuses it in training.",
    ),
)
def field_untracked(answer: Calls, rng: Rng) -> None:
    """Ask of several networks whether an output depends on the batch mates."""

    def network(norm: Any, train: bool) -> Sequential:
        net = Sequential(
            Linear(4, 6, dtype=float, rng=rng),
            norm,
            ReLU(),
            Linear(6, 3, dtype=float, rng=rng),
        )
        return net.train(train)

    def rounded(x: Array) -> Array:
        return still(x) * (1 + 1e-14 * len(x))

    def centred(x: Array) -> Array:
        return x - x.mean(0)

    def untracked() -> BatchNorm1d:
        return BatchNorm1d(6, track_running_stats=False, dtype=float)

    still = network(BatchNorm1d(6, dtype=float), False)
    cases = (
        (network(BatchNorm1d(6, dtype=float), True), True, "is in training mode"),
        (still, False, "uses its running statistics"),
        (network(untracked(), False), True, "uses its batch in evaluation, too"),
        (network(LayerNorm(6, dtype=float), True), False, "has no BN"),
        (rounded, False, "rounds a larger batch another way, in the last digits"),
        (centred, True, "is a plain function that subtracts the batch's mean"),
    )
    for net, right, what in cases:
        before = copy.deepcopy(net.state_dict()) if isinstance(net, Sequential) else {}
        found = answer(net, rng.normal(1, 2, (12, 4)))
        expect(
            isinstance(found, (bool, np.bool_)),
            f"expected your function to return True or False, got {kind_of(found)}.",
        )
        after = net.state_dict() if isinstance(net, Sequential) else {}
        expect(
            all(np.array_equal(after[k], v) for k, v in before.items()),
            "your test changes what it tests: the running statistics of the network have moved.",
        )
        if found != right:
            does = "depend" if right else "do not depend"
            raise AnswerError(
                f"one of the networks {what}: its outputs {does} on the batch mates, and your "
                f"function says {bool(found)}."
            )


@exercise(
    "ex-field-fill",
    Value((2,), tolerance=0.01),
    reread=(CODE, "A last batch of one"),
    hints=(
        "what are the mean and the variance of a batch of equal values?",
        "PyTorch's momentum is what the new batch weighs: 0.1.",
        "nine tenths of the old value, and one tenth of the batch's, for both numbers.",
    ),
)
def field_fill(answer: Given, rng: Rng) -> None:
    """Compare the running mean and variance after a batch of copies."""
    answer.match(
        (5.6, 3.6),
        "these are not the two buffers after this batch.",
        known={
            "a batch of equal values has a variance, and it counts as well.": (5.6, 4),
            "momentum 0.1 is the weight of the new batch in PyTorch.": (10.4, 0.4),
            "those are the batch's. They weigh 0.1.": (11, 0),
            "the batch scatters about its own mean, not about 5.": (
                (5.6, 3.6 + 0.1 * 36)
            ),
            "the variance of equal values is not 1.": (5.6, 3.7),
            "first the mean, then the variance.": (3.6, 5.6),
        },
    )
