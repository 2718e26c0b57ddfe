"""Reader for IDX, the file format of MNIST, and for MNIST itself (LeCun, Cortes & Burges 1998).

An IDX file is a magic number (two zero bytes, a type code, the number of dimensions), the length of
each dimension as a big-endian 32-bit integer, and then the elements, big-endian, last axis fastest.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from bnlib._types import Array

from ._checks import check_path

__all__ = ["read_idx", "read_mnist"]

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read an IDX file, plain or compressed by gzip.

    Whether the file is compressed is told by its first bytes, not by its name.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ndarray
        In the file's shape. All six element types of the format are read (8-bit unsigned and
        signed, 16- and 32-bit integers, 32- and 64-bit floats) and come in native byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `path` is no path.
    ValueError
        If the file is not IDX, is damaged, or holds fewer or more bytes than its header says.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    check_path("read_idx", "path", path)
    path = Path(path)
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"read_idx: {path.name} is a damaged gzip file: {error}"
            ) from None

    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in DTYPES:
        raise ValueError(
            f"read_idx: {path.name} is not an IDX file: expected it to begin with two zero bytes "
            f"and a type code, got {raw[:4].hex(' ') or 'an empty file'}"
        )
    dtype, ndim = np.dtype(DTYPES[raw[2]]), raw[3]
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise ValueError(
            f"read_idx: {path.name} ends within its header: expected {header} bytes, got {len(raw)}"
        )
    shape = tuple(np.frombuffer(raw, ">u4", ndim, offset=4).tolist())
    expected, got = math.prod(shape) * dtype.itemsize, len(raw) - header
    if got != expected:
        fault = "is truncated" if got < expected else "has trailing bytes"
        raise ValueError(
            f"read_idx: {path.name} {fault}: expected {expected} bytes for shape {shape}, got {got}"
        )
    # A copy, so that the array is writable and its bytes stand in the machine's own order.
    return (
        np.frombuffer(raw, dtype, offset=header)
        .reshape(shape)
        .astype(dtype.newbyteorder("="))
    )


def read_mnist(folder: str | os.PathLike[str], part: str) -> tuple[Array, Array]:
    """Read the images and the labels of one part of MNIST.

    The files may be compressed, and spelled with a hyphen or a dot before ``idx``:
    ``train-images-idx3-ubyte``, ``train-images.idx3-ubyte``, or either with ``.gz``.

    Parameters
    ----------
    folder : str or path-like
        The folder that holds the files.
    part : {"train", "t10k"}
        The beginning of the files' names.

    Returns
    -------
    images : ndarray of shape (N, 28, 28), uint8
        Grey levels.
    labels : ndarray of shape (N,), uint8
        Digits from 0 to 9.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    TypeError
        If `folder` is no path.
    ValueError
        If there is no such part, a file is damaged, or the two do not fit together.
    """
    check_path("read_mnist", "folder", folder)
    if part not in ("train", "t10k"):
        raise ValueError(f"read_mnist: expected part 'train' or 't10k', got {part!r}")
    images = read_idx(_find(folder, f"{part}-images", "idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels", "idx1-ubyte"))
    for name, array, shape in (
        ("images of shape (N, 28, 28)", images, (*images.shape[:1], 28, 28)),
        (
            f"labels of shape {images.shape[:1]}, one per image,",
            labels,
            images.shape[:1],
        ),
    ):
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(
                f"read_mnist: expected {part} {name} and dtype uint8, "
                f"got {array.shape} and {array.dtype}"
            )
    if (labels > 9).any():
        raise ValueError(
            f"read_mnist: expected {part} labels from 0 to 9, got {labels.max()}"
        )
    return images, labels


def _find(folder: str | os.PathLike[str], stem: str, kind: str) -> Path:
    """Return the path of one of MNIST's files, in whichever spelling it is there."""
    folder = Path(folder).expanduser()
    names = [stem + mark + kind + end for mark in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"read_mnist: expected {names[0]} (or {', '.join(names[1:])}) in {folder}"
        + ("" if folder.is_dir() else ", which is not a folder")
    )
