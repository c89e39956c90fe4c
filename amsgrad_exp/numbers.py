"""Numbers as people write them, checked: 10_000_000, 1e7."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AllowInfNan, BeforeValidator


def _not_a_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


def whole_number(value: object) -> object:
    """Accept 10_000_000, 1e7 and 100.0, as text too, where an integer is meant; hand on anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d[\d_]*(\.\d*)?([eE][+-]?\d{1,3})?\s*", value):
        number = Decimal(value.replace("_", "").strip())
        return int(number) if number == number.to_integral_value() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, AllowInfNan(False), BeforeValidator(_not_a_boolean)]
Integer = Annotated[int, BeforeValidator(_not_a_boolean), BeforeValidator(whole_number)]
