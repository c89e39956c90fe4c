"""Defines the probes (short gradient sequences that distinguish rules), and writes and reads them as CSV.

Gradients and decay rates are short binary fractions, so that float32 represents them exactly. Everything is float64.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification.known_forms import OF_THE_WHOLE

Floats = NDArray[np.float64]

SETTINGS = {"lr": 2.0**-4, "beta1": 1 - 2.0**-3, "beta2": 1 - 2.0**-5, "eps": 1e-6, "weight_decay": 0.0}
"""The settings of a probe that are not set otherwise."""

RANGES = {"lr": "above 0", "beta1": "in [0, 1)", "beta2": "in [0, 1)"}

LONG_MEMORY = 1 - 2.0**-13
"""β2 of the long probe; with it, bias correction still changes after tens of thousands of steps."""

STEPS = 20
NOISE = np.array([15, -5, 26, -19, 7, 1, -34, 12, 21, -9, -13, 4, 38, -23, 11, -3, 17, -6, -28, 8]) / 16
OTHER = np.array([-20, 9, 5, 33, -11, 23, -2, -31, 13, 7, -4, 18, -15, 3, 28, -24, 10, -7, 36, -12]) / 16
FACTORS = np.array([1, 1, 0.5, 2, 0.25, 1, 4, 0.125, 1, 0.5, 2, 2, 0.25, 1, 0.5, 4, 1, 0.125, 2, 1])
CYCLE, LONG, EVERY = np.array([1.0, -2.5, 0.5, 0.75]), 100_000, 10_000

COLUMNS = (
    *("probe", "step", "repeat", "lr", "beta1", "beta2", "eps", "weight_decay"),
    *("gradient", "gradient_2", "x", "x_2"),
)
"""A row has these settings, the gradients of consecutive steps, and how many times (``repeat``) to take these steps;
``step`` and x are the number of steps and the iterate after that. Row 0 of a probe is the start. Names that end in
``_2`` belong to the second element or the second parameter."""

FEWEST_DIGITS, FEWEST_PROBES = 6, 7


@dataclass(frozen=True)
class Probe:
    """A gradient sequence with the settings for running it."""

    name: str
    about: str  # what the probe distinguishes
    gradients: Floats  # (steps, elements)
    start: Floats  # x before the first step, (elements,)
    lr: Floats  # α_t, (steps,)
    beta1: Floats  # (steps,)
    beta2: float
    eps: float
    weight_decay: float
    apart: bool = False  # each element is a separate parameter
    every: int = 1  # x is recorded after every ``every`` steps

    @property
    def steps(self) -> int:
        return len(self.gradients)

    @property
    def elements(self) -> int:
        """The number of optimized values."""
        return int(self.gradients.shape[1])

    @property
    def changes_beta1(self) -> bool:
        return bool(np.any(self.beta1 != self.beta1[0]))


Observed = Mapping[str, Floats | None]
"""For each probe, x after every `Probe.every` steps, of shape (rows, elements); None if the probe was not run."""


@dataclass(frozen=True)
class Precision:
    """How far iterates of the same rule may differ."""

    of_path: float  # by rounding in the update, relative to the length of x's path
    of_x: float  # by rounding of x itself, per step, relative to x
    absolute: float = 0.0  # by rounding when x was written down
    written: float = 0.0  # the same, relative to x

    def allowed(self, probe: Probe, xs: Floats) -> Floats:
        """Return how far x of the same rule may be from these iterates, of shape (rows, elements)."""
        all_x = np.nan_to_num(np.vstack([probe.start, xs]), posinf=0.0, neginf=0.0)
        path = np.cumsum(np.abs(np.diff(all_x, axis=0)), axis=0)
        largest = np.maximum.accumulate(np.abs(all_x), axis=0)[1:]
        steps = probe.every * np.arange(1, len(xs) + 1)[:, None]
        apart: Floats = self.of_path * path + (self.of_x * steps + self.written) * largest + self.absolute
        return apart


DOUBLE = Precision(1e-10, 2.0**-52)
SINGLE = Precision(1e-5, 2.0**-24)
RELATIVE = Precision(1.0, 0.0, written=1.0)
"""The scale of relative differences of x: the length of x's path plus the largest |x| so far."""


