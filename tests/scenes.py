"""Where Vega puts the items of a chart, which no code of the package computes, and the pixels of a PNG."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vl_convert

from amsgrad_exp.charts import draw, letters
from amsgrad_exp.charts.draw import SCALE
from amsgrad_exp.trace import Trace

Item = Mapping[str, Any]


@dataclass(frozen=True)
class Placed:
    """An item of the scene, and the place of its group."""

    kind: str
    role: str
    name: str
    item: Item
    left: float
    top: float

    @property
    def at(self) -> tuple[float, float]:
        return self.left + self.item.get("x", 0.0), self.top + self.item.get("y", 0.0)

    @property
    def text(self) -> str:
        return str(self.item.get("text", ""))


@dataclass(frozen=True)
class View:
    """A panel of a chart: its place, its size and its items."""

    left: float
    top: float
    width: float
    height: float
    items: tuple[Placed, ...]

    def marks(self, kind: str) -> list[Placed]:
        """The marks of data of one kind: line, symbol, rect, rule, text, area."""
        return [placed for placed in self.items if placed.kind == kind and placed.role == "mark"]

    def texts(self, role: str = "mark") -> list[str]:
        return [placed.text for placed in self.items if placed.role == role and placed.kind == "text" and placed.text]

    def lines(self) -> dict[tuple[str, tuple[float, ...]], list[Placed]]:
        """The defined points of each line, by its colour and dashes."""
        lines: dict[tuple[str, tuple[float, ...]], list[Placed]] = {}
        for placed in self.marks("line"):
            if placed.item.get("defined", True):
                key = placed.item["stroke"], tuple(placed.item.get("strokeDash") or ())
                lines.setdefault(key, []).append(placed)
        return lines

    def on(self, across: float, up: float) -> tuple[float, float]:
        """The place at these fractions of the panel."""
        return self.left + across * self.width, self.top + (1 - up) * self.height


@dataclass(frozen=True)
class Scene:
    """The scene of a whole file."""

    width: float
    height: float
    views: tuple[View, ...]
    items: tuple[Placed, ...]
    origin: tuple[float, float]

    @property
    def panels(self) -> list[View]:
        return [view for view in self.views if any(placed.role == "axis-label" for placed in view.items)]

    @property
    def legend(self) -> list[str]:
        return [text for view in self.views if view not in self.panels for text in view.texts()]


def trace(regret: np.ndarray, x: np.ndarray | None = None) -> Trace:
    """A trace that is logged every ten steps."""
    step = 10 * np.arange(1, len(regret) + 1) - 1
    return Trace(step, regret, np.linspace(0, -1, len(regret)) if x is None else x, regret)


def scene_of(specification: Mapping[str, Any]) -> Scene:
    laid_out = vl_convert.vegalite_to_scenegraph(dict(specification))
    left, top = laid_out["origin"]
    views: list[View] = []

    def walk(node: Item, left: float, top: float) -> Iterator[Placed]:
        for item in node.get("items", []):
            if node.get("marktype") != "group":
                yield Placed(node["marktype"], node.get("role", ""), node.get("name", ""), item, left, top)
                continue
            x, y = left + item.get("x", 0.0), top + item.get("y", 0.0)
            inside = tuple(placed for each in item.get("items", []) for placed in walk(each, x, y))
            if node.get("role") == "scope" and node.get("name", "").endswith("_group") and "width" in item:
                views.append(View(x, y, item["width"], item["height"], inside))
            yield from inside

    items = tuple(walk(laid_out["scenegraph"], left, top))
    return Scene(laid_out["width"], laid_out["height"], tuple(views), items, (left, top))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """The scenes of the files that the test writes."""
    scenes: list[Scene] = []
    original = draw.write

    def write(path: Path, specification: dict[str, Any]) -> list[Path]:
        scenes.append(scene_of(specification))
        return original(path, specification)

    for module in (draw, letters):
        monkeypatch.setattr(module, "write", write)
    return scenes


def pixels(png: Path | bytes) -> np.ndarray:
    """The colours of a PNG, whose alpha channel is ignored: float64 of shape (height, width, 3) in [0, 1]."""
    content = png if isinstance(png, bytes) else png.read_bytes()
    at, compressed = 8, b""
    width, height = struct.unpack_from(">II", content, 16)
    assert content[24:29] == bytes([8, 6, 0, 0, 0]), "8 bits a channel, with alpha, not interlaced"
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack_from(">I", content, at + 8 + length)[0]
        compressed += data if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(height, 1 + 4 * width)
    assert set(rows[:, 0].tolist()) <= {0, 1}
    across = rows[:, 1:].reshape(height, width, 4)
    subtracted = np.cumsum(across, axis=1, dtype=np.uint8)
    return np.where(rows[:, :1, None] == 1, subtracted, across)[:, :, :3] / 255


def pixel(png: Path, place: tuple[float, float]) -> np.ndarray:
    """The colour of a PNG at a place of its scene."""
    x, y = (round(SCALE * part) for part in place)
    colour: np.ndarray = pixels(png)[y, x]
    return colour


def rgb(colour: str) -> np.ndarray:
    """#rrggbb or rgb(r, g, b) as numbers in [0, 1]."""
    if colour.startswith("#"):
        return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.array([int(part) for part in colour[4:-1].split(",")]) / 255


def colours_of(png: Path) -> set[str]:
    levels = (255 * pixels(png)).round().astype(int)
    return {f"#{number:06X}" for number in np.unique(levels @ [1 << 16, 1 << 8, 1])}
