"""Draw the pictures of the explorers that stand where no script runs.

    python tools/explorer_pictures.py          # all
    python tools/explorer_pictures.py batch    # some

Each explorer is opened in a browser, as it starts or as its `still` says, and its drawing is
written beside its script as an SVG file, in the colours of the light theme. A test holds the
pictures to the scripts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from check_browser import FLAGS, find_chromium
from playwright.sync_api import Page, sync_playwright

from bnlib.lab import explorers

DRAWN = """() => {
  const host = document.querySelector('.bnlib-explorer'), root = host.shadowRoot;
  if (host.explorer.it.still) host.explorer.set(host.explorer.it.still);
  return [root.querySelector('svg').outerHTML, root.querySelector('.note').textContent];
}"""
STYLE = "text{font:13px system-ui,sans-serif;fill:#222}"


def page_of(name: str) -> str:
    """Return a page with one explorer, without its picture, and as wide as a chapter's text."""
    kit, script = (
        (explorers.FOLDER / f"{part}.js").read_text("utf-8") for part in ("kit", name)
    )
    return (
        '<!doctype html><html data-theme="light"><body style="width: 704px; margin: 0">'
        f'<div class="bnlib-explorer" data-explorer="{name}"></div>'
        f"<script>(() => {{{kit}\n{script}}})();</script>"
    )


def picture(page: Page, name: str) -> str:
    """Return an explorer's drawing, as it stands still, as an SVG file."""
    page.set_content(page_of(name))
    page.wait_for_selector(".bnlib-explorer[data-live]", timeout=5000)
    page.wait_for_timeout(100)
    drawing, _ = page.evaluate(DRAWN)
    kit = (explorers.FOLDER / "kit.js").read_text("utf-8")
    light = kit.partition(":host {")[2].partition("}")[0]
    colors = dict(re.findall(r"--(\w+): (#\w+);", light))
    drawing = re.sub(r"var\(--(\w+)\)", lambda m: colors[m[1]], drawing)
    for name_ in ("role", "tabindex", r"aria-\w+"):
        drawing = re.sub(rf' {name_}="[^"]*"', "", drawing)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing).groups()
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    )
    drawing = drawing.replace("<svg ", start, 1)
    ground = f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    drawing = drawing.replace(">", f">{ground}", 1)
    return re.sub(r"(<(?!/))", r"\n\1", drawing).strip() + "\n"


def pictures(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Iterate over explorers and their drawings."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=FLAGS
        )
        page = browser.new_page(viewport={"width": 800, "height": 900})
        for name in names:
            yield name, picture(page, name)
        browser.close()


def main(names: list[str]) -> None:
    """Write the pictures."""
    for name, drawing in pictures(names or explorers.names()):
        (explorers.FOLDER / f"{name}.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
