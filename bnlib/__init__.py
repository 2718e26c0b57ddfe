"""Batch Normalization in NumPy: small, exact, and compatible with PyTorch."""

from bnlib import functional, fuse, gradcheck, moments, optim
from bnlib.layers import *  # noqa: F403
from bnlib.layers import __all__ as _layers
from bnlib.module import *  # noqa: F403
from bnlib.module import __all__ as _module
from bnlib.norm import *  # noqa: F403
from bnlib.norm import __all__ as _norm

__version__ = "0.1.0"
__all__ = [
    "functional",
    "fuse",
    "gradcheck",
    "moments",
    "optim",
    *_layers,
    *_module,
    *_norm,
]
