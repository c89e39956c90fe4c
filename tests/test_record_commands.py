"""resume and verify as commands."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import typer

from amsgrad_exp.cli import resume_and_show
from amsgrad_exp.output import progress
from amsgrad_exp.records import recorder
from tests.conftest import CommandLine
from tests.pages import a_survivor, an_attack
from tests.recorded import LONG, trial
from tests.sweeping import small, swept


def test_resuming_a_complete_run_says_so_and_shows_its_result(command_line: CommandLine, tmp_path: Path) -> None:
    run = recorder.record(trial(steps=1000), tmp_path / "logs")
    shown = command_line("show", "last").stdout
    done = command_line("resume", "last")
    assert done.returncode == 0
    assert done.stderr == f"{run.directory} is complete: there is nothing to resume\n"
    assert "R(T)/T" in done.stdout
    assert shown.startswith(done.stdout)
    (document,) = json.loads(command_line("resume", "last", "--json").stdout)["runs"]
    assert document == run.document()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verify_is_interrupted_in_the_middle(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.record(trial(**LONG), tmp_path)
    done: list[int] = []

    def interrupt(bar: progress.Bar, label: str, steps: int, *_: Any) -> None:
        done.append(steps)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(progress.Bar, "update", interrupt)
    with pytest.raises(typer.Exit) as ended:
        resume_and_show.verify("last", out=tmp_path)
    assert (ended.value.exit_code, len(done)) == (128 + number, 1)
    assert capsys.readouterr().out == ""


def test_last_is_the_newest_record_that_a_command_takes(in_process: CommandLine, tmp_path: Path) -> None:
    run = recorder.record(trial(steps=1000), tmp_path / "logs")
    sweep = swept(small(), tmp_path / "sweeps")
    attack = an_attack(tmp_path / "attacks")
    assert "60 of 60 cells done" in in_process("verify", "last").stdout
    assert run.run_id in in_process("show", "last").stdout
    refused = in_process("resume", "last", "--json")
    assert (refused.returncode, "--json is for runs, and this is a sweep" in refused.stderr) == (2, True)
    for command in ("show", "verify"):
        refused = in_process(command, attack.name)
        assert refused.returncode == 2
        assert f"{attack.name} is an attack, not a run" in refused.stderr
        assert f"amsgrad-exp report {attack.name} shows it" in refused.stderr
    os.utime(sweep.directory / "sweep.yaml", (0, 0))
    assert "1,000 points run again" in " ".join(in_process("verify", "last").stdout.split())


def test_attacks_are_listed(in_process: CommandLine, tmp_path: Path) -> None:
    none = in_process("list", "attacks")
    assert (none.returncode, none.stderr) == (0, "no attacks under attacks\n")
    an_attack(tmp_path / "attacks")
    a_survivor(tmp_path / "other")
    assert in_process("list", "attacks").stdout.split()[-3:] == ["adam", "1,000", "fails"]
    assert in_process("list", "attacks", "--out", "other").stdout.split()[-3:] == ["adam", "1,000", "survives"]
