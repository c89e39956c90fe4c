"""Finds sweeps and gauntlets on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from amsgrad_exp.errors import ConfigError, NoSuchRun, Refusal
from amsgrad_exp.records.files import in_use
from amsgrad_exp.spec.gauntlet import read_plan
from amsgrad_exp.spec.plan import Plan
from amsgrad_exp.sweeps.store import open_results


@dataclass(frozen=True)
class Kept:
    """A sweep on disk.

    Attributes:
        directory: its directory, named after its id.
        sweep: the sweep itself.
        optimizers: the names of its optimizers.
        begun: when it was started, in UTC.
        done: how many of its cells have a row.
        status: "completed", "running" if a process is writing to it, else "interrupted".
    """

    directory: Path
    sweep: Plan
    optimizers: tuple[str, ...]
    begun: datetime
    done: int
    status: str


def list_sweeps(out: Path, on_unreadable: Callable[[str], object] = lambda reason: None) -> list[Kept]:
    """All sweeps under ``out``, oldest first; ``on_unreadable`` is called with the reason if one cannot be read."""
    sweeps = []
    for path in out.glob("*/*/sweep.yaml"):
        try:
            sweeps.append(_kept(path.parent))
        except (Refusal, OSError) as error:
            on_unreadable(f"{path.parent}: {error}" if isinstance(error, ConfigError) else str(error))
    return sorted(sweeps, key=lambda kept: kept.begun)


def _kept(directory: Path) -> Kept:
    path = directory / "sweep.yaml"
    sweep = read_plan(path)
    begun = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    done = 0
    if (directory / "results.sqlite").is_file():
        with open_results(directory, sweep) as results:
            done = len(results)
    interrupted = "running" if in_use(directory) else "interrupted"
    return Kept(directory, sweep, sweep.optimizers, begun, done, "completed" if done == len(sweep) else interrupted)


def find_sweep(reference: str, out: Path) -> Path | None:
    """The directory of a sweep, given its path, its id under ``out`` or the beginning of the id; None if there is none.

    Raises:
        NoSuchRun: several sweeps under ``out`` have such an id.
    """
    with contextlib.suppress(OSError):  # the reference may be too long for a path
        if Path(reference).is_dir():
            return Path(reference).resolve() if (Path(reference) / "sweep.yaml").is_file() else None
    sweeps = [path.parent for path in out.glob("*/*/sweep.yaml") if path.parent.name.startswith(reference)]
    if len(sweeps) > 1:
        raise NoSuchRun(f"{len(sweeps)} sweeps under {out} have an id that begins with {reference!r}: see list sweeps")
    return sweeps[0].resolve() if sweeps else None
