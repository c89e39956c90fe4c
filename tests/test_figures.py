"""Tests of figures in files, by the pixels of the PNG and by where Vega puts lines and texts."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert

from amsgrad_exp.charts.draw import SCALE, draw
from amsgrad_exp.charts.letters import MARKS, mark
from amsgrad_exp.charts.panels import as_csv
from amsgrad_exp.charts.planes import Plane, Side, heat_maps
from amsgrad_exp.charts.style import COLOURS, DASHES, FAILED, edges, line_style
from amsgrad_exp.charts.traces import regret_and_iterate
from amsgrad_exp.output import sweep_tables
from amsgrad_exp.problems import PROBLEMS, Problem
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.against_theory import verdicts
from tests.scenes import Scene, View, colours_of, drawn, pixel, pixels, rgb, scene_of, trace
from tests.sweeping import change, failing, swept

__all__ = ["drawn"]

ONLINE, COMPONENTS = (PROBLEMS[name].model_validate({}) for name in ("online", "components"))


@pytest.mark.parametrize(
    "regrets",
    [
        {"adam": np.full(5000, 0.5), "amsgrad": 10 / np.arange(1, 5001)},
        {"one": np.array([0.3])},
        {"negative": np.linspace(-3, 1, 100)},
        {"lost": np.array([0.3, 0.2, np.nan, np.inf])},
        {str(number): np.full(10, float(number)) for number in range(9)},
    ],
    ids=["two", "a single point", "not positive", "not finite", "more curves than colours"],
)
def test_a_figure_is_written_as_png_and_svg(
    regrets: dict[str, np.ndarray], tmp_path: Path, drawn: list[Scene], capfd: pytest.CaptureFixture[str]
) -> None:
    traces = {name: trace(regret) for name, regret in regrets.items()}
    png, svg = regret_and_iterate(tmp_path / "figure", traces, ONLINE)
    assert pixels(png).shape == (SCALE * drawn[0].height, SCALE * drawn[0].width, 3)
    assert set(COLOURS[: len(traces)]) <= colours_of(png)
    uncompressed = vl_convert.svg_to_png(svg.read_text(), scale=SCALE)
    assert np.array_equal(pixels(png), pixels(uncompressed))
    assert len(png.read_bytes()) < len(uncompressed) / 2
    assert capfd.readouterr() == ("", "")


def test_a_figure_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.test_figures import ONLINE, Path, np, regret_and_iterate, trace\n"
        "regret_and_iterate(Path(sys.argv[1]), {'adam': trace(np.full(100, 0.5))}, ONLINE)"
    )
    regret_and_iterate(tmp_path / "here", {"adam": trace(np.full(100, 0.5))}, ONLINE)
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], check=True)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"here.{suffix}").read_bytes() == (tmp_path / f"there.{suffix}").read_bytes()


def test_figures_use_the_font_of_vl_convert_and_digits_that_it_has(tmp_path: Path) -> None:
    traces = {"adam, β₂ = 10⁻⁵": trace(np.geomspace(1e-9, 1, 5000)), "x": trace(np.full(5, 0.5))}
    _, svg = regret_and_iterate(tmp_path / "figure", traces, ONLINE)
    texts = [text for text in ElementTree.parse(svg).iter() if text.tag.endswith("}text")]
    assert {text.get("font-family", "").split(",")[0] for text in texts} == {"Liberation Sans"}
    said = ["".join(text.itertext()).replace("\u200b", "") for text in texts]
    assert {"10−8", "10−4", "103", "104", "adam, β2 = 10−5"} <= set(said)
    assert not set("".join(said)) & set("⁰¹²³⁴⁵⁶⁷⁸⁹⁻₀₁₂₃₄₅₆₇₈₉")


def test_lines_differ_without_colour() -> None:
    assert len(set(map(str, DASHES))) == len(DASHES) == len(COLOURS)
    assert len({str(line_style(number)) for number in range(49)}) == 49


@pytest.mark.parametrize("rest", ["", ", α = 0.01, β1 = 0.9, β2 = 0.99 and more of it"], ids=["short", "long"])
def test_the_legend_has_the_names_literally(rest: str, drawn: list[Scene], tmp_path: Path) -> None:
    names = [f"{name}{rest}" for name in ("adam, β2 = 0.99", "_hidden", r"$\no$", "<b>&amp;")]
    _, svg = regret_and_iterate(tmp_path / "figure", {name: trace(np.full(100, 0.5)) for name in names}, ONLINE)
    assert drawn[0].legend == names
    assert drawn[0].width <= 1000
    written = ["".join(text.itertext()) for text in ElementTree.parse(svg).iter() if text.tag.endswith("}text")]
    assert set(names) <= set(written)
    (legend,) = (view for view in drawn[0].views if view not in drawn[0].panels)
    samples = [(mark.item["stroke"], tuple(mark.item["strokeDash"])) for mark in legend.marks("rule")]
    assert samples == [(colour, tuple(dashes)) for colour, dashes in map(line_style, range(4))]
    assert list(drawn[0].panels[0].lines()) == samples
    places = {mark.at for mark in legend.marks("text")}
    assert len({y for _, y in places}) == (1 if not rest else 4 if len(names[0]) > 100 else len({y for _, y in places}))
    assert len(places) == 4


@pytest.mark.parametrize(("problem", "low", "high"), [(COMPONENTS, -3000, 40), (ONLINE, -1, 1)], ids=str)
def test_the_axis_of_an_unbounded_iterate_fits_the_data(
    problem: Problem, low: float, high: float, drawn: list[Scene], tmp_path: Path
) -> None:
    far = trace(np.full(100, 0.5), x=np.linspace(high, low, 100))
    regret_and_iterate(tmp_path / "figure", {"adam": far}, problem)
    panel = drawn[0].panels[1]
    ((_, points),) = panel.lines().items()
    heights = [panel.height - (placed.at[1] - panel.top) for placed in points]
    assert 0 < heights[-1] < 0.2 * panel.height
    assert 0.8 * panel.height < heights[0] < panel.height
    assert panel.texts() == [f"x* = {problem.optimum:g}".replace("-", "−")]


@pytest.mark.parametrize(
    ("regret", "log"),
    [(np.geomspace(1, 100, 50), True), (np.linspace(1, 2, 50), False), (np.linspace(-1, 9, 50), False)],
)
def test_regrets_of_different_magnitudes_are_on_a_logarithmic_axis(
    regret: np.ndarray, log: bool, drawn: list[Scene], tmp_path: Path
) -> None:
    regret_and_iterate(tmp_path / "figure", {"adam": trace(regret)}, ONLINE)
    panel = drawn[0].panels[0]
    ((_, points),) = panel.lines().items()
    heights = np.array([placed.at[1] for placed in points])
    shown = np.log(regret) if log else regret
    np.testing.assert_allclose(heights, np.interp(shown, shown[[0, -1]], heights[[0, -1]]), atol=0.01)
    assert log or any(float(label.replace("−", "-")) == 0 for label in panel.texts("axis-label")[-10:])


def profile(values: list[float], columns: dict[str, Any], name: str, tmp_path: Path) -> Path:
    """Draw a sweep along one axis, after writing these results to its cells."""
    sweep = Sweep.of({name: ",".join(map(repr, values))}, optimizers=["adam", "amsgrad"], steps=100)
    kept = swept(sweep, tmp_path)
    for number, (regret, mean_x) in enumerate(zip(columns["regret"], columns["mean_x"], strict=True)):
        numbers = ["NULL" if np.isnan(value) else repr(float(value)) for value in (regret, mean_x)]
        for cell in (number, number + len(values)):
            change(kept.directory, f"UPDATE cells SET regret = {numbers[0]}, mean_x = {numbers[1]} WHERE cell = {cell}")
    made = sweep_tables.draw(kept)
    return made[0] if made else kept.directory


LOG1M = (1 - np.geomspace(0.5, 1e-4, 15)).tolist()


@pytest.mark.parametrize(
    ("name", "values", "height", "title"),
    [
        ("lr", np.geomspace(1e-4, 1, 15).tolist(), np.log, "step size α"),
        ("beta2", LOG1M, lambda values: -np.log(1 - values), "β₂"),
        ("beta1", np.linspace(0, 0.9, 15).tolist(), np.positive, "β₁"),
    ],
)
def test_a_profile_has_two_panels_on_the_scale_of_its_axis(
    name: str, values: list[float], height: Any, title: str, drawn: list[Scene], tmp_path: Path
) -> None:
    """Both panels reach from the axis's first value to its last, with a margin."""
    columns = {"regret": np.geomspace(1e-3, 1, 15), "mean_x": np.linspace(-1, 1, 15)}
    profile(values, columns, name, tmp_path)
    assert drawn[0].legend == ["adam", "amsgrad"]
    for panel in drawn[0].panels:
        assert panel.texts("axis-title") == [title]
        lines = list(panel.lines().values())
        assert len(lines) == 2
        for points in lines:
            across = np.array([placed.at[0] - panel.left for placed in points]) / panel.width
            expected = height(np.array(values))
            np.testing.assert_allclose(across, np.interp(expected, expected[[0, -1]], across[[0, -1]]), atol=1e-4)
            assert 0 < across[0] < 0.1 < 0.9 < across[-1] < 1
            assert np.all(np.diff([placed.at[1] for placed in points]) < 0)


