"""Many runs of one rule at once: the compiled engine's recurrences, with the inner loop over runs ("lanes")."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.compiled import CompiledEngine, Floats, compile_loop, make_step
from amsgrad_exp.engines.rules import RULES, Rule
from amsgrad_exp.trace import LaneTraces, logged_steps

MAX_SLOPES = 4_194_304  # kept at once where lanes have slopes of their own


@functools.cache
def make_lane_loop(rule: Rule, optimized_update: bool, shared_slopes: bool) -> Callable[..., None]:
    """Compile the loop of one rule over steps and, within a step, over lanes, which the compiler vectorizes.

    As `make_loop`'s, with a column a lane: ``state`` is (4, lanes), ``totals`` (2, lanes), ``constants`` (9, lanes),
    ``losses``, ``xs`` and ``total_regrets`` are (points, lanes); ``slopes`` is (steps,) where lanes share them, else
    (steps, lanes).
    """
    step = make_step(rule, optimized_update)

    def loop(
        state: Floats,
        totals: NDArray[np.float64],
        slopes: Floats,
        scales: Floats,
        corrections: Floats,
        constants: Floats,
        first: int,
        log_every: int,
        losses: Floats,
        xs: Floats,
        total_regrets: NDArray[np.float64],
    ) -> None:
        lanes = state.shape[1]
        loss, x_before = np.empty_like(state[0]), np.empty_like(state[0])
        point = 0
        for i in range(len(scales)):
            scale, correction = scales[i], corrections[i]
            for lane in range(lanes):  # one dtype a loop: a vector is as wide as its widest numbers allow
                slope = slopes[i] if shared_slopes else slopes[i, lane]
                x = state[0, lane]
                x_before[lane] = x
                loss[lane] = slope * x - slope * constants[8, lane]
                x, m, v, v_max = step(
                    slope,
                    scale,
                    correction,
                    x,
                    state[1, lane],
                    state[2, lane],
                    state[3, lane],
                    constants[0, lane],
                    constants[1, lane],
                    constants[2, lane],
                    constants[3, lane],
                    constants[4, lane],
                    constants[5, lane],
                    constants[6, lane],
                    constants[7, lane],
                )
                state[0, lane] = x
                state[1, lane] = m
                state[2, lane] = v
                state[3, lane] = v_max
            for lane in range(lanes):
                totals[0, lane] += loss[lane]
                totals[1, lane] += x_before[lane]
            if point < len(losses) and i == first + point * log_every:
                losses[point] = loss
                xs[point] = x_before
                total_regrets[point] = totals[0]
                point += 1

    return compile_loop(loop)


class Lanes:
    """Compiled engines advanced together, each to the same bits as alone.

    Until every lane's bias corrections have saturated, lanes of different betas are advanced one by one.

    Args:
        engines: one a lane, of one rule, form, dtype and kind of schedule, at the same step. They are taken over.

    Attributes:
        step: t, the number of steps taken by every lane.
    """

    def __init__(self, engines: Sequence[CompiledEngine]) -> None:
        self._engines = list(engines)
        self.step = engines[0].step
        self._gather()

    def _gather(self) -> None:
        engines = self._engines
        self._state = np.stack([engine._state for engine in engines], axis=1)
        self._totals = np.array([[engine.total_regret for engine in engines], [engine.x_sum for engine in engines]])
        self._constants = np.stack([engine._constants for engine in engines], axis=1)

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def state(self) -> Floats:
        """A copy of what each lane's next update depends on, (4, lanes)."""
        return self._state.copy()

    @property
    def xs(self) -> Floats:
        """x_t of each lane."""
        xs: Floats = self._state[0]
        return xs

    @property
    def total_regrets(self) -> NDArray[np.float64]:
        """R(t) of each lane."""
        total_regrets: NDArray[np.float64] = self._totals[0]
        return total_regrets

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """Which lanes' updates depend on t through slope and step size alone."""
        return np.array([engine.saturated for engine in self._engines])

    def same_bits(self, state: Floats) -> NDArray[np.bool_]:
        """Which lanes are in the state they were in."""
        integers = np.int32 if self._state.itemsize == 4 else np.int64
        same: NDArray[np.bool_] = np.all(self._state.view(integers) == state.view(integers), axis=0)
        return same

    def reset_x_sum(self) -> None:
        """Set every lane's sum of iterates to 0."""
        self._totals[1] = 0

    def engine(self, lane: int) -> CompiledEngine:
        """The engine of one lane, to go on alone from here."""
        engine = self._engines[lane]
        engine.step = self.step
        engine._state = self._state[:, lane].copy()
        engine.total_regret, engine.x_sum = self._totals[:, lane].tolist()
        return engine

    def keep(self, lanes: NDArray[np.bool_]) -> None:
        """Drop the other lanes."""
        self._engines = [self._engines[lane] for lane in np.flatnonzero(lanes)]
        self._state = np.ascontiguousarray(self._state[:, lanes])
        self._totals = np.ascontiguousarray(self._totals[:, lanes])
        self._constants = np.ascontiguousarray(self._constants[:, lanes])

    def advance(self, stop: int, log_every: int) -> LaneTraces:
        """Take the steps up to, not including, ``stop``; return what is logged, NaN after a lane failed."""
        steps = logged_steps(self.step, stop, log_every)
        losses, xs, regrets = np.full((3, len(steps), len(self)), np.nan)
        same_betas = len({tuple(engine._betas) for engine in self._engines}) == 1
        if same_betas or self.saturated.all():
            self._advance_together(stop, log_every, losses, xs, regrets)
        else:
            for lane in range(len(self)):
                trace = self.engine(lane).advance(stop, log_every)
                losses[: len(trace), lane], xs[: len(trace), lane] = trace.loss, trace.x
                regrets[: len(trace), lane] = trace.regret
            self._gather()
        self.step = stop
        return LaneTraces(steps, losses, xs, regrets)

    def _advance_together(
        self, stop: int, log_every: int, losses: Floats, xs: Floats, regrets: NDArray[np.float64]
    ) -> None:
        lead = self._engines[0]
        sequences = list(dict.fromkeys((engine.problem, engine.seed) for engine in self._engines))
        shared = len(sequences) == 1
        sequence = [sequences.index((engine.problem, engine.seed)) for engine in self._engines] if not shared else []
        loop = make_lane_loop(RULES[lead.optimizer], lead._optimized_update, shared)
        width = stop - self.step if shared else max(1, MAX_SLOPES // len(self))
        point = 0
        for start in range(self.step, stop, width):
            end = min(start + width, stop)
            slopes, scales, corrections = lead._inputs(start, end)
            if not shared:
                rows = np.array([problem.slopes(start, end, seed) for problem, seed in sequences])
                slopes = np.ascontiguousarray(rows.astype(lead._dtype).T[:, sequence])
            steps = logged_steps(start, end, log_every)
            here = slice(point, point + len(steps))
            first = int(steps[0]) - start if len(steps) else 0
            logged = np.empty((2, len(steps), len(self)), lead._dtype)
            totals = np.empty((len(steps), len(self)))
            loop(
                self._state,
                self._totals,
                slopes,
                scales,
                corrections,
                self._constants,
                first,
                log_every,
                logged[0],
                logged[1],
                totals,
            )
            losses[here], xs[here], regrets[here] = logged[0], logged[1], totals / (steps + 1)[:, None]
            point += len(steps)
        for engine in self._engines:
            engine._beta_powers = lead._beta_powers.copy()
