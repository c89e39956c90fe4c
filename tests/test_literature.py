"""What was published of the problems, at the settings of their sources: numbers and destinations."""

from __future__ import annotations

from typing import Any

import pytest

from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.result import Result, summarize
from amsgrad_exp.engines import build
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.trace import Trace


def result(problem: Any, optimizer: Any, steps: int, **others: Any) -> Result:
    """What one optimizer comes to in double precision."""
    given = {"problem": problem, "optimizers": [optimizer], "steps": steps, "dtype": "float64", **others}
    (trial,) = resolve(given).trials()
    chunks = list(drive(build(trial), trial.steps, trial.log_every))
    return summarize(trial.problem, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1])


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.1, 0.5)])
@pytest.mark.parametrize("c", [0.3, 1.0])
def test_adam_circles_the_minimum_of_a_quadratic_at_bock_and_weisss_distance(
    beta1: float, beta2: float, c: float
) -> None:
    adam = {"name": "adam", "lr": 0.001, "beta1": beta1, "beta2": beta2}
    for steps in (10_000, 10_001):
        last = result({"name": "bock-weiss", "c": c}, adam, steps)
        assert abs(last.x) == pytest.approx(0.001 * (1 - beta1) / (2 * (1 + beta1)), rel=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "options", "published"),
    [("adam", {}, 0.324426), ("amsgrad", {}, 0.135686), ("adashift", {"n": 10}, 0.205168)],
)
def test_the_average_regrets_of_the_reproduction_of_adashift(
    optimizer: str, options: dict[str, Any], published: float
) -> None:
    """Its class of AdaShift adds up m_t from 0 instead of the first n gradients, which shows in the third digit."""
    entry = {"name": optimizer, "lr": 1.0, "eps": 0, "options": options}
    last = result({"name": "online", "phase": 0}, entry, 250_000, schedule="inv-sqrt")
    assert last.regret == pytest.approx(published, rel=1e-3 if optimizer != "adashift" else 2e-3)


@pytest.mark.parametrize(
    ("problem", "optimizer", "iterate"),
    [
        ("theorem1", "adam", "worst"),
        ("theorem1", "amsgrad", "optimum"),
        ("theorem2", "adam", "worst"),
        ("theorem2", "amsgrad", "optimum"),
        ("theorem6", "adam", "worst"),
        ("theorem6", "amsgrad", "optimum"),
        ("adopt-cycle", "adopt", "worst"),
        ("adopt-cycle", {"name": "adopt", "options": {"clip": False}}, "worst"),
        ("adopt-cycle", "adam", "optimum"),
        ("adabound-theorem1", "adam", "worst"),
        ("adabound-theorem1", "amsgrad", "optimum"),
        ("adashift-sequential", "adam", "away"),
        ("adashift-sequential", {"name": "adashift", "options": {"n": 1}}, "optimum"),
        ({"name": "shi-boundary", "C": 8}, {"name": "adam", "beta2": 1 - 10**-1.1}, "worst"),
        ({"name": "shi-boundary", "C": 8}, {"name": "adam", "beta2": 1 - 10**-1.2}, "optimum"),
        ("shi-realizable", {"name": "adam", "beta2": 0.9}, "away"),
        ("shi-realizable", "adam", "optimum"),
    ],
)
def test_where_iterates_go_is_as_published(problem: Any, optimizer: Any, iterate: str) -> None:
    assert result(problem, optimizer, 1_000_000).iterate == iterate
