"""Tests that a compiled torch optimizer gives the bits of its PyTorch loop, and that others are not compiled."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import build, compiles
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import Chunk, drive, drive_batch
from amsgrad_exp.engines.recorded import program_of
from amsgrad_exp.engines.recorded.followed import Notes, following, text_of
from amsgrad_exp.engines.recorded.kernels import rounding, same_bits
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.recorded.recorded_run import RecordedRun
from amsgrad_exp.engines.torch_run import TorchRun
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace
from tests import hostile


def trial_of(name: str, **given: Any) -> Trial:
    settings: dict[str, Any] = {"steps": 3000, "schedule": "inv-sqrt", "log_every": 1, "engine": "compiled"} | given
    (trial,) = load_experiment(optimizers=[name], **settings).trials()
    return trial


def run(trial: Trial) -> tuple[Trace, Batch]:
    engine = build(trial)
    chunks = drive(engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward)
    return Trace.concatenate([chunk.trace for chunk in chunks]), engine


def same(one: Trace, other: Trace) -> bool:
    return all(one.columns[name].tobytes() == other.columns[name].tobytes() for name in one.columns)


@pytest.mark.parametrize(
    ("name", "dtype"),  # make recorded runs all classes in both dtypes
    [
        *((f"torch.optim.{name}", "float32") for name in ("NAdam", "Adafactor", "Muon")),
        *((f"torch.optim.{name}", "float64") for name in ("NAdam", "RAdam")),
        *((f"tests.hostile.{name}", "float32") for name in ("warm", "tensor_where", "counted_on_data", "late_alias")),
    ],
)
def test_a_compiled_run_has_the_bits_of_the_torch_loop(name: str, dtype: str) -> None:
    trial = trial_of(name, dtype=dtype)
    trace, engine = run(trial)
    assert engine.driven.engine == "compiled"
    assert same(trace, run(trial.on_engine("torch"))[0])


@pytest.mark.parametrize("problem", ["components", "stochastic", "shi-realizable", "adopt-toy"])
def test_a_compiled_run_has_the_bits_of_the_torch_loop_on_other_problems(problem: str) -> None:
    trial = trial_of("torch.optim.Adam", problem=problem, schedule="constant", steps=2000)
    trace, engine = run(trial)
    assert engine.driven.program
    assert same(trace, run(trial.on_engine("torch"))[0])


@pytest.mark.parametrize("name", sorted(hostile.HOSTILE))
def test_a_hostile_optimizer_is_rejected_or_compiled_correctly(name: str) -> None:
    """From the same state, a step of the program and a step of the optimizer must give the same numbers."""
    trial = trial_of(f"tests.hostile.{name}", steps=3200, settings={"lr": 0.01})
    hostile.GLOBAL["t"] = 0
    program = program_of(trial.optimizer, trial.dtype)
    if isinstance(program, str):
        return
    hostile.GLOBAL["t"] = 0
    literal, scales = TorchRun(trial), schedule_of(trial).scales(0, trial.steps)
    for step in (*range(program.begin, 300), *range(300, 2990, 23), *range(2990, 3200, 3)):
        literal.advance(step, trial.steps)
        if literal.failure is not None:
            return
        (((slope,), _),) = literal.inputs(step, step + 1)
        try:
            stands = literal.read(program)
        except KeyError:  # the state has other entries than when it was recorded, so no program is used
            continue
        (x, *state), carry = program.step(*stands, slope, scales[step], trial.optimizer.lr, np.float32)
        literal.advance(step + 1, trial.steps)
        if not program.guarded or state[-2]:
            taken = [*program.named([min(max(x, -1.0), 1.0), *state]), *carry]
            state, carry = literal.read(program)
            assert same_bits(np.array(taken), np.array([*program.named(state), *carry])), step


def test_why_an_optimizer_is_not_compiled() -> None:
    with pytest.raises(ConfigError, match=r"cannot be compiled: it draws random numbers; use engine torch"):
        build(trial_of("tests.hostile.torch_rand"))
    engine = build(trial_of("tests.hostile.torch_rand", engine="auto", steps=20_000))
    assert (engine.driven.engine, engine.driven.not_compiled) == ("torch", "it draws random numbers")


def test_a_wrong_program_is_detected_and_the_run_continues_in_torch() -> None:
    trial = trial_of("torch.optim.NAdam")
    program = program_of(trial.optimizer, trial.dtype)
    assert isinstance(program, Program)
    wrong = copy.copy(program)
    wrong.constants = [program.constants[0] * 1.001, *program.constants[1:]]
    engine = RecordedRun(trial, wrong)
    chunks = drive(engine, trial.steps, trial.log_every)
    trace = Trace.concatenate([chunk.trace for chunk in chunks])
    assert engine.driven.engine == "torch"
    assert engine.driven.not_compiled == f"its program came to something else at step {wrong.begin}"
    assert same(trace, run(trial.on_engine("torch"))[0])


def test_a_saved_run_continues_with_the_same_bits() -> None:
    trial = trial_of("torch.optim.Adafactor")
    expected = build(trial).advance(3000, 1).runs(0)
    first, second = build(trial), build(trial)
    head = first.advance(1700, 1).runs(0)
    second.load(first.save())
    assert same(Trace.concatenate([head, second.advance(3000, 1).runs(0)]), expected)


def test_the_sign_of_zero_does_not_depend_on_where_a_run_is_cut() -> None:
    trial = trial_of("torch.optim.ASGD", problem="shi-realizable", schedule="constant", engine="torch", steps=200)
    whole, cut = build(trial), build(trial)
    traces = whole.advance(200, 1), Trace.concatenate([cut.advance(step, 1) for step in (91, 154, 155, 200)])
    assert np.signbit(traces[0].x[150])
    assert same(*traces)


def test_a_batch_agrees_with_single_runs_to_rounding() -> None:
    trials = [
        trial_of("torch.optim.Adam", settings={"lr": lr, "beta2": beta2})
        for lr in (0.01, 0.1)
        for beta2 in (0.95, 0.99)
    ]
    finished = {number: trace for number, trace, _ in filter(None, drive_batch(trials))}
    for number, trial in enumerate(trials):
        np.testing.assert_allclose(finished[number].x, run(trial)[0].x, rtol=0, atol=1e-5)


def test_a_run_that_fails_in_its_first_steps_leaves_the_batch() -> None:
    trials = [trial_of("torch.optim.SGD", problem="bock-weiss", settings={"lr": lr}) for lr in (1e15, 0.1)]
    finished = {number: last for number, _, last in filter(None, drive_batch(trials))}
    assert finished[0] is None
    assert isinstance(finished[1], Chunk)


def test_seeds_run_as_a_batch() -> None:
    trial = trial_of("torch.optim.Adam", problem="stochastic", seeds=3)
    trace, engine = run(trial)
    assert engine.driven.engine == "compiled"
    literal, _ = run(trial.on_engine("torch"))
    np.testing.assert_allclose(trace.x, literal.x, rtol=0, atol=1e-5)
    again = build(trial)
    again.load(engine.save())
    assert again.save() == engine.save()


def test_a_constant_step_size_is_fast_forwarded() -> None:
    given = {"settings": {"beta1": 0.5, "beta2": 0.9}, "schedule": "constant", "steps": 400_000, "log_every": 1000}
    trial = trial_of("torch.optim.Adam", **given)
    engine = build(trial)
    *_, last = drive(engine, trial.steps, trial.log_every)
    assert last.steps_simulated < trial.steps
    full = build(trial)
    full.advance(trial.steps, 10**9)
    assert last.x == full.x


def test_a_record_names_its_program_and_is_verified(tmp_path: Path) -> None:
    recorded = record(trial_of("torch.optim.NAdam", steps=12_000, log_every=100), tmp_path)
    summary = recorded.summary
    assert summary.engine == "compiled"
    assert summary.program
    assert summary.kernels
    assert verify(recorded).first_step is None
    literally = verify(recorded, "torch")
    assert (literally.tolerance, literally.first_step) == (0.0, None)


def test_short_runs_are_not_compiled() -> None:
    assert not compiles(trial_of("torch.optim.NAdam", engine="auto", steps=100))
    assert compiles(trial_of("torch.optim.NAdam", engine="auto", steps=10_000))


@pytest.mark.parametrize(
    "use",
    [
        *(int, str, hash, round, complex, np.sqrt, np.array, lambda t: t.real, lambda t: f"{t}", lambda t: [0] * t),
        *(lambda t: {t: 1}, lambda t: math.fsum([t]), lambda t: math.modf(t)),
    ],
)
def test_a_use_that_cannot_be_followed_is_an_escape(use: Any) -> None:
    notes = Notes(lambda text, truth: None)
    with following([]):
        use(notes.number(3.0, "p0"))
    assert notes.escapes


def test_arithmetic_with_a_followed_number_is_recorded() -> None:
    guards: list[tuple[str, bool]] = []
    notes = Notes(lambda text, truth: guards.append((text, truth)))
    t = notes.number(3.0, "p0")
    with following([]):
        y = math.sqrt(1 - 0.9**t) / t
        assert not max(t, 5.0) < 5
    assert text_of(y) == "(np.sqrt((1.0 - pow_d(0.9, p0))) / p0)"
    assert guards == [("(p0 < 5.0)", True)]
    assert not notes.escapes


@pytest.mark.parametrize(
    ("call", "template", "right"),
    [
        (lambda tensors, _: tensors[0] * 2, "{0} + {0}", True),
        (lambda tensors, _: tensors[0].abs(), "where({0} < 0, -{0}, {0})", False),  # −0
        (lambda tensors, _: tensors[0].clamp(min=0), "where({0} > 0, {0}, {zero})", False),  # NaN
    ],
)
def test_an_expression_that_differs_on_special_numbers_is_rejected(call: Any, template: str, right: bool) -> None:
    operation = SimpleNamespace(call=call, dtypes=[torch.float32], shapes=[(1,)], values=[])
    found, _ = rounding(operation, [("t", 0)], [template], ("f", "f"), condition=False)
    assert found == (template if right else None)
