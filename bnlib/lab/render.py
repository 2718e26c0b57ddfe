"""Pictures drawn by the program: digits from matplotlib's own fonts, and bright shapes.

Nothing is downloaded and no system font is used, so the same seed gives the same pictures on
every machine with the pinned versions.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bnlib._checks import check_floats, check_int, check_rng
from bnlib._types import Array

from ._checks import check_items, check_labels

__all__ = [
    "FONTS",
    "SHAPES",
    "draw_digits",
    "draw_shapes",
    "glyphs",
    "outline",
    "smooth_field",
]

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmr10",
    "cmb10",
    "cmti10",
    "cmss10",
    "cmtt10",
)
"""The fonts in matplotlib's data folder that hold lining digits: no symbol fonts."""

SHAPES = (
    "disc",
    "square",
    "triangle",
    "ring",
    "plus",
    "rows",
    "columns",
    "diamond",
    "star",
    "checker",
)
"""The class names of `draw_shapes`, in label order."""

SIDE = 28  # pixels of a digit image, as in MNIST
ZOOM = 2  # glyphs are rasterized this much larger than they appear
FIGURE_HEIGHT = 19  # pixels of the digit 0 before the random scale


def check_fonts(call: str, fonts: Any) -> tuple[str, ...]:
    """Return fonts as a tuple, all of them for None; raise unless they are there."""
    chosen = FONTS if fonts is None else fonts
    names = (
        []
        if isinstance(chosen, str)
        else check_items(call, "fonts", chosen, empty=True)
    )
    if not names or not all(name in FONTS for name in names):
        raise ValueError(f"{call}: expected fonts from {FONTS}, got {fonts!r}")
    return tuple(names)


def _labels(call: str, labels: Any, rng: Any, classes: int) -> Array:
    """Return labels as an array, perhaps an empty one; raise unless one can be drawn for each."""
    check_rng(call, rng)
    if np.shape(labels) == (0,):
        return np.zeros(0, np.int64)
    return check_labels(call, "labels", labels, np.size(labels), classes)


@cache
def glyphs(font: str) -> Array:
    """Rasterize the ten digits of one of matplotlib's fonts.

    Parameters
    ----------
    font : str
        A name from `FONTS`.

    Returns
    -------
    ndarray of shape (10, 56, 56), float32
        Ink in [0, 1]; every digit is centred by its bounding box. It is kept, and read-only.

    Raises
    ------
    ValueError
        If there is no such font.

    Examples
    --------
    >>> ink = glyphs("DejaVuSans")
    >>> ink.shape, bool(ink.max() > 0.99)
    ((10, 56, 56), True)
    """
    check_fonts("glyphs", (font,))
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")

    def load(size: float) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)

    _, top, _, bottom = load(100).getbbox("0")
    face = load(100 * FIGURE_HEIGHT * ZOOM / (bottom - top))
    canvas = SIDE * ZOOM
    out = np.empty((10, canvas, canvas), np.float32)
    for digit in range(10):
        image = Image.new("L", (canvas, canvas))
        left, top, right, bottom = face.getbbox(str(digit))
        corner = ((canvas - left - right) / 2, (canvas - top - bottom) / 2)
        ImageDraw.Draw(image).text(corner, str(digit), fill=255, font=face)
        out[digit] = ndimage.gaussian_filter(
            np.asarray(image, np.float32) / 255, 0.35 * ZOOM
        )
    out.setflags(write=False)  # the cache hands this array to every caller
    return out


