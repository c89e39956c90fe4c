"""Tests of what labml writes to its files and sends to a server, and of its configuration."""

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import threading
import tomllib
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
    """A local HTTP server that collects labml's packets, and answers with an error while ``failing`` is set."""

    def __init__(self) -> None:
        self.packets: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.failing = False
        self.rejected, self.accepted = threading.Event(), threading.Event()  # set once a packet has been
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/v1/"

    @property
    def received(self) -> dict[str, Any]:
        """The newest value of each key of all packets."""
        return {key: value for packet in self.packets for key, value in packet.items()}

    def track(self, name: str, key: str) -> list[Any]:
        """The steps or the values of an indicator, of all packets."""
        return [each for packet in self.packets for each in packet.get("track", {}).get(name, {key: []})[key]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failing:
            self.send_error(503)
            self.server.rejected.set()
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


def test_a_run_writes_labmls_files(in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process(*RUN, "--out", "elsewhere/deep")
    assert (done.returncode, done.stderr) == (0, "")
    directory = only_run(tmp_path, "elsewhere/deep")
    assert json.loads(done.stdout)["runs"][0]["directory"] == str(directory)
    points = logged(directory)
    assert set(points) == {"loss", "x", "regret"}
    trace = [line.split(",") for line in (directory / "trace.csv").read_text().splitlines()[1:]]
    for column, name in enumerate(("loss", "x", "regret"), start=1):
        assert points[name] == [(int(row[0]), float(row[column])) for row in trace]
        assert [step for step, _ in points[name]] == list(range(99, 20_000, 100))
    about = yaml.safe_load((directory / "run.yaml").read_text())
    assert (about["name"], about["comment"], about["uuid"]) == ("synthetic", "adam", directory.name)
    settings = yaml.safe_load((directory / "configs.yaml").read_text())
    assert settings["steps"]["value"] == 20_000
    assert settings["problem"]["value"]["steep"] == 1010
    assert settings["optimizers"]["value"][0]["beta2"] == 0.99
    assert json.loads((directory / "run_log.jsonl").read_text())["status"] == "completed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_runs_in_one_process_have_files_of_their_own(tmp_path: Path) -> None:
    points = {}
    for optimizer in ("adam", "amsgrad"):
        run = recorder.record(trial(optimizer, steps=20_000, log_every=100), tmp_path)
        assert yaml.safe_load((run.directory / "run.yaml").read_text())["comment"] == optimizer
        settings = yaml.safe_load((run.directory / "configs.yaml").read_text())
        assert settings["optimizers"]["value"][0]["name"] == optimizer
        points[optimizer] = logged(run.directory)["x"]
    assert [len(xs) for xs in points.values()] == [200, 200]
    assert points["adam"] != points["amsgrad"]


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
    received = server.received
    assert (received["name"], received["comment"]) == ("synthetic", "adam")
    assert received["configs"]["steps"]["value"] == 20_000
    assert received["status"]["status"] == "completed"
    assert set(received["indicators"]) == {"loss", "x", "regret"}
    assert server.track("loss", "value")
    assert server.track("regret", "value")
    assert server.track("x", "value")[-1] == pytest.approx(logged(directory)["x"][-1][1], abs=1e-3)


# amsgrad-exp with shorter waiting times for a server.
IMPATIENT = """
from amsgrad_exp import cli
from amsgrad_exp.records import tracking
tracking.RETRY_SECONDS = 1.0
tracking.LAST_TRY_SECONDS = 2.0
cli.main()
"""


@pytest.mark.parametrize("failure", ["unreachable", "error", "silent"])
def test_a_run_finishes_without_its_server_and_says_so_once(tmp_path: Path, server: Server, failure: str) -> None:
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


def test_a_recovered_server_gets_everything(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("labml_app_url", server.url)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 1.0)
    server.failing = True

    def bring_back(label: str, done: int) -> None:
        if server.failing:
            assert server.rejected.wait(60)
            server.failing = False
            assert server.accepted.wait(60)

    watch = Watched(on_progress=bring_back)
    recorder.record(trial(**LONG), tmp_path, watch)
    assert watch.notes == []
    assert server.received["status"]["status"] == "completed"
    assert server.track("x", "step") == list(range(499, 400_000, 500))


WRONG = [
    ("not a url", ".labml.yaml", "{}", "app_url should be a valid URL"),
    (None, ".labml.yaml", "no_such_key: 1\n", "no_such_key"),
    (None, ".labml.yaml", "steps: [", "labml"),
    (None, "home/.labml/configs.yaml", "app_url: not a url\n", "app_url should be a valid URL"),
    (None, "home/.labml/configs.yaml", "steps: [", "labml"),
]
"""In the environment, in a file of the directory, and in a file of the home directory."""


@pytest.mark.parametrize(("url", "file", "content", "message"), WRONG)
def test_a_wrong_labml_configuration_is_rejected_before_anything_is_written(
    url: str | None, file: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wrong = tmp_path / file
    wrong.parent.mkdir(parents=True, exist_ok=True)
    wrong.write_text(content)
    before = set(tmp_path.rglob("*"))
    if url is not None:
        monkeypatch.setenv("labml_app_url", url)
    for _ in range(2):  # labml reports an error once only
        with pytest.raises(ConfigError, match=message):
            tracking.check_configuration(tmp_path / "logs")
        with pytest.raises(ConfigError, match=message):
            recorder.record(trial(steps=10), tmp_path / "logs")
    wrong.unlink()
    monkeypatch.delenv("labml_app_url", raising=False)
    tracking.check_configuration(tmp_path / "logs")
    assert set(tmp_path.rglob("*")) == before - {wrong}


def test_a_run_finishes_if_the_home_directory_cannot_be_written(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command_line(*RUN, env={"HOME": str(tmp_path / "file" / "home")})
    assert (done.returncode, done.stderr) == (0, "")
    assert len(logged(only_run(tmp_path))["x"]) == 200


def test_the_installed_labml_is_the_version_that_tracking_was_written_for() -> None:
    """tracking.py uses names that labml does not document, so another version must be tried with all tests here."""
    assert importlib.metadata.version("labml") == "0.5.3"
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert "labml==0.5.3" in project["dependencies"]
