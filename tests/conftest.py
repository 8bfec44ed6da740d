"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

SHARED = Path(os.environ.get("STAC_MANAGER_SHARED", Path(__file__).parents[2] / "shared"))


def need(condition: bool, reason: str) -> None:
    """Skip with the reason where a machine lacks something; where everything must be there, fail."""
    if condition:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def schema_dir() -> Path:
    """Real STAC and extension schemas, laid out as `<host>/<path>`."""
    folder = SHARED / "schemas"
    need(folder.is_dir(), f"no schemas at {folder}")
    return folder


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """Real items and collections of many providers."""
    folder = SHARED / "corpus"
    need(folder.is_dir(), f"no corpus at {folder}")
    return folder


@pytest.fixture(scope="session")
def corpus_items(corpus_dir: Path) -> list[dict]:
    """Every item of the corpus that is strict JSON, in a stable order."""
    items = []
    for path in sorted(corpus_dir.glob("*/items.ndjson")):
        items += [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    return items
