"""Checks of the exercises of Part 2, build."""

from typing import Any

import numpy as np

from bnlib import Sequential
from bnlib._types import Array
from bnlib.lab.exercises._core import (
    FOUR,
    AnswerError,
    Calls,
    Function,
    Given,
    Rng,
    Value,
    as_array,
    exercise,
    expect,
    kind_of,
    match,
    near,
    refuse,
    standardized,
)
from bnlib.layers import Linear, ReLU
from bnlib.module import Residual
from bnlib.norm import BatchNorm1d
from bnlib.optim import SGD

FORWARD = "2-build/forward"
BACKWARD = "2-build/backward"
CONVOLUTION = "2-build/convolution"
RUNNING = "2-build/running-statistics"
NETWORK = "2-build/network"
VERIFICATION = "2-build/verification"


def four(rng: Rng) -> dict[str, Any]:
    """Return the batch of four numbers, with its scale and shift."""
    return {"x": FOUR.copy(), "weight": 6.0, "bias": 1.0}


@exercise(
    "ex-forward-four",
    Value((4,), tolerance=0.01),
    reread=(FORWARD, "The four equations"),
    hints=(
        "the mean first, then how far each value lies from it.",
        "the variance is the mean of the squared distances: there are four of them, so divide "
        "by 4. Its root is a whole number.",
        "divide the distances by that root. Only then multiply by γ and add β.",
    ),
    setup=four,
)
def forward_four(answer: Given, rng: Rng) -> None:
    """Compare the four outputs of one small batch."""
    d = FOUR - FOUR.mean()
    x_hat = d / FOUR.std()
    answer.match(
        6 * x_hat + 1,
        "these are not the four outputs.",
        known={
            "this divides by m − 1. BN divides by m.": 6 * d / FOUR.std(ddof=1) + 1,
            "this divides by the variance, not by its root.": 6 * d / FOUR.var() + 1,
            "β comes last: γ does not multiply it.": 6 * (x_hat + 1),
            "the mean was not subtracted.": 6 * FOUR / FOUR.std() + 1,
            "these are the x̂. γ and β are missing.": x_hat,
            "γ multiplies and β is added, not the other way round.": x_hat + 6,
        },
    )


@exercise(
    "ex-forward-bound",
    Function("bound(m)"),
    reread=(FORWARD, "The four equations"),
    hints=(
        "what do the x̂ of a batch sum to, and what do their squares sum to at most?",
        "name one of them a. You know the sum of the m − 1 others; how small can the sum of "
        "their squares be?",
        "by the Cauchy–Schwarz inequality it is smallest when they are all equal. Add a² to it.",
    ),
)
def forward_bound(answer: Calls, rng: Rng) -> None:
    """Compare the largest normalized value of a batch of m."""
    for m in (2, 3, 16, 100, 1024):
        match(
            answer.number(m, what="the bound"),
            np.sqrt(m - 1),
            f"in a batch of {m} the largest |x̂| is another number. Try an outlier of 1e9.",
            known={
                "nearly, but not attained: the others cannot all be 0, since the sum is.": (
                    np.sqrt(m)
                ),
                "that is the bound for a standard deviation that divides by m − 1.": (
                    (m - 1) / np.sqrt(m)
                ),
                "that is its square.": m - 1,
            },
        )


def correlated(rng: Rng, m: int, features: int) -> Array:
    """Return a batch of correlated features of unlike scale, far from zero."""
    mixed = rng.standard_normal((m, features)) @ rng.standard_normal(
        (features, features)
    )
    return 3 + mixed * rng.uniform(0.5, 5, features)


@exercise(
    "ex-forward-whiten",
    Function("whiten(x)"),
    reread=(FORWARD, "Whitening, and why not"),
    hints=(
        "subtract the mean, and compute the covariance matrix of what is left: D × D.",
        "a symmetric matrix is V diag(λ) Vᵀ. A function of it, such as one over the root, acts "
        "on the λ alone.",
        "`np.linalg.eigh` gives λ and V. Do not forget the last Vᵀ: without it the features "
        "come out rotated.",
    ),
    setup=lambda rng: {"x": correlated(rng, 500, 2)},
)
def forward_whiten(answer: Calls, rng: Rng) -> None:
    """Ask for the identity as covariance, and for the symmetric root."""
    for m, features in ((40, 2), (41, 3), (200, 5), (64, 8)):
        x = correlated(rng, m, features)
        y = answer.array(x, shape=x.shape)
        d = x - x.mean(0)
        values, vectors = np.linalg.eigh(d.T @ d / m)
        white = d @ (vectors / np.sqrt(values)) @ vectors.T
        to = 1e-2 if y.dtype == np.float32 else 1e-6  # a bad condition costs digits
        if near(y, white, to, to):
            continue
        expect(
            np.abs(y.mean(0)).max() < to,
            "the mean of the output is not 0. Subtract the mean of each feature first.",
        )
        cov = y.T @ y / m
        expect(
            not near(cov * m / (m - 1), np.eye(features), to / 10),
            "the variances are (m − 1)/m: this divides by m − 1. `np.cov` does, unless you "
            "give it ddof=0.",
        )
        scale = np.sqrt(np.diag(cov))
        rest = cov / np.outer(scale, scale) - np.eye(features)
        i, j = np.unravel_index(np.abs(rest).argmax(), rest.shape)
        expect(
            abs(rest[i, j]) < to,
            f"the covariance of the output is not the identity: features {min(i, j)} and "
            f"{max(i, j)} still correlate by {rest[i, j]:.2g}.",
        )
        expect(
            near(scale, np.ones(features), to),
            "the covariance of the output is not the identity: not every variance is 1.",
        )
        expect(
            False,
            "the output is white, but it is a rotation of what was asked for. The symmetric "
            "root turns back after the scaling.",
        )


