"""The paths of an optimizer's step as the source of a `Rule`: coefficients, and an update."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from amsgrad_exp.engines.recorded.kernels import ANSWERS, CONDITIONS, candidates, expression
from amsgrad_exp.engines.recorded.paths import Path
from amsgrad_exp.engines.recorded.recording import NotRecorded, Operation
from amsgrad_exp.engines.recorded.scalars import CASTS, KINDS

NAME = re.compile(r"\b(?:[vscpi]\d+|[xg]|lr)\b")
LITERAL = re.compile(r"(?<![\w.])(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?![\w.(])")
_TOKEN = re.compile(f"(f32|f64|bf|int64)\\((c\\d+)\\)|{NAME.pattern}")
PLAIN = {"0.0", "1.0", "2.0", "0.5"}  # numbers that are written out: they are no hyper-parameters

_OF_FOREACH = {"tensors1": "end", "weights": "weight"}
_NUMBER_OF_FOREACH = {"clamp_min": "min", "clamp_max": "max", "addcmul": "value", "addcdiv": "value", "pow": "exponent"}


class Expressions:
    """One path's numbers by name as expressions of others, in which x, g, lr, s0, … and p0, … come in.

    Attributes:
        texts, kinds: the expression and the kind of each number.
        answers: keys of the trials on which its kernels' expressions rest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kinds = {name: KINDS[dtype] for name, dtype in path.dtypes.items()}
        self.kinds |= {f"c{i}": self.kinds.get(f"c{i}", "d") for i in range(len(path.scalars))}
        self.texts: dict[str, str] = {f"c{i}": text for i, text in enumerate(path.scalars)}
        self.texts |= {f"i{k}": f"f64({name})" for k, name in enumerate(path.reads)}
        self.answers: list[Any] = []
        for operation in path.operations:
            self.texts[operation.out] = self._expression(operation)

    def changing(self, name: str) -> bool:
        """Whether a Python number is not the same in every step."""
        return NAME.search(self.texts[name]) is not None

    def _arguments(self, operation: Operation) -> dict[str, tuple[str, Any]]:
        """An operation's arguments by the names that `candidates` uses; lists of one, as that one."""
        found = {}
        for name, (way, what) in operation.arguments.items():
            if way == "l" and len(what) == 1:
                way, what = what[0]
            name = _OF_FOREACH.get(name, name)
            if name in ("scalar", "scalars"):
                name = _NUMBER_OF_FOREACH.get(operation.name, "weight" if operation.name == "lerp" else "other")
            found["self" if name == "tensors" else name] = (way, what)
        return found

    def _expression(self, operation: Operation) -> str:
        kind_out, name = KINDS[operation.out_dtype], operation.name
        arguments = self._arguments(operation)
        if name in ("zero", "fill", "copy"):
            way, what = arguments.get("value" if name == "fill" else "src", ("=", "0"))
            if way in ("t", "s"):
                what = operation.inputs[what] if way == "t" else f"c{operation.numbers[what]}"
            return CASTS[kind_out].format(what)
        fixed = {"alpha": 1} if name in ("add", "sub", "rsub") and "alpha" not in arguments else {}
        fixed |= {key: what for key, (way, what) in arguments.items() if way == "="}
        for key, (way, what) in arguments.items():
            if way == "s" and not self.changing(f"c{operation.numbers[what]}"):
                fixed[key] = self.path.numbers[operation.numbers[what]]
        found = candidates(name, fixed)
        if found is None:
            raise NotRecorded(f"it calls {name}")
        names, templates = found
        operands = [arguments[each] for each in names if arguments.get(each, ("=", None))[0] in "ts"]
        if len(operands) < sum(each in arguments for each in names):
            raise NotRecorded(f"it calls {name} with arguments that are not numbers")
        if name.endswith("addmm") or name == "baddbmm":  # where a factor of 0 or 1 is a case of its own
            operands = [("=", what) if way == "s" else (way, what) for way, what in operands]
        condition = name in CONDITIONS
        kind = self._computed_in(operation, operands[condition:], kind_out)
        shown = [
            repr(operation.values[what])
            for way, what in arguments.values()
            if way == "s" and (way, what) not in operands
        ]
        like = operation.arguments, operation.dtypes, operation.shapes, kind, kind_out
        key = repr((str(operation.func), names, templates, shown, *like))
        try:
            template = ANSWERS.template(
                key,
                operation.call,
                operation.dtypes,
                operation.shapes,
                operation.values,
                operands,
                templates,
                (kind, kind_out),
                condition,
            )
        except (RuntimeError, ArithmeticError, IndexError) as error:
            raise NotRecorded(f"{name} cannot be tried: {error}") from error
        if template is None:
            raise NotRecorded(f"torch's kernel of {name} rounds in a way that is not known")
        self.answers.append(key)
        texts = [self._operand(operation, each, kind, as_it_is=condition and i == 0) for i, each in enumerate(operands)]
        text = expression(template, texts, kind)
        return text if kind_out in (kind, "b") else CASTS[kind_out].format(text)

    def _operand(self, operation: Operation, operand: tuple[str, int], kind: str, *, as_it_is: bool) -> str:
        way, j = operand
        if way != "t":
            return CASTS["f" if kind == "h" else kind].format(f"c{operation.numbers[j]}")
        source = operation.inputs[j]
        held = self.kinds[source]
        if source.startswith("c"):
            return CASTS["b" if as_it_is else "f" if kind == "h" else kind].format(source)
        return source if as_it_is or held == kind or (kind == "f" and held == "h") else CASTS[kind].format(source)

    def _computed_in(self, operation: Operation, operands: Sequence[tuple[str, int]], kind_out: str) -> str:
        """The kind that an operation computes in: its tensors with dimensions decide, then those without."""
        tensors = [j for way, j in operands if way == "t"]
        if not tensors:
            return kind_out
        like = [torch.empty(operation.shapes[j], dtype=operation.dtypes[j]) for j in tensors]
        result = like[0]
        for each in like[1:]:
            result = torch.empty((result + each).shape, dtype=torch.result_type(result, each))
        kind = KINDS[result.dtype]
        fractions = any(way == "s" and self.path.numbers[operation.numbers[j]] % 1 for way, j in operands)
        if kind in "ib" and kind_out in "fdh":
            return kind_out
        if kind == "i" and fractions:
            return "f"
        return ("i" if kind_out in "ib" else kind_out) if kind == "b" and len(tensors) < len(operands) else kind


