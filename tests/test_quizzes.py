"""The quizzes: every key is proven, every wrong answer is answered, every chapter asks."""

import copy
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import quizzes  # noqa: E402

# The parts whose chapters all have their quiz and their prediction, and that have one of their own.
FINISHED = ["1-why", "2-build", "3-evidence", "5-insight", "6-practice", "4-limits"]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
INDEX = "book/6-practice/field-guide"  # it only leads to the pages of the guide
CHAPTERS = [p for p in PAGES if p.split("/")[1] in FINISHED and p != INDEX]
QUIZZES = {name: quizzes.Quiz(name) for name in quizzes.names()}
QUESTIONS = [
    question
    for quiz in QUIZZES.values()
    for question in [*quiz.questions, *quiz.predictions.values()]
]
PLACED = re.compile(r"^```\{(quiz|predict)\} (\S+)\n```$", re.M)


@cache
def source(page):
    """Return the text of a page."""
    path = ROOT / f"{page}.ipynb"
    if not path.exists():
        return (ROOT / f"{page}.md").read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def distance(question, a, b):
    """Return how far two curves are apart, as the page measures it."""
    low, high = question.data["y"]
    return np.sqrt(np.mean((a.points - b.points) ** 2)) / (high - low)


def faults(question):
    """Return what is wrong with a question, above all with its key."""
    found = []
    if question.kind == "choice":
        options = question.options
        right = [i for i, o in enumerate(options) if o.get("right")]
        if len(right) != 1:
            return [f"{len(right)} options are right"]
        yes = [i for i, o in enumerate(options) if o["why"].startswith("Yes")]
        if yes != right:
            found.append("the right option's why says Yes, and no other's")
        proofs = [o["holds"] for o in options if "holds" in o]
        if len(proofs) not in (0, len(options)):
            found.append("either all options have a proof or none")
        elif proofs:
            holds = [i for i, p in enumerate(proofs) if question.evaluate(p)]
            if holds != right:
                found.append(f"what holds is {holds}, and the key says {right}")
        if any(o.keys() - {"text", "why", "right", "holds"} for o in options):
            found.append("an option has an unknown entry")
        if not 2 <= len(options) <= 6 or len({o["text"] for o in options}) < len(
            options
        ):
            found.append("two to six different options")
    if question.kind == "order":
        items = question.data["item"]
        values = [float(question.evaluate(item["value"])) for item in items]
        if not 3 <= len(items) <= 7 or not all(np.diff(values) > 0):
            found.append(f"the items are not in order: {values}")
        if any(item.keys() - {"text", "why", "value"} for item in items):
            found.append("an item has an unknown entry")
    if question.kind == "number":
        within, answer = question.within, question.answer
        proof = float(question.evaluate(question.data["proof"]))
        if not np.isclose(proof, answer, rtol=1e-3, atol=1e-6):
            found.append(f"the answer is {answer}, and the proof says {proof}")
        values = [
            answer,
            *(float(question.evaluate(m["value"])) for m in question.mistakes),
        ]
        for i, a in enumerate(values):
            for b in values[:i]:
                if abs(a - b) <= 2 * within * max(abs(a), abs(b)):
                    found.append(f"nobody can tell {a} from {b}")
        if len(values) < 2:
            found.append("no mistake is answered")
    if question.kind == "draw":
        proof = question.curve(question.data["proof"])
        if not np.allclose(proof.points, question.answer.points, rtol=1e-3, atol=1e-4):
            found.append("the curve is not what the proof says")
        low, high = question.data["y"]
        if not all(low <= y <= high for y in question.answer.points):
            found.append("the curve leaves the picture")
        wrong = [question.curve(m["curve"]) for m in question.mistakes]
        if any(
            distance(question, question.answer, w) < 2 * question.within for w in wrong
        ):
            found.append("a mistake is too near to the right curve")
        if not wrong:
            found.append("no mistake is answered")
    texts = [question.text, *(o["text"] for o in question.options)]
    texts += [text for _, text in question.reasons()]
    texts += [question.why] if question.kind != "choice" else []
    if not all(text.strip() for text in texts):
        found.append("a text is empty")
    return found


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.where)
def test_the_key_is_proven_and_each_wrong_answer_is_answered(question):
    assert faults(question) == []


def planted(question):
    """Return questions that are this one with a wrong key."""
    data = copy.deepcopy(question.data)
    data.pop("given", None)  # it is in the question's own already
    if question.kind == "choice":
        options = data["option"]
        at = next(i for i, o in enumerate(options) if o.pop("right", False))
        options[at - 1]["right"] = True
    elif question.kind == "order":
        data["item"][:2] = data["item"][1::-1]
    elif question.kind == "number":
        data["answer"] = f"1.5 * ({data['answer']}) + 0.5"
    else:
        data["curve"] = data["mistake"][0]["curve"]
    return quizzes.Question(data, question.given, question.where)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.where)
def test_an_error_planted_in_the_key_is_caught(question):
    assert faults(planted(question)) != []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.where)
