"""Which partition an item belongs to, if any.

The windows of the partitions themselves are in `stac_manager.partitioning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stac_manager.dedup import BufferedItem
from stac_manager.ingest.fetched_item import times_of_line
from stac_manager.items import HashedItem, Item, content_hash, item_interval, item_time, loads, loads_hashed
from stac_manager.partitioning import PartitionScheme
from stac_manager.quarantine import RejectedItem
from stac_manager.times import Window, format_rfc3339, parse_rfc3339, utc_now

__all__ = [
    "Assignment",
    "PartitionAssigner",
    "Unassigned",
    "belongs_to",
    "is_out_of_its_range",
    "is_surely_found",
    "partition_of",
    "rejection_key",
    "target_partition",
    "why_in_no_partition",
]


def target_partition(item: Item, scheme: PartitionScheme) -> str | None:
    """The partition that an item belongs to, or None. It may be a partition of the future.

    `datetime` decides, else `start_datetime`. An item before the first partition, after the last one, or outside of the
    temporal filter belongs to none. If an item has a time range, searches match that range. If `datetime` is so far
    outside of the range that a search does not find the item there, `start_datetime` decides.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = _times_of(item)
    if not (scheme.is_wanted(instant, instant) or scheme.is_wanted(*interval)):
        return None
    return scheme.target_partition(_deciding(instant, interval, scheme))


def belongs_to(item: Item, key: str, scheme: PartitionScheme) -> bool:
    """Whether an item belongs to this partition.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    return target_partition(item, scheme) == key


def is_surely_found(item: Item, key: str, scheme: PartitionScheme) -> bool:
    """Whether an item belongs to this partition, and a search of its window finds the item on every server.

    If an item has both a `datetime` and a range, some servers search by `datetime` and others by the range.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = _times_of(item)
    asked = scheme.asked(key)
    by_range_only = (item.get("properties") or {}).get("datetime") is None
    found = _meets(interval, asked) and (by_range_only or _meets((instant, instant), asked))
    return found and belongs_to(item, key, scheme)


