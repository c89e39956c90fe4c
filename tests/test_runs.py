"""A run's directory: what is written, what is believed when it is read back, and what is not."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp.driver import fast_forward
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun, RunError, RunFailed
from amsgrad_exp.records import recorder, trace_csv
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify as verifying
from amsgrad_exp.records.checkpoint import Checkpoint
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.trace import Trace
from tests.test_tracking import logged

EXPERIMENTS = {
    "compiled, repeating": {"steps": 2_000_000, "log_every": 777},
    "compiled, many derived points": {"steps": 3_000_000, "log_every": 250},
    "compiled, seeds": {"problem": "stochastic", "steps": 60_000, "seeds": 5},
    "compiled, float64": {"steps": 2_000_000, "log_every": 500, "dtype": "float64"},
    "compiled, decaying": {"steps": 400_000, "schedule": "inv-sqrt"},
    "compiled, stochastic": {"problem": "stochastic", "steps": 400_000, "seed": 3},
    "torch": {"engine": "torch", "steps": 6000, "log_every": 7},
    "torch, float64, stochastic": {"engine": "torch", "steps": 5000, "problem": "stochastic", "dtype": "float64"},
    "torch, decaying": {"engine": "torch", "steps": 5000, "schedule": "inv-sqrt"},
}


def trial(optimizer: str = "amsgrad", **overrides: Any) -> Trial:
    (only,) = load_experiment(optimizers=[optimizer], **overrides).trials()
    return only


def interrupt_after(chunks: int) -> tuple[Any, Any]:
    """What to hand to `record` for it to be interrupted after so many chunks."""
    seen: list[Chunk] = []
    return seen.append, lambda: len(seen) >= chunks


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture
def finished(tmp_path: Path) -> recorder.Recorded:
    return recorder.record(trial(steps=300_000, log_every=1000), tmp_path)


def test_a_run_is_written_whole(finished: recorder.Recorded) -> None:
    directory = finished.run.directory
    assert load_experiment(directory / "experiment.yaml").trials() == [finished.run.trial]
    again = runs.read_run(directory)
    assert again.summary == finished.run.summary
    assert again.summary.status == "completed"
    trace = again.read_trace()
    for column in ("step", "loss", "x", "regret"):
        assert getattr(trace, column).tobytes() == getattr(finished.trace, column).tobytes()
    content = (directory / "trace.csv").read_bytes()
    assert again.summary.trace_sha256 == hashlib.sha256(content).hexdigest()
    assert again.summary.sessions[0].versions["numpy"] == np.__version__
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("overrides", EXPERIMENTS.values(), ids=EXPERIMENTS)
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    overrides: dict[str, Any], checkpoint_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", checkpoint_seconds)
    monkeypatch.setattr(fast_forward, "DERIVED_POINTS_PER_CHUNK", 1000)
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    interrupted = recorder.record(trial(**overrides), tmp_path / "parts", *interrupt_after(2)).run
    assert interrupted.summary.status == "interrupted"
    again = recorder.resume(interrupted, *interrupt_after(2)).run
    moved = tmp_path / "another place" / "moved"
    shutil.copytree(again.directory, moved)
    resumed = recorder.resume(runs.read_run(moved)).run if again.summary.status == "interrupted" else again
    assert resumed.summary.status == "completed"
    assert (resumed.directory / "trace.csv").read_bytes() == (whole.directory / "trace.csv").read_bytes()
    assert logged(resumed.directory) == logged(whole.directory)
    keep = set(type(whole.summary).model_fields) - {"seconds", "started", "sessions"}
    assert len(resumed.summary.sessions) > 1
    assert resumed.summary.model_dump(include=keep) == whole.summary.model_dump(include=keep)
    with pytest.raises(RunError, match="is complete already"):
        recorder.resume(resumed)


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
    (stopped,) = runs.list_runs(tmp_path / "stopped")
    resumed = recorder.resume(stopped)
    assert resumed.run.summary.status == "completed"
    assert resumed.run.trace_bytes() == expected.run.trace_bytes()


@pytest.mark.parametrize("problem", ["online", "stochastic", "theorem1"])
@pytest.mark.parametrize("schedule", ["constant", "inv-sqrt"])
@pytest.mark.parametrize("optimizer", [*sorted(OPTIMIZERS), "torch.optim.NAdam"])
def test_fresh_runs_verify(optimizer: str, problem: str, schedule: str, tmp_path: Path) -> None:
    steps = 200_000 if optimizer in OPTIMIZERS else 2000
    run = recorder.record(trial(optimizer, problem=problem, schedule=schedule, steps=steps), tmp_path).run
    verification = verifying.verify(run)
    assert verification.first_step is None
    assert (verification.tolerance, set(verification.differences.values())) == (0.0, {0.0})
    assert verification.points == len(run.read_trace())
    assert verification.changed == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_other_engine_verifies_within_the_tolerance(optimizer: str, dtype: str, tmp_path: Path) -> None:
    run = recorder.record(trial(optimizer, steps=3000, dtype=dtype), tmp_path).run
    verification = verifying.verify(run, "torch")
    assert verification.tolerance == verifying.CROSS_ENGINE_TOLERANCE[dtype]
    assert verification.first_step is None
    assert max(verification.differences.values()) > 0


def change_line(path: Path, number: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    path.write_text("".join(lines))


@settings(max_examples=30)
@given(data=st.data())
def test_any_changed_digit_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = self_made(tmp_path_factory)
    path = run.directory / "trace.csv"
    original = path.read_bytes()
    digits = [at for at in range(original.index(b"\n"), len(original)) if original[at : at + 1].isdigit()]
    at = data.draw(st.sampled_from(digits))
    digit = data.draw(st.sampled_from([d for d in b"0123456789" if d != original[at]]))
    try:
        path.write_bytes(original[:at] + bytes([digit]) + original[at + 1 :])
        step = original[: original.index(b"\n", at)].count(b"\n") * 100 - 1
        assert verifying.verify(run).first_step == step
        with pytest.raises(Damaged, match="not what was recorded"):
            run.read_trace()
    finally:
        path.write_bytes(original)


_made: list[runs.Run] = []


def self_made(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    if not _made:
        made = trial(steps=5000, log_every=100, dtype="float64")
        _made.append(recorder.record(made, tmp_path_factory.mktemp("made")).run)
    return _made[0]


def test_a_shortened_trace_is_found(finished: recorder.Recorded) -> None:
    path = finished.run.directory / "trace.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    assert verifying.verify(finished.run).first_step == 297_999
    path.write_bytes(b"".join(lines)[:-5])
    with pytest.raises(Damaged, match="first or last line is not whole"):
        verifying.verify(finished.run)
    path.write_bytes(b"".join(lines[:7]) + b"nonsense\n" + b"".join(lines[7:]))
    with pytest.raises(Damaged, match=r"damaged: .* row 7"):
        verifying.verify(finished.run)


def test_an_interrupted_run_verifies_as_far_as_it_came(tmp_path: Path) -> None:
    run = recorder.record(trial(steps=400_000, schedule="inv-sqrt"), tmp_path, *interrupt_after(2)).run
    verification = verifying.verify(run)
    assert verification.first_step is None
    assert 0 < verification.points < 10_000


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    overrides = {"steps": 400_000, "schedule": "inv-sqrt"}
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    run = recorder.record(trial(**overrides), tmp_path / "parts", *interrupt_after(3)).run
    newest = Checkpoint.read(run.directory / "checkpoint").step
    assert Checkpoint.read(run.directory / "checkpoint.previous").step < newest
    content = bytearray((run.directory / "checkpoint").read_bytes())
    content[len(content) // 2] ^= 1
    (run.directory / "checkpoint").write_bytes(content)
    resumed = recorder.resume(run)
    assert "checkpoint is damaged: its checksum is wrong; going on from before it" in str(resumed.trouble)
    assert files(resumed.run.directory)["trace.csv"] == files(whole.directory)["trace.csv"]


def test_a_trace_that_was_changed_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    overrides = {"steps": 400_000, "schedule": "inv-sqrt"}
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    run = recorder.record(trial(**overrides), tmp_path / "parts", *interrupt_after(3)).run
    change_line(run.directory / "trace.csv", 10, ",", ",1")
    resumed = recorder.resume(run)
    assert "trace.csv is not what it was at the last checkpoint" in str(resumed.trouble)
    assert files(resumed.run.directory)["trace.csv"] == files(whole.directory)["trace.csv"]


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_mutated_runs_are_reported_and_never_believed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flip a bit or cut the end of any file of an interrupted run: an error, or the same bytes as ever."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    overrides = {"steps": 3000 if engine == "torch" else 300_000, "schedule": "inv-sqrt", "engine": engine}
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    run = recorder.record(trial(**overrides), tmp_path / "parts", *interrupt_after(2)).run
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
            outcomes.add(f"{name} survived")
    assert outcomes == {
        "checkpoint survived",
        "trace.csv survived",
        "summary.json refused",
        "experiment.yaml refused",
    }


def test_nothing_in_a_run_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle with a valid checksum in place of the torch engine's state is refused, not run."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    run = recorder.record(trial(engine="torch", steps=5000), tmp_path, *interrupt_after(2)).run

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
    run = recorder.record(trial(steps=400_000, schedule="inv-sqrt"), tmp_path, *interrupt_after(1)).run
    with FileLock(run.directory / "lock"), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        recorder.resume(run)
    assert recorder.resume(run).run.summary.status == "completed"


def test_a_run_interrupted_while_its_points_are_derived_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_forward, "DERIVED_POINTS_PER_CHUNK", 1000)
    overrides = {"steps": 3_000_000, "log_every": 250}
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    run = recorder.record(trial(**overrides), tmp_path / "parts", *interrupt_after(7)).run
    checkpoint = Checkpoint.read(run.directory / "checkpoint")
    assert whole.summary.result is not None
    assert checkpoint.step > whole.summary.result.steps_simulated
    assert checkpoint.trace_bytes == (run.directory / "trace.csv").stat().st_size
    resumed = recorder.resume(run).run
    assert files(resumed.directory)["trace.csv"] == files(whole.directory)["trace.csv"]
    assert resumed.summary.result == whole.summary.result


def test_reading_a_run_imports_nothing_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(
        "import pathlib, torch\n"
        "pathlib.Path(__file__).with_name('imported').touch()\n"
        "class Theirs(torch.optim.SGD):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = recorder.record(trial("theirs.Theirs", steps=100), tmp_path / "logs").run
    (tmp_path / "imported").unlink()
    del sys.modules["theirs"]
    assert [found.run_id for found in runs.list_runs(tmp_path / "logs")] == [run.run_id]
    assert len(runs.find_run("last", tmp_path / "logs").read_trace()) == 100
    assert not (tmp_path / "imported").exists()


def test_damaged_runs_are_named(finished: recorder.Recorded, tmp_path: Path) -> None:
    change_line(finished.run.directory / "summary.json", 4, "amsgrad", "adam")
    reasons: list[str] = []
    assert runs.list_runs(tmp_path, reasons.append) == []
    assert reasons == [f"{finished.run.directory / 'summary.json'} is damaged: its checksum is wrong"]
    for content in ("[]", "{}", "nonsense"):
        (finished.run.directory / "summary.json").write_text(content)
        with pytest.raises(Damaged, match=r"summary\.json is damaged"):
            runs.read_run(finished.run.directory)


class Unsaveable(torch.optim.SGD):
    """Keeps what cannot be saved, from its first step on."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.param_groups[0]["how"] = lambda: None
        super().step()


