"""Tests random command lines and YAML files: they end with a documented exit status, and wrong ones write nothing.

`make soak` tries 2,000 command lines and 500 files, the suite fewer.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from amsgrad_exp import Sweep, cli, run, sweep
from amsgrad_exp.cli.app import app
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Experiment

SOAK = bool(os.environ.get("AMSGRAD_EXP_KILLS"))
COMMAND_LINES, FILES = (2000, 500) if SOAK else (100, 40)
STATUSES = {0, 1, 2, 3, 4}

few = settings(
    max_examples=COMMAND_LINES,
    derandomize=not SOAK,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
garbage = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
numbers = st.sampled_from(
    [
        *"0 1 2 -1 10 007 0x10 0o7 1e1 1e-2 .5 5. 1_0 0.99 1.5 nan .nan inf -.inf 1e400 1e-400".split(),
        *("x", "yes", "null", "12:30", "1,2", " ", "", "9" * 5000, "1e" + "9" * 50),
    ]
)
optimizers = st.sampled_from("adam sgd adam: adm torch.optim.SGD torch.optim.SparseAdam torch.nn.Linear .. a.b".split())
problems = st.sampled_from("online stochastic theorem1 bock-weiss cycle onlin".split())
schedules = st.sampled_from(
    "constant inv-sqrt inv:c=2 step step:every=3 linear cosine:warmup=3,final=0.1 cosine: x:y=1".split()
)
assignments = st.tuples(
    st.sampled_from("low high steep period C c start_at slopes n lam beta1_decay dialect weight_decay lr".split()),
    st.just("=") | st.just(""),
    numbers | st.sampled_from("geometric paper 2,-1x3 [1, {a:1} [[[]]] &a[*a]".split()) | garbage,
).map("".join)
references = st.sampled_from([*["last"] * 9, "", ".", "..", "nowhere", "x" * 300, "logs", "*", "[", "é"])

# Values for options: mostly one of these words, which the option takes in some command; sometimes anything.
WORDS: dict[str, str] = {
    "--optimizer": "adam sgd torch.optim.SGD",
    "--problem": "online stochastic theorem1 bock-weiss",
    "--schedule": "constant inv-sqrt inv step:every=3 linear cosine:warmup=3,final=0.1",
    "--set": "period=5 low=-2 steep=1e3 C=0x10 C=5 c=.5",
    "--option": "weight_decay=1e-2 momentum=0.5 dialect=paper beta1_decay=geometric",
    "--grid": "lr=0.1,0.2 beta2=0.1:0.9:3 lr=log:1e-3:1e-1:3 beta2=log1m:0.5:0.9:2 period=3,5 C=3,4 x=1 lr=1:2 lr=",
    "--expect": "adam=optimum adam=worst adam=online:worst survives",
    "--settings": "stated defaults",
    "--engine": "auto compiled torch",
    "--dtype": "float32 float64",
    "--config": "nowhere.yaml . /dev/null",
    "--out": "here . /dev/null /dev/null/x",
    "--figure": "there x.png . /dev/null/x",
    "--export": "csv",
    "--lr": "0.1 1e-2",
    "--beta1": "0 0.5",
    "--beta2": "0.9 .99",
    "--eps": "1e-8 0",
    "--log-every": "1 7 1e1",
    "--seed": "0 0x10 3",
    "--seeds": "1 2",
    "--dask": "nowhere:1",
}
FLAGS = {"--json", "--quiet", "--bound", "--no-fast-forward", "--all", "--no-figure"}
COMMANDS: dict[str, list[str]] = {
    "run": ["--steps=40"],
    "compare": ["--steps=40", "--no-figure"],
    "sweep": ["--steps=40", "--no-figure", "--optimizer=adam", "--jobs=1", "--grid=eps=1e-8,1e-9"],
    "gauntlet": ["--steps=40", "--no-figure", "--optimizer=sgd", "--problem=online", "--seeds=2", "--jobs=1"],
    "attack": ["--optimizer=sgd", "--problems=3", "--seconds=0.1", "--max-period=3", "--no-figure"],
    "boundary": [],
    "resume": [],
    "verify": [],
    "show": [],
    "plot": [],
    "report": [],
    "list": [],
    **({"identify": []} if SOAK else {}),  # because it takes seconds
}


# Options that make a command slow, or that a test should not use.
LEFT_OUT = {"--steps", "--open", "--dask", "--help", "--seconds", "--problems", "--max-period", "--report", "--jobs"}


@functools.cache
def options_of(command: str) -> list[str]:
    """Return the options of a command from which some are drawn."""
    known = {name for param in get_command(app).commands[command].params for name in param.opts if name[:2] == "--"}  # type: ignore[attr-defined]
    return sorted(known - LEFT_OUT)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(list(COMMANDS)))
    words: list[str] = []
    rarely = st.integers(0, 99).map(lambda number: 40 < number < 48)
    for name in draw(st.lists(st.sampled_from(options_of(command)), max_size=4, unique=True)):
        if draw(rarely):
            name = draw(st.sampled_from([*WORDS, *FLAGS, "--help", "--version", "--no-such-option", "-q"]) | garbage)
        values = [numbers, optimizers, problems, schedules, assignments, garbage]
        value = st.one_of(values) if draw(rarely) else st.sampled_from(WORDS.get(name, "x").split())
        words += [name] if name in FLAGS and not draw(rarely) else [name, draw(value)]
    if command in ("resume", "verify", "show", "plot", "report", "list", "identify") or draw(rarely):
        known = st.sampled_from(["runs", "sweeps", "optimizers", "schedules"]) if command == "list" else references
        words += draw(st.lists(garbage if draw(rarely) else known, min_size=1, max_size=1 + draw(rarely)))
    return [command, *words, *(word for word in COMMANDS[command] if word.partition("=")[0] not in words)]


def _ends_as_documented(arguments: list[str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command line in a directory, check what holds for every command, and return its exit status."""
    before = sorted(path for path in directory.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    minded = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(directory)
        patch.setattr(sys, "argv", ["amsgrad-exp", *arguments])
        patch.setattr(sys, "path", [*sys.path])
        for stream in (out, err):
            patch.setattr(stream, "reconfigure", lambda **given: None, raising=False)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    signal.signal(signal.SIGINT, minded)
    status = ended.value.code or 0
    assert status in STATUSES, (arguments, status)
    assert "Traceback" not in err.getvalue(), arguments
    if status == 2:
        assert sorted(path for path in directory.rglob("*")) == before, arguments
        assert err.getvalue().startswith("amsgrad-exp: ") or not arguments, (arguments, err.getvalue())
        assert len(err.getvalue().splitlines()) <= 1, (arguments, err.getvalue())
    return int(status)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a recorded run and a sweep."""
    where = tmp_path_factory.mktemp("records")
    run(Experiment.model_validate({"steps": 40, "optimizers": ["adam"]}), where / "logs")
    sweep(Sweep.of({"beta2": "0.9,0.99"}, optimizers=["adam"], steps=40), where / "sweeps")
    return where


@few
@given(arguments=command_lines())
def test_any_command_line_ends_as_documented(
    arguments: list[str], records: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path_factory.mktemp("anywhere")
    shutil.copytree(records, where, dirs_exist_ok=True)
    _ends_as_documented(arguments, where, monkeypatch)


scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(sorted(OPTIMIZERS)),
    numbers,
    problems,
    schedules,
    optimizers,
)
own = ["lr", "beta1", "beta2", "eps", "C", "period", "low", "high", "options", "label", "n", "slopes", "start_at"]
keys = st.text(max_size=6) | st.sampled_from([*Experiment.model_fields, *own, "grid", "schedules", "problems"])
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
entry = st.builds(
    lambda name, more: {"name": name, **more},
    optimizers | problems,
    st.dictionaries(st.sampled_from([*own]), scalars, max_size=2),
)
good_problems = st.sampled_from(["online", "stochastic", "theorem1", {"name": "bock-weiss", "c": "5e-1"}])
good_optimizers = st.sampled_from(["adam", "sgd", {"name": "adam", "lr": "1e-2", "label": "é: '"}, "torch.optim.SGD"])
likely = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("a") | st.sampled_from(["", "a/b", "..", 3]) | garbage,
        "problem": good_problems | good_problems | problems | entry | scalars,
        "optimizers": st.lists(good_optimizers, min_size=1, max_size=2)
        | st.lists(optimizers | entry | scalars, max_size=3)
        | anything,
        "schedule": st.sampled_from(["inv", {"name": "step", "every": 0x10}]) | schedules | anything,
        "seed": st.integers(0, 2**63) | scalars,
        "dtype": st.sampled_from(["float32", "float64"]) | st.sampled_from(["half", 3]),
        "log_every": st.sampled_from([1, 7, "1e1"]) | scalars,
        "fast_forward": st.booleans() | scalars,
        "grid": st.just({"lr": "0.1,0.2"}) | st.dictionaries(st.sampled_from(["lr", "C", "x"]), anything) | anything,
    },
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    data = draw(likely | likely | st.dictionaries(keys, anything, max_size=5) | anything)
    content: bytes = yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(content)))
        piece = draw(st.binary(max_size=2) | st.sampled_from([b"&a ", b"*a", b": ", b"- ", b"\t", b"!!int ", b"{"]))
        content = content[:at] + piece + content[at + draw(st.integers(0, 2)) :]
    return content


@settings(few, max_examples=FILES)
@given(content=files(), command=st.sampled_from(["run", "compare", "sweep", "gauntlet"]))
def test_any_file_ends_as_documented(
    content: bytes, command: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path_factory.mktemp("anywhere")
    (directory / "fuzzed.yaml").write_bytes(content)
    short = {"run": ["--optimizer=adam"], "compare": ["--optimizer=adam", "--no-figure"]}
    more = short.get(command, COMMANDS[command][1:])
    _ends_as_documented([command, "--config=fuzzed.yaml", "--steps=40", *more], directory, monkeypatch)
