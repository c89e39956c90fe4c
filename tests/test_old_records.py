"""Tests that records of versions 0.1.0 and 0.2.0 can still be read, listed, shown, resumed and verified."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import amsgrad_exp
from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.cli import resume_and_show as commands
from amsgrad_exp.errors import NotVerified
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from amsgrad_exp.records.files import sha256
from amsgrad_exp.records.recorder import Checkpoint
from amsgrad_exp.report import attack_page
from amsgrad_exp.report.page import render
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.sweeps.sweeping import SLOPE_ERROR, Verification
from tests.recorded import list_runs
from tests.sweeping import change, curves, resumed, rows, swept, verified
from tests.watching import Watched

DATA = Path(__file__).parent / "data"
COMPLETE = ("0.1.0/complete", "0.2.0/complete", "0.2.0/compared/adam", "0.2.0/compared/amsgrad")
INTERRUPTED = (
    "0.1.0/decaying",
    "0.1.0/literal",  # on the torch engine
    "0.1.0/referring",  # its checkpoint has a state with which later ones are compared
    "0.1.0/repeating",
    "0.1.0/seeds",
    "0.2.0/decaying",
    "0.2.0/imported",  # on the torch engine
    "0.2.0/referring",
    "0.2.0/seeds",
)
LOGS = [DATA / version / "logs" for version in ("0.1.0", "0.2.0")]


def recorded(record: str) -> runs.Run:
    version, name, *optimizers = record.split("/")
    found = [runs.read_run(directory) for directory in (DATA / version / "logs" / name).iterdir()]
    (run,) = (run for run in found if run.summary.optimizer in (optimizers or [run.summary.optimizer]))
    return run


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> runs.Run:
    """A copy of the record that the test's parameter names, to be resumed."""
    original = recorded(request.param)
    return runs.read_run(shutil.copytree(original.directory, tmp_path / original.trial.name / original.run_id))


