"""The torch engine: the loop of the reference experiment, for any `torch.optim.Optimizer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.base import Driven, Engine
from amsgrad_exp.engines.compiled import CompiledEngine
from amsgrad_exp.engines.seeds import OneByOne, SeedsEngine, one_each
from amsgrad_exp.engines.torch_saved import Saving
from amsgrad_exp.engines.torch_state import Survey
from amsgrad_exp.engines.torch_step import Step, number_of, raised
from amsgrad_exp.engines.torch_trial import drive_of
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.optimizers.importing import import_optimizer, written
from amsgrad_exp.problems import Problem
from amsgrad_exp.problems.problem import Floats
from amsgrad_exp.rules import OPTIMIZERS, arguments_of
from amsgrad_exp.schedules import Schedule
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.engines.recorded.program import Program
    from amsgrad_exp.rules.settings import OptimizerSettings
    from amsgrad_exp.spec.experiment import Trial

NEVER = 2**63 - 1
AHEAD = 24  # gradients that are looked at ahead of a recording


class TorchEngine(Engine):
    """A `torch.optim.Optimizer` on one parameter with one element: gradient, ``step()``, clamp (`torch_step.Step`).

    Args:
        optimizer: the import path of a class, or of a function that makes an optimizer.
        problem, schedule: what to minimize, with which step sizes.
        arguments: keyword arguments of the optimizer other than ``lr``.
        dtype: "float32", "float64", "bfloat16" or "float16", of the parameter; regret is summed in float64.
        seed: the seed of a random problem and of torch's generator.
        twin: makes a compiled engine of the same trial, whose rule says when steps no longer depend on their count.
        shape: "1" or "1x1", of the parameter; without, what the optimizer takes is found by trial.

    Attributes:
        drive: how the optimizer is driven.

    Raises:
        ValueError: the optimizer cannot be imported, or not be built from these arguments, or takes no step.
    """

    chunk_steps = 1024

    def __init__(
        self,
        optimizer: str,
        problem: Problem,
        schedule: Schedule,
        *,
        arguments: Mapping[str, Any],
        dtype: str = "float32",
        seed: int = 0,
        shape: str | None = None,
        twin: Callable[[], Engine] | None = None,
    ) -> None:
        super().__init__(problem, schedule, seed)
        imported = import_optimizer(optimizer)
        self.drive = drive_of(imported, lr=schedule.lr, arguments=arguments, dtype=dtype, shape=shape)
        torch.manual_seed(seed)
        self._number: type[np.floating[Any]] = number_of(dtype)
        self.driven = Driven(
            "torch", written(self.drive.shape), self.drive.parameters, self.drive.closure, self.drive.graph
        )
        self._repeating: Program | None = None
        self._looked_for_program = False
        self._make_twin = twin
        self._twin: Engine | None = None

        def new() -> tuple[Optimizer, torch.nn.Parameter]:
            param = torch.nn.Parameter(torch.full(self.drive.shape, problem.start, dtype=getattr(torch, dtype)))
            return imported.make(self.drive.arrange([[param]]), lr=schedule.lr, arguments=arguments), param

        self._saving = Saving(new)
        self._optimizer, self._param = self._saving.optimizer, self._saving.param

    @property
    def x(self) -> float:
        return self._param.item()

    @property
    def saturated(self) -> bool:
        # What 0.1.0 waited for, whose records are to repeat themselves from the same step on; and it costs no trial.
        betas = [beta for beta in self._optimizer.defaults.get("betas") or () if isinstance(beta, int | float)]
        if not all(1 - beta**self.step == 1 for beta in betas):
            return False
        return self.repeats(1)

    def repeats(self, steps: int) -> bool:
        """Whether the twin or, of an imported optimizer, its program says so; not if there is none."""
        if self._make_twin is not None:
            self._twin = self._twin or self._make_twin()
            self._twin.advance(self.step, NEVER)
            return self._twin.saturated
        from amsgrad_exp.engines.recorded import program_from

        if not self._looked_for_program:
            self._looked_for_program = True
            state = self._optimizer, self._param
            self._repeating = program_from(*state, self.gradients(), self.schedule.lr, self.step)
        if self._repeating is None:
            return False
        return self._repeating.repeats(self.schedule.lr, self.read(self._repeating)[1], steps)

    def gradients(self) -> list[float]:
        """Those of the next steps, were x to stay where it is."""
        x = self._number(self.x)
        return [float(self.problem.slope(x, *c)) for c, _ in self.inputs(self.step, self.step + AHEAD)]

    @property
    def state(self) -> bytes:
        survey = Survey(self._optimizer, self._param, self.step)
        return survey.own + survey.outside

    def read(self, program: Program) -> tuple[list[float], list[float]]:
        """Where a program of the optimizer's steps stands, as of `Program.read`."""
        return program.read(self._optimizer, self._param)

    def write(self, program: Program, state: Any, carry: Any, step: int) -> None:
        """Stand where such a program does; sums stay as they are."""
        program.write(self._optimizer, self._param, state, carry)
        self.step = step

    def inputs(self, start: int, stop: int) -> list[tuple[tuple[Any, ...], float]]:
        """The problem's coefficients and the step size of each of some steps."""
        coefficients = self.problem.coefficients(start, stop, self.seed).astype(self._number)
        step_sizes = self.schedule.step_sizes(start, stop).tolist()
        return list(zip(zip(*coefficients, strict=True), step_sizes, strict=True))

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, stop: int, log_every: int) -> Trace:
        start = self.step
        inputs = self.inputs(start, stop)
        step = Step(self.problem, self._optimizer, self._param, self.drive)
        xs = []
        x = self.x
        for c, step_size in inputs:
            xs.append(x)
            try:
                x = step.take(x, c, step_size)
            except (Exception, SystemExit) as error:  # somebody's optimizer may raise anything
                self.failure = raised(error, self.step)
                break
            self.step += 1
            if not math.isfinite(x):
                self.failure = f"x became {x} at step {self.step - 1}"
                break
        losses = self._losses(xs, inputs)
        total_regrets, x_sums = np.cumsum([self.total_regret, *losses]), np.cumsum([self.x_sum, *xs])
        self.total_regret, self.x_sum = float(total_regrets[-1]), float(x_sums[-1])
        steps = logged_steps(start, start + len(xs), log_every)
        rows = steps - start
        return Trace(steps, losses[rows], np.array(xs)[rows], total_regrets[rows + 1] / (steps + 1))

    def _losses(self, xs: list[float], inputs: list[tuple[tuple[Any, ...], float]]) -> Floats:
        """f_t(x_t) − f_t(x*) of iterates, in the dtype of `number_of`: the bits of the same on tensors."""
        loss_of, optimum = self.problem.loss, self._number(self.problem.optimum)
        taken = zip(map(self._number, xs), inputs, strict=False)
        return np.array([loss_of(x, *c) - loss_of(optimum, *c) for x, (c, _) in taken], np.float64)

    def save(self) -> bytes:
        sums = {"total_regret": self.total_regret, "x_sum": self.x_sum, "generator": torch.get_rng_state()}
        more = {} if self.driven.not_compiled is None else {"not_compiled": self.driven.not_compiled}
        return self._saving.save(self.step, sums | more)

    def load(self, saved: bytes) -> None:
        fields = self._saving.load(saved)
        try:
            torch.set_rng_state(fields["generator"])
            self.step, self.total_regret, self.x_sum = fields["step"], fields["total_regret"], fields["x_sum"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"it is not the state of such an engine ({type(error).__name__})") from error
        self.driven = replace(self.driven, not_compiled=fields.get("not_compiled", self.driven.not_compiled))


