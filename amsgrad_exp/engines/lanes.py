"""Many runs of one rule at once: the compiled engine's recurrences, with the inner loop over runs ("lanes")."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.compiled import CompiledEngine, Floats, compile_loop, make_step
from amsgrad_exp.rules import RULES, Rule
from amsgrad_exp.trace import LaneTraces, logged_steps

MAX_SLOPES = 4_194_304  # kept at once where lanes have slopes of their own
CORRECTING_STEPS = 4096  # how often it is asked whether all bias corrections have become 1


@functools.cache
def make_lane_loop(rule: Rule, optimized_update: bool, shared_slopes: bool, correcting: bool) -> Callable[..., None]:
    """Compile the loop of one rule over steps and, within a step, over lanes, which the compiler vectorizes.

    As `make_loop`'s, with a column a lane: ``state`` is (4, lanes), ``totals`` (2, lanes), ``constants`` (9, lanes),
    ``losses``, ``xs`` and ``total_regrets`` are (points, lanes); ``slopes`` is (steps,) where lanes share them, else
    (steps, lanes). ``scales`` is α_t/α in float64. Where lanes are ``correcting`` their bias, ``powers`` holds β1^t and
    β2^t of each and ``betas`` β1 and β2, both float64 (2, lanes).
    """
    step = make_step(rule, optimized_update)

    def loop(
        state: Floats,
        totals: NDArray[np.float64],
        slopes: Floats,
        scales: NDArray[np.float64],
        powers: NDArray[np.float64],
        betas: NDArray[np.float64],
        constants: Floats,
        first: int,
        log_every: int,
        losses: Floats,
        xs: Floats,
        total_regrets: NDArray[np.float64],
    ) -> None:
        lanes = state.shape[1]
        loss, x_before = np.empty_like(state[0]), np.empty_like(state[0])
        scale, correction = np.ones_like(state[0]), np.ones_like(state[0])
        one = correction[0]
        point = 0
        for i in range(len(scales)):
            scale[0] = scales[i]
            same_scale = scale[0]
            # One width of number a loop: a vector takes as many lanes as the widest of its numbers allows.
            if correcting:
                for lane in range(lanes):
                    power1, power2 = powers[0, lane] * betas[0, lane], powers[1, lane] * betas[1, lane]
                    powers[0, lane] = power1 if 1 - power1 != 1 else 0.0
                    powers[1, lane] = power2 if 1 - power2 != 1 else 0.0
                    root = np.sqrt(1 - power2)
                    corrected = scales[i] / (1 - power1)
                    scale[lane] = corrected * root if optimized_update else corrected
                    correction[lane] = root
            for lane in range(lanes):
                slope = slopes[i] if shared_slopes else slopes[i, lane]
                x = state[0, lane]
                x_before[lane] = x
                loss[lane] = slope * x - slope * constants[8, lane]
                x, m, v, v_max = step(
                    slope,
                    scale[lane] if correcting else same_scale,
                    correction[lane] if correcting else one,
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

    Args:
        engines: one a lane, of one rule, form, dtype and kind of schedule, at the same step. They are taken over.

    Attributes:
        step: t, the number of steps taken by every lane.
    """

    def __init__(self, engines: Sequence[CompiledEngine]) -> None:
        self._engines = list(engines)
        self.step = engines[0].step
        self._state = np.stack([engine._state for engine in engines], axis=1)
        self._totals = np.array([[engine.total_regret for engine in engines], [engine.x_sum for engine in engines]])
        self._powers = np.stack([engine._beta_powers for engine in engines], axis=1)
        self._betas = np.stack([engine._betas for engine in engines], axis=1)
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
    def totals(self) -> NDArray[np.float64]:
        """R(t) and the sum of iterates since `reset_x_sum` of each lane, (2, lanes)."""
        return self._totals

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """Which lanes' updates depend on t through slope and step size alone."""
        saturated: NDArray[np.bool_] = np.all(self._powers == 0, axis=0)
        return saturated

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
        engine._beta_powers = self._powers[:, lane].copy()
        engine.total_regret, engine.x_sum = self._totals[:, lane].tolist()
        return engine

    def keep(self, lanes: NDArray[np.bool_]) -> None:
        """Drop the other lanes."""
        if lanes.all():
            return
        self._engines = [self._engines[lane] for lane in np.flatnonzero(lanes)]
        for name in ("_state", "_totals", "_powers", "_betas", "_constants"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, lanes]))

    def advance(self, stop: int, log_every: int) -> LaneTraces:
        """Take the steps up to, not including, ``stop``; return what is to be logged."""
        lead = self._engines[0]
        sequences = list(dict.fromkeys((engine.problem, engine.seed) for engine in self._engines))
        shared = len(sequences) == 1
        sequence = [] if shared else [sequences.index((engine.problem, engine.seed)) for engine in self._engines]
        width = stop - self.step if shared else max(1, MAX_SLOPES // len(self))
        pieces = []
        while self.step < stop:
            correcting = not self.saturated.all()
            end = min(self.step + (min(width, CORRECTING_STEPS) if correcting else width), stop)
            loop = make_lane_loop(RULES[lead.optimizer], lead._optimized_update, shared, correcting)
            rows = np.array([problem.slopes(self.step, end, seed) for problem, seed in sequences]).astype(lead._dtype)
            steps = logged_steps(self.step, end, log_every)
            losses, xs = np.empty((2, len(steps), len(self)), lead._dtype)
            total_regrets = np.empty((len(steps), len(self)))
            loop(
                self._state,
                self._totals,
                rows[0] if shared else np.ascontiguousarray(rows.T[:, sequence]),
                lead.schedule.scales(self.step, end),
                self._powers,
                self._betas,
                self._constants,
                int(steps[0]) - self.step if len(steps) else 0,
                log_every,
                losses,
                xs,
                total_regrets,
            )
            self.step = end
            regrets = total_regrets / (steps + 1)[:, None]
            pieces.append(LaneTraces(steps, losses.astype(np.float64), xs.astype(np.float64), regrets))
        return LaneTraces.concatenate(pieces)
