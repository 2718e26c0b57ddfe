"""The explorers, in a real browser: their arithmetic is bnlib's, and every control moves them.

What each has to show is in ``tests/explorers``: ``settings`` draws what no control holds, and
``values`` computes with bnlib what the explorer computes by itself.
"""

import base64
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bnlib.lab import explorers

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NAMES = explorers.names()
TRIES = 25
HOST = "document.querySelector('.bnlib-explorer')"
# What differs beyond round-off, with strings for Infinity and NaN, which JSON does not know.
VALUES = f"""() => JSON.stringify({HOST}.explorer.values(),
  (k, v) => typeof v === 'number' && !Number.isFinite(v) ? String(v) : v)"""
CONTROLS = f"""() => {HOST}.explorer.it.controls.map(
  ({{id, min, max, step, options, value}}) => ({{id, min, max, step, options, value}}))"""
FOCUSABLE = ".bnlib-explorer :is(input, select, button, [tabindex])"
FOCUSED = f"""() => {{
  const root = {HOST}.shadowRoot;
  const all = [...root.querySelectorAll('input, select, button, [tabindex]')];
  return [all.indexOf(root.activeElement), root.activeElement?.outerHTML ?? '<button'];
}}"""
STATE = f"() => JSON.stringify({HOST}.explorer.state())"
LIVE = ".bnlib-explorer[data-live]"

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


