"""What a sync check fetched of the changes at the source, kept on disk for the runs right after it."""

from __future__ import annotations

from datetime import datetime

from stac_manager.ingest import FetchFacts, IngestModule, Probe
from stac_manager.items import Item, item_interval
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.times import Window

__all__ = ["ChangeFeed"]


class ChangeFeed:
    """The items that the source dates after the watermark.

    Args:
        ingest: holds them, and stays open as long as this is used.
        scheme: how the collection's time is cut.
        probes: looks at windows that are older than the fetch.
    """

    def __init__(self, ingest: IngestModule, scheme: PartitionScheme, probes: dict[str, Probe]) -> None:
        self._ingest, self._scheme, self._probes = ingest, scheme, probes
        self._inside: dict[str, list[str]] = {}
        self._reaching: list[tuple[datetime, datetime, str]] = []
        """Items that may be found in more than one window: on their edges, or with a range."""
        self._known: dict[str, str] = {}
        self.is_readable = True
        """False where something came that cannot be read: each partition is then asked for by itself."""

    def add(self, item_id: str, item: Item, target: str | None) -> None:
        """Note where an item is to be taken over.

        Raises:
            ValueError: it has no time that can be read.
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
        """Note what was here of a partition when its changes were fetched; what was noted first stands."""
        if manifest is not None:
            self._known.setdefault(partition, manifest.content_hash)

    def holds(self, manifest: Manifest | None) -> bool:
        """Whether the changes of a partition can be taken over: no other run has written it since they were fetched."""
        if manifest is None or not self.is_readable or len(self._ingest.rejected_items):
            return False
        return self._known.get(manifest.partition) == manifest.content_hash

    def probe(self, partition: str) -> Probe | None:
        """The look at a window from before the fetch, where there was one."""
        return self._probes.get(partition)

    def fill(self, partition: str, ingest: IngestModule) -> FetchFacts:
        """Hand over what a search for a partition's window would have found."""
        window = self._scheme.asked(partition)
        reaching = (item_id for start, end, item_id in self._reaching if _meets(start, end, window))
        ingest.items.add(self._ingest.items.pick([*self._inside.get(partition, ()), *reaching]))
        return FetchFacts()


def _meets(start: datetime, end: datetime, window: Window) -> bool:
    return start <= window.end and end >= window.start
