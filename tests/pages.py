"""Pages to look at, and what is written on them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.records import recorder
from amsgrad_exp.records.run import Run
from amsgrad_exp.report import runs
from amsgrad_exp.report.find import page_of_cells
from amsgrad_exp.report.page import render
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.sweeps.run import Swept
from tests.recorded import trial
from tests.sweeping import small, swept


class Written(HTMLParser):
    """What a page says.

    Attributes:
        facts: the texts of its facts, by name, in order.
        scripts: how many scripts it has.
        text: all that is shown.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.facts: dict[str, list[str]] = {}
        self.scripts = 0
        self.text = ""
        self._inside: list[tuple[str, str | None]] = []
        self._data = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.scripts += tag == "script"
        field = attributes.get("data-field") if tag == "dd" else None
        self._inside.append((tag, "data" if attributes.get("id") == "data" else field))
        if field:
            self.facts.setdefault(field, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, field = self._inside[-1] if self._inside else ("", None)
        if tag == "script" and field == "data":
            self._data += data
        elif field:
            self.facts[field][-1] += data
        if tag not in ("script", "style"):
            self.text += data

    @property
    def tables(self) -> dict[str, list[dict[str, str]]]:
        """The page's tables of data, by name."""
        return {
            name: list(csv.DictReader(io.StringIO(table))) for name, table in json.loads(self._data)["tables"].items()
        }


def recorded(out: Path, *optimizers: str, **overrides: Any) -> list[Run]:
    given = {"steps": 20_000, "log_every": 500} | overrides
    return [recorder.record(trial(optimizer, **given), out) for optimizer in optimizers or ("adam", "amsgrad")]


def page_of_runs(some: list[Run]) -> Written:
    return Written(render(runs.page(some)))


def page_of_sweep(directory: Path) -> Written:
    return Written(render(page_of_cells(directory)))


def a_gauntlet(out: Path) -> Swept:
    """Of 2 × 2 × 2 × 1 cells, long enough for some to repeat themselves."""
    loaded = Gauntlet.of(
        optimizers=["adam", "sgd"], problems=["online", "theorem1"], settings=["stated"], steps=200_000
    )
    return swept(loaded, out)


def an_attack(out: Path) -> Path:
    """What an attack on Adam keeps, with a few of its runs."""
    directory = out / "adam" / "1234abcd"
    slopes = [96, *[-1] * 95]
    for schedule in ("constant", "inv-sqrt"):
        recorded(directory, "adam", problem="cycle", constants={"slopes": slopes}, schedule=schedule, name="found")
    counterexample = {"period": 96, "slopes": slopes, "optimum": -1.0, "regret": 0.5, "limit_regret": 0.25}
    document = {
        "schema": 1,
        "optimizer": "adam",
        "problems": 1000,
        "falls": 7,
        "survives": 990,
        "unsettled": 3,
        "found": True,
        "smallest_period": 77,
        "seconds": 1.5,
        "counterexample": counterexample,
    }
    (directory / "attack.json").write_text(json.dumps(document))
    return directory


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Run], Swept]]:
    """Two runs and a plane of 2 × 30 cells."""
    out = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield recorded(out / "logs"), swept(small(optimizers=["adam", "amsgrad"]), out / "sweeps")
