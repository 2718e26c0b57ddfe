"""The standard pictures of the evidence: scores against learning rates, heat maps, ridges.

Colours, style, bands over steps and labels on lines are in `bnlib.lab.plots`.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt  # noqa: F401 (for the examples)
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from bnlib._checks import check_int

from ._checks import (
    check_items,
    check_kind,
    check_limits,
    check_strings,
    check_values,
)
from .plots import color_of

__all__ = ["heat_map", "ridge", "scores"]


def scores(
    ax: Axes,
    x: Any,
    values: Any,
    label: str | None = None,
    color: str | None = None,
    *,
    best: int | None = None,
) -> Line2D:
    """Draw the median score at each learning rate, or other x on a log axis, and its range.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    x : array_like of shape (points,)
        Positive.
    values : array_like of shape (points, seeds)
        Such as accuracies; what is not finite is left out.
    label, color : str, optional
        As for `bnlib.lab.plots.band`; the label is for `label_lines`.
    best : int or None
        Position of a point to be ringed: the rate that was chosen.

    Returns
    -------
    matplotlib.lines.Line2D
        The medians' line.

    Raises
    ------
    TypeError, ValueError
        If `x` holds anything but positive numbers, `values` is not of shape (len(x), seeds), or
        `best` is no position in `x`.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> scores(ax, [0.1, 1], [[0.5, 0.6, 0.9], [0.1, 0.3, 0.2]], "batch").get_ydata()
    array([0.6, 0.2])
    >>> plt.close(fig)
    """
    check_kind("scores", "ax", ax, Axes)
    x = check_values("scores", "x", x, (1,), "(points,)")
    if not ((x > 0) & (x < np.inf)).all():
        raise ValueError(f"scores: expected finite x > 0, got {x}")
    shape = f"({len(x)}, seeds)"
    values = check_values("scores", "values", values, (2,), shape)
    if len(values) != len(x):
        raise ValueError(
            f"scores: expected values of shape {shape}, got {values.shape}"
        )
    if best is not None:
        best = check_int("scores", "best", best, low=0)
        if best >= len(x):
            raise ValueError(f"scores: expected best < {len(x)}, got {best}")
    middle = np.median(values, axis=1)
    color = color_of(label, color)
    (line,) = ax.plot(x, middle, "o-", label=label, color=color, markersize=5)
    low, high = values.min(1), values.max(1)
    ax.vlines(x, low, high, color=line.get_color(), alpha=0.5, linewidth=4)
    if best is not None:
        ring: dict[str, Any] = {"markersize": 12, "markerfacecolor": "none"}
        ring["markeredgewidth"] = 1.5
        ax.plot(x[best], middle[best], "o", color=line.get_color(), **ring)
    ax.set_xscale("log")
    return line


def heat_map(
    ax: Axes,
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    text: str = "{:.2f}",
    **image: Any,
) -> AxesImage:
    """Draw a table of numbers as coloured cells, the number in each.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    values : array_like of shape (rows, columns)
        A cell of NaN stays empty.
    rows, columns : sequence of str
        Names of the rows, from the top, and of the columns.
    text : str
        How a number is written.
    **image
        For `Axes.imshow`, such as `vmin` and `vmax`.

    Returns
    -------
    matplotlib.image.AxesImage
        The cells.

    Raises
    ------
    TypeError, ValueError
        If `values` is no table of numbers, or there is not one name for each row and column.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> image = heat_map(ax, [[0.1, 0.9]], ["SGD"], ["0.01", "0.1"])
    >>> [cell.get_text() for cell in ax.texts]
    ['0.10', '0.90']
    >>> plt.close(fig)
    """
    check_kind("heat_map", "ax", ax, Axes)
    check_kind("heat_map", "text", text, str)
    values = check_values("heat_map", "values", values, (2,), "(rows, columns)")
    rows = check_strings("heat_map", "rows", rows, values.shape[0])
    columns = check_strings("heat_map", "columns", columns, values.shape[1])
    picture = ax.imshow(values, **{"cmap": "cividis", "aspect": "auto", **image})
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = np.power(picture.cmap(picture.norm(value))[:3], 2.2)
            dark = colour @ [0.2126, 0.7152, 0.0722] < 0.18  # luminance
            ink = "w" if dark else "k"
            ax.text(
                j,
                i,
                text.format(value),
                color=ink,
                ha="center",
                va="center",
                fontsize=11,
            )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return picture


def ridge(
    ax: Axes,
    arrays: Sequence[Any],
    names: Sequence[Any],
    limits: tuple[float, float],
    color: str | None = None,
    *,
    bins: int = 60,
) -> None:
    """Draw one histogram above the other, such as one a layer, the first at the top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    arrays : sequence of array_like
        Values of any shape; those outside of `limits` count at its ends.
    names : sequence of str
        One name for each array.
    limits : pair of float
        Ends of the horizontal axis.
    color : str, optional
        A key of `bnlib.lab.plots.COLORS`, or any colour.
    bins : int
        Number of bars in each histogram.

    Raises
    ------
    TypeError, ValueError
        If an array is empty or holds no numbers, there is not one name for each, `limits` do not
        rise, or `bins` is below 1.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> ridge(ax, [[0, 0, 1], [1]], ["first", "second"], (0, 1), bins=2)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['first', 'second']
    >>> plt.close(fig)
    """
    check_kind("ridge", "ax", ax, Axes)
    arrays = [
        check_values("ridge", "each of arrays", a, range(64), "(...), not empty")
        for a in check_items("ridge", "arrays", arrays)
    ]
    names = check_strings("ridge", "names", names, len(arrays))
    limits = check_limits("ridge", "limits", limits)
    bins = check_int("ridge", "bins", bins)
    places = range(len(arrays))[::-1]
    for place, values in zip(places, arrays, strict=True):
        values = np.clip(np.ravel(values), *limits)
        count, edges = np.histogram(values, bins, limits)
        height = 0.92 * count / max(1, count.max())
        color = color_of(None, color) or "C0"
        shape: dict[str, Any] = {"step": "post", "color": color, "linewidth": 0}
        ax.fill_between(
            edges, place, place + np.append(height, height[-1]), **shape, alpha=0.6
        )
    ax.set_yticks(places, names)
    ax.set_ylim(0, len(arrays))
    ax.set_xlim(limits)