def drifting(
    rng: Rng, blocks: int, m: int, features: int, offset: float
) -> list[Array]:
    """Return the blocks of a batch that drifts."""
    steps = rng.standard_normal((blocks * m, features))
    return list(offset + steps.cumsum(0).reshape(blocks, m, features))


@exercise(
    "ex-forward-blocks",
    Function("over_blocks(blocks)"),
    reread=(FORWARD, "A mean and a variance that can be trusted"),
    hints=(
        "you may keep a few numbers per block and feature. Which?",
        "think of a batch with two blocks that are constant, at 0 and at 1. The variance of each "
        "block is 0, and that of the whole is not.",
        "the variance of the whole is the mean of the blocks' variances plus one other variance.",
    ),
    setup=lambda rng: {"blocks": drifting(rng, 10, 1000, 2, 0)},
)
def forward_blocks(answer: Calls, rng: Rng) -> None:
    """Compare mean and variance over blocks that differ, also far from zero."""
    for blocks, m, features, offset in (
        (10, 1000, 2, 0.0),
        (3, 7, 4, -5.0),
        (1, 50, 3, 2.0),
        (20, 100, 2, 3e8),
    ):
        parts = drifting(rng, blocks, m, features, offset)
        whole = np.concatenate(parts)
        near_zero = whole - whole[0]  # exact: the differences are small
        mean, var = answer.arrays(
            parts, shapes={"mean": (features,), "var": (features,)}
        )
        match(mean, whole.mean(0), "the mean is wrong.", rtol=1e-9)
        only_averaged = np.mean([part.var(0) for part in parts], axis=0)
        spare = blocks / max(blocks - 1, 1)
        match(
            var,
            near_zero.var(0),
            "the variance is wrong."
            if not offset > 1e6
            else "the variance loses its digits on a feature far from zero: centre before you "
            "square.",
            rtol=1e-5,
            known={
                "this averages the blocks' variances. What is lost is how far their means "
                "lie apart.": only_averaged,
                "this divides by m − 1. BN divides by m.": near_zero.var(0, ddof=1),
                "the variance of the blocks' means divides by their number, not by one less.": (
                    only_averaged
                    + np.var([part.mean(0) for part in parts], axis=0) * spare
                ),
            },
        )


@exercise(
    "ex-backward-four",
    Value((4,), tolerance=0.01),
    reread=(BACKWARD, "What is left of dy"),
    hints=(
        "take the x̂ of the batch from the exercise in the chapter Forward. Two means of four "
        "numbers are all that is missing.",
        "the mean of dy, and the mean of the products dy · x̂. Only one product is not 0.",
        "subtract the first mean from each dy, and x̂ times the second. Then multiply by γ/σ. "
        "The four results must sum to 0.",
    ),
    setup=lambda rng: {"x": FOUR.copy(), "dy": np.array([0, 0, 0, 4.0]), "weight": 6.0},
)
def backward_four(answer: Given, rng: Rng) -> None:
    """Compare the gradient of one small batch."""
    dy, x_hat = np.array([0, 0, 0, 4.0]), (FOUR - 4) / 3
    right = training_gradient(dy, FOUR, 6.0, eps=0)
    answer.refuse(
        {
            "the sign is wrong.": -right,
            "this divides by m − 1. BN divides by m.": (
                training_gradient(dy, FOUR, 6.0, eps=0, ddof=1)
            ),
            "that is γ dy/σ: it takes the mean and the variance for constants.": 2 * dy,
            "the path through the variance is missing.": 2 * (dy - dy.mean()),
            "γ is missing.": right / 6,
            "the division by σ is missing.": right * 3,
            "means, not sums.": 2 * (dy - dy.sum() - x_hat * (dy * x_hat).sum()),
        }
    )
    dx = answer.value
    expect(
        abs(dx.sum()) < 0.05,
        f"dx does not sum to 0 over the batch, but to {dx.sum():.2f}.",
    )
    expect(
        abs(dx @ x_hat) < 0.05,
        f"dx is not at right angles to x̂: the sum of dx · x̂ is {dx @ x_hat:.2f}.",
    )
    expect(
        dx @ right > 0.999 * np.sqrt(dx @ dx * (right @ right)) > 0,
        "dx sums to 0 and is at right angles to x̂, as it must, and points another way.",
    )
    answer.match(right, "dx has the right direction, and not the right length.")


