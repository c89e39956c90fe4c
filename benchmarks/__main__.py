"""Compares the speed of AMSGrad on the online problem in float32 with that of other programs: ``make bench``.

All candidates are timed in turn, in several rounds. Every ratio is the median over the rounds of the ratio of two
adjacent times, so that a drift in the machine's speed has little effect.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.table import Table

from amsgrad_exp.optimizers import AMSGrad
from amsgrad_exp.rules import OPTIMIZERS
from benchmarks.candidates import (
    RUNS,
    STEPS,
    Timed,
    bare_torch_loop,
    command,
    compiled,
    compiled_batch,
    compiled_decaying,
    console,
    engine_loop,
    optax_scan,
    parameter_steps,
    peak_megabytes,
    plain_c,
    recorded_rule,
)

ROUNDS = 7

SWEEP = ["sweep", "--optimizer", "adam", "--grid", "beta1=0:0.99:100", "--grid", "beta2=log1m:0.5:0.99999:100"]


def measure(candidates: Mapping[str, Timed | None]) -> dict[str, list[float]]:
    """Times of every candidate, round by round, after one round to warm up."""
    present = {name: timed for name, timed in candidates.items() if timed is not None}
    seconds: dict[str, list[float]] = {name: [] for name in present}
    for number in range(ROUNDS + 1):
        for name, timed in present.items():
            taken = timed()
            if number:
                seconds[name].append(taken)
    return seconds


def table(title: str, seconds: dict[str, list[float]], unit: str, scale: float) -> None:
    """Medians, and ratios to the first candidate paired round by round."""
    first, *_ = seconds.values()
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", unit, "min", "max", "ratio to the first"):
        shown.add_column(column, justify="left" if not column else "right")
    for name, times in seconds.items():
        ratio = statistics.median(time / reference for time, reference in zip(times, first, strict=True))
        numbers = (statistics.median(times), min(times), max(times))
        shown.add_row(name, *(f"{number * scale:,.4g}" for number in numbers), f"{ratio:,.4g}")
    console.print(shown, "")


def main() -> None:
    threads = {
        "one thread": compiled_batch(RUNS),
        "two threads, twice the runs": compiled_batch(RUNS, threads=2),
    }
    table(f"Threads: {RUNS} runs in the batch of each", measure(threads), "ns a step of a run", 1e9)
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "compiled engine, no fast-forward": compiled(),
            "plain C loop, cc -O3": plain_c(Path(folder)),
            "optax under lax.scan, the same experiment": optax_scan(same_experiment=True),
            "optax under lax.scan, float32 regret, no points": optax_scan(same_experiment=False),
            "torch engine, AMSGrad of amsgrad_exp": engine_loop(OPTIMIZERS["amsgrad"].path),
            "torch engine, Adam(amsgrad=True) of torch.optim": engine_loop("torch.optim.Adam"),
            "bare loop, Adam(amsgrad=True) of torch.optim": bare_torch_loop(torch.optim.Adam, amsgrad=True),
        }
        table("Loops: AMSGrad on the online problem, float32", measure(loops), "ns a step", 1e9)
    whole = command("run", "--optimizer", "torch.optim.NAdam", "--steps", str(STEPS))
    imported = {
        "recorded rule, compiled, step sizes α/√t": recorded_rule("compiled"),
        "torch engine, step sizes α/√t": recorded_rule("torch"),
        "bare loop": bare_torch_loop(torch.optim.NAdam),
        f"run --optimizer torch.optim.NAdam, {STEPS:,} steps": lambda: whole() / STEPS,
    }
    table("An imported optimizer: NAdam of torch.optim on the online problem", measure(imported), "ns a step", 1e9)
    network = {
        "torch.optim.Adam(amsgrad=True, foreach=True)": parameter_steps(torch.optim.Adam, amsgrad=True, foreach=True),
        "AMSGrad": parameter_steps(AMSGrad),
        "AMSGrad(foreach=False)": parameter_steps(AMSGrad, foreach=False),
        "torch.optim.Adam(amsgrad=True)": parameter_steps(torch.optim.Adam, amsgrad=True),
    }
    table("A step of 300 parameters of 1,000 elements", measure(network), "ms", 1e3)
    batches = {
        f"{RUNS} runs in a batch": compiled_batch(RUNS),
        "one run in the compiled loop": compiled_decaying(),
        f"{RUNS} runs of optax under vmap": optax_scan(same_experiment=True, runs=RUNS),
        f"{RUNS} runs of optax, float32 regret": optax_scan(same_experiment=False, runs=RUNS),
    }
    table(
        "Batches: AMSGrad on the online problem, float32, step sizes α/√t", measure(batches), "ns a step of a run", 1e9
    )
    run = ("run", "--optimizer", "amsgrad")
    commands = {
        "10^7 steps": command(*run),
        "10^12 steps": command(*run, "--steps", "1e12"),
        "10^7 steps, --no-fast-forward": command(*run, "--no-fast-forward"),
        "compare, with its figure": command("compare"),
        "sweep of the README's 100 × 100 cells, with its picture": command(*SWEEP),
        "--help": command("--help"),
    }
    table(
        "Whole commands, start-up included, once compiled: run --optimizer amsgrad", measure(commands), "seconds", 1.0
    )
    console.print(f"peak memory of run --optimizer amsgrad: {peak_megabytes(*run):.0f} MB")


main()
