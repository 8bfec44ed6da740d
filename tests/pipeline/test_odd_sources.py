"""Sources that are odd, change, or go away: nothing is lost silently, and one bad item stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.cli import run
from stac_manager.files import read_lines
from stac_manager.output import read_geoparquet
from stac_manager.pipeline import STAGES, Chain, read_index
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow, write_workflow


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture
def items() -> list[dict[str, Any]]:
    return [make_item(f"i{number:02}", f"2024-01-{number + 1:02}T00:00:00Z") for number in range(20)]


@pytest.fixture
def app(items: list[dict[str, Any]]) -> web.Application:
    return create_app([make_collection()], items)


@pytest.fixture
def url(app: web.Application) -> Iterator[str]:
    with serve(app) as url:
        yield url


def rebuild(folder: Path, url: str, *more: str, **changes: Any) -> int:
    return run(["rebuild-catalog", "--config", str(write_workflow(folder, url, **changes)), *more])


def published(folder: Path) -> list[str]:
    paths = sorted((folder / "data" / "published" / "c" / "items").glob("*.parquet"))
    return [item["id"] for path in paths for item in read_geoparquet(path)]


def quarantined(folder: Path) -> dict[str, str]:
    paths = sorted((folder / "data" / "quarantine" / "c").glob("*.ndjson"))
    records = [orjson.loads(line) for path in paths for line in read_lines(path)]
    return {record["item_id"]: record["error_type"] for record in records}


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (make_item("odd", "2024-01-09T00:00:00Z", deep=nested(400)), "InvalidJson"),
        (make_item("odd", "2024-01-09T00:00:00Z", big=10**30), "InvalidJson"),
        ({**make_item("[/red]\x1b[31m", "2024-01-09T00:00:00Z"), "assets": None}, "InvalidItem"),
    ],
    ids=["nested deeply", "beyond 64 bits", "markup and escapes in an id"],
)
def test_an_odd_item_is_quarantined_and_the_rest_published(
    odd: dict[str, Any], kind: str, items: list[Any], url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items.append(odd)
    assert rebuild(tmp_path, url) == 1
    assert len(published(tmp_path)) == 20
    assert quarantined(tmp_path) == {odd["id"]: kind}
    assert "\x1b[31m" not in capsys.readouterr().err


@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
@pytest.mark.parametrize("instant", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_placeholder_date_stops_nothing(by: str, instant: str, items: list[Any], tmp_path: Path) -> None:
    app = create_app([make_collection()], items)

    @web.middleware
    async def plant(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        document = json.loads(response.text)
        if "features" in document:
            document["features"].append(make_item("odd", instant))
        return web.json_response(document)

    app.middlewares.append(plant)
    with serve(app) as url:
        chain = Chain.of(make_workflow(tmp_path, url, partitions={"by": by}), "c")
        key = chain.workflow.scheme().key_of(chain.workflow.scheme().first)
        manifest = chain.run("raw_items", key)
        assert manifest.ledger.skipped >= 1
        assert "odd" not in dict(read_index(chain.storage, manifest))


def test_items_of_another_collection_are_not_taken(items: list[Any], app: web.Application, tmp_path: Path) -> None:
    @web.middleware
    async def mix(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        document = json.loads(response.text)
        for feature in document.get("features", [])[::2]:
            feature["collection"] = "other"
        return web.json_response(document)

    app.middlewares.append(mix)
    with serve(app) as url:
        assert rebuild(tmp_path, url) == 0
    assert len(published(tmp_path)) == 10


def test_an_id_that_a_source_lists_twice_is_published_once(items: list[Any], url: str, tmp_path: Path) -> None:
    items += [dict(item) for item in items[:5]]
    assert rebuild(tmp_path, url) == 0
    assert published(tmp_path) == [f"i{number:02}" for number in range(20)]


def test_of_two_times_the_later_is_kept_whatever_their_spelling(items: list[Any], url: str, tmp_path: Path) -> None:
    old = make_item("x", "2024-01-09T00:00:00Z", updated="2024-02-01T01:00:00+01:00", v="old")
    new = make_item("x", "2024-01-09T00:00:00Z", updated="2024-02-01T00:00:00.5Z", v="new")
    items += [new, old]
    rebuild(tmp_path, url)
    path = tmp_path / "data" / "published" / "c" / "items" / "2024-01.parquet"
    assert [item["properties"]["v"] for item in read_geoparquet(path) if item["id"] == "x"] == ["new"]


def test_a_source_that_changes_while_it_is_read_is_read_again(items: list[Any], url: str, tmp_path: Path) -> None:
    app = create_app([make_collection()], items)
    changes = iter([lambda: (items.pop(0), items.append(make_item("new", "2024-01-30T00:00:00Z")))])
    searches = 0

    @web.middleware
    async def change(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal searches
        response = await handler(request)
        if request.path == "/search":
            searches += 1
            if searches == 3:
                next(changes, lambda: None)()
        return response

    app.middlewares.append(change)
    with serve(app) as url:
        workflow = make_workflow(tmp_path, url, processing={"page_size": 15, "retry_max_attempts": 2})
        chain = Chain.of(workflow, "c")
        for stage in STAGES:
            chain.run(stage, "2024-01")
    assert published(tmp_path) == [*(f"i{number:02}" for number in range(1, 20)), "new"]


def test_what_was_published_before_a_source_went_away_can_be_found(items: list[Any], tmp_path: Path) -> None:
    app = create_app([make_collection()], items)

    @web.middleware
    async def die(request: web.Request, handler: Any) -> web.StreamResponse:
        if "2024-01-01" not in await request.text() and request.path == "/search":
            return web.Response(status=404)
        return await handler(request)

    app.middlewares.append(die)
    with serve(app) as url:
        assert rebuild(tmp_path, url, partitions={"end": "2024-06-30"}) == 3
    collection = orjson.loads((tmp_path / "data" / "published" / "c" / "collection.json").read_bytes())
    assert list(collection["assets"]) == ["items-2024-01"]
    assert (tmp_path / "data" / "published" / "catalog.json").is_file()


def test_cutting_time_in_another_way_publishes_nothing_twice(items: list[Any], url: str, tmp_path: Path) -> None:
    rebuild(tmp_path, url)
    rebuild(tmp_path, url, partitions={"by": "week"})
    assert published(tmp_path) == [f"i{number:02}" for number in range(20)]


def test_a_partition_that_the_workflow_no_longer_has_is_taken_away(items: list[Any], url: str, tmp_path: Path) -> None:
    items.append(make_item("late", "2024-03-05T00:00:00Z"))
    rebuild(tmp_path, url)
    assert "late" in published(tmp_path)
    rebuild(tmp_path, url, "--partition", "2024-01", partitions={"end": "2024-02-29"})
    assert published(tmp_path) == [f"i{number:02}" for number in range(20)]


def test_a_damaged_published_file_is_repaired_by_a_rerun(url: str, tmp_path: Path) -> None:
    rebuild(tmp_path, url)
    path = tmp_path / "data" / "published" / "c" / "items" / "2024-01.parquet"
    good = path.read_bytes()
    path.write_bytes(good[:100] + b"\0\0" + good[102:])
    assert rebuild(tmp_path, url, "--partition", "2024-01") == 0
    assert path.read_bytes() == good


def test_a_filter_that_the_source_would_ignore_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = {"cql2": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 1]}}
    assert rebuild(tmp_path, url, source={"filters": filters}) == 2
    assert "does not declare the cql2 filter" in capsys.readouterr().err


def test_a_failed_check_is_seen_in_the_exit_status(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stac_manager.output import parquet

    monkeypatch.setattr(parquet, "same_after_parquet", lambda one, other: "different")
    assert rebuild(tmp_path, url) == 1
    assert "check failed: c 2024-01: round_trip" in capsys.readouterr().err
