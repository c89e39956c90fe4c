"""Tests the command `attack`: its output, its exit status and its files."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.attacks import attacking
from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.output import console
from tests.conftest import CommandLine
from tests.test_processes import start


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacking, "POINTS", 500)


KEYS = (
    "schema optimizer problems falls survives unsettled found counterexample smallest_period seconds shrinking "
    "settings shared_between limits search_seconds interrupted finished started origin"
).split()


def read_attack(directory: Path) -> dict[str, Any]:
    """Read attack.json without its checksum."""
    content: dict[str, Any] = json.loads((directory / "attack.json").read_text())
    assert content.pop("sha256")
    return content


FEW = ("--problems", "200", "--max-period", "4")


def test_an_optimizer_that_fails_gives_status_3_and_a_counterexample(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacking, "LITERAL_STEPS", 3000)
    done = in_process("attack", "--optimizer", "signsgd", *FEW, "--json", "--expect", "survives")
    assert done.returncode == 3
    assert done.stderr == ("amsgrad-exp: signsgd: expected to survive, but fails on 3 once, −1 twice, x* = −1\n")
    document = json.loads(done.stdout)
    assert list(document) == KEYS
    assert (document["schema"], document["optimizer"], document["found"]) == (1, "signsgd", True)
    assert document["problems"] == 200 == document["falls"] + document["survives"] + document["unsettled"]
    example = document["counterexample"]
    assert (example["period"], example["slopes"], example["optimum"]) == (3, [3, -1, -1], -1.0)
    assert example["confirmed"]
    assert example["regret"] > 0.1
    last = document["shrinking"][-1]
    assert (last["problem"], last["period"]) == ("3 once, −1 twice, x* = −1", 3)
    assert last["drift"] == pytest.approx(1 / 3)
    config = tmp_path / example["config"]
    assert {path.name for path in config.parent.iterdir()} == {
        "attack.json",
        "counterexample",
        "counterexample.png",
        "counterexample.svg",
        "counterexample.yaml",
    }
    assert read_attack(config.parent) == document
    assert document["settings"] == {"name": "signsgd", "lr": 0.001, "options": {}}
    assert document["limits"] == {"seconds": None, "problems": 200, "max_period": 4, "seed": 0}
    assert 0 < document["search_seconds"] < document["seconds"]
    assert sorted(example["runs"]) == sorted(path.name for path in (config.parent / "counterexample").iterdir())
    again = in_process("run", "--config", str(config), "--json")
    (run,) = json.loads(again.stdout)["runs"]
    assert (run["iterate"], run["limit_regret"]) == ("worst", example["limit_regret"])


@pytest.mark.parametrize("columns", [80, 200])
def test_survival_is_reported_as_no_proof(
    columns: int, in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PIPED_WIDTH", columns)
    done = in_process("attack", "--optimizer", "sgd", *FEW, "--expect", "survives")
    assert all(len(line) <= columns for line in done.stdout.splitlines()[:-1])
    assert (done.returncode, done.stderr) == (0, "")
    assert "survives: no counterexample found (this is not a proof)" in " ".join(done.stdout.split())
    assert "200 problems: fails on 0, survives 200, 0 unsettled" in " ".join(done.stdout.split())
    (kept,) = tmp_path.glob("attacks/sgd/*")
    assert read_attack(kept)["counterexample"] is None


def test_settings_of_the_optimizer_are_used(in_process: CommandLine) -> None:
    settings = ("--beta1", "0", "--beta2", "0.1", "--max-period", "3", "--problems", "40")
    document = json.loads(in_process("attack", "--optimizer", "amsgrad", *settings, "--json").stdout)
    assert (document["problems"], document["falls"]) == (40, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--optimizer", "amsgrd"], 2, "did you mean amsgrad?"),
        (["--optimizer", "torch.nn.Linear"], 2, "is neither a torch.optim.Optimizer class"),
        (["--optimizer", "tests.optimizers.Global"], 2, "keeps something outside its own state"),
        (["--optimizer", "tests.optimizers.NeverFinite"], 1, "x became infinite or NaN by step"),
        (["--optimizer", "tests.optimizers.RaisesLater"], 1, "raised ZeroDivisionError at step 7: by zero"),
        (["--optimizer", "adam", "--expect", "falls"], 2, "must be 'survives', not 'falls'"),
        (["--optimizer", "adam", "--option", "nesterov=true"], 2, "nesterov"),
        (["--optimizer", "adam", "--beta2", "2"], 2, "beta2: must be less than 1"),
        (["--optimizer", "adam", "--seconds", "0"], 2, "--seconds"),
        (["--optimizer", "sgd", "--beta2", "0.5"], 2, "takes no beta2"),
        (["--optimizer", "tests.optimizers.NeedsMore"], 2, "cannot be built"),
        ([], 2, "Missing option"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    arguments: list[str], status: int, said: str, in_process: CommandLine, tmp_path: Path
) -> None:
    done = in_process("attack", *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "attacks").exists()


def test_an_impossible_output_directory_is_an_error(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = in_process("attack", "--optimizer", "sgd", "--out", "file/below")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "file" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_the_results_so_far(number: int, status: int, tmp_path: Path) -> None:
    process = start(tmp_path, "attack", "--optimizer", "sgd", "--json")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("attacks/sgd/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    (kept,) = tmp_path.glob("attacks/sgd/*")
    assert json.loads(stdout) == read_attack(kept)
    assert read_attack(kept)["interrupted"]
    assert not read_attack(kept)["finished"]
    assert stderr == f"interrupted: the results so far are in {kept.relative_to(tmp_path)}\n"


NOT_COMPILED = """
import torch


