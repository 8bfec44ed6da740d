"""A cheap look at a window of the demo's API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.ingest import IngestModule, Probe, StacApiSource
from stac_manager.items import loads
from tests.ingest.test_stac_api import JANUARY, Change, app_with, get_only, only
from tests.ingest.test_updated_filter import app_without, declaring, updated_items
from tests.stac_items import make_collection, make_item

WITH_FIELDS = only("/core", "/item-search", "#sort", "#fields")


def counting(app: web.Application) -> list[int]:
    """The sizes of the pages that a server sends."""
    sizes: list[int] = []

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        if request.path == "/search":
            sizes.append(len(response.body))
        return response

    app.middlewares.append(count)
    return sizes


def planner(url: str) -> Probe:
    return asyncio.run(StacApiSource(url, "c").probe(JANUARY))


@pytest.mark.parametrize("change", [None, get_only], ids=["POST", "GET"])
def test_a_probe_is_one_request_that_brings_little_of_many_items(change: Change | None) -> None:
    items = updated_items(600)
    for item in items:
        item["properties"]["words"] = "x" * 2000
    app = app_with(items, change)
    sizes = counting(app)
    with serve(app) as url:
        first = planner(url)
        items[300]["properties"]["updated"] = "2024-02-29T00:00:00Z"
        assert planner(url) != first
    assert first.matched == 600
    assert len(sizes) == 2
    assert sizes[0] < 500 * 200


@pytest.mark.parametrize("name", ["updated", "datetime", "end_datetime"])
def test_a_probe_sees_each_time_of_an_item(name: str) -> None:
    items = updated_items(20)
    with serve(app_with(items)) as url:
        first, again = planner(url), planner(url)
        items[7]["properties"] |= {"start_datetime": "2024-01-05T00:00:00Z", name: "2024-01-06T00:00:00Z"}
        assert planner(url) != first
    assert first == again


def test_where_items_do_not_say_when_they_were_updated_a_probe_hashes_their_content() -> None:
    items = updated_items(20)
    del items[5]["properties"]["updated"]
    app = app_with(items)
    sizes = counting(app)
    with serve(app) as url:
        first = planner(url)
        assert len(sizes) == 2
        items[5]["properties"]["cloud"] = 7
        assert planner(url) != first


@pytest.mark.parametrize("answer", ["whole items", "no properties", "error"])
def test_a_source_that_only_declares_fields_is_probed_all_the_same(answer: str) -> None:
    items = updated_items(20)
    app = app_without(items, ("sort", "query"), declaring("fields"))

    @web.middleware
    async def spoil(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/search" or "fields" not in await request.json() or answer == "whole items":
            return await handler(request)
        if answer == "error":
            raise web.HTTPBadRequest
        document = json.loads((await handler(request)).text)
        return web.json_response({**document, "features": [{"id": item["id"]} for item in document["features"]]})

    app.middlewares.append(spoil)
    with serve(app) as url:
        first = planner(url)
        items.append(make_item("new", "2024-01-20T00:00:00Z", updated="2024-05-01T00:00:00Z"))
        assert planner(url) != first
    assert first.matched == 20


def test_fetched_items_are_complete_where_probes_ask_for_few_members() -> None:
    items = updated_items(5)
    with serve(create_app([make_collection()], items)) as url, IngestModule(StacApiSource(url, "c")) as ingest:
        ingest.fetch(JANUARY)
        assert all("assets" in loads(line) for _, line in ingest)
