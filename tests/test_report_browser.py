"""Tests of report pages in a real browser, opened from a file and without a network."""

import csv
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from amsgrad_exp.records.run import Run
from amsgrad_exp.report import attack_page, cell_pages, run_page
from amsgrad_exp.report.page import write
from amsgrad_exp.sweeps.sweeping import Swept
from tests.browser import launched
from tests.pages import a_gauntlet, an_attack, an_odd_gauntlet, recorded, records
from tests.sweeping import change, curves, rows, small, swept

__all__ = ["records"]

WIDTHS = (375, 1600)
every_width = pytest.mark.parametrize("width", WIDTHS)
Opened = Callable[..., Page]
Records = tuple[list[Run], Swept]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


@pytest.fixture(scope="module")
def gauntlet(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return a_gauntlet(tmp_path_factory.mktemp("gauntlet"))


@pytest.fixture(scope="module")
def files(records: Records, gauntlet: Swept, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    out = tmp_path_factory.mktemp("pages")
    profile = swept(small(grid=["lr=log:0.001:1:9"]), out)
    without = a_gauntlet(out / "without")
    change(without.directory, "DROP TABLE points")
    pages = {
        "runs": run_page.page(records[0]),
        "sweep": cell_pages.page(records[1].directory),
        "profile": cell_pages.page(profile.directory),
        "attack": attack_page.page(an_attack(out)),
        "gauntlet": cell_pages.page(gauntlet.directory),
        "odd": cell_pages.page(an_odd_gauntlet(out / "odd").directory),
        "without points": cell_pages.page(without.directory),
    }
    for name, page in pages.items():
        write(page, out / f"{name}.html")
    return {name: out / f"{name}.html" for name in pages}


@pytest.fixture
def opened(browser: Browser, files: dict[str, Path]) -> Iterator[Opened]:
    """Open a page offline and wait for its plots; at the end, nothing was fetched and the console is empty."""
    contexts, said, fetched = [], [], []

    def open_page(name: str, width: int = 1600, **context: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, offline=True, **context))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(files[name].as_uri())
        if page.locator(".plot").count():  # a gauntlet has plots only after a cell is unfolded
            page.locator(".plot svg").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition(":")[0] for url in fetched} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in fetched) == len(contexts)


def box_of(mark: Locator) -> Any:
    """Where an element is; it must be visible."""
    box = mark.bounding_box()
    assert box is not None
    return box


def scroll_width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def resize(page: Page) -> None:
    """Make the window 700 pixels wide, and wait until the plot is drawn again."""
    drawn = page.locator(".plot svg")
    before = drawn.get_attribute("width")
    page.set_viewport_size({"width": 700, "height": 900})
    expect(drawn).not_to_have_attribute("width", before or "")


def tooltip(page: Page, mark: Locator) -> dict[str, str]:
    """The names and values in the tooltip of a mark."""
    mark.scroll_into_view_if_needed()
    box = box_of(mark)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown = page.locator("#vg-tooltip-element.visible")
    keys, values = (shown.locator(f"td.{kind}").all_text_contents() for kind in ("key", "value"))
    return dict(zip([key.removesuffix(":") for key in keys], values, strict=True))


@pytest.mark.parametrize(
    ("name", "marks", "count"), [("runs", "line", 4), ("sweep", "rect", 60), ("profile", "line", 4)]
)
def test_every_plot_is_drawn_and_described_in_words(opened: Opened, name: str, marks: str, count: int) -> None:
    page = opened(name)
    drawn = page.locator(f"g.mark-{marks}.role-mark path")
    assert drawn.count() >= count
    assert box_of(drawn.first)["width"] > 1
    described = page.locator("figcaption").inner_text()
    assert len(described) > 80
    plot = page.locator(".plot")
    assert plot.get_attribute("role") == "graphics-document"
    assert (plot.get_attribute("aria-label") or "").split() == described.split()


def test_the_tooltip_of_a_point_has_its_numbers(opened: Opened, records: Records) -> None:
    page, trace, row = opened("runs"), records[0][0].trace, 23
    shown = tooltip(page, page.locator("g.mark-symbol path").nth(row))
    assert shown["line"] == "adam"
    numbers = [float(shown[name]) for name in ("step", "x", "R(t)/t")]
    assert numbers == [trace.step[row], trace.x[row], trace.regret[row]]