@exercise(
    "ex-backward-possible",
    Value(),
    reread=(BACKWARD, "What is left of dy"),
    hints=(
        "two properties hold for every dx of a training step, whatever dy was.",
        "dx sums to 0. That leaves three of the four.",
        "dx is at right angles to x̂ = (−1, −1/3, −1/3, 5/3), or to three times that.",
    ),
)
def backward_possible(answer: Given, rng: Rng) -> None:
    """Ask which of four vectors sums to 0 and is at right angles to x̂."""
    answer.match(
        3,
        "expected the number of a vector, from 1 to 4.",
        known={
            "vector 1 does not sum to 0.": 1,
            "vector 2 sums to 0, and is not at right angles to x̂: it is x̂ itself.": 2,
            "vector 4 sums to 0, and is not at right angles to x̂.": 4,
        },
    )


def training_gradient(
    dy: Array, x: Array, weight: Any, eps: float, ddof: int = 0
) -> Array:
    """Return the gradient of batch normalization over axis 0."""
    invstd = 1 / np.sqrt(x.var(0, ddof=ddof) + eps)
    x_hat = (x - x.mean(0)) * invstd
    dx_hat = dy * weight
    return invstd * (dx_hat - dx_hat.mean(0) - x_hat * (dx_hat * x_hat).mean(0))


@exercise(
    "ex-backward-means",
    Function("five_lines(dy, x, weight, eps)"),
    reread=(BACKWARD, "The compact form"),
    hints=(
        "centre x first. The inverse standard deviation and x̂ follow from what you centred.",
        "let γ join dy at the very beginning: call the product dx̂.",
        "what is left of dx̂ after you took out its mean, and x̂ times the mean of dx̂ · x̂?",
    ),
    setup=lambda rng: {
        "x": rng.normal(2, 3, (8, 3)),
        "dy": rng.standard_normal((8, 3)),
        "weight": rng.uniform(0.5, 2, 3),
    },
)
def backward_means(answer: Calls, rng: Rng) -> None:
    """Ask for the properties of a gradient, with γ ≠ 1, and ε that counts."""
    for (m, c), eps, scale in (
        ((8, 3), 1e-5, 3),
        ((5, 5), 1e-5, 1),
        ((16, 2), 0.5, 1),
        ((2, 4), 1e-3, 0.1),
    ):
        x = rng.normal(2, scale, (m, c))
        dy, weight = rng.standard_normal((m, c)), rng.uniform(0.5, 2, c)
        dx = answer.array(dy, x, weight, eps, shape=(m, c), what="dx")
        right, s = training_gradient(dy, x, weight, eps), 1 / np.sqrt(x.var(0) + eps)
        if near(dx, right, 1e-6):
            continue
        known = {
            "the sign is wrong.": -right,
            "dx takes the mean and the variance for constants.": weight * s * dy,
            "dx lacks the factor γ.": right / weight,
            "dx lacks the factor 1/σ.": right / s,
            "this divides by m − 1.": training_gradient(dy, x, weight, eps, 1),
            "ε is missing.": training_gradient(dy, x, weight, 0),
            "ε is an argument of its own here.": training_gradient(dy, x, weight, 1e-5),
        }
        refuse(dx, known, 1e-6)
        size, where = np.abs(dx).max() * m, "What is left of dy"
        expect(
            np.abs(dx.sum(0)).max() < 1e-6 * size,
            "dx does not sum to 0 over the batch.",
            section=where,
        )
        along = np.abs((dx * (x - x.mean(0))).sum(0)).max()
        expect(
            eps > 1e-4 or along < 1e-3 * size,
            "dx is not at right angles to x̂: the path through the variance is not right.",
            section=where,
        )
        gap = np.abs(dx - right).max() / np.abs(right).max()
        expect(False, f"dx is off by {gap:.0%} of its largest entry.")


