"""Fetch items from a source, by time window or by ids; each item comes once, and items are sorted by id.

What belongs here: sources, deduplication of what they send, and the assignment of items to partitions. What does not:
when to fetch, and where the items are stored (see `stac_manager.pipeline`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from stac_manager.dedup import BufferedItem, DedupBuffer
from stac_manager.ingest.fetched_item import FetchedItem, parse_item
from stac_manager.ingest.partition_assignment import (
    belongs_to,
    is_out_of_its_range,
    is_surely_found,
    target_partition,
    why_in_no_partition,
)
from stac_manager.ingest.protocol import NO_FILTER, FetchFacts, Page, PageSink, Probe, Since, Source, SourceType
from stac_manager.ingest.routing import ReadOnceSource, RoutedSource
from stac_manager.ingest.stac_api.search_filter import SearchFilter
from stac_manager.ingest.stac_api.source import PAGE_SIZE, StacApiSource
from stac_manager.progress import ProgressCallback
from stac_manager.quarantine import RejectedItemBuffer
from stac_manager.times import Window

__all__ = [
    "NO_FILTER",
    "PAGE_SIZE",
    "FetchFacts",
    "FetchedItem",
    "IngestModule",
    "Page",
    "PageSink",
    "Probe",
    "ReadOnceSource",
    "RoutedSource",
    "SearchFilter",
    "Since",
    "Source",
    "SourceType",
    "StacApiSource",
    "belongs_to",
    "is_out_of_its_range",
    "is_surely_found",
    "parse_item",
    "target_partition",
    "why_in_no_partition",
]


class IngestModule:
    """Fetches the items of one source. Use as a context manager, then iterate over it: items sorted by id."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.items = DedupBuffer()
        self.rejected_items = RejectedItemBuffer()
        self.outside = 0
        self._open = ExitStack()

    def __enter__(self) -> IngestModule:
        self._open.enter_context(self.items)
        self._open.enter_context(self.rejected_items)
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def fetch(
        self,
        window: Window | None = None,
        *,
        limit: int | None = None,
        on_progress: ProgressCallback | None = None,
        since: Since | None = None,
        seconds: float | None = None,
    ) -> FetchFacts:
        """Fetch the closed window (None: everything), or only its items that were updated since an instant.

        Raises:
            SourceError: the source failed or is not complete.
            TimeoutError: it took longer than `seconds`.
        """
        fetched = self.source.fetch(window, self._sink(on_progress), limit, since=since)
        return asyncio.run(asyncio.wait_for(fetched, seconds))

    def find(self, ids: Sequence[str], on_progress: ProgressCallback | None = None) -> FetchFacts:
        """Fetch the items with these ids, at any time; an id that the source does not have gives no item.

        Raises:
            SourceError: the source failed.
        """
        return asyncio.run(self.source.find(ids, self._sink(on_progress)))

    def _sink(self, on_progress: ProgressCallback | None) -> PageSink:
        def sink(page: Page, total: int | None) -> None:
            self.outside += page.outside
            self.items.add(page.items)
            if page.rejected_items:
                self.rejected_items.add(page.rejected_items)
            if on_progress:
                on_progress(page.received, total)

        return sink

    @property
    def received(self) -> int:
        """The number of members of all pages: items, repeated items, rejected items, and items not requested."""
        return self.items.received + self.rejected_items.received + self.outside

    @property
    def duplicates(self) -> int:
        """The number of items and rejected items that came more than once."""
        return self.received - self.outside - len(self.items) - len(self.rejected_items)

    def __iter__(self) -> Iterator[BufferedItem]:
        return iter(self.items)