def test_the_tooltip_and_the_facts_of_a_cell_have_its_numbers(opened: Opened, records: Records) -> None:
    page = opened("sweep")
    number = 17
    kept = rows(records[1].directory)[number]
    cell = page.locator("g.mark-rect path").nth(number)
    said = tooltip(page, cell)
    assert {said["optimizer"], said["iterate"]} == {"adam", kept["iterate"]}
    for name, title in (("beta2", "beta2"), ("lr", "lr"), ("mean_x", "mean x"), ("regret", "regret")):
        assert float(said[title]) == kept[name]
    cell.click()
    fact = page.locator("#cell-facts")
    expect(fact.locator("[data-field=cell]")).to_have_text(str(number))
    assert float(fact.locator("[data-field=total_regret]").inner_text()) == kept["total_regret"]
    command = shlex.split(page.locator("#cell-command").inner_text())
    assert [f"--{name}={kept[name]}" for name in ("beta2", "lr")] == command[-2:]
    page.get_by_label("optimizer").focus()
    page.keyboard.press("ArrowDown")
    expect(fact.locator("[data-field=cell]")).to_have_text(str(number + 30))
    assert "--optimizer amsgrad" in page.locator("#cell-command").inner_text()


@pytest.mark.parametrize("name", ["runs", "profile"])
def test_the_legend_hides_and_shows_lines(opened: Opened, name: str) -> None:
    """All of them may be hidden; Vega would print to the console if a scale had no data."""
    page = opened(name)
    lines = page.locator("g.mark-line.role-mark path")
    expect(lines).to_have_count(4)
    box = page.get_by_label("adam", exact=True)
    page.locator(".legend .vega-bind-name", has_text=re.compile("^adam$")).click()
    expect(box).not_to_be_checked()
    expect(lines).to_have_count(2)
    box.focus()
    page.keyboard.press("Space")
    expect(lines).to_have_count(4)
    for each in page.locator(".legend input").all():
        each.uncheck()
    expect(lines).to_have_count(0)


def sliders(page: Page) -> list[float]:
    return [float(slider.input_value()) for slider in page.locator(".zoom input").all()]


@pytest.mark.parametrize("panel", [0.25, 0.75])
def test_a_wheel_and_a_drag_zoom_both_panels_and_move_the_sliders(opened: Opened, panel: float) -> None:
    page = opened("runs")
    low, high = sliders(page)
    page.locator(".zoom").scroll_into_view_if_needed()
    box = box_of(page.locator(".plot svg"))
    x, y = box["x"] + panel * box["width"], box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, 100)
    assert sliders(page) == [low, high]
    page.locator(".zoom").scroll_into_view_if_needed()
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    expect(page.get_by_label("step t from")).not_to_have_value(str(low))
    near, far = sliders(page)
    assert low < near < far < high
    page.mouse.down()
    page.mouse.move(x - 60, y, steps=4)
    page.mouse.up()
    page.wait_for_function("before => document.querySelector('.zoom input').value > before", arg=near)
    moved = sliders(page)
    assert moved[1] - moved[0] == pytest.approx(far - near, abs=0.05)
    expect(page.locator("g.role-axis-label text", has_text=re.compile("^100$"))).to_have_count(0)


def test_the_keyboard_zooms_both_panels_and_resizing_keeps_the_zoom_and_hidden_lines(opened: Opened) -> None:
    page = opened("runs")
    axes = page.locator("g.role-axis-label").filter(has=page.locator("text", has_text="10⁴"))
    assert axes.count() == 2
    page.get_by_label("log₁₀ step t from").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("g.role-axis-label text", has_text="10⁴")).to_have_count(0)
    page.get_by_label("adam", exact=True).uncheck()
    page.get_by_label("step t from").fill("4")
    resize(page)
    expect(page.get_by_label("adam", exact=True)).not_to_be_checked()
    assert sliders(page)[0] == pytest.approx(4, abs=0.02)


def test_the_axis_stays_readable_if_the_sliders_cross(opened: Opened) -> None:
    page = opened("runs")
    page.get_by_label("step t to").fill("2.5")
    page.get_by_label("step t from").fill("4")
    places = page.evaluate(
        "[...document.querySelectorAll('.plot g.role-axis-label text')].map(label => [label.textContent, "
        "label.getBoundingClientRect().x, label.getBoundingClientRect().y]).filter(([text]) => text)"
    )
    assert len(places) == len({tuple(place[1:]) for place in places})


