"""Generates random numbers that depend only on the seed and the step, wherever a sequence is started."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def words(start: int, stop: int, seed: int) -> NDArray[np.uint64]:
    """A uniformly distributed word for each step start ≤ t < stop, uint64 of shape (stop - start,).

    It is word t of the counter-based generator Philox 4×64 (Salmon et al. 2011, *Parallel Random Numbers: As Easy as 1,
    2, 3*) with the key ``seed``.
    """
    block, offset = divmod(start, 4)  # each value of Philox's counter gives four words
    return np.random.Philox(key=seed, counter=block).random_raw(stop - start + offset)[offset:]
