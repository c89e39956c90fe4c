"""Tests whether optimizers converge where they provably should, as in Reddi, Kale and Kumar (2018).

``run``, ``compare``, ``bound``, ``sweep``, ``attack`` and ``identify`` do what the commands do. ``run`` and ``compare``
take an ``Experiment``, ``bound`` a recorded run, ``sweep`` a ``Sweep`` or a ``Gauntlet``, and the others the name of an
optimizer. See `amsgrad_exp.api`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amsgrad_exp.api import attack, bound, compare, identify, run, sweep
    from amsgrad_exp.spec.experiment import Experiment
    from amsgrad_exp.spec.gauntlet import Gauntlet
    from amsgrad_exp.spec.sweep import Sweep

__all__ = ["Experiment", "Gauntlet", "Sweep", "attack", "bound", "compare", "identify", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that starting the command line stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {"Experiment": "spec.experiment", "Gauntlet": "spec.gauntlet", "Sweep": "spec.sweep"}
    return getattr(importlib.import_module(f"{__name__}.{homes.get(name, 'api')}"), name)
