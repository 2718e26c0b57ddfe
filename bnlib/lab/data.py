"""Data sets for the book: arrays in memory, split into training, validation and test.

Set the environment variable ``BNLIB_MNIST`` to a folder with MNIST's four IDX files, and `digits`
returns real MNIST in the same shapes and sizes.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from bnlib._checks import check_array, check_bool, check_int, check_rng
from bnlib._types import Array

from .idx import read_mnist
from .render import FONTS, SHAPES, check_fonts, draw_digits, draw_shapes
from .trial import data_seed

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

    Parameters
    ----------
    x_train, y_train, x_val, y_val, x_test, y_test : ndarray
        Inputs of shape (N, ...), float32 in [0, 1], and labels of shape (N,), int64, which are
        indices into `classes`.
    classes : tuple of str
        The class names.
    source : str
        Where the data come from, for captions and logs.

    Examples
    --------
    >>> data = small_digits()
    >>> data.x_train.shape, data.classes[:3]
    ((1137, 1, 8, 8), ('0', '1', '2'))
    """

    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array
    x_test: Array
    y_test: Array
    classes: tuple[str, ...]
    source: str

    def flat(self) -> "Data":
        """Give the same data with each input as one row.

        Returns
        -------
        Data
            With inputs of shape (N, C * H * W), views of this object's arrays.

        Raises
        ------
        TypeError
            If inputs are no arrays.

        Examples
        --------
        >>> data = small_digits()
        >>> data.x_test.shape, data.flat().x_test.shape
        ((360, 1, 8, 8), (360, 64))
        """
        inputs = {k: x for k, x in self._asdict().items() if k.startswith("x_")}
        for name, x in inputs.items():
            check_array("Data.flat", name, x)
        width = math.prod(self.x_train.shape[1:])
        return self._replace(**{k: x.reshape(len(x), width) for k, x in inputs.items()})


def digits(
    n_train: int = 6000,
    n_val: int = 1000,
    n_test: int = 2000,
    *,
    seed: int | None = None,
    fonts: Sequence[str] | None = None,
) -> Data:
    """Draw warped, noisy digits in many fonts; or load real MNIST, if there is any.

    With the environment variable ``BNLIB_MNIST`` set to a folder, this is `mnist` on
    that folder; where that has fewer pictures, each split is smaller, in the same proportion. Else
    see `bnlib.lab.render.draw_digits`. A call that names `fonts` asks for drawn digits, and always
    gets them.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Sizes of the splits. Each is balanced up to rounding and shuffled.
    seed : int or None
        Same seed, same bytes. A split does not depend on the sizes of the others. None for what
        `bnlib.lab.trial.data_seed` says: 0, unless claims are being confirmed.
    fonts : sequence of str, optional
        Draw from these fonts only (names from `FONTS`, default all).

    Returns
    -------
    Data
        Inputs of shape (N, 1, 28, 28).

    Raises
    ------
    TypeError, ValueError
        For a size or seed that is no integer or negative, and for an unknown font.
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
    seed = data_seed() if seed is None else seed
    sizes = _check_sizes("digits", n_train, n_val, n_test, seed=seed)
    folder = os.environ.get("BNLIB_MNIST")
    if folder and fonts is None:
        try:
            return mnist(folder, *_fitted(folder, *sizes), seed=seed)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; the environment variable BNLIB_MNIST names this folder: put MNIST's "
                "files there, or unset the variable to use drawn digits"
            ) from None

    draw = partial(draw_digits, fonts=check_fonts("digits", fonts))
    return _drawn("digits", draw, sizes, seed, DIGITS)


def shapes(
    n_train: int = 1000, n_val: int = 200, n_test: int = 300, *, seed: int = 0
) -> Data:
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

    Raises
    ------
    TypeError, ValueError
        For a size or seed that is no integer or negative.

    Examples
    --------
    >>> data = shapes(n_train=20, n_val=10, n_test=10)
    >>> data.x_train.shape, data.classes[3]
    ((20, 3, 64, 64), 'ring')
    """
    sizes = _check_sizes("shapes", n_train, n_val, n_test, seed=seed)
    return _drawn("shapes", draw_shapes, sizes, seed, SHAPES)


def small_digits(*, seed: int = 0) -> Data:
    """Load scikit-learn's handwritten digits of 8 x 8 pixels.

    Parameters
    ----------
    seed : int
        Seed of the shuffle before the split.

    Returns
    -------
    Data
        Inputs of shape (N, 1, 8, 8): 1,137 for training, 300 for validation, 360 for testing.

    Raises
    ------
    TypeError, ValueError
        For a seed that is no integer or negative.

    Examples
    --------
    >>> data = small_digits()
    >>> len(data.x_train), len(data.x_val), len(data.x_test)
    (1137, 300, 360)
    """
    from sklearn.datasets import load_digits

    seed = check_int("small_digits", "seed", seed, low=0)
    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    x = (bunch.images[order, None] / 16).astype(np.float32)
    y = bunch.target[order].astype(np.int64)
    train, val, test = slice(0, 1137), slice(1137, 1437), slice(1437, None)
    parts = [part for cut in (train, val, test) for part in (x[cut], y[cut])]
    return _data(parts, DIGITS, "scikit-learn's load_digits")


