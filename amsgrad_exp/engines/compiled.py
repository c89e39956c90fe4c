"""The compiled engine, which runs an optimizer's rule in a compiled loop and never imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from amsgrad_exp.engines import has_rule
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.engines.lanes import Lanes, flushed
from amsgrad_exp.engines.seeds import SeedsEngine, one_each
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.rules import rule_of
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial


class CompiledEngine(Engine):
    """A single run as a batch of one.

    Args:
        trial: a trial with one seed, of an optimizer that has a rule. Regret is summed in float64, whatever its dtype.
        lanes: a batch of one run to continue; by default a new one.
    """

    chunk_steps = Lanes.chunk_steps

    def __init__(self, trial: Trial, lanes: Lanes | None = None) -> None:
        super().__init__(trial.problem, schedule_of(trial), trial.seed)
        self._lanes = lanes or Lanes([trial])
        self._follow()

    @property
    def x(self) -> float:
        return float(self._lanes.xs[0])

    @property
    def saturated(self) -> bool:
        return bool(self._lanes.saturated[0])

    @property
    def state(self) -> bytes:
        return self._lanes.state.tobytes()

    def advance(self, stop: int, log_every: int) -> Trace:
        before = self._lanes.snapshot()
        trace = self._lanes.advance(stop, log_every)
        if not math.isfinite(self.x):
            self._lanes.restore(before)
            failed = np.flatnonzero(~np.isfinite(self._lanes.advance(stop, log_every=1).x))
            self._lanes.restore(before)
            last = self.step + int(failed[0]) if len(failed) else stop
            trace = self._lanes.advance(last, log_every)
            self.failure = f"x became {self.x} at step {last - 1}"
        self._follow()
        return trace.lanes(0)

    def _follow(self) -> None:
        """Copy step and sums from the batch."""
        self.step = self._lanes.step
        self.total_regret, self.x_sum = self._lanes.totals[:, 0].tolist()

    def reset_x_sum(self) -> None:
        super().reset_x_sum()
        self._lanes.reset_x_sum()

    def save(self) -> bytes:
        return json.dumps(self._lanes.save(0)).encode()

    def load(self, saved: bytes) -> None:
        self._lanes.load(0, json.loads(saved))
        self._follow()


def make_lanes(trials: Sequence[Trial]) -> Lanes:
    """A batch of `alike` trials."""
    if has_rule(trials[0]):
        return Lanes(trials)
    from amsgrad_exp.engines.recorded import program_for
    from amsgrad_exp.engines.recorded.lanes import RecordedLanes, literal_engines

    programs = [program for trial in trials if not isinstance(program := program_for(trial), str)]
    return RecordedLanes(trials, programs, literal_engines(trials))


def alike(trial: Trial) -> Hashable | None:
    """What trials must have in common to be advanced together; None of one that cannot be compiled.

    The period must be the same only if the runs may repeat themselves.

    Raises:
        ConfigError: the optimizer cannot be imported or built.
    """
    rule: Hashable
    if has_rule(trial):
        rule = rule_of(trial.optimizer)
        settles = rule.settles
    else:
        from amsgrad_exp.engines.recorded import program_for

        try:
            program = program_for(trial) if trial.engine != "torch" else ""
        except ValueError as error:
            raise ConfigError(str(error).splitlines()[0]) from error
        if isinstance(program, str):
            return None
        rule, settles = (program.in_batches, program.begin), True
    problem = trial.problem
    repeats = trial.fast_forward and schedule_of(trial).constant and settles
    kind = (problem.loss, problem.slope, (problem.steps_per_period or 0) if repeats else -1)
    return rule, kind, flushed(trial), trial.dtype, trial.schedule, trial.steps, trial.log_every, trial.fast_forward


def build(trial: Trial) -> Engine:
    """The engine of a trial: for a single run, or for the mean over its seeds."""
    if trial.seeds == 1:
        return CompiledEngine(trial)
    return SeedsEngine(trial, Lanes(one_each(trial)))
