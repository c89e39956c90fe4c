"""What the tracker takes for granted of labml's insides: where another labml breaks it, it is said here."""

from __future__ import annotations

import importlib.metadata
import inspect
import operator
import pkgutil
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amsgrad_exp.records.tracking import Tracker

WRITTEN_FOR = "0.5.3"

# Every name that tracking.py uses, with its signature where it is called, subclassed or overridden.
SIGNATURES = {
    "labml.experiment.generate_uuid": "()",
    "labml.experiment.create": (
        "(*, uuid=None, name=None, python_file=None, comment=None, writers=None, ignore_callers=None, tags=None, "
        "distributed_rank=0, distributed_world_size=0, distributed_main_rank=0, disable_screen=False)"
    ),
    "labml.experiment.configs": "(*args)",
    "labml.experiment.start": "(global_step=0)",
    "labml.tracker.save": "(*args, **kwargs)",
    "labml.internal.app.AppTracker": "(app_track_url, params, *, timeout_seconds=15, daemon=False)",
    "labml.internal.app.AppTracker._check": "(self)",
    "labml.internal.app.AppTracker.has_data": "(self, source)",
    "labml.internal.app.AppTracker.stop": "(self)",
    "labml.internal.app.Packet": "(data, idx=-1)",
    "labml.internal.app._AppTrackThread": "(url, *, timeout_seconds, daemon)",
    "labml.internal.app._AppTrackThread._process": "(self, packets)",
    "labml.internal.app._AppTrackThread._send": "(self, data)",
    "labml.internal.app.experiment.AppExperiment": "(app_tracker, *, frequency, open_browser)",
    "labml.internal.app.experiment.AppExperiment.get_configs_saver": "(self)",
    "labml.internal.app.experiment.AppExperiment.start": "(self, run)",
    "labml.internal.app.logs.capture": "()",
    "labml.internal.computer.configs.Computer": "()",
    "labml.internal.computer.configs.Computer.add_project": "(self, path)",
    "labml.internal.computer.configs.computer_singleton": "()",
    "labml.internal.experiment.Experiment.finish": "(self, status, details=None)",
    "labml.internal.experiment.experiment_singleton": "()",
    "labml.internal.lab.Lab": "(path=None)",
    "labml.internal.lab.Lab.set_configurations": "(self, configs)",
    "labml.internal.lab.get_app_url_for_handle": "(handle, *, base_url=None)",
    "labml.internal.lab.lab_singleton": "()",
    "labml.internal.logger.Logger": "()",
    "labml.internal.logger.Logger.log": "(self, parts, *, is_new_line=True, is_reset=True)",
    "labml.internal.tracker.Tracker.add_writer": "(self, writer)",
    "labml.internal.tracker.tracker_singleton": "()",
    "labml.internal.tracker.writers.app.Writer": "(app_tracker, *, frequency)",
    "labml.internal.tracker.writers.file.FileWriterThread": "(file_path)",
    "labml.internal.tracker.writers.file.FileWriterThread._process": "(self, data)",
    "labml.internal.tracker.writers.file.Writer": "(file_path)",
    "labml.internal.util.yaml_load": "(s)",
}

# Module variables that are replaced, and a constant.
VARIABLES = [
    "labml.internal.computer.configs.CONFIGS_FOLDER",
    "labml.internal.computer.configs._internal",
    "labml.internal.lab._internal",
    "labml.internal.logger._internal",
]

# What is read or replaced in the objects that labml has while a run is tracked and a server is configured.
ATTRIBUTES = {
    "labml.internal.experiment.experiment_singleton": ["run", "app_experiment", "configs_processor.add_saver"],
    "labml.internal.lab.lab_singleton": [
        "path",
        "app_configs.url",
        "app_configs.frequency",
        "app_configs.open_browser",
    ],
    "labml.internal.tracker.tracker_singleton": ["indicators", "is_indicators_updated"],
}
RUN_PATHS = {"run_path": "", "pid_path": "run.pid", "log_file": "log.jsonl"}


def resolved(name: str) -> Any:
    """What a dotted name stands for, through modules and then attributes."""
    try:
        return pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        pytest.fail(f"labml {installed()} has no {name}, which tracking.py uses")


def installed() -> str:
    return importlib.metadata.version("labml")


def signature(function: Callable[..., Any]) -> str:
    """Names, kinds and defaults of a function's arguments, without annotations."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters]))


def test_the_labml_that_is_installed_is_the_one_tracking_was_written_for() -> None:
    assert installed() == WRITTEN_FOR, "go through tracking.py and this file before another labml is allowed"
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert f"labml=={WRITTEN_FOR}" in project["dependencies"]


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_tracking_calls_and_overrides_takes_what_it_did(name: str) -> None:
    now = signature(resolved(name))
    assert now == SIGNATURES[name], f"{name} of labml {installed()} takes {now}; see where tracking.py uses it"


@pytest.mark.parametrize("name", VARIABLES)
def test_the_variables_that_tracking_replaces_are_there(name: str) -> None:
    resolved(name)


def test_the_objects_that_tracking_reaches_into_have_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("labml_app_url", "http://127.0.0.1:9/")
    tracker = Tracker(tmp_path, "contract", "adam", {"steps": 1})
    try:
        for name, paths in ATTRIBUTES.items():
            for path in paths:
                try:
                    operator.attrgetter(path)(resolved(name)())
                except AttributeError:
                    pytest.fail(f"labml {installed()}: {name}() has no {path}, which tracking.py uses")
        run = resolved("labml.internal.experiment.experiment_singleton")().run
        for attribute, name in RUN_PATHS.items():
            assert Path(getattr(run, attribute)) == tracker.directory / name
        assert tracker._server is not None
        for thread in (tracker._file.thread, tracker._server.thread):
            assert isinstance(thread, threading.Thread)
            assert thread.daemon
        assert tracker._server.app_track_url.startswith("http://127.0.0.1:9/")
        assert tracker._server.stopped is False
        assert yaml.safe_load((tracker.directory / "run.yaml").read_text())["uuid"] == tracker.run_id
    finally:
        assert "did not accept everything" in str(tracker.close("completed"))
    assert (tracker.directory / "log.jsonl").read_text().count("\n") == 1
