"""Chooses the settings of an optimizer in a gauntlet's cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from amsgrad_exp.problems import Problem
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.complete import REFERENCE
from amsgrad_exp.spec.published import published
from amsgrad_exp.spec.schedule import kind_of

SETTINGS = ("stated", "defaults")
CONSTANT_PART = 1 / 200  # of the distance D: gives the reference experiment's α = 0.01 on an interval of width 2


def with_settings(entry: Mapping[str, Any], problem: Problem, schedule: str, settings: str) -> dict[str, Any]:
    """An optimizer's entry with the lr of a cell, and its other settings if they are not the problem's.

    ``stated``: if an optimizer's update grows with the gradient's power q (`Optimizer.grows`), α is divided by G^q,
    where G is the largest gradient. So the largest update of every optimizer is about α; q = 1 and α = D give
    Zinkevich's α_t = D/(G√t) (2003). If an optimizer's claim is about a constant α, because its updates decrease like
    1/√t by themselves (Adagrad), it gets the α that is used with α/√t.

    ``defaults``: default step sizes are meant to be constant, so decreasing step sizes use the stated α.

    Args:
        entry: an optimizer as in YAML; its own settings take precedence.
        problem: the cell's problem.
        schedule: the cell's schedule as text.
        settings: one of `SETTINGS`.
    """
    name, options = entry["name"], entry.get("options", {})
    known = OPTIMIZERS.get(name)
    of_itself = known is not None and known.claim.schedule == "constant"
    chosen: dict[str, Any] = {"lr": step_size(problem, "inv-sqrt" if of_itself else schedule)}
    own: dict[str, Any] = {}
    defaults: Mapping[str, float] = {}
    if known:
        try:
            parsed = known.options.model_validate(options)
        except ValidationError:
            return {**chosen, **entry}  # rejected with an explanation when it is completed
        takes = ("lr", *known.rule(parsed).settings)
        defaults = {setting: value for setting, value in known.defaults.items() if setting in takes}
        for setting, power in known.grows(parsed).items():
            (chosen if setting == "lr" else own)[setting] = chosen["lr"] / problem.largest_slope**power
    if settings == "defaults":
        defaults = defaults if known else published(name, options)
        chosen, own = ({**defaults, **chosen} if _slows(schedule) else dict(defaults)), {}
    return {**chosen, **entry, "options": own | options} if own or options else {**chosen, **entry}


def step_size(problem: Problem, schedule: str) -> float:
    """α as the problem's source states it for this schedule; else D if step sizes fall as α/√t or α/t, else D/200.

    D is the width of the interval or, if x is unbounded, the problem's `distance`.
    """
    natural = problem.natural_settings
    kind = kind_of(schedule)
    if kind_of(str(natural.get("schedule", "constant"))) == kind and (kind != "constant" or "lr" in natural):
        return float(natural.get("lr", REFERENCE["lr"]))
    low, high = problem.comparators
    far = high - low if math.isfinite(high - low) else problem.distance
    return far if _slows(schedule) else far * CONSTANT_PART


def _slows(schedule: str) -> bool:
    """Whether step sizes fall as α/√t or α/t, for which α may be much larger than a constant step size."""
    return kind_of(schedule) in ("inv-sqrt", "inv")
