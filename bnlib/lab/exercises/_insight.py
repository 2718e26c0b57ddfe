"""Checks of the exercises of Part 5, insight."""

from collections.abc import Callable

import numpy as np

from bnlib._types import Array
from bnlib.lab.exercises._core import (
    Calls,
    Function,
    Given,
    Rng,
    Value,
    exercise,
    expect,
    match,
    near,
)

CONDITIONING = "5-insight/conditioning"
SCALE = "5-insight/scale-invariance"
LANDSCAPE = "5-insight/loss-landscape"


@exercise(
    "ex-cond-three",
    Value((2,), tolerance=0.001),
    reread=(CONDITIONING, "The bowl"),
    hints=(
        "only two of the three curvatures matter.",
        "at the best rate the steepest and the flattest coordinate shrink by the same factor, "
        "with opposite signs.",
        "1 − η λmin equals η λmax − 1. Solve for η, and put it back.",
    ),
)
def cond_three(answer: Given, rng: Rng) -> None:
    """Compare the best rate for three curvatures, and its factor a step."""
    rate = answer.value[0]
    answer.refuse({"first the rate, then the factor.": [0.8, 0.4]})
    expect(
        abs(rate - 4 / 9) > 1e-3,
        "that rate is the limit. There the error stays for ever.",
    )
    expect(
        abs(rate - 2 / 9) > 1e-3,
        "that rate, 1/λmax, is good for the steepest coordinate alone. The flattest one waits.",
    )
    expect(abs(rate - 0.4) < 1e-3, "the rate is wrong: it is not where the two meet.")
    answer.match(
        [0.4, 0.8],
        "the factor a step is wrong.",
        known={
            "1 − 2/κ is the approximation for a large κ.": [0.4, 7 / 9],
            "that is what the error loses in a step, not what is left.": [0.4, 0.2],
            "that is κ.": [0.4, 9],
            "a size is asked; the sign says that the steepest coordinate changes sides.": (
                [0.4, -0.8]
            ),
        },
    )


@exercise(
    "ex-cond-uniform",
    Function("kappa(n)"),
    reread=(
        CONDITIONING,
        "The curvature of a linear layer is the covariance of its inputs",
    ),
    hints=(
        "which mean and which variance has a uniform number between 0 and 1?",
        "the covariance is a multiple of the identity, and the mean adds a matrix whose "
        "entries are all equal.",
        "all directions at right angles to the mean have one eigenvalue. Along the mean both "
        "matrices count.",
    ),
)
def cond_uniform(answer: Calls, rng: Rng) -> None:
    """Compare the condition number for n uniform inputs."""
    for n in (2, 10, 100, 1000):
        match(
            answer.number(n, what="κ"),
            1 + 3 * n,
            f"with {n} inputs it is another number.",
            known={
                "along the mean the variance of the inputs counts, too.": 3 * n,
                "that is κ of the centred inputs.": 1,
                "that is the trace over the smallest eigenvalue.": 4 * n,
                "the smallest eigenvalue is the variance, and it is not 1.": 1 + n / 4,
                "the mean is squared: 1/4, not 1/2.": 1 + 6 * n,
            },
        )


@exercise(
    "ex-cond-negative",
    Function("direction(H, w)"),
    reread=(CONDITIONING, "Where the steepest direction points"),
    hints=(
        "where does the second difference go if you leave w a little along H w?",
        "expand the quadratic form at w − t H w: the first term is 0, the second one is "
        "linear in t, the third quadratic.",
        "choose t so that the quadratic term is smaller than the linear one, for instance half "
        "of it, whatever its sign.",
    ),
    setup=lambda rng: dict(zip("Hw", flat_along(rng, 4, 1.0), strict=True)),
)
def cond_negative(answer: Calls, rng: Rng) -> None:
    """Try matrices whose form is 0 at w, of unlike sizes."""
    for n, scale in ((2, 1.0), (4, 1.0), (6, 1e3), (6, 1e-3), (30, 10.0)):
        matrix, w = flat_along(rng, n, scale)
        v = answer.array(matrix, w, shape=w.shape, what="the direction")
        expect(np.abs(v).max() > 0, "0 is no direction.")
        form, size = v @ matrix @ v, np.abs(v) @ np.abs(matrix) @ np.abs(v)
        expect(
            np.abs(form) > 1e-12 * size,
            "along this direction the curvature is 0, as it is along w.",
        )
        expect(
            form < 0,
            "the curvature along this direction is positive. Has t the right sign, and is it "
            "small enough for this H?",
        )


