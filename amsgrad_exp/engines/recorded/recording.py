"""One step of a torch optimizer, recorded as a stream of ATen operations on single numbers."""

from __future__ import annotations

import contextlib
import math
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from amsgrad_exp.engines.recorded.scalars import KINDS
from amsgrad_exp.engines.recorded.tracked import Notes, following, plain, text_of
from amsgrad_exp.engines.torch_state import Survey, copied
from amsgrad_exp.engines.torch_step import update_of
from amsgrad_exp.optimizers.importing import in_library

Place = tuple[Any, ...]
"""Names, keys and indices that lead from an optimizer to a number; None is the parameter."""


class NotRecorded(Exception):
    """An optimizer cannot be compiled; the message says why, in a line.

    Args:
        why: the reason.
        for_good: whether that is so at later steps, too.
    """

    def __init__(self, why: str, *, for_good: bool = True) -> None:
        super().__init__(" ".join(why.split())[:160])
        self.for_good = for_good


@dataclass(frozen=True)
class Leaf:
    """A number that an optimizer keeps, as a tensor or a Python number, and where."""

    holder: Any
    key: Any
    value: Any

    def read(self) -> float:
        """The number; NaN of a tensor that has several."""
        if isinstance(self.value, Tensor):
            return float(self.value.detach().reshape(-1)[0]) if self.value.numel() == 1 else math.nan
        return plain(self.value)

    def put(self, number: float) -> None:
        """Put another number in its place, in a tensor that is kept, too."""
        if isinstance(self.value, Tensor):
            with torch.no_grad():
                self.value.fill_(number if self.value.is_floating_point() else int(number))
        else:
            self.holder[self.key] = type(self.value)(number)


_NOT_STATE = ("defaults", "_zero_grad_profile_name", "_patch_step_function", "_warned_capturable", "_optimizer_")


def leaves(optimizer: Optimizer, param: Tensor) -> dict[Place, Leaf]:
    """All numbers in an optimizer's attributes, also those of optimizers and other objects in it, by their places."""
    found: dict[Place, Leaf] = {}
    seen = {id(param)}

    def walk(value: Any, place: Place, holder: Any, key: Any) -> None:
        if isinstance(value, Tensor):
            if id(value) not in seen or place[0] == "state":
                found[place] = Leaf(holder, key, value)
        elif isinstance(value, int | float):
            if not isinstance(value, bool) and not isinstance(holder, tuple):
                found[place] = Leaf(holder, key, value)
        elif value is not param and id(value) not in seen:
            items: Any = ()
            if isinstance(value, dict):
                items, holder = value.items(), value
            elif isinstance(value, list | tuple | deque):
                items, holder = enumerate(value), value
            elif isinstance(value, Optimizer) or (
                hasattr(value, "__dict__")
                and not isinstance(value, type | types.FunctionType | types.MethodType | types.ModuleType)
                and not in_library(type(value).__module__)
            ):
                items, holder = vars(value).items(), vars(value)
            seen.add(id(value))
            for name, item in list(items):
                if item is not param and not (isinstance(name, str) and name.startswith(_NOT_STATE)):
                    walk(item, (*place, None if name is param else name), holder, name)

    walk(optimizer, (), None, None)
    return found


_VIEWS = frozenset(
    (
        "detach",
        "split",
        "unbind",
        "split_with_sizes",
        "_reshape_alias",
        "alias",
        "unsafe_split",
        "chunk",
        "size",
        "stride",
    )
)
_CREATES = frozenset(
    (
        *("zeros_like", "ones_like", "new_zeros", "new_ones", "zeros", "ones", "eye", "arange", "scalar_tensor"),
        *("empty_like", "empty", "new_empty", "empty_strided", "new_empty_strided", "full_like", "full", "new_full"),
        *("lift_fresh", "lift_fresh_copy"),
    )
)
_OF_TYPES = frozenset(("promote_types", "result_type", "is_same_size", "can_cast"))
_MEMORY = frozenset(
    (
        *("tolist", "numpy", "__array__", "data_ptr", "untyped_storage", "storage", "_typed_storage", "__dlpack__"),
        *("map_", "apply_", "__reduce_ex__", "__repr__", "__format__", "share_memory_"),
    )
)


