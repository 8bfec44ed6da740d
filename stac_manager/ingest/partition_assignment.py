"""Which partition an item belongs to, if any."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stac_manager.dedup import BufferedItem
from stac_manager.items import HashedItem, Item, content_hash, item_interval, item_time, loads, loads_exactly
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
    """The partition that an item belongs to; None where it belongs to none. It may be a partition of the future.

    An item belongs by `datetime`, else `start_datetime`. One that is dated before the first partition, after the last
    one, or outside of the temporal filter belongs to none. Searches match the range of an item that has one. Where
    `datetime` lies so far outside of it that a search does not find the item there, it belongs by `start_datetime`.

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
    """Whether an item belongs to this partition, and every search for its window finds it.

    Some servers search by `datetime` and others by the range, where an item has both.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = _times_of(item)
    asked = scheme.asked(key)
    by_range_only = (item.get("properties") or {}).get("datetime") is None
    found = _meets(interval, asked) and (by_range_only or _meets((instant, instant), asked))
    return found and belongs_to(item, key, scheme)


def is_out_of_its_range(item: Item, key: str, scheme: PartitionScheme) -> bool:
    """Whether `datetime` lies in this partition, and so far outside of the item's range that it belongs to another one.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = _times_of(item)
    return not _meets(interval, scheme.around(instant)) and scheme.target_partition(instant) == key


def why_in_no_partition(item: Item, scheme: PartitionScheme, now: datetime) -> str:
    """Why an item belongs to no partition that exists, in a few words."""
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
    """Which end of what an instant lies beyond."""
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
"""What an item is to a partition; None: it belongs to another one, or to none."""


def partition_of(item: Item, scheme: PartitionScheme, now: datetime) -> str | None:
    """The partition that an item belongs to; None where there is no such partition by now, or the item has no time."""
    try:
        target = target_partition(item, scheme)
    except ValueError:
        return None
    return target if target is not None and scheme.exists(target, now) else None


@dataclass
class Unassigned:
    """Items that belong to no partition: how many, and the first of them with the reason."""

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
        """Those that were judged and belong to no partition."""

    def __call__(self, entry: BufferedItem) -> Assignment:
        """The item with its hash, a reason to reject it, or None where it belongs to another partition or to none."""
        item_id, line = entry
        if self.is_elsewhere(entry):
            self._pass_over(item_id, loads(line))
            return None
        try:
            item = loads_exactly(line)
        except ValueError as error:
            return RejectedItem(item_id, "InvalidJson", str(error), "raw_items", line.decode())
        try:
            if not belongs_to(item, self._partition, self._scheme):
                return RejectedItem(item_id, "TimeOutsideItsRange", _OUT_OF_RANGE, "raw_items", item)
        except ValueError as error:
            return RejectedItem(item_id, "NoTime", str(error), "raw_items", item)
        self._note(item)
        return item_id, content_hash(item), line

    def is_elsewhere(self, entry: BufferedItem) -> bool:
        """Whether an item belongs to another partition or to none: its time meets this one as a range, or on its edge.

        An item that only its `datetime` brought here, and that belongs to another one by its range, is rejected here:
        a source that searches by `datetime` does not find it there.
        """
        try:
            item = loads(entry[1])
            here = belongs_to(item, self._partition, self._scheme)
            return not (here or is_out_of_its_range(item, self._partition, self._scheme))
        except ValueError:
            return False

    def _pass_over(self, item_id: str, item: Item) -> None:
        if partition_of(item, self._scheme, self._now) is None:
            self.unassigned.add(item_id, why_in_no_partition(item, self._scheme, self._now))

    def _note(self, item: Item) -> None:
        updated: Any = item["properties"].get("updated")
        try:
            instant = parse_rfc3339(updated)
        except (ValueError, TypeError):
            return
        if instant <= self._now and (self.newest is None or instant > self.newest):
            self.newest = instant


_OUT_OF_RANGE = "`datetime` lies outside of `start_datetime` and `end_datetime`, so the item belongs by its start"


def rejection_key(rejection: RejectedItem) -> tuple[str | None, str, str]:
    """What makes a refusal the same as an earlier one."""
    return rejection.item_id, rejection.error_type, content_hash(rejection.source_data)
