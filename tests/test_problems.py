"""Tests of the problems: their losses, optima and verdicts, the constants of the papers, and invalid constants."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from amsgrad_exp.engines.torch_step import SMALLEST_SLOPE
from amsgrad_exp.problems import PROBLEMS, Cycle, LinearProblem, Online, Problem, Stochastic, Theorem1
from amsgrad_exp.problems.reddi import Theorem2, Theorem3
from amsgrad_exp.problems.repairs import AdaboundTheorem1
from amsgrad_exp.verdict import Verdict

CONSTANTS: dict[str, dict[str, Any]] = {"cycle": {"slopes": "74,-1x73"}}
REGISTERED = [kind(**CONSTANTS.get(name, {})) for name, kind in PROBLEMS.items()]
ALL = [*REGISTERED, Online(period=7, phase=0, steep=20, shallow=-3), Theorem1(C=4), Cycle(slopes=(3, -1, -1))]
LINEAR = [problem for problem in ALL if isinstance(problem, LinearProblem)]


def bits(number: Any) -> tuple[np.dtype[Any], bytes]:
    array = np.asarray(number)
    return array.dtype, array.tobytes()


every_problem = pytest.mark.parametrize("problem", ALL, ids=repr)


@every_problem
@settings(max_examples=25)
@given(start=st.integers(0, 10**18), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_coefficients_depend_only_on_the_step_and_the_seed(problem: Problem, start: int, cuts: list[int]) -> None:
    whole = problem.coefficients(start, start + 300, seed=3)
    bounds = [0, *sorted(cuts), 300]
    pieces = [problem.coefficients(start + a, start + b, seed=3) for a, b in itertools.pairwise(bounds)]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)
    period = problem.steps_per_period
    if period is not None:
        assert np.array_equal(problem.coefficients(start + period, start + period + 300), whole)
    else:
        one, other = (problem.coefficients(start, start + 3000, seed=seed) for seed in (3, 4))
        assert not np.array_equal(one, other)


@every_problem
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=25)
@given(x=st.floats(-4, 4) | st.floats(-1e9, 1e9) | st.floats(-1e-28, 1e-28), t=st.integers(0, 1000))
def test_loss_and_slope_have_the_same_bits_as_in_torch(problem: Problem, dtype: str, x: float, t: int) -> None:
    """The torch engine computes them with NumPy, where a plain loop has a tensor and its derivative."""
    number = np.dtype(dtype).type
    c = problem.coefficients(t, t + 1)[:, 0].tolist()
    at = torch.tensor([x], dtype=getattr(torch, dtype), requires_grad=True)
    loss = problem.loss(at, *c)
    (derivative,) = torch.autograd.grad(loss.sum(), at)
    assert bits(problem.loss(number(x), *map(number, c))) == bits(loss.detach().numpy())
    slope = problem.slope(number(x), *map(number, c))
    if isinstance(problem, LinearProblem) or abs(slope) >= SMALLEST_SLOPE:
        assert bits(slope) == bits(derivative.numpy())
    else:
        assert abs(derivative.item()) <= 2 * SMALLEST_SLOPE


@every_problem
def test_no_point_has_a_smaller_mean_loss_than_the_optimum(problem: Problem) -> None:
    """Over a period, or over so many random steps that chance matters less than the differences."""
    steps = problem.steps_per_period or 4_000_000
    drawn = problem.coefficients(0, steps, seed=7)
    numbers, times = np.unique(drawn if len(drawn) > 1 else drawn[0], axis=-1, return_counts=True)  # quick for one row
    low, high = (max(-4.0, problem.comparators[0]), min(4.0, problem.comparators[1]))

    def mean_loss(x: float) -> float:
        return float(
            sum(problem.loss(x, *c) * n for c, n in zip(np.atleast_2d(numbers).T.tolist(), times.tolist(), strict=True))
            / steps
        )

    assert all(mean_loss(x) > mean_loss(problem.optimum) for x in np.linspace(low, high, 9) if x != problem.optimum)
    assert problem.comparators[0] <= problem.optimum <= problem.comparators[1]
    assert problem.interval[0] <= problem.start <= problem.interval[1]
    assert problem.verdict(problem.optimum) is Verdict.OPTIMUM


@every_problem
def test_a_problem_reads_back_as_written(problem: Problem) -> None:
    assert type(problem).model_validate(problem.model_dump(mode="json")) == problem


def test_a_cycle_may_be_written_with_repeated_slopes() -> None:
    for text, slopes in (("74,-1x73", (74, *[-1] * 73)), ("1.9, -1 x 2", (1.9, -1, -1)), ("3", (3,))):
        assert Cycle(slopes=text).slopes == slopes
    assert Cycle(slopes=(3, -1, -1)) == Cycle(slopes=["3", "-1x2"])
    assert Cycle(slopes=(74, *[-1] * 73)).model_dump()["slopes"] == "74.0,-1.0x73"
    assert Cycle(slopes="1e308,1e308").mean_slope == 1e308
    assert Cycle(slopes=(2, -1)).coefficients(3, 8)[0].tolist() == [-1, 2, -1, 2, -1]


def test_slopes_are_those_of_the_papers() -> None:
    """The papers count t from 1."""
    slopes = {
        "online": ({"period": 3}, [-10, 1010, -10, -10, 1010, -10]),
        "theorem1": ({"C": 5}, [-1, 5, -1, -1, 5, -1]),
        "theorem2": ({"C": 4}, [4, -1, -1, -1, 4, -1]),
        "theorem6": ({"C": 4, "epsilon": 0.01}, [4, -1, -1, 4, -1, -1]),
        "adopt-cycle": ({}, [1.9, -1, -1, 1.9, -1, -1]),
        "adashift-sequential": ({"C": 5, "d": 4}, [5, -1, -1, -1, 5, -1]),
        "adabound-theorem1": ({"C": 4}, [-1, 2, 0, 0, -1, 2]),
        "shi-boundary": ({"C": 3}, [3, -1, -1, 3, -1, -1]),
    }
    for name, (constants, expected) in slopes.items():
        problem = PROBLEMS[name].model_validate(constants)
        assert problem.coefficients(0, 6)[0].tolist() == expected, name
    chances = {
        "stochastic": (1010, -10, 0.01),
        "theorem3": (101, -1, 0.01),
        "adashift-stochastic": (101, -1, 0.01),
        "adopt-toy": (2500, -50, 0.02),
    }
    for name, (steep, shallow, probability) in chances.items():
        drawn = PROBLEMS[name].model_validate({}).coefficients(0, 100_000, seed=1)[0]
        assert set(drawn.tolist()) == {steep, shallow}
        assert np.mean(drawn == steep) == pytest.approx(probability, abs=4 * (probability / 100_000) ** 0.5)
    assert np.array_equal(Stochastic().coefficients(0, 10**4) / 10, Theorem3().coefficients(0, 10**4))


@pytest.mark.parametrize(
    ("names", "verdicts"),
    [
        ("components", {-2.0: "optimum", -1.91: "optimum", -1.8: "between", 0.0: "between", 0.1: "away", -4.1: "away"}),
        (
            "adashift-sequential adashift-stochastic",
            {-7.0: "optimum", -0.9: "optimum", -0.8: "between", 0.8: "between", 0.9: "away", 50.0: "away"},
        ),
        # It starts at the optimum, so that the distance to the minima of its losses is used.
        ("shi-nonrealizable", {0.0: "optimum", -4.9: "optimum", 5.1: "between", -99.0: "between", 101.0: "away"}),
    ],
)
def test_the_verdict_on_an_unbounded_problem_depends_on_the_distance(names: str, verdicts: dict[float, str]) -> None:
    for name in names.split():
        problem = PROBLEMS[name].model_validate({})
        assert {x: problem.verdict(x) for x in verdicts} == verdicts
        assert problem.interval == (-np.inf, np.inf)
        assert problem.comparators == ((-1, 1) if name.startswith("adashift") else problem.interval)


@pytest.mark.parametrize("problem", LINEAR, ids=repr)
def test_mean_slope_and_optimum(problem: LinearProblem) -> None:
    steps = problem.steps_per_period or 200_000
    spread = 5 * np.std(problem.coefficients(0, 1000)[0]) / steps**0.5 if problem.steps_per_period is None else 1e-12
    assert np.mean(problem.coefficients(0, steps, seed=5)[0]) == pytest.approx(
        problem.mean_slope, abs=spread, rel=1e-12
    )
    assert sorted([problem.optimum, problem.worst]) == [problem.low, problem.high]
    assert problem.verdict(problem.worst) is (Verdict.WORST if np.isfinite(problem.interval[0]) else Verdict.AWAY)
    assert problem.verdict((problem.optimum + problem.worst) / 2) is Verdict.BETWEEN


def test_the_optimum_and_the_verdict_depend_on_the_mean_slope() -> None:
    assert Online(steep=500).mean_slope < 0
    assert Online(steep=500, low=-3, high=2).optimum == 2
    assert Online(low=0.5, high=2).start == 0.5
    assert Online().start == 0
    verdicts = {-0.901: "optimum", -0.89: "between", 0.89: "between", 0.901: "worst"}
    assert {x: Online().verdict(x) for x in verdicts} == verdicts
    assert Online(steep=-1010, shallow=10).verdict(-0.901) == "worst"


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
        (Cycle, {"slopes": "1,-1"}, "mean slope is 0"),
        (Cycle, {"slopes": ""}, "valid number"),
        (Cycle, {"slopes": []}, "at least 1 item"),
        (Cycle, {"slopes": "1x999999999"}, "at most 100,000 slopes"),
        (Cycle, {"slopes": "1x"}, "valid number"),
        (Cycle, {"slopes": 3}, "valid tuple"),
        (Cycle, {"slopes": "1,nan"}, "finite number"),
        (Cycle, {}, "Field required"),
        (Theorem1, {"c": 3}, "not permitted"),
        (PROBLEMS["theorem2"], {"C": 2.5}, "valid integer"),
        (PROBLEMS["theorem3"], {"delta": 0}, "greater than 0"),
        (PROBLEMS["adopt-cycle"], {"steep": 2}, "less than 2"),
        (PROBLEMS["adashift-sequential"], {"C": 100}, "mean slope is 0"),
        (PROBLEMS["bock-weiss"], {"start_at": 0}, "from which x never moves"),
        (PROBLEMS["shi-realizable"], {"start_at": 0}, "from which x never moves"),
    ],
)
def test_invalid_constants_are_rejected(kind: type[Problem], constants: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(constants)


def test_the_settings_of_the_theorems_satisfy_their_conditions() -> None:
    for C in (2.01, 3.0, 10.0, 1000.0):
        stated = Theorem1(C=C).source_settings
        assert stated["beta1"] == 0
        assert stated["beta2"] == 1 / (1 + C**2)
        assert 0 < float(stated["lr"]) < (1 - float(stated["beta2"])) ** 0.5
    C, stated = Theorem2().C, Theorem2().source_settings
    beta1, beta2 = float(stated["beta1"]), float(stated["beta2"])
    gamma = beta1 / beta2**0.5
    assert C % 2 == 0
    assert (1 - beta1) * beta1 ** (C - 1) * C <= 1 - beta1 ** (C - 1)
    assert beta2 ** ((C - 2) / 2) * C**2 <= 1 < beta2 ** ((C - 4) / 2) * (C - 2) ** 2
    sum_of_gammas = 1 + gamma * (1 - gamma ** (C - 1)) / (1 - gamma)
    assert 3 * (1 - beta1) / (2 * (1 - beta2) ** 0.5) * sum_of_gammas + beta1 ** (C / 2 - 1) / (1 - beta1) < C / 3
    C, beta2 = AdaboundTheorem1().C, float(AdaboundTheorem1().source_settings["beta2"])
    assert 5 * beta2 ** (C - 2) <= (1 - beta2) / (4 - beta2) < 5 * beta2 ** (C - 3)