def probes(settings: Mapping[str, float] | None = None) -> tuple[Probe, ...]:
    """Return all probes; ``settings`` replace their values of lr, beta1, beta2, eps and weight_decay."""
    given = dict(settings or {})
    for name, value in given.items():
        high = 1.0 if name in ("beta1", "beta2") else math.inf
        if not 0 <= value < high or (name == "lr" and value == 0):
            raise ConfigError(f"{name} must be a finite number {RANGES.get(name, 'of at least 0')}, not {value:g}")
    own = {**SETTINGS, **given}
    beta1 = own["beta1"]
    small = own["eps"] or SETTINGS["eps"]
    first, spikes, zeros = NOISE / 4, NOISE / 16, NOISE.copy()
    first[0] = 64.0
    spikes[[4, 11, 16]] = 16, -24, 12
    zeros[[0, 1, 6, 7, 8, 13]] = 0
    several = np.stack([NOISE, 16 * OTHER], axis=1)
    rates = np.repeat([beta1, beta1 / 2, (1 + beta1) / 2, beta1], STEPS // 4)
    long, beta2 = np.tile(CYCLE, LONG // len(CYCLE)), given.get("beta2", LONG_MEMORY)

    def probe(
        name: str, about: str, gradients: Floats, lr: Any = 1.0, beta1: Any = beta1, start: float = 0.0, **others: Any
    ) -> Probe:
        gradients = gradients if gradients.ndim == 2 else gradients[:, None]
        steps, elements = gradients.shape
        lrs, beta1s = (np.broadcast_to(np.asarray(each), steps) for each in (own["lr"] * np.asarray(lr), beta1))
        rest = {key: own[key] for key in ("beta2", "eps", "weight_decay")} | others
        return Probe(name, about, gradients, np.full(elements, start), lrs, beta1s, **rest)

    return (
        probe("gaussian", "the moments, their bias corrections and the order of their updates", NOISE),
        probe("tiny gradients", "where ε stands: the gradients are of its size", small * NOISE),
        probe(
            "large first",
            "what a long memory keeps of one large gradient; whether a maximum is of the corrected v",
            first,
        ),
        probe("spikes", "maxima, clipping, and memory of rare large gradients", spikes),
        probe("zeros", "how gradients of 0, at first and later, affect counts and denominators", zeros),
        probe("constant", "bias corrections alone: m and v of a constant gradient are known", np.ones(STEPS)),
        probe("alternating", "signs and differences of gradients", np.resize([1.0, -1.0], STEPS)),
        probe("huge gradients", "rules that clip or bound, and squares where there should be roots", 1e10 * NOISE),
        probe("lr changes", "whether lr multiplies the update or goes into the momentum", NOISE, lr=FACTORS),
        probe("beta1 changes", "decay rates that are read at every step, or once", NOISE, beta1=rates),
        probe("x not 0", "weight decay: the gradient is 0 and x = 2", np.zeros(STEPS), start=2.0),
        probe("two elements", "rules that are not elementwise, such as those with a norm", several),
        probe("two parameters", "state, or a count of steps, that parameters share", several, apart=True),
        probe("long", "counts of steps that overflow, stop or lose digits", long, every=EVERY, beta2=beta2),
    )


def written(chosen: Iterable[Probe], observed: Observed | None = None) -> str:
    """Write the probes as CSV, with iterates if there are any."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for probe in chosen:
        xs = observed[probe.name] if observed else None
        for row in range(probe.steps // probe.every + 1):
            x = probe.start if row == 0 else () if xs is None else xs[row - 1]
            table.writerow([*_asked(probe, row), *_padded(map(_number, x))])
    return text.getvalue()


def _asked(probe: Probe, row: int) -> list[str]:
    """Write a row without its iterates."""
    first = max(row - 1, 0) * probe.every
    settings = (probe.lr[first], probe.beta1[first], probe.beta2, probe.eps, probe.weight_decay)
    if row == 0:
        return [probe.name, "0", "0", *map(_number, settings), "", ""]
    block = probe.gradients[first : first + probe.every]
    length = next(n for n in range(1, len(block) + 1) if (block == np.resize(block[:n], block.shape)).all())
    cells = _padded(" ".join(map(_number, column)) for column in block[:length].T)
    return [probe.name, str(row * probe.every), str(len(block) // length), *map(_number, settings), *cells]


def _padded(cells: Iterable[str]) -> list[str]:
    return [*cells, "", ""][:2]


def _number(value: float) -> str:
    """Write a number with as few digits as possible, and an integer without a decimal point."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def read(path: Path, given: Mapping[str, float]) -> tuple[list[Probe], Observed, Precision]:
    """Read the probes, iterates and precision of a file; ``given`` settings must be those of the file."""
    rows = _rows(path)
    first = next((row for row in rows if row["probe"] == "gaussian"), None)
    if first is None:
        raise ConfigError(f'{path}: the probe "gaussian" is missing: amsgrad-exp probes writes all of them')
    settings = {name: _read(path, first, name) for name in SETTINGS}
    for name, value in given.items():
        if not math.isclose(value, settings[name], rel_tol=1e-6):
            raise ConfigError(f"{path}: {name} is {settings[name]:g} in this file, not {value:g}")
    own = {name: value for name, value in settings.items() if not math.isclose(value, SETTINGS[name], rel_tol=1e-6)}
    chosen = list(probes(own))
    if unknown := {row["probe"] for row in rows} - {probe.name for probe in chosen}:
        raise ConfigError(f"{path}: there is no probe {min(unknown)!r}")
    of_probes = {probe.name: [row for row in rows if row["probe"] == probe.name] for probe in chosen}
    observed = {probe.name: _iterates(path, probe, of_probes[probe.name]) for probe in chosen}
    texts = [
        row[column]
        for probe in chosen
        if observed[probe.name] is not None
        for row in of_probes[probe.name][1:]
        for column in ("x", "x_2")[: probe.elements]
    ]
    if not texts:
        raise ConfigError(f"{path}: the columns x and x_2 are empty: fill in the iterates")
    of_numbers = [name for name, xs in observed.items() if xs is not None and name not in OF_THE_WHOLE.values()]
    if observed["gaussian"] is None or len(of_numbers) < FEWEST_PROBES:
        raise ConfigError(
            f"{path}: x is filled in for {len(of_numbers)} of the probes of one number; at least {FEWEST_PROBES} are "
            'needed, and "gaussian" is one of them'
        )
    return chosen, observed, _precision(path, texts)


def _rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file; the key "row" has the number of each row's line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restval="")
            if missing := [column for column in COLUMNS if column not in (table.fieldnames or ())]:
                raise ConfigError(
                    f"{path} is not a file of amsgrad-exp probes: the columns {', '.join(missing)} are missing"
                )
            return [{name: str(row[name]).strip() for name in COLUMNS} | {"row": str(table.line_num)} for row in table]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a CSV file: {error}") from error


def _read(path: Path, row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        what = "is empty" if not row[column] else f"is no number: {row[column]!r}"
        raise ConfigError(f"{path}, row {row['row']}: {column} {what}") from None
    if not math.isfinite(value):
        go_on = ": leave it empty in the whole probe to go on without" if column.startswith("x") else ""
        raise ConfigError(f"{path}, row {row['row']}: {column} is {row[column]}, not a finite number{go_on}")
    return value


def _iterates(path: Path, probe: Probe, rows: Sequence[Mapping[str, str]]) -> Floats | None:
    """Return x of a probe, or None if it is not filled in; check that the rest of the rows is unchanged."""
    expected = probe.steps // probe.every + 1
    columns = ("x", "x_2")[: probe.elements]
    if not any(row[column] for row in rows[1:] for column in columns):
        return None
    if len(rows) != expected:
        missing = ": steps are missing" if len(rows) < expected else ""
        raise ConfigError(f'{path}: the probe "{probe.name}" has {len(rows)} rows, not {expected}{missing}')
    for number, row in enumerate(rows):
        for column, cell in zip(COLUMNS[1:10], _asked(probe, number)[1:], strict=True):
            there, wanted = row[column].split(), cell.split()
            if len(there) != len(wanted) or not all(map(_same, there, wanted)):
                raise ConfigError(
                    f"{path}, row {row['row']}: {column} is {row[column] or 'empty'}, but the probe has {cell}: "
                    "iterates are compared with the settings and gradients that amsgrad-exp probes writes"
                )
    xs = np.array([[_read(path, row, column) for column in columns] for row in rows])
    if not np.allclose(xs[0], probe.start, rtol=1e-6):
        raise ConfigError(f"{path}, row {rows[0]['row']}: the probe begins at x = {probe.start[0]:g}")
    return xs[1:]


def _same(there: str, wanted: str) -> bool:
    try:
        return math.isclose(float(there), float(wanted), rel_tol=1e-6)
    except ValueError:
        return False


def _precision(path: Path, texts: Sequence[str]) -> Precision:
    """Return the precision of float32 or float64 iterates, judged by the digits with which they are written."""
    values = np.array([float(text) for text in texts])
    digits = max(len("".join(filter(str.isdigit, text.lower().partition("e")[0])).strip("0")) for text in texts)
    exact = bool((np.ldexp(values, 20) % 1 == 0).all())  # e.g. a sign times a power of 2; then no digits are missing
    if digits < FEWEST_DIGITS and not exact:
        raise ConfigError(f"{path}: x has {digits} significant digits, but at least {FEWEST_DIGITS} are needed")
    with np.errstate(over="ignore"):
        single = digits < 10 or bool((values.astype(np.float32).astype(np.float64) == values).all())
    base = SINGLE if single else DOUBLE
    if exact:
        return base
    exponents = any("e" in text.lower() for text in texts)
    absolute = 0.0 if exponents else 0.5 * 10.0 ** -max(len(text.partition(".")[2]) for text in texts)
    return Precision(base.of_path, base.of_x, absolute, 0.5 * 10.0 ** (1 - digits) if digits < 17 else 0.0)
