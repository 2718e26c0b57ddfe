"""Checks of the exercises of Part 3, evidence."""

import copy
from typing import Any

import numpy as np

from bnlib._types import Array
from bnlib.lab.exercises._core import (
    FOUR,
    Calls,
    Function,
    Given,
    Rng,
    Value,
    exercise,
    expect,
    match,
    near,
    standardized,
)
from bnlib.layers import Conv2d, Linear

DEPTH = "3-evidence/initialization-and-depth"
PLACEMENT = "3-evidence/placement"
SPEED = "3-evidence/convergence-speed"
SHIFT = "3-evidence/internal-covariate-shift"
NOISE = "3-evidence/regularization"


@exercise(
    "ex-init-ten",
    Value((3,), tolerance=1e-3),
    reread=(DEPTH, "Why the hill has slopes"),
    hints=(
        "differentiate both sides of 𝓛(aW) = 𝓛(W) with respect to W.",
        "the step is the rate times the gradient. Divide it by a length that has grown, too.",
        "the share falls once with the gradient and once with the length. The rate must undo both.",
    ),
)
def init_ten(answer: Given, rng: Rng) -> None:
    """Compare gradient, relative step and rate of weights ten times as large."""
    answer.match(
        [0.1, 0.01, 100],
        "these are not the three factors.",
        known={
            "the function does not see the scale, but its gradient does.": [1, 1, 1],
            "the share is of the length of W, and W is ten times as long.": (
                [0.1, 0.1, 10]
            ),
            "a rate ten times as high makes up for the gradient alone.": (
                [0.1, 0.01, 10]
            ),
            "larger weights have a smaller gradient, not a larger one.": [10, 1, 1],
            "the rate must undo the share, not repeat it.": [0.1, 0.01, 0.01],
        },
    )


def shares(v: float, scale: float, eps: float, layers: int) -> list[float]:
    """Return the share of the variance behind each BN of a fresh network with ReLU."""
    out = []
    for _ in range(layers):
        out.append(v / (v + eps))
        v = scale**2 * (1 - 1 / np.pi) * out[-1]
    return out


@exercise(
    "ex-init-signal",
    Function("signal(v, scale, eps, layers)"),
    reread=(DEPTH, "What ε does to a tiny start"),
    hints=(
        "which of the three numbered lines is a share, and which come between two shares?",
        "keep v, the variance in front of a BN, and go from one BN to the next.",
        "the last BN is followed by nothing: there is one recursion less than there are BNs.",
    ),
    setup=lambda rng: {"v": 0.02, "scale": 0.01, "eps": 1e-5, "layers": 9},
)
def init_signal(answer: Calls, rng: Rng) -> None:
    """Compare what is left of the variance behind the last of some BNs."""
    for v, scale, eps, layers in (
        (0.5, 0.8, 0.1, 1),
        (0.5, 0.8, 0.1, 3),
        (2.0, 0.3, 0.05, 4),
        (1e-4, 0.003, 1e-5, 9),
        (0.02, 0.01, 1e-5, 6),
    ):
        all_of_them = shares(v, scale, eps, layers + 1)
        last, twice, root, half = all_of_them[layers - 1], v, v, v
        for _ in range(layers - 1):  # three mistakes
            twice = scale * (1 - 1 / np.pi) * twice / (twice + eps)
            half = scale**2 * (1 - 1 / np.pi) / 2 * half / (half + eps)
            root = scale**2 * root / (root + eps)
        match(
            answer.number(v, scale, eps, layers, what="the share"),
            last,
            f"behind BN number {layers} another share is left.",
            known={
                "this counts one BN too many.": all_of_them[layers],
                "this counts one BN too few.": all_of_them[max(layers - 2, 0)],
                "this is the variance in front of the next BN. Stop behind the last.": (
                    scale**2 * (1 - 1 / np.pi) * last
                ),
                "a variance grows with the square of s.": twice / (twice + eps),
                "ReLU and its 1 − 1/π are missing.": root / (root + eps),
                "He's weights double what ReLU leaves.": half / (half + eps),
            },
        )


