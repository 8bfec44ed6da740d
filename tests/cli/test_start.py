"""How much the command imports before it knows what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stac_manager.cli import cli

HEAVY = ("aiohttp", "numpy", "obstore", "pandas", "pyarrow", "pydantic", "pystac", "rich", "shapely")
CODE = """
import sys
from stac_manager.cli import run
status = run(sys.argv[1:])
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("argument", "status"),
    [("--help", 0), ("--version", 0), ("nonsense", 2), ("--nonsense", 2), ("update-metadata", 2)],
)
def test_what_needs_no_command_imports_nothing_heavy(argument: str, status: int) -> None:
    code = CODE.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (status, "[]")


def test_the_public_names_are_imported_when_they_are_used() -> None:
    code = f"""
import sys, stac_manager
assert not [name for name in {HEAVY} if name in sys.modules]
from stac_manager import *
assert all(getattr(stac_manager, name) is globals()[name] for name in stac_manager.__all__)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", cli.list_commands(None))
def test_the_list_of_commands_tells_the_first_line_of_each_help(name: str) -> None:
    context = cli.make_context("stac-manager", ["check-config"])
    command = cli.get_command(context, name)
    assert command is not None
    first_line = (command.help or "").strip().splitlines()[0]
    shown = " ".join(cli.get_help(context).split())
    assert f" {name} {first_line}" in shown
