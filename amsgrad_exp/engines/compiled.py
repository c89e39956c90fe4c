"""The compiled engine: the recurrences of a rule on scalars, compiled with Numba. It never imports torch.

No fast-math and no contraction: the same bits on every processor.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.rules import RULES, Rule
from amsgrad_exp.schedules import SCHEDULES, Schedule
from amsgrad_exp.trace import Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.floating[Any]]

BLOCK_STEPS = 1024  # how often bias corrections are checked for having become 1

for _rule in RULES.values():
    register_jitable(_rule)


def compile_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop for use without the GIL, cached on disk wherever a cache can be kept."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # Numba found no writable place for a cache: compile in every process
        return njit(nogil=True, error_model="numpy")(function)


def make_step(rule: Rule, optimized_update: bool) -> Callable[..., tuple[float, ...]]:
    """One step of one rule on scalars of one dtype, for a compiled loop to call.

    With ``optimized_update`` both bias corrections are folded into ``scale``; otherwise that of m is, and √v is divided
    by ``correction``. Rules and steps are closed over as plain functions: a closure over a dispatcher would never be
    found in the cache.
    """

    def step(
        slope: float,
        scale: float,
        correction: float,
        x: float,
        m: float,
        v: float,
        v_max: float,
        lr: float,
        beta1: float,
        one_minus_beta1: float,
        beta2: float,
        one_minus_beta2: float,
        eps: float,
        low: float,
        high: float,
    ) -> tuple[float, ...]:
        m, v, v_max, v_used = rule(slope, m, v, v_max, beta1, one_minus_beta1, beta2, one_minus_beta2)
        root = np.sqrt(v_used) if optimized_update else np.sqrt(v_used) / correction
        x = x - lr * scale * m / (root + eps)
        x = high if x > high else x
        x = low if x < low else x
        return x, m, v, v_max

    return register_jitable(step)


@functools.cache
def make_loop(rule: Rule, optimized_update: bool) -> Callable[..., None]:
    """Compile the loop of one rule over the steps of one run.

    The loop advances ``state`` (x, m, v, v̂; in the experiment's dtype) and ``totals`` (R, Σx; float64) in place
    over ``len(slopes)`` steps, and logs loss, x and R at position ``first`` and every ``log_every`` steps after it.
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
        x, m, v, v_max = state
        total_regret, x_sum = totals
        lr, beta1, one_minus_beta1, beta2, one_minus_beta2, eps, low, high, optimum = constants
        loss = x_logged = x
        begin = 0
        for point in range(len(losses) + 1):
            logging = point < len(losses)
            end = first + point * log_every + 1 if logging else len(slopes)
            for slope, scale, correction in zip(slopes[begin:end], scales[begin:end], corrections[begin:end]):
                loss = slope * x - slope * optimum
                x_logged = x
                total_regret += loss
                x_sum += x
                x, m, v, v_max = step(
                    slope,
                    scale,
                    correction,
                    x,
                    m,
                    v,
                    v_max,
                    lr,
                    beta1,
                    one_minus_beta1,
                    beta2,
                    one_minus_beta2,
                    eps,
                    low,
                    high,
                )
            begin = end
            if logging:
                losses[point] = loss
                xs[point] = x_logged
                total_regrets[point] = total_regret
        state[0], state[1], state[2], state[3] = x, m, v, v_max
        totals[0], totals[1] = total_regret, x_sum

    return compile_loop(loop)


class CompiledEngine(Engine):
    """An optimizer that has a rule, on scalars of one dtype.

    Args:
        optimizer: a name in `RULES`.
        problem, schedule: what to minimize, with which step sizes.
        betas: (β1, β2), each in [0, 1).
        eps: ε ≥ 0.
        optimized_update: the form of the bias correction, as in `amsgrad_exp.optimizers.Adam`.
        dtype: "float32" or "float64", of the iterate and the moments; regret is summed in float64.
        seed: the seed of a random problem.
    """

    chunk_steps = 65_536

    def __init__(
        self,
        optimizer: str,
        problem: Problem,
        schedule: Schedule,
        *,
        betas: tuple[float, float],
        eps: float,
        optimized_update: bool = True,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__(problem, schedule, seed)
        self._dtype = np.dtype(dtype)
        self.optimizer = optimizer
        self._loop = make_loop(RULES[optimizer], optimized_update)
        self._optimized_update = optimized_update
        self._betas = np.array(betas)
        beta1, beta2 = betas
        self._constants = np.array(
            [schedule.lr, beta1, 1 - beta1, beta2, 1 - beta2, eps, problem.low, problem.high, problem.optimum],
            self._dtype,
        )
        self._state = np.array([problem.start, 0, 0, 0], self._dtype)
        self._beta_powers = np.ones(2)  # β1^t and β2^t
        self._repeated: tuple[tuple[int, int], tuple[Floats, Floats, Floats]] | None = None

    @property
    def x(self) -> float:
        return float(self._state[0])

    @property
    def saturated(self) -> bool:
        return not self._beta_powers.any()

    @property
    def state(self) -> bytes:
        return self._state.tobytes()

    def advance(self, stop: int, log_every: int) -> Trace:
        before = copy.copy(self)
        before._state, before._beta_powers = self._state.copy(), self._beta_powers.copy()
        trace = self._take(stop, log_every)
        if not math.isfinite(self.x):
            saved = before.save()
            failed = np.flatnonzero(~np.isfinite(before._take(stop, log_every=1).x))
            self.load(saved)
            trace = self._take(self.step + int(failed[0]) if len(failed) else stop, log_every)
            self.failure = f"x became {self.x} at step {self.step - 1}"
        return trace

    def _take(self, stop: int, log_every: int) -> Trace:
        steps = logged_steps(self.step, stop, log_every)
        losses, xs = np.empty((2, len(steps)), self._dtype)
        total_regrets = np.empty(len(steps))
        totals = np.array([self.total_regret, self.x_sum])
        first = int(steps[0]) - self.step if len(steps) else 0
        inputs = self._inputs(self.step, stop)
        self._loop(self._state, totals, *inputs, self._constants, first, log_every, losses, xs, total_regrets)
        self.total_regret, self.x_sum = totals.tolist()
        self.step = stop
        return Trace(steps, losses.astype(np.float64), xs.astype(np.float64), total_regrets / (steps + 1))

    def _inputs(self, start: int, stop: int) -> tuple[Floats, Floats, Floats]:
        """Slopes, scales and corrections of steps start ≤ t < stop, in the experiment's dtype."""
        period = self.problem.steps_per_period
        repeating = period is not None and self.schedule.constant and self.saturated
        key = (start % period if period else 0, stop - start)
        if repeating and self._repeated is not None and self._repeated[0] == key:
            return self._repeated[1]
        slopes = self.problem.slopes(start, stop, self.seed)
        scales = self.schedule.scales(start, stop)
        corrections = np.ones(stop - start)
        if not self.saturated:
            scales /= self._bias_correction(0, stop - start)
            corrections = np.sqrt(self._bias_correction(1, stop - start))
            if self._optimized_update:
                scales *= corrections
        inputs = (slopes.astype(self._dtype), scales.astype(self._dtype), corrections.astype(self._dtype))
        if repeating:
            self._repeated = (key, inputs)
        return inputs

    def _bias_correction(self, which: int, steps: int) -> NDArray[np.float64]:
        """1 − β^t over the next so many steps; afterwards β^t is kept, as 0 once 1 − β^t is 1.

        By repeated multiplication: unlike pow(), the same bits with every mathematics library.
        """
        beta, power = self._betas[which], self._beta_powers[which]
        correction = np.ones(steps)
        for first in range(0, steps, BLOCK_STEPS):
            if power == 0:
                break
            block = correction[first : first + BLOCK_STEPS]
            block[:] = beta
            block[0] *= power
            np.multiply.accumulate(block, out=block)
            power = block[-1] if 1 - block[-1] != 1 else 0.0
            np.subtract(1, block, out=block)
        self._beta_powers[which] = power
        return correction

    def save(self) -> bytes:
        return json.dumps(
            {
                "step": self.step,
                "total_regret": self.total_regret,
                "x_sum": self.x_sum,
                "beta_powers": self._beta_powers.tolist(),
                "state": self._state.tolist(),
            }
        ).encode()

    def load(self, saved: bytes) -> None:
        fields = json.loads(saved)
        try:
            step, total_regret, x_sum = int(fields["step"]), float(fields["total_regret"]), float(fields["x_sum"])
            beta_powers = np.array(fields["beta_powers"], np.float64).reshape(2)
            state = np.array(fields["state"], self._dtype).reshape(4)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a compiled engine: {error}") from error
        self.step, self.total_regret, self.x_sum = step, total_regret, x_sum
        self._beta_powers, self._state = beta_powers, state


def build(trial: Trial) -> Engine:
    """The engine of a trial: one for each seed, or the mean over them."""
    from amsgrad_exp.engines.seeds import SeedsEngine

    engines = build_lanes(trial)
    return engines[0] if trial.seeds == 1 else SeedsEngine(engines)


def build_lanes(trial: Trial) -> list[CompiledEngine]:
    """An engine for each seed of a trial."""
    settings = trial.optimizer
    schedule = SCHEDULES[trial.schedule](settings.lr)
    return [
        CompiledEngine(settings.name, trial.problem, schedule, dtype=trial.dtype, seed=seed, **settings.arguments)
        for seed in range(trial.seed, trial.seed + trial.seeds)
    ]