def test_a_profile_omits_failed_cells_and_shows_single_points_between_them(drawn: list[Scene], tmp_path: Path) -> None:
    column = np.array([0.1, 0.2, np.nan, 0.4, np.nan, 0.6, 0.7])
    png = profile(np.linspace(0, 0.6, 7).tolist(), {"regret": column, "mean_x": column}, "beta1", tmp_path / "some")
    for panel in drawn[0].panels:
        (first, second) = panel.lines().values()
        assert len(first) == len(second) == 5
        (alone, same) = panel.marks("symbol")
        assert alone.at == same.at == first[2].at
        assert np.allclose(pixel(png, alone.at), rgb(COLOURS[1]), atol=0.05)
        assert np.allclose(pixel(png, second[0].at), rgb(COLOURS[1]), atol=0.3)
        between = ((first[1].at[0] + first[2].at[0]) / 2, (first[1].at[1] + first[2].at[1]) / 2)
        assert np.allclose(pixel(png, between), 1, atol=0.3)
    nothing = {"regret": column * np.nan, "mean_x": column * np.nan}
    assert profile(np.linspace(0, 0.6, 7).tolist(), nothing, "beta1", tmp_path / "none").is_dir()
    one = {"regret": np.array([0.3]), "mean_x": np.array([0.3])}
    png = profile([0.1], one, "lr", tmp_path / "one")
    (alone, _) = drawn[-1].panels[1].marks("symbol")
    assert np.allclose(pixel(png, alone.at), rgb(COLOURS[1]), atol=0.05)


