from __future__ import annotations

import math
from typing import Any

import pytest

from amsgrad_exp.schedules import Constant, InverseSquareRoot, Schedule
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.spec.schedule import schedule_of, written


def test_step_sizes() -> None:
    assert Constant(0.25).step_sizes(5, 8).tolist() == [0.25, 0.25, 0.25]
    assert InverseSquareRoot(2.0).step_sizes(0, 4).tolist() == [2.0, 2 / math.sqrt(2), 2 / math.sqrt(3), 1.0]
    assert InverseSquareRoot(3.0, c=0.5).step_sizes(0, 7)[[0, 2, 6]].tolist() == [3.0, 3 / math.sqrt(2), 1.5]
    assert InverseSquareRoot(3.0, every=3).step_sizes(1, 10)[[0, 1, 2, 4, 5, 8]].tolist() == [
        3.0,
        3.0,
        3 / math.sqrt(2),
        3 / math.sqrt(2),
        pytest.approx(3 / math.sqrt(3)),
        1.5,
    ]


@pytest.mark.parametrize(
    "schedule", [Constant(0.1), InverseSquareRoot(0.1), InverseSquareRoot(0.1, 0.01), InverseSquareRoot(0.1, 2, 7)]
)
def test_step_sizes_depend_on_the_step_alone(schedule: Schedule) -> None:
    whole = schedule.step_sizes(10**10, 10**10 + 100).tolist()
    assert schedule.step_sizes(10**10 + 30, 10**10 + 100).tolist() == whole[30:]
    assert (len(set(whole)) == 1) == schedule.constant


@pytest.mark.parametrize(
    ("given", "text", "schedule"),
    [
        ("constant", "constant", Constant(0.5)),
        ("inv-sqrt", "inv-sqrt", InverseSquareRoot(0.5)),
        ({"name": "inv-sqrt"}, "inv-sqrt", InverseSquareRoot(0.5)),
        ("inv-sqrt:c=1,every=1", "inv-sqrt", InverseSquareRoot(0.5)),
        ("inv-sqrt:c=1e-2", "inv-sqrt:c=0.01", InverseSquareRoot(0.5, c=0.01)),
        ({"name": "inv-sqrt", "every": 10, "c": "3"}, "inv-sqrt:c=3.0,every=10", InverseSquareRoot(0.5, 3, 10)),
    ],
)
def test_a_schedule_is_a_name_a_text_or_a_mapping_and_written_as_a_text(
    given: Any, text: str, schedule: Schedule
) -> None:
    assert written(given) == written(text) == text
    experiment = resolve({"schedule": given, "optimizers": [{"name": "adam", "lr": 0.5}]})
    (trial,) = experiment.trials()
    assert trial.schedule == text
    assert f"schedule: {text}\n" in experiment.to_yaml()
    assert schedule_of(trial) == schedule
