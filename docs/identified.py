"""Identify every optimizer that claims to be one of the rules, and write the table of docs/identify.md.

``make identify``; needs pytorch_optimizer, jax and optax.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from amsgrad_exp.errors import Refusal
from amsgrad_exp.identification.answer import Answer, of_optimizer
from amsgrad_exp.rules import OPTIMIZERS

TORCH = (
    *("Adam", "Adam amsgrad=true", "Adam weight_decay=0.01", "AdamW", "AdamW amsgrad=true", "Adamax", "NAdam"),
    *("NAdam decoupled_weight_decay=true weight_decay=0.01", "RAdam", "RMSprop", "RMSprop centered=true"),
    *("RMSprop momentum=0.9", "Adagrad", "Adagrad lr_decay=0.1", "Adadelta", "SGD", "SGD momentum=0.9"),
    *("SGD momentum=0.9 dampening=0.1", "SGD momentum=0.9 nesterov=true"),
)
PYTORCH_OPTIMIZER = (
    *("AdaBelief", "AdaBelief rectify=true", "AdaBound", "AdaBound ams_bound=true", "AdaDelta", "ADOPT", "AdaShift"),
    *("AvaGrad", "Adan", "AdaMax", "AdamW", "Lion", "PAdam", "RAdam", "RAdam degenerated_to_sgd=true", "SignSGD"),
    *("SignSGD momentum=0.0", "Yogi"),
)
OPTAX = (
    *("adam", "adam nesterov=true", "adamw", "adamax", "adamaxw", "nadam", "radam", "amsgrad", "yogi", "adabelief"),
    *("adan", "lion", "lion weight_decay=0", "rmsprop", "rmsprop eps_in_sqrt=false", "rmsprop momentum=0.9"),
    *("rmsprop centered=true", "adagrad", "adagrad initial_accumulator_value=0", "adadelta", "sgd"),
    *("sgd momentum=0.9", "sgd momentum=0.9 nesterov=true", "sign_sgd", "signum"),
    *("contrib.acprop", "contrib.adopt", "contrib.adopt use_clipping=false"),
)
LISTED = (
    *OPTIMIZERS,
    *(f"torch.optim.{each}" for each in TORCH),
    *(f"pytorch_optimizer.{each}" for each in PYTORCH_OPTIMIZER),
    *(f"optax.{each}" for each in OPTAX),
)
PAGE = Path(__file__).parent / "identify.md"


def main() -> None:
    """Print the table, and put it into the page."""
    lines = []
    for line in table():
        print(line, flush=True)
        lines.append(line)
    text = PAGE.read_text(encoding="utf-8")
    marked = re.sub(r"(?s)(<!-- table -->\n).*(<!-- /table -->)", lambda m: m[1] + "\n".join([*lines, ""]) + m[2], text)
    PAGE.write_text(marked, encoding="utf-8")


def table() -> Iterator[str]:
    """The table's lines."""
    yield "| optimizer | identified as | difference |"
    yield "|---|---|---:|"
    for listed in LISTED:
        name, *options = listed.split()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                said = row(of_optimizer(name, {}, dict(option.split("=") for option in options), None))
            except Refusal as error:
                said = f"{error} | "
        yield f"| `{listed}` | {said} |"


def row(answer: Answer) -> str:
    """What an optimizer is, and how far x is from the rule's, with its departures."""
    name = answer.closest_in_words
    if answer.matches:
        return f"{name} | {answer.largest:.0e}"
    if answer.explained:
        rough = ", as far as float32 can tell" if answer.single else ""
        return f"{name}; {answer.departs} (`{', '.join(answer.departures)}`){rough} | {answer.rest:.0e}"
    first = answer.first
    where = f'; first at step {first["step"]} of "{first["probe"]}"' if first else ""
    return f"none; closest to {name}{where} | "


if __name__ == "__main__":
    main()
