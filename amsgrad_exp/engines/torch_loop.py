"""The torch engine: the loop of the reference experiment, for any `torch.optim.Optimizer`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.base import Driven, Engine
from amsgrad_exp.engines.seeds import SeedsEngine, one_each
from amsgrad_exp.engines.torch_cycle import Inputs, Trials
from amsgrad_exp.engines.torch_saved import Saving
from amsgrad_exp.engines.torch_state import Survey
from amsgrad_exp.engines.torch_step import Step, number_of, raised
from amsgrad_exp.engines.torch_trial import drive_of
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.optimizers.importing import import_optimizer, written
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.problems.sequences import Floats
from amsgrad_exp.rules import OPTIMIZERS, arguments_of
from amsgrad_exp.schedules import Schedule
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial
    from amsgrad_exp.spec.optimizer import OptimizerSettings


class TorchEngine(Engine):
    """A `torch.optim.Optimizer` on one parameter with one element: gradient, ``step()``, clamp (`torch_step.Step`).

    Args:
        optimizer: the import path of a class, or of a function that makes an optimizer.
        problem, schedule: what to minimize, with which step sizes.
        arguments: keyword arguments of the optimizer other than ``lr``.
        dtype: "float32", "float64", "bfloat16" or "float16", of the parameter; regret is summed in float64.
        seed: the seed of a random problem and of torch's generator.
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
    ) -> None:
        super().__init__(problem, schedule, seed)
        imported = import_optimizer(optimizer)
        self.drive = drive_of(imported, lr=schedule.lr, arguments=arguments, dtype=dtype, shape=shape)
        torch.manual_seed(seed)
        self._number: type[np.floating[Any]] = number_of(dtype)
        self.driven = Driven(written(self.drive.shape), self.drive.parameters, self.drive.closure, self.drive.graph)

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
        return self._trials().do_not_count(self._inputs(self.step, self.step + 1))

    def repeats(self, steps: int) -> bool:
        return self._trials().do_not_count(self._inputs(self.step, self.step + steps), returning=True)

    @property
    def state(self) -> bytes:
        survey = Survey(self._optimizer, self._param, self.step)
        return survey.own + survey.outside

    def _trials(self) -> Trials:
        return Trials(self.problem, self._optimizer, self._param, self.drive, self.step)

    def _inputs(self, start: int, stop: int) -> Inputs:
        coefficients = self.problem.coefficients(start, stop, self.seed).astype(self._number)
        step_sizes = self.schedule.step_sizes(start, stop).tolist()
        return list(zip(zip(*coefficients, strict=True), step_sizes, strict=True))

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, stop: int, log_every: int) -> Trace:
        start = self.step
        inputs = self._inputs(start, stop)
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

    def _losses(self, xs: list[float], inputs: Inputs) -> Floats:
        """f_t(x_t) − f_t(x*) of iterates, in the dtype of `number_of`: the bits of the same on tensors."""
        loss_of, optimum = self.problem.loss, self._number(self.problem.optimum)
        taken = zip(map(self._number, xs), inputs, strict=False)
        return np.array([loss_of(x, *c) - loss_of(optimum, *c) for x, (c, _) in taken], np.float64)

    def save(self) -> bytes:
        sums = {"total_regret": self.total_regret, "x_sum": self.x_sum, "generator": torch.get_rng_state()}
        return self._saving.save(self.step, sums)

    def load(self, saved: bytes) -> None:
        fields = self._saving.load(saved)
        try:
            torch.set_rng_state(fields["generator"])
            self.step, self.total_regret, self.x_sum = fields["step"], fields["total_regret"], fields["x_sum"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"it is not the state of such an engine ({type(error).__name__})") from error


def import_path(settings: OptimizerSettings) -> str:
    """The import path of what runs an optimizer in torch."""
    known = OPTIMIZERS.get(settings.name)
    return known.path if known else settings.name


def build(trial: Trial) -> Engine:
    """The engine of a trial.

    Raises:
        ConfigError: the optimizer cannot be imported or built, or not be run on many seeds.
    """
    from amsgrad_exp.engines.torch_runs import TorchLanes, lane_key

    settings = trial.optimizer
    try:
        if trial.seeds > 1:
            if lane_key(trial) is None:
                raise ConfigError(f"{settings.name} is not elementwise, and takes one seed")
            return SeedsEngine(trial, TorchLanes(one_each(trial)))
        return TorchEngine(
            import_path(settings),
            trial.problem,
            schedule_of(trial),
            arguments=arguments_of(settings),
            dtype=trial.dtype,
            seed=trial.seed,
            shape=settings.shape,
        )
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
