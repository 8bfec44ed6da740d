"""Sources that are read once, such as a table or a static catalog: each item is routed to the windows of its time.

What belongs here: the interface of such a source, and `RoutedSource`, which makes a full `Source` of it. A chain
requests one window after the other. The source itself is read at the first request, and again after it has changed.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from typing import Any, Protocol, runtime_checkable

from stac_manager.dedup import keep_the_newer
from stac_manager.disk_buffer import DiskBuffer
from stac_manager.errors import SourceError, one_line
from stac_manager.ingest.fetched_item import FetchedItem, parse_item
from stac_manager.ingest.protocol import FetchFacts, Page, PageSink, Probe, Since
from stac_manager.items import dumps
from stac_manager.plugin_errors import plugin_errors
from stac_manager.quarantine import RejectedItem, RejectedItemBuffer, rejected_item_of
from stac_manager.times import Window

__all__ = ["ReadOnceSource", "RoutedSource"]

log = logging.getLogger(__name__)

_PAGE = 500
"""Items passed to the sink at once; it bounds memory."""


@runtime_checkable
class ReadOnceSource(Protocol):
    """A source that cannot be read by window, so that all of it is read at once."""

    @property
    def host(self) -> str:
        """The host that answers, for limits across runs; empty for local files."""
        ...

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the source serves it; at least its `id`."""
        ...

    async def fingerprint(self) -> str:
        """A short text that changes whenever the source changes; it must be cheap to get (ETag, file size and time).

        Raises:
            SourceError: the source failed.
        """
        ...

    async def read(self, sink: PageSink) -> FetchFacts:
        """Pass every item to `sink`, in pages of any size and in any order.

        Raises:
            SourceError: the source failed; the sink did not get all items.
        """
        ...


_KEEP_THE_NEWER = keep_the_newer("first", "last")

_ALWAYS = ("", "~")
"""Texts that sort before and after every time."""


class _ItemsByTime(DiskBuffer):
    """Items by id, with an index by time. Of several items with one id, the one updated last is kept."""

    tables = (
        "CREATE TABLE items (id TEXT PRIMARY KEY, updated TEXT, line BLOB, first TEXT, last TEXT)",
        "CREATE INDEX by_time ON items (first, last)",
    )

    def add(self, items: Sequence[FetchedItem]) -> None:
        """Store items."""
        with self.writing():
            self.db.executemany(
                _KEEP_THE_NEWER, [(item.id, item.updated, item.line, *_time_range(item)) for item in items]
            )

    def within(self, window: Window | None) -> Iterator[FetchedItem]:
        """The items of the closed window, and those whose time cannot be read, sorted by id."""
        low, high = (_sortable(window.start), _sortable(window.end)) if window else _ALWAYS
        query = "SELECT line FROM items WHERE first <= ? AND last >= ? ORDER BY id"
        for (line,) in self.db.execute(query, (high, low)):
            item = parse_item(line)
            assert not isinstance(item, RejectedItem), "it was an item when it was read"
            yield item


def _time_range(item: FetchedItem) -> tuple[str, str]:
    """The earliest and latest time at which a search finds the item, from its instant and its range."""
    try:
        instant, interval = item.instant(), item.interval()
    except ValueError:
        return _ALWAYS
    if instant is None or interval is None:
        return _ALWAYS
    return _sortable(min(instant, interval[0])), _sortable(max(instant, interval[1]))


def _sortable(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat(timespec="microseconds")


@dataclass
class _Snapshot:
    """The items of a source at its last read, on disk."""

    fingerprint: str
    items: _ItemsByTime
    rejected_items: RejectedItemBuffer
    close: Callable[[], object]


@dataclass(eq=False)
class RoutedSource:
    """A `Source` made of a source that is read once.

    A rejected item belongs to no window, so every window includes it. Quarantine then has it in every partition that
    was fetched.
    """

    source: ReadOnceSource
    _snapshot: _Snapshot | None = field(default=None, init=False, repr=False)

    @property
    def host(self) -> str:
        """The host that answers."""
        return self.source.host

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the source has it."""
        with plugin_errors(SourceError, f"{type(self.source).__name__}"):
            return self.source.collection()

    async def probe(self, window: Window) -> Probe:
        """A hash of all items in the window, and their number."""
        snapshot = await self._current()
        digest, count = hashlib.sha256(), 0
        for item in snapshot.items.within(window):
            digest.update(dumps([item.id, hashlib.sha256(item.line).hexdigest()]))
            count += 1
        return Probe(digest.hexdigest()[:16], count)

    async def newest(self, window: Window) -> datetime | None:
        """None: the source is always read completely, so it has no change feed."""
        return None

    async def detect_updated_filter(self, window: Window) -> str | None:
        """`no`: the source cannot filter by `updated`. Windows are compared instead, without any request."""
        return "no"

    async def fetch(
        self, window: Window | None, sink: PageSink, limit: int | None = None, *, since: Since | None = None
    ) -> FetchFacts:
        """Pass the items of the window to `sink`."""
        snapshot = await self._current()
        matched = 0
        for page in batched(snapshot.items.within(window), _PAGE):
            matched += len(page)
            sink(Page(page), None)
            if limit is not None and matched >= limit:
                break
        rejected = [rejected_item_of(record) for record in snapshot.rejected_items.records(str)]
        if rejected:
            sink(Page((), rejected), None)
        return FetchFacts(slices=1, matched=matched + len(rejected) if limit is None else None)

    async def find(self, ids: Sequence[str], sink: PageSink) -> FetchFacts:
        """Pass the items with these ids to `sink`."""
        wanted = set(ids)
        for page in batched((await self._current()).items.within(None), _PAGE):
            found = [item for item in page if item.id in wanted]
            if found:
                sink(Page(found), None)
        return FetchFacts()

    async def _asked[T](self, answer: Awaitable[T]) -> T:
        name = type(self.source).__name__
        try:
            with plugin_errors(SourceError, name):
                return await answer
        except OSError as error:
            raise SourceError(f"{name}: {one_line(error)}") from None

    async def _current(self) -> _Snapshot:
        fingerprint = await self._asked(self.source.fingerprint())
        if self._snapshot is None or self._snapshot.fingerprint != fingerprint:
            if self._snapshot is not None:
                self._snapshot.close()
            self._snapshot = await self._read(fingerprint)
        return self._snapshot

    async def _read(self, fingerprint: str) -> _Snapshot:
        collection_id = self.collection().get("id")
        with ExitStack() as opened:
            items = opened.enter_context(_ItemsByTime())
            rejected = opened.enter_context(RejectedItemBuffer())

            def sink(page: Page, total: int | None) -> None:
                own = [item for item in page.items if item.collection in (collection_id, None)]
                if len(own) < len(page.items):
                    log.warning(
                        "%s: %d items of other collections are left out", collection_id, len(page.items) - len(own)
                    )
                items.add(own)
                rejected.add(page.rejected_items)

            await self._asked(self.source.read(sink))
            # the files are removed with this object, because a chain may request another window at any time
            close = weakref.finalize(self, opened.pop_all().close)
        return _Snapshot(fingerprint, items, rejected, close)
