"""Identifies an optimizer by its name or by given iterates, and describes the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification import probes as files
from amsgrad_exp.identification.comparison import Candidates, Comparison, Like, distance, walked
from amsgrad_exp.identification.form import Form
from amsgrad_exp.identification.known_forms import (
    CODES,
    OF_THE_WHOLE,
    SENTENCES,
    described,
    form,
    forms,
    rule_named,
)
from amsgrad_exp.identification.probes import DOUBLE, RELATIVE, SINGLE, Observed, Precision, Probe, probes
from amsgrad_exp.numbers import option_value
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.labels import SYMBOLS

USUAL_EPS = (1e-7, 1e-6, 1e-10, 1e-16)
"""Values, besides 1e-8, that ε may have in optimizers whose constructors do not take it."""


@dataclass(frozen=True)
class Answer:
    """The published rule that an implementation follows, or the closest one."""

    optimizer: str
    form: Form  # the closest rule with one choice of its options, without departures
    departures: tuple[str, ...]  # they explain all observations; empty if the rule matches or nothing explains them
    explained: bool  # whether the rule with these departures has the same x on all probes
    single: bool  # whether the comparison has only float32 precision
    # The largest difference of x from the rule's on each probe, relative to the length of x's path; None if not run.
    agreement: Mapping[str, float | None]
    rest: float  # the largest such difference with the departures, over all probes except those of `OF_THE_WHOLE`
    first: Mapping[str, Any] | None  # where x first differs: probe, step, the update of x and the expected update
    steps: Mapping[str, int]  # the number of steps of each probe
    assumed: Mapping[str, float] = field(default_factory=dict)  # settings that the implementation does not reveal

    @property
    def matches(self) -> bool:
        """Whether the implementation follows the rule on every probe that was run."""
        return self.explained and not self.departures

    @property
    def closest(self) -> str:
        """The closest rule, written as for ``--like``."""
        return described(self.form)

    @property
    def run(self) -> list[str]:
        """The probes that were run."""
        return [name for name, agreement in self.agreement.items() if agreement is not None]

    @property
    def largest(self) -> float:
        """The largest difference from the rule on any probe."""
        return max(agreement for agreement in self.agreement.values() if agreement is not None)

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints; numbers that are not finite become null."""
        return {
            "schema": 1,
            "optimizer": self.optimizer,
            "matches": self.matches,
            "closest": {"name": self.form.name, "options": dict(self.form.options)},
            "departures": list(self.departures),
            "explained": self.explained,
            "assumed": dict(self.assumed),
            "agreement": _finite(self.largest),
            "first": None if self.first is None else {key: _finite(value) for key, value in self.first.items()},
            "probes": [
                {"name": name, "steps": steps, "agreement": _finite(self.agreement[name])}
                for name, steps in self.steps.items()
            ],
        }

    @property
    def closest_in_words(self) -> str:
        """The closest rule with those of its options that are not defaults."""
        name, _, options = self.closest.partition(":")
        if any(code.startswith("eps_") for code in self.departures):  # these departures say where ε is
            options = options.replace("optimized_update=false", "").strip(",")
        options = options.replace("optimized_update=false", "ε on the root of the corrected v").replace(",", ", ")
        return f"{name} with {options}" if options else name

    @property
    def departs(self) -> str:
        """The departures in words."""
        return "; ".join(SENTENCES[code] for code in self.departures) or "in a way that is not known here"

    def facts(self) -> dict[str, str]:
        """The answer in words, by name."""
        shown = {OF_THE_WHOLE.get(code) for code in self.departures}
        alike = [name for name in self.run if name not in shown]
        over = f"{len(alike)} probes, {sum(self.steps[name] for name in alike):,} steps"
        rough = " (as far as float32 can tell)" if self.single and self.explained else ""
        facts = {"optimizer": self.optimizer}
        if self.matches:
            facts["matches"] = self.closest_in_words + rough
            facts["agreement"] = f"largest relative difference {self.largest:.0e} over {over}"
        else:
            facts |= {"closest to": self.closest_in_words, "departs": self.departs + rough}
        if self.first:
            where = f'step {self.first["step"]:,} of probe "{self.first["probe"]}"'
            moved, expected = (_number(self.first[key]) for key in ("moved", "expected"))
            facts["first seen"] = f"{where}: moved {moved}, {self.form.name} moves {expected}"
        if self.explained and not self.matches:
            facts["agreement"] = f"with that, largest relative difference {self.rest:.0e} over {over}"
        if missing := [name for name in self.steps if name not in self.run]:
            facts["not run"] = ", ".join(missing)
        if self.assumed:
            said = ", ".join(f"{SYMBOLS.get(name, name)} = {value:g}" for name, value in self.assumed.items())
            facts["assumed"] = f"{said}, which its constructor does not take"
        return facts


