"""What bnlib says to bad input: one function a question, one form of message.

Every check runs before anything is changed, so a call that raises leaves its caller's state as it
was. A message names the call, what was expected and what came.
"""

import math

import numpy as np

FLOATS = (np.float16, np.float32, np.float64)


def compute_dtype(dtype):
    """Return the dtype to compute in: float64 for float64 inputs, else float32."""
    return np.result_type(dtype, np.float32)


def check_floats(call, name, a):
    """Raise TypeError unless `a` is a float16, float32 or float64 array."""
    if not isinstance(a, np.ndarray):
        raise TypeError(
            f"{call}: expected {name} to be a NumPy array, got {type(a).__name__}"
        )
    # Quicker than a look into a tuple of dtypes: each call of a small layer makes several checks.
    if a.dtype.char not in "efd" or not a.dtype.isnative:
        raise TypeError(f"{call}: expected {name} of a floating dtype, got {a.dtype}")


def check_vector(call, name, a, shape, dtype):
    """Raise unless the parameter or buffer `a` is None or an array of `shape` and `dtype`."""
    if a is None:
        return
    check_floats(call, name, a)
    if a.dtype != dtype:
        raise TypeError(
            f"{call}: expected {name} of dtype {np.dtype(dtype)}, got {a.dtype}"
        )
    if a.shape != tuple(shape):
        raise ValueError(
            f"{call}: expected {name} of shape {tuple(shape)}, got {a.shape}"
        )


def check_weight(call, weight, ndim, dtype):
    """Raise unless `weight` is an array of `ndim` axes and of `dtype`."""
    check_floats(call, "weight", weight)
    check_vector(call, "weight", weight, weight.shape, dtype)
    if weight.ndim != ndim:
        raise ValueError(f"{call}: expected {ndim}-D weight, got shape {weight.shape}")


def check_channels(call, x, channels, ranks=None):
    """Raise unless `x` is a floating array with `channels` channels and one of `ranks` axes."""
    check_floats(call, "x", x)
    if x.ndim not in (ranks or range(2, 65)):
        expected = " or ".join(f"{rank}-D" for rank in ranks or ["at least 2"])
        raise ValueError(f"{call}: expected {expected} input, got shape {x.shape}")
    if x.shape[1] != channels:
        raise ValueError(f"{call}: expected {channels} channels, got shape {x.shape}")


def check_eps(call, eps):
    """Raise unless `eps` is a positive finite number."""
    if not isinstance(eps, (int, float, np.number)):
        raise TypeError(
            f"{call}: expected eps to be a number, got {type(eps).__name__}"
        )
    if not 0 < eps < float("inf"):
        raise ValueError(f"{call}: expected eps > 0, got {eps}")


def check_positive_int(call, name, value):
    """Raise unless `value` is an integer of at least one."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(
            f"{call}: expected {name} to be an int, got {type(value).__name__}"
        )
    if value < 1:
        raise ValueError(f"{call}: expected {name} >= 1, got {value}")


def check_pair(call, name, value, least):
    """Return an int, or a pair of them, as a pair; raise unless both are at least `least`."""
    pair = (value, value) if isinstance(value, (int, np.integer)) else value
    if np.shape(pair) != (2,) or not all(
        isinstance(v, (int, np.integer)) and v >= least for v in pair
    ):
        raise ValueError(
            f"{call}: expected {name} as an int >= {least} or a pair, got {value}"
        )
    return tuple(pair)


def check_probability(call, name, value):
    """Raise unless `value` is a number in [0, 1]."""
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(
            f"{call}: expected {name} to be a number, got {type(value).__name__}"
        )
    if not 0 <= value <= 1:
        raise ValueError(f"{call}: expected {name} between 0 and 1, got {value}")


def check_param_dtype(call, dtype):
    """Return `dtype` as a NumPy dtype; raise TypeError unless it is float32 or float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(
            f"{call}: expected dtype float32 or float64 (parameters and statistics are never "
            f"kept in less), got {np.dtype(dtype)}"
        )
    return np.dtype(dtype)


