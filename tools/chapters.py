"""A Sphinx extension: each name on the API page leads to the chapter that builds it.

Where a docstring says so in words, ``Derived in the chapter "Forward"``, the name of the chapter
becomes a link. What a chapter's cells show, by their tags, without such words gets a line of its
own. So the page is complete as long as the cells are, and docstrings read well in a terminal.
"""

import functools
import json
import re

from book_code import ROOT, notebooks, tagged

BOOK = ROOT / "book"
SAID = re.compile(
    r'((?:Derived|Built)\s+in\s+the\s+chapters?)((?:(?:\s+and)?\s+"[^"]+")+)'
)


def page(title):
    """Return the page of a chapter that is named by its short title."""
    stem = re.sub(r"\s+", "-", title.removeprefix("The ")).lower()
    (path,) = BOOK.glob(f"*/{stem}.ipynb")
    return path.relative_to(ROOT).with_suffix("").as_posix()


@functools.cache
def built():
    """Return the page that shows the code of each name, such as ``moments.center``."""
    return {
        name: path.relative_to(ROOT).with_suffix("").as_posix()
        for path in notebooks()
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for name in tagged(cell)
    }


def linked(text):
    """Return a docstring whose chapters are links."""

    def links(match):
        return match[1] + re.sub(
            r'"([^"]+)"',
            lambda name: f":doc:`{' '.join(name[1].split())} </{page(name[1])}>`",
            match[2],
        )

    return SAID.sub(links, text)


def setup(app):
    """Change docstrings when Sphinx, and napoleon, are done with them."""
    pages = built()

    def add_link(app, what, name, obj, options, lines):
        text = "\n".join(lines)
        module = str(getattr(obj, "__module__", "")).removeprefix("bnlib.")
        place = pages.get(f"{module}.{getattr(obj, '__qualname__', '')}")
        new = linked(text)
        if place and f"/{place}>" not in new:
            new = f"{new.rstrip()}\n\nBuilt in the chapter :doc:`/{place}`.\n"
        lines[:] = new.split("\n")

    app.connect("autodoc-process-docstring", add_link, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
