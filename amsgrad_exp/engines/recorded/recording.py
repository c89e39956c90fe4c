"""Records one step of a torch optimizer as a list of ATen operations on single numbers."""

from __future__ import annotations

import math
import types
from collections import Counter, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from amsgrad_exp.engines.recorded.followed import Followed, Notes, following, plain, text_of
from amsgrad_exp.engines.recorded.kernels import CASTS, KINDS, ON_ARRAYS
from amsgrad_exp.engines.torch_state import Survey, copied
from amsgrad_exp.engines.torch_step import update_of
from amsgrad_exp.optimizers.importing import in_library

Place = tuple[Any, ...]
"""The attribute names, keys and indices that lead from an optimizer to a number; None stands for the parameter."""


class NotRecorded(Exception):
    """An optimizer cannot be compiled; the message says why in one line.

    If `for_good` is False, recording may succeed at a later step.
    """

    def __init__(self, why: str, *, for_good: bool = True) -> None:
        super().__init__(" ".join(why.split())[:160])
        self.for_good = for_good


@dataclass(frozen=True)
class Leaf:
    """A number that an optimizer keeps: the tensor or Python number, and the object and key that hold it."""

    holder: Any
    key: Any
    value: Any

    def read(self) -> float:
        """Return the number; NaN if the tensor has several elements."""
        if isinstance(self.value, Tensor):
            return float(self.value.detach().reshape(-1)[0]) if self.value.numel() == 1 else math.nan
        return plain(self.value)

    def put(self, number: float) -> None:
        """Replace the number; a tensor is filled in place, so that the optimizer keeps the same tensor."""
        if isinstance(self.value, Tensor):
            with torch.no_grad():
                self.value.fill_(number if self.value.is_floating_point() else int(number))
        else:
            self.holder[self.key] = type(self.value)(number)


_NOT_STATE = ("defaults", "_zero_grad_profile_name", "_patch_step_function", "_warned_capturable", "_optimizer_")


def leaves(optimizer: Optimizer, param: Tensor, others: dict[Place, Any] | None = None) -> dict[Place, Leaf]:
    """Find all numbers in an optimizer and in the objects it contains, by their places.

    Strings, booleans and Nones are added to ``others``.
    """
    found: dict[Place, Leaf] = {}
    seen = {id(param)}

    def walk(value: Any, place: Place, holder: Any, key: Any) -> None:
        if isinstance(value, Tensor):
            if id(value) not in seen or place[0] == "state":
                found[place] = Leaf(holder, key, value)
        elif isinstance(value, bool | str | None):
            if others is not None:
                others[place] = value
        elif isinstance(value, int | float):
            if not isinstance(holder, tuple):
                found[place] = Leaf(holder, key, value)
        elif id(value) not in seen:
            seen.add(id(value))
            if not isinstance(value, list | tuple | deque | dict):
                code = type | types.FunctionType | types.MethodType | types.ModuleType
                plain_object = hasattr(value, "__dict__") and not isinstance(value, code)
                foreign = in_library(type(value).__module__) and not isinstance(value, Optimizer)
                value = vars(value) if plain_object and not foreign else {}
            for name, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
                if item is not param and not (isinstance(name, str) and name.startswith(_NOT_STATE)):
                    walk(item, (*place, None if name is param else name), value, name)

    walk(optimizer, (), None, None)
    return found


_CREATES = {
    *("zeros_like", "ones_like", "new_zeros", "new_ones", "zeros", "ones", "eye", "arange", "scalar_tensor"),
    *("empty_like", "empty", "new_empty", "empty_strided", "new_empty_strided", "full_like", "full", "new_full"),
    *("lift_fresh", "lift_fresh_copy"),
}
_OF_TYPES = {"promote_types", "result_type", "is_same_size", "can_cast"}
_MEMORY = {
    *("tolist", "numpy", "__array__", "data_ptr", "untyped_storage", "storage", "_typed_storage", "__dlpack__"),
    *("map_", "apply_", "__reduce_ex__", "__repr__", "__format__", "share_memory_"),
}


