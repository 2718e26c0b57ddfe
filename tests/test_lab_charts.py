import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from bnlib.lab import charts, plots
from bnlib.lab.animation import animate


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


# scores


def test_scores_show_median_range_and_choice(ax):
    values = [[0.1, 0.2, 0.9], [0.5, 0.6, 0.7], [np.nan, 0.3, 0.3]]
    line = charts.scores(ax, [0.1, 1, 10], values, "with BN", "batch", best=1)
    np.testing.assert_array_equal(line.get_ydata(), [0.2, 0.6, np.nan])
    assert line.get_color() == plots.COLORS["batch"]
    assert ax.get_xscale() == "log"
    (ranges,) = ax.collections
    ends = [path.vertices[:, 1].tolist() for path in ranges.get_paths()]
    assert ends[:2] == [[0.1, 0.9], [0.5, 0.7]]
    ring = ax.get_lines()[1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, 0.6)
    assert ring.get_label().startswith("_")
    assert [text.get_text() for text in plots.label_lines(ax)] == ["with BN"]


def test_scores_take_the_colours_of_the_book_or_of_the_cycle(ax):
    assert charts.scores(ax, [1], [[2]], "layer").get_color() == plots.COLORS["layer"]
    first, second = (charts.scores(ax, [1], [[2]], name).get_color() for name in "ab")
    assert first != second


@pytest.mark.parametrize("values", [[1, 2], [[1, 2, 3]], [[[1]], [[2]]]])
def test_scores_refuse(ax, values):
    with pytest.raises(ValueError, match=r"values of shape \(2, seeds\), got"):
        charts.scores(ax, [1, 2], values)


# heat maps


def test_a_heat_map_writes_each_number_legibly(ax):
    values = [[0, 0.5, 1], [0.25, np.nan, 0.75]]
    charts.heat_map(ax, values, ["a", "b"], [1, 2, 3], text="{:.0%}", vmin=0, vmax=1)
    cells = {text.get_position(): text for text in ax.texts}
    assert {place: text.get_text() for place, text in cells.items()} == {
        (0, 0): "0%",
        (1, 0): "50%",
        (2, 0): "100%",
        (0, 1): "25%",
        (2, 1): "75%",
    }
    assert (cells[0, 0].get_color(), cells[2, 0].get_color()) == ("w", "k")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "3"]


def test_the_numbers_of_a_heat_map_have_contrast(ax):
    charts.heat_map(ax, np.linspace(0, 1, 101)[None], ["a"], range(101))
    (picture,) = ax.images

    def luminance(rgb):
        rgb = np.asarray(rgb[:3])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for value, text in zip(np.linspace(0, 1, 101), ax.texts, strict=True):
        ground = luminance(picture.cmap(picture.norm(value)))
        ink = 1.0 if text.get_color() == "w" else 0.0
        high, low = max(ground, ink), min(ground, ink)
        assert (high + 0.05) / (low + 0.05) > 4.5


# ridges


def test_a_ridge_stacks_histograms_from_the_top(ax):
    charts.ridge(
        ax, [[-9, 0.1, 9, 9], [[0.6], [0.6]]], ["1", "2"], (0, 1), "none", bins=4
    )
    top, bottom = (path.get_paths()[0].vertices[:, 1] for path in ax.collections)
    assert top.min() == 1
    assert top.max() == pytest.approx(1.92)
    assert (bottom.min(), bottom.max()) == (0, pytest.approx(0.92))
    names = dict(zip(ax.get_yticks(), ax.get_yticklabels(), strict=True))
    assert (names[1].get_text(), names[0].get_text()) == ("1", "2")
    heights = {tuple(v) for v in ax.collections[0].get_paths()[0].vertices.round(2)}
    assert {(0, 1.92), (1, 1.92)} <= heights  # what lies outside counts at the ends
    assert ax.get_xlim() == (0, 1)


# animations


def film(n=3, alt="A line rises.", **settings):
    figure, ax = plt.subplots(figsize=(2, 1))

    def draw(k):
        ax.clear()
        ax.plot([0, 1], [0, k])
        ax.set_ylim(0, 3)
        ax.set_axis_off()

    html = animate(figure, draw, [f"step {10 * k}" for k in range(n)], alt, **settings)
    assert not plt.fignum_exists(figure.number)
    return html.data


def pixels(html):
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]*)", html)
    pictures = [Image.open(io.BytesIO(base64.b64decode(code))) for code in found]
    return [np.asarray(picture.convert("L")) for picture in pictures]


def test_an_animation_holds_each_frame_once_and_in_order():
    frames = pixels(film())
    assert [frame.shape for frame in frames] == [(80, 160)] * 3
    # Higher and higher on the right.
    ink = [(frame < 200).argmax(0) for frame in frames]
    assert ink[0][130] > ink[1][130] > ink[2][130]
    assert pixels(film(dpi=50))[0].shape == (50, 100)


def test_an_animation_is_the_same_bytes_each_time_and_has_a_name_of_its_own():
    assert film() == film()
    name = re.compile(r'id="(anim[0-9a-f]{16})"')
    first, second = name.search(film())[1], name.search(film(alt="Another."))[1]
    assert first != second
    assert f'getElementById("{first}")' in film()


def test_an_animation_needs_nothing_from_elsewhere_and_speaks():
    html = film(alt='It <rises> & "falls".', label="Training step")
    assert "http" not in html
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", html)
    page = BeautifulSoup(html, "html.parser")
    assert page.img["alt"] == 'It <rises> & "falls".'
    assert page.input["aria-label"] == "Training step"
    assert (page.input["max"], page.input["value"]) == ("2", "0")
    assert page.output.text == "step 0"
    assert page.button.text == "Play"
    assert '["step 0", "step 10", "step 20"]' in page.script.text


@pytest.mark.parametrize(("n", "alt"), [(1, "A line."), (3, " ")])
def test_animate_refuses(n, alt):
    with pytest.raises(ValueError, match="2 frames or more and an alt text"):
        film(n, alt)


def test_an_animation_that_is_too_large_is_refused():
    figure, noise = plt.figure(figsize=(4, 4)), np.random.default_rng(0)

    def draw(k):
        figure.figimage(noise.random((400, 400, 3)))

    with pytest.raises(ValueError, match="at most a megabyte, got 1,"):
        animate(figure, draw, ["a", "b"], "Noise.", dpi=100)
