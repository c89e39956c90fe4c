"""Pages, as they are written: numbers, hostile names, and what is missing or damaged."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from amsgrad_exp import api
from amsgrad_exp.charts import planes
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.records import recorder
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.report import page, run_page
from amsgrad_exp.report.page import render
from amsgrad_exp.spec.read import command, load_experiment, run_command
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.sweeping import Swept
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.pages import Written, page_of_runs, page_of_sweep, recorded, records, trial_of
from tests.recorded import LONG, trial
from tests.sweeping import change, rows, small, swept
from tests.watching import Watched

__all__ = ["records"]

CONFIGS = [
    path
    for path in sorted(Path(__file__).parent.parent.glob("configs/*.yaml"))
    if "grid" not in yaml.safe_load(path.read_text())
]
HOSTILE = ["<script>alert(1)</script>", "\"quoted\" & 'single'", "two\nlines", "x" * 10_000, "{{ 7 * 7 }}"]


def test_a_page_has_the_numbers_of_summary_json_to_the_last_digit(records: tuple[list[Run], Swept]) -> None:
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


def test_a_page_has_the_points_of_trace_csv_to_the_last_digit(records: tuple[list[Run], Swept]) -> None:
    points = page_of_runs(records[0]).tables["points"]
    for number, run in enumerate(records[0], start=1):
        own = [point for point in points if point["curve"] == str(number)]
        for name, column in run.trace.columns.items():
            assert [float(point[name]) for point in own] == column.tolist()
        assert {point["optimizer"] for point in own} == {run.summary.optimizer}


def test_a_page_of_a_sweep_has_the_rows_of_results_sqlite_to_the_last_digit(records: tuple[list[Run], Swept]) -> None:
    shown = page_of_sweep(records[1].directory).tables["cells"]
    kept = rows(records[1].directory)
    assert len(shown) == len(kept) == 60
    for row, cell in zip(kept, shown, strict=True):
        del row["sha256"]
        assert {name: "" if value is None else str(value) for name, value in row.items()} == cell


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_shows_as_text(records: tuple[list[Run], Swept], name: str) -> None:
    def renamed(run: Run, **names: str) -> Run:
        optimizer = run.trial.optimizer.model_copy(update=names)
        changed = run.trial.model_copy(update={"optimizer": optimizer})
        return dataclasses.replace(run, trial=changed, logged=run.trace)

    plain = page_of_runs(records[0])
    first, second = records[0]
    for hostile in (renamed(first, name=name), renamed(first, label=name)):
        html = page.render(run_page.page([hostile, second]))
        made = Written(html)
        assert made.scripts == plain.scripts
        assert name in made.text
        assert html.count("<script>alert") == 0
        assert {point["optimizer"] for point in made.tables["points"]} >= {page.short(name)}


def test_a_page_shows_the_bounds_that_are_asked_for(in_process: CommandLine, tmp_path: Path) -> None:
    (run,) = recorded(tmp_path / "logs", "amsgrad", schedule="inv-sqrt")
    assert in_process("report", "--bound").returncode == 0
    made = Written((tmp_path / "report.html").read_text())
    known = api.bound(run)
    expected = known.trajectory.total / (known.trajectory.step + 1)
    assert [float(point["bound"]) for point in made.tables["points"]] == expected.tolist()
    assert made.facts["R(T) at most"] == [str(known.document()["total"])]
    assert "Its trajectory proves" in made.text
    swept(small(), tmp_path / "sweeps")
    refused = in_process("report", "last", "--bound")
    assert (refused.returncode, refused.stderr) == (2, "amsgrad-exp: --bound is for runs, and this is a sweep\n")


def test_what_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    run = recorder.record(trial(**LONG), tmp_path, Watched(2))
    made = page_of_runs([read_run(run.directory)])
    assert f"amsgrad-exp resume {run.run_id}" in made.text
    assert "the run is interrupted" in made.text
    assert made.tables["points"]


def test_a_run_without_points_says_so(records: tuple[list[Run], Swept]) -> None:
    run = dataclasses.replace(records[0][0], logged=Trace.empty())
    assert "No point has been logged yet" in page_of_runs([run]).text


def test_a_damaged_run_or_sweep_is_one_line(in_process: CommandLine, tmp_path: Path) -> None:
    (run,) = recorded(tmp_path / "logs", "adam")
    trace = run.directory / "trace.csv"
    trace.write_text(trace.read_text().replace("1", "2", 1))
    failed = in_process("report", "last")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert f"{trace} is damaged" in failed.stderr
    sweep = swept(small(), tmp_path / "sweeps")
    change(sweep.directory, "UPDATE cells SET mean_x = mean_x / 2 WHERE cell = 7")
    failed = in_process("report", "last")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "is damaged: 1 rows have a wrong checksum" in failed.stderr
    assert not (tmp_path / "report.html").exists()


def test_an_unfinished_sweep_says_what_is_missing(tmp_path: Path) -> None:
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


def test_ten_million_points_are_thinned_and_the_page_says_so(records: tuple[list[Run], Swept]) -> None:
    steps = np.arange(10**7)
    trace = Trace(steps, np.cos(steps), np.sin(steps), 1 / np.sqrt(steps + 1))
    html = page.render(run_page.page([dataclasses.replace(records[0][0], logged=trace)]))
    made = Written(html)
    points = made.tables["points"]
    assert f"Of 10,000,000 logged points {len(points)} are drawn" in made.text
    assert 300 < len(points) <= run_page.MOST_POINTS
    assert (points[0]["step"], points[-1]["step"]) == ("0", "9999999")
    assert len(html) < 2_000_000


def test_a_plane_of_many_cells_is_thinned_and_the_page_says_so(
    records: tuple[list[Run], Swept], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_report_is_written_where_it_is_asked_for(in_process: CommandLine, tmp_path: Path) -> None:
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
        refused = in_process("report", wrong)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_where_no_page_can_be_written_is_said_first(in_process: CommandLine, tmp_path: Path) -> None:
    recorded(tmp_path / "logs", "adam")
    os.mkfifo(tmp_path / "pipe")
    for out, reason in (
        ("pipe", "--out pipe is neither a file nor a directory"),
        ("nowhere/page.html", "--out nowhere/page.html: there is no directory nowhere"),
    ):
        refused = in_process("report", "--out", out)
        assert (refused.returncode, refused.stderr) == (2, f"amsgrad-exp: {reason}\n")
    assert (tmp_path / "pipe").is_fifo()


def test_a_page_goes_where_a_link_points(in_process: CommandLine, tmp_path: Path) -> None:
    recorded(tmp_path / "logs", "adam")
    (tmp_path / "site").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "site" / "page.html")
    assert in_process("report", "--out", "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "site" / "page.html").is_file()


def test_a_comparison_names_what_failed_on_its_page(in_process: CommandLine, tmp_path: Path) -> None:
    failing = "tests.optimizers.RaisesLater"
    asked = ["compare", "--optimizer", "adam", "--optimizer", failing, "--steps", "1000", "--no-figure", "--report"]
    done = in_process(*asked, "--quiet")
    assert done.returncode == 1
    (compared,) = tmp_path.glob("logs/*/compare-*.html")
    assert f"{failing} is missing because it failed: " in Written(compared.read_text()).text


def test_a_table_has_the_points_nearest_to_powers_of_ten(tmp_path: Path) -> None:
    """Where two runs have logged different steps, those that both have, and each one's last."""
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
def test_averages_that_are_not_positive_are_left_out_or_shown_on_a_linear_axis(
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


def test_marks_of_direction_turn_no_text_around(records: tuple[list[Run], Swept]) -> None:
    (run, _) = records[0]
    optimizer = run.trial.optimizer.model_copy(update={"label": "\u202eevil"})
    turned = dataclasses.replace(run, trial=run.trial.model_copy(update={"optimizer": optimizer}), logged=run.trace)
    html = render(run_page.page([turned]))
    assert run_page.page([turned]).title.startswith("evil on ")
    assert "<bdi>\u202eevil</bdi>" in html, "its whole name is there, apart from other text"


def test_two_processes_may_write_one_page(tmp_path: Path) -> None:
    """A page is whole whoever is last."""
    program = (
        "import sys; from pathlib import Path; from amsgrad_exp.records.files import write_atomically\n"
        "for _ in range(100): write_atomically(Path('page'), sys.argv[1].encode() * 50_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, letter], cwd=tmp_path) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert (tmp_path / "page").read_text() in ("a" * 50_000, "b" * 50_000)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_compare_and_sweep_write_their_pages(in_process: CommandLine, tmp_path: Path) -> None:
    assert in_process("compare", "--steps", "1000", "--no-figure", "--report", "--quiet").returncode == 0
    (compared,) = tmp_path.glob("logs/*/compare-*.html")
    assert {point["optimizer"] for point in Written(compared.read_text()).tables["points"]} == {"adam", "amsgrad"}
    command = "sweep --steps 1000 --grid lr=0.1,1 --no-figure --report --quiet"
    assert in_process(*command.split()).returncode == 0
    (page_of_it,) = tmp_path.glob("sweeps/*/*/report.html")
    assert len(Written(page_of_it.read_text()).tables["cells"]) == 4
    command = "gauntlet --optimizer sgd --problem online --settings stated --steps 1000 --no-figure --report --quiet"
    assert in_process(*command.split()).returncode == 0
    (page_of_it,) = tmp_path.glob("sweeps/gauntlet/*/report.html")
    assert len(Written(page_of_it.read_text()).tables["cells"]) == 2


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_command_on_a_page_repeats_the_run(config: Path) -> None:
    for one in load_experiment(config).trials():
        written = run_command(one)
        assert written is not None
        unlabelled = one.optimizer.model_copy(update={"label": None})
        assert trial_of(written) == one.model_copy(update={"name": "synthetic", "optimizer": unlabelled})


def test_a_cells_command_runs_that_cell(records: tuple[list[Run], Swept]) -> None:
    sweep = records[1].sweep
    assert isinstance(sweep, Sweep)
    written = command({**sweep.data, "optimizers": sweep.data["optimizers"][:1]})
    optimizer, values = sweep.values(7)
    assert optimizer == "adam"
    assert trial_of(f"{written} --beta2={values['beta2']} --lr={values['lr']}") == sweep.trial(7)


def test_the_command_of_a_run_says_how_bias_is_corrected(records: tuple[list[Run], Swept]) -> None:
    trial = records[0][0].trial
    optimizer = trial.optimizer.model_copy(update={"optimized_update": False})
    other = trial.model_copy(update={"optimizer": optimizer})
    assert trial_of(run_command(other)) == other
