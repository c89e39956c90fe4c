"""The gauntlet: its cells, its command line, its claims, and what must come out."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, rule_of
from amsgrad_exp.rules.claims import Kind
from amsgrad_exp.spec.gauntlet import Gauntlet, read_plan, row
from amsgrad_exp.sweeps.against_theory import Cell
from amsgrad_exp.sweeps.compute import blocks, run_block
from amsgrad_exp.sweeps.store import packed, results_of
from amsgrad_exp.verdict import Trend, Verdict
from tests.conftest import CommandLine
from tests.sweeping import curves, resumed, rows, swept
from tests.trials import finished

SMALL = {"problems": ["online", "stochastic", "theorem1", "shi-realizable"], "steps": 20_000, "seeds": 6}
LINEAR = "online theorem1 theorem2 theorem6 adopt-cycle adashift-sequential adabound-theorem1 shi-boundary".split()


def test_a_cell_is_the_single_run() -> None:
    """Lanes of problems with different periods, means over seeds, and rules that never settle, all in one block."""
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adam", "amsgrad:dialect=paper", "nosadam", "padam"])
    cells = [cell for block in blocks(gauntlet, np.zeros(len(gauntlet), bool)) for cell in block]
    assert sorted(cells) == list(range(len(gauntlet)))
    for seen in run_block(gauntlet, cells):
        label, values = gauntlet.values(seen["cell"])
        trial = gauntlet.trial(seen["cell"])
        trace, result = finished(trial)
        results = {name: getattr(result, name) for name in results_of(gauntlet)} | {"points": packed(trace)}
        assert seen == {"cell": seen["cell"], "optimizer": label, **values, **results, "failure": None}


def test_the_settings_of_a_cell() -> None:
    gauntlet = Gauntlet.of(
        optimizers=["adam", "sgd", "adabound", "padam:p=0.25", {"name": "adam", "label": "mine", "lr": 7}],
        problems=["online", "theorem1", "adopt-toy", "bock-weiss"],
    )
    trials = {
        (label, *values.values()): gauntlet.trial(cell)
        for cell in range(len(gauntlet))
        for label, values in [gauntlet.values(cell)]
    }

    for cell, lr in {
        ("adam", "online", "constant", "stated"): 0.01,
        ("adam", "online", "inv-sqrt", "stated"): 2.0,
        ("adam", "theorem1", "inv-sqrt", "stated"): 0.5,
        ("adam", "theorem1", "constant", "stated"): 0.01,
        ("adam", "bock-weiss", "constant", "stated"): 0.001,
        ("adam", "online", "constant", "defaults"): 0.001,
        ("sgd", "online", "inv-sqrt", "stated"): 2.0 / 1010,
        ("padam:p=0.25", "online", "inv-sqrt", "stated"): 2.0 / 1010**0.5,
        ("mine", "online", "inv-sqrt", "stated"): 7,
    }.items():
        assert trials[cell].optimizer.lr == lr, cell
    assert trials["adabound", "online", "inv-sqrt", "stated"].optimizer.options["final_lr"] == 2.0 / 1010
    assert trials["adabound", "online", "inv-sqrt", "defaults"].optimizer.options["final_lr"] == 0.1
    assert trials["adam", "online", "constant", "defaults"].optimizer.beta2 == 0.999
    assert trials["adam", "adopt-toy", "inv-sqrt", "stated"].schedule == "inv-sqrt:c=0.01"
    assert {trial.seeds for (_, problem, *_), trial in trials.items() if problem == "adopt-toy"} == {32}


def test_everything_is_run_where_nothing_is_said() -> None:
    gauntlet = Gauntlet.of()
    names = {entry["name"] for entry in gauntlet.data["optimizers"]}
    assert names == set(OPTIMIZERS)
    assert set(gauntlet.problems) == set(PROBLEMS) - {"cycle"}
    assert {"amsgrad", "amsgrad:dialect=paper", "amsgrad:dialect=optax"} <= set(gauntlet.optimizers)
    for label in gauntlet.optimizers:
        assert row(label) in gauntlet.data["optimizers"]
    given = ["adopt", {"name": "adopt", "options": {"clip": False}}, "amsgrad:dialect=paper"]
    assert Gauntlet.of(optimizers=given).optimizers == ("adopt", "adopt:clip=false", "amsgrad:dialect=paper")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adopt:clip=false", "torch.optim.SGD"])
    (tmp_path / "sweep.yaml").write_text(gauntlet.to_yaml())
    assert read_plan(tmp_path / "sweep.yaml") == gauntlet


def test_the_command(in_process: CommandLine, tmp_path: Path) -> None:
    chosen = "--optimizer adam --optimizer amsgrad:dialect=paper --problem theorem1 --problem stochastic".split()
    done = in_process("gauntlet", *chosen, *"--steps 20000 --seeds 4 --json --export csv".split())
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert len(document["cells"]) == 16
    cell = next(cell for cell in document["cells"] if (cell["optimizer"], cell["problem"]) == ("adam", "theorem1"))
    assert {"optimizer", "problem", "schedule", "settings", "iterate", "regret", "regret_trend"} <= set(cell)
    assert {"evidence", "limit_regret", "claim", "theorem", "contradicts", "lr"} <= set(cell)
    failing = [cell for cell in document["cells"] if cell["contradicts"]]
    assert [(cell["optimizer"], cell["problem"], cell["schedule"], cell["settings"]) for cell in failing] == [
        ("adam", "theorem1", "inv-sqrt", "stated")
    ]
    assert (failing[0]["claim"], failing[0]["iterate"]) == ("converges", "worst")
    assert "Theorem 4.1" in failing[0]["theorem"]
    (directory,) = (tmp_path / "sweeps" / "gauntlet").iterdir()
    assert {"gauntlet.png", "gauntlet.svg", "results.csv"} <= {path.name for path in directory.iterdir()}
    with (directory / "results.csv").open() as file:
        exported = list(csv.DictReader(file))
    assert [float(cell["regret"]) for cell in exported] == [cell["regret"] for cell in document["cells"]]
    averaged = {cell["problem"] for cell in document["cells"] if cell["regret_halfwidth"] is not None}
    assert averaged == {"stochastic"}


def test_what_it_says(in_process: CommandLine, tmp_path: Path) -> None:
    arguments = "--optimizer adam --problem theorem1 --problem adopt-cycle --steps 20000 --settings stated".split()
    done = in_process("gauntlet", *arguments, "--expect", "adam=theorem1:worst")
    assert (done.returncode, done.stderr) == (0, "")
    assert "! adam on theorem1, inv-sqrt, stated" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith(("!", "/")))
    (directory,) = (tmp_path / "sweeps" / "gauntlet").iterdir()
    assert "identical: 4 of 4 cells done" in in_process("verify", directory.name).stdout
    assert "problem 2 × schedule" in " ".join(in_process("list", "sweeps").stdout.split())
    unmet = in_process("gauntlet", *arguments, "--quiet", "--no-figure", "--expect", "adam=theorem1:optimum")
    assert (unmet.returncode, unmet.stdout) == (3, "")
    assert "adam on theorem1, inv-sqrt, stated: expected optimum, got worst" in unmet.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer", "adma"], "unknown name 'adma', did you mean"),
        (["--optimizer", "adam:clip=true"], "clip"),
        (["--optimizer", "adam:clip"], "OPTION=VALUE"),
        (["--optimizer", "adam", "--optimizer", "adam"], "adam is listed twice"),
        (["--problem", "onlin"], "unknown name 'onlin'"),
        (["--schedule", "linaer"], "unknown name 'linaer'"),
        (["--settings", "mine"], "unknown name 'mine'"),
        (["--steps", "0"], "steps"),
        (["--steps", "many"], "steps"),
        (["--steps", "1.5"], "steps"),
        (["--expect", "adam=online"], "NAME=PROBLEM:WHERE"),
        (["--expect", "adan=onlin:optimum"], "no problem 'onlin' in this gauntlet"),
        (["--export", "xlsx"], "--export takes csv"),
    ],
)
def test_wrong_input(arguments: list[str], message: str, in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process("gauntlet", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_users_class_joins_and_one_that_fails_has_a_row_that_says_so(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "broken_in_the_middle.py").write_text(
        "import torch\n\n\nclass Broken(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise ArithmeticError('no more')\n"
    )
    names = "--optimizer torch.optim.SGD --optimizer broken_in_the_middle.Broken --problem online".split()
    done = in_process("gauntlet", *names, "--steps", "50", "--no-figure", "--json")
    assert done.returncode == 1
    failure = "broken_in_the_middle.Broken: every cell failed, the first because the optimizer raised ArithmeticError"
    assert done.stderr == f"amsgrad-exp: {failure} at step 0: no more\n"
    cells = json.loads(done.stdout)["cells"]
    assert len(cells) == 8
    for cell in cells:
        assert cell["claim"] == "none made"
        assert (cell["failure"] is not None) == ("Broken" in cell["optimizer"])


def test_a_killed_gauntlet_goes_on(tmp_path: Path) -> None:
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adam", "sgd"])
    whole = swept(gauntlet, tmp_path / "whole").directory
    (tmp_path / "config.yaml").write_text(gauntlet.to_yaml())
    arguments = ["gauntlet", "--config", str(tmp_path / "config.yaml"), "--jobs", "1", "--out", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-m", "amsgrad_exp", *arguments, "--quiet"], cwd=tmp_path)
    while process.poll() is None and not list(tmp_path.glob("out/*/*/results.sqlite")):
        time.sleep(0.005)
    process.kill()
    assert process.wait() in (0, -signal.SIGKILL)
    (directory,) = tmp_path.glob("out/*/*")
    assert resumed(directory).complete
    assert rows(directory) == rows(whole)
    assert curves(directory) == curves(whole)


@pytest.mark.parametrize("label", Gauntlet.of(steps=1).optimizers)
def test_every_optimizer_says_what_was_claimed(label: str) -> None:
    claim = OPTIMIZERS[row(label)["name"]].claim
    assert (claim.kind is Kind.NONE) == (not claim.theorem) == (not claim.conditions)
    gauntlet = Gauntlet.of(optimizers=[label])
    covered = {
        tuple(values.values()): claim.covers(trial.optimizer, trial.problem, trial.schedule)
        for cell in range(len(gauntlet))
        for (_, values), trial in [(gauntlet.values(cell), gauntlet.trial(cell))]
    }
    schedules = {schedule for (_, schedule, _), yes in covered.items() if yes}
    assert schedules <= {claim.schedule}
    if claim.kind is Kind.REGRET:
        assert not any(covered[problem, claim.schedule, "stated"] for problem in ("components", "adashift-sequential"))
    if claim.kind is Kind.STATIONARY:
        assert {problem for (problem, *_), yes in covered.items() if yes} <= {"components", "bock-weiss"}
    if label in ("amsgrad", "amsgrad:dialect=optax"):  # whose bias correction no theorem is about
        assert not any(covered.values())
    if label in ("sgd", "adamnc", "amsgrad:dialect=paper", "adamx"):
        assert all(covered[problem, "inv-sqrt", "stated"] for problem in ("online", "stochastic", "theorem2"))


def test_a_claim_is_contradicted_at_the_worst_point_alone() -> None:
    gauntlet = Gauntlet.of(optimizers=["adam"], problems=["theorem1"], settings=["stated"], schedules=["inv-sqrt"])
    claim, trial = OPTIMIZERS["adam"].claim, gauntlet.trial(0)
    assert claim.covers(trial.optimizer, trial.problem, trial.schedule)
    assert not claim.covers(trial.optimizer.model_copy(update={"beta1": 0.9}), trial.problem, trial.schedule)

    def contradicted(iterate: Verdict, trend: Trend, *, covered: bool = True) -> bool:
        return Cell({"iterate": iterate, "regret_trend": trend}, trial, claim, covered).contradicted

    assert contradicted(Verdict.WORST, Trend.NOT_VANISHING)
    assert not contradicted(Verdict.BETWEEN, Trend.NOT_VANISHING)
    assert not contradicted(Verdict.WORST, Trend.UNDECIDED)
    assert not contradicted(Verdict.WORST, Trend.NOT_VANISHING, covered=False)


@pytest.mark.parametrize("label", Gauntlet.of(steps=1).optimizers)
def test_whether_a_rule_ever_settles_is_as_it_says(label: str) -> None:
    entry = row(label) | {"beta1": 0.5, "beta2": 0.5}
    options = OPTIMIZERS[entry["name"]].options.model_validate(entry.get("options", {}))
    takes = OPTIMIZERS[entry["name"]].rule(options).settings
    entry = {key: value for key, value in entry.items() if key not in ("beta1", "beta2") or key in takes}
    if "momentum_decay" in takes:
        entry["options"] = {"momentum_decay": 1.0}
    trial = Gauntlet.of(optimizers=[entry], problems=["online"]).trial(0)
    rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    carry: tuple[Any, ...] = rule.carry
    for t in range(6000):  # 0.99^t, of Adan, takes the most
        _, _, carry = rule.coefficients(t, 1.0, h, *carry)
    assert rule.settles == (not any(carry))


PROVED = ("sgd", "adamnc", "amsgrad", "amsgrad:dialect=paper", "amsgrad:dialect=optax")
AT_FULL_LENGTH: list[tuple[str, list[str], str, Verdict]] = [
    *((label, LINEAR, "inv-sqrt", Verdict.OPTIMUM) for label in PROVED),
    ("adagrad", LINEAR, "constant", Verdict.OPTIMUM),  # whose own step sizes are like 1/√t where α is constant
    ("adam", ["theorem1", "theorem2"], "inv-sqrt", Verdict.WORST),
    ("adopt", ["adopt-cycle"], "constant", Verdict.WORST),
    ("adopt:clip=false", ["adopt-cycle"], "constant", Verdict.WORST),
]


@pytest.mark.parametrize(("label", "problems", "schedule", "where"), AT_FULL_LENGTH)
def test_what_is_proved_comes_out_at_full_length(
    label: str, problems: list[str], schedule: str, where: Verdict
) -> None:
    """At the settings stated with the problem, 10⁷ steps; LINEAR are all without chance whose losses are linear."""
    gauntlet = Gauntlet.of(optimizers=[label], problems=problems, schedules=[schedule], settings=["stated"])
    cells = run_block(gauntlet, range(len(gauntlet)))
    assert {cell["problem"]: cell["iterate"] for cell in cells} == dict.fromkeys(problems, where)
    if where == Verdict.WORST:
        assert {cell["regret_trend"] for cell in cells} == {Trend.NOT_VANISHING}
