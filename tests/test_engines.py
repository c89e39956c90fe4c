"""Tests both engines against each other, and what the driver requires of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.problems import Online, Problem, Stochastic, Theorem1
from amsgrad_exp.problems.convergence import BockWeiss, Components, ShiRealizable
from amsgrad_exp.schedules import Constant, InverseSquareRoot, Schedule
from amsgrad_exp.spec.read import load_experiment
from tests.trials import literal, make_engine

PROBLEMS = [
    Online(),
    Stochastic(),
    Theorem1(C=4),
    Components(),
    Online(low=-0.5, high=2, period=10, phase=3, steep=-40, shallow=3),
]
SCHEDULES = [Constant(0.01), InverseSquareRoot(0.5)]

problems = st.sampled_from(PROBLEMS)
schedules = st.sampled_from(SCHEDULES)
decay = st.sampled_from([0.0, 0.5, 0.9, 0.999])


def make(kind: str, optimizer: str, problem: Problem, schedule: Schedule, **changed: object) -> Batch:
    return make_engine(kind, optimizer, problem, schedule, **{"eps": 1e-8, "dtype": "float64", **changed})


@pytest.mark.parametrize("kind", ["compiled", "torch"])
@settings(max_examples=25)
@given(problem=problems, schedule=schedules, beta1=decay, beta2=decay, optimized=st.booleans(), seed=st.integers(0, 9))
def test_losses_and_regret_follow_from_the_iterates(
    kind: str, problem: Problem, schedule: Schedule, beta1: float, beta2: float, optimized: bool, seed: int
) -> None:
    betas = (beta1, beta2)
    engine = make(kind, "adam", problem, schedule, betas=betas, optimized_update=optimized, seed=seed)
    trace = engine.advance(300, 1).runs(0)
    at_optimum = [problem.loss(problem.optimum, *c) for c in problem.coefficients(0, 300, seed).T.tolist()]
    at_x = [problem.loss(x, *c) for x, c in zip(trace.x, problem.coefficients(0, 300, seed).T.tolist(), strict=True)]
    losses = np.subtract(at_x, at_optimum)
    np.testing.assert_allclose(trace.loss, losses, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.regret, np.cumsum(losses) / (trace.step + 1), rtol=0, atol=1e-9)
    assert engine.totals[0, 0] == pytest.approx(float(np.sum(losses)), rel=1e-12)
    assert engine.totals[1, 0] == pytest.approx(float(np.sum(trace.x)), abs=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["adamw", "amsgrad"])  # test_rules tests all optimizers, on one problem
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_engines_agree(optimizer: str, dtype: str, problem: Problem, schedule: Schedule) -> None:
    traces = [
        make(kind, optimizer, problem, schedule, dtype=dtype).advance(3000, 7).runs(0) for kind in ("compiled", "torch")
    ]
    tolerance = 5e-5 if dtype == "float32" else 1e-12
    compiled, literal = traces
    assert np.array_equal(compiled.step, literal.step)
    np.testing.assert_allclose(compiled.x, literal.x, rtol=0, atol=tolerance)
    np.testing.assert_allclose(compiled.regret, literal.regret, rtol=0, atol=tolerance * 20)


@pytest.mark.parametrize("kind", ["compiled", "torch"])
def test_a_run_with_decaying_beta1_never_counts_as_repeating(kind: str) -> None:
    for decay, settled in [("none", True), ("harmonic", False)]:
        options = {"dialect": "paper", "beta1_decay": decay}
        engine = make(kind, "amsgrad", Online(), Constant(0.01), betas=(0.5, 0.0), options=options)
        engine.advance(100, 1)
        assert engine.saturated == settled


def test_arithmetic_is_in_the_requested_dtype() -> None:
    xs = {
        dtype: make("compiled", "adam", Online(), Constant(0.01), dtype=dtype).advance(500, 1).runs(0).x
        for dtype in ("float32", "float64")
    }
    assert np.array_equal(xs["float32"], xs["float32"].astype(np.float32))
    assert not np.array_equal(xs["float64"], xs["float64"].astype(np.float32))
    assert make("torch", "adam", Online(), Constant(0.01), dtype="float32").x == 0


def test_subnormal_numbers_are_kept_if_eps_is_0() -> None:
    """If they were flushed to 0, Adan's n would become 0 near x* = 0, and 0/0 be NaN."""
    problem = BockWeiss()
    engine = make("compiled", "adan", problem, Constant(1.0), betas=(0.1, 0.5), eps=0.0, dtype="float32")
    engine.advance(200_000, 1000)
    assert engine.failure is None


def test_an_iterate_that_converges_to_0_is_never_subnormal() -> None:
    """After the loop, the thread computes with subnormal numbers again."""
    engine = make("compiled", "adam", ShiRealizable(), Constant(0.1), betas=(0.0, 0.999), dtype="float32")
    x, least = np.abs(engine.advance(100_000, 1).runs(0).x), np.finfo("float32").smallest_normal
    assert np.all((x == 0) | (x >= least))
    assert x[-1000:].max() < least * 1e6
    assert least * np.float32(0.5) > 0


