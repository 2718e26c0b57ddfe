"""The exercises: each solution passes, each planted wrong answer is caught with its own reply."""

import importlib
import math
import re
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest

from bnlib.lab import exercises
from bnlib.lab.exercises import _core

BOOK = Path(__file__).resolve().parents[1] / "book"
EXERCISE = re.compile(
    r"^```\{exercise\}(.*)\n:label: (\S+)\n\n*(.*)\n((?:.*\n)*?)^```$", re.M
)
GRADE = re.compile(
    r"★{1,3} · (\d+) minutes · (pencil|code|experiment)(, checks itself)?"
)
MARKER = re.compile(
    r"\{solution-(start|end)\}(?: (\S+))?|^```python\n((?:.*\n)*?)```$", re.M
)
LABELS = exercises.names()
WRONG = {
    label: planted
    for part in _core.PARTS
    for label, planted in importlib.import_module(
        f"wrong_answers.{part[1:]}"
    ).WRONG.items()
}


def read(path):
    """Return a chapter's exercises, label → (grade line, body), and its solutions' code.

    That is a cell with its outputs, or, where a cell would belong to what a claim's confirmation
    ran, a block of Python in the text.
    """
    found, solutions, inside = {}, defaultdict(list), None
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            if inside:
                solutions[inside].append(cell)
            continue
        for _, label, grade, body in EXERCISE.findall(cell.source):
            found[label] = grade, body
        for start, label, block in MARKER.findall(cell.source):
            if block and inside:
                solutions[inside].append(nbformat.from_dict({"source": block}))
            elif not block:
                inside = label if start == "start" else None
    return found, solutions


CHAPTERS = {
    path.relative_to(BOOK).with_suffix("").as_posix(): read(path)
    for path in sorted(BOOK.glob("[1-6]-*/*.ipynb"))
}
ALL = {label: chapter for chapter, (found, _) in CHAPTERS.items() for label in found}
GRADED = [c for c in CHAPTERS if CHAPTERS[c][0]]
GUIDE = "6-practice/field-guide"  # its pages count as one chapter


def headings(chapter):
    """Return the titles of a chapter and its sections, as the page shows them."""
    cells = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    text = re.sub(r"\$\\hat\{(\w)\}\$", "\\1\N{COMBINING CIRCUMFLEX ACCENT}", text)
    return re.findall(r"^#+ (.*)$", text, re.M)


def reply(capsys, label, answer):
    """Return what a check says."""
    assert exercises.check(label, answer) is None
    return capsys.readouterr().out


@pytest.mark.parametrize("label", LABELS)
def test_the_book_has_the_exercise_and_its_solution_is_checked(label, capsys):
    entry = _core.REGISTRY[label]
    assert ALL[label] == entry.chapter
    found, solutions = CHAPTERS[entry.chapter]
    _, body = found[label]
    call = re.search(rf'exercises\.check\("{label}", (\w+)\)', body)
    assert call, "the exercise does not say how to check"
    cell = solutions[label][-1]
    assert call[0] in cell.source.splitlines()
    if "outputs" in cell:
        said = cell.outputs[0].text
    else:  # it runs here, with what a reader has
        exec(cell.source, {**vars(exercises.setup(label)), "exercises": exercises})
        said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"✓ {label}: right, ")


@pytest.mark.parametrize("label", LABELS)
def test_what_to_reread_is_there(label):
    entry = _core.REGISTRY[label]
    sections = headings(entry.chapter)
    title = sections[0]
    assert title == entry.title or title.startswith(f"{entry.title}:")
    assert entry.section in sections
    assert entry.section not in ("Check yourself", "Exercises", "Key points")


@pytest.mark.parametrize("label", LABELS)
def test_hints_help_and_hold_no_code(label):
    hints = _core.REGISTRY[label].hints
    assert len({*hints}) == 3
    assert not any(re.search(r"\bdef |\bimport |\breturn |= ?np\.", h) for h in hints)