def test_an_optimizer_whose_state_cannot_be_saved_fails_early(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="the optimizer's state cannot be saved"):
        recorder.record(trial("tests.test_runs.Unsaveable", steps=10**6), tmp_path)
    assert runs.list_runs(tmp_path)[0].summary.status == "failed"


def test_a_killed_run_is_told_from_one_under_way(tmp_path: Path) -> None:
    run = recorder.record(trial(steps=400_000, schedule="inv-sqrt"), tmp_path, *interrupt_after(1)).run
    run.summary.model_copy(update={"status": "running", "trace_sha256": None}).write(run.directory)
    with (run.directory / "trace.csv").open("ab") as file:
        file.write(b"65599,0.1,0.")
    killed = runs.read_run(run.directory)
    assert killed.status == "killed"
    assert verifying.verify(killed).first_step is None
    with runs.locked(run.directory):
        assert killed.status == "running"


def test_a_failing_optimizer_keeps_the_trace_so_far(tmp_path: Path) -> None:
    faulty = trial("tests.test_engines.Faulty", engine="torch", steps=100)
    with pytest.raises(RunFailed, match="the optimizer raised ZeroDivisionError at step 9"):
        recorder.record(faulty, tmp_path)
    (run,) = runs.list_runs(tmp_path)
    assert run.summary.status == "failed"
    assert run.summary.reason == "the optimizer raised ZeroDivisionError at step 9: by zero"
    assert run.read_trace().step.tolist() == list(range(10))
    assert verifying.verify(run).first_step is None