def leaky(a: float, m: float) -> float:
    """Return the factor of the gradient's norm per layer, leaky ReLU, mini-batch of m."""
    slope = (1 + a**2) / 2
    return np.sqrt(slope / (slope - (1 - a) ** 2 / (2 * np.pi)) * (m - 2) / (m - 3))


@exercise(
    "ex-depth-leaky",
    Function("factor(a, m)"),
    reread=(DEPTH, "Where the factor comes from"),
    hints=(
        "follow the four steps: what changes in the second moment, and what in the mean?",
        "the mean square of the slope takes the place of the half that ReLU lets pass.",
        "the square of the norm grows by mean squared slope over variance. A mini-batch adds "
        "its own factor, whatever the activation; take the root at the end.",
    ),
)
def depth_leaky(answer: Calls, rng: Rng) -> None:
    """Compare the growth per layer, at ReLU, at the identity, and between."""
    for a, m in ((0.0, 1e9), (0.2, 1e9), (0.5, 32.0), (1.0, 8.0), (0.3, 16.0)):
        slope, batch = (1 + a**2) / 2, (m - 2) / (m - 3)
        square = leaky(a, m) ** 2
        match(
            answer.number(a, m, what="the factor"),
            np.sqrt(square),
            f"for a = {a:g} in a mini-batch of {m:g} the gradient grows by another factor.",
            known={
                "this is the factor of the square of the norm.": square,
                "the finite mini-batch is missing.": np.sqrt(square / batch),
                "this is the factor of ReLU. Where does a come in?": (
                    np.sqrt(np.pi / (np.pi - 1) * batch)
                ),
                "the leaky ReLU lets more than half of the square pass.": (
                    np.sqrt(0.5 / (slope - (1 - a) ** 2 / (2 * np.pi)) * batch)
                ),
                "the mean of the leaky ReLU is smaller than that of ReLU.": (
                    np.sqrt(slope / (slope - 1 / (2 * np.pi)) * batch)
                ),
                "it grows towards the input; this shrinks.": 1 / np.sqrt(square),
            },
            rtol=1e-6,
        )


@exercise(
    "ex-placement-four",
    Value((2, 4), tolerance=0.01),
    reread=(PLACEMENT, "What the algebra says"),
    hints=(
        "normalize first, then bend; or bend first, then normalize. Nothing else differs.",
        "the mean is 4 and the standard deviation 3. Which of the four lie below the mean?",
        "all four are positive: ReLU in front of BN changes none of them.",
    ),
    setup=lambda rng: {"z": FOUR.copy()},
)
def placement_four(answer: Given, rng: Rng) -> None:
    """Compare one small batch with BN before and after ReLU."""
    z = (FOUR - FOUR.mean()) / FOUR.std()
    before = np.maximum(z, 0)
    again = (before - before.mean()) / before.std()
    answer.match(
        [before, z],
        "these are not the two rows.",
        known={
            "the two rows are swapped.": [z, before],
            "with BN after, ReLU sees the four before they are centred.": (
                [before, before]
            ),
            "with BN before, ReLU comes last, and no output is negative.": [z, z],
            "BN stands in one place, not in both.": [before, again],
            "in the first row BN is missing.": [FOUR, z],
        },
    )


@exercise(
    "ex-placement-lag",
    Value((2,), tolerance=0.1),
    reread=(PLACEMENT, "It is redundant in training. In eval mode?"),
    hints=(
        "which part of the change is left in the output after one batch, and after two?",
        "by the equation the share falls by the same factor with each batch. Take logarithms.",
        "divide the logarithm of 0.01 by that of 1 − α, and round up.",
    ),
)
def placement_lag(answer: Given, rng: Rng) -> None:
    """Compare after how many batches a changed bias is nearly absorbed."""
    answer.match(
        [44, 459],
        "these are not the two counts.",
        known={
            "one batch earlier more than 1 % is left: round up.": [43, 458],
            "batches are whole: round up.": np.log(0.01) / np.log([0.9, 0.99]),
            "this takes α for the share that is kept. That is 1 − α.": [2, 1],
            "1/α batches leave more than a third.": [10, 100],
            "the smaller momentum takes longer.": [459, 44],
            "after these a tenth is left, not a hundredth.": [22, 230],
        },
    )


