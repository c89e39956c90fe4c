"""What is drawn: pixels of the PNG where they can say it, and the figure's own lines and words where they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.legend import Legend

from amsgrad_exp.output.figures import Panel, curves, phase_diagram, planes, profile, regret_and_iterate, style
from amsgrad_exp.output.figures.style import COLOURS, DASHES, edges
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.problems.components import Components
from amsgrad_exp.problems.online import Online
from amsgrad_exp.trace import Trace


def trace(regret: np.ndarray, every: int = 10, x: np.ndarray | None = None) -> Trace:
    step = every * np.arange(1, len(regret) + 1) - 1
    return Trace(step, regret, np.linspace(0, -1, len(regret)) if x is None else x, regret)


def keep(figures: list[Figure], monkeypatch: pytest.MonkeyPatch, save: Callable[[Figure, Path], list[Path]]) -> None:
    def saved(figure: Figure, path: Path) -> list[Path]:
        figures.append(figure)
        return save(figure, path)

    for module in (curves, planes):
        monkeypatch.setattr(module, "save", saved)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    keep(figures, monkeypatch, style.save)
    return figures


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would have been saved, with everything in its place."""

    def lay_out(figure: Figure, path: Path) -> list[Path]:
        figure.draw_without_rendering()
        return []

    figures: list[Figure] = []
    keep(figures, monkeypatch, lay_out)
    return figures


def legend_of(place: Axes | Figure) -> Legend:
    legend = place.get_legend() if isinstance(place, Axes) else place.legends[0]
    assert legend is not None
    return legend


def names_in(legend: Legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def pixel(png: Path, axes: Axes, x: float, y: float) -> np.ndarray:
    """The colour of a PNG where a panel's coordinates are."""
    pixels = imread(png)
    across, up = axes.transData.transform((x, y)) * 200 / axes.figure.dpi
    colour: np.ndarray = pixels[pixels.shape[0] - 1 - round(up), round(across), :3]
    return colour


def colours_of(png: Path) -> set[str]:
    levels = (255 * imread(png)[:, :, :3]).round().astype(int)
    return {f"#{number:06X}" for number in np.unique(levels @ [1 << 16, 1 << 8, 1])}


@pytest.mark.parametrize(
    "regrets",
    [
        {"adam": np.full(5000, 0.5), "amsgrad": 10 / np.arange(1, 5001)},
        {"one": np.array([0.3])},
        {"negative": np.linspace(-3, 1, 100)},
        {str(number): np.full(10, float(number)) for number in range(9)},
    ],
    ids=["two", "a single point", "not positive", "more than there are colours"],
)
def test_a_figure_is_written_as_png_and_svg(regrets: dict[str, np.ndarray], tmp_path: Path) -> None:
    traces = {name: trace(regret) for name, regret in regrets.items()}
    png, svg = regret_and_iterate(tmp_path / "figure", traces, Online())
    assert imread(png).shape[:2] == (720, 1800)
    assert set(COLOURS[: len(traces)]) <= colours_of(png)
    ElementTree.parse(svg)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    traces = {"adam": trace(np.full(100, 0.5))}
    first = [path.read_bytes() for path in regret_and_iterate(tmp_path / "first", traces, Online())]
    second = [path.read_bytes() for path in regret_and_iterate(tmp_path / "second", traces, Online())]
    assert first == second


def test_lines_are_told_apart_without_colour() -> None:
    assert len(set(map(str, DASHES))) == len(DASHES) == len(COLOURS)


@pytest.mark.parametrize("rest", ["", ", α = 0.01, β1 = 0.9, β2 = 0.99"], ids=["short", "long"])
def test_the_legend_is_the_names_as_they_are(rest: str, laid_out: list[Figure], tmp_path: Path) -> None:
    names = [f"{name}{rest}" for name in ("adam, β2 = 0.99", "_hidden", r"$\no$")]
    regret_and_iterate(tmp_path / "figure", {name: trace(np.full(100, 0.5)) for name in names}, Online())
    legend = legend_of(laid_out[0] if rest else laid_out[0].axes[0])
    assert names_in(legend) == names
    frame = legend.get_window_extent()
    assert 0 <= frame.x0 < frame.x1 <= laid_out[0].bbox.width
    assert laid_out[0].axes[0].bbox.height > 100


@pytest.mark.parametrize(("problem", "low", "high"), [(Components(), -3000, 40), (Online(), -1, 1)], ids=str)
def test_an_unbounded_iterate_is_shown_whole(
    problem: Problem, low: float, high: float, laid_out: list[Figure], tmp_path: Path
) -> None:
    far = trace(np.full(100, 0.5), x=np.linspace(40, -3000, 100))
    regret_and_iterate(tmp_path / "figure", {"adam": far}, problem)
    iterate = laid_out[0].axes[1]
    bottom, top = iterate.get_ylim()
    margin = 0.2 * (high - low)
    assert low - margin < bottom < low < high < top < high + margin
    assert [text.get_text() for text in iterate.texts] == [rf"$x^* = {problem.optimum:g}$"]


@pytest.mark.parametrize(
    ("regret", "scale"),
    [(np.geomspace(1, 100, 50), "log"), (np.linspace(1, 2, 50), "linear"), (np.linspace(-1, 9, 50), "linear")],
)
def test_regrets_far_apart_are_on_a_logarithmic_axis(
    regret: np.ndarray, scale: str, laid_out: list[Figure], tmp_path: Path
) -> None:
    regret_and_iterate(tmp_path / "figure", {"adam": trace(regret)}, Online())
    axis = laid_out[0].axes[0]
    assert axis.get_yscale() == scale
    assert scale == "log" or axis.get_ylim()[0] <= 0


LOG1M = (1 - np.geomspace(0.5, 1e-4, 15)).tolist()


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("lr", np.geomspace(1e-4, 1, 15).tolist(), "log"),
        ("beta2", LOG1M, "function"),
        ("beta1", np.linspace(0, 0.9, 15).tolist(), "linear"),
    ],
)
def test_a_profile_is_two_panels_spaced_as_the_axis(
    name: str, values: list[float], scale: str, laid_out: list[Figure], tmp_path: Path
) -> None:
    """Both panels show just the axis: from its first value to its last, with a margin."""
    column = {"regret": np.geomspace(1e-3, 1, 15), "mean_x": np.linspace(-1, 1, 15)}
    profile(tmp_path / "profile", name, values, {"adam": column, "amsgrad": column})
    assert names_in(legend_of(laid_out[0].axes[0])) == ["adam", "amsgrad"]
    for axes, key in zip(laid_out[0].axes, ("regret", "mean_x"), strict=True):
        assert axes.get_xscale() == scale
        assert axes.get_xlabel() == style.SYMBOLS[name]
        line = axes.get_lines()[0]
        np.testing.assert_array_equal(line.get_ydata(), column[key])
        first, last = (axes.transData.transform((value, column[key][0]))[0] for value in (values[0], values[-1]))
        assert axes.bbox.x0 < first < axes.bbox.x0 + 0.1 * axes.bbox.width
        assert axes.bbox.x1 - 0.1 * axes.bbox.width < last < axes.bbox.x1


