"""Loops compiled in other processes: the same results, and none of their troubles is anybody's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest

from amsgrad_exp.engines import compiling
from amsgrad_exp.engines.compiling import compilers, opened
from amsgrad_exp.engines.lanes import Lanes
from amsgrad_exp.engines.loops import make_loop
from amsgrad_exp.rules import rule_of
from amsgrad_exp.spec.read import resolve_trial

numbers_of_gradients = iter(range(21, 99))  # each makes a rule of its own, which is compiled nowhere yet


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "FEW", 0)
    yield
    assert opened() is None


def advanced(n: int) -> tuple[Lanes, int]:
    """A run of AdaShift with so many gradients, and how often its loop was compiled in this process."""
    optimizer = {"name": "adashift", "options": {"n": n}}
    trial = resolve_trial({"problem": "online", "optimizers": [optimizer], "steps": 50, "log_every": 1})
    lanes = Lanes([trial])
    lanes.advance(50, 1)
    problem = trial.problem
    loop = make_loop(rule_of(trial.optimizer), problem.loss, problem.slope, per_step=1, width=1)
    return lanes, sum(loop.dispatcher.stats.cache_misses.values())


def test_a_loop_compiled_elsewhere_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    n = next(numbers_of_gradients)
    with compilers(2):
        there, misses = advanced(n)
        made = opened()
        assert made is not None
        assert (made.compiled, misses) == (2, 0)
        make_loop.cache_clear()  # type: ignore[attr-defined]
        assert advanced(n)[1] == 0
        assert made.compiled == 2
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(Path(os.environ["NUMBA_CACHE_DIR"]) / "other"))
    make_loop.cache_clear()  # type: ignore[attr-defined]
    here, misses = advanced(n)
    assert misses == 1
    assert np.array_equal(here.state, there.state)


@pytest.mark.parametrize(
    "serve",
    [
        "import sys; sys.exit(1)",
        "print('-', flush=True); input()",
        "not Python",
        f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})",
    ],
)
def test_a_process_that_fails_is_done_without(serve: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "SERVE", serve)
    with compilers(2):
        _, misses = advanced(next(numbers_of_gradients))
        made = opened()
        assert made is not None
        assert (made.compiled, misses) == (0, 1)


def test_no_process_is_started_where_none_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent")
    with compilers(2):
        assert advanced(next(numbers_of_gradients))[1] == 1


def test_one_thread_compiles_by_itself() -> None:
    with compilers(1):
        assert opened() is None
        assert advanced(next(numbers_of_gradients))[1] == 1


def test_a_sweep_that_outlasts_another_in_the_same_process_is_not_held_up() -> None:
    with compilers(2):
        made = opened()
        assert made is not None
        made.close()
        assert advanced(next(numbers_of_gradients))[1] == 1
