"""Turns one step of a torch optimizer into a compiled program on scalars, if that yields the same bits.

`recording` records the operations of single steps and follows the Python numbers in them (`followed`). `paths` groups
recordings with the same operations into paths; the results of comparisons, called guards, decide which path a step
takes. `kernels` finds a scalar expression for each operation. `program` writes and compiles the code of all paths, and
`recorded_run` runs it.
"""

from __future__ import annotations

import threading

import numpy as np

from amsgrad_exp.engines.recorded.paths import NEAR, literal_step, paths_of
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.recorded.recording import NotRecorded
from amsgrad_exp.engines.torch_state import generators_restored
from amsgrad_exp.engines.torch_step import way_of
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial

FIRST, TRIES = 4, 7  # steps before the first recording, and the number of tries; each try doubles the number of steps
WORTH = 10_000  # a run of fewer steps, summed over seeds, takes less time than recording and loading compiled code

_found: dict[tuple[str, str], dict[float, Program | str]] = {}
_one_at_a_time = threading.Lock()


def program_of(settings: OptimizerSettings, dtype: str) -> Program | str:
    """Return the compiled program of an imported optimizer's step, or a line that says why there is none.

    If the programs recorded with two step sizes are equal, that program is used for all step sizes. A ValueError is
    raised if the optimizer cannot be imported or built, or takes no step.
    """
    with _one_at_a_time:
        known = _found.setdefault((settings.model_dump_json(exclude={"label", "lr"}), dtype), {})
        programs = [each for each in known.values() if isinstance(each, Program)]
        if settings.lr not in known:
            if len(known) > 1 and len(programs) == len(known) and len({each.digest for each in programs}) == 1:
                return programs[0]
            known[settings.lr] = _recorded(settings, dtype)
        found = known[settings.lr]
        if isinstance(found, Program):
            found = next((each for each in programs if each.digest == found.digest), found)
        return found


def program_for(trial: Trial) -> Program | str:
    """Return the program for a trial of an imported optimizer, or a line that says why there is none."""
    if trial.engine == "auto" and trial.steps * trial.seeds < WORTH:
        return f"a run of fewer than {WORTH:,} steps takes less time than compiling"
    program = program_of(trial.optimizer, trial.dtype)
    return "it has too few steps" if isinstance(program, Program) and program.begin >= trial.steps else program


def _recorded(settings: OptimizerSettings, dtype: str) -> Program | str:
    way = way_of(settings, dtype)
    if way.drive.closure:
        return "it evaluates the loss itself, by a closure"
    if way.drive.graph:
        return "it differentiates gradients"
    if dtype not in COMPILED_DTYPES:
        return f"its parameter is {dtype}"
    with generators_restored():
        optimizer, param = way.new()
        numbers, step = np.random.default_rng(0), 0

        def gradients(count: int) -> list[float]:
            size = 10 ** numbers.uniform(-1, 2, count) * np.where(numbers.random(count) < 0.5, -1, 1)
            return [float(each) for each in np.where(np.arange(count) % 8 == 5, 0, size)]

        try:
            for attempt in range(TRIES):
                for gradient in gradients(max(FIRST, step)):
                    literal_step(optimizer, param, gradient, settings.lr)
                    step += 1
                try:
                    return Program(paths_of(optimizer, param, gradients(NEAR), settings.lr, step), step)
                except NotRecorded as why:
                    if why.for_good or attempt == TRIES - 1:
                        return str(why)
        except (Exception, SystemExit) as error:  # an imported optimizer may raise anything, even when it is copied
            return f"recording a step raised {type(error).__name__}: {' '.join(str(error).split())}"[:160].rstrip(": ")
    raise AssertionError
