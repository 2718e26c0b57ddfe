"""Checks of the exercises of Part 1, why."""

from itertools import pairwise
from typing import Any

import numpy as np

from bnlib import Linear, ReLU, Sequential
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
)
from bnlib.layers import Sigmoid, Tanh

SICK = "1-why/sick-network"


@exercise(
    "ex-sick-width",
    Value((2,), tolerance=0.0005),
    reread=(SICK, "Why: one factor per layer"),
    hints=(
        "for which n Var(w) does a layer with a ReLU multiply the spread by 1?",
        "the variance of the weights is 2/n. The standard deviation is its root.",
        "a uniform number between −a and a has the variance a²/3. Solve for a.",
    ),
)
def sick_width(answer: Given, rng: Rng) -> None:
    """Compare the standard deviation, and the half-width of a uniform draw."""
    std = np.sqrt(2 / 200)
    a = np.sqrt(6 / 200)
    answer.match(
        [std, a],
        "these are not the two numbers.",
        known={
            "first the standard deviation, then a.": [a, std],
            "the first number is the variance, not its root.": [2 / 200, a],
            "the ReLU halves the variance.": [np.sqrt(1 / 200), np.sqrt(3 / 200)],
            "a uniform draw has a smaller deviation than its half-width.": [std, std],
            "the variance of a uniform draw is a²/3: multiply by 3.": [std, a / 3],
            "that is the whole width, from −a to a.": [std, 2 * a],
            "that is PyTorch's default, with which the patient fell ill.": (
                [std, 200**-0.5]
            ),
        },
    )


@exercise(
    "ex-sick-guess",
    Function("guessing(labels)"),
    reread=(SICK, "The patient"),
    hints=(
        "which probabilities should you give if you do not see the picture?",
        "the best answer is the frequency of each class. Its mean loss is an entropy.",
        "sum over the classes: minus the frequency times its logarithm. A class that does not "
        "occur costs nothing.",
    ),
    setup=lambda rng: {"labels": rng.choice(5, 200, p=[0.4, 0.3, 0.2, 0.1, 0])},
)
def sick_guess(answer: Calls, rng: Rng) -> None:
    """Compare the entropy of labels, also where a class is missing."""
    for labels in (
        rng.choice(3, 100, p=[0.7, 0.2, 0.1]),
        np.repeat(np.arange(10), 7),
        rng.choice([0, 2, 7], 300, p=[0.5, 0.4, 0.1]),
        rng.choice([0, 1, 3, 4], 60),
    ):
        count = np.bincount(labels)
        seen = count[count > 0] / len(labels)
        loss = answer(labels)
        expect(
            not (isinstance(loss, float | np.floating) and np.isnan(loss)),
            "a class that does not occur makes the loss NaN.",
        )
        entropy = -(seen * np.log(seen)).sum()
        match(
            as_array(loss, (), "the loss"),
            entropy,
            "the loss is wrong.",
            known={
                "a loss is not negative: the logarithm of a frequency is.": -entropy,
                "this gives each class the same probability. They are not equally frequent.": (
                    np.log(len(seen))
                ),
                "this gives a share to classes that do not occur.": np.log(len(count)),
                "that is in bits. The loss takes natural logarithms.": (
                    entropy / np.log(2)
                ),
                "this counts each class once. The loss is a mean over pictures.": (
                    -np.log(seen).mean()
                ),
                "that is the loss on the most frequent class alone.": (
                    -np.log(seen.max())
                ),
            },
        )


def stack(rng: Rng, widths: tuple[int, ...], act: Any) -> Sequential:
    """Return linear layers with an activation behind all but the last."""
    layers: list[Any] = []
    for n_in, n_out in pairwise(widths):
        layers += [Linear(n_in, n_out, rng=rng, dtype=np.float64), act()]
    return Sequential(*layers[:-1])


def hidden(net: Any) -> list[Any]:
    """Return the linear layers but the last one."""
    return [m for m in net if isinstance(m, Linear)][:-1]


def spread(x: Array) -> float:
    """Return the root of the mean variance over the samples."""
    return float(np.sqrt(x.var(0).mean()))


@exercise(
    "ex-sick-measure",
    Function("measure_and_divide(net, x)"),
    reread=(SICK, "The cures before BN"),
    hints=(
        "take the layers in their order. What arrives at the second one depends on what you "
        "did to the first.",
        "the spread of a layer is one number: divide the whole matrix by it. The bias is set "
        "afterwards, with the new weights.",
        "the bias is minus the mean of what the new weights give. Then send x through the "
        "corrected layer, and go on.",
    ),
    setup=lambda rng: {
        "net": stack(rng, (10, 16, 16, 16, 4), ReLU),
        "x": rng.normal(1, 1, (200, 10)),
    },
)
def sick_measure(answer: Calls, rng: Rng) -> None:
    """Send the same samples through the network afterwards, and look at each layer."""
    for act in (ReLU, Tanh, Sigmoid):
        net: Any = stack(rng, (7, 12, 9, 10, 3), act)
        x = rng.normal(0.5, 2, (150, 7))
        before = [m.weight.data.copy() for m in hidden(net)]
        last, bias = net[-1].weight.data.copy(), net[-1].bias.data.copy()
        answer(net, x, changes=(0,))
        h, done = x, 0
        for layer in net:
            h = layer(h)
            if layer not in hidden(net):
                continue
            expect(
                not near(layer.weight.data, before[done]),
                f"the weights of layer {done + 1} have not changed.",
            )
            ratio = layer.weight.data / before[done]
            expect(
                near(ratio, np.full(ratio.shape, ratio[0, 0]), 1e-5),
                "the rows of a matrix were divided by different numbers: the spread is one "
                "number a layer.",
            )
            share = np.sqrt((len(x) - 1) / len(x))
            expect(not near(spread(h), share), "this divides by the samples less one.")
            expect(
                abs(spread(h) - 1) < 1e-5,
                f"the spread of layer {done + 1} is {spread(h):.4g}, not 1. "
                + (
                    "Does it see what the corrected layers before it put out?"
                    if done
                    else "It is the root of the mean variance of its units."
                ),
            )
            expect(
                np.abs(h.mean(0)).max() < 1e-5,
                f"the units of layer {done + 1} do not all have mean 0. The bias follows the "
                "new weights.",
            )
            done += 1
        kept = near(net[-1].weight.data, last) and near(net[-1].bias.data, bias)
        expect(kept, "the output layer stays as it is.")
