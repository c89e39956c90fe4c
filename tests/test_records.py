"""What is read back from a run's directory, what is not believed, and that reading changes nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.output.catalogue import recorded
from amsgrad_exp.records import files as locking
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from amsgrad_exp.records.files import find, locked
from amsgrad_exp.trace import Trace
from tests.recorded import LONG, change_line, files, list_runs, trial
from tests.watching import Watched


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return recorder.record(trial(steps=1000), tmp_path)


def test_reading_a_run_imports_nothing_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(
        "import pathlib, torch\n"
        "pathlib.Path(__file__).with_name('imported').touch()\n"
        "class Theirs(torch.optim.SGD):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = recorder.record(trial("theirs.Theirs", steps=100), tmp_path / "logs")
    (tmp_path / "imported").unlink()
    del sys.modules["theirs"]
    assert [listed.run_id for listed in list_runs(tmp_path / "logs")] == [run.run_id]
    assert len(found("last", tmp_path / "logs").trace) == 100
    assert not (tmp_path / "imported").exists()


def test_damaged_runs_are_named(run: runs.Run, tmp_path: Path) -> None:
    change_line(run.directory / "summary.json", 5, "amsgrad", "adam")
    assert recorded("run", tmp_path)[1:] == (
        [],
        [f"{run.directory / 'summary.json'} is damaged: its checksum is wrong"],
    )
    for content in ("[]", "{}", "nonsense"):
        (run.directory / "summary.json").write_text(content)
        with pytest.raises(Damaged, match=r"summary\.json is damaged"):
            runs.read_run(run.directory)


def found(reference: str, out: Path) -> runs.Run:
    return runs.read_run(find(reference, {"run": out}, ["run"]).directory)


def killed(out: Path) -> runs.Run:
    """A run as a kill leaves it: at work by its own account, with half a line at the end of its trace."""
    run = recorder.record(trial(**LONG), out, Watched(1))
    run.summary.changed(status="running", trace_sha256=None).write(run.directory)
    with (run.directory / "trace.csv").open("ab") as file:
        file.write(b"65599,0.1,0.")
    return runs.read_run(run.directory)


def test_a_killed_run_is_told_from_one_under_way(tmp_path: Path) -> None:
    run = killed(tmp_path)
    assert run.status() == "killed"
    assert verifying.verify(run).first_step is None
    with locked(run.directory):
        assert run.status() == "running"
    assert run.status() == "killed"


def test_asking_for_a_runs_status_writes_nothing(tmp_path: Path) -> None:
    run = killed(tmp_path)
    (run.directory / "lock.pid").write_text("a killed process's")
    before = {path: path.stat().st_mtime_ns for path in run.directory.iterdir()} | files(run.directory)
    assert run.status() == "killed"
    assert {path: path.stat().st_mtime_ns for path in run.directory.iterdir()} | files(run.directory) == before
    for name in ("lock", "lock.pid"):
        (run.directory / name).unlink()
    assert run.status() == "killed"
    assert not (run.directory / "lock").exists()
    assert not (run.directory / "lock.pid").exists()


def test_a_killed_run_is_told_on_a_disk_that_is_only_read(small_disk: Path) -> None:
    run = killed(small_disk)
    for name in ("lock", "lock.pid"):
        (run.directory / name).unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run.status() == "killed"


def test_a_run_is_resumed_beside_one_that_asks_for_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LOCK_SECONDS", 60.0)
    run = killed(tmp_path)
    with (run.directory / "lock").open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert run.status() == "killed"
        answered = threading.Timer(0.2, asking.close)
        answered.start()
        assert recorder.resume(run).status() == "completed"
        answered.join()


def test_a_summary_is_checked_before_it_is_written(run: runs.Run) -> None:
    before = files(run.directory)
    for changes in ({"status": "nonsense"}, {"seconds": "soon"}, {"result": {"x": 0.0}}, {"trace_sha256": 1}):
        with pytest.raises(ValidationError):
            run.summary.changed(**changes)
    with pytest.raises(ValidationError, match="frozen"):
        run.summary.status = "nonsense"  # type: ignore[assignment,misc]
    run.summary.write(run.directory)
    assert files(run.directory) == before


def test_finding_a_run(run: runs.Run, tmp_path: Path) -> None:
    second = recorder.record(trial("adam", steps=1000), tmp_path)
    shared = os.path.commonprefix([run.run_id, second.run_id])  # noqa: RUF071
    for reference in (str(run.directory), run.run_id, run.run_id[: len(shared) + 1]):
        assert found(reference, tmp_path).run_id == run.run_id
    assert found("last", tmp_path).run_id == second.run_id
    assert [listed.run_id for listed in list_runs(tmp_path)] == [run.run_id, second.run_id]
    with pytest.raises(NoSuchRun, match=r"no run under .* has an id"):
        found("feedbeef", tmp_path)
    with pytest.raises(NoSuchRun, match="2 runs under"):
        found(shared, tmp_path)
    with pytest.raises(NoSuchRun, match="there are no runs"):
        found("last", tmp_path / "elsewhere")
    with pytest.raises(NoSuchRun, match=r"is not a run: it has no summary\.json"):
        found(str(tmp_path), tmp_path)


def test_a_run_of_a_newer_version(run: runs.Run) -> None:
    run.summary.model_copy(update={"schema_": 2}).write(run.directory)
    with pytest.raises(NoSuchRun, match="written by a newer version"):
        runs.read_run(run.directory)


def test_traces_round_trip() -> None:
    trace = Trace(np.array([0, 10**18]), np.array([-0.0, 5e-324]), np.array([1 / 3, 1e308]), np.array([0.1, -1.0]))
    with_intervals = replace(trace, x_halfwidth=np.array([0.1, 0.2]), regret_halfwidth=np.array([0.0, 1e-300]))
    for written in (trace, with_intervals):
        again = runs.parse_trace(runs.format_rows(written, header=True), Path("trace.csv"))
        assert list(again.columns) == list(written.columns)
        for name, column in written.columns.items():
            assert again.columns[name].tobytes() == column.tobytes()
