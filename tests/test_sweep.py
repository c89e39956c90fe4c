"""Sweeps: their rows, their store, and what survives an interruption and a kill."""

from __future__ import annotations

import csv
import os
import random
import sqlite3
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun, RunError
from amsgrad_exp.records.files import locked
from amsgrad_exp.spec.sweep import load_sweep
from amsgrad_exp.sweeps import compute, store, sweeping
from amsgrad_exp.sweeps.compute import run_block
from amsgrad_exp.sweeps.store import open_results, results_of
from amsgrad_exp.sweeps.sweeping import read_sweep
from tests.sweeping import change, resumed, rows, small, swept
from tests.trials import finished
from tests.watching import Watched


@pytest.mark.parametrize(
    "given",
    [
        {"grid": ["beta2=0.9:0.999:3", "lr=log:0.001:0.1:4"]},
        {"problem": "theorem1", "grid": ["C=2.5:9:4", "beta2=0.1:0.9:3"], "optimizers": ["adam"]},
        {"problem": "stochastic", "grid": ["probability=0.01,0.02", "lr=0.1,0.01"], "schedule": "inv-sqrt"},
        {"grid": ["period=7,101,50", "phase=1,8", "beta2=0.5,0.99"], "optimizers": ["amsgrad"]},
    ],
    ids=str,
)
def test_a_cell_is_the_single_run(given: dict[str, Any]) -> None:
    """Every row belongs to its cell, whatever the order of cells and whichever of them cannot be."""
    sweep = small(**given)
    cells = random.Random(5).sample(range(len(sweep)), len(sweep))
    seen = {row["cell"]: row for row in run_block(sweep, cells)}
    assert sorted(seen) == list(range(len(sweep)))
    for cell in range(len(sweep)):
        optimizer, values = sweep.values(cell)
        identity = {"cell": cell, "optimizer": optimizer, **values}
        if values.get("phase", 0) >= values.get("period", 101):
            with pytest.raises(ConfigError) as impossible:
                sweep.trial(cell)
            assert seen[cell] == {**identity, **dict.fromkeys(results_of(sweep)), "failure": str(impossible.value)}
            continue
        trial = sweep.trial(cell)
        _, result = finished(trial)
        assert seen[cell] == {
            **identity,
            **{name: getattr(result, name) for name in results_of(sweep)},
            "failure": None,
        }
        for name, value in values.items():
            assert value in (getattr(trial.optimizer, name, None), getattr(trial.problem, name, None))


def test_cells_that_cannot_be_or_fail_are_rows_that_say_so(tmp_path: Path) -> None:
    constants = {"steep": 90}
    impossible = load_sweep(grid=["period=5,3", "phase=4,1"], steps=1000, optimizers=["adam"], constants=constants)
    failures = [row["failure"] for row in rows(swept(impossible, tmp_path).directory)]
    assert failures == [None, "problem: phase must be less than period (3), not 4", None, None]
    undefined = load_sweep(grid=["eps=0,0.1"], steps=1000, optimizers=["adam"], constants={"shallow": 0})
    result = swept(undefined, tmp_path)
    assert [row["failure"] is None for row in rows(result.directory)] == [False, True]
    assert np.isnan(result.column("mean_x")).tolist() == [[True, False]]
    assert result.column("iterate").tolist() == [[None, "between"]]


def test_a_sweep_resumes_where_it_stopped_and_has_the_same_rows(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["beta1=0:0.9:40", "beta2=0.5:0.99:30"], steps=5000, optimizers=["adam"])
    whole = swept(sweep, tmp_path)
    watch, rest = Watched(2), Watched()
    parts = swept(sweep, tmp_path, watch)
    assert (whole.complete, parts.complete) == (True, False)
    done = len(rows(parts.directory))
    assert 0 < done < len(sweep)
    assert np.isnan(parts.column("mean_x")).sum() == len(sweep) - done
    assert resumed(parts.directory, rest).complete
    seen = watch.done + rest.done
    assert seen == sorted(seen)
    assert rows(parts.directory) == rows(whole.directory)
    assert np.array_equal(parts.column("mean_x"), whole.column("mean_x"))
    assert whole.column("regret").shape == (1, len(whole.axes["beta1"]), len(whole.axes["beta2"]))
    assert read_sweep(parts.directory).to_yaml() == sweep.to_yaml()


