"""What an optimizer ties together that one parameter with one element does not show."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import shared_between
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.read import load_experiment
from tests.conftest import CommandLine

TIED = {
    "tests.optimizers.SharedByParameters": "parameters",
    "tests.optimizers.CountsParameters": "parameters",
    "tests.optimizers.Coupled": "parameters",
    "tests.optimizers.SharedByGroups": "groups",
    "tests.optimizers.CountsGroups": "groups",
    "tests.optimizers.SignError": "groups",  # never looks at its second group
    "tests.optimizers.SharedByElements": "elements",
    "tests.optimizers.Normed": "elements",
    # By their definition: curvature from all parameters, a trust ratio, a norm of the update, one moment for a tensor.
    "torch.optim.LBFGS": "parameters",
    "torch.optim.Adafactor": "elements",
    "torch.optim.Muon": "elements",
    "pytorch_optimizer.Lamb": "elements",
    "pytorch_optimizer.NovoGrad": "elements",
}
APART = [
    *(
        f"torch.optim.{name}"
        for name in "ASGD Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD".split()
    ),
    *(f"pytorch_optimizer.{name}" for name in "ADOPT AdaBelief AdaBound Adan DiffGrad Lion QHAdam SWATS Yogi".split()),
    *(f"tests.optimizers.{name}" for name in "Port Random".split()),
    *(f"tests.factories.{name}" for name in "adam lookahead OfAModel Named Matrices Curved".split()),
]


def found(path: str) -> str | None:
    return shared_between(load_experiment(optimizers=[path], settings={"lr": 0.001}).trials()[0])


@pytest.mark.parametrize("path", TIED)
def test_what_is_tied_together_is_found(path: str) -> None:
    assert found(path) == TIED[path]


@pytest.mark.parametrize("path", APART)
def test_nothing_is_said_of_what_keeps_its_parameters_apart(path: str) -> None:
    assert found(path) is None


def test_our_own_classes_keep_their_parameters_apart() -> None:
    for path in sorted({known.path for known in OPTIMIZERS.values()}):
        assert found(path) is None, path


def test_finding_out_leaves_random_generators_as_they_were() -> None:
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    before = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    (trial,) = load_experiment(optimizers=["tests.optimizers.Random"], settings={"lr": 0.0321}).trials()
    assert shared_between(trial) is None
    assert torch.equal(torch.rand(3), before[0])
    assert (random.random(), np.random.rand()) == before[1:]


def test_runs_attacks_and_gauntlets_say_it(in_process: CommandLine) -> None:
    for path in ("tests.optimizers.CountsParameters", "torch.optim.Adam", "adam"):
        done = in_process("run", "--optimizer", path, "--steps", "100", "--json")
        assert json.loads(done.stdout)["runs"][0]["shared_between"] == TIED.get(path)
        limits = ("--problems", "2", "--no-figure")
        if "." in path:
            done = in_process("attack", "--optimizer", path, *limits, "--json")
            assert json.loads(done.stdout)["shared_between"] == TIED.get(path)
        done = in_process(
            "gauntlet", "--optimizer", path, "--problem", "online", "--schedule", "constant", "--settings", "stated",
            "--steps", "200", "--no-figure", "--json",
        )  # fmt: skip
        assert [cell["shared_between"] for cell in json.loads(done.stdout)["cells"]] == [TIED.get(path)]
        assert done.stderr.count("depends on the other parameters") == (path in TIED)
    done = in_process(
        "compare", "--optimizer", "tests.optimizers.CountsGroups", "--optimizer", "adam", "--steps", "100"
    )
    assert (
        "tests.optimizers.CountsGroups: the update of one parameter depends on the parameters of other groups"
        in done.stdout
    )
    done = in_process("run", "--optimizer", "tests.optimizers.SharedByElements", "--steps", "100")
    assert "the update of one element depends on the other elements of its parameter" in done.stdout
