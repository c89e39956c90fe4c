"""The torch engine's lean step: the bits of the literal one, with whatever optimizer."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

import pytest
import torch

from amsgrad_exp.engines import torch_step
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.problems import Online, Problem
from amsgrad_exp.problems.convergence import BockWeiss, Components, ShiNonrealizable
from amsgrad_exp.schedules import InverseSquareRoot
from tests.trials import literal

OTHERS = {"Optimizer", "LBFGS", "SparseAdam"}  # LBFGS evaluates the loss itself; SparseAdam takes no dense gradient
TORCHS = [
    f"torch.optim.{name}" for name, kind in vars(torch.optim).items() if inspect.isclass(kind) and name not in OTHERS
]
RULES = [f"amsgrad_exp.optimizers.{name}" for name in ("Adam", "AMSGrad", "ADOPT", "AdaShift", "Lion")]
PLANTED = [f"tests.optimizers.{name}" for name in ("Accumulating", "Keeping", "Faulty")]
LITERAL = [f"tests.optimizers.{name}" for name in ("Clearing", "InBackward", "Looking")]

PROBLEMS = [
    Online(low=0.0, period=7, steep=80.0),
    Components(n=3, a=2.0),
    BockWeiss(start_at=1e-20),
    ShiNonrealizable(n=4, b=3.0),
]


def engine(path: str, problem: Problem, dtype: str) -> Batch:
    return literal(path, problem, InverseSquareRoot(0.1), dtype)


def outcome(engine: Batch, steps: int = 150) -> list[Any]:
    columns = engine.advance(steps, 1).lanes(0).columns.values()
    numbers = (engine.step, engine.failure, repr((engine.x, engine.totals.tolist())))
    return [*(column.tobytes() for column in columns), *numbers]


def literally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_step, "sees_gradients_alone", lambda optimizer, param: False)


def without_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("differentiated")

    monkeypatch.setattr(torch.Tensor, "backward", refuse)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@pytest.mark.parametrize("path", [*TORCHS, *RULES, *PLANTED])
def test_a_gradient_that_is_set_gives_the_bits_of_one_that_is_computed(
    path: str, problem: Problem, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if problem.interval[0] == 0:  # on the others a slope may be small enough to be differentiated
            without_autograd(patch)
        lean = outcome(engine(path, problem, dtype))
    literally(monkeypatch)
    assert lean == outcome(engine(path, problem, dtype))


def test_every_optimizer_of_torch_is_among_them() -> None:
    assert {"Adam", "NAdam", "Adafactor", "Muon", "Rprop", "ASGD"} <= {path.split(".")[-1] for path in TORCHS}


@pytest.mark.parametrize("path", LITERAL)
def test_an_optimizer_with_hooks_is_stepped_as_any_program_would(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = outcome(engine(path, PROBLEMS[0], "float32"))
    literally(monkeypatch)
    assert ours == outcome(engine(path, PROBLEMS[0], "float32"))
    without_autograd(monkeypatch)
    refused = engine(path, PROBLEMS[0], "float32")
    refused.advance(10, 1)
    assert "differentiated" in str(refused.failure)


def test_somebodys_wrapper_around_a_step_is_not_taken_for_torchs() -> None:
    flat = Online(steep=1.0, shallow=-1.0, period=3, phase=1)
    once, twice = (
        engine(path, flat, "float64").advance(2, 1).lanes(0) for path in ("torch.optim.SGD", "tests.optimizers.Wrapped")
    )
    assert (once.x[1], twice.x[1]) == (0.1, 0.2)
