"""Small sweeps and gauntlets, and access to their databases."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.sweep import Plan, Sweep, load_sweep
from amsgrad_exp.sweeps import sweeping
from amsgrad_exp.sweeps.sweeping import Swept, Verification
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.watch import UNWATCHED, Watch

PLANE = (
    "--grid beta1=0:0.9:60 --grid beta2=0.5:0.99:60 --optimizer adam --schedule inv-sqrt --no-figure --quiet".split()
)


def failing() -> Gauntlet:
    """A gauntlet of four cells, the last of which fails."""
    return Gauntlet.of(
        optimizers=["adam", {"name": "sgd", "lr": 1e6}],
        problems=["online", "bock-weiss"],
        schedules=["constant"],
        settings=["stated"],
        steps=20_000,
    )


def small(**given: Any) -> Sweep:
    arguments: dict[str, Any] = {"grid": ["beta2=0.9:0.999:6", "lr=log:0.001:0.1:5"], "steps": 20_000} | given
    return load_sweep(**arguments)


def swept(sweep: Plan, out: Path, watch: Watch = UNWATCHED) -> Swept:
    with workers(2) as executor:
        return sweeping.sweep(sweep, out, executor, watch)


def resumed(directory: Path, watch: Watch = UNWATCHED) -> Swept:
    with workers(2) as executor:
        return sweeping.resume(directory, executor, watch)


def verified(directory: Path, watch: Watch = UNWATCHED, *, every_cell: bool = False) -> Verification:
    with workers(2) as executor:
        return sweeping.verify(directory, executor, watch, every_cell=every_cell)


def rows(directory: Path) -> list[dict[str, Any]]:
    return _table(directory, "cells")


def curves(directory: Path) -> dict[int, dict[str, list[float]]]:
    """The points of a gauntlet's cells, by cell."""
    kinds = {"step": "<i8", "x": "<f8", "regret": "<f8"}
    return {
        row["cell"]: {name: np.frombuffer(row[name], kind).tolist() for name, kind in kinds.items()}
        for row in _table(directory, "points")
    }


def _table(directory: Path, name: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(directory / "results.sqlite")) as database:
        database.row_factory = sqlite3.Row
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchall():
            return []  # it has only just been made
        return [dict(row) for row in database.execute(f"SELECT * FROM {name} ORDER BY cell")]


def change(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / "results.sqlite")) as database, database:
        database.execute(statement)
