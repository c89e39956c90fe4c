"""The command line as a subprocess: what a stranger types, and what comes back."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amsgrad_exp.output import console
from amsgrad_exp.output.figures import regret_and_iterate
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine

RUN_KEYS = [
    "optimizer",
    "problem",
    "schedule",
    "engine",
    "dtype",
    "steps",
    "steps_simulated",
    "steps_derived",
    "x",
    "mean_x",
    "total_regret",
    "regret",
    "regret_slope",
    "iterate",
    "regret_trend",
    "seconds",
    "directory",
]


def test_the_papers_experiment(command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line("compare", "--json", "--expect", "adam=worst", "--expect", "amsgrad=optimum")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "runs"]
    assert document["schema"] == 1
    adam, amsgrad = document["runs"]
    assert list(adam) == RUN_KEYS
    assert (adam["optimizer"], adam["steps"], adam["engine"], adam["dtype"]) == ("adam", 10**7, "compiled", "float32")
    assert (adam["iterate"], adam["regret_trend"], round(adam["regret"], 2)) == ("worst", "not vanishing", 0.5)
    assert (amsgrad["iterate"], amsgrad["regret_trend"], round(amsgrad["regret"], 2)) == (
        "optimum",
        "not vanishing",
        0.33,
    )
    assert {path.suffix for path in (tmp_path / "logs" / "synthetic").glob("compare-*")} == {".png", ".svg"}


def test_tables_are_readable_at_eighty_columns_and_piped(in_process: CommandLine) -> None:
    done = in_process("compare", "--steps", "1e6", "--no-figure")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for word in ("adam", "amsgrad", "worst point", "optimum", "not vanishing"):
        assert word in done.stdout
    assert "\x1b" not in done.stdout
    one = in_process("run", "--steps", "1e6")
    assert "derived from a repeated cycle" in one.stdout


def test_an_expectation_that_is_not_met(in_process: CommandLine) -> None:
    done = in_process("compare", "--steps", "1e6", "--no-figure", "--expect", "adam=optimum")
    assert done.returncode == 3
    assert done.stderr == "amsgrad-exp: adam: expected optimum, came to worst\n"


TWICE = """
name: twice
steps: 1000
optimizers: [{name: adam, beta2: 0.99}, {name: adam, beta2: 0.999}, {name: adam, beta2: 0.9, label: short memory}]
"""


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_one_optimizer_stands_several_times_in_a_comparison(
    columns: int, in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE)
    monkeypatch.setattr(console.out, "width", columns)
    done = in_process("compare", "--config", "twice.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for label in ("adam, β2 = 0.99", "adam, β2 = 0.999", "short memory"):
        assert sum(line.removeprefix("optimizer").strip().split("  ")[0] == label for line in lines) == 1
    assert [line for line in lines if len(line) > columns and not line.startswith("figure ")] == []
    (svg,) = tmp_path.glob("logs/twice/compare-*.svg")
    assert svg.stat().st_size > 10_000


def test_a_label_without_room_goes_on_in_the_next_line(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("steps: 1000\noptimizers: [adam, {name: torch.optim.SGD, lr: 0.1}]\n")
    lines = in_process("compare", "--config", "long.yaml", "--no-figure").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["adam,", "α = 0.01", "torch.optim.SGD,", "α = 0.1"]


def test_the_document_has_labels_where_names_do_not_do(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE)
    runs = json.loads(in_process("compare", "--config", "twice.yaml", "--json", "--no-figure").stdout)["runs"]
    assert [list(run) for run in runs] == [["label", *RUN_KEYS]] * 3
    assert [(run["label"], run["optimizer"]) for run in runs] == [
        ("adam, β2 = 0.99", "adam"),
        ("adam, β2 = 0.999", "adam"),
        ("short memory", "adam"),
    ]


def test_expectations_are_of_labels_or_of_names_that_stand_once(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWICE.replace("]", ", {name: amsgrad, lr: 0.5}]"))
    compare = ["compare", "--config", "twice.yaml", "--no-figure", "--quiet"]
    refused = in_process(*compare, "--expect", "adam=worst")
    assert refused.returncode == 2
    assert refused.stderr == (
        "amsgrad-exp: Invalid value: --expect adam: 'adam' is compared 3 times: take 'adam, α = 0.01, β2 = 0.99' or "
        "'adam, α = 0.01, β2 = 0.999' or 'short memory'\n"
    )
    twice = in_process(*compare, "--expect", "amsgrad=worst", "--expect", "amsgrad, α = 0.5, β2 = 0.99=worst")
    assert (twice.returncode, twice.stderr.count("\n")) == (2, 1)
    assert "is given twice" in twice.stderr
    assert not (tmp_path / "logs").exists()
    labels = ["amsgrad", "short memory", "adam, α = 0.01, β2 = 0.99"]
    done = in_process(*compare, *(word for label in labels for word in ("--expect", f"{label}=away")))
    assert done.returncode == 3
    assert sorted(line.split(": expected away, came to ")[0] for line in done.stderr.splitlines()) == [
        "amsgrad-exp: adam, α = 0.01, β2 = 0.99",
        "amsgrad-exp: amsgrad, α = 0.5, β2 = 0.99",
        "amsgrad-exp: short memory",
    ]


def test_a_figure_of_runs_says_what_differs(
    in_process: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same trial recorded twice, the runs; of the same run given twice, nothing."""
    drawn: list[list[str]] = []

    def draw(path: Path, traces: dict[str, Trace], problem: Problem) -> list[Path]:
        drawn.append(list(traces))
        return regret_and_iterate(path, traces, problem)

    monkeypatch.setattr("amsgrad_exp.output.figures.regret_and_iterate", draw)
    for changed in (["--beta2", "0.99"], ["--beta2", "0.999"], ["--beta2", "0.999", "--problem", "stochastic"]):
        assert in_process("run", "--steps", "1000", "--quiet", *changed).returncode == 0
    first, second, third = sorted(path.name for path in tmp_path.glob("logs/synthetic/*"))
    assert in_process("plot", first, second, second).returncode == 0
    assert in_process("plot", first, second, third).returncode == 0
    assert in_process("run", "--steps", "1000", "--quiet").returncode == 0
    (fourth,) = {path.name for path in tmp_path.glob("logs/synthetic/*")} - {first, second, third}
    assert in_process("plot", first, second, fourth).returncode == 0
    assert drawn == [
        ["adam, β2 = 0.99", "adam, β2 = 0.999"],
        ["adam on online, β2 = 0.99", "adam on online, β2 = 0.999", "adam on stochastic, β2 = 0.999"],
        [f"adam, β2 = 0.99 {first[:8]}", "adam, β2 = 0.999", f"adam, β2 = 0.99 {fourth[:8]}"],
    ]


