"""Optimizers: SGD and Adam with PyTorch's arguments, update rules, parameter groups and state."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bnlib._checks import check_bool, check_floats, check_number
from bnlib._state import assign
from bnlib._types import Array
from bnlib.module import Module, Parameter

__all__ = ["SGD", "Adam", "Optimizer"]

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
    """

    def __init__(self, params: Params, **defaults: Any):
        call = type(self).__name__
        if isinstance(params, (Parameter, Module)):
            cure = "[p]" if isinstance(params, Parameter) else "net.parameters()"
            raise TypeError(
                f"{call}: expected an iterable of Parameter, got one "
                f"{type(params).__name__}: use {cure}"
            )
        items = list(params)
        grouped = any(isinstance(item, dict) for item in items)
        groups: list[Any] = items if grouped else [{"params": items}]
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        for group in groups:
            if (
                not isinstance(group, dict)
                or "params" not in group
                or not set(group) <= {"params", *defaults}
            ):
                raise ValueError(
                    f"{call}: expected a group as a dict with params and any "
                    f"of {list(defaults)}, got {group}"
                )
            own = group["params"]
            own = [own] if isinstance(own, Parameter) else list(own)
            self.param_groups.append({**defaults, **group, "params": own})
        self._check()
        if not any(group["params"] for group in self.param_groups):
            raise ValueError(f"{call}: expected at least one Parameter, got none")

    def _check(self) -> None:
        """Raise unless the groups hold parameters, each once, and settings in range."""
        call, seen = type(self).__name__, set()
        for group in self.param_groups:
            for parameter in group["params"]:
                if not isinstance(parameter, Parameter) or parameter in seen:
                    raise ValueError(
                        f"{call}: expected each Parameter once, got {parameter}"
                    )
                seen.add(parameter)
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
        """Set the gradient of every parameter to 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad[...] = 0

    def step(self) -> None:
        """Update every parameter in place, from its gradient; all of them, or none.

        Raises
        ------
        TypeError, ValueError
            If a setting has gone out of range, or a parameter is read-only.
        """
        self._check()
        changes, state = [], dict(self.state)
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if np.any(group["weight_decay"]):
                    gradient = gradient + group["weight_decay"] * parameter.data
                old = state.get(parameter, {})
                direction, state[parameter] = self.update(gradient, old, group)
                change = np.asarray(group["lr"] * direction)
                new = np.subtract(parameter.data, change, out=change)
                changes.append((parameter.data, new))
        before = self.state
        try:
            self.state = state
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.version += 1
            assign(f"{type(self).__name__}.step", changes, copy=False)
        except BaseException:
            self.state = before
            raise

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
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(
            state_dict
        ):
            raise TypeError(f"{call}: expected a dict with state and param_groups")
        groups, counts = (
            state_dict["param_groups"],
            [len(group["params"]) for group in self.param_groups],
        )
        given = [len(group["params"]) for group in groups]
        if given != counts:
            raise ValueError(
                f"{call}: expected groups of {counts} parameters, got {given}"
            )
        new = copy.copy(self)
        new.param_groups = []
        for own, group in zip(self.param_groups, groups, strict=True):
            settings = _settings(own)
            missing = [name for name in settings if name not in group]
            other = [n for n in group if n not in own and group[n]]
            if missing or other:
                raise ValueError(
                    f"{call}: expected the settings {list(settings)}, got none for {missing} "
                    f"and {other} besides"
                )
            settings = {name: copy.deepcopy(group[name]) for name in settings}
            new.param_groups.append({**settings, "params": own["params"]})
        new._check()
        new.state = {}
        numbers = [i for group in groups for i in group["params"]]
        for i, parameter in zip(numbers, self._parameters(), strict=True):
            if i in state_dict["state"]:
                new.state[parameter] = self._loaded(
                    call, parameter, state_dict["state"][i]
                )
        vars(self).update(vars(new))

    def _parameters(self) -> list[Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def _loaded(
        self, call: str, parameter: Parameter, saved: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the saved state of a parameter, in arrays of its dtype."""
        _, fresh = self.update(parameter.grad, {}, self.param_groups[0])
        names = {name for name, value in saved.items() if value is not None}
        if fresh and names != set(fresh):
            raise ValueError(f"{call}: expected {list(fresh)}, got {sorted(names)}")
        state: dict[str, Any] = {}
        for name in names:
            value = np.asarray(saved[name])
            if name == "step":
                state[name] = int(value)
                continue
            if value.shape != parameter.data.shape or value.dtype.kind != "f":
                raise ValueError(
                    f"{call}: expected {name} of shape {parameter.data.shape}, "
                    f"got {value.shape} {value.dtype}"
                )
            state[name] = value.astype(parameter.data.dtype)
        return state


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _check_rate(call: str, name: str, rate: Any, params: Iterable[Parameter]) -> None:
    """Raise unless `rate` is a number from 0 on, or an array of them that fits all parameters."""
    if not isinstance(rate, np.ndarray):
        check_number(call, name, rate, low=0)
        return
    check_floats(call, name, rate)
    if not ((rate >= 0) & (rate < np.inf)).all():
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
        momentum = group["momentum"]
        if momentum == 0:
            return gradient, dict(state)
        velocity = gradient.copy()
        if "momentum_buffer" in state:
            velocity += momentum * state["momentum_buffer"]
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
            raise ValueError(f"Adam: expected betas as a pair, got {betas}")
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
        beta1, beta2 = group["betas"]
        step = state.get("step", 0) + 1
        mean = state.get("exp_avg", np.zeros_like(gradient))
        square = state.get("exp_avg_sq", np.zeros_like(gradient))
        mean = mean + (1 - beta1) * (gradient - mean)
        square = square + (1 - beta2) * (gradient**2 - square)
        denominator = np.sqrt(square / (1 - beta2**step)) + group["eps"]
        direction = mean / (1 - beta1**step) / denominator
        return direction, {"step": step, "exp_avg": mean, "exp_avg_sq": square}
