"""What changed since an instant, asked of the demo's API and of servers that only say they can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from demo.server import Extension, create_app, serve
from stac_manager.errors import SourceError
from stac_manager.http import HttpSettings
from stac_manager.ingest import IngestModule, SearchFilter, Since, StacApiSource
from stac_manager.times import Window, format_rfc3339, utc_now
from tests.ingest.test_stac_api import JANUARY, Change, app_with, get_only, only
from tests.stac_items import make_collection, make_item

FEBRUARY = datetime(2024, 2, 1, 12, tzinfo=UTC)
EXTENSION = "https://api.stacspec.org/v1.0.0/item-search#"


def updated_items(count: int, step: timedelta = timedelta(minutes=1)) -> list[dict[str, Any]]:
    """Items over January; the later the number, the earlier the time and the later the update."""
    return [
        make_item(
            f"i{number:04}",
            format_rfc3339(JANUARY.end - timedelta(days=31) / count * (number + 1)),
            updated=format_rfc3339(FEBRUARY + step * number),
        )
        for number in range(count)
    ]


def declaring(*extensions: str) -> Change:
    """Declare extensions beside those that the server has."""

    def change(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "conformsTo" in document:
            document["conformsTo"] += [f"{EXTENSION}{name}" for name in extensions]
        return document

    return change


def app_without(items: list[dict[str, Any]], extensions: Sequence[Extension], change: Change) -> web.Application:
    spoilt = app_with(items, change)
    app = create_app([make_collection()], items, extensions)
    app.middlewares.extend(spoilt.middlewares)
    return app


def source(url: str, **options: Any) -> StacApiSource:
    return StacApiSource(url, "c", http=HttpSettings(attempts=2), **options)


def detect(url: str, window: Window = JANUARY, **options: Any) -> str | None:
    return asyncio.run(source(url, **options).detect_updated_filter(window))


def newest(url: str, window: Window = JANUARY) -> datetime | None:
    return asyncio.run(source(url).newest(window))


@pytest.mark.parametrize("change", [None, get_only], ids=["POST", "GET"])
def test_a_source_that_filters_by_updated_is_detected(change: Change | None) -> None:
    with serve(app_with(updated_items(300), change)) as url:
        assert detect(url) == "query"


@pytest.mark.parametrize(
    "wanted",
    [SearchFilter(bbox=(0, 40, 10, 50)), SearchFilter(query={"datetime": {"lt": "2024-01-20T00:00:00Z"}})],
)
def test_the_workflows_filters_and_updated_are_honoured_together(wanted: SearchFilter) -> None:
    with serve(app_with(updated_items(60))) as url:
        assert detect(url, filter=wanted) == "query"


def test_a_query_that_names_updated_leaves_no_language() -> None:
    wanted = SearchFilter(query={"updated": {"lt": "2024-03-01T00:00:00Z"}})
    with serve(app_with(updated_items(60))) as url:
        assert detect(url, filter=wanted) == "no"


def test_where_there_is_no_item_the_question_stays_open() -> None:
    with serve(app_with([])) as url:
        assert detect(url) is None


def test_one_known_item_without_updated_is_enough_for_no() -> None:
    items = updated_items(10)
    del items[4]["properties"]["updated"]
    with serve(app_with(items)) as url:
        assert detect(url) == "no"


def test_one_item_without_updated_beyond_the_first_page_is_enough_for_no() -> None:
    items = updated_items(60)
    del items[59]["properties"]["updated"]
    with serve(app_with(items)) as url:
        assert detect(url) == "no"


def test_a_source_without_query_says_no() -> None:
    with serve(create_app([make_collection()], updated_items(60), ("sort", "fields"))) as url:
        assert detect(url) == "no"


def test_a_source_without_item_search_says_no() -> None:
    with serve(app_with(updated_items(60), only("/core", "/ogcapi-features"))) as url:
        assert detect(url) == "no"


def test_a_declared_filter_that_is_ignored_is_not_detected() -> None:
    app = app_without(updated_items(60), ("sort",), declaring("query", "filter"))
    with serve(app) as url:
        assert detect(url) == "no"


def test_a_language_that_is_answered_with_an_error_is_passed_over_for_one_that_works() -> None:
    app = app_with(updated_items(60), declaring("filter"))

    @web.middleware
    async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST" and "filter" in await request.json():
            raise web.HTTPInternalServerError
        return await handler(request)

    app.middlewares.append(refuse)
    with serve(app) as url:
        assert detect(url) == "query"


def test_a_server_that_fails_is_no_answer() -> None:
    app = app_with(updated_items(60))

    @web.middleware
    async def fail(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/search" and "query" in await request.json():
            app_state["dead"] = True
        if request.path == "/search" and app_state["dead"]:
            raise web.HTTPServiceUnavailable
        return await handler(request)

    app_state = {"dead": False}
    app.middlewares.append(fail)
    with serve(app) as url, pytest.raises(SourceError, match="503"):
        detect(url)


def comparing_texts(items: list[dict[str, Any]]) -> web.Application:
    """A server that compares `updated` as a text, as pgstac does."""

    @web.middleware
    async def compare(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/search":
            return await handler(request)
        body = await request.json()
        asked = body.get("query", {}).get("updated", {}).get("gte", "")
        page = [item for item in items if item["properties"]["updated"] >= asked]
        page = [item for item in page if item["id"] in body.get("ids", [item["id"]])]
        return web.json_response({"type": "FeatureCollection", "features": page, "numberMatched": len(page)})

    app = create_app([make_collection()], items)
    app.middlewares.append(compare)
    return app


@pytest.mark.parametrize(
    ("spelling", "honoured"),
    [
        ("2024-02-05T10:00:00Z", "query"),
        ("2024-02-05T10:00:00.5Z", "query"),
        ("2024-02-05T10:00:00.000001+00:00", "query"),
        ("2024-02-05T10:00:00+02:00", "no"),
        ("2024-02-05T10:00:00-02:00", "no"),
        ("2024-02-05 10:00:00Z", "no"),
    ],
)
def test_texts_are_compared_well_only_where_they_are_spelled_alike(spelling: str, honoured: str) -> None:
    items = updated_items(10)
    items[3]["properties"]["updated"] = spelling
    with serve(comparing_texts(items)) as url:
        assert detect(url) == honoured


def test_only_what_was_updated_at_or_after_an_instant_comes() -> None:
    with serve(app_with(updated_items(600))) as url, IngestModule(source(url, page_size=50)) as ingest:
        facts = ingest.fetch(JANUARY, since=Since(FEBRUARY + timedelta(minutes=400), "query"))
        assert [item_id for item_id, _ in ingest] == [f"i{number:04}" for number in range(400, 600)]
    assert facts.splits == 0
    assert ingest.outside == 0


def test_a_second_before_the_instant_is_asked_for_and_left_out() -> None:
    with serve(app_with(updated_items(60, timedelta(seconds=0.5)))) as url, IngestModule(source(url)) as ingest:
        ingest.fetch(JANUARY, since=Since(FEBRUARY + timedelta(seconds=20), "query"))
        assert len(ingest.items) == 20
        assert ingest.outside == 2


def test_a_source_that_no_longer_filters_is_found_out() -> None:
    app = app_without(updated_items(60), ("sort",), declaring("query"))
    since = Since(FEBRUARY + timedelta(minutes=30), "query")
    with (
        serve(app) as url,
        IngestModule(source(url)) as ingest,
        pytest.raises(SourceError, match="ignores the query filter, which it honoured before"),
    ):
        ingest.fetch(JANUARY, since=since)


@pytest.mark.parametrize("change", [None, get_only], ids=["POST", "GET"])
@pytest.mark.parametrize("count", [7, 300])
def test_the_newest_update_is_found_wherever_it_lies(change: Change | None, count: int) -> None:
    items = updated_items(count)
    items[count // 2]["properties"]["updated"] = "2024-06-01T00:00:00Z"
    with serve(app_with(items, change)) as url:
        assert newest(url) == datetime(2024, 6, 1, tzinfo=UTC)


def test_what_was_updated_in_the_future_is_not_the_newest() -> None:
    items = updated_items(10)
    items[0]["properties"]["updated"] = format_rfc3339(utc_now() + timedelta(days=1))
    with serve(app_with(items)) as url:
        assert newest(url) == FEBRUARY + timedelta(minutes=9)


def test_the_newest_update_is_unknown_where_the_source_cannot_sort() -> None:
    with serve(create_app([make_collection()], updated_items(10), ("fields", "query"))) as url:
        assert newest(url) is None


@pytest.mark.parametrize("reverse", [False, True])
def test_the_newest_update_is_unknown_where_the_source_only_says_that_it_sorts(reverse: bool) -> None:
    items = updated_items(300)
    if reverse:  # what comes first without being asked for then comes in just the order that is asked for
        for item, other in zip(items, updated_items(300)[::-1], strict=True):
            item["properties"]["updated"] = other["properties"]["updated"]
    with serve(app_without(items, ("fields",), declaring("sort"))) as url:
        assert newest(url) is None


def test_the_newest_update_is_unknown_where_items_do_not_say_it() -> None:
    items = updated_items(10)
    del items[4]["properties"]["updated"]
    with serve(app_with(items)) as url:
        assert newest(url) is None
    with serve(app_with([])) as url:
        assert newest(url) is None
