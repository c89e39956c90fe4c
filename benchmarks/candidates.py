"""Defines what is timed: this package's loops and commands, and other programs for the same experiment."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from amsgrad_exp.engines import build
from amsgrad_exp.engines.compiled import CompiledBatch
from amsgrad_exp.engines.driver import drive
from amsgrad_exp.problems import Online
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment

STEPS = 10_000_000
TORCH_STEPS = 2_000
PARAMETER_STEPS = 50
RUNS = 256
BATCH_STEPS = 1_000_000
BETAS = (0.9, 0.99)

console = Console(width=max(100, Console().width), markup=False)

Timed = Callable[[], float]
"""Does the work once and returns the seconds per step, or the seconds of a whole command."""


def per_step(steps: int, work: Callable[[], object]) -> Timed:
    def timed() -> float:
        begun = time.perf_counter()
        work()
        return (time.perf_counter() - begun) / steps

    return timed


def trial(schedule: str = "constant", lr: float = 0.01) -> Trial:
    """AMSGrad on the online problem."""
    (only,) = load_experiment(optimizers=["amsgrad"], schedule=schedule, settings={"lr": lr}).trials()
    return only


def compiled() -> Timed:
    def work() -> None:
        engine = build(trial())
        for _ in drive(engine, STEPS, 1000, fast_forward=False):
            pass

    return per_step(STEPS, work)


def plain_c(folder: Path) -> Timed | None:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        console.print("no C compiler: the plain C loop is skipped")
        return None
    library = folder / "loop.so"
    source = Path(__file__).with_name("loop.c")
    subprocess.run([compiler, "-O3", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    function = ctypes.CDLL(str(library)).amsgrad_online
    points = STEPS // 1000
    losses, xs, total_regrets = np.empty(points, np.float32), np.empty(points, np.float32), np.empty(points)
    final_x = ctypes.c_float()
    arguments = (
        ctypes.c_int64(STEPS),
        ctypes.c_int64(1000),
        *(ctypes.c_float(number) for number in (0.01, *BETAS, 1e-16)),
        *(array.ctypes.data_as(ctypes.c_void_p) for array in (losses, xs, total_regrets)),
        ctypes.byref(final_x),
    )
    timed = per_step(STEPS, lambda: function(*arguments))
    timed()
    assert abs(total_regrets[-1] / STEPS - 0.33) < 0.005, "the C loop is not the experiment"
    return timed


def optax_scan(*, same_experiment: bool, runs: int = 0) -> Timed | None:
    """optax's AMSGrad under lax.scan, with or without regret in float64 and logged points as in this package.

    With ``runs``, this many runs at once under jax.vmap, with step sizes α/√t.
    """
    if importlib.util.find_spec("optax") is None:
        console.print("no jax and optax (pip install 'amsgrad-exp[bench]'): lax.scan is skipped")
        return None
    import jax
    import jax.numpy as jnp
    import optax

    steps = BATCH_STEPS if runs else STEPS
    regret_dtype = jnp.float64 if same_experiment else jnp.float32

    def step(optimizer: Any, carry: Any, slope: Any) -> Any:
        x, state, total_regret = carry
        loss = slope * x - slope * jnp.float32(-1)
        update, state = optimizer.update(slope, state)
        moved = jnp.clip(optax.apply_updates(x, update), -1.0, 1.0).astype(jnp.float32)
        return (moved, state, total_regret + loss.astype(regret_dtype)), (loss, x)

    def start(optimizer: Any) -> Any:
        x = jnp.float32(0)
        return x, optimizer.init(x), jnp.zeros((), regret_dtype)

    def until_the_end(optimizer: Any, slopes: Any) -> Any:
        def until_point(carry: Any, slopes: Any) -> Any:
            carry, (losses, xs) = jax.lax.scan(functools.partial(step, optimizer), carry, slopes)
            return carry, (losses[-1], xs[-1], carry[2])

        if same_experiment:
            return jax.lax.scan(until_point, start(optimizer), slopes.reshape(-1, 1000))
        return jax.lax.scan(lambda carry, slope: (step(optimizer, carry, slope)[0], None), start(optimizer), slopes)

    @jax.jit
    def scan(slopes: Any) -> Any:
        return until_the_end(optax.amsgrad(0.01, *BETAS, eps=1e-16), slopes)

    @jax.jit
    def scan_batch(slopes: Any) -> Any:
        def alone(lr: Any) -> Any:
            optimizer = optax.amsgrad(lambda count: lr / jnp.sqrt(count + 1.0), *BETAS, eps=1e-16)
            return until_the_end(optimizer, slopes)

        return jax.vmap(alone)(jnp.linspace(0.5, 1.5, runs, dtype=jnp.float32))

    def work() -> None:
        with jax.enable_x64(same_experiment):
            jax.block_until_ready((scan_batch if runs else scan)(slopes))

    with jax.enable_x64(same_experiment):
        slopes = jnp.asarray(Online().coefficients(0, steps)[0], jnp.float32)
    return per_step(steps * max(runs, 1), work)


def compiled_batch(runs: int, threads: int = 1) -> Timed:
    """The compiled loop on a batch of ``runs`` runs with step sizes α/√t; with threads, on one batch per thread."""

    def batch() -> CompiledBatch:
        rates = np.linspace(0.5, 1.5, runs).tolist()
        return CompiledBatch([trial("inv-sqrt", lr) for lr in rates])

    def timed() -> float:
        batches = [batch() for _ in range(threads)]
        with ThreadPoolExecutor(threads) as executor:
            begun = time.perf_counter()
            for _ in executor.map(lambda batch: batch.advance(BATCH_STEPS, 1000), batches):
                pass
        return (time.perf_counter() - begun) / (BATCH_STEPS * runs * threads)

    return timed


def compiled_decaying() -> Timed:
    def work() -> None:
        engine = build(trial("inv-sqrt", 1.0))
        for _ in drive(engine, STEPS, 1000):
            pass

    return per_step(STEPS, work)


def engine_loop(path: str) -> Timed:
    options = {"amsgrad": "true"} if path.startswith("torch.") else {}
    settings = {"beta1": BETAS[0], "beta2": BETAS[1], "eps": 1e-16}
    (only,) = load_experiment(optimizers=[path], engine="torch", settings=settings, options=options).trials()

    def work() -> None:
        build(only).advance(TORCH_STEPS, 1000)

    return per_step(TORCH_STEPS, work)


def recorded_rule(engine: str) -> Timed:
    """NAdam of torch.optim with step sizes α/√t: compiled, with torch's bits and all checks, or literally."""
    steps = BATCH_STEPS if engine == "compiled" else TORCH_STEPS
    given: dict[str, Any] = {"steps": BATCH_STEPS, "schedule": "inv-sqrt", "engine": engine}
    (imported,) = load_experiment(optimizers=["torch.optim.NAdam"], **given).trials()
    return per_step(steps, lambda: build(imported).advance(steps, 1000))