@exercise(
    "ex-backward-rms",
    Function("rms_backward(dy, x, eps)"),
    reread=(BACKWARD, "What is left of dy"),
    hints=(
        "which change of x does the output not notice? Nothing of dy in that direction comes "
        "through.",
        "nothing was centred, so the constant direction survives. Only the one of x̂ is taken out.",
        "from dy subtract x̂ times the mean of dy · x̂, and multiply by s.",
    ),
    setup=lambda rng: {
        "x": rng.normal(2, 3, (8, 3)),
        "dy": rng.standard_normal((8, 3)),
    },
)
def backward_rms(answer: Calls, rng: Rng) -> None:
    """Compare with the gradient of x · s, over the batch."""
    for (m, c), eps in (((8, 3), 1e-5), ((3, 5), 1e-5), ((16, 2), 0.5)):
        x, dy = rng.normal(2, 1, (m, c)), rng.standard_normal((m, c))
        dx = answer.array(dy, x, eps, shape=(m, c), what="dx")
        s = 1 / np.sqrt((x**2).mean(0) + eps)
        x_hat = x * s
        right = s * (dy - x_hat * (dy * x_hat).mean(0))
        rows = 1 / np.sqrt((x**2).mean(1, keepdims=True) + eps)
        rows_hat = x * rows
        known = {
            "dx takes s for a constant.": s * dy,
            "the part along x̂ is taken out of dy, not added.": 2 * s * dy - right,
            "the sign is wrong.": -right,
            "the mean of dy is taken out, but no mean was subtracted in the forward.": (
                s * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))
            ),
            "dx lacks the factor s.": right / s,
            "that is the backward of batch normalization.": (
                training_gradient(dy, x, np.ones(c), eps)
            ),
            "the mean runs over the features; here it runs over the batch, axis 0.": (
                rows * (dy - rows_hat * (dy * rows_hat).mean(1, keepdims=True))
            ),
        }
        match(dx, right, "dx is not the gradient of this forward.", known, rtol=1e-6)


@exercise(
    "ex-convolution-count",
    Value((3,)),
    reread=(CONVOLUTION, "How many values share a mean"),
    hints=(
        "the channels are axis 1. Over which axes does a mean run?",
        "one mean for each channel, over all images and all places.",
        "each channel has a γ and a β, which are learned, and two running statistics, which are "
        "not.",
    ),
)
def convolution_count(answer: Given, rng: Rng) -> None:
    """Compare three counts of a batch of images."""
    means, values, learned = answer.value
    expect(means == 16, "the number of means is wrong: one for each channel.")
    expect(values != 8, "a mean runs over space too, not over the batch alone.")
    expect(values != 14 * 14, "a mean runs over the batch too, not over one image.")
    expect(values != 8 * 16 * 14 * 14, "a mean of BN does not run over the channels.")
    expect(values == 8 * 14 * 14, "the number of values in each mean is wrong.")
    expect(learned != 64, "the running statistics are kept, and not learned.")
    expect(learned == 32, "the number of learned values is wrong: γ and β.")


@exercise(
    "ex-convolution-last",
    Function("channels_last(x, weight, bias, eps)"),
    reread=(CONVOLUTION, "How many values share a mean"),
    hints=(
        "the statistics run over every axis but the channels'. Which axes are these now?",
        "x may have two, three or four axes, so count them.",
        "a vector of length C broadcasts along the last axis by itself: nothing needs a new shape.",
    ),
    setup=lambda rng: {
        "x": rng.normal(2, 3, (4, 6, 6, 3)),
        "weight": rng.uniform(0.5, 2, 3),
        "bias": rng.standard_normal(3),
    },
)
def convolution_last(answer: Calls, rng: Rng) -> None:
    """Compare on two, three and four axes, of which some have one length."""
    for shape in ((4, 5, 6, 3), (3, 3, 3, 3), (8, 7, 2), (9, 5)):
        x, c = rng.normal(2, 3, shape), shape[-1]
        weight, bias = rng.uniform(0.5, 2, c), rng.standard_normal(c)
        y = answer.array(x, weight, bias, 1e-3, shape=shape)
        axes, kept = tuple(range(x.ndim - 1)), (0, *range(2, x.ndim))
        x_hat, sigma = standardized(x, axes, 1e-3), np.sqrt(x.var(axes) + 1e-3)
        known = {
            "the statistics run over the batch alone, one for each place.": (
                weight * standardized(x, 0, 1e-3) + bias
            ),
            "axis 1 is treated as the channels.": (
                weight * standardized(x, kept, 1e-3) + bias
            ),
            "the features of one place share a mean: that is layer normalization.": (
                weight * standardized(x, -1, 1e-3) + bias
            ),
            "this divides by m − 1. BN divides by m.": (
                weight * standardized(x, axes, 1e-3, ddof=1) + bias
            ),
            "ε is an argument, and here it is 1e-3.": (
                weight * standardized(x, axes, 1e-5) + bias
            ),
            "ε is missing.": weight * standardized(x, axes, 0) + bias,
            "ε stands under the root.": (
                weight * (x - x.mean(axes)) / (x.std(axes) + 1e-3) + bias
            ),
            "this divides by the variance, not by its root.": (
                weight * x_hat / sigma + bias
            ),
            "γ and β are missing.": x_hat,
            "γ is missing.": x_hat + bias,
            "β is missing.": weight * x_hat,
        }
        right = weight * x_hat + bias
        match(
            y,
            right,
            "this is not the batch normalization of each channel.",
            known,
            rtol=1e-6,
        )


