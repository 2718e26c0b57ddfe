"""Checks of the exercises of Part 4, limits."""

from typing import Any

import numpy as np

from bnlib import Sequential
from bnlib import functional as F
from bnlib._types import Array
from bnlib.lab.exercises._core import (
    Calls,
    Function,
    Given,
    Rng,
    Value,
    as_array,
    exercise,
    expect,
    match,
    near,
    refuse,
    standardized,
)
from bnlib.layers import Linear, ReLU
from bnlib.norm import BatchNorm1d

SMALL = "4-limits/small-batches"
LAYER = "4-limits/layer-and-group-normalization"
RECURRENT = "4-limits/recurrent-networks"
GAP = "4-limits/train-eval-gap"
NUMERICS = "4-limits/numerics"


@exercise(
    "ex-small-two",
    Value((4,), tolerance=0.01),
    reread=(SMALL, "What x̂ can say"),
    hints=(
        "where does the mean of two values lie, and how far is each from it?",
        "both are equally far from it. What is the standard deviation, then?",
        "the distance over the standard deviation is 1, whatever the distance. Then γ and β.",
    ),
    setup=lambda rng: {
        "x": np.array([3, 7.0]),
        "far": np.array([3, 7000.0]),
        "weight": 2.0,
        "bias": 1.0,
    },
)
def small_two(answer: Given, rng: Rng) -> None:
    """Compare the outputs of two batches of two."""
    half = np.sqrt(0.5)
    known = {
        "these are the x̂. γ and β are missing.": (-1, 1),
        "this divides by m − 1. BN divides by m.": (1 - 2 * half, 1 + 2 * half),
        "β comes last: γ does not multiply it.": (0, 4),
        "the smaller value comes first.": (3, -1),
        "β is missing.": (-2, 2),
        "γ is missing.": (0, 2),
        "the mean of (3, 7) is 5, and the standard deviation half of 4.": (-3, 5),
    }
    for name, pair in (("first", answer.value[:2]), ("second", answer.value[2:])):
        if near(pair, (-1, 3), rtol=0, atol=0.01):
            continue
        refuse(pair, known, rtol=0, atol=0.01)
        expect(
            name == "first",
            "the first batch is right. In the second the standard deviation grows as well.",
        )
        expect(False, f"the {name} two numbers are not the outputs.")


@exercise(
    "ex-small-eps",
    Function("slope(eps)"),
    reread=(SMALL, "What x̂ can say"),
    hints=(
        "how does x̂ depend on Δ where Δ is very small?",
        "beside 4ε there is then no Δ² under the root.",
        "x̂ is Δ over the root of 4ε. What stands before Δ?",
    ),
)
def small_eps(answer: Calls, rng: Rng) -> None:
    """Compare the slope of the step in the middle."""
    for eps in (1e-5, 0.1, 0.04, 1.0):
        match(
            answer.number(eps, what="the slope"),
            0.5 / np.sqrt(eps),
            "the slope at Δ = 0 is another one. Try a Δ far below √ε.",
            {
                "Δ is the distance of the two, twice that to the mean.": (
                    1 / np.sqrt(eps)
                ),
                "that is the slope without the root.": 1 / (4 * eps),
                "ε stands under a root.": 1 / (2 * eps),
                "the root of 4 is 2.": 0.25 / np.sqrt(eps),
                "upside down: with a larger ε the step is flatter.": 2 * np.sqrt(eps),
            },
            rtol=1e-4,
        )


@exercise(
    "ex-small-image",
    Function("worth(images, pixels, rho)"),
    reread=(SMALL, "The noise of the statistics"),
    hints=(
        "what is the variance of the mean of a single image?",
        "the image's level does not average out over its pixels, the rest does.",
        "n images are worth as many independent values as have a mean of the same variance: "
        "divide σ² by that variance.",
    ),
)
def small_image(answer: Calls, rng: Rng) -> None:
    """Compare the number of independent values that some images are worth."""
    for images, pixels, rho in (
        (2, 49, 0.1),
        (2, 49, 0.0),
        (8, 196, 0.5),
        (3, 1, 0.3),
        (4, 100, 1.0),
    ):
        match(
            answer.number(images, pixels, rho, what="the number of values"),
            images / (rho + (1 - rho) / pixels),
            "the mean of as many independent values scatters more, or less.",
            {
                "that is one image.": 1 / (rho + (1 - rho) / pixels),
                "the pixels of an image share its level.": images * pixels,
                "that is the limit for ever more pixels.": images / max(rho, 1e-9),
                "the part that differs from pixel to pixel averages out.": images,
                "ρ is the share between images, not that within.": (
                    images / (1 - rho + rho / pixels)
                ),
                "the rest has the share 1 − ρ.": images / (rho + 1 / pixels),
                "the variance of a mean falls with the number of pixels, not its root.": (
                    images / (rho + (1 - rho) / np.sqrt(pixels))
                ),
                "compare variances, not standard deviations.": (
                    images / np.sqrt(rho + (1 - rho) / pixels)
                ),
            },
        )


