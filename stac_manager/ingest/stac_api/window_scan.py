"""Read a window of a STAC API in time slices, and prove that each slice is complete.

A slice is proven if its last page has no `next` and is not full, and if the number of its items equals the server's
count (where the server gives a reliable one). An unproven slice is cut in three and read again, down to one second. If
a slice is still unproven then, the fetch fails. Large slices are also cut, to read them in parallel and to stay below
the paging depth at which servers fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from stac_manager.errors import IncompleteError, SourceError
from stac_manager.http import HttpClient, HttpStatusError, TooMuchError
from stac_manager.ingest.protocol import FetchFacts, Page, PageSink
from stac_manager.ingest.stac_api.paging import ApiPage, EndlessPagesError, SearchRequest, follow_pages
from stac_manager.ingest.stac_api.temporal_filter import LONG_AGO, estimate_by_density, is_within, uncached_window
from stac_manager.ingest.stac_api.time_slice import TimeSlice
from stac_manager.times import Window

__all__ = ["WindowScan"]

# Cuts for speed: a slice of more pages than this is cut, so that its parts are read in parallel.
_PAGES_A_SLICE = 4
_MAX_PARTS = 64  # of one cut; bounds the requests that one wrong estimate can cause
_MAX_DEPTH = 6  # cuts of cuts; 64 parts each time are more than any window needs

# Bounds of a fetch from a server that fails or contradicts itself.
_PARTS_WHEN_UNPROVEN = 3
_MAX_UNPROVEN = 300  # unproven slices
_MAX_PAGES_WHEN_UNPROVEN = 1000  # pages after the first unproven slice
_MAX_FAILED_PAGES = 40  # then the fault must be the server, not the size of its pages

_SPLITTABLE = timedelta(minutes=1)
"""A shorter window is not checked for a capped count: it could hardly be split if it were."""

_ROUNDING = timedelta(seconds=1)
"""Some servers round times to the second, so an item may be this far outside of its slice."""

_NOT_DEPTH_RELATED = frozenset({401, 407, 408, 425, 429, 503})
"""Statuses about credentials or load, which say nothing about the depth of a page."""

_USUAL_LIMITS = frozenset({10, 20, 25, 50, 100, 200, 250, 300, 500, 1000, 2000, 5000, 10000})
"""Usual page limits of servers; a last page of exactly this size may be cut off."""

_USUAL_CAPS = frozenset({1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000})
"""Usual numbers at which servers stop counting; a count of exactly this size may be too low."""

_SAME_TIME_SHARE = 0.9
"""If a part still has more than this share of its parent's items, most items have one time, and cuts do not help."""


class _UnprovenSliceError(Exception):
    """A slice cannot be proven complete as it is."""

    def __init__(self, reason: str, *, smaller: bool = False) -> None:
        super().__init__(reason)
        self.smaller = smaller
        """Whether a smaller page may help."""


class _WindowIgnoredError(Exception):
    """The server ignores the requested window."""


@dataclass(frozen=True)
class _Cut:
    parts: int


FetchPage = Callable[[SearchRequest, int], Awaitable[ApiPage]]
BuildRequest = Callable[[Window | None, int], SearchRequest]


