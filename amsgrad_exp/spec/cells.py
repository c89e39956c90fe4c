"""Defines the protocol of sweeps and gauntlets: numbered cells, each of which is a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.spec.experiment import Trial


class Cells(Protocol):
    """Trials that are computed in blocks and stored as one row each."""

    @property
    def name(self) -> str:
        """The name of the experiment and of its folder."""

    @property
    def optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers."""

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns that distinguish the cells of an optimizer, and their SQL types."""

    @property
    def averaged(self) -> bool:
        """Whether a cell may be a mean over seeds, with confidence intervals."""

    @property
    def keeps_points(self) -> bool:
        """Whether points of each cell's curve are stored."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that describes it, for labml."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of optimizers and of values in each column; cells are numbered in C order."""

    def __len__(self) -> int: ...

    def values(self, cell: int) -> tuple[str, Mapping[str, Any]]:
        """The optimizer of a cell and its values by column."""

    def trial(self, cell: int) -> Trial:
        """The trial of one cell.

        Raises:
            ConfigError: the trial is invalid.
        """

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The unfinished cells, in blocks to be computed together."""

    def to_yaml(self) -> str:
        """YAML that `load_cells` reads."""
