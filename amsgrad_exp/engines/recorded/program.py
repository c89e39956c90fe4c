"""Turns the recorded paths of an optimizer's step into the source of a `Rule`, compiles it, and takes steps with it."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import sys
import types
from collections import Counter, defaultdict, namedtuple
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from amsgrad_exp.engines.loops import jitable, make_coefficients
from amsgrad_exp.engines.recorded import kernels
from amsgrad_exp.engines.recorded.kernels import CASTS
from amsgrad_exp.engines.recorded.paths import NAME, Path
from amsgrad_exp.engines.recorded.recording import leaves, standing
from amsgrad_exp.rules import Rule

# How many steps ahead coefficients are computed, to find out whether they depend on the number of steps.
FAR = (10**6, 10**9, 10**12)
WITHOUT_VML = re.compile(r"\bvml_sqrt_[fd]\b")
LITERAL = re.compile(r"(?<![\w.])(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?![\w.(])")
_TOKEN = re.compile(f"(f32|f64|bf|int64)\\((c\\d+)\\)|{NAME.pattern}")
_KIND_OF_CAST = {"f32": "f", "bf": "h", "f64": "d", "int64": "i"}
WRITTEN_OUT = {"0.0", "1.0", "2.0", "0.5"}  # numbers that stay in the source instead of becoming hyper-parameters


def _module(text: str, scope: Mapping[str, Any]) -> types.ModuleType:
    """Make a module from source; its name depends on the source, so that pickles and Numba's cache find it."""
    of = hashlib.sha256(text.encode() + File(kernels.__file__).read_bytes()).hexdigest()
    module = types.ModuleType(f"{__package__}.source_{of[:32]}")
    vars(module).update(scope)
    exec(compile(text, f"<{module.__name__}>", "exec"), vars(module))
    return module


class RecordedRule(Rule):
    """A rule whose functions are made from source; unpickling makes them again in another process."""

    def __reduce__(self) -> Any:
        return _rule, vars(self)["made_of"]


@functools.cache
def _rule(text: str, constants: int, coefficients: int) -> Rule:
    """Make the rule of some source; equal sources share one object, since compiled loops are looked up by it."""
    module = _module(text, kernels.COMPILED)
    sys.modules[module.__name__] = module
    for function in list(vars(module).values()):
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            jitable(function)
    hyper = namedtuple("Hyper", ["lr", *(f"k{i}" for i in range(constants))])  # type: ignore[misc]
    rule = RecordedRule(
        module.update, module.coefficients, hyper=hyper, uses_iterate=True, returns_iterate=True, settles=False
    )
    vars(rule)["made_of"] = text, constants, coefficients
    vars(rule)["number_of_coefficients"] = coefficients  # set here, because these functions run only when compiled
    return rule


