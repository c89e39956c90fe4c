"""Tests of the torch engine: its fast step gives the same bits as a plain loop, and half precision works."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import torch_step
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.problems import Online, Problem
from amsgrad_exp.problems.convergence import BockWeiss, Components, ShiNonrealizable
from amsgrad_exp.records.recorder import record, resume
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.schedules import InverseSquareRoot
from amsgrad_exp.spec.read import load_experiment
from tests.trials import literal
from tests.watching import Watched

OTHERS = {"Optimizer", "LBFGS", "SparseAdam"}  # LBFGS evaluates the loss itself; SparseAdam takes sparse gradients only
TORCHS = [
    f"torch.optim.{name}" for name, kind in vars(torch.optim).items() if inspect.isclass(kind) and name not in OTHERS
]
RULES = [f"amsgrad_exp.optimizers.{name}" for name in ("Adam", "AMSGrad", "ADOPT", "AdaShift", "Lion")]
PLANTED = [f"tests.optimizers.{name}" for name in ("Accumulating", "Keeping", "Faulty")]
WITH_HOOKS = [f"tests.optimizers.{name}" for name in ("Clearing", "InBackward", "Looking")]

PROBLEMS = [
    Online(low=0.0, period=7, steep=80.0),
    Components(n=3, a=2.0),
    BockWeiss(start_at=1e-20),
    ShiNonrealizable(n=4, b=3.0),
]


def engine(path: str, problem: Problem, dtype: str) -> Batch:
    return literal(path, problem, InverseSquareRoot(0.1), dtype)


def outcome(engine: Batch, steps: int = 150) -> list[Any]:
    columns = engine.advance(steps, 1).runs(0).columns.values()
    numbers = (engine.step, engine.failure, repr((engine.x, engine.totals.tolist())))
    return [*(column.tobytes() for column in columns), *numbers]


def always_use_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_step, "sees_gradients_alone", lambda optimizer, param: False)


def forbid_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise AssertionError("differentiated")

    monkeypatch.setattr(torch.Tensor, "backward", fail)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@pytest.mark.parametrize("path", [*TORCHS, *RULES, *PLANTED])
def test_setting_the_gradient_equals_backward(path: str, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        if problem.interval[0] == 0:  # on the others the engine differentiates where a slope is very small
            forbid_backward(patch)
        fast = [outcome(engine(path, problem, dtype)) for dtype in ("float32", "float64")]
    always_use_backward(monkeypatch)
    assert fast == [outcome(engine(path, problem, dtype)) for dtype in ("float32", "float64")]


def test_the_optimizers_above_are_all_of_torch() -> None:
    assert {"Adam", "NAdam", "Adafactor", "Muon", "Rprop", "ASGD"} <= {path.split(".")[-1] for path in TORCHS}


@pytest.mark.parametrize("path", WITH_HOOKS)
def test_an_optimizer_with_hooks_is_stepped_with_backward(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = outcome(engine(path, PROBLEMS[0], "float32"))
    always_use_backward(monkeypatch)
    assert ours == outcome(engine(path, PROBLEMS[0], "float32"))
    forbid_backward(monkeypatch)
    failed = engine(path, PROBLEMS[0], "float32")
    failed.advance(10, 1)
    assert "differentiated" in str(failed.failure)


def test_a_users_wrapper_around_a_step_is_not_bypassed() -> None:
    flat = Online(steep=1.0, shallow=-1.0, period=3, phase=1)
    once, twice = (
        engine(path, flat, "float64").advance(2, 1).runs(0) for path in ("torch.optim.SGD", "tests.optimizers.Wrapped")
    )
    assert (once.x[1], twice.x[1]) == (0.1, 0.2)


HALVES = ["bfloat16", "float16"]
STEPS = 300


def by_hand(make: Callable[[Any], torch.optim.Optimizer], problem: Problem, dtype: str, steps: int) -> list[float]:
    """The iterates of a plain loop, in which the loss is of a float32 copy of the parameter."""
    x = torch.nn.Parameter(torch.tensor([problem.start], dtype=getattr(torch, dtype)))
    optimizer, xs = make([x]), []
    coefficients = problem.coefficients(0, steps).T.astype(np.float32).tolist()
    for c, lr in zip(coefficients, InverseSquareRoot(0.1).step_sizes(0, steps).tolist(), strict=True):
        xs.append(x.item())
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        problem.loss(x.float(), *c).sum().backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(*problem.interval)
    return xs


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("problem", [Online(), Components(n=3, a=2.0)], ids=lambda problem: problem.name)
@pytest.mark.parametrize("name", ["Adam", "NAdam", "SGD", "RMSprop"])
def test_the_engine_equals_a_plain_loop_in_half_precision(name: str, problem: Problem, dtype: str) -> None:
    engine = literal(f"torch.optim.{name}", problem, InverseSquareRoot(0.1), dtype)
    trace = engine.advance(STEPS, 1).runs(0)
    assert engine.failure is None
    assert trace.x.tolist() == by_hand(lambda params: getattr(torch.optim, name)(params, lr=0.1), problem, dtype, STEPS)
    assert len(set(trace.x.tolist())) > 20


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ({"optimizers": ["torch.optim.Adam"], "steps": 4000, "schedule": "inv-sqrt"}, "bfloat16"),
        ({"optimizers": ["adam"], "steps": 6000}, "float16"),  # so long that its state is compared with earlier ones
    ],
    ids=str,
)
def test_half_precision_is_recorded_resumed_and_verified(given: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    (trial,) = load_experiment(**given, dtype=dtype).trials()
    whole = record(trial, tmp_path / "whole")
    part = record(trial, tmp_path / "part", Watched(0))
    resumed = resume(part)
    assert (resumed.directory / "trace.csv").read_bytes() == (whole.directory / "trace.csv").read_bytes()
    assert verify(whole).first_step is None
    with pytest.raises(ConfigError, match=rf"^the compiled engine has float32 and float64, not {dtype}: use engine"):
        verify(whole, "compiled")
    assert (whole.summary.engine, whole.summary.dtype) == ("torch", dtype)
