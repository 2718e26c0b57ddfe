"""The questions of the book: what they ask, what is right, and what proves it.

Each file ``book/quizzes/PART/CHAPTER.toml`` holds the quiz of a chapter and its predictions. No
number is typed there: answers and curves are expressions. What is evaluated knows ``np``,
``bnlib``, ``F`` (``bnlib.functional``), and what ``given`` defines in the file and in the question.
"""

from __future__ import annotations

import random
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bnlib
from bnlib import functional

FOLDER = Path(__file__).resolve().parents[1] / "book" / "quizzes"
KINDS = {
    "choice": {"option"},
    "number": {"answer", "proof", "mistake", "unit", "within", "why"},
    "order": {"item", "why"},
    "draw": {"curve", "proof", "mistake", "points", "within", "why", *"xy"}
    | {"xlabel", "ylabel"},
}
COMMON = {"kind", "text", "given", "result"}
LETTERS = "ABCDEFGH"
VALUES: dict[tuple[str, str, bytes | None], Any] = {}  # of expressions, after a given


class Curve(NamedTuple):
    """A curve at the points that a reader moves, and as it is shown."""

    points: np.ndarray
    fine: np.ndarray


class Question:
    """One question.

    Parameters
    ----------
    data
        Its table in the file.
    given
        Code that runs before each of its expressions.
    where
        Its place, for messages.
    """

    def __init__(self, data: dict[str, Any], given: str, where: str):
        self.where, self.data = where, data
        self.kind: str = data.get("kind", "")
        if self.kind not in KINDS:
            raise ValueError(f"{where}: kind must be one of {', '.join(KINDS)}")
        if unknown := data.keys() - KINDS[self.kind] - COMMON:
            raise ValueError(f"{where}: unknown: {', '.join(sorted(unknown))}")
        self.given = f"{given}\n{data.get('given', '')}".strip()
        self.text: str = data["text"].strip()
        self.mistakes: list[dict[str, str]] = data.get("mistake", [])

    def evaluate(self, expression: str, x: np.ndarray | None = None) -> Any:
        """Return the value of an expression, after what is given; at the points `x` of a curve.

        It never depends on what was evaluated before: each runs in names of its own. So it is
        computed once, and kept.
        """
        key = self.given, expression, None if x is None else x.tobytes()
        if key not in VALUES:
            scope = {"np": np, "bnlib": bnlib, "F": functional}
            exec(self.given, scope)
            VALUES[key] = eval(expression, scope if x is None else scope | {"x": x})
        return VALUES[key]

    def curve(self, expression: str) -> Curve:
        """Return a curve of a drawing."""
        grids = self.grid, np.linspace(*self.data["x"], 97)
        values = (self.evaluate(expression, x=x) for x in grids)
        return Curve(
            *(np.broadcast_to(v, g.shape) for v, g in zip(values, grids, strict=True))
        )

    @property
    def grid(self) -> np.ndarray:
        """Where a drawing has its points."""
        return np.linspace(*self.data["x"], self.data.get("points", 9))

    @property
    def within(self) -> float:
        """How far off a reader may be: a part of the number, or of the drawing's height."""
        return self.data.get("within", 0.01 if self.kind == "number" else 0.08)

    @property
    def options(self) -> list[dict[str, str]]:
        """What the reader chooses from; or what is to be ordered, as it is shown."""
        if self.kind != "order":
            return self.data.get("option", [])
        return [self.data["item"][i] for i in self.shuffled]

    @cached_property
    def shuffled(self) -> list[int]:
        """The places of the things to be ordered, as they are shown: never right at once."""
        right = list(range(len(self.data["item"])))
        shown, chance = right[:], random.Random(self.text)
        while shown == right:
            chance.shuffle(shown)
        return shown

    @cached_property
    def answer(self) -> Any:
        """The key: the option's index, a number, the indices in order, or a curve."""
        if self.kind == "choice":
            return next(i for i, o in enumerate(self.options) if o.get("right"))
        if self.kind == "order":
            return [self.shuffled.index(i) for i in range(len(self.shuffled))]
        if self.kind == "number":
            return float(self.evaluate(self.data["answer"]))
        return self.curve(self.data["curve"])

    @property
    def key(self) -> str:
        """The key as a reader sees it."""
        if self.kind == "choice":
            return LETTERS[self.answer]
        if self.kind == "order":
            return " ".join(LETTERS[i] for i in self.answer)
        return shown(self.answer) if self.kind == "number" else "the curve"

    def reasons(self) -> list[tuple[str, str]]:
        """Return what is said to each answer: a label, and a text."""
        found = []
        if self.kind in ("choice", "order"):
            found = [
                (LETTERS[i], option["why"]) for i, option in enumerate(self.options)
            ]
        if self.kind == "number":
            found = [
                (shown(self.evaluate(wrong["value"])), wrong["why"])
                for wrong in self.mistakes
            ]
        if self.kind == "draw":
            found = [("", wrong["why"]) for wrong in self.mistakes]
        return [(label, text.strip()) for label, text in found]

    @property
    def why(self) -> str:
        """The explanation of the right answer; a choice has it in its option."""
        text = self.data.get("why", "").strip()
        return text.replace("{answer}", self.key) if self.kind == "number" else text

    @property
    def result(self) -> str:
        """Where the chapter answers a prediction."""
        return self.data.get("result", "").strip()

    def markdown(self, title: str, opened: bool = False) -> str:
        """Return the question for viewers that know Markdown alone, its answer folded or open."""
        parts = [f"**{title}** {self.text}"]
        if self.options:
            options = enumerate(self.options)
            parts.append(
                "\n".join(f"- **{LETTERS[i]}.** {o['text']}" for i, o in options)
            )
        parts.append("**Answer**" if opened else "<details><summary>Answer</summary>")
        if self.kind == "draw":
            rows = [self.grid, self.answer.points]
            names = self.data["xlabel"], self.data["ylabel"]
            cells = [
                [name, *map(shown, row)] for name, row in zip(names, rows, strict=True)
            ]
            lines = [f"| {' | '.join(row)} |" for row in cells]
            parts.append("\n".join([lines[0], "|---" * len(cells[0]) + "|", lines[1]]))
        else:
            parts.append(f"**{self.key}**")
        reasons = [f"**{label}.** {text}" for label, text in self.reasons() if label]
        parts += [part for part in (self.why, *reasons, self.result) if part]
        return "\n\n".join(parts if opened else [*parts, "</details>"])


