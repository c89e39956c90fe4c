"""Many threads of one process, and a process without a home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amsgrad_exp import Experiment, Sweep, run, sweep
from amsgrad_exp.errors import RunError
from amsgrad_exp.records.run import list_runs
from amsgrad_exp.records.verify_run import verify
from tests.watching import Watched


def _experiment(number: int) -> Experiment:
    optimizer = ("adam", "amsgrad", "torch.optim.SGD")[number % 3]
    given = {"name": f"thread-{number % 5}", "steps": 300 + number, "log_every": 1, "seed": number}
    return Experiment.model_validate({**given, "optimizers": [optimizer]})


def test_forty_runs_of_eight_threads_are_each_kept_in_their_own_place(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda number: run(_experiment(number), tmp_path / f"out-{number % 4}"), range(40)))
    for number, recorded in enumerate(runs):
        assert recorded.directory.parent == tmp_path / f"out-{number % 4}" / f"thread-{number % 5}"
        (found,) = [one for one in list_runs(tmp_path / f"out-{number % 4}") if one.run_id == recorded.run_id]
        assert (found.trial, found.status()) == (_experiment(number).trials()[0], "completed")
        assert len(found.trace) == 300 + number
        logged = [json.loads(line) for line in (recorded.directory / "log.jsonl").read_text().splitlines()]
        steps = [step for line in logged for step, _ in line.get("track", {}).get("loss", [])]
        assert steps == list(range(300 + number))
        assert verify(found, None).first_step is None
    assert len({recorded.directory for recorded in runs}) == 40


def test_sweeps_and_runs_of_several_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    plane = Sweep.of({"beta2": "0.9,0.99"}, optimizers=["adam"], steps=1000)
    with ThreadPoolExecutor(4) as threads:
        swept = [threads.submit(sweep, plane, tmp_path) for _ in range(4)]
        ran = [threads.submit(run, _experiment(number), tmp_path) for number in range(4)]
    assert len({one.result().directory for one in swept}) == 4
    assert all(one.result().complete for one in swept)
    assert all(one.result().summary.status == "completed" for one in ran)


def test_a_run_inside_the_callback_of_a_run_is_rejected_and_the_next_one_is_not(tmp_path: Path) -> None:
    nested = Watched(on_progress=lambda label, done: run(_experiment(0), tmp_path))
    with pytest.raises(RunError, match="a recording cannot start inside another"):
        run(_experiment(0), tmp_path, nested)
    assert run(_experiment(0), tmp_path).summary.status == "completed"


WITHOUT_HOME = """
import os, pwd
os.environ.pop("HOME", None)
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from amsgrad_exp.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--steps", "1000", "--report"],
        ["sweep", "--grid", "beta2=0.9,0.99", "--steps", "1000", "--optimizer", "adam"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_process_without_a_home_runs_as_any_other(arguments: list[str], tmp_path: Path) -> None:
    """Neither HOME is set nor has the user id an entry in passwd, as in many a container."""
    command = [sys.executable, "-c", WITHOUT_HOME, *arguments]
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("amsgrad-exp-home-*"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} <= {"logs", "sweeps"}
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("amsgrad-exp-home-*")) <= before
