"""The command line: what a stranger types, and what comes back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amsgrad_exp.output import console
from tests.conftest import CommandLine
from tests.recorded import RUN_KEYS


def test_the_papers_experiment(command_line: CommandLine, tmp_path: Path) -> None:
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


def test_tables_are_readable_at_eighty_columns_and_piped(in_process: CommandLine) -> None:
    done = in_process("compare", "--steps", "1e6", "--no-figure")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for word in ("adam", "amsgrad", "worst point", "optimum", "not vanishing"):
        assert word in done.stdout
    assert "\x1b" not in done.stdout
    one = in_process("run", "--steps", "1e6")
    assert "derived from a repeated cycle" in one.stdout


WRONG = [
    (["run", "--steps", "0"], "steps: must be greater than or equal to 1"),
    (["run", "--steps", "ten"], "steps: must be a whole number"),
    (["run", "--beta1", "1"], "beta1: must be less than 1"),
    (["run", "--lr", "nan"], "a number such as 0.01 or 1e-2 is needed"),
    (["run", "--lr", "fast"], "--lr"),
    (["run", "--optimizer", "amsgrd"], "did you mean amsgrad?"),
    (["run", "--optimizer", ""], "--optimizer needs a value"),
    (["run", "--problem", "cycle", "--set", "slopes=1e308,1e308"], "the problem's constants are too large for float32"),
    (["sweep", "--grid", "beta2=0.5,0.9", "--jobs", "100000"], "--jobs"),
    (["run", "--optimizer", "torch.optim.Nope"], "cannot be imported"),
    (["run", "--problem", "onlin"], "did you mean online?"),
    (["run", "--schedule", "cosin"], "unknown name 'cosin', did you mean cosine?"),
    (["run", "--engine", "gpu"], "engine: must be"),
    (["run", "--set", "low=3"], "the interval [3, 1] is empty"),
    (["run", "--set", "C=3"], "problem.C: unknown key"),
    (["run", "--set", "period"], "--set takes NAME=VALUE"),
    (["run", "--set", "low=-3", "--set", "low=-2"], "--set low is given twice"),
    (["run", "--config", "missing.yaml"], "missing.yaml cannot be read"),
    (["run", "--steps", "1e12", "--log-every", "1"], "log_every 1 would log"),
    (["run", "--no-such-option"], "No such option"),
    (["run", "--optimizer"], "requires an argument"),
    (["run", "--steps", "5", "--log-every", "100"], "log_every must be at most steps"),
    (["compare", "--optimizer", "adam", "--optimizer", "torch.optim.LBFGS", "--lr", "-1"], "lr: must be greater"),
    (["plot", "last", "--figure", "."], "--figure takes a file"),
    (["plot", "last", "--figure", "no/figure"], "--figure no/figure.png: there is no directory no"),
    (["probes", "--out", "."], "--out takes a file, not '.'"),
    (["identify", "--iterates", "none.csv"], "none.csv cannot be read: No such file or directory"),
    (["run", "--optimizer", "adma"], "did you mean adam?"),
    (["gauntlet", "--problem", "cycle"], "problem.slopes is missing"),
    (["show", "x" * 5000], "no run under logs"),
    (["compare", "--expect", "adam=left"], "--expect takes LABEL=optimum, worst, between or away"),
    (["compare", "--expect", "sgd=worst"], "'sgd' is not in this comparison"),
    (["compare", "--optimizer", "adam", "--optimizer", "adam"], "listed twice"),
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
    (["run", "--optimizer", "amsgrad", "--option", "lam=0.9"], "lam requires beta1_decay=geometric"),
    (["run", "--optimizer", "amsgrad", "--option", "lam=0.99"], "lam requires beta1_decay=geometric"),
    (["run", "--set", "low=-inf"], "Problems without ends are adashift-sequential, adashift-stochastic"),
    (["run", "--set", "high=.inf"], "must be a finite number, not inf. Problems without ends are"),
    (["attack", "--optimizer", "adam", "--problems", "1.5"], "a whole number is needed, not '1.5'"),
    (["attack", "--optimizer", "adam", "--seconds", "0"], "it must be at least 0.1, not 0"),
    (["sweep", "--grid", "lr=1,2", "--jobs", "1e9"], "it must be between 1 and 1024, not 1e9"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_one_line_and_nothing_written(
    arguments: list[str], message: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In this process, and every tenth in one of its own."""
    for number, kind in enumerate(("in_process", "command_line")):
        if number and WRONG.index((arguments, message)) % 10:
            continue
        done = request.getfixturevalue(kind)(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
        assert list(tmp_path.iterdir()) == []


def test_run_picks_one_optimizer_of_a_file(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(
        "name: both\nsteps: 1000\noptimizers: [adam, {name: amsgrad, lr: 0.5}, {name: amsgrad, label: slow}]\n"
    )
    refused = in_process("run", "--config", "both.yaml")
    assert refused.returncode == 2
    assert "lists adam, amsgrad, slow: pick one with --optimizer" in refused.stderr
    done = in_process("run", "--config", "both.yaml", "--optimizer", "amsgrad", "--json")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["optimizer"] == "amsgrad"
    again = in_process("run", "--config", f"{run['directory']}/experiment.yaml", "--json")
    (repeated,) = json.loads(again.stdout)["runs"]
    for key in set(RUN_KEYS) - {"seconds", "directory"}:
        assert repeated[key] == run[key]


def test_the_commands_on_recorded_runs(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert (same.returncode, same.stdout) == (
        0,
        "identical: all 2,000 logged points, computed again on the compiled engine\n",
    )
    across = in_process("verify", "last", "--engine", "torch")
    assert across.returncode == 0
    assert "in agreement: all 2,000 logged points, computed again on the torch engine" in across.stdout


def test_a_changed_digit_is_status_four_and_the_step(in_process: CommandLine, tmp_path: Path) -> None:
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
def test_a_stream_that_is_closed_changes_no_status(closed: str, arguments: str, status: int, tmp_path: Path) -> None:
    shell = f"{sys.executable} -m amsgrad_exp {arguments} {closed}"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_version_and_lists(command_line: CommandLine, in_process: CommandLine) -> None:
    assert command_line("--version").stdout.startswith("amsgrad-exp 0.")
    assert "inv-sqrt" in in_process("list", "schedules").stdout
    assert "theorem1" in in_process("list", "problems").stdout
    listed = command_line("list", "optimizers").stdout
    assert re.search(
        r"^amsgrad +Adam that divides by the root of the largest v so far +Reddi.* 2018, Algorithm 2 +beta1_decay=none",
        listed,
        re.M,
    )
    assert "no runs under logs" in in_process("list", "runs").stderr


def test_optimizers_beside_the_user_may_print_and_fail(command_line: CommandLine, tmp_path: Path) -> None:
    """What one prints does not get into the document, and one that fails leaves the others."""
    (tmp_path / "mine.py").write_text(
        "import torch\nprint('imported')\n"
        "class Loud(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        print('step')\n        super().step()\n"
        "class Bad(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise SystemExit(0)\n"
    )
    names = ["adam", "mine.Bad", "mine.Loud", "amsgrad"]
    done = command_line("compare", *(f"--optimizer={name}" for name in names), *"--steps 100 --json".split())
    assert done.returncode == 1
    assert [run["optimizer"] for run in json.loads(done.stdout)["runs"]] == ["adam", "mine.Loud", "amsgrad"]
    imported, failed, *steps = done.stderr.splitlines()
    assert imported == "imported"
    assert failed == "amsgrad-exp: mine.Bad: the optimizer raised SystemExit at step 0: 0"
    assert steps == ["step"] * 100


@pytest.mark.parametrize("out", ["a[/b]", "a:smile:", "with a space"])
def test_a_directory_is_shown_as_it_is(out: str, in_process: CommandLine) -> None:
    done = in_process("run", "--steps", "100", "--out", out)
    assert done.returncode == 0
    assert out in done.stdout


def test_output_that_cannot_be_encoded_is_replaced(tmp_path: Path) -> None:
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


def test_seeds(in_process: CommandLine) -> None:
    done = in_process(*"compare --problem stochastic --steps 20000 --seeds 9 --json".split())
    for run in json.loads(done.stdout)["runs"]:
        assert run["seeds"] == 9
        assert run["mean_x_halfwidth"] > 0
        assert run["regret_halfwidth"] > 0
    shown = in_process("show", "last").stdout
    assert "mean over 9 seeds" in shown
    assert "±" in shown
    assert in_process("verify", "last").returncode == 0
