"""Parameters and modules: objects that hold state, run forward and backward, save and load.

A module's parameters, buffers and child modules are simply its attributes; nothing is registered.
Three promises hold for every module, those that you write too, since `Module` wraps each forward
and backward: a call that raises has changed nothing; a backward belongs to the last forward, and
uses up what that forward kept; what a forward keeps is never copied or saved.
"""

import contextlib
import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

import numpy as np

from bnlib._checks import (
    FLOATS,
    as_array,
    check_array,
    check_bool,
    check_floats,
    check_function,
    check_gradient,
    check_int,
    check_shape,
    check_writeable,
    described,
    is_int,
)
from bnlib._state import assign, fill, tick
from bnlib._types import Array

__all__ = [
    "Layer",
    "LoadReport",
    "Module",
    "Parameter",
    "Residual",
    "Sequential",
    "no_grad",
]


# Types of attributes in which nothing changes.
CONSTANTS = {bool, int, float, str, tuple, type(None)}
CONSTANTS |= {type(np.dtype(dtype)) for dtype in FLOATS}


class Parameter:
    """An array that is learned, and the gradient that has gathered for it.

    Parameters
    ----------
    data : ndarray of float32 or float64
        The value. Optimizers change it in place.

    Attributes
    ----------
    data, grad : ndarray
        Value and gradient, of one shape and dtype; `grad` starts at 0.
    version : int
        When the value was last changed by an optimizer, by `Module.load_state_dict` or by an
        assignment (``p.data = …``, ``p.data -= …``): a number that only grows. A change by
        ``p.data[...] = …`` is not seen.

    Raises
    ------
    TypeError, ValueError
        If `data` is no array of float32 or float64; if one of another shape or dtype is assigned.

    Examples
    --------
    >>> weight = Parameter(np.ones((2, 3)))
    >>> weight
    Parameter(shape=(2, 3), dtype=float64)
    >>> weight.grad += 0.5
    >>> float(weight.grad.sum())
    3.0
    """

    data: Array
    grad: Array
    version: int

    def __init__(self, data: Array):
        self.data = data
        self.grad = np.zeros_like(data, subok=False)

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if name in ("data", "grad") and value is not own.get(name, self):
            check_floats("Parameter", name, value)
            if value.dtype == np.float16:
                raise TypeError(
                    f"Parameter: expected {name} of dtype float32 or float64, got float16"
                )
            if "data" in own:
                check_gradient(
                    "Parameter", value, own["data"].shape, own["data"].dtype, name
                )
        own[name] = value
        if name == "data":
            own["version"] = tick()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "version": 0}  # the clock of another process starts anew

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class _Local(threading.local):
    """What is under way in this thread."""

    since = 0  # when the forward began whose backward is running; 0: none is
    guarded = False  # whether the caller undoes what a call that begins now has done

    def __init__(self) -> None:
        self.no_grads: list[no_grad] = []  # one inside the other
        # Caches under `no_grad`, until the call ends.
        self.loose: dict[Module, Any] = {}


_local = _Local()


class no_grad:  # noqa: N801 (PyTorch's name)
    """Context in which no forward keeps anything: for predictions. A decorator too.

    It holds for the thread that enters it. What was kept before stays, so that a backward still
    belongs to the forward before this.

    Examples
    --------
    >>> from bnlib import ReLU
    >>> relu = ReLU()
    >>> with no_grad():
    ...     y = relu(np.ones((2, 3)))
    >>> relu.cache is None
    True
    """

    def __enter__(self) -> None:
        _local.no_grads.append(self)

    def __exit__(self, *error: object) -> None:
        _local.no_grads.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs in this context."""
        lazy = (
            inspect.isgeneratorfunction,
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
        )
        if not callable(function) or any(kind(function) for kind in lazy):
            raise TypeError(
                "no_grad: expected a function that runs when it is called, got "
                f"{described(function)}: use `with no_grad()` inside"
            )

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return wrapped


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Context in which calls keep nothing to go back to: where one raises, the network is lost.

    For a loop that made its network itself and loses nothing with it; in small networks of many
    layers, what a step would keep takes a sixth of its time.
    """
    guarded, _local.guarded = _local.guarded, True
    try:
        yield
    finally:
        _local.guarded = guarded


