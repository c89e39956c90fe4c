"""Identifies an optimizer, by its name or by given iterates, as the form whose iterates it has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification import probes as files
from amsgrad_exp.identification.form import NUMBERS, Form, Walk
from amsgrad_exp.identification.known_forms import (
    CODES,
    OF_THE_WHOLE,
    SENTENCES,
    Options,
    departed,
    departed_twice,
    described,
    form,
    forms,
    rule_named,
)
from amsgrad_exp.identification.probes import DOUBLE, RELATIVE, SINGLE, Floats, Observed, Precision, Probe, probes
from amsgrad_exp.numbers import option_value
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.labels import SYMBOLS

Like = tuple[str, Options]
"""The name of the only rule to compare with, and some of its options."""

USUAL_EPS = (1e-7, 1e-6, 1e-10, 1e-16)  # values, besides 1e-8, that ε may have where constructors do not take it
CACHED = 4  # sets of candidates


def distance(one: Floats, other: Floats) -> Floats:
    """Return |one − other|; it is 0 if neither is finite, and ∞ if only one is finite."""
    finite, too = np.isfinite(one), np.isfinite(other)
    return np.where(finite & too, np.abs(one - other), np.where(finite == too, 0.0, np.inf))


class Candidates:
    """All forms of the rules, and each form with each single departure, run on short probes.

    Each element of a probe is a column of the arrays. If β1 changes in a probe, each element has two columns, which
    differ in whether m is corrected by 1 − Π β1.
    """

    def __init__(self, probes: Sequence[Probe], known: Options, like: Like | None) -> None:
        self.probes = probes
        self.columns = [
            (probe, element, by_product)
            for probe in probes
            for by_product in (False, True)[: 1 + probe.changes_beta1]
            for element in range(probe.elements)
        ]
        starts = [(p.start[e], p.beta2, p.eps, p.weight_decay, by, p.lr[0]) for p, e, by in self.columns]
        *self._starts, by_product, lr = np.array(starts, np.float64).T
        self._starts += [by_product.astype(bool), lr]
        self.start = self._starts[0]
        # Gradients, step sizes and β1, of shape (steps, 3, columns).
        self.sequences = np.array([(p.gradients[:, e], p.lr, p.beta1) for p, e, _ in self.columns]).transpose(2, 1, 0)
        decays = any(probe.weight_decay for probe in probes)
        self.codes = tuple(code for code in CODES if decays or not code.startswith("weight_decay"))
        self.bases = forms(known, like)
        self.forms = [*self.bases, *(single for base in self.bases for single in departed(base, self.codes))]
        self.xs = np.stack([self.walked(form) for form in self.forms])

    def walk(self, form: Form) -> Iterator[Floats]:
        """Yield a form's x in every column after every step."""
        walk = Walk(form, *self._starts)
        return (walk.step(*at) for at in self.sequences)

    def walked(self, form: Form) -> Floats:
        """Compute what `walk` yields, of shape (steps, columns)."""
        return np.stack(list(self.walk(form)))


