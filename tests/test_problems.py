from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from amsgrad_exp.problems.base import Problem
from amsgrad_exp.problems.online import Online
from amsgrad_exp.problems.stochastic import Stochastic
from amsgrad_exp.problems.theorem1 import Theorem1

ALL = [Online(), Online(period=7, phase=0, steep=20, shallow=-3), Stochastic(), Theorem1(C=4)]


def test_the_papers_slopes() -> None:
    assert Online().coefficients(0, 10_000)[0].tolist() == [1010.0 if t % 101 == 1 else -10.0 for t in range(10_000)]
    assert Theorem1(C=5).coefficients(0, 30)[0].tolist() == [5.0 if t % 3 == 1 else -1.0 for t in range(30)]


@pytest.mark.parametrize("problem", ALL, ids=repr)
@given(start=st.integers(0, 10**18), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_slopes_depend_on_the_step_alone(problem: Problem, start: int, cuts: list[int]) -> None:
    whole = problem.coefficients(start, start + 300, seed=3)[0]
    bounds = [0, *sorted(cuts), 300]
    pieces = [problem.coefficients(start + a, start + b, seed=3)[0] for a, b in itertools.pairwise(bounds)]
    assert np.array_equal(np.concatenate(pieces), whole)
    period = problem.steps_per_period
    if period is not None:
        assert np.array_equal(problem.coefficients(start + period, start + period + 300)[0], whole)


def test_stochastic_slopes_follow_the_seed_and_the_probability() -> None:
    problem = Stochastic(probability=0.25)
    slopes = problem.coefficients(0, 100_000, seed=1)[0]
    assert set(slopes.tolist()) == {1010.0, -10.0}
    assert np.mean(slopes == 1010) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 100_000) ** 0.5)
    assert not np.array_equal(slopes, problem.coefficients(0, 100_000, seed=2)[0])


@pytest.mark.parametrize("problem", ALL, ids=repr)
def test_mean_slope_and_optimum(problem: Problem) -> None:
    steps = (problem.steps_per_period or 1) * 200_000
    spread = 5 * np.std(problem.coefficients(0, 1000)[0]) / steps**0.5 if problem.steps_per_period is None else 1e-12
    assert np.mean(problem.coefficients(0, steps, seed=5)[0]) == pytest.approx(
        problem.mean_slope, abs=spread, rel=1e-12
    )
    assert (problem.optimum, problem.worst) == (-1.0, 1.0)


def test_the_optimum_follows_the_mean_slope() -> None:
    assert Online(steep=500).mean_slope < 0
    assert Online(steep=500, low=-3, high=2).optimum == 2
    assert Online(low=0.5, high=2).start == 0.5
    assert Online().start == 0


@pytest.mark.parametrize(
    ("kind", "constants", "message"),
    [
        (Online, {"low": 1, "high": 1}, "empty"),
        (Online, {"phase": 101}, "phase must be less than period"),
        (Online, {"period": 0}, "greater than or equal to 1"),
        (Online, {"steep": float("nan")}, "finite"),
        (Online, {"steep": 10, "shallow": -10, "period": 2}, "mean slope is 0"),
        (Online, {"steep": True}, "number is needed"),
        (Stochastic, {"probability": 1}, "less than 1"),
        (Theorem1, {"C": 2}, "greater than 2"),
        (Theorem1, {"c": 3}, "not permitted"),
    ],
)
def test_impossible_constants_are_refused(kind: type[Problem], constants: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(constants)


def test_the_theorems_settings_satisfy_its_conditions() -> None:
    for C in (2.01, 3.0, 10.0, 1000.0):
        settings = Theorem1(C=C).natural_settings
        assert settings["beta1"] == 0
        assert settings["beta2"] == 1 / (1 + C**2)
        assert 0 < float(settings["lr"]) < (1 - float(settings["beta2"])) ** 0.5
