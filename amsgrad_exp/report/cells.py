"""Opens and checks the stored cells of a sweep or a gauntlet, and says which are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.records.files import in_use
from amsgrad_exp.spec.plan import Plan
from amsgrad_exp.sweeps.store import Results, open_results


@contextlib.contextmanager
def checked(directory: Path, cells: Plan) -> Iterator[Results]:
    """Open the results of a directory after checking every row and its points.

    Raises:
        Damaged: a checksum is wrong, or the files do not belong together.
        RunError: no cell has been computed, or the results cannot be read.
    """
    if not (directory / "results.sqlite").is_file():
        raise RunError(f"{directory} has no results.sqlite: none of its cells has been computed")
    with open_results(directory, cells) as results:
        if not len(results):
            raise RunError(f"none of the {len(cells):,} cells of {directory} has been computed")
        rows = list(results.checked_rows())
        for what, wrong in (
            ("rows", sum(not right for _, right in rows)),
            ("curves", sum(not results.right_points(row) for row, _ in rows)),
        ):
            if wrong:
                raise Damaged(f"{directory / 'results.sqlite'} is damaged: {wrong:,} {what} have a wrong checksum")
        yield results


def missing(directory: Path, cells: Plan, done: int) -> list[str]:
    """If cells are missing, a sentence that says so and how to compute them."""
    if done == len(cells):
        return []
    rest = "the run is going on" if in_use(directory) else f"amsgrad-exp resume {directory.name} computes the others"
    return [f"{done:,} of {len(cells):,} cells are done: {rest}."]