def flat_along(rng: Rng, n: int, scale: float) -> tuple[Array, Array]:
    """Return a symmetric, mostly positive matrix and a vector at which its form is 0."""
    a = rng.standard_normal((n, n))
    matrix = a @ a.T + np.eye(n)
    w = rng.standard_normal(n)
    # move one vector's curvature down, until the form at w is 0
    matrix -= (w @ matrix @ w) * np.outer(w, w) / (w @ w) ** 2
    u = rng.standard_normal(n)
    u -= (u @ w) * w / (w @ w)
    matrix += 0.5 * (np.outer(u, w) + np.outer(w, u))
    return scale * matrix, w


@exercise(
    "ex-scale-five",
    Value((3,), tolerance=0.001),
    reread=(SCALE, "The invariance, row by row"),
    hints=(
        "how does the gradient change when the weights are multiplied by 5?",
        "check that this gradient is at right angles to the weights. So a step is a side of a "
        "right triangle.",
        "Pythagoras: the squared length grows by the squared length of the step.",
    ),
)
def scale_five(answer: Given, rng: Rng) -> None:
    """Compare the gradient at five times the weights, and the squared length after a step."""
    answer.match(
        [0.16, -0.12, 50],
        "these are not the three numbers.",
        known={
            "the loss stays, but its gradient does not: it falls.": [0.8, -0.6, 50],
            "the gradient falls with the length; it does not grow.": [4, -3, 50],
            "1/a² is the law of the second derivatives.": [0.032, -0.024, 50],
            "the step leads off the circle: the weights get longer.": [0.16, -0.12, 25],
            "the squares add, not a square and a length.": [0.16, -0.12, 30],
            "that is the length, not its square.": [0.16, -0.12, 7.0711],
            "the step is the rate times the gradient.": [0.16, -0.12, 26],
        },
    )


@exercise(
    "ex-scale-turn",
    Function("turn(weight, grad, lr)"),
    reread=(SCALE, "The weights can only grow"),
    hints=(
        "each row has its own length and its own direction. What is the row after the step?",
        "split the new row into a part along the old one and a part at right angles to it. "
        "Their quotient is the tangent of the angle.",
        "the arc cosine loses all digits of a small angle. Take the part at right angles from "
        "the gradient, before any sum, and use `np.arctan2`.",
    ),
    setup=lambda rng: {
        "weight": rng.standard_normal((3, 5)),
        "grad": rng.standard_normal((3, 5)),
        "lr": 0.1,
    },
)
def scale_turn(answer: Calls, rng: Rng) -> None:
    """Compare the angles, for long and for tiny steps, along and across."""
    for rows, n, lr in ((3, 5, 1.0), (4, 2, 0.3), (1, 8, 5.0), (3, 4, 1e-10)):
        w = rng.standard_normal((rows, n)) * rng.uniform(0.5, 3, (rows, 1))
        g = rng.standard_normal((rows, n))
        if rows == 4:  # as before BN
            g -= (g * w).sum(1, keepdims=True) / (w**2).sum(1, keepdims=True) * w
        if rows == 1:  # far past the origin
            g += w
        length = np.sqrt((w**2).sum(1))
        along = (g * w).sum(1) / length
        across = np.sqrt(((g - along[:, None] * w / length[:, None]) ** 2).sum(1))
        angles = np.arctan2(lr * across, length - lr * along)
        found = answer.array(w, g, lr, shape=(rows,), what="the angles")
        if near(found, angles, rtol=1e-5, atol=1e-6 * lr):
            continue
        size = lr * np.sqrt((g**2).sum(1))
        expect(
            lr > 1e-9,
            "for a tiny step the angle is lost in rounding. An arc cosine loses it, and so does "
            "the difference of two rows.",
        )
        tangent = lr * across / (length - lr * along)
        known = {
            "that is in degrees.": np.degrees(angles),
            "that is the cosine of the angle.": np.cos(angles),
            "that is the tangent of the angle.": tangent,
            "an angle may be more than 90°, and the arc tangent of a quotient is not.": (
                np.arctan(tangent)
            ),
            "η‖g‖/‖w‖ is the angle of a short step at right angles, and of no other.": (
                size / length
            ),
            "this takes the gradient to be at right angles to the row. Here it need not be.": (
                np.arctan(size / length)
            ),
            "the step goes against the gradient.": (
                np.arctan2(lr * across, length + lr * along)
            ),
            "this compares the row with the gradient, not with the row after the step.": (
                np.arctan2(across, along)
            ),
        }
        match(
            found,
            angles,
            "the angles are wrong. Each row turns by its own.",
            known,
            1e-5,
        )


