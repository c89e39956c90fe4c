"""Tests of the HTML of report pages: exact numbers, escaped names, and messages about missing or damaged data."""

import base64
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from amsgrad_exp import api
from amsgrad_exp.charts import planes
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.records import recorder
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.report import cell_pages, page, run_page
from amsgrad_exp.spec.read import command, load_experiment, run_command
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.sweeping import Swept
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.pages import Written, a_gauntlet, page_of_runs, page_of_sweep, recorded, records, trial_of
from tests.recorded import LONG, trial
from tests.sweeping import change, curves, rows, small, swept
from tests.watching import Watched

__all__ = ["records"]

CONFIGS = [
    path
    for path in sorted(Path(__file__).parent.parent.glob("configs/*.yaml"))
    if "grid" not in yaml.safe_load(path.read_text())
]
Records = tuple[list[Run], Swept]


def changed(run: Run, **optimizer: Any) -> Run:
    """The run with other settings of its optimizer, and its own trace."""
    settings = run.trial.optimizer.model_copy(update=optimizer)
    return dataclasses.replace(run, trial=run.trial.model_copy(update={"optimizer": settings}), logged=run.trace)


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """A row of results.sqlite as it is on a page."""
    return {name: "" if value is None else str(value) for name, value in row.items() if name != "sha256"}


HOSTILE = ["<script>alert(1)</script>", "\"quoted\" & 'single'", "two\nlines", "x" * 10_000, "{{ 7 * 7 }}"]


def test_a_page_of_runs_has_their_exact_results_and_points(records: Records) -> None:
    made = page_of_runs(records[0])
    for number, run in enumerate(records[0]):
        summary = json.loads((run.directory / "summary.json").read_text())
        for name, value in dataclasses.asdict(run.result).items():
            shown = made.facts[name][number].replace(",", "")
            assert shown == ("—" if value is None else str(value))
            assert value is None or isinstance(value, str) or float(shown) == summary[name]
        assert made.facts["trace.csv"][number] == summary["trace_sha256"]
        assert made.facts["experiment.yaml"][number] == summary["experiment_sha256"]
        assert made.facts["numba"][number] == summary["sessions"][0]["versions"]["numba"]

    for number, run in enumerate(records[0], start=1):
        own = [point for point in made.tables["points"] if point["curve"] == str(number)]
        for name, column in run.trace.columns.items():
            assert [float(point[name]) for point in own] == column.tolist()
        assert {point["optimizer"] for point in own} == {run.summary.optimizer}


def test_a_page_of_a_sweep_has_the_exact_numbers_of_its_cells(records: Records) -> None:
    shown = page_of_sweep(records[1].directory).tables["cells"]
    assert len(shown) == 60
    assert shown == [as_text(row) for row in rows(records[1].directory)]


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_in_a_name_is_shown_as_text(records: Records, name: str) -> None:
    plain = page_of_runs(records[0])
    first, second = records[0]
    for hostile in (changed(first, name=name), changed(first, label=name)):
        html = page.render(run_page.page([hostile, second]))
        made = Written(html)
        assert made.scripts == plain.scripts
        assert name in made.text
        assert html.count("<script>alert") == 0
        assert {point["optimizer"] for point in made.tables["points"]} >= {page.short(name)}


def test_a_page_shows_bounds_on_request(in_process: CommandLine, tmp_path: Path) -> None:
    (run,) = recorded(tmp_path / "logs", "amsgrad", schedule="inv-sqrt")
    assert in_process("report", "--bound").returncode == 0
    made = Written((tmp_path / "report.html").read_text())
    known = api.bound(run)
    expected = known.trajectory.total / (known.trajectory.step + 1)
    assert [float(point["bound"]) for point in made.tables["points"]] == expected.tolist()
    assert made.facts["R(T) at most"] == [str(known.document()["total"])]
    assert "Its trajectory proves" in made.text
    swept(small(), tmp_path / "sweeps")
    rejected = in_process("report", "last", "--bound")
    assert (rejected.returncode, rejected.stderr) == (2, "amsgrad-exp: --bound is for runs, and this is a sweep\n")


