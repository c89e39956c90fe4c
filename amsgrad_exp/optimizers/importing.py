"""Imports optimizers by path, and takes the steps of each as it needs: with a closure, or gradients of gradients."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import inspect
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

LIBRARIES = {"torch", "numpy", "amsgrad_exp", *sys.stdlib_module_names}
"""Packages whose functions, classes and modules are assumed to keep no state between steps."""

LONGEST = 500  # most characters of an exception's message

Form = Literal["tensors", "named", "module", "use_muon"]


@dataclass(frozen=True)
class Drive:
    """How to pass an optimizer its parameters, and what it needs to take a step."""

    shape: tuple[int, ...] = (1,)  # the shape of each parameter, (1,) or (1, 1)
    # What the constructor receives: a list of tensors, a list of names and tensors, a module with these parameters, or
    # groups with ``use_muon=True``, as Muon's reference implementation requires.
    parameters: Form = "tensors"
    closure: bool = False  # whether ``step`` is called with a closure that evaluates the loss and its gradient
    graph: bool = False  # whether gradients can be differentiated again; otherwise they are constants

    def arrange(self, groups: Sequence[Sequence[Tensor]]) -> Any:
        """Return the constructor's first argument for groups of parameters; a module can have only one group."""
        if self.parameters == "module":
            if len(groups) > 1:
                raise ValueError("it takes a module, so it has a single group of parameters")
            module = torch.nn.Module()
            for number, param in enumerate(groups[0]):
                module.register_parameter(f"x{number}", param)  # type: ignore[arg-type]
            return module
        numbers, named = itertools.count(), self.parameters == "named"
        arranged = [[(f"x{next(numbers)}", param) if named else param for param in each] for each in groups]
        more = {"use_muon": True} if self.parameters == "use_muon" else {}
        if len(groups) == 1 and not more:
            return arranged[0]
        return [{"params": each, **more} for each in arranged]

    def step(self, optimizer: Optimizer, params: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
        """Take a step as any training loop does: gradient, ``step()``, ``zero_grad()``.

        ``loss`` evaluates the loss, a tensor without dimensions, at the current parameters.
        """

        def evaluated() -> Tensor:
            with torch.enable_grad():
                value = loss()
                if self.graph:
                    # A term without value, slope or curvature makes the gradient of a linear loss a function.
                    bent = value + sum(0.0 * param.square().sum() for param in params)
                    gradients = torch.autograd.grad(bent, params, create_graph=True)
                    for param, gradient in zip(params, gradients, strict=True):
                        param.grad = gradient
                else:
                    value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        def closure() -> Tensor:
            optimizer.zero_grad()
            return evaluated()

        if self.closure:
            optimizer.step(closure)  # type: ignore[arg-type]
        else:
            evaluated()
            optimizer.step()
        optimizer.zero_grad()


PLAIN = Drive()  # how most optimizers are driven


def written(shape: Sequence[int]) -> str:
    """Write a shape as for ``--shape``, such as 1x1."""
    return "x".join(map(str, shape))


@dataclass(frozen=True, eq=False)
class Imported:
    """An imported `torch.optim.Optimizer` class, or a callable that makes one from parameters and lr."""

    path: str
    maker: Callable[..., Any]

    @functools.cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments that can be set: all except the first (the parameters) and those that a partial has set."""
        try:
            arguments = list(inspect.signature(self.maker).parameters.items())
        except (TypeError, ValueError):  # a callable written in C may have no signature
            return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}
        bound = self.maker.keywords if isinstance(self.maker, functools.partial) else {}
        if arguments and arguments[0][1].kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD:
            arguments = arguments[1:]
        return {name: argument for name, argument in arguments if name == "lr" or name not in bound}

    @property
    def takes_anything(self) -> bool:
        return any(argument.kind is argument.VAR_KEYWORD for argument in self.parameters.values())

    def takes(self, argument: str) -> bool:
        return argument in self.parameters or self.takes_anything

    @functools.cached_property
    def digest(self) -> str | None:
        """Return the SHA-256 of the files of its module and of the modules that it uses, except `LIBRARIES`.

        None if there is no such file, for example for a class that was typed into an interpreter.
        """
        defined = self.maker.__module__ if isinstance(self.maker, type | types.FunctionType) else None
        reached = _reached(sys.modules.get(defined or self.path.rpartition(".")[0]))
        files = {Path(file) for module in reached if (file := getattr(module, "__file__", None))}
        digest = hashlib.sha256()
        for path in sorted(file for file in files if file.is_file()):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest() if files else None

    def make(self, arranged: Any, *, lr: float, arguments: Mapping[str, Any]) -> Optimizer:
        """Build the optimizer from what `Drive.arrange` returns and keyword arguments."""
        try:
            made = self.maker(arranged, lr=lr, **arguments)
        except (Exception, SystemExit) as error:  # an imported constructor may raise anything
            raise ValueError(f"optimizer {self.path} cannot be built: {said(error)}{self.hint(arguments)}") from error
        if not isinstance(made, Optimizer):
            kind = "None" if made is None else f"an object of type {type(made).__name__}"
            raise ValueError(f"optimizer {self.path} cannot be built: it returned {kind}, not a torch.optim.Optimizer")
        return made

    def hint(self, arguments: Mapping[str, Any]) -> str:
        """Return a hint in parentheses if something is known to be missing, else an empty text."""
        function = "name a function of params and lr that"
        try:
            first = next(iter(inspect.signature(self.maker).parameters), "")
        except (TypeError, ValueError):
            return ""
        if "optimizer" in first:
            return f" (it takes an optimizer, not parameters: {function} returns one wrapped in it)"
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        missing = [
            name
            for name, it in self.parameters.items()
            if it.kind in kinds and it.default is it.empty and name != "lr" and name not in arguments
        ]
        if not missing:
            return ""
        return f" (it needs {', '.join(missing)}: set that with --option, or {function} does)"


def import_optimizer(path: str) -> Imported:
    """Import an optimizer by a path such as ``torch.optim.NAdam``; a process resolves each path once."""
    try:
        found = _found(path)
    except (Exception, SystemExit) as error:  # importing a module may raise anything
        name = path.rpartition(".")[2]
        known = dir(error.obj) if isinstance(error, AttributeError) and error.name == name else []
        close = difflib.get_close_matches(name, known, 1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise ValueError(f"optimizer {path} cannot be imported: {said(error)}{hint}") from error
    if path in _RESOLVED and _RESOLVED[path].maker is found:
        return _RESOLVED[path]
    if isinstance(found, type):
        makes_one = issubclass(found, Optimizer) and not inspect.isabstract(found) and found is not Optimizer
    else:
        makes_one = callable(found) and not isinstance(found, Optimizer)
    if not makes_one:
        raise ValueError(f"optimizer {path} is neither a torch.optim.Optimizer class nor a function that makes one")
    _RESOLVED[path] = Imported(path, found)
    return _RESOLVED[path]


_RESOLVED: dict[str, Imported] = {}


def _found(path: str) -> Any:
    """Return the attribute of a module, or of a class in the module, and so on."""
    module_name, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + ".") or "." not in module_name:
            raise
        try:
            return getattr(_found(module_name), name)
        except AttributeError:
            raise error from None


def _reached(module: types.ModuleType | None) -> Iterator[types.ModuleType]:
    """Yield a module and, recursively, all modules that its names refer to, also through functions and classes."""
    seen: set[str] = set()
    ahead = [module]
    while ahead:
        if (module := ahead.pop()) is None or module.__name__ in seen:
            continue
        in_one = in_library(module.__name__)
        if seen and in_one:
            continue
        seen.add(module.__name__)
        yield module
        for value in [] if in_one else list(vars(module).values()):
            if isinstance(value, types.ModuleType):
                ahead.append(value)
            elif isinstance(value, type | types.FunctionType):
                ahead.append(sys.modules.get(value.__module__))


def in_library(module: str | None) -> bool:
    """Whether the module with this name belongs to `LIBRARIES`."""
    return (module or "").partition(".")[0] in LIBRARIES


def said(error: BaseException) -> str:
    """Return the message of an exception in one line."""
    try:
        text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    except Exception:  # an exception of an imported module may itself raise anything
        text = ""
    text = " ".join(text.split()) or type(error).__name__
    if isinstance(error, KeyError):  # whose message is the key alone
        text = f"KeyError: {text}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
