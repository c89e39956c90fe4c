"""Tests of reading and verifying recorded runs: their status, damaged files, changed numbers and changed code."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.output import words
from amsgrad_exp.output.catalogue import recorded
from amsgrad_exp.records import files as locking
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from amsgrad_exp.records.files import find, locked
from amsgrad_exp.trace import Trace
from tests.recorded import LONG, change_line, files, list_runs, trial
from tests.trials import SEVERAL
from tests.watching import Watched


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return recorder.record(trial(steps=1000), tmp_path)


def test_reading_a_run_does_not_import_its_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_damaged_summary_is_named(run: runs.Run, tmp_path: Path) -> None:
    change_line(run.directory / "summary.json", 5, "amsgrad", "adam")
    reason = f"{run.directory / 'summary.json'} is damaged: its checksum is wrong"
    assert recorded("run", tmp_path)[1:] == ([], [reason])
    for content in ("[]", "{}", "nonsense"):
        (run.directory / "summary.json").write_text(content)
        with pytest.raises(Damaged, match=r"summary\.json is damaged"):
            runs.read_run(run.directory)


def found(reference: str, out: Path) -> runs.Run:
    return runs.read_run(find(reference, {"run": out}, ["run"]).directory)


def killed(out: Path) -> runs.Run:
    """A run as a kill leaves it: its summary says running, and its trace ends with half a line."""
    run = recorder.record(trial(**LONG), out, Watched(1))
    run.summary.changed(status="running", trace_sha256=None).write(run.directory)
    with (run.directory / "trace.csv").open("ab") as file:
        file.write(b"65599,0.1,0.")
    return runs.read_run(run.directory)


def test_a_killed_run_is_not_mistaken_for_a_running_one_and_verifies(tmp_path: Path) -> None:
    run = killed(tmp_path)
    assert run.status() == "killed"
    verification = verifying.verify(run)
    assert (verification.first_step, verification.points) == (None, len(run.trace))
    assert 0 < len(run.trace) < 800
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


def test_a_killed_run_is_recognized_on_a_read_only_disk(small_disk: Path) -> None:
    run = killed(small_disk)
    for name in ("lock", "lock.pid"):
        (run.directory / name).unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run.status() == "killed"


def test_a_run_is_resumed_while_its_status_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LOCK_SECONDS", 60.0)
    run = killed(tmp_path)
    with (run.directory / "lock").open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert run.status() == "killed"
        answered = threading.Timer(0.2, asking.close)
        answered.start()
        assert recorder.resume(run).status() == "completed"
        answered.join()


def test_a_summary_is_validated_before_it_is_written(run: runs.Run) -> None:
    before = files(run.directory)
    for changes in ({"status": "nonsense"}, {"seconds": "soon"}, {"result": {"x": 0.0}}, {"trace_sha256": 1}):
        with pytest.raises(ValidationError):
            run.summary.changed(**changes)
    with pytest.raises(ValidationError, match="frozen"):
        run.summary.status = "nonsense"  # type: ignore[assignment,misc]
    run.summary.write(run.directory)
    assert files(run.directory) == before


def test_a_run_is_found_by_its_directory_its_id_or_as_the_last(run: runs.Run, tmp_path: Path) -> None:
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


def test_a_run_of_a_newer_version_is_rejected(run: runs.Run) -> None:
    run.summary.model_copy(update={"schema_": 2}).write(run.directory)
    with pytest.raises(NoSuchRun, match="written by a newer version"):
        runs.read_run(run.directory)


def test_a_trace_reads_back_as_written() -> None:
    trace = Trace(np.array([0, 10**18]), np.array([-0.0, 5e-324]), np.array([1 / 3, 1e308]), np.array([0.1, -1.0]))
    with_intervals = replace(trace, x_halfwidth=np.array([0.1, 0.2]), regret_halfwidth=np.array([0.0, 1e-300]))
    for written in (trace, with_intervals):
        again = runs.parse_trace(runs.format_rows(written, header=True), Path("trace.csv"))
        assert list(again.columns) == list(written.columns)
        for name, column in written.columns.items():
            assert again.columns[name].tobytes() == column.tobytes()


PROBLEMS = [("online", "constant"), ("stochastic", "inv-sqrt"), ("theorem1", "constant")]
VERIFIED = [(optimizer, *problem) for optimizer in SEVERAL for problem in PROBLEMS]


@pytest.mark.parametrize(("optimizer", "problem", "schedule"), [*VERIFIED, ("torch.optim.NAdam", *PROBLEMS[1])])
def test_a_new_record_verifies_with_no_difference(optimizer: str, problem: str, schedule: str, tmp_path: Path) -> None:
    length = {"steps": 200_000, "log_every": 200} if optimizer in SEVERAL else {"steps": 2000, "log_every": 2}
    run = recorder.record(trial(optimizer, problem=problem, schedule=schedule, **length), tmp_path)
    verification = verifying.verify(run)
    assert verification.first_step is None
    assert (verification.tolerance, set(verification.differences.values())) == (0.0, {0.0})
    assert verification.points == len(run.trace) == 1000
    assert verification.changed == []


@pytest.mark.parametrize(("optimizer", "dtype"), [("adam", "float32"), ("amsgrad", "float64"), ("adashift", "float32")])
def test_the_other_engine_verifies_within_the_tolerance(optimizer: str, dtype: str, tmp_path: Path) -> None:
    run = recorder.record(trial(optimizer, steps=3000, dtype=dtype), tmp_path)
    verification = verifying.verify(run, "torch")
    assert verification.tolerance == verifying.CROSS_ENGINE_TOLERANCE[dtype]
    assert verification.first_step is None
    assert verification.engine == "torch"


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return recorder.record(trial(steps=5000, log_every=100, dtype="float64"), tmp_path_factory.mktemp("complete"))


@pytest.fixture
def changeable(complete: runs.Run) -> Iterator[runs.Run]:
    """A complete run of 50 points; a test may change its trace.csv, which is restored afterwards."""
    path = complete.directory / "trace.csv"
    original = path.read_bytes()
    yield runs.read_run(complete.directory)
    path.write_bytes(original)


@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_digit_is_found_wherever_it_is(complete: runs.Run, data: st.DataObject) -> None:
    path = complete.directory / "trace.csv"
    original = path.read_bytes()
    digits = [at for at in range(original.index(b"\n"), len(original)) if original[at : at + 1].isdigit()]
    at = data.draw(st.sampled_from(digits))
    digit = data.draw(st.sampled_from([d for d in b"0123456789" if d != original[at]]))
    try:
        path.write_bytes(original[:at] + bytes([digit]) + original[at + 1 :])
        step = original[: original.index(b"\n", at)].count(b"\n") * 100 - 1
        assert verifying.verify(complete).first_step == step
        with pytest.raises(Damaged, match="its checksum is wrong"):
            assert runs.read_run(complete.directory).trace
    finally:
        path.write_bytes(original)


def test_a_trace_that_lacks_or_has_other_lines_is_rejected(changeable: runs.Run) -> None:
    path = changeable.directory / "trace.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    assert verifying.verify(changeable).first_step == 4799
    path.write_bytes(b"".join(lines)[:-5])
    with pytest.raises(Damaged, match="first or last line is incomplete"):
        verifying.verify(changeable)
    path.write_bytes(b"".join(lines[:7]) + b"nonsense\n" + b"".join(lines[7:]))
    with pytest.raises(Damaged, match=r"damaged: row 7 is not 4 numbers"):
        verifying.verify(changeable)


def checkout(where: Path) -> Path:
    """A small git repository with a package and another file."""
    package = where / "amsgrad_exp"
    package.mkdir()
    (package / "rule.py").write_text("BETA = 0.9\n")
    (where / "README.md").write_text("A package.\n")
    for arguments in ("init", "add .", "-c user.name=a -c user.email=a@b commit --message=first"):
        subprocess.run(["git", *arguments.split()], cwd=where, check=True, capture_output=True)
    return package


def test_a_record_says_if_the_code_differs_from_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = checkout(tmp_path)
    monkeypatch.setattr(runs, "PACKAGE", package)
    monkeypatch.setattr(runs, "_code", runs._code.__wrapped__)  # without its cache
    origin = runs.Origin.here
    clean = origin()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert clean.git_commit == head.stdout.strip()
    assert origin() == clean
    index = (tmp_path / ".git" / "index").stat().st_mtime_ns
    (package / "rule.py").write_text("BETA = 0.8\n")
    dirty = origin()
    assert dirty.git_commit == f"{clean.git_commit}-dirty"
    assert [name for name, _, _ in clean.differences(dirty)] == ["code", "git commit"]
    (package / "rule.py").write_text("BETA = 0.7\n")
    assert [name for name, _, _ in dirty.differences(origin())] == ["code"]
    (package / "rule.py").write_text("BETA = 0.9\n")
    (package / "untracked.py").touch()
    assert [name for name, _, _ in clean.differences(origin())] == ["code"]
    assert (tmp_path / ".git" / "index").stat().st_mtime_ns == index


def test_verify_says_what_has_changed_since_the_run(changeable: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    then = changeable.summary.sessions[0]
    now = then.model_copy(update={"git_commit": "4f2a-dirty", "code": "9" * 64})
    monkeypatch.setattr(runs.Origin, "here", classmethod(lambda cls, optimizer: now))
    verification = verifying.verify(changeable)
    assert verification.changed == [
        ("code", then.facts()["code"], "9" * 12),
        ("git commit", then.git_commit or "none", "4f2a-dirty"),
    ]
    said = words.verified(verification)
    assert said.startswith(
        "identical: all 50 logged points, computed again on the compiled engine; changed since then: code was "
    )
    assert said.endswith(", is 4f2a-dirty")
