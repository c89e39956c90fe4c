"""Tests that imports go in the direction that CONTRIBUTING.md draws, and that file names are unique."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "amsgrad_exp"
MODULES = sorted(PACKAGE.rglob("*.py"))


def layers() -> list[set[str]]:
    """The lines of the drawing in CONTRIBUTING.md: a module may import from the lines above its own."""
    drawing = re.findall(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    return [{name.strip("/") for name in line.split()} for line in drawing.splitlines()]


def place(path: Path) -> str:
    """The folder or top-level module of a file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The folders and top-level modules of the package that a file imports anywhere, for types only or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "amsgrad_exp":
            parts = node.module.split(".")[1:]
            yield from parts[:1] or (alias.name for alias in node.names if alias.name != "__version__")


def test_imports_go_in_one_direction() -> None:
    level = {name: number for number, line in enumerate(layers()) for name in line}
    places = {place(path) for path in MODULES} - {"__init__", "__main__"}
    assert places == level.keys()
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in MODULES
        if path.parent != PACKAGE or place(path) in level
        for name in imported(path)
        if name != place(path) and level[name] >= level[place(path)]
    }
    assert not wrong


def test_file_names_are_unique() -> None:
    names = Counter(path.name for path in MODULES if path.name != "__init__.py")
    assert not [name for name, count in names.items() if count > 1]


def test_each_module_begins_with_a_sentence() -> None:
    for path in MODULES:
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        assert first.endswith("."), path
