"""Says in words how a run went, for the terminal and for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.engines.batch import Driven
from amsgrad_exp.engines.summarize import FLAT
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.problems import Problem
from amsgrad_exp.records.run import Run, Summary
from amsgrad_exp.records.verify_run import Verification
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.labels import as_text
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.theory import limit
from amsgrad_exp.verdict import WORDS, Evidence, Trend, Verdict

Said = tuple[str | Verdict | Trend, ...]  # a sentence in parts; the word for a verdict has a colour

SHARED = {
    "parameters": "the update of one parameter depends on the other parameters",
    "groups": "the update of one parameter depends on the parameters of other groups",
    "elements": "the update of one element depends on the other elements of its parameter",
}
FORMS = {"named": "the name and ", "module": "a module with ", "use_muon": "a group with use_muon=True and "}


def plain(said: Said) -> str:
    """A sentence without colours."""
    return "".join(WORDS[part][0] if isinstance(part, Verdict | Trend) else part for part in said)


def verdict(run: Run) -> dict[str, Said]:
    """The result of a run, the evidence for it, and the prediction of theory, by name."""
    summary, result, problem = run.summary, run.summary.result, run.trial.problem
    if result is None:
        reason = f": {summary.reason}" if summary.reason else ""
        rest = f"; amsgrad-exp resume {run.run_id} continues it" if run.status() in ("interrupted", "killed") else ""
        return {"status": (f"{run.status()}{reason}{rest}",)}
    proof = ", proof" if result.evidence is Evidence.PROOF else ""
    explained = " (not positive: the total loss is no larger than that of x*)" if result.regret <= 0 else ""
    vanishing = ""
    if result.regret_trend is Trend.UNDECIDED:
        explained += f"; {result.undecided_because(problem, schedule_of(run.trial))}"
    elif not proof:
        vanishing = f"; below {FLAT:g} counts as vanishing"
    cycle = "unknown: no repetition of the run was found"
    if result.limit_regret is not None:
        every = "step" if result.cycle_steps == 1 else f"{result.cycle_steps:,} steps"
        repeats = f"the run repeats every {every} from step {result.cycle_start:,} on, bit for bit"
        cycle = f"R(T)/T tends to {result.limit_regret:.6g} (exact: {repeats})"
    derived = f", {result.steps_derived:,} derived from a repeated cycle" if result.steps_derived else ""
    regret = f"{result.regret:.6g}{interval(result.regret_halfwidth)}: "
    return {
        "x": (f"{result.x:+.6f} after the last step",),
        "mean x": (
            f"{result.mean_x:+.6f}{interval(result.mean_x_halfwidth)} over the last tenth of the steps: ",
            result.iterate,
            _where(problem, result.iterate),
        ),
        "R(T)/T": (regret, result.regret_trend, f"{proof}{explained}"),
        "limit": (cycle,),
        "in theory": (_predicted(run.trial),),
        "slope": (f"{slope(result.regret_slope)} of log(R(t)/t) against log t, from T/10 to T{vanishing}",),
        "steps": (f"{result.steps_simulated:,} simulated{derived}",),
    }


def _where(problem: Problem, iterate: Verdict) -> str:
    """What a verdict means on this problem."""
    optimum = f"x* = {problem.optimum:g}"
    if iterate is Verdict.BETWEEN:
        finite = all(map(math.isfinite, problem.interval))
        return f" {optimum} and the other end of the interval" if finite else f": near {optimum}, but not at it"
    return {
        Verdict.OPTIMUM: f", {optimum}",
        Verdict.WORST: f", the end of the interval opposite {optimum}",
        Verdict.AWAY: f", farther from {optimum} than at the start",
    }[iterate]


def _predicted(trial: Trial) -> str:
    """The limit that the drift predicts, or why it predicts none."""
    if trial.optimizer.name not in OPTIMIZERS:
        return "unknown for imported optimizers"
    try:
        return f"R(T)/T tends to {limit(trial):.6g} as step sizes go to 0 (α/√t, or a small constant)"
    except NoSteadyState as error:
        return f"unknown: {error}"


def settings(trial: Trial) -> str:
    """The settings of a trial's optimizer, without options that have their defaults."""
    optimizer = trial.optimizer
    given = optimizer.model_dump(include={"lr", "beta1", "beta2", "eps", "shape"}, exclude_none=True)
    usual = OPTIMIZERS[optimizer.name].options().model_dump() if optimizer.name in OPTIMIZERS else {}
    own = optimizer.options | ({"optimized_update": False} if optimizer.optimized_update is False else {})
    given |= {name: value for name, value in own.items() if name not in usual or value != usual[name]}
    said = [optimizer.name] if optimizer.label else []
    for setting, value in given.items():
        said.append(f"{setting} {str(value).lower() if isinstance(value, bool) else as_text(value)}")
    return ", ".join(said)


