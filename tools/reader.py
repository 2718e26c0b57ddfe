"""Write the notebooks as readers want them outside the book: in JupyterLab, or in any viewer.

    python tools/reader.py FOLDER [--solutions=folded | none | open]

The book's notebooks are written for its pages: references, citations, exercises and captions are
MyST, which a plain viewer does not know. Here each becomes plain Markdown, with the numbers that it
has on the page; what the page hides is collapsed, and each solution is folded. Code and outputs
stay as they are. ``make lab`` opens these notebooks, and the pages offer them for download. A
notebook in the folder whose text or code somebody has changed is kept.

A class gets the notebooks with no solutions, and a cell for the answer under each exercise (``make
exercises``); its teacher gets them with the solutions open (``make solutions``).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import quizzes
import yaml
from nbformat import NotebookNode
from pybtex.database import Entry, parse_file

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
ROLE = re.compile(r"\{(doc|ref|eq|numref|cite|cite:t|cite:p|download)\}`([^`]+)`")
CHECK = re.compile(r"^Check: `(exercises\.check\(.*\))`$", re.M)
EXERCISE = re.compile(r"^```\{exercise\}(.*)\n:label: (\S+)\n((?:.*\n)*?)^```$", re.M)
SOLUTION = re.compile(r"^```\{solution-(start|end)\}.*\n(?::.*\n)*```$", re.M)
LABEL = re.compile(r"^\(([\w-]+)\)=\n(?:\([\w-]+\)=\n)*(#+ .*)?", re.M)
EQUATION = re.compile(r"^\$\$ \(([\w-]+)\)$", re.M)
TABLE = re.compile(r"^:::\{list-table\}\n(?::.*\n)*\n((?:.*\n)*?):::$", re.M)
QUIZ = re.compile(r"^```\{(quiz|predict)\} (\S+)\n```$", re.M)
CLAIM = re.compile(r":::\{admonition\} (.*)\n:class: .*\n:name: .*\n\n((?:.*\n)*?):::")


class Target(NamedTuple):
    """What a reference leads to: its page, the text of a link, and the heading there."""

    page: str
    text: str
    heading: str = ""


def chapters() -> Iterator[tuple[str, int]]:
    """Iterate over the pages, in order, each with its number; 0 where it has none."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    yield toc["root"], 0
    number = 0
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            number += bool(part.get("numbered"))
            yield chapter["file"], number if part.get("numbered") else 0


def sources(page: str) -> tuple[list[str], list[NotebookNode]]:
    """Return a page's texts, and its cells if it is a notebook."""
    path = ROOT / f"{page}.ipynb"
    if path.exists():
        cells = nbformat.read(path, as_version=4).cells
        return [c.source for c in cells if c.cell_type == "markdown"], cells
    return [(ROOT / f"{page}.md").read_text(encoding="utf-8")], []


def find_targets() -> dict[str, Target]:
    """Return all that references may name, with the numbers of the pages."""
    targets: dict[str, Target] = {}
    for page, number in chapters():
        texts, cells = sources(page)
        title = re.search(r"^# (.*)$", texts[0], re.M)
        targets[f"/{page}"] = Target(page, title[1] if title else page)
        count: Counter[str] = Counter()

        def numbered(
            kind: str, label: str, number: int = number, count: Counter[str] = count
        ) -> str:
            count[kind] += 1
            return f"{number}.{count[kind]}" if number else label

        for text in texts:
            for label, heading in LABEL.findall(text):
                name = heading.lstrip("# ")
                targets[label] = Target(page, name or label, name)
            for label in EQUATION.findall(text):
                targets[label] = Target(page, f"({numbered('equation', label)})")
            for _, label, _ in EXERCISE.findall(text):
                targets[label] = Target(page, f"Exercise {numbered('exercise', label)}")
        for cell in cells:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            if "name" in figure:
                number_ = numbered("figure", figure["name"])
                targets[figure["name"]] = Target(page, f"Fig. {number_}")
            for output in cell.get("outputs", []):
                for label in re.findall(
                    r"^:name: (\S+)$",
                    output.get("data", {}).get("text/markdown", ""),
                    re.M,
                ):
                    targets[label] = Target(page, label)
    return targets