def check_gradient(call, dy, shape, dtype):
    """Raise unless the incoming gradient `dy` has the shape and dtype of the output."""
    check_floats(call, "dy", dy)
    if dy.dtype != dtype:
        raise TypeError(
            f"{call}: expected dy of dtype {np.dtype(dtype)}, got {dy.dtype}"
        )
    if dy.shape != tuple(shape):
        raise ValueError(f"{call}: expected dy of shape {tuple(shape)}, got {dy.shape}")


def check_memory(call, out, threads, dtype, *inputs):
    """Raise unless `out` is None or memory for a result that overlaps with no input."""
    if threads is not None:
        check_positive_int(call, "threads", threads)
    if out is None:
        return
    check_vector(call, "out", out, inputs[0].shape, dtype)
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{call}: expected out to be writeable and in C order")
    if any(np.may_share_memory(out, a) for a in inputs):
        raise ValueError(f"{call}: expected out to share no memory with the inputs")


def check_batch_norm(
    call, x, running_mean, running_var, weight, bias, training, momentum, eps
):
    """Check all arguments of a batch normalization; see `bnlib.functional.batch_norm`."""
    check_floats(call, "x", x)
    if x.ndim < 2:
        raise ValueError(
            f"{call}: expected x with at least 2 axes (N, C, ...), got {x.shape}"
        )
    shape, dtype = x.shape[1:2], compute_dtype(x.dtype)
    for name, a in (("weight", weight), ("bias", bias)):
        check_vector(call, name, a, shape, dtype)
    if (running_mean is None) != (running_var is None):
        raise ValueError(
            f"{call}: expected running_mean and running_var both or neither"
        )
    for name, a in (("running_mean", running_mean), ("running_var", running_var)):
        check_vector(call, name, a, shape, dtype)
        if training and a is not None and not a.flags.writeable:
            raise ValueError(f"{call}: expected {name} to be writeable when training")
    check_eps(call, eps)
    check_probability(call, "momentum", momentum)
    if training and x.shape[0] * math.prod(x.shape[2:]) == 1:
        raise ValueError(
            f"{call}: expected more than 1 value per channel when training, got shape {x.shape}"
        )
    if not training and running_mean is None:
        raise ValueError(
            f"{call}: expected running_mean and running_var when not training"
        )


def check_normalized_shape(call, shape):
    """Raise unless `shape` is a tuple of at least one positive integer."""
    if not isinstance(shape, (tuple, list)) or len(shape) == 0:
        raise ValueError(
            f"{call}: expected normalized_shape as a tuple of ints, got {shape!r}"
        )
    for size in shape:
        check_positive_int(call, "normalized_shape", size)


def check_layer_norm(call, x, normalized_shape, weight, bias, eps):
    """Check all arguments of a layer normalization; see `bnlib.functional.layer_norm`."""
    check_floats(call, "x", x)
    check_normalized_shape(call, normalized_shape)
    shape = normalized_shape
    if x.shape[-len(shape) :] != tuple(shape):
        raise ValueError(
            f"{call}: expected x with last axes {tuple(shape)}, got shape {x.shape}"
        )
    for name, a in (("weight", weight), ("bias", bias)):
        check_vector(call, name, a, shape, compute_dtype(x.dtype))
    check_eps(call, eps)


def check_group_norm(call, x, num_groups, weight, bias, eps):
    """Check all arguments of a group normalization; see `bnlib.functional.group_norm`."""
    check_floats(call, "x", x)
    if x.ndim < 2:
        raise ValueError(
            f"{call}: expected x with at least 2 axes (N, C, ...), got {x.shape}"
        )
    check_positive_int(call, "num_groups", num_groups)
    if x.shape[1] % num_groups:
        raise ValueError(
            f"{call}: expected num_groups to divide {x.shape[1]}, got {num_groups}"
        )
    for name, a in (("weight", weight), ("bias", bias)):
        check_vector(call, name, a, x.shape[1:2], compute_dtype(x.dtype))
    check_eps(call, eps)
