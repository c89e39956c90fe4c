"""What bfloat16 and float16 do to the mod-101 experiment: a section of docs/field.md."""

from __future__ import annotations

from collections.abc import Iterator

from amsgrad_exp.engines import build
from amsgrad_exp.engines.driver import Chunk, drive
from amsgrad_exp.engines.summarize import Result, summarize
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.trace import Trace

DTYPES = ("float64", "float32", "bfloat16", "float16")
STEPS = 10_000_000

INTRODUCTION = """\
The experiment of the paper's Section 5 (`online`, α = 0.01, β = (0.9, 0.99)), with x and the moments kept in half
precision: `amsgrad-exp run --dtype bfloat16`. Losses and gradients are computed in float32, and gradients rounded. Ten
million steps on the torch engine, with `amsgrad_exp.optimizers.Adam` and `AMSGrad`:"""

MEANING = """\
Between ½ and 1, neighbouring numbers of bfloat16 are 2⁻⁸ = 0.0039 apart, those of float16 2⁻¹¹ = 0.0005, and between ¼
and ½ half as far. A step that is smaller than half of this distance changes nothing. Which steps are lost depends on
where x is, and with them where the iterates settle: here between the optimum and the worst point, except for Adam in
float16. A verdict in half precision is about the number format as much as about the optimizer."""


def precisions() -> Iterator[str]:
    """The section's paragraphs."""
    yield INTRODUCTION
    lines = ["| dtype | optimizer | mean x of the last tenth | iterate | R(T)/T |", "| --- | --- | --- | --- | --- |"]
    for dtype in DTYPES:
        for optimizer in ("adam", "amsgrad"):
            result = outcome(optimizer, dtype)
            lines.append(f"| {dtype} | {optimizer} | {result.mean_x:+.4f} | {result.iterate} | {result.regret:.3g} |")
    yield "\n".join(lines)
    yield MEANING


def outcome(optimizer: str, dtype: str) -> Result:
    """The result of one run on the torch engine."""
    (trial,) = resolve({"optimizers": [optimizer], "dtype": dtype, "engine": "torch", "steps": STEPS}).trials()
    chunks: list[Chunk] = list(drive(build(trial), trial.steps, trial.log_every))
    return summarize(trial.problem, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1])


if __name__ == "__main__":
    print("\n\n".join(precisions()))
