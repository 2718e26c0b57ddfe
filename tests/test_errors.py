"""Bad calls of functions: the error, its message, and that no argument has changed."""

import numpy as np
import pytest
from bad_calls import check, f32, rows


def batch_norm_args(**changes):
    """Return good arguments of `batch_norm`, with some of them replaced."""
    stats = {"running_mean": np.zeros(3, np.float32), "running_var": f32(3)}
    affine = {"weight": f32(3), "bias": f32(3)}
    rest = {"training": True, "momentum": 0.1, "eps": 1e-5}
    return {"x": f32(4, 3), **stats, **affine, **rest, **changes}


def layer_norm_args(**changes):
    """Return good arguments of `layer_norm`, with some of them replaced."""
    good = {"x": f32(4, 3), "normalized_shape": (3,), "weight": f32(3), "bias": f32(3)}
    return {**good, "eps": 1e-5, **changes}


def group_norm_args(**changes):
    """Return good arguments of `group_norm`, with some of them replaced."""
    good = {"x": f32(4, 3), "num_groups": 3, "weight": f32(3), "bias": f32(3)}
    return {**good, "eps": 1e-5, **changes}


VECTOR = """
{0}=f32(2)
    ValueError: expected {0} of shape (3,), got (2,)
{0}=f32(1, 3)
    ValueError: expected {0} of shape (3,), got (1, 3)
{0}=f32()
    ValueError: expected {0} of shape (3,), got ()
{0}=np.ones(3)
    TypeError: expected {0} of dtype float32, got float64
{0}=np.ones(3, f16)
    TypeError: expected {0} of dtype float32, got float16
{0}=np.ones(3, i32)
    TypeError: expected {0} of a floating dtype, got int32
{0}=[1.0, 1.0, 1.0]
    TypeError: expected {0} to be a NumPy array, got list
"""
EVERY_NORM = """
x=[[1.0], [2.0]]
    TypeError: expected x to be a NumPy array, got list
x=None
    TypeError: expected x to be a NumPy array, got NoneType
x=np.ones((4, 3), i32)
    TypeError: expected x of a floating dtype, got int32
x=f32(4, 3) > 2
    TypeError: expected x of a floating dtype, got bool
x=f32(4, 3) * 1j
    TypeError: expected x of a floating dtype, got complex64
x=np.ones((4, 3))
    TypeError: expected weight of dtype float64, got float32
eps=0
    ValueError: expected eps > 0, got 0
eps=-1e-05
    ValueError: expected eps > 0, got -1e-05
eps=np.nan
    ValueError: expected eps > 0, got nan
eps=np.inf
    ValueError: expected eps > 0, got inf
eps=None
    TypeError: expected eps to be a number, got NoneType
"""
BATCH_NORM = """
x=f32(4)
    ValueError: expected x with at least 2 axes (N, C, ...), got (4,)
x=f32(4, 5)
    ValueError: expected weight of shape (5,), got (3,)
x=f32(1, 3)
    ValueError: expected more than 1 value per channel when training, got shape (1, 3)
x=f32(1, 3, 1)
    ValueError: expected more than 1 value per channel when training, got shape (1, 3, 1)
running_mean=None
    ValueError: expected running_mean and running_var both or neither
running_var=None
    ValueError: expected running_mean and running_var both or neither
running_mean=locked(f32(3))
    ValueError: expected running_mean to be writeable when training
running_var=locked(f32(3))
    ValueError: expected running_var to be writeable when training
running_mean=None, running_var=None, training=False
    ValueError: expected running_mean and running_var when not training
eps=0, training=False
    ValueError: expected eps > 0, got 0
momentum=-0.1
    ValueError: expected momentum between 0 and 1, got -0.1
momentum=1.1
    ValueError: expected momentum between 0 and 1, got 1.1
momentum=np.nan
    ValueError: expected momentum between 0 and 1, got nan
momentum=None
    TypeError: expected momentum to be a number, got NoneType
"""
LAYER_NORM = """
x=f32(4, 2)
    ValueError: expected x with last axes (3,), got shape (4, 2)
normalized_shape=(1, 4, 3)
    ValueError: expected x with last axes (1, 4, 3), got shape (4, 3)
normalized_shape=()
    ValueError: expected normalized_shape as a tuple of ints, got ()
normalized_shape=3
    ValueError: expected normalized_shape as a tuple of ints, got 3
normalized_shape=(0,)
    ValueError: expected normalized_shape >= 1, got 0
normalized_shape=(3.0,)
    TypeError: expected normalized_shape to be an int, got float
"""
GROUP_NORM = """
x=f32(3)
    ValueError: expected x with at least 2 axes (N, C, ...), got (3,)
x=f32(4, 6)
    ValueError: expected weight of shape (6,), got (3,)
num_groups=2
    ValueError: expected num_groups to divide 3, got 2
num_groups=0
    ValueError: expected num_groups >= 1, got 0
num_groups=-3
    ValueError: expected num_groups >= 1, got -3
num_groups=3.0
    TypeError: expected num_groups to be an int, got float
num_groups=True
    TypeError: expected num_groups to be an int, got bool
"""
AFFINE = VECTOR.format("weight") + VECTOR.format("bias")
STATS = VECTOR.format("running_mean") + VECTOR.format("running_var")
NORMS = {
    "batch_norm": EVERY_NORM + AFFINE + STATS + BATCH_NORM,
    "layer_norm": EVERY_NORM + AFFINE + LAYER_NORM,
    "group_norm": EVERY_NORM + AFFINE + GROUP_NORM,
}
NORM_ROWS = [
    pytest.param(name, *row.values, id=f"{name}({row.values[0]})")
    for name, table in NORMS.items()
    for row in rows(table)
]


