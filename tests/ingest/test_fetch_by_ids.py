"""Items found by their ids, by whatever way a source finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.errors import IncompleteError, SourceError
from stac_manager.http import HttpSettings
from stac_manager.ingest import FetchFacts, IngestModule, SearchFilter, StacApiSource
from tests.ingest.test_stac_api import Change, app_with, get_only, january_items, only
from tests.stac_items import make_collection, make_item

Forget = Callable[[dict[str, Any]], None]
features = only("/core", "/ogcapi-features")


def find(url: str, ids: list[str], **options: Any) -> tuple[list[str], IngestModule, FetchFacts]:
    with IngestModule(StacApiSource(url, "c", http=HttpSettings(attempts=1), **options)) as ingest:
        facts = ingest.find(ids)
        return [item_id for item_id, _ in ingest], ingest, facts


def forgetting(items: list[dict[str, Any]], forget: Forget, collections: tuple[str, ...] = ("c",)) -> web.Application:
    """The demo's API, where every search goes without what `forget` takes out of it."""
    app = create_app([make_collection(name) for name in collections], items)

    @web.middleware
    async def spoil(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/search":
            body = await request.json()
            forget(body)
            request._read_bytes = json.dumps(body).encode()
        return await handler(request)

    app.middlewares.append(spoil)
    return app


@pytest.mark.parametrize("change", [None, get_only, features], ids=["POST", "GET", "features"])
def test_items_are_found_by_their_ids_whatever_their_time(change: Change | None) -> None:
    items = [*january_items(20), make_item("old", "1987-01-01T00:00:00Z")]
    with serve(app_with(items, change)) as url:
        found, ingest, _ = find(url, ["i0003", "old", "nope", "i0003", "i0007"])
    assert found == ["i0003", "i0007", "old"]
    assert ingest.received == 3


@pytest.mark.parametrize("change", [None, get_only, features], ids=["POST", "GET", "features"])
def test_ids_that_are_not_there_bring_nothing(change: Change | None) -> None:
    with serve(app_with(january_items(5), change)) as url:
        assert find(url, ["x", "y"])[0] == []
        assert find(url, [])[0] == []
    with serve(app_with([], change)) as url:
        assert find(url, ["x"])[0] == []


@pytest.mark.parametrize("item_id", ["a,b", "a b", "ä/ö?&#", "100%", "a+b"])
@pytest.mark.parametrize("change", [None, get_only, features], ids=["POST", "GET", "features"])
def test_ids_may_hold_any_character(change: Change | None, item_id: str) -> None:
    items = [*january_items(5), make_item(item_id)]
    with serve(app_with(items, change)) as url:
        assert find(url, [item_id, "i0001", "a"])[0] == sorted([item_id, "i0001"])


@pytest.mark.parametrize("page_size", [30, 250])
@pytest.mark.parametrize("change", [None, get_only], ids=["POST", "GET"])
def test_many_ids_are_asked_for_in_batches(change: Change | None, page_size: int) -> None:
    items = january_items(1000)
    wanted = [item["id"] for item in items[::2]] + [f"gone{number}" for number in range(50)]
    with serve(app_with(items, change)) as url:
        found, ingest, facts = find(url, wanted, page_size=page_size)
    assert found == [item["id"] for item in items[::2]]
    assert ingest.received == 500
    assert facts.requests <= 25


def test_items_that_do_not_pass_the_filters_are_not_found() -> None:
    items = january_items(6)
    items[1]["bbox"], items[1]["geometry"]["coordinates"] = [100, 0, 100, 0], [100, 0]
    items[2]["properties"]["cloud"], items[3]["properties"]["cloud"] = 10, 90
    with serve(app_with(items)) as url:
        assert find(url, ["i0000", "i0001"], filter=SearchFilter(bbox=(0, 40, 10, 50)))[0] == ["i0000"]
        assert find(url, ["i0002", "i0003"], filter=SearchFilter(query={"cloud": {"lt": 50}}))[0] == ["i0002"]


@pytest.mark.parametrize(
    "wanted",
    [
        SearchFilter(bbox=(0, 40, 10, 50)),
        SearchFilter(bbox=(170, 40, 10, 50)),
        SearchFilter(intersects={"type": "Polygon", "coordinates": [[[0, 40], [10, 40], [10, 50], [0, 50], [0, 40]]]}),
    ],
)
def test_a_spatial_filter_that_is_ignored_beside_ids_is_applied_to_the_items(wanted: SearchFilter) -> None:
    items = january_items(3)
    items[1]["bbox"], items[1]["geometry"]["coordinates"] = [100, 0, 100, 0], [100, 0]

    def forget(body: dict[str, Any]) -> None:
        body.pop("bbox", None)
        body.pop("intersects", None)

    with serve(forgetting(items, forget)) as url:
        found, ingest, _ = find(url, ["i0000", "i0001"], filter=wanted)
    assert found == ["i0000"]
    assert ingest.outside == 1


def test_an_item_of_another_collection_with_the_same_id_is_left_out() -> None:
    other = {**make_item("i0001"), "collection": "d"}

    def forget(body: dict[str, Any]) -> None:
        if "ids" in body:
            body.pop("collections", None)

    with serve(forgetting([*january_items(3), other], forget, ("c", "d"))) as url:
        found, ingest, _ = find(url, ["i0001"])
    assert found == ["i0001"]
    assert ingest.outside == 1


@pytest.mark.parametrize("answer", ["everything", "nothing"])
def test_a_server_that_ignores_ids_is_asked_for_one_item_after_the_other(answer: str) -> None:
    def forget(body: dict[str, Any]) -> None:
        if "ids" in body:
            body["ids"] = [] if answer == "everything" else ["-"]

    with serve(forgetting(january_items(300), forget)) as url:
        found, _, _ = find(url, ["i0003", "i0299", "gone"])
    assert found == ["i0003", "i0299"]


@pytest.mark.parametrize("change", ["cut", "circle"])
def test_an_item_is_not_missing_where_the_server_has_more_than_it_gave(change: str) -> None:
    def spoil(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        if "features" not in document:
            return document
        if change == "cut":
            return {**document, "features": [], "links": []}
        return {**document, "links": [{"rel": "next", "href": str(request.url), "method": "POST", "merge": True}]}

    with serve(app_with(january_items(5), spoil)) as url, pytest.raises(IncompleteError, match="by their ids"):
        find(url, ["i0000", "i0001", "i0002", "gone"])


def test_what_a_cut_page_leaves_out_is_asked_for_again() -> None:
    def cut(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "features": document["features"][:2], "links": []} if "features" in document else document

    with serve(app_with(january_items(5), cut)) as url:
        assert find(url, ["i0000", "i0001", "i0002", "gone"])[0] == ["i0000", "i0001", "i0002"]


def test_counts_that_ignore_the_query_prove_nothing() -> None:
    def ignore(request: web.Request, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "numberMatched": 5} if "features" in document else document

    with serve(app_with(january_items(5), ignore)) as url:
        assert find(url, ["i0000", "gone"])[0] == ["i0000"]


def test_a_count_from_before_a_deletion_proves_nothing() -> None:
    items = january_items(5)
    counts: dict[str, int] = {}
    app = app_with(items)

    @web.middleware
    async def remember(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        if request.path != "/search":
            return response
        document = json.loads(response.text)
        count = counts.setdefault(await request.text(), document["numberMatched"])
        return web.json_response({**document, "numberMatched": count})

    app.middlewares.append(remember)
    with serve(app) as url:
        assert find(url, ["i0000", "i0001"])[0] == ["i0000", "i0001"]
        del items[0]
        assert find(url, ["i0000", "i0001"])[0] == ["i0001"]


def test_items_are_not_missing_where_the_server_gives_none_by_id() -> None:
    app = app_with(january_items(5), features)

    @web.middleware
    async def hide(request: web.Request, handler: Any) -> web.StreamResponse:
        if "/items/" in request.path:
            raise web.HTTPNotFound
        return await handler(request)

    app.middlewares.append(hide)
    with serve(app) as url, pytest.raises(SourceError, match="though a search finds it"):
        find(url, ["i0000", "gone"])


@pytest.mark.parametrize("change", [None, features], ids=["search", "features"])
def test_a_server_that_fails_is_no_answer(change: Change | None) -> None:
    app = app_with(january_items(5), change)

    @web.middleware
    async def fail(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/search" or "/items" in request.path:
            raise web.HTTPInternalServerError
        return await handler(request)

    app.middlewares.append(fail)
    with serve(app) as url, pytest.raises(SourceError, match="500"):
        find(url, ["i0000", "i0001", "i0002"])


def test_a_batch_that_is_too_much_is_asked_for_in_halves() -> None:
    app = app_with(january_items(40))

    @web.middleware
    async def strain(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/search" and len((await request.json()).get("ids", [])) > 10:
            raise web.HTTPRequestEntityTooLarge(10, 11)
        return await handler(request)

    app.middlewares.append(strain)
    with serve(app) as url:
        assert len(find(url, [f"i{number:04}" for number in range(40)])[0]) == 40


def test_a_found_item_that_is_not_strict_json_is_refused() -> None:
    items = january_items(5)
    items[3]["properties"]["cloud"] = float("nan")
    for change in (None, features):
        with serve(app_with(items, change)) as url:
            found, ingest, _ = find(url, ["i0002", "i0003"])
        assert found == ["i0002"]
        assert ingest.received == 2