def bare_torch_loop(kind: Callable[..., torch.optim.Optimizer], **options: Any) -> Timed:
    """A plain training loop around an optimizer of torch.optim, without an engine of this package."""

    def work() -> None:
        x = torch.nn.Parameter(torch.zeros(1))
        optimizer = kind([x], lr=0.01, betas=BETAS, eps=1e-16, **options)
        total_regret = 0.0
        for t in range(TORCH_STEPS):
            slope = 1010.0 if t % 101 == 1 else -10.0
            loss = (slope * x).sum() + slope
            total_regret += loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            x.data.clamp_(-1.0, 1.0)

    return per_step(TORCH_STEPS, work)


def parameter_steps(kind: Callable[..., torch.optim.Optimizer], **options: Any) -> Timed:
    """Steps of an optimizer on 300 small parameters, about as many as a network has."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(1000, generator=generator)) for _ in range(300)]
    for parameter in parameters:
        parameter.grad = torch.randn(1000, generator=generator)
    optimizer = kind(parameters, **options)

    def work() -> None:
        for _ in range(PARAMETER_STEPS):
            optimizer.step()

    return per_step(PARAMETER_STEPS, work)


def command(*arguments: str) -> Timed:
    """A whole process with a command of this package."""
    program = f"import sys\nfrom amsgrad_exp.cli import main\nsys.argv = ['amsgrad-exp', *{arguments!r}]\nmain()"

    def timed() -> float:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - begun

    return timed


def peak_megabytes(*arguments: str) -> float:
    """The peak memory of a process with a small parent; a child's peak includes its parent's memory at the fork."""
    program = (
        "import resource, subprocess, sys\n"
        f"command = [sys.executable, '-m', 'amsgrad_exp', *{arguments!r}]\n"
        "subprocess.run(command, check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True)
    return int(done.stdout) / (1024 if sys.platform == "linux" else 1024**2)
