"""Answer the book's quizzes in a real browser, and report what fails.

    python tools/check_quizzes.py _build/html

The first pages that together have questions of all kinds are answered as a reader would, by the
keyboard alone: each kind wrong at first, then right. Reported are: a verdict or a score that is not
what it should be, answers that a reload loses or that are not forgotten, an answer that stands open
too early, what axe-core says to answered questions, and pages that without JavaScript do not show
each answer folded. On all other pages the right answers are entered at once, and must be right.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bs4 import BeautifulSoup
from check_browser import (
    FLAGS,
    PHONE,
    SIMPLIFY,
    TOO_WIDE,
    accessibility,
    find_chromium,
    show,
)
from playwright.sync_api import Browser, Error, Locator, Page, sync_playwright

# Enter all right answers; return what is not right then.
RIGHT = """() => [...document.querySelectorAll('form.question')].flatMap(form => {
  const q = JSON.parse(form.dataset.question);
  if (q.kind === 'choice') form.querySelectorAll('input')[q.answer].click();
  if (q.kind === 'number') form.querySelector('input').value = q.answer;
  if (q.kind === 'order') {
    const list = form.querySelector('.question-options'), rows = [...list.children];
    list.append(...q.answer.map(k => rows[k]));
  }
  if (q.kind === 'draw') {
    const svg = form.querySelector('svg[role=slider]'), step = (q.y[1] - q.y[0]) / 40;
    const press = key => svg.dispatchEvent(new KeyboardEvent('keydown', { key }));
    for (const height of q.answer) {
      const moves = Math.round((height - svg.getAttribute('aria-valuenow')) / step);
      for (let i = Math.abs(moves); i > 0; i--) press(moves > 0 ? 'ArrowUp' : 'ArrowDown');
      press('ArrowRight');
    }
  }
  form.requestSubmit();
  const said = form.querySelector('.question-said').innerText;
  return said.startsWith('✓') ? [] : [`${q.name}, right: ${said}`];
})"""


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
            pages, moves = divmod(abs(round((aim - now) / step)), 5)
            way = "Up" if aim > now else "Down"
            for key_name in [f"Page{way}"] * pages + [f"Arrow{way}"] * moves:
                page.keyboard.press(key_name)
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


def check_quickly(page: Page, path: Path) -> list[str]:
    """Return what is wrong on a page whose kinds of questions work elsewhere."""
    page.goto(path.resolve().as_uri(), wait_until="domcontentloaded")
    faults = page.evaluate(RIGHT)
    for score in page.locator(".quiz-score").all_inner_texts():
        good, _, count, *_ = score.split()
        if good != count:
            faults.append(f"score: {score}")
    page.set_viewport_size({"width": PHONE, "height": 900})
    return faults + page.evaluate(TOO_WIDE)


def kinds_on(path: Path) -> set[str]:
    """Return the kinds of questions that a page's quizzes have; predictions aside."""
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    forms = page.select(".quiz-check form.question")
    return {json.loads(form["data-question"])["kind"] for form in forms}


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
    broken, seen = 0, set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=FLAGS
        )
        for path in paths:
            page = browser.new_page(reduced_motion="reduce")
            # Formulas take seconds, and check_browser.py reads them.
            page.route("**/tex-svg.js", lambda route: route.abort())
            try:
                if kinds_on(path) - seen:
                    faults = check(page, path, seen) + check_plain(browser, path)
                else:
                    faults = check_quickly(page, path)
            except (AssertionError, Error) as error:  # it waited in vain
                faults = [str(error)]
            page.close()
            broken += bool(faults)
            for fault in dict.fromkeys(faults):
                print(f"{path.relative_to(root)}: {fault}", flush=True)
        browser.close()
    print(f"the quizzes of {len(paths)} pages answered, {broken} pages with faults")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
