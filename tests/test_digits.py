"""No digits are lost inside a formula that is right on paper: all dtypes, over their whole range.

The oracle is the same formula in `np.longdouble`. An error is counted in units in the last place of
the result, and never in less than the smallest number of the dtype.
"""

import numpy as np
import pytest
import torch
from helpers import assert_close

import bnlib
from bnlib import functional as F

LONG = np.longdouble
DTYPES = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])


def ulps(got, right, dtype, floor=0.0):
    """Return the largest error in units in the last place; the parts that overflow count not."""
    assert got.dtype == dtype
    with np.errstate(over="ignore", under="ignore"):
        unit = np.spacing(np.abs(right).astype(dtype)).astype(LONG)
    fits = np.isfinite(unit)
    error = np.abs(got.astype(LONG) - right)[fits] - floor
    return float((error / unit[fits]).max(initial=0))


def whole_range(dtype, count=1000):
    """Return numbers of both signs: evenly in the tails, and of every magnitude."""
    info = np.finfo(dtype)
    tail = 1.2 * np.log(LONG(info.max))
    exponents = np.linspace(
        np.log2(LONG(info.tiny)) - 8, np.log2(LONG(info.max)), count
    )
    sizes = 2 ** exponents[:-1]
    parts = np.linspace(-tail, tail, 4 * count), sizes, -sizes, [0, info.max, -info.max]
    return np.concatenate(parts).astype(dtype)


def rng(seed=0):
    return np.random.default_rng(seed)


# Activations -------------------------------------------------------------------------------


def activations(x):
    """Return y and the slope of each activation."""
    e = np.exp(-np.abs(x))
    f = np.exp(-2 * np.abs(x))
    return {
        "relu": (np.maximum(x, 0), (x > 0).astype(LONG)),
        "sigmoid": (np.where(x < 0, e, 1) / (1 + e), e / (1 + e) ** 2),
        "tanh": (np.tanh(x), 4 * f / (1 + f) ** 2),
    }


@DTYPES
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("dy", [1.25, 3e-3, 6e4])
def test_an_activation_is_right_everywhere(name, dtype, dy):
    x = whole_range(dtype)
    y, slope = activations(x.astype(LONG))[name]
    got, cache = getattr(F, f"{name}_forward")(x)
    assert ulps(got, y, dtype) <= 4
    dy = np.full_like(x, dy)
    dx = getattr(F, f"{name}_backward")(dy, cache)
    # Where the slope is below the range of float32 or float64, it has lost digits itself.
    wide = np.float32 if dtype is np.float16 else dtype
    floor = float(np.finfo(wide).smallest_subnormal) * float(dy[0])
    assert ulps(dx, dy.astype(LONG) * slope, dtype, 4 * floor) <= 6


@DTYPES
def test_a_dead_unit_gives_0_whatever_the_gradient(dtype):
    info = np.finfo(dtype)
    x = np.array([[-1, 0, 1, info.max, -info.max, np.inf, -np.inf]], dtype)
    for bad in (np.inf, -np.inf, np.nan):
        dy = np.full_like(x, bad)
        for name in ("relu", "sigmoid", "tanh"):
            _, cache = getattr(F, f"{name}_forward")(x)
            dx = getattr(F, f"{name}_backward")(dy, cache)
            dead = cache.dead if name == "relu" else cache.slope == 0
            assert dead.sum() >= 4
            assert (dx[dead] == 0).all()
            assert not np.isfinite(dx[~dead]).any()
        kept = bnlib.Dropout(0.5, rng=rng())
        y = kept(np.ones((1, 20), dtype))
        dx = kept.backward(np.full_like(y, bad))
        assert np.array_equal(dx == 0, y == 0)
        pool = bnlib.MaxPool2d(2)
        pool(np.arange(16, dtype=dtype).reshape(1, 1, 4, 4))
        dx = pool.backward(np.full((1, 1, 2, 2), bad, dtype))
        assert (dx == 0).sum() == 12


@DTYPES
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_dropout_scales_to_round_off(dtype, p):
    x = rng().standard_normal((50, 40)).astype(dtype)
    y, cache = F.dropout_forward(x, p, rng(1))
    right = np.where(rng(1).random(x.shape) >= p, x.astype(LONG) / LONG(1 - p), 0)
    assert ulps(y, right, dtype) <= 1.5
    assert np.array_equal(F.dropout_backward(x, cache), y)


