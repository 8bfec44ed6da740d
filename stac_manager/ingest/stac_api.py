"""Items from a STAC API, by item-search or by a collection's `items`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from stac_manager.discovery import StacApi, open_api
from stac_manager.errors import UsageError
from stac_manager.http import Credentials, HttpClient, HttpSettings
from stac_manager.ingest.hygiene import without_secrets
from stac_manager.ingest.paging import ApiPage, Query, fetch_page
from stac_manager.ingest.scan import Scan
from stac_manager.ingest.source import FetchFacts, PageSink, Probe
from stac_manager.times import Window

__all__ = ["PAGE_SIZE", "SearchFilter", "StacApiSource"]

PAGE_SIZE = 250
"""Items a page to ask for, where nothing else is said."""

_PROBE_SIZE = 100


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
    missed; the receiver drops what it already has. Signatures and keys are taken out of every href.
    """

    catalog_url: str
    collection_id: str
    filter: SearchFilter = field(default_factory=SearchFilter)
    http: HttpSettings = field(default_factory=HttpSettings)
    page_size: int = PAGE_SIZE
    credentials: Credentials | None = field(default=None, repr=False)
    """Sent to the origin of `catalog_url` only."""

    @cached_property
    def api(self) -> StacApi:
        """The opened API.

        Raises:
            SourceError: it cannot be opened.
            UsageError: it would ignore a filter.
        """
        api = open_api(self.catalog_url, self.credentials)
        for name, value in (("query", self.filter.query), ("cql2", self.filter.cql2)):
            if value is not None and name not in api.filters:
                raise UsageError(f"{self.host} does not declare the {name} filter, so it would ignore it")
        return api

    @property
    def host(self) -> str:
        """The host (and port) that answers."""
        return urlsplit(self.catalog_url).netloc.rpartition("@")[2]

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the API serves it."""
        found = self.api.collection(self.collection_id)
        without_secrets(found, self._secrets)
        return found

    async def probe(self, window: Window) -> Probe:
        """The server's count and a hash of the items changed last (where it can sort; else of its first page)."""
        async with self._client() as client:
            query = self._query(window, _PROBE_SIZE, newest_first=True)
            return _probe_of(await fetch_page(client, query, secrets=self._secrets))

    async def fetch(self, window: Window | None, sink: PageSink, limit: int | None = None) -> FetchFacts:
        """Hand every item of the window to `sink`; see `stac_manager.ingest.scan` for how and what is proven."""
        async with self._client() as client:

            async def ask(query: Query, attempts: int) -> ApiPage:
                return await fetch_page(client, query, attempts=attempts, secrets=self._secrets)

            plain = partial(self._query, plain=True) if self.filter.body() else None
            scan = Scan(client, self._query, plain, ask, sink, self.collection_id)
            return await scan.run(window, self.page_size, limit)

    def _client(self) -> HttpClient:
        return HttpClient(self.http, self.credentials, self.catalog_url)

    @property
    def _secrets(self) -> frozenset[str]:
        return frozenset(name.lower() for name in self.credentials.params()) if self.credentials else frozenset()

    def _query(self, window: Window | None, limit: int, *, newest_first: bool = False, plain: bool = False) -> Query:
        wanted = SearchFilter() if plain else self.filter
        api, interval = self.api, window.interval if window else None
        time = {} if interval is None else {"datetime": interval}
        if api.search_url is None:
            return Query("GET", api.items_url(self.collection_id), self._params(wanted, time, limit))
        newest_first = newest_first and api.sortable
        if "POST" in api.search_methods:
            body = {"collections": [self.collection_id], **time, "limit": limit, **wanted.body()}
            if newest_first:
                body["sortby"] = [{"field": "properties.updated", "direction": "desc"}]
            return Query("POST", api.search_url, body=body)
        params = self._params(wanted, {"collections": self.collection_id, **time}, limit)
        return Query("GET", api.search_url, {**params, "sortby": "-properties.updated"} if newest_first else params)

    def _params(self, wanted: SearchFilter, start: dict[str, str], limit: int) -> dict[str, str]:
        if not self.api.search_url and any((wanted.intersects, wanted.cql2, wanted.query)):
            raise UsageError(f"{self.host} has no item-search, so items can be filtered by time and bbox only")
        return {**start, "limit": str(limit), **wanted.params()}


def _probe_of(page: ApiPage) -> Probe:
    seen = [page.matched, sorted((item.id, hashlib.sha256(item.line).hexdigest()) for item in page.items)]
    return Probe(hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16], page.matched)