@exercise(
    "ex-running-four",
    Value((2,), tolerance=0.01),
    reread=(RUNNING, "Biased or unbiased: is it a bug?"),
    hints=(
        "a fresh layer starts with mean 0 and variance 1. The new batch weighs 0.1.",
        "the batch has the mean 4. Of its variances, one divides by 4 and the other by 3.",
        "the running variance takes the unbiased one: 36/3.",
    ),
    setup=lambda rng: {"x": FOUR.copy(), "momentum": 0.1},
)
def running_four(answer: Given, rng: Rng) -> None:
    """Compare the running mean and variance after one batch."""
    answer.match(
        [0.4, 2.1],
        "these are not the running mean and variance.",
        known={
            "the biased variance went in. The layer stores the unbiased one.": (
                [0.4, 1.8]
            ),
            "that is the convention of Keras: here momentum weighs the new batch.": (
                [3.6, 10.9]
            ),
            "momentum weighs the new batch, and the unbiased variance goes in.": (
                [3.6, 8.2]
            ),
            "the running variance starts at 1, not at 0.": [0.4, 1.2],
            "these are the batch's own. They weigh 0.1.": [4, 12],
            "first the mean, then the variance.": [2.1, 0.4],
        },
    )


@exercise(
    "ex-running-debias",
    Function("debias(running_mean, running_var, t, momentum)"),
    reread=(RUNNING, "The start"),
    hints=(
        "how much does the start weigh after t batches?",
        "the expectation of a running statistic mixes the truth and the start. Solve it for the "
        "truth.",
        "the mean starts at 0, so what it gave is nothing; the variance starts at 1.",
    ),
    setup=lambda rng: {"t": 20, "momentum": 0.01},
)
def running_debias(answer: Calls, rng: Rng) -> None:
    """Undo the start of running statistics whose truth is known."""
    for t, momentum, c in ((2, 0.3, 3), (20, 0.01, 3), (1, 0.1, 2)):
        q = (1 - momentum) ** t
        mean, var = rng.normal(5, 2, c), rng.uniform(2, 9, c)
        stored = (1 - q) * mean, q + (1 - q) * var
        found = answer.arrays(*stored, t, momentum, shapes={"mean": (c,), "var": (c,)})
        match(
            found[0],
            mean,
            "this is not the mean without the start.",
            known={
                "the mean still carries the start.": stored[0],
                "the start weighs (1 − α)ᵗ, the batches the rest.": stored[0] / q,
                "the start weighs (1 − α)ᵗ, not αᵗ.": stored[0] / (1 - momentum**t),
            },
        )
        match(
            found[1],
            var,
            "this is not the variance without the start.",
            known={
                "the variance still carries the start.": stored[1],
                "the variance starts at 1, not at 0.": stored[1] / (1 - q),
                "divide by what the batches weigh.": stored[1] - q,
            },
        )


@exercise(
    "ex-running-momentum",
    Function("best_momentum(d, sigma)"),
    reread=(RUNNING, "The noise"),
    hints=(
        "the mean squared error is the square of the lag plus the variance of the noise.",
        "for small α the lag is d/α, and the noise has the variance σ²α/2.",
        "set the derivative of their sum with respect to α to zero: α³ comes out.",
    ),
)
def running_momentum(answer: Calls, rng: Rng) -> None:
    """Compare the momentum with the least error for small drifts."""
    for d, sigma in ((0.001, 2.0), (0.02, 0.5), (0.0005, 0.5), (1e-5, 0.1)):
        ratio = 2 * d / sigma
        found = answer.number(d, sigma, what="the momentum")
        slope = (
            ratio**2 / 4 * (1 - found) * (2 - found) ** 2
        )  # found³ at the exact minimum
        expect(
            near(found, ratio ** (2 / 3), 1e-3) or not near(found**3, slope, 3e-3),
            "that is the exact minimum. Asked is the formula for a small α.",
        )
        match(
            found,
            ratio ** (2 / 3),
            "where α is small, another momentum has a smaller error.",
            known={
                "the lag enters with its square.": ratio ** (1 / 3),
                "the noise enters with its variance, σ².": (
                    (2 * d**2 / sigma) ** (1 / 3)
                ),
                "nearly: for small α the noise is α/2, not α.": (d / sigma) ** (2 / 3),
                "error squared: the exponent is not 1.": ratio,
            },
            rtol=1e-3,
        )