def _number(value: float) -> str:
    return f"−{-value:.3g}" if value < 0 else f"{value:.3g}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def of_optimizer(
    name: str, settings: Mapping[str, float], options: Mapping[str, str], like: Like | None, *, long: bool = True
) -> Answer:
    """Identify a registered optimizer or one given by its import path; ``long`` adds the probe of 10^5 steps."""
    from amsgrad_exp.identification.implementation import built

    target = built(name, settings, options)
    known, assumed = target.known, target.assumed
    chosen = [probe for probe in probes(target.settings) if long or probe.every == 1]
    observed = target.observe(chosen)
    found = answer(name, chosen, observed, known=known, like=like, thorough=False)
    if not found.explained:
        for guess in _guesses(chosen, observed, assumed, known):
            supposed = [dataclasses.replace(probe, **guess) for probe in chosen]
            found = answer(name, supposed, observed, known={**known, **guess}, like=like, thorough=False)
            if found.explained:
                assumed = {**assumed, **guess}
                break
        else:
            found = answer(name, chosen, observed, known=known, like=like)
    rule = OPTIMIZERS[found.form.name]
    used = rule.rule(rule.options.model_validate(dict(found.form.options))).settings
    said = {name: value for name, value in assumed.items() if name in used or name == "weight_decay"}
    return dataclasses.replace(found, assumed=said)


