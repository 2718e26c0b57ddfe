"""Explorers: small things to move, in the page and in a notebook, offline.

Each is one hand-written file of JavaScript, with a picture that stands in its place where no
script runs. The arithmetic is that of `bnlib`, and a test compares the two in a browser.
"""

import base64
import difflib
import re
from pathlib import Path
from string import Template
from typing import Any

from bnlib.lab._checks import check_kind

__all__ = ["names", "show"]

FOLDER = Path(__file__).parent
PAGE = Template("""\
<div class="bnlib-explorer" data-explorer="$name">
<img alt="$alt" src="data:image/svg+xml;base64,$picture">
</div>
<script>
(() => {
$kit
$script
})();
</script>
""")


def names() -> list[str]:
    """Return the names of all explorers.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> "batch" in names()
    True
    """
    return sorted(path.stem for path in FOLDER.glob("*.js") if path.stem != "kit")


def small(script: str) -> str:
    """Return a script without its indentation and the lines that are comments."""
    return re.sub(r"^\s+|^// .*\n", "", script, flags=re.MULTILINE).rstrip()


def show(name: str) -> Any:
    """Show an explorer: controls to move, and a drawing that follows.

    Parameters
    ----------
    name : str
        One of `names`, such as "batch".

    Returns
    -------
    IPython.display.HTML
        Script, data and picture in one; it needs nothing from anywhere.

    Raises
    ------
    TypeError, ValueError
        If `name` is no string, or none of these.

    Examples
    --------
    >>> explorer = show("batch")
    >>> "A batch on a line" in explorer.data
    True
    """
    from IPython import display

    check_kind("show", "name", name, str)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1) or names()
        raise ValueError(f"show: no explorer {name!r}; did you mean {near[0]!r}?")
    kit, script = (
        (FOLDER / f"{part}.js").read_text(encoding="utf-8") for part in ("kit", name)
    )
    picture = (FOLDER / f"{name}.svg").read_bytes()
    alt = re.search(r'^  alt: "(.*)",$', script, re.M)
    assert alt, "each explorer says what it shows"
    return display.HTML(  # type: ignore[no-untyped-call]
        PAGE.substitute(
            name=name,
            alt=alt[1],
            picture=base64.b64encode(picture).decode(),
            kit=small(kit),
            script=small(script),
        )
    )
