from __future__ import annotations

import math

import pytest

from amsgrad_exp.schedules import SCHEDULES, Constant, InverseSquareRoot, Schedule


def test_step_sizes() -> None:
    assert Constant(0.25).step_sizes(5, 8).tolist() == [0.25, 0.25, 0.25]
    assert InverseSquareRoot(2.0).step_sizes(0, 4).tolist() == [2.0, 2 / math.sqrt(2), 2 / math.sqrt(3), 1.0]


@pytest.mark.parametrize("kind", SCHEDULES.values())
def test_step_sizes_depend_on_the_step_alone(kind: type[Schedule]) -> None:
    schedule = kind(0.1)
    whole = schedule.step_sizes(10**12, 10**12 + 100).tolist()
    assert schedule.step_sizes(10**12 + 30, 10**12 + 100).tolist() == whole[30:]
    assert (len(set(whole)) == 1) == schedule.constant