def test_any_executor_will_do_and_few_blocks_are_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(ThreadPoolExecutor):
        submitted = 0

        def submit(self, *arguments: Any) -> Any:  # type: ignore[override]
            self.submitted += 1
            assert self.submitted - len(arrived) <= compute.IN_FLIGHT
            return super().submit(*arguments)

    arrived: list[int] = []
    monkeypatch.setattr(compute, "IN_FLIGHT", 3)
    sweep = load_sweep(grid=["beta1=0:0.9:50", "beta2=0.5:0.99:50"], steps=100, optimizers=["adam"])
    watch = Watched(on_progress=lambda label, done: arrived.append(done))
    with Counting(2) as executor:
        result = sweeping.sweep(sweep, tmp_path, executor, watch)
    assert result.complete
    assert executor.submitted == len(arrived) - 1 == 10


def test_an_error_in_a_block_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> None:
        raise MemoryError("no more of it")

    monkeypatch.setattr(compute, "run_block", failing)
    with pytest.raises(MemoryError, match="no more of it"):
        swept(small(), tmp_path)


def test_warnings_of_others_are_heard_during_a_sweep(tmp_path: Path) -> None:
    watch = Watched(on_progress=lambda label, done: warnings.warn("from elsewhere", stacklevel=1))
    with pytest.warns(UserWarning, match="from elsewhere"):
        swept(small(steps=100), tmp_path, watch)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cells SET cell = 99 WHERE cell = 3",
        "ALTER TABLE cells ADD COLUMN extra",
        "ALTER TABLE cells RENAME COLUMN x TO y",
    ],
)
def test_a_database_that_was_changed(statement: str, tmp_path: Path) -> None:
    directory = swept(small(steps=100), tmp_path).directory
    change(directory, statement)
    with pytest.raises(Damaged, match="its table belongs to another sweep"):
        resumed(directory)


def test_a_database_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    directory = swept(small(steps=100), tmp_path).directory
    (directory / "results.sqlite").unlink()
    (directory / "results.sqlite").mkdir()
    with pytest.raises(RunError, match=r"results\.sqlite: unable to open database file"):
        resumed(directory)
    (directory / "results.sqlite").rmdir()
    with closing(sqlite3.connect(directory / "results.sqlite")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError, match=r"results\.sqlite: database is locked"):
            resumed(directory)


def test_a_damaged_page(tmp_path: Path) -> None:
    directory = swept(small(grid=["beta2=0.9:0.999:600"], steps=100), tmp_path).directory
    content = bytearray((directory / "results.sqlite").read_bytes())
    content[4096 * 3 : 4096 * 4] = random.Random(1).randbytes(4096)
    (directory / "results.sqlite").write_bytes(content)
    with (
        pytest.raises(Damaged, match=r"results\.sqlite is damaged"),
        open_results(directory, read_sweep(directory)) as it,
    ):
        list(it.rows())


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    directory = swept(small(steps=100), tmp_path).directory
    for file, content, message in (
        ("sweep.yaml", small(steps=30_000).to_yaml().encode(), "belongs to another sweep"),
        ("results.sqlite", b"nonsense" * 200, r"results\.sqlite is damaged"),
        ("sweep.yaml", b"steps: [", r"sweep\.yaml is damaged"),
    ):
        (directory / file).write_bytes(content)
        with pytest.raises(Damaged, match=message):
            resumed(directory)
    with pytest.raises(NoSuchRun, match="is not a sweep"):
        resumed(tmp_path)


def test_two_processes_on_one_sweep(tmp_path: Path) -> None:
    directory = swept(small(steps=100), tmp_path, Watched(0)).directory
    with locked(directory), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        resumed(directory)


def test_an_export_takes_no_more_memory_than_a_row(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["lr=0.001:0.1:10000"], steps=10, optimizers=["adam"])
    (row,) = run_block(sweep, [0])
    with open_results(tmp_path, sweep) as results:
        results.add(row | {"cell": cell} for cell in range(len(sweep)))
        tracemalloc.start()
        results.export_csv(tmp_path / "results.csv")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 300_000 < (tmp_path / "results.csv").stat().st_size
    with (tmp_path / "results.csv").open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == len(sweep)


def test_an_export_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results.csv").write_text("old")
    with open_results(tmp_path, small(steps=100)) as results:
        monkeypatch.setattr(results, "rows", lambda: iter([{"no such column": 1}]))
        with pytest.raises(ValueError, match="no such column"):
            results.export_csv(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == "old"
    assert not list(tmp_path.glob(".*.new"))
