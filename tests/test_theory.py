"""Tests of the theory of where iterates go, by computing it by hand and by comparing it with simulations."""

import numpy as np
import pytest

from amsgrad_exp import theory
from amsgrad_exp.engines import build
from amsgrad_exp.engines.driver import drive
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.problems import PROBLEMS, Cycle, LinearProblem, Online, Stochastic, Theorem1
from amsgrad_exp.rules.moments import steady_state
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from amsgrad_exp.spec.sweep import load_sweep
from amsgrad_exp.sweeps.compute import AT_ONCE, blocks, run_block
from amsgrad_exp.theory import critical_beta2, destination, drift, limit
from tests.trials import make_trial

# Cells count as away from the boundary if |D| is at least this part of the sum of |terms of D|.
MARGIN = 1e-3


def test_the_drift_of_theorem_1_by_hand() -> None:
    """β1 = 0: m is the gradient, v_j a weighted mean of C², 1, 1; D = C/√v_1 − 1/√v_2 − 1/√v_0."""
    C, beta2 = 3.0, 0.25
    weight = (1 - beta2) / (1 - beta2**3)
    squares = [(1, 1, C**2), (C**2, 1, 1), (1, C**2, 1)]  # of this step and the two before it, for t mod 3 = 0, 1, 2
    v = [weight * (now + beta2 * before + beta2**2 * earlier) for now, before, earlier in squares]
    expected = C / v[1] ** 0.5 - 1 / v[2] ** 0.5 - 1 / v[0] ** 0.5
    assert drift(Theorem1(C=C), "adam", 0.0, beta2) == pytest.approx(expected, rel=1e-12)


def test_amsgrad_goes_to_the_optimum_for_all_betas() -> None:
    beta1, beta2 = np.meshgrid(np.linspace(0, 0.999, 40), np.linspace(0, 0.99999, 40))
    for problem in (Online(), Theorem1(C=2.01), Online(steep=-1010, shallow=10)):
        assert np.all(destination(problem, drift(problem, "amsgrad", beta1, beta2)) == "optimum")
        assert critical_beta2(problem, "amsgrad", 0.9) == []


def test_the_destination_on_an_unbounded_problem_is_a_direction() -> None:
    problem = PROBLEMS["adashift-sequential"].model_validate({})
    assert destination(problem, drift(problem, "adashift", 0.0, 0.999, options={"n": 1})) == "optimum"
    assert destination(problem, drift(problem, "adam", 0.0, 0.999)) == "worst"


def test_the_critical_beta2_of_the_online_problem() -> None:
    (critical,) = critical_beta2(Online(), "adam", 0.9)
    assert 0.999 < critical < 0.9999
    for beta2, end in ((0.999, "worst"), (0.9999, "optimum"), (critical - 1e-9, "worst"), (critical + 1e-9, "optimum")):
        assert destination(Online(), drift(Online(), "adam", 0.9, beta2)) == end


def test_the_critical_beta2_depends_on_options() -> None:
    """AdaShift divides a slope by the root of an average of the slopes from n steps before; for n = P by its own."""
    problem = Theorem1(C=3)
    assert critical_beta2(problem, "adashift", 0.0, options={"n": 1}) == []
    (critical,) = critical_beta2(problem, "adashift", 0.0, options={"n": 3})
    assert critical == pytest.approx(critical_beta2(problem, "adam", 0.0)[0], rel=1e-9)
    ends = [end for _, _, end in theory.regions(problem, "adashift", 0.0, options={"n": 3})]
    assert ends == ["worst", "optimum"]


@pytest.mark.parametrize("C", [2.5, 3.0, 10.0])
def test_theorem_1s_beta2_is_below_the_critical_one(C: float) -> None:
    (critical,) = critical_beta2(Theorem1(C=C), "adam", 0.0)
    assert critical > 1 / (1 + C**2)


def test_there_is_no_steady_state_without_a_short_period_and_a_known_rule() -> None:
    with pytest.raises(NoSteadyState, match="stochastic is not periodic"):
        drift(Stochastic(), "adam", 0.9, 0.99)
    with pytest.raises(NoSteadyState, match="no steady state is known for torch"):
        drift(Online(), "torch.optim.SGD", 0.9, 0.99)
    with pytest.raises(NoSteadyState, match="period of 10,001 steps is too long"):
        drift(Online(period=10_001), "adam", 0.9, 0.99)


