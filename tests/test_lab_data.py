"""The data sets: reproducible, balanced, disjoint, learnable."""

import subprocess
import sys

import numpy as np
import pytest

from bnlib.lab import data
from bnlib.lab.render import draw_shapes, glyphs, outline


@pytest.fixture(autouse=True)
def _drawn(monkeypatch):
    """Whoever runs the tests may have MNIST; the tests draw their digits."""
    monkeypatch.delenv("BNLIB_MNIST", raising=False)


@pytest.fixture(scope="module")
def digits():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BNLIB_MNIST", raising=False)
        return data.digits(3000, 500, 1000)


@pytest.fixture(scope="module")
def shapes():
    return data.shapes(500, 101, 203)


@pytest.fixture(params=["digits", "shapes", "small_digits"])
def data_set(request):
    if request.param == "small_digits":
        return data.small_digits()
    return request.getfixturevalue(request.param)


# Every data set


def test_shapes_and_dtypes(digits, shapes):
    assert digits.x_train.shape == (3000, 1, 28, 28)
    assert digits.x_val.shape == (500, 1, 28, 28)
    assert digits.x_test.shape == (1000, 1, 28, 28)
    assert shapes.x_train.shape == (500, 3, 64, 64)
    assert data.small_digits().x_train.shape == (1137, 1, 8, 8)


def test_arrays_are_what_the_docstring_says(data_set):
    for part in ("train", "val", "test"):
        x, y = getattr(data_set, f"x_{part}"), getattr(data_set, f"y_{part}")
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert len(x) == len(y)
        assert x.min() == 0
        assert x.max() == 1
        assert set(y) == set(range(len(data_set.classes)))
        assert x.flags["C_CONTIGUOUS"]


def test_splits_are_disjoint(data_set):
    seen = [x.tobytes() for part in data_set[0:6:2] for x in part]
    assert len(set(seen)) == len(seen)


def test_a_simple_classifier_finds_them_learnable_but_not_trivial(data_set):
    flat = data_set.flat()
    centroids = np.stack(
        [flat.x_train[flat.y_train == k].mean(axis=0) for k in range(10)]
    )
    nearest = (flat.x_test @ centroids.T - 0.5 * (centroids**2).sum(axis=1)).argmax(
        axis=1
    )
    assert 0.5 < (nearest == flat.y_test).mean() < 0.99


def test_flat_keeps_the_width_of_an_empty_split():
    assert data.digits(10, 0, 10).flat().x_val.shape == (0, 784)


def test_flat_gives_views(digits):
    flat = digits.flat()
    assert flat.x_train.shape == (3000, 784)
    assert flat.x_val.shape == (500, 784)
    assert np.shares_memory(flat.x_test, digits.x_test)
    assert flat.y_train is digits.y_train
    assert flat.source == digits.source


# Drawn data