@exercise(
    "ex-running-recompute",
    Function("recompute(bn, batches)"),
    reread=(RUNNING, "The cumulative average, and an exact one"),
    hints=(
        "the batches differ in size: the mean of their means is not the mean of all.",
        "how many values per channel has a batch of shape (N, C, L)?",
        "merge the moments batch by batch, and make the variance unbiased once, at the end.",
    ),
    setup=lambda rng: {
        "bn": BatchNorm1d(3, dtype=np.float64),
        "batches": [rng.normal(4, 2, (n, 3, 7)) for n in (16, 16, 5)],
    },
)
def running_recompute(answer: Calls, rng: Rng) -> None:
    """Compare with the moments of all values, also where the buffers are NaN."""
    for sizes, c, length in (((16, 16, 5), 3, 7), ((2, 9), 4, 1), ((3,), 2, 5)):
        bn: Any = BatchNorm1d(c, dtype=np.float64).eval()
        bn.running_mean[...] = np.nan
        batches = [rng.normal(k, 2 + k, (n, c, length)) for k, n in enumerate(sizes)]
        weight = bn.weight.data.copy()
        answer(bn, batches, changes=(0,))
        whole = np.concatenate(batches)
        mean = np.mean([b.mean((0, 2)) for b in batches], axis=0)
        within = np.mean([b.var((0, 2), ddof=1) for b in batches], axis=0)
        expect(
            np.isfinite(bn.running_mean).all(),
            "the running mean is still NaN. An average with what was there keeps it: set it anew.",
        )
        match(
            as_array(bn.running_mean, (c,), "the running mean"),
            whole.mean((0, 2)),
            "the running mean is not the mean of all values.",
            known={
                "small batches count as much as large ones.": mean,
            },
        )
        rows = len(whole)
        match(
            as_array(bn.running_var, (c,), "the running variance"),
            whole.var((0, 2), ddof=1),
            "the running variance is not the variance of all values.",
            known={
                "the running variance is the biased one.": whole.var((0, 2)),
                "the values of a channel lie in space, too: m is not the number of samples.": (
                    whole.var((0, 2)) * rows / (rows - 1)
                ),
                "the batches' means lie apart, and that is part of the variance.": within,
            },
        )
        expect(near(bn.weight.data, weight), "γ has changed.")


def blocks_of_norms(rng: Rng) -> Sequential:
    """Return a network with batch normalizations at several depths."""
    inner = Sequential(Linear(4, 4, rng=rng), BatchNorm1d(4))
    return Sequential(
        Linear(3, 4, rng=rng), BatchNorm1d(4), ReLU(), Residual(inner), BatchNorm1d(4)
    )


@exercise(
    "ex-running-freeze",
    Function("freeze(net)"),
    reread=(RUNNING, "Who remembers: parameters and modules"),
    hints=(
        "one switch decides whether a layer uses its batch or its statistics.",
        "`net.modules()` passes all modules, also those inside others.",
        "put into evaluation only what keeps a running mean; γ and β learn there too.",
    ),
    setup=lambda rng: {"net": blocks_of_norms(rng)},
)
def running_freeze(answer: Calls, rng: Rng) -> None:
    """Run a step: the statistics stay, the rest of the network trains, and γ learns."""
    for wrap in (False, True):
        net = blocks_of_norms(rng)
        net = (Sequential(net) if wrap else net).train()
        answer(net, changes=(0,))
        norms: list[Any] = [m for m in net.modules() if isinstance(m, BatchNorm1d)]
        others = [m for m in net.modules() if isinstance(m, (Linear, ReLU))]
        x = rng.normal(1, 2, (6, 3)).astype(np.float32)
        net.backward(net(x))
        still = [near(n.running_mean, np.zeros(4)) for n in norms]
        expect(
            any(still),
            "the running statistics still move. (The chapter builds classes of its own: "
            "recognize a layer by the running_mean that it keeps.)",
        )
        expect(all(still), "a batch normalization inside another module still moves.")
        expect(
            all(m.training for m in others),
            "the whole network is in evaluation. Dropout, for one, must stay in training.",
        )
        expect(
            not any(n.training for n in norms),
            "the statistics stay, but the layers still normalize with their batch. On very "
            "small batches that is what hurts.",
        )
        expect(
            all(np.abs(n.weight.grad).max() > 0 for n in norms),
            "no gradient of γ arrives. Freeze the statistics, not the parameters.",
        )


