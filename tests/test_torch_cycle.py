"""Fast-forwarding of any torch optimizer: the bits of the full simulation, wherever it counts its steps."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.engines.torch_loop import TorchEngine
from amsgrad_exp.problems.reddi import Online
from amsgrad_exp.schedules import Constant
from amsgrad_exp.trace import Trace

STEPS = 2500


@pytest.fixture(autouse=True)
def _short_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are compared every 60 steps instead of every 900."""
    monkeypatch.setattr(TorchEngine, "chunk_steps", 100)


def go(path: str, *, fast_forward: bool = True, steps: int = STEPS, **arguments: Any) -> tuple[Trace, Chunk]:
    # Sums of these losses are exact in float64, so that regrets are the same bits too.
    problem = Online(period=5, steep=48.0, shallow=-8.0)
    engine = TorchEngine(path, problem, Constant(0.125), arguments=arguments)
    chunks = list(drive(engine, steps, 7, fast_forward=fast_forward))
    return Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1]


def derived(path: str, **arguments: Any) -> int:
    """How many steps were derived, of a run that is what full simulation is."""
    full, _ = go(path, fast_forward=False, **arguments)
    fast, last = go(path, **arguments)
    for name, column in full.columns.items():
        assert fast.columns[name].tobytes() == column.tobytes()
    return STEPS - last.steps_simulated


FAST: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"betas": (0.5, 0.5)}),
    ("Adam", {"betas": (0.5, 0.5), "foreach": True}),
    ("AdamW", {"betas": (0.5, 0.9), "amsgrad": True}),
    ("Adamax", {"betas": (0.5, 0.9)}),
    ("NAdam", {"betas": (0.5, 0.9), "momentum_decay": 1.0}),
    ("RAdam", {"betas": (0.5, 0.5)}),
    ("RMSprop", {"alpha": 0.5, "centered": True, "momentum": 0.5}),
    ("Rprop", {}),
    ("SGD", {"momentum": 0.5, "nesterov": True}),
]


@pytest.mark.parametrize(("name", "arguments"), FAST, ids=str)
def test_optimizers_that_come_to_forget_t_are_fast_forwarded_to_the_same_bits(
    name: str, arguments: dict[str, Any]
) -> None:
    assert derived(f"torch.optim.{name}", **arguments) > 0


SLOW: list[tuple[str, dict[str, Any]]] = [
    ("Adagrad", {"lr_decay": 0.1}),  # lr/(1 + t·lr_decay)
    ("ASGD", {}),
    ("Adafactor", {}),
    ("NAdam", {"betas": (0.5, 0.9)}),  # 0.96^(t/250) is not yet 0
    ("Adam", {"betas": (0.5, 0.9999)}),
]


@pytest.mark.parametrize(("name", "arguments"), SLOW, ids=str)
def test_optimizers_that_depend_on_t_are_simulated(name: str, arguments: dict[str, Any]) -> None:
    assert derived(f"torch.optim.{name}", **arguments) == 0


@pytest.mark.parametrize("name", ["InState", "InATensor", "InAGroup"])
def test_a_turn_that_is_to_come_is_seen_where_steps_are_counted_in_the_state(name: str) -> None:
    """At step 600 it comes, and the run repeats itself after it; at 500,000 it would come after the run's end."""
    assert 0 < derived(f"tests.counting.{name}", at=600) < STEPS - 600
    assert derived(f"tests.counting.{name}", at=500_000) == 0
    assert derived(f"tests.counting.{name}", at=-1) > 0


HIDDEN = [
    "InAnAttribute",
    "InTheClass",
    "InTheParameter",
    "InAClosure",
    "Globally",
    "InATable",
    "ByIterator",
    "InADefault",
]


@pytest.mark.parametrize("name", HIDDEN)
def test_what_counts_its_steps_out_of_sight_is_simulated(name: str) -> None:
    assert go(f"tests.counting.{name}", at=500_000)[1].steps_simulated == STEPS


def test_a_trial_far_ahead_leaves_nothing_behind() -> None:
    assert derived("tests.counting.ForAll", at=500_000) == 0


def test_a_trial_that_ends_the_program_does_not() -> None:
    assert derived("tests.counting.ToAnEnd", at=500_000) == 0


def test_random_numbers_are_drawn_by_the_run_alone() -> None:
    traces = []
    for fast_forward in (False, True):
        random.seed(3)
        np.random.seed(3)
        trace, last = go("tests.optimizers.Random", fast_forward=fast_forward, steps=1000)
        assert last.steps_simulated == 1000
        traces.append(trace.x.tobytes())
    assert traces[0] == traces[1]
