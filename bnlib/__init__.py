"""Batch normalization in NumPy: small, exact, and compatible with PyTorch."""

from bnlib import functional, moments, optim, testing
from bnlib.folding import fold
from bnlib.layers import (
    AvgPool2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sigmoid,
    Tanh,
)
from bnlib.module import Module, Parameter, Residual, Sequential, no_grad
from bnlib.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    RMSNorm,
    SyncBatchNorm,
)
from bnlib.testing import gradcheck

__version__ = "0.2.0"
__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SyncBatchNorm",
    "Tanh",
    "fold",
    "functional",
    "gradcheck",
    "moments",
    "no_grad",
    "optim",
    "testing",
]
