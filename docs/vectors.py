"""Write docs/vectors/: the iterates of every rule, in every form of its options, over all probes. ``make vectors``."""

from __future__ import annotations

from pathlib import Path

from amsgrad_exp.identification.answer import walked
from amsgrad_exp.identification.known_forms import described, forms
from amsgrad_exp.identification.probes import probes, written

VECTORS = Path(__file__).parent / "vectors"


def main() -> None:
    """Write a file for each form."""
    VECTORS.mkdir(exist_ok=True)
    for name, text in vectors():
        (VECTORS / name).write_text(text, encoding="utf-8")


def vectors() -> list[tuple[str, str]]:
    """The name and the text of each file."""
    files = []
    for form in forms():
        chosen = probes({"weight_decay": form.options["weight_decay"]} if "weight_decay" in form.options else {})
        xs = {probe.name: walked(form, probe) for probe in chosen}
        files.append((f"{described(form).translate(str.maketrans(':=,', '---'))}.csv", written(chosen, xs)))
    return files


if __name__ == "__main__":
    main()
