"""What an experiment is, checked, read from YAML and written back."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from amsgrad_exp.engines import OPTIMIZERS
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.engines.rules import RULES
from amsgrad_exp.problems import PROBLEMS, Integer, Number, Problem, whole_number
from amsgrad_exp.schedules import SCHEDULES

MAX_STEPS = 10**18
MAX_POINTS = 10_000_000
MAX_BYTES = 1_000_000  # of a file that describes an experiment
BYTES_PER_POINT = 200  # of trace.csv and labml's log together, at most


class ConfigError(ValueError):
    """An experiment that cannot be; the message is one line that names the field and the value."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


class OptimizerSettings(BaseModel):
    """One optimizer and its hyper-parameters, complete.

    Attributes:
        name: a name in `OPTIMIZERS`, or the import path of any `torch.optim.Optimizer` class.
        lr: α > 0.
        beta1, beta2: decay rates of the moments, each in [0, 1); None for an optimizer that takes no ``betas``.
        eps: ε ≥ 0; None for an optimizer that takes no ``eps``.
        optimized_update: the form of the bias correction, as in `amsgrad_exp.optimizers.Adam`; None for others.
        options: further keyword arguments of an optimizer named by its import path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    lr: Annotated[Number, Field(gt=0)]
    beta1: Annotated[Number, Field(ge=0, lt=1)] | None = None
    beta2: Annotated[Number, Field(ge=0, lt=1)] | None = None
    eps: Annotated[Number, Field(ge=0)] | None = None
    optimized_update: bool | None = None
    options: dict[str, JsonValue] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the optimizer's class, other than lr."""
        arguments: dict[str, Any] = {}
        if self.beta1 is not None:
            arguments["betas"] = (self.beta1, self.beta2)
        if self.eps is not None:
            arguments["eps"] = self.eps
        if self.optimized_update is not None:
            arguments["optimized_update"] = self.optimized_update
        return arguments | self.options


class Experiment(BaseModel):
    """A problem, a schedule and optimizers, with how long and how to run them; complete.

    Attributes:
        name: of the labml experiment, and of the folder its runs go to.
        problem: one of `PROBLEMS` with its constants.
        schedule: a name in `SCHEDULES`; α of each optimizer's step sizes is its ``lr``.
        optimizers: one or more, no name twice.
        steps: T ≥ 1.
        log_every: a point is logged where (t + 1) mod log_every = 0.
        engine: "auto" takes "compiled" for an optimizer that has a rule, else "torch".
        dtype: of the iterate and the moments.
        seed: of a random problem, and of torch's generator.
        seeds: how many seeds of a random problem, from ``seed`` on, the result is the mean over.
        fast_forward: derive what follows once a run repeats itself, instead of simulating it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)] = "synthetic"
    problem: SerializeAsAny[InstanceOf[Problem]]
    schedule: str
    optimizers: Annotated[tuple[OptimizerSettings, ...], Field(min_length=1)]
    steps: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
    log_every: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
    engine: Literal["auto", "compiled", "torch"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    seed: Annotated[Integer, Field(ge=0, le=2**63)] = 0
    seeds: Annotated[Integer, Field(ge=1, le=10_000)] = 1
    fast_forward: bool = True

    @field_validator("schedule")
    @classmethod
    def _schedule_is_known(cls, schedule: str) -> str:
        if schedule not in SCHEDULES:
            raise ValueError(f"unknown name {schedule!r}, {nearest(schedule, SCHEDULES)}")
        return schedule

    @model_validator(mode="after")
    def _is_consistent(self) -> Experiment:
        names = [settings.name for settings in self.optimizers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"optimizer {name} is listed twice")
            if self.seeds > 1 and (name not in RULES or self.engine == "torch"):
                raise ValueError(f"seeds need the compiled engine, and {name} would run on the torch engine")
            if self.engine == "compiled" and name not in RULES:
                raise ValueError(f"optimizer {name} has no rule for the compiled engine: take engine torch or auto")
        if self.seeds > 1 and self.problem.deterministic:
            raise ValueError(f"seeds are for a random problem, and {self.problem.name} is the same for every seed")
        largest = self.problem.largest_slope * max(
            1.0, self.problem.largest_slope, abs(self.problem.low), abs(self.problem.high)
        )
        ceiling = float(np.finfo(self.dtype).max)
        for settings in self.optimizers:
            for name in ("lr", "eps"):
                if (getattr(settings, name) or 0) > ceiling:
                    raise ValueError(f"{name} is too large for {self.dtype}: {getattr(settings, name)}")
        if not largest < ceiling / 4:
            raise ValueError(f"the problem's constants are too large for {self.dtype}: their products overflow")
        if self.log_every > self.steps:
            raise ValueError(f"log_every must be at most steps ({self.steps}), not {self.log_every}")
        points = self.steps // self.log_every
        if points > MAX_POINTS:
            raise ValueError(
                f"log_every {self.log_every} would log {points:,} points, about "
                f"{points * BYTES_PER_POINT / 1e9:,.1f} GB: take at least {-(-self.steps // MAX_POINTS)}"
            )
        return self

    def only(self, name: str) -> Experiment:
        """The same experiment with one of its optimizers."""
        chosen = tuple(settings for settings in self.optimizers if settings.name == name)
        return self.model_copy(update={"optimizers": chosen})

    def on_engine(self, engine: str) -> Experiment:
        """The same experiment on another engine.

        Raises:
            ConfigError: there is no such engine, or the optimizer has no rule for it.
        """
        try:
            return Experiment.model_validate(dict(self) | {"engine": engine})
        except ValidationError as error:
            raise ConfigError(_explain(error, Experiment)) from error

    def engine_of(self, settings: OptimizerSettings) -> Literal["compiled", "torch"]:
        """Which engine runs this optimizer."""
        if self.engine == "auto":
            return "compiled" if settings.name in RULES else "torch"
        return self.engine

    def build_engine(self, settings: OptimizerSettings) -> Engine:
        """The engine of one optimizer, at step 0.

        Raises:
            ConfigError: an optimizer named by an import path cannot be imported or built.
        """
        schedule = SCHEDULES[self.schedule](settings.lr)
        if self.engine_of(settings) == "compiled":
            from amsgrad_exp.engines.compiled import CompiledEngine

            engines = [
                CompiledEngine(settings.name, self.problem, schedule, dtype=self.dtype, seed=seed, **settings.arguments)
                for seed in range(self.seed, self.seed + self.seeds)
            ]
            if self.seeds == 1:
                return engines[0]
            from amsgrad_exp.engines.seeds import SeedsEngine

            return SeedsEngine(engines)
        from amsgrad_exp.engines.torch_loop import TorchEngine

        path = OPTIMIZERS.get(settings.name, settings.name)
        try:
            return TorchEngine(
                path, self.problem, schedule, arguments=settings.arguments, dtype=self.dtype, seed=self.seed
            )
        except ValueError as error:
            raise ConfigError(str(error).splitlines()[0]) from error

    def to_yaml(self) -> str:
        """The experiment as YAML that `load_experiment` reads back to an equal one."""
        return to_yaml(self.model_dump(mode="json", exclude_none=True))


def to_yaml(data: Mapping[str, Any]) -> str:
    """A mapping as YAML, its keys in order."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)