def folded_forward(layer: Any, s: Array, t: Array, over: bool = True) -> Any:
    """Return a copy of a layer that does the work of u → s u + t in front of it."""
    folded, weight = copy.deepcopy(layer), layer.weight.data
    shape = (1, -1) if weight.ndim == 2 else (1, -1, 1, 1)
    folded.weight.data *= s.reshape(shape)
    by = weight if over else folded.weight.data
    folded.bias.data += (by * t.reshape(shape)).sum(tuple(range(1, weight.ndim)))
    return folded


@exercise(
    "ex-placement-fold",
    Function("fold(layer, s, t)"),
    reread=(PLACEMENT, "What the algebra says"),
    hints=(
        "put s ⊙ u + t into the layer, and sort: what multiplies u, and what does not?",
        "s belongs to the layer's inputs. Along which axis of the weights do they lie?",
        "a convolution counts t once for each place of its kernel: sum over all axes but one.",
    ),
    setup=lambda rng: {
        "layer": Linear(4, 5, dtype=float, rng=rng),
        "s": rng.uniform(0.5, 2, 4),
        "t": rng.standard_normal(4),
    },
)
def placement_fold(answer: Calls, rng: Rng) -> None:
    """Compare the folded layer with BN and layer; two axes and four, as many inputs as outputs."""
    for layer in (
        Linear(4, 4, dtype=float, rng=rng),
        Linear(4, 5, dtype=float, rng=rng),
        Conv2d(4, 3, 3, dtype=float, rng=rng),
    ):
        u = rng.standard_normal((3, 4) if isinstance(layer, Linear) else (2, 4, 5, 5))
        s, t = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
        s[0] *= -1
        shape = (1, -1) if u.ndim == 2 else (1, -1, 1, 1)
        right, start = layer(s.reshape(shape) * u + t.reshape(shape)), layer(u)
        folded = answer(layer, s, t)
        expect(
            near(layer(u), start) and folded is not layer,
            "your function changes the layer, or returns the one it got. Fold a copy.",
        )
        expect(
            isinstance(folded, Linear | Conv2d),
            "expected a layer of the same kind, with another weight and bias.",
        )
        value, ones = folded(u), np.ones(4)
        known = {
            "this is the layer as it was.": start,
            "t is missing: the layer's weights turn it into a bias.": (
                folded_forward(layer, s, 0 * t)(u)
            ),
            "s is missing.": folded_forward(layer, ones, t)(u),
            "t is not multiplied by s: fold the bias with the old weights.": (
                folded_forward(layer, s, t, over=False)(u)
            ),
        }
        if len(start[0]) == 4:  # as many outputs: s and t fit behind, too
            known |= {
                "this folds into the layer in front of BN. Here BN stands in front of "
                "the layer.": s.reshape(shape) * start + t.reshape(shape),
            }
        match(value, right, "the outputs differ from those of BN and layer.", known)


@exercise(
    "ex-speed-time",
    Value((2,), tolerance=0.05),
    reread=(SPEED, "Steps and seconds"),
    hints=(
        "time is steps times the cost of a step.",
        "only the networks with BN pay the quarter more.",
        "divide the lead in steps by 1.25, once for each network with BN.",
    ),
)
def speed_time(answer: Given, rng: Rng) -> None:
    """Compare the paper's lead in time, if a step with BN costs a quarter more."""
    steps = np.array([31 / 13.3, 31 / 2.1])
    answer.match(
        steps / 1.25,
        "these are not the leads in time.",
        known={
            "first BN-Baseline, then BN-x5.": steps[::-1] / 1.25,
            "this is the lead in steps. A step with BN costs more.": steps,
            "a more expensive step makes the lead smaller.": steps * 1.25,
            "the second is asked against Inception, too.": (
                [31 / 13.3 / 1.25, 13.3 / 2.1]
            ),
            "the second is asked against Inception. And both BN networks pay for BN.": (
                [31 / 13.3 / 1.25, 13.3 / 2.1 / 1.25]
            ),
            "this is the other way round: above 1 means faster.": 1.25 / steps,
            "in this exercise a step costs a quarter more, not twice as much.": (
                steps / 2
            ),
        },
    )