@pytest.mark.parametrize("label", LABELS)
def test_planted_wrong_answers_are_caught_with_their_reply(label, capsys):
    assert len(WRONG[label]) >= 2
    for answer, piece in WRONG[label]:
        said = reply(capsys, label, answer)
        assert said.startswith(f"✗ {label}: ")
        assert piece in said
        if reread := re.search(r"Reread: .*, “(.*)”\.\n$", said):
            assert reread[1] in headings(_core.REGISTRY[label].chapter)
        assert said.count("\n") <= 2


def test_wrong_answers_belong_to_exercises():
    assert {*WRONG} == {*LABELS}


JUNK = [
    None,
    "text",
    True,
    float("nan"),
    1e300,
    [],
    [[1], [2, 3]],
    np.zeros((0, 3)),
    lambda *args, **kwargs: None,
    lambda *args, **kwargs: float("nan"),
    lambda *args, **kwargs: args[0],
    lambda *args, **kwargs: np.full(np.shape(args[0]), np.nan),
    lambda *args, **kwargs: "text",
    lambda *args, **kwargs: (None,) * 2,
    lambda *args, **kwargs: (float("nan"),) * 3,
    lambda *args, **kwargs: 1 / 0,
    lambda: 0,
]


@pytest.mark.parametrize("label", LABELS)
def test_junk_is_refused_without_a_traceback(label, capsys):
    for answer in JUNK:
        assert reply(capsys, label, answer).startswith(f"✗ {label}: "), answer


@pytest.mark.parametrize("label", LABELS)
def test_a_check_says_the_same_each_time(label, capsys):
    for answer, _ in WRONG[label]:
        assert reply(capsys, label, answer) == reply(capsys, label, answer)


def whiten(x):
    d = x - x.mean(0)
    values, vectors = np.linalg.eigh(d.T @ d / len(x))
    return d @ (vectors / np.sqrt(values)) @ vectors.T


def test_a_right_answer_that_changes_its_input_or_returns_nan_fails(capsys):
    def in_place(x):
        y = whiten(x)
        x -= x.mean(0)
        return y

    def with_a_hole(x):
        y = whiten(x)
        y[0, 0] = np.nan
        return y

    assert reply(capsys, "ex-forward-whiten", whiten) == (
        "✓ ex-forward-whiten: right, on 4 hidden cases.\n"
    )
    assert "its argument `x` in place" in reply(capsys, "ex-forward-whiten", in_place)
    assert "NaN" in reply(capsys, "ex-forward-whiten", with_a_hole)


def float32(x):
    return whiten(np.asarray(x, np.float32))


def rms_in_float32(dy, x, eps):
    dy, x = np.float32(dy), np.float32(x)
    s = 1 / np.sqrt((x**2).mean(0) + np.float32(eps))
    return s * (dy - x * s * (dy * x * s).mean(0))


def stacked(blocks):
    whole = np.concatenate(blocks)
    return np.array([whole.mean(0), (whole - whole[0]).var(0)])


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("ex-forward-four", [[-5], [-1], [-1], [11]]),
        ("ex-forward-four", [np.array([-5.0]), -1, np.float32(-1), Fraction(11)]),
        ("ex-forward-bound", lambda m: [math.sqrt(m - 1)]),
        ("ex-forward-bound", lambda m, rounded=None: np.float32(m - 1) ** 0.5),
        ("ex-forward-whiten", lambda x: whiten(x).tolist()),
        ("ex-forward-whiten", lambda x: np.asfortranarray(whiten(x))),
        ("ex-forward-whiten", float32),
        ("ex-forward-blocks", stacked),
        ("ex-backward-four", (Fraction(4, 3), Fraction(-8, 9), -8 / 9, Fraction(4, 9))),
        ("ex-backward-possible", np.array([3])),
        ("ex-backward-rms", rms_in_float32),
        ("ex-running-four", [np.array([0.4]), np.array([2.1], np.float32)]),
        ("ex-placement-four", [[0, 0, 0, Fraction(5, 3)], [-1, -1 / 3, -1 / 3, 5 / 3]]),
        ("ex-speed-count", [0.104, 0.026, 0.0033]),
        ("ex-small-two", [[-1, 3], [-1, 3]]),
        ("ex-land-three", [0.33, 0.11, 1]),
        ("ex-cost-pays", Fraction(1000, Fraction(8, 5))),
        ("ex-tune-frozen", [True, False, True, False]),
    ],
)
def test_a_right_answer_in_another_form_passes(label, answer, capsys):
    assert reply(capsys, label, answer).startswith(f"✓ {label}: right, ")


