"""Records of every kind to make report pages of, and a parser of the pages' HTML."""

import csv
import io
import json
import math
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from amsgrad_exp.attacks.attack_record import Attack, Counterexample, Shrunk
from amsgrad_exp.attacks.attacking import target
from amsgrad_exp.attacks.search import Limits
from amsgrad_exp.attacks.slope_sequences import in_words
from amsgrad_exp.cli import options
from amsgrad_exp.cli.app import app
from amsgrad_exp.records import recorder
from amsgrad_exp.records.files import sha256
from amsgrad_exp.records.run import Origin, Run
from amsgrad_exp.report import cell_pages, run_page
from amsgrad_exp.report.page import render
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.sweeps.store import BLOBS, points_checksum
from amsgrad_exp.sweeps.sweeping import Swept
from tests.recorded import trial
from tests.sweeping import change, failing, small, swept

FOLDER = "counterexample"  # of an attack, where its runs are


class Written(HTMLParser):
    """The contents of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.facts: dict[str, list[str]] = {}  # the texts of its facts, by name, in order
        self.scripts = 0
        self.text = ""  # all that is shown
        self._inside: list[tuple[str, str | None]] = []
        self._written: dict[str, str] = {}
        self.feed(html)
        self.documents = {name: json.loads(text) for name, text in self._written.items()}  # in its scripts, by id

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.scripts += tag == "script"
        field = attributes.get("data-field") if tag == "dd" else None
        self._inside.append((tag, attributes.get("id") if tag == "script" else field))
        if field:
            self.facts.setdefault(field, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, field = self._inside[-1] if self._inside else ("", None)
        if tag == "script" and field:
            self._written[field] = self._written.get(field, "") + data
        elif field:
            self.facts[field][-1] += data
        if tag not in ("script", "style"):
            self.text += data

    @property
    def tables(self) -> dict[str, list[dict[str, str]]]:
        """The page's tables of data, by name."""
        return {
            name: list(csv.DictReader(io.StringIO(table))) for name, table in self.documents["data"]["tables"].items()
        }


def recorded(out: Path, *optimizers: str, **overrides: Any) -> list[Run]:
    given = {"steps": 20_000, "log_every": 500} | overrides
    return [recorder.record(trial(optimizer, **given), out) for optimizer in optimizers or ("adam", "amsgrad")]


def page_of_runs(some: list[Run]) -> Written:
    return Written(render(run_page.page(some)))


def page_of_sweep(directory: Path) -> Written:
    return Written(render(cell_pages.page(directory)))


def a_gauntlet(out: Path) -> Swept:
    """A gauntlet of 2 × 2 × 2 × 1 cells, long enough for some runs to repeat themselves."""
    given = {"optimizers": ["adam", "sgd"], "problems": ["online", "theorem1"], "settings": ["stated"]}
    return swept(Gauntlet.of(**given, steps=200_000), out)


def an_odd_gauntlet(out: Path) -> Swept:
    """A gauntlet of four cells: one is ordinary, one has points that are not finite, one failed, one is not done."""
    gauntlet = swept(failing(), out)
    points = dict(zip(BLOBS, ([9, 99, 999], [math.nan, 0.5, -1.0], [1.0, -math.inf, 1e-300]), strict=True))
    blobs = {name: np.array(points[name], kind).tobytes() for name, kind in BLOBS.items()}
    written = ", ".join(f"{name} = x'{blob.hex()}'" for name, blob in blobs.items())
    change(gauntlet.directory, f"UPDATE points SET {written}, sha256 = '{points_checksum(1, blobs)}' WHERE cell = 1")
    for table in ("cells", "points"):
        change(gauntlet.directory, f"DELETE FROM {table} WHERE cell = 2")
    return gauntlet


def an_attack(out: Path, name: str = "1234abcd", **given: Any) -> Path:
    """The record of an attack on Adam, with a few of its runs."""
    directory = out / "adam" / name
    slopes = (96, *[-1] * 95)
    runs = [
        recorded(directory, "adam", problem="cycle", constants={"slopes": slopes}, schedule=schedule, name=FOLDER)[0]
        for schedule in ("constant", "inv-sqrt")
    ]
    config = directory / "counterexample.yaml"
    config.write_text(runs[0].trial.to_yaml())
    example = Counterexample(
        period=96,
        slopes=slopes,
        optimum=-1.0,
        config=str(config),
        confirmed=True,
        regret=0.5,
        limit_regret=0.25,
        runs=tuple(run.run_id for run in runs),
        config_sha256=sha256(config.read_bytes()),
    )
    record = Attack(
        optimizer="adam",
        problems=1000,
        falls=7,
        survives=990,
        unsettled=3,
        found=True,
        counterexample=example,
        smallest_period=77,
        seconds=18.9,
        shrinking=(
            Shrunk(problem="−250 once, 1 for 200 steps, x* = 1", period=201, drift=0.125),
            Shrunk(problem=in_words(slopes), period=96, drift=0.0625),
        ),
        settings=target("adam").settings,
        limits=Limits(seconds=6.0),
        search_seconds=5.987,
        started=datetime(2026, 5, 1, 12, 30, tzinfo=UTC),
        origin=Origin.here(),
        directory=directory,
    )
    record.model_copy(update=given).write()
    return directory


def a_survivor(out: Path, **given: Any) -> Path:
    """The record of an attack that found nothing."""
    record = Attack.read(an_attack(out))
    nothing: dict[str, Any] = {"found": False, "counterexample": None, "smallest_period": None, "shrinking": ()}
    directory = out / "sgd" / "5678"
    directory.mkdir(parents=True)
    record.model_copy(update={**nothing, "falls": 0, "survives": 997, **given, "directory": directory}).write()
    return directory


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Run], Swept]]:
    """Two runs and a plane of 2 × 30 cells."""
    out = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield recorded(out / "logs"), swept(small(optimizers=["adam", "amsgrad"]), out / "sweeps")


def trial_of(written: str) -> Trial:
    """The trial of a command, as the command line reads it."""
    words = shlex.split(written)
    assert words[:2] == ["amsgrad-exp", "run"]
    command: Any = typer.main.get_command(app)
    given = command.commands["run"].make_context("run", words[2:]).params
    optimizer = given["optimizer"]
    (parsed,) = load_experiment(**options.experiment_options(given), optimizers=[optimizer]).trials()
    return parsed
