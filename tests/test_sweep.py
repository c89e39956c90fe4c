"""Tests of sweeps: their rows, their database, interruptions, damaged files, figures, and the commands."""

import csv
import os
import random
import shutil
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
from amsgrad_exp.output import console, sweep_tables
from amsgrad_exp.records.files import locked
from amsgrad_exp.spec.sweep import load_sweep
from amsgrad_exp.sweeps import compute, store, sweeping
from amsgrad_exp.sweeps.compute import run_block
from amsgrad_exp.sweeps.store import open_results, results_of
from amsgrad_exp.sweeps.sweeping import read_sweep
from tests.conftest import CommandLine
from tests.recorded import logged
from tests.scenes import Scene, drawn
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
def test_a_cell_equals_the_single_run(given: dict[str, Any]) -> None:
    """In any order of cells, and also if some cells are invalid."""
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


def test_invalid_and_failed_cells_have_rows_with_the_reason(tmp_path: Path) -> None:
    constants = {"steep": 90}
    impossible = load_sweep(grid=["period=5,3", "phase=4,1"], steps=1000, optimizers=["adam"], constants=constants)
    failures = [row["failure"] for row in rows(swept(impossible, tmp_path).directory)]
    assert failures == [None, "problem: phase must be less than period (3), not 4", None, None]
    undefined = load_sweep(grid=["eps=0,0.1"], steps=1000, optimizers=["adam"], constants={"shallow": 0})
    result = swept(undefined, tmp_path)
    assert [row["failure"] is None for row in rows(result.directory)] == [False, True]
    assert np.isnan(result.column("mean_x")).tolist() == [[True, False]]
    assert result.column("iterate").tolist() == [[None, "between"]]


def test_a_resumed_sweep_equals_an_uninterrupted_one(tmp_path: Path) -> None:
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


def test_a_sweep_takes_any_executor_and_submits_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_error_in_a_worker_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> None:
        raise MemoryError("no more of it")

    monkeypatch.setattr(compute, "run_block", failing)
    with pytest.raises(MemoryError, match="no more of it"):
        swept(small(), tmp_path)


def test_a_sweep_does_not_suppress_warnings(tmp_path: Path) -> None:
    watch = Watched(on_progress=lambda label, done: warnings.warn("from elsewhere", stacklevel=1))
    with pytest.warns(UserWarning, match="from elsewhere"):
        swept(small(steps=100), tmp_path, watch)


def test_a_database_with_other_cells_or_columns_is_rejected(tmp_path: Path) -> None:
    sound = swept(small(steps=100), tmp_path).directory
    for number, statement in enumerate(
        (
            "UPDATE cells SET cell = 99 WHERE cell = 3",
            "ALTER TABLE cells ADD COLUMN extra",
            "ALTER TABLE cells RENAME COLUMN x TO y",
        )
    ):
        directory = Path(shutil.copytree(sound, tmp_path / str(number)))
        change(directory, statement)
        with pytest.raises(Damaged, match="its table belongs to another sweep"):
            resumed(directory)


def test_a_database_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_damaged_page_of_the_database_is_reported(tmp_path: Path) -> None:
    directory = swept(small(grid=["beta2=0.9:0.999:600"], steps=100), tmp_path).directory
    content = bytearray((directory / "results.sqlite").read_bytes())
    content[4096 * 3 : 4096 * 4] = random.Random(1).randbytes(4096)
    (directory / "results.sqlite").write_bytes(content)
    with (
        pytest.raises(Damaged, match=r"results\.sqlite is damaged"),
        open_results(directory, read_sweep(directory)) as it,
    ):
        list(it.rows())


def test_files_of_another_sweep_and_damaged_files_are_rejected(tmp_path: Path) -> None:
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


def test_a_sweep_in_use_is_rejected(tmp_path: Path) -> None:
    directory = swept(small(steps=100), tmp_path, Watched(0)).directory
    with locked(directory), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        resumed(directory)


def test_an_export_does_not_read_all_rows_into_memory(tmp_path: Path) -> None:
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