class _Snapshot:
    """A module and those below it, and their state, to go back to."""

    def __init__(self, root: "Module", backward: bool = False):
        self.modules = list(root.modules())
        self.variables = [(own, own.copy()) for own in map(vars, self.modules)]
        self.parameters: list[Parameter] = []
        self.arrays: list[tuple[Array, Array]] = []
        self.generators = []
        self.containers = []
        foreign = not all(module._known for module in self.modules)
        for module in self.modules:
            for name, value in vars(module).items():
                if type(value) in CONSTANTS or name == "_cache":
                    continue
                if isinstance(value, Parameter):
                    self.parameters.append(value)
                    if backward or not module._known:
                        # At nearly every backward it is 0: to look is cheaper than to copy.
                        kept = value.grad.copy() if is_set(value.grad) else np.zeros(())
                        self.arrays.append((value.grad, kept))
                elif isinstance(value, np.ndarray):
                    if foreign or not backward:
                        self.arrays.append((value, value.copy()))
                elif isinstance(value, np.random.Generator):
                    bits = value.bit_generator
                    self.generators.append((bits, bits.state))
                elif foreign and isinstance(value, (list, dict, set)):
                    self.containers.append((value, value.copy()))
        for parameter in self.parameters:
            if foreign or backward:
                self.variables.append((vars(parameter), vars(parameter).copy()))
            if foreign:
                self.arrays.append((parameter.data, parameter.data.copy()))

    def restore(self) -> None:
        """Go back; whatever goes wrong here must not hide the error that led here."""
        for variables, saved in self.variables:
            for name in variables.keys() - saved.keys():
                del variables[name]
            variables.update(saved)
        for array, value in self.arrays:
            with contextlib.suppress(ValueError):  # read-only, so it has not changed
                array[...] = value
        for bits, state in self.generators:
            bits.state = state
        for container, content in self.containers:
            if isinstance(container, list):
                container[:] = content
            else:
                container.clear()
                container.update(content)


