"""What the library imports, it declares."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.project.test_rules import ROOT, files, imports_of


def test_every_package_that_the_library_imports_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_normal(re.split(r"[^\w.-]", line)[0]) for line in project["dependencies"]}
    owners = packages_distributions()
    imported = {name.split(".")[0] for path in files("stac_manager") for name in imports_of(path)}
    # pydantic pins its core to the very version
    known = {"stac_manager", "pydantic_core", *sys.stdlib_module_names}
    undeclared = {name for name in imported - known if not set(map(_normal, owners.get(name, [name]))) & declared}
    assert undeclared == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