class ByLists(torch.optim.SGD):
    def step(self, closure=None):
        for param in self.param_groups[0]["params"]:
            param.data -= self.param_groups[0]["lr"] * torch.tensor(param.grad.tolist(), dtype=param.dtype)
"""


def test_time_may_run_out_while_torch_computes(tmp_path: Path) -> None:
    """A process that ended while a thread was inside torch was aborted, with status 134."""
    (tmp_path / "not_compiled.py").write_text(NOT_COMPILED)
    process = start(tmp_path, "attack", "--optimizer", "not_compiled.ByLists", "--seconds", "0.5", "--json")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0
    assert stderr.count("\n") == 1
    assert stderr.startswith("not_compiled.ByLists is not compiled")
    assert (json.loads(stdout)["falls"], json.loads(stdout)["finished"]) == (0, False)


def test_an_unfinished_attack_is_no_survival(in_process: CommandLine) -> None:
    done = in_process("attack", "--optimizer", "sgd", "--seconds", "0.1", "--expect", "survives")
    assert done.returncode == 3
    assert "verdict    not finished, out of time: 0 of 60,000 problems tried" in done.stdout
    assert done.stderr == (
        "amsgrad-exp: sgd: expected to survive, but not finished: 0 of 60,000 problems tried; increase --seconds\n"
    )


def test_an_unconfirmed_counterexample_is_no_survival(in_process: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacking, "LEAST_PAID", 10.0)  # more than any run reaches
    done = in_process("attack", "--optimizer", "signsgd", *FEW, "--no-figure", "--expect", "survives")
    assert done.returncode == 3
    assert "verdict goes to the worst point, x = +1, in the search; not confirmed" in " ".join(done.stdout.split())
    assert done.stderr.splitlines()[-1] == (
        "amsgrad-exp: signsgd: expected to survive, but a counterexample is suspected, not confirmed: "
        "3 once, −1 twice, x* = −1"
    )


def test_a_note_says_that_an_optimizer_is_not_compiled(in_process: CommandLine) -> None:
    done = in_process("attack", "--optimizer", "torch.optim.LBFGS", "--seconds", "0.1")
    (note,) = done.stderr.splitlines()
    assert note.startswith("torch.optim.LBFGS is not compiled, because it evaluates the loss itself, by a closure:")


def test_the_command_of_an_attack_repeats_it(in_process: CommandLine, tmp_path: Path) -> None:
    settings = "--optimizer amsgrad --lr 0.5 --beta1 0 --beta2 0.1 --option dialect=paper --seed 7".split()
    limits = ("--problems", "2000", "--max-period", "4")  # with random problems
    first = json.loads(in_process("attack", *settings, *limits, "--json").stdout)
    (directory,) = tmp_path.glob("attacks/amsgrad/*")
    command = Attack.read(directory).command()
    assert command is not None
    again = json.loads(in_process(*shlex.split(command)[1:], "--json").stdout)
    told = {"seconds", "search_seconds", "started"}
    assert {name: again[name] for name in again if name not in told} == {
        name: first[name] for name in first if name not in told
    }
    assert first["settings"]["options"]["dialect"] == "paper"
    assert first["limits"]["seed"] == 7
