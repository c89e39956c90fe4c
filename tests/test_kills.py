"""Tests that runs killed by SIGKILL at random moments and then resumed write the same bytes as uninterrupted runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.records import recorder
from tests.recorded import list_runs, logged, trial
from tests.trials import SEVERAL

# Checkpoints are written after nearly every chunk, so that some kills hit the writing of one.
PROGRAM = """
from amsgrad_exp import cli
from amsgrad_exp.records import recorder
recorder.CHECKPOINT_SECONDS = 0.02
cli.main()
"""

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "every step simulated": {"steps": 10**8, "log_every": 20_011, "fast_forward": False},
    "decaying": {"dtype": "float64", "schedule": "inv-sqrt", "steps": 5 * 10**7, "log_every": 9973},
    "derived": {"steps": 10**7, "log_every": 1000},
    "stochastic": {"problem": "stochastic", "steps": 3 * 10**7, "log_every": 9973, "seed": 4},
    "torch": {"engine": "torch", "problem": "theorem1", "dtype": "float64", "steps": 12_000, "log_every": 3},
}
SOAK = os.environ.get("AMSGRAD_EXP_KILLS")
CHOSEN = list(EXPERIMENTS) if SOAK else ["decaying", "derived"]
KILLS = -(-int(SOAK or "4") // len(CHOSEN))  # of each experiment


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill(process: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """Kill a process some time after it began on the run under ``out``; return whether the run was incomplete."""
    started = time.time()
    while process.poll() is None and not any(path.stat().st_mtime >= started for path in out.glob("*/*/summary.json")):
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    _, stderr = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), stderr
    (run,) = list_runs(out)
    assert run.status() in ("killed", "completed")
    return run.summary.status != "completed"


@pytest.mark.parametrize("name", CHOSEN)
def test_killed_and_resumed_runs_have_the_same_bytes(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    optimizer = chance.choice(SEVERAL)
    killed = trial(optimizer, **EXPERIMENTS[name])
    recorder.record(trial(optimizer, **EXPERIMENTS[name] | {"steps": 1000, "log_every": 1000}), tmp_path / "compiling")
    expected = recorder.record(killed, tmp_path / "whole")
    (tmp_path / "killed.yaml").write_text(killed.to_yaml())
    kills = attempt = 0
    while kills < KILLS:
        attempt += 1
        out = tmp_path / f"attempt {attempt}"
        process = start("run", "--config", str(tmp_path / "killed.yaml"), "--out", str(out))
        while kills < KILLS and kill(process, out, chance.uniform(0, expected.summary.seconds)):
            kills += 1
            process = start("resume", "last", "--out", str(out))
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr
        (run,) = list_runs(out)
        assert run.summary.status == "completed"
        assert run.trace_bytes() == expected.trace_bytes()
        assert logged(run.directory) == logged(expected.directory)
        assert run.summary.result == expected.summary.result
