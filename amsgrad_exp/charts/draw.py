"""Writes charts as PNG and SVG files."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from amsgrad_exp.charts.panels import SEEN, Line, Plot, Specification
from amsgrad_exp.charts.style import INK, OF_FILES
from amsgrad_exp.records.files import write_atomically

PANEL = 450  # the width of a panel with its vertical axis, in pixels
LONE, LONE_HEIGHT = 600, 400  # the size of a single panel
BESIDE = 76  # the width of the vertical axis
SCALE = 2  # pixels of the PNG for each pixel of the SVG
LEGEND_ROW, SAMPLE = 24, 36  # the height of a row of the legend, and the width of a sample of a line
CHARACTER = 8.6  # the average width of a character
RAISED, LOWERED = (str.maketrans(marks, "0123456789−"[: len(marks)]) for marks in ("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "₀₁₂₃₄₅₆₇₈₉"))


def draw(path: Path, plot: Plot, tables: Mapping[str, str]) -> list[Path]:
    """Write a chart as PNG and SVG, always with the same bytes, and return the files; ``tables`` has its data."""
    return write(path, static(plot, tables))


def write(path: Path, specification: Specification) -> list[Path]:
    """Write Vega-Lite that contains all of its data as PNG and SVG, as `draw` does."""
    import vl_convert  # imported only when something is drawn

    svg = _renumbered(_digits_shifted(vl_convert.vegalite_to_svg(specification)))
    files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
    for file, content in zip(files, (_compressed(vl_convert.svg_to_png(svg, scale=SCALE)), svg.encode()), strict=True):
        write_atomically(file, content)
    return files


def static(plot: Plot, tables: Mapping[str, str]) -> Specification:
    """Make a chart that needs no page: it contains its data, has its legend above the panels, and is black on white."""
    panel, height = (LONE, LONE_HEIGHT) if plot.columns == 1 else (PANEL, None)
    specification = json.loads(json.dumps(plot.specification).replace(INK, "#000000"))
    panels = specification.pop("concat")
    for each in panels:
        each["width"], each["height"] = panel - BESIDE, height or each["height"]
        for layer in each["layer"]:
            layer["encoding"].pop("tooltip", None)
            if layer.get("name", "").startswith(SEEN):
                layer["transform"].append({"filter": "datum.alone"})
                del layer["encoding"]["opacity"]
                layer["mark"]["opacity"] = 1
    shown = {"concat": panels, "columns": specification.pop("columns", len(panels)), "spacing": 24}
    key = [(words, {"color": "#555555", **mark}) for words, mark in plot.key]
    settings = [
        {name: value for name, value in each.items() if name != "bind"}
        for each in specification.pop("params", [])
        if "select" not in each
    ]
    return {
        **specification,
        "params": settings,
        "config": OF_FILES,
        "datasets": dict(tables),
        "vconcat": [*legend([*plot.legend, *key], panel * len(panels) - BESIDE), shown],
        "spacing": 12,
    }


def legend(entries: Sequence[Line], width: float, *, character: float = CHARACTER) -> list[Specification]:
    """Make a view with a sample of each mark and its meaning, in rows of at most this width; none without entries."""
    layers: list[Specification] = []
    left, row = 0.0, 0
    for words, mark in entries:
        wide = SAMPLE + 8 + character * len(words) + 24
        if left and left + wide > width:
            left, row = 0.0, row + 1
        y = {"value": (row + 0.5) * LEGEND_ROW}
        text = {"type": "text", "align": "left", "baseline": "middle", "text": words}
        layers += [
            {
                "mark": {"type": "rule", "strokeWidth": 2, **mark},
                "encoding": {"x": {"value": left}, "x2": {"value": left + SAMPLE}, "y": y},
            },
            {"mark": text, "encoding": {"x": {"value": left + SAMPLE + 8}, "y": y}},
        ]
        left += wide
    view = {"data": {"values": [{}]}, "width": width, "height": (row + 1) * LEGEND_ROW, "layer": layers}
    return [view] if layers else []


def _digits_shifted(svg: str) -> str:
    """Replace superscript and subscript digits by small ordinary ones, which every font has."""

    def shifted(match: re.Match[str]) -> str:
        marks, up = match[0], match[0][0] in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
        digits = marks.translate(RAISED if up else LOWERED)
        by = -0.5 if up else 0.25
        return f'<tspan font-size="0.75em" dy="{by}em">{digits}</tspan><tspan dy="{-0.75 * by}em">\u200b</tspan>'

    return re.sub(">[^<]*</text>", lambda text: re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+|[₀-₉]+", shifted, text[0]), svg)


def _renumbered(svg: str) -> str:
    """Number ids from 0, since vl-convert continues its numbers from one chart of a process to the next."""
    numbers: dict[str, int] = {}
    ids = r"((?:id=\"|url\(#)(?:clip|gradient_))(\d+)"
    return re.sub(ids, lambda found: f"{found[1]}{numbers.setdefault(found[2], len(numbers))}", svg)


def _compressed(png: bytes) -> bytes:
    """Compress the same pixels into a third of the bytes, since vl-convert compresses for speed only."""
    header, pixels, at = b"", b"", 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, end = png[at + 4 : at + 8], at + 12 + length
        if kind == b"IDAT":
            pixels += png[at + 8 : end - 4]
        elif kind != b"IEND":
            header += png[at:end]
        at = end
    data = b"IDAT" + zlib.compress(zlib.decompress(pixels))
    written = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return png[:8] + header + written + png[-12:]
