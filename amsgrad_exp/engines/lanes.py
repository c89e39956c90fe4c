"""Runs of one rule advanced together, in one compiled loop; one run is the simplest case."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.layout import MAX_LAID_OUT, laid_out, layout_of
from amsgrad_exp.engines.loops import in_float32, make_coefficients, make_loop
from amsgrad_exp.problems import LinearProblem, Problem
from amsgrad_exp.rules import Rule, hyper_of, rule_of
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.floating[Any]]

MAX_VARYING = 262_144  # numbers of a rule's coefficient kept at once, over steps and lanes
FEW = 2  # lanes, which are faster one after the other than padded to a tile: where no slope waits for the x before it
FEW_KINDS = 4  # of coefficients, likewise: few are worked out in vectors, and none that has a power in it
TILES = (8, 32)  # lanes: enough in flight to hide roots and divisions, few enough for the registers


def flushed(trial: Trial) -> bool:
    """Whether subnormal numbers are 0 in a trial: not where ε = 0, for a root that became 0 would be divided by."""
    return trial.optimizer.eps != 0


def _width(lanes: int, few: int = FEW) -> int:
    """How many lanes of so many a tile has."""
    return 1 if lanes <= few else next((tile for tile in TILES if lanes <= tile), TILES[-1])


class Lanes:
    """Compiled runs advanced together, each to the same bits as alone.

    Args:
        trials: one a lane, of the compiled engine, `alike`, of one seed each, at step 0.

    Attributes:
        step: t, the number of steps taken by every lane.
        chunk_steps: as `Engine.chunk_steps`.
    """

    chunk_steps = 65_536

    def __init__(self, trials: Sequence[Trial]) -> None:
        rule = rule_of(trials[0].optimizer)
        hypers = np.array([hyper_of(trial.optimizer) for trial in trials], np.float64)
        self._begin(trials, rule, hypers, np.array([list(rule.state.values())] * len(trials)))

    def _begin(
        self, trials: Sequence[Trial], rule: Rule, hypers: Floats, states: Floats, kept: np.dtype[Any] | None = None
    ) -> None:
        """Stand at step 0.

        Args:
            trials: one a lane.
            rule: of all of them.
            hypers: their hyper-parameters, (lanes, hyper-parameters).
            states: the rule's state, (lanes, slots).
            kept: the dtype of what is kept from step to step, the trials' if None.
        """
        lead = trials[0]
        self.step = 0
        self._trials = list(trials)
        self._dtype = np.dtype(lead.dtype)
        kept = self._coefficient_dtype = kept or self._dtype
        self._rule = rule
        self._flushed, self._slope = flushed(lead), lead.problem.slope
        self._schedule = schedule_of(lead)
        self._settled: Floats | None = None
        self._repeated: tuple[tuple[int, int], tuple[Floats, Floats]] | None = None
        self._few = FEW if isinstance(lead.problem, LinearProblem) else 1
        padded = [*trials, *[trials[-1]] * (-len(trials) % self._width)]
        self._lay_out()
        padding = ((0, len(padded) - len(trials)), (0, 0))
        self._hypers = np.pad(hypers, padding, "edge").T.copy()
        self._tell_apart()
        ends = np.array([(*trial.problem.interval, trial.problem.optimum) for trial in padded]).astype(self._dtype)
        self._constants = np.array([*self._hypers, *ends.T], kept)
        starts = np.array([[trial.problem.start] for trial in padded])
        self._state = np.hstack([starts, np.pad(states, padding, "edge")]).T.astype(kept)
        self._totals = np.zeros((2, len(padded)))
        self._carry = np.repeat(np.array(self._rule.carry)[:, None], len(padded), axis=1)

    def _lay_out(self) -> None:
        """Which sequences of losses there are, and which one each lane, padding included, has."""
        numbers: dict[tuple[Problem, int], int] = {}
        which = [numbers.setdefault((trial.problem, trial.seed), len(numbers)) for trial in self._trials]
        self._layout = layout_of(tuple(numbers), tuple(which + which[-1:] * (-len(which) % self._width)))

    def _tell_apart(self) -> None:
        """One lane of each kind as regards the rule's coefficients, and the kind of each.

        Where that would save less than half the work, each lane is a kind of its own.
        """
        telling = [row for row, name in enumerate(self._rule.hyper._fields) if name in self._rule.varied_by]
        told = self._hypers[telling] if telling else np.zeros((1, self._hypers.shape[1]))
        _, kinds, self._kind_of = np.unique(told, axis=1, return_index=True, return_inverse=True)
        self._kinds = np.append(kinds, np.full(-len(kinds) % _width(len(kinds), FEW_KINDS), kinds[-1]))
        if 2 * len(self._kinds) > told.shape[1]:
            self._kinds = self._kind_of = np.arange(told.shape[1])

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def _width(self) -> int:
        """How many lanes a tile has."""
        return _width(len(self), self._few)

    @property
    def state(self) -> Floats:
        """A copy of what each lane's next update depends on besides t: x and the rule's state, (1 + slots, lanes)."""
        return self._state[:, : len(self)].copy()

    @property
    def xs(self) -> Floats:
        """x_t of each lane."""
        return self._state[0, : len(self)]

    @property
    def totals(self) -> NDArray[np.float64]:
        """R(t) and the sum of iterates of each lane, (2, lanes)."""
        return self._totals[:, : len(self)]

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """Which lanes' updates depend on t through the loss and the step size alone."""
        saturated: NDArray[np.bool_] = np.all(self._carry[:, : len(self)] == 0, axis=0)
        return saturated

    def same_bits(self, state: Floats) -> NDArray[np.bool_]:
        """Which lanes are in the state they were in."""
        integers = np.int32 if self._state.itemsize == 4 else np.int64
        same: NDArray[np.bool_] = np.all(self.state.view(integers) == state.view(integers), axis=0)
        return same

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Which lanes cannot go on in a batch."""
        return np.zeros(len(self), bool)

    def reset_x_sum(self) -> None:
        """Set every lane's sum of iterates to 0."""
        self._totals[1] = 0

    def keep(self, lanes: NDArray[np.int64]) -> Lanes:
        """The same runs without the other lanes, from here on independent."""
        kept = copy.copy(self)
        kept._trials = [self._trials[lane] for lane in lanes]
        padded = np.append(lanes, np.full(-len(lanes) % kept._width, lanes[-1]))
        if len(self._layout.sequences) > 1:
            kept._lay_out()
        for name in ("_state", "_totals", "_carry", "_hypers", "_constants"):
            setattr(kept, name, getattr(self, name).take(padded, axis=1))
        kept._tell_apart()
        kept._settled = None
        if self._settled is not None and self._settled.ndim == 3 and len(kept._kinds) > 1:
            kept._settled = self._settled.take(padded, axis=2)
        return kept

    def snapshot(self) -> tuple[int, Floats, NDArray[np.float64], NDArray[np.float64]]:
        """Where every lane stands, for `restore`."""
        return self.step, self._state.copy(), self._totals.copy(), self._carry.copy()

    def restore(self, snapshot: tuple[int, Floats, NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Go back to a snapshot."""
        self.step, state, totals, carry = snapshot
        self._state, self._totals, self._carry = state.copy(), totals.copy(), carry.copy()
        self._settled = None

    def save(self, lane: int) -> dict[str, Any]:
        """One lane's step, sums and state, in JSON's types."""
        total_regret, x_sum = self._totals[:, lane].tolist()
        carry, state = self._carry[:, lane].tolist(), self._state[:, lane].tolist()
        return {"step": self.step, "total_regret": total_regret, "x_sum": x_sum, "carry": carry, "state": state}

    def load(self, lane: int, saved: Any) -> None:
        """Go on with a lane from what `save` returned.

        Raises:
            ValueError: it is not that of such a lane.
        """
        try:
            carried = saved["carry"] if "carry" in saved else saved["beta_powers"]  # as 0.1.0 called it
            carry = np.array(carried, np.float64).reshape(len(self._carry))
            state = np.array(saved["state"], self._state.dtype)[: len(self._state)]  # 0.1.0 kept v̂ for Adam, too
            state = state.reshape(len(self._state))
            step, totals = int(saved["step"]), (float(saved["total_regret"]), float(saved["x_sum"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a compiled engine: {error}") from error
        padding = slice(lane, lane + 1 if lane < len(self) - 1 else None)
        self.step, self._settled = step, None
        self._state[:, padding], self._carry[:, padding] = state[:, None], carry[:, None]
        self._totals[:, padding] = np.array(totals)[:, None]

    def save_all(self) -> bytes:
        """What `save` returns of every lane."""
        return json.dumps([json.dumps(self.save(lane)) for lane in range(len(self))]).encode()

    def load_all(self, saved: bytes) -> None:
        """Go on with every lane from what `save_all` returned.

        Raises:
            ValueError: it is not that of so many such lanes.
        """
        states = json.loads(saved)
        if not isinstance(states, list) or len(states) != len(self):
            raise ValueError(f"not the state of a compiled engine of {len(self)} seeds")
        for lane, state in enumerate(states):
            self.load(lane, json.loads(state))

    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``; return what is to be logged, columns of (points, lanes)."""
        shared, width = len(self._layout.sequences) == 1, self._constants.shape[1]
        pieces = []
        while self.step < stop:
            began, until = self.step, stop if shared else min(stop, self.step + max(1, MAX_LAID_OUT // width))
            own = None if shared else laid_out(self._layout, began, until, self._dtype)
            while self.step < until:
                varying = self._varying()
                longest = max(1, MAX_VARYING // (width if len(self._kinds) > 1 else 1))
                end = min(until, self.step + longest) if varying else until
                rows = None if own is None else np.ascontiguousarray(own[:, self.step - began : end - began])
                pieces.append(self._take(end, log_every, rows, varying=varying))
        return pieces[0] if len(pieces) == 1 else Trace.concatenate([Trace.empty((0, len(self))), *pieces])

    def _varying(self) -> bool:
        """Whether the rule's coefficients still change from step to step."""
        return bool(self._carry.any())

    def _take(self, stop: int, log_every: int, own: Floats | None, *, varying: bool) -> Trace:
        """Take steps in one call of the loop; ``own`` are the problems' coefficients where lanes do not share them."""
        sequence, scales, coefficients = self._inputs(stop, own, varying=varying)
        problem, width = self._trials[0].problem, self._constants.shape[1]
        steps = logged_steps(self.step, stop, log_every)
        losses, xs = np.empty((2, len(steps), width), self._dtype)
        narrow = self._state.dtype != self._dtype
        total_regrets = np.empty((len(steps), width))
        first = int(steps[0]) - self.step if len(steps) else 0
        loop = make_loop(
            self._rule,
            in_float32(problem.loss) if narrow else problem.loss,
            in_float32(self._slope) if narrow else self._slope,
            per_step=len(sequence),
            width=self._width,
        )
        loop(
            self._state,
            self._totals,
            sequence,
            scales,
            coefficients,
            int(coefficients.shape[1] > 1),
            self._constants,
            first,
            log_every,
            losses,
            xs,
            total_regrets,
            self._flushed,
        )
        self.step = stop
        n = len(self)
        regrets = total_regrets[:, :n] / (steps + 1)[:, None]
        return Trace(steps, losses[:, :n].astype(np.float64), xs[:, :n].astype(np.float64), regrets)

    def _inputs(self, stop: int, own: Floats | None, *, varying: bool) -> tuple[Floats, Floats, Floats]:
        """The problem's coefficients, α_t/α and the rule's coefficients at steps step ≤ t < stop.

        The rule's have a single step where they no longer vary.
        """
        lead = self._trials[0]
        period = lead.problem.steps_per_period
        key = (self.step % period if period else 0, stop - self.step)
        repeating = period is not None and self._schedule.constant and not varying and own is None
        if repeating and self._settled is not None and self._repeated is not None and self._repeated[0] == key:
            return *self._repeated[1], self._settled
        if own is None:
            own = lead.problem.coefficients(self.step, stop, lead.seed).astype(self._dtype)
        schedule = self._schedule.scales(self.step, stop)
        if varying:
            return own, *self._corrected(schedule)
        if self._settled is None:
            self._settled = self._settle()
        scales = schedule[None].astype(self._dtype)
        if repeating:
            self._repeated = (key, (own, scales))
        return own, scales, self._settled

    def _corrected(self, schedule: NDArray[np.float64]) -> tuple[Floats, Floats]:
        """α_t/α with its corrections and the rule's coefficients, while they vary; advances what is carried.

        Where all lanes have the same, of shapes (1, steps) and (coefficients, steps), else with a last axis of lanes.
        """
        shape = (len(schedule), len(self._kinds))
        scales = np.empty((1, *shape), self._coefficient_dtype)
        varied = np.empty((self._rule.number_of_coefficients, *shape), self._coefficient_dtype)
        carry = self._carry[:, self._kinds].copy()
        fill = make_coefficients(self._rule, width=_width(len(self._kinds), FEW_KINDS))
        fill(carry, self._hypers[:, self._kinds].copy(), schedule, self.step, scales, varied)
        self._carry = carry[:, self._kind_of]
        if len(self._kinds) == 1:
            return scales[..., 0], varied[..., 0]
        if self._kinds is self._kind_of:
            return scales, varied
        return scales.take(self._kind_of, axis=2), varied.take(self._kind_of, axis=2)

    def _settle(self) -> Floats:
        """The rule's coefficients, which no longer change, in the shape that `_corrected` has them, of one step."""
        kinds = self._kinds if self._rule.number_of_coefficients else self._kinds[:1]
        settled = np.empty((self._rule.number_of_coefficients, 1, len(kinds)), self._dtype)
        for at, kind in enumerate(kinds.tolist()):
            h = self._rule.hyper(*self._hypers[:, kind].tolist())
            settled[:, 0, at] = self._rule.coefficients(self.step, 1.0, h, *self._carry[:, kind])[1]
        return settled[..., 0] if len(kinds) == 1 else settled.take(self._kind_of, axis=2)
