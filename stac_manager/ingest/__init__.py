"""Fetch items: from a source, by windows of time, each item once and in the order of ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from stac_manager.ingest.ownership import belongs_to
from stac_manager.ingest.source import FetchFacts, Page, PageSink, Probe, Source
from stac_manager.ingest.stac_api import PAGE_SIZE, SearchFilter, StacApiSource
from stac_manager.spool import ItemSpool, RefusalSpool, SpooledItem
from stac_manager.times import Window

__all__ = [
    "PAGE_SIZE",
    "FetchFacts",
    "IngestModule",
    "Page",
    "PageSink",
    "Probe",
    "SearchFilter",
    "Source",
    "StacApiSource",
    "belongs_to",
]


class IngestModule:
    """Fetches the items of one source. Use as a context manager, then iterate over it: items sorted by id."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.items = ItemSpool()
        self.refusals = RefusalSpool()
        self.outside = 0
        self._open = ExitStack()

    def __enter__(self) -> IngestModule:
        self._open.enter_context(self.items)
        self._open.enter_context(self.refusals)
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def fetch(
        self,
        window: Window | None = None,
        *,
        limit: int | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> FetchFacts:
        """Fetch the closed window (None: everything).

        `progress` hears how many items each page brought, and how many are expected in all, where that is known.

        Raises:
            SourceError: the source failed or is not complete.
        """

        def sink(page: Page, total: int | None) -> None:
            self.outside += page.outside
            self.items.add(page.items)
            if page.refusals:
                self.refusals.add(page.refusals)
            if progress:
                progress(page.received, total)

        return asyncio.run(self.source.fetch(window, sink, limit))

    @property
    def received(self) -> int:
        """Every member of every page: items with repeats, what is none, and what was not asked for."""
        return self.items.received + self.refusals.received + self.outside

    @property
    def duplicates(self) -> int:
        """What came again under an id, or as a refusal, that was there already."""
        return self.received - self.outside - len(self.items) - len(self.refusals)

    def __iter__(self) -> Iterator[SpooledItem]:
        return iter(self.items)
