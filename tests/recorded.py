"""Makes trials for tests, and reads and changes the files of recorded runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amsgrad_exp.records.files import records
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment

# Not fast-forwarded, so that it can be interrupted between chunks; few points, because labml takes long to log them.
LONG: dict[str, Any] = {"steps": 400_000, "schedule": "inv-sqrt", "log_every": 500}


# The keys of a run in the output of --json.
RUN_KEYS = (
    "optimizer problem schedule engine dtype steps shape parameters closure graph shared_between not_compiled "
    "program kernels steps_simulated steps_derived x mean_x total_regret regret regret_slope iterate regret_trend "
    "evidence limit_regret cycle_start cycle_steps limit_predicted seconds directory"
).split()


def trial(optimizer: str = "amsgrad", **overrides: Any) -> Trial:
    (only,) = load_experiment(optimizers=[optimizer], **overrides).trials()
    return only


def list_runs(out: Path) -> list[Run]:
    return [read_run(directory) for directory in records("run", out)]


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def logged(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the points of each indicator in a run's labml log."""
    points: dict[str, list[tuple[int, float]]] = {}
    for line in (directory / "log.jsonl").read_text().splitlines():
        for name, values in json.loads(line)["track"].items():
            points.setdefault(name, []).extend((step, value[0]) for step, value in values)
    return points


def change_line(path: Path, number: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    path.write_text("".join(lines))