@exercise(
    "ex-speed-count",
    Value((3,), tolerance=5e-4),
    reread=(SPEED, "Steps and seconds"),
    hints=(
        "how many multiplications are in one product of an (m, n) and an (n, n) matrix?",
        "forward there is one such product. Backward gives two gradients: of what?",
        "BN touches m n elements. Divide, and see what cancels.",
    ),
)
def speed_count(answer: Given, rng: Rng) -> None:
    """Compare BN's work with the three products of a linear layer."""
    n = np.array([32.0, 128, 1024])
    answer.match(
        10 / (3 * n),
        "these are not the three shares.",
        known={
            "this counts the forward product alone.": 10 / n,
            "there are two gradients, of the weights and of the inputs.": 10 / (2 * n),
            "as fractions, please, not in percent.": 1000 / (3 * n),
            "compare with the layer alone, not with the sum of both.": (
                10 / (3 * n + 10)
            ),
            "this is upside down.": 3 * n / 10,
            "the batch cancels: BN, too, is done for each sample.": 10 / (3 * 64 * n),
        },
    )


def widths(rates: Array, usable: Array) -> Array:
    """Return for each seed the highest over the lowest usable rate; `usable` is (rates, seeds)."""
    return rates[::-1][usable[::-1].argmax(0)] / rates[usable.argmax(0)]


@exercise(
    "ex-speed-width",
    Function("width(rates, accuracy)"),
    reread=(SPEED, "Which rates work"),
    hints=(
        "best of what? The definition compares within one seed.",
        "make a table of true and false first, one column for each seed.",
        "the position of the first true value of a column gives the lowest rate; turn the table "
        "over for the highest. Divide.",
    ),
    setup=lambda rng: {
        "rates": 0.02 * 2.0 ** np.arange(10),
        "accuracy": rng.uniform(0.85, 0.95, (10, 5)),
    },
)
def speed_width(answer: Calls, rng: Rng) -> None:
    """Compare the width of the usable range, for seeds that differ in how far they get."""
    for n, seeds, step in ((10, 5, 2.0), (6, 3, 10**0.5), (8, 8, 3.0)):
        rates = 0.02 * step ** np.arange(n)
        top = rng.integers(1, n - 1, seeds)
        above = np.arange(n)[:, None] - top  # the third step down is still usable
        drop = np.where(above > 0, 0.0198 * above, -0.0066 * above)
        accuracy = rng.uniform(0.7, 0.95, seeds) - drop
        accuracy[:, 0] = accuracy[:, 0].max() - 0.1  # a peak: the best rate alone
        accuracy[top[0], 0] += 0.1
        best, one = accuracy.max(0), accuracy.max()
        usable = accuracy >= best - 0.02
        low, high = usable.argmax(0), n - 1 - usable[::-1].argmax(0)
        text = "these are not the widths of the seeds."
        match(
            answer.array(rates, accuracy, shape=(seeds,), what="the widths"),
            widths(rates, usable),
            text,
            known={
                "compare each seed with its own best rate, not with the best of all.": (
                    widths(rates, accuracy >= one - 0.02)
                ),
                "the width is a ratio: rates lie on a logarithmic axis.": (
                    rates[high] - rates[low]
                ),
                "this is its logarithm.": np.log10(rates[high] / rates[low]),
                "this is upside down.": rates[low] / rates[high],
                "this counts rates. Their ratio is asked.": usable.sum(0),
                "two points are 0.02, not 2 % of the best accuracy.": (
                    widths(rates, accuracy >= 0.98 * best)
                ),
                "the range begins at the lowest usable rate, not at the best.": (
                    rates[high] / rates[accuracy.argmax(0)]
                ),
            },
        )