@exercise(
    "ex-ln-four",
    Value((4,), tolerance=0.01),
    reread=(LAYER, "RMSNorm: without the mean"),
    hints=(
        "nothing is subtracted. By what does RMSNorm divide?",
        "the mean of the squares of the four numbers, and its root: a whole number.",
        "divide each number by that root, and multiply by γ.",
    ),
    setup=lambda rng: {"x": np.array([[1, 3, 3, 9.0]]), "weight": 10.0},
)
def ln_four(answer: Given, rng: Rng) -> None:
    """Compare the root-mean-square normalization of four features."""
    x = np.array([1, 3, 3, 9.0])
    answer.match(
        10 * x / 5,
        "these are not the four outputs.",
        known={
            "that is layer normalization: no mean is subtracted here.": (
                10 * (x - 4) / 3
            ),
            "γ is missing.": x / 5,
            "the mean of the squares, not their sum.": x,
            "divide by the root of the mean square.": 10 * x / 25,
            "that is the standard deviation. Take squares about 0.": 10 * x / 3,
            "that is the mean of the numbers, not of their squares.": 10 * x / 4,
            "no mean is subtracted.": 10 * (x - 4) / 5,
        },
    )


@exercise(
    "ex-ln-places",
    Value((2,)),
    reread=(LAYER, "Layer normalization"),
    hints=(
        "for how many different positions does each layer have its own weight?",
        "one has a weight for each channel and place, the other for each channel.",
        "both have a weight and a bias.",
    ),
)
def ln_places(answer: Given, rng: Rng) -> None:
    """Compare the numbers of parameters of both layers."""
    whole = 64 * 14 * 14
    answer.match(
        (2 * whole, 2 * 64),
        "these are not the two numbers of parameters.",
        known={
            "first `LayerNorm`, then `GroupNorm`.": (2 * 64, 2 * whole),
            "each has a bias beside its weight.": (whole, 64),
            "the statistics have one group, the weights do not.": (2 * whole, 2),
            "`LayerNorm` has a weight of the shape that it is given.": (2 * 64, 2 * 64),
            "`GroupNorm` has one weight for each channel.": (2 * whole, 2 * whole),
            "`LayerNorm` has a weight for each channel, too.": (2 * 14 * 14, 2 * 64),
        },
    )


@exercise(
    "ex-ln-fold",
    Function("to_rms(weight, bias)"),
    reread=(LAYER, "RMSNorm: without the mean"),
    hints=(
        "the two norms agree on inputs whose mean over the features is 0.",
        "the mean over the units of Wx + b is linear in x: a row times x, plus a number.",
        "which row has to be subtracted from each row of W, and which number from b?",
    ),
    setup=lambda rng: {
        "weight": rng.standard_normal((12, 10)),
        "bias": rng.standard_normal(12),
    },
)
def ln_fold(answer: Calls, rng: Rng) -> None:
    """Compare RMSNorm after the new layer with layer normalization after the old one."""
    for units, inputs, eps in ((12, 10, 1e-5), (5, 5, 1e-5), (3, 8, 0.5)):
        W, b = rng.standard_normal((units, inputs)) + 0.5, rng.normal(1, 1, units)
        x = rng.standard_normal((16, inputs))
        w, c = answer.arrays(W, b, shapes={"weight": W.shape, "bias": b.shape})
        right = F.layer_norm(x @ W.T + b, (units,), eps=eps)

        def by_rms(
            w: Array, c: Array, x: Array = x, units: int = units, eps: float = eps
        ) -> Array:
            return F.rms_norm(x @ w.T + c, (units,), eps=eps)

        columns = W - W.mean(1, keepdims=True)
        match(
            by_rms(w, c).astype(np.result_type(w, np.float32)),
            right,
            "RMSNorm after this layer is not layer normalization after the old one.",
            {
                "nothing has changed.": by_rms(W, b),
                "the bias has a mean as well.": by_rms(W - W.mean(0), b),
                "the weights have a mean row as well.": by_rms(W, b - b.mean()),
                "the mean runs over the units: it is the mean row, not one per row.": (
                    by_rms(columns, b - b.mean())
                ),
                "the mean runs over the units, not over the inputs.": (
                    by_rms(columns, b)
                ),
                "one number does not do: the mean of the outputs depends on x.": (
                    by_rms(W - W.mean(), b - b.mean())
                ),
            },
            rtol=1e-6,
        )


