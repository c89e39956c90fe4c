"""Pages of gauntlets, as they are written: rows, curves, proofs, and what is missing or damaged."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np

from amsgrad_exp.report import cell_pages, page
from tests.conftest import CommandLine
from tests.pages import Written, a_gauntlet, page_of_sweep, trial_of
from tests.sweeping import change, curves, rows


def test_a_page_of_a_gauntlet_has_the_rows_of_results_sqlite_and_their_commands(tmp_path: Path) -> None:
    gauntlet = a_gauntlet(tmp_path)
    made = page_of_sweep(gauntlet.directory)
    shown = made.tables["cells"]
    kept = rows(gauntlet.directory)
    assert len(shown) == len(kept) == 8
    for row, cell in zip(kept, shown, strict=True):
        del row["sha256"]
        assert {name: "" if value is None else str(value) for name, value in row.items()}.items() <= cell.items()
        one = gauntlet.sweep.trial(row["cell"])
        assert trial_of(cell["command"]) == one.model_copy(update={"name": "synthetic"})
        assert float(cell["optimum"]) == one.problem.optimum
    change(gauntlet.directory, "DELETE FROM cells WHERE cell > 4")
    assert "5 of 8 cells are done" in page_of_sweep(gauntlet.directory).text


def test_a_page_of_a_gauntlet_has_the_points_of_its_cells_bit_for_bit(tmp_path: Path) -> None:
    gauntlet = a_gauntlet(tmp_path)
    shown = page_of_sweep(gauntlet.directory).documents["curves"]
    kept = curves(gauntlet.directory)
    assert len(shown["steps"]) == 1
    assert {int(cell): points for cell, points in shown["cells"].items()}.keys() == kept.keys() == set(range(8))
    for cell, (steps, x, regret) in shown["cells"].items():
        points = {
            name: np.frombuffer(base64.b64decode(packed)).tolist() for name, packed in (("x", x), ("regret", regret))
        }
        assert kept[int(cell)] == {"step": shown["steps"][steps], **points}


def test_a_page_of_a_gauntlet_underlines_what_is_proved(tmp_path: Path) -> None:
    gauntlet = a_gauntlet(tmp_path)
    html = page.render(cell_pages.page(gauntlet.directory))
    marked = re.findall(r'data-cell="(\d+)"[^>]*aria-label="([^"]*)"[^>]*>\s*(<u>)?', html)
    proofs = {row["cell"] for row in rows(gauntlet.directory) if row["evidence"] == "proof"}
    assert 0 < len(proofs) < len(marked) == 8
    assert {int(cell) for cell, _, underlined in marked if underlined} == proofs
    assert {int(cell) for cell, said, _ in marked if "; proved" in said} == proofs
    assert "underlined: proved" in Written(html).text


def test_a_page_of_a_gauntlet_without_points_says_so(tmp_path: Path) -> None:
    gauntlet = a_gauntlet(tmp_path)
    change(gauntlet.directory, "DROP TABLE points")
    made = page_of_sweep(gauntlet.directory)
    assert "The points of the cells were not stored" in made.text
    assert made.documents["curves"] == {"steps": [], "cells": {}}
    assert made.documents["data"]["plots"] == {}
    assert len(made.tables["cells"]) == 8


def test_a_gauntlet_whose_points_are_damaged_has_no_page(in_process: CommandLine, tmp_path: Path) -> None:
    gauntlet = a_gauntlet(tmp_path / "sweeps")
    change(gauntlet.directory, "UPDATE points SET x = regret WHERE cell = 7")
    failed = in_process("report", "last")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "is damaged: 1 curves have a wrong checksum" in failed.stderr
