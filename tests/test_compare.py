"""Comparisons: labels, expectations and figures of several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.charts.traces import regret_and_iterate
from amsgrad_exp.output import console
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.recorded import RUN_KEYS


def test_an_expectation_that_is_not_met(in_process: CommandLine) -> None:
    done = in_process("compare", "--steps", "1e6", "--no-figure", "--expect", "adam=optimum")
    assert done.returncode == 3
    assert done.stderr == "amsgrad-exp: adam: expected optimum, got worst\n"


TWICE = """
name: twice
steps: 1000
optimizers: [{name: adam, beta2: 0.99}, {name: adam, beta2: 0.999}, {name: adam, beta2: 0.9, label: short memory}]
"""


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_one_optimizer_stands_several_times_in_a_comparison(
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


def test_a_label_without_room_goes_on_in_the_next_line(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PIPED_WIDTH", 80)
    (tmp_path / "long.yaml").write_text("steps: 1000\noptimizers: [adam, {name: torch.optim.SGD, lr: 0.1}]\n")
    lines = in_process("compare", "--config", "long.yaml", "--no-figure").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["adam,", "α = 0.01", "torch.optim.SGD,", "α = 0.1"]


def test_the_document_has_labels_where_names_do_not_do(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE)
    runs = json.loads(in_process("compare", "--config", "twice.yaml", "--json", "--no-figure").stdout)["runs"]
    assert [list(run) for run in runs] == [["label", *RUN_KEYS]] * 3
    assert [(run["label"], run["optimizer"]) for run in runs] == [
        ("adam, β2 = 0.99", "adam"),
        ("adam, β2 = 0.999", "adam"),
        ("short memory", "adam"),
    ]


def test_expectations_are_of_labels_or_of_names_that_stand_once(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE.replace("]", ", {name: amsgrad, lr: 0.5}]"))
    compare = ["compare", "--config", "twice.yaml", "--no-figure", "--quiet"]
    refused = in_process(*compare, "--expect", "adam=worst")
    assert refused.returncode == 2
    assert refused.stderr == (
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


def test_a_figure_of_runs_says_what_differs(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same trial recorded twice, the runs; of the same run given twice, nothing."""
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
