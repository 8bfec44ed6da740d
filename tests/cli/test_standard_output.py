"""Commands whose standard output cannot be written, or whose reader has enough."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import create_app, serve
from stac_manager.files import write_items
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

PROGRAM = Path(sys.executable).parent / "stac-manager"


@pytest.fixture(scope="module", params=[3, 100], ids=["little", "much"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("world")
    items = [make_item(f"i{number}", text="x" * 1000) for number in range(request.param)]
    write_items(str(folder / "in.ndjson"), items)
    collections = [{**make_collection(f"c{n}"), "title": "x" * 1000} for n in range(request.param)]
    with serve(create_app([make_collection(), *collections], items)) as url:
        config = str(write_workflow(folder, url))
        yield {
            "fetch-items": f"fetch-items --catalog-url {url} --collection-id c --output -",
            "transform-metadata": f"transform-metadata --input {folder}/in.ndjson --output -",
            "apply-extensions": f"apply-extensions --input {folder}/in.ndjson --output -",
            "discover-collections": f"discover-collections --catalog-url {url} --format json",
            "check-config": "check-config " + " ".join([config] * request.param),
            "rebuild-catalog": f"rebuild-catalog --config {config} --dry-run",
            "help": "--help",
            "validate": f"validate --offline --input {folder}/in.ndjson",
        }


COMMANDS = [
    "fetch-items",
    "transform-metadata",
    "discover-collections",
    "check-config",
    "rebuild-catalog",
    "help",
]


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_device_is_one_line_and_exit_3(world: dict[str, str], command: str) -> None:
    done = shell(f"{PROGRAM} {world[command]} > /dev/full")
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == ["Error: standard output: cannot be written: No space left on device"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_has_enough_ends_it_quietly(world: dict[str, str], command: str, reader: str) -> None:
    done = shell(f"{PROGRAM} {world[command]} | {reader}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_validate_writes_nothing_to_standard_output(world: dict[str, str]) -> None:
    done = shell(f"{PROGRAM} {world['validate']} > /dev/full")
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def test_a_closed_standard_output_is_one_line(world: dict[str, str]) -> None:
    done = shell(f"{PROGRAM} {world['transform-metadata']} >&-")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("option", ["--summary", "--failed"])
def test_a_pipe_is_written_to_and_not_replaced(option: str, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"{}\n")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    arguments = [
        "output",
        "--input",
        str(tmp_path / "a.ndjson"),
        "--output",
        str(tmp_path / "a.parquet"),
        option,
        str(pipe),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "stac_manager.cli", *arguments], capture_output=True, text=True, check=False
    )
    said, _ = reader.communicate(timeout=20)
    assert done.returncode == 1, done.stderr
    assert pipe.is_fifo()
    assert said.startswith(b"{")
