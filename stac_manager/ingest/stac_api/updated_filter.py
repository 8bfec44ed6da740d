"""Detect whether a STAC API filters items by `updated`: test the filter against known items.

The test needs one page of a window on which all items have `updated`. A filter language is accepted if it finds nothing
after the far future and everything after the far past, and if it finds known items for their own second but not for a
later one. A server that does not know that `updated` is a time (pgstac) compares texts, so the known items include
different spellings of the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from stac_manager.errors import FilterIgnoredError, SourceError
from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.ingest.protocol import Page, PageSink, Since
from stac_manager.ingest.stac_api.paging import ApiPage, SearchRequest
from stac_manager.ingest.stac_api.search_filter import FilterLanguage, SearchFilter, asked_instant
from stac_manager.ingest.stac_api.search_requests import SearchRequests
from stac_manager.ingest.stac_api.temporal_filter import uncached_window
from stac_manager.ingest.stac_api.window_scan import FetchPage
from stac_manager.items import loads
from stac_manager.times import Window, format_rfc3339

__all__ = ["UpdatedFilterDetector", "updated_since"]

_FAR_PAST = datetime(1900, 1, 1, tzinfo=UTC)
_FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_PAGE = 20
"""Items of the page to test with; it bounds the size of the answers."""

_KNOWN = 3
"""Items to test one by one; each needs two requests a language."""

_ATTEMPTS = 2
"""An unsupported language may give status 500; another request then shows whether the server works at all."""

_DIGITS = re.compile(r"\d")


class _FilterUnsupportedError(Exception):
    """The API does not support a language."""


class UpdatedFilterDetector:
    """Detects in which language an API honours a filter on `updated`.

    Args:
        fetch: fetches a page.
        search_requests: builds requests with given filters.
        wanted: the workflow's filters.
        window: the window whose items are used for the test.
        attempts: tries before the server counts as failed.
    """

    def __init__(
        self,
        fetch: FetchPage,
        search_requests: Callable[[SearchFilter], SearchRequests],
        wanted: SearchFilter,
        window: Window,
        attempts: int,
    ) -> None:
        self._fetch_page = fetch
        self._search_requests = search_requests
        self._wanted = wanted
        self._window = uncached_window(window)
        self._attempts = attempts

    async def language(self) -> FilterLanguage | Literal["no"] | None:
        """The language; `no` if none works, None if there is no item to test with."""
        api = self._search_requests(self._wanted).api
        languages = self._wanted.languages(api.filters) if api.search_url is not None else []
        if not languages:
            return "no"
        page = await self._known_page()
        if not page.items:
            return None
        if not all(item.updated for item in page.items):
            return "no"
        for language in languages:
            try:
                await self._require(language, page)
            except _FilterUnsupportedError:
                continue
            return language
        return "no"

    async def _known_page(self) -> ApiPage:
        return await self._fetch_page(self._search_requests(self._wanted)(self._window, _PAGE), self._attempts)

    async def _require(self, language: FilterLanguage, page: ApiPage) -> None:
        """Compare the answers to a language with the known items.

        Raises:
            _FilterUnsupportedError: an answer is wrong.
        """
        future = await self._send(self._request(language, _FAR_FUTURE, self._window, 1))
        if future.received or future.matched:
            raise _FilterUnsupportedError
        past = await self._send(self._request(language, _FAR_PAST, self._window, _PAGE))
        if not await self._is_everything(past, page):
            raise _FilterUnsupportedError
        for item in _distinctive_items(page.items):
            own = item.updated_at()
            assert own is not None
            if not await self._is_found(language, item, own):
                raise _FilterUnsupportedError
            # more than a second later, because the request is for a slightly earlier instant
            if await self._is_found(language, item, own + 2 * _SECOND):
                raise _FilterUnsupportedError

    async def _is_everything(self, past: ApiPage, page: ApiPage) -> bool:
        if past.matched is None or page.matched is None:
            return {item.id for item in past.items} == {item.id for item in page.items}
        return past.matched == page.matched or past.matched == (await self._known_page()).matched

    async def _is_found(self, language: FilterLanguage, item: FetchedItem, instant: datetime) -> bool:
        request = self._request(language, instant, _around(item, self._window), _PAGE, item.id)
        return any(found.id == item.id for found in (await self._send(request)).items)

    def _request(
        self, language: FilterLanguage, instant: datetime, window: Window, limit: int, item_id: str = ""
    ) -> SearchRequest:
        search_requests = self._search_requests(self._wanted.since(Since(instant, language)))
        return search_requests(window, limit, ids=[item_id] if item_id else ())

    async def _send(self, request: SearchRequest) -> ApiPage:
        try:
            return await self._fetch_page(request, _ATTEMPTS)
        except SourceError:
            await self._known_page()
            raise _FilterUnsupportedError from None


def _around(item: FetchedItem, window: Window) -> Window:
    """A short window around the item; if its time cannot be read, the window in which it was found."""
    try:
        interval = item.interval()
        return window if interval is None else Window(interval[0] - _SECOND, interval[1] + _SECOND)
    except (ValueError, OverflowError):
        return window


def _distinctive_items(items: Sequence[FetchedItem]) -> list[FetchedItem]:
    """A few items with different spellings or values of `updated`."""
    # not midnight, if possible: there the date alone decides, so the spelling of the time makes no difference
    spellings = {_spelling(item): item for item in sorted(items, key=lambda item: item.updated[11:])}
    ends = (max(items, key=lambda item: item.updated), min(items, key=lambda item: item.updated))
    chosen = {item.id: item for item in [*spellings.values(), *ends]}
    return list(chosen.values())[:_KNOWN]


def _spelling(item: FetchedItem) -> str:
    """The form of `updated`: its digits are masked, except for those of the offset."""
    text = str(loads(item.line)["properties"]["updated"])
    return _DIGITS.sub("0", text[:19]) + text[19:].lstrip(".0123456789")


def updated_since(since: Since, sink: PageSink, host: str) -> PageSink:
    """A sink that passes on items updated at or after an instant, and items without `updated`.

    It raises a `FilterIgnoredError` for an item that is earlier than requested: the server ignores the filter.
    """
    earliest = asked_instant(since.instant)

    def take(page: Page, total: int | None) -> None:
        times = [(item, item.updated_at()) for item in page.items]
        for item, time in times:
            if time is not None and time < earliest:
                asked = format_rfc3339(since.instant)
                raise FilterIgnoredError(
                    f"{host}: ignores the {since.updated_filter} filter, which it honoured before: a request for items "
                    f"updated since {asked} returned {item.id!r} of {format_rfc3339(time)}"
                )
        kept = [item for item, time in times if time is None or time >= since.instant]
        sink(Page(kept, page.rejected_items, page.outside + len(times) - len(kept)), total)

    return take
