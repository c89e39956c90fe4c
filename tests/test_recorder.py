"""Runs recorded: what is written when all goes well, and when an optimizer or a disk fails."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.errors import ConfigError, RunError, RunFailed
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from amsgrad_exp.records.recorder import Checkpoint
from amsgrad_exp.spec.read import load_experiment
from tests.recorded import LONG, files, list_runs, trial
from tests.watching import Watched


def test_a_run_is_written_whole(tmp_path: Path) -> None:
    run = recorder.record(trial(steps=300_000, log_every=1000), tmp_path)
    assert load_experiment(run.directory / "experiment.yaml").trials() == [run.trial]
    again = runs.read_run(run.directory)
    assert again.summary == run.summary
    assert again.summary.status == "completed"
    for column in ("step", "loss", "x", "regret"):
        assert getattr(again.trace, column).tobytes() == getattr(run.trace, column).tobytes()
    content = (run.directory / "trace.csv").read_bytes()
    assert again.summary.trace_sha256 == hashlib.sha256(content).hexdigest()
    assert again.summary.sessions[0].versions["numpy"] == np.__version__
    assert not [path for path in run.directory.iterdir() if path.name.startswith(".")]


def test_every_chunk_is_handed_on_once_its_points_are_recorded(tmp_path: Path) -> None:
    def check(label: str, done: int) -> None:
        (path,) = tmp_path.glob("*/*/trace.csv")
        last = int(path.read_text().splitlines()[-1].split(",")[0])
        assert last + 1 == done // 500 * 500

    watch = Watched(on_progress=check)
    recorder.record(trial(**LONG), tmp_path, watch)
    assert watch.done == sorted(set(watch.done))
    assert watch.done[-1] == 400_000


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        ("tests.optimizers.Unsaveable", "it keeps a function in param_groups[0]['how'], which cannot be saved"),
        ("pytorch_optimizer.ScalableShampoo", "it keeps a PreConditioner in state[0]['pre_conditioner'], which cannot"),
        ("tests.factories.lookahead", "its state_dict cannot be saved: 'Lookahead' object has no attribute"),
        ("tests.optimizers.Forgetful", "it keeps something outside its state_dict"),
    ],
)
def test_a_state_that_cannot_be_saved_stops_no_run(
    optimizer: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    watch = Watched()
    recorder.record(trial(optimizer, steps=4000), tmp_path, watch)
    assert list_runs(tmp_path)[0].summary.status == "completed"
    (note,) = watch.notes
    assert note.startswith(f"{optimizer} cannot be saved: {reason}")
    assert note.endswith("; the run continues without checkpoints and cannot be resumed")
    interrupted = recorder.record(trial(optimizer, steps=4000), tmp_path, Watched(0))
    assert interrupted.summary.status == "interrupted"
    assert not (interrupted.directory / "checkpoint").exists()
    with pytest.raises(RunError, match=r"cannot be resumed, since .* cannot be saved: .*: run it again$"):
        recorder.resume(interrupted)


@pytest.mark.parametrize(
    "optimizer",
    ["tests.optimizers.Hoarding", *(f"pytorch_optimizer.{name}" for name in ("AdaShift", "SCION", "FlashAdamW"))],
)
def test_all_kinds_of_values_in_a_state_are_saved(optimizer: str, tmp_path: Path) -> None:
    """A deque, an Enum and the like: AdaShift and SCION keep such."""
    whole = recorder.record(trial(optimizer, steps=4000), tmp_path / "whole")
    part = recorder.record(trial(optimizer, steps=4000), tmp_path / "part", Watched(0))
    assert part.summary.unsaved is None
    resumed = recorder.resume(part)
    assert (resumed.directory / "trace.csv").read_bytes() == (whole.directory / "trace.csv").read_bytes()


def test_a_failing_optimizer_keeps_the_trace_so_far(tmp_path: Path) -> None:
    faulty = trial("tests.optimizers.Faulty", engine="torch", steps=100)
    with pytest.raises(RunFailed, match="the optimizer raised ZeroDivisionError at step 9"):
        recorder.record(faulty, tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.summary.status == "failed"
    assert run.summary.reason == "the optimizer raised ZeroDivisionError at step 9: by zero"
    assert run.trace.step.tolist() == list(range(10))
    assert verifying.verify(run).first_step is None


def fail_from(patch: pytest.MonkeyPatch, what: str, call: int) -> None:
    """Let fsync or rename fail from some call on, as a full disk does."""
    made = iter(range(call))

    def fail(*arguments: Any, original: Any) -> Any:
        if next(made, None) is None:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    fsync, rename = os.fsync, Path.replace
    if what == "fsync":
        patch.setattr(os, "fsync", lambda handle: fail(handle, original=fsync))
    else:
        patch.setattr(Path, "replace", lambda path, target: fail(path, target, original=rename))


@pytest.fixture(scope="module")
def whole_trace(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return recorder.record(trial(**LONG), tmp_path_factory.mktemp("whole")).trace_bytes()


@pytest.mark.parametrize(("what", "first_summary"), [("fsync", 3), ("replace", 2)])
@pytest.mark.parametrize("call", [0, 1, 2, 3, 4, 5, 8])
def test_a_failing_disk_leaves_a_run_that_resumes(
    what: str, first_summary: int, call: int, whole_trace: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the call with which the first summary.json is in place there is no run; from then on there is one."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        fail_from(patch, what, call)
        with pytest.raises(OSError, match="No space left on device"):
            recorder.record(trial(**LONG), tmp_path)
    left = list_runs(tmp_path)
    assert len(left) == (1 if call >= first_summary else 0)
    for run in left:
        assert recorder.resume(run).trace_bytes() == whole_trace


def test_a_disk_that_fails_while_a_run_is_resumed_leaves_a_trace_that_is_read(
    whole_trace: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = recorder.record(trial(**LONG), tmp_path, Watched(2))
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(Checkpoint, "write", lambda self, directory: (directory / "no" / "such").touch())
        with pytest.raises(OSError, match="No such file"):
            recorder.resume(interrupted)
    failed = runs.read_run(interrupted.directory)
    assert failed.summary.status == "failed"
    assert len(failed.trace) > len(interrupted.trace)
    assert recorder.resume(failed).trace_bytes() == whole_trace


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    overrides: dict[str, Any] = {"steps": 400_000, "schedule": "inv-sqrt"}
    with pytest.raises(ConfigError, match=r"2,857 points need about .* raise log_every"):
        recorder.record(trial(**overrides, log_every=140), small_disk)
    fitting = trial(**overrides, log_every=500)
    whole = recorder.record(fitting, tmp_path / "whole")
    (small_disk / "filler").write_bytes(b"x" * 200_000)
    with pytest.raises(OSError, match="No space left on device"):
        recorder.record(fitting, small_disk)
    (small_disk / "filler").unlink()
    (run,) = list_runs(small_disk)
    assert 0 < len(run.trace) < len(whole.trace)
    assert files(recorder.resume(run).directory)["trace.csv"] == files(whole.directory)["trace.csv"]


def test_a_directory_deleted_during_the_run(tmp_path: Path) -> None:
    def delete(label: str, done: int) -> None:
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)

    with pytest.raises(OSError, match="No such file or directory"):
        recorder.record(trial(**LONG), tmp_path / "logs", Watched(on_progress=delete))
