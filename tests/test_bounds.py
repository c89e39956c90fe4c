"""Bounds on the regret: never below it, what the loop adds up against the formulas, theorems against their lines."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amsgrad_exp.bounds import bounds_of, published
from amsgrad_exp.engines import build
from amsgrad_exp.problems import PROBLEMS, Cycle, Online, Stochastic
from amsgrad_exp.problems.convergence import BockWeiss
from amsgrad_exp.rules import hyper_of, rule_of
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from amsgrad_exp.spec.experiment import Trial
from tests.agreement import CYCLE, EVERY
from tests.trials import in_python, make_trial

STEPS = 60
EPS = 1e-3  # with less, AvaGrad's second move is so small that its square distances differ by rounding alone
NEVER = {"adamw", "nadam", "lion", "adan", "adopt", "adashift"}
"""Optimizers that move along no mean of gradients, unless a setting of theirs is 0."""
ALONG_A_MEAN = [
    (name, variant)
    for name, variant in EVERY
    if not (name in NEVER or (name == "rmsprop" and variant))
    or (name == "adashift" and variant.get("options", {}).get("n") == 1)
]
AT_ZERO: list[tuple[str, dict[str, Any]]] = [
    *((name, {"betas": (0.0, 0.9)}) for name in ("adopt", "adashift", "nadam", "lion")),
    ("adan", {"betas": (0.9, 0.0)}),
    ("adamw", {"options": {"weight_decay": 0.0}}),
    ("rmsprop", {"options": {"centered": True, "momentum": 0.0}}),
]
DECAYS: list[dict[str, Any]] = [
    {"beta1_decay": "none"},
    {"beta1_decay": "geometric", "lam": 0.8},
    {"beta1_decay": "harmonic"},
]
THEOREMS = [
    *(("amsgrad", {"options": {"dialect": "paper", **decay}}) for decay in DECAYS),
    *(("adamnc", {"options": decay}) for decay in DECAYS),
]


class Walked(NamedTuple):
    """A run in plain Python, by step: what the proof speaks of; ``m`` has m_0, too."""

    loss: list[float]
    g: list[float]
    beta1: list[float]
    m: list[float]
    move: list[float]
    x: list[float]


def walked(trial: Trial, steps: int = STEPS) -> Walked:
    rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    assert rule.mean is not None
    problem = trial.problem
    path = Walked([], [], [], [], [], [float(problem.start)])
    for p, step in zip(problem.coefficients(0, steps, trial.seed).T.tolist(), in_python(trial, steps), strict=True):
        if not path.m:
            path.m.append(float(rule.mean.of(0.0, step.c, h, *rule.state.values())[0]))
        m, beta1 = rule.mean.of(step.g, step.c, h, *step.state)
        path.loss.append(problem.loss(path.x[-1], *p) - problem.loss(problem.optimum, *p))
        for column, number in zip(path[1:], (step.g, beta1, m, step.move, step.x), strict=True):
            column.append(float(number))
    return path


def terms(path: Walked, optimum: float, steps: int) -> tuple[float, float, float]:
    """End, distance and moves as they stand in docs/method.md, over the first ``steps`` steps."""
    rho = [beta1 / (1 - beta1) for beta1 in path.beta1[:steps]]
    rho.append(rho[-1])
    off = [x - optimum for x in path.x]
    distance = moves = 0.0
    for t in range(steps):
        m, move, w = path.m[t + 1], path.move[t], 1 + rho[t] - rho[t + 1]
        if move == 0:
            distance += w * m * off[t]
        else:
            eta = move / m
            distance += w * (off[t] ** 2 - off[t + 1] ** 2) / (2 * eta)
            moves += (w / 2 + rho[t + 1]) * eta * m**2
    return rho[-1] * path.m[steps] * off[steps - 1] - rho[0] * path.m[0] * off[0], distance, moves


def trial_of(optimizer: str, variant: dict[str, Any], slopes: list[float], **changed: Any) -> Trial:
    assume(abs(sum(slopes)) > 1e-3 and all(abs(slope) > 1e-3 for slope in slopes))
    schedule = changed.pop("schedule", InverseSquareRoot(0.5))
    given = {"eps": EPS, "dtype": "float64", "steps": STEPS, "log_every": 1} | changed | variant
    return make_trial(optimizer, Cycle(slopes=tuple(slopes)), schedule, **given)


SLOPES = st.lists(st.floats(-20, 20), min_size=1, max_size=7)
BETAS = st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.3, 0.9, 0.999]))
STEP_SIZES = st.floats(1e-3, 10)


@pytest.mark.parametrize(("optimizer", "variant"), ALONG_A_MEAN + AT_ZERO, ids=str)
@settings(max_examples=25)
@given(slopes=SLOPES, betas=BETAS, lr=STEP_SIZES, schedule=st.sampled_from([Constant, InverseSquareRoot]))
def test_no_regret_is_above_the_bound_of_its_trajectory(
    optimizer: str, variant: dict[str, Any], slopes: list[float], betas: tuple[float, float], lr: float, schedule: Any
) -> None:
    """And x does move along such a mean of the gradients."""
    trial = trial_of(optimizer, variant, slopes, betas=betas, schedule=schedule(lr))
    path = walked(trial)
    size = max(map(abs, path.g)) / (1 - max(path.beta1))
    for before, m, beta1, g in zip(path.m, path.m[1:], path.beta1, path.g, strict=False):
        assert m == pytest.approx(beta1 * before + (1 - beta1) * g, abs=1e-12 * size)
    assert all(move * m >= 0 for move, m in zip(path.move, path.m[1:], strict=True))
    assert all(move == 0 for move, m in zip(path.move, path.m[1:], strict=True) if m == 0)
    assert path.beta1 == sorted(path.beta1, reverse=True)
    for steps in (1, 2, 3, 7, 20, STEPS):
        total = math.fsum(path.loss[:steps])
        end, distance, moves = terms(path, trial.problem.optimum, steps)
        rounding = 1e-9 * (1 + abs(total) + abs(distance) + abs(moves)) * size
        assert end + distance + moves >= total - rounding


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.9, 0.99)])
@pytest.mark.parametrize("name", [name for name, kind in PROBLEMS.items() if kind.convex and name != "cycle"])
def test_no_regret_is_above_the_bound_on_any_convex_problem(name: str, betas: tuple[float, float]) -> None:
    trial = make_trial("adam", PROBLEMS[name].model_validate({}), Constant(0.1), dtype="float64", betas=betas, eps=1e-8)
    path, total = walked(trial, 400), 0.0
    for steps, loss in enumerate(path.loss, start=1):
        total += loss
        bounded = terms(path, trial.problem.optimum, steps)
        assert sum(bounded) >= total - 1e-9 * (1 + abs(total) + sum(map(abs, bounded)))


@pytest.mark.parametrize(
    ("optimizer", "variant"),
    [
        ("adam", {}),
        ("adamnc", {"options": {"beta1_decay": "geometric", "lam": 0.9}}),
        ("adagrad", {}),
        ("avagrad", {}),
        ("signsgd", {}),
        ("yogi", {}),
        ("adamw", {"options": {"weight_decay": 0.0}}),
    ],
    ids=str,
)
def test_the_loop_adds_up_the_terms_of_the_formulas(
    optimizer: str, variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one chunk and in several; at the logged steps and at the last one; on losses of one coefficient and of two."""
    for problem in (CYCLE, BockWeiss()):
        trial = make_trial(
            optimizer, problem, InverseSquareRoot(0.5), dtype="float32", eps=EPS, steps=200, log_every=7, **variant
        )
        whole = bounds_of(trial).trajectory
        assert whole.step.tolist() == [*range(6, 200, 7), 199]
        path = walked(trial, 200)
        for row, step in enumerate(whole.step.tolist()):
            expected = terms(path, problem.optimum, step + 1)
            got = [float(term[row]) for term in whole.terms.values()]
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-9 * sum(map(abs, expected)))
        with monkeypatch.context() as patch:
            patch.setattr("amsgrad_exp.bounds.CHUNK", 31)
            pieces = bounds_of(trial).trajectory
        assert np.array_equal(pieces.total, whole.total)


