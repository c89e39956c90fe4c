"""Bounds on the regret: what a run's own trajectory proves, and what papers promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.bounds.theorems import THEOREMS, Published, published
from amsgrad_exp.bounds.trajectory import Bound, bound, refuse
from amsgrad_exp.errors import NoBound

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

__all__ = ["Bound", "Bounds", "Published", "bounds_of", "refuse"]


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is known of the regret of one trial.

    Attributes:
        trajectory: the bound of the run itself.
        published: that of the optimizer's theorem; None where it has none, or its conditions do not hold.
        reason: why the optimizer's theorem does not apply; None where it does, or there is none.
    """

    trajectory: Bound
    published: Published | None = None
    reason: str | None = None

    def at(self, steps: NDArray[np.int64]) -> Bounds:
        """The bounds at some of the steps they are known at."""
        rows = np.searchsorted(self.trajectory.step, steps)
        return Bounds(self.trajectory.rows(rows), self.published and self.published.rows(rows), self.reason)

    def document(self) -> dict[str, Any]:
        """What ``--json`` says: the bounds on R(T), not on R(T)/T."""
        terms = {name: float(term[-1]) for name, term in self.trajectory.terms.items()}
        theorem = self.published and {"source": self.published.source, "total": float(self.published.total[-1])}
        total = float(self.trajectory.total[-1])
        return {"total": total, **terms, "growth": self.trajectory.growth(), "published": theorem}


def bounds_of(
    trial: Trial, steps: int | None = None, on_steps: Callable[[int, int], object] = lambda done, total: None
) -> Bounds:
    """All that is known; arguments and errors are those of `trajectory.bound`."""
    trajectory = bound(trial, steps, on_steps)
    if trial.optimizer.name not in THEOREMS:
        return Bounds(trajectory)
    try:
        return Bounds(trajectory, published(trial, steps))
    except NoBound as unmet:
        return Bounds(trajectory, reason=str(unmet))
