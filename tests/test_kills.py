"""Real runs killed with SIGKILL at random instants and resumed until they complete; then compared byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amsgrad_exp import runs
from tests.test_tracking import logged

KILLS = int(os.environ.get("AMSGRAD_EXP_KILLS", "30"))

# A checkpoint after nearly every chunk, so that kills land within the writing of one.
PROGRAM = "from amsgrad_exp import cli, recording; recording.CHECKPOINT_SECONDS = 0.02; cli.main()"

EXPERIMENTS = [
    ("--engine compiled --no-fast-forward --steps 1e8 --log-every 20011", 0.8),
    ("--engine compiled --dtype float64 --schedule inv-sqrt --steps 5e7 --log-every 9973", 0.8),
    ("--engine compiled --problem stochastic --steps 3e7 --log-every 9973 --seed 4", 0.8),
    ("--engine compiled --steps 1e7 --log-every 300", 0.8),
    ("--engine torch --steps 12000 --log-every 3", 2.0),
    ("--engine torch --problem theorem1 --dtype float64 --steps 12000", 2.0),
]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(("options", "warm_up"), EXPERIMENTS, ids=[options for options, _ in EXPERIMENTS])
def test_killed_and_resumed_runs_are_the_same_bytes(options: str, warm_up: float, tmp_path: Path) -> None:
    arguments = ["run", "--optimizer", "amsgrad", *options.split()]
    began = time.monotonic()
    whole = start(*arguments, "--out", str(tmp_path / "whole"))
    _, stderr = whole.communicate()
    assert whole.returncode == 0, stderr
    duration = time.monotonic() - began
    (expected,) = runs.list_runs(tmp_path / "whole")
    chance = random.Random(options)
    kills = 0
    attempt = 0
    while kills < -(-KILLS // len(EXPERIMENTS)):
        out = tmp_path / f"attempt {attempt}"
        attempt += 1
        process = start(*arguments, "--out", str(out))
        while True:
            time.sleep(chance.uniform(0.5 * warm_up, max(duration, 1.2 * warm_up)))
            killed = process.poll() is None
            process.send_signal(signal.SIGKILL)
            _, stderr = process.communicate()
            kills += killed
            found = list(out.glob("*/*/summary.json"))
            if not killed:
                assert process.returncode == 0, stderr
            if not found:  # killed before there was a run
                break
            run = runs.read_run(found[0].parent)
            if run.summary.status == "completed":
                break
            process = start("resume", str(run.directory))
        if not found:
            continue
        assert (run.directory / "trace.csv").read_bytes() == (expected.directory / "trace.csv").read_bytes()
        assert logged(run.directory) == logged(expected.directory)
        assert run.summary.total_regret == expected.summary.total_regret
        assert run.summary.mean_x == expected.summary.mean_x