def test_a_profile_leaves_failed_cells_out_and_shows_what_stands_between_them(
    drawn: list[Figure], tmp_path: Path
) -> None:
    column = np.array([0.1, 0.2, np.nan, 0.4, np.nan, 0.6, 0.7])
    png, _ = profile(
        tmp_path / "profile", "beta1", np.linspace(0, 0.6, 7).tolist(), {"adam": {"regret": column, "mean_x": column}}
    )
    for axes in drawn[0].axes:
        assert np.allclose(pixel(png, axes, 0.3, 0.4), to_rgb(COLOURS[0]), atol=0.05)
        assert np.allclose(pixel(png, axes, 0.05, 0.15), to_rgb(COLOURS[0]), atol=0.3)
        assert np.allclose(pixel(png, axes, 0.25, 0.35), 1, atol=0.3)
    nothing = {"regret": column * np.nan, "mean_x": column * np.nan}
    profile(tmp_path / "nothing", "beta1", np.linspace(0, 0.6, 7).tolist(), {"adam": nothing})
    one = {"regret": np.array([0.3]), "mean_x": np.array([0.3])}
    png, _ = profile(tmp_path / "one", "lr", [0.1], {"adam": one})
    assert np.allclose(pixel(png, drawn[-1].axes[1], 0.1, 0.3), to_rgb(COLOURS[0]), atol=0.05)


