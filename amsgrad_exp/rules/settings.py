"""Defines the settings of an optimizer in an experiment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from amsgrad_exp.numbers import Number


def _printed(label: str) -> str:
    if any(letter < " " or letter == "\x7f" for letter in label):
        raise ValueError(f"must not contain control characters, such as the one in {label!r}")
    return label


class OptimizerSettings(BaseModel):
    """The complete settings of one optimizer.

    Attributes:
        name: a name in `OPTIMIZERS`, or the import path of a `torch.optim.Optimizer` class or of a function that makes
            one from parameters and lr.
        label: its name in legends and tables; without a label, they show its name and differing settings.
        lr: α > 0.
        beta1, beta2: decay rates of the moments, each in [0, 1); None if the optimizer has no such moment.
        eps: ε ≥ 0; None if the optimizer has none.
        optimized_update: the form of the bias correction, as in `amsgrad_exp.optimizers.Adam`; None for others.
        shape: the shape of an imported optimizer's parameter, "1" or "1x1"; None for the first that works.
        options: an optimizer's own settings; for an imported optimizer, further keyword arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str
    label: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printed)] | None = None
    lr: Annotated[Number, Field(gt=0)]
    beta1: Annotated[Number, Field(ge=0, lt=1)] | None = None
    beta2: Annotated[Number, Field(ge=0, lt=1)] | None = None
    eps: Annotated[Number, Field(ge=0)] | None = None
    optimized_update: bool | None = None
    shape: Annotated[
        Literal["1", "1x1"] | None, BeforeValidator(lambda shape: str(shape) if type(shape) is int else shape)
    ] = None
    options: dict[str, JsonValue] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the optimizer's class, except lr."""
        arguments: dict[str, Any] = self.model_dump(include={"beta1", "beta2"}, exclude_none=True)
        if len(arguments) == 2:
            arguments = {"betas": (self.beta1, self.beta2)}
        if self.eps is not None:
            arguments["eps"] = self.eps
        if self.optimized_update is not None:
            arguments["optimized_update"] = self.optimized_update
        return arguments | self.options
