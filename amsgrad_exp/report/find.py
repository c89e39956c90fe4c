"""Finds the records that a report is about, and builds their page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.errors import ConfigError, NoSuchRun
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.report import attacks, gauntlets, runs, sweeps
from amsgrad_exp.report.page import Page
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.sweeping import read_sweep

BoundsOf = Callable[[Mapping[str, Run]], Mapping[str, Bounds]]


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Attributes:
        name: its displayed name.
        mark: the file that identifies its directory.
        several: whether one page can show several records.
        page: builds the page of some directories, with regret bounds on request.
    """

    name: str
    mark: str
    several: bool
    page: Callable[[Sequence[Path], BoundsOf | None], Page]


def page_of_cells(directory: Path) -> Page:
    """The page of a sweep or of a gauntlet.

    Raises:
        NoSuchRun: the directory is neither.
        Damaged, RunError: it cannot be read, or has no finished cell.
    """
    cells = read_sweep(directory)
    if isinstance(cells, Gauntlet):
        return gauntlets.page(directory, cells)
    assert isinstance(cells, Sweep)
    return sweeps.page(directory, cells)


def _page_of_runs(directories: Sequence[Path], bounds_of: BoundsOf | None) -> Page:
    recorded = [read_run(path) for path in directories]
    return runs.page(recorded, bounds_of({run.run_id: run for run in recorded}) if bounds_of else None)


def _page_of_cells(directories: Sequence[Path], bounds_of: BoundsOf | None) -> Page:
    if bounds_of:
        raise ConfigError("--bound is for runs, and this is a sweep")
    return page_of_cells(directories[0])


def _page_of_attack(directories: Sequence[Path], bounds_of: BoundsOf | None) -> Page:
    if bounds_of:
        raise ConfigError("--bound is for runs, and this is an attack")
    return attacks.page(directories[0])


KINDS = (
    Kind("run", "summary.json", True, _page_of_runs),
    Kind("sweep", "sweep.yaml", False, _page_of_cells),
    Kind("attack", "attack.json", False, _page_of_attack),
)

Found = tuple[Kind, Path]


def page_of(references: Sequence[str], roots: Mapping[str, Path], bounds_of: BoundsOf | None = None) -> Page:
    """The page of the records with the given names.

    Args:
        references: each a directory, an id or the beginning of one, or ``last`` for the newest record of any kind.
        roots: the directory to search for each kind, by the kind's name.
        bounds_of: computes the regret bounds to show, by run id.

    Raises:
        NoSuchRun: there is no such record, or more than one.
        ConfigError: one page cannot show these records together.
        RunError: a record is damaged or empty.
    """
    found = list(dict.fromkeys(_find(reference, roots) for reference in references))
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    if len(kinds) > 1 or (len(found) > 1 and not kinds[0].several):
        named = " and ".join(path.name[:8] for _, path in found)
        raise ConfigError(f"a page shows runs, or one sweep, gauntlet or attack, not {named}")
    return kinds[0].page([directory for _, directory in found], bounds_of)


def _find(reference: str, roots: Mapping[str, Path]) -> Found:
    with contextlib.suppress(OSError):  # the reference may be too long for a path
        if (directory := Path(reference)).is_dir():
            return _kind_of(directory), directory.resolve()
    found = [(kind, path.parent) for kind in KINDS for path in sorted(roots[kind.name].glob(f"*/*/{kind.mark}"))]
    where = " or ".join(str(roots[kind.name]) for kind in KINDS)
    if reference == "last":
        if not found:
            raise NoSuchRun(f"nothing is recorded under {where}")
        kind, directory = max(found, key=lambda it: (it[1] / it[0].mark).stat().st_mtime_ns)
        return kind, directory.resolve()
    found = [(kind, directory) for kind, directory in found if directory.name.startswith(reference)]
    if len(found) != 1:
        how_many = "nothing" if not found else f"{len(found)} records"
        raise NoSuchRun(f"{how_many} under {where} with an id that begins with {reference!r}: see amsgrad-exp list")
    ((kind, directory),) = found
    return kind, directory.resolve()


def _kind_of(directory: Path) -> Kind:
    for kind in KINDS:
        if (directory / kind.mark).is_file():
            return kind
    marks = " and no ".join(kind.mark for kind in KINDS)
    raise NoSuchRun(f"{directory} is not {' or '.join(kind.name for kind in KINDS)}: it has no {marks}")
