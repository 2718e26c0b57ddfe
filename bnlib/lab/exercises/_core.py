"""What an exercise is, and the tools of its check.

A check is a function of the answer and a seeded generator. It raises `AnswerError` at the first
property that fails, in plain words, and returns when all hold. The answer comes as what its kind
makes of it: a function as `Calls`, an array or a number as `Given`.
"""

import copy
import importlib
import textwrap
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from bnlib._types import Array

PARTS = ("_why", "_build", "_evidence", "_limits", "_insight", "_practice")
REGISTRY: "dict[str, Exercise]" = {}
TITLES = {  # of the chapters whose title is more than the name of their file
    "sick-network": "A sick network",
    "train-eval-gap": "The train/eval gap",
    "loss-landscape": "The loss landscape",
    "fast-kernel": "The fast kernel",
    "fine-tuning": "Fine-tuning",
    "keras-and-pytorch": "Keras and PyTorch",
    "field-guide-code": "Field guide: shapes, training loops and many devices",
    "field-guide-modes": "Field guide: training and evaluation",
}
FOUR = np.array([1.0, 3, 3, 9])  # the batch to compute by hand: mean 4, variance 9
Rng = np.random.Generator
Known = Mapping[str, Any]  # wrong values that many find, by the reply to each


class AnswerError(Exception):
    """What is wrong with an answer; `section` names another one to reread than the exercise's."""

    def __init__(self, text: str, section: str | None = None):
        super().__init__(text)
        self.section = section


class KindError(AnswerError):
    """The answer is not of the kind that was asked for; there is nothing to reread."""


def expect(condition: Any, text: str, section: str | None = None) -> None:
    """Raise a fault with this text unless the condition holds."""
    if not condition:
        raise AnswerError(text, section)


def near(a: Any, b: Any, rtol: float = 1e-7, atol: float = 1e-9) -> bool:
    """Whether two arrays have one shape and the same finite values, to a tolerance.

    If `a` is of float32, it is held to the digits that float32 has.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == np.float32:
        rtol, atol = max(rtol, 1e-4), max(atol, 1e-5 * np.abs(b).max(initial=0))
    return (
        a.shape == b.shape
        and bool(np.isfinite(a).all())
        and bool(np.allclose(a, b, rtol=rtol, atol=atol))
    )


def refuse(value: Any, known: Known, rtol: float = 1e-7, atol: float = 1e-9) -> None:
    """Raise a fault if `value` is a known wrong one, with its reply."""
    for reply, wrong in known.items():
        expect(not near(value, wrong, rtol, atol), reply)


def match(
    value: Any, right: Any, text: str, known: Known | None = None, rtol: float = 1e-7
) -> None:
    """Raise a fault unless `value` is `right`: with a known wrong value's reply, or with `text`."""
    if not near(value, right, rtol):
        refuse(value, known or {}, rtol)
        raise AnswerError(text)


def standardized(x: Array, axes: Any, eps: float, ddof: int = 0) -> Array:
    """Return x normalized over these axes."""
    d = x - x.mean(axes, keepdims=True)
    return d / np.sqrt(x.var(axes, ddof=ddof, keepdims=True) + eps)


class Given:
    """An answer that is an array or a number."""

    def __init__(self, value: Array, tolerance: float):
        self.value, self.tolerance = value, tolerance
        self.within = f"to within {tolerance:g}" if tolerance > 1e-6 else ""
        self.tried, self.case = self.within or "exactly", ""

    def near(self, right: Any) -> bool:
        """Whether the answer is this value, to its tolerance."""
        return near(self.value, right, rtol=0, atol=self.tolerance)

    def refuse(self, known: Known) -> None:
        """Raise a fault if the answer is a known wrong one, with its reply."""
        refuse(self.value, known, rtol=0, atol=self.tolerance)

    def match(self, right: Any, text: str, known: Known | None = None) -> None:
        """Raise a fault unless the answer is `right`, with the reply to a known wrong one."""
        if not self.near(right):
            self.refuse(known or {})
            within = f" (It is compared {self.within}.)" if self.within else ""
            raise AnswerError(text + within)


