"""Animations that play in the static page, offline: pictures, a slider and a button."""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from html import escape
from string import Template
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bnlib._checks import check_function, check_int

from ._checks import check_items, check_kind

__all__ = ["animate"]

PLAYER = Template("""\
<figure class="animation" id="$id" style="margin: 0; max-width: ${width}px">
<img src="$first" alt="$alt" width="$width"
  style="max-width: 100%; height: auto; padding: 0; filter: none">
<div style="display: flex; gap: 0.8rem; align-items: center; padding: 0.3rem">
<button type="button" style="min-width: 4.5rem">Play</button>
<input type="range" min="0" max="$last" value="0" aria-label="$label" style="flex: 1">
<output style="min-width: 6rem">$start</output>
</div>
</figure>
<script>
(() => {
  const root = document.getElementById("$id");
  const [picture, button, slider, text] =
    ["img", "button", "input", "output"].map((name) => root.querySelector(name));
  const names = $names;
  const frames = [picture.src, ...$rest];
  let timer = null;
  const show = (k) => {
    slider.value = k;
    picture.src = frames[k];
    text.textContent = names[k];
    slider.setAttribute("aria-valuetext", names[k]);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const step = () => {
    show(Number(slider.value) + 1);
    if (Number(slider.value) === frames.length - 1) stop();
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(slider.value) === frames.length - 1) show(0);
    button.textContent = "Pause";
    timer = setInterval(step, $pause);
  });
  show(0);
})();
</script>
""")


def animate(
    figure: Figure,
    draw: Callable[[int], Any],
    names: Sequence[str],
    alt: str,
    *,
    label: str = "Frame",
    pause: int = 400,
    dpi: int = 80,
) -> Any:
    """Make a player of a figure drawn again and again; it needs nothing from anywhere.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Closed at the end, so that it is not shown a second time.
    draw : callable
        ``draw(k)`` draws frame k; what is of an earlier frame it has to clear.
    names : sequence of str
        What is said beside each frame, such as "step 40"; their number is that of the frames.
    alt : str
        What happens, for those who do not see it.
    label : str
        What the slider moves through, for those who do not see it.
    pause : int
        Milliseconds from frame to frame.
    dpi : int
        Dots per inch; the player is not to exceed a megabyte.

    Returns
    -------
    IPython.display.HTML
        The same frames give the same bytes.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If there are fewer than two frames, no `alt`, a number is below 1, or the player has more
        than a megabyte.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> fig, ax = plt.subplots()
    >>> player = animate(fig, lambda k: ax.set_title(k), ["one", "two"], "A number counts.")
    >>> player.data.count("data:image/png")
    2
    """
    from IPython import display

    check_kind("animate", "figure", figure, Figure)
    check_function("animate", "draw", draw)
    names = [str(name) for name in check_items("animate", "names", names, empty=True)]
    for name, text in (("alt", alt), ("label", label)):
        check_kind("animate", name, text, str)
    pause = check_int("animate", "pause", pause)
    dpi = check_int("animate", "dpi", dpi)
    if len(names) < 2 or not alt.strip():
        raise ValueError(
            f"animate: expected 2 frames or more and an alt text, got {len(names)}, {alt!r}"
        )
    frames = []
    for k in range(len(names)):
        draw(k)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
        code = base64.b64encode(data.getvalue()).decode()
        frames.append(f"data:image/png;base64,{code}")
    width = round(figure.get_figwidth() * dpi)
    plt.close(figure)
    content = "".join([*frames, *names, alt, label])
    html = PLAYER.substitute(
        id="anim" + hashlib.sha256(content.encode()).hexdigest()[:16],
        width=width,
        first=frames[0],
        rest=json.dumps(frames[1:]),
        last=len(names) - 1,
        names=json.dumps(names).replace("<", "\\u003c"),
        start=escape(names[0]),
        alt=escape(alt),
        label=escape(label),
        pause=pause,
    )
    if len(html) > 1e6:
        raise ValueError(
            f"animate: expected at most a megabyte, got {len(html):,} bytes"
        )
    page: Any = display.HTML  # without annotations
    return page(html)
