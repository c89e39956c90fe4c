"""Recorded runs run again and compared."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp.errors import Damaged
from amsgrad_exp.output import words
from amsgrad_exp.records import recorder
from amsgrad_exp.records import run as runs
from amsgrad_exp.records import verify_run as verifying
from tests.recorded import LONG, trial
from tests.trials import SEVERAL
from tests.watching import Watched


@pytest.mark.parametrize("problem", ["online", "stochastic", "theorem1"])
@pytest.mark.parametrize("schedule", ["constant", "inv-sqrt"])
@pytest.mark.parametrize("optimizer", [*SEVERAL, "torch.optim.NAdam"])
def test_fresh_runs_verify(optimizer: str, problem: str, schedule: str, tmp_path: Path) -> None:
    length = {"steps": 200_000, "log_every": 200} if optimizer in SEVERAL else {"steps": 2000, "log_every": 2}
    run = recorder.record(trial(optimizer, problem=problem, schedule=schedule, **length), tmp_path)
    verification = verifying.verify(run)
    assert verification.first_step is None
    assert (verification.tolerance, set(verification.differences.values())) == (0.0, {0.0})
    assert verification.points == len(run.trace) == 1000
    assert verification.changed == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", SEVERAL)
def test_the_other_engine_verifies_within_the_tolerance(optimizer: str, dtype: str, tmp_path: Path) -> None:
    run = recorder.record(trial(optimizer, steps=3000, dtype=dtype), tmp_path)
    verification = verifying.verify(run, "torch")
    assert verification.tolerance == verifying.CROSS_ENGINE_TOLERANCE[dtype]
    assert verification.first_step is None
    assert verification.engine == "torch"


def test_an_interrupted_run_verifies_as_far_as_it_came(tmp_path: Path) -> None:
    run = recorder.record(trial(**LONG), tmp_path, Watched(2))
    verification = verifying.verify(run)
    assert verification.first_step is None
    assert 0 < verification.points == len(run.trace) < 800


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return recorder.record(trial(steps=5000, log_every=100, dtype="float64"), tmp_path_factory.mktemp("complete"))


@pytest.fixture
def run(complete: runs.Run) -> Iterator[runs.Run]:
    """A complete run of 50 points, whose trace.csv may be changed: afterwards it is as it was."""
    path = complete.directory / "trace.csv"
    original = path.read_bytes()
    yield runs.read_run(complete.directory)
    path.write_bytes(original)


@settings(max_examples=30)
@given(data=st.data())
def test_any_changed_digit_is_found(complete: runs.Run, data: st.DataObject) -> None:
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


def test_a_shortened_trace_is_found(run: runs.Run) -> None:
    path = run.directory / "trace.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    assert verifying.verify(run).first_step == 4799
    path.write_bytes(b"".join(lines)[:-5])
    with pytest.raises(Damaged, match="first or last line is incomplete"):
        verifying.verify(run)
    path.write_bytes(b"".join(lines[:7]) + b"nonsense\n" + b"".join(lines[7:]))
    with pytest.raises(Damaged, match=r"damaged: row 7 is not 4 numbers"):
        verifying.verify(run)


def checkout(where: Path) -> Path:
    """A clone in little: a git repository with a package and something beside it."""
    package = where / "amsgrad_exp"
    package.mkdir()
    (package / "rule.py").write_text("BETA = 0.9\n")
    (where / "README.md").write_text("A package.\n")
    for arguments in ("init", "add .", "-c user.name=a -c user.email=a@b commit --message=first"):
        subprocess.run(["git", *arguments.split()], cwd=where, check=True, capture_output=True)
    return package


def test_a_record_says_whether_the_checkout_was_as_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = checkout(tmp_path)
    monkeypatch.setattr(runs, "PACKAGE", package)
    monkeypatch.setattr(runs, "_code", runs._code.__wrapped__)  # which is asked once in a process
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


def test_verify_says_what_has_changed_since(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    then = run.summary.sessions[0]
    now = then.model_copy(update={"git_commit": "4f2a-dirty", "code": "9" * 64})
    monkeypatch.setattr(runs.Origin, "here", classmethod(lambda cls, optimizer: now))
    verification = verifying.verify(run)
    assert verification.changed == [
        ("code", then.facts()["code"], "9" * 12),
        ("git commit", then.git_commit or "none", "4f2a-dirty"),
    ]
    said = words.verified(verification)
    assert said.startswith("identical: all 50 logged points, computed again on the compiled engine; code was ")
    assert said.endswith(", is 4f2a-dirty")
