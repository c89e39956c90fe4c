"""Tests that runs reproduce published numbers and destinations, with the settings of the papers."""

from typing import Any

import numpy as np
import pytest

from amsgrad_exp.engines import build
from amsgrad_exp.engines.summarize import Result
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import hyper_of, rule_of
from amsgrad_exp.rules.moments import steady_state
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.theory import drift
from tests.trials import finished

PAPER = {"dialect": "paper"}


def as_trial(problem: Any, optimizer: Any, steps: int, **others: Any) -> Trial:
    given = {"problem": problem, "optimizers": [optimizer], "steps": steps, "dtype": "float64", **others}
    (trial,) = resolve(given).trials()
    return trial


def result(problem: Any, optimizer: Any, steps: int, **others: Any) -> Result:
    """The result of one optimizer in double precision."""
    return finished(as_trial(problem, optimizer, steps, **others))[1]


@pytest.mark.parametrize("schedule", ["inv-sqrt", "constant"])
def test_the_machine_checked_theorem_1_holds_at_every_step(schedule: str) -> None:
    """C = 3, β2 = 1/100, α = ½, from x = 1: x is 1 again every third step, and R(T) ≥ 2T/3 for every T."""
    adam = {"name": "adam", "lr": 0.5, "beta1": 0, "beta2": 0.01, "eps": 0, "options": PAPER}
    trial = as_trial({"name": "shi-boundary", "C": 3}, adam, 20_000, schedule=schedule, fast_forward=False)
    trace = build(trial).advance(trial.steps, 1).runs(0)
    assert np.all(trace.x[::3] == 1)
    assert np.all(trace.regret >= 2 / 3)


@pytest.mark.parametrize(("problem", "limit"), [("theorem1", 2 / 3), ("theorem6", 1e-3 * 2 / 3)])
def test_adams_average_regret_tends_to_the_limits_of_theorems_1_and_6(problem: str, limit: float) -> None:
    assert result(problem, {"name": "adam", "options": PAPER}, 1_000_000).regret == pytest.approx(limit, rel=1e-3)


def test_adams_average_regret_on_theorem_2s_problem_is_at_least_1_over_c() -> None:
    usual = {"beta1": 0.9, "beta2": 0.99}
    for C, betas in ((20, {}), (3218, usual)):
        for steps in (1_000_000, 10_000_000):
            adam = {"name": "adam", "options": PAPER, **betas}
            assert result({"name": "theorem2", "C": C}, adam, steps).regret >= 1 / C


def test_the_regret_may_be_negative() -> None:
    """Slopes +1 on [2^k, 2^{k+1}) for even k, −1 for odd: AMSGrad's R(T) ≤ −T/2 at the end of an odd block."""
    slopes = [(-1.0) ** k for k in range(16) for _ in range(2**k)]
    amsgrad = {"name": "amsgrad", "lr": 1.0, "beta1": 0, "beta2": 0.5, "eps": 0, "options": PAPER}
    last = result({"name": "cycle", "slopes": slopes}, amsgrad, len(slopes), schedule="inv-sqrt")
    assert -0.67 < last.regret < -0.5


@pytest.mark.parametrize(
    ("k", "optimizer", "beta2", "median"),
    [
        (10, "adam", 0.1, 1.0),
        (10, "adam", 0.999, -1.0),
        (10, "amsgrad", 0.1, -1.0),
        (10, "adopt", 0.1, -1.0),
        (10, "adopt", 0.999, -1.0),
        (50, "adam", 0.1, 1.0),
        (50, "adam", 0.5, 1.0),
        (50, "adopt", 0.1, -0.93),
        (50, "adopt", 0.5, -0.93),
    ],
)
def test_the_medians_of_adopts_toy_figure(k: int, optimizer: str, beta2: float, median: float) -> None:
    """The curves for which a few seeds suffice; docs/field.md has all."""
    options = {"clip": False} if optimizer == "adopt" else PAPER
    entry = {"name": optimizer, "beta2": beta2, "options": options}
    steps = 500_000 if k == 10 else 2_000_000
    assert result({"name": "adopt-toy", "k": k}, entry, steps, seeds=4).mean_x == pytest.approx(median, abs=0.1)


def test_adopt_drifts_to_the_worst_point_of_the_reviewers_cycle() -> None:
    """The worst point is −1, and the drift Σ g/|g_previous| = 1.9 − 1/1.9 − 1 a cycle."""
    problem = PROBLEMS["adopt-cycle"].model_validate({})
    assert drift(problem, "adopt", 0.0, 0.0) == pytest.approx(1.9 - 1 / 1.9 - 1)
    assert result("adopt-cycle", "adopt", 100_000).mean_x == pytest.approx(-1, abs=0.03)


def test_adabelief_without_momentum_is_gradient_descent() -> None:
    """g − m is 0, so that s is a sum of ε."""
    eps, beta2 = 1e-4, 0.99
    adabelief = {"name": "adabelief", "lr": 0.01, "beta1": 0, "beta2": beta2, "eps": eps}
    sgd = {"name": "sgd", "lr": 0.01 / ((eps / (1 - beta2)) ** 0.5 + eps)}
    one, other = (build(as_trial("online", entry, 1000)).advance(1000, 1).runs(0).x for entry in (adabelief, sgd))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_the_limits_of_the_moments_in_adashifts_lemma() -> None:
    """lim m_{nd+i} and lim v_{nd+i} for i = 1, …, d on C, −1, …, −1."""
    C, d, beta1, beta2 = 101.0, 101, 0.9, 0.999
    slopes = PROBLEMS["adashift-sequential"].model_validate({"C": C, "d": d}).coefficients(0, d)[0]
    powers1, powers2 = beta1 ** np.arange(d), beta2 ** np.arange(d)
    m = (1 - beta1) * (C + 1) * powers1 / (1 - beta1**d) - 1
    v = 1 + (1 - beta2) * (C**2 - 1) * powers2 / (1 - beta2**d)
    np.testing.assert_allclose(steady_state(slopes, beta1), m, rtol=1e-9)
    np.testing.assert_allclose(steady_state(slopes**2, beta2), v, rtol=1e-9)


