"""Items from a STAC API, by item-search or by a collection's `items`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from stac_manager.discovery import StacApi, open_api
from stac_manager.errors import IncompleteError, UsageError
from stac_manager.http import HttpClient, HttpSettings
from stac_manager.ingest.paging import ApiPage, Query, fetch_page, pages
from stac_manager.ingest.source import FetchFacts, PageSink, Probe
from stac_manager.items import content_hash
from stac_manager.times import Window

__all__ = ["SearchFilter", "StacApiSource"]

PAGE_SIZE = 250
_PROBE_SIZE = 100
_LONGEST_CUT = timedelta(days=366 * 50)


@dataclass(frozen=True)
class SearchFilter:
    """What a search asks for beside collection and time, in the terms of STAC API Item Search."""

    bbox: tuple[float, ...] | None = None
    intersects: Mapping[str, Any] | None = None
    """A GeoJSON geometry."""
    cql2: Mapping[str, Any] | None = None
    """CQL2 JSON (STAC API, Filter extension)."""
    query: Mapping[str, Any] | None = None
    """STAC API, Query extension."""

    def body(self) -> dict[str, Any]:
        """The members of a POST body."""
        members = {"bbox": self.bbox, "intersects": self.intersects, "query": self.query, "filter": self.cql2}
        body: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
        return {**body, "filter-lang": "cql2-json"} if self.cql2 is not None else body

    def params(self) -> dict[str, str]:
        """The parameters of a GET request."""
        params = {
            name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for name, value in self.body().items()
        }
        return {**params, "bbox": ",".join(f"{number:.12g}" for number in self.bbox)} if self.bbox else params


@dataclass
class StacApiSource:
    """One collection of a STAC API.

    Windows are asked for as closed intervals whose edges they share, so an item on an edge comes twice and none is
    missed; the receiver drops what it already has.
    """

    catalog_url: str
    collection_id: str
    filter: SearchFilter = field(default_factory=SearchFilter)
    http: HttpSettings = field(default_factory=HttpSettings)
    page_size: int = PAGE_SIZE

    @cached_property
    def api(self) -> StacApi:
        """The opened API."""
        return open_api(self.catalog_url)

    @property
    def host(self) -> str:
        """The host (and port) that answers."""
        return urlsplit(self.catalog_url).netloc.rpartition("@")[2]

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the API serves it."""
        return self.api.collection(self.collection_id)

    async def probe(self, window: Window) -> Probe:
        """The server's count and a hash of the items changed last (where it can sort; else of its first page)."""
        async with HttpClient(self.http) as client:
            return _probe_of(await fetch_page(client, self._query(window.interval, _PROBE_SIZE, newest_first=True)))

    async def fetch(self, window: Window | None, sink: PageSink, limit: int | None = None) -> FetchFacts:
        """Hand every item of the window to `sink`, its time slices fetched at once."""
        async with HttpClient(self.http) as client:
            intervals = await self._slices(client, window, limit)
            facts = FetchFacts(slices=len(intervals))
            try:
                async with asyncio.TaskGroup() as group:
                    for interval in intervals:
                        group.create_task(self._fetch_slice(client, interval, sink, facts, limit))
            except ExceptionGroup as failures:
                raise _first(failures) from None
            facts.requests, facts.retries = client.stats.requests, client.stats.retries
            facts.received_bytes = client.stats.received_bytes
        facts.matched = sum(facts.claims.values()) if len(facts.claims) == len(intervals) else None
        return facts

    async def _slices(self, client: HttpClient, window: Window | None, limit: int | None) -> list[str | None]:
        if window is None or limit is not None or window.end - window.start > _LONGEST_CUT:
            return [window.interval if window else None]
        count = await fetch_page(client, self._query(window.interval, 1))
        parts = self.http.concurrency
        if count.matched is not None:
            parts = max(1, min(parts, -(-count.matched // self.page_size)))
        return [part.interval for part in window.split(parts)]

    async def _fetch_slice(
        self, client: HttpClient, interval: str | None, sink: PageSink, facts: FetchFacts, limit: int | None
    ) -> None:
        received: set[str] = set()
        refused = 0
        async for page in pages(client, self._query(interval, min(self.page_size, limit or self.page_size))):
            if page.matched is not None:
                facts.claims.setdefault(interval or "..", page.matched)
            facts.pages += 1
            received.update(item["id"] for item in page.items)
            refused += len(page.refusals)
            sink(page)
            if limit is not None and len(received) >= limit:
                return
        claimed = facts.claims.get(interval or "..", 0)
        if len(received) + refused < claimed:
            raise IncompleteError(
                f"{self.collection_id}, {interval or 'all times'}: {self.host} says it has {claimed} items, "
                f"but its pages brought {len(received) + refused}; nothing was taken over"
            )

    def _query(self, interval: str | None, limit: int, *, newest_first: bool = False) -> Query:
        api = self.api
        if api.search_url is None:
            return Query("GET", api.items_url(self.collection_id), self._params({}, interval, limit))
        if "POST" in api.search_methods:
            body = {"collections": [self.collection_id], "limit": limit, **self.filter.body()}
            if interval is not None:
                body["datetime"] = interval
            if newest_first and api.sortable:
                body["sortby"] = [{"field": "properties.updated", "direction": "desc"}]
            return Query("POST", api.search_url, body=body)
        params = self._params({"collections": self.collection_id}, interval, limit)
        if newest_first and api.sortable:
            params["sortby"] = "-properties.updated"
        return Query("GET", api.search_url, params)

    def _params(self, place: dict[str, str], interval: str | None, limit: int) -> dict[str, str]:
        wanted = self.filter
        if not self.api.search_url and any((wanted.intersects, wanted.cql2, wanted.query)):
            raise UsageError(f"{self.host} has no item-search, so items can be filtered by time and bbox only")
        time = {} if interval is None else {"datetime": interval}
        return {**place, **time, "limit": str(limit), **wanted.params()}


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def _probe_of(page: ApiPage) -> Probe:
    seen = [page.matched, sorted((item["id"], content_hash(item)) for item in page.items)]
    return Probe(hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16], page.matched)