@dataclass
class Operation:
    """One ATen operation on numbers.

    ``inputs``, ``dtypes`` and ``shapes`` are those of its tensors, ``numbers`` the indices of its Python numbers among
    the recording's scalars, and ``values`` these numbers.
    """

    func: Any
    name: str  # without the prefix and suffix of foreach and in-place variants
    arguments: TreeSpec  # the structure of the positional and the keyword arguments
    # Each argument's name in the schema with ("t", index of a tensor), ("s", index of a number) or ("=", constant).
    parts: list[tuple[str, str, Any]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)  # of arguments that are not passed
    inputs: list[str] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    out: str = ""
    out_dtype: torch.dtype = torch.float32

    def call(self, tensors: Sequence[Tensor], numbers: Sequence[float]) -> Tensor:
        """Apply the operation to other tensors and numbers; return the tensor that it returns or changes."""
        every: dict[str, Sequence[Any]] = {"t": tensors, "s": numbers}
        values = [every[way][what] if way in every else what for _, way, what in self.parts]
        args, named = tree_unflatten(values, self.arguments)
        one: Tensor = results(self.func(*args, **named), args)[0]
        return one


def results(returned: Any, args: Any) -> list[Any]:
    """Return an operation's results; if it returns None, its first argument, which it has changed in place."""
    made = args[0] if returned is None else returned
    return list(made) if isinstance(made, list | tuple) else [made]


