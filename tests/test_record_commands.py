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
from tests.recorded import LONG, trial


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