def test_an_overflow_of_what_is_dropped_is_none():
    x = np.full((100, 100), 6e4, np.float16)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        F.dropout_forward(x, 0.5, rng())
    x *= rng().random(x.shape) < 0.5  # large where it is dropped alone
    with np.errstate(over="raise"):
        F.dropout_forward(x, 0.5, rng())


# Losses ------------------------------------------------------------------------------------


def cross_entropy(z, target, smoothing=0.0):
    """Return loss and gradient in longdouble, p − 1 as what it is."""
    N, K = z.shape
    rows, largest = np.arange(N), z.argmax(1)
    z = z.astype(LONG) - z.astype(LONG)[rows, largest][:, None]
    e = np.exp(z)
    others = e.copy()
    others[rows, largest] = 0
    log_sum = np.log1p(others.sum(1))
    loss = log_sum - z[rows, target]
    p = e / e.sum(1, keepdims=True)
    rest = p.copy()
    rest[rows, target] = 0
    p[rows, target] = -rest.sum(1)
    if smoothing:
        everywhere = log_sum - z.mean(1)
        loss = (1 - smoothing) * loss + smoothing * everywhere
        p[rows, target] += LONG(smoothing)
        p -= LONG(smoothing) / K
    return loss.mean(), p / N, e / e.sum(1, keepdims=True)


