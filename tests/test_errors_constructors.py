"""Bad arguments of constructors: layers and optimizers."""

import numpy as np
import pytest
from bad_calls import check, rows

import bnlib

CONSTRUCTORS = """
BatchNorm1d(0)
    ValueError: expected num_features >= 1, got 0
BatchNorm2d(3.0)
    TypeError: expected num_features to be an int, got float
BatchNorm2d(True)
    TypeError: expected num_features to be an int, got bool
BatchNorm1d(3, eps=0)
    ValueError: expected eps > 0, got 0
BatchNorm3d(3, eps=np.nan)
    ValueError: expected eps > 0, got nan
BatchNorm1d(3, eps=None)
    TypeError: expected eps to be a number, got NoneType
BatchNorm1d(3, momentum=2)
    ValueError: expected momentum between 0 and 1, got 2
BatchNorm1d(3, momentum=-0.1)
    ValueError: expected momentum between 0 and 1, got -0.1
BatchNorm1d(3, momentum='1')
    TypeError: expected momentum to be a number, got str
LayerNorm(0)
    ValueError: expected normalized_shape >= 1, got 0
LayerNorm(())
    ValueError: expected normalized_shape as a tuple of ints, got ()
LayerNorm(2.5)
    ValueError: expected normalized_shape as a tuple of ints, got 2.5
LayerNorm((3, 0))
    ValueError: expected normalized_shape >= 1, got 0
LayerNorm((3, 1.0))
    TypeError: expected normalized_shape to be an int, got float
LayerNorm(3, eps=-1)
    ValueError: expected eps > 0, got -1
GroupNorm(2, 5)
    ValueError: expected num_groups to divide 5, got 2
GroupNorm(0, 4)
    ValueError: expected num_groups >= 1, got 0
GroupNorm(2, 0)
    ValueError: expected num_channels >= 1, got 0
GroupNorm(1.0, 4)
    TypeError: expected num_groups to be an int, got float
GroupNorm(2, 4, eps=0.0)
    ValueError: expected eps > 0, got 0.0
Linear(0, 3)
    ValueError: expected in_features >= 1, got 0
Linear(3, -1)
    ValueError: expected out_features >= 1, got -1
Linear(3.0, 1)
    TypeError: expected in_features to be an int, got float
Conv2d(0, 3, 3)
    ValueError: expected in_channels >= 1, got 0
Conv2d(3, 0, 3)
    ValueError: expected out_channels >= 1, got 0
Conv2d(3, 3, 0)
    ValueError: expected kernel_size as an int >= 1 or a pair, got 0
Conv2d(3, 3, (3, 0))
    ValueError: expected kernel_size as an int >= 1 or a pair, got (3, 0)
Conv2d(3, 3, (3, 3, 3))
    ValueError: expected kernel_size as an int >= 1 or a pair, got (3, 3, 3)
Conv2d(3, 3, 2.5)
    ValueError: expected kernel_size as an int >= 1 or a pair, got 2.5
Conv2d(3, 3, None)
    ValueError: expected kernel_size as an int >= 1 or a pair, got None
Conv2d(3, 3, 3, stride=0)
    ValueError: expected stride as an int >= 1 or a pair, got 0
Conv2d(3, 3, 3, padding=-1)
    ValueError: expected padding as an int >= 0 or a pair, got -1
MaxPool2d(0)
    ValueError: expected kernel_size as an int >= 1 or a pair, got 0
MaxPool2d(2, 0)
    ValueError: expected stride as an int >= 1 or a pair, got 0
Dropout(1.5)
    ValueError: expected p between 0 and 1, got 1.5
Dropout('a')
    TypeError: expected p to be a number, got str
Parameter([1.0])
    TypeError: expected data to be a NumPy array, got list
Parameter(np.arange(3))
    TypeError: expected data of a floating dtype, got int64
Sequential(ReLU(), 3)
    TypeError: expected modules, got int at 1
"""


