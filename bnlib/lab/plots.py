"""The book's one figure style: colours and shades, bands, labels on the lines, picture sheets."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from scipy.optimize import isotonic_regression

from bnlib._checks import check_array, check_int, check_number, described
from bnlib._types import Array

from ._checks import check_items, check_kind, check_values

__all__ = [
    "COLORS",
    "STYLE",
    "band",
    "color_of",
    "label_lines",
    "set_style",
    "shades",
    "sheet",
]

COLORS = {
    "none": "#606060",
    "batch": "#0072B2",
    "layer": "#C04800",
    "group": "#009E73",
    "instance": "#C36AA0",
    "dropout": "#C48800",
    "theory": "#000000",
}
"""One colour for each method, the same in the whole book.

Okabe & Ito's palette, some of it darkened: at least 3:1 against white, and told apart with each of
the three kinds of colour blindness.
"""

STYLE = {
    "figure.figsize": (6.4, 3.4),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=[c for k, c in COLORS.items() if k != "theory"]),
    "axes.edgecolor": "#808080",
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "lines.linewidth": 2,
    # A page 390 pixels wide shows a figure at about half its size: 13 points become 9 pixels.
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
}
"""The settings of matplotlib that `set_style` makes."""


def set_style() -> None:
    """Give every figure that follows the book's style. Call it in a notebook's first cell.

    Examples
    --------
    >>> set_style()
    >>> [float(side) for side in plt.rcParams["figure.figsize"]]
    [6.4, 3.4]
    """
    plt.style.use(["default", STYLE])


def color_of(label: str | None, color: str | None = None) -> str | None:
    """Choose a colour by name.

    Parameters
    ----------
    label : str or None
        What decides where there is no `color`.
    color : str or None
        A key of `COLORS`, or any colour.

    Returns
    -------
    str or None
        The colour of a method, by a key of `COLORS`; else `color` itself, None for the next one of
        the cycle.

    Raises
    ------
    ValueError
        If `color` is neither.

    Examples
    --------
    >>> color_of("batch") == COLORS["batch"], color_of("Adam", "layer") == COLORS["layer"]
    (True, True)
    >>> color_of("Adam") is None  # the next of the cycle
    True
    """
    if color is not None and color not in COLORS and not is_color_like(color):
        raise ValueError(
            f"color_of: expected a colour or one of {list(COLORS)}, got {described(color)}"
        )
    return COLORS.get(color or label or "", color)


def shades(method: str, n: int = 3) -> list[str]:
    """Give one method's settings their colours: shades of the method's own, from light to dark.

    The shades of ``"none"`` are greys. They serve for what is no method at all: libraries, causes,
    algorithms.

    Parameters
    ----------
    method : str
        A key of `COLORS`, but for ``"theory"``.
    n : int
        How many, at least 2. More than four are hard to tell apart.

    Returns
    -------
    list of str
        Colours as ``"#rrggbb"``. Their contrast with white rises in even ratios from 3.5 to 13.

    Raises
    ------
    TypeError, ValueError
        If `method` is no such key, or `n` is no whole number from 2 on.

    Examples
    --------
    >>> shades("none")
    ['#898989', '#5b5b5b', '#313131']
    """
    methods = [name for name in COLORS if name != "theory"]
    if method not in methods:
        raise ValueError(f"shades: expected one of {methods}, got {described(method)}")
    n = check_int("shades", "n", n, low=2)
    rgb = np.array(to_rgb(COLORS[method]))
    # WCAG's luminance is linear in these, so that a mix with white or black can be solved for.
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    own = linear @ [0.2126, 0.7152, 0.0722]
    found = []
    for luminance in 1.05 / np.geomspace(3.5, 13, n) - 0.05:
        lighter = linear + (1 - linear) * (luminance - own) / (1 - own)
        mix = lighter if luminance > own else linear * luminance / own
        rgb = np.where(mix <= 0.0031308, 12.92 * mix, 1.055 * mix ** (1 / 2.4) - 0.055)
        found.append(to_hex(rgb.clip(0, 1)))
    return found


def band(
    ax: Axes,
    x: Any,
    runs: Any,
    label: str | None = None,
    color: str | None = None,
    *,
    percent: tuple[float, float] = (0, 100),
    **line: Any,
) -> Line2D:
    """Draw the median of several runs as a line, and their spread as a band.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    x : array_like of shape (steps,)
        Horizontal positions.
    runs : array_like of shape (seeds, steps)
        One row per run.
    label : str, optional
        The line's label, for `label_lines`.
    color : str, optional
        A key of `COLORS`, or any colour. Default: the colour of `label`, if that is a key, else
        the next one of the cycle.
    percent : tuple of float
        The percentiles between which the band lies. Default: from the lowest run to the highest.
    **line
        Further properties of the line, such as ``linestyle``.

    Returns
    -------
    matplotlib.lines.Line2D
        The median's line.

    Raises
    ------
    TypeError, ValueError
        If `runs` is not of shape (seeds, len(x)), an array holds anything but numbers, or `percent`
        is no pair of percentages.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> runs = np.arange(20.0).reshape(5, 4)
    >>> band(ax, np.arange(4), runs, "batch").get_ydata()
    array([ 8.,  9., 10., 11.])
    >>> plt.close(fig)
    """
    check_kind("band", "ax", ax, Axes)
    x = check_values("band", "x", x, (1,), "(steps,)")
    shape = f"(seeds, {len(x)})"
    runs = check_values("band", "runs", runs, (2,), shape)
    if runs.shape[1] != len(x):
        raise ValueError(f"band: expected runs of shape {shape}, got {runs.shape}")
    if len(check_items("band", "percent", percent)) != 2:
        raise ValueError(f"band: expected percent as a pair, got {percent}")
    ends = [
        check_number("band", "each of percent", number, low=0, high=100)
        for number in percent
    ]
    (median,) = ax.plot(
        x, np.median(runs, axis=0), label=label, color=color_of(label, color), **line
    )
    low, high = np.percentile(runs, ends, axis=0)
    ax.fill_between(x, low, high, color=median.get_color(), alpha=0.2, linewidth=0)
    return median


def label_lines(ax: Axes) -> list[Annotation]:
    """Write each line's label at its right end, in its colour, instead of a legend.

    Labels that would overlap move apart, no further than they must, and a thin lead then ties each
    to its line. Call this last, when the limits and the axes' labels are set.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with labelled lines.

    Returns
    -------
    list of matplotlib.text.Annotation
        The labels, from the lowest to the highest.

    Raises
    ------
    TypeError
        If `ax` is no axes.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> for k, name in enumerate(["none", "batch"]):
    ...     line = ax.plot([0, 1], [0, 1 + k / 1000], color=COLORS[name], label=name)
    >>> [text.get_text() for text in label_lines(ax)]
    ['none', 'batch']
    >>> plt.close(fig)
    """
    check_kind("label_lines", "ax", ax, Axes)
    figure: Any = ax.get_figure(root=True)
    check_kind("label_lines", "the figure of ax", figure, Figure)
    figure.draw_without_rendering()  # the layout must be known before anything is measured
    to_axes = ax.transAxes.inverted()
    lines: list[Line2D] = []
    tips: list[Array] = []
    for line in ax.get_lines():
        points = to_axes.transform(line.get_transform().transform(line.get_xydata()))
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) and not str(line.get_label()).startswith("_"):
            lines.append(line)
            tips.append(points[-1])
    if not lines:
        return []
    order = np.argsort([y for _, y in tips], kind="stable")
    lines, ends = [lines[i] for i in order], np.array(tips)[order]
    ends[:, 1] = np.clip(ends[:, 1], 0, 1)

    # Everything below is in fractions of the axes, where a layout that makes room keeps its order.
    point = to_axes.transform(ax.bbox.p0 + figure.dpi / 72)
    texts = [_label(ax, line, end) for line, end in zip(lines, ends, strict=True)]
    height = (
        np.array([Text.get_window_extent(t).height for t in texts]) / ax.bbox.height
        + point[1]
    )

    # Moving labels apart by the least squares, order and distances kept, is an isotonic regression
    # once the distances are taken out.
    stack = np.concatenate([[0], np.cumsum((height[1:] + height[:-1]) / 2)])
    place = (
        isotonic_regression(ends[:, 1] - stack).x.clip(0, max(0, 1 - stack[-1])) + stack
    )
    column = ends[:, 0].max() + 8 * point[0]
    for text, end, y in zip(texts, ends, place, strict=True):
        text.set_position((column, y))
        near = abs(y - end[1]) < 4 * point[1] and column - end[0] < 12 * point[0]
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible(not near)
    return texts


def _label(ax: Axes, line: Line2D, end: Array) -> Annotation:
    """Write a line's label, with a lead to the line's end."""
    # Thin strokes need more contrast than lines do: the same hue, darker.
    ink = tuple(0.8 * channel for channel in to_rgb(line.get_color()))
    lead = {
        "arrowstyle": "-",
        "color": ink,
        "linewidth": 0.8,
        "relpos": (0, 0.5),
        "shrinkA": 0,
    }
    return ax.annotate(
        str(line.get_label()),
        (end[0], end[1]),
        xycoords="axes fraction",
        textcoords="axes fraction",
        va="center",
        color=ink,
        arrowprops=lead,
    )


def sheet(ax: Axes, x: Array, columns: int = 10) -> AxesImage:
    """Show pictures side by side, row after row.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    x : ndarray of shape (N, 1, H, W) or (N, 3, H, W)
        Pictures in [0, 1], grey or in colour.
    columns : int
        Pictures per row. The last row is filled up with white.

    Returns
    -------
    matplotlib.image.AxesImage
        The sheet.

    Raises
    ------
    TypeError, ValueError
        If `x` is no array of one of these shapes, or `columns` is below 1.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> sheet(ax, np.zeros((7, 1, 8, 8)), columns=4).get_array().shape
    (16, 32, 3)
    >>> plt.close(fig)
    """
    check_kind("sheet", "ax", ax, Axes)
    check_array("sheet", "x", x)
    columns = check_int("sheet", "columns", columns)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) == 0:
        raise ValueError(f"sheet: expected x of shape (N, 1 or 3, H, W), got {x.shape}")
    n, _, height, width = x.shape
    rows = -(-n // columns)
    tiles = np.ones((rows * columns, 3, height, width))
    tiles[:n] = x
    tiles = tiles.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    ax.set_axis_off()
    return ax.imshow(tiles.reshape(rows * height, columns * width, 3), vmin=0, vmax=1)
