"""Tracks runs with labml; no other module imports it.

labml keeps process-wide singletons, prints to the screen, creates ~/.labml, and retries a dead server indefinitely from
a thread that keeps the process alive. This module avoids these effects: it attaches labml's writers itself, discards
its messages, replaces a home directory that is not writable, and stops sending to a server at the end of the run.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    # On import, labml wraps the write methods of sys.stdout and sys.stderr to copy everything that is printed.
    import labml.internal.app.logs
    import labml.internal.lab
    import labml.internal.logger
    from labml import experiment, tracker
    from labml.internal.app import AppTracker, Packet, _AppTrackThread
    from labml.internal.app.experiment import AppExperiment
    from labml.internal.computer import configs as labml_computer
    from labml.internal.experiment import experiment_singleton
    from labml.internal.lab import Lab, get_app_url_for_handle, lab_singleton
    from labml.internal.logger import Logger
    from labml.internal.tracker import tracker_singleton
    from labml.internal.tracker.writers import app, file
    from labml.internal.util import yaml_load

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.process import ensure_home, temporary_home
from amsgrad_exp.trace import Trace

RETRY_SECONDS = 5.0
LAST_TRY_SECONDS = 10.0  # how long the end of a run waits for a slow server


class _Silent(Logger):  # type: ignore[misc]
    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


@contextlib.contextmanager
def _configuration_explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # reading a user's configuration can raise anything
        raise ConfigError(f"labml's configuration: {' '.join(str(error).split())}") from error


@_configuration_explained()
def check_configuration(out: Path) -> None:
    """Read labml's configuration for runs under ``out`` without creating anything.

    It is in .labml.yaml, ~/.labml/configs.yaml and labml_app_url; a ConfigError says what is wrong with it.
    """
    ensure_home()
    labml.internal.logger._internal = _Silent()
    place = str(out.resolve())
    # A new Lab every time: labml's own reads a folder's .labml.yaml only once, and keeps it even if it was wrong.
    configured = Lab(Path.cwd())  # labml looks for .labml.yaml here and in the parents
    configured.set_configurations({"path": place, "experiments_path": place})
    of_the_computer = Path.home() / labml_computer.CONFIGS_FOLDER / "configs.yaml"
    if of_the_computer.is_file():
        get_app_url_for_handle("", base_url=(yaml_load(of_the_computer.read_text()) or {}).get("app_url"))
    labml.internal.lab._internal = configured


class _SendingThread(_AppTrackThread):  # type: ignore[misc]
    """labml's sending thread, except that it drops unsent data when the run is over."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=int(RETRY_SECONDS), daemon=True)
        self.closing = threading.Event()
        self.trouble: str | None = None
        self.lost = False

    def _process(self, packets: list[Packet]) -> bool:
        while packets:
            try:
                self._send([packet.data for packet in packets])
                self.trouble = None
                break
            except Exception as error:  # no answer of a server may end a run
                self.trouble = str(getattr(error, "reason", error))
            if self.closing.wait(RETRY_SECONDS):
                self.lost = True
                break
        return True


class _Server(AppTracker):  # type: ignore[misc]
    """labml's connection to a server, through a `_SendingThread`."""

    def __init__(self, url: str, run_uuid: str) -> None:
        super().__init__(url, {"run_uuid": run_uuid, "rank": 0, "main_rank": 0, "world_size": 0})
        self.url = url
        self.thread: _SendingThread = _SendingThread(self.app_track_url)

    def _check(self) -> bool:
        return not self.stopped

    def close(self) -> str | None:
        """Wait for pending data; return what went wrong, or None if the server accepted everything."""
        self.thread.closing.set()
        self.thread.join(LAST_TRY_SECONDS)
        if self.thread.is_alive() or self.thread.lost:
            return f"the labml server at {self.url} did not accept everything: {self.thread.trouble or 'no answer'}"
        return None