def _forward(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a forward: a call that raises changes nothing, and leaves no cache."""

    @functools.wraps(method)
    def forward(self: "Module", *args: Any, **kwargs: Any) -> Any:
        own, guarded, loose = vars(self), _local.guarded, None
        before = None if guarded else _Snapshot(self)
        keeping, began = not _local.no_grads, tick()
        try:
            _local.guarded = self._known
            if keeping:
                own["_cache"] = own["_span"] = None
            elif self not in _local.loose:  # as it is in the `forward` of a base class
                loose = _local.loose
                loose[self] = None
            y = method(self, *args, **kwargs)
            if keeping:
                own["_span"] = began, tick()
            elif loose is not None:
                del loose[self]
            _local.guarded = guarded
            return y
        except BaseException:
            _local.guarded = guarded
            if before is not None:
                before.restore()
            if keeping:
                for module in before.modules if before is not None else [self]:
                    vars(module).update(_cache=None, _span=None)
            elif loose is not None:
                loose.pop(self, None)
            raise

    forward.wrapped = True  # type: ignore[attr-defined]
    return forward


def _backward(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a backward: it uses up what one forward kept, or raises and changes nothing."""

    @functools.wraps(method)
    def backward(self: "Module", *args: Any, **kwargs: Any) -> Any:
        own, guarded, since = vars(self), _local.guarded, _local.since
        self._check_span(since)
        before = None if guarded else _Snapshot(self, backward=True)
        if before is not None and not since:
            self._check_unchanged(before)
        try:
            _local.guarded = self._known
            if not since:
                _local.since = self._span[0]
            dx = method(self, *args, **kwargs)
            own["_cache"], own["_span"] = None, ()
            _local.since, _local.guarded = since, guarded
            return dx
        except BaseException:
            _local.since, _local.guarded = since, guarded
            if before is not None:
                before.restore()
            raise

    backward.wrapped = True  # type: ignore[attr-defined]
    return backward


def _renamed(method: Any, name: str) -> Any:
    """Return a copy of a function whose wrong arguments are errors of another name."""
    copy = types.FunctionType(
        method.__code__, method.__globals__, closure=method.__closure__
    )
    copy.__defaults__, copy.__kwdefaults__ = method.__defaults__, method.__kwdefaults__
    functools.update_wrapper(copy, method).__qualname__ = name
    return copy


class LoadReport(NamedTuple):
    """What `Module.load_state_dict` did not load, or was not given.

    Parameters
    ----------
    missing_keys, unexpected_keys : list of str
        Names that the state lacks, and names that the module lacks.

    Examples
    --------
    >>> from bnlib import Linear
    >>> layer = Linear(2, 1, bias=False)
    >>> state = {"weight": np.ones((1, 2)), "bias": np.zeros(1)}
    >>> layer.load_state_dict(state, strict=False)
    LoadReport(missing_keys=[], unexpected_keys=['bias'])
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of all layers and networks.

    A subclass defines ``forward(x)``, which returns y and stores what the backward needs in
    ``self.cache``, and ``backward(dy)``, which returns dx and adds to each ``Parameter.grad``. Its
    attributes that are a `Parameter` or a `Module` are found by themselves; the names of arrays to
    be saved beside them stand in ``buffer_names``.

    Attributes
    ----------
    training : bool
        Set by `train` and `eval`.
    cache
        What the last forward kept; None before it, and after its backward.

    Notes
    -----
    A backward belongs to the module's last forward that was not under `no_grad`. It raises if there
    was none, if it was used up, if a module inside has been called since, or if a parameter inside
    was changed by an optimizer, by loading or by an assignment. Arrays that are passed in must not
    change in between, and the elements of a parameter by nobody else.

    Examples
    --------
    >>> from bnlib import Linear, ReLU
    >>> class Net(Module):
    ...     def __init__(self):
    ...         self.first, self.act = Linear(3, 2), ReLU()
    ...     def forward(self, x):
    ...         self.cache = x.shape
    ...         return self.act(self.first(x))
    ...     def backward(self, dy):
    ...         return self.first.backward(self.act.backward(dy))
    >>> net = Net()
    >>> list(net.state_dict())
    ['first.weight', 'first.bias']
    >>> y = net(np.ones((4, 3), np.float32))
    >>> net.backward(y).shape
    (4, 3)
    """

    buffer_names: tuple[str, ...] = ()
    # For each setting a function (call, name, value) that returns the value to keep, or raises.
    _settings: ClassVar[Mapping[str, Callable[[str, str, Any], Any]]] = {
        "training": check_bool
    }
    _fixed: ClassVar[tuple[str, ...]] = ()  # settings that nobody may change afterwards
    # Whether the class is one of bnlib: none of those goes on after an error of what it calls, or
    # changes a parameter in a forward.
    _known: ClassVar[bool] = True
    # Whether its backward can leave out the gradient with respect to x.
    _may_skip: ClassVar[bool] = False

    training = True
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    _cache: Any = None
    _span: Any = None  # when the last forward began and ended; () after its backward

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._known = cls.__module__.partition(".")[0] == "bnlib"
        wraps = {"forward": _forward, "backward": _backward, "__init__": None}
        for name, wrap in wraps.items():
            # Its own, or that of a base, which may be no Module.
            method = getattr(cls, name, None)
            if wrap and method is not None and not hasattr(method, "wrapped"):
                method = wrap(vars(cls).get(name, method))
                setattr(cls, name, method)
            # What shares a base that is bnlib's own business goes by the class's name.
            if cls._known and getattr(method, "__qualname__", "").startswith("_"):
                method = getattr(method, "__wrapped__", method)
                method = _renamed(method, f"{cls.__name__}.{name}")
                setattr(cls, name, wrap(method) if wrap else method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`."""
        return self.forward(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "cache":  # by far the most frequent
            super().__setattr__(name, value)
            return
        call, old = type(self).__name__, vars(self).get(name)
        if name in self._settings:
            value = self._settings[name](call, name, value)
        kind = getattr(type(self), name, None)
        derived = isinstance(kind, property) and kind.fset is None
        if (derived or name in self._fixed) and hasattr(self, name):
            old = getattr(self, name)
            if value == old:
                return
            raise ValueError(
                f"{call}: expected {name} to stay {old}, got {described(value)}: "
                "make a new layer"
            )
        if name in self.buffer_names and value is not None:
            check_array(call, name, value)
        for kind in (Parameter, Module):
            if isinstance(old, kind) and not isinstance(value, (kind, type(None))):
                raise TypeError(
                    f"{call}: expected {name} to be a {kind.__name__} or None, "
                    f"got {type(value).__name__}"
                )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_cache", "_span")}

    @property
    def cache(self) -> Any:
        """What the last forward kept; None before it, and after its backward.

        Returns
        -------
        object
            As the forward has set it.
        """
        loose = _local.loose
        return loose.get(self, self._cache)

    @cache.setter
    def cache(self, value: Any) -> None:
        loose = _local.loose
        if self in loose:
            loose[self] = value
        else:
            vars(self)["_cache"] = value

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows.

        Returns
        -------
        str
            As in a call.
        """
        return ""

    def saved_cache(self) -> Any:
        """Return what the last forward stored.

        Returns
        -------
        object
            ``self.cache``.

        Raises
        ------
        ValueError
            If there was no forward, or a backward has used it up.
        """
        if self._cache is None:
            self._refuse_backward("expected a forward call first")
        return self._cache

    def _refuse_backward(self, reason: str) -> NoReturn:
        raise ValueError(f"{type(self).__name__}.backward: {reason}")

    def _check_span(self, since: int) -> None:
        """Raise unless a forward kept something, and began after `since`."""
        if not self._span or self._span[0] < since:
            reason = "expected a forward call first"
            if self._span:
                reason += "; the last is older than that of the caller"
            elif self._span is not None:
                reason += "; a backward has used up what the last kept"
            self._refuse_backward(reason)

    def _check_unchanged(self, now: _Snapshot) -> None:
        """Raise if something inside was called or changed after the last forward."""
        ended = self._span[1]
        cure = "since the forward, whose gradient is lost: expected a new forward first"
        for module in now.modules:
            if module._span and module._span[1] > ended:
                self._refuse_backward(
                    f"a {type(module).__name__} inside was called again {cure} "
                    "(under bnlib.no_grad a call does no harm)"
                )
        for parameter in now.parameters:
            if parameter.version > ended:
                self._refuse_backward(f"a Parameter was changed {cure}")

    def _places(self) -> Iterator[tuple[str, "Module"]]:
        """Iterate over the direct children, by all their names."""
        for name, value in vars(self).items():
            if type(value) not in CONSTANTS and isinstance(value, Module):
                yield name, value

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Iterate over the direct children.

        Yields
        ------
        name : str
            Name of the attribute; the first of several.
        module : Module
            The child.
        """
        seen = set()
        for name, module in self._places():
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator["Module"]:
        """Iterate over the direct children.

        Yields
        ------
        Module
            Each child once.
        """
        for _, child in self.named_children():
            yield child

    def named_modules(
        self, prefix: str = "", seen: set["Module"] | None = None
    ) -> Iterator[tuple[str, "Module"]]:
        """Iterate over this module and all modules below it, each once.

        Parameters
        ----------
        prefix : str
            Name of this module.
        seen : set of Module or None
            Modules to leave out.

        Yields
        ------
        name : str
            Names of the attributes on the way, with dots between them.
        module : Module
            The module of that name.
        """
        seen = set() if seen is None else seen
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(_dotted(prefix, name), seen)

    def modules(self) -> Iterator["Module"]:
        """Iterate over this module and all modules below it.

        Yields
        ------
        Module
            Each of them once.
        """
        seen: dict[Module, None] = {}  # in the order of `named_modules`

        def visit(module: Module) -> None:
            if module not in seen:
                seen[module] = None
                for _, child in module._places():
                    visit(child)

        visit(self)
        yield from seen

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Call a function on all modules below this one, and on this one last.

        Parameters
        ----------
        function : callable
            Takes a module.

        Returns
        -------
        Module
            This module.
        """
        check_function(f"{type(self).__name__}.apply", "function", function)
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Iterate over the parameters, own ones first; one that has two names comes once.

        Parameters
        ----------
        prefix : str
            Name of this module.

        Yields
        ------
        name : str
            Dotted, as in PyTorch.
        parameter : Parameter
            The parameter of that name.
        """
        seen = set()
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    yield _dotted(path, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the parameters.

        Yields
        ------
        Parameter
            Each of them once.
        """
        for _, parameter in self.named_parameters():
            yield parameter

    def buffers(self) -> Iterator[Array]:
        """Iterate over the arrays that are saved beside the parameters, such as a running mean.

        Yields
        ------
        ndarray
            The array itself.
        """
        for module in self.modules():
            for name in module.buffer_names:
                if getattr(module, name) is not None:
                    yield getattr(module, name)

    def named_state(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Iterate over all that is saved, in PyTorch's order and under its names.

        Parameters
        ----------
        prefix : str
            Name of this module.

        Yields
        ------
        name : str
            Dotted, as in PyTorch.
        array : ndarray
            The array itself, no copy.
        """
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield _dotted(prefix, name), value.data
        for name in self.buffer_names:
            if getattr(self, name) is not None:
                yield _dotted(prefix, name), getattr(self, name)
        for name, child in self._places():
            yield from child.named_state(_dotted(prefix, name))

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training.

        Parameters
        ----------
        mode : bool
            False for evaluation.

        Returns
        -------
        Module
            This module.

        Raises
        ------
        TypeError
            If `mode` is neither True nor False.
        """
        check_bool(f"{type(self).__name__}.train", "mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below it to evaluation.

        Returns
        -------
        Module
            This module.
        """
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0; of all of them, or none.

        Raises
        ------
        ValueError
            If a gradient is read-only.
        """
        zero_gradients(f"{type(self).__name__}.zero_grad", self.parameters())

    def state_dict(self) -> dict[str, Array]:
        """Copy all parameters and buffers.

        Returns
        -------
        dict of str to ndarray
            Under PyTorch's names.
        """
        return {name: array.copy() for name, array in self.named_state()}

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True
    ) -> LoadReport:
        """Copy arrays into the parameters and buffers, in place; all of them, or none.

        Parameters
        ----------
        state : dict of str to array_like
            As `state_dict` returns it. Floating values are cast to the dtype of their target.
        strict : bool
            Whether to refuse a state in which a name is missing, or one is there that is not
            expected. What is there must fit in any case.

        Returns
        -------
        LoadReport
            The names that are missing, and those that were not expected.

        Raises
        ------
        KeyError
            If names differ, and `strict`.
        TypeError, ValueError
            If `state` is no dict, a value is not of the target's kind (floating, integer) or shape,
            or a count is out of range.
        """
        call = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{call}: expected state to be a dict, got {type(state).__name__}"
            )
        check_bool(call, "strict", strict)
        targets = dict(self.named_state())
        report = LoadReport(
            [name for name in targets if name not in state],
            [name for name in state if name not in targets],
        )
        if strict and any(report):
            missing, unexpected = report
            raise KeyError(f"{call}: missing {missing}, unexpected {unexpected}")
        changes = [
            (name, target, loadable(call, name, state[name], target))
            for name, target in targets.items()
            if name in state
        ]
        now = tick()
        assign(call, changes, [(p, "version", now) for p in self.parameters()])
        return report


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def is_set(a: Array) -> bool:
    """Whether a bit of an array is set; sooner said than whether a number is not 0."""
    bits = a.view(np.bool_) if a.flags.c_contiguous and a.ndim else a
    return bool(bits.any())


def zero_gradients(call: str, parameters: Iterable[Parameter]) -> None:
    """Set the gradients of parameters to 0; of all of them, or none."""
    gradients = [parameter.grad for parameter in parameters]
    for i, gradient in enumerate(gradients):
        if not gradient.flags.writeable:
            check_writeable(call, f"the gradient of parameter {i}", gradient)
    fill(gradients, 0)


def loadable(call: str, name: str, value: Any, target: Array) -> Array:
    """Return a value of a state as an array; raise unless it fits the array that it is for."""
    value = as_array(call, name, value)
    if value.dtype != target.dtype:
        kind = "floating" if target.dtype in FLOATS else "integer"
        if kind == "integer" and target.dtype.kind not in "iu":
            fits = False
        elif kind == "floating":
            fits = value.dtype in FLOATS
        else:
            fits = value.dtype.kind in "iu"
        if not fits:
            raise TypeError(
                f"{call}: expected {name} of dtype {target.dtype}, got {value.dtype}"
            )
    check_shape(call, name, value, target.shape)
    if target.dtype.kind in "iu":
        bounds = np.iinfo(target.dtype)
        # A single integer counts something.
        low, high = 0 if target.shape == () else bounds.min, bounds.max
        for number in value.ravel().tolist():
            check_int(call, name, number, low, int(high))
    return value


def _locate(error: Exception, name: str) -> None:
    """Add to an error where in the network it came from: ``[in layer 1.0]``."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        text, mark, path = error.args[0].rpartition(" [in layer ")
        if not mark:
            text, path = path, "]"
        elif path:
            path = f".{path}"
        error.args = (f"{text} [in layer {name}{path}",)


def check_module(call: str, name: str, value: Any, optional: bool = False) -> Any:
    """Return a module, or None where it is optional; raise TypeError for anything else."""
    if not isinstance(value, Module) and not (optional and value is None):
        kind = type(value).__name__
        raise TypeError(f"{call}: expected {name} to be a Module, got {kind}")
    return value


class Layer(Module):
    """Base of the layers that hold no other module.

    Examples
    --------
    >>> class Double(Layer):
    ...     def forward(self, x):
    ...         self.cache = x.shape
    ...         return 2 * x
    ...     def backward(self, dy):
    ...         self.saved_cache()
    ...         return 2 * dy
    >>> double = Double()
    >>> double(np.ones(3)), double.backward(np.ones(3))
    (array([2., 2., 2.]), array([2., 2., 2.]))
    """


class Sequential(Module):
    """Modules one after the other.

    Parameters
    ----------
    *layers : Module
        In the order of the forward pass, or one dict with their names.

    Raises
    ------
    TypeError
        If one of them is no module.
    ValueError
        If one object comes twice: it can keep what the backward needs of one call only.

    Examples
    --------
    >>> from bnlib import Linear, ReLU
    >>> net = Sequential(Linear(4, 3), ReLU())
    >>> net(np.ones((2, 4), dtype=np.float32)).shape
    (2, 3)
    >>> list(net.state_dict())
    ['0.weight', '0.bias']
    >>> Sequential({"map": Linear(4, 3), "act": ReLU()}).act
    ReLU()
    """

    _may_skip = True

    def __init__(self, *layers: Module | Mapping[str, Module]):
        super().__init__()
        self._layers: dict[str, Module] = {}
        named: dict[str, Any] = {str(i): layer for i, layer in enumerate(layers)}
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = dict(layers[0])
        self._layers = self._checked(named)

    def _checked(self, named: Mapping[str, Any]) -> dict[str, Module]:
        """Return the layers; raise unless they are modules, each of them once."""
        places: dict[Module, str] = {}
        for name, layer in named.items():
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential: expected modules, got {type(layer).__name__} at {name}"
                )
            taken = name in vars(self) or hasattr(type(self), str(name))
            if not isinstance(name, str) or "." in name or name == "" or taken:
                raise ValueError(
                    f"Sequential: expected another name for a layer, got {described(name)}"
                )
            for path, module in layer.named_modules(name):
                if module in places:
                    raise ValueError(
                        f"Sequential: expected each module once, got the same "
                        f"{type(module).__name__} at {places[module]} and {path}: make a new "
                        "one for each place"
                    )
                places[module] = path
        return dict(named)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self).get("_layers", ()):
            self._layers = self._checked({**self._layers, name: value})
        elif isinstance(value, Module) and type(self) is Sequential:
            raise AttributeError(
                f"Sequential: has no layer {name!r} that could be replaced; for one more make a "
                "new Sequential"
            )
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Module:
        try:
            return vars(self)["_layers"][name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no attribute or layer {name!r}"
            ) from None

    def __getitem__(self, i: int | slice) -> Any:
        """Return the layer at a position, or a `Sequential` of those in a slice."""
        if isinstance(i, slice):
            return Sequential(dict(list(self._layers.items())[i]))
        return self._layers[self._name(i)]

    def __setitem__(self, i: int, layer: Module) -> None:
        """Replace the layer at a position."""
        self._layers = self._checked({**self._layers, self._name(i): layer})

    def _name(self, i: Any) -> str:
        if not is_int(i):
            kind = type(i).__name__
            raise TypeError(f"Sequential: expected a position as an int, got {kind}")
        if not -len(self) <= i < len(self):
            raise IndexError(
                f"Sequential: expected a position below {len(self)}, got {described(i)}"
            )
        return list(self._layers)[i]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    def __repr__(self) -> str:
        lines = [f"\n({name}): {layer!r}" for name, layer in self.named_children()]
        body = "".join(lines).replace("\n", "\n  ")
        return (
            f"{type(self).__name__}({body}\n)" if lines else f"{type(self).__name__}()"
        )

    def _places(self) -> Iterator[tuple[str, Module]]:
        yield from self._layers.items()
        yield from super()._places()  # of a subclass

    def forward(self, x: Array) -> Array:
        """Run the layers in order.

        Parameters
        ----------
        x : ndarray
            Input of the first.

        Returns
        -------
        ndarray
            Output of the last.
        """
        try:
            for name, layer in self._layers.items():  # noqa: B007
                x = layer(x)
        except (TypeError, ValueError) as error:
            _locate(error, name)
            raise
        return x

    def backward(self, dy: Array, *, input_gradient: bool = True) -> Array | None:
        """Run the layers' backwards in reverse order.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.
        input_gradient : bool
            False for None instead of the gradient with respect to x: in training nobody needs it,
            and a first layer that is a `Linear` or a `Conv2d` does not compute it.

        Returns
        -------
        ndarray or None
            Gradient with respect to x.
        """
        check_bool("Sequential.backward", "input_gradient", input_gradient)
        dx: Array | None = dy
        last = len(self._layers) - 1
        try:
            for i, (name, layer) in enumerate(reversed(self._layers.items())):  # noqa: B007
                if i == last and not input_gradient and layer._may_skip:
                    dx = layer.backward(dx, input_gradient=False)
                else:
                    dx = layer.backward(dx)
        except (TypeError, ValueError) as error:
            _locate(error, name)
            raise
        return dx if input_gradient else None


class Residual(Module):
    """A branch and a way around it: ``y = branch(x) + shortcut(x)``.

    Parameters
    ----------
    branch : Module
        What is learned on top.
    shortcut : Module or None
        The way around; None for the identity.

    Raises
    ------
    TypeError, ValueError
        If one of them is no module, or both hold the same object; in a call, if their outputs
        differ in shape or dtype.

    Notes
    -----
    He, Zhang, Ren & Sun (2016), "Deep Residual Learning for Image Recognition", eq. 1 and 2.

    Examples
    --------
    >>> from bnlib import ReLU
    >>> Residual(ReLU())(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    _settings: ClassVar = {
        **Module._settings,
        "branch": check_module,
        "shortcut": functools.partial(check_module, optional=True),
    }

    def __init__(self, branch: Module, shortcut: Module | None = None):
        super().__init__()
        check_module("Residual", "branch", branch)
        if isinstance(shortcut, Module) and {*branch.modules()} & {*shortcut.modules()}:
            raise ValueError(
                "Residual: expected branch and shortcut to share no module"
            )
        self.branch = branch
        self.shortcut = shortcut

    def __repr__(self) -> str:
        lines = [f"\n({name}): {child!r}" for name, child in self.named_children()]
        return f"Residual({''.join(lines)}".replace("\n", "\n  ") + "\n)"

    def forward(self, x: Array) -> Array:
        """Add the two ways.

        Parameters
        ----------
        x : ndarray
            Input of both.

        Returns
        -------
        ndarray
            Their sum.
        """
        try:
            name = "shortcut"
            around = x if self.shortcut is None else self.shortcut(x)
            name = "branch"
            y = self.branch(x)
        except (TypeError, ValueError) as error:
            _locate(error, name)
            raise
        check_floats("Residual", "the branch's output", y)
        if y.dtype != around.dtype or y.shape != around.shape:
            raise ValueError(
                f"Residual: expected outputs of one shape and dtype, got {y.shape} {y.dtype} "
                f"from the branch and {around.shape} {around.dtype} from the shortcut"
            )
        return y + around

    def backward(self, dy: Array) -> Array:
        """Add the gradients of the two ways.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to x.
        """
        try:
            name = "shortcut"
            around = dy if self.shortcut is None else self.shortcut.backward(dy)
            name = "branch"
            return self.branch.backward(dy) + around
        except (TypeError, ValueError) as error:
            _locate(error, name)
            raise