def cited(entry: Entry, textual: bool) -> str:
    """Return author and year of a paper, with a link where there is one."""
    names = [" ".join(p.prelast_names + p.last_names) for p in entry.persons["author"]]
    names = [name.replace("{", "").replace("}", "") for name in names]
    who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    fields = entry.fields
    link = fields.get("url") or (
        f"https://arxiv.org/abs/{fields['eprint']}"
        if "eprint" in fields
        else f"https://doi.org/{fields['doi']}"
        if "doi" in fields
        else ""
    )
    text = f"{who} ({fields['year']})" if textual else f"{who}, {fields['year']}"
    return f"[{text}]({link})" if link else text


class Reader:
    """Turns the Markdown of one page into that of any viewer."""

    def __init__(
        self,
        page: str,
        targets: dict[str, Target],
        bib: dict[str, Entry],
        solutions: str = "folded",
    ):
        self.page, self.targets, self.bib = page, targets, bib
        self.solutions = solutions
        self.folder = Path(page).parent
        self.in_solution = False

    def link(self, target: Target, text: str) -> str:
        """Return a link to a target on this page or another."""
        anchor = f"#{target.heading.replace(' ', '-')}" if target.heading else ""
        if target.page == self.page:
            return f"[{text}]({anchor})" if anchor else text
        suffix = ".ipynb" if (ROOT / f"{target.page}.ipynb").exists() else ".md"
        path = os.path.relpath(f"{target.page}{suffix}", self.folder)
        return f"[{text}]({Path(path).as_posix()}{anchor})"

    def role(self, match: re.Match[str]) -> str:
        """Return what stands for one role."""
        kind, content = match.groups()
        if kind.startswith("cite"):
            keys = re.split(r",\s*", content)
            texts = [cited(self.bib[key], kind == "cite:t") for key in keys]
            return " and ".join(texts) if kind == "cite:t" else f"({'; '.join(texts)})"
        explicit = re.fullmatch(r"(.*?)\s*<(.*)>", content, re.S)
        text, name = explicit.groups() if explicit else ("", content)
        if kind == "download":
            return f"`{text}`"
        if kind == "doc":
            path = (
                name if name.startswith("/") else os.path.normpath(self.folder / name)
            )
            name = f"/{Path(path).as_posix().lstrip('/')}"
        target = self.targets[name]
        return self.link(target, text or target.text)

    def plain(self, text: str) -> str:
        """Return text without MyST."""
        opened = self.solutions == "open"
        text = QUIZ.sub(lambda m: quizzes.markdown(m[1], m[2], opened), text)
        text = EXERCISE.sub(self.exercise, text)
        text = LABEL.sub(lambda m: m[2] or "", text)
        text = EQUATION.sub(
            lambda m: f"\\tag{{{self.targets[m[1]].text[1:-1]}}} $$", text
        )
        text = TABLE.sub(lambda m: table(m[1]), text)
        text = CLAIM.sub(lambda m: quoted(f"**{m[1]}**\n\n{m[2].strip()}"), text)
        return ROLE.sub(self.role, text)

    def exercise(self, match: re.Match[str]) -> str:
        """Return an exercise as a quotation with a title."""
        name, label, body = match.groups()
        title = self.targets[label].text
        return quoted(f"**{title}** ({name.strip()})\n\n{body.strip()}")

    def text(self, text: str) -> str:
        """Return a text with its solutions; a solution may go on in later cells."""
        parts, at, opens = [], 0, False
        for marker in [*SOLUTION.finditer(text), None]:
            part = self.plain(text[at : marker.start() if marker else None]).strip()
            parts.append(self.solution(part, opens) if self.in_solution else part)
            if marker:
                opens = self.in_solution = marker[1] == "start"
                at = marker.end()
        return "\n\n".join(part for part in parts if part)

    def solution(self, part: str, opens: bool) -> str:
        """Return a part of a solution, its first or a later one, as the reader gets it."""
        if self.solutions == "none":
            return ""
        if self.solutions == "open":
            return f"**Solution**\n\n{part}".strip() if opens else part
        folded = f"<details><summary>Solution</summary>\n\n{part}\n\n</details>"
        return folded if part else ""

    def text_cells(self, cell: NotebookNode) -> Iterator[NotebookNode]:
        """Iterate over what a cell of text becomes."""
        source, at = cell.source, 0
        exercises = [*EXERCISE.finditer(source)] if self.solutions == "none" else []
        for exercise in [*exercises, None]:
            end = exercise.end() if exercise else len(source)
            if text := self.text(source[at:end]):
                id = f"{cell.id}-{at}" if at else cell.id
                yield nbformat.v4.new_markdown_cell(text, id=id)
            if exercise:
                yield answer_cell(exercise[2], exercise[3])
            at = end

    def cells(self, cells: list[NotebookNode]) -> Iterator[NotebookNode]:
        """Iterate over the cells as a reader gets them."""
        for cell in cells:
            if cell.cell_type == "markdown":
                yield from self.text_cells(cell)
                continue
            if self.in_solution and self.solutions == "none":
                continue
            folded = self.in_solution and self.solutions == "folded"
            if folded or HIDDEN & {*cell.metadata.get("tags", [])}:
                cell.metadata["jupyter"] = {"source_hidden": True}
            if folded:
                cell.metadata["jupyter"]["outputs_hidden"] = True
            for output in cell.outputs:
                data = output.get("data", {})
                if "text/markdown" in data:
                    data["text/markdown"] = self.plain(data["text/markdown"])
            mystnb = cell.metadata.pop("mystnb", {})
            yield cell
            if caption := mystnb.get("figure", {}).get("caption"):
                name = self.targets[mystnb["figure"]["name"]].text
                text = f"*{name}.* {self.plain(caption)}"
                yield nbformat.v4.new_markdown_cell(text, id=f"{cell.id}-caption")