def resolve(data: Mapping[str, Any]) -> Experiment:
    """Complete and check an experiment as it is written in YAML.

    What is left out takes the problem's natural settings, or else those of the reference experiment. A problem or an
    optimizer without further settings may be given by its name alone.

    Raises:
        ConfigError: something is unknown, of the wrong type or impossible.
    """
    data = dict(data)
    problem = _problem(data.get("problem", "online"))
    natural = problem.natural_settings
    given = data.get("optimizers", ["adam", "amsgrad"])
    if not isinstance(given, list):
        raise ConfigError(f"optimizers must be a list, not {given!r}")
    data["problem"] = problem
    data["optimizers"] = [_complete(settings, natural) for settings in given]
    data.setdefault("schedule", natural.get("schedule", "constant"))
    data.setdefault("steps", 10_000_000)
    steps = whole_number(data["steps"])
    if data.get("log_every") is None and isinstance(steps, int):
        data["log_every"] = max(1, steps // 10_000)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, Experiment)) from error


def read_complete(path: Path) -> Experiment:
    """Read a complete experiment, as `Experiment.to_yaml` writes it, without importing what it names.

    Raises:
        ConfigError: it is none.
    """
    data = _read_yaml(path)
    try:
        return Experiment.model_validate({**data, "problem": _problem(data.get("problem"))})
    except ValidationError as error:
        raise ConfigError(_explain(error, Experiment)) from error


def read_experiment(
    path: Path | None = None,
    *,
    optimizers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """An experiment as it is written in YAML, with what the command line says on top; for `resolve` to complete.

    Args:
        path: a YAML file; without one, the reference experiment.
        optimizers: names to run instead of all of the file's; one that the file has keeps its settings there.
        settings: settings of every optimizer, such as lr.
        constants: constants of the problem.
        overrides: top-level keys; None leaves the file's value.

    Raises:
        ConfigError: the file cannot be read, or does not have the form of an experiment.
    """
    data = _read_yaml(path) if path else {}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    in_file = _named(data.get("problem", "online"), "problem")
    if overrides.get("problem") in (None, in_file["name"]):
        overrides["problem"] = in_file
    data |= overrides
    if "name" in (constants or {}):
        raise ConfigError("problem: its name is no constant, and is set by --problem")
    data["problem"] = _named(data["problem"], "problem") | dict(constants or {})
    listed = data.get("optimizers", ["adam", "amsgrad"])
    if isinstance(listed, list):
        entries = [_named(entry, "optimizers") for entry in listed]
        if optimizers:
            by_name = {entry["name"]: entry for entry in entries}
            entries = [by_name.get(name, {"name": name}) for name in optimizers]
        data["optimizers"] = [entry | dict(settings or {}) for entry in entries]
    return data


def load_experiment(path: Path | None = None, **given: Any) -> Experiment:
    """Read, complete and check an experiment; the arguments are `read_experiment`'s.

    An optimizer named by an import path is imported, to see what it takes.

    Raises:
        ConfigError: the file cannot be read, or the experiment cannot be.
    """
    data = read_experiment(path, **given)
    if "grid" in data:
        raise ConfigError(f"{path} has a grid, which makes it a sweep: amsgrad-exp sweep --config {path}")
    return resolve(data)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path} is no experiment: it is larger than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few of them can stand for gigabytes
                raise ConfigError(f"{path} uses a YAML alias, *{event.anchor}: write the value out")
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{path} is not an experiment: it must be a mapping such as 'steps: 1000'")
    return data


def _named(entry: Any, field: str) -> dict[str, Any]:
    """What was given as a name alone or as a mapping with a name, as a mapping."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        return entry
    raise ConfigError(f"{field}: a name, or a mapping with a name, is needed, not {_short(entry)}")


def _problem(given: Any) -> Problem:
    entry = _named(given, "problem")
    if entry["name"] not in PROBLEMS:
        raise ConfigError(f"problem: unknown name {entry['name']!r}, {nearest(entry['name'], PROBLEMS)}")
    kind = PROBLEMS[entry["name"]]
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, "problem")) from error


def _complete(given: Any, natural: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in an optimizer's settings where its class takes them."""
    entry = {key: value for key, value in _named(given, "optimizers").items() if value is not None}
    name = entry["name"]
    reference = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-16, "optimized_update": True}
    defaults = {key: natural.get(key, value) for key, value in reference.items()}
    if name in OPTIMIZERS:
        if entry.get("options"):
            raise ConfigError(f"optimizers: options go with an import path, not with {name}")
        return defaults | entry
    if "." not in name:
        raise ConfigError(f"optimizers: unknown name {name!r}, {nearest(name, OPTIMIZERS)}")
    from amsgrad_exp.engines.torch_loop import import_optimizer

    try:
        parameters = inspect.signature(import_optimizer(name)).parameters
    except ValueError as error:
        raise ConfigError(f"optimizers: {' '.join(str(error).split())}") from error
    takes_anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if "lr" not in parameters and not takes_anything:
        raise ConfigError(f"optimizers: {name} takes no lr, which every schedule sets")
    options = entry.get("options")
    options = options if isinstance(options, dict) else {}
    taken_as = {"beta1": "betas", "beta2": "betas", "eps": "eps", "optimized_update": "optimized_update"}
    for setting, argument in taken_as.items():
        if setting in entry and argument in options:
            raise ConfigError(f"optimizers: {name} is given {setting}, and {argument} in its options: leave one out")
        if setting in entry and argument not in parameters and not takes_anything:
            raise ConfigError(f"optimizers: {name} takes no {argument}, so {setting} cannot be set")
        given_for = REFERENCE_KINDS[argument]
        if argument not in parameters or argument in options or not given_for(parameters[argument].default):
            del defaults[setting]
    if takes_anything and ("beta1" in entry) != ("beta2" in entry):
        defaults |= {"beta1": 0.9, "beta2": 0.99}
    return defaults | entry


# A reference setting is for optimizers whose own default is of its kind: not for ε as a pair, nor for three betas.
REFERENCE_KINDS: dict[str, Callable[[Any], bool]] = {
    "betas": lambda default: default is inspect.Parameter.empty or (isinstance(default, tuple) and len(default) == 2),
    "eps": lambda default: default is inspect.Parameter.empty or isinstance(default, int | float),
    "optimized_update": lambda default: isinstance(default, bool),
}


def _explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first of a model's errors, as one line that names the field and the value."""
    first = error.errors(include_url=False)[0]
    where = first["loc"][2:] if first["loc"][:1] == ("optimizers",) and len(first["loc"]) > 2 else first["loc"]
    field = ".".join(str(part) for part in (prefix, *where) if part != "")
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "extra_forbidden":
        known = OptimizerSettings.model_fields if first["loc"][0] == "optimizers" else model.model_fields
        return f"{field}: unknown key, {nearest(str(first['loc'][-1]), known)}"
    if first["type"] in ("value_error", "missing"):
        return f"{field}: {message}" if field else message
    return f"{field}: {message[0].lower()}{message[1:]}, not {_short(first['input'])}"


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
