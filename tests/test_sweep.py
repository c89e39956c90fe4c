"""Sweeps: their grids, their rows, and what survives a kill, a cluster and a lost worker."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.result import summarize
from amsgrad_exp.engines import build
from amsgrad_exp.errors import Damaged, NoSuchRun, RunError
from amsgrad_exp.spec.grid import Sweep, load_sweep
from amsgrad_exp.sweeps.run import make_directory, read_sweep, run_block, run_sweep
from amsgrad_exp.sweeps.store import RESULTS, Results
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.trace import Trace
from tests.conftest import Run
from tests.test_tracking import logged

CONFIGS = Path(__file__).parent.parent / "configs"


def rows(directory: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / "results.sqlite")) as database:
        return database.execute("SELECT * FROM cells ORDER BY cell").fetchall()


def small(**given: Any) -> Sweep:
    given = {"grid": ["beta2=0.9:0.999:6", "lr=log:0.001:0.1:5"], "steps": 20_000} | given
    return load_sweep(**given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"problem": "theorem1", "grid": ["C=2.5:9:4", "beta2=0.1:0.9:3"], "optimizers": ["adam"]},
        {"problem": "stochastic", "grid": ["probability=0.01,0.02", "lr=0.1,0.01"], "schedule": "inv-sqrt"},
        {"grid": ["period=7,101,50", "beta2=0.5,0.99"]},
    ],
    ids=str,
)
def test_a_cell_is_the_single_run(given: dict[str, Any]) -> None:
    sweep = small(**given)
    seen = {}
    for cells in sweep.blocks(np.zeros(len(sweep), bool)):
        seen.update({row[0]: row for row in run_block(sweep, cells)})
    assert sorted(seen) == list(range(len(sweep)))
    for cell in range(len(sweep)):
        trial = sweep.trial(cell)
        chunks = list(drive(build(trial), trial.steps, trial.log_every))
        result = summarize(trial.problem, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1])
        optimizer, values = sweep.values(cell)
        expected = [getattr(result, name) for name in RESULTS]
        assert seen[cell] == (cell, optimizer, *values.values(), *expected, None)
        for name, value in values.items():
            assert value in (getattr(trial.optimizer, name, None), getattr(trial.problem, name, None))


def test_a_cell_that_cannot_be_is_a_row_that_says_so(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["period=5,3", "phase=4,1"], steps=1000, optimizers=["adam"], constants={"steep": 90})
    directory = make_directory(sweep, tmp_path)
    assert run_sweep(directory)
    failures = [row[-1] for row in rows(directory)]
    assert failures == [None, "problem: phase must be less than period (3), not 4", None, None]


def test_a_sweep_resumes_where_it_stopped_and_has_the_same_rows(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["beta1=0:0.9:40", "beta2=0.5:0.99:30"], steps=5000, optimizers=["adam"])
    whole, parts = make_directory(sweep, tmp_path), make_directory(sweep, tmp_path)
    assert run_sweep(whole)
    seen: list[int] = []
    assert not run_sweep(parts, on_cells=lambda done, total: seen.append(done), should_stop=lambda: True)
    assert 0 < len(rows(parts)) < len(sweep)
    with workers(2):
        assert run_sweep(parts, on_cells=lambda done, total: seen.append(done))
    assert seen == sorted(seen)
    assert rows(parts) == rows(whole)
    assert read_sweep(parts).to_yaml() == sweep.to_yaml()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE cells SET cell = 99 WHERE cell = 3", "its table is not this sweep's"),
        ("ALTER TABLE cells ADD COLUMN extra", "its table is not this sweep's"),
        ("ALTER TABLE cells RENAME COLUMN x TO y", "its table is not this sweep's"),
    ],
)
def test_a_database_that_was_changed(statement: str, message: str, tmp_path: Path) -> None:
    directory = make_directory(small(), tmp_path)
    run_sweep(directory)
    with closing(sqlite3.connect(directory / "results.sqlite")) as database, database:
        database.execute(statement)
    with pytest.raises(Damaged, match=message):
        run_sweep(directory)


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    directory = make_directory(small(), tmp_path)
    (directory / "results.sqlite").mkdir()
    with pytest.raises(RunError, match=r"results\.sqlite: unable to open database file"):
        run_sweep(directory)
    (directory / "results.sqlite").rmdir()
    with closing(sqlite3.connect(directory / "results.sqlite")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError, match=r"results\.sqlite: database is locked"):
            run_sweep(directory)


def test_a_damaged_page(tmp_path: Path) -> None:
    directory = make_directory(small(grid=["beta2=0.9:0.999:600"], steps=100), tmp_path)
    run_sweep(directory)
    content = bytearray((directory / "results.sqlite").read_bytes())
    content[4096 * 3 : 4096 * 4] = random.Random(1).randbytes(4096)
    (directory / "results.sqlite").write_bytes(content)
    with pytest.raises(Damaged, match=r"results\.sqlite is damaged"):
        run_sweep(directory)
        rows(directory)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    directory = make_directory(small(), tmp_path)
    run_sweep(directory)
    (directory / "sweep.yaml").write_text(small(steps=30_000).to_yaml())
    with pytest.raises(Damaged, match="of another sweep"):
        run_sweep(directory)
    (directory / "results.sqlite").write_bytes(b"nonsense" * 200)
    with pytest.raises(Damaged, match=r"results\.sqlite is damaged"):
        run_sweep(directory)
    (directory / "sweep.yaml").write_text("steps: [")
    with pytest.raises(Damaged, match=r"sweep\.yaml is damaged"):
        run_sweep(directory)
    with pytest.raises(NoSuchRun, match="is not a sweep"):
        run_sweep(tmp_path)


def test_the_command(amsgrad_exp: Run, tmp_path: Path) -> None:
    done = amsgrad_exp(
        "sweep", "--grid", "beta1=0:0.9:5", "--grid", "beta2=0.9,0.99,0.9999", "--steps", "1e6", "--export", "csv"
    )
    assert (done.returncode, done.stderr) == (0, "")
    (directory,) = (tmp_path / "sweeps" / "synthetic").iterdir()
    assert {"results.sqlite", "results.csv", "phase.png", "phase.svg", "sweep.yaml"} <= {
        path.name for path in directory.iterdir()
    }
    with (directory / "results.csv").open() as file:
        exported = list(csv.DictReader(file))
    assert [float(row["mean_x"]) for row in exported] == [row[7] for row in rows(directory)]
    assert [row["iterate"] for row in exported if row["beta2"] == "0.9999" and row["optimizer"] == "adam"] == [
        "optimum"
    ] * 5
    assert "15" in done.stdout
    assert logged(directory) == {"adam.optimum": [(0, 5.0)], "adam.worst": [(0, 10.0)], "amsgrad.optimum": [(0, 15.0)]}
    again = amsgrad_exp("sweep", "--config", str(directory / "sweep.yaml"), "--quiet", "--no-figure")
    assert (again.returncode, again.stdout) == (0, "")
    other = next(path for path in (tmp_path / "sweeps" / "synthetic").iterdir() if path != directory)
    assert rows(other) == rows(directory)
    line = amsgrad_exp("sweep", "--grid", "lr=log:0.001:0.1:5", "--steps", "1e5")
    assert "profile.png" in line.stdout
    table = amsgrad_exp("sweep", *"--grid lr=0.1,0.2 --grid eps=0,1 --grid beta1=0,0.5 --steps 1e4".split())
    assert table.stdout.count("adam") == 9
    assert all(len(row) <= 80 for row in table.stdout.splitlines() if "/" not in row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "at least one axis"),
        (["sweep", "--grid", "beta2=1:2:3"], "beta2: must be less than 1"),
        (["sweep", "--grid", "beta2=0.5,0.9", "--export", "xlsx"], "--export takes csv"),
        (["sweep", "--grid", "beta2=0.5,0.9", "--jobs", "0"], "--jobs"),
        (["boundary", "--problem", "stochastic"], "not periodic"),
        (["boundary", "--optimizer", "torch.optim.SGD"], "no steady state is known"),
    ],
)
def test_wrong_input(arguments: list[str], message: str, amsgrad_exp: Run, tmp_path: Path) -> None:
    done = amsgrad_exp(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_boundary_command(amsgrad_exp: Run) -> None:
    done = amsgrad_exp("boundary", "--beta1", "0.9")
    assert "0.99951589 < beta2 < 0.9999999  to the optimum" in done.stdout
    assert "no critical beta2" in amsgrad_exp("boundary", "--optimizer", "amsgrad").stdout


PLANE = (
    "--grid beta1=0:0.9:60 --grid beta2=0.5:0.99:60 --optimizer adam --schedule inv-sqrt --no-figure --quiet".split()
)


def command(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "amsgrad_exp", *arguments])


def test_ten_kills(tmp_path: Path) -> None:
    """A sweep killed ten times with SIGKILL and resumed has the rows of one that was never killed."""
    plane = [*PLANE, "--steps", "3e5"]
    began = time.monotonic()
    assert command("sweep", *plane, "--out", str(tmp_path / "whole")).wait() == 0
    duration = time.monotonic() - began
    (whole,) = (tmp_path / "whole" / "synthetic").iterdir()
    chance = random.Random(4)
    kills = 0
    process = command("sweep", *plane, "--out", str(tmp_path / "parts"))
    while kills < 10:
        time.sleep(chance.uniform(0.6, 0.3 * duration + 0.8))
        found = list((tmp_path / "parts").glob("synthetic/*/results.sqlite"))
        if not found and process.poll() is None:
            continue
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = command("resume", str(found[0].parent), "--quiet")
    assert process.wait() == 0
    (parts,) = (tmp_path / "parts" / "synthetic").iterdir()
    assert rows(parts) == rows(whole)


def test_interrupted(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", "sweep", *PLANE, "--steps", "3e6", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("*/*/results.sqlite")):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    (directory,) = tmp_path.glob("*/*")
    assert (process.returncode, stderr) == (130, f"interrupted: go on with amsgrad-exp resume {directory}\n")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A real Dask scheduler and two worker processes on the loopback."""
    info = tmp_path / "scheduler.json"
    where = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*dask, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(info)],
        **where,  # type: ignore[call-overload]
    )
    while not info.exists():
        assert scheduler.poll() is None
        time.sleep(0.1)
    time.sleep(0.2)
    address = json.loads(info.read_text())["address"]
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
    workers = [subprocess.Popen(worker, **where) for _ in range(2)]  # type: ignore[call-overload]
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], amsgrad_exp: Run, tmp_path: Path
) -> None:
    address, workers = cluster
    plane = [*PLANE, "--steps", "1e6"]
    assert amsgrad_exp("sweep", *plane, "--out", "local").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", "sweep", *plane, "--dask", address, "--out", "remote"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stderr=subprocess.PIPE,
        text=True,
    )
    found: list[Path] = []
    while process.poll() is None and not (found and 0 < len(rows(found[0].parent)) < 3000):
        time.sleep(0.05)
        found = list(tmp_path.glob("remote/*/*/results.sqlite"))
    workers[0].kill()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    (local,), (remote,) = ((tmp_path / name / "synthetic").iterdir() for name in ("local", "remote"))
    assert rows(remote) == rows(local)
    assert len(rows(remote)) == 3600


