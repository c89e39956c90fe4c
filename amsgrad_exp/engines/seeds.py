"""Many seeds of one random problem at once: what the driver sees is their mean."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.engines.compiled import CompiledEngine
from amsgrad_exp.engines.lanes import Lanes
from amsgrad_exp.trace import Trace


def halfwidth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the width of the 95 % confidence interval of a mean over the last axis, by Student's t distribution."""
    number = values.shape[-1]
    width: NDArray[np.float64] = values.std(axis=-1, ddof=1) * (stdtrit(number - 1, 0.975) / number**0.5)
    return width


class SeedsEngine(Engine):
    """Compiled engines that differ in their seeds alone, advanced together.

    ``x``, ``total_regret`` and ``x_sum`` are means over the seeds, as are the columns of a trace.

    Args:
        engines: two or more, at step 0.
    """

    chunk_steps = 8192

    def __init__(self, engines: Sequence[CompiledEngine]) -> None:
        self._lanes = Lanes(engines)
        super().__init__(engines[0].problem, engines[0].schedule, engines[0].seed)

    def _engines(self) -> list[CompiledEngine]:
        return [self._lanes.engine(lane) for lane in range(len(self._lanes))]

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
        self.step = self._lanes.step
        self.total_regret, self.x_sum = (float(total) for total in self._lanes.totals.mean(axis=1))
        if not np.isfinite(self._lanes.xs).all():
            self.failure = f"x became {self.x} for some of the seeds by step {self.step - 1}"
        loss, x, regret = (column.mean(axis=1) for column in (points.loss, points.x, points.regret))
        return Trace(points.step, loss, x, regret, halfwidth(points.x), halfwidth(points.regret))

    def reset_x_sum(self) -> None:
        super().reset_x_sum()
        self._lanes.reset_x_sum()

    def halfwidths(self) -> tuple[float, float]:
        total_regret, x_sum = halfwidth(self._lanes.totals).tolist()
        return total_regret, x_sum

    def save(self) -> bytes:
        return json.dumps([engine.save().decode() for engine in self._engines()]).encode()

    def load(self, saved: bytes) -> None:
        engines = self._engines()
        states = json.loads(saved)
        if not isinstance(states, list) or len(states) != len(engines):
            raise ValueError(f"not the state of a compiled engine of {len(engines)} seeds")
        for engine, state in zip(engines, states, strict=True):
            engine.load(state)
        self._lanes = Lanes(engines)
        self.step = self._lanes.step
        self.total_regret, self.x_sum = (float(total) for total in self._lanes.totals.mean(axis=1))