def fail_after(calls: int, error: OSError) -> Any:
    made = iter(range(calls))

    def fail(*arguments: Any, original: Any) -> Any:
        if next(made, None) is None:
            raise error
        return original(*arguments)

    return fail


@pytest.mark.parametrize("what", ["fsync", "replace"])
@pytest.mark.parametrize("calls", [0, 1, 3, 4, 5, 8])
def test_a_failing_disk_leaves_what_was_there(
    what: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync or rename fails from some call on: an OSError, and a run that resumes once the disk is well again."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    overrides = {"steps": 400_000, "schedule": "inv-sqrt"}
    whole = recorder.record(trial(**overrides), tmp_path / "whole").run
    with monkeypatch.context() as patch:
        fail = fail_after(calls, OSError(28, "No space left on device"))
        if what == "fsync":
            fsync = os.fsync
            patch.setattr(os, "fsync", lambda handle: fail(handle, original=fsync))
        else:
            rename = Path.replace
            patch.setattr(Path, "replace", lambda path, target: fail(path, target, original=rename))
        with pytest.raises(OSError, match="No space left on device"):
            recorder.record(trial(**overrides), tmp_path / "parts")
    found = runs.list_runs(tmp_path / "parts")
    if found:
        resumed = recorder.resume(found[0]).run
        assert files(resumed.directory)["trace.csv"] == files(whole.directory)["trace.csv"]


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    overrides = {"steps": 400_000, "schedule": "inv-sqrt", "log_every": 140}
    with pytest.raises(ConfigError, match=r"2,857 points need about .* raise log_every"):
        recorder.record(trial(**overrides | {"log_every": 140}), small_disk)
    (small_disk / "filler").write_bytes(b"x" * 100_000)
    whole = recorder.record(trial(**overrides | {"log_every": 260}), tmp_path / "whole").run
    with pytest.raises((OSError, ConfigError)):
        recorder.record(trial(**overrides | {"log_every": 260}), small_disk)
    (small_disk / "filler").unlink()
    found = runs.list_runs(small_disk)
    if found:
        resumed = recorder.resume(found[0]).run
        assert files(resumed.directory)["trace.csv"] == files(whole.directory)["trace.csv"]


def test_a_directory_deleted_during_the_run(tmp_path: Path) -> None:
    def delete(chunk: Chunk) -> None:
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)

    with pytest.raises(OSError, match="No such file or directory"):
        recorder.record(trial(steps=400_000, schedule="inv-sqrt"), tmp_path / "logs", delete)