@pytest.mark.parametrize(
    ("optimizer", "beta2", "problem", "expected"),
    [
        ("adam", 0.99, Online(), 2 * 10 / 101),
        ("amsgrad", 0.99, Online(), 0.0),
        ("signsgd", 0.99, Online(steep=-1010, shallow=10), 2 * 10 / 101),
        ("adam", 0.05, Theorem1(C=4.0), 4 / 3),
    ],
)
def test_a_long_run_with_decaying_steps_approaches_the_predicted_limit(
    optimizer: str, beta2: float, problem: LinearProblem, expected: float
) -> None:
    trial = make_trial(optimizer, problem, InverseSquareRoot(0.5), betas=(0.0, beta2), log_every=10**4)
    assert limit(trial) == pytest.approx(expected, rel=1e-12)
    *_, last = drive(build(trial), trial.steps, trial.log_every)
    assert last.total_regret / trial.steps == pytest.approx(expected, abs=0.03)


def test_a_limit_of_0_has_no_sign() -> None:
    trial = make_trial("lion", Cycle(slopes=(-3.0, 1.0, 1.0)), Constant(0.01))
    assert str(limit(trial)) == "0.0"


@pytest.mark.parametrize(
    ("optimizer", "problem", "reason"),
    [
        ("yogi", Online(), "no steady state is known for yogi"),
        ("torch.optim.NAdam", Online(), "no steady state is known for torch.optim.NAdam"),
        ("adam", Stochastic(), "stochastic is not periodic"),
        ("adam", PROBLEMS["adashift-sequential"].model_validate({}), "x is unbounded on adashift-sequential"),
    ],
)
def test_the_error_says_why_no_limit_is_known(optimizer: str, problem: LinearProblem, reason: str) -> None:
    with pytest.raises(NoSteadyState, match=reason):
        limit(make_trial(optimizer, problem, Constant(0.1)))


def test_a_plane_computed_in_parts_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    beta1, beta2 = np.meshgrid(np.linspace(0, 0.99, 7), np.linspace(0.5, 0.999, 5))
    whole = drift(Online(), "amsgrad", beta1, beta2)
    monkeypatch.setattr(theory, "MOST_MOMENTS", 101 * 4)
    assert np.array_equal(drift(Online(), "amsgrad", beta1, beta2), whole)


@pytest.mark.parametrize(
    ("optimizer", "grid"),
    [
        ("adam", ["beta1=0:0.99:50", "beta2=log1m:0.5:0.9999:50"]),
        ("amsgrad", ["beta1=0:0.99:12", "beta2=log1m:0.5:0.9999:12"]),
    ],
)
def test_simulation_and_theory_agree_outside_the_margin(optimizer: str, grid: list[str]) -> None:
    """After 10⁷ steps, the mean iterate of every cell is at the end of the interval that the drift's sign predicts."""
    sweep = load_sweep(grid=grid, optimizers=[optimizer])
    beta1, beta2 = np.meshgrid(*sweep.axes.values(), indexing="ij")
    drifts = drift(Online(), optimizer, beta1, beta2, 1e-16)
    slopes = Online().coefficients(0, 101)[0]
    m, v = steady_state(slopes, beta1), steady_state(slopes**2, beta2)
    v = v.max(axis=0) if optimizer == "amsgrad" else v
    outside = np.abs(drifts) > MARGIN * np.sum(np.abs(m) / np.sqrt(v), axis=0)
    assert outside.mean() > 0.95
    mean_x = np.full(len(sweep), np.nan)
    for cells in blocks(sweep, np.zeros(len(sweep), bool)):
        assert len(cells) <= AT_ONCE
        for row in run_block(sweep, cells):
            mean_x[row["cell"]] = row["mean_x"]
    simulated = np.where(mean_x.reshape(beta1.shape) < 0, "optimum", "worst")
    assert np.array_equal(simulated[outside], destination(Online(), drifts)[outside])