def _guesses(
    chosen: Sequence[Probe], observed: Observed, assumed: Mapping[str, float], known: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield settings that an optimizer may have although its constructor does not show them."""
    (still,) = (probe for probe in chosen if probe.name == "x not 0")
    xs = observed[still.name]
    if "weight_decay" not in known and xs is not None and xs[0, 0] != still.start[0]:
        shrunk = float(1 - xs[0, 0] / still.start[0])
        guesses = (shrunk / float(still.lr[0]), shrunk, 0.01)
        yield from ({"weight_decay": float(f"{decay:.10g}")} for decay in guesses if decay > 0)
    if "eps" in assumed:
        yield from ({"eps": eps} for eps in USUAL_EPS)


def of_iterates(path: Path, settings: Mapping[str, float], options: Mapping[str, str], like: Like | None) -> Answer:
    """Identify an implementation by a file of its iterates on the probes, which `probes.read` reads."""
    chosen, observed, precision = files.read(path, settings)
    known = {name: option_value(name, text) for name, text in options.items()}
    known |= {"weight_decay": chosen[0].weight_decay} if chosen[0].weight_decay else {}
    return answer(str(path), chosen, observed, known=known, like=like, precision=precision)


def probes_of(name: str | None, settings: Mapping[str, float], options: Mapping[str, str]) -> str:
    """Write the probes as CSV, with the iterates of a rule or an imported optimizer, or without iterates."""
    given = {option: option_value(option, text) for option, text in options.items()}
    if name is None:
        if others := given.keys() - {"weight_decay"}:
            raise ConfigError(f"without an optimizer the only option is weight_decay, not {min(others)}")
        if not all(isinstance(value, int | float) for value in given.values()):
            raise ConfigError(f"weight_decay must be a number, not {options['weight_decay']!r}")
        return files.written(probes({**settings, **given}))
    if name in OPTIMIZERS:
        said = ",".join(f"{option}={text}" for option, text in options.items())
        each = form(*rule_named(f"{name}:{said}" if said else name))
        own = {"weight_decay": each.options["weight_decay"]} if "weight_decay" in each.options else {}
        chosen = probes({**settings, **own})
        return files.written(chosen, {probe.name: walked(each, probe) for probe in chosen})
    from amsgrad_exp.identification.implementation import built

    target = built(name, settings, options)
    chosen = probes({**target.settings, **settings})
    return files.written(chosen, target.observe(chosen))


@np.errstate(all="ignore")
def answer(
    optimizer: str,
    probes: Sequence[Probe],
    observed: Observed,
    *,
    known: Mapping[str, Any] | None = None,
    like: Like | None = None,
    precision: Precision = DOUBLE,
    thorough: bool = True,
) -> Answer:
    """Find the rule, with the fewest departures, that the iterates on the probes follow.

    ``known`` has settings of the implementation, by the names of the rules' options. With ``thorough``, pairs of
    departures are tried if no single one explains the iterates. pydantic's error is raised if the rule to compare with
    does not have the given options.
    """
    candidates = _candidates(probes, known or {}, like)
    comparison = Comparison(candidates, observed, precision)
    form, found = comparison.closest()
    if not found and precision == DOUBLE:
        rough = Comparison(candidates, observed, SINGLE)
        of_single, found = rough.closest()
        if found:
            comparison, form = rough, of_single
    if not found and thorough and (two := comparison.pair()):
        form, found = two, True
    codes = form.departures
    base = next(each for each in candidates.bases if each.name == form.name and each.options == form.options)
    first, rest = comparison.first(base), comparison.agreement(form)
    agreement = dict.fromkeys((probe.name for probe in probes), None) | comparison.agreement(base)
    if found:
        seen = comparison.differs(form)
        codes += tuple(code for code, probe in OF_THE_WHOLE.items() if probe in seen)
    for long in (probe for probe in probes if probe.every > 1):
        if (xs := observed.get(long.name)) is None:
            continue
        theirs = walked(base, long)
        departed, scale = walked(form, long) if form.departures else theirs, RELATIVE.allowed(long, xs)
        agreement[long.name], rest[long.name] = (
            float(np.nan_to_num(distance(xs, each) / scale, posinf=np.inf).max()) for each in (theirs, departed)
        )
        same = (distance(xs, departed) <= comparison.precision.allowed(long, xs)).all(axis=1)
        if found and not same.all():
            codes += ("long_run",)
            row = int(np.argmin(same))
            moved, expected = (float(np.diff(each[:, 0], prepend=long.start[0])[row]) for each in (xs, theirs))
            there = {"probe": long.name, "step": (row + 1) * long.every, "moved": moved, "expected": expected}
            first = first or there
    shown = {OF_THE_WHOLE.get(code) for code in codes}
    return Answer(
        optimizer,
        base,
        codes,
        explained=found,
        single=comparison.precision.of_path >= SINGLE.of_path,
        agreement=agreement,
        rest=max(value for name, value in rest.items() if name not in shown),
        first=first,
        steps={probe.name: probe.steps for probe in probes},
    )


_kept: list[tuple[Any, Candidates]] = []


def _candidates(probes: Sequence[Probe], known: Mapping[str, Any], like: Like | None) -> Candidates:
    """Return the candidates for these probes; the last ones are cached, since computing them takes most of the time."""
    decays = any(probe.weight_decay for probe in probes)
    codes = tuple(code for code in CODES if decays or not code.startswith("weight_decay"))
    short = [probe for probe in probes if probe.every == 1]
    key = [[probe.name, probe.lr[0], probe.beta1[0], probe.beta2, probe.eps, probe.weight_decay] for probe in short]
    wanted = (key, [each.options for each in forms(known, like)], like, codes)
    for before, candidates in _kept:
        if before == wanted:
            return candidates
    candidates = Candidates(probes, known, like, codes)
    _kept[:] = [*_kept[-3:], (wanted, candidates)]
    return candidates
