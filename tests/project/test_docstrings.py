"""Docstrings name the parameters that there are: an `Args:` entry of another name is left over from a rename."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "stac_manager").rglob("*.py"))

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented_args(docstring: str) -> list[str]:
    section = re.search(r"^Args:\n((?:(?: +.*)?\n?)*)", docstring, re.MULTILINE)
    return re.findall(r"^ {4}\*{0,2}(\w+):", section[1], re.MULTILINE) if section else []


def parameters(node: Documented) -> set[str]:
    if isinstance(node, ast.ClassDef):
        made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        fields = {
            part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and hasattr(part.target, "id")
        }
        return fields.union(*map(parameters, made))
    own = node.args
    named = [*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg]
    return {one.arg for one in named if one}


def unknown_args(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            unknown = set(documented_args(docstring)) - parameters(node)
            yield from (f"{node.name}: {name}" for name in sorted(unknown))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_args_are_parameters(path: Path) -> None:
    assert not list(unknown_args(path))


def test_a_renamed_parameter_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def fetch(on_progress, *ids):\n"
        '    """Fetch.\n\n    Args:\n        heard: called.\n        ids: some.\n    """\n'
    )
    assert list(unknown_args(module)) == ["fetch: heard"]
