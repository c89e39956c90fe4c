"""A block of cells computed as lanes of one compiled loop: what a worker does."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from amsgrad_exp.driver.lanes import drive_lanes
from amsgrad_exp.driver.result import Result, summarize
from amsgrad_exp.engines.lanes import alike
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.grid import Sweep
from amsgrad_exp.sweeps.store import RESULTS, Row


def run_block(sweep: Sweep, cells: Sequence[int]) -> list[Row]:
    """The rows of some cells: cell, optimizer, the axes' values, `Result`'s fields, and why a cell failed or None."""
    rows: dict[int, Row] = {}
    trials: dict[int, Trial] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = sweep.values(cell)
        results = {name: getattr(result, name) if result else None for name in RESULTS}
        rows[cell] = {"cell": cell, "optimizer": optimizer, **values, **results, "failure": failure}

    for cell in cells:
        try:
            trials[cell] = sweep.trial(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    groups: dict[Hashable, list[int]] = {}
    for cell, trial in trials.items():
        groups.setdefault(alike(trial), []).append(cell)
    for together in groups.values():
        for number, trace, last in drive_lanes([trials[cell] for cell in together]):
            cell = together[number]
            if isinstance(last, RunFailed):
                row(cell, None, str(last))
            else:
                row(cell, summarize(trials[cell].problem, trace, last), None)
    return list(rows.values())
