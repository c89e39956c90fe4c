"""Runs of recorded optimizers advanced together, in the compiled loop of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.lanes import Floats, Lanes
from amsgrad_exp.engines.loops import not_below
from amsgrad_exp.engines.recorded.kernels import same_bits
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.torch_loop import TorchEngine, settings_of
from amsgrad_exp.engines.torch_step import SMALLEST_SLOPE
from amsgrad_exp.problems import LinearProblem
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

CHECKED = 4  # steps that are held against literal ones after each call of `advance`


class RecordedLanes(Lanes):
    """Runs of one program, or of several that differ in their constants alone.

    The first steps of each are taken literally. With IEEE's square root in place of torch's a run has torch's results
    to rounding.

    Args:
        trials: one a lane, of one seed each.
        programs: of each.
        literal: engines of the trials at step 0, which take the first steps and check others; None if the caller does.
        exact: whether square roots are torch's.

    Attributes:
        taken: of a guarded program, how many steps each lane took in the last call of `advance` before such a step.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        programs: Sequence[Program],
        literal: Sequence[TorchEngine] | None = None,
        *,
        exact: bool = False,
    ) -> None:
        self._programs = list(programs)
        self._lead = lead = programs[0]
        hypers = np.array([[t.optimizer.lr, *p.constants] for t, p in zip(trials, programs, strict=True)])
        rule = lead.rule if exact else lead.in_batches
        kept = np.float64 if lead.wide else trials[0].dtype
        self._begin(trials, rule, hypers, np.zeros((len(trials), len(rule.state))), np.dtype(kept))
        self._flushed = False
        if exact and not isinstance(trials[0].problem, LinearProblem):
            self._slope = not_below(SMALLEST_SLOPE, self._slope)  # autograd rounds others in another way
        if lead.wide_coefficients:
            self._coefficient_dtype = np.dtype(np.float64)
        self._carry = np.zeros((len(lead.carry), self._constants.shape[1]))
        self._head: Trace | None = None
        self._lost = np.zeros(len(trials), bool)
        self._literal = literal
        self._numbers = np.random.default_rng(0)
        if literal is not None:
            self._take_first_steps(literal)

    def _take_first_steps(self, engines: Sequence[TorchEngine]) -> None:
        traces = []
        for lane, (engine, program) in enumerate(zip(engines, self._programs, strict=True)):
            traces.append(engine.advance(self._lead.begin, 1))
            try:
                state, carry = engine.read(program)
            except KeyError:  # it does not yet keep all that it will
                self._lost[lane] = True
                continue
            self._lost[lane] = engine.failure is not None
            self.put(lane, state, carry, (engine.total_regret, engine.x_sum))
        columns = [np.stack([getattr(each, name) for each in traces], axis=1) for name in ("loss", "x", "regret")]
        self.step, self._head = self._lead.begin, Trace(traces[0].step, *columns)

    def put(self, lane: int, state: Any, carry: Any, totals: Any) -> None:
        """Put one lane, with its padding, where a program's state says."""
        lanes = slice(lane, lane + 1 if lane < len(self) - 1 else None)
        self._state[:, lanes] = np.array(state)[:, None]
        self._carry[:, lanes] = np.array(carry, np.float64).reshape(-1, 1)
        self._lost[lane] = False
        self._totals[:, lanes] = np.array(totals)[:, None]

    def keep(self, lanes: NDArray[np.int64]) -> RecordedLanes:
        kept = super().keep(lanes)
        assert isinstance(kept, RecordedLanes)
        kept._programs = [self._programs[lane] for lane in lanes]
        kept._lost = self._lost[lanes]
        kept._head = None if self._head is None else self._head.lanes(lanes)
        kept._literal = None if self._literal is None else [self._literal[lane] for lane in lanes]
        return kept

    def load(self, lane: int, saved: Any) -> None:
        super().load(lane, saved)
        if self.step > self._lead.begin:
            self._head = None

    def advance(self, stop: int, log_every: int) -> Trace:
        pieces = []
        if self._head is not None:
            rows = np.flatnonzero((self._head.step + 1) % log_every == 0)
            pieces, self._head = [self._head.rows(rows)], None
        pieces.append(super().advance(stop, log_every))
        if self._lead.guarded:
            self._lost |= self._state[-2, : len(self)] == 0
            self.taken = self._state[-1, : len(self)].astype(int)
            self._state[-1] = 0
        if self._literal is not None:
            for lane in self._numbers.choice(np.flatnonzero(~self._lost), CHECKED) if not self._lost.all() else ():
                self._check(int(lane))
        return pieces[0] if len(pieces) == 1 else Trace.concatenate(pieces)

    def _check(self, lane: int) -> None:
        """Hold a lane's next step against a literal one; where they differ, no lane of the program is believed."""
        assert self._literal is not None
        engine, program, trial = self._literal[lane], self._programs[lane], self._trials[lane]
        state, carry = self._state[:, lane].astype(float), self._carry[:, lane]
        if not np.isfinite(state[0]):
            return
        engine.write(program, state, carry, self.step)
        ((c, _),) = engine.inputs(self.step, self.step + 1)
        number, scale = self._dtype.type, float(self._schedule.scales(self.step, self.step + 1)[0])
        gradient = trial.problem.slope(number(state[0]), *c)
        (x, *rest), after = program.step(state, carry, gradient, scale, trial.optimizer.lr, number)
        if not isinstance(trial.problem, LinearProblem) and abs(gradient) < SMALLEST_SLOPE:
            return
        low, high = map(number, trial.problem.interval)
        expected = [*program.named([min(max(x, float(low)), float(high)), *rest]), *after]
        engine.advance(self.step + 1, 1)
        got, got_carry = engine.read(program)
        if engine.failure is None and not (program.guarded and rest[-2] == 0):
            self._lost |= not same_bits(np.array([*program.named(got), *got_carry]), np.array(expected))

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Which lanes came to a step that their program does not know, or did not take as the optimizer does."""
        return self._lost

    @property
    def carry(self) -> NDArray[np.float64]:
        """A copy of what each lane's coefficients carry, (carried, lanes)."""
        return self._carry[:, : len(self)].copy()

    def coefficients(self, stop: int) -> Floats:
        """Those of one lane, of the steps step ≤ t < stop, (coefficients, steps); nothing is advanced."""
        before = self._carry
        _, varied = self._corrected(self._schedule.scales(self.step, stop))
        self._carry = before
        return varied

    def _varying(self) -> bool:
        return True

    @property
    def saturated(self) -> NDArray[np.bool_]:
        steps = self.chunk_steps // len(self._kinds)
        every = zip(self._programs, self._hypers[0].tolist(), self._carry.T, strict=False)
        return np.array([program.repeats(lr, carry, steps) for program, lr, carry in every], bool)


def literal_engines(trials: Sequence[Trial]) -> list[TorchEngine]:
    """Engines of trials of one seed each.

    Raises:
        ValueError: an optimizer cannot be built.
    """
    return [TorchEngine(**settings_of(trial)) for trial in trials]
