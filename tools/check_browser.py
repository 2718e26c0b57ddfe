"""Open every built page in a real browser, and report what is broken for a reader.

    python tools/check_browser.py _build/html
    python tools/check_browser.py _build/html --only forward --shots DIR

Each page is opened from the file system, as a reader offline does, and looked at on a desktop and
on a phone, in the light and in the dark theme, with all that can be unfolded unfolded. Reported
are: errors on the console, requests that fail or leave the machine, formulas that MathJax cannot
read, a page wider than the phone, and what axe-core finds serious or critical. Several browsers
share the pages, the largest first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = 1280, 390
STATES = ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "dark"), (PHONE, "light"))
AXE_STATES = ((PHONE, "light"), (DESKTOP, "dark"))
LARGE = 5000  # elements: axe-core reads such a page's structure once, on the phone
# What the theme itself does, by rule and by the start of the element concerned.
THEIRS = {
    # The bibliography is a list of entries that have a role of their own.
    "aria-required-children": ('<div role="list" class="citation-list">',),
}

UNFOLD = """() => {
  document.querySelectorAll('details').forEach(e => e.open = true);
  document.querySelector('.fold-all')?.click();
  document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
}"""
MATH = """async () => {
  const formulas = [...document.querySelectorAll('.math')];
  if (formulas.length && !window.MathJax) return ['MathJax is not there'];
  if (window.MathJax) await MathJax.startup.promise;
  const error = 'mjx-merror, [data-mml-node=merror], [data-mml-node=mtext][fill=red]';
  const read = e => e.querySelector('mjx-container') && !e.querySelector(error);
  const source = e => [...MathJax.startup.document.math]
    .filter(m => e.contains(m.typesetRoot)).map(m => m.math).join() || e.textContent;
  return formulas.filter(e => !read(e)).map(source);
}"""
# No sliding, no fading: a page has its new size at once, as it has when it is opened.
STILL = (
    "*, ::before, ::after { transition: none !important; animation: none !important }"
)
# The theme lets the keyboard into what scrolls a while after a change.
SETTLED = """() => {
  const boxes = 'pre, .cell_output > .output, .pst-scrollable-table-container';
  const scrolls = e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight;
  return [...document.querySelectorAll(boxes)].every(e => e.tabIndex === (scrolls(e) ? 0 : -1));
}"""
# axe-core visits every element: the thousands of strokes and words of formulas and code, which are
# MathJax's and the theme's, would take minutes.
SIMPLIFY = """() => {
  document.querySelectorAll('mjx-container > svg').forEach(e => e.replaceChildren());
  document.querySelectorAll('mjx-assistive-mml').forEach(e => e.remove());
  for (const e of document.querySelectorAll('.highlight pre:not(:has(a))'))
    e.textContent = e.textContent;
}"""
# Contrast is that of a kind of element: of tag, attributes, classes and style, its own and those of
# all around it, with text or without, in odd rows or in even ones. One of each kind stays.
THIN = """() => {
  const numbers = new Map(), kinds = new Map(), seen = new Set();
  for (const e of document.body.querySelectorAll('*')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const even = e.tagName === 'TR' && e.rowIndex % 2;
    const own = [e.tagName, e.getAttribute('class'), e.getAttribute('style'), text, even];
    const name = [kinds.get(e.parentElement), own, e.getAttributeNames()].join('|');
    if (!numbers.has(name)) numbers.set(name, numbers.size);
    kinds.set(e, numbers.get(name));
  }
  const known = e => seen.has(kinds.get(e)) && [...e.children].every(known);
  const visit = e => {
    if (known(e)) return e.remove();
    seen.add(kinds.get(e));
    [...e.children].forEach(visit);
  };
  [...document.body.children].forEach(visit);
}"""
TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const visible = e => getComputedStyle(e).overflowX === 'visible';
  const within = e => !e || e === document.body || (visible(e) && within(e.parentElement));
  return [...document.querySelectorAll('main *')]
    .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1 && within(e))
    .slice(-1)
    .map(e => `wider than the screen: ${e.outerHTML.slice(0, 120)}`)
    .concat('the page scrolls sideways');
}"""


