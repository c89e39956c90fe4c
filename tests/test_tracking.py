"""labml's files read back, and a real HTTP server on the loopback that receives its packets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.records import recorder, tracking
from tests.conftest import CommandLine
from tests.recorded import LONG, logged, trial
from tests.watching import Watched

RUN = ("run", "--steps", "20000", "--log-every", "100", "--json")


class Server(ThreadingHTTPServer):
    """Collects labml's packets; answers with an error for as long as ``failing`` is set.

    Attributes:
        refused, accepted: set once a packet has been.
    """

    def __init__(self) -> None:
        self.packets: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.failing = False
        self.refused, self.accepted = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/v1/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failing:
            self.send_error(503)
            self.server.refused.set()
            return
        self.server.packets.extend(json.loads(body))
        self.server.paths.append(self.path)
        answer = b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.server.accepted.set()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def only_run(tmp_path: Path, out: str = "logs") -> Path:
    (directory,) = (path for path in (tmp_path / out / "synthetic").iterdir() if path.is_dir())
    return directory


def test_labmls_files(command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line(*RUN, "--out", "elsewhere/deep")
    assert (done.returncode, done.stderr) == (0, "")
    directory = only_run(tmp_path, "elsewhere/deep")
    assert json.loads(done.stdout)["runs"][0]["directory"] == str(directory)
    points = logged(directory)
    assert set(points) == {"loss", "x", "regret"}
    steps = [t for t in range(20_000) if (t + 1) % 100 == 0]
    trace = [line.split(",") for line in (directory / "trace.csv").read_text().splitlines()[1:]]
    for column, name in enumerate(("loss", "x", "regret"), start=1):
        assert points[name] == [(int(row[0]), float(row[column])) for row in trace]
        assert [step for step, _ in points[name]] == steps
    about = yaml.safe_load((directory / "run.yaml").read_text())
    assert (about["name"], about["comment"], about["uuid"]) == ("synthetic", "adam", directory.name)
    settings = yaml.safe_load((directory / "configs.yaml").read_text())
    assert settings["steps"]["value"] == 20_000
    assert settings["problem"]["value"]["steep"] == 1010
    assert settings["optimizers"]["value"][0]["beta2"] == 0.99
    assert json.loads((directory / "run_log.jsonl").read_text())["status"] == "completed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_several_runs_in_one_process_keep_apart(tmp_path: Path) -> None:
    points = {}
    for optimizer in ("adam", "amsgrad"):
        run = recorder.record(trial(optimizer, steps=20_000, log_every=100), tmp_path)
        assert yaml.safe_load((run.directory / "run.yaml").read_text())["comment"] == optimizer
        settings = yaml.safe_load((run.directory / "configs.yaml").read_text())
        assert settings["optimizers"]["value"][0]["name"] == optimizer
        points[optimizer] = logged(run.directory)["x"]
    assert [len(xs) for xs in points.values()] == [200, 200]
    assert points["adam"] != points["amsgrad"]


def received(server: Server) -> dict[str, int]:
    """How many values of each indicator a server was sent."""
    counts: dict[str, int] = {}
    for packet in server.packets:
        for name, track in packet.get("track", {}).items():
            counts[name] = counts.get(name, 0) + len(track["value"])
    return counts


@pytest.mark.parametrize("configured_by", ["environment", "file"])
def test_points_go_to_a_labml_server(
    command_line: CommandLine, tmp_path: Path, server: Server, configured_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if configured_by == "environment":
        done = command_line(*RUN, env={"labml_app_url": server.url})
        assert (done.returncode, done.stderr) == (0, "")
    else:
        (tmp_path / "below").mkdir()
        (tmp_path / ".labml.yaml").write_text(f"app_url: {server.url}\n")
        monkeypatch.chdir(tmp_path / "below")
        recorder.record(trial("adam", steps=20_000, log_every=100), tmp_path / "logs")
    directory = only_run(tmp_path)
    assert all(path.startswith("/api/v1/track?") and f"run_uuid={directory.name}" in path for path in server.paths)
    merged = {key: value for packet in server.packets for key, value in packet.items()}
    assert (merged["name"], merged["comment"]) == ("synthetic", "adam")
    assert merged["configs"]["steps"]["value"] == 20_000
    assert merged["status"]["status"] == "completed"
    assert set(merged["indicators"]) == {"loss", "x", "regret"}
    assert all(count > 0 for count in received(server).values())
    last = [packet["track"]["x"] for packet in server.packets if "x" in packet.get("track", {})][-1]
    assert last["value"][-1] == pytest.approx(logged(directory)["x"][-1][1], abs=1e-3)


# As amsgrad-exp, in less of a hurry to be patient with a server.
IMPATIENT = """
from amsgrad_exp import cli
from amsgrad_exp.records import tracking
tracking.RETRY_SECONDS = 1.0
tracking.LAST_TRY_SECONDS = 2.0
cli.main()
"""


@pytest.mark.parametrize("failure", ["refused", "error", "silent"])
def test_a_dead_server_is_mentioned_once_and_the_run_finishes(tmp_path: Path, server: Server, failure: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        if failure == "silent":
            listener.listen()
        if failure == "error":
            server.failing = True
            url = server.url
        command = ["run"] if failure == "silent" else ["compare", "--no-figure"]
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT, *command, "--steps", "2000", "--json"],
            cwd=tmp_path,
            env={**os.environ, "labml_app_url": url},
            capture_output=True,
            text=True,
            check=True,
        )
    runs = len(json.loads(done.stdout)["runs"])
    assert runs == (1 if failure == "silent" else 2)
    assert done.stderr.count("did not accept everything") == 1
    assert len(done.stderr.splitlines()) == 1
    logs = list(tmp_path.glob("logs/*/*/log.jsonl"))
    assert [len(logged(path.parent)["x"]) for path in logs] == [2000] * runs


def test_a_server_that_comes_back_gets_everything(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("labml_app_url", server.url)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 1.0)
    server.failing = True

    def bring_back(label: str, done: int) -> None:
        if server.failing:
            assert server.refused.wait(60)
            server.failing = False
            assert server.accepted.wait(60)

    watch = Watched(on_progress=bring_back)
    recorder.record(trial(**LONG), tmp_path, watch)
    assert watch.notes == []
    merged = {key: value for packet in server.packets for key, value in packet.items()}
    assert merged["status"]["status"] == "completed"
    steps = [step for packet in server.packets for step in packet.get("track", {}).get("x", {"step": []})["step"]]
    assert steps == list(range(499, 400_000, 500))


WRONG = [
    ({"labml_app_url": "not a url"}, None, "app_url should be a valid URL"),
    ({}, (".labml.yaml", "no_such_key: 1\n"), "no_such_key"),
    ({}, (".labml.yaml", "steps: ["), "labml"),
    ({}, ("home/.labml/configs.yaml", "app_url: not a url\n"), "app_url should be a valid URL"),
    ({}, ("home/.labml/configs.yaml", "steps: ["), "labml"),
]


def misconfigured(where: Path, file: tuple[str, str] | None) -> set[Path]:
    """Write a file that is wrong, if there is to be one; all that is there then."""
    (where / "home").mkdir()
    if file is not None:
        (where / file[0]).parent.mkdir(parents=True, exist_ok=True)
        (where / file[0]).write_text(file[1])
    return set(where.rglob("*"))


@pytest.mark.parametrize(("variable", "file", "message"), WRONG)
def test_a_wrong_labml_configuration_is_refused_before_anything_is_written(
    variable: dict[str, str],
    file: tuple[str, str] | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = misconfigured(tmp_path, file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # labml forgets what was wrong, once it has said so
        with pytest.raises(ConfigError, match=message):
            tracking.check_configuration(tmp_path / "logs")
        with pytest.raises(ConfigError, match=message):
            recorder.record(trial(steps=10), tmp_path / "logs")
    assert set(tmp_path.rglob("*")) == before


def test_checking_a_configuration_creates_nothing_and_takes_a_mended_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".labml.yaml").write_text("app_url: nowhere\n")
    with pytest.raises(ConfigError, match="app_url should be a valid URL"):
        tracking.check_configuration(tmp_path / "logs")
    (tmp_path / ".labml.yaml").unlink()
    tracking.check_configuration(tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command_line(*RUN, env={"HOME": str(tmp_path / "file" / "home")})
    assert (done.returncode, done.stderr) == (0, "")
    assert len(logged(only_run(tmp_path))["x"]) == 200
