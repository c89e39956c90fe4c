"""Runs of one rule advanced together, in one compiled loop; one run is the simplest case."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.loops import TILE, make_coefficients, make_loop
from amsgrad_exp.rules import hyper_of, rule_of
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.floating[Any]]

MAX_VARYING = 262_144  # numbers of a rule's coefficient kept at once, over steps and lanes
MAX_DRAWN = 4_194_304  # numbers of a problem's coefficient drawn at once, where lanes have problems of their own
FEW = 4  # lanes, which are faster one after the other than padded to a tile
OWN_STEPS = 512  # and how many steps of those are laid out for the loop at once: they stay in the second cache


def alike(trial: Trial) -> tuple[Any, ...]:
    """What trials must have in common to be advanced together."""
    problem = trial.problem
    kind = (problem.loss, problem.slope, problem.steps_per_period or 0)
    return rule_of(trial.optimizer), kind, trial.dtype, trial.schedule, trial.steps, trial.log_every


def _width(lanes: int) -> int:
    """How many lanes of so many a tile has."""
    return TILE if lanes > FEW else 1


class Lanes:
    """Compiled runs advanced together, each to the same bits as alone.

    Args:
        trials: one a lane, of the compiled engine, `alike`, of one seed each, at step 0.

    Attributes:
        step: t, the number of steps taken by every lane.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        lead = trials[0]
        self.step = 0
        self._trials = list(trials)
        self._dtype = np.dtype(lead.dtype)
        self._rule = rule_of(lead.optimizer)
        self._schedule = schedule_of(lead)
        self._settled = False
        self._repeated: tuple[tuple[int, int], tuple[Floats, Floats]] | None = None
        padded = [*trials, *[trials[-1]] * (-len(trials) % _width(len(trials)))]
        self._lay_out()
        hypers = [hyper_of(trial.optimizer) for trial in padded]
        self._hypers = np.array(hypers, np.float64).T.copy()
        ends = [(*trial.problem.interval, trial.problem.optimum) for trial in padded]
        constants = [*self._hypers, *np.array(ends).T, *np.zeros((self._rule.number_of_coefficients, len(padded)))]
        self._constants = np.array(constants, self._dtype)
        starts = [[trial.problem.start, *self._rule.state.values()] for trial in padded]
        self._state = np.array(starts, self._dtype).T.copy()
        self._totals = np.zeros((2, len(padded)))
        self._carry = np.repeat(np.array(self._rule.carry)[:, None], len(padded), axis=1)

    def _lay_out(self) -> None:
        """Which sequences of losses there are, and which one each lane, padding included, has."""
        self._sequences = list(dict.fromkeys((trial.problem, trial.seed) for trial in self._trials))
        which = [self._sequences.index((trial.problem, trial.seed)) for trial in self._trials]
        self._which = which + which[-1:] * (-len(which) % _width(len(which)))

    def __len__(self) -> int:
        return len(self._trials)

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

    def reset_x_sum(self) -> None:
        """Set every lane's sum of iterates to 0."""
        self._totals[1] = 0

    def keep(self, lanes: NDArray[np.int64]) -> Lanes:
        """The same runs without the other lanes, from here on independent."""
        kept = copy.copy(self)
        kept._trials = [self._trials[lane] for lane in lanes]
        padded = np.append(lanes, np.full(-len(lanes) % _width(len(lanes)), lanes[-1]))
        if len(self._sequences) > 1:
            kept._lay_out()
        for name in ("_state", "_totals", "_carry", "_hypers", "_constants"):
            setattr(kept, name, getattr(self, name).take(padded, axis=1))
        return kept

    def snapshot(self) -> tuple[int, Floats, NDArray[np.float64], NDArray[np.float64]]:
        """Where every lane stands, for `restore`."""
        return self.step, self._state.copy(), self._totals.copy(), self._carry.copy()

    def restore(self, snapshot: tuple[int, Floats, NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Go back to a snapshot."""
        self.step, state, totals, carry = snapshot
        self._state, self._totals, self._carry = state.copy(), totals.copy(), carry.copy()
        self._settled = False

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
            state = np.array(saved["state"], self._dtype)[: len(self._state)]  # 0.1.0 kept v̂ for Adam, too
            state = state.reshape(len(self._state))
            step, totals = int(saved["step"]), (float(saved["total_regret"]), float(saved["x_sum"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a compiled engine: {error}") from error
        padding = slice(lane, lane + 1 if lane < len(self) - 1 else None)
        self.step, self._settled = step, False
        self._state[:, padding], self._carry[:, padding] = state[:, None], carry[:, None]
        self._totals[:, padding] = np.array(totals)[:, None]

    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``; return what is to be logged, columns of (points, lanes)."""
        shared, width = len(self._sequences) == 1, self._constants.shape[1]
        pieces = []
        while self.step < stop:
            drawn_to = stop if shared else min(stop, self.step + max(1, MAX_DRAWN // width))
            drawn = None if shared else np.array([self._drawn(*sequence, drawn_to) for sequence in self._sequences])
            began = self.step
            while self.step < drawn_to:
                varying = bool(self._carry.any())
                longest = min(MAX_VARYING // width if varying else drawn_to, drawn_to if shared else OWN_STEPS)
                end = min(drawn_to, self.step + max(1, longest))
                rows = None if drawn is None else drawn[:, :, self.step - began : end - began]
                sequence = None if rows is None else np.ascontiguousarray(rows.transpose(1, 2, 0)[:, :, self._which])
                pieces.append(self._take(end, log_every, sequence, varying=varying))
        return pieces[0] if len(pieces) == 1 else Trace.concatenate([Trace.empty((0, len(self))), *pieces])

    def _drawn(self, problem: Any, seed: int, stop: int) -> Floats:
        coefficients: Floats = problem.coefficients(self.step, stop, seed).astype(self._dtype)
        return coefficients

    def _take(self, stop: int, log_every: int, own: Floats | None, *, varying: bool) -> Trace:
        """Take steps in one call of the loop; ``own`` are the problems' coefficients where lanes do not share them."""
        sequence, scales, varied = self._inputs(stop, own, varying=varying)
        problem, width = self._trials[0].problem, self._constants.shape[1]
        steps = logged_steps(self.step, stop, log_every)
        losses, xs = np.empty((2, len(steps), width), self._dtype)
        total_regrets = np.empty((len(steps), width))
        first = int(steps[0]) - self.step if len(steps) else 0
        loop = make_loop(
            self._rule,
            problem.loss,
            problem.slope,
            per_step=len(sequence),
            width=_width(len(self)),
            varying=varying,
        )
        loop(
            self._state,
            self._totals,
            sequence,
            scales,
            varied,
            self._constants,
            first,
            log_every,
            losses,
            xs,
            total_regrets,
        )
        self.step = stop
        n = len(self)
        regrets = total_regrets[:, :n] / (steps + 1)[:, None]
        return Trace(steps, losses[:, :n].astype(np.float64), xs[:, :n].astype(np.float64), regrets)

    def _inputs(self, stop: int, own: Floats | None, *, varying: bool) -> tuple[Floats, Floats, Floats]:
        """The problem's coefficients, α_t/α and, where they vary, the rule's coefficients of steps step ≤ t < stop."""
        lead = self._trials[0]
        period = lead.problem.steps_per_period
        key = (self.step % period if period else 0, stop - self.step)
        repeating = period is not None and self._schedule.constant and not varying and own is None
        nothing = np.empty((0, 1, 1), self._dtype)
        if repeating and self._repeated is not None and self._repeated[0] == key:
            return *self._repeated[1], nothing
        sequence = self._drawn(lead.problem, lead.seed, stop) if own is None else own
        schedule = self._schedule.scales(self.step, stop)
        if varying:
            shape = (stop - self.step, self._constants.shape[1])
            scales = np.empty((1, *shape), self._dtype)
            varied = np.empty((self._rule.number_of_coefficients, *shape), self._dtype)
            fill = make_coefficients(self._rule, width=_width(len(self)))
            fill(self._carry, self._hypers, schedule, self.step, scales, varied)
            return sequence, scales, varied
        if not self._settled:
            self._settle()
        scales = schedule[None].astype(self._dtype)
        if repeating:
            self._repeated = (key, (sequence, scales))
        return sequence, scales, nothing

    def _settle(self) -> None:
        """Keep the rule's coefficients, which no longer change, among the constants."""
        first = len(self._constants) - self._rule.number_of_coefficients
        for lane, hypers in enumerate(self._hypers.T):
            h = self._rule.hyper(*hypers.tolist())
            self._constants[first:, lane] = self._rule.coefficients(self.step, 1.0, h, *self._carry[:, lane])[1]
        self._settled = True
