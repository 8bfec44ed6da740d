"""Deletions that wait for a person are told every morning, until somebody decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from demo.server import create_app, serve
from stac_manager.cli import run
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

Json = dict[str, Any]


@pytest.fixture
def items() -> list[Json]:
    return [make_item(f"i{n:02}", f"2024-{n % 3 + 1:02}-10T10:00:00Z") for n in range(30)]


@pytest.fixture
def workflow(items: list[Json], tmp_path: Path) -> Iterator[str]:
    with serve(create_app([make_collection()], items)) as url:
        path = str(write_workflow(tmp_path, url))
        assert run(["rebuild-catalog", "--config", path]) == 0
        yield path


def incremental(workflow: str, *options: str) -> int:
    return run(["rebuild-catalog", "--config", workflow, "--mode", "incremental", *options])


@pytest.fixture
def waiting(workflow: str, items: list[Json], capsys: pytest.CaptureFixture[str]) -> str:
    del items[::3]  # all of January
    assert incremental(workflow) == 1
    capsys.readouterr()
    return workflow


TEXT = "c 2024-01: deletions: 10 of 10 items are gone at the source and are kept"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join("".join(capsys.readouterr()).split())


def test_what_waits_is_told_each_time(waiting: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert incremental(waiting) == 1
        text = said(capsys)
        assert f"check failed: {TEXT}" in text
        assert "--allow-deletes" in text


def test_a_dry_run_tells_what_waits_and_what_would_go(waiting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert incremental(waiting, "--dry-run") == 0
    assert TEXT in said(capsys)
    assert incremental(waiting, "--dry-run", "--allow-deletes") == 0
    assert "c 2024-01: " in said(capsys)
    assert incremental(waiting, "--allow-deletes") == 0
    assert incremental(waiting, "--dry-run") == 0
    assert said(capsys).startswith("c: nothing to do")


def test_a_partition_that_is_run_twice_is_counted_once(
    workflow: str, items: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items[0] = make_item("i00", "2024-02-11T10:00:00Z")
    items.append({**make_item("bad", "2024-01-12T10:00:00Z"), "assets": None})
    capsys.readouterr()
    assert run(["rebuild-catalog", "--config", workflow, "--summary", str(tmp_path / "s.json")]) == 1
    summary = orjson.loads((tmp_path / "s.json").read_bytes())
    kinds = ("published", "failed", "added", "modified", "deleted", "unchanged")
    assert [summary[kind] for kind in kinds] == [30, 1, 1, 0, 1, 29]
    assert capsys.readouterr().err.count("│ 2024-01 ") == 1
