"""Half precision on the torch engine: the parameter in bfloat16 or float16, losses and gradients in float32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.problems import Online, Problem
from amsgrad_exp.problems.convergence import Components
from amsgrad_exp.records.recorder import record, resume
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.schedules import InverseSquareRoot
from amsgrad_exp.spec.read import load_experiment
from tests.conftest import CommandLine
from tests.trials import literal
from tests.watching import Watched

HALVES = ["bfloat16", "float16"]
STEPS = 300


def by_hand(make: Callable[[Any], torch.optim.Optimizer], problem: Problem, dtype: str, steps: int) -> list[float]:
    """The literal loop, with the loss of a float32 copy of the parameter."""
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
def test_the_engine_takes_the_steps_of_a_loop_in_half_precision(name: str, problem: Problem, dtype: str) -> None:
    engine = literal(f"torch.optim.{name}", problem, InverseSquareRoot(0.1), dtype)
    trace = engine.advance(STEPS, 1).lanes(0)
    assert engine.failure is None
    assert trace.x.tolist() == by_hand(lambda params: getattr(torch.optim, name)(params, lr=0.1), problem, dtype, STEPS)
    assert len(set(trace.x.tolist())) > 20


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "given",
    [
        {"optimizers": ["torch.optim.Adam"], "steps": 4000, "schedule": "inv-sqrt"},
        {"optimizers": ["adam"], "steps": 6000},  # until its state is compared with earlier ones
    ],
    ids=str,
)
def test_a_run_in_half_precision_is_recorded_resumed_and_verified(
    given: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    (trial,) = load_experiment(**given, dtype=dtype).trials()
    whole = record(trial, tmp_path / "whole")
    part = record(trial, tmp_path / "part", Watched(0))
    resumed = resume(part)
    assert (resumed.directory / "trace.csv").read_bytes() == (whole.directory / "trace.csv").read_bytes()
    assert verify(whole).first_step is None
    with pytest.raises(ConfigError, match=rf"^the compiled engine has float32 and float64, not {dtype}: use engine"):
        verify(whole, "compiled")


def test_what_half_precision_is_not_for_is_said_in_a_line(in_process: CommandLine) -> None:
    for arguments, said in (
        (["--engine", "compiled"], "the compiled engine has float32 and float64, not bfloat16"),
        (["--bound"], "a regret bound is computed in double precision, and says nothing of bfloat16"),
    ):
        done = in_process("run", "--optimizer", "adam", "--dtype", "bfloat16", "--steps", "50", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr
    done = in_process("run", "--dtype", "float16", "--set", "steep=1e5", "--steps", "50")
    assert done.returncode == 2
    assert "too large for float16" in done.stderr
    done = in_process("run", "--optimizer", "adam", "--dtype", "float16", "--steps", "50", "--json")
    (document,) = json.loads(done.stdout)["runs"]
    assert (document["engine"], document["dtype"]) == ("torch", "float16")
