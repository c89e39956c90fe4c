"""Upper bounds on a run's regret: one computed from its trajectory, and one published for its optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.bounds.theorems import THEOREMS, Published, published
from amsgrad_exp.bounds.trajectory import Bound, bound, refuse
from amsgrad_exp.errors import NoBound
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

__all__ = ["Bound", "Bounds", "Published", "bounds_of", "refuse"]


@dataclass(frozen=True, eq=False)
class Bounds:
    """The upper bounds on the regret of one trial.

    Attributes:
        trajectory: the bound computed from the run's own trajectory.
        published: the bound of the optimizer's theorem; None if it has no theorem or the theorem does not apply.
        reason: why the optimizer's theorem does not apply; None if it applies or does not exist.
    """

    trajectory: Bound
    published: Published | None = None
    reason: str | None = None

    def at(self, steps: NDArray[np.int64]) -> Bounds:
        """The bounds at ``steps``, each of which must be one of ``trajectory.step``."""
        rows = np.searchsorted(self.trajectory.step, steps)
        return Bounds(self.trajectory.rows(rows), self.published and self.published.rows(rows), self.reason)

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints: bounds on R(T), not on R(T)/T."""
        terms = {name: float(term[-1]) for name, term in self.trajectory.terms.items()}
        theorem = self.published and {"source": self.published.source, "total": float(self.published.total[-1])}
        total = float(self.trajectory.total[-1])
        return {"total": total, **terms, "growth": self.trajectory.growth(), "published": theorem}


def bounds_of(trial: Trial, steps: int | None = None, watch: Watch = UNWATCHED) -> Bounds:
    """Both bounds of a trial; arguments and errors as in `trajectory.bound`."""
    trajectory = bound(trial, steps, watch)
    if trial.optimizer.name not in THEOREMS:
        return Bounds(trajectory)
    try:
        return Bounds(trajectory, published(trial, steps))
    except NoBound as unmet:
        return Bounds(trajectory, reason=str(unmet))