def test_the_bound_is_of_the_run_itself() -> None:
    """Of the compiled engine's in float64, regret for regret, over 10⁵ steps; AMSGrad's is almost an equality."""
    for optimizer, slack in (("adam", math.inf), ("amsgrad", 1e-3)):
        trial = make_trial(optimizer, Online(), InverseSquareRoot(1.0), dtype="float64", steps=100_000, log_every=100)
        trace = build(trial).advance(100_000, 100).lanes(0)
        known = bounds_of(trial).trajectory
        average = known.total / (known.step + 1)
        assert np.all(average >= trace.regret - 1e-9)
        assert np.all(average <= trace.regret * (1 + slack))


def test_the_distance_is_what_fails_of_adam() -> None:
    growths = {}
    for optimizer in ("adam", "amsgrad"):
        trial = make_trial(optimizer, Online(), InverseSquareRoot(1.0), steps=1_000_000, log_every=1000)
        growths[optimizer] = bounds_of(trial).trajectory.growth()
        assert growths[optimizer]["moves"] == pytest.approx(0.5, abs=0.02)
    assert growths["adam"]["distance"] == pytest.approx(1, abs=0.02)
    assert growths["amsgrad"]["distance"] is not None
    assert growths["amsgrad"]["distance"] < 0.1


def theorem(trial: Trial, steps: int) -> float:
    """Theorem 4 or 5 of Reddi et al. 2018, line by line, over the list of all gradients so far."""
    options, alpha = trial.optimizer.options, trial.optimizer.lr
    beta1, beta2, eps = trial.optimizer.beta1 or 0.0, trial.optimizer.beta2 or 0.0, trial.optimizer.eps or 0.0
    low, high = trial.problem.interval
    squares = [float(g) ** 2 for g in trial.problem.coefficients(0, steps, trial.seed)[0]]
    v = largest = weighted = 0.0
    for t, square in enumerate(squares, start=1):
        if trial.optimizer.name == "amsgrad":
            v = beta2 * v + (1 - beta2) * square
            largest = max(largest, v)
        else:
            largest = math.fsum(squares[:t]) / t
        over = (math.sqrt(largest) + eps) / (alpha / math.sqrt(t))
        lam: Any = options.get("lam", 0.0)
        weighted += {"none": beta1, "geometric": beta1 * lam ** (t - 1), "harmonic": beta1 / t}[
            str(options["beta1_decay"])
        ] * over
    width, norm = high - low, math.sqrt(math.fsum(squares))
    second = width**2 / (1 - beta1) ** 2 * weighted
    if trial.optimizer.name == "adamnc":
        return width**2 * over / (2 * (1 - beta1)) + second + 2 * alpha / (1 - beta1) ** 3 * norm
    gamma = beta1 / math.sqrt(beta2)
    third = alpha * math.sqrt(1 + math.log(steps)) / ((1 - beta1) ** 2 * (1 - gamma) * math.sqrt(1 - beta2))
    return width**2 * over / (1 - beta1) + second + third * norm


