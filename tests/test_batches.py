"""Tests that a run has the same bits in a batch as alone, and that means over seeds are means of runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import Chunk, drive_batch, halfwidth
from amsgrad_exp.engines.summarize import summarize
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.problems import Online, Problem, Stochastic, Theorem1
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import SCHEDULES, Constant
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import Trace
from tests.trials import SEVERAL, finished, make_trial

batches = st.lists(
    st.fixed_dictionaries(
        {
            "lr": st.sampled_from([0.5, 0.01, 1e-3]),
            "betas": st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.0, 0.9, 0.99, 0.9999])),
            "eps": st.sampled_from([0.0, 1e-16, 1e-3]),
            "seed": st.integers(0, 3),
            "steep": st.sampled_from([1010.0, 1100.0, 2000.0]),
        }
    ),
    min_size=1,
    max_size=6,
)

CONSTANTS: dict[str, dict[str, Any]] = {"step": {"every": 1000}}


def trial_of(optimizer: str, kind: str, schedule: str, optimized: bool, run: dict[str, Any], **changed: Any) -> Trial:
    problem: Problem = {
        "online": Online(steep=run["steep"]),
        "stochastic": Stochastic(steep=run["steep"]),
        "theorem1": Theorem1(C=run["steep"] / 100),
    }[kind]
    settings = {name: run[name] for name in ("betas", "eps", "seed")}
    if "optimized_update" in OPTIMIZERS[optimizer].options.model_fields:
        settings["optimized_update"] = optimized
    return make_trial(
        optimizer, problem, SCHEDULES[schedule](run["lr"], **CONSTANTS.get(schedule, {})), **settings, **changed
    )


@pytest.mark.parametrize(("optimizer", "dtype"), [*zip(SEVERAL, ["float32", "float64"] * 3, strict=True)])
@settings(max_examples=8)
@given(
    runs=batches,
    kind=st.sampled_from(["online", "stochastic", "theorem1"]),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    optimized=st.booleans(),
    steps=st.integers(1, 400_000),
    fast_forward=st.booleans(),
)
def test_a_run_has_the_same_bits_in_a_batch_as_alone(
    optimizer: str,
    dtype: str,
    runs: list[dict[str, Any]],
    kind: str,
    schedule: str,
    optimized: bool,
    steps: int,
    fast_forward: bool,
) -> None:
    log_every = max(1, steps // 50)
    shared = {"dtype": dtype, "steps": steps, "log_every": log_every, "fast_forward": fast_forward}
    trials = [trial_of(optimizer, kind, schedule, optimized, run, **shared) for run in runs]
    seen = {}
    for number, trace, last in filter(None, drive_batch(trials)):
        seen[number] = (trace, last)
    assert sorted(seen) == list(range(len(runs)))
    for number, trial in enumerate(trials):
        trace, last = seen[number]
        try:
            expected, result = finished(trial)
        except RunFailed:
            assert isinstance(last, RunFailed)
            continue
        assert isinstance(last, Chunk)
        for name, column in expected.columns.items():
            assert trace.columns[name].tobytes() == column.tobytes(), name
        assert summarize(trial.problem, trace, last, schedule=schedule_of(trial)) == result


def test_a_run_that_repeats_leaves_the_batch() -> None:
    """With β2 = 0.9 a run repeats early, with 0.9999 only once its bias correction has saturated."""
    trials = [
        make_trial("adam", Online(), Constant(0.01), betas=(0.9, beta2), steps=10**9, log_every=10**6)
        for beta2 in (0.9999, 0.9, 0.99)
    ]
    order, simulated = [], {}
    for number, trace, last in filter(None, drive_batch(trials)):
        assert isinstance(last, Chunk)
        assert len(trace) == 1000
        order.append(number)
        simulated[number] = last.steps_simulated
    assert order[-1] == 0
    assert simulated[1] < simulated[0] < 10**7


def test_a_mean_over_seeds_is_the_mean_of_runs() -> None:
    given: dict[str, Any] = {"optimizers": ["amsgrad"], "problem": "stochastic", "steps": 30_000, "log_every": 100}
    (trial,) = load_experiment(**given, seed=5, seeds=7).trials()
    trace, result = finished(trial)
    alone = (trial.model_copy(update={"seed": seed, "seeds": 1}) for seed in range(5, 12))
    singles, results = zip(*map(finished, alone), strict=True)
    for name in ("loss", "x", "regret"):
        expected = np.mean([single.columns[name] for single in singles], axis=0)
        np.testing.assert_allclose(trace.columns[name], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        trace.columns["regret_halfwidth"], halfwidth(np.array([single.regret for single in singles]).T)
    )
    assert result.mean_x == pytest.approx(np.mean([single.mean_x for single in results]), rel=1e-12)
    assert result.regret == pytest.approx(np.mean([single.regret for single in results]), rel=1e-12)
    spread = halfwidth(np.array([[single.mean_x for single in results]]))[0]
    assert result.mean_x_halfwidth == pytest.approx(spread, rel=1e-9)


def test_the_confidence_interval_covers_the_mean_95_percent_of_the_time() -> None:
    """Of 4000 samples of five normal numbers, the 95 % interval holds the true mean about 3800 times."""
    samples = np.random.default_rng(1).normal(3.0, 2.0, (4000, 5))
    covered = np.abs(samples.mean(axis=1) - 3.0) <= halfwidth(samples)
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_many_seeds_decide_what_one_cannot() -> None:
    """On the stochastic problem Adam ends at the worst point; the interval over 40 seeds is narrow enough."""
    given: dict[str, Any] = {"schedule": "inv-sqrt", "settings": {"lr": 1.0}, "steps": 200_000, "log_every": 1000}
    (trial,) = load_experiment(optimizers=["adam"], problem="stochastic", seeds=40, **given).trials()
    _, result = finished(trial)
    assert result.iterate == "worst"
    assert result.mean_x_halfwidth is not None
    assert result.mean_x_halfwidth < 0.05


def test_a_batch_of_seeds_continues_from_a_saved_state() -> None:
    def make() -> Batch:
        return build(load_experiment(optimizers=["adam"], problem="stochastic", steps=20_000, seeds=4).trials()[0])

    whole = make().advance(9000, 7)
    first, second = make(), make()
    head = first.advance(4000, 7)
    second.load(first.save())
    joined = Trace.concatenate([head, second.advance(9000, 7)])
    for name, column in whole.columns.items():
        assert joined.columns[name].tobytes() == column.tobytes()
    for damage in (b"[]", b"{}", b"null"):
        with pytest.raises(ValueError, match="not the state of a compiled engine of 4 seeds"):
            second.load(damage)