@pytest.fixture(scope="module")
def browser():
    """Return a browser; the tests that need none run without."""
    if not CHROMIUM:
        pytest.skip("Chromium is needed")
    sync_api = pytest.importorskip("playwright.sync_api")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from check_browser import FLAGS
    finally:
        sys.path.pop(0)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Return a function that opens an explorer as `show` gives it, and hears its errors."""
    errors, contexts = [], []

    def opened(name, width=1280, theme="light", **context):
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(reduced_motion="reduce")
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.set_content(
            f'<!doctype html><html data-theme="{theme}"><body><main>'
            f"{explorers.show(name).data}</main></body></html>"
        )
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def reference(name):
    """Return what an explorer is held to."""
    path = ROOT / "tests" / "explorers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"explorer_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(controls, rng):
    """Return random values of all controls."""
    state = {}
    for c in controls:
        if c.get("options"):
            state[c["id"]] = str(rng.choice(c["options"]))
        elif isinstance(c["value"], bool):
            state[c["id"]] = bool(rng.integers(2))
        else:
            steps = round((c["max"] - c["min"]) / c["step"])
            state[c["id"]] = c["min"] + c["step"] * int(rng.integers(steps + 1))
    return state


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic_is_bnlibs(opened, name):
    page, truth = opened(name), reference(name)
    rng, controls = np.random.default_rng(0), None
    controls = page.evaluate(CONTROLS)
    for _ in range(TRIES):
        patch = drawn(controls, rng) | truth.settings(rng)
        page.evaluate(f"(patch) => {HOST}.explorer.set(patch)", patch)
        state = json.loads(page.evaluate(STATE))
        shown, expected = json.loads(page.evaluate(VALUES)), truth.values(state)
        assert expected
        for key, value in expected.items():
            np.testing.assert_allclose(
                np.array(shown[key], float),
                value,
                rtol=1e-6,
                atol=1e-6,
                err_msg=f"{key}, {patch}",
            )


@pytest.mark.parametrize("name", NAMES)
def test_everything_moves_by_keyboard(opened, name):
    page = opened(name, has_touch=True)
    assert page.locator(LIVE).count() == 1
    first = page.evaluate(STATE)
    controls = page.evaluate(CONTROLS)
    buttons = page.locator(".bnlib-explorer .buttons button")
    assert buttons.last.inner_text() == "Reset"
    assert buttons.count() in (3, 4, 5, 6)  # two to five discoveries
    for k in range(buttons.count() - 1):
        page.evaluate(f"() => {HOST}.explorer.set({{}})")
        buttons.nth(k).focus()
        page.keyboard.press("Enter")
        assert page.locator(".bnlib-explorer .say").inner_text().strip()
    buttons.last.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(STATE) == first
    assert page.locator(".bnlib-explorer .say").inner_text().strip() == ""

    moved = {}
    page.locator("body").click(position={"x": 1, "y": 1})
    for _ in range(2 * page.locator(FOCUSABLE).count()):
        page.keyboard.press("Tab")
        place, focused = page.evaluate(FOCUSED)
        if place in moved:
            break
        if "<button" in focused:
            continue
        before = page.evaluate(STATE)
        box = 'type="checkbox"' in focused
        for key in ("Space",) if box else ("ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            if page.evaluate(STATE) != before:
                moved[place] = focused
                assert page.locator(".bnlib-explorer .note").inner_text()
                break
    handles = page.locator(".bnlib-explorer svg [tabindex]").count()  # may have changed
    sliders = [text for text in moved.values() if 'role="slider"' in text]
    assert len(sliders) == handles
    assert len(moved) == len(controls) + handles
    for text in moved.values():
        if 'type="range"' in text or 'role="slider"' in text:
            assert re.search(r'aria-valuetext="[^"]+"', text)
        if 'role="slider"' in text:
            assert re.search(r'aria-label="[^"]+"', text)


@pytest.mark.parametrize("name", NAMES)
def test_handles_are_dragged(opened, name):
    page = opened(name)
    for k in range(min(3, page.locator(".bnlib-explorer svg [tabindex]").count())):
        handle = page.locator(".bnlib-explorer svg [tabindex]").nth(k)
        before = page.evaluate(STATE)
        box = handle.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 25, y - 25, steps=3)
        page.mouse.up()
        assert page.evaluate(STATE) != before


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_phone_and_is_accessible(opened, name, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(name, width=390, theme=theme)
    page.wait_for_timeout(100)
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 390
    # Words that lie outside the drawing cannot be read.
    outside = page.evaluate(
        f"""() => {{
          const svg = {HOST}.shadowRoot.querySelector('svg'), box = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter(t => {{
            const b = t.getBoundingClientRect();
            return b.left < box.left - 2 || b.right > box.right + 2
              || b.top < box.top - 4 || b.bottom > box.bottom + 4;
          }}).map(t => t.textContent);
        }}"""
    )
    assert outside == []
    assert page.evaluate(f"() => {HOST}.dataset.theme") == theme
    found = axe.run(page, options={"resultTypes": ["violations"]}).response
    serious = [
        (v["id"], n["html"])
        for v in found["violations"]
        for n in v["nodes"]
        if v["impact"] in ("serious", "critical") and "bnlib" in str(n["target"])
    ]
    assert serious == []


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_stands_where_no_script_runs(opened, name):
    page = opened(name, java_script_enabled=False)
    image = page.locator(".bnlib-explorer img")
    assert image.is_visible()
    assert image.bounding_box()["height"] > 100
    assert len(image.get_attribute("alt")) > 40


def test_the_pictures_are_those_of_the_scripts(browser):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from explorer_pictures import picture
    finally:
        sys.path.pop(0)
    page = browser.new_page(viewport={"width": 800, "height": 900})
    old = [
        name
        for name in NAMES
        if picture(page, name) != (explorers.FOLDER / f"{name}.svg").read_text("utf-8")
    ]
    assert not old, "run tools/explorer_pictures.py"


def test_the_picture_of_a_walk_shows_its_end():
    drawing = (explorers.FOLDER / "backprop.svg").read_text("utf-8")
    assert {">dx</text>", ">= dx</text>"} <= {*re.findall(r">[^<]*</text>", drawing)}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_needs_nothing(name):
    html = explorers.show(name).data
    script = html.partition("<script>")[2].encode()
    assert len(script) <= 20_000
    assert len(html.encode()) <= 48_000
    picture = re.search(r"base64,([^\"]+)", html)[1]
    for text in (base64.b64decode(picture).decode(), script.decode()):
        links = set(re.findall(r"https?://[^\"'`\s]*", text))
        assert all(link.startswith("http://www.w3.org/") for link in links)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="did you mean 'batch'"):
        explorers.show("bach")
    with pytest.raises(TypeError, match="show: expected name"):
        explorers.show(1)
