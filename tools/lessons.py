"""A Sphinx extension: the teacher's slides and figures, made of the book's own.

``book/teaching/NAME.md`` is a lesson: slides in Markdown, between lines of three dashes. A picture
whose address is a figure's name is that figure; ``{explorer} NAME`` on a line of its own is an
explorer; what follows ``Note:`` is for the teacher, and N shows it. Beside the pages the build gets
``teaching/NAME.html``, which needs no network, ``teaching/figures.zip`` with all figures, and
``teaching/homework.ipynb``, the exercises of `HOMEWORK` with a cell for each answer.
"""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
from html import escape
from pathlib import Path
from typing import NamedTuple

import nbformat
import reader
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pybtex.database import parse_file

HOMEWORK = (
    "ex-forward-four",
    "ex-forward-blocks",
    "ex-backward-four",
    "ex-backward-rms",
    "ex-running-four",
    "ex-running-recompute",
    "ex-network-logits",
)
HOMEWORK_HEAD = """\
# Homework: Batch Normalization

Write your answer into the cell below each exercise, and run it. The last line of a cell checks the
answer: take away the `#` in front of it. `exercises.hint("ex-…")` helps, in three steps.

Needs `pip install "bnlib[lab]"`. Hand in this notebook; it is run afresh."""
BOOK = Path(__file__).resolve().parents[1] / "book"
FIGURE = re.compile(r"!\[\]\(([\w-]+)\)")
EXPLORER = re.compile(r"^\{explorer\} (\w+)$", re.M)
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}
</style>
<script>
window.MathJax = {{ options: {{ processHtmlClass: "math", ignoreHtmlClass: "slide" }} }};
</script>
<script defer src="../_static/tex-svg.js"></script>
</head>
<body>
<main>
{slides}
</main>
<footer>
<button type="button" data-move="-1" aria-label="Previous slide">←</button>
<span role="status" id="place"></span>
<button type="button" data-move="1" aria-label="Next slide">→</button>
<span class="keys">arrow keys · N: notes ·
  <a href="../book/appendix/teaching.html">the book</a></span>
</footer>
<script>
{js}
</script>
</body>
</html>
"""


class Figure(NamedTuple):
    """A figure of the book."""

    chapter: str
    caption: str
    alt: str
    png: bytes


def figures() -> dict[str, Figure]:
    """Return all figures of the book by name, as the notebooks hold them."""
    found = {}
    for path in sorted(BOOK.rglob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            meta = cell.metadata.get("mystnb", {})
            if "figure" not in meta:
                continue
            pictures = [
                output.data["image/png"]
                for output in cell.outputs
                if "image/png" in output.get("data", {})
            ]
            if pictures:
                found[meta["figure"]["name"]] = Figure(
                    path.relative_to(BOOK).with_suffix("").as_posix(),
                    meta["figure"]["caption"],
                    meta["image"]["alt"],
                    base64.b64decode(pictures[0]),
                )
    return found


def archive(found: dict[str, Figure]) -> bytes:
    """Return a zip file of all figures, with a list of what they show; same figures, same bytes."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file", "chapter", "caption", "what is seen"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as folder:  # PNG is compressed
        for name, figure in found.items():
            file = f"{figure.chapter}/{name}.png"
            writer.writerow([file, figure.chapter, figure.caption, figure.alt])
            folder.writestr(zipfile.ZipInfo(file), figure.png)
        folder.writestr(zipfile.ZipInfo("figures.csv"), table.getvalue())
    return out.getvalue()


def slides(text: str, found: dict[str, Figure]) -> str:
    """Return a lesson as a page."""
    from bnlib.lab import explorers

    def picture(match: re.Match[str]) -> str:
        figure = found[match[1]]
        source = base64.b64encode(figure.png).decode()
        return (
            f'<figure><img alt="{escape(figure.alt)}" src="data:image/png;base64,{source}">'
            f'<figcaption>From <a href="../book/{figure.chapter}.html#{match[1]}">'
            f"{figure.chapter.partition('/')[2].replace('-', ' ')}</a></figcaption></figure>"
        )

    def explorer(match: re.Match[str]) -> str:
        html: str = explorers.show(match[1]).data
        return re.sub(r"\n\s*\n", "\n", html)  # a blank line would end HTML in Markdown

    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    dollarmath_plugin(markdown, renderer=formula)
    parts = []
    for slide in re.split(r"^---$", text, flags=re.M):
        shown, _, note = slide.partition("\nNote:")
        html = markdown.render(FIGURE.sub(picture, EXPLORER.sub(explorer, shown)))
        if note:
            html += f'<aside class="note">{markdown.render(note)}</aside>'
        parts.append(f'<section class="slide">\n{html}</section>')
    title = re.search(r"^# (.*)$", text, re.M)
    assert title, "a lesson begins with its title"
    css, js = (
        (BOOK / "teaching" / f"slides.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    return PAGE.format(title=title[1], css=css, js=js, slides="\n".join(parts))


def formula(content: str, options: dict[str, bool]) -> str:
    r"""Return what MathJax reads: \( … \) in a line, \[ … \] on its own."""
    left, right = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return f"{left}{escape(content)}{right}"


class Alone(reader.Reader):
    """Turns exercises into plain Markdown that stands alone: what they refer to is named."""

    def link(self, target: reader.Target, text: str) -> str:
        """Return the text of a link, with its chapter if that is another."""
        if target.page == self.page or text == self.targets[f"/{target.page}"].text:
            return f"*{text}*"
        return f"{text} of *{self.targets[f'/{target.page}'].text}*"


def homework() -> NotebookNode:
    """Return the starter notebook."""
    from bnlib.lab import exercises

    targets = reader.find_targets()
    bib = parse_file(str(BOOK / "references.bib")).entries
    cells = [nbformat.v4.new_markdown_cell(HOMEWORK_HEAD, id="head")]
    for label in HOMEWORK:
        page = targets[label].page
        match = next(
            match
            for text in reader.sources(page)[0]
            for match in reader.EXERCISE.finditer(text)
            if match[2] == label
        )
        text = Alone(page, targets, bib, "none").plain(match[0])
        answer = reader.answer_cell(label, match[3])
        given = ", ".join(sorted({*vars(exercises.setup(label))} - {"np", "rng"}))
        if given:
            start = f'given = exercises.setup("{label}")  # {given}\n# your answer'
            answer.source = answer.source.replace("# your answer", start)
        cells += [nbformat.v4.new_markdown_cell(text, id=label), answer]
    return nbformat.v4.new_notebook(cells=cells, metadata=reader.METADATA)


def write(folder: Path) -> None:
    """Write all lessons, the archive of figures and the homework into a folder."""
    found = figures()
    folder.mkdir(parents=True, exist_ok=True)
    starter = nbformat.writes(homework()) + "\n"
    (folder / "homework.ipynb").write_text(starter, encoding="utf-8")
    (folder / "figures.zip").write_bytes(archive(found))
    for path in sorted((BOOK / "teaching").glob("*.md")):
        page = slides(path.read_text("utf-8"), found)
        (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")


def finish(app, error):
    """Write beside the pages, once they are built."""
    if error is None and app.builder.format == "html":
        write(Path(app.outdir) / "teaching")


def setup(app):
    """Register the extension."""
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