def test_an_exchanged_proof_is_caught_without_the_yes(question):
    """Where there are proofs they suffice: the words alone do not hold the key."""
    if question.kind != "choice" or "holds" not in question.options[0]:
        pytest.skip("held by its words, or by its only proof")
    wrong = planted(question)
    for option in wrong.options:
        option["why"] = "Yes." if option.get("right") else "No."
    assert any("what holds" in fault for fault in faults(wrong))


@pytest.mark.parametrize("page", CHAPTERS)
def test_each_chapter_asks_before_it_tells(page):
    text, name = source(page), page.removeprefix("book/")
    placed = PLACED.findall(text)
    assert placed.count(("quiz", name)) == 1
    assert f"## Check yourself\n\n```{{quiz}} {name}\n```" in text
    quiz = text.index(f"{{quiz}} {name}")
    if "## Exercises" in text:
        assert text[quiz:].split("\n\n", 1)[1].startswith(("## Exercises", "##"))
        assert quiz < text.index("## Exercises")
    assert "**Predict before you read on" not in text
    predictions = [name for kind, name in placed if kind == "predict"]
    assert predictions == [*QUIZZES[name].predictions]
    assert len(predictions) >= 1
    questions = QUIZZES[name].questions
    assert 4 <= len(questions) <= 6
    assert len({question.kind for question in questions}) >= 2


def test_no_page_asks_without_waiting_for_the_answer():
    for page in PAGES:
        assert "**Predict before you read on" not in source(page), page


@pytest.mark.parametrize("part", FINISHED)
def test_each_part_has_a_longer_quiz_and_a_curve_to_draw(part):
    assert 10 <= len(QUIZZES[f"{part}/part"].questions) <= 12
    mine = [
        q
        for name, quiz in QUIZZES.items()
        if name.startswith(part)
        for q in quiz.questions
    ]
    assert {q.kind for q in mine} == {*quizzes.KINDS}
    keys = [q.answer for q in mine if q.kind == "choice"]
    assert max(keys.count(key) for key in keys) <= 0.5 * len(keys)


def test_every_quiz_stands_on_one_page():
    placed = [found for page in PAGES for found in PLACED.findall(source(page))]
    kinds = {
        kind: [name for k, name in placed if k == kind] for kind in ("quiz", "predict")
    }
    assert sorted(kinds["quiz"]) == [n for n, quiz in QUIZZES.items() if quiz.questions]
    predictions = [name for quiz in QUIZZES.values() for name in quiz.predictions]
    assert sorted(kinds["predict"]) == sorted(predictions)


def test_a_prediction_says_where_the_answer_is_derived():
    for quiz in QUIZZES.values():
        for prediction in quiz.predictions.values():
            assert re.search(r"\{(ref|eq|doc|numref)\}`", prediction.result), (
                prediction.where
            )


def test_what_is_evaluated_does_not_depend_on_what_was_before():
    question = quizzes.Question({"kind": "number", "text": "?"}, "a = [1]", "x")
    assert question.evaluate("a.append(2) or a") == [1, 2]
    assert question.evaluate("a") == [1]
    other = quizzes.Question({"kind": "number", "text": "?"}, "a = [3]", "y")
    assert other.evaluate("a") == [3]
    points, more = np.arange(3.0), np.arange(4.0)
    assert np.array_equal(question.evaluate("x + a[0]", x=points), points + 1)
    assert np.array_equal(question.evaluate("x + a[0]", x=more), more + 1)


def test_no_number_is_typed_where_one_can_be_computed():
    numbers = [q for q in QUESTIONS if q.kind == "number"]
    assert all("{answer}" in q.data["why"] for q in numbers)


def test_what_is_given_needs_numpy_and_bnlib_alone():
    """`make book` installs no more, and evaluates all of it."""
    lines = {line.strip() for q in QUESTIONS for line in q.given.splitlines()}
    imports = sorted(s for s in lines if re.match(r"import |from \S+ import ", s))
    assert imports
    absent = ["scipy", "matplotlib", "numba", "sklearn", "torch"]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    subprocess.run([sys.executable, "-c", "\n".join([code, *imports])], check=True)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"x: kind must be one of"):
        quizzes.Question({"kind": "guess"}, "", "x")
    with pytest.raises(ValueError, match=r"x: unknown: wy"):
        quizzes.Question({"kind": "number", "text": "?", "wy": "?"}, "", "x")
    with pytest.raises(ValueError, match=r"predict.nothing"):
        quizzes.prediction("nothing")


@pytest.mark.parametrize("name", QUIZZES)
def test_a_plain_viewer_gets_each_answer_folded(name):
    quiz = QUIZZES[name]
    text = quizzes.markdown("quiz", name)
    text += "".join(quizzes.markdown("predict", key) for key in quiz.predictions)
    count = len(quiz.questions) + len(quiz.predictions)
    assert text.count("<details><summary>Answer</summary>\n\n") == count
    assert text.count("\n\n</details>") == count
    assert "{answer}" not in text