@dataclass
class Scalar:
    """A Python number that a step uses, alone or to fill a new tensor, and the expressions that may yield it."""

    value: float
    texts: list[str]
    kind: str = "d"


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations, and names each tensor's number by the address of its memory.

    The names are x, g, s0, s1, … for state, c0, c1, … for Python numbers, and v0, v1, … for results.
    """

    def __init__(self, cells: Mapping[int, str], kinds: Mapping[str, torch.dtype]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cells, self.dtypes = dict(cells), dict(kinds)
        self.operations: list[Operation] = []
        self.scalars: list[Scalar] = []
        self.reads: list[tuple[str, float]] = []
        self.guards: list[tuple[str, bool]] = []
        self.structure: list[str] = []
        self._kept: list[Tensor] = []  # keeps tensors alive, so that no new tensor reuses their memory

    def guard(self, text: str, truth: bool) -> None:
        self.guards.append((text, truth))
        self.structure.append(f"guard {text} {truth}")

    def name_of(self, tensor: Tensor) -> str:
        """Return the name of the number that a tensor holds."""
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

    def _scalar(self, value: float, kind: str = "d") -> int:
        self.scalars.append(Scalar(float(value), [repr(float(value))], kind))
        return len(self.scalars) - 1

    def explain(self, handed: Sequence[Followed], first: int) -> None:
        """Match the followed numbers passed to a torch function with the scalars recorded from index ``first`` on.

        A followed number that cannot be found among these scalars counts as escaped.
        """
        uses = self.scalars[first:]
        count = Counter(each.value for each in handed)
        found: dict[int, list[str]] = {}
        for each in handed:
            alike = [use for use in uses if same_number(_as_kind(each.value, use.kind), use.value)]
            if len(alike) < count[each.value]:
                each.escaped()
            for use in alike:
                text = each.text if use.kind == "d" else f"f64({CASTS[use.kind].format(each.text)})"
                constant = use.texts[:1] if len(alike) > count[each.value] else []
                found.setdefault(id(use), constant).append(text)
        for use in uses:
            use.texts = found.get(id(use), use.texts)

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
        if base in _CREATES or func.is_view:
            return self._make(func, args, kwargs, base)
        operation = self._operation(func, base, args, kwargs)
        result = func(*args, **kwargs)
        made = results(result, args)
        if not isinstance(made[0], Tensor):
            if base in _OF_TYPES:
                return result
            raise NotRecorded(f"it decides by {name}" if isinstance(result, bool) else f"it calls {name}")
        if len(made) > 1:
            raise NotRecorded(f"it calls {name}, which has several results")
        if made[0].numel() != 1 or made[0].dtype not in KINDS:
            raise NotRecorded(f"it makes a tensor of {made[0].numel()} elements of {made[0].dtype}")
        self.structure.append(repr((str(func), operation.parts, operation.inputs, operation.dtypes, operation.shapes)))
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

    def _make(self, func: Any, args: Any, kwargs: Any, base: str) -> Any:
        """Run an operation that makes a view, or a tensor that depends on no other tensor."""
        result = func(*args, **kwargs)
        tensors = [each for each in results(result, args) if isinstance(each, Tensor)]
        self.structure.append(f"{func} {[tuple(each.shape) for each in tensors]}")
        for tensor in tensors:
            if tensor.numel() > 1:
                raise NotRecorded(f"it makes a tensor of {tensor.numel()} elements")
            self._kept.append(tensor)
            if base in _CREATES and tensor.numel() == 1:
                if "empty" in base:
                    tensor.zero_()
                if tensor.dtype not in KINDS:
                    raise NotRecorded(f"it makes a tensor of {tensor.dtype}")
                self._named(tensor, f"c{self._scalar(float(tensor), kind=KINDS[tensor.dtype])}")
        return result

    def _operation(self, func: Any, base: str, args: Any, kwargs: Any) -> Operation:
        """Describe an operation before it is run."""
        schema, tensors = func._schema.arguments, list[Tensor]()
        operation = Operation(func, base, tree_flatten((args, kwargs), is_leaf=_is_empty)[1])
        given = {argument.name: value for argument, value in zip(schema, args, strict=False)} | kwargs
        for argument in schema:
            if argument.name not in given and argument.has_default_value():
                operation.defaults[argument.name] = argument.default_value
        for name, argument in given.items():
            values = tree_flatten(argument, is_leaf=_is_empty)[0]
            if len(values) > 1 and "_foreach_" in func._schema.name:
                raise NotRecorded("it updates several parameters at once")
            for value in values:
                way, what = "=", value
                if isinstance(value, Tensor):
                    way, what = "t", next((i for i, each in enumerate(tensors) if each is value), len(tensors))
                    if what == len(tensors):
                        tensors.append(value)
                        operation.inputs.append(self.name_of(value))
                        operation.dtypes.append(value.dtype)
                        operation.shapes.append(tuple(value.shape))
                elif isinstance(value, int | float) and not isinstance(value, bool):
                    way, what = "s", len(operation.values)
                    operation.numbers.append(self._scalar(value))
                    operation.values.append(value)
                operation.parts.append((name, way, what))
        return operation


def _is_empty(argument: Any) -> bool:
    return isinstance(argument, list | tuple) and not argument


def _as_kind(value: float, kind: str) -> float:
    return float(eval(CASTS[kind].format("value"), ON_ARRAYS, {"value": value}))


class _Functions(TorchFunctionMode):
    """Passes plain numbers to torch instead of followed ones, and follows the numbers that are read from tensors."""

    def __init__(self, operations: _Operations, notes: Notes) -> None:
        super().__init__()
        self._operations, self._notes = operations, notes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _MEMORY and args and isinstance(args[0], Tensor):
            raise NotRecorded(f"it takes a tensor's numbers by {name}")
        handed: list[Followed] = []

        def plainly(value: Any) -> Any:
            if isinstance(value, Followed):
                handed.append(value)
                return value.value
            if type(value) in (list, tuple):
                return type(value)(map(plainly, value))
            return value

        noted = self._operations
        reads, scalars, guards = len(noted.reads), len(noted.scalars), len(noted.guards)
        given = {key: plainly(value) for key, value in (kwargs or {}).items()}
        result = func(*map(plainly, args), **given)
        noted.explain(handed, scalars)
        read = [f"i{k}" for k in range(reads, len(noted.reads))]
        if read and isinstance(result, bool) and len(noted.guards) == guards:
            noted.guard(f"({read[-1]} != 0)", result)  # bool() of a number
        elif read and not isinstance(result, bool):
            if func is torch.Tensor.item and isinstance(result, int | float):
                return self._notes.number(result, read[-1])
            self._notes.escapes.extend(read)
        return result


class Recording:
    """The recording of one step, taken by a copy of an optimizer with a given gradient and step size.

    ``moving`` has the places of the Python numbers to follow, which are named p0, p1, …, and ``functions`` the Python
    functions that the optimizer uses. ``catching``, and the poison that ``poisons`` yields, are as in `Notes`.

    Attributes:
        structure: the whole step except the numbers; two recordings with equal structure differ only in numbers.
        before: the values before the step, by their names in expressions.
        names: the names of the state tensors and of the followed numbers, by their places.
        kept: the places of everything that the optimizer keeps.
        fixed: the numbers, strings, booleans and Nones that are not followed, except values equal to the step size.
        outputs: the names of the results that x and the state tensors hold after the step.
        moves, moved: the expressions and the values of the followed Python numbers after the step.
        changed: the places of other Python numbers that changed.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        param: torch.nn.Parameter,
        gradient: float,
        lr: float,
        *,
        moving: Sequence[Place],
        functions: Sequence[types.FunctionType],
        catching: bool,
        poisons: Iterator[float],
    ) -> None:
        twin, p = copied(optimizer, param)
        self.fixed: dict[Place, Any] = {}
        here = leaves(twin, p, self.fixed)
        for group in twin.param_groups:
            group["lr"] = lr
        literal, its_p = copied(twin, p)
        p.grad, its_p.grad = torch.full_like(p, gradient), torch.full_like(p, gradient)
        with torch.no_grad():
            update_of(literal)()
        cells, dtypes = {p.data_ptr(): "x", p.grad.data_ptr(): "g"}, {"x": p.dtype, "g": p.dtype}
        of_tensors: dict[Place, str] = {}
        for place, leaf in here.items():
            if isinstance(leaf.value, Tensor) and leaf.value.numel() == 1 and leaf.value.dtype in KINDS:
                of_tensors[place] = name = cells.setdefault(leaf.value.data_ptr(), f"s{len(of_tensors)}")
                dtypes[name] = leaf.value.dtype
        self.fixed |= _fixed(here, moving)
        self.kept = {*here, *self.fixed}
        self.fixed = {place: value for place, value in self.fixed.items() if value != lr}
        recorder = _Operations(cells, dtypes)
        notes = Notes(recorder.guard, next(poisons), catching=catching)
        names = {place: f"p{j}" for j, place in enumerate(moving)}
        self.before = {"lr": lr, **{name: plain(here[place].value) for place, name in names.items()}}
        for place, name in names.items():
            here[place].holder[here[place].key] = notes.number(self.before[name], name)
        for group in twin.param_groups:
            group["lr"] = notes.number(lr, "lr")
        with torch.no_grad(), following(functions), _Functions(recorder, notes), recorder:
            update_of(twin)()
        after, wanted = leaves(twin, p), leaves(literal, its_p)
        if set(after) != set(here):
            raise NotRecorded("its state is still being built up", for_good=False)
        if any(plain(group["lr"]) != lr for group in twin.param_groups):
            raise NotRecorded("it changes lr itself")
        if notes.escapes:
            raise NotRecorded(f"a number is used where it cannot be followed: {notes.escapes[0]}")
        if not _alike(after, wanted) or not same_number(p.item(), its_p.item()):
            raise NotRecorded("a recorded step does not do what a step does: it depends on more than its numbers")
        self.lr, self.operations, self.scalars = lr, recorder.operations, recorder.scalars
        self.reads, self.guards, self.dtypes = recorder.reads, recorder.guards, recorder.dtypes
        self.before |= {f"i{k}": value for k, (_, value) in enumerate(self.reads)}
        self.outputs = {"x": recorder.cells[p.data_ptr()]}
        self.names = of_tensors | names
        memory: dict[str, int] = {"x": p.data_ptr()}
        for place, name in of_tensors.items():
            value = after[place].value
            if not isinstance(value, Tensor) or value.data_ptr() not in recorder.cells:
                raise NotRecorded("its state is no longer a tensor of the step", for_good=False)
            out = recorder.cells[value.data_ptr()]
            if recorder.dtypes[out] != dtypes[name] or memory.setdefault(name, value.data_ptr()) != value.data_ptr():
                raise NotRecorded("a tensor of its state becomes another kind of tensor", for_good=False)
            self.outputs[name] = out
        if len(set(memory.values())) < len(memory):
            raise NotRecorded("two tensors of its state become one", for_good=False)
        self.moves = {name: text_of(after[place].value) for place, name in names.items()}
        self.moved = {name: plain(after[place].value) for place, name in names.items()}
        self.changed = {place for place in _fixed(here, names) if here[place].read() != after[place].read()}
        self.structure = "\n".join([*recorder.structure, repr(sorted(self.outputs.items()))])
        if self.changed:
            return
        # Only the followed numbers may have changed: setting them in another copy must give the same optimizer.
        twin, p = copied(optimizer, param)
        with torch.no_grad():
            p.copy_(its_p)
            for place, leaf in leaves(twin, p).items():
                if isinstance(leaf.value, Tensor):
                    leaf.value.copy_(wanted[place].value)
                elif place in names or place[-1] == "lr":
                    leaf.put(wanted[place].read())
        p.grad = None if its_p.grad is None else its_p.grad.clone()
        if Survey(twin, p, -5, {}).own != Survey(literal, its_p, -5, {}).own:
            raise NotRecorded("it keeps something that is neither a number nor a tensor", for_good=False)


