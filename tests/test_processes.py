"""Real processes that are interrupted, meet each other, or whose disk gives out."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CommandLine


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_run(tmp_path: Path, since: float = 0.0) -> Path:
    """The directory of a run that has logged something since a moment in seconds of the epoch."""
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
def test_an_interruption_says_how_to_go_on(number: int, status: int, subcommand: str, tmp_path: Path) -> None:
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
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, 130)
    begun = time.time()
    resumed = start(tmp_path, "resume", str(directory), "--quiet")
    wait_for_a_run(tmp_path, since=begun)
    resumed.send_signal(signal.SIGTERM)
    resumed.communicate(timeout=30)
    assert resumed.returncode == 143


def test_a_run_under_way_is_refused_to_others(in_process: CommandLine, tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    directory = wait_for_a_run(tmp_path)
    refused = in_process("resume", str(directory))
    process.terminate()
    process.communicate(timeout=30)
    assert refused.returncode == 1
    assert refused.stderr == f"amsgrad-exp: {directory} is in use by process {process.pid}\n"


def test_two_runs_at_once_keep_apart(tmp_path: Path) -> None:
    processes = [start(tmp_path, "run", "--steps", "1e6", "--json") for _ in range(3)]
    documents = [json.loads(process.communicate(timeout=120)[0])["runs"][0] for process in processes]
    assert len({document["directory"] for document in documents}) == 3
    assert len({document["total_regret"] for document in documents}) == 1


@pytest.mark.parametrize("out", ["/proc/nowhere", "file/below"])
def test_an_output_directory_that_cannot_be_made(out: str, in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = in_process("run", "--steps", "10", "--out", out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert out.split("/")[1 if out.startswith("/") else 0] in done.stderr


def test_a_read_only_directory(small_disk: Path, in_process: CommandLine) -> None:
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


def test_a_directory_deleted_in_the_middle(tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    wait_for_a_run(tmp_path)
    shutil.rmtree(tmp_path / "logs")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert len(stderr.splitlines()) == 1
    assert "No such file or directory" in stderr
