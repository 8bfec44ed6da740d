"""Which of the windows that an item was found in is the one it belongs to."""

from __future__ import annotations

from datetime import datetime

from stac_manager.items import Item, item_interval, item_time
from stac_manager.partitioning import PartitionScheme
from stac_manager.times import Window

__all__ = ["belongs_to", "target_partition"]


def belongs_to(item: Item, key: str, scheme: PartitionScheme) -> bool:
    """Whether an item that was found in the window of `key` belongs there; of all windows it is found in, one says so.

    An item belongs by `datetime`, else `start_datetime`. Two cases need more: an item that starts before the first
    window belongs to the first one, and an item whose `datetime` lies outside of its own range, so that a search by
    range never finds it there, belongs by its start. (Such an item whose `datetime` is the very edge of two windows may
    be kept in both: rather twice than never.)

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = item_time(item), item_interval(item)
    if instant is None or interval is None:
        raise ValueError("the item has neither `datetime` nor `start_datetime`")
    if scheme.target_partition(instant) == key:
        return True
    return (
        not _meets(interval, scheme.window(scheme.target_partition(instant)))
        and scheme.target_partition(interval[0]) == key
    )


def target_partition(item: Item, scheme: PartitionScheme) -> str:
    """The partition that an item belongs to.

    Raises:
        ValueError: the item has no time at all, or one that cannot be read.
    """
    instant, interval = item_time(item), item_interval(item)
    if instant is None or interval is None:
        raise ValueError("the item has neither `datetime` nor `start_datetime`")
    home = scheme.target_partition(instant)
    return home if _meets(interval, scheme.window(home)) else scheme.target_partition(interval[0])


def _meets(interval: tuple[datetime, datetime], window: Window) -> bool:
    return interval[0] <= window.end and interval[1] >= window.start