@exercise(
    "ex-land-three",
    Value((3,), tolerance=0.005),
    reread=(LANDSCAPE, "The ruler"),
    hints=(
        "the function does not change. Its derivatives by the weights do.",
        "each derivative by the weights brings a factor of one over 3.",
        "for the third number multiply the second one by what becomes of ‖W‖, and divide by "
        "what becomes of ‖g‖.",
    ),
)
def land_three(answer: Given, rng: Rng) -> None:
    """Compare the factors of gradient, curvature and curvature without unit."""
    answer.match(
        [1 / 3, 1 / 9, 1],
        "these are not the three factors.",
        known={
            "the loss stays. Its derivatives do not.": [1, 1, 1],
            "the curvature is a second derivative: two factors.": [1 / 3, 1 / 3, 1],
            "the wrong way round: long weights make a flat landscape.": [3, 9, 1],
            "‖W‖ and ‖g‖ change, too.": [1 / 3, 1 / 9, 1 / 9],
            "‖g‖ stands in the denominator, and it has shrunk.": [1 / 3, 1 / 9, 1 / 3],
            "‖W‖ is multiplied and ‖g‖ divided, not vice versa.": (
                [1 / 3, 1 / 9, 1 / 27]
            ),
        },
    )


def waves(matrix: Array, shift: Array) -> Callable[[Array], Array]:
    """Return a gradient that does not change alike in both directions, nor for ever."""
    return lambda w: matrix.T @ (np.sin(matrix @ w + shift) + 0.3 * np.cos(w))


@exercise(
    "ex-land-along",
    Function("change_along(gradient, w, shares)"),
    reread=(LANDSCAPE, "Along the gradient"),
    hints=(
        "a share is the length of the step divided by the length of w. Which η is that?",
        "η is the share, times the length of w, over the length of the gradient at w.",
        "at each end compute the length of the change of the gradient. Take the largest of "
        "them, and divide by the length of the gradient at the start.",
    ),
    setup=lambda rng: {
        "gradient": waves(rng.standard_normal((6, 6)), rng.standard_normal(6)),
        "w": rng.standard_normal(6),
        "shares": np.array([0.006, 0.012, 0.025, 0.05]),
    },
)
def land_along(answer: Calls, rng: Rng) -> None:
    """Compare the largest relative change, on gradients that are not linear."""
    for n, top in ((3, 1.0), (6, 2.0), (20, 0.3)):
        gradient = waves(rng.standard_normal((n, n)), rng.standard_normal(n))
        w = 1.7 * rng.standard_normal(n)
        shares = top * np.array([0.3, 0.7, 1.0, 0.1])
        g, size = gradient(w), np.linalg.norm

        def changes(
            etas: Array,
            at: Array = w,
            slope: Array = g,
            of: Callable[[Array], Array] = gradient,
        ) -> Array:
            return np.array([np.linalg.norm(of(at - e * slope) - slope) for e in etas])

        etas = shares * size(w) / size(g)
        step = changes(etas)
        match(
            answer.number(gradient, w, shares, what="the change"),
            step.max() / size(g),
            "the relative change is wrong.",
            known={
                "the shares are not the rates η.": changes(shares).max() / size(g),
                "the line goes against the gradient.": changes(-etas).max() / size(g),
                "a share is relative to the length of w.": (
                    changes(shares / size(g)).max() / size(g)
                ),
                "the change is absolute. Divide by ‖g‖.": step.max(),
                "that is the effective β, a change per length of the way.": (
                    (step / (etas * size(g))).max()
                ),
                "take the largest change, not the mean.": step.mean() / size(g),
                "that is the last change, not the largest.": step[-1] / size(g),
            },
            rtol=1e-6,
        )
