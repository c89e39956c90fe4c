"""A block of cells computed together: what a worker does."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from amsgrad_exp import engines
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.lanes import Finished, advance_lanes
from amsgrad_exp.driver.result import Result, summarize
from amsgrad_exp.engines.lanes import alike
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.sweeps.store import Row, results_of
from amsgrad_exp.trace import Trace


def run_block(sweep: Cells, cells: Sequence[int]) -> list[Row]:
    """The rows of some cells: cell, optimizer, its columns, `Result`'s fields, and why a cell failed or None.

    Cells of the compiled engine that are alike are lanes of one loop. Loops advance in turns, chunk by chunk, so that
    what is drawn of a random problem serves all of them.
    """
    rows: dict[int, Row] = {}
    trials: dict[int, Trial] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = sweep.values(cell)
        results = {name: getattr(result, name) if result else None for name in results_of(sweep)}
        rows[cell] = {"cell": cell, "optimizer": optimizer, **values, **results, "failure": failure}

    for cell in cells:
        try:
            trials[cell] = sweep.trial(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    groups: dict[Hashable, list[int]] = {}
    for cell, trial in trials.items():
        groups.setdefault(alike(trial) if _is_lane(trial) else cell, []).append(cell)
    turns = {
        key: _alone(trials[together[0]]) if key == together[0] else advance_lanes([trials[cell] for cell in together])
        for key, together in groups.items()
    }
    while turns:
        for key, runs in list(turns.items()):
            for finished in runs:
                if finished is None:
                    break
                number, trace, last = finished
                cell = groups[key][number]
                if isinstance(last, RunFailed):
                    row(cell, None, str(last))
                else:
                    row(cell, summarize(trials[cell].problem, trace, last), None)
            else:
                del turns[key]
    return list(rows.values())


def _is_lane(trial: Trial) -> bool:
    return trial.seeds == 1 and engines.choose(trial) == "compiled"


def _alone(trial: Trial) -> Iterator[Finished | None]:
    """One trial on the engine that it asks for, as `advance_lanes` has lanes."""
    chunks: list[Chunk] = []
    try:
        for chunk in drive(engines.build(trial), trial.steps, trial.log_every, fast_forward=trial.fast_forward):
            chunks.append(chunk)
            yield None
    except (RunFailed, ConfigError) as failure:
        yield 0, Trace.empty(), RunFailed(str(failure))
        return
    yield 0, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1]
