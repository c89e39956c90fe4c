"""Runs that version 0.1.0 recorded, complete and interrupted: read, listed, shown, resumed and verified."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import amsgrad_exp
from amsgrad_exp.cli import records as commands
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify as verifying
from amsgrad_exp.records.checkpoint import Checkpoint
from amsgrad_exp.records.files import sha256
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.sweeps.verify import SLOPE_ERROR

LOGS = Path(__file__).parent / "data" / "0.1.0" / "logs"
STATUS = {
    "complete": "completed",
    "decaying": "interrupted",
    "literal": "interrupted",  # on the torch engine
    "referring": "interrupted",  # between two states that are compared, with one of them in its checkpoint
    "repeating": "interrupted",
    "seeds": "interrupted",
}
INTERRUPTED = [name for name, status in STATUS.items() if status == "interrupted"]


def recorded(name: str) -> runs.Run:
    (directory,) = (LOGS / name).iterdir()
    return runs.read_run(directory)


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> runs.Run:
    """A copy of a record, whose name is the test's parameter, to be gone on with."""
    original = recorded(request.param)
    return runs.read_run(shutil.copytree(original.directory, tmp_path / request.param / original.run_id))


def test_every_record_is_listed_and_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in LOGS.rglob("*") if path.is_file()}
    listed = runs.list_runs(LOGS, on_unreadable=pytest.fail)
    assert {run.trial.name: run.status() for run in listed} == STATUS
    commands.list_("runs", out=LOGS)
    assert capsys.readouterr().out.count("interrupted") == len(INTERRUPTED)
    assert {path: path.read_bytes() for path in LOGS.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", STATUS)
def test_a_record_is_read_and_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(name)
    assert (run.summary.result is not None) == (name == "complete")
    assert len(run.trace) == len((run.directory / "trace.csv").read_text().splitlines()) - 1
    assert run.summary.sessions[0].versions["amsgrad-exp"] == "0.1.0"
    commands.show(run.run_id, out=LOGS)
    shown = capsys.readouterr().out
    assert f"name: {name}" in shown
    assert ("mean x" if name == "complete" else "interrupted") in shown


def test_a_complete_record_verifies() -> None:
    run = recorded("complete")
    verification = verifying.verify(run)
    assert (verification.first_step, verification.points) == (None, 100)
    code = run.summary.sessions[0].facts()["code"]
    assert code == "unknown"
    assert "code" in [name for name, _, _ in verification.changed]


def test_a_complete_record_is_what_a_fresh_run_comes_to(tmp_path: Path) -> None:
    run = recorded("complete")
    fresh = recorder.record(run.trial, tmp_path)
    assert fresh.trace_bytes() == run.trace_bytes()
    assert fresh.summary.result is not None
    since: dict[str, Any] = dict.fromkeys(("evidence", "limit_regret", "cycle_start", "cycle_steps", "limit_predicted"))
    old = run.summary.result
    assert old is not None
    assert fresh.summary.result.regret_slope == pytest.approx(old.regret_slope, abs=SLOPE_ERROR)
    assert replace(fresh.summary.result, regret_slope=old.regret_slope, **since) == old


@pytest.mark.parametrize("copy", INTERRUPTED, indirect=True)
def test_an_interrupted_record_is_resumed_to_what_a_fresh_run_comes_to(copy: runs.Run, tmp_path: Path) -> None:
    fresh = recorder.record(copy.trial, tmp_path / "fresh")
    kept = copy.trace_bytes()
    if copy.trial.engine == "torch" and not fresh.trace_bytes().startswith(kept):
        pytest.skip("torch rounds differently on the processor that this was recorded on")
    chunks: list[int] = []
    resumed = recorder.resume(copy, lambda chunk: chunks.append(chunk.step), on_note=pytest.fail)
    assert min(chunks) > Checkpoint.read(LOGS / copy.trial.name / copy.run_id / "checkpoint").step
    assert resumed.trace_bytes() == fresh.trace_bytes()
    assert resumed.summary.result == fresh.summary.result
    assert len(resumed.summary.sessions) == 2
    assert verifying.verify(resumed).first_step is None


@pytest.mark.parametrize("copy", ["referring"], indirect=True)
def test_a_reference_that_0_1_0_wrote_is_still_compared_with(copy: runs.Run) -> None:
    """With the reference in the checkpoint one cycle more tells that the run repeats itself; without it, two."""
    checkpoint = Checkpoint.read(copy.directory / "checkpoint")
    assert checkpoint.reference is not None
    resumed = recorder.resume(copy)
    assert resumed.summary.result is not None
    assert resumed.summary.result.steps_simulated < checkpoint.step + 60_600


@pytest.mark.parametrize(
    ("optimizer", "regret", "digest"),
    [
        ("adam", 0.4979360423110008, "724477edef5426b4f5656eb34c0918ae0f75d75d42d1e61c06554ad42af50cab"),
        ("amsgrad", 0.33002762526583673, "fa350b547fac0d64c9812f83463807874f11f89f37ec88eda60ae6f028b99852"),
    ],
)
def test_the_reference_experiment_is_the_bytes_it_was(
    optimizer: str, regret: float, digest: str, tmp_path: Path
) -> None:
    """trace.csv at 10⁷ steps, as 0.1.0 wrote it."""
    run = amsgrad_exp.run(resolve({"optimizers": [optimizer]}), tmp_path)
    assert run.result.regret == regret
    assert sha256(run.trace_bytes()) == digest
