"""Defines a trial, one optimizer on one problem, and an experiment, several optimizers on one problem."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, SerializeAsAny, model_validator

from amsgrad_exp.errors import bytes_in_words, validated
from amsgrad_exp.numbers import Integer, dump
from amsgrad_exp.problems import Problem
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.schedules import MAX_STEPS
from amsgrad_exp.spec.defaults import complete
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.schedule import check_length, written

MAX_POINTS = 10_000_000
COMPILED_DTYPES = "float32", "float64"
# The largest number of each dtype.
LARGEST = {"float16": 65504.0, "bfloat16": 2.0**127 * (2 - 2**-7)} | {
    dtype: float(np.finfo(dtype).max) for dtype in ("float32", "float64")
}
BYTES_PER_POINT = 200  # most bytes per point of trace.csv and labml's log together


class Setup(BaseModel):
    """The complete settings that all trials of an experiment share.

    In half precision, losses and gradients are computed in float32, and gradients are then rounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The name of the labml experiment and of the folder for its runs.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)] = "synthetic"
    problem: SerializeAsAny[InstanceOf[Problem]]
    schedule: Annotated[str, BeforeValidator(written)]  # the step-size schedule; α is each optimizer's ``lr``
    steps: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]  # T
    log_every: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]  # a point is logged if (t + 1) mod log_every = 0
    engine: Literal["auto", "compiled", "torch"] = "auto"  # auto: compiled if possible, else torch
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"  # of the iterate and the moments
    seed: Annotated[Integer, Field(ge=0, le=2**63)] = 0  # of a random problem and of torch's generator
    seeds: Annotated[Integer, Field(ge=1, le=10_000)] = 1  # the result is the mean over this many seeds from `seed` on
    fast_forward: bool = True  # whether to derive the rest of a run that repeats itself instead of simulating it

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.seeds > 1 and self.problem.deterministic:
            raise ValueError(f"seeds need a random problem: {self.problem.name} is the same for every seed")
        largest = self.problem.largest_slope
        reach = max(1.0, largest, *(abs(end) for end in self.problem.interval if np.isfinite(end)))
        computed = self.dtype if self.dtype in ("float32", "float64") else "float32"
        if not (largest < LARGEST[self.dtype] and largest * reach < LARGEST[computed] / 4):
            raise ValueError(f"the problem's constants are too large for {self.dtype}: their products overflow")
        check_length(self.schedule, self.steps)
        if self.log_every > self.steps:
            raise ValueError(f"log_every must be at most steps ({self.steps}), not {self.log_every}")
        points = self.steps // self.log_every
        if points > MAX_POINTS:
            raise ValueError(
                f"log_every {self.log_every} would log {points:,} points, about "
                f"{bytes_in_words(points * BYTES_PER_POINT)}: use at least {-(-self.steps // MAX_POINTS)}"
            )
        return self


class Trial(Setup):
    """One optimizer on one problem, which an engine runs."""

    optimizer: OptimizerSettings

    @model_validator(mode="after")
    def _fits_the_dtype(self) -> Self:
        for name in ("lr", "eps"):
            if (getattr(self.optimizer, name) or 0) > LARGEST[self.dtype]:
                raise ValueError(f"{name} is too large for {self.dtype}: {getattr(self.optimizer, name)}")
        if self.engine == "compiled" and self.dtype not in COMPILED_DTYPES:
            known = " and ".join(COMPILED_DTYPES)
            raise ValueError(f"the compiled engine has {known}, not {self.dtype}: use engine torch or auto")
        return self

    def on_engine(self, engine: str) -> Trial:
        """Return the same trial on another engine; raise a ConfigError if that engine cannot run it."""
        return validated(Trial, dict(self) | {"engine": engine})

    def document(self, *, exclude_none: bool = True) -> dict[str, Any]:
        """Return the experiment that consists of this trial, as in YAML."""
        document = self.model_dump(mode="json", exclude_none=exclude_none)
        return document | {"optimizers": [document.pop("optimizer")]}

    def to_yaml(self) -> str:
        """Write the YAML of the experiment that consists of this trial."""
        return dump(self.document())


class Experiment(Setup):
    """Several optimizers on one problem, with different labels or settings; `complete` fills in what is omitted."""

    optimizers: Annotated[tuple[OptimizerSettings, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, data: Any) -> Any:
        return complete(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _trials_are_told_apart(self) -> Self:
        labels(self.trials())
        return self

    def trials(self) -> list[Trial]:
        """Return the trial of each optimizer, in order."""
        shared = dict(self)
        optimizers: tuple[OptimizerSettings, ...] = shared.pop("optimizers")
        return [validated(Trial, shared | {"optimizer": optimizer}) for optimizer in optimizers]

    def to_yaml(self) -> str:
        """Write YAML from which `load_experiment` reads an equal experiment."""
        return dump(self.model_dump(mode="json", exclude_none=True))
