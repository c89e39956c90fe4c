"""The command line of sweeps: what it writes, says and refuses."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from amsgrad_exp.output import console, sweep_tables
from amsgrad_exp.spec.sweep import load_sweep
from tests.conftest import CommandLine
from tests.recorded import logged
from tests.scenes import Scene, drawn
from tests.sweeping import change, rows, small, swept
from tests.watching import Watched

__all__ = ["drawn"]


def test_a_plane(command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line(
        "sweep", "--grid", "beta1=0:0.9:5", "--grid", "beta2=0.9,0.99,0.9999", "--steps", "1e6", "--export", "csv"
    )
    assert (done.returncode, done.stderr) == (0, "")
    (directory,) = (tmp_path / "sweeps" / "synthetic").iterdir()
    assert {"results.sqlite", "results.csv", "phase.png", "phase.svg", "sweep.yaml"} <= {
        path.name for path in directory.iterdir()
    }
    with (directory / "results.csv").open() as file:
        exported = list(csv.DictReader(file))
    kept = rows(directory)
    assert [float(row["mean_x"]) for row in exported] == [row["mean_x"] for row in kept]
    assert [row["iterate"] for row in kept if row["beta2"] == 0.9999 and row["optimizer"] == "adam"] == ["optimum"] * 5
    assert done.stdout.startswith(
        "beta1 (5) × beta2 (3), 30 cells\n"
        "optimizer  optimum  worst point\n"
        "adam             5           10\n"
        "amsgrad         15            0\n"
    )
    assert logged(directory) == {"adam.optimum": [(0, 5.0)], "adam.worst": [(0, 10.0)], "amsgrad.optimum": [(0, 15.0)]}
    again = command_line("sweep", "--config", str(directory / "sweep.yaml"), "--quiet", "--no-figure")
    assert (again.returncode, again.stdout) == (0, "")
    other = next(path for path in (tmp_path / "sweeps" / "synthetic").iterdir() if path != directory)
    assert rows(other) == kept


def test_a_line_and_a_space(in_process: CommandLine) -> None:
    assert "profile.png" in in_process("sweep", "--grid", "lr=log:0.001:0.1:5", "--steps", "1e5").stdout
    table = in_process("sweep", *"--grid lr=0.1,0.2 --grid eps=0,1 --grid beta1=0,0.5 --steps 1e4".split())
    assert table.stdout.count("adam") == 9
    assert all(len(row) <= 80 for row in table.stdout.splitlines() if "/" not in row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "at least one axis"),
        (["sweep", "--grid", "beta2=1:2:3"], "beta2: must be less than 1"),
        (["sweep", "--grid", "beta2=0.5,0.9", "--export", "xlsx"], "--export takes csv"),
        (["sweep", "--grid", "beta2=0.5,0.9", "--jobs", "0"], "--jobs"),
        (["boundary", "--problem", "stochastic"], "not periodic"),
        (["boundary", "--optimizer", "torch.optim.SGD"], "is for optimizers of"),
    ],
)
def test_wrong_input(arguments: list[str], message: str, in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process(*arguments)
    assert (done.returncode, len(done.stderr.splitlines()), list(tmp_path.iterdir())) == (2, 1, [])
    assert message in done.stderr


def test_the_boundary_command(in_process: CommandLine) -> None:
    done = in_process("boundary", "--beta1", "0.9")
    assert "0.99951589 < beta2 < 0.9999999  goes to the optimum" in done.stdout
    assert "for every beta2" in in_process("boundary", "--optimizer", "amsgrad").stdout


def test_a_plane_whose_first_cell_cannot_be(in_process: CommandLine, tmp_path: Path) -> None:
    """With period = 3, steep = 20 and shallow = −10 no point is better than another."""
    grid = "--optimizer adam --set period=3 --grid steep=20,21 --grid shallow=-10,-9 --steps 1000".split()
    done = in_process("sweep", *grid)
    reason = "problem: the mean slope is 0, so all points are equally good: change a slope"
    assert (done.returncode, done.stderr) == (0, f"adam: 1 of 4 cells failed, the first because {reason}\n")
    assert done.stdout.split("\n")[2].split() == ["adam", "3", "1"]
    (directory,) = tmp_path.glob("sweeps/*/*")
    assert "mean slope is 0" in rows(directory)[0]["failure"]
    (directory / "phase.png").unlink()
    change(directory, "DELETE FROM cells WHERE cell > 2")
    again = in_process("resume", directory.name[:8])
    assert (again.returncode, again.stderr, again.stdout) == (0, done.stderr, done.stdout)
    assert (directory / "phase.png").is_file()


@pytest.mark.parametrize(
    ("grid", "constants", "interval"),
    [
        (["low=-3:-1:3", "lr=0.1,0.2"], {}, (-3.0, 1.0)),
        (["low=0:4:3", "high=1:5:3"], {}, (0.0, 5.0)),
        (["beta1=0.5,0.9", "lr=0.1,0.2"], {"low": -7, "high": 3}, (-7.0, 3.0)),
    ],
)
def test_colours_are_over_the_intervals_that_there_are(
    grid: list[str], constants: dict[str, float], interval: tuple[float, float], tmp_path: Path, drawn: list[Scene]
) -> None:
    sweep = load_sweep(grid=grid, constants=constants, optimizers=["adam"], steps=100)
    sweep_tables.draw(swept(sweep, tmp_path))
    labels = [placed.text.replace("−", "-") for placed in drawn[0].items if placed.role == "legend-label"]
    assert (float(labels[0]), float(labels[-1])) == interval


def test_nothing_is_drawn_where_no_cell_came_to_anything(tmp_path: Path) -> None:
    sweep = load_sweep(grid=["eps=0", "lr=0.1,0.2"], constants={"shallow": 0}, optimizers=["adam"], steps=100)
    assert sweep_tables.draw(swept(sweep, tmp_path)) == []


def test_a_wrong_labml_configuration_is_refused_before_anything_is_computed(
    command_line: CommandLine, tmp_path: Path
) -> None:
    steps = ["--steps", "1e16", "--no-fast-forward"]
    refused = command_line("sweep", "--grid", "beta2=0.9,0.99", *steps, env={"labml_app_url": "not a url"})
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "app_url should be a valid URL" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    directory = swept(small(), tmp_path / "sweeps", Watched(0)).directory
    resumed = command_line("resume", str(directory), env={"labml_app_url": "not a url"})
    assert (resumed.returncode, rows(directory)) == (2, [])


def test_sweeps_are_listed_and_found_by_their_ids(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = in_process("list", "sweeps")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no sweeps under sweeps\n")
    out = tmp_path / "sweeps"
    begun = swept(small(name="begun", steps=100), out, Watched(0)).directory
    whole = swept(small(name="whole", steps=100, optimizers=["adam"]), out).directory
    os.utime(whole / "sweep.yaml", (1e9, 1e9))
    (out / "broken" / "one").mkdir(parents=True)
    (out / "broken" / "one" / "sweep.yaml").write_text("grid: [")
    at_eighty = " ".join(in_process("list", "sweeps").stdout.split())
    assert all(words in at_eighty for words in (whole.name[:8], "30/30", "completed", "0/60", "interrupted"))
    monkeypatch.setattr(console.out, "width", 120)
    listed = in_process("list", "sweeps")
    assert listed.returncode == 0
    title, *lines = listed.stdout.splitlines()
    assert title.split() == ["sweep", "started", "experiment", "optimizers", "axes", "cells", "status"]
    said = [" ".join(line.split()) for line in lines]
    assert [line.split()[0] for line in said] == [whole.name[:8], begun.name[:8]]
    assert said[0].endswith("whole adam beta2 6 × lr 5 30/30 completed")
    assert said[1].endswith("begun adam, amsgrad beta2 6 × lr 5 0/60 interrupted")
    assert listed.stderr.count("\n") == 1
    assert "broken/one" in listed.stderr
    assert in_process("list", "sweeps", "--out", str(out)).stdout == listed.stdout
    assert in_process("resume", begun.name, "--quiet").returncode == 0
    assert len(rows(begun)) == 60
    assert "30 of 30 cells" in in_process("verify", whole.name, "--out", "sweeps").stdout


def test_an_id_that_begins_several(in_process: CommandLine, tmp_path: Path) -> None:
    for name in ("abc1", "abc2"):
        (tmp_path / "sweeps" / "synthetic" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / "synthetic" / name / "sweep.yaml").touch()
    several = in_process("resume", "abc")
    assert (several.returncode, several.stderr.count("\n")) == (2, 1)
    assert "2 sweeps under sweeps have an id that begins with 'abc'" in several.stderr
    (tmp_path / "logs" / "synthetic" / "abc1").mkdir(parents=True)
    (tmp_path / "logs" / "synthetic" / "abc1" / "summary.json").touch()
    both = in_process("verify", "abc1")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "1 run under logs and 1 sweep under sweeps have an id that begins with 'abc1'" in both.stderr
