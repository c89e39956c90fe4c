"""What all figures share: colours, the spacing of an axis, and the files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from numpy.typing import NDArray

from amsgrad_exp.records.files import write_atomically

# Okabe and Ito's colours, told apart by colour-blind readers, each with its own dashes for print.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 1)), (0, (8, 3)))
SYMBOLS = {"lr": r"step size $\alpha$", "beta1": r"$\beta_1$", "beta2": r"$\beta_2$", "eps": r"$\epsilon$", "C": "$C$"}

STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "mathtext.fontset": "cm",
    "svg.fonttype": "path",
    "svg.hashsalt": "amsgrad-exp",
}

Floats = NDArray[np.float64]

# How the values of an axis may be spaced evenly: as they are, in the logarithm, in the logarithm of 1 − value.
SPACINGS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "linear": (np.positive, np.positive),
    "log": (np.log10, lambda height: 10.0**height),
    "log1m": (lambda value: -np.log10(np.maximum(1 - value, 1e-300)), lambda height: 1 - 10.0**-height),
}


def set_axis(axis: Axis, set_scale: Callable[..., None], name: str, values: Sequence[float]) -> None:
    """Label an axis and space it as its values are.

    Args:
        axis: of a panel in which nothing is drawn yet, or else its limits would be those of another spacing.
        set_scale: the panel's method that sets this axis's scale.
        name: a setting or a constant.
        values: ascending.
    """
    axis.set_label_text(SYMBOLS.get(name, name))
    spaced = spacing(values)
    if spaced == "log":
        set_scale("log")
    elif spaced == "log1m":
        set_scale("function", functions=SPACINGS[spaced])
        axis.set_ticks([tick for tick in (0.5, *(1 - 10.0 ** -np.arange(20))) if values[0] <= tick <= values[-1]])
        axis.set_major_formatter("{x:.12g}")


def edges(values: Sequence[float]) -> Floats:
    """Where the cells about n ascending values begin and end, in the middle of their spacing; float64 (n + 1,)."""
    forward, inverse = SPACINGS[spacing(values)]
    at = forward(np.asarray(values, float))
    gaps = np.diff(at) if len(at) > 1 else np.array([0.1 * abs(at[0]) or 0.1])
    return inverse(np.concatenate([at[:1] - gaps[0] / 2, (at[1:] + at[:-1]) / 2, at[-1:] + gaps[-1] / 2]))


def spacing(values: Sequence[float]) -> str:
    """How ascending values are spaced evenly: a key of `SPACINGS`; "linear" where in none of its ways."""
    numbers = np.asarray(values, float)
    if len(numbers) <= 2:
        return "linear"
    if np.all(numbers > 0) and _even(np.log(numbers)):
        return "log"
    if np.all(numbers < 1) and not _even(numbers) and _even(np.log(1 - numbers)):
        return "log1m"
    return "linear"


def _even(numbers: Floats) -> bool:
    gaps = np.diff(numbers)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=0))


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG, the same bytes each time; ``path`` has no suffix."""
    files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
    for file, options in zip(files, ({"dpi": 200}, {"metadata": {"Date": None}}), strict=True):
        content = io.BytesIO()
        figure.savefig(content, format=file.suffix[1:], **options)  # type: ignore[arg-type]
        write_atomically(file, content.getvalue())
    return files
