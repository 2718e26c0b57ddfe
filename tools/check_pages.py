"""Read every built page, and report what a browser would not find or a reader should not see.

    python tools/check_pages.py _build/html

Reported are: links and anchors that lead nowhere, scripts, styles, fonts and pictures that come
from elsewhere, pictures without an alternative text, markup that was not understood, ids that stand
twice, paths of the machine that built the book, and a book that has become too large.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Comment, Tag

LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "source": "src",
    "iframe": "src",
}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "copyright"}
IN_STYLE = re.compile(r"""(?:url\(|@import\s+)\s*["']?([^"')\s;]+)""")
RAW = re.compile(
    r"\{(?:eq|numref|ref|doc|cite(?::\w+)?|func|class|meth|mod|py:\w+|prf:ref|glue(?::\w+)?|math)\}"
    r"|\{\{|:::|```|^\+\+\+|\bUnknown\b|\[\?\]|\?\?",
    re.MULTILINE,
)
PATH_AS_ALT = re.compile(r"^\S*/\S*$|\.(?:png|svg|jpe?g|gif)$")
LARGEST = 60_000_000  # bytes of all files together
VERBATIM = {"pre", "code", "script", "style", "math"}
THEIRS = {
    "exercise-content",
    "solution-content",
}  # sphinx-exercise's, which nothing refers to
MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|opt|usr|var|mnt|srv|work|workspace|Users|private)/[\w./-]*"
)


@cache
def read(path: Path) -> BeautifulSoup:
    """Return a parsed page."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def inside(page: BeautifulSoup, *names: str, **attributes: bool) -> list[Tag]:
    """Return the elements of a page's article: a selector would take ten times as long."""
    article = page.find("article")
    return article.find_all(names or True, **attributes) if article else []


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what a link into a page can point to."""
    page = read(path)
    named = page.find_all("a", attrs={"name": True})
    return frozenset(
        [tag["id"] for tag in page.find_all(id=True)] + [tag["name"] for tag in named]
    )


def elsewhere(url: str) -> bool:
    """Return whether a URL leads to another host."""
    return bool(urlsplit(url).netloc)


def check_links(page: BeautifulSoup, path: Path) -> list[str]:
    """Return the links within the book that lead nowhere."""
    faults = []
    for tag in page.find_all("a", href=True):
        url = urlsplit(tag["href"])
        if url.scheme or url.netloc:
            continue
        target = (path.parent / unquote(url.path)).resolve() if url.path else path
        if not target.is_file():
            faults.append(f"link to a missing file: {tag['href']}")
        elif target.suffix == ".html" and url.fragment not in anchors(target) | {""}:
            faults.append(f"link to a missing anchor: {tag['href']}")
    return faults


def check_loads(page: BeautifulSoup, path: Path) -> list[str]:
    """Return what the page loads from elsewhere, or what is missing beside it."""
    urls = [
        tag[attribute]
        for name, attribute in LOADS.items()
        for tag in page.find_all(name, attrs={attribute: True})
        if not NOT_LOADED.intersection(tag.get("rel") or [])
    ]
    for style in page.find_all("style"):
        urls += IN_STYLE.findall(style.text)
    for tag in page.find_all(style=True):
        urls += IN_STYLE.findall(tag["style"])
    faults = []
    for url in urls:
        if url.startswith(("data:", "#")):
            continue
        if elsewhere(url):
            faults.append(f"loaded from elsewhere: {url[:120]}")
        elif not (path.parent / unquote(urlsplit(url).path)).is_file():
            faults.append(f"missing: {url}")
    return faults


def check_pictures(page: BeautifulSoup) -> list[str]:
    """Return the pictures that say nothing to those who do not see them."""
    faults = []
    for picture in inside(page, "img", "object", "svg"):
        if picture.name == "svg" and picture.get("role") != "img":
            continue
        alt = (picture.get("alt") or picture.get("aria-label") or "").strip()
        if picture.name == "svg" and picture.find("title"):
            continue
        if not alt or PATH_AS_ALT.search(alt):
            faults.append(f"no alternative text: {str(picture)[:100]}")
    return faults


def check_text(page: BeautifulSoup, path: Path) -> list[str]:
    """Return markup that a reader sees raw, ids that stand twice, and paths of the machine."""
    faults = [
        f"path of a machine: {path}"
        for path in set(MACHINE.findall(path.read_text("utf-8")))
    ]
    ids = [tag["id"] for tag in inside(page, id=True) if tag["id"] not in THEIRS]
    faults += [
        f"id stands twice: {name}"
        for name in {name for name in ids if ids.count(name) > 1}
    ]
    for text in page.find_all(string=RAW):
        around = {
            name for tag in text.parents for name in (tag.name, *tag.get("class", ()))
        }
        if not around & VERBATIM and not isinstance(text, Comment):
            faults.append(f"raw markup: {' '.join(text.split())[:100]}")
    faults += [
        f"reference to a missing object: {code.text}"
        for code in inside(page, "code")
        if {"xref", "py"} <= {*code.get("class", ())} and not code.find_parent("a")
    ]
    faults += [
        f"error: {problem.text[:100]}"
        for problem in page.find_all(class_=["problematic", "system-message"])
    ]
    return faults


def check_style(path: Path) -> list[str]:
    """Return what a style sheet loads from elsewhere."""
    urls = IN_STYLE.findall(path.read_text(encoding="utf-8"))
    return [f"loaded from elsewhere: {url}" for url in urls if elsewhere(url)]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="the folder of the built pages")
    root = parser.parse_args().html.resolve()
    pages = [
        path
        for path in sorted(root.rglob("*.html"))
        if root / "_static" not in path.parents
    ]
    if not pages:
        sys.exit(f"no page in {root}")
    faults = {}
    for path in pages:
        page = read(path)
        faults[path] = [
            *check_links(page, path),
            *check_loads(page, path),
            *check_pictures(page),
            *check_text(page, path),
        ]
    faults |= {path: check_style(path) for path in sorted(root.rglob("*.css"))}
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    faults[root] = [f"{size:,} bytes"] if size > LARGEST else []
    for path, found in faults.items():
        for fault in dict.fromkeys(found):
            print(f"{path.relative_to(root)}: {fault}")
    broken = sum(map(bool, faults.values()))
    print(f"{len(pages)} pages of {size / 1e6:.0f} MB read, {broken} files with faults")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