def draw_digits(
    labels: Array, rng: np.random.Generator, fonts: Sequence[str] = FONTS
) -> Array:
    """Draw one warped, noisy 28 x 28 picture for each label.

    Every picture takes a random font, a rotation of up to 12 degrees, a shear of up to 0.15, a
    scale of 1 ± 0.15 in each direction, a shift of up to 1.5 pixels, a smooth elastic warp of 0.9
    pixels and Gaussian noise of standard deviation 0.15. The grey levels are rounded to 256
    steps, as MNIST's are.

    Parameters
    ----------
    labels : ndarray of shape (N,), int
        The digits to draw.
    rng : numpy.random.Generator
        The only source of randomness.
    fonts : sequence of str
        Names from `FONTS`.

    Returns
    -------
    ndarray of shape (N, 1, 28, 28), float32
        White ink on black, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If a label is no digit, a font is not there, or `rng` is not a Generator.

    Examples
    --------
    >>> x = draw_digits(np.array([3, 8]), np.random.default_rng(0))
    >>> x.shape, x.dtype.name
    ((2, 1, 28, 28), 'float32')
    """
    fonts = check_fonts("draw_digits", fonts)
    labels = _labels("draw_digits", labels, rng, 10)
    n = len(labels)
    angle = np.deg2rad(rng.uniform(-12, 12, n))
    shear = rng.uniform(-0.15, 0.15, n)
    scale = rng.uniform(0.85, 1.15, (2, n))
    shift = rng.uniform(-1.5, 1.5, (n, 2, 1, 1))

    # `matrix` takes a pixel of the picture to the place in the glyph that it shows.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = (
        np.array([[cos, sin + shear * cos], [-sin, cos - shear * sin]]) / scale
    )  # (2, 2, N)
    centred = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2  # (2, 28, 28)
    place = (
        np.einsum("abn,bij->naij", matrix, centred) + shift + 0.9 * smooth_field(n, rng)
    )
    place = (
        place + (SIDE - 1) / 2 + 0.5
    ) * ZOOM - 0.5  # pixel centres of the larger raster

    ink = np.empty((n, SIDE, SIDE), np.float32)
    font = rng.integers(len(fonts), size=n)
    for f, name in enumerate(fonts):
        for digit, glyph in enumerate(glyphs(name)):
            mine = (font == f) & (labels == digit)
            where = place[mine].swapaxes(0, 1)  # (2, k, 28, 28)
            ink[mine] = ndimage.map_coordinates(glyph, where, order=1, prefilter=False)
    ink += 0.15 * rng.standard_normal(ink.shape, np.float32)
    return (np.rint(255 * np.clip(ink, 0, 1)) / np.float32(255))[:, None]


def smooth_field(n: int, rng: np.random.Generator, spacing: int = 5) -> Array:
    """Draw smooth random displacement fields of unit standard deviation.

    Parameters
    ----------
    n : int
        Number of fields.
    rng : numpy.random.Generator
        Source of the white noise that is smoothed.
    spacing : int
        Width of the Gaussian bumps, in pixels.

    Returns
    -------
    ndarray of shape (n, 2, 28, 28)
        Displacements along the two image axes.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or too small, or `rng` is not a Generator.

    Examples
    --------
    >>> smooth_field(2, np.random.default_rng(0)).shape
    (2, 2, 28, 28)
    """
    n = check_int("smooth_field", "n", n, low=0)
    spacing = check_int("smooth_field", "spacing", spacing)
    check_rng("smooth_field", rng)
    # White noise on a coarse grid, blurred by a separable Gaussian: two small matrix products.
    knots = np.arange(-spacing, SIDE + 2 * spacing, spacing)
    bumps = np.exp(-0.5 * ((np.arange(SIDE)[:, None] - knots) / spacing) ** 2)
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    noise = rng.standard_normal((n, 2, len(knots), len(knots)))
    field: Array = bumps @ noise @ bumps.T
    return field


