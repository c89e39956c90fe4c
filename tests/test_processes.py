"""Tests processes and threads: interrupted, several at once, without a home directory, on a full or read-only disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amsgrad_exp import Experiment, Sweep, run, sweep
from amsgrad_exp.errors import RunError
from amsgrad_exp.records.verify_run import verify
from tests.conftest import CommandLine
from tests.recorded import list_runs
from tests.watching import Watched

# Before the first of them Python itself starts, and no signal can be handled.
MOMENTS = ["the first", "typer", "amsgrad_exp.cli.options", "numpy", "pydantic", "amsgrad_exp.engines"]


@pytest.mark.parametrize("module", MOMENTS)
@pytest.mark.parametrize("entry", ["module", "console script"])
def test_ctrl_c_during_imports_gives_status_130_and_no_output(module: str, entry: str, tmp_path: Path) -> None:
    """Python prints each module on stderr as soon as it is imported; the signal is sent then."""
    script = ["-m", "amsgrad_exp"] if entry == "module" else ["-c", "from amsgrad_exp.cli import main; main()"]
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *script, "run", "--problem", "stochastic", "--steps", "1e9"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    imported: list[str] = []
    while "amsgrad_exp.cli" not in imported[:-1] or module not in ("the first", imported[-1]):
        line = process.stderr.readline()
        assert line.startswith("import time:"), (imported, line)
        imported.append(line.split("|")[-1].strip())
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert [line for line in stderr.splitlines() if not line.startswith("import time:")] == []
    assert list(tmp_path.iterdir()) == []


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_run(tmp_path: Path, since: float = 0.0) -> Path:
    """Wait for a run that has logged points since a time in seconds of the epoch; return its directory."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in tmp_path.glob("logs/*/*/trace.csv"):
            if path.stat().st_size > 1000 and path.stat().st_mtime > since:
                return path.parent
        time.sleep(0.05)
    raise TimeoutError


LONG = ("--problem", "stochastic", "--steps", "1e10", "--log-every", "1e5")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("subcommand", ["run", "compare"])
def test_an_interruption_says_how_to_resume(number: int, status: int, subcommand: str, tmp_path: Path) -> None:
    process = start(tmp_path, subcommand, *LONG)
    directory = wait_for_a_run(tmp_path)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == status
    assert stdout == ""
    *others, last = stderr.splitlines()
    assert last == f"interrupted: continue with amsgrad-exp resume {directory}"
    assert others == ([] if subcommand == "run" else ["not started: amsgrad"])
    assert json.loads((directory / "summary.json").read_text())["status"] == "interrupted"
    assert (directory / "checkpoint").exists()
    assert len(list((tmp_path / "logs" / "synthetic").iterdir())) == 1


def test_a_second_interruption_stops_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "--engine", "torch", "--steps", "1e8", "--log-every", "100", "--no-fast-forward")
    directory = wait_for_a_run(tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # two signals at the same moment count as one
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, 130)
    begun = time.time()
    resumed = start(tmp_path, "resume", str(directory), "--quiet")
    wait_for_a_run(tmp_path, since=begun)
    resumed.send_signal(signal.SIGTERM)
    resumed.communicate(timeout=30)
    assert resumed.returncode == 143


def test_a_running_run_cannot_be_resumed(in_process: CommandLine, tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    directory = wait_for_a_run(tmp_path)
    refused = in_process("resume", str(directory))
    process.terminate()
    process.communicate(timeout=30)
    assert refused.returncode == 1
    assert refused.stderr == f"amsgrad-exp: {directory} is in use by process {process.pid}\n"


def test_runs_at_the_same_time_have_their_own_directories(tmp_path: Path) -> None:
    processes = [start(tmp_path, "run", "--steps", "1e6", "--json") for _ in range(3)]
    documents = [json.loads(process.communicate(timeout=120)[0])["runs"][0] for process in processes]
    assert len({document["directory"] for document in documents}) == 3
    assert len({document["total_regret"] for document in documents}) == 1


@pytest.mark.parametrize("out", ["/proc/nowhere", "file/below"])
def test_an_impossible_output_directory_is_an_error(out: str, in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = in_process("run", "--steps", "10", "--out", out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert out.split("/")[1 if out.startswith("/") else 0] in done.stderr


def test_a_read_only_disk(small_disk: Path, in_process: CommandLine) -> None:
    in_process("run", "--steps", "1000", "--out", str(small_disk), "--quiet")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for arguments in (["run", "--steps", "1000"], ["sweep", "--grid", "lr=0.1,0.2", "--steps", "1000"]):
        done = in_process(*arguments, "--out", str(small_disk))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "Read-only file system" in done.stderr
    for arguments in (["show", "last"], ["verify", "last"], ["list", "runs"]):
        assert in_process(*arguments, "--out", str(small_disk)).returncode == 0


def test_a_disk_that_fills_up(small_disk: Path, in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(small_disk)
    process = start(tmp_path, *"run --problem stochastic --steps 2e9 --log-every 2e6 --optimizer amsgrad".split())
    wait_for_a_run(tmp_path)
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(bytes(256))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr == "amsgrad-exp: No space left on device\n"
    (small_disk / "filler").unlink()
    assert in_process("verify", "last").returncode == 0


def test_a_directory_deleted_during_a_run(tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    wait_for_a_run(tmp_path)
    shutil.rmtree(tmp_path / "logs")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert len(stderr.splitlines()) == 1
    assert "No such file or directory" in stderr


def _experiment(number: int) -> Experiment:
    optimizer = ("adam", "amsgrad", "torch.optim.SGD")[number % 3]
    given = {"name": f"thread-{number % 5}", "steps": 300 + number, "log_every": 1, "seed": number}
    return Experiment.model_validate({**given, "optimizers": [optimizer]})


def test_forty_runs_of_eight_threads_have_their_own_records(tmp_path: Path) -> None:
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


def test_a_run_inside_the_callback_of_a_run_is_rejected(tmp_path: Path) -> None:
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
def test_a_process_without_a_home_directory_runs(arguments: list[str], tmp_path: Path) -> None:
    """HOME is not set, and the user id has no entry in passwd, as in many containers."""
    command = [sys.executable, "-c", WITHOUT_HOME, *arguments]
    (temporary := tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} <= {"logs", "sweeps", "temporary"}
    assert not list(temporary.iterdir())
