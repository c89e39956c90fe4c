from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from amsgrad_exp.output.figures import COLOURS, DASHES, regret_and_iterate
from amsgrad_exp.problems.online import Online
from amsgrad_exp.trace import Trace


def trace(regret: np.ndarray, every: int = 10) -> Trace:
    step = every * np.arange(1, len(regret) + 1) - 1
    return Trace(step, regret, np.linspace(0, -1, len(regret)), regret)


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
    pixels = imread(png)
    assert pixels.shape[:2] == (720, 1800)
    drawn = {tuple(np.round(255 * colour).astype(int)) for colour in pixels[::2, ::2, :3].reshape(-1, 3)}
    for colour in COLOURS[: len(traces)] if len(traces) == 2 else ():
        assert tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) in drawn
    ElementTree.parse(svg)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    traces = {"adam": trace(np.full(100, 0.5))}
    first = [path.read_bytes() for path in regret_and_iterate(tmp_path / "first", traces, Online())]
    second = [path.read_bytes() for path in regret_and_iterate(tmp_path / "second", traces, Online())]
    assert first == second


def test_lines_are_told_apart_without_colour() -> None:
    assert len(set(map(str, DASHES))) == len(DASHES) == len(COLOURS)


def test_spreading_keeps_the_ends_and_covers_every_decade() -> None:
    whole = trace(np.arange(10_000, dtype=float), every=1000)
    shown = whole.spread(1000)
    assert len(shown) <= 1000
    assert (shown.step[0], shown.step[-1]) == (whole.step[0], whole.step[-1])
    assert np.all(np.diff(shown.step) > 0)
    assert set(np.floor(np.log10(shown.step + 1))) == {3.0, 4.0, 5.0, 6.0, 7.0}