def test_a_failed_export_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results.csv").write_text("old")
    with open_results(tmp_path, small(steps=100)) as results:
        monkeypatch.setattr(results, "rows", lambda: iter([{"no such column": 1}]))
        with pytest.raises(ValueError, match="no such column"):
            results.export_csv(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == "old"
    assert not list(tmp_path.glob(".*.new"))


__all__ = ["drawn"]


def test_the_command_writes_rows_a_table_a_figure_and_a_log(in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process(
        "sweep", "--grid", "beta1=0:0.9:5", "--grid", "beta2=0.9,0.99,0.9999", "--steps", "1e6", "--export", "csv"
    )
    assert (done.returncode, done.stderr) == (0, "")
    (directory,) = (tmp_path / "sweeps" / "synthetic").iterdir()
    assert {"results.sqlite", "results.csv", "phase.png", "phase.svg", "sweep.yaml"} <= {
        path.name for path in directory.iterdir()
    }
    with (directory / "results.csv").open() as file:
        exported = list(csv.DictReader(file))
    kept = rows(directory)
    assert [float(row["mean_x"]) for row in exported] == [row["mean_x"] for row in kept]
    assert [row["iterate"] for row in kept if row["beta2"] == 0.9999 and row["optimizer"] == "adam"] == ["optimum"] * 5
    assert done.stdout.startswith(
        "beta1 (5) × beta2 (3), 30 cells\n"
        "optimizer  optimum  worst point\n"
        "adam             5           10\n"
        "amsgrad         15            0\n"
    )
    assert logged(directory) == {"adam.optimum": [(0, 5.0)], "adam.worst": [(0, 10.0)], "amsgrad.optimum": [(0, 15.0)]}
    again = in_process("sweep", "--config", str(directory / "sweep.yaml"), "--quiet", "--no-figure")
    assert (again.returncode, again.stdout) == (0, "")
    other = next(path for path in (tmp_path / "sweeps" / "synthetic").iterdir() if path != directory)
    assert rows(other) == kept


def test_a_sweep_of_one_axis_has_a_figure_and_one_of_three_a_table(in_process: CommandLine) -> None:
    assert "profile.png" in in_process("sweep", "--grid", "lr=log:0.001:0.1:5", "--steps", "1e5").stdout
    table = in_process("sweep", *"--grid lr=0.1,0.2 --grid eps=0,1 --grid beta1=0,0.5 --steps 1e4".split())
    assert table.stdout.count("adam") == 9
    assert all(len(row) <= 80 for row in table.stdout.splitlines() if "/" not in row)


def test_boundary_prints_the_critical_beta2(in_process: CommandLine) -> None:
    done = in_process("boundary", "--beta1", "0.9")
    assert "0.99951589 < beta2 < 0.9999999  goes to the optimum" in done.stdout
    assert "every beta2" in in_process("boundary", "--optimizer", "amsgrad").stdout


def test_the_command_says_how_many_cells_failed_and_why(in_process: CommandLine, tmp_path: Path) -> None:
    """With period = 3, steep = 20 and shallow = −10 all points are equally good, so the first cell is invalid."""
    grid = "--optimizer adam --set period=3 --grid steep=20,21 --grid shallow=-10,-9 --steps 1000".split()
    done = in_process("sweep", *grid)
    reason = "problem: the mean slope is 0, so all points are equally good: change a slope"
    assert (done.returncode, done.stderr) == (0, f"adam: 1 of 4 cells failed, the first because {reason}\n")
    assert done.stdout.split("\n")[2].split() == ["adam", "3", "1"]
    (directory,) = tmp_path.glob("sweeps/*/*")
    assert "mean slope is 0" in rows(directory)[0]["failure"]
    (directory / "phase.png").unlink()
    change(directory, "DELETE FROM cells WHERE cell > 2")
    again = in_process("resume", directory.name[:8])
    assert (again.returncode, again.stderr, again.stdout) == (0, done.stderr, done.stdout)
    assert (directory / "phase.png").is_file()


@pytest.mark.parametrize(
    ("grid", "constants", "interval"),
    [
        (["low=-3:-1:3", "lr=0.1,0.2"], {}, (-3.0, 1.0)),
        (["low=0:4:3", "high=1:5:3"], {}, (0.0, 5.0)),
        (["beta1=0.5,0.9", "lr=0.1,0.2"], {"low": -7, "high": 3}, (-7.0, 3.0)),
    ],
)
def test_colours_range_over_all_intervals_of_the_cells(
    grid: list[str], constants: dict[str, float], interval: tuple[float, float], tmp_path: Path, drawn: list[Scene]
) -> None:
    sweep = load_sweep(grid=grid, constants=constants, optimizers=["adam"], steps=100)
    sweep_tables.draw(swept(sweep, tmp_path))
    labels = [placed.text.replace("−", "-") for placed in drawn[0].items if placed.role == "legend-label"]
    assert (float(labels[0]), float(labels[-1])) == interval


def test_no_figure_is_drawn_if_every_cell_failed(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["eps=0", "lr=0.1,0.2"], constants={"shallow": 0}, optimizers=["adam"], steps=100)
    assert sweep_tables.draw(swept(sweep, tmp_path)) == []


def test_a_wrong_labml_configuration_is_rejected_before_anything_is_computed(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = swept(small(), tmp_path / "sweeps", Watched(0)).directory
    monkeypatch.setenv("labml_app_url", "not a url")
    steps = ["--steps", "1e16", "--no-fast-forward", "--out", "new"]
    rejected = in_process("sweep", "--grid", "beta2=0.9,0.99", *steps)
    assert (rejected.returncode, len(rejected.stderr.splitlines())) == (2, 1)
    assert "app_url should be a valid URL" in rejected.stderr
    assert not (tmp_path / "new").exists()
    assert (in_process("resume", str(directory)).returncode, rows(directory)) == (2, [])


def test_sweeps_are_listed_and_found(in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = in_process("list", "sweeps")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no sweeps under sweeps\n")
    out = tmp_path / "sweeps"
    begun = swept(small(name="begun", steps=100), out, Watched(0)).directory
    whole = swept(small(name="whole", steps=100, optimizers=["adam"]), out).directory
    os.utime(whole / "sweep.yaml", (1e9, 1e9))
    (out / "broken" / "one").mkdir(parents=True)
    (out / "broken" / "one" / "sweep.yaml").write_text("grid: [")
    at_eighty = " ".join(in_process("list", "sweeps").stdout.split())
    assert all(words in at_eighty for words in (whole.name[:8], "30/30", "completed", "0/60", "interrupted"))
    monkeypatch.setattr(console.out, "width", 120)
    listed = in_process("list", "sweeps")
    assert listed.returncode == 0
    title, *lines = listed.stdout.splitlines()
    assert title.split() == ["sweep", "started", "experiment", "optimizers", "axes", "cells", "status"]
    said = [" ".join(line.split()) for line in lines]
    assert [line.split()[0] for line in said] == [whole.name[:8], begun.name[:8]]
    assert said[0].endswith("whole adam beta2 6 × lr 5 30/30 completed")
    assert said[1].endswith("begun adam, amsgrad beta2 6 × lr 5 0/60 interrupted")
    assert listed.stderr.count("\n") == 1
    assert "broken/one" in listed.stderr
    assert in_process("list", "sweeps", "--out", str(out)).stdout == listed.stdout
    assert in_process("resume", begun.name, "--quiet").returncode == 0
    assert len(rows(begun)) == 60
    assert "30 of 30 cells" in in_process("verify", whole.name, "--out", "sweeps").stdout


def test_an_ambiguous_id_is_rejected(in_process: CommandLine, tmp_path: Path) -> None:
    for name in ("abc1", "abc2"):
        (tmp_path / "sweeps" / "synthetic" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / "synthetic" / name / "sweep.yaml").touch()
    several = in_process("resume", "abc")
    assert (several.returncode, several.stderr.count("\n")) == (2, 1)
    assert "2 sweeps under sweeps have an id that begins with 'abc'" in several.stderr
    (tmp_path / "logs" / "synthetic" / "abc1").mkdir(parents=True)
    (tmp_path / "logs" / "synthetic" / "abc1" / "summary.json").touch()
    both = in_process("verify", "abc1")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "1 run under logs and 1 sweep under sweeps have an id that begins with 'abc1'" in both.stderr
