"""What a rule may do to a number besides + − × ÷ and comparing: in a compiled loop, in Python, or on a torch tensor.

One rule is then the compiled loop's, a test's oracle and, elementwise, a `torch.optim.Optimizer`. A literal in the
arithmetic of an update, a loss or a slope would turn float32 into float64 in a compiled loop: `number` gives it the
right dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

SCALARS: list[Callable[..., Any]] = []


def scalar(function: F) -> F:
    """Let compiled loops call a function of a module, which may itself call others marked so."""
    SCALARS.append(function)
    return function


def number(y: float, like: Any) -> Any:
    """A literal in the dtype of another number."""
    return type(like)(y) if isinstance(like, np.floating) else y


def sqrt(y: Any) -> Any:
    """√y."""
    return y.sqrt() if hasattr(y, "sqrt") else np.sqrt(y)


def maximum(y: Any, z: Any) -> Any:
    """The larger of y and z, elementwise where y is a tensor."""
    if hasattr(y, "clamp"):
        return y.clamp(min=z)
    return y if y > z else z


def minimum(y: Any, z: Any) -> Any:
    """The smaller of y and z, elementwise where y is a tensor."""
    if hasattr(y, "clamp"):
        return y.clamp(max=z)
    return y if y < z else z