def test_runs_are_sorted_and_filtered(opened: Opened) -> None:
    page = opened("runs")
    names = page.locator("#runs tbody tr:not([hidden]) th")
    head = page.locator("#runs thead th", has_text="mean x")
    head.get_by_role("button").click()
    assert (names.all_inner_texts(), head.get_attribute("aria-sort")) == (["amsgrad", "adam"], "ascending")
    head.get_by_role("button").press("Enter")
    assert (names.all_inner_texts(), head.get_attribute("aria-sort")) == (["adam", "amsgrad"], "descending")
    page.get_by_label("Filter").fill("AMS")
    assert names.all_inner_texts() == ["amsgrad"]
    expect(page.locator("[data-count=runs]")).to_have_text("1 of 2")


def test_a_cell_of_a_gauntlet_unfolds_and_rows_are_sorted_and_filtered(opened: Opened) -> None:
    page = opened("gauntlet")
    matrix = page.locator("#stated-constant")
    names = matrix.locator("tbody tr:not([hidden]) > th")
    adam = matrix.get_by_role("button", name=re.compile("^online: .*worst point")).first
    adam.press("Enter")
    expect(adam).to_have_attribute("aria-expanded", "true")
    unfolded = matrix.locator("tr.unfolded")
    expect(unfolded.locator("[data-field=iterate]")).to_have_text("worst")
    assert "--problem online" in unfolded.locator("pre").inner_text()
    head = matrix.get_by_role("button", name="online", exact=True)
    head.click()
    expect(unfolded).to_have_count(0)
    assert names.all_inner_texts() == ["sgd", "adam"]
    head.click()
    assert names.all_inner_texts() == ["adam", "sgd"]
    page.locator("[data-filter=stated-constant]").fill("sg")
    assert names.all_inner_texts() == ["sgd"]