@pytest.mark.parametrize(("name", "changes", "error", "message"), NORM_ROWS)
def test_a_norm_refuses(name, changes, error, message):
    arguments = {
        f.__name__: f for f in (batch_norm_args, layer_norm_args, group_norm_args)
    }
    subject = f"{name}_args({changes})"
    for call in (f"F.{name}(**m)", f"F.{name}_forward(**m)"):
        check(subject, call, error, f"{name}: {message}", **arguments)


FUNCTIONS = """
x=f32(2, 3), weight=[[1.0]] | linear
    TypeError: expected weight to be a NumPy array, got list
x=f32(2, 3), weight=None | linear
    TypeError: expected weight to be a NumPy array, got NoneType
x=f32(2, 3), weight=f32(3) | linear
    ValueError: expected 2-D weight, got shape (3,)
x=f32(2, 3), weight=f32(4, 5) | linear
    ValueError: expected x of shape (N, 5), got (2, 3)
x=f32(3), weight=f32(4, 3) | linear
    ValueError: expected x of shape (N, 3), got (3,)
x=f32(2, 3), weight=np.ones((4, 3)) | linear
    TypeError: expected weight of dtype float32, got float64
x=f32(2, 3), weight=f32(4, 3), bias=f32(3) | linear
    ValueError: expected bias of shape (4,), got (3,)
x=f32(2, 3), weight=f32(4, 3), bias=np.ones(4) | linear
    TypeError: expected bias of dtype float32, got float64
x=f32(1, 2, 3, 3), weight=f32(2, 2) | conv2d
    ValueError: expected 4-D weight, got shape (2, 2)
x=f32(1, 2, 3, 3), weight=f32(1, 2, 2, 2).astype(f64) | conv2d
    TypeError: expected weight of dtype float32, got float64
x=f32(1, 2, 3, 3), weight=f32(1, 2, 2, 2), bias=f32(2) | conv2d
    ValueError: expected bias of shape (1,), got (2,)
x=f32(2, 3), p=-0.1, rng=None | dropout
    ValueError: expected p between 0 and 1, got -0.1
x=f32(2, 3), p=1.5, rng=None | dropout
    ValueError: expected p between 0 and 1, got 1.5
x=f32(2, 3), p=np.nan, rng=None | dropout
    ValueError: expected p between 0 and 1, got nan
x=f32(2, 3), p='half', rng=None | dropout
    TypeError: expected p to be a number, got str
logits=[[1.0, 2.0]], target=[0] | cross_entropy
    TypeError: expected logits to be a NumPy array, got list
logits=np.ones((2, 3), i32), target=[0, 1] | cross_entropy
    TypeError: expected logits of a floating dtype, got int32
logits=f32(2, 3), target=f32(2) | cross_entropy
    TypeError: expected target of an integer dtype, got float32
logits=f32(2, 3), target=[True, False] | cross_entropy
    TypeError: expected target of an integer dtype, got bool
logits=f32(2, 3), target=[0, 3] | cross_entropy
    ValueError: expected classes from 0 to 2, got 0 to 3
logits=f32(2, 3), target=[2, -1] | cross_entropy
    ValueError: expected classes from 0 to 2, got -1 to 2
"""


@pytest.mark.parametrize(("arguments", "name", "error", "message"), rows(FUNCTIONS))
def test_a_function_refuses(arguments, name, error, message):
    check(f"dict({arguments})", f"F.{name}_forward(**m)", error, f"{name}: {message}")


@pytest.mark.parametrize(
    ("logits", "target"),
    [((2, 3), (3,)), ((2, 3), (2, 1)), ((3,), (3,)), ((0, 3), (0,)), ((2, 3, 1), (2,))],
)
def test_cross_entropy_refuses_shapes(logits, target):
    message = "expected logits of shape (N, K) and target of shape (N,), N > 0, got"
    subject = f"dict(logits=f32{logits}, target=np.zeros({target}, i32))"
    message = f"cross_entropy: {message} {logits} and {target}"
    check(subject, "CrossEntropyLoss()(**m)", "ValueError", message)
