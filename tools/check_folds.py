"""Open the folded entries of the field guide in a real browser, as its readers do.

    python tools/check_folds.py _build/html

Reported are: an entry that a link of the index, an address, the contents, the keyboard, "Open all",
or a hit of the browser's or of the book's own search does not open or bring into view; one that
stands open unasked; one that a reload closes; what paper, or a reader without JavaScript, does not
show; a page that folded is wider than the phone, or has what axe-core finds serious or critical. On
all pages but the first, a link of the index, each address, and what needs no JavaScript are tried.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from bs4 import BeautifulSoup
from check_browser import (
    DESKTOP,
    FLAGS,
    PHONE,
    SIMPLIFY,
    TOO_WIDE,
    accessibility,
    find_chromium,
    show,
)
from playwright.sync_api import Browser, Error, Page, sync_playwright

SEEN = """() => [...document.querySelectorAll('.fold')]
  .filter(e => e.querySelector('.fold-body').offsetHeight > 40)
  .map(e => e.id)"""
SAID = "() => [...document.querySelectorAll('.fold:has([aria-expanded=true])')].map(e => e.id)"
TOP = "id => document.getElementById(id).getBoundingClientRect().top"
PARTS = "Symptom.", "Cause.", "Cure.", "The test."


class Entries:
    """The entries of a page, and what a browser shows of them."""

    def __init__(self, page: Page, path: Path) -> None:
        tree = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        symptoms = tree.select("h2 + p > strong:-soup-contains('Symptom.')")
        entries = [symptom.find_parent("section") for symptom in symptoms]
        self.page, self.path, self.url = page, path, path.resolve().as_uri()
        self.ids = [entry["id"] for entry in entries]
        self.labels = [entry.find("span", id=True)["id"] for entry in entries]

    def visit(self) -> None:
        """Open the page as if for the first time."""
        self.page.goto("about:blank")
        self.page.goto(self.url)

    def faults(self, how: str, *expected: str) -> Iterator[str]:
        """Yield what is open and should not be, or is not and should."""
        self.page.wait_for_timeout(50)
        seen = self.page.evaluate(SEEN)
        if seen != list(expected):
            yield f"{how}: open are {seen}, not {list(expected)}"
        if self.page.evaluate(SAID) != seen:
            yield f"{how}: the buttons say {self.page.evaluate(SAID)}, open are {seen}"

    def away(self, how: str, entry: str) -> Iterator[str]:
        """Yield that an entry is not at the top of the screen."""
        if not 0 <= self.page.evaluate(TOP, entry) < 200:
            yield f"{how}: {entry} is not at the top of the screen"


def by_link(page: Page, entries: Entries, index: Path) -> Iterator[str]:
    """Open entries by a link of the index, and by their addresses."""
    middle = len(entries.ids) // 2
    label, entry = entries.labels[middle], entries.ids[middle]
    page.goto(index.resolve().as_uri())
    page.locator(f"article a[href='{entries.path.name}#{label}']").first.click()
    page.wait_for_load_state()
    yield from entries.faults("a link of the index", entry)
    yield from entries.away("a link of the index", entry)
    for part in PARTS:
        if not page.locator(f"#{entry} >> text='{part}'").is_visible():
            yield f"a link of the index: {part} is not seen"
    entries.visit()
    yield from entries.faults("unasked")
    for label in entries.labels:
        page.evaluate("label => { location.hash = label; }", label)
    yield from entries.faults("each address", *entries.ids)
    yield from entries.away("an address", entries.ids[-1])


def by_click(page: Page, entries: Entries) -> Iterator[str]:
    """Open and close entries by what is on the page, mostly by the keyboard."""
    first, second, *_, last = entries.ids
    entries.visit()
    # Twice: the second time the address stays the same.
    for way in ("a link of the contents", "the same link"):
        page.locator(f".bd-sidebar-secondary a[href='#{last}']").click()
        yield from entries.faults(way, last)
        yield from entries.away(way, last)
        page.locator(f"#{last} .fold-button").click()
        yield from entries.faults("a click on the open heading")
    page.locator(f"#{first} .fold-button").focus()
    button = page.locator(f"#{second} .fold-button")
    for _ in range(9):
        page.keyboard.press("Tab")
        if button.evaluate("e => e === document.activeElement"):
            break
    else:
        yield "the tabulator does not reach the second entry"
    if button.evaluate("e => getComputedStyle(e).outlineStyle") == "none":
        yield "the focus is not seen"
    for key, expected in (("Enter", [second]), ("Space", []), ("Space", [second])):
        page.keyboard.press(key)
        yield from entries.faults(key, *expected)
    page.locator(".fold-all").focus()
    page.keyboard.press("Enter")
    yield from entries.faults("Open all", *entries.ids)
    for _ in range(2):
        page.reload()
    yield from entries.faults("a reload", *entries.ids)
    page.locator(".fold-all").focus()
    page.keyboard.press("Enter")
    yield from entries.faults("Close all")


def by_search(page: Page, entries: Entries, search: Path) -> Iterator[str]:
    """Open an entry by words of it."""
    second = entries.ids[1]
    cure = page.locator(f"#{second} p:has(strong:text('Cure.'))").text_content() or ""
    words = quote(" ".join(cure.split()[1:7]))
    # A fragment of text needs no window with a field for it.
    page.goto("about:blank")
    page.goto(f"{entries.url}#:~:text={words}")
    yield from entries.faults("the browser's search", second)
    page.goto(f"{search.resolve().as_uri()}?q={words}")
    page.locator(f".search a[href*='{entries.path.name}']").first.click()
    page.wait_for_load_state()
    yield from entries.faults("the book's search", second)
    yield from entries.away("the book's search", second)
    entries.visit()
    yield from entries.faults("after a search")


def as_it_looks(page: Page, entries: Entries) -> Iterator[str]:
    """Print a page, and look at it folded."""
    page.emulate_media(media="print")
    if page.evaluate(SEEN) != entries.ids:
        yield f"on paper: only {page.evaluate(SEEN)}"
    page.emulate_media(media="screen")
    yield from entries.faults("after printing")
    page.evaluate(SIMPLIFY)
    for width, theme in ((PHONE, "dark"), (DESKTOP, "light")):
        show(page, width, theme)
        yield from (f"{width} px: {fault}" for fault in page.evaluate(TOO_WIDE))
        found = accessibility(page, ".bd-article")
        yield from (f"{width} px, {theme}: {fault}" for fault in found)


def without_script(browser: Browser, entries: Entries) -> Iterator[str]:
    """Look at a page whose script does not run."""
    page = browser.new_page(java_script_enabled=False)
    page.goto(entries.url)
    for entry in entries.ids:
        for part in PARTS:
            if not page.locator(f"#{entry} >> text='{part}'").is_visible():
                yield f"without JavaScript: {entry}: {part} is not seen"
    if page.locator(".fold-button, .fold-all").count():
        yield "without JavaScript: buttons that do nothing"
    page.close()


def check(browser: Browser, path: Path, first: bool) -> Iterator[str]:
    """Yield what is wrong on a page."""
    size = {"width": DESKTOP, "height": 900}
    page = browser.new_page(reduced_motion="reduce", viewport=size)
    # Formulas take seconds, and check_browser.py reads them.
    page.route("**/tex-svg.js", lambda route: route.abort())
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"error: {error}"))
    entries = Entries(page, path)
    try:
        yield from by_link(page, entries, path.with_name("field-guide.html"))
        if first:
            yield from by_click(page, entries)
            yield from by_search(page, entries, path.parents[2] / "search.html")
            yield from as_it_looks(page, entries)
        yield from without_script(browser, entries)
    except Error as error:  # it waited in vain
        yield str(error)
    # The book's search cannot read pages from the file system, to show what is around a hit.
    yield from (error for error in errors if "Failed to fetch" not in error)
    page.close()


def main(argv: list[str]) -> None:
    """Run the command line."""
    if len(argv) != 1:
        sys.exit(__doc__)
    paths = sorted(Path(argv[0]).glob("book/6-practice/field-guide-*.html"))
    if not paths:
        sys.exit(f"no field guide in {argv[0]}")
    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=FLAGS
        )
        for path in paths:
            for fault in check(browser, path, path == paths[0]):
                count += 1
                print(f"{path.name}: {fault}", flush=True)
        browser.close()
    print(f"the entries of {len(paths)} pages opened, {count} faults")
    sys.exit(count > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