@pytest.mark.parametrize(("make", "error", "message"), rows(CONSTRUCTORS))
def test_a_constructor_refuses(make, error, message):
    check("{}", make, error, f"{make.split('(')[0]}: {message}")


@pytest.mark.parametrize("dtype", ["f16", "i32", "bool", "complex"])
@pytest.mark.parametrize(
    "make",
    ["BatchNorm1d(3", "LayerNorm(3", "GroupNorm(1, 3", "Linear(3, 3", "Conv2d(3, 3, 3"],
)
def test_parameters_are_kept_in_float32_or_float64(make, dtype):
    name = {"f16": "float16", "i32": "int32", "complex": "complex128"}.get(dtype, dtype)
    message = f"float32 or float64 (parameters and statistics are never kept in less), got {name}"
    message = f"{make.split('(')[0]}: expected dtype {message}"
    check("{}", f"{make}, dtype={dtype})", "TypeError", message)


OPTIMIZERS = """
SGD([])
    ValueError: expected at least one Parameter, got none
SGD([{'params': []}])
    ValueError: expected at least one Parameter, got none
SGD([np.ones(2)])
    ValueError: expected each Parameter once, got [1. 1.]
SGD([w, w])
    ValueError: expected each Parameter once, got Parameter(shape=(3,), dtype=float64)
SGD([{'params': [w]}, {'params': [w]}])
    ValueError: expected each Parameter once, got Parameter(shape=(3,), dtype=float64)
SGD([w], lr=-1)
    ValueError: expected lr >= 0, got -1
SGD([w], lr=np.nan)
    ValueError: expected lr >= 0, got nan
SGD([w], weight_decay=-1)
    ValueError: expected weight_decay >= 0, got -1
SGD([{'params': [w], 'lr': -1}])
    ValueError: expected lr >= 0, got -1
SGD([w], momentum=1.1)
    ValueError: expected momentum from 0 to 1, above 0 with nesterov, got 1.1
SGD([w], momentum=-1)
    ValueError: expected momentum from 0 to 1, above 0 with nesterov, got -1
SGD([w], nesterov=True)
    ValueError: expected momentum from 0 to 1, above 0 with nesterov, got 0.0
Adam([w], lr=-1)
    ValueError: expected lr >= 0, got -1
Adam([w], betas=(0.9, 1.0))
    ValueError: expected two betas in [0, 1) and eps >= 0, got (0.9, 1.0) and 1e-08
Adam([w], betas=(-0.1, 0.9))
    ValueError: expected two betas in [0, 1) and eps >= 0, got (-0.1, 0.9) and 1e-08
Adam([w], betas=(0.9,))
    ValueError: expected two betas in [0, 1) and eps >= 0, got (0.9,) and 1e-08
Adam([w], betas=0.9)
    ValueError: expected two betas in [0, 1) and eps >= 0, got 0.9 and 1e-08
Adam([w], eps=-1)
    ValueError: expected two betas in [0, 1) and eps >= 0, got (0.9, 0.999) and -1
"""


@pytest.mark.parametrize(("make", "error", "message"), rows(OPTIMIZERS))
def test_an_optimizer_refuses(make, error, message):
    names = {"w": bnlib.Parameter(np.ones(3)), **vars(bnlib.optim)}
    check("{'data': w.data}", make, error, f"{make.split('(')[0]}: {message}", **names)


@pytest.mark.parametrize(
    "groups", ["[{'lr': 1}]", "[{'params': [w], 'ls': 1}]", "[w, {'params': []}]"]
)
def test_an_optimizer_refuses_a_group(groups):
    names = {"w": bnlib.Parameter(np.ones(3))}
    settings = r"\['lr', 'momentum', 'weight_decay', 'nesterov'\]"
    message = (
        f"^SGD: expected a group as a dict with params and any of {settings}, got "
    )
    with pytest.raises(ValueError, match=message):
        bnlib.optim.SGD(eval(groups, names))
