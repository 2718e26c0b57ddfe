"""Drawings without data: the axes that a normalization averages over, and computational graphs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Polygon

from bnlib._checks import check_int, check_number, described
from bnlib._types import Array

from ._checks import check_items, check_kind
from .plots import COLORS

__all__ = ["BACKWARD", "FORWARD", "graph", "norm_axes"]

FORWARD = COLORS["batch"]
"""The colour of values on their way forward through a graph."""

BACKWARD = COLORS["layer"]
"""The colour of gradients on their way back."""

DEPTH = np.array([0.55, 0.42])  # one cell into the depth of a block, as it is seen
RADIUS = 0.42  # of a node, in units of the graph


def norm_axes(c: int = 6, n: int = 4, hw: int = 4, groups: int = 2) -> Figure:
    """Draw which values share one mean in batch, layer, group and instance normalization.

    Four blocks of cells, with the channels C to the right, the positions H·W upwards and the
    examples N into the depth. One set of cells that share a mean and a variance is coloured.

    Parameters
    ----------
    c, n, hw : int
        Number of channels, examples and positions to draw.
    groups : int
        Number of groups in group normalization; divides `c`.

    Returns
    -------
    matplotlib.figure.Figure
        With four axes.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or below 1, or `groups` does not divide `c`.

    Notes
    -----
    The idea of the picture is Figure 2 of Wu & He (2018).

    Examples
    --------
    >>> fig = norm_axes()
    >>> [ax.get_title() for ax in fig.axes]
    ['batch norm', 'layer norm', 'group norm', 'instance norm']
    >>> plt.close(fig)
    """
    c, n, hw, groups = (
        check_int("norm_axes", name, number)
        for name, number in (("c", c), ("n", n), ("hw", hw), ("groups", groups))
    )
    if c % groups:
        raise ValueError(f"norm_axes: expected groups to divide c = {c}, got {groups}")
    # Every set holds the first example and the last channel, so that it shows on the faces.
    size = c // groups
    panels = {
        "batch": (1, n, "one channel, all examples"),
        "layer": (c, 1, "one example, all channels"),
        "group": (size, 1, f"one example, {size} channel{'s' * (size > 1)}"),
        "instance": (1, 1, "one example, one channel"),
    }
    ratio = (hw + n * DEPTH[1] + 1.3) / (c + n * DEPTH[0] + 2)
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 6.2 * ratio + 1.3))
    for ax, (method, (channels, examples, text)) in zip(
        axes.flat, panels.items(), strict=True
    ):
        _block(ax, (c, n, hw), channels, examples, COLORS[method])
        ax.set_title(
            f"{method} norm", loc="center", color=COLORS[method], weight="bold"
        )
        ax.text(0.5, -0.02, text, transform=ax.transAxes, ha="center", va="top")
    return fig


def _block(
    ax: Axes, shape: tuple[int, int, int], channels: int, examples: int, color: str
) -> None:
    """Draw the three visible faces of a block; colour the last channels and the first examples."""
    c, n, hw = shape
    right, up, deep = np.array([1, 0]), np.array([0, 1]), DEPTH
    faces = (  # origin, its two directions and their lengths, and how bright the face is
        (0 * right, right, c, up, hw, 1.0),
        (hw * up, right, c, deep, n, 0.92),
        (c * right, deep, n, up, hw, 0.8),
    )
    for origin, a, len_a, b, len_b, light in faces:
        for i, j in np.ndindex(len_a, len_b):
            channel = i if a is right else c - 1
            example = i if a is deep else j if b is deep else 0
            chosen = channel >= c - channels and example < examples
            corner = origin + i * a + j * b
            fill = np.array(to_rgb(color if chosen else "#F4F4F4")) * light
            outline = [corner, corner + a, corner + a + b, corner + b]
            edge = "white" if chosen else "#A0A0A0"
            ax.add_patch(
                Polygon(outline, facecolor=fill, edgecolor=edge, linewidth=0.8)
            )
    ax.text(c / 2, -0.3, "C", ha="center", va="top")
    ax.text(-0.3, hw / 2, "H·W", ha="right", va="center")
    x, y = c * right + n * deep / 2 + (0.3, -0.3)
    ax.text(x, y, "N", ha="left", va="top")
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_xlim(-1.6, c + n * DEPTH[0] + 0.4)
    ax.set_ylim(-1.1, hw + n * DEPTH[1] + 0.2)


def graph(
    ax: Axes,
    nodes: Mapping[str, tuple[float, float, str]],
    edges: Sequence[tuple[Any, ...]],
    *,
    highlight: Collection[str] = (),
) -> None:
    """Draw a computational graph: values run forward along its edges, gradients run back.

    A node with edges in and out is an operation, drawn as a circle; inputs and outputs are boxes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw. Its frame is taken away and one unit is as wide as it is high.
    nodes : dict of str to tuple
        ``name: (x, y, label)``. Leave about 1.6 units between neighbours; labels may hold mathtext.
        With nine units across the book's figure width, a node holds about four letters.
    edges : list of tuple
        ``(start, end, forward, backward)``, two names and two labels. The forward label stands to
        the left of the arrow's direction (above an edge that runs to the right), the backward one
        opposite. A label of None leaves the arrow bare. An edge of three items has no backward
        arrow: grow a graph gradient by gradient by adding the fourth.
    highlight : collection of str
        Names of nodes to fill with colour: the step that the text is at.

    Raises
    ------
    TypeError, ValueError
        If a node or an edge has not the form above, or an edge or `highlight` names an unknown
        node.

    Examples
    --------
    >>> fig, ax = plt.subplots()
    >>> nodes = {"x": (0, 0, "$x$"), "square": (1.5, 0, "$x^2$"), "y": (3, 0, "$y$")}
    >>> edges = [("x", "square", "$x$", "$2x$"), ("square", "y", None)]
    >>> graph(ax, nodes, edges, highlight={"square"})
    >>> len(ax.texts), len(ax.patches)
    (5, 6)
    >>> plt.close(fig)
    """
    check_kind("graph", "ax", ax, Axes)
    check_kind("graph", "nodes", nodes, Mapping)
    for name, node in nodes.items():
        if not isinstance(node, (tuple, list)) or len(node) != 3:
            raise ValueError(
                f"graph: expected node {name!r} as (x, y, label), got {described(node)}"
            )
        for place in node[:2]:
            check_number("graph", f"each place of node {name!r}", place)
    edges = check_items("graph", "edges", edges, empty=True)
    for edge in edges:
        if not isinstance(edge, (tuple, list)) or len(edge) not in (3, 4):
            raise ValueError(
                "graph: expected each edge as (start, end, forward) or "
                f"(start, end, forward, backward), got {described(edge)}"
            )
    highlight = check_items("graph", "highlight", highlight, empty=True)
    unknown = {name for edge in edges for name in edge[:2]}.union(
        highlight
    ) - nodes.keys()
    if unknown:
        raise ValueError(
            f"graph: expected nodes among {list(nodes)}, got {sorted(unknown)}"
        )
    inner = {edge[0] for edge in edges} & {edge[1] for edge in edges}
    for name, (x, y, label) in nodes.items():
        shape: Patch = Circle((x, y), RADIUS) if name in inner else _box(x, y)
        shape.set(
            facecolor="#FFE7A0" if name in highlight else "white", edgecolor="black"
        )
        ax.add_patch(shape)
        ax.text(x, y, label, ha="center", va="center_baseline")
    for start, end, forward, *backward in edges:
        p, q = (np.array(nodes[name][:2], float) for name in (start, end))
        _arrow(ax, p, q, FORWARD, forward)
        for label in backward:
            _arrow(ax, q, p, BACKWARD, label)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.autoscale_view()


def _box(x: float, y: float) -> FancyBboxPatch:
    side = 1.7 * RADIUS
    corner = (x - side / 2, y - side / 2)
    return FancyBboxPatch(corner, side, side, boxstyle="round,pad=0,rounding_size=0.08")


def _arrow(ax: Axes, p: Array, q: Array, color: str, label: str | None) -> None:
    """Draw an arrow from node to node, a little to its left, and its label further to the left."""
    along = (q - p) / np.hypot(*(q - p))
    left = np.array([-along[1], along[0]])
    aside, gap = 0.11 * left, (RADIUS + 0.03) * along
    style: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 11,
        "shrinkA": 0,
        "shrinkB": 0,
        "linewidth": 1.5,
    }
    ax.add_patch(
        FancyArrowPatch(p + gap + aside, q - gap + aside, color=color, **style)
    )
    if label is None:
        return
    ha = "center" if abs(left[0]) < 0.3 else "left" if left[0] > 0 else "right"
    va = "center" if abs(left[1]) < 0.3 else "bottom" if left[1] > 0 else "top"
    x, y = (p + q) / 2 + 2 * aside
    ax.text(x, y, label, ha=ha, va=va, color=color)