def test_every_record_is_listed_and_not_changed(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in DATA.rglob("*") if path.is_file()}
    listed = [run for logs in LOGS for run in list_runs(logs)]
    known = dict.fromkeys(COMPLETE, "completed") | dict.fromkeys(INTERRUPTED, "interrupted")
    assert {run.directory: run.status() for run in listed} == {recorded(name).directory: known[name] for name in known}
    for logs in LOGS:
        commands.list_("runs", out=logs)
    assert capsys.readouterr().out.count("interrupted") == len(INTERRUPTED)
    assert {path: path.read_bytes() for path in DATA.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", [*COMPLETE, *INTERRUPTED])
def test_a_record_is_read_and_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(name)
    assert (run.summary.result is not None) == (name in COMPLETE)
    assert len(run.trace) == len((run.directory / "trace.csv").read_text().splitlines()) - 1
    assert name.startswith(run.summary.sessions[0].versions["amsgrad-exp"])
    commands.show(run.run_id, out=run.directory.parents[1])
    shown = capsys.readouterr().out
    assert f"name: {run.trial.name}" in shown
    assert ("mean x" if name in COMPLETE else "interrupted") in shown


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_record_verifies_and_equals_a_new_run(name: str, tmp_path: Path) -> None:
    run = recorded(name)
    verification = verifying.verify(run)
    assert (verification.first_step, verification.points) == (None, 100)
    if name.startswith("0.1.0"):
        assert run.summary.sessions[0].facts()["code"] == "unknown"
        assert "code" in [name for name, _, _ in verification.changed]
    fresh = recorder.record(run.trial, tmp_path)
    assert fresh.trace_bytes() == run.trace_bytes()
    assert fresh.summary.result is not None
    since: dict[str, Any] = dict.fromkeys(("evidence", "limit_regret", "cycle_start", "cycle_steps", "limit_predicted"))
    old = run.summary.result
    assert old is not None
    slope = old.regret_slope if old.regret_slope is None else pytest.approx(old.regret_slope, abs=SLOPE_ERROR)
    assert fresh.summary.result.regret_slope == slope
    unknown = since if name.startswith("0.1.0") else {}
    assert replace(fresh.summary.result, regret_slope=old.regret_slope, **unknown) == old


@pytest.mark.parametrize("copy", INTERRUPTED, indirect=True)
def test_a_resumed_record_equals_a_new_run(copy: runs.Run, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fresh = recorder.record(copy.trial, tmp_path / "fresh")
    kept = copy.trace_bytes()
    if copy.summary.engine == "torch" and not fresh.trace_bytes().startswith(kept):
        pytest.skip("torch rounds differently on the processor that this was recorded on")
    checkpoint = Checkpoint.read(copy.directory / "checkpoint")
    watch = Watched()
    resumed = recorder.resume(copy, watch)
    assert min(watch.done) > checkpoint.step
    assert not watch.notes
    assert resumed.trace_bytes() == fresh.trace_bytes()
    assert resumed.summary.result == fresh.summary.result
    assert len(resumed.summary.sessions) == 2
    assert verifying.verify(resumed).first_step is None


@pytest.mark.parametrize("copy", ["0.1.0/referring"], indirect=True)
def test_the_state_in_a_checkpoint_of_0_1_0_is_compared_with_later_ones(copy: runs.Run) -> None:
    """With it, one more cycle shows that the run repeats itself; without it, two would be needed."""
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
def test_the_reference_experiment_is_as_in_0_1_0(optimizer: str, regret: float, digest: str, tmp_path: Path) -> None:
    run = amsgrad_exp.run(resolve({"optimizers": [optimizer]}), tmp_path)
    assert run.result.regret == regret
    assert sha256(run.trace_bytes()) == digest


def old_sweep(name: str, tmp_path: Path) -> Path:
    """A copy of an old sweep."""
    (old,) = (DATA / name).iterdir()
    return Path(shutil.copytree(old, tmp_path / old.name))


def test_old_sweeps_verify(tmp_path: Path) -> None:
    """Sweeps of 0.1.0 have no checksums, so that every cell is computed again; slopes are compared to nine digits."""
    sweep = old_sweep("0.2.0/sweeps/whole", tmp_path)
    assert verified(sweep, every_cell=True) == Verification(cells=30, rows=30, recomputed=30, checksums=True)
    sweep = old_sweep("0.1.0/sweeps/whole", tmp_path)
    change(sweep, "UPDATE cells SET regret_slope = regret_slope + 1e-12 WHERE cell = 323")
    assert verified(sweep) == Verification(cells=400, rows=400, recomputed=400, checksums=False)
    for column, by in (("regret_slope", 1e-6), ("mean_x", 1e-9)):
        change(sweep, f"UPDATE cells SET {column} = {column} + {by} WHERE cell = 323")
        with pytest.raises(NotVerified, match=rf"^cell 323 .*: {column} is .*, and .* in its row$"):
            verified(sweep)
        change(sweep, f"UPDATE cells SET {column} = {column} - {by} WHERE cell = 323")


def assert_equal_rows(one: Path, other: Path) -> None:
    """Except for slopes, whose last digits differ between processors, and checksums."""
    names = set(rows(one)[0]) - {"regret_slope", "sha256"}
    assert [{name: row[name] for name in names} for row in rows(one)] == [
        {name: row[name] for name in names} for row in rows(other)
    ]


def test_resumed_sweeps_and_gauntlets_equal_new_ones(tmp_path: Path) -> None:
    whole, parts = (old_sweep(f"0.1.0/sweeps/{name}", tmp_path) for name in ("whole", "parts"))
    assert len(rows(parts)) == 256
    assert resumed(parts).complete
    assert_equal_rows(whole, parts)
    assert verified(parts).recomputed == 400
    gauntlet = old_sweep("0.2.0/sweeps/parts", tmp_path)
    assert len(rows(gauntlet)) == len(curves(gauntlet)) == 4
    fresh = swept(resumed(gauntlet).sweep, tmp_path / "fresh").directory
    assert_equal_rows(gauntlet, fresh)
    assert curves(gauntlet) == curves(fresh)
    assert verified(gauntlet, every_cell=True).recomputed == 12


def test_an_attack_of_0_2_0_is_read_and_its_runs_verify() -> None:
    """The data have two of its runs; its page says that the others are missing."""
    (directory,) = (DATA / "0.2.0" / "attacks" / "adam").iterdir()
    record = Attack.read(directory)
    assert record.counterexample
    assert record.counterexample.slopes == (4, -1, -1, -1)
    confirming = [runs.read_run(path) for path in (directory / "counterexample").iterdir()]
    assert {run.run_id for run in confirming} < set(record.counterexample.runs or ())
    for run in confirming:
        assert verifying.verify(run).first_step is None
    page = render(attack_page.page(directory))
    assert "4 once, −1 three times" in page
    assert "22 are missing" in page