@pytest.mark.parametrize(("optimizer", "variant"), THEOREMS, ids=str)
@given(slopes=SLOPES, betas=BETAS, lr=STEP_SIZES)
def test_a_published_bound_is_its_theorems_and_above_the_trajectorys(
    optimizer: str, variant: dict[str, Any], slopes: list[float], betas: tuple[float, float], lr: float
) -> None:
    assume(betas[0] < math.sqrt(betas[1]))
    trial = trial_of(optimizer, variant, slopes, betas=betas, schedule=InverseSquareRoot(lr), log_every=13)
    path, known = walked(trial), published(trial)
    for step, total in zip([*range(12, STEPS, 13), STEPS - 1], known.total.tolist(), strict=True):
        assert total == pytest.approx(theorem(trial, step + 1), rel=1e-9)
        assert total >= sum(terms(path, trial.problem.optimum, step + 1)) - 1e-9 * total


def test_a_published_bound_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for optimizer, variant in THEOREMS:
        trial = make_trial(optimizer, Stochastic(), InverseSquareRoot(1.0), steps=1000, log_every=7, **variant)
        whole = published(trial)
        with monkeypatch.context() as patch:
            patch.setattr("amsgrad_exp.bounds.CHUNK", 31)
            pieces = published(trial)
        np.testing.assert_allclose(pieces.total, whole.total, rtol=1e-12)
