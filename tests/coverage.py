"""Which optimizers of torch.optim and pytorch_optimizer run, by import path, as a table: python -m tests.coverage."""

import inspect
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import pytorch_optimizer
import torch

from amsgrad_exp.engines import build
from amsgrad_exp.engines.batch import Driven
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.output.words import driven_with
from amsgrad_exp.spec.read import load_experiment

LIBRARIES = torch.optim, pytorch_optimizer
STEPS = 100


class Covered(NamedTuple):
    """How an optimizer is driven, and why it does not run, or None."""

    path: str
    driven: Driven
    rejected: str | None


def paths(library: ModuleType) -> list[str]:
    """The import paths of a library's optimizer classes."""
    optimizer = torch.optim.Optimizer
    return [
        f"{library.__name__}.{name}"
        for name, found in sorted(vars(library).items())
        if inspect.isclass(found) and issubclass(found, optimizer) and found is not optimizer
    ]


def covered(library: ModuleType) -> Iterator[Covered]:
    """Each of a library's classes, run as `amsgrad-exp run` does for a few steps."""
    for path in paths(library):
        try:
            (trial,) = load_experiment(optimizers=[path], steps=STEPS).trials()
            engine = build(trial)
        except ConfigError as error:
            yield Covered(path, Driven(), str(error))
            continue
        engine.advance(STEPS, STEPS)
        yield Covered(path, engine.driven, engine.failure)


def main() -> None:
    """Print the table, and how many run."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    counts = []
    for library in LIBRARIES:
        rows = list(covered(library))
        for path, driven, rejected in rows:
            print(f"{path:42}  {f'no: {rejected}' if rejected else f'runs  {driven_with(driven)}'.rstrip()}")
        counts.append(f"{sum(row.rejected is None for row in rows)} of {len(rows)} of {library.__name__}")
    print(f"\n{', '.join(counts)} run")


if __name__ == "__main__":
    main()
