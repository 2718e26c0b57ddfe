"""Parameters and modules: objects that hold state, run forward and backward, save and load.

A module's parameters, buffers and child modules are simply its attributes; nothing is registered.
Three promises hold for every module, those that you write too, since `Module` wraps each forward
and backward: a call that raises has changed nothing; a backward belongs to the last forward, and
uses up what that forward kept; what a forward keeps is never copied or saved.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from bnlib._checks import FLOATS, check_floats, check_int, check_shape
from bnlib._state import assign
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
        How often an optimizer or `Module.load_state_dict` has changed the value.

    Raises
    ------
    TypeError
        If `data` is no array of float32 or float64.
    """

    def __init__(self, data: Array):
        check_floats("Parameter", "data", data)
        if data.dtype == np.float16:
            raise TypeError(
                "Parameter: expected data of dtype float32 or float64, got float16"
            )
        self.data = data
        self.grad = np.zeros_like(data)
        self.version = 0

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class _Local(threading.local):
    """What is under way in this thread."""

    depth = 0  # calls of modules, one inside the other
    keeping = True  # whether a forward keeps what its backward needs


_local = _Local()


class no_grad(contextlib.ContextDecorator):  # noqa: N801 (PyTorch's name)
    """Context in which no forward keeps anything: for predictions. A decorator too.

    What was kept before stays, so that a backward still belongs to the forward before this.

    Examples
    --------
    >>> from bnlib import ReLU
    >>> relu = ReLU()
    >>> with no_grad():
    ...     y = relu(np.ones((2, 3)))
    >>> relu.cache is None
    True
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        self._before.append(_local.keeping)
        _local.keeping = False
        return self

    def __exit__(self, *error: object) -> None:
        _local.keeping = self._before.pop()


class _Stamp:
    """What must not change between a forward and its backward."""

    def __init__(self, modules: list["Module"]):
        self.modules = modules  # the one that was called, and all below it
        self.calls = [m._calls for m in modules[1:]]
        self.parameters = [p for m in modules for p in m._own_parameters()]
        self.versions = [p.version for p in self.parameters]

    def check(self) -> None:
        """Raise ValueError unless all is as it was."""
        if self.calls == [m._calls for m in self.modules[1:]] and self.versions == [
            p.version for p in self.parameters
        ]:
            return
        call = f"{type(self.modules[0]).__name__}.backward"
        cure = "since the forward, whose gradient is lost: expected a new forward first"
        for module, calls in zip(self.modules[1:], self.calls, strict=True):
            if module._calls != calls:
                raise ValueError(
                    f"{call}: a {type(module).__name__} inside was called again {cure} "
                    "(under bnlib.no_grad a call does no harm)"
                )
        raise ValueError(f"{call}: a Parameter was changed {cure}")


_INSIDE = _Stamp([])  # of a layer inside a network, whose own stamp says all


class _Snapshot:
    """The state of some modules, to go back to."""

    def __init__(self, modules: list["Module"], parameters: list[Parameter]):
        self.variables = []
        self.arrays: list[tuple[Array, Array | None]] = []
        self.generators = []
        for module in modules:
            variables = vars(module).copy()
            self.variables.append((module, variables))
            for name, value in variables.items():
                if type(value) is np.ndarray and name != "cache":
                    self.arrays.append((value, value.copy()))
                elif isinstance(value, np.random.Generator):
                    bits = value.bit_generator
                    self.generators.append((bits, bits.state))
        for parameter in parameters:
            # Nearly always it is 0 now: to look is cheaper than to copy.
            grad = parameter.grad
            self.arrays.append((grad, grad.copy() if grad.any() else None))

    def restore(self) -> None:
        """Go back; whatever goes wrong here must not hide the error that led here."""
        for module, variables in self.variables:
            vars(module).clear()
            vars(module).update(variables)
        for array, value in self.arrays:
            with contextlib.suppress(ValueError):  # read-only, so it has not changed
                array[...] = 0 if value is None else value
        for bits, state in self.generators:
            bits.state = state


def _forward(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a forward: a call that raises changes nothing, and leaves no cache."""

    @functools.wraps(method)
    def forward(self: "Module", *args: Any, **kwargs: Any) -> Any:
        own = vars(self)
        kept = own["cache"], own["_stamp"]
        keeping = _local.keeping
        inside = self.changes_state_last and _local.depth > 0
        modules = [self] if inside else list(self.modules())
        before = None if inside else _Snapshot(modules, [])
        _local.depth += 1
        try:
            own["cache"], own["_stamp"] = None, None
            y = method(self, *args, **kwargs)
            if keeping:
                own["_calls"] += 1
                own["_stamp"] = _INSIDE if inside else _Stamp(modules)
            return y
        except BaseException:
            if before is not None:
                before.restore()
            if keeping:
                for module in modules:
                    vars(module).update(cache=None, _stamp=None)
            raise
        finally:
            _local.depth -= 1
            if not keeping:
                own["cache"], own["_stamp"] = kept

    return forward


