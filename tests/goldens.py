"""Compare what the commands write, number by number, with what version 0.2.0 wrote: make goldens.

``data/goldens.json`` has a digest for every trace, sweep cell and command below. A refactoring must not change any. To
compute them anew with another version: ``python -P tests/goldens.py --write FILE`` in that version's environment.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "data" / "goldens.json"
RULES = (
    "adam adamw adamax nadam radam amsgrad adamnc adamx nosadam padam yogi adabelief acprop adabound amsbound adashift "
    "adopt avagrad adan lion rmsprop adagrad adadelta sgd signsgd"
).split()
SEVERAL = "adam amsgrad:dialect=paper adashift adopt adagrad sgd".split()  # in the gauntlet
IMPORTED = [f"torch.optim.{name}" for name in ("Adam", "NAdam", "Rprop")]
OWN_SETTINGS = [{"name": "adam", "options": {"dialect": "paper"}}, {"name": "amsgrad", "options": {"dialect": "optax"}}]
PROBLEMS = {1: "online", 32: "stochastic"}  # by the number of seeds
LENGTH = {"steps": 400_000, "log_every": 400}  # so long that some of the runs repeat themselves
SWEEPS = {
    "adam-plane": "--optimizer adam --grid beta1=0:0.9:12 --grid beta2=log1m:0.5:0.9999:12",
    "theorem1": "--problem theorem1 --optimizer amsgrad --optimizer adam --grid C=2.5:9:7 --grid beta2=0.1:0.9:9",
    "lr-decaying": "--optimizer yogi --optimizer adam --grid lr=log:0.001:1:20 --schedule inv-sqrt --dtype float64",
    "table": "--problem stochastic --optimizer adam --grid lr=0.1,0.01 --grid probability=0.01,0.02 "
    "--grid beta2=0.9,0.99",
    "option": "--optimizer adashift --grid n=1,2,5,10",
}
TORCH_SWEEP = "--optimizer torch.optim.NAdam --grid steep=500:2000:11 --grid period=20:165:6 --steps 2000"
NUMBERS = (
    "steps_simulated steps_derived x mean_x total_regret regret iterate regret_trend evidence limit_regret cycle_start "
    "cycle_steps mean_x_halfwidth regret_halfwidth"
).split()
MACHINES_OWN = ("torch/", "checksums/")  # torch rounds, and so does the logarithm in a trend, as the processor does
SHORT = "--steps 2000"
ATTACK = "attack --optimizer adam --beta1 0 --beta2 0.5 --problems 300 --max-period 8 --no-figure"
COMMANDS = [
    "--version",
    "",
    "run --help",
    f"run --json {SHORT}",
    f"run --bound --json {SHORT}",
    f"run --problem stochastic --seeds 4 --json {SHORT}",
    f"run --optimizer torch.optim.NAdam --json {SHORT}",
    f"run --optimizer sgd --problem bock-weiss --lr 1e6 {SHORT}",
    f"run --optimizer adamm {SHORT}",
    "run --optimizer torch.optim.Missing",
    "run --steps 0",
    "run --set steep=",
    "run --problem missing",
    "run --config missing.yaml",
    "run --lr -1",
    f"compare --json {SHORT}",
    f"compare --bound --json --no-figure {SHORT}",
    f"compare --no-figure --expect adam=optimum {SHORT}",
    "compare --expect adam=nowhere",
    "compare --optimizer adam --optimizer adam",
    f"sweep --grid beta2=0.9:0.99:3 --export csv --no-figure {SHORT}",
    "sweep",
    "sweep --grid beta2=0.9:0.99",
    f"gauntlet --optimizer adam --problem online --json --no-figure {SHORT}",
    f"gauntlet --optimizer adam --problem online --no-figure --expect adam=online:optimum {SHORT}",
    "gauntlet --optimizer missing",
    f"{ATTACK} --json",
    f"{ATTACK} --expect survives",
    "attack --optimizer missing",
    "boundary --beta1 0.9",
    "boundary --problem stochastic",
    f"run --optimizer amsgrad {SHORT}",  # what "last" is below
    "resume last",
    "resume missing",
    "verify last",
    "verify last --engine torch",
    "show last",
    "show missing",
    "plot last",
    "plot missing",
    "report last",
    "report missing",
    *(f"list {kind}" for kind in ("problems", "optimizers", "schedules", "runs", "sweeps", "missing")),
]

Golden = str | int | list[str]
Goldens = Iterator[tuple[str, Golden]]


def digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def traces(dtype: str, schedule: str, seeds: int) -> Goldens:
    """Every rule's trace.csv, and how many of its steps were simulated."""
    entries: list[Any] = [{"name": name, "lr": 0.5 if schedule == "inv-sqrt" else 0.01} for name in RULES]
    entries += OWN_SETTINGS if schedule == "constant" else []
    setup = {"problem": PROBLEMS[seeds], "seeds": seeds, "schedule": schedule, "dtype": dtype, **LENGTH}
    yield from _runs(f"trace/{dtype}/{schedule}/{seeds}", optimizers=entries, **setup)


