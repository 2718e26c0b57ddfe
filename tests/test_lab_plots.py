"""The figure style: colours that can be told apart, and drawings that say what they should."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.text import Text

from bnlib.lab import diagrams, plots
from bnlib.lab.plots import COLORS

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _style():
    plt.switch_backend("agg")
    with mpl.rc_context():
        plots.set_style()
        yield
    plt.close("all")


# Colours, computed from their definitions (WCAG 2 contrast; Machado, Oliveira & Fernandes 2009)


def linear(color):
    c = np.array(mpl.colors.to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast_on_white(color):
    return 1.05 / (linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05)


def cielab(rgb):
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    t = to_xyz @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


VISION = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("method", COLORS)
def test_colours_stand_out_of_white(method):
    assert contrast_on_white(COLORS[method]) >= 3


@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(vision):
    seen = [cielab(np.array(VISION[vision]) @ linear(c)) for c in COLORS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 12


SHADED = [name for name in COLORS if name != "theory"]


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("method", SHADED)
def test_shades_stand_out_of_white_and_of_each_other(method, n):
    # Figures lie on white paper on dark pages too, so white is the only ground they have.
    contrasts = [contrast_on_white(color) for color in plots.shades(method, n)]
    np.testing.assert_allclose(contrasts, np.geomspace(3.5, 13, n), rtol=0.03)
    assert np.divide(contrasts[1:], contrasts[:-1]).min() > 1.5


@pytest.mark.parametrize("method", SHADED)
def test_shades_keep_the_hue_of_their_method(method):
    own = np.array(cielab(linear(COLORS[method]))[1:])
    for color in plots.shades(method):
        shade = np.array(cielab(linear(color))[1:])
        assert np.linalg.norm(shade) < 1.5 * np.linalg.norm(own) + 1
        assert method == "none" or own @ shade > 0.9 * np.linalg.norm(
            own
        ) * np.linalg.norm(shade)


@pytest.mark.parametrize("method", ["theory", "#606060", "Adam", 3])
def test_shades_are_those_of_a_method(method):
    with pytest.raises(ValueError, match="shades: expected one of"):
        plots.shades(method)


def test_one_shade_is_no_choice():
    with pytest.raises(ValueError, match="shades: expected n"):
        plots.shades("batch", 1)


def test_set_style_undoes_other_settings():
    plt.rcParams["axes.facecolor"] = "red"
    plots.set_style()
    assert plt.rcParams["axes.facecolor"] == "white"
    fig, ax = plt.subplots()
    assert fig.get_size_inches().tolist() == [6.4, 3.4]
    assert ax.plot([0])[0].get_color() == COLORS["none"]


# Curves


def test_band_draws_median_and_spread():
    _, ax = plt.subplots()
    runs = np.array([[1.0, 2.0], [5.0, 6.0], [2.0, 9.0]])
    line = plots.band(ax, [0, 1], runs, "batch", linestyle="--")
    assert line.get_ydata().tolist() == [2, 6]
    assert line.get_color() == COLORS["batch"]
    assert line.get_linestyle() == "--"
    assert ax.collections[0].get_paths()[0].get_extents().intervaly.tolist() == [1, 9]
    plots.band(ax, [0, 1], runs, percent=(50, 50))
    assert ax.collections[1].get_paths()[0].get_extents().intervaly.tolist() == [2, 6]


def test_band_takes_its_colour_from_method_argument_or_cycle():
    _, ax = plt.subplots()
    runs = np.zeros((2, 3))
    cycled, method, free = (
        plots.band(ax, np.arange(3), runs, "something", color).get_color()
        for color in (None, "group", "red")
    )
    assert (cycled, method, free) == (COLORS["none"], COLORS["group"], "red")


@pytest.mark.parametrize("shape", [(4,), (4, 5)])
def test_band_refuses_runs_that_do_not_fit(shape):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"band: expected runs of shape \(seeds, 4\)"):
        plots.band(ax, np.arange(4), np.zeros(shape), "batch")


def boxes(texts):
    texts[0].figure.canvas.draw()
    return [Text.get_window_extent(text) for text in texts]


def overlaps(texts):
    return sum(a.overlaps(b) for a, b in itertools.combinations(boxes(texts), 2))


@pytest.mark.parametrize(
    ("scale", "ends"),
    [
        ("linear", [0.5] * 6),
        ("linear", [0.1, 0.1, 0.1001, 0.1002, 0.101, 1]),
        ("log", [0.9, 0.91, 0.905, 0.2, 0.21, 0.9999]),
        ("log", [1.0] * 6),
    ],
)
def test_labels_do_not_overlap_and_stay_beside_the_axes(scale, ends):
    fig, ax = plt.subplots()
    for end, name in zip(ends, COLORS, strict=False):
        ax.plot([1, 2, 3], [1, 0.1, end], color=COLORS[name], label=f"{name} norm")
    ax.set(yscale=scale, ylim=(0.09, 1), xlabel="step", ylabel="accuracy")
    texts = plots.label_lines(ax)
    assert len(texts) == 6
    assert overlaps(texts) == 0
    # The bare ends would overlap: the test is not met by itself.
    bare = [ax.text(3, end, name) for end, name in zip(ends, COLORS, strict=False)]
    assert overlaps(bare) > 0
    for box in boxes(texts):
        assert (
            ax.bbox.y0 - 1 <= (box.y0 + box.y1) / 2 <= ax.bbox.y1 + 1
        )  # a pixel for rounding
        assert box.x1 <= fig.bbox.x1


def test_labels_keep_the_order_of_the_lines_and_stay_when_they_fit():
    _, ax = plt.subplots()
    for end in (0.8, 0.1, 0.5):
        ax.plot([0, 1], [0, end], label=str(end))
    texts = plots.label_lines(ax)
    assert [text.get_text() for text in texts] == ["0.1", "0.5", "0.8"]
    for text, box in zip(texts, boxes(texts), strict=True):
        y = ax.transData.transform((1, float(text.get_text())))[1]
        assert abs((box.y0 + box.y1) / 2 - y) < 3  # pixels
        assert not text.arrow_patch.get_visible()


def test_labels_are_readable_and_lead_to_where_their_line_ends():
    _, ax = plt.subplots()
    ax.plot([0, 1, 2], [0, 0.3, np.nan], color=COLORS["dropout"], label="ends early")
    ax.plot([0, 2], [0, 1], color=COLORS["batch"], label="goes on")
    ax.plot([0, 2], [0, 1], label="_hidden")
    ax.plot([0, 2], [np.nan, np.nan], label="nowhere")
    early, late = plots.label_lines(ax)
    assert (early.get_text(), late.get_text()) == ("ends early", "goes on")
    assert early.arrow_patch.get_visible()
    np.testing.assert_allclose(
        ax.transAxes.transform(early.xy), ax.transData.transform((1, 0.3))
    )
    for text in (early, late):
        assert contrast_on_white(text.get_color()) >= 4.5


def test_a_line_that_leaves_the_axes_is_labelled_at_their_edge():
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 5], label="far up")
    ax.set_ylim(0, 1)
    (text,) = plots.label_lines(ax)
    assert text.xy[1] == 1
    assert text.get_position()[1] == 1


def test_no_labels_no_texts():
    _, ax = plt.subplots()
    ax.plot([0, 1])
    assert plots.label_lines(ax) == []


# Pictures and diagrams


def test_sheet_puts_pictures_in_reading_order():
    _, ax = plt.subplots()
    x = np.arange(5).reshape(5, 1, 1, 1) / 10 * np.ones((5, 1, 2, 3))
    shown = plots.sheet(ax, x, columns=3).get_array()
    assert shown.shape == (4, 9, 3)
    np.testing.assert_array_equal(shown[::2, ::3, 0], [[0, 0.1, 0.2], [0.3, 0.4, 1]])
    with pytest.raises(ValueError, match="sheet: expected x of shape"):
        plots.sheet(ax, x[:, 0])


def test_norm_axes_colours_the_faces_of_one_set():
    c, n, hw, groups = 6, 4, 5, 3
    fig = diagrams.norm_axes(c, n, hw, groups)
    # Visible cells of a set: on the front, the top and the right face.
    wanted = {
        "batch": hw + n + n * hw,
        "layer": c * hw + c + hw,
        "group": 2 * hw + 2 + hw,
        "instance": hw + 1 + hw,
    }
    for ax, (method, count) in zip(fig.axes, wanted.items(), strict=True):
        assert ax.get_title() == f"{method} norm"
        assert len(ax.patches) == c * hw + c * n + n * hw
        assert sum(np.ptp(p.get_facecolor()[:3]) > 0.1 for p in ax.patches) == count
        assert {t.get_text() for t in ax.texts} >= {"C", "N", "H·W"}
    fig.canvas.draw()
    with pytest.raises(ValueError, match="groups to divide c = 6, got 4"):
        diagrams.norm_axes(6, groups=4)


def test_graph_draws_values_forward_and_gradients_back():
    fig, ax = plt.subplots()
    nodes = {
        "x": (0, 0, "$x$"),
        "op": (1.5, 0, "$+$"),
        "b": (1.5, -1.5, "$b$"),
        "y": (3, 0, "$y$"),
    }
    edges = [("x", "op", "fx", "bx"), ("b", "op", None, "bb"), ("op", "y", "fy")]
    diagrams.graph(ax, nodes, edges, highlight=["op"])
    fig.canvas.draw()

    assert [p.center for p in ax.patches if isinstance(p, Circle)] == [(1.5, 0)]
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    colors = [mpl.colors.to_hex(p.get_edgecolor()).upper() for p in arrows]
    assert colors.count(diagrams.FORWARD) == 3
    assert colors.count(diagrams.BACKWARD) == 2
    for arrow, color in zip(arrows, colors, strict=True):
        (x0, y0), (x1, y1) = arrow.get_path().vertices[[0, 2]]
        assert (x1 - x0 + y1 - y0 > 0) == (color == diagrams.FORWARD)

    at = {text.get_text(): text.get_position() for text in ax.texts}
    assert at["fx"][1] > 0 > at["bx"][1]
    assert at["bb"][0] > 1.5  # down an edge that runs upwards: to its right
    assert overlaps(ax.texts) == 0


def test_graph_refuses_unknown_names():
    _, ax = plt.subplots()
    nodes = {"x": (0, 0, "x"), "y": (1, 0, "y")}
    with pytest.raises(ValueError, match=r"graph: expected nodes .* got \['z'\]"):
        diagrams.graph(ax, nodes, [("x", "z", None)])
    with pytest.raises(ValueError, match=r"got \['q'\]"):
        diagrams.graph(ax, nodes, [("x", "y", None)], highlight={"q"})