WRONG = [
    (["run", "--steps", "0"], "steps: must be greater than or equal to 1"),
    (["run", "--steps", "ten"], "steps: must be a valid integer"),
    (["run", "--beta1", "1"], "beta1: must be less than 1"),
    (["run", "--lr", "nan"], "lr: must be a finite number"),
    (["run", "--lr", "fast"], "--lr"),
    (["run", "--optimizer", "amsgrd"], "did you mean amsgrad?"),
    (["run", "--optimizer", "torch.optim.Nope"], "cannot be imported"),
    (["run", "--problem", "onlin"], "did you mean online?"),
    (["run", "--schedule", "cosine"], "unknown name 'cosine'"),
    (["run", "--engine", "gpu"], "engine: must be"),
    (["run", "--set", "low=3"], "the interval [3, 1] is empty"),
    (["run", "--set", "C=3"], "problem.C: unknown key"),
    (["run", "--set", "period"], "--set takes NAME=VALUE"),
    (["run", "--set", "low=-3", "--set", "low=-2"], "--set low is given twice"),
    (["run", "--config", "missing.yaml"], "missing.yaml cannot be read"),
    (["run", "--steps", "1e12", "--log-every", "1"], "log_every 1 would log"),
    (["run", "--no-such-option"], "No such option"),
    (["run", "--optimizer"], "requires an argument"),
    (["run", "--steps", "5", "--log-every", "100"], "log_every must be at most steps"),
    (["compare", "--optimizer", "adam", "--optimizer", "torch.optim.LBFGS", "--lr", "-1"], "lr: must be greater"),
    (["plot", "last", "--figure", "."], "--figure takes a file's name"),
    (["show", "x" * 5000], "no run under logs"),
    (["compare", "--expect", "adam=left"], "--expect takes LABEL=optimum, worst, between or away"),
    (["compare", "--expect", "sgd=worst"], "'sgd' is not compared"),
    (["compare", "--optimizer", "adam", "--optimizer", "adam"], "listed twice"),
    (["fly"], "No such command 'fly'"),
    (["list", "planets"], "planets"),
    (["show", "nothing"], "no run under logs"),
    (["show", "last"], "there are no runs under logs"),
    (["resume", "."], "is not a run"),
    (["verify", "nothing"], "no run under logs"),
    (["plot", "nothing"], "no run under logs"),
    (["plot"], "Missing argument"),
]