def test_a_wrong_answer_hears_what_failed_where_and_what_to_reread(capsys):
    said = reply(capsys, "ex-forward-whiten", lambda x: (x - x.mean(0)) / x.std(0))
    assert re.fullmatch(
        r"✗ ex-forward-whiten: the covariance of the output is not the identity: features 0 "
        r"and 1 still correlate by -?0\.\d+\.\n"
        r"  Seen on hidden case 1: an array of shape \(40, 2\) of float64\. "
        r"Reread: Forward, “Whitening, and why not”\.\n",
        said,
    )


def test_hints_come_one_by_one(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "_given", {})
    for number in (1, 2, 3, 3):
        exercises.hint("ex-forward-whiten")
        assert capsys.readouterr().out.startswith(f"Hint {number} of 3: ")
    exercises.hint("ex-forward-whiten", 2)
    assert capsys.readouterr().out.startswith("Hint 2 of 3: ")


@pytest.mark.parametrize("label", LABELS)
def test_a_setup_is_fresh_and_the_same(label):
    first, second = exercises.setup(label), exercises.setup(label)
    assert first is not second
    assert first.np is np
    assert vars(first).keys() == vars(second).keys()
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(second, name))
            assert value is not getattr(second, name)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: exercises.check("ex-forward-whitten", whiten),
            ValueError,
            "check: expected the label of an exercise that checks itself, got "
            "'ex-forward-whitten': did you mean 'ex-forward-whiten'?",
        ),
        (
            lambda: exercises.check(whiten, "ex-forward-whiten"),
            TypeError,
            "check: expected label to be a str, got function",
        ),
        (
            lambda: exercises.hint("ex-forward-four", 4),
            ValueError,
            "hint: expected number <= 3, got 4",
        ),
        (
            lambda: exercises.hint("ex-forward-four", 1.5),
            TypeError,
            "hint: expected number to be an int, got float 1.5",
        ),
        (
            lambda: exercises.setup("forward-four"),
            ValueError,
            "setup: expected the label of an exercise that checks itself, got "
            "'forward-four': did you mean 'ex-forward-four'?",
        ),
    ],
)
def test_calls_that_make_no_sense(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_an_exercise_stands_once():
    with pytest.raises(ValueError, match="stands twice"):
        _core.exercise(
            "ex-forward-four", _core.Value(), reread=("a/b", "c"), hints=("", "", "")
        )(None)


def test_a_check_needs_numpy_and_bnlib_alone():
    code = (
        "import sys; from bnlib.lab import exercises\n"
        "for label in exercises.names(): exercises.check(label, None)\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "bnlib" in loaded
    assert not loaded & {"torch", "keras", "matplotlib", "sklearn", "scipy", "IPython"}


@pytest.mark.parametrize("chapter", GRADED)
def test_each_exercise_has_a_grade_and_says_whether_it_checks_itself(chapter):
    for label, (grade, _) in CHAPTERS[chapter][0].items():
        found = GRADE.fullmatch(grade)
        assert found, f"{label}: {grade}"
        assert bool(found[3]) == (label in LABELS), label


@pytest.mark.parametrize(
    "chapter", sorted({GUIDE if c.startswith(GUIDE) else c for c in GRADED})
)
def test_each_chapter_has_something_for_a_pencil_for_the_keyboard_and_to_try(chapter):
    pages = [c for c in GRADED if c.startswith(chapter)]
    lines = [line for page in pages for line, _ in CHAPTERS[page][0].values()]
    grades = [GRADE.fullmatch(line) for line in lines]
    assert any(g[2] == "pencil" and int(g[1]) <= 3 for g in grades)
    assert any(g[2] == "code" and g[3] for g in grades)
    assert any(g[2] == "experiment" for g in grades)
