"""Tests of the gauntlet: its cells and commands, published claims, and results that are proved."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, rule_of
from amsgrad_exp.rules.claims import Kind
from amsgrad_exp.spec.gauntlet import Gauntlet, read_plan, row
from amsgrad_exp.sweeps import sweeping
from amsgrad_exp.sweeps.against_theory import Cell
from amsgrad_exp.sweeps.compute import blocks, run_block
from amsgrad_exp.sweeps.store import packed, results_of
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.verdict import Trend, Verdict
from tests.conftest import CommandLine
from tests.sweeping import curves, resumed, rows, swept
from tests.trials import finished
from tests.watching import Watched

SMALL = {"problems": ["online", "stochastic", "theorem1", "shi-realizable"], "steps": 20_000, "seeds": 6}
LINEAR = "online theorem1 theorem2 theorem6 adopt-cycle adashift-sequential adabound-theorem1 shi-boundary".split()


def test_a_cell_equals_the_single_run() -> None:
    """One batch has problems with different periods, means over seeds, and rules whose coefficients never settle."""
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adam", "amsgrad:dialect=paper", "nosadam"])
    cells = [cell for block in blocks(gauntlet, np.zeros(len(gauntlet), bool)) for cell in block]
    assert sorted(cells) == list(range(len(gauntlet)))
    for seen in run_block(gauntlet, cells):
        label, values = gauntlet.values(seen["cell"])
        trial = gauntlet.trial(seen["cell"])
        trace, result = finished(trial)
        results = {name: getattr(result, name) for name in results_of(gauntlet)} | {"points": packed(trace)}
        assert seen == {"cell": seen["cell"], "optimizer": label, **values, **results, "failure": None}


def test_each_cell_has_the_settings_of_its_problem_or_the_defaults() -> None:
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


def test_by_default_every_optimizer_and_problem_is_run() -> None:
    gauntlet = Gauntlet.of()
    names = {entry["name"] for entry in gauntlet.data["optimizers"]}
    assert names == set(OPTIMIZERS)
    assert set(gauntlet.problems) == set(PROBLEMS) - {"cycle"}
    assert {"amsgrad", "amsgrad:dialect=paper", "amsgrad:dialect=optax"} <= set(gauntlet.optimizers)
    for label in gauntlet.optimizers:
        assert row(label) in gauntlet.data["optimizers"]
    given = ["adopt", {"name": "adopt", "options": {"clip": False}}, "amsgrad:dialect=paper"]
    assert Gauntlet.of(optimizers=given).optimizers == ("adopt", "adopt:clip=false", "amsgrad:dialect=paper")


def test_a_gauntlet_reads_back_from_its_yaml(tmp_path: Path) -> None:
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adopt:clip=false", "torch.optim.SGD"])
    (tmp_path / "sweep.yaml").write_text(gauntlet.to_yaml())
    assert read_plan(tmp_path / "sweep.yaml") == gauntlet


def test_the_commands_document_and_files(in_process: CommandLine, tmp_path: Path) -> None:
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


def test_the_commands_output_and_expectations(in_process: CommandLine, tmp_path: Path) -> None:
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


def test_cells_of_a_users_class_that_fails_say_why(in_process: CommandLine, tmp_path: Path) -> None:
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


def test_a_resumed_gauntlet_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    gauntlet = Gauntlet.of(**SMALL, optimizers=["adam", "sgd"])
    whole = swept(gauntlet, tmp_path / "whole").directory
    with workers(1) as executor:
        parts = sweeping.sweep(gauntlet, tmp_path / "parts", executor, Watched(1))
    assert not parts.complete
    assert resumed(parts.directory).complete
    assert rows(parts.directory) == rows(whole)
    assert curves(parts.directory) == curves(whole)


@pytest.mark.parametrize("label", Gauntlet.of(steps=1).optimizers)
def test_claims_cover_the_cells_of_their_theorems(label: str) -> None:
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


def test_a_claim_is_contradicted_only_at_the_worst_point() -> None:
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
def test_the_coefficients_of_a_rule_settle_if_it_says_so(label: str) -> None:
    entry = row(label) | {"beta1": 0.5, "beta2": 0.5}
    options = OPTIMIZERS[entry["name"]].options.model_validate(entry.get("options", {}))
    takes = OPTIMIZERS[entry["name"]].rule(options).settings
    entry = {key: value for key, value in entry.items() if key not in ("beta1", "beta2") or key in takes}
    if "momentum_decay" in takes:
        entry["options"] = {"momentum_decay": 1.0}
    trial = Gauntlet.of(optimizers=[entry], problems=["online"]).trial(0)
    rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    carry: tuple[Any, ...] = rule.carry
    for t in range(6000):  # 0.99^t, of Adan, takes the longest
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
def test_proved_results_hold_at_full_length(label: str, problems: list[str], schedule: str, where: Verdict) -> None:
    """After 10⁷ steps with the settings of the problem's source; LINEAR are the problems with fixed linear losses."""
    gauntlet = Gauntlet.of(optimizers=[label], problems=problems, schedules=[schedule], settings=["stated"])
    cells = run_block(gauntlet, range(len(gauntlet)))
    assert {cell["problem"]: cell["iterate"] for cell in cells} == dict.fromkeys(problems, where)
    trend = Trend.NOT_VANISHING if where == Verdict.WORST else Trend.VANISHING
    assert {cell["regret_trend"] for cell in cells} == {trend}