@pytest.mark.parametrize("make", [data.digits, data.shapes])
def test_same_seed_same_bytes(make):
    first, second, other = (make(30, 20, 10, seed=seed) for seed in (3, 3, 4))
    for a, b, c in zip(first[:6], second[:6], other[:6], strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.tobytes() != c.tobytes()


@pytest.mark.parametrize("make", [data.digits, data.shapes])
def test_a_split_does_not_depend_on_the_others_sizes(make):
    small, large = make(10, 10, 20), make(40, 0, 20)
    np.testing.assert_array_equal(small.x_test, large.x_test)
    np.testing.assert_array_equal(small.y_test, large.y_test)


def test_drawn_classes_are_balanced_and_shuffled(digits, shapes):
    for y in (digits.y_train, shapes.y_train, shapes.y_val, shapes.y_test):
        counts = np.bincount(y, minlength=10)
        assert np.ptp(counts) <= 1
        assert (
            np.diff(y) < 0
        ).mean() > 0.3  # neither sorted nor 0, 1, ..., 9 again and again


def test_every_glyph_is_inked_and_fits():
    for font in data.FONTS:
        ink = glyphs(font)
        assert ink.max(axis=(1, 2)).min() > 0.6, font
        border = np.concatenate(
            [ink[:, [0, -1]], ink[:, :, [0, -1]].swapaxes(1, 2)], axis=1
        )
        assert border.max() == 0, font
        # Ten different pictures: no font falls back on one box for every digit.
        assert len({digit.tobytes() for digit in ink}) == 10, font


def test_a_label_is_the_digit_that_is_drawn(digits):
    glyph = np.mean([glyphs(font) for font in data.FONTS], axis=0)[:, ::2, ::2].reshape(
        10, -1
    )
    for digit in range(10):
        mean = digits.x_train[digits.y_train == digit].mean(axis=0).ravel()
        assert np.argmax([np.corrcoef(mean, g)[0, 1] for g in glyph]) == digit


def test_grey_levels_are_those_of_eight_bits(digits, shapes):
    for x in (digits.x_test, shapes.x_test):
        np.testing.assert_allclose(255 * x, np.rint(255 * x), rtol=0, atol=1e-4)


def test_noise_on_the_ground_has_the_stated_size(digits):
    corners = digits.x_train[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.isclose(
        corners.mean(), 0.15 / np.sqrt(2 * np.pi), rtol=0.05
    )  # half is cut off at 0


def test_fonts_restrict_the_drawing():
    one = data.digits(50, 10, 10, fonts=["cmr10"])
    assert not np.array_equal(one.x_train, data.digits(50, 10, 10).x_train)
    for wrong in (["Arial"], [], "cmr10"):
        with pytest.raises(ValueError, match="expected fonts from"):
            data.digits(10, 10, 10, fonts=wrong)


def test_shapes_stand_out_of_the_ground():
    x = draw_shapes(np.arange(10), np.random.default_rng(0))
    assert (x[:, :, 1:9, 1:9].mean(axis=(1, 2, 3)) < 0.25).all()  # a corner is ground
    assert (np.quantile(x, 0.97, axis=(1, 2, 3)) > 0.6).all()


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match=r"outline: expected one of .* got 'blob'"):
        outline("blob", np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("make", [data.digits, data.shapes])
def test_negative_sizes_are_refused(make):
    with pytest.raises(
        ValueError, match=f"^{make.__name__}: expected each split size >= 0, got -1"
    ):
        make(-1, 10, 10)


def test_the_laboratory_stands_apart_from_the_core_and_from_torch():
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import bnlib; assert not any(m.startswith('bnlib.lab') for m in sys.modules)\n"
        "from bnlib.lab import data, diagrams, idx, plots, render\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# Mini-batches


def test_batches_visit_every_row_once_with_its_label():
    x = np.arange(10)
    got = list(data.batches(x, 10 * x, 4, np.random.default_rng(0), drop_last=False))
    assert [len(xb) for xb, _ in got] == [4, 4, 2]
    order = np.concatenate([xb for xb, _ in got])
    assert sorted(order) == list(x)
    assert list(order) != list(x)
    for xb, yb in got:
        np.testing.assert_array_equal(yb, 10 * xb)
        assert not np.shares_memory(xb, x)


def test_batches_drop_the_last_and_follow_the_generator():
    x = np.arange(10)
    rng = np.random.default_rng(0)
    first, second = (
        [xb.tolist() for xb, _ in data.batches(x, x, 3, rng)] for _ in range(2)
    )
    assert [len(xb) for xb in first] == [3, 3, 3]
    assert first != second  # the next epoch has another order
    rng = np.random.default_rng(0)
    assert first == [xb.tolist() for xb, _ in data.batches(x, x, 3, rng)]
    assert len(list(data.batches(x, x, 5, rng))) == 2


def test_batches_refuse_at_the_call():
    x, rng = np.arange(10), np.random.default_rng(0)
    with pytest.raises(ValueError, match="as many labels as inputs, 10, got 9"):
        data.batches(x, x[1:], 2, rng)
    with pytest.raises(ValueError, match="batch_size >= 1, got 0"):
        data.batches(x, x, 0, rng)
    with pytest.raises(ValueError, match="batch_size from 1 to 10, got 11"):
        data.batches(x, x, 11, rng)
    with pytest.raises(TypeError, match="Generator, got int"):
        data.batches(x, x, 2, 0)
