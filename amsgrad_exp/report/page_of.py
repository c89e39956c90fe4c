"""Builds the page of any records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.records.files import Record
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.report import attack_page, cell_pages, run_page
from amsgrad_exp.report.page import Page

BoundsOf = Callable[[Mapping[str, Run]], Mapping[str, Bounds]]


def page_of(records: Sequence[Record], bounds_of: BoundsOf | None = None) -> Page:
    """The page of several runs, or of one sweep, gauntlet or attack; ``bounds_of`` computes bounds by run id.

    Raises:
        ConfigError: one page cannot show these records together, or with bounds.
        RunError: a record is damaged or empty.
    """
    directories = [record.directory for record in records]
    (kind, *others) = dict.fromkeys(record.kind for record in records)
    if others or (kind != "run" and len(records) > 1):
        named = " and ".join(directory.name[:8] for directory in directories)
        raise ConfigError(f"a page shows runs, or one sweep, gauntlet or attack, not {named}")
    if kind == "run":
        runs = [read_run(directory) for directory in directories]
        return run_page.page(runs, bounds_of({run.run_id: run for run in runs}) if bounds_of else None)
    if bounds_of:
        raise ConfigError(f"--bound is for runs, and this is a{'n' * (kind == 'attack')} {kind}")
    return cell_pages.page(directories[0]) if kind == "sweep" else attack_page.page(directories[0])
