"""What can be checked of the image without an engine to build it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
LINES = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def test_every_path_that_is_copied_exists() -> None:
    copied = [shlex.split(line) for line in instructions("COPY") if "--from" not in line]
    sources = [part for parts in copied for part in parts[:-1] if not part.startswith("--")]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_every_room_that_the_code_location_needs_is_copied() -> None:
    copied = " ".join(instructions("COPY"))
    for room in (
        "stac_manager",
        "stac_assets",
        "resources",
        "partitions",
        "workflows",
        "workspace.yaml",
        "dagster.yaml",
    ):
        assert re.search(rf"\b{room}\b", copied), room


def test_it_does_not_run_as_root() -> None:
    users = instructions("USER")
    assert users
    assert users[-1] not in ("root", "0")


def test_the_environment_is_built_from_the_lock_in_a_stage_of_its_own() -> None:
    assert len(instructions("FROM")) == 2
    syncs = [line for line in instructions("RUN") if "uv sync" in line]
    assert syncs
    assert all("--locked" in line for line in syncs)


@pytest.mark.parametrize("command", ["CMD", "HEALTHCHECK"])
def test_its_commands_exist_here(command: str) -> None:
    line = instructions(command)[-1]
    words = json.loads(line[line.index("[") :])
    program = Path(sys.executable).parent / words[0]
    options = [
        word for word in words[1:] if not word.startswith("-") and not re.fullmatch(r"[\d.]+|stac_assets\..*", word)
    ]
    done = subprocess.run([program, *options, "--help"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for option in [word for word in words if re.fullmatch(r"-\w", word)]:
        assert option in done.stdout
