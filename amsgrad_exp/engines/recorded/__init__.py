"""Any torch optimizer as a compiled rule: one of its steps is recorded and turned into a scalar program."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.recorded.paths import NEAR, literal_step, paths_of
from amsgrad_exp.engines.recorded.program import Program
from amsgrad_exp.engines.recorded.recording import NotRecorded
from amsgrad_exp.engines.torch_state import generators_restored
from amsgrad_exp.engines.torch_trial import drive_of
from amsgrad_exp.optimizers.importing import Drive, import_optimizer
from amsgrad_exp.rules import arguments_of
from amsgrad_exp.rules.settings import OptimizerSettings

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

FIRST, TRIES = 4, 7  # steps before the first recording, and how often it is tried, with twice as many steps each time

WORTH = 10_000
"""Steps of a run, over all seeds: fewer take less time than recording and loading compiled code."""

_found: dict[tuple[str, str], dict[float, Program | str]] = {}
_one_at_a_time = threading.Lock()


def program_of(settings: OptimizerSettings, dtype: str) -> Program | str:
    """An imported optimizer's step as a compiled program, or why there is none, in a line.

    Where programs recorded with two step sizes are the same, it is taken to be that for all.

    Args:
        settings: complete.
        dtype: of its parameter.

    Raises:
        ValueError: it cannot be imported or built, or takes no step.
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
    """The program that takes the steps of a trial of an imported optimizer, or why there is none, in a line.

    Raises:
        ValueError: the optimizer cannot be imported or built, or takes no step.
    """
    if trial.engine == "auto" and trial.steps * trial.seeds < WORTH:
        return f"a run of fewer than {WORTH:,} steps takes less time than compiling"
    program = program_of(trial.optimizer, trial.dtype)
    return "it has too few steps" if isinstance(program, Program) and program.begin >= trial.steps else program


def program_from(
    optimizer: Optimizer, param: torch.nn.Parameter, gradients: Sequence[float], lr: float, step: int
) -> Program | None:
    """The program of an optimizer's steps from where it stands, if there is one; the arguments are `paths_of`'s."""
    with contextlib.suppress(Exception, SystemExit):  # somebody's optimizer may raise anything
        return Program.of(paths_of(optimizer, param, gradients, lr, step), step)
    return None


def _recorded(settings: OptimizerSettings, dtype: str) -> Program | str:
    imported, arguments = import_optimizer(settings.name), arguments_of(settings)
    drive = drive_of(imported, lr=settings.lr, arguments=arguments, dtype=dtype, shape=settings.shape)
    if reason := not_recordable(drive, dtype):
        return reason
    with generators_restored():
        param = torch.nn.Parameter(torch.zeros(drive.shape, dtype=getattr(torch, dtype)))
        optimizer = imported.make(drive.arrange([[param]]), lr=settings.lr, arguments=arguments)
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
                    return Program.of(paths_of(optimizer, param, gradients(NEAR), settings.lr, step), step)
                except NotRecorded as refusal:
                    if refusal.for_good or attempt == TRIES - 1:
                        return str(refusal)
        except (Exception, SystemExit) as error:  # somebody's optimizer may raise anything, and not bear to be copied
            return f"recording a step raised {type(error).__name__}: {' '.join(str(error).split())}"[:160]
    raise AssertionError


def not_recordable(drive: Drive, dtype: str) -> str | None:
    """Why an optimizer that is driven so cannot be recorded, if it cannot."""
    if drive.closure:
        return "it evaluates the loss itself, by a closure"
    if drive.graph:
        return "it differentiates gradients"
    return None if dtype in ("float32", "float64") else f"its parameter is {dtype}"
