"""Makes labels that distinguish trials in legends and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amsgrad_exp.rules import OPTIMIZERS, options_of

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

SYMBOLS = {"lr": "α", "beta1": "β1", "beta2": "β2", "eps": "ε"}
MOST_SAID = 3  # most differences in a label, unless more are needed to make it unique
LONGEST_VALUE = 24  # characters

Field = tuple[str, str]  # owner and name: ("optimizer", "lr"), ("theorem1", "C")


def labels(trials: Sequence[Trial], ids: Sequence[str] | None = None) -> list[str]:
    """Make a unique label for each trial: its own, or its optimizer's name and differences ("adam, β2 = 0.99").

    Differences are the problem, the optimizer's settings, the problem's constants and the schedule, if they differ
    among the trials; "…" replaces those after the third. Steps, seeds and the like appear only if nothing else differs.

    Labels that would be equal get the ids of their runs. If two labels are still equal, a ValueError is raised.
    """
    names = [trial.optimizer.label or trial.optimizer.name for trial in trials]
    if len(names) == 1:  # a fast path for the cells of a sweep
        return names
    unique = [bool(trial.optimizer.label) and names.count(name) == 1 for trial, name in zip(trials, names, strict=True)]
    if len({trial.problem.name for trial in trials}) > 1:
        names = [
            name if final else f"{name} on {trial.problem.name}"
            for trial, name, final in zip(trials, names, unique, strict=True)
        ]
    fields = [_fields(trial) for trial in trials]
    for field in {field for own in fields for field in own}:
        having = [own for own in fields if field in own]
        for own, text in zip(having, _told_apart([own[field] for own in having]), strict=True):
            own[field] = text
    said = [
        name if final else ", ".join([name, *_words(number, names, fields)])
        for number, (name, final) in enumerate(zip(names, unique, strict=True))
    ]
    if ids is not None:
        said = [f"{label} {run}" if said.count(label) > 1 else label for label, run in zip(said, ids, strict=True)]
    for label in said:
        if said.count(label) > 1:
            raise ValueError(f"optimizer {label} is listed twice")
    return said


def _words(number: int, names: Sequence[str], fields: Sequence[Mapping[Field, str]]) -> list[str]:
    """Write the words after a trial's name: the fields that differ, such as "β2 = 0.99"."""
    own = fields[number]
    namesakes = [fields[other] for other, name in enumerate(names) if name == names[number] and other != number]
    kin = [other for other in namesakes if other["name", "optimizer"] == own["name", "optimizer"]]
    differing = [
        field
        for field in own
        if field[0] not in ("name", "trial")
        and (
            any(other.get(field, own[field]) != own[field] for other in fields)
            or any(field not in other for other in kin)
        )
    ]
    said = differing[:MOST_SAID]
    alike = [other for other in namesakes if all(other.get(field) == own[field] for field in said)]
    for field in own:
        if any(other.get(field) != own[field] for other in alike):
            said.append(field)
            alike = [other for other in alike if other.get(field) == own[field]]
    words = [f"{SYMBOLS.get(name, name)} = {own[owner, name]}" for owner, name in said]
    return [*words, "…"] if set(differing) - set(said) else words


def _fields(trial: Trial) -> dict[Field, Any]:
    """Return everything in which a trial may differ from others, the most informative first."""
    optimizer = trial.optimizer.model_dump(exclude={"name", "label", "options"}, exclude_none=True)
    options = trial.optimizer.options
    if trial.optimizer.name in OPTIMIZERS:  # including options that older records lack
        options = options_of(trial.optimizer).model_dump(exclude={"optimized_update"})
    owners: dict[str, Mapping[str, Any]] = {
        "name": {"optimizer": trial.optimizer.name},
        "optimizer": optimizer,
        "options": dict(sorted(options.items())),
        trial.problem.name: trial.problem.model_dump(exclude={"name"}),
        "schedule": {"schedule": trial.schedule},
        "trial": trial.model_dump(exclude={"optimizer", "problem", "schedule"}),
    }
    return {(owner, name): value for owner, values in owners.items() for name, value in values.items()}


def _told_apart(values: Sequence[Any]) -> list[str]:
    """Write values as texts that differ where the values differ, with as few digits as possible."""
    known = {repr(value): value for value in values}
    for digits in (6, 12, 17):
        texts = {key: as_text(value, digits) for key, value in known.items()}
        said = list(texts.values())
        if len(set(said)) == len(said) and not any(map(_looks_whole, known.values(), said)):
            break
    else:
        numbers = enumerate(texts.items(), start=1)
        texts = {key: f"{text} #{number}" if said.count(text) > 1 else text for number, (key, text) in numbers}
    return [texts[repr(value)] for value in values]


def _looks_whole(value: object, text: str) -> bool:
    """Whether a number such as 1 − 10⁻⁹ was rounded to an integer."""
    return isinstance(value, float) and float(text).is_integer() and not value.is_integer()


def as_text(value: object, digits: int = 6) -> str:
    """Write a value, a number with so many digits, in at most `LONGEST_VALUE` characters."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
