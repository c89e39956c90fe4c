"""Every optimizer class of torch.optim and pytorch_optimizer: compiled or why not, and whether its bits are literal.

`python benchmarks/recorded.py [--steps 100000] [names …]`; without pytorch_optimizer, torch.optim alone.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.driver.drive import drive
from amsgrad_exp.engines import build
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.trace import Trace

WAYS = [(schedule, dtype) for schedule in ("inv-sqrt", "constant") for dtype in ("float32", "float64")]
# Gradients of all sizes and signs, one in seven of them 0: with a period of 101 like the reference problem's.
NUMBERS = np.random.default_rng(0)
SLOPES = np.where(np.arange(101) % 7 == 3, 0, np.ceil(10 ** NUMBERS.uniform(0, 4, 101)) * NUMBERS.choice([-1, 1], 101))


def classes() -> Iterator[str]:
    for name, found in vars(torch.optim).items():
        if isinstance(found, type) and issubclass(found, Optimizer) and found is not Optimizer:
            yield f"torch.optim.{name}"
    with contextlib.suppress(ImportError):
        import pytorch_optimizer

        for name, found in sorted(vars(pytorch_optimizer).items()):
            concrete = isinstance(found, type) and issubclass(found, Optimizer) and not inspect.isabstract(found)
            if concrete and found.__module__.startswith("pytorch_optimizer") and not name.startswith("Base"):
                yield f"pytorch_optimizer.{name}"


def run(trial: Trial) -> tuple[Trace, Any, float]:
    engine = build(trial)
    begun = time.perf_counter()
    chunks = [Trace.empty()]
    with contextlib.suppress(RunFailed):  # where x overflows: the points before that count
        chunks += (chunk.trace for chunk in drive(engine, trial.steps, trial.log_every, fast_forward=False))
    return Trace.concatenate(chunks), engine.driven, time.perf_counter() - begun


def compared(name: str, steps: int, **given: Any) -> tuple[bool | None, Any, float, float]:
    """Whether a run has the literal bits, how it was driven, and seconds compiled and literal."""
    (trial,) = load_experiment(optimizers=[name], steps=steps, log_every=1, engine="auto", **given).trials()
    trace, driven, seconds = run(trial)
    if driven.program is None:
        return None, driven, seconds, seconds
    literal, _, literally = run(trial.on_engine("torch"))
    same = len(trace) == len(literal) and all(
        trace.columns[column].tobytes() == literal.columns[column].tobytes() for column in trace.columns
    )
    return same, driven, seconds, literally


def row(name: str, steps: int) -> str:
    """One line of the table."""
    cases: list[dict[str, Any]] = [{"schedule": schedule, "dtype": dtype} for schedule, dtype in WAYS]
    cases.append({"problem": "cycle", "constants": {"slopes": ",".join(f"{slope:g}" for slope in SLOPES)}})
    if name.startswith("torch.optim."):
        cases += [{"problem": problem, "schedule": "constant"} for problem in PROBLEMS if problem != "cycle"]
    answers, later = [], ""
    speed = literally = 0.0
    for given in cases:
        try:
            same, driven, seconds, literal = compared(name, steps, **given)
        except ConfigError as error:
            return f"not built: {error}"
        except Exception as error:
            return f"fails: {type(error).__name__}: {error}"
        if same is None:
            return f"not compiled: {driven.not_compiled}"
        if not answers:
            speed, literally = seconds / steps * 1e9, literal / steps * 1e6
        if driven.not_compiled and not later:
            later = f"; then {given}: {driven.not_compiled}"
        answers.append(same)
    verdict = f"same bits in {len(answers)} runs" if all(answers) else f"DIFFERS in {answers.count(False)} runs"
    return (
        f"{verdict}, {len(answers)} runs; {speed:,.0f} ns a step with all checks, literally {literally:.0f} µs{later}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--steps", type=int, default=100_000)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    outcomes: Counter[str] = Counter()
    for name in given.names or classes():
        text = row(name, given.steps)
        outcomes[text.partition(":")[0].partition(",")[0].partition(" in ")[0]] += 1
        print(f"{name:44s} {text}", flush=True)
    print(dict(outcomes))
    if outcomes["DIFFERS"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
