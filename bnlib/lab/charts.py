"""The standard pictures of the evidence: scores against learning rates, heat maps, ridges.

Colours, style, bands over steps and labels on lines are in `bnlib.lab.plots`.
"""

import matplotlib.pyplot as plt  # noqa: F401 (for the examples)
import numpy as np

from .plots import color_of

__all__ = ["heat_map", "ridge", "scores"]


def scores(ax, x, values, label=None, color=None, *, best=None):
    """Draw the median score at each learning rate, or other x on a log axis, and its range.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
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
    ValueError
        If `values` is not of shape (len(x), seeds).

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> scores(ax, [0.1, 1], [[0.5, 0.6, 0.9], [0.1, 0.3, 0.2]], "batch").get_ydata()
    array([0.6, 0.2])
    >>> plt.close(fig)
    """
    x, values = np.asarray(x), np.asarray(values, float)
    if values.ndim != 2 or len(values) != len(x):
        raise ValueError(
            f"scores: expected values of shape ({len(x)}, seeds), got {values.shape}"
        )
    middle = np.median(values, axis=1)
    color = color_of(label, color)
    (line,) = ax.plot(x, middle, "o-", label=label, color=color, markersize=5)
    color = line.get_color()
    low, high = values.min(1), values.max(1)
    ax.vlines(x, low, high, color=color, alpha=0.5, linewidth=4)
    if best is not None:
        ring = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 1.5}
        ax.plot(x[best], middle[best], "o", color=color, **ring)
    ax.set_xscale("log")
    return line


def heat_map(ax, values, rows, columns, *, text="{:.2f}", **image):
    """Draw a table of numbers as coloured cells, the number in each.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
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

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> image = heat_map(ax, [[0.1, 0.9]], ["SGD"], ["0.01", "0.1"])
    >>> [cell.get_text() for cell in ax.texts]
    ['0.10', '0.90']
    >>> plt.close(fig)
    """
    values = np.asarray(values, float)
    picture = ax.imshow(values, **{"cmap": "cividis", "aspect": "auto", **image})
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = np.power(picture.cmap(picture.norm(value))[:3], 2.2)
            dark = colour @ [0.2126, 0.7152, 0.0722] < 0.18  # luminance
            style = {"ha": "center", "va": "center", "fontsize": 11}
            ax.text(j, i, text.format(value), color="w" if dark else "k", **style)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return picture


def ridge(ax, arrays, names, limits, color=None, *, bins=60):
    """Draw one histogram above the other, such as one a layer, the first at the top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    arrays : sequence of array_like
        Values of any shape; those outside of `limits` count at its ends.
    names : sequence of str
        One name an array.
    limits : pair of float
        Ends of the horizontal axis.
    color : str, optional
        A key of `bnlib.lab.plots.COLORS`, or any colour.
    bins : int

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> ridge(ax, [[0, 0, 1], [1]], ["first", "second"], (0, 1), bins=2)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['first', 'second']
    >>> plt.close(fig)
    """
    places = range(len(arrays))[::-1]
    for place, values in zip(places, arrays, strict=True):
        values = np.clip(np.ravel(values), *limits)
        count, edges = np.histogram(values, bins, limits)
        height = 0.92 * count / max(1, count.max())
        color = color_of(None, color) or "C0"
        shape = {"step": "post", "color": color, "linewidth": 0}
        ax.fill_between(
            edges, place, place + np.append(height, height[-1]), **shape, alpha=0.6
        )
    ax.set_yticks(places, names)
    ax.set_ylim(0, len(arrays))
    ax.set_xlim(limits)