@dataclass
class Operation:
    """One ATen operation on numbers.

    Attributes:
        func, name: what it is; its name without what foreach and in-place variants add to it.
        arguments: by the schema's names: ("t", which tensor), ("s", which number), ("l", …) a list, or ("=", constant).
        inputs, dtypes, shapes: of its tensors: the names of their numbers, and what they are like.
        numbers, values: which of the recording's scalars its Python numbers are, and what they were.
        out, out_dtype: the name of its result, and what that is like.
    """

    func: Any
    name: str
    arguments: dict[str, tuple[str, Any]]
    inputs: list[str]
    dtypes: list[torch.dtype]
    shapes: list[tuple[int, ...]]
    numbers: list[int]
    values: list[float]
    out: str = ""
    out_dtype: torch.dtype = torch.float32

    def call(self, tensors: Sequence[Tensor], numbers: Sequence[float]) -> Tensor:
        """Do it on other tensors and numbers; what it writes to or returns."""
        pick: dict[str, Callable[[Any], Any]] = {
            "t": lambda i: tensors[i], "s": lambda i: numbers[i], "=": lambda v: v,
            "l": lambda each: [pick[way](what) for way, what in each],
        }  # fmt: skip
        values = {name: pick[way](what) for name, (way, what) in self.arguments.items()}
        schema = self.func._schema.arguments
        by_name = {each.name: values[each.name] for each in schema if each.kwarg_only}
        result = self.func(*(values[each.name] for each in schema if not each.kwarg_only), **by_name)
        written = [values[each.name] for each in schema if each.alias_info is not None and each.alias_info.is_write]
        result = (written or [result])[0]
        one: Tensor = result[0] if isinstance(result, list | tuple) else result
        return one


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations; numbers are x, g, s0, … (state), c0, … (Python's), v0, … (results), by their memory."""

    def __init__(self, cells: Mapping[int, str], kinds: Mapping[str, torch.dtype]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cells, self.dtypes = dict(cells), dict(kinds)
        self.operations: list[Operation] = []
        self.scalars: list[float] = []
        self.reads: list[tuple[str, float]] = []
        self.guards: list[tuple[str, bool]] = []
        self.structure: list[str] = []
        self._kept: list[Tensor] = []  # so that no other tensor comes to lie in their memory

    def guard(self, text: str, truth: bool) -> None:
        """Note a comparison and how it came out."""
        self.guards.append((text, truth))
        self.structure.append(f"guard {text} {truth}")

    def name_of(self, tensor: Tensor) -> str:
        """The number that a tensor holds."""
        if tensor.numel() != 1:
            raise NotRecorded(f"it uses a tensor of {tensor.numel()} elements")
        if tensor.dtype not in KINDS or tensor.layout != torch.strided:
            raise NotRecorded(f"it uses a tensor of {tensor.dtype}, {tensor.layout}")
        name = self.cells.get(tensor.data_ptr())
        if name is None:
            raise NotRecorded("it uses a tensor that is neither its state nor made in the step")
        if self.dtypes[name] != tensor.dtype:
            raise NotRecorded("it reads a tensor's memory as another dtype")
        self._kept.append(tensor)
        return name

    def _named(self, tensor: Tensor, name: str) -> None:
        self._kept.append(tensor)
        self.cells[tensor.data_ptr()], self.dtypes[name] = name, tensor.dtype

    def _scalar(self, value: float) -> int:
        self.scalars.append(plain(value))
        return len(self.scalars) - 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, name = func._schema.name.split("::")
        if space == "profiler":
            return func(*args, **kwargs)
        if space != "aten":
            raise NotRecorded(f"it calls {func._schema.name}")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotRecorded("it draws random numbers")
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._read(func, args[0])
        base = name.removeprefix("_foreach_")
        base = base[:-1] if base.endswith("_") and not base.endswith("__") else base
        if (func.is_view and not base.startswith("lift_fresh")) or base in _VIEWS or base in _CREATES:
            return self._make(func, args, kwargs, base, created=base in _CREATES)
        operation, bound = self._operation(func, base, args, kwargs, foreach=name.startswith("_foreach_"))
        result = func(*args, **kwargs)
        made = [bound[a.name] for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        made = made or (list(result) if isinstance(result, list | tuple) else [result])
        made = [each[0] if isinstance(each, list | tuple) and len(each) == 1 else each for each in made]
        if not isinstance(made[0], Tensor):
            if base in _OF_TYPES:
                return result
            raise NotRecorded(f"it decides by {name}" if isinstance(result, bool) else f"it calls {name}")
        if len(made) > 1:
            raise NotRecorded(f"it calls {name}, which has several results")
        if made[0].numel() != 1 or made[0].dtype not in KINDS:
            raise NotRecorded(f"it makes a tensor of {made[0].numel()} elements of {made[0].dtype}")
        self.structure.append(
            repr((str(func), operation.arguments, operation.inputs, operation.dtypes, operation.shapes))
        )
        operation.out, operation.out_dtype = f"v{len(self.operations)}", made[0].dtype
        self._named(made[0], operation.out)
        self.operations.append(operation)
        return result

    def _read(self, func: Any, tensor: Tensor) -> Any:
        name, value = self.name_of(tensor), func(tensor)
        self.reads.append((name, float(value)))
        self.structure.append(f"read {name}")
        if isinstance(value, bool):
            self.guard(f"({name} != 0)", value)
        return value

    def _make(self, func: Any, args: Any, kwargs: Any, base: str, *, created: bool) -> Any:
        """A view, or a tensor that depends on nothing."""
        result = func(*args, **kwargs)
        tensors = [
            each for each in (result if isinstance(result, list | tuple) else [result]) if isinstance(each, Tensor)
        ]
        self.structure.append(f"{func} {[tuple(each.shape) for each in tensors]}")
        for tensor in tensors:
            if tensor.numel() > 1:
                raise NotRecorded(f"it makes a tensor of {tensor.numel()} elements")
            self._kept.append(tensor)
            if created and tensor.numel() == 1:
                if "empty" in base:
                    tensor.zero_()
                self.structure.append("created")
                self._named(tensor, f"c{self._scalar(float(tensor))}")
        return result

    def _operation(
        self, func: Any, base: str, args: Any, kwargs: Any, *, foreach: bool
    ) -> tuple[Operation, dict[str, Any]]:
        """An operation before it is done, and its arguments by the schema's names."""
        operation = Operation(func, base, {}, [], [], [], [], [])
        tensors: list[Tensor] = []
        bound: dict[str, Any] = {}

        def encoded(value: Any) -> tuple[str, Any]:
            if isinstance(value, Tensor):
                known = next((i for i, each in enumerate(tensors) if each is value), None)
                if known is None:
                    tensors.append(value)
                    operation.inputs.append(self.name_of(value))
                    operation.dtypes.append(value.dtype)
                    operation.shapes.append(tuple(value.shape))
                return "t", len(tensors) - 1 if known is None else known
            if isinstance(value, int | float) and not isinstance(value, bool):
                operation.numbers.append(self._scalar(value))
                operation.values.append(value if type(value) is int else plain(value))
                return "s", len(operation.numbers) - 1
            if isinstance(value, list | tuple):
                if foreach and len(value) > 1:
                    raise NotRecorded("it updates several parameters at once")
                return "l", tuple(encoded(each) for each in value)
            return "=", value

        for position, argument in enumerate(func._schema.arguments):
            default = argument.default_value if argument.has_default_value() else None
            value = args[position] if position < len(args) else kwargs.get(argument.name, default)
            bound[argument.name] = value
            operation.arguments[argument.name] = encoded(value)
        return operation, bound


class _Reads(TorchFunctionMode):
    """Makes numbers that are read from tensors tracked ones."""

    def __init__(self, operations: _Operations, notes: Notes) -> None:
        super().__init__()
        self._operations, self._notes = operations, notes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _MEMORY and args and isinstance(args[0], Tensor):
            raise NotRecorded(f"it takes a tensor's numbers by {name}")
        before = len(self._operations.reads)
        result = func(*args, **(kwargs or {}))
        read = [f"i{k}" for k in range(before, len(self._operations.reads))]
        if read and not isinstance(result, bool):
            if func is torch.Tensor.item and isinstance(result, int | float):
                return self._notes.number(result, read[-1])
            self._notes.escapes.extend(read)
        return result


class Recording:
    """A step of a copy of an optimizer, as it was recorded.

    Args:
        optimizer, param: where it starts; they stay as they are.
        gradient, lr: of the step.
        moving: places of Python numbers that are tracked: p0, p1, ….
        counts: numbers to put in some places first.
        functions: Python functions that the optimizer uses.

    Attributes:
        operations, scalars, reads, guards: in the order of the step.
        structure: all of that but the numbers: of two recordings with the same one, the numbers alone differ.
        before: the numbers by their names in expressions.
        made: expressions that were noted, by their values.
        places: the place of each state tensor, by its name.
        x, outputs: the names of what the parameter and the state tensors hold after the step.
        moved: of tracked Python numbers, by place: what they are after the step, and its expression if it has one.
        changed: places of other Python numbers that changed.

    Raises:
        NotRecorded: the step cannot be recorded.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        param: torch.nn.Parameter,
        gradient: float,
        lr: float,
        *,
        moving: Sequence[Place] = (),
        counts: Mapping[Place, float] | None = None,
        functions: Sequence[types.FunctionType] = (),
    ) -> None:
        twin, p = copied(optimizer, param)
        here = leaves(twin, p)
        for place, count in (counts or {}).items():
            here[place].put(count)
        here = leaves(twin, p)
        literal, its_p = copied(twin, p)
        for each, its in ((twin, p), (literal, its_p)):
            for group in each.param_groups:
                group["lr"] = lr
            its.grad = torch.full_like(its, gradient)
        with torch.no_grad():
            update_of(literal)()
        p.grad = torch.full_like(p, gradient)
        cells, dtypes = {p.data_ptr(): "x", p.grad.data_ptr(): "g"}, {"x": p.dtype, "g": p.dtype}
        of_tensors: dict[Place, str] = {}
        kept = [p, p.grad, *(leaf.value for leaf in here.values())]
        for place, leaf in here.items():
            if isinstance(leaf.value, Tensor) and leaf.value.numel() == 1 and leaf.value.dtype in KINDS:
                of_tensors[place] = name = cells.setdefault(leaf.value.data_ptr(), f"s{len(of_tensors)}")
                dtypes[name] = leaf.value.dtype
        operations = _Operations(cells, dtypes)
        notes = Notes(operations.guard)
        numbers = {place: plain(here[place].value) for place in moving}
        for j, place in enumerate(moving):
            here[place].holder[here[place].key] = notes.number(numbers[place], f"p{j}")
        for group in twin.param_groups:
            group["lr"] = notes.number(lr, "lr")
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(following(functions))
            stack.enter_context(_Reads(operations, notes))
            stack.enter_context(operations)
            update_of(twin)()
        after, wanted = leaves(twin, p), leaves(literal, its_p)
        if set(after) != set(here):
            raise NotRecorded("its state is still being built up", for_good=False)
        if any(plain(group["lr"]) != lr for group in twin.param_groups):
            raise NotRecorded("it changes lr itself")
        if notes.escapes:
            raise NotRecorded(f"a number is used where it cannot be followed: {notes.escapes[0]}")
        _same(after, wanted, p, its_p)
        self.lr, self.operations, self.scalars = lr, operations.operations, operations.scalars
        self.reads, self.guards, self.dtypes = operations.reads, operations.guards, operations.dtypes
        self.before = {"lr": lr, **{f"p{j}": number for j, number in enumerate(numbers.values())}}
        self.before |= {f"i{k}": value for k, (_, value) in enumerate(self.reads)}
        self.made = notes.made
        self.places: dict[str, Place] = {}
        self.outputs: dict[str, str] = {}
        self.x = operations.cells[p.data_ptr()]
        for place, name in of_tensors.items():
            value = after[place].value
            if not isinstance(value, Tensor) or value.data_ptr() not in operations.cells:
                raise NotRecorded("its state is no longer a tensor of the step", for_good=False)
            out = operations.cells[value.data_ptr()]
            if operations.dtypes[out] != dtypes[name] or self.outputs.setdefault(name, out) != out:
                raise NotRecorded("a tensor of its state becomes another kind of tensor", for_good=False)
            self.places.setdefault(name, place)
        self.moved = {place: plain(after[place].value) for place in moving}
        self.moved_texts = {place: text_of(after[place].value) for place in moving}
        self.changed = [
            place for place, leaf in here.items()
            if place not in numbers and not isinstance(leaf.value, Tensor) and place[-1] != "lr"
            and (isinstance(after[place].value, Tensor) or plain(after[place].value) != plain(leaf.value))
        ]  # fmt: skip
        self.structure = "\n".join([*operations.structure, repr(sorted(self.outputs.items())), self.x])
        self._explained(optimizer, param, counts or {}, literal, its_p, wanted)
        del kept

    def _explained(
        self,
        optimizer: Optimizer,
        param: torch.nn.Parameter,
        counts: Mapping[Place, float],
        literal: Optimizer,
        p: torch.nn.Parameter,
        wanted: Mapping[Place, Leaf],
    ) -> None:
        """Check that what the step changed of an optimizer is numbers that are followed, and nothing else."""
        if self.changed:
            return
        twin, its = copied(optimizer, param)
        with torch.no_grad():
            its.copy_(p)
            for place, leaf in leaves(twin, its).items():
                if isinstance(leaf.value, Tensor):
                    leaf.value.copy_(wanted[place].value)
                elif place in self.moved or place in counts or place[-1] == "lr":
                    leaf.put(wanted[place].read())
        its.grad = None if p.grad is None else p.grad.clone()
        if Survey(twin, its, -5, {}).own != Survey(literal, p, -5, {}).own:
            raise NotRecorded("it keeps something that is neither a number nor a tensor", for_good=False)


def _same(after: Mapping[Place, Leaf], wanted: Mapping[Place, Leaf], p: Tensor, its_p: Tensor) -> None:
    """Check that a recorded step did what a literal one does."""
    pairs = [(p.item(), its_p.item()), *((after[place].read(), leaf.read()) for place, leaf in wanted.items())]
    if not all(a == b or (a != a and b != b) for a, b in pairs):
        raise NotRecorded("a recorded step does not do what a step does: its numbers change from one call to the next")
