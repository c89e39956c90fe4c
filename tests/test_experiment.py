"""Tests of a run: fast-forwarding gives the same bits as simulating every step, and results are summarized rightly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import Chunk, drive
from amsgrad_exp.engines.summarize import LONG_ENOUGH, Result, summarize
from amsgrad_exp.problems import Cycle, Online, Problem, Stochastic, Theorem1
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import Constant, InverseSquareRoot, Schedule
from amsgrad_exp.trace import Trace
from tests.trials import make_engine, make_trial


def compiled(
    optimizer: str,
    problem: Problem,
    schedule: Schedule,
    betas: tuple[float, float] = (0.9, 0.99),
    dtype: str = "float32",
) -> Batch:
    return build(make_trial(optimizer, problem, schedule, betas=betas, dtype=dtype))


def go(engine: Batch, steps: int, log_every: int = 1000, *, fast_forward: bool = True) -> tuple[Trace, Result]:
    chunks = list(drive(engine, steps, log_every, fast_forward=fast_forward))
    trace = Trace.concatenate([chunk.trace for chunk in chunks])
    return trace, summarize(engine.problem, trace, chunks[-1])


def assert_same_bits(first: Trace, second: Trace) -> None:
    for column in ("step", "loss", "x", "regret"):
        assert getattr(first, column).tobytes() == getattr(second, column).tobytes(), column


NEVER_REPEAT = {"adabound", "adadelta", "adagrad", "adamnc", "adopt", "amsbound", "nosadam", "yogi"}
"""Optimizers that do not repeat themselves in 10⁷ steps, since something in their updates keeps changing."""


@pytest.mark.parametrize(("optimizer", "log_every"), [*((name, 1000) for name in OPTIMIZERS), ("adam", 77)])
def test_fast_forwarding_gives_the_bits_of_the_full_simulation(optimizer: str, log_every: int) -> None:
    traces, results = zip(
        *(
            go(compiled(optimizer, Online(), Constant(0.01)), 10**7, log_every, fast_forward=fast)
            for fast in (True, False)
        ),
        strict=True,
    )
    assert_same_bits(*traces)
    fast, full = results
    same = ("x", "mean_x", "total_regret", "regret_slope")
    assert [getattr(fast, name) for name in same] == [getattr(full, name) for name in same]
    assert fast.steps_simulated + fast.steps_derived == 10**7
    assert (fast.steps_derived > 9_500_000) == (optimizer not in NEVER_REPEAT)
    assert (full.steps_simulated, full.steps_derived) == (10**7, 0)


@settings(max_examples=20)
@given(
    steps=st.integers(300_000, 900_000),
    log_every=st.integers(1, 5000),
    period=st.integers(2, 300),
    dtype=st.sampled_from(["float32", "float64"]),
    lr=st.sampled_from([0.1, 0.01]),
    beta2=st.sampled_from([0.0, 0.9, 0.99]),
)
def test_fast_forwarding_agrees_on_random_problems(
    steps: int, log_every: int, period: int, dtype: str, lr: float, beta2: float
) -> None:
    """Every x and loss has the same bits; regrets are sums of the same numbers in another order."""
    problem = Online(period=period, phase=1, steep=float(8 * period), shallow=-4.0)
    runs = [
        go(compiled("adam", problem, Constant(lr), (0.9, beta2), dtype), steps, log_every, fast_forward=fast)
        for fast in (True, False)
    ]
    (fast, fast_result), (full, full_result) = runs
    assert fast.x.tobytes() == full.x.tobytes()
    assert fast.loss.tobytes() == full.loss.tobytes()
    assert fast.step.tobytes() == full.step.tobytes()
    np.testing.assert_allclose(fast.regret, full.regret, rtol=1e-12)
    assert fast_result.x == full_result.x
    assert fast_result.mean_x == pytest.approx(full_result.mean_x, rel=1e-12)
    assert fast_result.total_regret == pytest.approx(full_result.total_regret, rel=1e-12)


def test_fast_forwarding_on_the_torch_engine_gives_the_same_bits() -> None:
    def engine() -> Batch:
        return make_engine("torch", "amsgrad", Online(period=5), Constant(0.1), betas=(0.5, 0.9), eps=1e-8)

    fast, result = go(engine(), 20_000, 13)
    full, _ = go(engine(), 20_000, 13, fast_forward=False)
    assert 0 < result.steps_simulated < 10_000
    assert_same_bits(fast, full)


@pytest.mark.parametrize(
    ("problem", "schedule"),
    [
        (Online(), InverseSquareRoot(1.0)),
        (Stochastic(), Constant(0.01)),
        (Online(period=10**9, steep=1e11), Constant(0.01)),
    ],
    ids=repr,
)
def test_every_step_is_simulated_if_nothing_can_repeat(problem: Problem, schedule: Schedule) -> None:
    assert go(compiled("adam", problem, schedule), 500_000)[1].steps_derived == 0


def test_a_long_period_is_simulated_in_parts_and_still_fast_forwarded() -> None:
    problem = Online(period=150_000, steep=1.6e6, shallow=-10.0)

    def make() -> Batch:
        return compiled("adam", problem, Constant(0.1), (0.0, 0.9))

    chunks = list(drive(make(), 3_000_000, 1000))
    simulated = [chunk for chunk in chunks if chunk.reference is not None]
    assert all(chunk.step - before.step <= 65_536 for before, chunk in itertools.pairwise(simulated))
    assert chunks[-1].steps_simulated < 3_000_000
    trace = Trace.concatenate([chunk.trace for chunk in chunks])
    full, _ = go(make(), 3_000_000, fast_forward=False)
    assert_same_bits(trace, full)
    for stop in (3, 5, len(simulated) - 1):
        engine, parts, reference = make(), [], None
        for chunk in itertools.islice(drive(engine, 3_000_000, 1000), stop):
            parts.append(chunk.trace)
            reference = chunk.reference
        resumed = make()
        resumed.load(engine.save())
        parts += [chunk.trace for chunk in drive(resumed, 3_000_000, 1000, reference=reference or ())]
        assert_same_bits(Trace.concatenate(parts), trace)


def test_a_run_may_have_ten_to_the_eighteen_steps() -> None:
    trace, result = go(compiled("amsgrad", Online(), Constant(0.01)), 10**18, 10**14)
    assert len(trace) == 10_000
    assert int(trace.step[-1]) == 10**18 - 1
    _, shorter = go(compiled("amsgrad", Online(), Constant(0.01)), 10**9)
    assert result.regret == pytest.approx(shorter.regret, rel=1e-4)
    assert result.mean_x == pytest.approx(shorter.mean_x, abs=1e-6)


def test_the_reference_experiment_with_decaying_step_sizes() -> None:
    adam, amsgrad = (go(compiled(name, Online(), InverseSquareRoot(1.0)), 10**7)[1] for name in ("adam", "amsgrad"))
    assert (adam.iterate, adam.regret_trend) == ("worst", "not vanishing")
    assert (amsgrad.iterate, amsgrad.regret_trend) == ("optimum", "vanishing")
    assert amsgrad.regret == pytest.approx(0.021, abs=0.001)
    assert amsgrad.regret_slope == pytest.approx(-0.5, abs=0.02)


def test_the_mean_iterate_is_over_every_step_of_the_last_tenth() -> None:
    for steps in (1, 9, 95, 1000, 200_001):
        engine = compiled("adam", Online(), InverseSquareRoot(1.0))
        every = compiled("adam", Online(), InverseSquareRoot(1.0)).advance(steps, 1).runs(0)
        _, result = go(engine, steps, log_every=steps)
        assert result.mean_x == pytest.approx(np.mean(every.x[-max(1, steps // 10) :]), abs=1e-7)
        assert result.total_regret == pytest.approx(every.loss.sum(), rel=1e-12)


def last_chunk(trace: Trace, steps: int, x: float, total_regret: float, tail_x_sum: float) -> Chunk:
    return Chunk(trace, steps, np.array([x]), np.array([[total_regret], [tail_x_sum]]), steps)


def trace_of(regret: np.ndarray) -> Trace:
    step = np.arange(9, 10 * len(regret) + 9, 10)
    return Trace(step, np.zeros(len(step)), np.zeros(len(step)), regret)


T = np.arange(10, 10_001, 10)
TOO_SHORT = "on this problem it takes at least 159 steps to tell"
NO_SLOPE = "the average regret has no slope over the last decade of steps"
AT_WORST = "the average regret cannot keep falling with x at the worst point"


@pytest.mark.parametrize(
    ("regret", "mean_x", "slope", "trend", "reason"),
    [
        (np.full(1000, 0.3), 0.0, 0.0, "not vanishing", ""),
        (T**-0.24, 0.0, -0.24, "not vanishing", ""),
        (T**-0.26, 0.0, -0.26, "vanishing", ""),
        (T**-0.5, -1.0, -0.5, "vanishing", ""),
        (T**-0.5, 1.0, -0.5, "undecided", AT_WORST),
        (np.full(1000, -0.3), 0.0, None, "vanishing", ""),
        (np.linspace(-1, 1, 1000), 0.0, None, "undecided", NO_SLOPE),
        (np.array([0.5]), 0.0, None, "undecided", TOO_SHORT),
        (np.full(15, 0.3), 0.0, 0.0, "undecided", TOO_SHORT),
        (np.full(15, -0.3), 0.0, None, "undecided", TOO_SHORT),
        (np.full(16, 0.3), 0.0, 0.0, "not vanishing", ""),
    ],
)
def test_the_trend_of_a_regret(regret: np.ndarray, mean_x: float, slope: float | None, trend: str, reason: str) -> None:
    """The problem has 15 transient steps, so that 159 steps are enough."""
    steps = 10 * len(regret)
    last = last_chunk(trace_of(regret), steps, mean_x, float(regret[-1]) * steps, mean_x * (steps // 10))
    result = summarize(Theorem1(), last.trace, last)
    assert result.regret_slope == (slope if slope is None else pytest.approx(slope, abs=1e-12))
    assert (result.regret_trend, result.evidence) == (trend, "trend")
    assert (result.limit_regret, result.cycle_start, result.cycle_steps) == (None, None, None)
    assert trend != "undecided" or result.undecided_because(Theorem1()) == reason


def test_no_long_enough_run_at_the_worst_point_is_called_vanishing() -> None:
    """The regret of x = 1 from the first step on, changed by the most that one period can add or subtract."""
    problem = Online(period=20, steep=40.0, shallow=-2.0, phase=0)
    slopes, scale = problem.coefficients(0, 20)[0], float(2 * np.abs(problem.coefficients(0, 20)).sum())
    steps = int(np.ceil(LONG_ENOUGH * problem.transient_steps))
    total = 2 * np.cumsum(np.tile(slopes, steps // 20 + 1)[:steps])
    for added in (-scale, 0.0, scale):
        trace = Trace(np.arange(steps), np.zeros(steps), np.ones(steps), (total + added) / np.arange(1, steps + 1))
        last = last_chunk(trace, steps, 1.0, float(total[-1]) + added, steps / 10)
        assert summarize(problem, trace, last).regret_trend != "vanishing"


@pytest.mark.parametrize(("optimizer", "lr", "trend"), [("adam", 0.1, "not vanishing"), ("amsgrad", 1e-4, "vanishing")])
def test_the_limit_of_a_repeating_run_is_the_mean_loss_of_its_cycle(optimizer: str, lr: float, trend: str) -> None:
    problem = Theorem1() if optimizer == "amsgrad" else Online()
    _, result = go(compiled(optimizer, problem, Constant(lr)), 10**6)
    assert result.limit_regret is not None
    assert result.cycle_start is not None
    assert result.cycle_steps is not None
    assert (result.regret_trend, result.evidence) == (trend, "proof")
    assert result.cycle_start + result.cycle_steps < result.steps_simulated
    every = compiled(optimizer, problem, Constant(lr)).advance(result.cycle_start + 3 * result.cycle_steps, 1).runs(0)
    first, second, third = (
        every.rows(slice(result.cycle_start + cycle * result.cycle_steps, None)).rows(slice(result.cycle_steps))
        for cycle in range(3)
    )
    assert first.x.tobytes() == second.x.tobytes() == third.x.tobytes()
    assert first.loss.tobytes() == second.loss.tobytes() == third.loss.tobytes()
    assert result.limit_regret == math.fsum(first.loss) / result.cycle_steps
    _, longer = go(compiled(optimizer, problem, Constant(lr)), 10**15, 10**12)
    assert longer.regret == pytest.approx(result.limit_regret, rel=1e-9, abs=1e-9)
    assert longer.limit_regret == result.limit_regret


def test_a_cycle_of_several_periods_is_the_shortest_one() -> None:
    problem = Cycle(slopes=(1.0, -2.0, 3.0))
    _, result = go(compiled("sgd", problem, Constant(0.3)), 10**6)
    every = compiled("sgd", problem, Constant(0.3)).advance(10_000, 1).runs(0)
    assert result.cycle_steps is not None
    x = every.x[2000:]
    lengths = [steps for steps in range(3, 1000, 3) if np.array_equal(x[steps:], x[:-steps])]
    assert result.cycle_steps == lengths[0]
