"""Layers that do not normalize, and the loss, against PyTorch."""

import numpy as np
import pytest
import torch
from cases import LAYERS, make
from helpers import LAYOUTS, TOLERANCE, assert_close, fingerprint, laid_out, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import bnlib
from bnlib import functional as F

seeds = st.integers(0, 2**32 - 1)
floats = st.sampled_from([np.float32, np.float64])
layouts = st.sampled_from(LAYOUTS)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def check(ours, theirs, x, dy_seed):
    """Compare output, dx and all gradients; two passes, so that gradients gather."""
    theirs = theirs.to(to_torch(x[:0]).dtype)
    theirs.load_state_dict({key: to_torch(a) for key, a in ours.state_dict().items()})
    tol = TOLERANCE[x.dtype.type]
    rng = np.random.default_rng(dy_seed)
    for _ in range(2):
        tx = to_torch(x, grad=True)
        ty = theirs(tx)
        dy = rng.standard_normal(ty.shape).astype(x.dtype)
        ty.backward(to_torch(dy))
        before = fingerprint(x, dy)
        assert_close(ours(x), ty, **tol)
        assert_close(ours.backward(dy), tx.grad, **tol)
        assert fingerprint(x, dy) == before
    for (name, p), (twin_name, twin) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == twin_name
        assert_close(p.grad, twin.grad, rtol=tol["rtol"], atol=10 * tol["atol"])


@given(
    seeds,
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)),
    floats,
    layouts,
    st.booleans(),
)
def test_linear(seed, sizes, dtype, layout, bias):
    rows, n, out = sizes
    rng = np.random.default_rng(seed)
    x = laid_out(rng.standard_normal((rows, n)).astype(dtype), layout)
    ours = bnlib.Linear(n, out, bias, dtype=dtype, rng=rng)
    check(ours, torch.nn.Linear(n, out, bias), x, seed)


@settings(max_examples=60)
@given(
    st.data(),
    seeds,
    pairs,
    pairs,
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    floats,
    layouts,
    st.booleans(),
)
def test_conv2d(data, seed, kernel, stride, padding, dtype, layout, bias):
    C, out, N = (data.draw(st.integers(1, 3)) for _ in range(3))
    H, W = (
        data.draw(st.integers(max(1, k - 2 * p), 7))
        for k, p in zip(kernel, padding, strict=True)
    )
    rng = np.random.default_rng(seed)
    x = laid_out(rng.standard_normal((N, C, H, W)).astype(dtype), layout)
    ours = bnlib.Conv2d(
        C, out, kernel, stride, padding, bias=bias, dtype=dtype, rng=rng
    )
    check(ours, torch.nn.Conv2d(C, out, kernel, stride, padding, bias=bias), x, seed)


def test_conv2d_takes_one_number_for_both_axes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 7, 8)).astype(np.float32)
    ours = bnlib.Conv2d(2, 3, 3, 2, 1, rng=rng)
    check(ours, torch.nn.Conv2d(2, 3, 3, 2, 1), x, 0)
    assert ours(x[:0]).shape == (0, 3, 4, 4)
    assert ours.backward(np.zeros((0, 3, 4, 4), np.float32)).shape == (0, 2, 7, 8)


@settings(max_examples=60)
@given(
    st.data(), seeds, pairs, st.none() | pairs, pairs, floats, layouts, st.booleans()
)
@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
def test_pooling(name, data, seed, kernel, stride, padding, dtype, layout, ties):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    shape = (2, 2, *(data.draw(st.integers(k, 7)) for k in kernel))
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 0, shape) if ties else rng.standard_normal(shape)
    x = laid_out(x.astype(dtype), layout)
    ours = getattr(bnlib, name)(kernel, stride, padding)
    check(ours, getattr(torch.nn, name)(kernel, stride, padding), x, seed)


