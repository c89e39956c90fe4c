"""What tells trials apart, for legends and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

SYMBOLS = {"lr": "α", "beta1": "β1", "beta2": "β2", "eps": "ε"}
MOST_SAID = 3  # differences in a label


def labels(trials: Sequence[Trial]) -> list[str]:
    """A label for each trial: its own, or its optimizer's name and what differs among trials of that name.

    Raises:
        ValueError: two trials have the same label, or do not differ.
    """
    facts = [_facts(trial) for trial in trials]
    said = []
    for trial, own in zip(trials, facts, strict=True):
        alike = [
            other
            for peer, other in zip(trials, facts, strict=True)
            if (peer.optimizer.name, peer.optimizer.label) == (trial.optimizer.name, None)
        ]
        differing = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        words = [f"{SYMBOLS.get(name, name)} = {_short(own[name])}" for name in differing[:MOST_SAID]]
        said.append(trial.optimizer.label or ", ".join([trial.optimizer.name, *words]))
    for label in said:
        if said.count(label) > 1:
            raise ValueError(f"optimizer {label} is listed twice")
    return said


def _facts(trial: Trial) -> dict[str, Any]:
    """Everything that may differ, by name: the optimizer's settings, the problem and its constants, the rest."""
    settings = trial.optimizer.model_dump(exclude={"name", "label", "options"})
    others = trial.model_dump(include={"schedule", "steps", "dtype", "engine", "seed", "seeds"})
    problem: Mapping[str, Any] = trial.problem.model_dump(exclude={"name"})
    return settings | trial.optimizer.options | {"problem": trial.problem.name} | dict(problem) | others


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