@exercise(
    "ex-ln-two",
    Value((2,)),
    reread=(LAYER, "What each normalization does not notice"),
    hints=(
        "without a normalization the outputs have nine dimensions. Each equation takes one away.",
        "one equation says that the outputs have no mean, the other how long they are.",
        "which of the two equations does RMSNorm give up?",
    ),
)
def ln_two(answer: Given, rng: Rng) -> None:
    """Compare the dimensions of both sets for nine features."""
    answer.match(
        (7, 8),
        "these are not the two dimensions.",
        known={
            "the length of the output is fixed in both.": (8, 9),
            "layer normalization has an equation that RMSNorm lacks.": (8, 8),
            "RMSNorm does not fix the mean.": (7, 7),
            "in the other order: which of the two forgets more of its input?": (8, 7),
            "each norm forgets something. What?": (9, 9),
            "RMSNorm fixes a length as well.": (7, 9),
        },
    )


def grouped(x: Array, groups: int) -> Array:
    """Normalize each group of features of each token."""
    parts = x.reshape(*x.shape[:-1], groups, -1)
    return standardized(parts, -1, 1e-5).reshape(x.shape)


@exercise(
    "ex-ln-causal",
    Function("by_token(x, groups)"),
    reread=(LAYER, "Why transformers normalize each token"),
    hints=(
        "`group_norm` takes the mean over everything but samples and groups. What should a "
        "sample be here?",
        "a token. Its features are the channels, and there is no space.",
        "reshape to two axes, normalize, and reshape back.",
    ),
    setup=lambda rng: {"x": rng.standard_normal((2, 6, 16)), "groups": 4},
)
def ln_causal(answer: Calls, rng: Rng) -> None:
    """Compare with groups of each token, and look whether a token depends on others."""
    for shape, groups in (((2, 6, 16), 4), ((3, 8, 8), 2), ((1, 5, 12), 1)):
        x = rng.normal(1, 2, shape)
        y = answer.array(x, groups, shape=shape)
        right = grouped(x, groups)
        if near(y, right, rtol=1e-3):
            continue
        every = x.reshape(*shape[:2], -1, groups)
        last = x.copy()
        last[:, -1] += rng.standard_normal(shape[-1])
        other = answer.array(last, groups, shape=shape)
        expect(
            near(other[:, :-1], y[:, :-1]),
            "an earlier token changes when the last one does: it looks ahead.",
        )
        match(
            y,
            right,
            "no token looks ahead, but these are not the groups of its features.",
            {
                "all features of a token share a mean: where are the groups?": (
                    grouped(x, 1)
                ),
                "nothing is normalized.": x,
                "a group is a run of neighbouring features, not every n-th.": (
                    standardized(every, 2, 1e-5).reshape(shape)
                ),
                "`groups` is their number, not the features in each.": (
                    grouped(x, shape[-1] // groups)
                ),
            },
            rtol=1e-3,  # of any ε
        )


@exercise(
    "ex-rnn-steps",
    Value((2,), tolerance=0.002),
    reread=(RECURRENT, "What BN does to the memory"),
    hints=(
        "the two normalized terms add their variances.",
        "the factor is γ_h over the root of the sum of two squares: 3, 4 and …",
        "three steps multiply three times.",
    ),
)
def rnn_steps(answer: Given, rng: Rng) -> None:
    """Compare the factor per step, and what is left after three."""
    right = np.array([0.8, 0.8**3])
    answer.match(
        right,
        "these are not the factor and what is left after three steps.",
        known={
            "the gradient goes through the recurrent side, and its γ.": (0.6, 0.6**3),
            "variances add up, not scales.": (4 / 7, (4 / 7) ** 3),
            "divide by the scale of the whole state.": (4 / 3, (4 / 3) ** 3),
            "that is a share of the variance. A gradient is a length.": (0.64, 0.64**3),
            "that is two steps.": (0.8, 0.64),
            "each step multiplies what the one before has left.": (0.8, 2.4),
            "BN divides by the state's own scale, too.": (0.04, 0.04**3),
            "the two scales are not equal here.": (0.5**0.5, 0.5**1.5),
        },
    )


@exercise(
    "ex-rnn-sum",
    Function("factor(gamma)"),
    reread=(RECURRENT, "What BN does to the memory"),
    hints=(
        "what are the variances of the two terms of the sum? The state has that of γ times "
        "something of variance 1.",
        "BN divides the sum by its standard deviation and multiplies by γ.",
        "the variance of the sum is 1 + γ². A change of the state is divided by its root.",
    ),
)
def rnn_sum(answer: Calls, rng: Rng) -> None:
    """Compare the factor that the gradient gets per step."""
    for gamma in (0.1, 0.02, 0.3):
        match(
            answer.number(gamma, what="the factor"),
            gamma / np.sqrt(1 + gamma**2),
            "the gradient gets another factor per step.",
            {
                "that is the factor with two BNs of equal scale.": np.sqrt(0.5),
                "BN multiplies by γ, too.": 1 / np.sqrt(1 + gamma**2),
                "nearly: the state is a part of the sum, and adds to its variance.": gamma,
                "that is a ratio of variances.": gamma**2 / (1 + gamma**2),
                "the state has the variance γ², not 1.": gamma / np.sqrt(2),
                "variances add up, not scales.": gamma / (1 + gamma),
                "BN divides by the root of the variance.": gamma / (1 + gamma**2),
            },
        )


@exercise(
    "ex-rnn-ratio",
    Function("ratio(steps)"),
    reread=(RECURRENT, "What BN does to the memory"),
    hints=(
        "write the factor per step with the ratio r alone.",
        "it is r over the root of 1 + r². To the power of the steps it must be one half.",
        "square both sides and solve for r².",
    ),
)
def rnn_ratio(answer: Calls, rng: Rng) -> None:
    """Ask for one half after the given steps."""
    for steps in (20, 1, 5, 100):
        per_step = 0.5 ** (1 / steps)
        r = answer.number(steps, what="the ratio")
        expect(r > 0, "a ratio of two scales is positive.")
        right = 1 / np.sqrt(2 ** (2 / steps) - 1)
        left = (r / np.sqrt(1 + r**2)) ** steps
        match(
            r,
            right,
            f"with this ratio {left:.5f} of the gradient is left after {steps} steps, not one "
            "half.",
            {
                "upside down: γ_h over γ_x.": 1 / right,
                "both sides have to be squared.": 1 / np.sqrt(2 ** (1 / steps) - 1),
                "that is the factor per step, not the ratio.": per_step,
                "that is the square of the ratio.": 1 / (2 ** (2 / steps) - 1),
                "variances add up, not scales.": per_step / (1 - per_step),
            },
        )


@exercise(
    "ex-gap-four",
    Value((2,), tolerance=0.01),
    reread=(GAP, "Four causes"),
    hints=(
        "how much does the start still weigh after two batches?",
        "one half of one half. The mean starts at 0; the variance does not.",
        "take away what is left of the start, and divide by what the batches weigh.",
    ),
)
def gap_four(answer: Given, rng: Rng) -> None:
    """Compare mean and variance without their start."""
    answer.match(
        (4, 9),
        "these are not the averages of the two batches.",
        known={
            "the running variance starts at 1, not at 0.": (4, 7 / 0.75),
            "the running mean starts at 0, and has no start to take away.": (8 / 3, 9),
            "after one batch the start weighs a half. There were two.": (6, 13),
            "divide by what the batches weigh, not by what the start weighs.": (12, 27),
            "that is the batches' part. They weigh less than 1 together.": (3, 6.75),
            "that is what is stored, with the start.": (3, 7),
            "first the mean.": (9, 4),
        },
    )


def run_along(batches: Array, weight: Any, start: float = 0.0) -> Array:
    """Return the running average of batches whose weights are a function of the step, from 1."""
    running = np.full(batches.shape[1:], start)
    for t, batch in enumerate(batches, start=1):
        running = running + weight(t) * (batch - running)
    return running


@exercise(
    "ex-gap-warm",
    Function("falling(batches)"),
    reread=(GAP, "Four causes"),
    hints=(
        "the rule of a running average, with a weight that depends on the number of the batch.",
        "the first batch has the number 1, and weighs 1: whatever the average started from is "
        "gone.",
        "the weight falls, and it never falls below 0.01.",
    ),
    setup=lambda rng: {"batches": rng.normal(2, 1, (100, 3))},
)
def gap_warm(answer: Calls, rng: Rng) -> None:
    """Compare with the average whose momentum falls, for short and for long trainings."""

    def weight(t: int) -> float:
        return max(10 / (t + 9), 0.01)

    for steps, c in ((1, 3), (5, 2), (60, 4), (2000, 2)):
        drift = np.arange(steps)[:, None] * rng.uniform(0.05, 0.1, c)
        batches = 5 + drift + rng.standard_normal((steps, c))
        right = run_along(batches, weight)
        known = {
            "the momentum is 0.1 throughout.": run_along(batches, lambda t: 0.1),
            "0.01 is the least weight, and not the largest.": (
                run_along(batches, lambda t: min(10 / (t + 9), 0.01))
            ),
            "the weight falls below 0.01.": run_along(batches, lambda t: 10 / (t + 9)),
            "the first batch has the number 1, not 0.": (
                run_along(batches, lambda t: max(10 / (t + 8), 0.01))
            ),
            "the first batch has the number 1, not 2: it weighs 1.": (
                run_along(batches, lambda t: max(10 / (t + 10), 0.01))
            ),
            "all batches weigh the same; the recent ones should count.": (
                batches.mean(0)
            ),
            "α weighs the new batch.": run_along(batches, lambda t: 1 - weight(t)),
        }
        found = answer.array(batches, shape=(c,))
        match(found, right, "the average after the last batch is another one.", known)


def two_layers(rng: Rng) -> Sequential:
    """Return a network with two batch normalizations, in training mode."""
    net = Sequential(
        Linear(5, 6, dtype=float, rng=rng),
        BatchNorm1d(6, dtype=float),
        ReLU(),
        Linear(6, 4, dtype=float, rng=rng),
        BatchNorm1d(4, dtype=float),
        ReLU(),
        Linear(4, 3, dtype=float, rng=rng),
    )
    for bn in (net[1], net[4]):
        bn.weight.data[...] = rng.uniform(0.5, 2, bn.num_features)
        bn.bias.data[...] = rng.standard_normal(bn.num_features)
    return net


def inputs_of(net: Sequential, x: Array, size: int, how: str) -> list[Array]:
    """Return what reaches the second batch normalization, and the first."""
    first, bn, _, second = (net[i] for i in range(4))
    h = first(x)
    if how == "stored":
        s = (h - bn.running_mean) / np.sqrt(bn.running_var + bn.eps)
        y = s * bn.weight.data + bn.bias.data
    else:
        step = len(x) if how == "whole" else size
        parts = [h[i : i + step] for i in range(0, len(h), step)]
        y = np.concatenate(
            [
                F.batch_norm(p, None, None, bn.weight.data, bn.bias.data, training=True)
                for p in parts
            ]
        )
    return [h, second(np.maximum(y, 0))]


@exercise(
    "ex-gap-theirs",
    Function("precise_by_batches(net, x, size)"),
    reread=(GAP, "PreciseBN: statistics of the present weights"),
    hints=(
        "go through the layers with one batch. What reaches a BN is what you need the moments of.",
        "keep a count, a mean and a variance for each BN, and merge those of the batch into them.",
        "let each BN normalize with its own batch, and leave the statistics of the network that "
        "you were given as they were.",
    ),
    setup=lambda rng: {
        "net": two_layers(rng),
        "x": rng.normal(1, 2, (40, 5)),
        "size": 4,
    },
)
def gap_theirs(answer: Calls, rng: Rng) -> None:
    """Compare the merged moments of the inputs of both layers."""
    for n, size in ((40, 4), (30, 10), (22, 4)):
        net, x = two_layers(rng), rng.normal(1, 2, (n, 5))
        before = {k: np.array(v) for k, v in net.state_dict().items()}
        found = answer(net, x, size)
        after = net.state_dict()
        expect(
            all(np.array_equal(after[k], v) for k, v in before.items()),
            "your function changes the network that it is given. Work on a copy.",
        )
        expect(
            isinstance(found, (list, tuple)) and len(found) == 2,
            "expected a list with one entry for each of the two normalizations.",
        )
        paths = {
            how: inputs_of(net, x, size, how) for how in ("own", "whole", "stored")
        }
        for k, entry in enumerate(found):
            expect(
                isinstance(entry, (list, tuple)) and len(entry) == 3,
                "expected a count, a mean and a variance for each normalization.",
            )
            h, c = paths["own"][k], paths["own"][k].shape[1]
            count = np.squeeze(np.asarray(entry[0], float))
            match(count, n, "the count is not that of all rows.")
            mean = as_array(entry[1], (c,), "the mean")
            var = as_array(entry[2], (c,), "the variance")
            if k:
                whole, stored = (paths[how][k].mean(0) for how in ("whole", "stored"))
                other = {
                    "the first layer has normalized with all rows, not with a batch.": whole,
                    "the first layer has normalized with its stored statistics.": stored,
                }
                refuse(mean, other)
            match(
                mean,
                h.mean(0),
                f"the mean in layer {k + 1} is wrong.",
                {
                    "the last batch is smaller and must count less.": (
                        np.mean(
                            [h[i : i + size].mean(0) for i in range(0, n, size)], axis=0
                        )
                    ),
                },
            )
            inner = [h[i : i + size] for i in range(0, n, size)]
            match(
                var,
                h.var(0),
                f"the variance in layer {k + 1} is wrong.",
                {
                    "this averages variances. What is lost is how far the batches' means "
                    "lie apart.": sum(len(p) * p.var(0) for p in inner) / n,
                    "return the biased variance: divide by the count.": (
                        h.var(0, ddof=1)
                    ),
                },
            )


@exercise(
    "ex-numerics-digits",
    Value((), tolerance=0.1),
    reread=(NUMERICS, "How many digits there are to keep"),
    hints=(
        "which product of κ and u is 1 when the one-pass formula has lost its last digit?",
        "κ² u. What is κ, then?",
        "κ is the mean in standard deviations, and here a standard deviation is one half.",
    ),
)
def numerics_digits(answer: Given, rng: Rng) -> None:
    """Compare the mean at which no digit is left in bfloat16."""
    answer.match(
        8,
        "at this mean κ²u is not 1.",
        known={
            "that is κ: the mean in standard deviations.": 16,
            "a standard deviation is one half: multiply κ by it.": 32,
            "that is where κu is 1, the limit of the data. The formula has κ²u.": 128,
            "that is 1/u. The formula has κ²u, and κ is counted in σ.": 256,
            "that is about float32. bfloat16 keeps 8 bits.": 2048,
            "that is about float32, with σ = 1.": 4096,
        },
    )


def offset_rows(rng: Rng, channels: int, m: int, mean: float) -> Array:
    """Return channels in rows, of float32, each with another mean."""
    offsets = mean * rng.uniform(0.5, 1.5, (channels, 1))
    return (offsets + rng.standard_normal((channels, m))).astype(np.float32)


@exercise(
    "ex-numerics-shift",
    Function("variance(x)"),
    reread=(NUMERICS, "How many digits there are to keep"),
    hints=(
        "the variance of x and that of x − c are equal. The error of the formula is not.",
        "each channel needs a c of its own.",
        "the first value of each row lies within a few σ of the mean of its row.",
    ),
    setup=lambda rng: {"x": offset_rows(rng, 256, 1024, 1e6)},
)
def numerics_shift(answer: Calls, rng: Rng) -> None:
    """Compare with the exact variance of float32 rows, near zero and far from it."""
    for channels, m, mean in ((4, 1024, 0.0), (8, 500, 1e3), (16, 1024, 1e6)):
        x = offset_rows(rng, channels, m, mean)
        exact = x.astype(float).var(1)
        found = answer.array(x, shape=(channels,))
        expect(
            found.dtype == np.float32,
            f"the result is of {found.dtype}. In float64 nothing is lost: stay in float32.",
        )
        found = found.astype(float)
        if near(found, exact, rtol=1e-4):
            continue
        d = x - x[0, 0]
        one = (d * d).mean(1) - d.mean(1) ** 2
        plain = (x * x).mean(1) - x.mean(1) ** 2
        match(
            found,
            exact,
            "the variance is off by more than 1e-4 of itself"
            + (": far from zero digits are lost." if mean else "."),
            {
                "the formula is applied to x as it is.": plain.astype(float),
                "every channel needs a c of its own.": one.astype(float),
                "this divides by m − 1.": exact * m / (m - 1),
                "that is the standard deviation.": np.sqrt(exact),
                "the mean of the shifted values is not 0: its square is missing.": (
                    ((x - x[:, :1]).astype(float) ** 2).mean(1)
                ),
            },
            rtol=1e-4,
        )


def add_up(rows: Array, sign: int) -> Array:
    """Add up rows by Kahan's rule, or with the wrong sign."""
    total, lost = np.zeros_like(rows[0]), np.zeros_like(rows[0])
    for row in rows:
        t = row - sign * lost
        new = total + t
        lost = (new - total) - t
        total = new
    return total


@exercise(
    "ex-numerics-kahan",
    Function("compensated(rows)"),
    reread=(NUMERICS, "The sum"),
    hints=(
        "two arrays go along: the sum so far, and what the last addition lost.",
        "three lines for each row, as the text says, and then the new sum takes the old one's "
        "place.",
        "both arrays have the dtype and the shape of a row. Nothing is computed in float64.",
    ),
    setup=lambda rng: {
        "rows": (10_007 + rng.standard_normal((2**13, 4))).astype(np.float32)
    },
)
def numerics_kahan(answer: Calls, rng: Rng) -> None:
    """Compare with a sum in float64, to two units of round-off."""
    for m, c, mean in ((2**13, 4, 10_007), (5000, 3, -0.1), (1, 2, 3.0)):
        rows = (mean + rng.standard_normal((m, c))).astype(np.float32)
        found = answer.array(rows, shape=(c,), what="the sum")
        expect(
            found.dtype == np.float32,
            f"the sum has the dtype {found.dtype}: stay in float32, that is the point.",
        )
        found = found.astype(float)
        exact, size = rows.sum(0, dtype=float), np.abs(rows).sum(0, dtype=float)
        if (np.abs(found - exact) < 4 * 2.0**-24 * np.abs(exact) + 2e-14 * size).all():
            continue
        match(
            found,
            exact,
            "the error is larger than that of a compensated sum.",
            {
                "that is the running sum.": rows.sum(0),
                "what was lost has the wrong sign.": add_up(rows, -1),
                "a sum, not a mean.": rows.mean(0),
                "the last row is missing.": rows.sum(0) - rows[-1],
            },
            rtol=1e-7,
        )


@exercise(
    "ex-numerics-budget",
    Value((), tolerance=1500),
    reread=(NUMERICS, "How many digits there are to keep"),
    hints=(
        "κ is the mean over the standard deviation. The mean you know.",
        "the dates are spread evenly over a day. What is the standard deviation of a uniform "
        "distribution?",
        "it is the length of the interval over the root of 12; a day has 86,400 seconds.",
    ),
)
def numerics_budget(answer: Given, rng: Rng) -> None:
    """Compare the condition number of the column."""
    right = 1.7e9 / (86_400 / np.sqrt(12))
    answer.match(
        right,
        "the condition number is another one.",
        known={
            "σ is not the whole day.": 1.7e9 / 86_400,
            "σ of a uniform distribution is less than half its length.": (
                2 * 1.7e9 / 86_400
            ),
            "the root of 12.": 1.7e9 / 86_400 * 12,
            "that is κ².": right**2,
            "σ of a uniform distribution is a part of its length.": (
                1.7e9 / np.sqrt(86_400)
            ),
        },
    )
