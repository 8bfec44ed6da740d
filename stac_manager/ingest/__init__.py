"""Fetch items: from a source, by windows of time, each item once and in the order of ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from stac_manager.ingest.ownership import belongs_to
from stac_manager.ingest.source import FetchFacts, Page, PageSink, Probe, Source
from stac_manager.ingest.spool import ItemSpool, SpooledItem
from stac_manager.ingest.stac_api import SearchFilter, StacApiSource
from stac_manager.items import Refusal
from stac_manager.times import Window

__all__ = [
    "FetchFacts",
    "IngestModule",
    "ItemSpool",
    "Page",
    "PageSink",
    "Probe",
    "SearchFilter",
    "Source",
    "SpooledItem",
    "StacApiSource",
    "belongs_to",
]


class IngestModule:
    """Fetches the items of one source into a spool. Use as a context manager, then iterate over it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.refusals: list[Refusal] = []
        self._spool = ItemSpool()

    def __enter__(self) -> IngestModule:
        self._spool.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._spool.__exit__(None, None, None)

    def fetch(self, window: Window, progress: Callable[[int], None] | None = None) -> FetchFacts:
        """Fetch the closed window; `progress` hears how many items each page brought.

        Raises:
            SourceError: the source failed or is not complete.
        """

        def sink(page: Page) -> None:
            self._spool.add(page.items)
            self.refusals.extend(page.refusals)
            if progress:
                progress(page.received)

        return asyncio.run(self.source.fetch(window, sink))

    @property
    def received(self) -> int:
        """Items and non-items that came, with repeats."""
        return self._spool.received + len(self.refusals)

    @property
    def duplicates(self) -> int:
        """Items that came again under an id that was there already."""
        return self._spool.received - len(self._spool)

    def __iter__(self) -> Iterator[SpooledItem]:
        return iter(self._spool)