def import_path(settings: OptimizerSettings) -> str:
    """The import path of what runs an optimizer in torch."""
    known = OPTIMIZERS.get(settings.name)
    return known.path if known else settings.name


def settings_of(trial: Trial) -> dict[str, Any]:
    """The arguments of `TorchEngine`, from a trial of one seed."""
    settings = trial.optimizer
    return {
        "optimizer": import_path(settings),
        "problem": trial.problem,
        "schedule": schedule_of(trial),
        "arguments": arguments_of(settings),
        "dtype": trial.dtype,
        "seed": trial.seed,
        "shape": settings.shape,
        "twin": partial(CompiledEngine, trial) if settings.name in OPTIMIZERS else None,
    }


def build(trial: Trial) -> Engine:
    """The engine of a trial: a compiled one if its optimizer can be recorded, unless it asks for the literal loop.

    Raises:
        ConfigError: the optimizer cannot be imported or built, or must be compiled and cannot be.
    """
    reason = None
    try:
        if trial.engine != "torch" and trial.optimizer.name not in OPTIMIZERS:
            from amsgrad_exp.engines.recorded import program_for
            from amsgrad_exp.engines.recorded.engine import RecordedEngine, RecordedSeedsEngine

            program = program_for(trial)
            if not isinstance(program, str):
                return (RecordedEngine if trial.seeds == 1 else RecordedSeedsEngine)(trial, program)
            reason = program
            if trial.engine == "compiled":
                raise ConfigError(f"optimizer {trial.optimizer.name} cannot be compiled: {reason}; take engine torch")
        engines = [TorchEngine(**settings_of(each)) for each in one_each(trial)]
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    for each in engines:
        each.driven = replace(each.driven, not_compiled=reason)
    return engines[0] if trial.seeds == 1 else SeedsEngine(trial, OneByOne(engines))