class Calls:
    """An answer that is a function: it is called on copies, and each call is a hidden case."""

    def __init__(self, function: Callable[..., Any], call: str):
        self.function, self.call, self.count, self.case = function, call, 0, ""

    @property
    def tried(self) -> str:
        """Return on how many cases the function was tried."""
        return f"on {self.count} hidden case{'s' if self.count > 1 else ''}"

    def __call__(
        self,
        *args: Any,
        changes: Sequence[int] = (),
        warn: Literal["ignore", "error"] = "ignore",
    ) -> Any:
        """Return what the function returns; raise if it raises, or changes an argument.

        It may change the arguments whose positions stand in `changes`. Arrays, and lists, tuples
        and dicts of them, are copied; what is something else is handed on as it is.
        """
        self.count += 1
        seen = [kind_of(a) for a in args if has_a_size(a)]
        self.case = f"hidden case {self.count}{': ' if seen else ''}{', '.join(seen)}"
        given = [a if at in changes else copied(a) for at, a in enumerate(args)]
        try:
            floats: Literal["ignore", "warn"] = "ignore" if warn == "ignore" else "warn"
            with warnings.catch_warnings(), np.errstate(all=floats):
                warnings.simplefilter(warn)
                result = self.function(*given)
        except Exception as error:
            does = "gave a" if isinstance(error, Warning) else "raised"
            raise AnswerError(
                f"your function {does} {told(error)} It is called as {self.call}."
            ) from None
        for at, (mine, theirs) in enumerate(zip(args, given, strict=True)):
            if at not in changes and not unchanged(mine, theirs):
                name = self.call.partition("(")[2].rstrip(")").split(", ")[at]
                raise AnswerError(
                    f"your function changes its argument `{name}` in place. Work on a copy."
                )
        return copied(result)

    def quiet(self, *args: Any) -> Any:
        """Return what the function returns; raise if it warns, too."""
        return self(*args, warn="error")

    def array(
        self, *args: Any, shape: Sequence[int], what: str = "the result"
    ) -> Array:
        """Return the function's result; raise unless it is a finite array of this shape."""
        return as_array(self(*args), shape, what)

    def arrays(self, *args: Any, shapes: Mapping[str, Sequence[int]]) -> list[Array]:
        """Return the function's results; raise unless there is one of each name and shape."""
        return as_arrays(self(*args), shapes)

    def number(self, *args: Any, what: str = "the result") -> float:
        """Return the function's result; raise unless it is one finite number."""
        return float(as_array(self(*args), (), what))


def as_array(value: Any, shape: Sequence[int], what: str) -> Array:
    """Return a value as an array; raise unless it is one of real, finite numbers of this shape."""
    shape = tuple(shape)
    wanted = f"an array of shape {shape}" if shape else "a number"
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        listed = isinstance(value, (tuple, list))
        why = ", and not all of it is a number" if listed else ""
        raise AnswerError(f"expected {what} to be {wanted}, got {kind_of(value)}{why}.")
    if shape == () and array.size == 1:
        array = array.reshape(())
    if array.shape != shape:
        found = kind_of(value if array.ndim < 2 else array)
        raise AnswerError(f"expected {what} to be {wanted}, got {found}.")
    if not np.isfinite(array).all():
        raise AnswerError(f"{what} holds NaN or infinity, and that is never right.")
    return array


def as_arrays(result: Any, shapes: Mapping[str, Sequence[int]]) -> list[Array]:
    """Return several arrays; raise unless there is one of each name and shape."""
    stacked = isinstance(result, np.ndarray) and result.ndim > max(
        map(len, shapes.values())
    )
    listed = isinstance(result, (tuple, list))
    if not (listed or stacked) or len(result) != len(shapes):
        raise AnswerError(
            f"expected your function to return {len(shapes)} values, "
            f"{', '.join(shapes)}; it returned {kind_of(result)}."
        )
    return [
        as_array(value, shape, name)
        for value, (name, shape) in zip(result, shapes.items(), strict=True)
    ]


def as_answer(value: Any, shape: Sequence[int]) -> Any:
    """Return numbers in the shape that was asked for, where only their brackets or kind differ.

    So the mean and the variance of one channel may be two arrays of one number, a fraction stands
    for its value, and true for 1, unless a single number was asked for.
    """
    with suppress(Exception):
        numbers = value
        if isinstance(value, (list, tuple)):
            numbers = [v.item() if getattr(v, "size", 0) == 1 else v for v in value]
        array = np.array(numbers)
        real = array.dtype.kind in ("biuf" if shape else "iuf")
        real = real or all(
            type(v) is not bool and isinstance(v, Real) for v in array.flat
        )
        fits = array.shape == shape or len(shape) < 2
        if real and fits and array.size == np.prod(shape, dtype=int):
            return array.astype(float).reshape(shape)
    return value


