"""The shape of the code: how long functions and files may be, and who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError
from pathlib import Path

import pytest

from scripts import house

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION, LONGEST_FILE = 60, 400
STILL_LONGER = {
    "scripts/train_demo.py:card",
    "tests/apps/test_batch.py",
    "tests/apps/test_cli.py",
    "tests/images/test_images.py",
    "tests/targets/test_boxes.py",
}
"""What is to be made shorter yet: none is to be added."""


def sources() -> list[Path]:
    return sorted(path for top in ("gradcam_hooks", "scripts", "tests") for path in code(top))


def code(top: str) -> Iterator[Path]:
    return (ROOT / top).rglob("*.py")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its lines, less its docstring's."""
    first = function.body[0]
    told = ast.get_docstring(function) is not None
    return node_lines(function) - told * node_lines(first)


def node_lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_lines_are_counted_without_the_docstring() -> None:
    (function,) = functions('def f(\n    x,\n):\n    """One\n    two.\n    """\n\n    return x\n')
    assert lines_of(function) == 8 - 3


def test_no_function_and_no_file_is_long() -> None:
    longer = set()
    for path in sources():
        name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        longer |= {name} if len(text.splitlines()) > LONGEST_FILE else set()
        longer |= {
            f"{name}:{one.name}" for one in functions(text) if lines_of(one) > LONGEST_FUNCTION
        }
    assert longer == STILL_LONGER


def test_no_test_module_imports_another() -> None:
    """What tests share stands in tests/support, so that each file of tests may be read alone."""
    imported = house.modules(ROOT / "tests")
    modules = {name for name in imported if name.rpartition("/")[2].startswith("test_")}
    assert {"house/test_shape", "network/test_hooks"} <= modules
    assert {one: to & modules for one, to in imported.items() if to & modules} == {}


def test_imports_never_run_in_a_circle() -> None:
    modules = house.modules()
    assert "network/hooks" in modules["runs/run"]
    assert house.floors(modules)["errors"] == 0  # floors raises CycleError, which names the circle
    assert house.floors(house.rooms(modules))["network"] == 1


def test_a_circle_is_named() -> None:
    with pytest.raises(CycleError, match="cycle"):
        house.floors({"a": {"b"}, "b": {"c"}, "c": {"a"}})
