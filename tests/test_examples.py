"""The examples: both engines give what the plain PyTorch loop gives, and the walk through the commands works."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import build
from amsgrad_exp.identification import probes
from amsgrad_exp.spec.read import resolve_trial
from tests.conftest import CommandLine

EXAMPLES = Path(__file__).parent.parent / "examples"
STEPS = 2_000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_both_engines_follow_the_reference_loop(amsgrad: bool, dtype: str) -> None:
    experiment = runpy.run_path(str(EXAMPLES / "reference.py"))["experiment"]
    expected = np.array(list(experiment(amsgrad=amsgrad, steps=STEPS, dtype=getattr(torch, dtype))))
    shared = {"steps": STEPS, "dtype": dtype, "log_every": 1}

    literal = {"name": "torch.optim.Adam", "options": {"amsgrad": amsgrad}}
    trace = build(resolve_trial({"optimizers": [literal], "engine": "torch", **shared})).advance(STEPS, 1).lanes(0)
    np.testing.assert_array_equal(np.stack([trace.x, trace.regret], axis=1), expected)

    rule = {"name": "amsgrad" if amsgrad else "adam"}
    trace = build(resolve_trial({"optimizers": [rule], "engine": "compiled", **shared})).advance(STEPS, 1).lanes(0)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(np.stack([trace.x, trace.regret], axis=1), expected, rtol=0, atol=tolerance)


def test_the_commands_of_an_optimizer_of_ones_own_work(
    in_process: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its docstring and of the README, on fewer steps, probes and problems."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(probes, "LONG", 80)
    monkeypatch.setattr(probes, "EVERY", 40)
    smaller = {
        "run": [],
        "identify": [],
        "attack": ["--problems", "40", "--max-period", "4", "--no-figure"],
        "gauntlet": ["--problem", "online", "--schedule", "constant", "--settings", "stated", "--no-figure"],
    }
    said = {"run": "1,000 simulated", "identify": "ε is inside the root", "attack": "40 problems", "gauntlet": "online"}
    written = (EXAMPLES / "my_optimizer.py").read_text()
    commands = re.findall(r"^ +amsgrad-exp (.+)$", written, re.MULTILINE)
    shown = re.findall(
        r"^\$ amsgrad-exp (.+my_optimizer.+?)  +#", (EXAMPLES.parent / "README.md").read_text(), re.MULTILINE
    )
    assert commands == shown
    assert [command.split()[0] for command in commands] == list(smaller)
    for name, command in zip(smaller, commands, strict=True):
        done = in_process(*command.replace("1e5", "1e3").split(), *smaller[name])
        assert (done.returncode, said[name] in done.stdout) == (0, True), done
