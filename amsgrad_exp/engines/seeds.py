"""Many seeds of one random problem at once: what the driver sees is their mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.engines.lanes import Lanes
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial


def halfwidth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the width of the 95 % confidence interval of a mean over the last axis, by Student's t distribution."""
    from scipy.special import stdtrit

    number = values.shape[-1]
    width: NDArray[np.float64] = values.std(axis=-1, ddof=1) * (stdtrit(number - 1, 0.975) / number**0.5)
    return width


class SeedsEngine(Engine):
    """A compiled run for each of a trial's seeds, advanced together.

    ``x``, ``total_regret`` and ``x_sum`` are means over the seeds, as are the columns of a trace.

    Args:
        trial: of two seeds or more, of an optimizer that has a rule.
    """

    chunk_steps = 65_536

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.problem, schedule_of(trial), trial.seed)
        seeds = range(trial.seed, trial.seed + trial.seeds)
        self._lanes = Lanes([trial.model_copy(update={"seed": seed, "seeds": 1}) for seed in seeds])

    @property
    def x(self) -> float:
        return float(np.mean(self._lanes.xs, dtype=np.float64))

    @property
    def saturated(self) -> bool:
        return False

    @property
    def state(self) -> bytes:
        return self._lanes.state.tobytes()

    def advance(self, stop: int, log_every: int) -> Trace:
        points = self._lanes.advance(stop, log_every)
        self._follow()
        if not np.isfinite(self._lanes.xs).all():
            self.failure = f"x became {self.x} for some of the seeds by step {self.step - 1}"
        loss, x, regret = (column.mean(axis=1) for column in (points.loss, points.x, points.regret))
        return Trace(points.step, loss, x, regret, halfwidth(points.x), halfwidth(points.regret))

    def _follow(self) -> None:
        """Take over where the lanes stand."""
        self.step = self._lanes.step
        self.total_regret, self.x_sum = (float(total) for total in self._lanes.totals.mean(axis=1))

    def reset_x_sum(self) -> None:
        super().reset_x_sum()
        self._lanes.reset_x_sum()

    def halfwidths(self) -> tuple[float, float]:
        total_regret, x_sum = halfwidth(self._lanes.totals).tolist()
        return total_regret, x_sum

    def save(self) -> bytes:
        return json.dumps([json.dumps(self._lanes.save(lane)) for lane in range(len(self._lanes))]).encode()

    def load(self, saved: bytes) -> None:
        states = json.loads(saved)
        if not isinstance(states, list) or len(states) != len(self._lanes):
            raise ValueError(f"not the state of a compiled engine of {len(self._lanes)} seeds")
        for lane, state in enumerate(states):
            self._lanes.load(lane, json.loads(state))
        self._follow()
