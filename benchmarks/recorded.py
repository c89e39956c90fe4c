"""Runs every optimizer class of torch.optim and pytorch_optimizer compiled and literally, and compares the bits.

`python -m benchmarks.recorded [--steps 100000] [names …]`. Each row is printed and written to a file as soon as it is
known; rows that this code, with this torch, has written there before are not computed again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import inspect
import json
import logging
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

import amsgrad_exp
from amsgrad_exp.engines import build
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.trace import Trace

PROCESSES = 2
TIMED = 1_000_000  # steps of the run that is timed
PERIOD = 1009  # of the random gradients

Case = dict[str, Any]
Row = dict[str, Any]


def classes() -> Iterator[str]:
    """The import paths of the classes."""
    for name, found in vars(torch.optim).items():
        if isinstance(found, type) and issubclass(found, Optimizer) and found is not Optimizer:
            yield f"torch.optim.{name}"
    with contextlib.suppress(ImportError):
        import pytorch_optimizer

        for name, found in sorted(vars(pytorch_optimizer).items()):
            concrete = isinstance(found, type) and issubclass(found, Optimizer) and not inspect.isabstract(found)
            if concrete and found.__module__.startswith("pytorch_optimizer") and not name.startswith("Base"):
                yield f"pytorch_optimizer.{name}"


def cases(name: str, steps: int) -> Iterator[tuple[str, Case]]:
    """What a class is run on: the online problem, random gradients of which one in seven is 0, and all problems."""
    fewer = min(steps, max(1000, steps // 10))
    for dtype in ("float32", "float64"):
        for schedule in ("inv-sqrt", "constant"):
            yield f"online, {schedule}, {dtype}", {"steps": steps, "schedule": schedule, "dtype": dtype}
    numbers = np.random.default_rng(0)
    sizes = np.ceil(10 ** numbers.uniform(0, 4, PERIOD)) * numbers.choice([-1, 1], PERIOD)
    slopes = ",".join(f"{slope:g}" for slope in np.where(np.arange(PERIOD) % 7 == 3, 0, sizes))
    for dtype in ("float32", "float64"):
        given = {"steps": fewer, "dtype": dtype, "problem": "cycle", "constants": {"slopes": slopes}}
        yield f"random gradients, {dtype}", given
    if name.startswith("torch.optim."):
        for problem in PROBLEMS:
            if problem != "cycle":  # which has the random gradients
                yield problem, {"steps": fewer, "problem": problem, "schedule": "constant"}


def run(trial: Trial) -> tuple[Trace, Any, float]:
    """The trace of a run, its engine, and seconds."""
    engine = build(trial)
    begun, pieces = time.perf_counter(), [Trace.empty()]
    while engine.step < trial.steps and engine.failure is None:
        pieces.append(engine.advance(min(trial.steps, engine.step + engine.chunk_steps), trial.log_every))
    return Trace.concatenate(pieces), engine, time.perf_counter() - begun


def compared(name: str, given: Case) -> Row:
    """A compiled run next to a literal one: points, failure and the optimizer's last state must be the same."""
    (trial,) = load_experiment(optimizers=[name], log_every=1, engine="compiled", **given).trials()
    try:
        trace, engine, _ = run(trial)
    except ConfigError as error:
        _, _, reason = str(error).partition(" cannot be compiled: ")
        if not reason:
            raise
        return {"refused": reason.removesuffix("; take engine torch")}
    literal, literal_engine, seconds = run(trial.on_engine("torch"))
    same = engine.failure == literal_engine.failure and engine.states == literal_engine.states
    same &= all(trace.columns[each].tobytes() == literal.columns[each].tobytes() for each in trace.columns)
    return {
        "steps": len(literal),
        "same": bool(same),
        "gave_up": engine.driven.not_compiled,
        "failure": literal_engine.failure,
        "literal_us": seconds / max(len(literal), 1) * 1e6,
    }


