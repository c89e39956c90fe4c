"""Numba's compiler for a loop over steps whose inner loops, over the few lanes of a tile, LLVM must not unroll.

LLVM unrolls a loop with few turns before it looks for what can be done in vectors, and then runs one lane after the
other: eight lanes take two to four times as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering


class _Lower(Lower):  # type: ignore[misc]
    def post_lower(self) -> None:
        """Mark every jump back to an earlier block, which ends a turn of a loop."""
        super().post_lower()
        own = self.module.add_metadata(["itself"])  # LLVM knows a loop by a node whose first operand is itself
        own.operands = (own, self.module.add_metadata(["llvm.loop.unroll.disable"]))
        places = {block: place for place, block in enumerate(self.function.blocks)}
        for block, place in places.items():
            jump = block.terminator
            if isinstance(jump, ir.Branch) and any(places.get(to, place + 1) <= place for to in jump.operands):
                jump.set_metadata("llvm.loop", own)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringWithoutUnrolling(NativeLowering):  # type: ignore[misc]
    _name = "lowering_without_unrolling"

    @property
    def lowering_class(self) -> type[Lower]:
        return _Lower


class ShortLoopsCompiler(CompilerBase):  # type: ignore[misc]
    """To be given to `njit` as its ``pipeline_class``."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        lowering = {NativeLowering: _LoweringWithoutUnrolling}
        passes.passes = [(lowering.get(each, each), why) for each, why in passes.passes]
        passes.finalize()
        return [passes]