def torch_runs(dtype: str) -> Goldens:
    """Single runs of the torch engine, of our rules and of imported optimizers."""
    setup: dict[str, Any] = {"problem": "online", "engine": "torch", "dtype": dtype, "log_every": 10}
    yield from _runs(f"torch/1/{dtype}", optimizers=[*RULES, *IMPORTED], steps=500, **setup)
    yield from _runs(f"torch/1/{dtype}/long", optimizers=["amsgrad", "torch.optim.Adam"], steps=200_000, **setup)


def _runs(prefix: str, **experiment: Any) -> Goldens:
    from amsgrad_exp import Experiment, compare

    for label, run in compare(Experiment(**experiment), "logs").items():
        assert run.result is not None
        yield f"{prefix}/{label}", f"{digest(run.trace_bytes())} of {run.result.steps_simulated} steps"


def sweep(name: str, arguments: str) -> Goldens:
    """A sweep's rows, by optimizer."""
    yield from _cells(name, f"sweep {arguments} --steps 200000", ["optimizer"])


def torch_sweep() -> Goldens:
    """Cells of an imported optimizer: elements of one parameter, 64 or a multiple of it wide."""
    yield from _cells("torch/64", f"sweep {TORCH_SWEEP}", ["optimizer"])


def gauntlet() -> Goldens:
    """A gauntlet's rows and the points of its curves, by optimizer and problem."""
    optimizers = " ".join(f"--optimizer {name}" for name in SEVERAL)
    yield from _cells("gauntlet", f"gauntlet {optimizers} --steps 30000 --seeds 4", ["optimizer", "problem"])


def _cells(name: str, command: str, by: list[str]) -> Goldens:
    """The rows, their checksums and their points in results.sqlite, grouped by some columns."""
    status, _ = _command(f"{command} --quiet --no-figure --out cells")
    assert status == 0, (command, status)
    (database,) = Path("cells").glob("*/*/results.sqlite")
    with contextlib.closing(sqlite3.connect(database)) as opened:
        opened.row_factory = sqlite3.Row
        rows = [dict(row) for row in opened.execute("SELECT * FROM cells ORDER BY cell")]
        has_points = opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchone()
        points = dict(opened.execute("SELECT cell, sha256 FROM points")) if has_points else {}
    shutil.rmtree("cells")
    for key, group in itertools.groupby(rows, lambda row: "/".join(row[column] for column in by)):
        cells = list(group)
        numbers = [[row.get(column) for column in NUMBERS] + [row["failure"] is None] for row in cells]
        kept = [row["sha256"] for row in cells if row["failure"] is None]
        yield f"{name}/{key}", digest(json.dumps([numbers, [points.get(row["cell"]) for row in cells]]).encode())
        yield f"checksums/{name}/{key}", digest("".join(kept).encode())


