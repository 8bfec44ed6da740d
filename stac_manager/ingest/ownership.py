"""Which of the windows that an item was found in is the one it belongs to."""

from __future__ import annotations

from datetime import datetime

from stac_manager.items import Item, item_interval, item_time
from stac_manager.times import Window
from stac_manager.windows import PartitionScheme

__all__ = ["belongs_to"]


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
    if _key(instant, scheme) == key:
        return True
    home = scheme.window(_key(instant, scheme))
    if _meets(interval, home):
        return False
    return _key(interval[0], scheme) == key


def _key(instant: datetime, scheme: PartitionScheme) -> str:
    return scheme.key_of(max(instant, scheme.first))


def _meets(interval: tuple[datetime, datetime], window: Window) -> bool:
    return interval[0] <= window.end and interval[1] >= window.start