def _fixed(here: Mapping[Place, Leaf], moving: Container[Place]) -> dict[Place, Any]:
    """Return the Python numbers that are not followed, without lr."""
    numbers = {place: leaf.value for place, leaf in here.items() if not isinstance(leaf.value, Tensor)}
    return {place: value for place, value in numbers.items() if place[-1] != "lr" and place not in moving}


def _alike(after: Mapping[Place, Leaf], wanted: Mapping[Place, Leaf]) -> bool:
    """Whether a recorded step and an ordinary one left the same numbers and the same dtypes of tensors."""
    return after.keys() == wanted.keys() and all(
        same_number(after[place].read(), leaf.read())
        and getattr(after[place].value, "dtype", None) == getattr(leaf.value, "dtype", None)
        for place, leaf in wanted.items()
    )


def same_number(one: float, other: float) -> bool:
    """Whether two numbers are equal or both NaN."""
    return one == other or (one != one and other != other)


def standing(optimizer: Optimizer, param: Tensor, like: Recording) -> dict[str, Leaf]:
    """Return the numbers of an optimizer by the names of a recording.

    A KeyError is raised if something else in it differs from the recording, or if two tensors have become one.
    """
    fixed: dict[Place, Any] = {}
    here = leaves(optimizer, param, fixed)
    fixed |= _fixed(here, like.names)
    fixed = {place: value for place, value in fixed.items() if place in like.fixed or place not in like.kept}
    values = {place: here[place].value for place in like.names}
    tensors = {(like.names[place], each.data_ptr()) for place, each in values.items() if isinstance(each, Tensor)}
    if fixed != like.fixed or len(tensors) != len(dict(tensors)) or len(tensors) != len({each for _, each in tensors}):
        raise KeyError("it does not keep what it kept")
    return {name: here[place] for place, name in like.names.items()}