def _backward(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a backward: it uses up what one forward kept, or raises and changes nothing."""

    @functools.wraps(method)
    def backward(self: "Module", *args: Any, **kwargs: Any) -> Any:
        own = vars(self)
        stamp = own["_stamp"]
        if stamp is None:
            self._refuse_backward()
        if stamp is _INSIDE and _local.depth == 0:
            stamp = _Stamp([self])
        before = None
        if stamp is not _INSIDE:
            stamp.check()
            before = _Snapshot(stamp.modules, stamp.parameters)
        _local.depth += 1
        try:
            dx = method(self, *args, **kwargs)
            own["cache"], own["_stamp"] = None, None
            return dx
        except BaseException:
            if before is not None:
                before.restore()
            raise
        finally:
            _local.depth -= 1

    return backward


class LoadReport(NamedTuple):
    """What `Module.load_state_dict` did not load, or was not given.

    Parameters
    ----------
    missing_keys, unexpected_keys : list of str
        Names that the state lacks, and names that the module lacks.
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
    was changed by an optimizer or by loading. Arrays that are passed in must not change in between.
    """

    buffer_names: tuple[str, ...] = ()
    # True promises that forward and backward change state in their last step only, so that nobody
    # inside a network need remember it; the outermost call always does.
    changes_state_last = False

    training: bool
    cache: Any
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __init__(self) -> None:
        self.training = True
        self.cache = None
        self._calls = 0  # forwards that kept something
        self._stamp: _Stamp | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, wrap in (("forward", _forward), ("backward", _backward)):
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))

    def __call__(self, x: Array) -> Array:
        """Run `forward`."""
        return self.forward(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "cache":  # by far the most frequent
            vars(self)[name] = value
            return
        call = f"{type(self).__name__}.{name}"
        if name == "training" and not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{call}: expected True or False, got {value!r}")
        if name in self.buffer_names and not isinstance(
            value, (np.ndarray, type(None))
        ):
            raise TypeError(
                f"{call}: expected a NumPy array or None, got {type(value).__name__}"
            )
        old = vars(self).get(name)
        for kind in (Parameter, Module):
            if isinstance(old, kind) and not isinstance(value, (kind, type(None))):
                raise TypeError(
                    f"{call}: expected a {kind.__name__} or None, got {type(value).__name__}"
                )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "cache": None, "_stamp": None}

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
        if self.cache is None:
            self._refuse_backward()
        return self.cache

    def _refuse_backward(self) -> None:
        raise ValueError(
            f"{type(self).__name__}.backward: expected a forward call first"
            + ("" if not self._calls else "; a backward has used up what the last kept")
        )

    def _own_parameters(self) -> list[Parameter]:
        return [value for value in vars(self).values() if isinstance(value, Parameter)]

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Iterate over the direct children.

        Yields
        ------
        name : str
            Name of the attribute.
        module : Module
            The child.
        """
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator["Module"]:
        """Iterate over the direct children.

        Yields
        ------
        Module
            Each child once.
        """
        yield from dict.fromkeys(child for _, child in self.named_children())

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
                for _, child in module.named_children():
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
        for name, child in self.named_children():
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
        if not isinstance(mode, (bool, np.bool_)):
            raise TypeError(
                f"{type(self).__name__}.train: expected True or False, got {mode!r}"
            )
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
        """Set the gradient of every parameter to 0."""
        for parameter in self.parameters():
            parameter.grad[...] = 0

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
            raise TypeError(f"{call}: expected a dict, got {type(state).__name__}")
        targets = dict(self.named_state())
        report = LoadReport(
            [name for name in targets if name not in state],
            [name for name in state if name not in targets],
        )
        if strict and any(report):
            missing, unexpected = report
            raise KeyError(f"{call}: missing {missing}, unexpected {unexpected}")
        changes = []
        for name, target in targets.items():
            if name in state:
                value = np.asarray(state[name])
                _check_value(call, name, value, target)
                changes.append((target, value))
        assign(call, changes)
        for parameter in self.parameters():
            parameter.version += 1
        return report


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _check_value(call: str, name: str, value: Array, target: Array) -> None:
    """Raise unless a value of a state fits the array that it is for."""
    floating = value.dtype in FLOATS
    if floating != (target.dtype in FLOATS) or value.dtype.kind not in "fiu":
        raise TypeError(
            f"{call}: expected {name} of dtype {target.dtype}, got {value.dtype}"
        )
    check_shape(call, name, value, target.shape)
    if not floating:  # integers count something
        largest = np.iinfo(target.dtype).max
        for number in value.ravel().tolist():
            check_int(call, name, number, low=0)
            if number > largest:
                raise ValueError(f"{call}: expected {name} <= {largest}, got {number}")


def _locate(error: Exception, name: str) -> None:
    """Add to an error where in the network it came from: ``[in layer 1.0]``."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        text, mark, path = error.args[0].rpartition(" [in layer ")
        if not mark:
            text, path = path, "]"
        elif path:
            path = f".{path}"
        error.args = (f"{text} [in layer {name}{path}",)


class Layer(Module):
    """Base of layers that hold no other module, and change their state in the last step only."""

    changes_state_last = True


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

    def __init__(self, *layers: Module | Mapping[str, Module]):
        super().__init__()
        named: dict[str, Any] = {str(i): layer for i, layer in enumerate(layers)}
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = dict(layers[0])
        self._layers: dict[str, Module] = self._checked(named)

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
                    f"Sequential: expected another name for a layer, got {name!r}"
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
        return list(self._layers.values())[i]

    def __setitem__(self, i: int, layer: Module) -> None:
        """Replace the layer at a position."""
        name = list(self._layers)[i]
        self._layers = self._checked({**self._layers, name: layer})

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

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the layers.

        Yields
        ------
        name : str
            Name or position.
        module : Module
            The layer.
        """
        yield from self._layers.items()
        yield from super().named_children()  # of a subclass

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

    def backward(self, dy: Array) -> Array:
        """Run the layers' backwards in reverse order.

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
            for name, layer in reversed(self._layers.items()):  # noqa: B007
                dy = layer.backward(dy)
        except (TypeError, ValueError) as error:
            _locate(error, name)
            raise
        return dy


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

    def __init__(self, branch: Module, shortcut: Module | None = None):
        super().__init__()
        for name, part in (("branch", branch), ("shortcut", shortcut)):
            if not isinstance(part, Module) and (part is not None or name == "branch"):
                raise TypeError(
                    f"Residual: expected {name} to be a Module, got {type(part).__name__}"
                )
        if shortcut is not None and {*branch.modules()} & {*shortcut.modules()}:
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