class Quiz:
    """The questions and the predictions of one file.

    Parameters
    ----------
    name
        Part and chapter, such as ``2-build/forward``.
    """

    def __init__(self, name: str):
        self.name, self.path = name, FOLDER / f"{name}.toml"
        data = tomllib.loads(self.path.read_text(encoding="utf-8"))
        if unknown := data.keys() - {"given", "question", "predict"}:
            raise ValueError(f"{name}: unknown: {', '.join(sorted(unknown))}")
        given = data.get("given", "")
        self.questions = [
            Question(question, given, f"{name}, question {i}")
            for i, question in enumerate(data.get("question", []), 1)
        ]
        self.predictions = {
            key: Question(question, given, f"{name}, predict.{key}")
            for key, question in data.get("predict", {}).items()
        }


def names() -> list[str]:
    """Return the names of all files."""
    return sorted(
        p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.toml")
    )


def prediction(name: str) -> tuple[Quiz, Question]:
    """Return the prediction of a name, and the file that holds it."""
    for part in names():
        if f"[predict.{name}]" in (FOLDER / f"{part}.toml").read_text(encoding="utf-8"):
            quiz = Quiz(part)
            return quiz, quiz.predictions[name]
    raise ValueError(f"no file in {FOLDER.name} has [predict.{name}]")


def shown(value: float) -> str:
    """Return a number as the book writes it."""
    text = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value + 0.0:.4g}"
    return text.replace("-", "−")


def markdown(kind: str, name: str, opened: bool = False) -> str:
    """Return what stands for a directive in viewers that know Markdown alone."""
    if kind == "predict":
        return prediction(name)[1].markdown("Predict before you read on.", opened)
    questions = enumerate(Quiz(name).questions, 1)
    return "\n\n".join(q.markdown(f"Question {i}.", opened) for i, q in questions)
