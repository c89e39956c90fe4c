"""Tests of recording and resuming runs: which bytes are written, also if the optimizer, the disk or a file fails."""

import hashlib
import io
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import driver
from amsgrad_exp.errors import Damaged, RunError, RunFailed
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from amsgrad_exp.records.recorder import Checkpoint
from amsgrad_exp.spec.read import load_experiment
from tests.recorded import LONG, change_line, files, list_runs, logged, trial
from tests.watching import Watched


def test_a_recorded_run_reads_back_as_it_was(tmp_path: Path) -> None:
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


def test_progress_is_reported_after_the_points_are_written(tmp_path: Path) -> None:
    def check(label: str, done: int) -> None:
        (path,) = tmp_path.glob("*/*/trace.csv")
        last = int(path.read_text().splitlines()[-1].split(",")[0])
        assert last + 1 == done // 500 * 500

    watch = Watched(on_progress=check)
    recorder.record(trial(**LONG), tmp_path, watch)
    assert watch.done == sorted(set(watch.done))
    assert watch.done[-1] == 400_000


@pytest.mark.usefixtures("always_checkpoint")
@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        ("tests.optimizers.Unsaveable", "it keeps a function in param_groups[0]['how'], which cannot be saved"),
        ("pytorch_optimizer.ScalableShampoo", "it keeps a PreConditioner in state[0]['pre_conditioner'], which cannot"),
        ("tests.optimizers.lookahead", "its state_dict cannot be saved: 'Lookahead' object has no attribute"),
        ("tests.optimizers.Forgetful", "it keeps something outside its state_dict"),
    ],
)
def test_a_run_whose_state_cannot_be_saved_has_no_checkpoints(optimizer: str, reason: str, tmp_path: Path) -> None:
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
def test_states_with_unusual_values_are_saved(optimizer: str, tmp_path: Path) -> None:
    """Such as a deque or an Enum, as in the states of AdaShift and SCION."""
    whole = recorder.record(trial(optimizer, steps=4000), tmp_path / "whole")
    part = recorder.record(trial(optimizer, steps=4000), tmp_path / "part", Watched(0))
    assert part.summary.unsaved is None
    resumed = recorder.resume(part)
    assert (resumed.directory / "trace.csv").read_bytes() == (whole.directory / "trace.csv").read_bytes()


def test_a_run_whose_optimizer_fails_keeps_its_trace(tmp_path: Path) -> None:
    faulty = trial("tests.optimizers.Faulty", engine="torch", steps=100)
    with pytest.raises(RunFailed, match="the optimizer raised ZeroDivisionError at step 9"):
        recorder.record(faulty, tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.summary.status == "failed"
    assert run.summary.reason == "the optimizer raised ZeroDivisionError at step 9: by zero"
    assert run.trace.step.tolist() == list(range(10))
    assert verifying.verify(run).first_step is None


def fail_from(patch: pytest.MonkeyPatch, what: str, call: int) -> None:
    """Make fsync or rename fail from this call on, as on a full disk."""
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
def whole(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """`LONG`, uninterrupted."""
    return recorder.record(trial(**LONG), tmp_path_factory.mktemp("whole"))


@pytest.fixture
def always_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every chunk."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.usefixtures("always_checkpoint")
@pytest.mark.parametrize(
    ("what", "call", "runs_left"),
    [("fsync", call, int(call >= 3)) for call in (0, 2, 3, 4, 8)]
    + [("replace", call, int(call >= 2)) for call in (0, 1, 2, 3, 5)],
)
def test_a_failing_disk_leaves_a_run_that_resumes(
    what: str, call: int, runs_left: int, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a run as soon as its first summary.json is in place."""
    with monkeypatch.context() as patch:
        fail_from(patch, what, call)
        with pytest.raises(OSError, match="No space left on device"):
            recorder.record(trial(**LONG), tmp_path)
    left = list_runs(tmp_path)
    assert len(left) == runs_left
    for run in left:
        assert recorder.resume(run).trace_bytes() == whole.trace_bytes()


def test_a_disk_that_fails_during_resuming_leaves_a_readable_trace(
    whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert recorder.resume(failed).trace_bytes() == whole.trace_bytes()


EXPERIMENTS: dict[str, dict[str, Any]] = {
    "compiled, repeating": {"steps": 2_000_000, "log_every": 7777},
    "compiled, seeds": {"problem": "stochastic", "steps": 200_000, "log_every": 200, "seeds": 5},
    "compiled, float64": {"steps": 2_000_000, "log_every": 5000, "dtype": "float64"},
    "compiled, decaying": LONG,
    "compiled, stochastic": {"problem": "stochastic", "steps": 400_000, "log_every": 500, "seed": 3},
    "torch": {"engine": "torch", "steps": 6000, "log_every": 7},
    "torch, float64, stochastic": {"engine": "torch", "steps": 5000, "problem": "stochastic", "dtype": "float64"},
    "torch, decaying": {"engine": "torch", "steps": 5000, "log_every": 10, "schedule": "inv-sqrt"},
}


@pytest.mark.parametrize("overrides", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_a_resumed_run_equals_an_uninterrupted_one(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DERIVED_POINTS_PER_CHUNK", 100)
    whole = recorder.record(trial(**overrides), tmp_path / "whole")
    for seconds in (0.0, 1e9):  # a checkpoint after every chunk, or only at the interruption
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


@pytest.mark.usefixtures("always_checkpoint")
@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_run_stopped_before_its_result_is_written_can_be_resumed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_run_interrupted_in_derived_points_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("always_checkpoint")
def test_a_damaged_checkpoint_is_not_used(whole: runs.Run, tmp_path: Path) -> None:
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


@pytest.mark.usefixtures("always_checkpoint")
def test_a_checkpoint_needs_an_unchanged_trace(whole: runs.Run, tmp_path: Path) -> None:
    run = recorder.record(trial(**LONG), tmp_path, Watched(3))
    change_line(run.directory / "trace.csv", 10, ",", ",1")
    watch = Watched()
    resumed = recorder.resume(run, watch)
    changed = run.directory / "trace.csv"
    assert watch.notes == [f"{changed} has changed since the last checkpoint; resuming from an earlier one"]
    assert resumed.trace_bytes() == whole.trace_bytes()


@pytest.mark.usefixtures("always_checkpoint")
@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_mutated_file_is_rejected_or_harmless(engine: str, tmp_path: Path) -> None:
    """Flip a bit or cut off the end of a file of an interrupted run."""
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
            outcomes.add(f"{name} rejected")
        else:
            assert files(mutated)["trace.csv"] == files(whole.directory)["trace.csv"]
            if name != "summary.json" or json.loads(content) != json.loads((run.directory / name).read_bytes()):
                outcomes.add(f"{name} survived")  # changing the last digit of a number need not change the number
    assert outcomes == {
        "checkpoint survived",
        "trace.csv survived",
        "summary.json rejected",
        "experiment.yaml rejected",
    }


@pytest.mark.usefixtures("always_checkpoint")
def test_no_code_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    """The torch engine's state is replaced by a pickle that would run code, with a valid checksum."""
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