def is_out_of_its_range(item: Item, key: str, scheme: PartitionScheme) -> bool:
    """Whether `datetime` is in this partition, but so far outside of the item's range that the item belongs elsewhere.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = _times_of(item)
    return not _meets(interval, scheme.around(instant)) and scheme.target_partition(instant) == key


def why_in_no_partition(item: Item, scheme: PartitionScheme, now: datetime) -> str:
    """Why an item belongs to no existing partition, in a few words."""
    try:
        instant, interval = _times_of(item)
    except ValueError as error:
        return str(error)
    decides = _deciding(instant, interval, scheme)
    bound, what = _bound(decides, scheme, now)
    shown, limit = decides.date().isoformat(), bound.date().isoformat()
    if shown == limit:
        shown, limit = format_rfc3339(decides), format_rfc3339(bound)
    return f"dated {shown}; {what} {limit}"


def _bound(instant: datetime, scheme: PartitionScheme, now: datetime) -> tuple[datetime, str]:
    """The limit that an instant is beyond, and the name of that limit."""
    if instant < scheme.first:
        return scheme.first, "the first partition starts"
    last = now if scheme.end is None else min(now, scheme.end)
    if instant >= (end := scheme.around(last).end):
        return end, "the last partition ends" if last == scheme.end else "the present partition ends"
    if scheme.wanted_from is not None and instant < scheme.wanted_from:
        return scheme.wanted_from, "the temporal filter starts"
    return scheme.wanted_until or end, "the temporal filter ends"


def _times_of(item: Item) -> tuple[datetime, tuple[datetime, datetime]]:
    instant, interval = item_time(item), item_interval(item)
    if instant is None or interval is None:
        raise ValueError("the item has neither `datetime` nor `start_datetime`")
    return instant, interval


def _deciding(instant: datetime, interval: tuple[datetime, datetime], scheme: PartitionScheme) -> datetime:
    return instant if _meets(interval, scheme.around(instant)) else interval[0]


def _meets(interval: tuple[datetime, datetime], window: Window) -> bool:
    return interval[0] <= window.end and interval[1] >= window.start


Assignment = HashedItem | RejectedItem | None
"""The result of an assignment; None: the item belongs to another partition, or to none."""


def partition_of(item: Item, scheme: PartitionScheme, now: datetime) -> str | None:
    """The existing partition that an item belongs to; None if it does not exist yet, or the item has no time."""
    try:
        target = target_partition(item, scheme)
    except ValueError:
        return None
    return target if target is not None and scheme.exists(target, now) else None


@dataclass
class Unassigned:
    """Items that belong to no partition: their number, and the first one with the reason."""

    count: int = 0
    example: str = ""

    def add(self, item_id: str, why: str) -> None:
        """Count an item."""
        self.count += 1
        self.example = self.example or f"{item_id!r}: {why}"


class PartitionAssigner:
    """Assigns items for one partition, and remembers the latest `updated` among those that belong to it."""

    def __init__(self, partition: str, scheme: PartitionScheme) -> None:
        self._partition, self._scheme = partition, scheme
        self._now = utc_now()
        self.newest: datetime | None = None
        """The latest `updated` that does not lie in the future."""
        self.unassigned = Unassigned()
        """The items that belong to no partition."""

    def __call__(self, entry: BufferedItem) -> Assignment:
        """The item with its hash, or a rejected item, or None if it belongs to another partition or to none."""
        item_id, line = entry
        try:
            item, digest = loads_hashed(line)
        except ValueError as error:
            return self._not_exact(entry, str(error))
        try:
            if belongs_to(item, self._partition, self._scheme):
                self._note_updated(item)
                return item_id, digest, line
            if is_out_of_its_range(item, self._partition, self._scheme):
                return RejectedItem(item_id, "TimeOutsideItsRange", _OUT_OF_RANGE, "raw_items", item)
        except ValueError as error:
            return RejectedItem(item_id, "NoTime", str(error), "raw_items", item)
        self._count_unassigned(item_id, item)
        return None

    def _not_exact(self, entry: BufferedItem, reason: str) -> Assignment:
        """The verdict on an item that cannot be written again without a change."""
        item_id, line = entry
        if self.is_elsewhere(entry):
            self._count_unassigned(item_id, loads(line))
            return None
        return RejectedItem(item_id, "InvalidJson", reason, "raw_items", line.decode())

    def is_elsewhere(self, entry: BufferedItem) -> bool:
        """Whether an item belongs to another partition or to none.

        A search finds such an item if its range overlaps this partition, or if its time is on the edge. One exception:
        an item whose `datetime` is in this partition, but whose range is in another one, is rejected here. A source
        that searches by `datetime` does not find it in the other partition.
        """
        try:
            item = times_of_line(entry[1])
            here = belongs_to(item, self._partition, self._scheme)
            return not (here or is_out_of_its_range(item, self._partition, self._scheme))
        except ValueError:
            return False

    def _count_unassigned(self, item_id: str, item: Item) -> None:
        if partition_of(item, self._scheme, self._now) is None:
            self.unassigned.add(item_id, why_in_no_partition(item, self._scheme, self._now))

    def _note_updated(self, item: Item) -> None:
        updated: Any = item["properties"].get("updated")
        try:
            instant = parse_rfc3339(updated)
        except (ValueError, TypeError):
            return
        if instant <= self._now and (self.newest is None or instant > self.newest):
            self.newest = instant


_OUT_OF_RANGE = "`datetime` lies outside of `start_datetime` and `end_datetime`, so the item belongs by its start"


def rejection_key(rejection: RejectedItem) -> tuple[str | None, str, str]:
    """The key of a rejected item; equal for the same rejection of an earlier run."""
    return rejection.item_id, rejection.error_type, content_hash(rejection.source_data)
