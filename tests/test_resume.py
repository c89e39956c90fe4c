"""Runs interrupted and gone on with: the same bytes as if they had never been interrupted."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from amsgrad_exp.engines import driver
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records.recorder import Checkpoint
from tests.recorded import LONG, change_line, files, list_runs, logged, trial
from tests.watching import Watched

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "compiled, repeating": {"steps": 2_000_000, "log_every": 7777},
    "compiled, many derived points": {"steps": 3_000_000, "log_every": 2500},
    "compiled, seeds": {"problem": "stochastic", "steps": 200_000, "log_every": 200, "seeds": 5},
    "compiled, float64": {"steps": 2_000_000, "log_every": 5000, "dtype": "float64"},
    "compiled, decaying": LONG,
    "compiled, stochastic": {"problem": "stochastic", "steps": 400_000, "log_every": 500, "seed": 3},
    "torch": {"engine": "torch", "steps": 6000, "log_every": 7},
    "torch, float64, stochastic": {"engine": "torch", "steps": 5000, "problem": "stochastic", "dtype": "float64"},
    "torch, decaying": {"engine": "torch", "steps": 5000, "log_every": 10, "schedule": "inv-sqrt"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """`LONG`, uninterrupted."""
    return recorder.record(trial(**LONG), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("overrides", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DERIVED_POINTS_PER_CHUNK", 100)
    whole = recorder.record(trial(**overrides), tmp_path / "whole")
    for seconds in (0.0, 1e9):  # with a checkpoint after every chunk, and only where it is interrupted
        monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", seconds)
        out = tmp_path / f"parts {seconds}"
        interrupted = recorder.record(trial(**overrides), out, Watched(2))
        again = recorder.resume(interrupted, Watched(2))
        assert (interrupted.summary.status, again.summary.status) == ("interrupted", "interrupted")
        moved = out / "another place" / "moved"
        shutil.copytree(again.directory, moved)
        resumed = recorder.resume(runs.read_run(moved))
        assert resumed.summary.status == "completed"
        assert resumed.trace_bytes() == whole.trace_bytes()
        assert resumed.trace.regret.tobytes() == runs.read_run(moved).trace.regret.tobytes()
        assert logged(moved) == logged(whole.directory)
        keep = set(type(whole.summary).model_fields) - {"seconds", "started", "sessions"}
        assert len(resumed.summary.sessions) == 3
        assert resumed.summary.model_dump(include=keep) == whole.summary.model_dump(include=keep)


def test_resuming_a_complete_run_says_so_and_leaves_it_as_it_is(whole: runs.Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.directory.iterdir()}
    watch = Watched()
    resumed = recorder.resume(whole, watch)
    assert resumed.summary == whole.summary
    assert watch.notes == [f"{whole.directory} is complete: there is nothing to resume"]
    assert {path: path.stat().st_mtime_ns for path in whole.directory.iterdir()} == before


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_run_that_stopped_between_its_last_step_and_its_result(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    wanted = trial(steps=3000, engine=engine)
    expected = recorder.record(wanted, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "summarize", lambda *_: (tmp_path / "nowhere").read_bytes())
        with pytest.raises(FileNotFoundError):
            recorder.record(wanted, tmp_path / "stopped")
    (stopped,) = list_runs(tmp_path / "stopped")
    resumed = recorder.resume(stopped)
    assert resumed.summary.status == "completed"
    assert resumed.trace_bytes() == expected.trace_bytes()


def test_a_run_interrupted_while_its_points_are_derived_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DERIVED_POINTS_PER_CHUNK", 100)
    overrides: dict[str, Any] = {"steps": 3_000_000, "log_every": 2500}
    whole = recorder.record(trial(**overrides), tmp_path / "whole")
    run = recorder.record(trial(**overrides), tmp_path / "parts", Watched(7))
    checkpoint = Checkpoint.read(run.directory / "checkpoint")
    assert whole.summary.result is not None
    assert checkpoint.step > whole.summary.result.steps_simulated
    assert checkpoint.trace_bytes == (run.directory / "trace.csv").stat().st_size
    watch = Watched()
    resumed = recorder.resume(run, watch)
    assert min(watch.done) > checkpoint.step
    assert resumed.trace_bytes() == whole.trace_bytes()
    assert resumed.summary.result == whole.summary.result


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    run = recorder.record(trial(**LONG), tmp_path, Watched(3))
    newest = Checkpoint.read(run.directory / "checkpoint").step
    assert Checkpoint.read(run.directory / "checkpoint.previous").step < newest
    content = bytearray((run.directory / "checkpoint").read_bytes())
    content[len(content) // 2] ^= 1
    (run.directory / "checkpoint").write_bytes(content)
    watch = Watched()
    resumed = recorder.resume(run, watch)
    wrong = f"{run.directory / 'checkpoint'} is damaged: its checksum is wrong"
    assert watch.notes == [f"{wrong}; resuming from an earlier checkpoint"]
    assert resumed.trace_bytes() == whole.trace_bytes()


def test_a_trace_that_was_changed_is_not_gone_on_from(
    whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    run = recorder.record(trial(**LONG), tmp_path, Watched(3))
    change_line(run.directory / "trace.csv", 10, ",", ",1")
    watch = Watched()
    resumed = recorder.resume(run, watch)
    changed = run.directory / "trace.csv"
    assert watch.notes == [f"{changed} has changed since the last checkpoint; resuming from an earlier one"]
    assert resumed.trace_bytes() == whole.trace_bytes()


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_mutated_runs_are_reported_and_never_believed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flip a bit or cut the end of any file of an interrupted run: an error, or the same bytes as ever."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    steps = {"steps": 3000, "log_every": 10} if engine == "torch" else {"steps": 300_000, "log_every": 500}
    overrides: dict[str, Any] = {**steps, "schedule": "inv-sqrt", "engine": engine}
    whole = recorder.record(trial(**overrides), tmp_path / "whole")
    run = recorder.record(trial(**overrides), tmp_path / "parts", Watched(2))
    chance = random.Random(engine)
    outcomes = set()
    for number in range(12):
        name = ["checkpoint", "trace.csv", "summary.json", "experiment.yaml"][number % 4]
        mutated = tmp_path / f"mutated-{number}"
        shutil.copytree(run.directory, mutated)
        content = bytearray((mutated / name).read_bytes())
        if chance.random() < 0.5:
            content = content[: chance.randrange(len(content))]
        else:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(7)
        (mutated / name).write_bytes(content)
        try:
            recorder.resume(runs.read_run(mutated))
        except RunError:
            outcomes.add(f"{name} refused")
        else:
            assert files(mutated)["trace.csv"] == files(whole.directory)["trace.csv"]
            if name != "summary.json" or json.loads(content) != json.loads((run.directory / name).read_bytes()):
                outcomes.add(f"{name} survived")  # the last digit of a number need not change the number
    assert outcomes == {
        "checkpoint survived",
        "trace.csv survived",
        "summary.json refused",
        "experiment.yaml refused",
    }


def test_nothing_in_a_run_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle with a valid checksum in place of the torch engine's state is refused, not run."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    run = recorder.record(trial(engine="torch", steps=5000, log_every=10), tmp_path, Watched(2))

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    saved = io.BytesIO()
    torch.save({"optimizer": Bomb()}, saved)
    good = Checkpoint.read(run.directory / "checkpoint")
    replace(good, engine=saved.getvalue()).write(run.directory)
    with pytest.raises(Damaged, match="checkpoint"):
        recorder.resume(run)
    assert not (tmp_path / "executed").exists()


def test_a_run_in_use_is_refused_with_the_others_process_id(tmp_path: Path) -> None:
    run = recorder.record(trial(**LONG), tmp_path, Watched(1))
    with FileLock(run.directory / "lock"), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        recorder.resume(run)
    assert recorder.resume(run).summary.status == "completed"
