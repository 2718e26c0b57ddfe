"""The gradient check itself: it passes what is right and catches what is planted."""

import numpy as np
import pytest

import bnlib
from bnlib import functional as F
from bnlib.testing import (
    GradcheckError,
    directional_derivative,
    gradcheck,
    numerical_gradient,
)

N, C = 7, 3
RIGHT = "right"


def backwards(dy, x_hat, scale):
    """Return dx of a batch normalization: the right one, and five wrong ones."""
    mean = dy.mean(0)
    projection = x_hat * (dy * x_hat).mean(0)
    invstd, weight = scale
    return {
        RIGHT: weight * invstd * (dy - mean - projection),
        "mean term dropped": weight * invstd * (dy - projection),
        "projection dropped": weight * invstd * (dy - mean),
        "statistics detached": weight * invstd * dy,
        "weight forgotten": invstd * (dy - mean - projection),
        "zero": np.zeros_like(dy),
    }


WRONG = set(backwards(np.ones((N, C)), np.ones((N, C)), (1, 1))) - {RIGHT}


def verdicts(weight, R, **options):
    """Return the names of the backwards that pass the check with the loss ``sum(y · R)``."""
    x = np.random.default_rng(0).standard_normal((N, C))

    def loss(x):
        return (F.batch_norm(x, None, None, weight, training=True) * R).sum()

    _, (x_hat, invstd, *_) = F.batch_norm_forward(x, None, None, weight, training=True)
    passed = set()
    for name, gradient in backwards(R, x_hat, (invstd, weight)).items():
        try:
            assert gradcheck(loss, x, gradient, **options) is True
            passed.add(name)
        except GradcheckError:
            pass
    return passed


RANDOM = np.random.default_rng(1).standard_normal((N, C))
WEIGHT = np.random.default_rng(2).uniform(0.5, 2, C)


@pytest.mark.parametrize("directions", [None, 1, 3])
def test_the_good_loss_catches_every_planted_error(directions):
    rng = np.random.default_rng(3)
    assert verdicts(WEIGHT, RANDOM, directions=directions, rng=rng) == {RIGHT}


def test_the_sum_is_blind():
    blind = {RIGHT, "projection dropped", "weight forgotten", "zero"}
    assert verdicts(WEIGHT, np.ones((N, C))) == blind


def test_a_weight_of_one_is_blind():
    assert verdicts(np.ones(C), RANDOM) == {RIGHT, "weight forgotten"}


def test_bnlibs_own_backward_passes():
    x = np.random.default_rng(0).standard_normal((N, C))
    _, cache = F.batch_norm_forward(x, None, None, WEIGHT, training=True)
    dx, *_ = F.batch_norm_backward(RANDOM, cache)

    def loss(x):
        return (F.batch_norm(x, None, None, WEIGHT, training=True) * RANDOM).sum()

    assert gradcheck(loss, x, dx)
    assert gradcheck(loss, x, dx, directions=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("directions", [None, 2])
def test_nan_and_infinity_fail(bad, directions):
    x = np.ones(3)
    with pytest.raises(GradcheckError):
        gradcheck(np.sum, x, np.array([1, bad, 1]), directions=directions)
    # A loss that is not finite on one side: the numerical gradient is not either.
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: bad if x[1] > 1 else x.sum(), x, np.ones(3))


def test_one_wrong_element_among_many_is_found_and_shown():
    x = np.linspace(1, 2, 60).reshape(3, 4, 5)
    gradient = 2 * x
    gradient[1, 2, 3] += 1e-4
    value = f"{gradient[1, 2, 3]:.10g}"
    with pytest.raises(
        GradcheckError, match=rf"failed at \(1, 2, 3\): analytic {value}, numerical"
    ):
        gradcheck(lambda x: (x**2).sum(), x, gradient)
    assert issubclass(GradcheckError, AssertionError)


def test_tolerances_bound_the_difference():
    x = np.array([3.0, 4.0])
    gradient = 2 * x + [0, 0.05]
    for tolerances in ({"atol": 0.06}, {"rtol": 0.01}):
        assert gradcheck(lambda x: (x**2).sum(), x, gradient, **tolerances)
    for tolerances in ({"atol": 0.04}, {"rtol": 0.005}):
        with pytest.raises(GradcheckError):
            gradcheck(lambda x: (x**2).sum(), x, gradient, **tolerances)


@pytest.mark.parametrize(
    "dtypes", [("f4", "f8"), ("f8", "f4"), ("f2", "f2"), ("i8", "f8")]
)
def test_less_than_float64_is_refused(dtypes):
    x, gradient = (np.ones(3, dtype) for dtype in dtypes)
    with pytest.raises(
        TypeError, match=r"^gradcheck: expected (x|gradient) of dtype float64, got"
    ):
        gradcheck(np.sum, x, gradient)


def test_shapes_must_agree_and_a_direction_is_needed():
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\), got \(1, 3\)"):
        gradcheck(np.sum, np.ones(3), np.ones((1, 3)))
    for directions in (0, -1):
        with pytest.raises(ValueError, match=f"directions >= 1, got {directions}"):
            gradcheck(np.sum, np.ones(3), np.zeros(3), directions=directions)


def test_numerical_gradients_leave_the_point_alone():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    x.flags.writeable = False
    gradient = numerical_gradient(lambda x: (x**3).sum(), x)
    np.testing.assert_allclose(gradient, 3 * x**2, rtol=1e-8)
    along = directional_derivative(lambda x: (x**3).sum(), x, np.ones((2, 2)))
    assert along == pytest.approx((3 * x**2).sum(), rel=1e-8)


def test_the_step_is_the_callers():
    seen = []
    directional_derivative(
        lambda x: seen.append(x) or 0.0, np.zeros(1), np.ones(1), 0.25
    )
    assert sorted(float(x[0]) for x in seen) == [-0.25, 0.25]
    # A large step of a cubic is wrong by its square.
    assert numerical_gradient(
        lambda x: (x**3).sum(), np.zeros(1), 0.5
    ) == pytest.approx(0.25)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (x**3).sum(), np.zeros(1), np.zeros(1), step=0.5)


def test_dropout_passes_with_its_mask_held():
    x = np.random.default_rng(0).standard_normal((5, 4))

    def dropout():
        return bnlib.Dropout(0.4, rng=np.random.default_rng(1))

    layer = dropout()
    layer(x)
    assert gradcheck(lambda x: (dropout()(x) * x).sum(), x, 2 * layer.backward(x))


def test_cross_entropy_passes():
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    loss = bnlib.CrossEntropyLoss()
    loss(logits, target)
    assert gradcheck(lambda x: 3 * loss(x, target), logits, loss.backward(3.0))
