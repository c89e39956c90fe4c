"""Tests every rule against its compiled loop, an independent implementation, its torch class and the theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp import optimizers
from amsgrad_exp.engines import build
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.optimizers.importing import import_optimizer
from amsgrad_exp.problems import PROBLEMS, Cycle, Online, Problem
from amsgrad_exp.rules import OPTIMIZERS, Rule, arguments_of, hyper_of, rule_of
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.theory import drift
from tests.agreement import CYCLE, EVERY, SETTINGS, STEPS, TOLERANCES, differences
from tests.trials import in_python, make_trial

every_optimizer = pytest.mark.parametrize(("optimizer", "variant"), EVERY, ids=str)


def assert_the_compiled_loop_is_the_rule(trial: Trial) -> None:
    dtype: Any = np.dtype(trial.dtype).type
    steps = list(in_python(trial, STEPS, dtype))
    xs, states = [dtype(trial.problem.start), *(step.x for step in steps)], [step.state for step in steps]
    engine = build(trial)
    trace = engine.advance(STEPS, 1).runs(0)
    finite = len(trace)  # if the run diverges, the number of steps before x overflows
    assert trace.x.astype(dtype).tobytes() == np.array(xs[:finite], dtype).tobytes()
    if finite < STEPS:
        assert not np.isfinite(xs[finite])
        return
    assert engine.states[0] == np.array([xs[-1], *states[-1]], dtype).tobytes()
    assert all(isinstance(number, dtype) for number in (xs[-1], *states[-1]))


@every_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_loop_has_the_bits_of_the_rule_in_python(
    optimizer: str, variant: dict[str, Any], dtype: str
) -> None:
    """In float32, the run goes past the step at which the bias corrections are 1, where another loop takes over."""
    if dtype == "float32":
        trial = make_trial(optimizer, Online(), Constant(0.01), dtype=dtype, betas=(0.5, 0.9), eps=1e-8, **variant)
    else:
        trial = make_trial(optimizer, CYCLE, InverseSquareRoot(0.5), dtype=dtype, eps=1e-8, **variant)
    assert_the_compiled_loop_is_the_rule(trial)


@pytest.mark.parametrize("problem", [kind(name=name) for name, kind in PROBLEMS.items() if name != "cycle"], ids=repr)
@settings(max_examples=6)
@given(
    schedule=st.sampled_from([Constant(0.01), InverseSquareRoot(0.5)]),
    dtype=st.sampled_from(["float32", "float64"]),
    betas=st.sampled_from([(0.9, 0.99), (0.0, 0.0), (0.5, 0.999)]),
)
def test_the_compiled_loop_has_the_bits_of_every_problem_in_python(
    problem: Problem, schedule: Any, dtype: str, betas: tuple[float, float]
) -> None:
    assert_the_compiled_loop_is_the_rule(make_trial("adam", problem, schedule, dtype=dtype, betas=betas, eps=1e-8))


@every_optimizer
def test_every_rule_follows_an_independent_implementation(optimizer: str, variant: dict[str, Any]) -> None:
    for setting in SETTINGS:
        largest = differences(optimizer, variant, *setting)
        assert all(largest[dtype] <= tolerance for dtype, tolerance in TOLERANCES.items()), (setting, largest)


@every_optimizer
def test_coefficients_no_longer_change_once_the_carry_is_0(optimizer: str, variant: dict[str, Any]) -> None:
    trial = make_trial(optimizer, Online(), Constant(0.01), **variant)
    rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    carry = rule.carry
    for t in range(5000):
        _, settled, carry = rule.coefficients(t, 1.0, h, *carry)
    later = [rule.coefficients(t, 0.3, h, *carry) for t in (10**4, 10**6, 10**9, 10**15)]
    if any(carry):
        assert later[0][1] != settled
    else:
        assert later == [(0.3, settled, carry)] * 4


@every_optimizer
def test_the_torch_class_is_elementwise_and_follows_the_compiled_loop(optimizer: str, variant: dict[str, Any]) -> None:
    trial = make_trial(optimizer, CYCLE, Constant(0.01), dtype="float64", eps=1e-8, steps=STEPS, **variant)
    compiled = build(trial).advance(STEPS, 1).runs(0)
    literal = build(trial.on_engine("torch")).advance(STEPS, 1).runs(0)
    np.testing.assert_allclose(literal.x, compiled.x, rtol=0, atol=1e-12)
    kind: Any = import_optimizer(OPTIMIZERS[optimizer].path).maker
    generator = torch.Generator().manual_seed(1)
    together = torch.nn.Parameter(torch.randn(2, 3, dtype=torch.float64, generator=generator))
    apart = [torch.nn.Parameter(number.detach().clone()) for number in together.flatten()]
    arguments = {"lr": 0.01, **arguments_of(trial.optimizer)}
    optimizers = kind([together], **arguments), kind(apart, **arguments)
    for _ in range(25):
        gradient = torch.randn(2, 3, dtype=torch.float64, generator=generator)
        together.grad = gradient
        for param, number in zip(apart, gradient.flatten(), strict=True):
            param.grad = number
        for one in optimizers:
            one.step()
    torch.testing.assert_close(together.flatten(), torch.cat([param.view(1) for param in apart]), rtol=0, atol=0)


def test_every_optimizer_has_a_formula_and_a_summary() -> None:
    for optimizer in OPTIMIZERS.values():
        assert 1 <= len(optimizer.lines) <= 3
        assert any(line.startswith("x_{t+1} = x_t − ") for line in optimizer.lines)
        assert optimizer.summary[-1] not in ".:"
        assert all(remark[-1] in ".:`" for remark in optimizer.remarks)


def test_every_optimizer_has_a_class_named_by_its_title() -> None:
    for optimizer in OPTIMIZERS.values():
        kind: Any = getattr(optimizers, optimizer.title)
        assert issubclass(kind, torch.optim.Optimizer)
        assert kind is import_optimizer(optimizer.path).maker
    with pytest.raises(ValueError, match=r"^n: .*greater than or equal to 1, not 0$"):
        shift: Any = import_optimizer("amsgrad_exp.optimizers.AdaShift").maker
        shift([torch.nn.Parameter(torch.ones(1))], n=0)


KNOWN = [
    (name, variant)
    for name, variant in EVERY
    if rule_of(make_trial(name, CYCLE, Constant(1.0), **variant).optimizer).drift is not None
]
LATE = 10**15
EPS = {"adadelta": 1.0}
"""ε of optimizers that need a larger one to reach the steady state within a few thousand steps."""


def begun_late(name: str, rule: Rule, slopes: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the state and carry to begin with at t = 10¹⁵; averages over all steps so far have their limits."""
    state, carry = dict(rule.state), rule.carry
    if name in ("adamnc", "nosadam"):
        state["exp_avg_sq"] = float(np.mean(np.square(slopes)))
    return tuple(state.values()), (carry[0], float(LATE)) if name == "nosadam" else carry


