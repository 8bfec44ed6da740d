"""A STAC API that answers every search after a fixed delay, from bytes made beforehand.

python -m benchmarks.server --items 20000 --delay 0.2 --port 8990
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from typing import Any

import click
import orjson
from aiohttp import web

from benchmarks.items import COLLECTION, make_items
from stac_manager.times import parse_interval, parse_rfc3339

_CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
]


class Store:
    """Items as JSON, and their times."""

    def __init__(self, count: int, delay: float) -> None:
        self.delay = delay
        self.requests = 0
        self.lines: list[bytes] = []
        self.times: list[float] = []
        for item in make_items(count):
            self.times.append(parse_rfc3339(item["properties"]["datetime"]).timestamp())
            self.lines.append(orjson.dumps(item))

    def window(self, interval: str | None) -> tuple[int, int]:
        """The first and the last item of a closed interval."""
        if not interval:
            return 0, len(self.lines)
        start, end = parse_interval(interval)
        low = bisect_left(self.times, start.timestamp()) if start else 0
        return low, bisect_right(self.times, end.timestamp()) if end else len(self.lines)

    async def search(self, request: web.Request) -> web.Response:
        """A page, after the delay."""
        self.requests += 1
        await asyncio.sleep(self.delay)
        query: dict[str, Any] = await request.json() if request.method == "POST" else dict(request.query)
        low, high = self.window(query.get("datetime"))
        limit = int(query.get("limit", 10))
        first = low + int(query.get("token", 0))
        page = self.lines[first : min(first + limit, high)]
        links = []
        if first + limit < high:
            token = str(first + limit - low)
            link = {"rel": "next", "method": request.method, "type": "application/geo+json"}
            if request.method == "POST":
                links = [{**link, "href": str(request.url), "body": {**query, "token": token}}]
            else:
                links = [{**link, "href": str(request.url.update_query(token=token))}]
        head = b'{"type":"FeatureCollection","numberMatched":%d,"links":%s,"features":['
        body = head % (high - low, orjson.dumps(links)) + b",".join(page) + b"]}"
        return web.Response(body=body, content_type="application/geo+json")

    async def landing(self, request: web.Request) -> web.Response:
        """The landing page."""
        root = str(request.url.origin())
        links = [
            {"rel": "self", "href": f"{root}/"},
            {"rel": "root", "href": f"{root}/"},
            {"rel": "data", "href": f"{root}/collections"},
            {"rel": "search", "href": f"{root}/search", "method": "GET", "type": "application/geo+json"},
            {"rel": "search", "href": f"{root}/search", "method": "POST", "type": "application/geo+json"},
        ]
        document = {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "bench",
            "description": "Made up.",
            "links": links,
        }
        return web.json_response({**document, "conformsTo": _CONFORMANCE})

    async def collection(self, request: web.Request) -> web.Response:
        """The collection."""
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        document = {"type": "Collection", "stac_version": "1.0.0", "id": COLLECTION, "description": "Made up."}
        return web.json_response({**document, "license": "other", "extent": extent, "links": []})

    async def count(self, request: web.Request) -> web.Response:
        """How many searches there were since the last time this was asked."""
        asked, self.requests = self.requests, 0
        return web.json_response({"requests": asked})


@click.command()
@click.option("--items", "count", default=20_000, show_default=True)
@click.option("--delay", default=0.2, show_default=True, help="Seconds before each answer.")
@click.option("--port", default=8990, show_default=True)
def main(count: int, delay: float, port: int) -> None:
    """Serve until interrupted."""
    store = Store(count, delay)
    app = web.Application()
    app.add_routes(
        [
            web.get("/", store.landing),
            web.get(f"/collections/{COLLECTION}", store.collection),
            web.get("/search", store.search),
            web.post("/search", store.search),
            web.get("/count", store.count),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