def test_a_cluster_that_is_not_there(amsgrad_exp: Run) -> None:
    done = amsgrad_exp("sweep", *PLANE, "--steps", "10", "--dask", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr == "amsgrad-exp: --dask tcp://127.0.0.1:9: no scheduler answers there\n"


def test_a_cluster_of_one_thread_computes(cluster: tuple[str, list[subprocess.Popen[bytes]]], amsgrad_exp: Run) -> None:
    address, workers = cluster
    workers[1].kill()
    workers[1].wait()
    assert amsgrad_exp("sweep", *PLANE, "--steps", "10", "--dask", address).returncode == 0
    with Client(address) as client:  # type: ignore[no-untyped-call]
        (log,) = client.run(lambda dask_worker: str(list(dask_worker.state.log))).values()
    assert log.count("executing") >= 15


def test_a_worker_of_another_version_is_refused(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], amsgrad_exp: Run, tmp_path: Path
) -> None:
    address, workers = cluster
    older = (
        "import runpy; from importlib import metadata; version = metadata.version; "
        "metadata.version = lambda name: '0.0.1' if name == 'amsgrad-exp' else version(name); "
        "runpy.run_module('distributed.cli.dask_worker', run_name='__main__')"
    )
    command = [sys.executable, "-c", older, address, "--no-nanny", "--no-dashboard"]
    with Client(address) as client:  # type: ignore[no-untyped-call]
        workers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        client.wait_for_workers(3)  # type: ignore[no-untyped-call]
    refused = amsgrad_exp("sweep", *PLANE, "--steps", "10", "--dask", address, "--out", "refused")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "amsgrad-exp 0.1.0 is needed" in refused.stderr
    assert refused.stderr.endswith("has 0.0.1\n")
    assert not (tmp_path / "refused").exists()