class Program:
    """One optimizer's step as a rule, written from the paths that the step can take.

    The rule's update computes everything that depends on gradients, and its coefficients compute the rest. The guards
    of a path are divided between them in the same way. At a step whose path is not known, ``ok`` becomes 0.
    ``begin`` is the first step that the program can take.
    """

    def __init__(self, paths: Sequence[Path], begin: int) -> None:
        self.paths, self.begin = paths, begin
        self._like = paths[0].recording
        kinds = {name: kind for each in paths for name, kind in each.kinds.items() if name[0] in "sxg"}
        self._kind = defaultdict[str, str](lambda: "d", kinds)  # of the numbers that are kept, and of lr
        self._kept = {name for each in paths for name in each.after} - {"x"}
        self._data = self._find_data()
        kept = sorted(self._kept, key=lambda name: (name[0], int(name[1:])))
        self.state = [name for name in kept if name in self._data]  # what the update keeps
        self.carry = [name for name in kept if name not in self._data]  # what the coefficients carry
        x = self._kind["x"]
        # Whether a float32 run needs float64 for everything it keeps, or for its coefficients.
        self.wide = self.wide_coefficients = x == "f" and any(self._kind[name] not in "fbh" for name in self.state)
        self._real = "d" if self.wide else x
        on_data = [[guard for guard in each.guards if self._depends(each, guard[0])] for each in paths]
        on_rest = [[guard for guard in each.guards if guard not in on] for each, on in zip(paths, on_data, strict=True)]
        self.masks = len(paths) if any(on_rest) else 0  # so many coefficients, at the end, say which path is taken
        # Whether the state ends in ``ok`` and ``count``, the number of steps for which ``ok`` was 1.
        self.guarded = any(on_rest) or any(on_data)
        self.constants: list[float] = []  # the values of the hyper-parameters k0, k1, …
        self._width = 0  # the number of coefficients
        self.text = self._write(on_data, on_rest)
        # This rule has torch's bits. Its `state` and `carry` have no meaning; use `read` instead.
        self.rule = _rule(self.text, len(self.constants), self._width)
        # The IEEE square root takes a fiftieth of the time of torch's.
        self.in_batches = _rule(WITHOUT_VML.sub("np.sqrt", self.text), len(self.constants), self._width)
        self.counters = {name for place, name in self._like.names.items() if place in paths[0].counters}
        self.digest = hashlib.sha256(repr((self.text, self.constants)).encode()).hexdigest()
        answers = {key: answer for each in paths for key, answer in each.answers.items()}
        self.kernels = hashlib.sha256(b"".join(answer for _, answer in sorted(answers.items()))).hexdigest()

    def _depends(self, each: Path, text: str) -> bool:
        """Whether an expression depends on data, directly or through other expressions."""
        found, left = set[str](), NAME.findall(text)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += NAME.findall(each.texts.get(name, ""))
        return not self._data.isdisjoint(found)

    def _find_data(self) -> set[str]:
        """Return the names of inputs that depend on gradients on any path, also through the choice of the path."""
        data = self._data = {"x", "g"}
        while True:
            before = len(data)
            for each in self.paths:
                data |= {name for name, text in each.after.items() if self._depends(each, text)}
            if any(self._depends(each, text) for each in self.paths for text, _ in each.guards):
                data |= {name for name in self._kept - data if self._parted_by_data(name)}
            if len(data) == before:
                return data

    def _parted_by_data(self, name: str) -> bool:
        """Whether two paths that differ only in guards on data give a number different expressions."""
        seen: dict[Any, str] = {}
        for each in self.paths:
            rest = tuple((_expanded(each, t), v) for t, v in each.guards if not self._depends(each, t))
            becomes = _expanded(each, each.after[name])
            if seen.setdefault(rest, becomes) != becomes:
                return True
        return False

    def _constant(self, value: float) -> str:
        known = [each.hex() for each in self.constants]
        if value.hex() not in known:
            self.constants.append(value)
            return f"h.k{len(known)}"
        return f"h.k{known.index(value.hex())}"

    def _lifted(self, text: str) -> str:
        """Replace the numbers in a double-precision expression by hyper-parameters."""
        return LITERAL.sub(lambda m: m[0] if m[0] in WRITTEN_OUT else self._constant(float(m[0])), text)

    def _write(self, on_data: Sequence[Any], on_rest: Sequence[Any]) -> str:
        parts = range(len(self.paths))
        wanted: list[list[str]] = [[] for _ in parts]
        updates = [self._update(j, wanted[j], on_data[j]) for j in parts]
        fills = [self._coefficients(j, wanted[j], on_rest[j]) for j in parts]
        mask, kept = self._width, "".join(f", {name}" for name in self.state)
        self._width += self.masks
        head = f"def update(g, a, c, h, x{kept}{', ok, count' if self.guarded else ''}):"
        lines = [*updates, head]
        news = "".join(f"r[{i + 2}], " for i in range(len(self.state)))
        for j in parts:
            indent = "    "
            if self.masks:
                lines.append(f"    if c[{mask + j}] != 0:")
                indent += "    "
            lines.append(f"{indent}r = update{j}(g, c, h, x{kept})")
            taken = f"if r[0]: return r[1], ({news}ok, count + ok)" if self.guarded else f"return r[1], ({news})"
            lines.append(indent + taken)
        if self.guarded:
            lines.append(f"    return x, ({''.join(f'{name}, ' for name in self.state)}ok * 0, count)")
        carried = "".join(f", {name}" for name in self.carry)
        lines += ["", "", *fills, f"def coefficients(t, scale, h{carried}):", "    lr = h.lr * scale"]
        lines += [f"    {name} = {CASTS[self._kind[name]].format(name)}" for name in self.carry]
        lines += [f"    r{j} = coefficients{j}(lr, h{carried})" for j in parts]
        for j in parts:
            lines.append(f"    {'elif' if j else 'if'} r{j}[0]:")
            lines += [f"        {name} = r{j}[{1 + len(wanted[j]) + k}]" for k, name in enumerate(self.carry)]
            lines.append("        pass")
        values = [f"r{j}[{i + 1}], " for j in parts for i in range(len(wanted[j]))]
        values += [f"1.0 if r{j}[0] else 0.0, " for j in parts] if self.masks else []
        carry = "".join(f"f64({name}), " for name in self.carry)
        return "\n".join([*lines, f"    return scale, ({''.join(values)}), ({carry})", ""])

    def _update(self, j: int, coefficients: list[str], guards: Sequence[tuple[str, bool]]) -> str:
        """Write the update on one path; add the values it needs that do not depend on gradients to ``coefficients``."""
        each, body, done, first = self.paths[j], list[str](), set[str](), self._width

        def refer(match: re.Match[str]) -> str:
            cast, name = (match[1], match[2]) if match[1] else ("", match[0])
            if name in self._data or self._depends(each, name):
                if name not in self._data and name not in done:
                    done.add(name)
                    body.append(f"    {name} = {_TOKEN.sub(refer, each.texts[name])}")
                return f"{cast}({name})" if cast else name
            kind = _KIND_OF_CAST.get(cast, each.kinds.get(name, "d"))
            if name[0] == "c" and not NAME.search(each.texts[name]):
                value = eval(each.texts[name], {"nan": float("nan"), "inf": float("inf")})
                return CASTS[kind].format(self._constant(float(value)) if kind == self._real else repr(value))
            if name not in coefficients:
                coefficients.append(name)
            self.wide_coefficients |= self._real == "f" and kind in "di"
            return CASTS[kind].format(f"c[{first + coefficients.index(name)}]")

        def as_kept(name: str) -> str:
            text = _TOKEN.sub(refer, each.after[name])
            return text if self._kind[name] == self._real else CASTS[self._real].format(text)

        narrow = [name for name in ("x", "g", *self.state) if self._kind[name] != self._real]
        body += [f"    {name} = {CASTS[self._kind[name]].format(name)}" for name in narrow]
        holds = " and ".join(f"({_TOKEN.sub(refer, text)}) == {truth}" for text, truth in guards) or "True"
        returned = ", ".join([holds, *map(as_kept, ("x", *self.state))])
        self._width += len(coefficients)
        return _shared(f"def update{j}({', '.join(['g', 'c', 'h', 'x', *self.state])}):", body, returned)

    def _coefficients(self, j: int, wanted: Sequence[str], guards: Sequence[tuple[str, bool]]) -> str:
        """Write the function of one path that returns whether it is taken, its coefficients, and what is carried."""
        each, body, done = self.paths[j], list[str](), set[str]()

        def refer(match: re.Match[str]) -> str:
            name = match[0]
            if name in each.texts and name not in done:
                done.add(name)
                text = NAME.sub(refer, each.texts[name])
                body.append(f"    {name} = {text if name[0] == 'v' else self._lifted(text)}")
            return name

        def carried(name: str) -> str:
            text = NAME.sub(refer, each.after.get(name, name))
            return CASTS[self._kind[name]].format(text if text in each.texts else self._lifted(text))

        holds = " and ".join(f"({self._lifted(NAME.sub(refer, text))}) == {truth}" for text, truth in guards) or "True"
        values = [f"f64({NAME.sub(refer, name)})" for name in wanted]
        returned = ", ".join([holds, *values, *map(carried, self.carry)])
        return _shared(f"def coefficients{j}({', '.join(['lr', 'h', *self.carry])}):", body, f"{returned},")

    def with_paths(self, more: Sequence[Path]) -> Program:
        """Return a program with more paths; a new path replaces an old one of the same structure."""
        found, like = {path.recording.structure for path in more}, more[0].recording
        old = [path for path in self.paths if path.recording.structure not in found]
        same = [each for each in old if (each.recording.names, each.recording.fixed) == (like.names, like.fixed)]
        return Program([*same, *more], self.begin)

    def read(self, optimizer: Optimizer, param: torch.Tensor) -> tuple[list[float], list[float]]:
        """Read the state (x first) and the carried numbers from an optimizer; a KeyError is raised as in `standing`."""
        here = standing(optimizer, param, self._like)
        state, carry = ([here[name].read() for name in names] for names in (self.state, self.carry))
        return [param.item(), *state, *((1.0, 0.0) if self.guarded else ())], carry

    def named(self, state: Any) -> Any:
        """Return x and the optimizer's own numbers from a state, without ``ok`` and ``count``."""
        return state[: 1 + len(self.state)]

    def write(self, optimizer: Optimizer, param: torch.Tensor, state: Any, carry: Any) -> None:
        """Write a state and carried numbers, in the form that `read` returns, into an optimizer."""
        here = leaves(optimizer, param)
        with torch.no_grad():
            param.fill_(float(state[0]))
        values = dict(zip((*self.state, *self.carry), (*self.named(state)[1:], *carry), strict=True))
        for place, name in self._like.names.items():
            if name in values:
                here[place].put(float(values[name]))

    @functools.cached_property
    def _in_python(self) -> types.ModuleType:
        return _module(self.text, kernels.ON_ARRAYS)

    def coefficients(self, scale: float, lr: float, carry: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the coefficients of a step and the numbers carried after it."""
        hyper = self.rule.hyper(*map(np.float64, (lr, *self.constants)))
        with np.errstate(all="ignore"):
            _, c, carry = self._in_python.coefficients(0, scale, hyper, *map(np.float64, carry))
        return c, carry

    def step(
        self, state: Any, carry: Any, gradient: float, scale: float, lr: float, real: Any
    ) -> tuple[list[float], list[float]]:
        """Take one step in Python, without clamping, with α = lr and α_t = α·scale; start from what `read` returned."""
        real, coefficient = (np.float64 if wide else real for wide in (self.wide, self.wide_coefficients))
        c, carry = self.coefficients(scale, lr, carry)
        h = self.rule.hyper(*map(real, (lr, *self.constants)))
        with np.errstate(all="ignore"):
            x, state = self._in_python.update(real(gradient), real(0), list(map(coefficient, c)), h, *map(real, state))
        return [float(x), *map(float, state)], list(map(float, carry))

    def repeats(self, lr: float, carry: Any, steps: int) -> bool:
        """Whether the coefficients of these steps repeat forever with a constant step size.

        They do if they are equal after each of `FAR` more steps, and change none of the carried numbers but counters.
        """
        if "%" in self.text or "//" in self.text or self.counters & set(self.state):
            return False
        counting = np.array([name in self.counters for name in self.carry], bool)[:, None]
        fill = make_coefficients(self.rule, width=1)
        expected = None
        for ahead in (0, *FAR):
            before = np.array(carry, np.float64).reshape(-1, 1) + ahead * counting
            after, scales = before.copy(), np.empty((1, steps, 1))
            varied = np.empty((self._width, steps, 1))
            fill(after, np.array([[lr, *self.constants]]).T.copy(), np.ones(steps), 0, scales, varied)
            expected = varied if expected is None else expected
            if not np.array_equal(varied, expected) or not np.array_equal(before[~counting], after[~counting]):
                return False
        return True


def _expanded(each: Path, text: str) -> str:
    """Expand an expression until it contains inputs only."""
    return NAME.sub(lambda m: f"({_expanded(each, each.texts[m[0]])})" if m[0] in each.texts else m[0], text)


def _shared(head: str, body: Sequence[str], returned: str) -> str:
    """Write a function with these assignments that computes repeated expressions only once."""
    pairs = [line.strip().split(" = ", 1) for line in body] + [["", returned]]
    trees = [(name, ast.parse(text, mode="eval").body) for name, text in pairs]
    computed = ast.BinOp | ast.Call | ast.UnaryOp
    counts = Counter(ast.unparse(node) for _, tree in trees for node in ast.walk(tree) if isinstance(node, computed))
    lines, known = [head], dict[str, str]()

    class Share(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            key = ast.unparse(node) if isinstance(node, computed) else ""
            if counts[key] < 2 or isinstance(getattr(node, "operand", None), ast.Constant):
                return super().generic_visit(node)
            if key not in known:
                text = ast.unparse(super().generic_visit(node))
                known[key] = f"e{len(known)}"
                lines.append(f"    {known[key]} = {text}")
            return ast.Name(known[key], ast.Load())

    for name, tree in trees:
        text = ast.unparse(Share().visit(tree))
        lines.append(f"    {name} = {text}" if name else f"    return {text}")
    return "\n".join([*lines, "", ""])
