"""A Sphinx extension: ``{quiz}`` and ``{predict}``, questions that ask before they tell.

Both name questions in ``book/quizzes``. The page holds each question with its answer folded, which
is what stands there without JavaScript; ``quiz.js`` makes a form of it.
"""

import json
from html import escape

import numpy as np
import quizzes
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 240, 52, 14, 12, 44
STEPS = 1, 2, 2.5, 5, 10


def ticks(low, high):
    """Return about five round numbers from one to another."""
    rough = (high - low) / 5
    power = 10 ** np.floor(np.log10(rough))
    step = next(s * power for s in STEPS if s * power >= rough * (1 - 1e-9))
    return step * np.arange(np.ceil(low / step - 1e-9), high / step + 1e-9)


def picture(question, curve=None):
    """Return the axes of a drawing as SVG, empty or with a curve."""
    (x0, x1), (y0, y1) = question.data["x"], question.data["y"]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x):
        return round(float(LEFT + (x - x0) / (x1 - x0) * (right - LEFT)), 1)

    def up(y):
        return round(float(bottom - (y - y0) / (y1 - y0) * (bottom - TOP)), 1)

    xlabel, ylabel = (escape(question.data[key]) for key in ("xlabel", "ylabel"))
    name = f"{ylabel} against {xlabel}" + (", the right curve" if curve else ", empty")
    box = f"{LEFT},{TOP},{right - LEFT},{bottom - TOP}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}" data-box="{box}">'
    ]
    for x in ticks(x0, x1):
        parts.append(f'<path class="grid" d="M{across(x)} {TOP}V{bottom}"/>')
        place = f'x="{across(x)}" y="{bottom + 16}" text-anchor="middle"'
        parts.append(f"<text {place}>{quizzes.shown(x)}</text>")
    for y in ticks(y0, y1):
        parts.append(f'<path class="grid" d="M{LEFT} {up(y)}H{right}"/>')
        place = f'x="{LEFT - 6}" y="{up(y) + 4}" text-anchor="end"'
        parts.append(f"<text {place}>{quizzes.shown(y)}</text>")
    middle = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(
        f'<text x="{middle[0]}" y="{HEIGHT - 8}" text-anchor="middle">{xlabel}</text>'
        f'<text transform="translate(12 {middle[1]}) rotate(-90)" text-anchor="middle">'
        f"{ylabel}</text>"
    )
    if curve:
        heights = np.clip(curve.fine, y0, y1)
        grid = np.linspace(x0, x1, heights.size)
        line = "L".join(
            f"{across(x)} {up(y)}" for x, y in zip(grid, heights, strict=True)
        )
        parts.append(f'<path class="curve" d="M{line}"/>')
    return "".join([*parts, "</svg>"])


class Directive(SphinxDirective):
    """What both directives share."""

    required_arguments = 1

    def parsed(self, text, inline=False):
        """Return a Markdown text as nodes; without its paragraph where it is inline."""
        node = nodes.Element()
        lines = StringList(
            text.strip().splitlines(), self.env.doc2path(self.env.docname)
        )
        self.state.nested_parse(lines, self.content_offset, node)
        one = len(node) == 1 and isinstance(node[0], nodes.paragraph)
        return node[0].children if inline and one else node.children

    def form(self, question, name, legend):
        """Return the nodes of one question."""
        kind = question.kind
        data = {"kind": kind, "name": name, "key": question.key}
        if kind in ("choice", "order"):
            data["answer"] = question.answer
        if kind == "number":
            wrong = [float(question.evaluate(m["value"])) for m in question.mistakes]
            data |= {
                "answer": question.answer,
                "within": question.within,
                "wrong": wrong,
            }
        if kind == "draw":
            curves = [
                question.answer,
                *(question.curve(m["curve"]) for m in question.mistakes),
            ]
            right, *wrong = [np.round(c.points, 6).tolist() for c in curves]
            data |= {"answer": right, "within": question.within, "wrong": wrong}
            data |= {axis: question.data[axis] for axis in "xy"}
        if "unit" in question.data:
            data["unit"] = question.data["unit"]
        yield html(
            f'<form class="question" id="{name}" data-question="{escape(json.dumps(data))}">'
            f'<fieldset aria-describedby="{name}-text"><legend>{legend}</legend>'
            f'<div class="question-text" id="{name}-text">'
        )
        yield from self.parsed(question.text)
        yield html("</div>")
        if kind == "draw":
            yield html(f'<div class="question-plot">{picture(question)}</div>')
        if question.options:
            yield html('<ol class="question-options">')
            for option in question.options:
                yield html("<li><span>")
                yield from self.parsed(option["text"], inline=True)
                yield html("</span></li>")
            yield html("</ol>")
        yield html('<details class="question-answer"><summary>Answer</summary>')
        if kind == "draw":
            yield html(
                f'<div class="question-plot">{picture(question, question.answer)}</div>'
            )
        else:
            yield html(f'<p class="question-key"><strong>{question.key}</strong></p>')
        if question.why:
            yield html('<div class="question-why" data-for="right">')
            yield from self.parsed(question.why)
            yield html("</div>")
        for i, (label, why) in enumerate(question.reasons()):
            yield html(f'<div class="question-why" data-for="{i}">')
            # A drawing's mistakes are shown to the reader who drew them.
            yield from self.parsed(f"**{label}.** {why}" if label else why)
            yield html("</div>")
        if question.result:
            yield html('<div class="question-result">')
            yield from self.parsed(question.result)
            yield html("</div>")
        yield html("</details></fieldset></form>")

    def section(self, quiz, kind, label, forms):
        """Return the nodes of the whole, which depends on a file."""
        self.env.note_dependency(str(quiz.path))
        page = escape(self.env.docname)
        yield html(
            f'<section class="quiz {kind}" aria-label="{label}" data-page="{page}">'
        )
        for form in forms:
            yield from form
        yield html("</section>")


class QuizDirective(Directive):
    """All questions of a file."""

    def run(self):
        """Return the nodes."""
        quiz = quizzes.Quiz(self.arguments[0])
        name, count = f"quiz-{quiz.name.replace('/', '-')}", len(quiz.questions)
        forms = (
            self.form(question, f"{name}-{i}", f"Question {i} of {count}")
            for i, question in enumerate(quiz.questions, 1)
        )
        return [*self.section(quiz, "quiz-check", "Quiz", forms)]


class PredictDirective(Directive):
    """One prediction."""

    def run(self):
        """Return the nodes."""
        name = self.arguments[0]
        quiz, question = quizzes.prediction(name)
        form = self.form(question, f"predict-{name}", "Predict before you read on")
        return [*self.section(quiz, "quiz-predict", f"Prediction: {name}", [form])]


def html(text):
    """Return a node of HTML; other writers leave it out."""
    return nodes.raw("", text, format="html")


def setup(app):
    """Register the directives, and what makes forms of them."""
    app.add_directive("quiz", QuizDirective)
    app.add_directive("predict", PredictDirective)
    app.add_css_file("quiz.css")
    app.add_js_file("quiz.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
