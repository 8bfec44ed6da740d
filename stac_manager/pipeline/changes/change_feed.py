"""The changes that a sync check fetched from the source, kept on disk for the runs right after it.

The runs may be in other processes: the feed can be pickled, and its items stay in the temporary file of the sync check.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime

from stac_manager.dedup import BufferedItems
from stac_manager.ingest import FetchFacts, IngestModule, Probe
from stac_manager.items import Item, item_interval
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.quarantine import RejectedItemBuffer
from stac_manager.times import Window

__all__ = ["ChangeFeed"]


class ChangeFeed:
    """The items that the source dates after the watermark.

    Args:
        ingest: has the items, and must stay open as long as this is used.
        scheme: the partitions of the collection.
        probes: probes of windows from before the fetch.
    """

    def __init__(self, ingest: IngestModule, scheme: PartitionScheme, probes: dict[str, Probe]) -> None:
        self._items: BufferedItems = ingest.items.reader
        self._rejected_items: RejectedItemBuffer | None = ingest.rejected_items
        self._scheme, self._probes = scheme, probes
        self._inside: dict[str, list[str]] = {}
        self._reaching: list[tuple[datetime, datetime, str]] = []
        """Items that searches may find in more than one window: on an edge, or with a range."""
        self._known: dict[str, str] = {}
        self.is_readable = True
        """False if any item cannot be read: each partition then fetches its own changes."""

    def add(self, item_id: str, item: Item, target: str | None) -> None:
        """Note the partition to merge an item into.

        Raises:
            ValueError: it has no readable time.
        """
        interval = item_interval(item)
        if interval is None:
            raise ValueError("the item has neither `datetime` nor `start_datetime`")
        window = self._scheme.window(target) if target else None
        if target and window and window.start < interval[0] and interval[1] < window.end:
            self._inside.setdefault(target, []).append(item_id)
        else:
            self._reaching.append((*interval, item_id))

    def note(self, partition: str, manifest: Manifest | None) -> None:
        """Note the content of a partition at the time of the fetch; the first note of a partition counts."""
        if manifest is not None:
            self._known.setdefault(partition, manifest.content_hash)

    def holds(self, manifest: Manifest | None) -> bool:
        """Whether the changes of a partition can be merged: no other run has written it since they were fetched."""
        if manifest is None or not self.is_readable or self._rejected():
            return False
        return self._known.get(manifest.partition) == manifest.content_hash

    def probe(self, partition: str) -> Probe | None:
        """The probe of a window from before the fetch, if there was one."""
        return self._probes.get(partition)

    def fill(self, partition: str, ingest: IngestModule) -> FetchFacts:
        """Pass on the items that a search of a partition's window would have found."""
        window = self._scheme.asked(partition)
        reaching = (item_id for start, end, item_id in self._reaching if _meets(start, end, window))
        ingest.items.add(self._items.pick([*self._inside.get(partition, ()), *reaching]))
        return FetchFacts()

    def _rejected(self) -> int:
        return len(self._rejected_items) if self._rejected_items is not None else 0

    def detached(self) -> ChangeFeed:
        """The same for other threads and processes. The fetched items must stay where they are."""
        feed = copy(self)
        feed.is_readable = self.is_readable and not self._rejected()
        feed._rejected_items = None
        return feed


def _meets(start: datetime, end: datetime, window: Window) -> bool:
    return start <= window.end and end >= window.start
