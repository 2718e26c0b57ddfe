"""Open every built page in a real browser, and report what is broken for a reader.

    python tools/check_browser.py _build/html
    python tools/check_browser.py _build/html --only forward --shots DIR

Each page is opened from the file system, as a reader offline does, and looked at on a desktop and
on a phone, in the light and in the dark theme, with all that can be unfolded unfolded. Reported
are: errors on the console, requests that fail or leave the machine, formulas that MathJax cannot
read, a page wider than the phone, and what axe-core finds serious or critical.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

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
STATES = ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark"))
AXE_STATES = ((PHONE, "light"), (DESKTOP, "dark"))
SETTLE = 400  # milliseconds: the theme reacts to a new size after 300
# What the theme itself does, by rule and by the start of the element concerned.
THEIRS = {
    # The bibliography is a list of entries that have a role of their own.
    "aria-required-children": ('<div role="list" class="citation-list">',),
}

UNFOLD = """() => {
  document.querySelectorAll('details').forEach(e => e.open = true);
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
# axe-core visits every element: the thousands of strokes and words of formulas and code, which are
# MathJax's and the theme's, would take minutes.
SIMPLIFY = """() => {
  document.querySelectorAll('mjx-container > svg').forEach(e => e.replaceChildren());
  document.querySelectorAll('mjx-assistive-mml').forEach(e => e.remove());
  for (const e of document.querySelectorAll('.highlight pre:not(:has(a))'))
    e.textContent = e.textContent;
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
    """Give the page a width and a theme, and wait until it has settled."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.wait_for_timeout(SETTLE)


def accessibility(page: Page, part: str | None = None) -> list[str]:
    """Return what axe-core finds serious or critical, the theme's own business aside."""
    found = []
    options = {"preload": False, "resultTypes": ["violations"]}
    for violation in Axe().run(page, context=part, options=options).response["violations"]:
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
    page.evaluate(UNFOLD)
    for width, theme in STATES:
        show(page, width, theme)
        faults += [f"{width} px: {fault}" for fault in page.evaluate(TOO_WIDE)]
        if shots:
            stem = name.removesuffix(".html").replace("/", "-")
            page.screenshot(path=shots / f"{stem}-{width}-{theme}.png", full_page=True)
    page.evaluate(SIMPLIFY)
    for width, theme in AXE_STATES:
        show(page, width, theme)
        faults += [f"{width} px, {theme}: {fault}" for fault in accessibility(page)]
    for event, handler in hear.items():
        page.remove_listener(event, handler)
    return faults


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="the folder of the built pages")
    parser.add_argument(
        "--only", default="", help="only pages whose path contains this"
    )
    parser.add_argument("--shots", type=Path, help="save screenshots in this folder")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("Chromium is needed; on Debian: apt-get install chromium")
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    names = sorted(
        str(path.relative_to(args.html)) for path in args.html.rglob("*.html")
    )
    skip = ("_static/", "index.html")  # no pages; a redirection to the first one
    names = [name for name in names if args.only in name and not name.startswith(skip)]
    if not names:
        sys.exit(f"no page in {args.html}")
    broken = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        for name in names:
            faults = check(page, args.html / name, name, args.shots)
            broken += bool(faults)
            for fault in dict.fromkeys(faults):
                print(f"{name}: {fault}", flush=True)
        browser.close()
    print(f"{len(names)} pages opened in a browser, {broken} with faults")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
