"""Checks of the exercises of Part 2, build."""

from typing import Any

import numpy as np

from bnlib._types import Array
from bnlib.lab.exercises._core import (
    Calls,
    Function,
    Given,
    Value,
    exercise,
    expect,
    match,
    near,
)

Rng = np.random.Generator
FOUR = np.array(
    [1.0, 3.0, 3.0, 9.0]
)  # the batch to compute by hand: mean 4, variance 9
FORWARD = "2-build/forward"


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
        known=[
            (6 * d / FOUR.std(ddof=1) + 1, "this divides by m − 1. BN divides by m."),
            (6 * d / FOUR.var() + 1, "this divides by the variance, not by its root."),
            (6 * (x_hat + 1), "β comes last: γ does not multiply it."),
            (6 * FOUR / FOUR.std() + 1, "the mean was not subtracted."),
            (x_hat, "these are the x̂. γ and β are missing."),
            (x_hat + 6, "γ multiplies and β is added, not the other way round."),
        ],
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
            known=[
                (
                    np.sqrt(m),
                    "nearly, but not attained: the others cannot all be 0, since the sum is.",
                ),
                (
                    (m - 1) / np.sqrt(m),
                    "that is the bound for a standard deviation that divides by m − 1.",
                ),
                (m - 1, "that is its square."),
            ],
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
        if near(y, white, rtol=1e-6, atol=1e-8):
            continue
        expect(
            np.abs(y.mean(0)).max() < 1e-6,
            "the mean of the output is not 0. Subtract the mean first.",
        )
        cov = y.T @ y / m
        expect(
            not near(cov * m / (m - 1), np.eye(features), 1e-6),
            "the variances are (m − 1)/m: this divides by m − 1. `np.cov` does, unless you "
            "give it ddof=0.",
        )
        scale = np.sqrt(np.diag(cov))
        rest = cov / np.outer(scale, scale) - np.eye(features)
        i, j = np.unravel_index(np.abs(rest).argmax(), rest.shape)
        expect(
            abs(rest[i, j]) < 1e-6,
            f"the covariance of the output is not the identity: features {min(i, j)} and "
            f"{max(i, j)} still correlate by {rest[i, j]:.2f}.",
        )
        expect(
            near(scale, np.ones(features), 1e-6),
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
        match(
            var,
            near_zero.var(0),
            "the variance is wrong."
            if not offset > 1e6
            else "the variance loses its digits on a feature far from zero: centre before you "
            "square.",
            rtol=1e-5,
            known=[
                (
                    only_averaged,
                    "this averages the blocks' variances. What is lost is how far their means "
                    "lie apart.",
                ),
                (near_zero.var(0, ddof=1), "this divides by m − 1. BN divides by m."),
            ],
        )