@exercise(
    "ex-network-logits",
    Value((3,), tolerance=0.01),
    reread=(NETWORK, "The loss"),
    hints=(
        "the softmax first: 2, 1 and 1 are the exponentials. What do they sum to?",
        "the gradient is the probability you gave minus the one you should have given.",
        "class 1 is the second of the three, since classes count from 0.",
    ),
)
def network_logits(answer: Given, rng: Rng) -> None:
    """Compare p minus the one-hot target."""
    p = np.array([0.5, 0.25, 0.25])
    answer.match(
        p - [0, 1, 0],
        "this is not the gradient. It sums to 0, and one entry is negative.",
        known={
            "that is the softmax. Subtract the one-hot target.": p,
            "the sign is wrong: the loss falls as the logit of the "
            "true class rises.": np.array([0, 1, 0]) - p,
            "classes count from 0: class 1 is the second.": p - [1, 0, 0],
            "that is the part of the true logit alone.": np.array([0, -1, 0.0]),
        },
    )


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of the probabilities."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@exercise(
    "ex-network-smoothing",
    Function("soft_cross_entropy(logits, q)"),
    reread=(NETWORK, "The loss"),
    hints=(
        "the q of a sample sum to 1. What becomes of the term log Σ exp(z)?",
        "the loss of a sample is the log-sum-exp minus the q-weighted mean of its logits.",
        "where the one-hot vector stood in the gradient there is now q.",
    ),
    setup=lambda rng: {
        "logits": rng.standard_normal((6, 10)),
        "labels": rng.integers(10, size=6),
    },
)
def network_smoothing(answer: Calls, rng: Rng) -> None:
    """Compare loss and gradient, also where exponentials overflow."""
    for n, k, scale in ((6, 10, 1.0), (3, 4, 5.0), (1, 3, 2.0), (4, 5, 2000.0)):
        logits = scale * rng.standard_normal((n, k))
        q = rng.dirichlet(np.ones(k), n)
        shapes: dict[str, tuple[int, ...]] = {"the loss": (), "the gradient": (n, k)}
        try:
            loss, gradient = answer.arrays(logits, q, shapes=shapes)
        except AnswerError as fault:
            expect(
                scale < 1000 or "NaN" not in str(fault),
                "with large logits the result is NaN or infinite. Take the largest logit out "
                "before you exponentiate, and take the logarithm of the sum alone.",
            )
            raise
        log_p = log_softmax(logits)
        losses, p = -(q * log_p).sum(1), np.exp(log_p)
        known = {
            "the loss is the mean over the batch.": losses.sum(),
            "the loss is also a sum over the classes, not a mean.": losses.mean() / k,
            "the sign of the loss is wrong.": -losses.mean(),
            "this takes the likeliest class alone.": (
                -log_p[np.arange(n), q.argmax(1)].mean()
            ),
        }
        match(loss, losses.mean(), "the loss is wrong.", known, rtol=1e-6)
        match(
            gradient,
            (p - q) / n,
            "the gradient is wrong.",
            known={
                "the gradient lacks the factor 1/N of the mean.": p - q,
                "the sign of the gradient is wrong.": (q - p) / n,
                "this subtracts a one-hot target.": (
                    (p - (q == q.max(1, keepdims=True))) / n
                ),
            },
            rtol=1e-6,
        )


@exercise(
    "ex-network-groups",
    Function("groups(net)"),
    reread=(NETWORK, "Optimizers"),
    hints=(
        "how do a matrix and a vector of parameters differ, whatever layer they belong to?",
        "a group is a dict: its parameters under one key, its settings under others.",
        "every parameter stands in exactly one of two groups. Only that of the matrices decays.",
    ),
    setup=lambda rng: {"net": blocks_of_norms(rng)},
)
def network_groups(answer: Calls, rng: Rng) -> None:
    """Take a step of SGD with zero gradients: matrices shrink, vectors stay."""
    for _ in range(2):
        net = blocks_of_norms(rng)
        found = answer(net, changes=(0,))
        expect(
            isinstance(found, (list, tuple))
            and all(isinstance(g, dict) and "params" in g for g in found),
            "expected your function to return a list of groups, dicts with `params`.",
        )
        found = [g | {"params": [*g["params"]]} for g in found]
        optimizer = SGD(found, lr=0.5)
        inside = {id(p) for group in found for p in group["params"]}
        expect(
            all(id(p) in inside for p in net.parameters()),
            "some parameters stand in no group, so they do not learn.",
        )
        before = {name: p.data.copy() for name, p in net.named_parameters()}
        optimizer.zero_grad()
        optimizer.step()
        for name, p in net.named_parameters():
            kept = near(p.data, before[name])
            if p.data.ndim == 1:
                expect(
                    kept or not before[name].any(),
                    f"{name} is a vector, and it decays.",
                )
            else:
                expect(not kept, f"{name} is a matrix, and it does not decay.")
                match(
                    p.data,
                    0.95 * before[name],
                    "the weight decay of the matrices is not 0.1.",
                    rtol=1e-5,
                )