def row(name: str, steps: int) -> Row:
    """All that is known of a class."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    begun = time.perf_counter()
    found: dict[str, Any] = {}
    result: Row = {"name": name, "steps": steps, "made_by": made_by(), "cases": found}
    try:
        for case, given in cases(name, steps):
            found[case] = compared(name, given)
        if any("same" in each for each in found.values()):
            given = {"steps": TIMED, "log_every": 1000, "schedule": "inv-sqrt", "engine": "compiled"}
            (trial,) = load_experiment(optimizers=[name], **given).trials()
            with contextlib.suppress(ConfigError):  # it is compiled in float64 alone
                _, engine, seconds = run(trial)
                result["compiled_ns"] = seconds / max(engine.step, 1) * 1e9
    except Exception as error:  # somebody's optimizer may raise anything
        result["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    result["seconds"] = round(time.perf_counter() - begun)
    return result


def made_by() -> str:
    """A digest of the package and this file, and the versions of the libraries."""
    files = [*sorted(Path(amsgrad_exp.__file__).parent.rglob("*.py")), Path(__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    versions = [digest]
    for name in ("torch", "pytorch_optimizer"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return ", ".join(versions)


def verdict(found: Row) -> str:
    """In a few words; what differs from one class to the next follows a colon."""
    if "error" in found:
        return f"does not run: {found['error']}"
    each = found["cases"]
    ran = {case: result for case, result in each.items() if "same" in result}
    if differ := [case for case, result in ran.items() if not result["same"]]:
        return f"DIFFERS: {'; '.join(differ)}"
    reasons = dict.fromkeys(result["refused"] for result in each.values() if "refused" in result)
    if not ran:
        return f"not compiled: {'; '.join(reasons)}"
    gave_up = {case: result["gave_up"] for case, result in ran.items() if result["gave_up"]}
    if gave_up:
        case, why = next(iter(gave_up.items()))
        return f"same bits, literal in the end: {len(gave_up)} of {len(ran)} runs, as {case}: {why}"
    if reasons:
        return f"same bits where compiled: {len(ran)} of {len(each)} runs; {'; '.join(reasons)}"
    return "same bits"


def shown(found: Row) -> str:
    """A line of the table."""
    line = f"{found['name'].replace('pytorch_optimizer.', ''):26s} {verdict(found)}"
    ran = [result for result in found["cases"].values() if "same" in result]
    if ran:
        steps = sum(result["steps"] for result in ran)
        line += f" ({len(ran)} runs, {steps:,} steps; literally {ran[0]['literal_us']:.0f} µs a step"
        line += f", compiled {found['compiled_ns']:,.0f} ns)" if "compiled_ns" in found else ")"
    return line


def main() -> None:
    """Compute the rows that are missing, and print a summary of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="import paths; by default, every class")
    parser.add_argument("--steps", type=int, default=100_000, help="of a run on the online problem")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--file", type=Path, default=Path("build/recorded.jsonl"), help="where the rows are kept")
    given = parser.parse_args()
    names, now = given.names or list(classes()), made_by()
    given.file.parent.mkdir(parents=True, exist_ok=True)
    lines = given.file.read_text().splitlines() if given.file.exists() else []
    kept = [each for each in map(json.loads, lines) if (each["made_by"], each["steps"]) == (now, given.steps)]
    rows: dict[str, Row] = {each["name"]: each for each in kept if each["name"] in names}
    for each in rows.values():
        print(shown(each))
    left = [name for name in names if name not in rows]
    print(f"{len(rows)} rows are in {given.file}, {len(left)} are missing; {now}", flush=True)
    with (
        ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool,
        given.file.open("a") as file,
    ):
        for done in as_completed([pool.submit(row, name, given.steps) for name in left]):
            each = rows[done.result()["name"]] = done.result()
            print(json.dumps(each), file=file, flush=True)
            print(shown(each), flush=True)
    counts = Counter(verdict(each).partition(":")[0] for each in rows.values())
    print(f"\n{len(rows)} classes, {', '.join(f'{count} {outcome}' for outcome, count in counts.most_common())}")
    reasons = Counter(verdict(each).partition(": ")[2] for each in rows.values() if "not compiled" in verdict(each))
    for reason, count in reasons.most_common():
        print(f"{count:4d} not compiled: {reason}")
    if counts["DIFFERS"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