def test_max_pool2d_takes_one_number_and_tiles_the_image():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    pool = bnlib.MaxPool2d(2)
    assert (pool.kernel_size, pool.stride) == ((2, 2), (2, 2))
    check(pool, torch.nn.MaxPool2d(2), x, 0)


@given(seeds, st.lists(st.integers(1, 4), min_size=2, max_size=4), floats, layouts)
@pytest.mark.parametrize("name", ["ReLU", "Sigmoid", "Tanh", "Flatten"])
def test_elementwise(name, seed, shape, dtype, layout):
    x = 3 * np.random.default_rng(seed).standard_normal(shape)
    x = laid_out(x.astype(dtype), layout)
    check(getattr(bnlib, name)(), getattr(torch.nn, name)(), x, seed)


def test_relu_passes_nothing_at_zero():
    relu = bnlib.ReLU()
    assert_close(relu(np.array([-1.0, 0.0, 2.0])), np.array([0.0, 0, 2]))
    assert_close(relu.backward(np.ones(3)), np.array([0.0, 0, 1]))


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh"])
def test_saturated_activations_overflow_nowhere(name):
    x = np.array([-1e30, -1e3, 1e3, 1e30], np.float32)
    check(getattr(bnlib, name)(), getattr(torch.nn, name)(), x, 0)


@pytest.mark.parametrize("shape", [(0, 3, 2), (0, 4)])
def test_flatten_keeps_an_empty_batch(shape):
    x = np.zeros(shape)
    flatten = bnlib.Flatten()
    assert flatten(x).shape == (0, np.prod(shape[1:]))
    assert flatten.backward(flatten(x)).shape == shape


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_drops_and_scales(p):
    rng = np.random.default_rng(0)
    dropout = bnlib.Dropout(p, rng=rng)
    x = rng.uniform(1, 2, (200, 500)).astype(np.float32)
    y = dropout(x)
    assert y.dtype == np.float32
    kept = y != 0
    # Six standard deviations of a binomial share.
    assert abs(kept.mean() - (1 - p)) < 6 * np.sqrt(p * (1 - p) / x.size)
    assert_close(y[kept], x[kept] / np.float32(1 - p), rtol=1e-6)
    # Each draw is its own: no pattern over the rows or columns.
    for axis in (0, 1):
        share = kept.mean(axis)
        assert share.std() == pytest.approx(
            np.sqrt(p * (1 - p) / kept.shape[axis]), rel=0.2
        )
    dx = dropout.backward(np.ones_like(x))
    assert_close(dx, np.where(kept, 1 / (1 - p), 0).astype(np.float32), rtol=1e-6)
    assert not np.array_equal(dropout(x) != 0, kept)


def test_dropout_in_evaluation_is_the_identity_and_draws_nothing():
    dropout = bnlib.Dropout(0.7, rng=np.random.default_rng(0)).eval()
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    state = dropout.rng.bit_generator.state
    y = dropout(x)
    assert_close(y, x)
    assert not np.shares_memory(y, x)
    assert_close(dropout.backward(x), x)
    assert dropout.rng.bit_generator.state == state
    dropout.train()(x)
    assert dropout.rng.bit_generator.state != state


def test_dropout_at_its_limits_and_its_default():
    x = np.ones((4, 5))
    for p, expected in ((0, x), (1, 0 * x)):
        dropout = bnlib.Dropout(p)
        assert_close(dropout(x), expected)
        assert_close(dropout.backward(x), expected)
    assert bnlib.Dropout().p == torch.nn.Dropout().p


