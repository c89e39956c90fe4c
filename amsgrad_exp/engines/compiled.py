"""Advances runs of one rule together in a compiled loop, without importing torch."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines import flushed
from amsgrad_exp.engines.batch import Batch, Numbers
from amsgrad_exp.engines.loops import in_float32, make_coefficients, make_loop
from amsgrad_exp.problems import LinearProblem, Problem
from amsgrad_exp.rules import Rule, hyper_of, rule_of
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

MAX_VARYING = 262_144  # most values of one rule coefficient in memory at once, over steps and runs
FEW = 2  # up to this many runs are faster one by one than padded to a tile, if gradients do not depend on x
FEW_KINDS = 4  # the same limit for kinds of coefficients: few are computed in vectors, and none with a power in it
TILES = (8, 32)  # runs in a tile: enough to hide the latency of roots and divisions, few enough for the registers

MAX_LAID_OUT = 1_048_576  # most values of one problem coefficient in memory at once
KEPT = 8  # cached layouts, 4 MB each in float32, for further chunks and batches that take the same steps
DRAWN = 8192  # steps whose coefficients are requested at once; larger arrays take longer to allocate than to fill


def tile_width(runs: int, few: int = FEW) -> int:
    """Return how many of these runs the loop advances side by side."""
    return 1 if runs <= few else next((tile for tile in TILES if runs <= tile), TILES[-1])


@dataclass(frozen=True, eq=False)
class Layout:
    """The sequences of losses of a padded batch (pairs of problem and seed), and the index of each run's sequence."""

    sequences: tuple[tuple[Problem, int], ...]
    which: tuple[int, ...]


layout_of = functools.lru_cache(KEPT)(Layout)  # equal layouts are one object, the key of `laid_out`'s cache


@functools.lru_cache(KEPT)
def laid_out(layout: Layout, start: int, stop: int, dtype: np.dtype[Any]) -> Numbers:
    """Return the problems' coefficients at the steps start ≤ t < stop for the loop.

    The shape is (coefficients, steps) if all runs have the same sequence, else (coefficients, steps, runs).
    """
    sequences, which = layout.sequences, layout.which
    if len(sequences) == 1:
        ((problem, seed),) = sequences
        return problem.coefficients(start, stop, seed).astype(dtype)
    rows = np.empty((len(sequences[0][0].coefficients(start, start + 1)), stop - start, len(which)), dtype)
    for begin in range(start, stop, DRAWN):
        end = min(begin + DRAWN, stop)
        drawn = np.array([problem.coefficients(begin, end, seed).astype(dtype) for problem, seed in sequences])
        rows[:, begin - start : end - start] = drawn.transpose(1, 2, 0)[:, :, which]
    return rows


