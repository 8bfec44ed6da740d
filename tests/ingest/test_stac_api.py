from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.errors import SourceError
from stac_manager.http import HttpSettings
from stac_manager.ingest import IngestModule, StacApiSource
from stac_manager.items import loads
from stac_manager.times import Window, format_rfc3339
from tests.stac_items import make_collection, make_item

JANUARY = Window(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
Change = Callable[[web.Request, dict[str, Any]], dict[str, Any]]


def january_items(count: int) -> list[dict[str, Any]]:
    step = timedelta(days=31) / max(count, 1)
    return [make_item(f"i{number:04}", format_rfc3339(JANUARY.start + step * number)) for number in range(count)]


def app_with(items: list[dict[str, Any]], change: Change | None = None) -> web.Application:
    """The demo's API over these items; `change` may spoil the JSON of any answer."""
    app = create_app([make_collection()], items)

    @web.middleware
    async def spoil(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        if change is None:
            return response
        document = change(request, json.loads(response.text))
        return web.Response(text=json.dumps(document), status=response.status, content_type="application/json")

    app.middlewares.append(spoil)
    return app


def fetch(url: str, window: Window | None = JANUARY, **options: Any) -> tuple[list[str], IngestModule]:
    settings = HttpSettings(concurrency=options.pop("concurrency", 5), attempts=2)
    limit = options.pop("limit", None)
    with IngestModule(StacApiSource(url, "c", http=settings, **options)) as ingest:
        ingest.fetch(window, limit=limit)
        return [item_id for item_id, _ in ingest], ingest


def only(*kept: str) -> Change:
    """Leave only these conformance classes (by ending) and links."""

    def change(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "conformsTo" in document:
            document["conformsTo"] = [uri for uri in document["conformsTo"] if uri.endswith(kept)]
        return document

    return change


def get_only(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
    if request.path == "/":
        document["links"] = [link for link in document["links"] if link.get("method") != "POST"]
    return document


@pytest.mark.parametrize("change", [None, get_only, only("/core", "/ogcapi-features")], ids=["POST", "GET", "features"])
@pytest.mark.parametrize("page_size", [7, 250])
def test_every_item_comes_once_by_every_way_of_asking(change: Change | None, page_size: int) -> None:
    items = january_items(100)
    with serve(app_with(items, change)) as url:
        ids, _ = fetch(url, page_size=page_size)
    assert ids == [item["id"] for item in items]


def test_an_item_on_the_edge_of_two_slices_comes_once() -> None:
    edges = [part.start for part in JANUARY.split(5)] + [JANUARY.end]
    items = [make_item(f"e{number}", format_rfc3339(edge)) for number, edge in enumerate(edges)]
    with serve(app_with(items)) as url:
        ids, ingest = fetch(url, page_size=1)
    assert ids == [item["id"] for item in items]
    assert ingest.items.received > len(ids)


def test_a_window_without_items_is_empty_and_complete() -> None:
    with serve(app_with([])) as url:
        assert fetch(url)[0] == []


def test_nothing_is_lost_where_the_source_gives_no_count() -> None:
    def no_count(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in document.items() if key != "numberMatched"}

    with serve(app_with(january_items(60), no_count)) as url:
        ids, _ = fetch(url, page_size=9)
    assert len(ids) == 60


def test_a_full_page_without_next_loses_nothing() -> None:
    def no_next(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "links": []} if "features" in document else document

    with serve(app_with(january_items(60), no_next)) as url:
        assert len(fetch(url, page_size=5)[0]) == 60


def test_an_empty_middle_page_with_next_is_followed() -> None:
    items = january_items(30)

    async def page(request: web.Request) -> web.Response:
        body = await request.json()
        number = int(body.get("token", 0))
        features = [] if number == 1 else items[:15] if number == 0 else items[15:29]
        links = []
        if number < 2:
            links = [
                {"rel": "next", "method": "POST", "href": str(request.url), "body": {**body, "token": str(number + 1)}}
            ]
        return web.json_response({"type": "FeatureCollection", "features": features, "links": links})

    with serve(replace_search(items, page)) as url:
        ids, _ = fetch(url, concurrency=1)
    assert ids == [item["id"] for item in items[:29]]


def replace_search(items: list[dict[str, Any]], page: Callable[[web.Request], Any]) -> web.Application:
    app = create_app([make_collection()], items)

    @web.middleware
    async def route(request: web.Request, handler: Any) -> web.StreamResponse:
        return await (page(request) if request.path == "/search" else handler(request))

    app.middlewares.append(route)
    return app


def test_a_next_link_that_merges_keeps_the_first_body() -> None:
    items = january_items(30)
    bodies = []

    async def page(request: web.Request) -> web.Response:
        body = await request.json()
        bodies.append(body)
        start = int(body.get("next", 0))
        size = body["limit"]
        links = [
            {"rel": "next", "method": "POST", "href": str(request.url), "merge": True, "body": {"next": start + size}}
        ]
        features = items[start : start + size]
        more = links if start + size < len(items) else []
        return web.json_response({"type": "FeatureCollection", "features": features, "links": more})

    with serve(replace_search(items, page)) as url:
        ids, _ = fetch(url, page_size=7, concurrency=1)
    assert len(ids) == 30
    assert all(body["collections"] == ["c"] for body in bodies)


def test_next_links_that_run_in_a_circle_end_in_an_error() -> None:
    def circle(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "features" in document:
            document["links"] = [{"rel": "next", "href": str(request.url.with_query({"token": "next:0"}))}]
        return document

    with serve(app_with(january_items(5), circle)) as url, pytest.raises(SourceError, match="circle"):
        fetch(url)


def test_a_next_link_to_another_host_is_not_followed() -> None:
    def leave(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "features" in document:
            document["links"] = [{"rel": "next", "href": "http://127.0.0.2:9/search"}]
        return document

    with (
        serve(app_with(january_items(5), leave)) as url,
        pytest.raises(SourceError, match=r"leaves for http://127\.0\.0\.2"),
    ):
        fetch(url)


def test_a_relative_next_link_is_followed() -> None:
    def relative(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        for link in document.get("links", []) if "features" in document else []:
            link["href"] = "search" + link["href"].partition("/search")[2]
        return document

    with serve(app_with(january_items(40), relative)) as url:
        assert len(fetch(url, page_size=7)[0]) == 40


def test_a_feature_with_nan_is_refused_and_the_rest_of_its_page_kept() -> None:
    items = january_items(10)
    items[3]["properties"]["cloud"] = math.nan
    with serve(app_with(items)) as url, IngestModule(StacApiSource(url, "c")) as ingest:
        ingest.fetch(JANUARY)
        refused = list(ingest.rejected_items.records(str))
        ids = [item_id for item_id, _ in ingest]
    assert len(ids) == 9
    assert [(record["item_id"], record["error_type"]) for record in refused] == [("i0003", "InvalidJson")]
    assert "NaN" in refused[0]["error_context"]["source_data"]


@pytest.mark.parametrize("odd", [None, 7, "text", [], {}, {"id": 5, "properties": {}}, {"id": "x", "properties": None}])
def test_a_feature_that_is_no_item_is_refused_and_counted(odd: Any) -> None:
    def plant(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "features" in document:
            document["features"].append(odd)
        return document

    with serve(app_with(january_items(3), plant)) as url, IngestModule(StacApiSource(url, "c")) as ingest:
        ingest.fetch(JANUARY)
        assert len(ingest.rejected_items) == 1
        assert ingest.received == len(ingest.items) + len(ingest.rejected_items) + ingest.duplicates


def test_of_two_items_with_one_id_the_one_updated_last_is_kept() -> None:
    old = make_item("i", "2024-01-05T00:00:00Z", updated="2024-01-06T00:00:00Z", v=1)
    new = make_item("i", "2024-01-25T00:00:00Z", updated="2024-01-26T00:00:00Z", v=2)
    for items in ([old, new], [new, old]):
        with serve(app_with(items)) as url, IngestModule(StacApiSource(url, "c", page_size=1)) as ingest:
            ingest.fetch(Window(JANUARY.start, JANUARY.end))
            (entry,) = list(ingest)
            assert loads(entry[1])["properties"]["v"] == 2
            assert ingest.duplicates >= 1


def test_a_limit_stops_early() -> None:
    with serve(app_with(january_items(100))) as url:
        ids, ingest = fetch(url, page_size=10, limit=15)
    assert 15 <= len(ids) <= 20
    assert ingest.received == 20


def test_the_probe_changes_exactly_when_the_window_does() -> None:
    items = january_items(20)
    app = create_app([make_collection()], items)
    with serve(app) as url:
        source = StacApiSource(url, "c")
        first, again = asyncio.run(source.probe(JANUARY)), asyncio.run(source.probe(JANUARY))
        items.append(make_item("new", "2024-01-20T00:00:00Z"))
        added = asyncio.run(source.probe(JANUARY))
        items[2]["properties"]["updated"] = "2024-03-01T00:00:00Z"
        changed = asyncio.run(source.probe(JANUARY))
    assert first == again
    assert first.matched == 20
    assert len({first.fingerprint, added.fingerprint, changed.fingerprint}) == 3


@pytest.mark.parametrize(
    ("change", "match"), [(only("/core"), "neither item-search nor features"), (only("x"), "core")]
)
def test_an_api_that_cannot_be_asked_for_items_is_refused(change: Change, match: str) -> None:
    with serve(app_with([], change)) as url, pytest.raises(SourceError, match=match):
        fetch(url)


def test_what_is_no_stac_api_is_refused_in_one_line() -> None:
    async def html(request: web.Request) -> web.Response:
        return web.Response(text="<html>welcome</html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", html)
    with serve(app) as url, pytest.raises(SourceError) as caught:
        fetch(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("document", [{}, {"type": "FeatureCollection", "features": []}, [], None, 7])
def test_a_landing_page_that_is_none_is_refused_in_one_line(document: Any) -> None:
    async def landing(request: web.Request) -> web.Response:
        return web.json_response(document)

    app = web.Application()
    app.router.add_get("/", landing)
    with serve(app) as url, pytest.raises(SourceError) as caught:
        fetch(url)
    assert "\n" not in str(caught.value)


def test_an_honest_source_is_read_without_an_unproven_slice() -> None:
    with serve(app_with(january_items(4000))) as url, IngestModule(StacApiSource(url, "c", page_size=50)) as ingest:
        facts = ingest.fetch(JANUARY)
        assert len(ingest.items) == 4000
    assert facts.splits == 0
    assert facts.requests <= 4000 / 50 * 1.3