@given(
    seeds,
    st.integers(1, 6),
    st.integers(1, 6),
    floats,
    st.sampled_from([1, 30, 1e4]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([-100, 0, 2]),
)
def test_cross_entropy(seed, N, K, dtype, size, smoothing, ignored):
    rng = np.random.default_rng(seed)
    logits = (size * rng.standard_normal((N, K))).astype(dtype)
    target = rng.integers(0, K, N)
    target[rng.random(N) < 0.3] = ignored
    options = {"ignore_index": ignored, "label_smoothing": smoothing}
    loss = bnlib.CrossEntropyLoss(**options)
    if (target == ignored).all() or target[target != ignored].max() >= K:
        with pytest.raises(ValueError, match=r"^cross_entropy: expected"):
            loss(logits, target)
        return
    tx = to_torch(logits, grad=True)
    expected = torch.nn.CrossEntropyLoss(**options)(tx, torch.tensor(target))
    (3 * expected).backward()
    before = fingerprint(logits, target)
    value = loss(logits, target)
    assert isinstance(value, float)
    tol = TOLERANCE[dtype]
    assert value == pytest.approx(expected.item(), rel=tol["rtol"], abs=tol["atol"])
    dlogits = loss.backward(3.0)
    assert_close(dlogits, tx.grad, **tol)
    loss(logits, target)
    assert_close(loss.backward(), dlogits / dtype(3), rtol=1e-6, atol=1e-12)
    assert fingerprint(logits, target) == before


@given(seeds, st.lists(st.integers(1, 4), max_size=3), floats, layouts)
def test_mse_loss(seed, shape, dtype, layout):
    rng = np.random.default_rng(seed)
    x, target = (rng.standard_normal(shape).astype(dtype) for _ in "ab")
    x, target = np.asarray(x), np.asarray(target)
    if shape:
        x = laid_out(x, layout)
    tx = to_torch(x, grad=True)
    expected = torch.nn.MSELoss()(tx, to_torch(target))
    (3 * expected).backward()
    loss = bnlib.MSELoss()
    assert loss(x, target) == pytest.approx(expected.item(), rel=1e-6, abs=1e-12)
    assert_close(loss.backward(3.0), tx.grad, **TOLERANCE[dtype])


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, list])
def test_cross_entropy_takes_any_integers(kind):
    logits = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]])
    target = [2, 0] if kind is list else np.array([2, 0], kind)
    loss = bnlib.CrossEntropyLoss()
    expected = -np.log(np.exp([3.0, 3.0]) / np.exp(logits).sum(1)).mean()
    assert loss(logits, target) == pytest.approx(expected, rel=1e-14)


def test_softmax():
    x = np.array([[0.0, np.log(3)], [1e4, 1e4], [-1e4, 1e4]])
    assert_close(F.softmax(x), np.array([[0.25, 0.75], [0.5, 0.5], [0, 1]]), rtol=1e-14)


def test_windows_are_a_view_of_what_the_kernel_sees():
    x = np.arange(2 * 3 * 5 * 6, dtype=float).reshape(2, 3, 5, 6)
    view = F.windows(x, (3, 2), (2, 3))
    assert view.shape == (2, 3, 3, 2, 2, 2)
    assert np.shares_memory(view, x)
    for n, c, i, j, p, q in np.ndindex(view.shape):
        assert view[n, c, i, j, p, q] == x[n, c, 2 * p + i, 3 * q + j]


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda rng: bnlib.Linear(50, 400, rng=rng), 50),
        (lambda rng: bnlib.Conv2d(8, 600, (3, 2), rng=rng), 48),
    ],
)
def test_initialization_is_uniform_within_pytorchs_bounds(layer, fan_in):
    bound = 1 / np.sqrt(fan_in)
    layer = layer(np.random.default_rng(0))
    for parameter in layer.parameters():
        values = parameter.data.ravel()
        assert np.abs(values).max() <= bound
        uniform = stats.uniform(-bound, 2 * bound)
        assert stats.kstest(values, uniform.cdf).pvalue > 0.01
    assert not np.array_equal(
        layer.weight.data.ravel()[: len(layer.bias.data)], layer.bias.data
    )