def test_a_lost_cluster(cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path) -> None:
    address, _ = cluster
    process = subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", "sweep", *PLANE, "--steps", "1e7", "--dask", address, "--out", "lost"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("lost/*/*/results.sqlite")):
        time.sleep(0.05)
    time.sleep(1)
    with Client(address) as client:  # type: ignore[no-untyped-call]
        client.shutdown()  # type: ignore[no-untyped-call]
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith(f"amsgrad-exp: --dask {address}: the cluster was lost (")
    assert stderr.count("\n") == 1


def test_two_processes_on_one_sweep(tmp_path: Path) -> None:
    directory = make_directory(small(), tmp_path)
    refusals: list[str] = []

    def try_again(done: int, total: int) -> None:
        if not refusals:
            with pytest.raises(RunError) as caught:
                run_sweep(directory)
            refusals.append(str(caught.value))

    run_sweep(directory, on_cells=try_again)
    assert f"in use by process {os.getpid()}" in refusals[0]


def test_results_know_what_is_done(tmp_path: Path) -> None:
    sweep = small()
    directory = make_directory(sweep, tmp_path)
    with closing(Results(directory, sweep)) as results:
        results.add(run_block(sweep, [3, 4]))
        assert np.flatnonzero(results.done()).tolist() == [3, 4]
        assert {cell for block in sweep.blocks(results.done()) for cell in block} == set(range(len(sweep))) - {3, 4}
