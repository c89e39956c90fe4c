"""Parses an axis of a grid: what it sets, and its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import number, whole_number
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.explain import nearest
from amsgrad_exp.spec.foreign import number_options

SETTINGS = ("lr", "beta1", "beta2", "eps")
NUMBERS = (int, float)

MAX_CELLS = 10_000_000

FORMS = "start:stop:count, log:start:stop:count, log1m:start:stop:count or a list"


class Target(NamedTuple):
    """What an axis sets: a setting of the optimizers, one of their own options, or a constant of the problem."""

    of: Literal["settings", "options", "problem"]
    name: str
    kind: Any  # int for integers, float, or another type that cannot be an axis

    @property
    def path(self) -> str:
        """The name of the axis if an option and a constant have the same name."""
        return f"{self.of}.{self.name}"


def targets(problem: str, optimizers: Iterable[str]) -> dict[str, Target]:
    """Everything that can be set of a problem and some optimizers, whether a number or not, by the names of axes.

    If an option and a constant have the same name n, they are called ``options.n`` and ``problem.n``.
    """
    fields: Mapping[str, Any] = PROBLEMS[problem].model_fields if problem in PROBLEMS else {}
    constants = {name: Target("problem", name, it.annotation) for name, it in fields.items() if name != "name"}
    options = {
        name: Target("options", name, kind) for optimizer in optimizers for name, kind in _options(optimizer).items()
    }
    shared = constants.keys() & options.keys()
    found = {name: Target("settings", name, float) for name in SETTINGS} | constants | options
    paths = {of[name].path: of[name] for of in (constants, options) for name in shared}
    return {name: target for name, target in found.items() if name not in shared} | paths


def _options(optimizer: str) -> dict[str, Any]:
    """The options of an optimizer and their types."""
    if optimizer in OPTIMIZERS:
        return {name: it.annotation for name, it in OPTIMIZERS[optimizer].options.model_fields.items()}
    return number_options(optimizer)


def check_target(name: str, problem: str, optimizers: Sequence[str]) -> None:
    """Check that an axis sets a number that the problem or all of the optimizers have.

    Raises:
        ConfigError: it does not.
    """
    known = targets(problem, optimizers)
    if f"options.{name}" in known:
        raise ConfigError(
            f"grid: {name} is an option and a constant of {problem}: write options.{name} or problem.{name}"
        )
    target = known.get(name)
    if target is None:
        numbers = [name for name, target in known.items() if target.kind in NUMBERS]
        raise ConfigError(f"grid: unknown setting {name!r}, {nearest(name, numbers)}")
    if target.kind not in NUMBERS:
        raise ConfigError(f"grid: {name} is not a number, so it cannot be an axis")
    for optimizer in optimizers if target.of == "options" else ():
        if target.name not in _options(optimizer):
            raise ConfigError(f"grid: {optimizer} takes no {target.name}, so it cannot be an axis of a sweep with it")


def axis_values(name: str, written: Any) -> tuple[float, ...]:
    """The values of an axis, ascending and without duplicates.

    Args:
        name: the axis's name, for messages.
        written: ``start:stop:count``, ``log:start:stop:count`` (evenly spaced in the logarithm),
            ``log1m:start:stop:count`` (evenly spaced in the logarithm of one minus the value, for β near 1), or a list,
            of numbers or as text.

    Raises:
        ConfigError: it has none of these forms.
    """
    try:
        numbers = _range(name, written) if isinstance(written, str) and ":" in written else _list(written)
        if not np.all(np.isfinite(numbers)):
            raise ValueError
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        quotes = "" if isinstance(written, str | list) else " (in YAML, write it in quotes)"
        raise ConfigError(f"grid: {name} takes {FORMS}, not {written!r}{quotes}") from error
    if not len(numbers):
        raise ConfigError(f"grid: {name} has no values")
    return tuple(np.unique(numbers).tolist())


def _list(written: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(list(map(_number, written.split(",") if isinstance(written, str) else written)))


def _number(written: Any) -> float:
    return float(number(written) if isinstance(written, str) else written)


def _range(name: str, written: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    *kind, start, stop, count = written.split(":")
    first, last, points = number(start), number(stop), whole_number(count)
    if not isinstance(points, int) or points < 1 or kind not in ([], ["log"], ["log1m"]):
        raise ValueError
    if points > MAX_CELLS:
        raise ConfigError(f"grid: {name} takes at most {MAX_CELLS:,} values, not {points:,}")
    with np.errstate(all="ignore"):
        if kind == ["log"]:
            return np.geomspace(first, last, points)
        if kind == ["log1m"]:
            return 1 - np.geomspace(1 - first, 1 - last, points)
        return np.linspace(first, last, points)
