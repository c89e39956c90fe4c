"""A list of tensors on which a formula for one tensor works, through torch's foreach functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def _new(name: str) -> Callable[..., Tensors]:
    def method(self: Tensors, *operands: Any, **keywords: Any) -> Tensors:
        return Tensors(_foreach(name, self, *operands, **keywords))

    return method


def _in_place(name: str) -> Callable[..., Tensors]:
    def method(self: Tensors, *operands: Any, **keywords: Any) -> Tensors:
        _foreach(name, self, *operands, **keywords)
        return self

    return method


class Tensors:
    """Tensors that go through the same operations together.

    It has the operators and methods of `torch.Tensor` that rules and optimizers use. An operation is one call for all
    tensors instead of one call for each. On a CPU its results have the same bits.

    Args:
        each: tensors of any shapes. Other operands are numbers, or `Tensors` of as many tensors of the same shapes.
    """

    def __init__(self, each: Iterable[Tensor]) -> None:
        self.each = list(each)

    __neg__ = _new("neg")
    __add__ = __radd__ = add = _new("add")
    __sub__ = _new("sub")
    __mul__ = __rmul__ = _new("mul")
    __truediv__ = _new("div")
    pow = _new("pow")
    sign = _new("sign")
    sqrt = _new("sqrt")
    add_ = _in_place("add_")
    sub_ = _in_place("sub_")
    mul_ = _in_place("mul_")
    div_ = _in_place("div_")
    addcdiv_ = _in_place("addcdiv_")
    addcmul_ = _in_place("addcmul_")

    def __rsub__(self, number: float) -> Tensors:
        return -self + number

    def __rtruediv__(self, number: float) -> Tensors:
        return Tensors(torch._foreach_reciprocal(self.each)) * number

    def clamp(self, min: Any = None, max: Any = None) -> Tensors:  # noqa: A002
        clamped = self if min is None else Tensors(_foreach("clamp_min", self, min))
        return clamped if max is None else Tensors(_foreach("clamp_max", clamped, max))

    def clamp_(self, min: Any) -> Tensors:  # noqa: A002
        _foreach("clamp_min_", self, min)
        return self

    def clone(self) -> Tensors:
        return Tensors(tensor.clone() for tensor in self.each)

    def item(self) -> float:
        """The number that every one of the tensors holds."""
        return self.each[0].item()


def _foreach(name: str, *operands: Any, **keywords: Any) -> Any:
    lists = (operand.each if isinstance(operand, Tensors) else operand for operand in operands)
    return getattr(torch, f"_foreach_{name}")(*lists, **keywords)