@pytest.mark.parametrize("kind", ["compiled", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=10)
@given(
    problem=problems,
    schedule=schedules,
    cuts=st.lists(st.integers(1, 399), max_size=3, unique=True),
    log_every=st.integers(1, 50),
)
def test_bits_do_not_depend_on_chunks_and_on_saving(
    kind: str, dtype: str, problem: Problem, schedule: Schedule, cuts: list[int], log_every: int
) -> None:
    whole = make(kind, "amsgrad", problem, schedule, dtype=dtype)
    expected = whole.advance(400, log_every).runs(0)
    pieces = []
    engine = make(kind, "amsgrad", problem, schedule, dtype=dtype)
    for cut in [*sorted(cuts), 400]:
        pieces.append(engine.advance(cut, log_every).runs(0))
        saved = engine.save()
        engine = make(kind, "amsgrad", problem, schedule, dtype=dtype)
        engine.load(saved)
    for column in ("step", "loss", "x", "regret"):
        assert np.array_equal(np.concatenate([getattr(piece, column) for piece in pieces]), getattr(expected, column))
    assert expected.step.tolist() == [t for t in range(400) if (t + 1) % log_every == 0]
    assert engine.states == whole.states
    assert (engine.step, engine.totals.tolist()) == (whole.step, whole.totals.tolist())


TORCHS = ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]


@pytest.mark.parametrize(
    ("path", "kind", "dtype"),
    [
        *((f"torch.optim.{name}", "torch", "float64") for name in TORCHS),
        *((f"torch.optim.{name}", "compiled", "float32") for name in ("Adam", "ASGD", "NAdam", "Rprop")),
        *(("tests.optimizers.Accumulating", kind, "float32") for kind in ("torch", "compiled")),
    ],
)
def test_an_imported_optimizer_continues_from_a_saved_state(path: str, kind: str, dtype: str) -> None:
    def fresh() -> Batch:
        (trial,) = load_experiment(optimizers=[path], dtype=dtype, engine=kind).trials()
        return build(trial)

    expected = fresh().advance(300, 1).runs(0)
    assert expected.x[-1] != 0
    first, second = fresh(), fresh()
    head = first.advance(7, 1).runs(0)
    second.load(first.save())
    assert second.states == first.states  # otherwise a resumed run would be found to repeat itself at another step
    tail = second.advance(300, 1).runs(0)
    for name, column in expected.columns.items():
        assert np.concatenate([head.columns[name], tail.columns[name]]).tobytes() == column.tobytes()


@pytest.mark.parametrize("kind", ["compiled", "torch"])
def test_a_run_is_saturated_once_both_bias_corrections_are_1(kind: str) -> None:
    engine = make(kind, "adam", Online(), Constant(0.01), betas=(0.5, 0.9))
    steps = next(t for t in range(1000) if 1 - 0.9**t == 1)
    engine.advance(steps - 3, 1000)
    assert not engine.saturated
    engine.advance(steps + 3, 1000)
    assert engine.saturated


@pytest.mark.parametrize("kind", ["compiled", "torch"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"not a state", b'{"step": 1}', b'{"step": [], "state": 3}'])
def test_an_invalid_saved_state_is_rejected(kind: str, damage: bytes) -> None:
    with pytest.raises(ValueError, match=r"not (the|a) state|Expecting value"):
        make(kind, "adam", Online(), Constant(0.01)).load(damage)


def test_the_compiled_engine_stops_when_x_is_not_finite() -> None:
    problem = Online(steep=4.0, shallow=0.0, period=4, phase=2)
    engine = make("compiled", "adam", problem, Constant(0.01), betas=(0.0, 0.0), eps=0.0)
    trace = engine.advance(100, 1).runs(0)
    assert engine.failure == "x became nan at step 0"
    assert (engine.step, trace.step.tolist()) == (1, [0])
    later = make(
        "compiled", "adam", Online(steep=4, shallow=0, period=4, phase=0), Constant(0.01), betas=(0.0, 0.0), eps=0.0
    )
    assert np.isfinite(later.advance(100, 1).runs(0).x).all()
    assert later.failure == "x became nan at step 1"


@pytest.mark.parametrize(
    ("raises", "points", "failure"),
    [(True, 10, "the optimizer raised ZeroDivisionError at step 9: by zero"), (False, 10, "x became nan at step 9")],
)
def test_the_torch_engine_stops_when_the_optimizer_fails(raises: bool, points: int, failure: str) -> None:
    engine = literal("tests.optimizers.Faulty", Online(), Constant(0.01), "float32", raises=raises)
    trace = engine.advance(100, 1).runs(0)
    assert engine.failure == failure
    assert len(trace) == points
    assert np.isfinite(trace.x).all()


def test_torchs_adam_equals_ours() -> None:
    """torch.optim.Adam has the iterates of `adam` with the textbook bias correction."""
    theirs = make("torch", "torch.optim.Adam", Online(), Constant(0.01))
    ours = make("compiled", "adam", Online(), Constant(0.01), optimized_update=False)
    np.testing.assert_allclose(theirs.advance(2000, 1).runs(0).x, ours.advance(2000, 1).runs(0).x, rtol=0, atol=1e-12)
