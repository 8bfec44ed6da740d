"""Items from a STAC API, by item-search or by a collection's `items`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from stac_manager.discovery import StacApi, open_api
from stac_manager.errors import UsageError
from stac_manager.http import Credentials, HttpClient, HttpSettings
from stac_manager.ingest.protocol import FetchFacts, PageSink, Probe, Since
from stac_manager.ingest.redaction import redact_in_place
from stac_manager.ingest.stac_api.fetch_by_ids import FetchByIds
from stac_manager.ingest.stac_api.paging import ApiPage, SearchRequest, fetch_page
from stac_manager.ingest.stac_api.search_filter import FilterLanguage, SearchFilter
from stac_manager.ingest.stac_api.search_requests import SearchRequests
from stac_manager.ingest.stac_api.updated_filter import UpdatedFilterDetector, updated_since
from stac_manager.ingest.stac_api.window_probe import newest_update, probe_window
from stac_manager.ingest.stac_api.window_scan import FetchPage, WindowScan
from stac_manager.times import Window

__all__ = ["PAGE_SIZE", "StacApiSource"]

PAGE_SIZE = 250
"""Items a page, if nothing else is configured."""


@dataclass
class StacApiSource:
    """One collection of a STAC API.

    Windows are requested as closed intervals that share their edges. So no item is missed; an item on an edge comes
    twice and is deduplicated later. Signatures and keys are removed from every href and from storage options.
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
        api = open_api(self.catalog_url, self.credentials, self.http)
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
        redact_in_place(found, self._secrets)
        return found

    async def probe(self, window: Window) -> Probe:
        """The server's count and a hash of the items changed last (where it can sort; else of its first page)."""
        async with self._session() as (_, fetch):
            return await probe_window(fetch, self._search_requests(), window, self.http.attempts)

    async def newest(self, window: Window) -> datetime | None:
        """The latest `updated` of the window's items that is not in the future; None if it is not known."""
        async with self._session() as (_, fetch):
            return await newest_update(fetch, self._search_requests(), window, self.http.attempts)

    async def detect_updated_filter(self, window: Window) -> FilterLanguage | Literal["no"] | None:
        """The language in which the API filters by `updated`; see `updated_filter` for the test."""
        async with self._session() as (_, fetch):
            return await UpdatedFilterDetector(
                fetch, self._search_requests, self.filter, window, self.http.attempts
            ).language()

    async def fetch(
        self, window: Window | None, sink: PageSink, limit: int | None = None, *, since: Since | None = None
    ) -> FetchFacts:
        """Pass every item of the window to `sink`; see `window_scan` for the proof of completeness."""
        wanted = self.filter.since(since) if since else self.filter
        plain = self._search_requests(SearchFilter()) if wanted.body() else None
        take = updated_since(since, sink, self.host) if since else sink
        async with self._session() as (client, fetch):
            window_scan = WindowScan(client, self._search_requests(wanted), plain, fetch, take, self.collection_id)
            return await window_scan.run(window, self.page_size, limit)

    async def find(self, ids: Sequence[str], sink: PageSink) -> FetchFacts:
        """Pass the items with these ids to `sink`; see `fetch_by_ids`."""
        async with self._session() as (client, fetch):
            return await FetchByIds(client, fetch, self._search_requests(), sink, self.page_size, self._secrets).run(
                ids
            )

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[HttpClient, FetchPage]]:
        # in a thread, because it waits for the host's limiter, whose slots requests of this loop may hold
        await asyncio.to_thread(lambda: self.api)
        async with HttpClient(self.http, self.credentials, self.catalog_url) as client:

            async def fetch(request: SearchRequest, attempts: int) -> ApiPage:
                return await fetch_page(client, request, attempts=attempts, secrets=self._secrets)

            yield client, fetch

    @property
    def _secrets(self) -> frozenset[str]:
        return frozenset(name.lower() for name in self.credentials.params()) if self.credentials else frozenset()

    def _search_requests(self, wanted: SearchFilter | None = None) -> SearchRequests:
        return SearchRequests(self.api, self.collection_id, self.filter if wanted is None else wanted)
