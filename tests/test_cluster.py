"""Tests sweeps on a real Dask cluster: workers that die, join late or have another version, and lost clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.sweeps import sweeping
from amsgrad_exp.sweeps.workers import workers
from tests.sweeping import PLANE, curves, rows, swept

# Small blocks, so that there are many.
PROGRAM = """
from amsgrad_exp import cli
from amsgrad_exp.sweeps import compute, workers
compute.AT_ONCE = 32
{before}
cli.main()
"""

OLDER = """
import runpy
from importlib import metadata
version = metadata.version
metadata.version = lambda name: "0.0.1" if name == "amsgrad-exp" else version(name)
runpy.run_module("distributed.cli.dask_worker", run_name="__main__")
"""


class Cluster:
    """A scheduler on the loopback, without workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        info = folder / "scheduler.json"
        dask = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--scheduler-file", str(info)]
        self.scheduler = self.start(*dask, "--host", "127.0.0.1", "--port", "0")
        while not info.exists() or not info.read_text():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address: str = json.loads(info.read_text())["address"]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        environment = {**os.environ, "HOME": str(self.folder)}
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=environment, stdout=quiet, stderr=quiet
        )
        self.processes.append(process)
        return process

    def add_worker(self, *program: str) -> subprocess.Popen[bytes]:
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        program = program or ("-m", "distributed.cli.dask_worker")
        return self.start(*program, self.address, *options)

    def executed(self) -> list[int]:
        """Return the number of tasks that each worker has begun."""
        with Client(self.address) as client:  # type: ignore[no-untyped-call]
            logs = client.run(lambda dask_worker: str(list(dask_worker.state.log)))
        return [log.count("'executing'") for log in logs.values()]

    def end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.kill()
            process.wait()
            self.processes.remove(process)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("dask"))
    yield started
    started.end(list(started.processes))


@pytest.fixture
def shared(scheduler: Cluster) -> Iterator[Cluster]:
    """The scheduler of all tests; each test has its own workers."""
    yield scheduler
    scheduler.end([process for process in scheduler.processes if process is not scheduler.scheduler])
    with Client(scheduler.address) as client:  # type: ignore[no-untyped-call]
        while client.nthreads():
            time.sleep(0.05)


Sweeping = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweeping]:
    """Start a sweep of 113 blocks; ``before`` is Python code to run first."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, before: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM.format(before=before), "sweep", *PLANE, *arguments]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str]:
    """Wait for a process; return its exit status and what it wrote to stderr."""
    _, stderr = process.communicate(timeout=timeout)
    return process.returncode, stderr


def wait_for_rows(out: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until some cells of a sweep are done; return its directory."""
    while process.poll() is None:
        time.sleep(0.02)
        for database in out.glob("*/*/results.sqlite"):
            if rows(database.parent):
                return database.parent
    raise AssertionError(process.communicate()[1])


def test_workers_may_join_late_and_die(shared: Cluster, sweep: Sweeping, tmp_path: Path) -> None:
    first = shared.add_worker()
    ended(sweep("--steps", "1e6", "--out", "local", before="compute.AT_ONCE = 256"))
    process = sweep("--steps", "1e6", "--dask", shared.address, "--out", "remote")
    remote = wait_for_rows(tmp_path / "remote", process)
    first.send_signal(signal.SIGSTOP)
    stopped_at = len(rows(remote))
    assert stopped_at < 3000
    shared.add_worker()
    while len(rows(remote)) < stopped_at + 5 * 32:  # more than the first worker may still have sent
        assert process.poll() is None
        time.sleep(0.05)
    first.kill()
    assert ended(process) == (0, "")
    (whole,) = (tmp_path / "local" / "synthetic").iterdir()
    assert rows(remote) == rows(whole)
    assert len(rows(remote)) == 3600


def test_an_interrupted_sweep_does_not_wait_for_the_cluster(shared: Cluster, sweep: Sweeping, tmp_path: Path) -> None:
    shared.add_worker()
    process = sweep("--steps", "1e7", "--dask", shared.address)
    directory = wait_for_rows(tmp_path / "sweeps", process)
    process.send_signal(signal.SIGINT)
    assert ended(process, 20) == (130, f"interrupted: continue with amsgrad-exp resume {directory}\n")
    assert len(rows(directory)) % 32 == 0


def test_a_worker_of_another_version_is_rejected(shared: Cluster, sweep: Sweeping, tmp_path: Path) -> None:
    shared.add_worker()
    shared.add_worker("-c", OLDER)
    with Client(shared.address) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(2)
    status, stderr = ended(sweep("--steps", "10", "--dask", shared.address))
    assert (status, stderr.count("\n")) == (1, 1)
    assert f"amsgrad-exp {version('amsgrad-exp')} is needed" in stderr
    assert stderr.endswith("has 0.0.1\n")
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    ("address", "before", "status", "message"),
    [
        (None, "workers.WORKERS_SECONDS = 0.2", 1, "no workers within 0.2 seconds"),
        ("tcp://127.0.0.1:9", "workers.CONNECT_SECONDS = 0.2", 2, "no scheduler answers there"),
        ("nonsense://", "workers.CONNECT_SECONDS = 0.2", 2, "no scheduler answers there"),
    ],
)
def test_a_missing_cluster_is_an_error(
    address: str | None, before: str, status: int, message: str, shared: Cluster, sweep: Sweeping, tmp_path: Path
) -> None:
    address = address or shared.address
    expected = f"amsgrad-exp: --dask {address}: {message}\n"
    assert ended(sweep("--dask", address, before=before)) == (status, expected)
    assert not (tmp_path / "sweeps").exists()


def test_waiting_for_workers_can_be_interrupted(shared: Cluster, sweep: Sweeping, tmp_path: Path) -> None:
    def clients(dask_scheduler: Any) -> int:
        return len(dask_scheduler.clients)

    with Client(shared.address) as client:  # type: ignore[no-untyped-call]
        before = client.run_on_scheduler(clients)
        process = sweep("--dask", shared.address, before="workers.WORKERS_SECONDS = 1000")
        while client.run_on_scheduler(clients) == before:
            time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert ended(process, 60) == (130, "")
    assert not (tmp_path / "sweeps").exists()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with one worker, for a test that ends it."""
    started = Cluster(tmp_path)
    started.add_worker()
    yield started
    started.end(list(started.processes))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_lost_cluster_is_an_error(mortal: Cluster, sweep: Sweeping, tmp_path: Path, end: signal.Signals) -> None:
    process = sweep("--steps", "1e7", "--dask", mortal.address)
    wait_for_rows(tmp_path / "sweeps", process)
    mortal.scheduler.send_signal(end)
    status, stderr = ended(process, 60)
    assert (status, stderr.count("\n")) == (1, 1)
    assert stderr.startswith(f"amsgrad-exp: --dask {mortal.address}: the cluster was lost (")


def test_a_gauntlet_has_the_same_rows_and_curves_as_on_one_machine(shared: Cluster, tmp_path: Path) -> None:
    shared.add_worker()
    loaded = Gauntlet.of(optimizers=["adam"], problems=["online", "stochastic"], settings=["stated"], steps=20_000)
    here = swept(loaded, tmp_path / "here").directory
    with workers(dask=shared.address) as executor:
        there = sweeping.sweep(loaded, tmp_path / "there", executor).directory
    assert rows(there) == rows(here)
    assert curves(there) == curves(here)
    assert len(curves(there)) == 4
    assert shared.executed()[0] >= 2  # the worker computes a block for each problem