def plane(shape: tuple[int, int] = (10, 15)) -> Panel:
    """Cells from one end of the interval to the other, an eighth of them failed, and a boundary at 0.5."""
    mean_x = np.add.outer(np.linspace(-1, 1, shape[0]), np.linspace(-0.3, 0.3, shape[1])).clip(-1, 1)
    iterate = np.select([mean_x < -0.9, mean_x > 0.9], ["optimum", "worst"], "between").astype(object)
    mean_x[-shape[0] // 4 :, : shape[1] // 2] = np.nan
    iterate[np.isnan(mean_x)] = None
    x, y = np.linspace(0, 0.9, 20), np.linspace(0.5, 0.9999, 20)
    return Panel("adam", mean_x, iterate, (x, y, np.broadcast_to(x - 0.5, (20, 20))))


def test_a_phase_diagram_has_each_cells_colour_in_its_place(drawn: list[Figure], tmp_path: Path) -> None:
    xs, ys = np.linspace(0, 0.9, 10).tolist(), LOG1M
    panel = plane()
    swapped = Panel("$a_1", -panel.mean_x, panel.iterate, None)
    png, svg = phase_diagram(tmp_path / "phase", {"beta1": xs, "beta2": ys}, [panel, swapped], -1, 1)
    ElementTree.parse(svg)
    colours = matplotlib.colormaps["PuOr_r"]
    for axes, shown in zip(drawn[0].axes[:2], (panel, swapped), strict=True):
        for i, j in ((0, 1), (2, 13), (4, 4), (6, 12), (8, 9), (9, 13)):
            assert np.allclose(pixel(png, axes, xs[i], ys[j]), colours((shown.mean_x[i, j] + 1) / 2)[:3], atol=0.02)
        assert np.allclose(pixel(png, axes, xs[9], ys[2]), to_rgb(planes.FAILED), atol=0.02)
        assert axes.get_yscale() == "function"


def test_a_phase_diagram_names_areas_panels_and_the_boundary(laid_out: list[Figure], tmp_path: Path) -> None:
    panel = plane()
    panels = [panel, Panel("$a_1", panel.mean_x, panel.iterate, None)]
    phase_diagram(tmp_path / "phase", {"beta1": np.linspace(0, 0.9, 10).tolist(), "beta2": LOG1M}, panels, -1, 1)
    first, second, _ = laid_out[0].axes
    assert [axes.get_title() for axes in (first, second)] == ["adam", "$a_1"]
    for axes in (first, second):
        assert sorted(text.get_text() for text in axes.texts) == ["between", "failed", "optimum", "worst point"]
        for text in axes.texts:
            at = tuple(float(part) for part in text.get_position())
            i, j = np.argmin(np.abs(np.linspace(0, 0.9, 10) - at[0])), np.argmin(np.abs(np.array(LOG1M) - at[1]))
            expected = {"worst point": "worst", "failed": None}.get(text.get_text(), text.get_text())
            assert panel.iterate[i, j] == expected
    assert names_in(legend_of(first)) == ["boundary by theory"]
    contour = first.collections[1].get_paths()[0].vertices
    assert np.allclose(np.asarray(contour)[:, 0], 0.5)
    assert second.get_legend() is None
    assert len(second.collections) == 1


def test_a_boundary_outside_of_the_plane_is_not_claimed(laid_out: list[Figure], tmp_path: Path) -> None:
    panel = plane()
    assert panel.boundary is not None
    outside = Panel("adam", panel.mean_x, panel.iterate, (*panel.boundary[:2], panel.boundary[2] + 3))
    phase_diagram(tmp_path / "phase", {"beta1": np.linspace(0, 0.9, 10).tolist(), "beta2": LOG1M}, [outside], -1, 1)
    assert laid_out[0].axes[0].get_legend() is None


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (-np.inf, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("failed", [False, True], ids=["", "all failed"])
def test_colours_range_over_the_interval_or_the_data(
    failed: bool, low: float, high: float, laid_out: list[Figure], tmp_path: Path
) -> None:
    panel = plane()
    mean_x = np.full(panel.mean_x.shape, np.nan) if failed else 30 * panel.mean_x
    axes = {"beta1": np.linspace(0, 0.9, 10).tolist(), "beta2": LOG1M}
    phase_diagram(tmp_path / "phase", axes, [Panel("adam", mean_x, panel.iterate, None)], low, high)
    bar = laid_out[0].axes[-1]
    if not failed:
        assert bar.get_ylim() == pytest.approx((max(low, -30.0), min(high, 30.0)))
    assert bar.get_ylabel() == "mean iterate over the last tenth"


@pytest.mark.parametrize("shape", [(1, 15), (10, 1), (1, 1), (2, 2)])
def test_a_plane_of_one_value_is_not_empty(shape: tuple[int, int], drawn: list[Figure], tmp_path: Path) -> None:
    axes = {"beta1": np.linspace(0, 0.9, 10)[: shape[0]].tolist(), "beta2": LOG1M[: shape[1]]}
    panel = Panel("adam", np.full(shape, -1.0), np.full(shape, "between", object), None)
    png, _ = phase_diagram(tmp_path / "phase", axes, [panel], -1, 1)
    inside = drawn[0].axes[0]
    for x, y in ((0.03, 0.03), (0.97, 0.03), (0.03, 0.97), (0.97, 0.97)):
        at = inside.transData.inverted().transform(inside.transAxes.transform((x, y)))
        assert np.allclose(pixel(png, inside, *at), matplotlib.colormaps["PuOr_r"](0)[:3], atol=0.02)


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
def test_cells_meet_in_the_middle_of_their_spacing(values: list[float], expected: np.ndarray) -> None:
    np.testing.assert_allclose(edges(values), expected)


def test_spreading_keeps_the_ends_and_covers_every_decade() -> None:
    whole = trace(np.arange(10_000, dtype=float), every=1000)
    shown = whole.spread(1000)
    assert len(shown) <= 1000
    assert (shown.step[0], shown.step[-1]) == (whole.step[0], whole.step[-1])
    assert np.all(np.diff(shown.step) > 0)
    assert set(np.floor(np.log10(shown.step + 1))) == {3.0, 4.0, 5.0, 6.0, 7.0}
