"""The examples: both engines give what the plain PyTorch loop gives, and the walk through the commands works."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import build
from amsgrad_exp.spec.read import resolve_trial

EXAMPLES = Path(__file__).parent.parent / "examples"
STEPS = 2_000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_both_engines_follow_the_reference_loop(amsgrad: bool, dtype: str) -> None:
    experiment = runpy.run_path(str(EXAMPLES / "reference.py"))["experiment"]
    expected = np.array(list(experiment(amsgrad=amsgrad, steps=STEPS, dtype=getattr(torch, dtype))))
    shared = {"steps": STEPS, "dtype": dtype, "log_every": 1}

    literal = {"name": "torch.optim.Adam", "options": {"amsgrad": amsgrad}}
    trace = build(resolve_trial({"optimizers": [literal], "engine": "torch", **shared})).advance(STEPS, 1)
    np.testing.assert_array_equal(np.stack([trace.x, trace.regret], axis=1), expected)

    rule = {"name": "amsgrad" if amsgrad else "adam"}
    trace = build(resolve_trial({"optimizers": [rule], "engine": "compiled", **shared})).advance(STEPS, 1)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(np.stack([trace.x, trace.regret], axis=1), expected, rtol=0, atol=tolerance)