@exercise(
    "ex-ics-four",
    Value((4,), tolerance=0.01),
    reread=(SHIFT, "Definition 1: the distribution of a layer's inputs"),
    hints=(
        "what are mean and variance of x̂, whatever z does?",
        "a mean goes through y = γ x̂ + β as it is; a variance takes the square of γ.",
        "the layers before change only z. What of y depends on it?",
    ),
)
def ics_four(answer: Given, rng: Rng) -> None:
    """Compare mean and variance of y before and after z has moved."""
    answer.match(
        [-1, 4, -1, 4],
        "these are not mean and variance of y.",
        known={
            "this is γ z + β: the normalization is missing.": [7, 36, 25, 144],
            "the variance goes with the square of γ.": [-1, 2, -1, 2],
            "BN normalizes the second batch with its own statistics.": [-1, 4, 25, 144],
            "BN subtracts the mean of the second batch, not of the first.": (
                [-1, 4, 5, 16]
            ),
            "β is the mean, and γ gives the spread.": [2, 1, 2, 1],
            "these are the moments of x̂. γ and β are missing.": [0, 1, 0, 1],
        },
    )


@exercise(
    "ex-ics-scale",
    Value((3,), tolerance=0.01),
    reread=(SHIFT, "Definition 2: the gradient of a layer"),
    hints=(
        "the function is the same. What becomes of a gradient when its weights are doubled?",
        "both gradients change by one factor, and neither changes its direction.",
        "a factor that two lengths share stays in their difference, and cancels in a ratio.",
    ),
)
def ics_scale(answer: Given, rng: Rng) -> None:
    """Compare the factors of the three sizes when the weights are doubled."""
    answer.match(
        [0.5, 1, 1],
        "these are not the three factors.",
        known={
            "the function stays, but its gradient does not.": [1, 1, 1],
            "larger weights in front of BN have a smaller gradient.": [2, 1, 1],
            "the gradient falls as 1/a. The square belongs to the rate.": [0.25, 1, 1],
            "in the relative size both lengths are halved.": [0.5, 0.5, 1],
            "a ratio and an angle do not see a common factor.": [0.5, 0.5, 0.5],
        },
    )


@exercise(
    "ex-ics-drift",
    Function("drift(bands)"),
    reread=(SHIFT, "Definition 1: the distribution of a layer's inputs"),
    hints=(
        "which of the three rows wanders, and which two tell the spread?",
        "how far it went is not where it ended: look at all snapshots.",
        "divide the range of the medians by the mean over the snapshots of high minus low.",
    ),
    setup=lambda rng: {
        "bands": np.sort(rng.standard_normal((21, 3, 5)), axis=1),
    },
)
def ics_drift(answer: Calls, rng: Rng) -> None:
    """Compare the relative drift of units that go there and back while their spread grows."""
    for times, units in ((21, 5), (6, 3), (3, 7)):
        middle = rng.standard_normal((times, units)).cumsum(0)
        below, above = rng.uniform(0.5, 3, (2, times, units))
        bands = np.stack([middle - below, middle, middle + above], axis=1)
        spread, way = below + above, np.ptp(middle, axis=0)
        match(
            answer.array(bands, shape=(units,), what="the drift"),
            way / spread.mean(0),
            "this is not the relative drift.",
            known={
                "this is the absolute drift. Divide it by the spread.": way,
                "the spread reaches from the lowest row to the highest, not half as far.": (
                    2 * way / spread.mean(0)
                ),
                "this compares the end with the start. A unit may go and come back.": (
                    np.abs(middle[-1] - middle[0]) / spread.mean(0)
                ),
                "this is the end minus the start. A unit may go and come back.": (
                    (middle[-1] - middle[0]) / spread.mean(0)
                ),
                "the spread is a mean over the snapshots, not the first one.": (
                    way / spread[0]
                ),
                "the spread is a mean over the snapshots, not the last one.": (
                    way / spread[-1]
                ),
                "only the median wanders; the outer two tell the spread.": (
                    np.ptp(bands, axis=(0, 1)) / spread.mean(0)
                ),
                "the drift is the highest minus the lowest median.": (
                    middle.std(0) / spread.mean(0)
                ),
                "this adds up all steps. The highest minus the lowest median is asked.": (
                    np.abs(np.diff(middle, axis=0)).sum(0) / spread.mean(0)
                ),
            },
        )


