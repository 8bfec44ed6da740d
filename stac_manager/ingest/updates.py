"""Whether a STAC API filters items by when they were updated, proven by its answers about items that are known.

Of one page of a window all items must say when they were updated. A language is then taken if nothing is newer than the
far future, everything is newer than the far past, and known items come for their own second and not for the next one.
Texts are compared where a server does not know that `updated` is a time (pgstac), so known items in different spellings
are asked about first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from stac_manager.errors import SourceError, UnheardError
from stac_manager.ingest.filters import SearchFilter, asked_instant
from stac_manager.ingest.members import FetchedItem
from stac_manager.ingest.paging import ApiPage, Query
from stac_manager.ingest.placing import never_asked
from stac_manager.ingest.queries import Queries
from stac_manager.ingest.scan import Ask
from stac_manager.ingest.source import Language, Page, PageSink, Since
from stac_manager.items import loads
from stac_manager.times import Window, format_rfc3339

__all__ = ["Hearing", "only_since"]

_FAR_PAST = datetime(1900, 1, 1, tzinfo=UTC)
_FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_PAGE = 20
_KNOWN = 3
_ATTEMPTS = 2
"""A language that does not work may show as status 500; that the server is well is asked afterwards."""

_DIGITS = re.compile(r"\d")


class _NoWayError(Exception):
    """A language does not work."""


class Hearing:
    """Finds out which language an API hears.

    Args:
        ask: fetches a page.
        queries: the requests with other filters.
        wanted: the workflow's filters.
        window: where to look for items.
        attempts: how often to ask before the server counts as failed.
    """

    def __init__(
        self,
        ask: Ask,
        queries: Callable[[SearchFilter], Queries],
        wanted: SearchFilter,
        window: Window,
        attempts: int,
    ) -> None:
        self._ask = ask
        self._queries = queries
        self._wanted = wanted
        self._window = never_asked(window)
        self._attempts = attempts

    async def language(self) -> Language | Literal["no"] | None:
        """The language; `no` where none works, None where there is no item to ask about."""
        api = self._queries(self._wanted).api
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
            except _NoWayError:
                continue
            return language
        return "no"

    async def _known_page(self) -> ApiPage:
        return await self._ask(self._queries(self._wanted)(self._window, _PAGE), self._attempts)

    async def _require(self, language: Language, page: ApiPage) -> None:
        """Compare the answers in a language with what is known.

        Raises:
            _NoWayError: one does not fit.
        """
        future = await self._answer(self._query(language, _FAR_FUTURE, self._window, 1))
        if future.received or future.matched:
            raise _NoWayError
        past = await self._answer(self._query(language, _FAR_PAST, self._window, _PAGE))
        if not await self._is_everything(past, page):
            raise _NoWayError
        for item in _telling(page.items):
            own = item.updated_at()
            assert own is not None
            if not await self._comes(language, item, own):
                raise _NoWayError
            # a whole second and more, since what is asked for is a little earlier
            if await self._comes(language, item, own + 2 * _SECOND):
                raise _NoWayError

    async def _is_everything(self, past: ApiPage, page: ApiPage) -> bool:
        if past.matched is None or page.matched is None:
            return {item.id for item in past.items} == {item.id for item in page.items}
        return past.matched == page.matched or past.matched == (await self._known_page()).matched

    async def _comes(self, language: Language, item: FetchedItem, instant: datetime) -> bool:
        query = self._query(language, instant, _around(item, self._window), _PAGE, item.id)
        return any(found.id == item.id for found in (await self._answer(query)).items)

    def _query(self, language: Language, instant: datetime, window: Window, limit: int, item_id: str = "") -> Query:
        queries = self._queries(self._wanted.since(Since(instant, language)))
        return queries(window, limit, ids=[item_id] if item_id else ())

    async def _answer(self, query: Query) -> ApiPage:
        try:
            return await self._ask(query, _ATTEMPTS)
        except SourceError:
            await self._known_page()
            raise _NoWayError from None


def _around(item: FetchedItem, window: Window) -> Window:
    """A short window that holds the item; where its time cannot be read, the one it was found in."""
    try:
        interval = item.interval()
        return window if interval is None else Window(interval[0] - _SECOND, interval[1] + _SECOND)
    except (ValueError, OverflowError):
        return window


def _telling(items: Sequence[FetchedItem]) -> list[FetchedItem]:
    """A few items that differ in how they spell `updated`, or in what it is."""
    # not midnight, if possible: there the date alone decides, however the rest is spelled
    spellings = {_spelling(item): item for item in sorted(items, key=lambda item: item.updated[11:])}
    ends = (max(items, key=lambda item: item.updated), min(items, key=lambda item: item.updated))
    chosen = {item.id: item for item in [*spellings.values(), *ends]}
    return list(chosen.values())[:_KNOWN]


def _spelling(item: FetchedItem) -> str:
    """`updated` without what its digits are, but for those of its offset."""
    text = str(loads(item.line)["properties"]["updated"])
    return _DIGITS.sub("0", text[:19]) + text[19:].lstrip(".0123456789")


def only_since(since: Since, sink: PageSink, host: str) -> PageSink:
    """A sink that passes on what was updated at or after an instant, and what does not say when.

    It raises an UnheardError where an item came that is earlier than what was asked for: the filter is not heard.
    """
    earliest = asked_instant(since.instant)

    def take(page: Page, total: int | None) -> None:
        times = [(item, item.updated_at()) for item in page.items]
        for item, time in times:
            if time is not None and time < earliest:
                asked = format_rfc3339(since.instant)
                raise UnheardError(
                    f"{host}: does not hear the {since.language} filter any more: asked for what was updated since "
                    f"{asked}, it gave {item.id!r} of {format_rfc3339(time)}"
                )
        kept = [item for item, time in times if time is None or time >= since.instant]
        sink(Page(kept, page.refusals, page.outside + len(times) - len(kept)), total)

    return take
