"""Tests the search for a problem on which an optimizer fails: what it tries, what a fall is, what is confirmed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amsgrad_exp.attacks import attacking
from amsgrad_exp.attacks.attacking import all_cases, attack, confirm, steps_of, target
from amsgrad_exp.attacks.search import Fall, Limits, Measured, Search, Target, measure
from amsgrad_exp.attacks.slope_sequences import (
    canonical,
    families,
    in_words,
    necklaces,
    negated,
    neighbours,
    random_sequences,
    reduced,
    simpler,
    size,
    steep,
)
from amsgrad_exp.engines.fixed import FixedIterates, Slopes
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.sweeps.workers import workers
from tests.watching import Watched

SLOPES = st.lists(st.integers(-9, 9), min_size=2, max_size=12).map(tuple).filter(lambda slopes: sum(slopes) != 0)


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log few points, because labml takes as long for one as the compiled loop for hundreds of steps."""
    monkeypatch.setattr(attacking, "POINTS", 500)


@pytest.fixture
def executor() -> Iterator[Executor]:
    with workers(1) as threads:
        yield threads


def drifts(*arguments: Any, **more: Any) -> Measured:
    measured = measure(*arguments, **more)
    assert measured is not None
    return measured


@given(SLOPES, st.integers(0, 11))
def test_all_rotations_of_a_sequence_have_one_canonical_form(slopes: Slopes, shift: int) -> None:
    shown = canonical(slopes)
    at = shift % len(slopes)
    assert canonical(slopes[at:] + slopes[:at]) == shown
    assert shown * (len(slopes) // len(shown)) in {slopes[i:] + slopes[:i] for i in range(len(slopes))}
    assert abs(shown[0]) == max(map(abs, slopes))


@given(SLOPES)
def test_simpler_problems_are_smaller_and_have_an_optimum(slopes: Slopes) -> None:
    for other in simpler(slopes):
        assert size(other) < size(slopes)
        assert sum(other) != 0
        assert len(other) > 1
        assert reduced(other) == other


def test_a_problem_in_words() -> None:
    assert in_words((74,) + (-1,) * 73) == "74 once, −1 seventy-three times, x* = −1"
    assert in_words((-1000, 0, 0) + (1,) * 120) == "−1,000 once, 0 twice, 1 for 120 steps, x* = 1"
    assert in_words((3,) * 12 + (-1,) * 20) == "3 twelve times, −1 twenty times, x* = −1"


def test_families_contain_the_mirror_image_of_each_problem() -> None:
    tried = set(families(40))
    assert {negated(slopes) for slopes in steep(40)} <= tried
    for period, excess in itertools.product((5, 20, 40), (1, 2, 3)):
        assert (period - 1 + excess,) + (-1,) * (period - 1) in tried
        assert (-(period - 1 - excess),) + (1,) * (period - 1) in tried
    assert all(len(slopes) <= 40 and sum(slopes) != 0 for slopes in tried)


def test_necklaces_are_all_short_sequences_except_rotations() -> None:
    found = {slopes for slopes in necklaces(3) if max(map(abs, slopes)) <= 2 and len(slopes) == 3}
    every = {
        canonical(slopes)
        for slopes in itertools.product(range(-2, 3), repeat=3)
        if any(slopes) and reduced(slopes) == slopes and len(canonical(slopes)) == 3
    }
    assert found == every


def test_random_problems_have_an_optimum_and_a_period_within_the_limit() -> None:
    one = random_sequences(np.random.default_rng(3), 50, 100)
    assert all(1 < len(slopes) <= 100 and sum(slopes) != 0 for slopes in one)
    near = neighbours(np.random.default_rng(3), (5, -1, -1), 50, 4)
    assert len(set(near)) > 10
    assert all(1 < len(slopes) <= 4 and sum(slopes) != 0 for slopes in near)


THEORY_KNOWS = ("adam", "rmsprop", "adamax", "adashift", "adabelief", "amsgrad", "lion")


@pytest.mark.parametrize("name", THEORY_KNOWS)
def test_the_measured_drift_is_the_predicted_one(name: str) -> None:
    settings = {} if name == "lion" else {"beta2": 0.99} if name == "rmsprop" else {"beta1": 0.9, "beta2": 0.99}
    attacked = target(name, settings)
    sequences = [(30, *[-1] * 20), (25, *[-1] * 20), (-18, *[1] * 20), (3, 0, -1, -1, 2, -4)]
    measured = drifts(attacked.make_batch, sequences, 2048)
    assert measured.settled.all()
    theory = [attacked.theory(slopes) for slopes in sequences]
    periods = np.array([len(slopes) for slopes in sequences])
    seen = measured.outward * measured.speed * periods / attacked.settings.lr
    np.testing.assert_allclose(seen, np.array(theory, np.float64), rtol=1e-4, atol=1e-4)


def test_an_optimizer_may_replace_the_tensor_of_its_parameter() -> None:
    sequences = [(3, -1, -1), (5, -2)]
    seen, expected = (drifts(target(name).make_batch, sequences) for name in ("tests.optimizers.Replacing", "sgd"))
    np.testing.assert_allclose(seen.outward, expected.outward, rtol=1e-12)
    assert not seen.falls()


def test_an_optimizer_that_never_moves_is_rejected() -> None:
    with pytest.raises(RunFailed, match="x did not move in 1024 steps on any problem"):
        measure(target("tests.optimizers.Still").make_batch, [(3, -1, -1), (5, -2)])


@pytest.mark.parametrize(("asked", "known"), [(0, False), (2, False), (6, True)])
def test_drifts_that_settled_before_time_ran_out_are_kept(asked: int, known: bool) -> None:
    """T is 2048, 4096, 8192, …, with a check of the time every 2048 steps; a drift can settle at the third T."""
    answers = iter([False] * asked)
    sequences = [(9, -1, -1), (-9, 1, 1), (74, *[-1] * 73), (150, *[-1] * 73)]
    adam = target("adam").make_batch
    measured = measure(adam, sequences, 2048, should_stop=lambda: next(answers, True))
    assert (measured is not None) == known
    if measured is not None:
        assert measured.steps == 8192
        in_the_end = drifts(adam, sequences, 2048)
        assert set(np.flatnonzero(measured.settled)) <= set(np.flatnonzero(in_the_end.settled))


def test_torch_and_the_compiled_loop_measure_the_same_drift() -> None:
    sequences = families(24)[::120]
    compiled, torch = (target(name).make_batch for name in ("adam", "torch.optim.Adam"))
    one, other = (drifts(make, sequences, 1024, doublings=2) for make in (compiled, torch))
    np.testing.assert_allclose(one.outward, other.outward, atol=1e-6)
    np.testing.assert_allclose(one.speed, other.speed, rtol=1e-6)
    assert [fall.slopes for fall in one.falls()] == [fall.slopes for fall in other.falls()]


class Fading(FixedIterates):
    """Runs whose drift is towards the wrong end and decreases as 1/t^power."""

    def __init__(self, power: float, sequences: Sequence[Slopes], held: Any) -> None:
        self.power, self.held = power, held

    def advance(self, stop: int, begin: Any, end: Any) -> Any:
        return np.array([-self.held * (end - begin) * float(stop) ** -self.power, (end - begin) * 1.0])


@pytest.mark.parametrize(("power", "falls"), [(0.0, True), (0.25, False), (0.5, False), (1.0, False)])
def test_a_vanishing_drift_is_no_fall(power: float, falls: bool) -> None:
    measured = drifts(functools.partial(Fading, power), [(3, -1), (-3, 1, 1)])
    assert len(measured.falls()) == 2 * falls


def test_adagrad_whose_denominator_grows_forever_has_no_fall() -> None:
    sequences = [(excess + period - 1, *[-1] * (period - 1)) for period in (20, 300, 1000) for excess in (1, 2, 5)]
    measured = drifts(target("adagrad").make_batch, sequences)
    assert not measured.falls()


def test_an_optimizer_that_is_not_compiled_is_run_one_at_a_time(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked = target("tests.hostile.lists")
    assert attacked.at_once < target("tests.optimizers.Renamed").at_once
    search = Search(replace(attacked, first=64), Limits(problems=60, max_period=5), executor)
    assert search.run().problems == 60
    monkeypatch.setattr(attacking, "LITERAL_STEPS_ALONE", 1)  # less than one run, which is done nevertheless
    ((trial, _),) = all_cases(attacked.settings, Fall((3, -1, -1), 0.5, 1.0, 1024))
    assert trial.engine == "torch"


@pytest.mark.parametrize("name", ["tests.optimizers.Renamed", "sgd", "amsgrad", "adagrad"])
def test_what_converges_survives(name: str, executor: Executor) -> None:
    attacked = replace(target(name), first=512)
    found = Search(attacked, Limits(problems=1200, max_period=10), executor).run()
    assert found.problems == 1200
    assert not found.fallen
    assert found.survives > 1000


def test_a_fixed_set_of_problems_is_tried_by_default(executor: Executor) -> None:
    """The set depends on whether the optimizer is compiled."""
    compiled = replace(target("sgd"), first=64)
    every, some = families(4), families(5)
    all_of_it = Search(compiled, Limits(max_period=4), executor)
    assert all_of_it.run().problems > len(every)
    assert all_of_it.finished
    without_random = Search(replace(compiled, problems=None), Limits(max_period=4), executor)
    assert without_random.run().problems == len(every) == without_random.total
    subset = Search(replace(compiled, problems=50, max_period=5), Limits(max_period=4096), executor)
    assert subset.run().problems == 50 == subset.total
    assert {slopes for _, slopes in subset.found.dangerous} <= set(some)
    assert target("tests.hostile.lists").problems == 192


def test_a_planted_sign_error_is_found_shrunk_and_confirmed(
    tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacking, "LITERAL_STEPS_CHECKED", 8000)
    labels: list[str] = []
    attacked = replace(target("tests.optimizers.SignError"), first=256)
    watch = Watched(on_progress=lambda label, done: labels.append(label))
    result = attack(attacked, Limits(problems=400, max_period=4), tmp_path, executor, watch)
    example = result.counterexample
    assert example is not None
    assert result.found
    assert (example.slopes, example.optimum) == ((1, 0), -1.0)
    assert result.falls > 300
    runs = result.evidence.runs
    assert len(runs) == len({label for label in labels if "confirming" in label}) > 5
    assert {run.summary.engine for run in runs} == {"compiled", "torch"}
    assert {run.trial.problem.start for run in runs} == {-1.0, 0.0, 1.0}
    assert {run.summary.dtype for run in runs} == {"float32", "float64"}


def test_shrinking_returns_every_smaller_problem_on_the_way(executor: Executor) -> None:
    signsgd = target("signsgd")
    search = Search(signsgd, Limits(problems=100, max_period=60), executor)
    candidates = search.run().candidates()
    falls = search.shrink(candidates[0])
    way = [fall.slopes for fall in falls]
    assert way[0] == canonical(candidates[0].slopes)
    assert way[1:] == [(-3, 1, 1), (3, -1, -1)]
    assert [size(slopes) for slopes in way] == sorted((size(slopes) for slopes in way), reverse=True)
    assert [fall_of(slopes, signsgd).outward for slopes in way] == pytest.approx([fall.outward for fall in falls])
    assert search.finished


def fall_of(slopes: Slopes, attacked: Target) -> Fall:
    measured = drifts(attacked.make_batch, [slopes])
    return Fall(slopes, abs(float(measured.outward[0])), float(measured.speed[0]), measured.steps)


def test_only_runs_that_go_to_the_worst_end_confirm_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacking, "LITERAL_STEPS", 0)
    slopes = (11, *[-1] * 10)
    lion, sgd = target("lion"), target("sgd")
    fall = fall_of(slopes, lion)
    assert confirm(lion.settings, fall, tmp_path)[1]
    assert not confirm(sgd.settings, fall_of(slopes, sgd), tmp_path)[1]
    assert steps_of(fall) % len(slopes) == 0


def test_adams_counterexample_is_proved_by_the_limit_of_its_regret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacking, "LITERAL_STEPS", 0)
    adam = target("adam", {"beta2": 0.99})
    runs, confirmed = confirm(adam.settings, fall_of((100, *[-1] * 99), adam), tmp_path)
    assert confirmed
    limit = runs[0].result.limit_regret
    assert limit is not None
    assert limit > 1 / 100


def test_a_drift_that_theory_contradicts_is_no_fall(executor: Executor) -> None:
    contradicted: Any = replace(target("signsgd"), theory=lambda slopes: -1.0)
    found = Search(contradicted, Limits(problems=100, max_period=3), executor).run()
    assert not found.fallen
    assert found.unsettled > 0


def test_a_stopped_search_keeps_its_results(tmp_path: Path, executor: Executor) -> None:
    def stop(label: str, done: int) -> None:
        watch.stop_after = 0 if done else None

    watch = Watched(on_progress=stop)
    result = attack(replace(target("sgd"), at_once=500), Limits(), tmp_path, executor, watch)
    assert result.interrupted
    assert not result.finished
    assert 0 < result.problems < 10_000
    assert (result.directory / "attack.json").exists()
