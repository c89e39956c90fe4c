"""Writes the probes as a CSV file and reads it back with the iterates of any implementation."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification.compare import DOUBLE, SINGLE, Observed, Precision
from amsgrad_exp.identification.departures import OF_THE_WHOLE
from amsgrad_exp.identification.probes import SETTINGS, Floats, Probe, probes

COLUMNS = (
    *("probe", "step", "repeat", "lr", "beta1", "beta2", "eps", "weight_decay"),
    *("gradient", "gradient_2", "x", "x_2"),
)
"""A row says: with these settings, take one step with each of its gradients, in turn, and all that ``repeat`` times;
after it, ``step`` steps have been taken and x is x. Row 0 of a probe is the start. What ends in ``_2`` is of the second
element, or of the second parameter."""

FEWEST_DIGITS = 6
FEWEST_PROBES = 7


def written(chosen: Iterable[Probe], observed: Observed | None = None) -> str:
    """The probes as CSV, with iterates if there are any."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for probe in chosen:
        xs = observed[probe.name] if observed else None
        for row in range(probe.steps // probe.every + 1):
            x = probe.start if row == 0 else None if xs is None else xs[row - 1]
            table.writerow([*_asked(probe, row), *_cells(x)])
    return text.getvalue()


def _asked(probe: Probe, row: int) -> list[object]:
    """A row without its iterates."""
    first = max(row - 1, 0) * probe.every
    settings = (probe.lr[first], probe.beta1[first], probe.beta2, probe.eps, probe.weight_decay)
    numbers = [_number(value) for value in settings]
    if row == 0:
        return [probe.name, 0, 0, *numbers, "", ""]
    block = probe.gradients[first : first + probe.every]
    length = next(n for n in range(1, len(block) + 1) if (block == np.resize(block[:n], block.shape)).all())
    cells = [" ".join(map(_number, column)) for column in block[:length].T]
    return [probe.name, row * probe.every, len(block) // length, *numbers, *cells, *[""] * (2 - len(cells))]


def _cells(xs: Floats | None) -> list[str]:
    cells = [] if xs is None else [_number(x) for x in xs]
    return [*cells, *[""] * (2 - len(cells))]


def _number(value: float) -> str:
    """A number with as few digits as possible; integers without a decimal point."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def read(path: Path, given: Mapping[str, float]) -> tuple[list[Probe], dict[str, Floats | None], Precision]:
    """The probes of a file, the iterates filled in, and their precision.

    Args:
        path: a file that `written` has written, with iterates.
        given: lr, beta1, beta2 and eps, which must be those of the file.

    Raises:
        ConfigError: it is not such a file, or not filled in; the message names the row.
        OSError: it cannot be read.
    """
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
    unknown = {row["probe"] for row in rows} - {probe.name for probe in chosen}
    if unknown:
        raise ConfigError(f"{path}: there is no probe {min(unknown)!r}")
    observed: dict[str, Floats | None] = {}
    texts: list[str] = []
    for probe in chosen:
        of_probe = [row for row in rows if row["probe"] == probe.name]
        observed[probe.name] = _iterates(path, probe, of_probe)
        if observed[probe.name] is not None:
            texts += [row[column] for row in of_probe[1:] for column in ("x", "x_2")[: probe.elements]]
    if not texts:
        raise ConfigError(f"{path}: the columns x and x_2 are empty: fill in the iterates")
    of_numbers = [name for name, xs in observed.items() if xs is not None and name not in OF_THE_WHOLE.values()]
    if observed["gaussian"] is None or len(of_numbers) < FEWEST_PROBES:
        raise ConfigError(
            f"{path}: x is filled in for {len(of_numbers)} of the probes of one number; at least {FEWEST_PROBES} are "
            'needed, and "gaussian" is one of them'
        )
    return chosen, observed, precision(path, texts)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restval="")
            missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}: the columns {', '.join(missing)} are missing")
            return [
                {column: str(row[column]).strip() for column in COLUMNS} | {"row": str(table.line_num)} for row in table
            ]
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
    """x of a probe, or None if it is not filled in, after checking that the rest of the rows is unchanged."""
    expected = probe.steps // probe.every + 1
    columns = ("x", "x_2")[: probe.elements]
    filled = [row for row in rows[1:] if any(row[column] for column in columns)]
    if not filled:
        return None
    if len(rows) < expected:
        raise ConfigError(f'{path}: the probe "{probe.name}" has {len(rows)} rows, not {expected}: steps are missing')
    if len(rows) > expected:
        raise ConfigError(f'{path}: the probe "{probe.name}" has {len(rows)} rows, not {expected}')
    for number, row in enumerate(rows):
        for column, cell in zip(COLUMNS[1:10], _asked(probe, number)[1:], strict=True):
            there, wanted = row[column].split(), str(cell).split()
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


def precision(path: Path, texts: Sequence[str]) -> Precision:
    """The precision of iterates written with so many digits, in float32 or float64.

    Raises:
        ConfigError: there are too few digits.
    """
    values = np.array([float(text) for text in texts])
    digits = max(len(_significand(text)) for text in texts)
    exponents = any("e" in text.lower() for text in texts)
    decimals = max(len(text.partition(".")[2]) for text in texts)
    exact = bool((np.ldexp(values, 20) % 1 == 0).all())  # such as signs times a power of 2: then no digits are missing
    if digits < FEWEST_DIGITS and not exact:
        raise ConfigError(f"{path}: x has {digits} significant digits, but at least {FEWEST_DIGITS} are needed")
    with np.errstate(over="ignore"):
        single = digits < 10 or bool((values.astype(np.float32).astype(np.float64) == values).all())
    base = SINGLE if single else DOUBLE
    if exact:
        return base
    absolute = 0.0 if exponents else 0.5 * 10.0**-decimals
    return Precision(base.of_path, base.of_x, absolute, 0.5 * 10.0 ** (1 - digits) if digits < 17 else 0.0)


def _significand(text: str) -> str:
    return "".join(filter(str.isdigit, text.lower().partition("e")[0])).strip("0")