XS = np.linspace(0, 0.9, 10).tolist()


def plane(shape: tuple[int, int] = (10, 15), title: str = "adam") -> Plane:
    """A plane whose iterates are everywhere in the interval, with an eighth of failed cells and a boundary at 0.5."""
    mean_x = np.add.outer(np.linspace(-1, 1, shape[0]), np.linspace(-0.3, 0.3, shape[1])).clip(-1, 1)
    iterate = np.select([mean_x < -0.9, mean_x > 0.9], ["optimum", "worst"], "between").astype(object)
    mean_x[-shape[0] // 4 :, : shape[1] // 2] = np.nan
    iterate[np.isnan(mean_x)] = None
    x, y = np.linspace(0, 0.9, 20), np.linspace(0.5, 0.9999, 20)
    return Plane(title, mean_x, iterate, (x, y, np.broadcast_to(x - 0.5, (20, 20))))


def phase(
    path: Path, shown: list[Plane], xs: list[float] = XS, ys: list[float] = LOG1M, ends: tuple[float, float] = (-1, 1)
) -> list[Path]:
    """Draw planes over beta1 and beta2."""
    rows = [
        [number, one.title, x, y, None if np.isnan(mean) else mean]
        for one in shown
        for number, ((x, y), mean) in enumerate(zip(itertools.product(xs, ys), one.mean_x.ravel(), strict=True))
    ]
    table = as_csv(["cell", "optimizer", "beta1", "beta2", "mean_x"], rows)
    sides = Side("beta1", xs), Side("beta2", ys)
    return draw(path, heat_maps(sides, shown, ends, ["cell"]), {"cells": table})


def colours(values: list[float], low: float, high: float) -> list[np.ndarray]:
    """The colours that Vega's scale has for these values."""
    fill = {"field": "v", "type": "quantitative", "scale": {"scheme": "purpleorange", "domain": [low, high]}}
    points = {"mark": "square", "encoding": {"x": {"field": "v", "type": "nominal", "sort": None}, "color": fill}}
    scene = scene_of({"data": {"values": [{"v": value} for value in values]}, **points})
    return [rgb(placed.item["fill"]) for placed in scene.items if placed.kind == "symbol" and placed.role == "mark"]


def place(panel: View, i: int, j: int) -> tuple[float, float]:
    """The middle of a cell of 10 × 15."""
    return panel.on((i + 0.5) / 10, (j + 0.5) / 15)


def test_a_phase_diagram_has_the_colour_of_each_cell_in_its_place(drawn: list[Scene], tmp_path: Path) -> None:
    panel = plane()
    swapped = Plane("$a_1", -panel.mean_x, panel.iterate, None)
    png, svg = phase(tmp_path / "phase", [panel, swapped])
    ElementTree.parse(svg)
    some = [(0, 1), (2, 13), (4, 4), (6, 12), (8, 9), (9, 13)]
    for view, shown in zip(drawn[0].panels, (panel, swapped), strict=True):
        expected = colours([shown.mean_x[cell] for cell in some], -1, 1)
        for cell, colour in zip(some, expected, strict=True):
            assert np.allclose(pixel(png, place(view, *cell)), colour, atol=0.02)
        assert np.allclose(pixel(png, place(view, 9, 2)), rgb(FAILED), atol=0.02)
        assert view.texts("axis-title") == ["β₁", "β₂"]
        assert [label for label in view.texts("axis-label") if label.startswith("0.99")] == ["0.99", "0.999", "0.9999"]


def test_there_are_no_gaps_between_cells(tmp_path: Path, drawn: list[Scene]) -> None:
    even = Plane("adam", np.full((10, 15), 0.5), np.full((10, 15), None), None)
    png, _ = phase(tmp_path / "phase", [even])
    (view,) = drawn[0].panels
    (left, low), (right, high) = ([round(SCALE * part) for part in view.on(*at)] for at in ((0.01, 0.01), (0.99, 0.99)))
    inside = pixels(png)[high:low, left:right]
    (colour,) = colours([0.5], -1, 1)
    assert np.allclose(inside, colour, atol=0.02)


def test_a_phase_diagram_has_labels_of_areas_titles_and_the_boundary(drawn: list[Scene], tmp_path: Path) -> None:
    panel = plane()
    phase(tmp_path / "phase", [panel, Plane("$a_1", panel.mean_x, panel.iterate, None)])
    first, second = drawn[0].panels
    assert [view.texts("title-text") for view in (first, second)] == [["adam"], ["$a_1"]]
    for view in (first, second):
        assert sorted(set(view.texts())) == ["between", "failed or not done", "optimum", "worst point"]
        for placed in view.marks("text"):
            across, down = placed.at[0] - view.left, placed.at[1] - view.top
            i, j = int(10 * across / view.width), int(15 * (1 - down / view.height))
            expected = {"worst point": "worst", "failed or not done": None}.get(placed.text, placed.text)
            assert panel.iterate[i, j] == expected
    assert drawn[0].legend == ["boundary by theory"]
    boundary = {(placed.at[0] - first.left) / first.width for placed in first.marks("line")}
    assert boundary
    assert np.allclose(sorted(boundary), (0.5 + 0.05) / 1.0, atol=1e-3)
    assert second.marks("line") == []


def test_a_diagram_of_failed_cells_has_a_legend_of_colours(drawn: list[Scene], tmp_path: Path) -> None:
    """All cells failed, and the boundary is outside of the plane; the colours range over the problem's interval."""
    panel = plane()
    assert panel.boundary is not None
    x, y, drift = panel.boundary
    failed = Plane("adam", np.full(panel.mean_x.shape, np.nan), panel.iterate, (x, y, drift + 3))
    phase(tmp_path / "phase", [failed], ends=(-30.0, 30.0))
    assert drawn[0].legend == []
    labels = [placed.text for placed in drawn[0].items if placed.role == "legend-label"]
    assert (labels[0], labels[-1]) == ("−30", "30")
    titles = [placed.text for placed in drawn[0].items if placed.role == "legend-title"]
    assert titles == ["mean x over the last tenth of the steps"]


@pytest.mark.parametrize("shape", [(1, 15), (10, 1), (1, 1), (2, 2)])
def test_a_plane_of_few_cells_fills_the_panel(shape: tuple[int, int], drawn: list[Scene], tmp_path: Path) -> None:
    panel = Plane("adam", np.full(shape, -1.0), np.full(shape, "between", object), None)
    png, _ = phase(tmp_path / "phase", [panel], XS[: shape[0]], LOG1M[: shape[1]])
    (view,) = drawn[0].panels
    (colour,) = colours([-1.0], -1, 1)
    for at in ((0.03, 0.03), (0.97, 0.03), (0.03, 0.97), (0.97, 0.97)):
        assert np.allclose(pixel(png, view.on(*at)), colour, atol=0.02)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], [0.5, 1.5, 2.5, 3.5]),
        ([1.0, 100.0, 10_000.0], [0.1, 10.0, 1000.0, 100_000.0]),
        ([0.9, 0.99, 0.999], 1 - 10 ** -np.array([0.5, 1.5, 2.5, 3.5])),
        ([2.0], [1.9, 2.1]),
        ([0.0], [-0.05, 0.05]),
    ],
)
def test_cells_meet_in_the_middle_on_the_scale_of_the_axis(values: list[float], expected: np.ndarray) -> None:
    np.testing.assert_allclose(edges(values), expected)