def told(error: Exception) -> str:
    """Return in a sentence what an exception says, or where it says nothing its name alone."""
    text = textwrap.shorten(str(error), 200, placeholder=" …").rstrip(".")
    return f"{type(error).__name__}{': ' if text else ''}{text}."


def kind_of(value: Any) -> str:
    """Return in a few words what a value is."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return kind_of(value.item())
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} of {value.dtype}"
    if value is None:
        return "None, as a function without `return` gives it"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, (bool, int, float, np.number)):
        return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
    if callable(value):
        return "a function"
    return f"{type(value).__name__} {value!r}"[:60]


def has_a_size(value: Any) -> bool:
    """Whether a case is described by this argument: a number, an array, or several."""
    return isinstance(value, (int, float, np.number, np.ndarray, tuple, list))


def copied(value: Any) -> Any:
    """Return a value whose arrays are copies."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(copied(item) for item in value)
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    return copy.deepcopy(value) if isinstance(value, np.random.Generator) else value


def unchanged(a: Any, b: Any) -> bool:
    """Whether a value's copy is as it was."""
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(unchanged, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(unchanged(a[key], b[key]) for key in a)
    return True


@dataclass(frozen=True)
class Function:
    """The kind of an answer that is a function, called as `call`: "whiten(x)"."""

    call: str

    def take(self, value: Any) -> Calls:
        """Return the answer, or say that it is no function."""
        if not callable(value) or isinstance(value, type):
            raise KindError(
                f"expected a function, {self.call}, got {kind_of(value)}. "
                "Hand over the function itself, without calling it."
            )
        return Calls(value, self.call)


@dataclass(frozen=True)
class Value:
    """The kind of an answer that is a number, or an array of some shape."""

    shape: tuple[int, ...] = ()
    tolerance: float = 1e-6

    def take(self, value: Any) -> Given:
        """Return the answer, or say that it is no such array."""
        try:
            array = as_array(as_answer(value, self.shape), self.shape, "your answer")
        except AnswerError as fault:
            raise KindError(*fault.args) from None
        return Given(array.astype(np.float64), self.tolerance)


@dataclass(frozen=True)
class Exercise:
    """An exercise that checks itself."""

    label: str
    kind: Function | Value
    chapter: str  # "2-build/forward"
    section: str  # the heading there
    hints: tuple[str, str, str]
    test: Callable[[Any, np.random.Generator], None]
    setup: Callable[[np.random.Generator], dict[str, Any]] | None

    @property
    def title(self) -> str:
        """Return how the chapter's title begins."""
        name = self.chapter.partition("/")[2]
        return TITLES.get(name, name.replace("-", " ").capitalize())

    def tried(self, answer: Any) -> str:
        """Return on what an answer was tried; raise a fault, complete with advice, if it fails."""
        case = ""
        try:
            taken = self.kind.take(answer)
            rng = np.random.default_rng(zlib.crc32(self.label.encode()))
            try:
                self.test(taken, rng)
            except AnswerError:
                raise
            except Exception as error:  # the check could do nothing with what came
                raise AnswerError(
                    f"what came back is of no use here: {told(error)}"
                ) from None
            finally:
                case = taken.case
        except KindError:
            raise
        except AnswerError as fault:
            seen = f"Seen on {case}. " if case else ""
            reread = f"Reread: {self.title}, “{fault.section or self.section}”."
            raise AnswerError(f"{fault}\n  {seen}{reread}") from None
        return taken.tried


def exercise(
    label: str,
    kind: Function | Value,
    *,
    reread: tuple[str, str],
    hints: tuple[str, str, str],
    setup: Callable[[np.random.Generator], dict[str, Any]] | None = None,
) -> Callable[[Callable[[Any, np.random.Generator], None]], Exercise]:
    """Make a check into an exercise, and register it.

    `reread` names a chapter and the section in it; `hints` help more and more, and hold no code;
    `setup` returns by name what the text of the exercise uses.
    """

    def register(test: Callable[[Any, np.random.Generator], None]) -> Exercise:
        made = Exercise(label, kind, *reread, hints, test, setup)
        if label in REGISTRY:
            raise ValueError(f"exercise: {label!r} stands twice in the book's checks")
        REGISTRY[label] = made
        return made

    return register


def load() -> dict[str, Exercise]:
    """Return all exercises by label, in the order of the book; the first call reads the parts."""
    for part in PARTS:
        importlib.import_module(f"bnlib.lab.exercises.{part}")
    return REGISTRY