def commands() -> Goldens:
    """Every command's exit status, and the keys of its JSON document."""
    for arguments in COMMANDS:
        status, printed = _command(arguments)
        yield f"status/{arguments}", status
        if "--json" in arguments.split():
            yield f"json/{arguments}", sorted(set(_keys(json.loads(printed))))
    for trace in Path("logs").glob("*/*/trace.csv"):
        trace.write_text(trace.read_text().replace("1", "2", 1))
    yield "status/verify last, damaged", _command("verify last")[0]
    for number in (signal.SIGINT, signal.SIGTERM):
        yield f"status/run, {number.name}", _interrupted(number)


def _interrupted(number: signal.Signals) -> int:
    """The status of a run that is sent a signal once it has written a checkpoint."""
    out = Path(number.name)
    arguments = ["run", "--schedule", "inv-sqrt", "--steps", "1e12", "--log-every", "1e6", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "amsgrad_exp", *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("*/*/checkpoint")):
        time.sleep(0.05)
    process.send_signal(number)
    return process.wait()


def _command(arguments: str) -> tuple[int, str]:
    """The exit status of a command in this process, and what it printed."""
    from amsgrad_exp import cli

    printed = io.TextIOWrapper(io.BytesIO(), write_through=True)
    sys.argv = ["amsgrad-exp", *arguments.split()]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())):
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
    printed.seek(0)
    return status, printed.read()


def _keys(document: Any, path: str = "") -> Iterator[str]:
    """The paths to all values of a JSON document, alike for all entries of a list."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield f"{path}.{name}".lstrip(".")
            yield from _keys(value, f"{path}.{name}")
    elif isinstance(document, list):
        for value in document:
            yield from _keys(value, f"{path}[]")


TASKS: list[Callable[[], Goldens]] = [
    commands,
    gauntlet,
    *(partial(traces, *each) for each in itertools.product(("float32", "float64"), ("constant", "inv-sqrt"), PROBLEMS)),
    *(partial(sweep, *each) for each in SWEEPS.items()),
    partial(torch_runs, "float32"),
    partial(torch_runs, "float64"),
    torch_sweep,
]


def computed(number: int) -> dict[str, Golden]:
    """The goldens of one task, computed in an empty directory."""
    os.environ["OMP_NUM_THREADS"] = "1"
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["HOME"] = directory
        os.chdir(directory)
        try:
            return dict(TASKS[number]())
        finally:
            os.chdir(before)


def processor() -> str:
    """What the bits of torch's numbers depend on."""
    import torch

    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def differences(old: dict[str, Golden], new: dict[str, Golden], *, same_processor: bool) -> Iterator[str]:
    """A line for each golden that is not what it was; a JSON document may have more keys than before."""
    for name, was in old.items():
        now = new.get(name)
        if name.startswith(MACHINES_OWN) and not same_processor:
            continue
        if isinstance(was, list) and isinstance(now, list):
            if missing := sorted(set(was) - set(now)):
                yield f"{name}: no longer has {', '.join(missing)}"
        elif was != now:
            yield f"{name}: was {was}, is {now}"
    yield from (f"{name}: {FILE.name} does not have it" for name in new.keys() - old.keys())


def main() -> None:
    """Compute all goldens in two processes; write them to a file, or compare them with the file."""
    with ProcessPoolExecutor(2) as executor:
        new = {name: golden for part in executor.map(computed, range(len(TASKS))) for name, golden in part.items()}
    if sys.argv[1:2] == ["--write"]:
        lines = {"processor": processor(), "goldens": dict(sorted(new.items()))}
        Path(sys.argv[2]).write_text(json.dumps(lines, indent=0) + "\n")
        return
    file = json.loads(FILE.read_text())
    same_processor = file["processor"] == processor()
    if not same_processor:
        print(f"not compared, since they were computed on {file['processor']}: {', '.join(MACHINES_OWN)}")
    found = list(differences(file["goldens"], new, same_processor=same_processor))
    print("\n".join(found) or f"all {len(new)} are what version 0.2.0 wrote")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
