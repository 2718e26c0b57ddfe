"""Open readers' notebooks in a real JupyterLab, and report what is wrong for a reader.

    python tools/check_lab.py                                   # four of them
    python tools/check_lab.py 2-build/forward.ipynb --shots DIR

Reported are: a notebook that counts as changed once it is open, a solution or hidden code that
stands open, a warning sign or MyST that was not understood, a figure without its caption, a formula
that cannot be read, a question in the corner, a first cell that does not run, and an explorer
without its picture, or that does not move once its cell has run. In one of them "Run All Cells" has
to end with the numbers that are stored.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import reader
from check_browser import FLAGS, find_chromium
from playwright.sync_api import Error, Page, sync_playwright
from refresh import prepare

CHOSEN = [
    "2-build/forward.ipynb",
    "2-build/backward.ipynb",
    "3-evidence/placement.ipynb",
    "6-practice/folding.ipynb",
]
RUN_ALL = "2-build/forward.ipynb"
LOOK = """() => {
  const book = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook');
  const texts = [...book.querySelectorAll('.jp-MarkdownCell')].map(e => e.innerText.trim());
  return {
    dirty: document.querySelector('.lm-TabBar-tab.jp-mod-dirty') !== null,
    open: book.querySelectorAll('details[open]').length,
    folded: book.querySelectorAll('details').length,
    hidden: book.querySelectorAll('.jp-CodeCell .jp-Cell-inputArea.jp-mod-collapsed, '
      + '.jp-CodeCell .jp-Cell-inputWrapper .jp-Placeholder').length,
    captions: texts.filter(t => /^Fig\\. [\\d.]+/.test(t)).length,
    errors: book.querySelectorAll('mjx-merror, [data-mml-node=merror]').length,
    warnings: texts.filter(t => /⚠|\\{[\\w:-]+\\}`|not found/.test(t)),
    questions: document.querySelectorAll('.Toastify__toast').length,
  };
}"""
ACTIVE = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')]
  .findIndex(e => e.classList.contains('jp-mod-active'))"""


@contextlib.contextmanager
def serving(folder: str) -> Iterator[str]:
    """Run JupyterLab on a folder; give the address of its notebooks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    home = Path(folder, ".home")
    names = "JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR"
    environment = os.environ | {name: str(home) for name in (*names, "IPYTHONDIR")}
    settings = (
        home / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    )
    settings.parent.mkdir(parents=True)
    settings.write_text(
        '{"windowingMode": "none"}'
    )  # all cells, not those on the screen alone
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}")
                break
            time.sleep(0.5)
        else:
            sys.exit((home / "log").read_text(encoding="utf-8"))
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


def faults(page: Page, path: Path) -> list[str]:
    """Return what is wrong with the notebook that is open."""
    cells = nbformat.read(path, as_version=4).cells
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector(
        ".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000
    )
    page.wait_for_function(
        "n => document.querySelectorAll('.jp-MarkdownCell .jp-MarkdownOutput > *:first-child')"
        ".length >= n",
        arg=sum(cell.cell_type == "markdown" for cell in cells),
        timeout=60_000,
    )
    page.wait_for_timeout(1500)  # formulas
    seen, found = page.evaluate(LOOK), []
    code = [cell for cell in cells if cell.cell_type == "code"]
    hidden = sum(
        c.metadata.get("jupyter", {}).get("source_hidden", False) for c in code
    )
    captions = sum(cell.id.endswith("-caption") for cell in cells)
    text = "".join(cell.source for cell in cells)
    for name in ("dirty", "open", "errors", "questions", "warnings"):
        if seen[name]:
            found.append(f"{name}: {seen[name]}")
    for name, expected in (
        ("hidden", hidden),
        ("captions", captions),
        ("folded", text.count("<details>")),
    ):
        if seen[name] != expected:
            found.append(f"{name}: {seen[name]} instead of {expected}")
    for _ in range(4):  # more than once, since a stored cell has the number 1 already
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(Error):
            page.wait_for_function(
                "/[2-9]/.test(document.querySelector('.jp-CodeCell .jp-InputPrompt').innerText)",
                timeout=20_000,
            )
            break
    else:
        found.append("the first cell does not run")
    if any("explorers.show" in cell.source for cell in code):
        found += still(page)
    return found


def still(page: Page) -> list[str]:
    """Return what is wrong with the first explorer of the notebook that is open."""
    host = page.locator(".jp-Notebook .bnlib-explorer").first
    host.scroll_into_view_if_needed()
    if not host.locator("img").is_visible():  # no script of a stranger's notebook runs
        return ["an explorer has no picture"]
    cell = page.locator(".jp-CodeCell:has(.bnlib-explorer)").first
    cell.locator(".jp-OutputArea").first.click(position={"x": 3, "y": 3})
    page.keyboard.press("Shift+Enter")
    try:
        page.wait_for_selector(".bnlib-explorer[data-live]", timeout=30_000)
    except Error:
        return ["an explorer does not start"]
    note = host.locator(".note")
    slider = host.locator("input[type=range], [role=slider]").first
    before = note.inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    moved = note.inner_text() != before
    handle = host.locator("[role=slider]").first
    if handle.count():
        handle.focus()
        active = page.evaluate(ACTIVE)
        page.keyboard.press("ArrowUp")
        if page.evaluate(ACTIVE) != active:
            return ["an explorer's keys are JupyterLab's"]
    return [] if moved else ["an explorer does not move"]


def numbers(page: Page, path: Path) -> list[str]:
    """Run all cells of the notebook that is open, and return what differs from what is stored.

    Its first cell has run before, so that its counts are in order again only at the end.
    """
    stored = fresh = read_code(path)
    first = stored[0].execution_count
    page.click(".lm-MenuBar-item:has-text('Run')")
    page.click(".lm-Menu-item[data-command='runmenu:run-all']")
    end = time.monotonic() + 120
    while fresh[0].execution_count == first or not in_order(fresh):
        if time.monotonic() > end:
            return ["not all cells have run in two minutes"]
        page.wait_for_timeout(1000)
        page.keyboard.press("Control+s")
        with contextlib.suppress(nbformat.reader.NotJSONError):  # just being written
            fresh = read_code(path)
    return [
        f"{old.source!r} gives {texts(new)} instead of {texts(old)}"
        for old, new in zip(stored, fresh, strict=True)
        if texts(old) != texts(new)
    ]


def in_order(code: list[nbformat.NotebookNode]) -> bool:
    """Whether all cells have run, one after the other."""
    counts = [cell.execution_count for cell in code]
    return None not in counts and counts == [*range(counts[0], counts[0] + len(counts))]


def read_code(path: Path) -> list[nbformat.NotebookNode]:
    """Return a notebook's cells of code."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """Return what a cell has printed and shown as text."""
    found = []
    for output in cell.outputs:
        plain = output.get("data", {}).get("text/plain", "")
        found.append(output.get("text", plain) or output.output_type)
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", default=CHOSEN)
    parser.add_argument("--shots", type=Path, help="folder for pictures")
    args = parser.parse_args()
    bad = 0
    prepare()
    with tempfile.TemporaryDirectory() as folder, serving(folder) as address:
        reader.main([folder])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=FLAGS
            )
            for name in args.notebooks:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(address.format(name))
                try:
                    found = faults(page, Path(folder, name))
                    if name == RUN_ALL:
                        found += numbers(page, Path(folder, name))
                except Error as error:  # of the browser: it waited in vain
                    found = [str(error)]
                if args.shots:
                    args.shots.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=args.shots / f"{Path(name).stem}.png")
                bad += bool(found)
                print("\n  ".join([f"{name}: {'faults' if found else 'ok'}", *found]))
                page.close()
            browser.close()
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
