"""What an exercise is, and the tools of its check.

A check is a function of the answer and a seeded generator. It raises `AnswerError` at the first
property that fails, in plain words, and returns when all hold. The answer comes as what its kind
makes of it: a function as `Calls`, an array or a number as `Given`.
"""

import copy
import importlib
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bnlib._types import Array

PARTS = ("_why", "_build", "_evidence", "_limits", "_insight", "_practice")
REGISTRY: "dict[str, Exercise]" = {}
Known = Iterable[
    tuple[Any, str]
]  # wrong values that many find, each with its own reply


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
    """Whether two arrays have one shape and the same finite values, to a tolerance."""
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.shape == b.shape
        and bool(np.isfinite(a).all())
        and bool(np.allclose(a, b, rtol=rtol, atol=atol))
    )


def match(
    value: Any, right: Any, text: str, known: Known = (), rtol: float = 1e-7
) -> None:
    """Raise a fault unless `value` is `right`: with a known wrong value's reply, or with `text`."""
    if near(value, right, rtol):
        return
    for wrong, reply in known:
        expect(not near(value, wrong, rtol), reply)
    raise AnswerError(text)


class Given:
    """An answer that is an array or a number."""

    def __init__(self, value: Array, tolerance: float):
        self.value, self.tolerance = value, tolerance
        self.tried, self.case = f"to within {tolerance:g}", ""

    def near(self, right: Any) -> bool:
        """Whether the answer is this value, to its tolerance."""
        return near(self.value, right, rtol=0, atol=self.tolerance)

    def match(self, right: Any, text: str, known: Known = ()) -> None:
        """Raise a fault unless the answer is `right`, with the reply to a known wrong one."""
        if self.near(right):
            return
        for wrong, reply in known:
            expect(not self.near(wrong), reply)
        raise AnswerError(f"{text} (It is compared to within {self.tolerance:g}.)")


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
            text = " ".join(str(error).split())
            raise AnswerError(
                f"your function raised {type(error).__name__}: {text}. "
                f"It is called as {self.call}."
            ) from None
        for at, (mine, theirs) in enumerate(zip(args, given, strict=True)):
            if at not in changes and not unchanged(mine, theirs):
                raise AnswerError(
                    f"your function changes its argument number {at + 1} in place. "
                    "Work on a copy."
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
        result = self(*args)
        if not isinstance(result, (tuple, list)) or len(result) != len(shapes):
            raise AnswerError(
                f"expected your function to return {len(shapes)} values, "
                f"{', '.join(shapes)}; it returned {kind_of(result)}."
            )
        return [
            as_array(value, shape, name)
            for value, (name, shape) in zip(result, shapes.items(), strict=True)
        ]

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
        raise AnswerError(f"expected {what} to be {wanted}, got {kind_of(value)}.")
    if shape == () and array.size == 1:
        array = array.reshape(())
    if array.shape != shape:
        raise AnswerError(f"expected {what} to be {wanted}, got {kind_of(value)}.")
    if not np.isfinite(array).all():
        raise AnswerError(f"{what} holds NaN or infinity, and that is never right.")
    return array


def kind_of(value: Any) -> str:
    """Return in a few words what a value is."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} of {value.dtype}"
    if value is None:
        return "None"
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
            array = as_array(value, self.shape, "your answer")
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
                text = " ".join(str(error).split())
                raise AnswerError(
                    f"what came back is of no use: {type(error).__name__}: {text}."
                ) from None
            finally:
                case = taken.case
        except KindError:
            raise
        except AnswerError as fault:
            name = self.chapter.partition("/")[2].replace("-", " ").capitalize()
            seen = f"Seen on {case}. " if case else ""
            reread = f"Reread: {name}, “{fault.section or self.section}”."
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