def test_a_matrix_shows_the_letter_the_claim_and_the_proof_of_each_cell(drawn: list[Scene], tmp_path: Path) -> None:
    kept = swept(failing(), tmp_path)
    png, _ = sweep_tables.draw(kept)
    (panel,) = drawn[0].panels
    with kept.results() as results:
        cells = verdicts(failing(), results).cells
    assert len(cells) == 4
    letters = {placed.at: placed.text for placed in panel.marks("text")}
    framed = [placed.item for placed in panel.marks("rect") if placed.item.get("stroke") == "#000000"]
    assert len(framed) == sum(cell.covered for cell in cells.values())
    underlined = sum(cell.row["evidence"] == "proof" for cell in cells.values())
    assert len([placed for placed in panel.items if placed.name.endswith("layer_3_marks")]) == underlined
    for (optimizer, problem, *_), cell in cells.items():
        i, j = (["online", "bock-weiss"].index(problem), ["adam", "sgd"].index(optimizer))
        assert letters[panel.on((i + 0.5) / 2, 1 - (j + 0.5) / 2)] == mark(cell.row).letter
        assert np.allclose(
            pixel(png, panel.on((i + 0.2) / 2, 1 - (j + 0.2) / 2)), rgb(mark(cell.row).colour), atol=0.02
        )
    assert [text.split()[0] for text in drawn[0].legend[: len(MARKS)]] == [known.letter for known in MARKS]