@pytest.mark.parametrize(("optimizer", "variant"), KNOWN, ids=str)
@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.5, 0.9), (0.9, 0.5)])
def test_the_drift_is_the_sum_of_updates_over_a_period_in_the_steady_state(
    optimizer: str, variant: dict[str, Any], betas: tuple[float, float]
) -> None:
    """It is taken after 4,000 steps from t = 10¹⁵ on, where growing bounds no longer matter."""
    for slopes in (CYCLE.slopes, (10.0, *[-1.0] * 8), (-7.0, 1.0, 1.0, 2.0)):
        problem, eps = Cycle(slopes=slopes), EPS.get(optimizer, 1e-8)
        trial = make_trial(optimizer, problem, Constant(1.0), betas=betas, eps=eps, **variant)
        rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
        state, carry = begun_late(optimizer, rule, slopes)
        moved = 0.0
        for t in range((4000 // len(slopes) + 1) * len(slopes)):
            scale, c, carry = rule.coefficients(t + LATE, 1.0, h, *carry)
            move, state = rule.update(slopes[t % len(slopes)], scale, c, h, *state)
            moved = move + (moved if t % len(slopes) else 0.0)
        predicted = drift(problem, optimizer, *betas, eps, trial.optimizer.options)
        assert predicted == pytest.approx(moved, rel=1e-9), slopes


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad", "yogi"])
def test_no_drift_is_returned_for_a_rule_without_a_steady_state(optimizer: str) -> None:
    with pytest.raises(NoSteadyState, match=f"no steady state is known for {optimizer}"):
        drift(CYCLE, optimizer, 0.9, 0.99)
