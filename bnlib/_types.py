"""Names for the types that annotations use."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = npt.DTypeLike | None
Pair: TypeAlias = int | tuple[int, int]
AllReduce: TypeAlias = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