def mnist(
    folder: str | os.PathLike[str],
    n_train: int | None = None,
    n_val: int | None = 5000,
    n_test: int | None = None,
    *,
    seed: int = 0,
) -> Data:
    """Load MNIST from the four IDX files in a folder.

    For the spellings of their names that are found see `bnlib.lab.idx.read_mnist`.

    Parameters
    ----------
    folder : str or path-like
        The folder that holds the files.
    n_train, n_val, n_test : int or None
        Sizes of the splits; None takes all that is left, for one of the first two. Training and
        validation pictures are different ones from the training file.
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
    TypeError, ValueError
        For a size or seed that is no integer or negative; if a file is damaged, images and labels
        do not fit, or a split asks for more than there is.
    """
    if n_train is None and n_val is None:
        raise ValueError("mnist: expected one of n_train and n_val, got None for both")
    given = (n for n in (n_train, n_val, n_test) if n is not None)
    _check_sizes("mnist", *given, seed=seed)
    x, y = read_mnist(folder, "train")
    x_test, y_test = read_mnist(folder, "t10k")
    if n_train is None:
        n_train = max(0, len(x) - int(n_val or 0))
    if n_val is None:
        n_val = max(0, len(x) - n_train)
    n_test = len(x_test) if n_test is None else n_test
    if n_train + n_val > len(x) or n_test > len(x_test):
        raise ValueError(
            f"mnist: expected at most {len(x)} pictures for training and validation and "
            f"{len(x_test)} for testing, got {n_train} + {n_val} and {n_test}"
        )

    rng = np.random.default_rng(seed)
    train, val = np.split(rng.permutation(len(x))[: n_train + n_val], [n_train])
    test = rng.permutation(len(x_test))[:n_test]

    def pick(images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        return images[index, None] / np.float32(255), labels[index].astype(np.int64)

    parts = [*pick(x, y, train), *pick(x, y, val), *pick(x_test, y_test, test)]
    return _data(parts, DIGITS, "MNIST")


def batches(
    x: Array,
    y: Array,
    batch_size: int,
    rng: np.random.Generator,
    drop_last: bool = True,
) -> Iterator[tuple[Array, Array]]:
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

    Returns
    -------
    iterator of tuple of ndarray
        Each batch of `x` and the same rows of `y`, as copies.

    Raises
    ------
    TypeError, ValueError
        At the call, not at the first batch: if `x` or `y` is no array, lengths differ, `batch_size`
        does not fit, or `rng` is not a Generator.

    Examples
    --------
    >>> x = np.arange(10)
    >>> [len(xb) for xb, yb in batches(x, x, 4, np.random.default_rng(0))]
    [4, 4]
    >>> [len(xb) for xb, yb in batches(x, x, 4, np.random.default_rng(0), drop_last=False)]
    [4, 4, 2]
    """
    for name, a in (("x", x), ("y", y)):
        check_array("batches", name, a)
        if a.ndim == 0:
            raise ValueError(f"batches: expected {name} of shape (N, ...), got ()")
    if len(x) != len(y):
        raise ValueError(
            f"batches: expected as many labels as inputs, {len(x)}, got {len(y)}"
        )
    batch_size = check_int("batches", "batch_size", batch_size)
    if batch_size > len(x):
        raise ValueError(
            f"batches: expected batch_size from 1 to {len(x)}, got {batch_size}"
        )
    check_rng("batches", rng)
    check_bool("batches", "drop_last", drop_last)
    order = rng.permutation(len(x))
    stop = len(x) - len(x) % batch_size if drop_last else len(x)
    rows = (order[i : i + batch_size] for i in range(0, stop, batch_size))
    return ((x[r], y[r]) for r in rows)


def _drawn(
    call: str,
    draw: Callable[[Array, np.random.Generator], Array],
    sizes: list[int],
    seed: int,
    classes: tuple[str, ...],
) -> Data:
    """Draw three splits, each from a random stream of its own."""
    parts: list[Array] = []
    for n, rng in zip(sizes, np.random.default_rng(seed).spawn(3), strict=True):
        labels = rng.permutation(np.arange(n) % len(classes))
        parts += [draw(labels, rng), labels]
    return _data(parts, classes, f"drawn {call}")


def _fitted(folder: str, n_train: int, n_val: int, n_test: int) -> tuple[int, int, int]:
    """Return sizes that MNIST's files in a folder can fill."""
    there, there_test = (len(read_mnist(folder, name)[0]) for name in ("train", "t10k"))
    share = min(1.0, there / max(1, n_train + n_val))
    return int(share * n_train), int(share * n_val), min(n_test, there_test)


def _data(parts: list[Array], classes: tuple[str, ...], source: str) -> Data:
    """Make a data set of its arrays."""
    x_train, y_train, x_val, y_val, x_test, y_test = parts
    return Data(x_train, y_train, x_val, y_val, x_test, y_test, classes, source)


def _check_sizes(call: str, *sizes: int, seed: int) -> list[int]:
    """Return sizes as ints; raise unless they and the seed are integers from 0 on."""
    check_int(call, "seed", seed, low=0)
    return [check_int(call, "each split size", size, low=0) for size in sizes]
