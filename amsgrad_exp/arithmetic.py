"""Provides the functions that update rules use besides + − × ÷ and comparisons.

They work in a compiled loop, in Python and on torch tensors, so one rule serves the compiled loop, the tests and,
elementwise, a `torch.optim.Optimizer`. In a compiled loop a literal in the arithmetic of an update, a loss or a
gradient would turn float32 into float64; `number` gives the literal the right dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# log 2 as a sum of two numbers, the first short enough that its products with small integers are exact; then the
# coefficients of the series of artanh(s)/s in s² and of exp, highest power first.
LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
ARTANH = tuple(1 / k for k in range(23, 0, -2))
EXP = tuple(1 / math.factorial(k) for k in range(14, -1, -1))

SCALARS: list[Callable[..., Any]] = []


def scalar(function: F) -> F:
    """Let compiled loops call a module's function, which may itself call other functions with this decorator."""
    SCALARS.append(function)
    return function


def number(y: float, like: Any) -> Any:
    """A literal in the dtype of the number ``like``."""
    return type(like)(y) if isinstance(like, np.floating) else y


def sqrt(y: Any) -> Any:
    """√y."""
    return y.sqrt() if hasattr(y, "sqrt") else np.sqrt(y)


def sign(y: Any) -> Any:
    """−1, 0 or 1, in y's dtype."""
    return y.sign() if hasattr(y, "sign") else np.sign(y)


def maximum(y: Any, z: Any) -> Any:
    """The larger of y and z, elementwise if y is a tensor."""
    if hasattr(y, "clamp"):
        return y.clamp(min=z)
    return y if y > z else z


def minimum(y: Any, z: Any) -> Any:
    """The smaller of y and z, elementwise if y is a tensor."""
    if hasattr(y, "clamp"):
        return y.clamp(max=z)
    return y if y < z else z


def where(condition: Any, y: Any, z: Any) -> Any:
    """y if the condition holds, else z, elementwise for tensors."""
    if hasattr(y, "where"):
        return y.where(condition, z)
    return y if condition else z


def power(y: Any, p: Any) -> Any:
    """y^p, elementwise if y is a tensor."""
    return y.pow(p) if hasattr(y, "pow") else number(real_power(float(y), float(p)), y)


@scalar
def real_power(y: float, p: float) -> float:
    """y^p in double precision for 0 ≤ y and y^p < 2^1000, with an error of a few roundings.

    It uses only +, −, × and ÷, so unlike a mathematics library's pow() it returns the same bits on every platform.
    """
    if not 0.0 < y < math.inf:
        return y
    mantissa, exponent = math.frexp(y)
    if mantissa < 0.7:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = 0.0
    for factor in ARTANH:
        series = series * (s * s) + factor
    z = p * (exponent * LN2_HIGH + (exponent * LN2_LOW + 2.0 * s * series))
    if z < -700.0:
        return 0.0
    n = math.floor(z / LN2_HIGH + 0.5)
    r = (z - n * LN2_HIGH) - n * LN2_LOW
    series = 0.0
    for factor in EXP:
        series = series * r + factor
    return math.ldexp(series, n)
