"""A STAC API that answers every search after a fixed delay, from lines made beforehand.

python -m benchmarks.server --items 20000 --kind mix --delay 0.2 --port 8990
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from aiohttp import web

from benchmarks.items import COLLECTION, KINDS, START, Lines
from stac_manager.times import format_rfc3339, parse_interval, parse_rfc3339

_CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
]

_UPDATED_AFTER = 9 * 3600
"""Seconds from `datetime` to `updated`, as the items have it."""


class Store:
    """Items as JSON lines, and their times."""

    def __init__(self, lines: Lines, delay: float) -> None:
        self.delay = delay
        self.requests = 0
        self._lines = lines
        self._changed: dict[int, bytes] = {}
        self.times = array("d", (lines.taken(number).timestamp() for number in range(len(lines))))
        self.updates = array("d", (instant + _UPDATED_AFTER for instant in self.times))
        self.ids = {lines.item_id(number): number for number in range(len(lines))}

    def line(self, number: int) -> bytes:
        """An item as it is now."""
        return self._changed.get(number) or self._lines[number]

    def window(self, interval: str | None) -> tuple[int, int]:
        """The first and the last item of a closed interval."""
        if not interval:
            return 0, len(self.times)
        start, end = parse_interval(interval)
        low = bisect_left(self.times, start.timestamp()) if start else 0
        return low, bisect_right(self.times, end.timestamp()) if end else len(self.times)

    def matching(self, query: dict[str, Any]) -> Sequence[int]:
        """The numbers of the items that match a search."""
        low, high = self.window(query.get("datetime"))
        since = query.get("query", {}).get("updated", {}).get("gte")
        found: Sequence[int] = range(low, high)
        if since:
            instant = parse_rfc3339(since).timestamp()
            found = [number for number in found if self.updates[number] >= instant]
        if query.get("ids"):
            wanted = {self.ids[item_id] for item_id in query["ids"] if item_id in self.ids}
            found = [number for number in found if number in wanted]
        if query.get("sortby"):
            falling = query["sortby"][0]["direction"] == "desc"
            found = sorted(found, key=self.updates.__getitem__, reverse=falling)
        return found

    async def change(self, request: web.Request) -> web.Response:
        """Give every `step`-th item of the last `share` a new `updated` and a new version of one asset."""
        count, step = len(self.times), int(request.query["step"])
        newest = max(self.updates) + 3600
        for number in range(int(count * (1 - float(request.query["share"]))), count, step):
            item = orjson.loads(self.line(number))
            self.updates[number] = newest
            item["properties"]["updated"] = format_rfc3339(datetime.fromtimestamp(newest, UTC))
            # every item has an asset with a href: no column appears that the other items do not have
            asset = next(iter(item["assets"].values()))
            asset["href"] += f"{'&' if '?' in asset['href'] else '?'}version={newest:.0f}"
            self._changed[number] = orjson.dumps(item)
        return web.json_response({})

    async def search(self, request: web.Request) -> web.Response:
        """A page, after the delay."""
        self.requests += 1
        await asyncio.sleep(self.delay)
        query: dict[str, Any] = await request.json() if request.method == "POST" else dict(request.query)
        found = self.matching(query)
        limit = int(query.get("limit", 10))
        first = int(query.get("token", 0))
        page = [self.line(number) for number in found[first : first + limit]]
        links = []
        if first + limit < len(found):
            token = str(first + limit)
            link = {"rel": "next", "method": request.method, "type": "application/geo+json"}
            if request.method == "POST":
                links = [{**link, "href": str(request.url), "body": {**query, "token": token}}]
            else:
                links = [{**link, "href": str(request.url.update_query(token=token))}]
        head = b'{"type":"FeatureCollection","numberMatched":%d,"links":%s,"features":['
        body = head % (len(found), orjson.dumps(links)) + b",".join(page) + b"]}"
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
        """The number of searches since the last call."""
        asked, self.requests = self.requests, 0
        return web.json_response({"requests": asked})


@click.command()
@click.option("--items", "count", default=20_000, show_default=True)
@click.option("--kind", type=click.Choice(list(KINDS)), default="sentinel-2", show_default=True)
@click.option("--delay", default=0.2, show_default=True, help="Seconds before each answer.")
@click.option("--days", default=30.0, show_default=True, help="Over how many days the items are spread.")
@click.option("--start", default=f"{START:%Y-%m-%d}", show_default=True, help="The first of these days.")
@click.option("--port", default=8990, show_default=True)
def main(count: int, kind: str, delay: float, days: float, start: str, port: int) -> None:
    """Serve until interrupted."""
    store = Store(Lines(count, days, kind, datetime.fromisoformat(start).replace(tzinfo=UTC)), delay)
    app = web.Application()
    app.add_routes(
        [
            web.get("/", store.landing),
            web.get(f"/collections/{COLLECTION}", store.collection),
            web.get("/search", store.search),
            web.post("/search", store.search),
            web.get("/count", store.count),
            web.get("/change", store.change),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