def test_pytorch_initializes_alike():
    theirs = torch.nn.Linear(50, 4000), torch.nn.Conv2d(8, 4000, (3, 2))
    ours = bnlib.Linear(50, 4000), bnlib.Conv2d(8, 4000, (3, 2))
    for our_layer, layer in zip(ours, theirs, strict=True):
        for name in ("weight", "bias"):
            a, b = getattr(our_layer, name).data, getattr(layer, name).detach().numpy()
            assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.01)
            assert a.std() == pytest.approx(b.std(), rel=0.05)


def test_a_generator_makes_layers_repeatable():
    one, two = (
        [bnlib.Linear(3, 4, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
        for _ in "ab"
    )
    assert_close(one[0].weight.data, two[1].weight.data)
    assert_close(one[0].bias.data, two[1].bias.data)
    assert not np.array_equal(one[0].weight.data, two[2].weight.data)
    assert not np.array_equal(
        bnlib.Linear(3, 4).weight.data, bnlib.Linear(3, 4).weight.data
    )


@pytest.mark.parametrize("text", LAYERS)
def test_repr_makes_the_layer_again(text):
    assert repr(make(text)) == text


@pytest.mark.parametrize("text", [*LAYERS, "CrossEntropyLoss()", "MSELoss()"])
def test_every_layer_is_a_leaf_that_changes_its_state_last(text):
    layer = make(text)
    assert isinstance(layer, bnlib.module.Layer)
    assert list(layer.modules()) == [layer]


@pytest.mark.parametrize("text", LAYERS)
def test_gradients_are_those_of_differences(text):
    rng = np.random.default_rng(0)
    options = {"dtype": float} if hasattr(make(text), "dtype") else {}
    layer = make(text, **options)
    if hasattr(layer, "rng"):  # the same values dropped in each call
        layer.forward = lambda x: bnlib.functional.dropout_forward(
            x, layer.p, np.random.default_rng(0)
        )[0]
    for parameter in layer.parameters():
        parameter.data[...] = rng.standard_normal(parameter.data.shape)
    x = rng.standard_normal(LAYERS[text])
    r = rng.standard_normal(layer(x).shape)
    if hasattr(layer, "rng"):
        del layer.forward
        layer.rng = np.random.default_rng(0)
    start = layer.state_dict()

    def loss(x):
        layer.load_state_dict(start)
        if hasattr(layer, "rng"):
            layer.rng = np.random.default_rng(0)
        return (layer(x) * r).sum()

    loss(x)
    dx = layer.backward(r)
    gradients = [p.grad.copy() for p in layer.parameters()]
    assert bnlib.gradcheck(loss, x, dx, rtol=1e-5)
    for parameter, gradient in zip(layer.parameters(), gradients, strict=True):

        def loss_of(a, parameter=parameter):
            layer.load_state_dict(start)
            parameter.data[...] = a
            return (layer(x) * r).sum()

        assert bnlib.gradcheck(loss_of, parameter.data.copy(), gradient, rtol=1e-5)


@pytest.mark.parametrize("text", LAYERS)
def test_a_layer_takes_what_its_dtype_says(text):
    layer = make(text)
    x = np.ones(LAYERS[text], np.float32)
    if not hasattr(layer, "dtype"):
        for dtype in (np.float16, np.float32, np.float64):
            assert layer(x.astype(dtype)).dtype == dtype
        return
    assert layer.dtype == np.float32
    assert layer(x).dtype == np.float32
    name = type(layer).__name__
    cure = r"use x.astype\(np.float32\) or dtype=float$"
    with pytest.raises(
        TypeError, match=f"^{name}: x is float64, the layer float32: {cure}"
    ):
        layer(x.astype(np.float64))
    wide = make(text, dtype=float)
    assert wide(x.astype(np.float64)).dtype == np.float64
    with pytest.raises(TypeError, match=f"^{name}: x is float32, the layer float64"):
        wide(x)
    assert make(text, dtype=None).dtype == np.float32
    for bad in (np.float16, int, "nonsense", np.longdouble, ">f4", complex):
        with pytest.raises(TypeError, match=f"^{name}: expected dtype float32 or"):
            make(text, dtype=bad)
