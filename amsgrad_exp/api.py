"""The Python door: what the commands do, without a command line. `amsgrad_exp` itself offers it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path

from amsgrad_exp import engines
from amsgrad_exp.attack import run as attacks
from amsgrad_exp.attack.result import Attack
from amsgrad_exp.attack.search import Limits
from amsgrad_exp.attack.target import target
from amsgrad_exp.bounds import Bounds, bounds_of
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.run import Run
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.experiment import Experiment, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.sweeps import run as sweeps
from amsgrad_exp.sweeps.run import Swept
from amsgrad_exp.sweeps.workers import workers


class Watch:
    """Who looks on while runs are under way; this one looks away, and lets an optimizer's failure be raised."""

    def running(self, label: str, trial: Trial) -> contextlib.AbstractContextManager[Callable[[Chunk], object]]:
        """Around one run; what it yields is called with every chunk once it is recorded."""
        return contextlib.nullcontext(lambda chunk: None)

    def should_stop(self) -> bool:
        """Asked after every chunk; True ends a run as interrupted, to be resumed, and starts no other."""
        return False

    def note(self, line: str) -> None:
        """A line on what went wrong and stopped nothing."""

    def failed(self, label: str, failure: RunFailed) -> None:
        """An optimizer failed in the middle; its run is recorded as far as it came.

        Raises:
            RunFailed: to go no further.
        """
        raise failure


def run(experiment: Experiment, out: Path | str = "logs", watch: Watch | None = None) -> Run:
    """Run an experiment of one optimizer, recorded under ``out`` as by ``amsgrad-exp run``.

    Returns:
        The run: ``run.trace`` has its logged points as arrays, ``run.result`` what it came to.

    Raises:
        ConfigError: there are several optimizers, or the run cannot be.
        RunFailed: the optimizer failed in the middle; what came before is recorded.
        RunError, OSError: it could not be recorded.
    """
    if len(experiment.optimizers) > 1:
        raise ConfigError(f"run takes one optimizer, not {len(experiment.optimizers)}: take compare")
    (recorded,) = compare(experiment, out, watch).values()
    return recorded


def compare(experiment: Experiment, out: Path | str = "logs", watch: Watch | None = None) -> dict[str, Run]:
    """Run every optimizer of an experiment, as ``amsgrad-exp compare`` does.

    Returns:
        The runs by label, in order, without those that failed or were not started.

    Raises:
        As `run`.
    """
    watch = watch or Watch()
    trials = experiment.trials()
    for trial in trials:
        engines.build(trial)  # what cannot be built is refused before anything is run
    runs: dict[str, Run] = {}
    for label, trial in zip(labels(trials), trials, strict=True):
        if watch.should_stop():
            watch.note(f"not started: {label}")
            continue
        try:
            with watch.running(label, trial) as on_chunk:
                runs[label] = record(trial, Path(out), on_chunk, watch.should_stop, watch.note)
        except RunFailed as failure:
            watch.failed(label, failure)
    return runs


def bound(run: Run, on_steps: Callable[[int, int], object] = lambda done, total: None) -> Bounds:
    """The bounds on a run's regret at its logged points, as ``--bound`` shows them.

    Args:
        run: of an interrupted one, the bounds end with its last logged point.
        on_steps: called as steps are simulated, which a bound takes all of, with how many are and how many there are.

    Raises:
        NoBound: none is known; the message says why.
        RunFailed: it is no finite number.
    """
    ended = run.summary.result is not None or not len(run.trace)
    return bounds_of(run.trial, run.trial.steps if ended else int(run.trace.step[-1]) + 1, on_steps)


def sweep(
    plane: Cells,
    out: Path | str = "sweeps",
    executor: Executor | None = None,
    *,
    on_cells: Callable[[int, int], object] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_note: Callable[[str], object] = lambda note: None,
) -> Swept:
    """Run an experiment over a grid, or a gauntlet, as ``amsgrad-exp sweep`` and ``amsgrad-exp gauntlet`` do.

    Args:
        plane: what to run, such as ``Sweep.of({"beta2": "0.9:0.999:50"}, optimizers=["adam"])`` or
            ``Gauntlet.of(optimizers=["adam"], steps=1e6)``.
        out: a directory, made where it is missing.
        executor: where blocks of cells are computed, such as `sweeps.workers.workers` makes of threads or of
            a Dask cluster; without one, on threads, as many as there are cores.
        on_cells, should_stop, on_note: as for `amsgrad_exp.sweeps.run.sweep`.

    Returns:
        The sweep: ``swept.axes`` and ``swept.column("mean_x")`` are arrays.

    Raises:
        ConfigError: labml's configuration is wrong.
        RunError, OSError: it could not be kept.
    """
    with workers() if executor is None else contextlib.nullcontext(executor) as where:
        return sweeps.sweep(plane, Path(out), where, on_cells=on_cells, should_stop=should_stop, on_note=on_note)


def attack(
    optimizer: str,
    out: Path | str = "attacks",
    *,
    settings: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    jobs: int | None = None,
    watch: attacks.Watch | None = None,
) -> Attack:
    """Search for a problem on which an optimizer goes to the worst point, as ``amsgrad-exp attack`` does.

    Args:
        optimizer: a registered name, or an import path.
        out: a directory, made where it is missing.
        settings: lr, beta1, beta2 and eps that are to be others than its own defaults.
        options: its own settings that are to be others, each as YAML writes it.
        limits: how far to search; half a minute without.
        jobs: how many threads; None for as many as there are cores.
        watch: who looks on.

    Returns:
        What was found: ``attack.counterexample`` is a problem, confirmed by recorded runs, or None.

    Raises:
        ConfigError: there is no such optimizer, it takes no such setting, or it cannot be attacked.
        RunFailed: it raised, or x was finite on no problem.
        RunError, OSError: what was found could not be kept.
    """
    attacked = target(optimizer, settings, options)
    with workers(jobs) as executor:
        return attacks.attack(attacked, limits or Limits(), Path(out), executor, watch)