def draw_shapes(labels: Array, rng: np.random.Generator) -> Array:
    """Draw one bright shape on a dark ground for each label.

    Shapes sit near the middle: shift of up to 4 pixels, scale of 1 ± 0.15, rotation of up to 8
    degrees. Ink is bright (0.7 to 1 in each colour channel), ground is dark (0 to 0.15), and
    Gaussian noise of standard deviation 0.1 lies over both.

    Parameters
    ----------
    labels : ndarray of shape (N,), int
        Indices into `SHAPES`.
    rng : numpy.random.Generator
        The only source of randomness.

    Returns
    -------
    ndarray of shape (N, 3, 64, 64), float32
        Colour pictures in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If a label is no index into `SHAPES`, or `rng` is not a Generator.

    Examples
    --------
    >>> x = draw_shapes(np.array([0, 9]), np.random.default_rng(0))
    >>> x.shape, x.dtype.name
    ((2, 3, 64, 64), 'float32')
    """
    labels = _labels("draw_shapes", labels, rng, len(SHAPES))
    n, side, radius = len(labels), 64, 20
    angle = np.deg2rad(rng.uniform(-8, 8, (n, 1, 1))).astype(np.float32)
    unit = (radius * rng.uniform(0.85, 1.15, (n, 1, 1))).astype(np.float32)
    shift = rng.uniform(-4, 4, (2, n, 1, 1)).astype(np.float32)
    row, column = np.indices((side, side), np.float32) - np.float32((side - 1) / 2)
    down, right = (row - shift[0]) / unit, (column - shift[1]) / unit
    u = np.cos(angle) * right + np.sin(angle) * down
    v = np.cos(angle) * down - np.sin(angle) * right

    ink = np.empty((n, 1, side, side), np.float32)
    for label, name in enumerate(SHAPES):
        mine = labels == label
        # An edge is one pixel wide: the outline's distance in pixels, cut off to [0, 1].
        ink[mine, 0] = np.clip(0.5 - unit[mine] * outline(name, u[mine], v[mine]), 0, 1)
    bright = rng.uniform(0.7, 1, (n, 3, 1, 1)).astype(np.float32)
    dark = rng.uniform(0, 0.15, (n, 3, 1, 1)).astype(np.float32)
    x = dark + (bright - dark) * ink
    x += 0.1 * rng.standard_normal(x.shape, np.float32)
    return np.rint(255 * np.clip(x, 0, 1)) / np.float32(255)


def outline(name: str, u: Array, v: Array) -> Array:
    """Measure how far points lie outside a shape of about unit radius.

    Parameters
    ----------
    name : str
        A name from `SHAPES`.
    u, v : ndarray
        Coordinates to the right and downwards.

    Returns
    -------
    ndarray
        Negative inside the shape, positive outside, near the edge about the distance to it.

    Raises
    ------
    TypeError, ValueError
        If there is no such shape, or coordinates are no floating arrays of one shape.

    Examples
    --------
    >>> outline(SHAPES[0], np.array([0.0, 3.0]), np.array([0.0, 0.0])) > 0  # the middle is inside
    array([False,  True])
    """
    check_floats("outline", "u", u)
    check_floats("outline", "v", v)
    if u.shape != v.shape:
        raise ValueError(f"outline: expected v of shape {u.shape}, got {v.shape}")
    r = np.hypot(u, v)
    square = np.maximum(abs(u), abs(v)) - 0.8

    def stripes(
        t: Array,
    ) -> Array:  # three bars of ink and two gaps, 0.32 wide each, fill [-0.8, 0.8]
        return abs((t + 0.32) % 0.64 - 0.32) - 0.16

    match name:
        case "disc":
            return r - 0.9
        case "square":
            return square
        case "triangle":
            return np.maximum(v - 0.7, 0.87 * abs(u) - 0.5 * v - 0.5)
        case "ring":
            return abs(r - 0.7) - 0.2
        case "plus":
            return np.maximum(np.minimum(abs(u), abs(v)) - 0.22, square - 0.1)
        case "rows":
            return np.maximum(square, stripes(v))
        case "columns":
            return np.maximum(square, stripes(u))
        case "diamond":
            return (abs(u) + abs(v) - 1.05) / np.sqrt(2)
        case "star":
            # Folded five times, a star is one straight edge, from a point to a notch.
            turn = 2 * np.pi / 5
            fold = abs((np.arctan2(u, -v) + turn / 2) % turn - turn / 2)
            return r * np.cos(fold - 1.15) - 1.1 * np.cos(1.15)
        case "checker":
            a, b = stripes(u), stripes(v)
            return np.maximum(
                square, np.where(a * b < 0, -1, 1) * np.minimum(abs(a), abs(b))
            )
    raise ValueError(f"outline: expected one of {SHAPES}, got {name!r}")
