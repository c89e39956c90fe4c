"""Real runs killed with SIGKILL at random instants and resumed until they complete; then compared byte for byte."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amsgrad_exp.records import run as runs
from amsgrad_exp.rules import RULES
from tests.recorded import logged

KILLS = int(os.environ.get("AMSGRAD_EXP_KILLS", "30"))

# A checkpoint after nearly every chunk, so that kills land within the writing of one.
PROGRAM = """
from amsgrad_exp import cli
from amsgrad_exp.records import recorder
recorder.CHECKPOINT_SECONDS = 0.02
cli.main()
"""

EXPERIMENTS = [
    "--engine compiled --no-fast-forward --steps 1e8 --log-every 20011",
    "--engine compiled --dtype float64 --schedule inv-sqrt --steps 5e7 --log-every 9973",
    "--engine compiled --problem stochastic --steps 3e7 --log-every 9973 --seed 4",
    "--engine compiled --steps 1e7 --log-every 300",
    "--engine torch --problem theorem1 --dtype float64 --steps 12000 --log-every 3",
]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill(process: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """SIGKILL so long after a run under ``out`` is begun or gone on with; whether that stopped it before its end."""
    started = time.time()
    while process.poll() is None and not any(path.stat().st_mtime >= started for path in out.glob("*/*/summary.json")):
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    _, stderr = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), stderr
    (run,) = runs.list_runs(out)
    return run.summary.status != "completed"


@pytest.mark.parametrize("options", EXPERIMENTS)
def test_killed_and_resumed_runs_are_the_same_bytes(options: str, tmp_path: Path) -> None:
    chance = random.Random(options)
    arguments = ["run", "--optimizer", chance.choice(sorted(RULES)), *options.split()]
    start(*arguments, "--steps", "1000", "--out", str(tmp_path / "compiling")).communicate()
    whole = start(*arguments, "--out", str(tmp_path / "whole"))
    _, stderr = whole.communicate()
    assert whole.returncode == 0, stderr
    (expected,) = runs.list_runs(tmp_path / "whole")
    wanted = -(-KILLS // len(EXPERIMENTS))
    kills = attempt = 0
    while kills < wanted:
        attempt += 1
        out = tmp_path / f"attempt {attempt}"
        process = start(*arguments, "--out", str(out))
        while kills < wanted and kill(process, out, chance.uniform(0, expected.summary.seconds)):
            kills += 1
            process = start("resume", "last", "--out", str(out))
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr
        (run,) = runs.list_runs(out)
        assert run.summary.status == "completed"
        assert (run.directory / "trace.csv").read_bytes() == (expected.directory / "trace.csv").read_bytes()
        assert logged(run.directory) == logged(expected.directory)
        assert run.summary.result == expected.summary.result