@exercise(
    "ex-reg-equal",
    Value((3,), tolerance=5e-4),
    reread=(NOISE, "The size of the noise"),
    hints=(
        "one standard deviation does not depend on the batch, the other not on p.",
        "square both before you solve.",
        "p/(1 − p) = 1/m. Multiply by m (1 − p).",
    ),
)
def reg_equal(answer: Given, rng: Rng) -> None:
    """Compare the p whose noise is that of a mini-batch."""
    m = np.array([4.0, 16, 64])
    root = 1 / np.sqrt(m)
    answer.match(
        1 / (m + 1),
        "these are not the three p.",
        known={
            "p/(1 − p) is not p. The values that stay are scaled up.": 1 / m,
            "standard deviations are roots, and p/(1 − p) is not p.": root,
            "the standard deviation of dropout is a root, too.": root / (1 + root),
            "this is the noise of BN's scale. Its shift is asked.": 1 / (2 * m + 1),
            "this is 1 − p, the chance to stay.": m / (m + 1),
            "watch the sign when you solve for p.": 1 / (m - 1),
        },
    )


def grouped(x: Array, group: int, eps: float, axes: Any = 1, ddof: int = 0) -> Array:
    """Normalize neighbouring samples in groups of some size."""
    parts = x.reshape(-1, group, x.shape[1])
    return standardized(parts, axes, eps, ddof).reshape(x.shape)


@exercise(
    "ex-reg-groups",
    Function("ghost(x, group, eps)"),
    reread=(NOISE, "Ghost batches: the noise alone"),
    hints=(
        "give the samples two axes in place of one: which group, and which place in it.",
        "over which of the three axes does a mean run that belongs to a group and a feature?",
        "reshape so that the group's samples stay neighbours, normalize, and reshape back.",
    ),
    setup=lambda rng: {"x": rng.standard_normal((12, 3)) + 2, "group": 4, "eps": 1e-5},
)
def reg_groups(answer: Calls, rng: Rng) -> None:
    """Compare the groups' normalization on batches whose means drift."""
    for n, c, group, eps in ((12, 3, 4, 0.1), (16, 2, 16, 1e-5), (30, 4, 5, 1e-3)):
        x = 2 * rng.standard_normal((n, c)) + np.arange(c) + np.arange(n)[:, None] / 4
        groups = n // group
        strided = np.arange(n).reshape(group, groups).T.ravel()
        back = np.empty_like(x)
        back[strided] = grouped(x[strided], group, eps)
        other = np.full(c, np.nan)
        if group != groups and n % groups == 0 and groups > 1:
            other = grouped(x, groups, eps)
        d = x - np.repeat(x.reshape(groups, group, c).mean(1), group, axis=0)
        match(
            answer.array(x, group, eps, shape=x.shape),
            grouped(x, group, eps),
            "the groups are not normalized by their own mean and variance.",
            known={
                "this normalizes the whole mini-batch at once.": grouped(x, n, eps),
                "a group holds neighbours; this takes samples that lie apart.": back,
                "`group` is the size of a group, not the number of groups.": other,
                "each feature has its own mean.": grouped(x, group, eps, (1, 2)),
                "this divides by m − 1. BN divides by m.": (
                    grouped(x, group, eps, ddof=1)
                ),
                "the variance comes from the group, too, not from the whole batch.": (
                    d / np.sqrt(x.var(0) + eps)
                ),
                "ε is missing.": grouped(x, group, 0),
            },
        )