class _WritingThread(file.FileWriterThread):  # type: ignore[misc]
    """labml's log-writing thread, except that it stores an error, which the run then raises.

    The thread that `experiment.create` starts with ``writers={"file"}`` prints a traceback instead, and is no daemon.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.daemon = True  # a run that could not be closed must not keep the process alive
        self.error: OSError | None = None

    def _process(self, data: dict[str, Any]) -> None:
        try:
            super()._process(data)
        except OSError as error:
            self.error = error


class Tracker:
    """One run as a labml experiment, whose files labml keeps in ``directory``, which is ``out/name/run_id``."""

    def __init__(
        self,
        out: Path,
        name: str,
        comment: str,
        settings: Mapping[str, Any],
        *,
        run_id: str | None = None,
        logged: Trace | None = None,
    ) -> None:
        """Start a run under ``out``, a directory that is created if missing, or resume the run of this id.

        ``comment`` is a short description, such as the optimizer; ``settings`` are recorded as labml's configuration.
        The log of a resumed run is rewritten from ``logged``, its points so far, which are not sent to a server again.
        Errors are those of `check_configuration`, and OSError.
        """
        self.run_id = run_id or experiment.generate_uuid()
        self._server: _Server | None = None
        check_configuration(out)
        _prepare_home()
        out.mkdir(parents=True, exist_ok=True)
        experiment.create(
            uuid=self.run_id,
            name=name,
            comment=comment,
            python_file=str(Path.cwd()),
            writers=set(),
            tags={name, comment},
        )
        run = experiment_singleton().run
        self.directory = Path(run.run_path)
        for stale in (run.pid_path, run.log_file):
            stale.unlink(missing_ok=True)
        experiment.configs(dict(settings))
        experiment.start()
        self._file = file.Writer(run.log_file)
        self._file.thread = _WritingThread(run.log_file)
        indicators = tracker_singleton()
        indicators.add_writer(self._file)
        indicators.indicators = {}  # forget those of an earlier run or sweep in this process
        indicators.is_indicators_updated = True
        if logged is not None:
            self.save(logged)
        self._connect()

    def _connect(self) -> None:
        configured = lab_singleton().app_configs
        if configured is None:
            return
        current = experiment_singleton()
        self._server = _Server(configured.url, self.run_id)
        current.app_experiment = AppExperiment(
            self._server, frequency=configured.frequency, open_browser=configured.open_browser
        )
        current.app_experiment.start(current.run)
        current.configs_processor.add_saver(current.app_experiment.get_configs_saver())
        tracker_singleton().add_writer(app.Writer(self._server, frequency=configured.frequency))
        tracker_singleton().is_indicators_updated = True

    def save(self, trace: Trace) -> None:
        """Log the points of a trace, each under its step's number; an OSError if labml's log could not be written."""
        columns = (trace.columns[name].tolist() for name in ("step", "loss", "x", "regret"))
        for step, loss, x, regret in zip(*columns, strict=True):
            tracker.save(step, {"loss": loss, "x": x, "regret": regret})
        self._raise_error()

    def save_values(self, values: Mapping[str, float]) -> None:
        """Log numbers that do not belong to a step."""
        tracker.save(0, dict(values))

    def close(self, status: str, details: str | None = None) -> str | None:
        """End the run with a status ("completed", "interrupted", "failed") and wait until everything is written.

        Returns one line if a server did not accept everything; raises OSError if labml's log could not be written.
        """
        experiment_singleton().finish(status, details)
        if self._file.thread.is_alive():
            self._file.thread.join()
        trouble = self._server.close() if self._server is not None else None
        self._raise_error()
        return trouble

    def _raise_error(self) -> None:
        if self._file.thread.error is not None:
            raise self._file.thread.error


@_configuration_explained()
def _prepare_home() -> None:
    """Let labml set up ~/.labml or, if that is not writable, a temporary home that is removed at exit."""
    try:
        labml_computer.computer_singleton().add_project(lab_singleton().path)
    except OSError:
        from unittest import mock  # imported late, because it imports asyncio

        with mock.patch.dict(os.environ, HOME=temporary_home()):
            labml_computer._internal = labml_computer.Computer()
