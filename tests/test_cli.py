"""Tests of run, compare, list, show, plot and verify on the command line: output, exit statuses and errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.charts.traces import regret_and_iterate
from amsgrad_exp.output import console
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.recorded import RUN_KEYS


def test_compare_reproduces_the_reference_experiment(command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line("compare", "--json", "--expect", "adam=worst", "--expect", "amsgrad=optimum")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "runs"]
    assert document["schema"] == 1
    adam, amsgrad = document["runs"]
    assert list(adam) == RUN_KEYS
    assert (adam["optimizer"], adam["steps"], adam["engine"], adam["dtype"]) == ("adam", 10**7, "compiled", "float32")
    assert (adam["iterate"], adam["regret_trend"], round(adam["regret"], 2)) == ("worst", "not vanishing", 0.5)
    assert (amsgrad["iterate"], amsgrad["regret_trend"], round(amsgrad["regret"], 2)) == (
        "optimum",
        "not vanishing",
        0.33,
    )
    assert {path.suffix for path in (tmp_path / "logs" / "synthetic").glob("compare-*")} == {".png", ".svg"}


def test_tables_fit_eighty_columns_and_have_no_colours_in_a_pipe(in_process: CommandLine) -> None:
    done = in_process("compare", "--steps", "1e6", "--no-figure", "--expect", "adam=optimum")
    assert (done.returncode, done.stderr) == (3, "amsgrad-exp: adam: expected optimum, got worst\n")
    assert all(len(line) <= 80 and "\x1b" not in line for line in done.stdout.splitlines())
    for word in ("adam", "amsgrad", "worst point", "optimum", "not vanishing"):
        assert word in done.stdout
    assert "derived from a repeated cycle" in in_process("run", "--steps", "1e6").stdout


WRONG = [
    (["run", "--steps", "0"], "steps: must be greater than or equal to 1"),
    (["run", "--lr", "nan"], "a number such as 0.01 or 1e-2 is needed"),
    (["run", "--lr", "fast"], "--lr"),
    (["run", "--optimizer", "amsgrd"], "did you mean amsgrad?"),
    (["run", "--optimizer", ""], "--optimizer needs a value"),
    (["run", "--problem", "cycle", "--set", "slopes=1e308,1e308"], "the problem's constants are too large for float32"),
    (["sweep", "--grid", "beta2=0.5,0.9", "--jobs", "100000"], "--jobs"),
    (["run", "--set", "period"], "--set takes NAME=VALUE"),
    (["run", "--set", "low=-3", "--set", "low=-2"], "--set low is given twice"),
    (["run", "--config", "missing.yaml"], "missing.yaml cannot be read"),
    (["run", "--no-such-option"], "No such option"),
    (["run", "--optimizer"], "requires an argument"),
    (["compare", "--optimizer", "adam", "--optimizer", "torch.optim.LBFGS", "--lr", "-1"], "lr: must be greater"),
    (["plot", "last", "--figure", "."], "--figure takes a file"),
    (["plot", "last", "--figure", "no/figure"], "--figure no/figure.png: there is no directory no"),
    (["probes", "--out", "."], "--out takes a file, not '.'"),
    (["identify", "--iterates", "none.csv"], "none.csv cannot be read: No such file or directory"),
    (["gauntlet", "--problem", "cycle"], "problem.slopes is missing"),
    (["show", "x" * 5000], "no run under logs"),
    (["compare", "--expect", "adam=left"], "--expect takes LABEL=optimum, worst, between or away"),
    (["compare", "--expect", "sgd=worst"], "'sgd' is not in this comparison"),
    (["fly"], "No such command 'fly'"),
    (["list", "planets"], "planets"),
    (["show", "nothing"], "no run under logs"),
    (["show", "last"], "there are no runs under logs"),
    (["resume", "."], "is not a run"),
    (["verify", "nothing"], "no run under logs"),
    (["plot", "nothing"], "no run under logs"),
    (["plot"], "Missing argument"),
    (["run", "--lr", "1", "--lr", "2"], "--lr is given 2 times"),
    (["sweep", "--grid", "lr=1,2", "--steps=1", "--steps=2"], "--steps is given 2 times"),
    (["run", "--out", ""], "--out needs a value, not ''"),
    (["compare", "--optimizer", "adam", "--optimizer="], "--optimizer needs a value, not ''"),
    (["run", "--optimizer", "amsgrad", "--option", "lam=0.99"], "lam requires beta1_decay=geometric"),
    (["run", "--set", "low=-inf"], "Problems without ends are adashift-sequential, adashift-stochastic"),
    (["run", "--set", "high=.inf"], "must be a finite number, not inf. Problems without ends are"),
    (["attack", "--optimizer", "adam", "--problems", "1.5"], "a whole number is needed, not '1.5'"),
    (["attack", "--optimizer", "adam", "--seconds", "0"], "it must be at least 0.1, not 0"),
    (["sweep", "--grid", "lr=1,2", "--jobs", "1e9"], "it must be between 1 and 1024, not 1e9"),
    (["sweep"], "at least one axis"),
    (["sweep", "--grid", "beta2=1:2:3"], "beta2: must be less than 1"),
    (["sweep", "--grid", "beta2=0.5,0.9", "--export", "xlsx"], "--export takes csv"),
    (["sweep", "--grid", "beta2=0.5,0.9", "--jobs", "0"], "--jobs"),
    (["boundary", "--problem", "stochastic"], "not periodic"),
    (["boundary", "--optimizer", "torch.optim.SGD"], "is for optimizers of"),
    (["gauntlet", "--optimizer", "adma"], "unknown name 'adma', did you mean"),
    (["gauntlet", "--optimizer", "adam:clip=true"], "clip"),
    (["gauntlet", "--optimizer", "adam:clip"], "OPTION=VALUE"),
    (["gauntlet", "--optimizer", "adam", "--optimizer", "adam"], "adam is listed twice"),
    (["gauntlet", "--problem", "onlin"], "unknown name 'onlin'"),
    (["gauntlet", "--schedule", "linaer"], "unknown name 'linaer'"),
    (["gauntlet", "--settings", "mine"], "unknown name 'mine'"),
    (["gauntlet", "--steps", "0"], "steps"),
    (["gauntlet", "--expect", "adam=online"], "NAME=PROBLEM:WHERE"),
    (["gauntlet", "--expect", "adan=onlin:optimum"], "no problem 'onlin' in this gauntlet"),
    (["gauntlet", "--export", "xlsx"], "--export takes csv"),
    (["identify", "--optimizer", "tests.optimizers.Random"], "draws random numbers"),
    (["identify", "--optimizer", "adm"], "did you mean adam"),
    (["identify", "--optimizer", "torch.optim.Nothing"], "cannot be imported"),
    (["identify", "--optimizer", "torch.optim.SGD", "--option", "colour=red"], "cannot be built"),
    (["identify", "--optimizer", "signsgd", "--beta1", "0.9"], "takes no beta1"),
    (["probes", "--option", "n=3"], "n"),
    (["probes", "--option", "weight_decay=abc"], "weight_decay"),
    (["probes", "--beta1", "1"], "beta1"),
    (["probes", "--lr", "0"], "lr"),
    (["probes", "--optimizer", "adam", "--option", "n=3"], "n"),
    (["run", "--optimizer", "torch.optim.Muon", "--shape", "1", "--steps", "50"], "Muon only supports 2D parameters"),
    (["run", "--optimizer", "torch.optim.Adam", "--shape", "2x2"], "shape: "),
    (["run", "--optimizer", "adam", "--shape", "1x1"], "adam updates every element alike, so it takes no shape"),
    (
        ["run", "--dtype", "bfloat16", "--engine", "compiled"],
        "the compiled engine has float32 and float64, not bfloat16",
    ),
    (["run", "--dtype", "bfloat16", "--bound"], "a regret bound is computed in double precision, and says nothing of"),
    (["run", "--dtype", "float16", "--set", "steep=1e5"], "too large for float16"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_one_line_and_nothing_is_written(
    arguments: list[str], message: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every twentieth command runs in a process of its own."""
    kind = "in_process" if WRONG.index((arguments, message)) % 20 else "command_line"
    done = request.getfixturevalue(kind)(*arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_takes_one_optimizer_of_a_file(in_process: CommandLine, tmp_path: Path) -> None:
    entries = "[adam, {name: amsgrad, lr: 0.5}, {name: amsgrad, label: slow}]"
    (tmp_path / "both.yaml").write_text(f"name: both\nsteps: 1000\noptimizers: {entries}\n")
    rejected = in_process("run", "--config", "both.yaml")
    assert rejected.returncode == 2
    assert "lists adam, amsgrad, slow: pick one with --optimizer" in rejected.stderr
    done = in_process("run", "--config", "both.yaml", "--optimizer", "amsgrad", "--json")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["optimizer"] == "amsgrad"
    again = in_process("run", "--config", f"{run['directory']}/experiment.yaml", "--json")
    (repeated,) = json.loads(again.stdout)["runs"]
    for key in set(RUN_KEYS) - {"seconds", "directory"}:
        assert repeated[key] == run[key]


def test_commands_read_recorded_runs(in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PIPED_WIDTH", 80)
    for optimizer in ("adam", "amsgrad"):
        in_process("run", "--optimizer", optimizer, "--steps", "2000", "--quiet")
    listed = in_process("list", "runs").stdout
    assert listed.count("completed") == 2
    shown = in_process("show", "last")
    assert "steps: 2000" in shown.stdout
    assert "R(t)/t" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    drawn = in_process("plot", *(path.name for path in (tmp_path / "logs/synthetic").iterdir()), "--figure", "both")
    assert drawn.returncode == 0
    assert (tmp_path / "both.png").stat().st_size > 10_000
    nowhere = in_process("verify", "last", "--engine", "gpu")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert "engine: must be 'auto', 'compiled' or 'torch', not 'gpu'" in nowhere.stderr
    same = in_process("verify", "last")
    identical = "identical: all 2,000 logged points, computed again on the compiled engine\n"
    assert (same.returncode, same.stdout) == (0, identical)
    across = in_process("verify", "last", "--engine", "torch")
    assert across.returncode == 0
    assert "in agreement: all 2,000 logged points, computed again on the torch engine" in across.stdout


def test_verify_ends_with_status_4_and_names_the_step_that_differs(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("run", "--steps", "2000", "--log-every", "10", "--quiet")
    (path,) = tmp_path.glob("logs/*/*/trace.csv")
    lines = path.read_text().splitlines(keepends=True)
    step, loss, x, regret = lines[50].split(",")
    lines[50] = ",".join([step, loss, x, regret.replace(regret[3], "1" if regret[3] != "1" else "2", 1)])
    path.write_text("".join(lines))
    done = in_process("verify", "last")
    assert done.returncode == 4
    assert done.stderr.startswith("amsgrad-exp: different from step 499 on: largest differences loss 0, x 0, regret ")
    path.write_text("".join(lines)[:-3])
    cut = in_process("verify", "last")
    assert cut.returncode == 4
    assert "trace.csv is damaged" in cut.stderr


def test_help_and_completion_import_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['amsgrad-exp', '--help']\n"
        "from amsgrad_exp import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numba', 'labml', 'vl_convert', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "compare" in done.stdout


@pytest.mark.parametrize(
    ("closed", "arguments", "status"), [(">&-", "run --steps 100 --json", 0), ("2>&-", "run --lr nan", 2)]
)
def test_a_closed_stream_leaves_the_exit_status(closed: str, arguments: str, status: int, tmp_path: Path) -> None:
    shell = f"{sys.executable} -m amsgrad_exp {arguments} {closed}"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_version_and_list(in_process: CommandLine) -> None:
    assert in_process("--version").stdout.startswith("amsgrad-exp 0.")
    assert "theorem1" in in_process("list", "problems").stdout
    listed = in_process("list", "optimizers").stdout
    assert re.search(
        r"^amsgrad +Adam that divides by the root of the largest v so far +Reddi.* 2018, Algorithm 2 +beta1_decay=none",
        listed,
        re.M,
    )
    assert "no runs under logs" in in_process("list", "runs").stderr


def test_a_users_optimizers_may_print_or_fail(in_process: CommandLine, tmp_path: Path) -> None:
    """What one prints does not get into the document, and the others are run if one fails."""
    (tmp_path / "loud_and_bad.py").write_text(
        "import torch\nprint('imported')\n"
        "class Loud(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        print('step')\n        super().step()\n"
        "class Bad(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise SystemExit(0)\n"
    )
    names = ["adam", "loud_and_bad.Bad", "loud_and_bad.Loud", "amsgrad"]
    done = in_process("compare", *(f"--optimizer={name}" for name in names), *"--steps 100 --json".split())
    assert done.returncode == 1
    assert [run["optimizer"] for run in json.loads(done.stdout)["runs"]] == ["adam", "loud_and_bad.Loud", "amsgrad"]
    imported, failed, *steps = done.stderr.splitlines()
    assert imported == "imported"
    assert failed == "amsgrad-exp: loud_and_bad.Bad: the optimizer raised SystemExit at step 0: 0"
    assert steps == ["step"] * 100


@pytest.mark.parametrize("out", ["a[/b]", "a:smile:", "with a space"])
def test_a_directorys_name_is_printed_literally(out: str, in_process: CommandLine) -> None:
    done = in_process("run", "--steps", "100", "--out", out)
    assert done.returncode == 0
    assert out in done.stdout


def test_characters_that_the_terminal_cannot_encode_are_replaced(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from amsgrad_exp import cli\n"
        "for arguments in ('run --help', 'list problems', 'run --steps 1000', 'show last'):\n"
        "    sys.argv = ['amsgrad-exp', *arguments.split()]\n"
        "    try: cli.main()\n"
        "    except SystemExit as ended: assert not ended.code, arguments\n"
        "    print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines().count(b"done") == 4
    assert b"Step size ?" in done.stdout


def test_several_seeds_give_means_and_half_widths(in_process: CommandLine) -> None:
    done = in_process(*"compare --problem stochastic --steps 20000 --seeds 9 --json".split())
    for run in json.loads(done.stdout)["runs"]:
        assert run["seeds"] == 9
        assert run["mean_x_halfwidth"] > 0
        assert run["regret_halfwidth"] > 0
    shown = in_process("show", "last").stdout
    assert "mean over 9 seeds" in shown
    assert "±" in shown
    assert in_process("verify", "last").returncode == 0


TWICE = """
name: twice
steps: 1000
optimizers: [{name: adam, beta2: 0.99}, {name: adam, beta2: 0.999}, {name: adam, beta2: 0.9, label: short memory}]
"""


@pytest.mark.parametrize("columns", [40, 80])
def test_one_optimizer_may_be_compared_with_itself(
    columns: int, in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE)
    monkeypatch.setattr(console, "PIPED_WIDTH", columns)
    done = in_process("compare", "--config", "twice.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for label in ("adam, β2 = 0.99", "adam, β2 = 0.999", "short memory"):
        assert sum(line.removeprefix("optimizer").strip().split("  ")[0] == label for line in lines) == 1
    assert [line for line in lines if len(line) > columns and not line.startswith("figure ")] == []
    (svg,) = tmp_path.glob("logs/twice/compare-*.svg")
    assert svg.stat().st_size > 10_000


def test_a_long_label_is_folded(in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PIPED_WIDTH", 80)
    (tmp_path / "long.yaml").write_text("steps: 1000\noptimizers: [adam, {name: torch.optim.SGD, lr: 0.1}]\n")
    lines = in_process("compare", "--config", "long.yaml", "--no-figure").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["adam,", "α = 0.01", "torch.optim.SGD,", "α = 0.1"]


def test_the_document_has_labels_if_names_are_ambiguous(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE)
    runs = json.loads(in_process("compare", "--config", "twice.yaml", "--json", "--no-figure").stdout)["runs"]
    assert [list(run) for run in runs] == [["label", *RUN_KEYS]] * 3
    assert [(run["label"], run["optimizer"]) for run in runs] == [
        ("adam, β2 = 0.99", "adam"),
        ("adam, β2 = 0.999", "adam"),
        ("short memory", "adam"),
    ]


def test_an_expectation_names_a_label_or_an_unambiguous_optimizer(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE.replace("]", ", {name: amsgrad, lr: 0.5}]"))
    compare = ["compare", "--config", "twice.yaml", "--no-figure", "--quiet"]
    rejected = in_process(*compare, "--expect", "adam=worst")
    assert rejected.returncode == 2
    assert rejected.stderr == (
        "amsgrad-exp: Invalid value: --expect adam: 'adam' is compared 3 times: use 'adam, α = 0.01, β2 = 0.99' or "
        "'adam, α = 0.01, β2 = 0.999' or 'short memory'\n"
    )
    twice = in_process(*compare, "--expect", "amsgrad=worst", "--expect", "amsgrad, α = 0.5, β2 = 0.99=worst")
    assert (twice.returncode, twice.stderr.count("\n")) == (2, 1)
    assert "is given twice" in twice.stderr
    assert not (tmp_path / "logs").exists()
    labels = ["amsgrad", "short memory", "adam, α = 0.01, β2 = 0.99"]
    done = in_process(*compare, *(word for label in labels for word in ("--expect", f"{label}=away")))
    assert done.returncode == 3
    assert sorted(line.split(": expected away, got ")[0] for line in done.stderr.splitlines()) == [
        "amsgrad-exp: adam, α = 0.01, β2 = 0.99",
        "amsgrad-exp: amsgrad, α = 0.5, β2 = 0.99",
        "amsgrad-exp: short memory",
    ]


def test_the_legend_of_a_figure_says_what_differs_between_the_runs(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the runs if one trial was recorded twice; a run that is given twice is drawn once."""
    drawn: list[list[str]] = []

    def draw(path: Path, traces: dict[str, Trace], problem: Problem, bounds: Any) -> list[Path]:
        drawn.append(list(traces))
        return regret_and_iterate(path, traces, problem, bounds)

    monkeypatch.setattr("amsgrad_exp.charts.traces.regret_and_iterate", draw)
    for changed in (["--beta2", "0.99"], ["--beta2", "0.999"], ["--beta2", "0.999", "--problem", "stochastic"]):
        assert in_process("run", "--steps", "1000", "--quiet", *changed).returncode == 0
    first, second, third = sorted(path.name for path in tmp_path.glob("logs/synthetic/*"))
    assert in_process("plot", first, second, second).returncode == 0
    assert in_process("plot", first, second, third).returncode == 0
    assert in_process("run", "--steps", "1000", "--quiet").returncode == 0
    (fourth,) = {path.name for path in tmp_path.glob("logs/synthetic/*")} - {first, second, third}
    assert in_process("plot", first, second, fourth).returncode == 0
    assert drawn == [
        ["adam, β2 = 0.99", "adam, β2 = 0.999"],
        ["adam on online, β2 = 0.99", "adam on online, β2 = 0.999", "adam on stochastic, β2 = 0.999"],
        [f"adam, β2 = 0.99 {first[:8]}", "adam, β2 = 0.999", f"adam, β2 = 0.99 {fourth[:8]}"],
    ]