def answer_cell(label: str, exercise: str) -> NotebookNode:
    """Return an empty cell for the answer to an exercise."""
    source, check = "# your answer", CHECK.search(exercise)
    if check:
        source = f"from bnlib.lab import exercises\n\n{source}\n\n# {check[1]}"
    return nbformat.v4.new_code_cell(source, id=f"answer-{label}")


def quoted(text: str) -> str:
    """Return a text as a quotation."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def table(rows: str) -> str:
    """Return the table of a list-table's rows."""
    cells = [row.split("\n  - ") for row in re.split(r"^\* - ", rows, flags=re.M)[1:]]
    head, *lines = [f"| {' | '.join(c.strip() for c in row)} |" for row in cells]
    return "\n".join([head, "|" + "---|" * len(cells[0]), *lines])


def mark(notebook: NotebookNode) -> str:
    """Return what changes with a notebook's text or code."""
    text = "\0".join(cell.source for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()


def is_changed(path: Path) -> bool:
    """Whether somebody has changed a notebook that was written here."""
    if not path.exists():
        return False
    old = nbformat.read(path, as_version=4)
    return old.metadata.get("bnlib", mark(old)) != mark(old)


# What a kernel tells of itself. JupyterLab enters it, and a notebook without it counts as changed.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    },
}


def main(argv: list[str] | None = None) -> None:
    """Write all notebooks into a folder."""
    parser = argparse.ArgumentParser(description="Write the notebooks for readers.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--solutions", choices=("folded", "none", "open"), default="folded"
    )
    args = parser.parse_args(argv)
    folder, targets = args.folder, find_targets()
    bib = parse_file(str(ROOT / "book" / "references.bib")).entries
    for page, _ in chapters():
        path = ROOT / f"{page}.ipynb"
        if not path.exists():
            continue
        new = folder / path.relative_to(ROOT / "book")
        if is_changed(new):
            print(
                f"{new} was changed, and is kept; without it you get the book's again"
            )
            continue
        notebook = nbformat.read(path, as_version=4)
        reader = Reader(page, targets, bib, args.solutions)
        notebook.cells = list(reader.cells(notebook.cells))
        notebook.metadata = nbformat.from_dict({**METADATA, "bnlib": mark(notebook)})
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
