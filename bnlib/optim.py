"""Optimizers: SGD and Adam with PyTorch's arguments, update rules, parameter groups and state."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from bnlib._checks import (
    as_array,
    check_bool,
    check_floats,
    check_int,
    check_number,
    described,
    is_int,
)
from bnlib._state import assign, tick
from bnlib._types import Array
from bnlib.module import Module, Parameter, loadable, zero_gradients

__all__ = ["SGD", "Adam", "Optimizer"]

# Settings of PyTorch's optimizers that change how they compute, not what.
HARMLESS = (
    *("foreach", "fused", "capturable", "differentiable"),
    *("initial_lr", "param_names"),
)

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


class Optimizer:
    """Base of the optimizers: groups of parameters, their settings, one dict of state for each.

    Parameters
    ----------
    params : iterable of Parameter, or list of dict
        A dict is a group: ``{"params": [...], "lr": ..., "weight_decay": ...}``.
    **defaults
        Settings of the groups that do not name them.

    Attributes
    ----------
    param_groups : list of dict
        Parameters and settings; a schedule may change the settings between steps.
    state : dict of Parameter to dict
        What has gathered for each parameter, under PyTorch's names.

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one is there twice, or a setting is out of range.

    Examples
    --------
    >>> from bnlib.optim import SGD
    >>> weight = Parameter(np.ones(2))
    >>> sgd = SGD([weight], lr=0.1)
    >>> weight.grad += 1
    >>> sgd.step()
    >>> weight.data
    array([0.9, 0.9])
    >>> sgd.param_groups[0]["lr"] = 0.01
    """

    # What `update` may keep, if that depends on the settings.
    gathers: ClassVar[tuple[str, ...]] = ()
    # What PyTorch asks for in a state besides our settings, switched off.
    absent: ClassVar[dict[str, Any]] = {}

    def __init__(self, params: Params, **defaults: Any):
        call = type(self).__name__
        self.defaults = defaults
        items = _listed(call, params)
        grouped = any(isinstance(item, dict) for item in items)
        groups: list[Any] = items if grouped else [{"params": items}]
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        for group in groups:
            if not isinstance(group, dict) or "params" not in group:
                self._refuse_group(group)
            params = group["params"]
            params = [params] if isinstance(params, Parameter) else params
            own = {**defaults, **group, "params": _listed(call, params)}
            if set(own) != {"params", *defaults}:
                self._refuse_group(group)
            self.param_groups.append(own)
        self._check()
        if not self._parameters():
            raise ValueError(f"{call}: expected at least one Parameter, got none")

    def _refuse_group(self, group: Any) -> NoReturn:
        raise ValueError(
            f"{type(self).__name__}: expected a group as a dict with params and any of "
            f"{list(self.defaults)}, got {described(group)}"
        )

    def _check(self) -> None:
        """Raise unless the groups hold parameters, each once, and settings in range."""
        call, seen, arrays = type(self).__name__, set(), set()
        if not isinstance(self.param_groups, list):
            self._refuse_group(self.param_groups)
        for group in self.param_groups:
            if not isinstance(group, dict) or not {"params", *self.defaults} <= set(
                group
            ):
                self._refuse_group(group)
            for parameter in _listed(call, group["params"]):
                if not isinstance(parameter, Parameter) or parameter in seen:
                    raise ValueError(
                        f"{call}: expected each Parameter once, got {described(parameter)}"
                    )
                if id(parameter.data) in arrays:
                    raise ValueError(
                        f"{call}: expected each array in one Parameter, got {parameter} "
                        "a second time: use one Parameter in both places"
                    )
                seen.add(parameter)
                arrays.add(id(parameter.data))
            self.check_settings(group)

    def check_settings(self, group: Mapping[str, Any]) -> None:
        """Raise unless the settings of a group are in range.

        Parameters
        ----------
        group : dict
            Its settings and `params`.

        Raises
        ------
        TypeError, ValueError
            If a setting is no number, or out of range.
        """
        for name in ("lr", "weight_decay"):
            _check_rate(type(self).__name__, name, group[name], group["params"])

    def update(
        self, gradient: Array, state: Mapping[str, Any], group: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Return the direction of a step, and the state after it.

        Parameters
        ----------
        gradient : ndarray
            Gradient, decay included.
        state : dict
            State before the step, which is not changed; empty before the first.
        group : dict
            Settings.

        Returns
        -------
        direction : ndarray
            What is multiplied by the learning rate and subtracted.
        state : dict
            State after the step.
        """
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0; of all of them, or none.

        Raises
        ------
        ValueError
            If a gradient is read-only.
        """
        zero_gradients(f"{type(self).__name__}.zero_grad", self._parameters())

    def step(self) -> None:
        """Update every parameter in place, from its gradient; all of them, or none.

        Raises
        ------
        TypeError, ValueError
            If a setting has gone out of range, or a parameter is read-only.
        """
        self._check()
        changes: list[tuple[str, Array, Array]] = []
        state, now = dict(self.state), tick()
        for group in self.param_groups:
            rate, decay = (_rate(group[name]) for name in ("lr", "weight_decay"))
            for parameter in group["params"]:
                data, gradient = parameter.data, parameter.grad
                if isinstance(decay, np.ndarray) or decay:
                    gradient = (gradient + decay * data).astype(data.dtype, copy=False)
                old = state.get(parameter, {})
                direction, state[parameter] = self.update(gradient, old, group)
                change = np.asarray(rate * direction)
                new = np.subtract(data, change, out=change)
                changes.append((f"parameter {len(changes)}", data, new))
        assign(
            f"{type(self).__name__}.step",
            changes,
            [
                (self, "state", state),
                *((p, "version", now) for p in self._parameters()),
            ],
            copy=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Copy the state and the settings.

        Returns
        -------
        dict
            ``{"state": {i: ...}, "param_groups": [...]}`` as in PyTorch: parameters go by their
            number, in the order of the groups.
        """
        numbers = {p: i for i, p in enumerate(self._parameters())}
        groups = [
            {
                **self.absent,
                **copy.deepcopy(_settings(group)),
                "params": [numbers[p] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        state = {
            i: copy.deepcopy(self.state[p])
            for p, i in numbers.items()
            if p in self.state
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy state and settings from what `state_dict` returned; all of it, or nothing.

        Parameters
        ----------
        state_dict : dict
            Of an optimizer of the same kind, bnlib's or PyTorch's, over parameters of the same
            shapes in the same order.

        Raises
        ------
        TypeError, ValueError
            If it does not fit, or asks for what is not there (such as PyTorch's `amsgrad`).
        """
        call = f"{type(self).__name__}.load_state_dict"
        groups, saved = _parts(call, state_dict)
        given = [len(group["params"]) for group in groups]
        counts = [len(group["params"]) for group in self.param_groups]
        if given != counts:
            raise ValueError(
                f"{call}: expected groups of {counts} parameters, got {given}"
            )
        new = copy.copy(self)
        new.param_groups, new.state = [], {}
        for own, group in zip(self.param_groups, groups, strict=True):
            missing = [name for name in self.defaults if name not in group]
            known = {"params", *self.defaults, *HARMLESS}
            other = [
                name
                for name, value in group.items()
                if name not in known and not _is_off(value)
            ]
            if missing or other:
                raise ValueError(
                    f"{call}: expected the settings {list(self.defaults)}, got none for "
                    f"{missing} and {other} besides"
                )
            settings = {name: copy.deepcopy(group[name]) for name in self.defaults}
            new.param_groups.append({**settings, "params": own["params"]})
        new._check()
        for own, group in zip(new.param_groups, groups, strict=True):
            for parameter, i in zip(own["params"], group["params"], strict=True):
                if i in saved:
                    where = f"{call}: parameter {i}"
                    new.state[parameter] = self._loaded(where, parameter, saved[i], own)
        assign(
            call,
            [],
            [(self, name, getattr(new, name)) for name in ("param_groups", "state")],
        )

    def _parameters(self) -> list[Parameter]:
        try:
            return [p for group in self.param_groups for p in group["params"]]
        except (TypeError, KeyError):
            self._check()  # says what is wrong with the groups
            raise

    def _loaded(
        self,
        call: str,
        parameter: Parameter,
        saved: Any,
        group: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the saved state of a parameter, in arrays of its dtype."""
        if not isinstance(saved, Mapping):
            raise TypeError(f"{call}: expected a dict, got {type(saved).__name__}")
        _, fresh = self.update(np.zeros_like(parameter.data), {}, group)
        given = {name: value for name, value in saved.items() if value is not None}
        if given and given.keys() not in (fresh.keys(), {*self.gathers}):
            raise ValueError(
                f"{call}: expected {list(fresh)}, got {sorted(map(str, given))}"
            )
        state: dict[str, Any] = {}
        for name, value in given.items():
            if name == "step":
                state[name] = _count(call, value)
            else:
                array = loadable(call, name, value, parameter.data)
                state[name] = array.astype(parameter.data.dtype)
        return state


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _listed(call: str, params: Any) -> list[Any]:
    """Return parameters, or groups of them, as a list; raise unless there can be several."""
    kinds = {Parameter: "[p]", Module: "net.parameters()", Mapping: "[group]"}
    for kind, cure in kinds.items():
        if isinstance(params, kind):
            raise TypeError(
                f"{call}: expected params as an iterable of Parameter, got one "
                f"{type(params).__name__}: use {cure}"
            )
    try:
        return list(params)
    except TypeError:
        raise TypeError(
            f"{call}: expected params as an iterable of Parameter, "
            f"got {type(params).__name__}"
        ) from None


def _parts(call: str, state_dict: Any) -> tuple[list[Any], Mapping[Any, Any]]:
    """Return groups and state out of a state_dict; raise unless it holds them."""
    if not isinstance(state_dict, Mapping):
        kind = type(state_dict).__name__
        raise TypeError(f"{call}: expected state_dict to be a dict, got {kind}")
    groups, saved = (state_dict.get(name) for name in ("param_groups", "state"))
    if not (
        isinstance(groups, (list, tuple))
        and isinstance(saved, Mapping)
        and all(
            isinstance(group, Mapping)
            and isinstance(group.get("params"), (list, tuple))
            and all(is_int(i) for i in group["params"])
            for group in groups
        )
    ):
        raise ValueError(
            f"{call}: expected state_dict with a dict of state, and param_groups that are dicts "
            f"with numbers of params, got {described(state_dict)}"
        )
    return list(groups), saved


def _is_off(value: Any) -> bool:
    """Whether a setting says no, as that of what PyTorch can do but was not asked for."""
    return value is None or (isinstance(value, (int, float)) and not value)


def _count(call: str, value: Any) -> int:
    """Return a number of steps, which PyTorch keeps as a float."""
    number = as_array(call, "step", value)
    if (
        number.size != 1
        or number.dtype.kind not in "fiu"
        or not float(number.item()).is_integer()
    ):
        raise ValueError(f"{call}: expected step as a count, got {described(value)}")
    return check_int(call, "step", int(number.item()), low=0)


def _rate(rate: Any) -> Any:
    """Return a rate that NumPy can multiply by."""
    return rate if isinstance(rate, (np.ndarray, np.floating)) else float(rate)


def _check_rate(call: str, name: str, rate: Any, params: Iterable[Parameter]) -> None:
    """Raise unless `rate` is a number from 0 on, or an array of them that fits all parameters."""
    if not isinstance(rate, np.ndarray):
        check_number(call, name, rate, low=0)
        return
    check_floats(call, name, rate)
    if rate.size and not (rate.min() >= 0 and rate.max() < np.inf):
        raise ValueError(f"{call}: expected a finite {name} >= 0, got {rate}")
    for parameter in params:
        shape = parameter.data.shape
        # Axes of length 1 may stretch, others must be those of the parameter.
        tail = shape[len(shape) - rate.ndim :] if rate.ndim <= len(shape) else ()
        if len(tail) != rate.ndim or any(
            a not in (1, b) for a, b in zip(rate.shape, tail, strict=True)
        ):
            raise ValueError(
                f"{call}: expected {name} as a number or an array that fits {shape}, "
                f"got shape {rate.shape}"
            )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and weight decay.

    Parameters
    ----------
    params : iterable of Parameter, or list of dict
        A dict is a group: ``{"params": [...], "lr": ..., "weight_decay": ...}``.
    lr : float or ndarray
        Learning rate; an array gives each weight of a group its own.
    momentum : float
        Weight of the old velocity, from 0 to 1. In a normalization layer, `momentum` is the weight
        of the *new* batch: two things with one name.
    weight_decay : float or ndarray
        Strength of the L2 penalty, added to the gradient.
    nesterov : bool
        Whether to step along the velocity that comes next.

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one is there twice, or a setting is out of range.

    Notes
    -----
    ``v ← momentum · v + g``, ``w ← w − lr · v``; v starts as the first g. Its name in `state` is
    ``momentum_buffer``. Built in the chapter "Network".

    Examples
    --------
    >>> p = Parameter(np.array([1.0]))
    >>> p.grad += 0.5
    >>> SGD([p], lr=0.1).step()
    >>> p.data
    array([0.95])
    """

    gathers = ("momentum_buffer",)
    absent: ClassVar[dict[str, Any]] = {"dampening": 0}

    def __init__(
        self,
        params: Params,
        lr: float | Array = 1e-3,
        momentum: float = 0.0,
        weight_decay: float | Array = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def check_settings(self, group: Mapping[str, Any]) -> None:
        """Raise unless the settings of a group are in range.

        Parameters
        ----------
        group : dict
            Its settings and `params`.

        Raises
        ------
        TypeError, ValueError
            If a setting is no number, or out of range.
        """
        super().check_settings(group)
        check_number("SGD", "momentum", group["momentum"], low=0, high=1)
        check_bool("SGD", "nesterov", group["nesterov"])
        if group["nesterov"] and group["momentum"] == 0:
            raise ValueError("SGD: expected momentum > 0 with nesterov, got 0")

    def update(
        self, gradient: Array, state: Mapping[str, Any], group: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Return the velocity, or the gradient where there is no momentum.

        Parameters
        ----------
        gradient : ndarray
            Gradient, decay included.
        state : dict
            State before the step.
        group : dict
            Settings.

        Returns
        -------
        direction : ndarray
            What is multiplied by the learning rate and subtracted.
        state : dict
            State after the step.
        """
        momentum = float(group["momentum"])
        if momentum == 0:
            return gradient, dict(state)
        velocity = gradient.copy()
        if "momentum_buffer" in state:
            velocity = momentum * state["momentum_buffer"]
            velocity += gradient
        direction = gradient + momentum * velocity if group["nesterov"] else velocity
        return direction, {"momentum_buffer": velocity}


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, Algorithm 1).

    Parameters
    ----------
    params : iterable of Parameter, or list of dict
        As for `SGD`.
    lr : float or ndarray
        Learning rate.
    betas : pair of float
        Weights of the old averages of the gradient and of its square, below 1.
    eps : float
        Added to the denominator.
    weight_decay : float or ndarray
        Strength of the L2 penalty, added to the gradient.

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one is there twice, or a setting is out of range.

    Notes
    -----
    The names in `state` are PyTorch's: ``step``, ``exp_avg`` and ``exp_avg_sq``. Built in the
    chapter "Network".

    Examples
    --------
    >>> p = Parameter(np.array([1.0]))
    >>> p.grad += 0.5
    >>> Adam([p], lr=0.1).step()
    >>> p.data.round(6)
    array([0.9])
    """

    def __init__(
        self,
        params: Params,
        lr: float | Array = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Array = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check_settings(self, group: Mapping[str, Any]) -> None:
        """Raise unless the settings of a group are in range.

        Parameters
        ----------
        group : dict
            Its settings and `params`.

        Raises
        ------
        TypeError, ValueError
            If a setting is no number, or out of range.
        """
        super().check_settings(group)
        check_number("Adam", "eps", group["eps"], low=0)
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"Adam: expected betas as a pair, got {described(betas)}")
        for beta in betas:
            check_number("Adam", "each of betas", beta, low=0, high=1)
            if beta == 1:
                raise ValueError(f"Adam: expected each of betas < 1, got {betas}")

    def update(
        self, gradient: Array, state: Mapping[str, Any], group: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Return the bias-corrected mean gradient over the root of its mean square.

        Parameters
        ----------
        gradient : ndarray
            Gradient, decay included.
        state : dict
            State before the step.
        group : dict
            Settings.

        Returns
        -------
        direction : ndarray
            What is multiplied by the learning rate and subtracted.
        state : dict
            State after the step.
        """
        beta1, beta2, eps = map(float, (*group["betas"], group["eps"]))
        step = state.get("step", 0) + 1
        mean = state.get("exp_avg", np.zeros_like(gradient))
        square = state.get("exp_avg_sq", np.zeros_like(gradient))
        mean = mean + (1 - beta1) * (gradient - mean)
        square = square + (1 - beta2) * (gradient**2 - square)
        denominator = np.sqrt(square / (1 - beta2**step)) + eps
        direction = mean / (1 - beta1**step) / denominator
        return direction, {"step": step, "exp_avg": mean, "exp_avg_sq": square}
