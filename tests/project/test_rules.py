from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = {
    "config",
    "cores",
    "dedup",
    "disk_buffer",
    "errors",
    "feature_collections",
    "files",
    "geometry",
    "http",
    "item_steps",
    "items",
    "local_files",
    "locks",
    "logs",
    "object_cache",
    "partitioning",
    "plugin_errors",
    "progress",
    "quarantine",
    "registry",
    "scratch",
    "standard_output",
    "storage",
    "times",
}
MODULES = {"discovery", "ingest", "transform", "extension", "validate", "output"}
ALLOWED_SIBLINGS = {("ingest", "discovery")}  # a STAC API is opened, and its conformance checked, in one place


def imports_of(path: Path) -> set[str]:
    """What a module imports when it runs; what only types need is left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"{room} holds no code"
    return found


@pytest.mark.parametrize(
    ("room", "refused"),
    [
        ("stac_manager", {"dagster", "stac_assets", "resources", "partitions", "demo"}),
        ("partitions", {"stac_assets", "resources"}),
        ("resources", {"stac_assets"}),
        ("stac_assets", {"demo"}),
    ],
)
def test_rooms_import_one_way_only(room: str, refused: set[str]) -> None:
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in files(room)
        for name in imports_of(path)
        if name.split(".")[0] in refused
    }
    assert not wrong


def test_a_module_of_the_library_knows_helpers_but_not_its_siblings() -> None:
    wrong = set()
    for path in files("stac_manager"):
        room = path.relative_to(ROOT / "stac_manager").parts[0].removesuffix(".py")
        if room not in MODULES | HELPERS:
            continue
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] != "stac_manager" or len(parts) == 1 or parts[1] == room:
                continue
            allowed = HELPERS | {sibling for module, sibling in ALLOWED_SIBLINGS if module == room}
            if parts[1] not in allowed:
                wrong.add((str(path.relative_to(ROOT)), name))
    assert not wrong


def test_the_command_line_leaves_dagster_out() -> None:
    code = "import sys, stac_manager.cli.rebuild, stac_manager.cli.validate; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_every_room_of_the_library_says_what_it_exports() -> None:
    for path in files("stac_manager"):
        tree = ast.parse(path.read_text())
        names = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and "__all__"
            in [getattr(target, "id", "") for target in getattr(node, "targets", [getattr(node, "target", None)])]
            and node.value is not None
        ]
        if path.name == "__main__.py":
            continue
        assert names, f"{path.relative_to(ROOT)} has no __all__"
        key = ruff_order
        assert names[0] == sorted(names[0], key=key), f"{path.relative_to(ROOT)}: __all__ is not sorted"


def ruff_order(name: str) -> tuple[int, str]:
    if name.isupper():
        return (0, name)
    return (1, name) if name[0].isupper() else (2, name)


def test_one_file_tells_dagster_what_to_load() -> None:
    import tomllib

    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "dagster" not in tools, "[tool.dagster] would silently win over workspace.yaml"
    assert "dg" not in tools