class Source:
    """Programs of one step's paths, split into what does not depend on gradients and what does.

    The coefficients evaluate those guards of a path that do not depend on gradients, the update evaluates the others.
    At a step whose path is not known, ``ok`` becomes 0.

    Attributes:
        text: Python source of ``coefficients`` and ``update``, as of `Rule`.
        constants: what the hyper-parameters k0, k1, … are.
        state, carry: the names of what the update keeps, and of what the coefficients carry.
        guarded: whether ``ok`` and ``count``, of steps for which it was 1, are kept as well.
        wide: whether coefficients, or all that is kept, must be in float64 in a run of float32.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.each = [Expressions(path) for path in paths]
        self._after = [
            {"x": path.x, **path.outputs, **path.moves} for path in paths
        ]  # of each path, what x and each number that is kept become
        self.constants: list[float] = []
        self.kinds: dict[str, str] = {}
        for each in self.each:
            self.kinds |= {name: kind for name, kind in each.kinds.items() if name[0] in "sxg"}
        self._data = self._find_data()
        kept = {name for after in self._after for name in after} - {"x"}
        order: Callable[[str], tuple[str, int]] = lambda name: (name[0], int(name[1:]))  # noqa: E731
        self.state = sorted((name for name in kept if name in self._data), key=order)
        self.carry = sorted((name for name in kept if name not in self._data), key=order)
        x = self.kinds["x"]
        fits = (x, "b", "h") if x == "f" else (x, "b")
        self.kept_wide = x == "f" and any(self.kind(name) not in fits for name in self.state)
        self.real = "d" if self.kept_wide else x
        self.wide = self.kept_wide
        on_data = [[g for g in path.guards if self._depends(j, g[0])] for j, path in enumerate(paths)]
        on_rest = [[g for g in path.guards if not self._depends(j, g[0])] for j, path in enumerate(paths)]
        self._masked = any(on_rest)  # paths then have a coefficient each that says whether those guards hold
        self.guarded = self._masked or any(on_data)
        self.number = 0
        self.text = self._write(on_data, on_rest)

    def kind(self, name: str) -> str:
        """Of a number that is kept, or of lr."""
        return self.kinds.get(name, "d")

    def _names(self, j: int, text: str) -> set[str]:
        """All names that an expression comes down to on a path."""
        found: set[str] = set()
        left = NAME.findall(text)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += NAME.findall(self.each[j].texts.get(name, ""))
        return found

    def _depends(self, j: int, text: str) -> bool:
        return not self._data.isdisjoint(self._names(j, text))

    def _expanded(self, j: int, text: str) -> str:
        """An expression of what comes in alone."""
        texts = self.each[j].texts
        return NAME.sub(lambda m: f"({self._expanded(j, texts[m[0]])})" if m[0] in texts else m[0], text)

    def _find_data(self) -> set[str]:
        """Of what comes in, that which depends on gradients on any path, by way of what decides between paths, too."""
        data = self._data = {"x", "g"}
        kept = sorted({name for after in self._after for name in after})
        while True:
            before = len(data)
            for j, after in enumerate(self._after):
                data |= {name for name, text in after.items() if self._depends(j, text)}
            if any(self._depends(j, text) for j, each in enumerate(self.each) for text, _ in each.path.guards):
                for name in set(kept) - data:
                    becomes = {self._expanded(j, after[name]) for j, after in enumerate(self._after) if name in after}
                    if len(becomes) > 1 and self._parted_by_data(name):
                        data.add(name)
            if len(data) == before:
                return data

    def _parted_by_data(self, name: str) -> bool:
        """Whether two paths whose other guards are the same make different things of a number."""
        seen: dict[Any, set[str]] = {}
        for j, each in enumerate(self.each):
            rest = tuple(g for g in each.path.guards if not self._depends(j, g[0]))
            seen.setdefault(tuple((self._expanded(j, t), v) for t, v in rest), set()).add(
                self._expanded(j, self._after[j][name])
            )
        return any(len(texts) > 1 for texts in seen.values())

    def _constant(self, value: float) -> str:
        for i, known in enumerate(self.constants):
            if known.hex() == value.hex():
                return f"h.k{i}"
        self.constants.append(value)
        return f"h.k{len(self.constants) - 1}"

    def _lifted(self, text: str) -> str:
        """An expression in double precision whose numbers are hyper-parameters."""
        return LITERAL.sub(lambda m: m[0] if m[0] in PLAIN else self._constant(float(m[0])), text)

    def _write(self, on_data: Sequence[Any], on_rest: Sequence[Any]) -> str:
        functions, fills, parts = [], [], range(len(self.each))
        widths = []
        for j in parts:
            coefficients: list[str] = []
            functions.append(self._update(j, coefficients, on_data[j]))
            fills.append(self._coefficients(j, coefficients, on_rest[j]))
            widths.append(len(coefficients))
        masks = sum(widths)
        self.masks = len(parts) if self._masked else 0
        self.number = masks + self.masks
        state = [*self.state, *(["ok", "count"] if self.guarded else [])]
        lines = [*functions, f"def update({', '.join(['g', 'a', 'c', 'h', 'x', *state])}):"]
        news = "".join(f"r[{i + 2}], " for i in range(len(self.state)))
        for j in parts:
            indent = "    "
            if self._masked:
                lines.append(f"    if c[{masks + j}] != 0:")
                indent += "    "
            lines.append(f"{indent}r = update{j}({', '.join(['g', 'c', 'h', 'x', *self.state])})")
            if self.guarded:
                lines.append(f"{indent}if r[0]:")
                lines.append(f"{indent}    return r[1], ({news}ok, count + ok)")
            else:
                lines.append(f"{indent}return r[1], ({news})")
        if self.guarded:
            lines.append(f"    return x, ({''.join(f'{name}, ' for name in self.state)}ok * 0, count)")
        lines += [
            "",
            "",
            *fills,
            f"def coefficients({', '.join(['t', 'scale', 'h', *self.carry])}):",
            "    lr = h.lr * scale",
        ]
        lines += [f"    {name} = {CASTS[self.kind(name)].format(name)}" for name in self.carry]
        values, start = [], 1
        for j in parts:
            lines.append(f"    r{j} = coefficients{j}({', '.join(['lr', 'h', *self.carry])})")
            values += [f"r{j}[{i + 1}]" for i in range(widths[j])]
        values += [f"1.0 if r{j}[0] else 0.0" for j in parts] if self._masked else []
        for j in parts:
            lines.append(f"    {'if' if j == 0 else 'elif'} r{j}[0]:")
            start = 1 + widths[j]
            for k, name in enumerate(self.carry):
                lines.append(f"        {name} = r{j}[{start + k}]")
            lines.append("        pass")
        carry = "".join(f"f64({name}), " for name in self.carry)
        lines.append(f"    return scale, ({''.join(f'{value}, ' for value in values)}), ({carry})")
        return "\n".join(lines) + "\n"

    def _update(self, j: int, coefficients: list[str], guards: Sequence[tuple[str, bool]]) -> str:
        """The update on one path; what it needs that does not depend on gradients joins ``coefficients``."""
        each, body, done = self.each[j], [], set()
        first = self.number

        def refer(match: re.Match[str]) -> str:
            cast, name = (match[1], match[2]) if match[1] else ("", match[0])
            wrap: Callable[[str], str] = (lambda text: f"{cast}({text})") if cast else (lambda text: text)
            if name in self._data:
                return wrap(name)
            if not self._data.isdisjoint(self._names(j, name)):
                emit(name)
                return wrap(name)
            kind = {"f32": "f", "bf": "h", "f64": "d", "int64": "i"}.get(cast, each.kinds.get(name, "d"))
            if name[0] == "c" and not each.changing(name):
                value = eval(each.texts[name], {"nan": float("nan"), "inf": float("inf")})
                return CASTS[kind].format(self._constant(float(value)) if kind == self.real else repr(value))
            if name not in coefficients:
                coefficients.append(name)
            self.wide |= self.real == "f" and kind in "di"
            return CASTS[kind].format(f"c[{first + coefficients.index(name)}]")

        def emit(name: str) -> None:
            if name not in done:
                done.add(name)
                body.append(f"    {name} = {_TOKEN.sub(refer, each.texts[name])}")

        narrow = [name for name in ("x", "g", *self.state) if self.kind(name) != self.real]
        body += [f"    {name} = {CASTS[self.kind(name)].format(name)}" for name in narrow]
        holds = " and ".join(f"({_TOKEN.sub(refer, text)}) == {truth}" for text, truth in guards) or "True"
        after = [_TOKEN.sub(refer, self._after[j][name]) for name in ("x", *self.state)]
        kinds = [self.kind(name) for name in ("x", *self.state)]
        after = [
            text if kind == self.real else CASTS[self.real].format(text)
            for text, kind in zip(after, kinds, strict=True)
        ]
        head = f"def update{j}({', '.join(['g', 'c', 'h', 'x', *self.state])}):"
        self.number += len(coefficients)
        return _shared(head, body, f"{holds}, {', '.join(after)}")

    def _coefficients(self, j: int, wanted: Sequence[str], guards: Sequence[tuple[str, bool]]) -> str:
        """What one path has of coefficients: whether it is taken, they, and what is carried."""
        each, body, done = self.each[j], [], set()

        def refer(match: re.Match[str]) -> str:
            name = match[0]
            if name in each.texts:
                emit(name)
            return name

        def written(text: str) -> str:
            return NAME.sub(refer, text)

        def emit(name: str) -> None:
            if name not in done:
                done.add(name)
                text = written(each.texts[name])
                body.append(f"    {name} = {text if name[0] == 'v' else self._lifted(text)}")

        holds = " and ".join(f"({self._lifted(written(text))}) == {truth}" for text, truth in guards) or "True"
        values = [f"f64({written(name)})" for name in wanted]
        news = [
            written(name) if name[0] in "vsx" and name in each.texts else self._lifted(written(name))
            for name in (self._after[j].get(kept, kept) for kept in self.carry)
        ]
        news = [CASTS[self.kind(kept)].format(new) for kept, new in zip(self.carry, news, strict=True)]
        head = f"def coefficients{j}({', '.join(['lr', 'h', *self.carry])}):"
        return _shared(head, body, f"{', '.join([holds, *values, *news])},")


def _shared(head: str, body: Sequence[str], returned: str) -> str:
    """A function in which each expression that comes up twice is computed once.

    Args:
        head: its first line.
        body: assignments, each to a name of its own.
        returned: what it returns, a tuple.
    """
    expressions = [
        (name.strip(), ast.parse(text, mode="eval").body) for name, _, text in (s.partition(" = ") for s in body)
    ]
    expressions.append(("", ast.parse(returned, mode="eval").body))
    keys: dict[int, str] = {}
    counts: Counter[str] = Counter()

    def count(node: ast.AST) -> None:
        keys[id(node)] = key = ast.unparse(node)
        counts[key] += 1
        if counts[key] == 1:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    count(child)

    for _, expression_ in expressions:
        count(expression_)
    lines, known = [head], dict[str, str]()

    class Share(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            if not isinstance(node, ast.BinOp | ast.Call | ast.UnaryOp) or isinstance(
                getattr(node, "operand", 0), ast.Constant
            ):
                return super().generic_visit(node)
            key = keys[id(node)] if id(node) in keys else ast.unparse(node)
            if key not in known:
                new = super().generic_visit(node)
                if counts[key] < 2:
                    return new
                known[key] = f"e{len(known)}"
                lines.append(f"    {known[key]} = {ast.unparse(new)}")
            return ast.Name(known[key], ast.Load())

    for name, expression_ in expressions:
        text = ast.unparse(Share().visit(expression_))
        lines.append(f"    {name} = {text}" if name else f"    return {text}")
    return "\n".join([*lines, "", ""])