class WindowScan:
    """One fetch of one window.

    Args:
        client: sends the requests; its settings bound how many slices are read at once.
        build: builds the first request of a window with a page size.
        build_plain: the same without filters other than time; None if there are no such filters.
        fetch: fetches a page, with a number of tries.
        sink: called with each page.
        collection: the collection; items of other collections are left out.
    """

    def __init__(
        self,
        client: HttpClient,
        build: BuildRequest,
        build_plain: BuildRequest | None,
        fetch: FetchPage,
        sink: PageSink,
        collection: str,
    ) -> None:
        self._client = client
        self._build = build
        self._build_plain = build_plain
        self._fetch_page = fetch
        self._sink = sink
        self._collection = collection
        self.facts = FetchFacts()
        self._trusts_counts = True
        self._cap: int | None = None
        """The greatest size of a page with a `next`: the server's page limit."""
        self._works: int | None = None
        """A smaller page size that worked after a larger one had failed."""
        self._depth: int | None = None
        """The smallest number of items after which the server rejected a page."""
        # more slices would only wait for the host's limiter, while their deadlines run
        self._reading = asyncio.Semaphore(2 * client.settings.concurrency)
        self._answered = False
        self._failed_pages = 0
        self._pages_before_unproven = 0
        self._largest_claim = 0
        self._root: TimeSlice | None = None
        self._window: Window | None = None

    async def run(self, window: Window | None, page_size: int, limit: int | None = None) -> FetchFacts:
        """Read the window; with a limit, read one slice until it has that many items.

        Raises:
            SourceError: the source failed.
            IncompleteError: a slice cannot be proven complete.
        """
        self._window = window
        try:
            await self._from(TimeSlice(window, min(page_size, limit or page_size)), limit)
        except _WindowIgnoredError:
            # slices prove nothing then: the whole collection is read as one slice, and items outside are left out
            self._trusts_counts, self._cap = True, None
            await self._from(TimeSlice(None, page_size), limit)
        stats = self._client.stats
        facts = self.facts
        facts.requests, facts.retries, facts.received_bytes = stats.requests, stats.retries, stats.received_bytes
        return facts

    async def _from(self, root: TimeSlice, limit: int | None) -> None:
        self._root = root
        try:
            if limit is not None:
                await self._read(root, limit)
            else:
                await self._finish(root)
        except _UnprovenSliceError as unproven:
            raise self._incomplete(root, str(unproven)) from None
        except ExceptionGroup as failures:
            raise _first(failures) from None
        self.facts.matched = root.claim if self._trusts_counts and root.window == self._window else None

    async def _finish(self, part: TimeSlice) -> None:
        """Read a slice, in parts if needed."""
        if self._works:
            part.size = min(part.size, self._works)
        cut: _Cut | None = _Cut(1)
        while cut == _Cut(1):
            try:
                cut = await self._in_time(part)
            except _UnprovenSliceError as unproven:
                cut = self._retry_unproven(part, unproven)
        if cut is None:
            self.facts.slices += 1
        else:
            await self._cut(part, cut.parts)

    async def _in_time(self, part: TimeSlice) -> _Cut | None:
        deadline = self._client.settings.slice_deadline
        try:
            async with self._reading, asyncio.timeout(deadline):
                return await self._read(part)
        except TimeoutError:
            raise SourceError(f"{self._collection}, {part.name}: not read within {deadline:g} s") from None

    async def _cut(self, part: TimeSlice, parts: int) -> None:
        assert part.window is not None
        part.ids.clear()
        async with asyncio.TaskGroup() as group:
            for window in part.window.split(parts):
                group.create_task(self._finish(TimeSlice(window, part.size, part)))

    def _retry_unproven(self, part: TimeSlice, unproven: _UnprovenSliceError) -> _Cut:
        """How to read an unproven slice again; one part means the same slice with smaller pages.

        Raises:
            IncompleteError: no way is left.
        """
        self._pages_before_unproven = self.facts.pages if not self.facts.splits else self._pages_before_unproven
        self.facts.splits += 1
        divisible = part.window is not None and part.window.end - part.window.start >= timedelta(seconds=2)
        if unproven.smaller:
            self._failed_pages += 1
            part.size = max(1, part.size // 2)
            if not (self._answered and divisible):
                return _Cut(1)
        if not divisible or self.facts.splits > _MAX_UNPROVEN or self._failed_pages > _MAX_FAILED_PAGES:
            raise self._incomplete(part, str(unproven))
        return _Cut(_PARTS_WHEN_UNPROVEN)

    def _incomplete(self, part: TimeSlice, reason: str) -> IncompleteError:
        return IncompleteError(f"{self._collection}, {part.name}: {reason}; nothing was stored")

    async def _read(self, part: TimeSlice, limit: int | None = None) -> _Cut | None:
        """Read the pages of a slice; returns a `_Cut` if it should be read in parts, None if it is proven."""
        part.restart()
        try:
            async with aclosing(follow_pages(self._build(part.window, part.size), partial(self._page, part))) as pages:
                async for page in pages:
                    new = self._accept_page(part, page)
                    if limit is not None and len(part.ids) >= limit:
                        return None
                    if page.next is None:
                        await self._require_proof(part, page)
                        return None
                    if page.received and not new:
                        raise _UnprovenSliceError("a page has nothing new")
                    self._cap = max(self._cap or 0, page.received) or None
                    if part.pages == 1 and limit is None and (parts := self._parts(part, page)) > 1:
                        return _Cut(parts)
        except EndlessPagesError as error:
            raise _UnprovenSliceError(str(error)) from None
        return None

    async def _page(self, part: TimeSlice, request: SearchRequest) -> ApiPage:
        try:
            page = await self._fetch_page(request, self._client.settings.attempts if part.size == 1 else 2)
        except TooMuchError as error:
            if part.size == 1:
                item = f"the item after {part.last_id}" if part.last_id else "its first item"
                raise self._incomplete(part, f"{item} fails even on a page of its own: {error}") from None
            raise _UnprovenSliceError(str(error), smaller=True) from None
        except HttpStatusError as error:
            before = part.received + part.repeats
            if error.status in _NOT_DEPTH_RELATED or not before:
                raise
            self._depth = min(self._depth or before, before)
            raise _UnprovenSliceError(f"no page could be fetched after {before} items: {error}") from None
        self._answered = True
        if self.facts.splits and self.facts.pages > _MAX_PAGES_WHEN_UNPROVEN + 10 * self._pages_before_unproven:
            raise self._incomplete(part, f"the pages still contradict each other after {self.facts.pages} pages")
        if part.parent and part.size < part.parent.size:
            self._works = min(self._works or part.size, part.size)
        return page

    def _accept_page(self, part: TimeSlice, page: ApiPage) -> int:
        """Pass a page to the sink; returns how many members were new in this slice."""
        part.changed |= bool(part.pages) and page.matched != part.claim
        part.pages += 1
        part.claim = page.matched
        self._largest_claim = max(self._largest_claim, page.matched or 0)
        self.facts.pages += 1
        own = [item for item in page.items if item.collection in (self._collection, None)]
        wanted = [item for item in own if is_within(item, part.window or self._window)]
        before = len(part.ids) + len(part.other_ids)
        seen = len(part.ids)
        part.ids.update(item.id for item in wanted)
        part.other_ids.update(item.id for item in page.items if item.id not in part.ids)
        part.other_ids.update(f"\0{rejection.item_id} {rejection.error_message}" for rejection in page.rejected_items)
        part.note(wanted)
        part.repeats += len(wanted) - (len(part.ids) - seen)
        part.outside += len(own) - len(wanted)
        if len(wanted) < len(own) and part.window:
            nearby = Window(part.window.start - _ROUNDING, part.window.end + _ROUNDING)
            part.far_outside += sum(not is_within(item, nearby) for item in own)
        part.others += len(page.rejected_items) + len(page.items) - len(own)
        if page.items:
            part.last_id = page.items[-1].id
        total = self._root.claim if self._root and self._trusts_counts else None
        self._sink(Page(wanted, page.rejected_items, len(page.items) - len(wanted)), total)
        return len(part.ids) + len(part.other_ids) - before

    async def _require_proof(self, part: TimeSlice, page: ApiPage) -> None:
        claim = part.claim if self._trusts_counts else None
        if part.pages == 1 and part.received + part.repeats == claim:
            return  # on a single page, an item that comes twice is only listed twice
        if claim in _USUAL_CAPS and claim == self._largest_claim and part.pages > 1:
            raise _UnprovenSliceError(f"the server's count is exactly {claim}, where many servers stop counting")
        if claim is not None and part.received < claim:
            if part.pages == 1 and await self._recount(part):
                return  # only for a single page: a deletion between two pages may shift an item out of both
            await self._require_false_count(part, claim)
            claim = None
        if part.changed and self._trusts_counts:
            raise _UnprovenSliceError("the source changed during the scan")
        if claim is not None and part.received == claim:
            await self._require_uncapped(part, claim)
            return
        if claim is None and part.far_outside and part.window:
            await self._require_window_honoured()
        self._require_last_page(part, page, claim)

    async def _require_uncapped(self, part: TimeSlice, claim: int) -> None:
        """Ask for the counts of both halves: a server that counts only up to its depth has more in one than came."""
        window = part.window
        if window is None or window.end - window.start < _SPLITTABLE or part.pages == 1 or claim < self._largest_claim:
            return  # a capped count would be the largest that the server gives
        for half in window.split(2):
            counted = await self._fetch_page(self._build(half, 1), self._client.settings.attempts)
            known = part.within(half)
            if known is not None and counted.matched is not None and counted.matched > known + part.others:
                raise _UnprovenSliceError(f"the server counts {claim} items in all, and more in a part of the window")

    async def _recount(self, part: TimeSlice) -> bool:
        """Whether a fresh count, not one cached before a deletion, equals the number of items received."""
        again = await self._fetch_page(self._build(uncached_window(part.window), 1), self._client.settings.attempts)
        if again.matched != part.received or part.outside:
            return False
        part.claim = again.matched
        return True

    async def _require_window_honoured(self) -> None:
        if not await self._honours_windows():
            raise _WindowIgnoredError
        raise _UnprovenSliceError("some items are of another time, so the pages may not fit together")

    def _require_last_page(self, part: TimeSlice, page: ApiPage, claim: int | None) -> None:
        """Without a matching count, require that no item came twice, and that the last page was not cut off."""
        if part.repeats:
            raise _UnprovenSliceError("items came more than once, so others may not have come at all")
        if page.received >= min(part.size, self._cap or part.size):
            raise _UnprovenSliceError("the last page is full, and has no `next`")
        if claim is None and page.received in _USUAL_LIMITS and not self._cap:
            raise _UnprovenSliceError(f"the last page has exactly {page.received} items, and no `next`")

    async def _require_false_count(self, part: TimeSlice, claim: int) -> None:
        """Stop using counts that ignore the query; if the count honours it, the slice is unproven."""
        if not await self._is_false_count(part, claim):
            raise _UnprovenSliceError(f"the server says it has {claim} items, but its pages brought {part.received}")
        if part.outside and part.window:
            raise _WindowIgnoredError
        self._trusts_counts = False

    async def _is_false_count(self, part: TimeSlice, claim: int) -> bool:
        """Whether the server's counts ignore the query, so that they are of no use."""
        if part.window is None:
            return False
        if not await self._honours_windows():
            return True
        if self._build_plain is None:
            return False
        plain = await self._fetch_page(self._build_plain(part.window, part.size), self._client.settings.attempts)
        return plain.matched == claim and any(item.id not in part.ids for item in plain.items)

    async def _honours_windows(self) -> bool:
        empty = await self._fetch_page(self._build(LONG_AGO, 1), self._client.settings.attempts)
        return not (empty.received if empty.matched is None else empty.matched)

    def _parts(self, part: TimeSlice, page: ApiPage) -> int:
        """In how many parts to read a slice of more than one page."""
        window = part.window
        if window is None or window.end - window.start < timedelta(seconds=2) or part.depth > _MAX_DEPTH:
            return 1
        if part.outside > page.received / 2:
            return 1  # the server ignores the window, so every part would have all items
        a_page = max(page.received, 1)
        expected = part.claim if self._trusts_counts else None
        if expected is None:
            expected = estimate_by_density(page, window)
        elif part.parent and part.parent.claim is not None and expected > _SAME_TIME_SHARE * part.parent.claim:
            return 1
        pages = -(-expected // a_page)
        parts = max(1, round(pages / _PAGES_A_SLICE))
        if self._depth is not None:
            parts = max(parts, expected // self._depth + 1)
        return min(_MAX_PARTS, parts)


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
