"""What an experiment is, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from amsgrad_exp.engines import OPTIMIZERS
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import Integer
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.rules import RULES
from amsgrad_exp.schedules import SCHEDULES
from amsgrad_exp.spec.explain import explain, nearest
from amsgrad_exp.spec.optimizer import OptimizerSettings

MAX_STEPS = 10**18
MAX_POINTS = 10_000_000
BYTES_PER_POINT = 200  # of trace.csv and labml's log together, at most


class Experiment(BaseModel):
    """A problem, a schedule and optimizers, with how long and how to run them; complete.

    Attributes:
        name: of the labml experiment, and of the folder its runs go to.
        problem: one of `PROBLEMS` with its constants.
        schedule: a name in `SCHEDULES`; α of each optimizer's step sizes is its ``lr``.
        optimizers: one or more, no name twice.
        steps: T ≥ 1.
        log_every: a point is logged where (t + 1) mod log_every = 0.
        engine: "auto" takes "compiled" for an optimizer that has a rule, else "torch".
        dtype: of the iterate and the moments.
        seed: of a random problem, and of torch's generator.
        seeds: how many seeds of a random problem, from ``seed`` on, the result is the mean over.
        fast_forward: derive what follows once a run repeats itself, instead of simulating it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)] = "synthetic"
    problem: SerializeAsAny[InstanceOf[Problem]]
    schedule: str
    optimizers: Annotated[tuple[OptimizerSettings, ...], Field(min_length=1)]
    steps: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
    log_every: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
    engine: Literal["auto", "compiled", "torch"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    seed: Annotated[Integer, Field(ge=0, le=2**63)] = 0
    seeds: Annotated[Integer, Field(ge=1, le=10_000)] = 1
    fast_forward: bool = True

    @field_validator("schedule")
    @classmethod
    def _schedule_is_known(cls, schedule: str) -> str:
        if schedule not in SCHEDULES:
            raise ValueError(f"unknown name {schedule!r}, {nearest(schedule, SCHEDULES)}")
        return schedule

    @model_validator(mode="after")
    def _is_consistent(self) -> Experiment:
        names = [settings.name for settings in self.optimizers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"optimizer {name} is listed twice")
            if self.seeds > 1 and (name not in RULES or self.engine == "torch"):
                raise ValueError(f"seeds need the compiled engine, and {name} would run on the torch engine")
            if self.engine == "compiled" and name not in RULES:
                raise ValueError(f"optimizer {name} has no rule for the compiled engine: take engine torch or auto")
        if self.seeds > 1 and self.problem.deterministic:
            raise ValueError(f"seeds are for a random problem, and {self.problem.name} is the same for every seed")
        largest = self.problem.largest_slope * max(
            1.0, self.problem.largest_slope, abs(self.problem.low), abs(self.problem.high)
        )
        ceiling = float(np.finfo(self.dtype).max)
        for settings in self.optimizers:
            for name in ("lr", "eps"):
                if (getattr(settings, name) or 0) > ceiling:
                    raise ValueError(f"{name} is too large for {self.dtype}: {getattr(settings, name)}")
        if not largest < ceiling / 4:
            raise ValueError(f"the problem's constants are too large for {self.dtype}: their products overflow")
        if self.log_every > self.steps:
            raise ValueError(f"log_every must be at most steps ({self.steps}), not {self.log_every}")
        points = self.steps // self.log_every
        if points > MAX_POINTS:
            raise ValueError(
                f"log_every {self.log_every} would log {points:,} points, about "
                f"{points * BYTES_PER_POINT / 1e9:,.1f} GB: take at least {-(-self.steps // MAX_POINTS)}"
            )
        return self

    def only(self, name: str) -> Experiment:
        """The same experiment with one of its optimizers."""
        chosen = tuple(settings for settings in self.optimizers if settings.name == name)
        return self.model_copy(update={"optimizers": chosen})

    def on_engine(self, engine: str) -> Experiment:
        """The same experiment on another engine.

        Raises:
            ConfigError: there is no such engine, or the optimizer has no rule for it.
        """
        try:
            return Experiment.model_validate(dict(self) | {"engine": engine})
        except ValidationError as error:
            raise ConfigError(explain(error, Experiment)) from error

    def engine_of(self, settings: OptimizerSettings) -> Literal["compiled", "torch"]:
        """Which engine runs this optimizer."""
        if self.engine == "auto":
            return "compiled" if settings.name in RULES else "torch"
        return self.engine

    def build_engine(self, settings: OptimizerSettings) -> Engine:
        """The engine of one optimizer, at step 0.

        Raises:
            ConfigError: an optimizer named by an import path cannot be imported or built.
        """
        schedule = SCHEDULES[self.schedule](settings.lr)
        if self.engine_of(settings) == "compiled":
            from amsgrad_exp.engines.compiled import CompiledEngine

            engines = [
                CompiledEngine(settings.name, self.problem, schedule, dtype=self.dtype, seed=seed, **settings.arguments)
                for seed in range(self.seed, self.seed + self.seeds)
            ]
            if self.seeds == 1:
                return engines[0]
            from amsgrad_exp.engines.seeds import SeedsEngine

            return SeedsEngine(engines)
        from amsgrad_exp.engines.torch_loop import TorchEngine

        path = OPTIMIZERS.get(settings.name, settings.name)
        try:
            return TorchEngine(
                path, self.problem, schedule, arguments=settings.arguments, dtype=self.dtype, seed=self.seed
            )
        except ValueError as error:
            raise ConfigError(str(error).splitlines()[0]) from error

    def to_yaml(self) -> str:
        """The experiment as YAML that `load_experiment` reads back to an equal one."""
        return to_yaml(self.model_dump(mode="json", exclude_none=True))


def to_yaml(data: Mapping[str, Any]) -> str:
    """A mapping as YAML, its keys in order."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)
