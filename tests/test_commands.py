"""Tests of what commands print on a terminal and in a pipe, and of which records they find."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import types
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

NAME = "an-optimizer-with-a-name-that-is-longer-than-any-column-of-a-terminal-of-eighty"


def on_a_terminal(arguments: list[str], tmp_path: Path, columns: int = 80, shown_after: float = 0.0) -> str:
    """What a command writes to a terminal of this width, if a run's progress is shown after so many seconds."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    program = (
        f"from amsgrad_exp import cli\nfrom amsgrad_exp.output import progress\n"
        f"progress.RUN_SHOWN_AFTER = {shown_after}\ncli.main()\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=child, stderr=child, env=env)
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0, seen
    os.close(parent)
    return seen.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_progress_is_shown_on_a_terminal(columns: int, tmp_path: Path) -> None:
    (tmp_path / "labelled.yaml").write_text("problem: stochastic\noptimizers: [{name: adam, label: 'mine [/b]'}]\n")
    seen = on_a_terminal("run --config labelled.yaml --steps 2e6".split(), tmp_path, columns)
    bar, table = seen.split("optimizer", 1)
    assert "mine [/b]" in table
    assert "mine" in bar
    assert columns == 40 or ("mine [/b]" in bar and "steps/s" in bar and "R(T)/T" in bar)


def test_a_short_run_shows_no_progress(tmp_path: Path) -> None:
    assert "steps/s" not in on_a_terminal(["run", "--steps", "1000"], tmp_path, shown_after=60)


def test_a_sweep_shows_its_progress_from_the_start(tmp_path: Path) -> None:
    seen = on_a_terminal("sweep --grid lr=0.1,0.2 --steps 1000 --no-figure".split(), tmp_path)
    assert "0/4 cells" in seen


def test_all_options_take_numbers_in_the_forms_of_yaml(in_process: CommandLine) -> None:
    numbers = ["--steps=1e2", "--lr=1_0.0e-3", "--beta1=0e0", "--seed=0x10", "--log-every=010", "--set=period=0o5"]
    done = in_process("run", "--optimizer=torch.optim.SGD", *numbers, "--option=weight_decay=1e-2", "--json")
    assert done.returncode == 2  # SGD takes no β1
    numbers.remove("--beta1=0e0")
    assert in_process("run", "--optimizer=torch.optim.SGD", *numbers, "--option=weight_decay=1e-2").returncode == 0
    shown = in_process("show", "last").stdout
    for fact in ("steps: 100\n", "lr: 0.01\n", "seed: 16\n", "log_every: 10\n", "period: 5\n", "weight_decay: 0.01\n"):
        assert fact in shown


def test_a_table_in_a_pipe_is_not_folded_or_cut(in_process: CommandLine, tmp_path: Path) -> None:
    """Rows are folded on a terminal only."""
    entries = f"[{{name: adam, label: {NAME}}}, {{name: amsgrad, label: {NAME}-2, options: {{dialect: paper}}}}]"
    (tmp_path / "long.yaml").write_text(f"name: {NAME}\nsteps: 100\noptimizers: {entries}\n")
    compared = in_process("compare", "--config", "long.yaml", "--no-figure").stdout
    assert [line.split()[0] for line in compared.splitlines()[2:]] == [NAME, f"{NAME}-2"]
    runs = in_process("list", "runs").stdout.splitlines()[1:]
    assert [NAME in line and "completed" in line for line in runs] == [True, True]
    in_process("sweep", "--config", "long.yaml", "--grid", "beta2=0.9,0.99", "--no-figure", "--quiet")
    assert any(NAME in line and "4/4" in line for line in in_process("list", "sweeps").stdout.splitlines())
    listed = in_process("list", "optimizers").stdout.splitlines()
    assert any(line.startswith("adashift") and "n=10" in line for line in listed)
    assert str(tmp_path) in in_process("show", "last").stdout
    assert max(map(len, on_a_terminal(["list", "runs"], tmp_path, 80).splitlines()[1:])) <= 80


def test_an_option_may_be_infinite(in_process: CommandLine) -> None:
    grid = ["--grid", "lr=0.1,0.2", "--steps", "20", "--no-figure", "--quiet"]
    options = ["--optimizer=torch.optim.Rprop", "--option=step_sizes=[1e-6, .inf]"]
    assert in_process("sweep", *options, *grid).returncode == 0
    assert in_process("run", *options, "--steps", "20").returncode == 0
    assert in_process("verify", "last").returncode == 0


def test_a_full_disk_is_rejected(in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=300_000))
    done = in_process("run", "--steps", "1e5", "--log-every", "10")
    assert done.returncode == 2
    assert "10,000 points need about 2.0 MB and logs has 0.3 MB: raise log_every" in done.stderr


