"""The differences between every optimizer and an independent implementation, as a table: python -m tests.agreement."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from amsgrad_exp.engines import build
from amsgrad_exp.problems import Cycle, Online
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from tests.references import REFERENCES, VARIANTS
from tests.trials import make_trial

STEPS = 400
TOLERANCES = {"float64": 1e-12, "float32": 2e-5}  # of x on [−1, 1]
CYCLE = Cycle(slopes=(5.0, -1.0, -1.0, 2.0, -3.0, 0.5))
SETTINGS = list(
    itertools.product(
        [Online(), CYCLE], [Constant(0.01), InverseSquareRoot(0.5)], [(0.9, 0.99), (0.0, 0.5), (0.5, 0.999)]
    )
)
EVERY = [(name, variant) for name in OPTIMIZERS for variant in [{}, *VARIANTS.get(name, [])]]


def differences(
    optimizer: str, variant: Mapping[str, Any], problem: Any, schedule: Any, betas: tuple[float, float]
) -> dict[str, float]:
    """The largest difference in x over the first steps, for each dtype."""
    trial = make_trial(optimizer, problem, schedule, dtype="float64", betas=betas, eps=1e-8, **variant)
    expected = REFERENCES[optimizer](problem, schedule.step_sizes(0, STEPS).tolist(), trial.optimizer)
    largest = {}
    for dtype in TOLERANCES:
        engine = build(trial.model_copy(update={"dtype": dtype}))
        trace = engine.advance(STEPS, 1).runs(0)
        largest[dtype] = float(np.max(np.abs(np.subtract([*trace.x, engine.x], expected))))
    return largest


def main() -> None:
    """Print the largest differences of each optimizer over problems, schedules and decay rates."""
    for optimizer, variant in EVERY:
        each = [differences(optimizer, variant, *setting) for setting in SETTINGS]
        numbers = "  ".join(f"{dtype} {max(largest[dtype] for largest in each):.0e}" for dtype in TOLERANCES)
        options = variant.get("options", variant)
        print(f"{optimizer:10}  {numbers}  {', '.join(f'{name} {value}' for name, value in options.items())}")


if __name__ == "__main__":
    main()
