"""Runs a batch of trials of one torch optimizer as the elements of one parameter tensor."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.torch_lanes import elementwise
from amsgrad_exp.engines.torch_loop import TorchEngine, import_path
from amsgrad_exp.engines.torch_saved import Saving
from amsgrad_exp.engines.torch_step import number_of, raised, update_of
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.optimizers.importing import import_optimizer
from amsgrad_exp.rules import arguments_of
from amsgrad_exp.spec.optimizer import OptimizerSettings
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

# A tensor's length is a multiple of this, which is a multiple of the width of vectorized kernels. Their remainder loop
# rounds differently, so otherwise a run's bits would depend on the number of other runs.
WIDTH = 64

REMEMBERED = 10_000  # settings for which a worker remembers whether the optimizer is elementwise


def lane_key(trial: Trial) -> Hashable | None:
    """The key that trials of the torch engine must share to run as a batch; None if the optimizer is not elementwise.

    Raises:
        ConfigError: as in `elementwise`.
    """
    settings, problem = trial.optimizer.model_dump_json(exclude={"label"}), trial.problem
    if not _elementwise(settings):
        return None
    return settings, problem.loss, problem.slope, trial.dtype, trial.schedule, trial.steps, trial.log_every


@functools.lru_cache(REMEMBERED)
def _elementwise(written: str) -> bool:
    settings = OptimizerSettings.model_validate_json(written)
    arguments = arguments_of(settings)
    return elementwise(import_path(settings), lr=settings.lr, arguments=arguments, shape=settings.shape)


class TorchLanes:
    """A batch of runs of the torch engine.

    A run's bits do not depend on the other runs, but its rounding may differ from that of a single run. Every step is
    simulated, even if a run repeats itself.

    Args:
        trials: the trials, which share a `lane_key`, at step 0.

    Attributes:
        step: t, the number of steps taken by every run.
        chunk_steps: as in `Engine.chunk_steps`.

    Raises:
        ValueError: the optimizer cannot be imported or built.
    """

    chunk_steps = TorchEngine.chunk_steps

    def __init__(self, trials: Sequence[Trial]) -> None:
        lead = trials[0]
        self.step = 0
        self._trials = trials
        self._schedule = schedule_of(lead)
        self._sequences = list(dict.fromkeys((trial.problem, trial.seed) for trial in trials))
        self._dtype = np.dtype(number_of(lead.dtype))
        padded = [*trials, *[trials[-1]] * (-len(trials) % WIDTH)]
        numbers = {sequence: number for number, sequence in enumerate(self._sequences)}
        self._which = [numbers[trial.problem, trial.seed] for trial in padded]
        constants = [(trial.problem.start, trial.problem.optimum, *trial.problem.interval) for trial in padded]
        starts, self._optima, self._low, self._high = map(torch.from_numpy, np.array(constants, self._dtype).T.copy())
        kept: torch.dtype = getattr(torch, lead.dtype)  # of x
        starts, self._low, self._high = starts.to(kept), self._low.to(kept), self._high.to(kept)
        self._totals = np.zeros((2, len(padded)))
        settings = lead.optimizer
        imported = import_optimizer(import_path(settings))

        def new() -> tuple[Optimizer, torch.nn.Parameter]:
            param = torch.nn.Parameter(starts.clone())
            return imported.make([param], lr=settings.lr, arguments=arguments_of(settings)), param

        self._saving = Saving(new)
        self._optimizer, self._param = self._saving.optimizer, self._saving.param
        self._update = update_of(self._optimizer)

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def xs(self) -> NDArray[np.float64]:
        """x_t of each run."""
        return self._param.detach().double().numpy()[: len(self)]

    @property
    def totals(self) -> NDArray[np.float64]:
        """R(t) and the sum of iterates of each run, (2, lanes)."""
        return self._totals[:, : len(self)]

    def reset_x_sum(self) -> None:
        """Set every run's sum of iterates to 0."""
        self._totals[1] = 0

    def save_all(self) -> bytes:
        """Everything that `load_all` needs.

        Raises:
            ValueError: the optimizer keeps something that cannot be saved.
        """
        return self._saving.save(self.step, {"totals": torch.from_numpy(self._totals)})

    def load_all(self, saved: bytes) -> None:
        """Continue from what `save_all` of such a batch returned.

        Raises:
            ValueError: ``saved`` is something else.
        """
        fields = self._saving.load(saved)
        self.step, self._totals = fields["step"], fields["totals"].numpy()

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``; return the logged points, columns of (points, lanes).

        Raises:
            RunFailed: the optimizer raised an exception.
        """
        problem, coefficients = self._trials[0].problem, self._coefficients(stop)
        iterates = self._iterates(coefficients, stop)
        xs = iterates.numpy()
        losses = (problem.loss(iterates, *coefficients) - problem.loss(self._optima, *coefficients)).numpy()
        steps = logged_steps(self.step, stop, log_every)
        rows, n = steps - self.step, len(self)
        total_regrets = np.empty((len(steps), n))
        total_regret, x_sum = self._totals
        logged = iter(total_regrets)
        for loss, x, to_log in zip(losses, xs, np.isin(np.arange(len(xs)), rows).tolist(), strict=True):
            total_regret += loss  # row by row, so that the bits do not depend on the number of runs
            x_sum += x
            if to_log:
                next(logged)[:] = total_regret[:n]
        self.step = stop
        double = np.float64
        return Trace(
            steps, losses[rows, :n].astype(double), xs[rows, :n].astype(double), total_regrets / (steps + 1)[:, None]
        )

    def _coefficients(self, stop: int) -> torch.Tensor:
        """The problems' coefficients for steps step ≤ t < stop, (coefficients, steps, lanes)."""
        drawn = [problem.coefficients(self.step, stop, seed) for problem, seed in self._sequences]
        laid_out = np.array(drawn, self._dtype)[self._which].transpose(1, 2, 0)
        return torch.from_numpy(np.ascontiguousarray(laid_out))

    def _iterates(self, coefficients: torch.Tensor, stop: int) -> torch.Tensor:
        """Take these steps; return x_t before each of them, (steps, lanes)."""
        slope = self._trials[0].problem.slope
        iterates = torch.empty_like(coefficients[0])
        step_sizes = self._schedule.step_sizes(self.step, stop).tolist()
        x = self._param.detach()
        for i, (step_size, *c) in enumerate(zip(step_sizes, *coefficients, strict=True)):
            iterates[i].copy_(x)
            for group in self._optimizer.param_groups:
                group["lr"] = step_size
            self._param.grad = slope(iterates[i], *c).to(x.dtype, copy=True)  # an optimizer may keep or modify it
            try:
                self._update()
            except (Exception, SystemExit) as error:  # an imported optimizer may raise anything
                raise RunFailed(raised(error, self.step + i)) from error
            x = self._param.detach()
            x.clamp_(self._low, self._high)
        return iterates