def test_finding_a_run(finished: recorder.Recorded, tmp_path: Path) -> None:
    run = finished.run
    second = recorder.record(trial("adam", steps=1000), tmp_path).run
    shared = os.path.commonprefix([run.run_id, second.run_id])  # noqa: RUF071
    for reference in (str(run.directory), run.run_id, run.run_id[: len(shared) + 1]):
        assert runs.find_run(reference, tmp_path).run_id == run.run_id
    assert runs.find_run("last", tmp_path).run_id == second.run_id
    assert [found.run_id for found in runs.list_runs(tmp_path)] == [run.run_id, second.run_id]
    with pytest.raises(NoSuchRun, match="no run under"):
        runs.find_run("feedbeef", tmp_path)
    with pytest.raises(NoSuchRun, match="2 runs under"):
        runs.find_run(shared, tmp_path)
    with pytest.raises(NoSuchRun, match="there are no runs"):
        runs.find_run("last", tmp_path / "elsewhere")
    with pytest.raises(NoSuchRun, match=r"is not a run: it has no experiment\.yaml"):
        runs.find_run(str(tmp_path), tmp_path)


def test_a_run_of_a_newer_version(finished: recorder.Recorded) -> None:
    newer = finished.run.summary.model_copy(update={"schema_": 2})
    newer.write(finished.run.directory)
    with pytest.raises(NoSuchRun, match="written by a newer version"):
        runs.read_run(finished.run.directory)


def test_traces_round_trip() -> None:
    trace = Trace(np.array([0, 10**18]), np.array([-0.0, 5e-324]), np.array([1 / 3, 1e308]), np.array([0.1, -1.0]))
    with_intervals = replace(trace, x_halfwidth=np.array([0.1, 0.2]), regret_halfwidth=np.array([0.0, 1e-300]))
    for each in (trace, with_intervals):
        again = trace_csv.parse_trace(trace_csv.format_rows(each, header=True))
        assert list(again.columns) == list(each.columns)
        for name, column in each.columns.items():
            assert again.columns[name].tobytes() == column.tobytes()
