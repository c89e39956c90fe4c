"""One run of a recorded optimizer: compiled, with torch's bits, and checked by literal steps all along."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from amsgrad_exp.engines.recorded.kernels import same_bits
from amsgrad_exp.engines.recorded.lanes import RecordedLanes, literal_engines
from amsgrad_exp.engines.recorded.paths import paths_of
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.recorded.recording import NotRecorded
from amsgrad_exp.engines.seeds import OneByOne, SeedsEngine, one_each
from amsgrad_exp.engines.torch_loop import NEVER, TorchEngine, settings_of
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

CHECKS = 200  # literal steps in a run, besides those at its start, where paths change and where `advance` ends
AT_START, PATH_CHANGES = 8, 50
MORE_PATHS = 12  # recordings during a run, before the rest of it is literal
BETWEEN = 64  # literal steps, before a path that could not be recorded is tried again; twice as many each time


class RecordedEngine(TorchEngine):
    """A torch optimizer whose program takes the steps; the optimizer itself takes some of them, and must agree.

    Where it does not, or no path is known and none can be recorded, it goes on as `TorchEngine` does, from the last
    state that was checked.

    Args:
        trial: of one seed, of an imported optimizer.
        program: of its step.
    """

    chunk_steps = 65_536

    def __init__(self, trial: Trial, program: Program) -> None:
        super().__init__(**settings_of(trial))
        self._trial = trial
        self._recordings = self._changes = 0
        self._resume_at, self._wait = program.begin, BETWEEN
        self._use(program)
        spread = np.random.default_rng(trial.seed).integers(program.begin, max(trial.steps, program.begin + 1), CHECKS)
        self._checks = np.unique([*range(program.begin, program.begin + AT_START), *spread.tolist(), NEVER])

    def _use(self, program: Program) -> None:
        self._program = self._repeating = program
        self._lanes = RecordedLanes([self._trial], [program], exact=True)
        self.driven = replace(self.driven, engine="compiled", program=program.digest, kernels=program.kernels)

    def _give_up(self, why: str) -> None:
        """Go on literally to the end."""
        self._resume_at = NEVER
        self.driven = replace(self.driven, engine="torch", not_compiled=f"{why} at step {self.step}")

    def advance(self, stop: int, log_every: int) -> Trace:
        pieces = [Trace.empty()]
        while self.step < stop and self.failure is None:
            if self.step < self._resume_at:
                pieces.append(super().advance(min(stop, self._resume_at), log_every))
            else:
                pieces.append(self._checked(stop, log_every))
        return Trace.concatenate(pieces)

    def _checked(self, stop: int, log_every: int) -> Trace:
        """Take steps by the program, and then one that the optimizer takes as well; at most up to ``stop``."""
        program, lanes, begin, sums = self._program, self._lanes, self.step, (self.total_regret, self.x_sum)
        try:
            state, carry = self.read(program)
        except KeyError:  # it does not yet keep all that it kept when it was recorded
            self._look_for_paths()
            return Trace.empty()
        end = min(stop - 1, int(self._checks[np.searchsorted(self._checks, begin)]))
        standing = state, carry, sums
        end = self._until_a_change(standing, end)
        trace = self._taken(begin, end, standing, log_every)
        if lanes.lost[0] and lanes.taken[0]:
            trace = self._taken(begin, begin + int(lanes.taken[0]) - 1, standing, log_every)
        if not np.isfinite(lanes.xs[0]):
            xs = self._taken(begin, lanes.step, standing, 1).x  # the step that is lost is for the optimizer
            known = int(np.isfinite(xs).sum()) - 1
            trace = self._taken(begin, begin + known, standing, log_every)
            if known < BETWEEN:
                self._resume_at, self._wait = begin + known + self._wait, 2 * self._wait
        if lanes.lost[0]:
            self._look_for_paths()
            return Trace.empty()
        self._stand(lanes, 0)
        lanes.advance(self.step + 1, 1)
        known = not lanes.lost[0] and bool(np.isfinite(lanes.xs[0]))
        if lanes.lost[0] and self.step == begin:
            self._look_for_paths()
            return Trace.empty()
        expected = *program.named(lanes.state[:, 0]), *lanes.carry[:, 0]
        literal = super().advance(self.step + 1, log_every)
        if known and self.failure is None and not self._agrees(expected):
            self.write(program, state, carry, begin)
            self.total_regret, self.x_sum = sums
            self._give_up("its program came to something else")
            return Trace.empty()
        return Trace.concatenate([trace, literal])

    def _taken(self, begin: int, end: int, standing: Any, log_every: int) -> Trace:
        """The steps from one up to, not including, another, by the program."""
        self._put(begin, standing)
        return self._lanes.advance(end, log_every).lanes(0) if end > begin else Trace.empty()

    def _put(self, step: int, standing: Any) -> None:
        self._lanes.put(0, *standing)
        self._lanes.step = step

    def _agrees(self, expected: Any) -> bool:
        """Whether the optimizer stands where its program says, to the bit."""
        try:
            state, carry = self.read(self._program)
        except KeyError:
            return False
        return same_bits(np.array([*self._program.named(state), *carry]), np.array(expected, np.float64))

    def _until_a_change(self, standing: Any, end: int) -> int:
        """The step before the next one that is on another path, as far as that does not depend on gradients."""
        masks = self._program.masks
        if masks < 2 or self._changes >= PATH_CHANGES or end - self.step < 2:
            return end
        self._put(self.step, standing)
        taken = self._lanes.coefficients(end)[-masks:]
        changed = np.flatnonzero(np.any(np.diff(taken, axis=1) != 0, axis=0))
        if not len(changed):
            return end
        self._changes += 1
        return self.step + int(changed[0])

    def _look_for_paths(self) -> None:
        """Record the paths that the next step may take; where that cannot be done, take some steps literally first."""
        self._recordings += 1
        if self._recordings > MORE_PATHS:
            return self._give_up("its steps take ever new paths")
        ((_, lr),) = self.inputs(self.step, self.step + 1)
        try:
            more = paths_of(self._optimizer, self._param, self.gradients(), lr, self.step)
            return self._use(self._program.with_paths(more))
        except NotRecorded as reason:
            if reason.for_good:
                return self._give_up(str(reason))
        except (Exception, SystemExit) as error:  # somebody's optimizer may raise anything
            return self._give_up(f"recording a step raised {type(error).__name__}")
        self._resume_at, self._wait = self.step + self._wait, 2 * self._wait
        return None

    def load(self, saved: bytes) -> None:
        super().load(saved)
        if self.driven.not_compiled is not None:
            self._resume_at = NEVER
            self.driven = replace(self.driven, engine="torch")

    def stand(self, lanes: RecordedLanes, lane: int) -> None:
        """Stand where one of many runs does, from step 0."""
        super().advance(self._program.begin, NEVER)
        self._stand(lanes, lane)

    def _stand(self, lanes: RecordedLanes, lane: int) -> None:
        self.write(self._program, lanes.state[:, lane], lanes.carry[:, lane], lanes.step)
        self.total_regret, self.x_sum = lanes.totals[:, lane].tolist()


class RecordedSeedsEngine(SeedsEngine):
    """A trial's seeds in one batch, or one by one after one of them came to a step that its program does not know.

    Args:
        trial: of two seeds or more, of an imported optimizer.
        program: of its step.
    """

    def __init__(self, trial: Trial, program: Program) -> None:
        self._trials, self._program = one_each(trial), program
        batch = RecordedLanes(self._trials, [program] * trial.seeds, literal_engines(self._trials))
        super().__init__(trial, batch)
        self.driven = replace(self.driven, program=program.digest, kernels=program.kernels)
        self._apart()

    def advance(self, stop: int, log_every: int) -> Trace:
        if not isinstance(self._lanes, RecordedLanes):
            return super().advance(stop, log_every)
        before = self._lanes.snapshot()
        trace = super().advance(stop, log_every)
        if not self._lanes.lost.any():
            return trace
        self._lanes.restore(before)
        self.failure = None
        self._apart()
        return super().advance(stop, log_every)

    def _apart(self) -> None:
        """Go on one by one, if a seed needs that."""
        batch = self._lanes
        if isinstance(batch, RecordedLanes) and batch.lost.any():
            engines = [RecordedEngine(each, self._program) for each in self._trials]
            if batch.step > self._program.begin:
                for lane, engine in enumerate(engines):
                    engine.stand(batch, lane)
            self._lanes = OneByOne(engines)

    def load(self, saved: bytes) -> None:
        if '"step"' not in json.loads(saved)[0]:  # of engines that went on one by one
            self._lanes = OneByOne([RecordedEngine(each, self._program) for each in self._trials])
        super().load(saved)
