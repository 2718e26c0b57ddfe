"""Parameters and modules: objects that hold state, run forward and backward, save and load.

A module's parameters, buffers and child modules are simply its attributes; nothing is registered.
"""

import numpy as np

from bnlib._checks import FLOATS, check_floats

__all__ = ["Module", "Parameter", "Sequential"]


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
    """

    def __init__(self, data):
        check_floats("Parameter", "data", data)
        self.data = data
        self.grad = np.zeros_like(data)

    def __repr__(self):
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


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
    """

    buffer_names = ()

    def __init__(self):
        self.training = True
        self.cache = None

    def __call__(self, x):
        """Run `forward`."""
        return self.forward(x)

    def __repr__(self):
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self):
        """Return the arguments that `repr` shows."""
        return ""

    def saved_cache(self):
        """Return what the last forward stored; ValueError if there was none."""
        if self.cache is None:
            raise ValueError(
                f"{type(self).__name__}.backward: expected a forward call first"
            )
        return self.cache

    def children(self):
        """Yield ``(name, module)`` for each direct child."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self):
        """Yield this module and all modules below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix=""):
        """Yield ``(name, Parameter)``, own ones first, names dotted as in PyTorch."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self):
        """Yield each Parameter."""
        for _, parameter in self.named_parameters():
            yield parameter

    def buffers(self):
        """Yield each array that is saved beside the parameters, such as a running mean."""
        for module in self.modules():
            for name in module.buffer_names:
                if getattr(module, name) is not None:
                    yield getattr(module, name)

    def named_state(self, prefix=""):
        """Yield ``(name, array)`` for all that is saved: the arrays themselves, not copies."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value.data
        for name in self.buffer_names:
            if getattr(self, name) is not None:
                yield prefix + name, getattr(self, name)
        for name, child in self.children():
            yield from child.named_state(f"{prefix}{name}.")

    def train(self, mode=True):
        """Switch this module and all below it to training; return the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Switch this module and all below it to evaluation; return the module."""
        return self.train(False)

    def zero_grad(self):
        """Set the gradient of every parameter to 0."""
        for parameter in self.parameters():
            parameter.grad[...] = 0

    def state_dict(self):
        """Return copies of all parameters and buffers, under PyTorch's names.

        Returns
        -------
        dict of str to ndarray
        """
        return {name: array.copy() for name, array in self.named_state()}

    def load_state_dict(self, state):
        """Copy arrays into the parameters and buffers, in place; all of them, or none.

        Parameters
        ----------
        state : dict of str to array_like
            As `state_dict` returns it. Floating values are cast to the dtype of their target.

        Raises
        ------
        KeyError
            If a name is missing, or one is there that is not expected.
        TypeError, ValueError
            If a value is not of the target's kind (floating, integer) or shape.
        """
        call, targets = (
            f"{type(self).__name__}.load_state_dict",
            dict(self.named_state()),
        )
        missing = [name for name in targets if name not in state]
        unexpected = [name for name in state if name not in targets]
        if missing or unexpected:
            raise KeyError(f"{call}: missing {missing}, unexpected {unexpected}")
        values = {name: np.asarray(state[name]) for name in targets}
        for name, target in targets.items():
            floating = values[name].dtype in FLOATS
            if (
                floating != (target.dtype in FLOATS)
                or values[name].dtype.kind not in "fiu"
            ):
                raise TypeError(
                    f"{call}: expected {name} of dtype {target.dtype}, got {values[name].dtype}"
                )
            if values[name].shape != target.shape:
                raise ValueError(
                    f"{call}: expected {name} of shape {target.shape}, got {values[name].shape}"
                )
        for name, target in targets.items():
            target[...] = values[name]


class Sequential(Module):
    """Modules one after the other.

    Parameters
    ----------
    *layers : Module
        In the order of the forward pass.

    Examples
    --------
    >>> from bnlib import Linear, ReLU
    >>> net = Sequential(Linear(4, 3), ReLU())
    >>> net(np.ones((2, 4), dtype=np.float32)).shape
    (2, 3)
    >>> list(net.state_dict())
    ['0.weight', '0.bias']
    """

    def __init__(self, *layers):
        super().__init__()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential: expected modules, got {type(layer).__name__} at {i}"
                )
        self.layers = layers

    def __getitem__(self, i):
        """Return the layer at position `i`."""
        return self.layers[i]

    def __len__(self):
        return len(self.layers)

    def __repr__(self):
        lines = [f"\n({name}): {layer!r}" for name, layer in self.children()]
        return f"Sequential({''.join(lines)}".replace("\n", "\n  ") + "\n)"

    def children(self):
        """Yield ``(position, layer)``."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x):
        """Run the layers in order; if one of them raises, no buffer is changed."""
        before = [(array, array.copy()) for array in self.buffers()]
        try:
            for layer in self.layers:
                x = layer(x)
        except Exception:
            for array, value in before:
                array[...] = value
            raise
        return x

    def backward(self, dy):
        """Run the layers' backwards in reverse order; return dx."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy
