"""MNIST's files: read when they are right, refused with a clear word when they are not."""

import gzip
import struct

import numpy as np
import pytest

from bnlib.lab import data
from bnlib.lab.idx import read_idx


def idx_bytes(array, code=0x08):
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    ("code", "dtype"),
    [
        (0x08, "u1"),
        (0x09, "i1"),
        (0x0B, "i2"),
        (0x0C, "i4"),
        (0x0D, "f4"),
        (0x0E, "f8"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_idx_reads_every_type(tmp_path, code, dtype, pack):
    array = np.arange(-6, 18).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "file"
    path.write_bytes(pack(idx_bytes(array, code)))
    got = read_idx(path)
    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "not an IDX file.*3c 21 44 4f"),
        (b"\0\0\x07" + GOOD[3:], "not an IDX file"),
        (b"\0\1" + GOOD[2:], "not an IDX file"),
        (GOOD[:9], "ends within its header: expected 12 bytes, got 9"),
        (GOOD[:-1], r"truncated: expected 12 bytes for shape \(3, 4\), got 11"),
        (GOOD + b"\0", "trailing bytes: expected 12 bytes .* got 13"),
        (gzip.compress(GOOD, mtime=0)[:-5], "damaged gzip"),
        (
            gzip.compress(GOOD, mtime=0)[:15]
            + b"\xff"
            + gzip.compress(GOOD, mtime=0)[16:],
            "damaged gzip",
        ),
        (gzip.compress(GOOD, mtime=0) + b"rest", "damaged gzip"),
        (gzip.compress(GOOD[:-1], mtime=0), "truncated"),
    ],
)
def test_read_idx_refuses_a_damaged_file(tmp_path, raw, message):
    path = tmp_path / "train-labels"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"read_idx: train-labels .*{message}"):
        read_idx(path)


@pytest.fixture
def folder(tmp_path):
    """MNIST in small: 100 pictures and 40, whose first pixel is the label, all four spellings."""
    for part, n, image_name, label_name in (
        ("train", 100, "images-idx3-ubyte", "labels.idx1-ubyte"),
        ("t10k", 40, "images.idx3-ubyte.gz", "labels-idx1-ubyte.gz"),
    ):
        rng = np.random.default_rng(n)
        labels = rng.permutation(np.arange(n, dtype=np.uint8) % 10)
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        images[:, 0, 0] = labels
        for name, array in ((image_name, images), (label_name, labels)):
            raw = idx_bytes(array)
            path = tmp_path / f"{part}-{name}"
            path.write_bytes(
                gzip.compress(raw, mtime=0) if name.endswith("gz") else raw
            )
    return tmp_path


def test_mnist_splits_and_scales(folder):
    got = data.mnist(folder, 60, 30, 20, seed=1)
    assert got.source == "MNIST"
    assert [len(part) for part in got[:6]] == [60, 60, 30, 30, 20, 20]
    seen = [x.tobytes() for part in got[0:6:2] for x in part]
    assert len(set(seen)) == 110
    for x, y in zip(got[0:6:2], got[1:6:2], strict=True):
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.shape[1:] == (1, 28, 28)
        assert x.max() == 1
        np.testing.assert_array_equal(
            np.rint(255 * x[:, 0, 0, 0]), y
        )  # each its own label

    again, other = (data.mnist(folder, 60, 30, 20, seed=seed) for seed in (1, 2))
    assert again.x_train.tobytes() == got.x_train.tobytes()
    assert other.x_train.tobytes() != got.x_train.tobytes()


def test_mnist_takes_all_by_default(folder):
    got = data.mnist(folder, n_val=10)
    assert [len(part) for part in got[0:6:2]] == [90, 10, 40]


@pytest.mark.parametrize(
    "sizes", [(91, 10, 1), (10, 10, 41), (None, 101, 1), (10, -1, 1)]
)
def test_mnist_refuses_sizes_that_do_not_fit(folder, sizes):
    with pytest.raises(ValueError, match="mnist: expected"):
        data.mnist(folder, *sizes)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train-labels.idx1-ubyte",
            np.zeros(99, np.uint8),
            r"labels of shape \(100,\).*got \(99,",
        ),
        ("train-labels.idx1-ubyte", np.full(100, 10, np.uint8), "from 0 to 9, got 10"),
        (
            "train-images-idx3-ubyte",
            np.zeros((100, 28, 27), np.uint8),
            r"\(N, 28, 28\).* 28, 27",
        ),
        ("train-images-idx3-ubyte", np.zeros((), np.uint8), r"\(N, 28, 28\)"),
    ],
)
def test_mnist_refuses_files_that_do_not_fit(folder, name, array, message):
    (folder / name).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=f"read_mnist: expected train .*{message}"):
        data.mnist(folder)


def test_the_environment_variable_gives_real_mnist(folder, monkeypatch):
    monkeypatch.setenv("BNLIB_MNIST", str(folder))
    got = data.digits(60, 30, 20, seed=1)
    assert got.source == "MNIST"
    assert (
        got.x_train.tobytes()
        == data.mnist(folder, 60, 30, 20, seed=1).x_train.tobytes()
    )
    # Fonts ask for drawn digits, and an empty variable is none.
    assert "drawn" in data.digits(10, 10, 10, fonts=data.FONTS).source
    monkeypatch.setenv("BNLIB_MNIST", "")
    assert "drawn" in data.digits(10, 10, 10).source


def test_the_environment_variable_names_what_is_missing(folder, monkeypatch):
    monkeypatch.setenv("BNLIB_MNIST", str(folder))
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte.*BNLIB_MNIST"):
        data.digits(60, 30, 20)
    monkeypatch.setenv("BNLIB_MNIST", str(folder / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"not a folder.*BNLIB_MNIST"):
        data.digits(60, 30, 20)
