"""Tests sweeps whose process is killed or interrupted, and the threads that compute sweeps."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from amsgrad_exp.sweeps.compute import run_block
from amsgrad_exp.sweeps.workers import workers
from tests.recorded import logged
from tests.sweeping import PLANE, rows, small

KILLS = -(-int(os.environ.get("AMSGRAD_EXP_KILLS", "20")) // 10)


def command(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    whole = [sys.executable, "-m", "amsgrad_exp", *arguments]
    return subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, cwd=cwd)


def wait_for_results(out: Path) -> Path:
    while not (databases := list(out.glob("*/*/results.sqlite"))):
        time.sleep(0.02)
    return databases[0].parent


def test_killed_and_resumed_sweeps_have_the_same_rows(tmp_path: Path) -> None:
    plane = [*PLANE, "--steps", "3e5"]
    began = time.monotonic()
    process = command("sweep", *plane, "--out", str(tmp_path / "whole"))
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    duration = time.monotonic() - began
    whole = wait_for_results(tmp_path / "whole")
    chance = random.Random(4)
    kills = attempt = 0
    while kills < KILLS:
        attempt += 1
        out = tmp_path / f"attempt {attempt}"
        process = command("sweep", *plane, "--out", str(out))
        directory = wait_for_results(out)
        while kills < KILLS and len(rows(directory)) < len(rows(whole)):
            time.sleep(chance.uniform(0, duration / 4))
            kills += process.poll() is None
            process.kill()
            process.communicate()
            process = command("resume", str(directory), "--quiet")
        _, stderr = process.communicate()
        assert (process.returncode, stderr) == (0, "")
        assert rows(directory) == rows(whole)
        assert logged(directory) == logged(whole)


def test_an_interruption_does_not_wait_for_a_block(tmp_path: Path) -> None:
    """A block of this sweep takes minutes."""
    process = command("sweep", *PLANE, "--steps", "1e9", "--out", str(tmp_path))
    directory = wait_for_results(tmp_path)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, f"interrupted: continue with amsgrad-exp resume {directory}\n")


def test_threads_pass_on_exceptions_and_drop_tasks_that_have_not_begun() -> None:
    with workers(1) as executor:
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 / 0).result()
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        executor.submit(time.sleep, 0.2)
        late = executor.submit(abs, -3)
    assert late.cancelled()


def test_a_block_ends_when_its_thread_is_told_to_stop() -> None:
    sweep = small(steps=10**12, fast_forward=False)
    with workers(1) as executor:
        block = executor.submit(run_block, sweep, range(len(sweep)))
        while not block.running():
            time.sleep(0.01)
    assert isinstance(block.exception(timeout=0), CancelledError)


MARKING = """
from pathlib import Path

import torch


class Marking(torch.optim.NAdam):
    taken = 0

    def step(self, closure=None):
        self.taken += 1
        if self.taken == 500:  # the optimizer is tried with fewer steps before the sweep
            Path("computing").touch()
        return super().step(closure)
"""


def test_an_interruption_while_torch_computes_aborts_nothing(tmp_path: Path) -> None:
    """A process that ended while a thread was inside torch was aborted, with status 134, after its last message."""
    (tmp_path / "marking.py").write_text(MARKING)
    grid = "--grid steep=500:2000:20 --grid period=20:165:30".split()
    optimizer = "--optimizer marking.Marking --engine torch --steps 1e6".split()
    process = command("sweep", *grid, *optimizer, "--out", str(tmp_path), "--quiet", cwd=tmp_path)
    while not (tmp_path / "computing").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    directory = wait_for_results(tmp_path)
    assert (process.returncode, stderr) == (130, f"interrupted: continue with amsgrad-exp resume {directory}\n")
