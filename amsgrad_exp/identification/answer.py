"""Finds the rule that observed iterates follow, and holds the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amsgrad_exp.identification.candidates import described, forms
from amsgrad_exp.identification.compare import (
    CODES,
    DOUBLE,
    RELATIVE,
    SINGLE,
    Candidates,
    Comparison,
    Observed,
    Precision,
    walked,
)
from amsgrad_exp.identification.departures import OF_THE_WHOLE
from amsgrad_exp.identification.form import Form
from amsgrad_exp.identification.probes import Probe

Like = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """The published rule that an implementation follows, or to which it is closest.

    Attributes:
        optimizer: the implementation.
        form: the closest rule in one form of its options, without departures.
        departures: the codes of the departures that explain all observations; empty if the rule matches or if nothing
            explains them.
        explained: whether the rule with these departures has the same x on all probes.
        single: whether the comparison has only float32 precision.
        agreement: for each probe, the largest difference of x from the rule's, relative to the length of x's path; None
            for a probe that was not run.
        rest: the same for the rule with its departures, over all probes except those of `OF_THE_WHOLE`.
        first: where x first differs from the rule's: probe, step, the update of x and the expected update; or None.
        steps: the number of steps of each probe.
        assumed: settings that the implementation does not reveal, with the values assumed for the comparison.
    """

    optimizer: str
    form: Form
    departures: tuple[str, ...]
    explained: bool
    single: bool
    agreement: Mapping[str, float | None]
    rest: float
    first: Mapping[str, Any] | None
    steps: Mapping[str, int]
    assumed: Mapping[str, float] = field(default_factory=dict)

    @property
    def matches(self) -> bool:
        """Whether it follows the rule on every probe that was run."""
        return self.explained and not self.departures

    @property
    def closest(self) -> str:
        """The closest rule, as ``--like`` takes it."""
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


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


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
    """Find the rule that iterates over the probes follow, with the fewest departures.

    Args:
        optimizer: the name of the implementation.
        probes: all probes, as they were run.
        observed: the iterates.
        known: settings of the implementation, by the names of the rules' options.
        like: the rule to compare with and some of its options; by default any rule.
        precision: how much x of the same rule may differ.
        thorough: whether to try two departures if one explains nothing.

    Raises:
        pydantic.ValidationError: the rule to compare with has no such options.
    """
    with np.errstate(all="ignore"):
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
        return _answer(optimizer, probes, observed, comparison, form, found)


def _answer(
    optimizer: str, probes: Sequence[Probe], observed: Observed, comparison: Comparison, form: Form, found: bool
) -> Answer:
    codes = form.departures
    base = next(each for each in comparison.candidates.bases if each.name == form.name and each.options == form.options)
    first = comparison.first(base)
    agreement: dict[str, float | None] = dict.fromkeys((probe.name for probe in probes), None)
    agreement |= _by_probe(comparison, base)
    rest = _by_probe(comparison, form)
    if found:
        seen = comparison.differs(form)
        codes += tuple(code for code, probe in OF_THE_WHOLE.items() if probe in seen)
    long = next((probe for probe in probes if probe.every > 1), None)
    if long is not None and (xs := observed.get(long.name)) is not None:
        same, apart = _long(comparison.precision, form, long, xs)
        rest[long.name] = apart.max()
        agreement[long.name] = float(_long(comparison.precision, base, long, xs)[1].max())
        if found and not same.all():
            codes += ("long_run",)
            row = int(np.argmin(same))
            own, theirs = xs[: row + 1, 0], walked(base, long)[: row + 1, 0]
            first = first or {
                "probe": long.name,
                "step": (row + 1) * long.every,
                "moved": float(own[row] - (own[row - 1] if row else long.start[0])),
                "expected": float(theirs[row] - (theirs[row - 1] if row else long.start[0])),
            }
    steps = {probe.name: probe.steps for probe in probes}
    shown = {OF_THE_WHOLE.get(code) for code in codes}
    rest = {name: value for name, value in rest.items() if name not in shown}
    single = comparison.precision.of_path >= SINGLE.of_path
    return Answer(optimizer, base, codes, found, single, agreement, max(rest.values()), first, steps)


def _by_probe(comparison: Comparison, form: Form) -> dict[str, float]:
    relative = comparison.agreement(form).tolist()
    return {probe.name: value for probe, value in zip(comparison.probes, relative, strict=True)}


def _long(precision: Precision, form: Form, probe: Probe, xs: Any) -> tuple[Any, Any]:
    """Whether each row of the long probe agrees with a form, and the differences."""
    theirs = walked(form, probe)
    finite, own = np.isfinite(theirs), np.isfinite(xs)
    apart = np.where(finite & own, np.abs(theirs - xs), np.where(finite == own, 0.0, np.inf))
    relative = np.nan_to_num(apart / RELATIVE.allowed(probe, xs), posinf=np.inf)
    return (apart <= precision.allowed(probe, xs)).all(axis=1), relative.max(axis=1)


_kept: list[tuple[Any, Candidates]] = []


def _candidates(probes: Sequence[Probe], known: Mapping[str, Any], like: Like | None) -> Candidates:
    """The candidates for these probes; the last ones are cached, because computing them takes most of the time."""
    decays = any(probe.weight_decay for probe in probes)
    codes = tuple(code for code in CODES if decays or not code.startswith("weight_decay"))
    short = [probe for probe in probes if probe.every == 1]
    key = [[probe.name, probe.lr[0], probe.beta1[0], probe.beta2, probe.eps, probe.weight_decay] for probe in short]
    options = [each.options for each in forms(known, like)]
    wanted = (key, options, like, codes)
    for before, candidates in _kept:
        if before == wanted:
            return candidates
    candidates = Candidates(probes, known, like, codes)
    _kept[:] = [*_kept[-3:], (wanted, candidates)]
    return candidates