def test_a_page_of_an_interrupted_run_has_the_command_that_resumes_it(tmp_path: Path) -> None:
    run = recorder.record(trial(**LONG), tmp_path, Watched(2))
    made = page_of_runs([read_run(run.directory)])
    assert f"amsgrad-exp resume {run.run_id}" in made.text
    assert "the run is interrupted" in made.text
    assert made.tables["points"]

    run = dataclasses.replace(run, logged=Trace.empty())
    assert "No point has been logged yet" in page_of_runs([run]).text


def test_a_damaged_run_sweep_or_gauntlet_has_no_page(in_process: CommandLine, tmp_path: Path, gauntlet: Swept) -> None:
    def assert_damaged(said: str) -> None:
        failed = in_process("report", "last")
        assert (failed.returncode, failed.stderr.count("\n"), said in failed.stderr) == (1, 1, True)
        assert not (tmp_path / "report.html").exists()

    (run,) = recorded(tmp_path / "logs", "adam")
    trace = run.directory / "trace.csv"
    trace.write_text(trace.read_text().replace("1", "2", 1))
    assert_damaged(f"{trace} is damaged")
    sweep = swept(small(), tmp_path / "sweeps")
    change(sweep.directory, "UPDATE cells SET mean_x = mean_x / 2 WHERE cell = 7")
    assert_damaged("is damaged: 1 rows have a wrong checksum")
    copied = shutil.copytree(gauntlet.directory, tmp_path / "sweeps" / "gauntlet" / gauntlet.directory.name)
    os.utime(copied / "sweep.yaml")
    change(copied, "UPDATE points SET x = regret WHERE cell = 7")
    assert_damaged("is damaged: 1 curves have a wrong checksum")


def test_a_page_of_an_unfinished_sweep_says_what_is_missing(tmp_path: Path) -> None:
    sweep = swept(small(), tmp_path)
    change(sweep.directory, "DELETE FROM cells WHERE cell % 3 = 0")
    made = page_of_sweep(sweep.directory)
    assert f"40 of 60 cells are done: amsgrad-exp resume {sweep.directory.name} computes the others" in made.text
    change(sweep.directory, "DELETE FROM cells")
    with pytest.raises(RunError, match="none of the 60 cells"):
        page_of_sweep(sweep.directory)
    (sweep.directory / "results.sqlite").write_bytes(b"no database at all")
    with pytest.raises(Damaged):
        page_of_sweep(sweep.directory)


def test_a_page_shows_some_of_a_million_points(records: Records) -> None:
    steps = np.arange(10**6)
    trace = Trace(steps, np.cos(steps), np.sin(steps), 1 / np.sqrt(steps + 1))
    html = page.render(run_page.page([dataclasses.replace(records[0][0], logged=trace)]))
    made = Written(html)
    points = made.tables["points"]
    assert f"Of 1,000,000 logged points {len(points)} are drawn" in made.text
    assert 300 < len(points) <= run_page.MOST_POINTS
    assert (points[0]["step"], points[-1]["step"]) == ("0", "999999")
    assert len(html) < 2_000_000


def test_a_page_shows_some_of_very_many_cells(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "MOST_CELLS", 40)
    made = page_of_sweep(records[1].directory)
    kept = made.tables["cells"]
    betas, rates = (sorted({float(cell[name]) for cell in kept}) for name in ("beta2", "lr"))
    assert len(kept) == 2 * len(betas) * len(rates) == 30
    assert betas == list(records[1].axes["beta2"][::2])
    assert "This page shows 30 of 60 cells" in made.text


def test_sweeps_of_one_axis_and_of_three_have_pages(tmp_path: Path) -> None:
    for number, axes in enumerate((["lr=log:0.001:1:4"], ["lr=0.1,1", "beta1=0,0.9", "beta2=0.9,0.99"])):
        sweep = swept(small(grid=axes), tmp_path / str(number))
        assert len(page_of_sweep(sweep.directory).tables["cells"]) == len(sweep.sweep)