def test_an_unfolded_cell_shows_the_exact_points_of_its_curve(opened: Opened, gauntlet: Swept) -> None:
    page = opened("gauntlet")
    kept, points = rows(gauntlet.directory), curves(gauntlet.directory)
    for cell in (0, 7):
        page.locator(f"[data-cell='{cell}']").press("Enter")
        unfolded = page.locator("tr.unfolded")
        dots = unfolded.locator("g.mark-symbol path")
        expect(dots).to_have_count(2 * len(points[cell]["step"]))
        assert float(unfolded.locator("[data-field=regret]").inner_text()) == kept[cell]["regret"]
        for dot in (20, len(points[cell]["step"]) - 1):
            said = tooltip(page, dots.nth(dot))
            wanted = {"step": "step", "x": "x", "R(t)/t": "regret"}
            assert {name: float(said[name]) for name in wanted} == {
                name: points[cell][column][dot] for name, column in wanted.items()
            }
        described = unfolded.locator("figcaption").inner_text()
        assert f"R(t)/t = {kept[cell]['regret']:.4g}" in described
        assert (unfolded.locator(".plot").get_attribute("aria-label") or "").split() == described.split()
        unfolded.locator("summary").press("Enter")
        last = unfolded.locator("tbody tr").last.locator("td").all_inner_texts()
        assert list(map(float, last)) == [200_000, points[cell]["x"][-1], kept[cell]["regret"]]
    expect(page.locator(".plot svg")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download points.csv").click()
    table = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    for column, values in points[7].items():
        assert [float(row[column]) for row in table] == values


def test_an_unfolded_cell_omits_numbers_that_are_not_finite_and_curves_that_do_not_exist(opened: Opened) -> None:
    page = opened("odd")
    unfolded = page.locator("tr.unfolded")
    page.locator("[data-cell='1']").click()
    expect(unfolded.locator("figcaption")).to_contain_text("x = no finite number at t = 10 to")
    expect(unfolded.locator("g.mark-symbol path")).to_have_count(4)
    page.locator("[data-cell='0']").click()
    expect(unfolded.locator("g.mark-symbol path")).to_have_count(82)
    page.locator("[data-cell='3']").click()
    expect(unfolded.locator("[data-field=failure]")).to_contain_text("x became")
    expect(unfolded.locator("figure")).to_have_count(0)
    page = opened("without points")
    page.locator("[data-cell='0']").click()
    expect(page.locator("tr.unfolded [data-field=iterate]")).to_have_text("worst")
    expect(page.locator("figure")).to_have_count(0)


@every_width
def test_an_unfolded_cell_does_not_widen_the_page_or_the_matrix(opened: Opened, width: int) -> None:
    page = opened("gauntlet", width)
    matrix = page.locator("#stated-constant")
    before = box_of(matrix)["width"]
    page.locator("[data-cell]").first.click()
    page.locator(".plot svg").wait_for()
    assert (box_of(matrix)["width"], scroll_width(page)) == (before, width)
    page.set_viewport_size({"width": 700, "height": 900})
    expect(page.locator(".plot svg")).to_be_visible()
    assert scroll_width(page) == 700


def labels(axis: Locator) -> list[tuple[str, Any]]:
    """The visible labels of an axis, and where they are."""
    shown = [text for text in axis.locator("text").all() if text.get_attribute("opacity") != "0"]
    boxes = [(text.text_content() or "", text.bounding_box()) for text in shown]
    return [(text, box) for text, box in boxes if box]


@every_width
def test_the_page_of_an_attack_shows_its_slopes_curves_and_shrinking(opened: Opened, width: int) -> None:
    page = opened("attack", width)
    page.locator("#points .plot svg").wait_for()
    bars = page.locator("#slopes g.mark-rect path")
    expect(bars).to_have_count(96)
    steep, shallow = (box_of(bars.nth(number)) for number in (0, 1))
    assert steep["height"] > 2 * shallow["height"] > 2
    assert tooltip(page, bars.first) == {"t": "0", "slope": "96"}
    expect(page.locator("#points g.mark-line.role-mark path")).to_have_count(4)
    across, up = (labels(page.locator("#slopes g.role-axis-label").nth(number)) for number in (0, 1))
    assert [float(text.replace(",", "")) for text, _ in across] == list(range(0, 96 + 1, int(across[1][0])))
    assert all(box["x"] + box["width"] + 3 < other["x"] for (_, box), (_, other) in itertools.pairwise(across))
    assert {text for text, _ in up} == {"96", "0", "−1"}
    assert steep["y"] > box_of(page.locator("#slopes g.concat_0_group path.background").first)["y"] + 1
    steps = [row.locator("td").all_inner_texts() for row in page.locator("#shrinking tbody tr").all()]
    assert steps == [
        ["0", "201", "0.1250", "−250 once, 1 for 200 steps, x* = 1"],
        ["1", "96", "0.0625", "96 once, −1 ninety-five times, x* = −1"],
    ]
    assert scroll_width(page) == width


@pytest.mark.parametrize("name", ["runs", "sweep", "profile"])
@every_width
def test_no_page_is_wider_than_the_window(opened: Opened, name: str, width: int) -> None:
    page = opened(name, width)
    assert scroll_width(page) == width
    panels = [box_of(page.locator(f"g.concat_{number}_group path.background").first) for number in (0, 1)]
    assert len({round(panel["y"]) for panel in panels}) == (1 if width == 1600 else 2)
    resize(page)
    assert scroll_width(page) == 700


def test_a_page_is_dark_or_light_as_the_system_is(opened: Opened) -> None:
    page = opened("runs")
    look = "([element, property]) => getComputedStyle(document.querySelector(element))[property].match(/\\d+/g)"
    elements = [["body", "backgroundColor"], ["body", "color"], ["g.role-axis-label text", "fill"]]
    for scheme, lightness in (("dark", range(64)), ("light", range(192, 256))):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        paper, ink, label = ([int(part) for part in page.evaluate(look, element)[:3]] for element in elements)
        assert label == ink != paper
        assert sum(paper) // 3 in lightness


@pytest.mark.parametrize(("name", "table"), [("runs", "points"), ("sweep", "cells")])
def test_the_data_can_be_downloaded_as_csv(opened: Opened, records: Records, name: str, table: str) -> None:
    page = opened(name)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{table}.csv"
    content = Path(download.value.path()).read_text()
    shown = run_page.page(records[0]) if name == "runs" else cell_pages.page(records[1].directory)
    assert content == shown.tables[table]


def test_a_page_prints_unfolded_and_on_white(opened: Opened) -> None:
    page = opened("runs", color_scheme="dark")
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.emulate_media(media="print")
    expect(page.locator("dd[data-field=total_regret]").first).to_be_visible()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_markup_in_a_name_is_not_executed(browser: Browser, records: Records, tmp_path: Path) -> None:
    name = "</script><script>window.hit = 1</script>\"'<img src=x onerror='window.hit = 1'>"
    (run,) = recorded(tmp_path, "adam", steps=1000, log_every=100)
    hostile = run.trial.optimizer.model_copy(update={"label": name})
    changed = Run(run.directory, run.trial.model_copy(update={"optimizer": hostile}), run.summary)
    write(run_page.page([changed, records[0][1]]), tmp_path / "hostile.html")
    page = browser.new_page()
    page.goto((tmp_path / "hostile.html").as_uri())
    page.locator(".plot svg").wait_for()
    assert page.evaluate("window.hit") is None
    assert name in page.locator("#run-1").inner_text()
    tooltip(page, page.locator("g.mark-symbol path").first)
    assert page.evaluate("window.hit") is None
    page.close()
