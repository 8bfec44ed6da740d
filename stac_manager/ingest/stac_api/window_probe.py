"""A cheap check of a window: whether it changed, and when it last changed."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from stac_manager.errors import SourceError
from stac_manager.ingest.protocol import Page, Probe
from stac_manager.ingest.stac_api.paging import ApiPage
from stac_manager.ingest.stac_api.search_requests import Order, SearchRequests
from stac_manager.ingest.stac_api.window_scan import FetchPage
from stac_manager.times import Window, utc_now

__all__ = ["newest_update", "probe_window"]

_WHOLE_ITEMS = 100
"""Items of the probed page, if they are complete; it bounds the size of the answer."""

_MINIMAL_ITEMS = 500
"""Items of the probed page, if they have only the minimal fields; a longer page detects more changes."""

_MINIMAL_ATTEMPTS = 2
"""If this request fails, the page of whole items is requested instead, with all the tries of the settings."""


async def probe_window(fetch: FetchPage, search_requests: SearchRequests, window: Window, attempts: int) -> Probe:
    """The server's count, and a hash of the items changed last (if it can sort; else of its first page).

    If all items have `updated`, the hash has that time instead of their content.
    """
    if search_requests.api.search_url is not None and search_requests.api.fields:
        page = await _minimal_page(fetch, search_requests, window)
        if page is not None:
            return _probe(page.matched, [[item.id, item.updated, item.times] for item in page.items])
    page = await fetch(search_requests(window, _WHOLE_ITEMS, order="newest"), attempts)
    return _probe(page.matched, [[item.id, hashlib.sha256(item.line).hexdigest()] for item in page.items])


def _probe(matched: int | None, seen: list[list[Any]]) -> Probe:
    text = json.dumps([matched, sorted(seen, key=json.dumps)], sort_keys=True)
    return Probe(hashlib.sha256(text.encode()).hexdigest()[:16], matched)


async def _minimal_page(fetch: FetchPage, search_requests: SearchRequests, window: Window) -> ApiPage | None:
    """The items changed last, with the minimal fields; None if the request fails, or if any item has no `updated`."""
    try:
        page = await fetch(search_requests(window, _MINIMAL_ITEMS, order="newest", minimal=True), _MINIMAL_ATTEMPTS)
    except SourceError:
        return None
    return page if _all_say(page) else None


def _all_say(page: Page) -> bool:
    return not page.rejected_items and all(item.updated for item in page.items)


async def newest_update(
    fetch: FetchPage, search_requests: SearchRequests, window: Window, attempts: int
) -> datetime | None:
    """The latest `updated` that is not in the future; None if the server does not sort by it.

    A server that ignores the order gives the same page for both orders.
    """
    if search_requests.api.search_url is None or not search_requests.api.sortable:
        return None

    async def page_of(order: Order) -> ApiPage:
        return await fetch(search_requests(window, _WHOLE_ITEMS, order=order, minimal=True), attempts)

    page = await page_of("newest")
    times = _times_of(page)
    if not _falls(times) or not all(item.updated for item in page.items):
        return None
    if page.next is not None and not _rises(times, _times_of(await page_of("oldest"))):
        return None
    now = utc_now()
    return max((time for time in times if time <= now), default=None)


def _times_of(page: Page) -> list[datetime]:
    return [time for item in page.items if (time := item.updated_at()) is not None]


def _falls(times: list[datetime]) -> bool:
    """Whether the times fall; compared by whole seconds, because as texts `00:00:00.5Z` sorts before `00:00:00Z`."""
    seconds = [time.replace(microsecond=0) for time in times]
    return seconds == sorted(seconds, reverse=True)


def _rises(newest_first: list[datetime], oldest_first: list[datetime]) -> bool:
    """Whether the order of the oldest first gave the other end of the same items."""
    if not oldest_first or not _falls(oldest_first[::-1]):
        return False
    return oldest_first[0].replace(microsecond=0) < newest_first[0].replace(microsecond=0)