@DTYPES
@pytest.mark.parametrize("K", [1, 2, 10, 30_000])
@pytest.mark.parametrize("size", [0, 1, 20, "largest"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_right_with_any_number_of_classes(dtype, K, size, smoothing):
    size = float(np.finfo(dtype).max) / 1e6 if size == "largest" else size
    if dtype is np.float16:
        size = min(size, 2e4)
    logits = (size * rng(K).standard_normal((4, K)).clip(-3, 3)).astype(dtype)
    target = rng(1).integers(0, K, 4)
    target[:2] = logits[:2].argmax(1)  # right by far
    loss, cache = F.cross_entropy_forward(logits, target, label_smoothing=smoothing)
    right, gradient, p = cross_entropy(logits, target, smoothing)
    # An exponential multiplies the round-off of its argument by the argument.
    wide = np.finfo(np.float64 if dtype is np.float64 else np.float32)
    relative = float(wide.eps) * (4 + min(6 * size, -np.log(float(wide.tiny))))
    assert abs(loss - right) <= relative * abs(right)
    for scale in (1.0, 1000.0):
        got = F.cross_entropy_backward(scale, cache).astype(LONG)
        rounding = np.spacing(np.abs(scale * gradient).astype(dtype)).astype(LONG)
        parts = np.abs(gradient) + p / 4 + smoothing / K
        lost = float(
            wide.smallest_subnormal
        )  # what a probability loses below the range
        allowed = rounding + scale * (relative * parts + lost)
        assert (np.abs(got - scale * gradient) <= allowed).all()


@pytest.mark.parametrize("margin", [10, 40, 80])
def test_a_loss_near_0_and_its_gradient_keep_their_digits(margin):
    logits = np.array([[margin, 0.0, 0.0]], np.float32)
    loss, cache = F.cross_entropy_forward(logits, np.array([0]))
    assert loss == pytest.approx(2 * np.exp(-margin), rel=1e-4)
    gradient = F.cross_entropy_backward(1.0, cache)
    assert gradient[0, 0] == pytest.approx(-2 * np.exp(-margin), rel=1e-4)
    if margin > 20:  # PyTorch has no digit there
        theirs = torch.tensor(logits, requires_grad=True)
        torch.nn.functional.cross_entropy(theirs, torch.tensor([0])).backward()
        assert theirs.grad[0, 0] == 0


@DTYPES
def test_a_masked_class_has_no_probability_and_no_gradient(dtype):
    logits = np.array([[1, -np.inf, 2], [-np.inf, -np.inf, 3], [0, 0, 0]], dtype)
    target = np.array([2, 2, 1])
    with np.errstate(all="raise", under="ignore"):
        loss, cache = F.cross_entropy_forward(logits, target)
        gradient = F.cross_entropy_backward(1.0, cache)
        p = F.softmax(logits)
    assert loss == pytest.approx((np.log1p(np.exp(-1)) + 0 + np.log(3)) / 3, rel=1e-6)
    assert (gradient[logits == -np.inf] == 0).all()
    assert (p[logits == -np.inf] == 0).all()
    assert not gradient[1].any()
    assert F.cross_entropy_forward(logits, np.array([2, 0, 1]))[0] == np.inf


@DTYPES
def test_a_row_that_is_ignored_gives_no_gradient_whatever_is_in_it(dtype):
    logits = np.array([[1, 2, 3], [np.nan, np.inf, -np.inf], [0, 1, 0]], dtype)
    with np.errstate(invalid="ignore"):
        loss, cache = F.cross_entropy_forward(logits, np.array([0, -100, 1]))
    gradient = F.cross_entropy_backward(1.0, cache)
    alone, cache = F.cross_entropy_forward(logits[::2], np.array([0, 1]))
    assert loss == alone
    assert not gradient[1].any()
    assert_close(gradient[::2], F.cross_entropy_backward(1.0, cache))


@DTYPES
@pytest.mark.parametrize("K", [1, 2, 10, 100_000])
def test_softmax_adds_up_to_1(dtype, K):
    x = (5 * rng(K).standard_normal((3, K))).astype(dtype)
    e = np.exp(x.astype(LONG) - x.max(1, keepdims=True).astype(LONG))
    p = F.softmax(x)
    assert ulps(p, e / e.sum(1, keepdims=True), dtype) <= (
        1 if dtype is np.float16 else 50
    )
    for extreme in (np.finfo(dtype).max, -np.finfo(dtype).max):
        p = F.softmax(np.full((1, 4), extreme, dtype))
        assert_close(p, np.full((1, 4), 0.25, dtype))


@DTYPES
def test_mse_is_right_up_to_the_largest_numbers(dtype):
    for size in (float(np.finfo(dtype).max) / 4, 1.0, float(np.finfo(dtype).tiny)):
        if dtype is np.float64:  # whose square is a float64 still
            size = np.clip(size, 1e-150, 1e150)
        x = (size * rng().uniform(-1, 1, (3, 4))).astype(dtype)
        target = (size * rng(1).uniform(-1, 1, (3, 4))).astype(dtype)
        loss, cache = F.mse_loss_forward(x, target)
        difference = x.astype(LONG) - target.astype(LONG)
        assert loss == pytest.approx(float((difference**2).mean()), rel=1e-6)
        got = F.mse_loss_backward(3.0, cache)
        assert ulps(got, 3 * 2 * difference / 12, dtype) <= 2


# Normalizations ----------------------------------------------------------------------------


def normalized(x, dy, axes, weight, bias, eps):
    """Return y and dx in longdouble."""
    x, g = x.astype(LONG), dy.astype(LONG) * weight
    d = x - x.mean(axes, keepdims=True)
    invstd = 1 / np.sqrt((d * d).mean(axes, keepdims=True) + LONG(eps))
    x_hat = d * invstd
    along = (g * x_hat).mean(axes, keepdims=True)
    dx = invstd * (g - g.mean(axes, keepdims=True) - x_hat * along)
    return x_hat * weight + bias, dx


SIZES = {
    np.float16: [6e4, 1, 1e-3, 6e-5, 1e-6],
    np.float32: [4e37, 1e20, 1, 1e-3, 1e-30, 1e-37],
    np.float64: [1e150, 1e20, 1, 1e-30, 1e-150],
}


@pytest.mark.parametrize(
    ("dtype", "size"), [(d, size) for d, sizes in SIZES.items() for size in sizes]
)
@pytest.mark.parametrize("eps", [1e-5, 1e-12, 1e-60])
@pytest.mark.parametrize("name", ["batch", "images", "layer", "group"])
def test_a_normalization_is_right_at_every_size(name, dtype, size, eps):
    shape = {
        "batch": (16, 3),
        "images": (5, 3, 4, 2),
        "layer": (6, 9),
        "group": (4, 6, 5),
    }
    own, shape = rng(), shape[name]
    kept = np.float64 if dtype is np.float64 else np.float32
    x = (size * own.uniform(-1, 1, shape)).astype(dtype)
    dy = own.standard_normal(shape).astype(dtype)
    weight = own.uniform(0.5, 2, shape[1]).astype(kept)
    bias = own.standard_normal(shape[1]).astype(kept)
    if name == "layer":
        axes, fit, split = (1,), (1, -1), shape
        y, cache = F.layer_norm_forward(x, shape[1:], weight, bias, eps)
    elif name == "group":
        axes, fit, split = (2, 3), (1, 2, 3, 1), (4, 2, 3, 5)
        y, cache = F.group_norm_forward(x, 2, weight, bias, eps)
    else:
        axes, fit, split = (0, *range(2, x.ndim)), (1, 3, *[1] * (x.ndim - 2)), shape
        y, cache = F.batch_norm_forward(x, None, None, weight, bias, True, eps=eps)
    name = "batch" if name == "images" else name
    with np.errstate(over="ignore"):  # a gradient in float16 may be too large
        dx, *_ = getattr(F, f"{name}_norm_backward")(dy, cache)
    right_y, right_dx = (
        a.reshape(shape)
        for a in normalized(
            x.reshape(split),
            dy.reshape(split),
            axes,
            weight.astype(LONG).reshape(fit),
            bias.astype(LONG).reshape(fit),
            eps,
        )
    )
    for got, right in ((y, right_y), (dx, right_dx)):
        with np.errstate(over="ignore", invalid="ignore"):
            unit = np.spacing(np.abs(right).max().astype(dtype)).astype(LONG)
        if np.isfinite(unit):
            assert float(np.abs(got.astype(LONG) - right).max() / unit) <= 4


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm"])
@pytest.mark.parametrize("eps", [1e-5, 1e-30, 1e-100, 5e-324])
@pytest.mark.parametrize("value", [0, 1, 1e20, 1e-40])
def test_what_does_not_vary_gives_the_bias_with_any_eps(name, eps, value):
    x = np.full((4, 6), value, np.float32)
    with np.errstate(over="ignore"):
        if name == "batch_norm":
            y = F.batch_norm(x, None, None, training=True, eps=eps)
        else:
            y = getattr(F, name)(x, (6,) if name == "layer_norm" else 2, eps=eps)
    assert_close(y, np.zeros_like(x))


def test_float64_beyond_its_squares_says_so():
    x = np.array([[1e200], [-1e200]])
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        F.batch_norm(x, None, None, training=True)


# Poolings and sums -------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_pooling_adds_up_to_round_off(name, dtype):
    x = rng().standard_normal((2, 3, 12, 12)).astype(dtype)
    y, cache = getattr(F, f"{name}_forward")(x, 4, 1, 2)
    exact, exact_cache = getattr(F, f"{name}_forward")(x.astype(np.float64), 4, 1, 2)
    dy = rng(1).uniform(1, 2, y.shape).astype(dtype)
    dx = getattr(F, f"{name}_backward")(dy, cache)
    right = getattr(F, f"{name}_backward")(dy.astype(np.float64), exact_cache)
    assert ulps(y, exact.astype(LONG), dtype) <= 1
    assert ulps(dx, right.astype(LONG), dtype) <= (1 if dtype is np.float16 else 8)


@DTYPES
@pytest.mark.parametrize("size", ["largest", 1e-3])
def test_a_mean_of_large_values_does_not_overflow(dtype, size):
    size = np.finfo(dtype).max / 16 if size == "largest" else size
    x = np.full((1, 1, 4, 4), size, dtype)
    y, _ = F.avg_pool2d_forward(x, 4)
    assert_close(y, np.full((1, 1, 1, 1), size, dtype))


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_float16_gradients_are_added_up_in_float32(name):
    rows = 5000
    x = np.ones((rows, 2), np.float16)
    weight = np.ones((3, 2), np.float16)
    if name == "conv2d":
        x, weight = x.reshape(rows, 2, 1, 1), weight.reshape(3, 2, 1, 1)
    y, cache = getattr(F, f"{name}_forward")(x, weight, weight.ravel()[:3])
    _, dweight, dbias = getattr(F, f"{name}_backward")(np.ones_like(y), cache)
    assert_close(dbias, np.full(3, rows, np.float16))
    assert_close(dweight, np.full(weight.shape, rows, np.float16))
