"""Optimizers: SGD and Adam with PyTorch's arguments, update rules and parameter groups."""

import numpy as np

from bnlib.module import Parameter

__all__ = ["SGD", "Adam"]


class _Optimizer:
    """Parameter groups, their settings, and one dict of state for each parameter."""

    def __init__(self, params, **defaults):
        params = list(params)
        grouped = any(isinstance(item, dict) for item in params)
        groups = params if grouped else [{"params": params}]
        self.param_groups = []
        seen = set()
        for group in groups:
            if (
                not isinstance(group, dict)
                or "params" not in group
                or not set(group) <= {"params", *defaults}
            ):
                raise ValueError(
                    f"{type(self).__name__}: expected a group as a dict with params and any "
                    f"of {list(defaults)}, got {group}"
                )
            group = {**defaults, **group, "params": list(group["params"])}
            self.check(group)
            for parameter in group["params"]:
                if not isinstance(parameter, Parameter) or id(parameter) in seen:
                    raise ValueError(
                        f"{type(self).__name__}: expected each Parameter once, got {parameter}"
                    )
                seen.add(id(parameter))
            self.param_groups.append(group)
        if not seen:
            raise ValueError(
                f"{type(self).__name__}: expected at least one Parameter, got none"
            )
        self.state = {}

    def check(self, group):
        """Raise ValueError if a setting of the group is negative."""
        for name in ("lr", "weight_decay"):
            if not np.all(np.greater_equal(group[name], 0)):
                raise ValueError(
                    f"{type(self).__name__}: expected {name} >= 0, got {group[name]}"
                )

    def zero_grad(self):
        """Set the gradient of every parameter to 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad[...] = 0

    def step(self):
        """Update every parameter in place, from its gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.setdefault(id(parameter), {})
                gradient = parameter.grad
                if np.any(group["weight_decay"]):
                    gradient = gradient + group["weight_decay"] * parameter.data
                parameter.data -= group["lr"] * self.direction(gradient, state, group)


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum and weight decay.

    Parameters
    ----------
    params : iterable of Parameter, or list of dict
        A dict is a group: ``{"params": [...], "lr": ..., "weight_decay": ...}``.
    lr : float or ndarray
        Learning rate; an array gives each weight of a group its own.
    momentum : float
        Weight of the old velocity, from 0 to 1. (In a normalization layer, `momentum` is the
        weight of the *new* batch: two things with one name.)
    weight_decay : float
        Strength of the L2 penalty, added to the gradient.
    nesterov : bool

    Raises
    ------
    ValueError
        If there is no parameter, one is there twice, or a setting is out of range.

    Notes
    -----
    ``v ← momentum · v + g``, ``w ← w − lr · v``; v starts as the first g.
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def check(self, group):
        """Raise ValueError if a setting of the group is out of range."""
        super().check(group)
        if not 0 <= group["momentum"] <= 1 or (
            group["nesterov"] and group["momentum"] == 0
        ):
            raise ValueError(
                f"SGD: expected momentum from 0 to 1, above 0 with nesterov, "
                f"got {group['momentum']}"
            )

    def direction(self, gradient, state, group):
        """Return the velocity, or the gradient where there is no momentum."""
        momentum = group["momentum"]
        if momentum == 0:
            return gradient
        if "velocity" not in state:
            state["velocity"] = gradient.copy()
        else:
            state["velocity"] *= momentum
            state["velocity"] += gradient
        return (
            gradient + momentum * state["velocity"]
            if group["nesterov"]
            else state["velocity"]
        )


class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015, Algorithm 1).

    Parameters
    ----------
    params : iterable of Parameter, or list of dict
        As for `SGD`.
    lr : float
        Learning rate.
    betas : pair of float
        Weights of the old averages of the gradient and of its square, below 1.
    eps : float
        Added to the denominator.
    weight_decay : float
        Strength of the L2 penalty, added to the gradient.

    Raises
    ------
    ValueError
        If there is no parameter, one is there twice, or a setting is out of range.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, group):
        """Raise ValueError if a setting of the group is out of range."""
        super().check(group)
        if (
            np.shape(group["betas"]) != (2,)
            or not all(0 <= beta < 1 for beta in group["betas"])
            or not group["eps"] >= 0
        ):
            raise ValueError(
                f"Adam: expected two betas in [0, 1) and eps >= 0, "
                f"got {group['betas']} and {group['eps']}"
            )

    def direction(self, gradient, state, group):
        """Return the bias-corrected mean gradient over the root of its mean square."""
        if not state:
            state.update(
                steps=0, mean=np.zeros_like(gradient), square=np.zeros_like(gradient)
            )
        beta1, beta2 = group["betas"]
        state["steps"] += 1
        state["mean"] += (1 - beta1) * (gradient - state["mean"])
        state["square"] += (1 - beta2) * (gradient**2 - state["square"])
        mean = state["mean"] / (1 - beta1 ** state["steps"])
        square = state["square"] / (1 - beta2 ** state["steps"])
        return mean / (np.sqrt(square) + group["eps"])