def problem(trial: Trial) -> str:
    """The name of a trial's problem, and those of its constants that do not have their defaults."""
    fields = type(trial.problem).model_fields
    constants = trial.problem.model_dump(mode="json", exclude={"name"})
    changed = (f"{name} {as_text(value)}" for name, value in constants.items() if value != fields[name].default)
    return ", ".join([trial.problem.name, *changed])


def interval(halfwidth: float | None) -> str:
    """A confidence interval, after its middle."""
    return "" if halfwidth is None else f" ±{halfwidth:.1g}"


def slope(value: float | None) -> str:
    """The slope of the average regret."""
    return "n/a" if value is None else f"{value:+.3f}"


def setting(summary: Summary) -> str:
    """The step sizes, steps and seeds of a run."""
    seeds = f", mean over {summary.seeds:,} seeds (± 95 % confidence)" if summary.seeds > 1 else ""
    kind = {"constant": "constant step size", "inv-sqrt": "step sizes α/√t"}
    return f"{kind.get(summary.schedule, f'schedule {summary.schedule}')}, {summary.steps:,} steps{seeds}"


def driven_with(driven: Summary | Driven) -> str:
    """What an optimizer is driven with, if that is more than a tensor of shape (1,) and its gradient; else nothing."""
    parts = ["a closure"] * driven.closure + ["gradients that can be differentiated"] * driven.graph
    if driven.shape == "1x1" or driven.parameters in FORMS:
        parts = [f"{FORMS.get(driven.parameters or '', '')}a parameter of shape {driven.shape}", *parts]
    return ", ".join(parts)


def bound(bounds: Bounds) -> dict[str, str]:
    """The bounds on the regret, and how fast their terms grow, by name."""
    known = bounds.trajectory
    grows = {name: "not like a power of T" if it is None else f"like T^{it:.2f}" for name, it in known.growth().items()}
    terms = f"its distance term grows {grows['distance']} and its moves term {grows['moves']}"
    said = {"bound": f"Its trajectory proves R(T) ≤ {known.total[-1]:.6g}; {terms}; theorems promise T^0.5"}
    if bounds.published:
        said["published bound"] = f"R(T) ≤ {bounds.published.total[-1]:.6g} ({bounds.published.source})"
    elif bounds.reason:
        said["published bound"] = f"none: {bounds.reason}"
    return said


def verified(verification: Verification) -> str:
    """One line that compares a run with its repetition."""
    largest = ", ".join(f"{column} {difference:.3g}" for column, difference in verification.differences.items())
    changed = "; ".join(f"{what} was {then}, is {now}" for what, then, now in verification.changed)
    changed = changed and f"; changed since then: {changed}"
    again = f"all {verification.points:,} logged points, computed again on the {verification.engine} engine"
    if verification.first_step is not None and not any(verification.differences.values()):
        return f"different from step {verification.first_step} on: trace.csv has points at other steps{changed}"
    if verification.first_step is not None:
        return f"different from step {verification.first_step} on: largest differences {largest}{changed}"
    if verification.tolerance == 0:
        return f"identical: {again}{changed}"
    return (
        f"in agreement: {again}, largest differences {largest}; "
        f"the tolerance is {verification.tolerance:g} of each column's largest number{changed}"
    )


def counted(counts: Mapping[str, Mapping[str, int]]) -> tuple[list[str], dict[str, list[int]]]:
    """How many cells of each optimizer have each result: the words for the results, and the numbers by optimizer."""
    verdicts = [verdict for verdict in (*Verdict, "failed") if any(verdict in by for by in counts.values())]
    words = [WORDS[verdict][0] if isinstance(verdict, Verdict) else verdict for verdict in verdicts]
    return words, {optimizer: [by.get(verdict, 0) for verdict in verdicts] for optimizer, by in counts.items()}