class CompiledBatch(Batch):
    """Runs of one rule; each has the same bits as alone.

    Arrays are padded to whole tiles with copies of the last run.

    Args:
        trials: one trial of one seed for each run; all have equal `engines.alike`.
        program: the rule, its hyper-parameters, (runs, hyper-parameters), and the dtype of x and the state; by default
            as the trials' optimizer says.
        stops: whether to stop and set `failure` if an iterate is no longer finite; a single run stops at that step.
    """

    chunk_steps = 65_536

    def __init__(
        self, trials: Sequence[Trial], program: tuple[Rule, Any, str] | None = None, *, stops: bool = False
    ) -> None:
        lead, optimizers = trials[0], [trial.optimizer for trial in trials]
        super().__init__(lead.problem, schedule_of(lead))
        rule, hypers, kept = program or (rule_of(lead.optimizer), list(map(hyper_of, optimizers)), lead.dtype)
        self._trials, self._rule, self._stops = list(trials), rule, stops
        self._dtype, self._coefficient_dtype = np.dtype(lead.dtype), np.dtype(kept)
        self._flushed, self._slope = flushed(lead), lead.problem.slope
        self._settled: Numbers | None = None
        self._few = FEW if isinstance(lead.problem, LinearProblem) else 1
        padded = [*trials, *[trials[-1]] * (-len(trials) % self._width)]
        self._lay_out()
        hypers = np.array(hypers, np.float64)
        self._hypers = np.pad(hypers, ((0, len(padded) - len(trials)), (0, 0)), "edge").T.copy()
        self._tell_apart()
        ends = np.array([(*trial.problem.interval, trial.problem.optimum) for trial in padded]).astype(self._dtype)
        self._constants = np.array([*self._hypers, *ends.T], kept)
        starts = [[trial.problem.start, *rule.state.values()] for trial in padded]
        self._state = np.array(starts, np.float64).T.astype(kept, order="C")
        self._totals = np.zeros((2, len(padded)))
        self._carry = np.repeat(np.array(rule.carry, np.float64)[:, None], len(padded), axis=1)

    def _lay_out(self) -> None:
        """Find the different sequences of losses, and the one that each run has."""
        numbers: dict[tuple[Problem, int], int] = {}
        which = [numbers.setdefault((trial.problem, trial.seed), len(numbers)) for trial in self._trials]
        self._layout = layout_of(tuple(numbers), tuple(which + which[-1:] * (-len(which) % self._width)))

    def _tell_apart(self) -> None:
        """Group the runs into kinds with equal rule coefficients, so that each kind's are computed once.

        If that saves less than half of the work, each run is its own kind.
        """
        telling = [row for row, name in enumerate(self._rule.hyper._fields) if name in self._rule.varied_by]
        told = self._hypers[telling] if telling else np.zeros((1, self._hypers.shape[1]))
        _, kinds, self._kind_of = np.unique(told, axis=1, return_index=True, return_inverse=True)
        self._kinds = np.append(kinds, np.full(-len(kinds) % tile_width(len(kinds), FEW_KINDS), kinds[-1]))
        if 2 * len(self._kinds) > told.shape[1]:
            self._kinds = self._kind_of = np.arange(told.shape[1])

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def _width(self) -> int:
        return tile_width(len(self), self._few)

    @property
    def state(self) -> Numbers:
        """A copy of x and the rule's state, of shape (1 + slots, runs)."""
        return self._state[:, : len(self)].copy()

    @property
    def states(self) -> list[bytes]:
        return [run.tobytes() for run in self.state.T]

    @property
    def xs(self) -> Numbers:
        return self._state[0, : len(self)]

    @property
    def saturated(self) -> NDArray[np.bool_]:
        saturated: NDArray[np.bool_] = np.all(self._carry[:, : len(self)] == 0, axis=0)
        return saturated

    def keep(self, runs: NDArray[np.int64]) -> Self:
        kept = copy.copy(self)
        kept._trials = [self._trials[run] for run in runs]
        kept.problem = kept._trials[0].problem
        padded = np.append(runs, np.full(-len(runs) % kept._width, runs[-1]))
        if len(self._layout.sequences) > 1:
            kept._lay_out()
        for name in ("_state", "_totals", "_carry", "_hypers", "_constants"):
            setattr(kept, name, getattr(self, name).take(padded, axis=1))
        kept._tell_apart()
        kept._settled = None
        if self._settled is not None and self._settled.ndim == 3 and len(kept._kinds) > 1:
            kept._settled = self._settled.take(padded, axis=2)
        return kept

    def _put(self, run: int, state: Any, carry: Any, totals: Any) -> None:
        """Set one run, and its copies in the padding, to these numbers."""
        padding = slice(run, run + 1 if run < len(self) - 1 else None)
        for array, column in ((self._state, state), (self._carry, carry), (self._totals, totals)):
            array[:, padding] = np.reshape(column, (len(array), 1))
        self._settled = None

    def snapshot(self) -> tuple[int, Numbers, NDArray[np.float64], NDArray[np.float64]]:
        """Return the step, state and sums of all runs, for `restore`."""
        return self.step, self._state.copy(), self._carry.copy(), self._totals.copy()

    def restore(self, snapshot: tuple[int, Numbers, NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Go back to a snapshot."""
        self.step, state, carry, totals = snapshot
        self._state, self._carry, self._totals = state.copy(), carry.copy(), totals.copy()
        self._settled = None

    def save(self) -> bytes:
        runs = []
        for run in range(len(self)):
            total_regret, x_sum = self._totals[:, run].tolist()
            carry, state = self._carry[:, run].tolist(), self._state[:, run].tolist()
            numbers = {"step": self.step, "total_regret": total_regret, "x_sum": x_sum, "carry": carry, "state": state}
            runs.append(json.dumps(numbers))
        return (runs[0] if len(self) == 1 else json.dumps(runs)).encode()

    def load(self, saved: bytes) -> None:
        runs = json.loads(saved) if len(self) > 1 else [saved]
        if not isinstance(runs, list) or len(runs) != len(self):
            raise ValueError(f"not the state of a compiled engine of {len(self)} seeds")
        for run, numbers in enumerate(map(json.loads, runs)):
            try:
                carry = numbers["carry"] if "carry" in numbers else numbers["beta_powers"]  # its name in 0.1.0
                state = np.array(numbers["state"], self._state.dtype)[: len(self._state)]  # 0.1.0 also kept v̂ for Adam
                totals = float(numbers["total_regret"]), float(numbers["x_sum"])
                self._put(run, state, np.array(carry, np.float64), totals)
                self.step = int(numbers["step"])
            except (KeyError, TypeError) as error:
                raise ValueError(f"not the state of a compiled engine: {error}") from error

    def advance(self, stop: int, log_every: int) -> Trace:
        before = self.snapshot() if self._stops else None
        trace = self._advance(stop, log_every)
        if before is not None and not np.isfinite(self.xs).all():
            if len(self) > 1:
                self.failure = f"x became {self.x} for some of the seeds by step {self.step - 1}"
                return trace
            self.restore(before)
            lost = np.flatnonzero(~np.isfinite(self._advance(stop, 1).x))
            self.restore(before)
            last = self.step + int(lost[0]) if len(lost) else stop
            trace = self._advance(last, log_every)
            self.failure = f"x became {self.x} at step {last - 1}"
        return trace

    def _advance(self, stop: int, log_every: int) -> Trace:
        shared, width = len(self._layout.sequences) == 1, self._constants.shape[1]
        pieces = []
        while self.step < stop:
            began, until = self.step, min(stop, self.step + max(1, MAX_LAID_OUT // (1 if shared else width)))
            period = self.problem.steps_per_period if shared else None
            first = began % period if period else began
            own = laid_out(self._layout, first, first + until - began, self._dtype)
            while self.step < until:
                varying = self._varying()
                longest = max(1, MAX_VARYING // (width if len(self._kinds) > 1 else 1))
                end = min(until, self.step + longest) if varying else until
                sequence = np.ascontiguousarray(own[:, self.step - began : end - began])
                pieces.append(self._take(end, log_every, sequence, varying=varying))
        return pieces[0] if len(pieces) == 1 else Trace.concatenate([Trace.empty((0, len(self))), *pieces])

    def _varying(self) -> bool:
        """Whether the rule's coefficients still change from step to step."""
        return bool(self._carry.any())

    def _take(self, stop: int, log_every: int, sequence: Numbers, *, varying: bool) -> Trace:
        """Take steps in one call of the loop; ``sequence`` has the problems' coefficients, as from `laid_out`."""
        scales, coefficients = self._factors(stop, varying=varying)
        steps = logged_steps(self.step, stop, log_every)
        logged = np.empty((3, len(steps), self._constants.shape[1]))
        functions = self.problem.loss, self._slope
        if self._state.dtype != self._dtype:
            functions = in_float32(self.problem.loss), in_float32(self._slope)
        loop = make_loop(self._rule, *functions, per_step=len(sequence), width=self._width)
        first, stride = int(steps[0]) - self.step if len(steps) else 0, int(coefficients.shape[1] > 1)
        factors = sequence, scales, coefficients, stride
        loop(self._state, self._totals, *factors, self._constants, first, log_every, logged, self._flushed)
        self.step = stop
        losses, xs, total_regrets = logged[:, :, : len(self)]
        return Trace(steps, losses, xs, total_regrets / (steps + 1)[:, None])

    def _factors(self, stop: int, *, varying: bool) -> tuple[Numbers, Numbers]:
        """Return α_t/α and the rule's coefficients at the steps step ≤ t < stop.

        If the rule's coefficients no longer vary, only those of a single step are returned.
        """
        if varying:
            return self._corrected(self.schedule.scales(self.step, stop))
        if self._settled is None:
            _, settled = self._corrected(np.ones(1))
            self._settled = settled if len(settled) else settled.reshape(0, 1)
        if self.schedule.constant:
            return np.ones((1, stop - self.step), self._dtype), self._settled
        return self.schedule.scales(self.step, stop)[None].astype(self._dtype), self._settled

    def _corrected(self, schedule: NDArray[np.float64]) -> tuple[Numbers, Numbers]:
        """Compute corrected α_t/α and the rule's coefficients while they vary, and advance the carried values.

        The shapes are (1, steps) and (coefficients, steps), with a last axis of runs if the runs differ.
        """
        shape = (len(schedule), len(self._kinds))
        scales = np.empty((1, *shape), self._coefficient_dtype)
        varied = np.empty((self._rule.number_of_coefficients, *shape), self._coefficient_dtype)
        carry = self._carry[:, self._kinds].copy()
        fill = make_coefficients(self._rule, width=tile_width(len(self._kinds), FEW_KINDS))
        fill(carry, self._hypers[:, self._kinds].copy(), schedule, self.step, scales, varied)
        self._carry = carry[:, self._kind_of]
        if len(self._kinds) == 1:
            return scales[..., 0], varied[..., 0]
        if self._kinds is self._kind_of:
            return scales, varied
        return scales.take(self._kind_of, axis=2), varied.take(self._kind_of, axis=2)
