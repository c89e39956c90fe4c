"""Defines linear losses with any periodic sequence of slopes."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.problem import LinearProblem, Listed

LONGEST = 100_000


def _spelled_out(given: Any) -> Any:
    """Parse a list of slopes in which -1x73 means −1, 73 times."""
    if not isinstance(given, str | list | tuple):
        return given
    numbers: list[Any] = []
    for part in given.split(",") if isinstance(given, str) else given:
        repeated = re.fullmatch(r"\s*(.+?)\s*[x×]\s*(\d{1,9})\s*", part) if isinstance(part, str) else None
        number, times = (repeated[1], int(repeated[2])) if repeated else (part, 1)
        if len(numbers) + times > LONGEST:
            raise ValueError(f"a cycle has at most {LONGEST:,} slopes")
        numbers.extend([number] * times)
    return numbers


class Cycle(LinearProblem):
    """Your own slopes, repeated: --set slopes=74,-1x73 means 74 once and then −1, 73 times.

    f_t(x) = slopes[t mod P]·x on [−1, 1], where P is the number of slopes.

    Attributes:
        start_at: x before the first step; None for the point of the interval nearest to 0.
    """

    source: ClassVar[str] = "yours"
    name: Literal["cycle"] = "cycle"
    slopes: Annotated[tuple[Number, ...], BeforeValidator(_spelled_out), Field(min_length=1)]
    start_at: Number | None = None

    @field_serializer("slopes")
    def _in_short(self, slopes: tuple[float, ...]) -> str:
        runs = [(slope, len(list(repeated))) for slope, repeated in itertools.groupby(slopes)]
        return ",".join(f"{slope!r}x{times}" if times > 1 else repr(slope) for slope, times in runs)

    @model_validator(mode="after")
    def _starts_in_the_interval(self) -> Cycle:
        if not self.low <= self.start <= self.high:
            raise ValueError(f"start_at must be in the interval [{self.low:g}, {self.high:g}], not {self.start_at:g}")
        return self

    @property
    def start(self) -> float:
        return super().start if self.start_at is None else self.start_at

    def sequences(self) -> tuple[Listed]:
        return (Listed(self.slopes),)