def test_a_page_is_written_to_the_file_or_directory_given(in_process: CommandLine, tmp_path: Path) -> None:
    first, second = recorded(tmp_path / "logs")
    assert in_process("report").stdout == "report report.html\n"
    assert in_process("report", first.run_id, str(second.directory), "--out", "both.html").returncode == 0
    assert len((tmp_path / "both.html").read_text()) > len((tmp_path / "report.html").read_text())
    sweep = swept(small(), tmp_path / "sweeps")
    assert in_process("report", "last", "--out", str(sweep.directory)).returncode == 0
    assert Written((sweep.directory / "report.html").read_text()).tables.keys() == {"cells"}
    mixed = in_process("report", first.run_id, str(sweep.directory))
    assert (mixed.returncode, mixed.stderr.count("\n")) == (2, 1)
    for wrong in ("nothing", str(tmp_path), "x" * 5000):
        rejected = in_process("report", wrong)
        assert (rejected.returncode, rejected.stderr.count("\n")) == (2, 1)
    os.mkfifo(tmp_path / "pipe")
    rejected = in_process("report", "--out", "pipe")
    assert rejected.stderr == "amsgrad-exp: --out pipe is neither a file nor a directory\n"
    assert (rejected.returncode, (tmp_path / "pipe").is_fifo()) == (2, True)
    (tmp_path / "site").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "site" / "page.html")
    assert in_process("report", "--out", "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "site" / "page.html").is_file()


def test_a_table_has_the_points_nearest_to_powers_of_ten(tmp_path: Path) -> None:
    """If two runs have logged different steps, the table has the steps that both have, and the last of each."""
    both = recorded(tmp_path, "adam", log_every=7, steps=2000) + recorded(tmp_path, "sgd", log_every=3, steps=500)
    rows = run_page.page(both).content["decades"]["rows"]
    assert [t for t, _ in rows] == [21, 105, 498, 1995]
    assert [[cell is not None for cell in cells] for _, cells in rows[1:]] == [
        [True, True],
        [False, True],
        [True, False],
    ]


@pytest.mark.parametrize(
    ("regret", "log", "omitted"),
    [([4.0, -1.0, 0.5, 0.4], True, 1), ([4.0, 1.0, 0.5, -0.4], False, 0), ([4.0, 1.0, 0.5, 0.4], True, 0)],
)
def test_averages_that_are_not_positive_are_omitted_or_the_axis_is_linear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regret: list[float], log: bool, omitted: int
) -> None:
    (run,) = recorded(tmp_path, "adam", steps=1000, log_every=250)
    step = np.array([0, 9, 99, 999])
    monkeypatch.setattr(Run, "trace", Trace(step, np.ones(4), np.zeros(4), np.array(regret)))
    made = run_page.page([run])
    panel = made.plots[0].specification["concat"][0]["layer"][-1]
    assert panel["encoding"]["y"]["scale"].get("type") == ("log" if log else "linear")
    assert (f"{omitted:,} of the averages" in made.content["note"]) == bool(omitted)
    assert ("linear" in made.content["note"]) != log


def test_a_name_cannot_reverse_the_text_around_it(records: Records) -> None:
    reversing = run_page.page([changed(records[0][0], label="\u202eevil")])
    assert reversing.title.startswith("evil on ")
    assert "<bdi>\u202eevil</bdi>" in page.render(reversing)


