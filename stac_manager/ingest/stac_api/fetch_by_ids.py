"""Fetch items of a STAC API by their ids, in batches; one by one if the server ignores `ids`.

Callers delete items that are not found, so it must be certain that the source does not have them. So a batch fails if
it gives fewer items than the server counts, or if its pages do not end. If a server finds no item at all, it is tested
with the id of an existing item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from stac_manager.errors import IncompleteError, SourceError
from stac_manager.http import HttpClient, HttpStatusError, TooMuchError, public_url
from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.ingest.protocol import FetchFacts, Page, PageSink
from stac_manager.ingest.stac_api.page_parser import parse_page
from stac_manager.ingest.stac_api.paging import ApiPage, EndlessPagesError, follow_pages
from stac_manager.ingest.stac_api.search_requests import SearchRequests
from stac_manager.ingest.stac_api.spatial_filter import lies_outside
from stac_manager.ingest.stac_api.temporal_filter import LONG_AGO
from stac_manager.ingest.stac_api.window_scan import FetchPage
from stac_manager.quarantine import RejectedItem

__all__ = ["FetchByIds"]

_BATCH = 100
"""Ids a request; it bounds how much a failed request must repeat."""

_LONGEST_LIST = 2000
"""Characters of ids in one URL; servers reject URLs of 8 kB."""


@dataclass
class _Batch:
    ids: list[str]
    limit: int
    found: set[str] = field(default_factory=set)
    received: int = 0

    @property
    def missing(self) -> list[str]:
        return [item_id for item_id in self.ids if item_id not in self.found]


class FetchByIds:
    """One search for items by their ids.

    Args:
        client: sends the requests.
        fetch: fetches a page.
        search_requests: builds the requests, with the workflow's filters.
        sink: called with the pages of found items.
        page_size: the greatest number of items a page.
        secrets: query parameters, in lower case, to remove from every href.
    """

    def __init__(
        self,
        client: HttpClient,
        fetch: FetchPage,
        search_requests: SearchRequests,
        sink: PageSink,
        page_size: int,
        secrets: frozenset[str],
    ) -> None:
        self._client = client
        self._fetch_page = fetch
        self._search_requests = search_requests
        self._sink = sink
        self._page_size = page_size
        self._secrets = secrets
        self._attempts = client.settings.attempts
        self._under_way = asyncio.Semaphore(2 * client.settings.concurrency)
        self._found: set[str] = set()
        self._honours_ids = search_requests.api.search_url is not None
        self._facts = FetchFacts()

    async def run(self, ids: Sequence[str]) -> FetchFacts:
        """Pass the items that the server has to the sink.

        Raises:
            SourceError: the server failed.
            IncompleteError: the server has more of these items than it sent.
        """
        wanted = list(dict.fromkeys(ids))
        if self._honours_ids:
            alone = [] if self._search_requests.separates_ids else [item_id for item_id in wanted if "," in item_id]
            listed = [item_id for item_id in wanted if item_id not in set(alone)]
            await self._together([self._batch(batch) for batch in _batches(listed)])
            if listed and not self._found and self._honours_ids:
                self._honours_ids = await self._finds_known_item()
        if not self._honours_ids:
            alone = [item_id for item_id in wanted if item_id not in self._found]
        await self._one_by_one(alone)
        stats, facts = self._client.stats, self._facts
        facts.requests, facts.retries, facts.received_bytes = stats.requests, stats.retries, stats.received_bytes
        return facts

    async def _together(self, tasks: Sequence[Coroutine[Any, Any, None]]) -> None:
        async def in_turn(task: Coroutine[Any, Any, None]) -> None:
            async with self._under_way:
                await task

        try:
            async with asyncio.TaskGroup() as group:
                for task in tasks:
                    group.create_task(in_turn(task))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _batch(self, ids: list[str]) -> None:
        if not self._honours_ids:
            return
        batch = _Batch(ids, min(self._page_size, len(ids)))
        try:
            last = await self._read(batch)
        except TooMuchError:
            if len(ids) == 1:
                raise
            half = len(ids) // 2
            await self._batch(ids[:half])
            await self._batch(ids[half:])
            return
        if batch.missing and self._honours_ids:
            await self._require_last_page(batch, last)

    async def _read(self, batch: _Batch) -> ApiPage:
        """Pass all pages of a batch to the sink; returns the last one."""
        attempts = self._attempts if len(batch.ids) == 1 else min(2, self._attempts)
        first = self._search_requests(None, batch.limit, ids=batch.ids)
        try:
            async with aclosing(follow_pages(first, lambda request: self._fetch_page(request, attempts))) as pages:
                async for page in pages:
                    new = self._accept_page(batch, page)
                    if page.next is None or not self._honours_ids:
                        return page
                    if page.received and not new:
                        raise self._incomplete("the `next` links do not end")
        except EndlessPagesError as error:
            raise self._incomplete(str(error)) from None
        raise AssertionError("the last page has no `next`")

    def _accept_page(self, batch: _Batch, page: ApiPage) -> int:
        """Pass a page to the sink; returns how many ids were new in this batch."""
        before = len(batch.found)
        wanted = set(batch.ids)
        batch.received += page.received
        batch.found |= wanted & {item.id for item in page.items}
        batch.found |= wanted & {str(rejection.item_id) for rejection in page.rejected_items}
        if not {item.id for item in page.items} <= wanted:
            self._honours_ids = False
        self._pass_on(wanted, page)
        return len(batch.found) - before

    def _pass_on(self, wanted: set[str], page: Page) -> None:
        kept = [item for item in page.items if item.id in wanted and self._is_own(item)]
        rejected = [rejection for rejection in page.rejected_items if _may_be(rejection, wanted)]
        self._found |= {item.id for item in kept} | {str(rejection.item_id) for rejection in rejected}
        self._facts.pages += 1
        self._sink(Page(kept, rejected, page.received - len(kept) - len(rejected)), None)

    def _is_own(self, item: FetchedItem) -> bool:
        if item.collection not in (self._search_requests.collection, None):
            return False
        return not lies_outside(item, self._search_requests.filter)

    async def _require_last_page(self, batch: _Batch, last: ApiPage) -> None:
        if last.matched is None and last.received >= batch.limit:
            raise self._incomplete("the last page is full, and has no `next`")
        if last.matched is None or last.matched <= batch.received:
            return
        # pgstac caches the count of a search for a day; an unknown id makes it a different search
        unknown_id = uuid4().hex
        again = _Batch([*batch.missing, unknown_id], batch.limit)
        last = await self._read(again)
        if last.matched is None or last.matched <= again.received:
            return
        nothing = await self._fetch_page(self._search_requests(LONG_AGO, 1, ids=[unknown_id]), self._attempts)
        if not nothing.matched:
            raise self._incomplete(f"the server counts {last.matched} items, but sent {again.received}")

    def _incomplete(self, reason: str) -> IncompleteError:
        return IncompleteError(f"{self._search_requests.collection}, items by their ids: {reason}; nothing was stored")

    async def _finds_known_item(self) -> bool:
        known = await self._fetch_page(self._search_requests(None, 1), self._attempts)
        if not known.items:
            return True
        item_id = known.items[0].id
        again = await self._fetch_page(self._search_requests(None, 1, ids=[item_id]), self._attempts)
        return any(item.id == item_id for item in again.items)

    async def _one_by_one(self, ids: Sequence[str]) -> None:
        found = len(self._found)
        await self._together([self._one(item_id) for item_id in ids])
        if not ids or len(self._found) > found:
            return
        known = await self._fetch_page(self._search_requests(None, 1), self._attempts)
        if known.items and await self._single(known.items[0].id) is None:
            place = public_url(self._search_requests.item(known.items[0].id).url)
            raise SourceError(f"GET {place}: not found, though a search finds it; so no item can be proven missing")

    async def _one(self, item_id: str) -> None:
        page = await self._single(item_id)
        if page is not None:
            self._pass_on({item_id}, page)

    async def _single(self, item_id: str) -> Page | None:
        """A page with this one item; None if there is no such item."""

        def parse(body: bytes) -> Page:
            _, items, rejected_items = parse_page(b'{"features":[%s]}' % body, self._secrets)
            return Page(items, rejected_items)

        request = self._search_requests.item(item_id)
        try:
            return await self._client.request(request.method, request.url, parse)
        except HttpStatusError as error:
            if error.status in (404, 410):
                return None
            raise


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    length = 0
    for item_id in ids:
        if batch and (len(batch) == _BATCH or length + len(item_id) > _LONGEST_LIST):
            yield batch
            batch, length = [], 0
        batch.append(item_id)
        length += len(item_id) + 1
    if batch:
        yield batch


def _may_be(rejection: RejectedItem, wanted: set[str]) -> bool:
    return rejection.item_id is None or rejection.item_id in wanted