def show(page: Page, width: int, theme: str) -> None:
    """Give the page a width and a theme."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(
        "([w, t]) => innerWidth === w && document.documentElement.dataset.theme === t",
        arg=[width, theme],
    )


def accessibility(page: Page, part: str | None = None, **options: object) -> list[str]:
    """Return what axe-core finds serious or critical, the theme's own business aside."""
    with contextlib.suppress(TimeoutError):  # axe-core says what it is that does not
        page.wait_for_function(SETTLED, timeout=5000)
    found = []
    options |= {"preload": False, "resultTypes": ["violations"]}
    for violation in (
        Axe().run(page, context=part, options=options).response["violations"]
    ):
        if violation["impact"] not in ("serious", "critical"):
            continue
        for node in violation["nodes"]:
            if not node["html"].startswith(THEIRS.get(violation["id"], ())):
                found.append(f"{violation['id']}: {node['html'][:160]}")
    return found


def check(page: Page, path: Path, name: str, shots: Path | None) -> list[str]:
    """Return the faults of one page."""
    faults: list[str] = []
    hear = {
        "console": lambda m: m.type == "error" and faults.append(f"console: {m.text}"),
        "pageerror": lambda error: faults.append(f"error: {error}"),
        "requestfailed": lambda request: faults.append(
            f"request failed: {request.url}"
        ),
        "request": lambda request: (
            request.url.startswith(("file:", "data:", "blob:"))
            or faults.append(f"request to elsewhere: {request.url}")
        ),
    }
    for event, handler in hear.items():
        page.on(event, handler)
    page.goto(path.resolve().as_uri())
    faults += [f"formula: {formula}" for formula in page.evaluate(MATH)]
    page.add_style_tag(content=STILL)
    page.evaluate(UNFOLD)
    for width, theme in STATES:
        show(page, width, theme)
        faults += [f"{width} px: {fault}" for fault in page.evaluate(TOO_WIDE)]
        if shots:
            stem = name.removesuffix(".html").replace("/", "-")
            page.screenshot(path=shots / f"{stem}-{width}-{theme}.png", full_page=True)
    page.evaluate(SIMPLIFY)
    large = page.evaluate("document.querySelectorAll('*').length") > LARGE
    for width, theme in AXE_STATES[: 1 if large else None]:
        show(page, width, theme)
        found = accessibility(page, rules={"color-contrast": {"enabled": False}})
        faults += [f"{width} px: {fault}" for fault in found]
    page.evaluate(THIN)
    for width, theme in AXE_STATES[:: 1 if large else -1]:
        show(page, width, theme)
        found = accessibility(page, runOnly=["color-contrast"])
        faults += [f"{width} px, {theme}: {fault}" for fault in found]
    for event, handler in hear.items():
        page.remove_listener(event, handler)
    return faults


def find_chromium() -> str:
    """Return the path of the browser, or stop and say how to get it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    return path or sys.exit("Chromium is needed; on Debian: apt-get install chromium")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="the folder of the built pages")
    parser.add_argument(
        "--only", default="", help="only pages whose path contains this"
    )
    parser.add_argument("--shots", type=Path, help="save screenshots in this folder")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="browsers at once"
    )
    args = parser.parse_args()
    chromium = find_chromium()
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    names = sorted(
        str(path.relative_to(args.html)) for path in args.html.rglob("*.html")
    )
    skip = ("_static/", "index.html")  # no pages; a redirection to the first one
    names = [name for name in names if args.only in name and not name.startswith(skip)]
    if not names:
        sys.exit(f"no page in {args.html}")
    names.sort(key=lambda name: -(args.html / name).stat().st_size)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    broken, opened, printing = [], [], threading.Lock()

    def look() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": DESKTOP, "height": 900})
            while True:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    break
                faults = check(page, args.html / name, name, args.shots)
                with printing:
                    opened.append(name)
                    broken.extend([name] if faults else [])
                    for fault in dict.fromkeys(faults):
                        print(f"{name}: {fault}", flush=True)
            browser.close()

    with ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(look) for _ in range(args.jobs)]:
            done.result()  # raises what it raised
    print(f"{len(opened)} pages opened in a browser, {len(broken)} with faults")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
