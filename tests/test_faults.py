"""Inputs, most of them after public bug reports of other tools, to which the command line once gave a poor answer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.test_terminal import on_a_terminal

LONG = "an-optimizer-with-a-name-that-is-longer-than-any-column-of-a-terminal-of-eighty"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--lr", "1", "--lr", "2"], "--lr is given 2 times"),
        (["sweep", "--grid", "lr=1,2", "--steps=1", "--steps=2"], "--steps is given 2 times"),
        (["run", "--out", ""], "--out needs a value, not ''"),
        (["compare", "--optimizer", "adam", "--optimizer="], "--optimizer needs a value, not ''"),
        (
            ["run", "--optimizer", "amsgrad", "--option", "lam=0.9"],
            "lam requires beta1_decay=geometric",
        ),
        (["run", "--optimizer", "amsgrad", "--option", "lam=0.99"], "lam requires beta1_decay=geometric"),
        (
            ["run", "--set", "low=-inf"],
            "Problems without ends are adashift-sequential, adashift-stochastic",
        ),
        (["run", "--set", "high=.inf"], "must be a finite number, not inf. Problems without ends are"),
        (["attack", "--optimizer", "adam", "--problems", "1.5"], "a whole number is needed, not '1.5'"),
        (["attack", "--optimizer", "adam", "--seconds", "0"], "it must be at least 0.1, not 0"),
        (["sweep", "--grid", "lr=1,2", "--jobs", "1e9"], "it must be between 1 and 1024, not 1e9"),
    ],
)
def test_what_is_rejected_and_why(arguments: list[str], message: str, in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_numbers_are_the_same_in_every_option(in_process: CommandLine) -> None:
    """--steps, --lr, --set, --option, --grid and --seeds take the forms that YAML files take."""
    numbers = ["--steps=1e2", "--lr=1_0.0e-3", "--beta1=0e0", "--seed=0x10", "--log-every=010", "--set=period=0o5"]
    done = in_process("run", "--optimizer=torch.optim.SGD", *numbers, "--option=weight_decay=1e-2", "--json")
    assert done.returncode == 2  # SGD takes no β1
    numbers.remove("--beta1=0e0")
    assert in_process("run", "--optimizer=torch.optim.SGD", *numbers, "--option=weight_decay=1e-2").returncode == 0
    shown = in_process("show", "last").stdout
    for fact in ("steps: 100\n", "lr: 0.01\n", "seed: 16\n", "log_every: 10\n", "period: 5\n", "weight_decay: 0.01\n"):
        assert fact in shown


def test_a_piped_table_is_neither_folded_nor_cut(in_process: CommandLine, tmp_path: Path) -> None:
    """Only a terminal folds; where there is none, every row is one line, whatever COLUMNS says."""
    entries = f"[{{name: adam, label: {LONG}}}, {{name: amsgrad, label: {LONG}-2, options: {{dialect: paper}}}}]"
    (tmp_path / "long.yaml").write_text(f"name: {LONG}\nsteps: 100\noptimizers: {entries}\n")
    compared = in_process("compare", "--config", "long.yaml", "--no-figure").stdout
    assert [line.split()[0] for line in compared.splitlines()[2:]] == [LONG, f"{LONG}-2"]
    assert [LONG in line and "completed" in line for line in in_process("list", "runs").stdout.splitlines()[1:]] == [
        True,
        True,
    ]
    in_process("sweep", "--config", "long.yaml", "--grid", "beta2=0.9,0.99", "--no-figure", "--quiet")
    assert any(LONG in line and "4/4" in line for line in in_process("list", "sweeps").stdout.splitlines())
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


def test_a_small_disk_is_said_to_be_small(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Disk)
    done = in_process("run", "--steps", "1e5", "--log-every", "10")
    assert done.returncode == 2
    assert "10,000 points need about 2.0 MB and logs has 0.3 MB: raise log_every" in done.stderr


class _Disk:
    free = 300_000


def test_a_sweep_that_cannot_be_read_is_not_said_to_be_none(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("sweep", "--grid", "beta2=0.9,0.99", "--steps", "100", "--no-figure", "--quiet")
    (database,) = tmp_path.glob("sweeps/*/*/results.sqlite")
    locked = sqlite3.connect(database, isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")
    done = in_process("list", "sweeps")
    assert "database is locked" in done.stderr
    assert "no sweeps" not in done.stderr
    locked.close()
    assert in_process("list", "runs").stderr == "no runs under logs\n"


def test_a_plot_in_an_ascii_locale_has_no_question_marks(command_line: CommandLine) -> None:
    command_line("run", "--steps", "1e4", "--quiet")
    done = command_line("show", "last", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    plot = done.stdout.split("fast_forward")[1]
    assert done.returncode == 0
    assert "?" not in plot
    assert plot.count("*") > 10


def test_show_and_plot_of_a_sweep_say_what_shows_it(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("sweep", "--grid", "beta2=0.9,0.99", "--steps", "100", "--no-figure", "--quiet")
    (directory,) = tmp_path.glob("sweeps/*/*/")
    for reference in (str(directory), directory.name, directory.name[:8]):
        for command in ("show", "plot"):
            done = in_process(command, reference)
            assert done.returncode == 2
            assert f"{reference} is a sweep, not a run: amsgrad-exp report {reference} shows it" in done.stderr


@pytest.mark.parametrize("name", ["foo.png", "foo.PNG", "foo.svg", "foo", "foo.v1"])
def test_a_figure_has_one_suffix(name: str, in_process: CommandLine, tmp_path: Path) -> None:
    in_process("run", "--steps", "100", "--quiet")
    assert in_process("plot", "last", "--figure", name).returncode == 0
    stem = "foo.v1" if name == "foo.v1" else "foo"
    assert {path.name for path in tmp_path.glob("foo*")} == {f"{stem}.png", f"{stem}.svg"}


def test_a_report_makes_the_directory_that_is_named_as_one(in_process: CommandLine, tmp_path: Path) -> None:
    assert in_process("report", "last", "--out", "new/").returncode == 2
    assert not (tmp_path / "new").exists()
    in_process("run", "--steps", "100", "--quiet")
    assert in_process("report", "last", "--out", "new/").returncode == 0
    assert (tmp_path / "new" / "report.html").is_file()
    done = in_process("report", "last", "--out", "no/where.html")
    assert (done.returncode, "there is no directory no" in done.stderr) == (2, True)


def test_a_run_that_lacks_a_file_is_damaged_whichever_it_is(in_process: CommandLine, tmp_path: Path) -> None:
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