@pytest.mark.parametrize(
    ("n", "optimizer", "beta1", "beta2", "iterate"),
    [
        (3, "signsgd", None, None, "away"),
        (10, "adam", 0.0, 0.5, "away"),
        (10, "adam", 0.9, 0.999, "optimum"),
    ],
)
def test_zhang_et_als_function_diverges_for_signsgd_and_small_betas(
    n: int, optimizer: str, beta1: float | None, beta2: float | None, iterate: str
) -> None:
    """signSGD diverges for n ≥ 3, and Adam diverges for small betas and converges for large ones."""
    entry = {"name": optimizer, "beta1": beta1, "beta2": beta2} | ({"options": PAPER} if beta1 is not None else {})
    assert result({"name": "components", "n": n}, entry, 300_000).iterate == iterate


ALPHA = 0.001


def half_width(beta1: float) -> float:
    """Half of the width of Bock and Weiß's 2-cycle."""
    return ALPHA * (1 - beta1) / (2 * (1 + beta1))


@pytest.mark.parametrize("options", [PAPER, {"dialect": "torch"}], ids=lambda options: options["dialect"])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.1, 0.5)])
@pytest.mark.parametrize("c", [0.3, 1.0])
def test_adam_ends_in_bock_and_weisss_2_cycle(c: float, beta1: float, beta2: float, options: dict[str, str]) -> None:
    adam = {"name": "adam", "lr": ALPHA, "beta1": beta1, "beta2": beta2, "options": options}
    for steps in (10_000, 10_001):
        last = result({"name": "bock-weiss", "c": c}, adam, steps)
        assert abs(last.x) == pytest.approx(half_width(beta1), rel=1e-6)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("beta2", [0.0, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_the_2_cycle_exists_for_all_settings(beta1: float, beta2: float, eps: float) -> None:
    """One step leads from one side to the other; ε makes half of the width smaller by ε/c."""
    c = 0.7
    adam = {"name": "adam", "lr": ALPHA, "beta1": beta1, "beta2": beta2, "eps": eps, "options": PAPER}
    settings = as_trial("bock-weiss", adam, 1).optimizer
    x = half_width(beta1) - eps / c
    m = -(1 - beta1) / (1 + beta1) * c * x
    move, (m_after, v_after) = rule_of(settings).update(c * x, ALPHA, (), hyper_of(settings), m, (c * x) ** 2)
    assert x - move == pytest.approx(-x, rel=1e-9)
    assert (m_after, v_after) == (pytest.approx(-m), pytest.approx((c * x) ** 2))


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_the_2_cycle_does_not_attract_at_the_usual_beta1(beta2: float) -> None:
    adam = {"name": "adam", "lr": ALPHA, "beta1": 0.9, "beta2": beta2, "options": PAPER}
    trial = as_trial({"name": "bock-weiss", "start_at": half_width(0.9)}, adam, 100_000)
    last = np.abs(build(trial).advance(trial.steps, 1).runs(0).x[-1000:])
    assert last.max() > 1.5 * half_width(0.9)


@pytest.mark.parametrize(
    ("optimizer", "options", "published"),
    [
        ("adam", {}, (0.506, 0.407, 0.324426)),
        ("amsgrad", {}, (0.314, 0.218, 0.135686)),
        ("adashift", {"n": 10}, (0.461, 0.325, 0.205168)),
    ],
)
def test_the_average_regrets_of_the_reproduction_of_adashift(
    optimizer: str, options: dict[str, Any], published: tuple[float, ...]
) -> None:
    """Its AdaShift starts m_t at 0 and not with the first n gradients, so that the third digit differs."""
    entry = {"name": optimizer, "lr": 1.0, "eps": 0, "options": options}
    trial = as_trial({"name": "online", "phase": 0}, entry, 250_000, schedule="inv-sqrt")
    regrets = build(trial).advance(trial.steps, 50_000).runs(0).regret[[0, 1, 4]]
    assert regrets == pytest.approx(published, rel=1.3e-3 if optimizer != "adashift" else 6e-3)


@pytest.mark.parametrize(
    ("problem", "optimizer", "iterate"),
    [
        ("theorem6", "adam", "worst"),
        ("adopt-cycle", "adam", "optimum"),
        ({"name": "shi-nonrealizable"}, "amsgrad", "optimum"),
        ("adabound-theorem1", "adam", "worst"),
        ("adashift-sequential", "adam", "away"),
        ("adashift-sequential", {"name": "adashift", "options": {"n": 1}}, "optimum"),
        ({"name": "shi-boundary", "C": 8}, {"name": "adam", "beta2": 1 - 10**-1.1}, "worst"),
        ({"name": "shi-boundary", "C": 8}, {"name": "adam", "beta2": 1 - 10**-1.2}, "optimum"),
        ("shi-realizable", {"name": "adam", "beta2": 0.9}, "away"),
        ("shi-realizable", "adam", "optimum"),
    ],
)
def test_iterates_go_where_it_is_published(problem: Any, optimizer: Any, iterate: str) -> None:
    """test_gauntlet has the destinations that are proved."""
    assert result(problem, optimizer, 1_000_000).iterate == iterate