def refused(done: subprocess.CompletedProcess[str], message: str, tmp_path: Path) -> None:
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_one_line_and_nothing_written(
    arguments: list[str], message: str, in_process: CommandLine, tmp_path: Path
) -> None:
    refused(in_process(*arguments), message, tmp_path)


@pytest.mark.parametrize(("arguments", "message"), WRONG[::10])
def test_wrong_input_ends_the_process_with_status_two(
    arguments: list[str], message: str, command_line: CommandLine, tmp_path: Path
) -> None:
    refused(command_line(*arguments), message, tmp_path)


def test_run_picks_one_optimizer_of_a_file(in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("name: both\nsteps: 1000\noptimizers: [adam, {name: amsgrad, lr: 0.5}]\n")
    refused = in_process("run", "--config", "both.yaml")
    assert refused.returncode == 2
    assert "lists adam, amsgrad: pick one with --optimizer" in refused.stderr
    done = in_process("run", "--config", "both.yaml", "--optimizer", "amsgrad", "--json")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["optimizer"] == "amsgrad"
    again = in_process("run", "--config", f"{run['directory']}/experiment.yaml", "--json")
    (repeated,) = json.loads(again.stdout)["runs"]
    for key in set(RUN_KEYS) - {"seconds", "directory"}:
        assert repeated[key] == run[key]


def test_the_commands_on_recorded_runs(in_process: CommandLine, tmp_path: Path) -> None:
    for optimizer in ("adam", "amsgrad"):
        in_process("run", "--optimizer", optimizer, "--steps", "2000", "--quiet")
    listed = in_process("list", "runs").stdout
    assert listed.count("completed") == 2
    shown = in_process("show", "last")
    assert "steps: 2000" in shown.stdout
    assert "R(t)/t" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    drawn = in_process("plot", *(path.name for path in (tmp_path / "logs/synthetic").iterdir()), "--figure", "both")
    assert drawn.returncode == 0
    assert (tmp_path / "both.png").stat().st_size > 10_000
    same = in_process("verify", "last")
    assert (same.returncode, same.stdout) == (0, "identical: 2,000 points run again on the compiled engine\n")
    across = in_process("verify", "last", "--engine", "torch")
    assert across.returncode == 0
    assert "in agreement: 2,000 points run again on the torch engine" in across.stdout


def test_a_changed_digit_is_status_four_and_the_step(in_process: CommandLine, tmp_path: Path) -> None:
    in_process("run", "--steps", "2000", "--log-every", "10", "--quiet")
    (path,) = tmp_path.glob("logs/*/*/trace.csv")
    lines = path.read_text().splitlines(keepends=True)
    step, loss, x, regret = lines[50].split(",")
    lines[50] = ",".join([step, loss, x, regret.replace(regret[3], "1" if regret[3] != "1" else "2", 1)])
    path.write_text("".join(lines))
    done = in_process("verify", "last")
    assert done.returncode == 4
    assert done.stderr.startswith("amsgrad-exp: different from step 499 on: largest differences loss 0, x 0, regret ")
    path.write_text("".join(lines)[:-3])
    cut = in_process("verify", "last")
    assert cut.returncode == 4
    assert "trace.csv is damaged" in cut.stderr


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "amsgrad_exp", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_run(tmp_path: Path, since: float = 0.0) -> Path:
    """The directory of a run that has logged something since a moment in seconds of the epoch."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in tmp_path.glob("logs/*/*/trace.csv"):
            if path.stat().st_size > 1000 and path.stat().st_mtime > since:
                return path.parent
        time.sleep(0.05)
    raise TimeoutError


LONG = ("--problem", "stochastic", "--steps", "1e10", "--log-every", "1e5")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("subcommand", ["run", "compare"])
def test_an_interruption_says_how_to_go_on(number: int, status: int, subcommand: str, tmp_path: Path) -> None:
    process = start(tmp_path, subcommand, *LONG)
    directory = wait_for_a_run(tmp_path)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == status
    assert stdout == ""
    *others, last = stderr.splitlines()
    assert last == f"interrupted: go on with amsgrad-exp resume {directory}"
    assert others == ([] if subcommand == "run" else ["not started: amsgrad"])
    assert json.loads((directory / "summary.json").read_text())["status"] == "interrupted"
    assert (directory / "checkpoint").exists()
    assert len(list((tmp_path / "logs" / "synthetic").iterdir())) == 1


def test_a_second_interruption_stops_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "--engine", "torch", "--steps", "1e8", "--log-every", "100", "--no-fast-forward")
    directory = wait_for_a_run(tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, 130)
    begun = time.time()
    resumed = start(tmp_path, "resume", str(directory), "--quiet")
    wait_for_a_run(tmp_path, since=begun)
    resumed.send_signal(signal.SIGTERM)
    resumed.communicate(timeout=30)
    assert resumed.returncode == 143


def test_a_run_under_way_is_refused_to_others(in_process: CommandLine, tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    directory = wait_for_a_run(tmp_path)
    refused = in_process("resume", str(directory))
    process.terminate()
    process.communicate(timeout=30)
    assert refused.returncode == 1
    assert refused.stderr == f"amsgrad-exp: {directory} is in use by process {process.pid}\n"


def test_two_runs_at_once_keep_apart(tmp_path: Path) -> None:
    processes = [start(tmp_path, "run", "--steps", "1e6", "--json") for _ in range(3)]
    documents = [json.loads(process.communicate(timeout=120)[0])["runs"][0] for process in processes]
    assert len({document["directory"] for document in documents}) == 3
    assert len({document["total_regret"] for document in documents}) == 1


@pytest.mark.parametrize("out", ["/proc/nowhere", "file/below"])
def test_an_output_directory_that_cannot_be_made(out: str, in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = in_process("run", "--steps", "10", "--out", out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert out.split("/")[1 if out.startswith("/") else 0] in done.stderr


def test_help_and_completion_import_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['amsgrad-exp', '--help']\n"
        "from amsgrad_exp import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numba', 'labml', 'matplotlib', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "compare" in done.stdout


def test_version_and_lists(command_line: CommandLine, in_process: CommandLine) -> None:
    assert command_line("--version").stdout.startswith("amsgrad-exp 0.")
    assert "inv-sqrt" in in_process("list", "schedules").stdout
    assert "theorem1" in in_process("list", "problems").stdout
    assert "amsgrad_exp.optimizers.AMSGrad (compiled, torch)" in command_line("list", "optimizers").stdout
    assert "no runs under logs" in in_process("list", "runs").stderr


def test_optimizers_beside_the_user_may_print_and_fail(command_line: CommandLine, tmp_path: Path) -> None:
    """What one prints does not get into the document, and one that fails leaves the others."""
    (tmp_path / "mine.py").write_text(
        "import torch\nprint('imported')\n"
        "class Loud(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        print('step')\n        super().step()\n"
        "class Bad(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise SystemExit(0)\n"
    )
    names = ["adam", "mine.Bad", "mine.Loud", "amsgrad"]
    done = command_line("compare", *(f"--optimizer={name}" for name in names), *"--steps 100 --json".split())
    assert done.returncode == 1
    assert [run["optimizer"] for run in json.loads(done.stdout)["runs"]] == ["adam", "mine.Loud", "amsgrad"]
    imported, failed, *steps = done.stderr.splitlines()
    assert imported == "imported"
    assert failed == "amsgrad-exp: mine.Bad: the optimizer raised SystemExit at step 0: 0"
    assert steps == ["step"] * 100


@pytest.mark.parametrize("out", ["a[/b]", "a:smile:", "with a space"])
def test_a_directory_is_shown_as_it_is(out: str, in_process: CommandLine) -> None:
    done = in_process("run", "--steps", "100", "--out", out)
    assert done.returncode == 0
    assert out in done.stdout


def test_output_that_cannot_be_encoded_is_replaced(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from amsgrad_exp import cli\n"
        "for arguments in ('run --help', 'list problems', 'run --steps 1000', 'show last'):\n"
        "    sys.argv = ['amsgrad-exp', *arguments.split()]\n"
        "    try: cli.main()\n"
        "    except SystemExit as ended: assert not ended.code, arguments\n"
        "    print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines().count(b"done") == 4
    assert b"Step size ?" in done.stdout


def test_seeds(in_process: CommandLine) -> None:
    done = in_process(*"compare --problem stochastic --steps 20000 --seeds 9 --json".split())
    for run in json.loads(done.stdout)["runs"]:
        assert run["seeds"] == 9
        assert run["mean_x_halfwidth"] > 0
        assert run["regret_halfwidth"] > 0
    shown = in_process("show", "last").stdout
    assert "mean over 9 seeds" in shown
    assert "±" in shown
    assert in_process("verify", "last").returncode == 0


def test_a_read_only_directory(small_disk: Path, in_process: CommandLine) -> None:
    in_process("run", "--steps", "1000", "--out", str(small_disk), "--quiet")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for arguments in (["run", "--steps", "1000"], ["sweep", "--grid", "lr=0.1,0.2", "--steps", "1000"]):
        done = in_process(*arguments, "--out", str(small_disk))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "Read-only file system" in done.stderr
    for arguments in (["show", "last"], ["verify", "last"], ["list", "runs"]):
        assert in_process(*arguments, "--out", str(small_disk)).returncode == 0


def test_a_disk_that_fills_up(small_disk: Path, in_process: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(small_disk)
    process = start(tmp_path, *"run --problem stochastic --steps 2e9 --log-every 2e6 --optimizer amsgrad".split())
    wait_for_a_run(tmp_path)
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(bytes(256))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr == "amsgrad-exp: No space left on device\n"
    (small_disk / "filler").unlink()
    assert in_process("verify", "last").returncode == 0


def test_a_directory_deleted_in_the_middle(tmp_path: Path) -> None:
    process = start(tmp_path, "run", *LONG)
    wait_for_a_run(tmp_path)
    shutil.rmtree(tmp_path / "logs")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert len(stderr.splitlines()) == 1
    assert "No such file or directory" in stderr


def on_a_terminal(arguments: list[str], tmp_path: Path, columns: int = 80, shown_after: float = 0.0) -> str:
    """Everything a command writes to a terminal of so many columns, with a bar after so many seconds of a run."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    program = (
        f"from amsgrad_exp import cli\nfrom amsgrad_exp.output import progress\n"
        f"progress.RUN_SHOWN_AFTER = {shown_after}\ncli.main()\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=child, stderr=child, env=env)
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0, seen
    os.close(parent)
    return seen.decode()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_progress_shows_on_a_terminal(columns: int, tmp_path: Path) -> None:
    (tmp_path / "labelled.yaml").write_text("problem: stochastic\noptimizers: [{name: adam, label: 'mine [/b]'}]\n")
    seen = on_a_terminal("run --config labelled.yaml --steps 2e6".split(), tmp_path, columns)
    bar, table = seen.split("optimizer", 1)
    assert "mine [/b]" in table
    assert "mine" in bar
    assert columns == 40 or ("mine [/b]" in bar and "steps/s" in bar and "R(T)/T" in bar)


def test_a_short_run_shows_no_progress(tmp_path: Path) -> None:
    assert "steps/s" not in on_a_terminal(["run", "--steps", "1000"], tmp_path, shown_after=60)


def test_a_sweep_shows_its_progress_from_the_start(tmp_path: Path) -> None:
    seen = on_a_terminal("sweep --grid lr=0.1,0.2 --steps 1000 --no-figure".split(), tmp_path)
    assert "0/4 cells" in seen


words = st.one_of(
    st.sampled_from(
        "run compare list resume verify show plot problems last --steps 100 1e3 --optimizer adam amsgrad --lr 0.1 "
        "--beta1 0.5 --problem theorem1 --set C=3 --json --quiet --engine compiled --dtype float64 --no-figure "
        "--expect adam=worst --config --seed 3 --schedule inv-sqrt --log-every 10 --help --version".split()
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(words, max_size=7))
def test_any_command_line_ends_in_a_documented_status(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, for speed: never a traceback, never a status outside the documented ones."""
    from amsgrad_exp import cli

    where = tmp_path_factory.mktemp("anywhere")
    monkeypatch.chdir(where)
    monkeypatch.setattr(sys, "argv", ["amsgrad-exp", *arguments, "--steps", "50"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (None, 0, 1, 2, 3, 4)
