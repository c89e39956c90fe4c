"""--bound: a bound on the regret beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from amsgrad_exp.cli.signals import Interruption

if TYPE_CHECKING:
    from amsgrad_exp.bounds import Bounds
    from amsgrad_exp.records.run import Run

Bound = Annotated[
    bool, typer.Option("--bound", help="Show a bound on the regret beside it, and how each of its terms grows.")
]


def bounds_of(runs: Mapping[str, Run], interruption: Interruption, *, quiet: bool) -> dict[str, Bounds]:
    """The bounds of each run that has points, by its label; why a theorem does not apply is said.

    Raises:
        NoBound, RunFailed: of one of them none is known, or it is no finite number.
        typer.Exit: the user asked to stop.
    """
    from amsgrad_exp import api
    from amsgrad_exp.output import console, progress

    known: dict[str, Bounds] = {}
    for label, run in runs.items():
        with progress.step_progress(f"bound of {label}", shown=not quiet) as update:

            def update_or_stop(done: int, total: int) -> None:
                update(done, total)
                if interruption.signal:
                    raise typer.Exit(128 + interruption.signal)

            known[label] = api.bound(run, update_or_stop)
        if known[label].reason and not quiet:
            console.note(f"{label}: no published bound: {known[label].reason}")
    return known