class Comparison:
    """Compares one implementation's iterates with those of all candidates."""

    def __init__(self, candidates: Candidates, observed: Mapping[str, Floats], precision: Precision) -> None:
        self.candidates, self.precision, self.probes = candidates, precision, candidates.probes

        def by_column(of: Callable[[Probe, Floats], Floats]) -> Floats:
            """Compute an array (steps, elements) of each probe and its iterates, and join them as (steps, columns)."""
            columns = [of(probe, observed[probe.name])[:, element] for probe, element, _ in candidates.columns]
            return np.stack(columns, axis=1)

        self.xs = by_column(lambda probe, xs: xs)
        self.allowed = by_column(precision.allowed)
        self.scale = by_column(RELATIVE.allowed)
        self._ways = [column for column, (_, element, _) in enumerate(candidates.columns) if element == 0]
        self._first_ways = [way for way, column in enumerate(self._ways) if not candidates.columns[column][2]]
        self._core = np.array([probe.name not in OF_THE_WHOLE.values() for probe in self.probes])

    def by_probe(self, values: Any) -> Any:
        """Return each probe's largest value over its columns, (…, probes); the better way to correct m counts."""
        of_ways = np.maximum.reduceat(values, self._ways, axis=-1)
        return np.minimum.reduceat(of_ways, self._first_ways, axis=-1)

    def updates(self, xs: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the updates of x, those of a candidate's x, (…, steps, columns), and their relative difference."""
        start = self.candidates.start
        first = np.broadcast_to(start, (*xs.shape[:-2], 1, len(start)))
        own, theirs = np.diff(self.xs, axis=0, prepend=start[None]), np.diff(xs, axis=-2, prepend=first)
        return own, theirs, np.abs(own - theirs) / np.maximum(np.abs(own), np.abs(theirs))

    def follows(self, form: Form) -> bool:
        """Whether a form has the same x at all steps of all probes except those of `OF_THE_WHOLE`."""
        for own, allowed, xs in zip(self.xs, self.allowed, self.candidates.walk(form), strict=True):
            if self.by_probe(distance(xs, own) > allowed)[self._core].any():
                return False
        return True

    def closest(self) -> tuple[Form, bool]:
        """Return the simplest candidate with the same x on all probes, or else on all except those of `OF_THE_WHOLE`.

        If there is none, return the candidate with the most similar updates, and False.
        """
        forms, xs = self.candidates.forms, self.candidates.xs
        differs = self.by_probe((distance(xs, self.xs) > self.allowed).any(axis=1))
        for chosen in (np.ones(len(self.probes), bool), self._core):
            same = ~differs[:, chosen].any(axis=1)
            if same.any():
                return forms[int(np.argmax(same))], True
        own, theirs, relative = self.updates(xs)
        relative[theirs == own] = 0.0
        alike = np.nan_to_num(1.0 / (1.0 + 10.0 * relative)).mean(axis=(1, 2))
        departures = np.array([len(form.departures) for form in forms])
        return forms[int(np.argmax(alike - 0.1 * departures))], False

    def pair(self) -> Form | None:
        """Return the best known form that has the same x with two departures; None if there is none."""
        pairs = (form for base in self.candidates.bases for form in departed_twice(base, self.candidates.codes))
        return next(filter(self.follows, pairs), None)

    def differs(self, form: Form) -> set[str]:
        """Return the probes on which a form's x differs."""
        seen = self.by_probe((distance(self.candidates.walked(form), self.xs) > self.allowed).any(axis=0))
        return {probe.name for probe, differs in zip(self.probes, seen, strict=True) if differs}

    def agreement(self, form: Form) -> dict[str, float]:
        """Return the largest difference of x on each probe, relative to the length of x's path."""
        difference = distance(self.candidates.walked(form), self.xs)
        relative = np.nan_to_num(difference / self.scale, nan=0.0, posinf=math.inf)
        worst = self.by_probe(relative.max(axis=0)).tolist()
        return {probe.name: value for probe, value in zip(self.probes, worst, strict=True)}

    def first(self, form: Form) -> dict[str, Any] | None:
        """Return the first difference of x from a form's: the probe, the step, and the actual and expected updates."""
        xs = self.candidates.walked(form)
        differs = distance(xs, self.xs) > self.allowed
        probes = self.by_probe(differs)
        if not probes.any():
            return None
        step = int(np.argmax(probes.any(axis=1)))
        names = [probe.name for probe, *_ in self.candidates.columns]
        seen = {probe.name for probe, differs_there in zip(self.probes, probes[step], strict=True) if differs_there}
        moved, expected, relative = (each[step] for each in self.updates(xs))
        there = [column for column, name in enumerate(names) if name in seen and differs[step, column]]
        column = max(there, key=lambda i: (np.nan_to_num(relative[i], nan=math.inf), -i))
        of_updates = {"moved": float(moved[column]), "expected": float(expected[column])}
        return {"probe": names[column], "step": step + 1, **of_updates}


def walked(form: Form, probe: Probe) -> Floats:
    """Compute a form's x after every `Probe.every` steps of a probe, float64 of shape (rows, elements)."""
    xs = np.empty((probe.steps // probe.every, probe.elements))
    lrs, beta1s = probe.lr.tolist(), probe.beta1.tolist()
    for element in range(probe.elements):
        start = float(probe.start[element])
        walk = Walk(form, start, probe.beta2, probe.eps, probe.weight_decay, False, lrs[0], NUMBERS)
        try:
            for t, g in enumerate(probe.gradients[:, element].tolist()):
                x = walk.step(g, lrs[t], beta1s[t])
                if (t + 1) % probe.every == 0:
                    xs[t // probe.every, element] = x
        except (ArithmeticError, ValueError):
            xs[t // probe.every :, element] = math.nan
    return xs


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
        return [name for name, agreement in self.agreement.items() if agreement is not None]

    @property
    def largest(self) -> float:
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
            facts["difference"] = f"at most {self.largest:.0e} over {over}"
        else:
            facts |= {"closest to": self.closest_in_words, "departs": self.departs + rough}
        if self.first:
            where = f'step {self.first["step"]:,} of probe "{self.first["probe"]}"'
            moved, expected = (_number(self.first[key]) for key in ("moved", "expected"))
            facts["first seen"] = f"{where}: moves x by {moved}, {self.form.name} by {expected}"
        if self.explained and not self.matches:
            departure = "this departure" if len(self.departures) == 1 else "these departures"
            facts["difference"] = f"with {departure}, at most {self.rest:.0e} over {over}"
        if missing := [name for name in self.steps if name not in self.run]:
            names = ", ".join(f'"{name}"' for name in missing)
            facts["not run"] = f"{'probe' if len(missing) == 1 else 'probes'} {names}"
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
    for guess in ({}, *_guesses(chosen, observed, assumed, known)):
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
    known: Options | None = None,
    like: Like | None = None,
    precision: Precision = DOUBLE,
    thorough: bool = True,
) -> Answer:
    """Find the rule, with the fewest departures, that the iterates on the probes follow.

    ``known`` has settings of the implementation, by the names of the rules' options. With ``thorough``, pairs of
    departures are tried if no single one explains the iterates. pydantic's error is raised if the rule to compare with
    does not have the given options.
    """
    iterates = {name: xs for name, xs in observed.items() if xs is not None}
    short = [probe for probe in probes if probe.every == 1 and probe.name in iterates]
    candidates = _candidates(short, known or {}, like)
    comparison = Comparison(candidates, iterates, precision)
    form, found = comparison.closest()
    if not found and precision == DOUBLE:
        rough = Comparison(candidates, iterates, SINGLE)
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
    for long in (probe for probe in probes if probe.every > 1 and probe.name in iterates):
        xs = iterates[long.name]
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


_kept: dict[str, Candidates] = {}


def _candidates(probes: Sequence[Probe], known: Options, like: Like | None) -> Candidates:
    """Return the candidates for these probes; the last ones are cached, since computing them takes most of the time."""
    settings = [(each.name, each.lr[0], each.beta1[0], each.beta2, each.eps, each.weight_decay) for each in probes]
    key = repr((settings, [each.options for each in forms(known, like)], like))
    if key not in _kept:
        if len(_kept) == CACHED:
            del _kept[next(iter(_kept))]
        _kept[key] = Candidates(probes, known, like)
    return _kept[key]
