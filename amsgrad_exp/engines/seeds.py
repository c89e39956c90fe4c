"""Many seeds of one random problem at once: what the driver sees is their mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import RunFailed
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


def mean(points: Trace) -> Trace:
    """The mean over lanes, which are seeds, of each logged point, with half the width of its interval."""
    loss, x, regret = (column.mean(axis=1) for column in (points.loss, points.x, points.regret))
    return Trace(points.step, loss, x, regret, halfwidth(points.x), halfwidth(points.regret))


def one_each(trial: Trial) -> list[Trial]:
    """A trial for each of its seeds."""
    return [trial.model_copy(update={"seed": trial.seed + i, "seeds": 1}) for i in range(trial.seeds)]


class SeedLanes(Protocol):
    """Runs of many seeds advanced together."""

    chunk_steps: int
    step: int

    @property
    def xs(self) -> NDArray[np.floating[Any]]:
        """x_t of each."""

    @property
    def totals(self) -> NDArray[np.float64]:
        """R(t) and the sum of iterates of each, (2, lanes)."""

    def reset_x_sum(self) -> None:
        """Set every sum of iterates to 0."""

    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``; return what is to be logged, columns of (points, lanes).

        Raises:
            RunFailed: no further step can be taken.
        """

    def save_all(self) -> bytes:
        """Everything that `load_all` needs.

        Raises:
            ValueError: it cannot be saved.
        """

    def load_all(self, saved: bytes) -> None:
        """Go on from what `save_all` of such lanes returned.

        Raises:
            ValueError: it is not that.
        """


class OneByOne:
    """`SeedLanes` of engines that are advanced one after the other.

    Args:
        engines: one a seed.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = engines
        self.chunk_steps = engines[0].chunk_steps
        self.step = engines[0].step

    @property
    def xs(self) -> NDArray[np.float64]:
        """x_t of each."""
        return np.array([each.x for each in self.engines])

    @property
    def totals(self) -> NDArray[np.float64]:
        """R(t) and the sum of iterates of each, (2, lanes)."""
        return np.array([[each.total_regret, each.x_sum] for each in self.engines]).T

    def reset_x_sum(self) -> None:
        """Set every sum of iterates to 0."""
        for each in self.engines:
            each.reset_x_sum()

    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``.

        Raises:
            RunFailed: one of the engines failed.
        """
        traces = [each.advance(stop, log_every) for each in self.engines]
        self.step = self.engines[0].step
        if failure := next((each.failure for each in self.engines if each.failure), None):
            raise RunFailed(failure)
        columns = [np.stack([each.columns[name] for each in traces], axis=1) for name in ("loss", "x", "regret")]
        return Trace(traces[0].step, *columns)

    def save_all(self) -> bytes:
        """What each engine saves."""
        return json.dumps([each.save().hex() for each in self.engines]).encode()

    def load_all(self, saved: bytes) -> None:
        """Go on from what `save_all` returned.

        Raises:
            ValueError: it is not that of so many such engines.
        """
        for each, state in zip(self.engines, json.loads(saved), strict=True):
            each.load(bytes.fromhex(state))
        self.step = self.engines[0].step


class SeedsEngine(Engine):
    """A run for each of a trial's seeds, advanced together.

    ``x``, ``total_regret`` and ``x_sum`` are means over the seeds, as are the columns of a trace.

    Args:
        trial: of two seeds or more.
        lanes: of `one_each`.
    """

    def __init__(self, trial: Trial, lanes: SeedLanes) -> None:
        super().__init__(trial.problem, schedule_of(trial), trial.seed)
        self._lanes = lanes
        self.chunk_steps = lanes.chunk_steps
        if isinstance(lanes, OneByOne):
            self.driven = lanes.engines[0].driven

    @property
    def x(self) -> float:
        return float(np.mean(self._lanes.xs, dtype=np.float64))

    @property
    def saturated(self) -> bool:
        return False

    @property
    def state(self) -> bytes:
        return self.save()

    def advance(self, stop: int, log_every: int) -> Trace:
        try:
            points = self._lanes.advance(stop, log_every)
        except RunFailed as failure:
            self.failure = str(failure)
            return Trace.empty()
        self._follow()
        if not np.isfinite(self._lanes.xs).all():
            self.failure = f"x became {self.x} for some of the seeds by step {self.step - 1}"
        return mean(points)

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
        return self._lanes.save_all()

    def load(self, saved: bytes) -> None:
        self._lanes.load_all(saved)
        self._follow()
