"""Data sets for the book: arrays in memory, split into training, validation and test.

Set the environment variable ``BNLIB_MNIST`` to a folder with MNIST's four IDX files, and `digits`
returns real MNIST in the same shapes and sizes.
"""

import math
import os
from functools import partial
from typing import NamedTuple

import numpy as np

from .idx import read_mnist
from .render import FONTS, SHAPES, draw_digits, draw_shapes

__all__ = [
    "FONTS",
    "SHAPES",
    "Data",
    "batches",
    "digits",
    "mnist",
    "shapes",
    "small_digits",
]

DIGITS = tuple("0123456789")


class Data(NamedTuple):
    """A data set in three splits.

    Attributes
    ----------
    x_train, x_val, x_test : ndarray of shape (N, ...), float32
        Inputs in [0, 1].
    y_train, y_val, y_test : ndarray of shape (N,), int64
        Labels, indices into `classes`.
    classes : tuple of str
        The class names.
    source : str
        Where the data come from, for captions and logs.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    source: str

    def flat(self):
        """Give the same data with each input as one row.

        Returns
        -------
        Data
            With inputs of shape (N, C * H * W), views of this object's arrays.

        Examples
        --------
        >>> data = small_digits()
        >>> data.x_test.shape, data.flat().x_test.shape
        ((360, 1, 8, 8), (360, 64))
        """
        inputs = {k: x for k, x in self._asdict().items() if k.startswith("x_")}
        width = math.prod(self.x_train.shape[1:])
        return self._replace(**{k: x.reshape(-1, width) for k, x in inputs.items()})


def digits(n_train=6000, n_val=1000, n_test=2000, *, seed=0, fonts=None):
    """Draw warped, noisy digits in many fonts; or load real MNIST, if there is any.

    With the environment variable ``BNLIB_MNIST`` set to a folder, this is `mnist` on
    that folder; else see `bnlib.lab.render.draw_digits`. A call that names `fonts` asks
    for drawn digits, and always gets them.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Sizes of the splits. Each is balanced up to rounding and shuffled.
    seed : int
        Same seed, same bytes. A split does not depend on the sizes of the others.
    fonts : sequence of str, optional
        Draw from these fonts only (names from `FONTS`, default all).

    Returns
    -------
    Data
        Inputs of shape (N, 1, 28, 28).

    Raises
    ------
    ValueError
        For a negative size or an unknown font.
    FileNotFoundError
        If ``BNLIB_MNIST`` names a folder that lacks one of the files.

    Examples
    --------
    >>> data = digits(n_train=100, n_val=10, n_test=20, fonts=["cmr10", "DejaVuSans"])
    >>> data.x_train.shape, data.x_train.dtype.name, data.y_train[:5].dtype.name
    ((100, 1, 28, 28), 'float32', 'int64')
    >>> np.bincount(data.y_test)
    array([2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    folder = os.environ.get("BNLIB_MNIST")
    if folder and fonts is None:
        try:
            return mnist(folder, n_train, n_val, n_test, seed=seed)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; the environment variable BNLIB_MNIST names this folder: put MNIST's "
                "files there, or unset the variable to use drawn digits"
            ) from None

    fonts = FONTS if fonts is None else tuple(fonts)
    if not fonts or not set(fonts) <= set(FONTS):
        raise ValueError(f"digits: expected fonts from {FONTS}, got {fonts}")
    draw = partial(draw_digits, fonts=fonts)
    return _drawn("digits", draw, (n_train, n_val, n_test), seed, DIGITS)


def shapes(n_train=1000, n_val=200, n_test=300, *, seed=0):
    """Draw bright shapes on a dark ground, as `bnlib.lab.render.draw_shapes` does.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Sizes of the splits. Each is balanced up to rounding and shuffled.
    seed : int
        Same seed, same bytes. A split does not depend on the sizes of the others.

    Returns
    -------
    Data
        Inputs of shape (N, 3, 64, 64); the classes are `SHAPES`.

    Examples
    --------
    >>> data = shapes(n_train=20, n_val=10, n_test=10)
    >>> data.x_train.shape, data.classes[3]
    ((20, 3, 64, 64), 'ring')
    """
    return _drawn("shapes", draw_shapes, (n_train, n_val, n_test), seed, SHAPES)


def small_digits(*, seed=0):
    """Load scikit-learn's handwritten digits of 8 x 8 pixels.

    Parameters
    ----------
    seed : int
        Seed of the shuffle before the split.

    Returns
    -------
    Data
        Inputs of shape (N, 1, 8, 8): 1,137 for training, 300 for validation, 360 for testing.

    Examples
    --------
    >>> data = small_digits()
    >>> len(data.x_train), len(data.x_val), len(data.x_test)
    (1137, 300, 360)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    x = (bunch.images[order, None] / 16).astype(np.float32)
    y = bunch.target[order].astype(np.int64)
    train, val, test = slice(0, 1137), slice(1137, 1437), slice(1437, None)
    parts = [part for cut in (train, val, test) for part in (x[cut], y[cut])]
    return Data(*parts, DIGITS, "scikit-learn's load_digits")


def mnist(folder, n_train=None, n_val=5000, n_test=None, *, seed=0):
    """Load MNIST from the four IDX files in a folder.

    For the spellings of their names that are found see `bnlib.lab.idx.read_mnist`.

    Parameters
    ----------
    folder : str or path-like
        The folder that holds the files.
    n_train, n_val, n_test : int or None
        Sizes of the splits; None takes all that is left. Training and validation pictures are
        different ones from the training file.
    seed : int
        Seed of the shuffle that comes before the split.

    Returns
    -------
    Data
        Inputs of shape (N, 1, 28, 28). The splits are random draws, not balanced ones.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, images and labels do not fit, or a split asks for more than there is.
    """
    x, y = read_mnist(folder, "train")
    x_test, y_test = read_mnist(folder, "t10k")
    n_train = len(x) - n_val if n_train is None else n_train
    n_test = len(x_test) if n_test is None else n_test
    _check_sizes("mnist", n_train, n_val, n_test)
    if n_train + n_val > len(x) or n_test > len(x_test):
        raise ValueError(
            f"mnist: expected at most {len(x)} pictures for training and validation and "
            f"{len(x_test)} for testing, got {n_train} + {n_val} and {n_test}"
        )

    rng = np.random.default_rng(seed)
    train, val = np.split(rng.permutation(len(x))[: n_train + n_val], [n_train])
    test = rng.permutation(len(x_test))[:n_test]

    def pick(images, labels, index):
        return images[index, None] / np.float32(255), labels[index].astype(np.int64)

    return Data(
        *pick(x, y, train),
        *pick(x, y, val),
        *pick(x_test, y_test, test),
        DIGITS,
        "MNIST",
    )


def batches(x, y, batch_size, rng, drop_last=True):
    """Go through the data once, in shuffled mini-batches.

    Parameters
    ----------
    x, y : ndarray of shape (N, ...)
        Inputs and labels.
    batch_size : int
        Examples per batch, from 1 to N.
    rng : numpy.random.Generator
        Source of the order.
    drop_last : bool
        Leave out a last batch that is not full. Batch normalization wants this: a last batch of one
        has no variance.

    Yields
    ------
    tuple of ndarray
        A batch of `x` and the same rows of `y`, as copies.

    Raises
    ------
    ValueError
        At the call, not at the first batch: if lengths differ or `batch_size` does not fit.
    TypeError
        If `rng` is not a Generator.

    Examples
    --------
    >>> x = np.arange(10)
    >>> [len(xb) for xb, yb in batches(x, x, 4, np.random.default_rng(0))]
    [4, 4]
    >>> [len(xb) for xb, yb in batches(x, x, 4, np.random.default_rng(0), drop_last=False)]
    [4, 4, 2]
    """
    if len(x) != len(y):
        raise ValueError(
            f"batches: expected as many labels as inputs, {len(x)}, got {len(y)}"
        )
    if not 1 <= batch_size <= len(x):
        raise ValueError(
            f"batches: expected batch_size from 1 to {len(x)}, got {batch_size}"
        )
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"batches: expected a numpy.random.Generator, got {type(rng).__name__}"
        )
    order = rng.permutation(len(x))
    stop = len(x) - len(x) % batch_size if drop_last else len(x)
    rows = (order[i : i + batch_size] for i in range(0, stop, batch_size))
    return ((x[r], y[r]) for r in rows)


def _drawn(call, draw, sizes, seed, classes):
    """Draw three splits, each from a random stream of its own."""
    _check_sizes(call, *sizes)
    parts = []
    for n, rng in zip(sizes, np.random.default_rng(seed).spawn(3), strict=True):
        labels = rng.permutation(np.arange(n) % len(classes))
        parts += [draw(labels, rng), labels]
    return Data(*parts, classes, f"drawn {call}")


def _check_sizes(call, *sizes):
    if any(n < 0 for n in sizes):
        raise ValueError(f"{call}: expected split sizes of at least 0, got {sizes}")