def test_list_sweeps_reports_a_sweep_that_cannot_be_read(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("sweep", "--grid", "beta2=0.9,0.99", "--steps", "100", "--no-figure", "--quiet")
    (database,) = tmp_path.glob("sweeps/*/*/results.sqlite")
    locked = sqlite3.connect(database, isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")
    done = in_process("list", "sweeps")
    assert "database is locked" in done.stderr
    assert "no sweeps" not in done.stderr
    locked.close()
    assert in_process("list", "runs").stderr == "no runs under logs\n"


def test_a_plot_in_an_ascii_locale_has_no_question_marks(command_line: CommandLine, in_process: CommandLine) -> None:
    in_process("run", "--steps", "1e4", "--quiet")
    done = command_line("show", "last", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    plot = done.stdout.split("fast_forward")[1]
    assert done.returncode == 0
    assert "?" not in plot
    assert plot.count("*") > 10


def test_show_and_plot_of_a_sweep_refer_to_report(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("sweep", "--grid", "beta2=0.9,0.99", "--steps", "100", "--no-figure", "--quiet")
    (directory,) = tmp_path.glob("sweeps/*/*/")
    for reference in (str(directory), directory.name, directory.name[:8]):
        for command in ("show", "plot"):
            done = in_process(command, reference)
            assert done.returncode == 2
            assert f"{reference} is a sweep, not a run: amsgrad-exp report {reference} shows it" in done.stderr


@pytest.mark.parametrize("name", ["foo.png", "foo.PNG", "foo.svg", "foo", "foo.v1"])
def test_a_figure_is_named_as_given_with_one_suffix(name: str, in_process: CommandLine, tmp_path: Path) -> None:
    in_process("run", "--steps", "100", "--quiet")
    assert in_process("plot", "last", "--figure", name).returncode == 0
    stem = "foo.v1" if name == "foo.v1" else "foo"
    assert {path.name for path in tmp_path.glob("foo*")} == {f"{stem}.png", f"{stem}.svg"}


def test_a_report_creates_a_directory_if_its_name_ends_with_a_slash(in_process: CommandLine, tmp_path: Path) -> None:
    assert in_process("report", "last", "--out", "new/").returncode == 2
    assert not (tmp_path / "new").exists()
    in_process("run", "--steps", "100", "--quiet")
    assert in_process("report", "last", "--out", "new/").returncode == 0
    assert (tmp_path / "new" / "report.html").is_file()
    done = in_process("report", "last", "--out", "no/where.html")
    assert (done.returncode, "there is no directory no" in done.stderr) == (2, True)


def test_a_run_without_one_of_its_files_is_damaged(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("run", "--steps", "100", "--quiet")
    (directory,) = (path.parent for path in tmp_path.glob("logs/*/*/summary.json"))
    for name in ("summary.json", "trace.csv", "experiment.yaml"):
        content = (directory / name).read_bytes()
        (directory / name).unlink()
        done = in_process("show", str(directory))
        assert (done.returncode, f"{directory} is damaged: it has no {name}" in done.stderr) == (1, True)
        assert in_process("verify", str(directory)).returncode == 4
        (directory / name).write_bytes(content)
    assert in_process("show", str(tmp_path)).returncode == 2


def test_resuming_a_complete_run_prints_its_result_and_changes_nothing(in_process: CommandLine, tmp_path: Path) -> None:
    run = recorder.record(trial(steps=1000), tmp_path / "logs")
    before = {path: path.stat().st_mtime_ns for path in run.directory.iterdir()}
    shown = in_process("show", "last").stdout
    done = in_process("resume", "last")
    assert done.returncode == 0
    assert done.stderr == f"{run.directory} is complete: there is nothing to resume\n"
    assert "R(T)/T" in done.stdout
    assert shown.startswith(done.stdout)
    (document,) = json.loads(in_process("resume", "last", "--json").stdout)["runs"]
    assert document == run.document()
    assert {path: path.stat().st_mtime_ns for path in run.directory.iterdir()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verify_can_be_interrupted(
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


def test_last_is_the_newest_record_of_a_kind_that_the_command_takes(in_process: CommandLine, tmp_path: Path) -> None:
    run = recorder.record(trial(steps=1000), tmp_path / "logs")
    sweep = swept(small(), tmp_path / "sweeps")
    attack = an_attack(tmp_path / "attacks")
    assert "60 of 60 cells done" in in_process("verify", "last").stdout
    assert run.run_id in in_process("show", "last").stdout
    rejected = in_process("resume", "last", "--json")
    assert (rejected.returncode, "--json is for runs, and this is a sweep" in rejected.stderr) == (2, True)
    for command in ("show", "verify"):
        rejected = in_process(command, attack.name)
        assert rejected.returncode == 2
        assert f"{attack.name} is an attack, not a run" in rejected.stderr
        assert f"amsgrad-exp report {attack.name} shows it" in rejected.stderr
    os.utime(sweep.directory / "sweep.yaml", (0, 0))
    assert "1,000 logged points, computed again" in " ".join(in_process("verify", "last").stdout.split())


def test_attacks_are_listed(in_process: CommandLine, tmp_path: Path) -> None:
    none = in_process("list", "attacks")
    assert (none.returncode, none.stderr) == (0, "no attacks under attacks\n")
    an_attack(tmp_path / "attacks")
    a_survivor(tmp_path / "other")
    assert in_process("list", "attacks").stdout.split()[-3:] == ["adam", "1,000", "fails"]
    assert in_process("list", "attacks", "--out", "other").stdout.split()[-3:] == ["adam", "1,000", "survives"]
