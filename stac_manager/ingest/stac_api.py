"""Items from a STAC API, by item-search or by a collection's `items`."""

from __future__ import annotations

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
from stac_manager.ingest.filters import SearchFilter
from stac_manager.ingest.hygiene import without_secrets
from stac_manager.ingest.look import look, newest_update
from stac_manager.ingest.lookup import Lookup
from stac_manager.ingest.paging import ApiPage, Query, fetch_page
from stac_manager.ingest.queries import Queries
from stac_manager.ingest.scan import Ask, Scan
from stac_manager.ingest.source import FetchFacts, Language, PageSink, Probe, Since
from stac_manager.ingest.updates import Hearing, only_since
from stac_manager.times import Window

__all__ = ["PAGE_SIZE", "StacApiSource"]

PAGE_SIZE = 250
"""Items a page to ask for, where nothing else is said."""


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
        without_secrets(found, self._secrets)
        return found

    async def probe(self, window: Window) -> Probe:
        """The server's count and a hash of the items changed last (where it can sort; else of its first page)."""
        async with self._asking() as (_, ask):
            return await look(ask, self._queries(), window, self.http.attempts)

    async def newest(self, window: Window) -> datetime | None:
        """The latest `updated` of the window's items that is not in the future; None where it cannot be told."""
        async with self._asking() as (_, ask):
            return await newest_update(ask, self._queries(), window, self.http.attempts)

    async def hears_updated(self, window: Window) -> Language | Literal["no"] | None:
        """Which language the API filters `updated` by; see `stac_manager.ingest.updates` for how it is proven."""
        async with self._asking() as (_, ask):
            return await Hearing(ask, self._queries, self.filter, window, self.http.attempts).language()

    async def fetch(
        self, window: Window | None, sink: PageSink, limit: int | None = None, *, since: Since | None = None
    ) -> FetchFacts:
        """Hand every item of the window to `sink`; see `stac_manager.ingest.scan` for how and what is proven."""
        wanted = self.filter.since(since) if since else self.filter
        plain = self._queries(SearchFilter()) if wanted.body() else None
        take = only_since(since, sink, self.host) if since else sink
        async with self._asking() as (client, ask):
            scan = Scan(client, self._queries(wanted), plain, ask, take, self.collection_id)
            return await scan.run(window, self.page_size, limit)

    async def find(self, ids: Sequence[str], sink: PageSink) -> FetchFacts:
        """Hand the items with these ids to `sink`; see `stac_manager.ingest.lookup` for how."""
        async with self._asking() as (client, ask):
            return await Lookup(client, ask, self._queries(), sink, self.page_size, self._secrets).run(ids)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[tuple[HttpClient, Ask]]:
        async with HttpClient(self.http, self.credentials, self.catalog_url) as client:

            async def ask(query: Query, attempts: int) -> ApiPage:
                return await fetch_page(client, query, attempts=attempts, secrets=self._secrets)

            yield client, ask

    @property
    def _secrets(self) -> frozenset[str]:
        return frozenset(name.lower() for name in self.credentials.params()) if self.credentials else frozenset()

    def _queries(self, wanted: SearchFilter | None = None) -> Queries:
        return Queries(self.api, self.collection_id, self.filter if wanted is None else wanted)
