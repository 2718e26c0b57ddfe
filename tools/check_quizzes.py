"""Answer the book's quizzes in a real browser, by the keyboard alone, and report what fails.

    python tools/check_quizzes.py _build/html

On each page the predictions and the questions are answered as a reader would: each question wrong
at first where ``all_kinds`` still lacks its kind, then right. Reported are: a verdict or a score
that is not what it should be, answers that a reload loses or that are not forgotten, an answer that
stands open too early, what a page wider than a phone, axe-core and the console have to say, and
pages that without JavaScript do not show each answer folded.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from check_browser import FLAGS, PHONE, SIMPLIFY, TOO_WIDE, accessibility, show
from playwright.sync_api import Browser, Locator, Page, sync_playwright


def tab_to(page: Page, target: Locator) -> None:
    """Walk with the tabulator from where the focus is, as far as a control."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("e => e === document.activeElement"):
            return
    raise AssertionError("the tabulator does not reach a control")


def start(form: Locator) -> None:
    """Put the focus just before a question."""
    form.evaluate("e => { e.tabIndex = -1; e.focus(); e.removeAttribute('tabindex'); }")


def answer(page: Page, form: Locator, question: dict, right: bool) -> None:
    """Answer a question by the keyboard, and commit to it."""
    key = question["answer"]
    start(form)
    if question["kind"] == "choice":
        count = form.locator("input[type=radio]").count()
        wanted = key if right else (key + 1) % count
        # The tabulator reaches one radio button of a group, the arrows the others.
        checked = form.locator("input:checked")
        at = int(checked.get_attribute("value")) if checked.count() else 0
        tab_to(page, form.locator("input[type=radio]").nth(at))
        page.keyboard.press("Space")
        for _ in range((wanted - at) % count):
            page.keyboard.press("ArrowDown")
    elif question["kind"] == "number":
        tab_to(page, form.locator("input[type=text]"))
        page.keyboard.press("Control+A")
        page.keyboard.type(repr(key if right else 3 * key + 1.23))
    elif question["kind"] == "order":
        order = lambda: form.evaluate(  # noqa: E731
            """e => [...e.querySelectorAll('.question-options > li > strong')]
                 .map(s => s.textContent.trim()[0])"""
        )
        for place, item in enumerate(key if right else []):
            letter = "ABCDEFGH"[item]
            up = form.get_by_role("button", name=f"Move {letter} up")
            while order().index(letter) > place:
                up.focus()
                page.keyboard.press("Enter")
    else:
        svg = form.locator("svg[role=slider]")
        tab_to(page, svg)
        page.keyboard.press("Home")
        step = (question["y"][1] - question["y"][0]) / 40
        for height in key:
            now = float(svg.get_attribute("aria-valuenow"))
            aim = height if right else question["y"][0]
            moves = round((aim - now) / step)
            for _ in range(abs(moves)):
                page.keyboard.press("ArrowUp" if moves > 0 else "ArrowDown")
            page.keyboard.press("ArrowRight")
    start(form)
    tab_to(page, form.locator("button[type=submit]"))
    page.keyboard.press("Enter")


def said(form: Locator) -> str:
    """Return what a question says to the answer."""
    return form.locator(".question-said").inner_text()


def check(page: Page, path: Path, seen: set[str]) -> list[str]:
    """Return what is wrong with the quizzes and predictions of one page."""
    faults: list[str] = []
    known = bool(seen)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.goto(path.resolve().as_uri())
    page.evaluate("localStorage.clear()")
    page.reload()

    def expect(holds: bool, what: str) -> None:
        if not holds:
            faults.append(what)

    forms = page.locator("form.question")
    first, whole = {}, page.locator(".quiz-score")
    for form in forms.all():
        question = json.loads(form.get_attribute("data-question"))
        name, kind = question["name"], question["kind"]
        predicting = name.startswith("predict-")
        expect(not form.locator("details").is_visible(), f"{name} tells before it asks")
        if not predicting and kind not in seen:
            seen.add(kind)
            first[name] = False
            answer(page, form, question, right=False)
            expect(said(form).startswith("✗"), f"{name}, wrong: {said(form)!r}")
            if kind in ("choice", "order"):
                why = form.locator(".question-said .question-why")
                expect(why.is_visible(), f"{name}: a wrong answer is not explained")
        else:
            first[name] = True
        answer(page, form, question, right=True)
        expect(said(form).startswith("✓"), f"{name}, right: {said(form)!r}")
    names = [n for n in first if not n.startswith("predict-")]
    expected = {}
    for score in whole.all():
        section = score.locator("xpath=..").locator("form.question")
        mine = [form.get_attribute("id") for form in section.all()]
        good = sum(first[name] for name in mine)
        expected[mine[0]] = f"{good} of {len(mine)} at the first try."
    scores = [text.split(" Pred")[0] for text in whole.all_inner_texts()]
    expect(scores == [*expected.values()], f"score: {scores}")
    before = [said(form) for form in forms.all()]
    page.reload()
    expect([said(form) for form in forms.all()] == before, "a reload loses answers")
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.evaluate(SIMPLIFY)
    for width, theme in ((PHONE, "dark"), (1280, "light")):
        show(page, width, theme)
        faults += [f"{width} px: {fault}" for fault in page.evaluate(TOO_WIDE)]
        if width == PHONE or not known:
            found = accessibility(page, ".quiz")
            faults += [f"{width} px, {theme}: {fault}" for fault in found]
    if names:
        forget = page.get_by_role("button", name="Forget my answers").first
        forget.focus()
        page.keyboard.press("Enter")
        expect(not "".join(said(f) for f in forms.all()), "answers are not forgotten")
        left = page.evaluate("Object.keys(localStorage).join()")
        expect("quiz" not in left, f"the browser still keeps {left}")
    return faults


def check_plain(browser: Browser, path: Path) -> list[str]:
    """Return what is wrong on a page whose script does not run."""
    page = browser.new_page(java_script_enabled=False)
    page.goto(path.resolve().as_uri())
    faults = []
    for form in page.locator("form.question").all():
        details = form.locator("details")
        details.locator("summary").click()
        if details.get_attribute("open") is None or not details.inner_text().strip():
            faults.append(f"{form.get_attribute('id')}: no answer without JavaScript")
        if form.locator("button, input").count():
            faults.append(f"{form.get_attribute('id')}: controls that do nothing")
    page.close()
    return faults


def main(argv: list[str]) -> None:
    """Run the command line."""
    if len(argv) != 1:
        sys.exit(__doc__)
    root = Path(argv[0])
    paths = [
        path
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.parts
        and '<section class="quiz' in path.read_text(encoding="utf-8")
    ]
    if not paths:
        sys.exit(f"no quiz in {root}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("Chromium is needed; on Debian: apt-get install chromium")
    broken, seen = 0, set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for path in paths:
            page = browser.new_page(reduced_motion="reduce")
            faults = check(page, path, seen) + check_plain(browser, path)
            page.close()
            broken += bool(faults)
            for fault in dict.fromkeys(faults):
                print(f"{path.relative_to(root)}: {fault}", flush=True)
        browser.close()
    print(f"the quizzes of {len(paths)} pages answered, {broken} pages with faults")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