@exercise(
    "ex-network-dropout",
    Function("variance_after(mean, var, p)"),
    reread=(NETWORK, "Dropout"),
    hints=(
        "a value is kept with probability 1 − p and then divided by it. What is the expectation "
        "of its square?",
        "the mean does not change. The variance is the mean square minus the squared mean.",
        "with p = 0 the variance must be what it was; with mean 0 it is divided by 1 − p.",
    ),
)
def network_dropout(answer: Calls, rng: Rng) -> None:
    """Compare the variance behind dropout in training."""
    for mean, var, p in (
        (1.0, 1.0, 0.5),
        (0.0, 2.0, 0.2),
        (3.0, 0.5, 0.1),
        (2.0, 4.0, 0.0),
    ):
        match(
            answer.number(mean, var, p, what="the variance"),
            (var + p * mean**2) / (1 - p),
            f"with mean {mean:g}, variance {var:g} and p = {p:g} it is another number.",
            known={
                "the mean adds to the variance: values fall to 0 from there.": (
                    var / (1 - p)
                ),
                "that is the variance in evaluation.": var,
                "that is the mean square, not the variance.": (mean**2 + var) / (1 - p),
                "the kept values are scaled up.": (1 - p) * var + p * (1 - p) * mean**2,
            },
        )


@exercise(
    "ex-verification-port",
    Value((2,), tolerance=0.001),
    reread=(VERIFICATION, "The conventions, side by side"),
    hints=(
        "Keras' momentum is the weight of the old value.",
        "Keras stores the variance that divides by m, PyTorch the one that divides by m − 1.",
        "from the first to the second you multiply by m/(m − 1), with m = 8 · 2 · 2.",
    ),
)
def verification_port(answer: Given, rng: Rng) -> None:
    """Compare the momentum, and the factor of the running variance."""
    momentum, factor = answer.value
    answer.refuse({"first the momentum, then the factor.": [32 / 31, 0.01]})
    expect(abs(momentum - 0.99) > 1e-3, "PyTorch's momentum weighs the new batch.")
    expect(abs(momentum - 0.01) < 1e-3, "the momentum is wrong.")
    expect(
        abs(factor - 1) > 1e-3, "Keras stores the biased variance, PyTorch does not."
    )
    expect(abs(factor - 31 / 32) > 1e-3, "the factor is upside down.")
    expect(abs(factor - 8 / 7) > 1e-3, "m counts the pixels too, not the images alone.")
    answer.match([0.01, 32 / 31], "the factor of the running variance is wrong.")


@exercise(
    "ex-verification-agree",
    Function("agree(a, b, tolerance)"),
    reread=(VERIFICATION, "What can go wrong"),
    hints=(
        "which of the six demands can be settled before any value is looked at?",
        "a comparison with NaN is false, and its negation true: ask for what must hold.",
        "infinity minus infinity is NaN, with a warning. Ask for finite values before you "
        "subtract.",
    ),
    setup=lambda rng: {"a": rng.standard_normal((4, 3))},
)
def verification_agree(answer: Calls, rng: Rng) -> None:
    """Try pairs that agree and pairs that must not."""
    a = rng.standard_normal((4, 3))
    hole, peak = a.copy(), a.copy()
    hole[1, 2], peak[0, 0] = np.nan, np.inf
    pairs = (
        (a, a.copy(), True, "two equal arrays do not agree."),
        (a, a + 1e-12, True, "a difference far below the tolerance does not agree."),
        (a, a + 1e-3 * (a == a.max()), False, "one value that is off goes unseen."),
        (hole, hole.copy(), False, "NaN agrees with NaN."),
        (hole, a, False, "NaN agrees with a number."),
        (peak, peak.copy(), False, "infinity agrees with infinity."),
        (a * 0, np.zeros((1, 3)), False, "shapes that broadcast agree."),
        (a * 0, np.zeros((4, 3), np.float32), False, "another dtype agrees."),
        (a[:0], a[:0].copy(), False, "empty arrays agree, in nothing."),
    )
    cases = [(*pair, 1e-9) for pair in pairs]
    cases += [
        (a, a + 1e-3, True, "0.1 is the tolerance here, and it is not used.", 0.1)
    ]
    for left, right, wanted, reply, tolerance in cases:
        for pair in ((left, right), (right, left)):
            found = answer.quiet(*pair, tolerance)
            expect(
                isinstance(found, bool | np.bool_),
                f"expected your function to return True or False, got {kind_of(found)}.",
            )
            expect(bool(found) is wanted, reply)