def test_two_processes_may_write_the_same_page(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from amsgrad_exp.records.files import write_atomically\n"
        "for _ in range(100): write_atomically(Path('page'), sys.argv[1].encode() * 50_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, letter], cwd=tmp_path) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert (tmp_path / "page").read_text() in ("a" * 50_000, "b" * 50_000)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_compare_sweep_and_gauntlet_write_pages_on_request(in_process: CommandLine, tmp_path: Path) -> None:
    def page_of(command: str, pattern: str, status: int = 0) -> Written:
        asked = f"{command} --steps 1000 --no-figure --report --quiet"
        assert in_process(*asked.split()).returncode == status
        (path,) = tmp_path.glob(pattern)
        return Written(path.read_text())

    failing = "tests.optimizers.RaisesLater"
    names = f"--optimizer adam --optimizer sgd --optimizer {failing}"
    compared = page_of(f"compare {names}", "logs/*/compare-*.html", status=1)
    assert {point["optimizer"] for point in compared.tables["points"]} == {"adam", "sgd"}
    assert f"{failing} is missing because it failed: " in compared.text
    assert len(page_of("sweep --grid lr=0.1,1", "sweeps/*/*/report.html").tables["cells"]) == 4
    one = "gauntlet --optimizer sgd --problem online --settings stated"
    assert len(page_of(one, "sweeps/gauntlet/*/report.html").tables["cells"]) == 2


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_command_on_a_page_repeats_the_run(config: Path) -> None:
    for one in load_experiment(config).trials():
        unlabelled = one.optimizer.model_copy(update={"label": None})
        assert trial_of(run_command(one)) == one.model_copy(update={"name": "synthetic", "optimizer": unlabelled})


def test_the_command_of_a_cell_runs_that_cell(records: Records) -> None:
    sweep = records[1].sweep
    assert isinstance(sweep, Sweep)
    written = command({**sweep.data, "optimizers": sweep.data["optimizers"][:1]})
    optimizer, values = sweep.values(7)
    assert optimizer == "adam"
    assert trial_of(f"{written} --beta2={values['beta2']} --lr={values['lr']}") == sweep.trial(7)


def test_the_command_of_a_run_says_how_bias_is_corrected(records: Records) -> None:
    other = changed(records[0][0], optimized_update=False).trial
    assert trial_of(run_command(other)) == other


@pytest.fixture(scope="module")
def gauntlet(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A gauntlet that tests only read."""
    return a_gauntlet(tmp_path_factory.mktemp("gauntlet"))


def test_a_page_of_a_gauntlet_has_its_exact_rows_commands_and_points(gauntlet: Swept) -> None:
    made = page_of_sweep(gauntlet.directory)
    assert len(made.tables["cells"]) == 8
    for row, cell in zip(rows(gauntlet.directory), made.tables["cells"], strict=True):
        assert as_text(row).items() <= cell.items()
        one = gauntlet.sweep.trial(row["cell"])
        assert trial_of(cell["command"]) == one.model_copy(update={"name": "synthetic"})
        assert float(cell["optimum"]) == one.problem.optimum
    shown = made.documents["curves"]
    kept = curves(gauntlet.directory)
    assert len(shown["steps"]) == 1
    assert {int(cell): points for cell, points in shown["cells"].items()}.keys() == kept.keys() == set(range(8))
    for cell, (steps, x, regret) in shown["cells"].items():
        points = {
            name: np.frombuffer(base64.b64decode(packed)).tolist() for name, packed in (("x", x), ("regret", regret))
        }
        assert kept[int(cell)] == {"step": shown["steps"][steps], **points}


def test_a_page_of_a_gauntlet_underlines_proved_cells(gauntlet: Swept) -> None:
    html = page.render(cell_pages.page(gauntlet.directory))
    marked = re.findall(r'data-cell="(\d+)"[^>]*aria-label="([^"]*)"[^>]*>\s*(<u>)?', html)
    proofs = {row["cell"] for row in rows(gauntlet.directory) if row["evidence"] == "proof"}
    assert 0 < len(proofs) < len(marked) == 8
    assert {int(cell) for cell, _, underlined in marked if underlined} == proofs
    assert {int(cell) for cell, said, _ in marked if "; proved" in said} == proofs
    assert "underlined: proved" in Written(html).text


def test_a_page_of_a_gauntlet_says_which_points_and_cells_are_missing(gauntlet: Swept, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(gauntlet.directory, tmp_path / gauntlet.directory.name))
    change(directory, "DROP TABLE points")
    made = page_of_sweep(directory)
    assert "The points of the cells were not stored" in made.text
    assert made.documents["curves"] == {"steps": [], "cells": {}}
    assert made.documents["data"]["plots"] == {}
    assert len(made.tables["cells"]) == 8
    change(directory, "DELETE FROM cells WHERE cell > 4")
    assert "5 of 8 cells are done" in page_of_sweep(directory).text
