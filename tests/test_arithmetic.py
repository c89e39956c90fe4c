"""Powers without a mathematics library: as pow() to a few roundings, the same bits compiled, in the dtype given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amsgrad_exp.arithmetic import power
from amsgrad_exp.engines.loops import compile_loop

compiled = compile_loop(lambda y, p: power(y, p))


@given(st.floats(1e-30, 1e18), st.floats(-1, 1))
def test_a_power_is_that_of_the_mathematics_library_and_compiled_the_same_bits(y: float, p: float) -> None:
    assert power(y, p) == pytest.approx(math.pow(y, p), rel=1e-13)
    assert compiled(y, p) == power(y, p)


@given(st.floats(2**-60, 2**60, width=32), st.floats(0.0625, 1, width=32))
def test_a_power_of_float32_is_float32(y: float, p: float) -> None:
    raised = power(np.float32(y), np.float32(p))
    assert isinstance(raised, np.float32)
    assert raised == np.float32(math.pow(y, p))
    assert compiled(np.float32(y), np.float32(p)) == raised


@pytest.mark.parametrize(("y", "p", "expected"), [(0.0, 0.5, 0.0), (math.inf, 0.5, math.inf), (0.96, 1e12, 0.0)])
def test_ends_of_the_range(y: float, p: float, expected: float) -> None:
    assert power(y, p) == compiled(y, p) == expected
