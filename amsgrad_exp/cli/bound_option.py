"""The --bound option: computes regret bounds for runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amsgrad_exp.cli.signals import Onlooker
from amsgrad_exp.errors import NoBound

if TYPE_CHECKING:
    from amsgrad_exp.bounds import Bounds
    from amsgrad_exp.records.run import Run
    from amsgrad_exp.spec.experiment import Trial


def bounds_of(runs: Mapping[str, Run], watch: Onlooker, *, quiet: bool) -> dict[str, Bounds]:
    """The bounds of the runs by label; prints why a run has no bound or a theorem does not apply to it.

    Raises:
        NoBound: no run has a bound.
        RunFailed: a bound is not finite.
        typer.Exit: the user asked to stop.
    """
    from amsgrad_exp import api
    from amsgrad_exp.output import console

    watch.exits = True
    known: dict[str, Bounds] = {}
    unbounded = refuse_unbounded({label: run.trial for label, run in runs.items()})
    for label, run in runs.items():
        if label in unbounded:
            if not quiet:
                console.note(f"{label}: {unbounded[label]}")
            continue
        known[label] = api.bound(run, watch)
        if known[label].reason and not quiet:
            console.note(f"{label}: no published bound: {known[label].reason}")
    return known


def refuse_unbounded(trials: Mapping[str, Trial]) -> dict[str, NoBound]:
    """The reasons why trials have no bound, by label.

    Raises:
        NoBound: no trial has a bound.
    """
    from amsgrad_exp.bounds import refuse

    reasons: dict[str, NoBound] = {}
    for label, trial in trials.items():
        try:
            refuse(trial)
        except NoBound as reason:
            reasons[label] = reason
    if trials and len(reasons) == len(trials):
        raise next(iter(reasons.values()))
    return reasons
