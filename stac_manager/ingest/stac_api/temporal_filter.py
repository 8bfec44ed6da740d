"""Whether items are inside a time window, and how densely they are distributed over it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.ingest.protocol import Page
from stac_manager.items import item_interval, item_time
from stac_manager.times import Window

__all__ = ["LONG_AGO", "are_within", "estimate_by_density", "is_within", "uncached_window"]

LONG_AGO = Window(datetime(1000, 1, 1, tzinfo=UTC), datetime(1000, 1, 2, tzinfo=UTC))
"""A window without items, to test whether a server honours windows."""


_ALL_TIMES = Window(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def uncached_window(window: Window | None) -> Window:
    """The window plus a random part of a second, for a fresh count: pgstac caches the count of a search for a day."""
    whole = window or _ALL_TIMES
    part = timedelta(microseconds=1 + secrets.randbelow(999_999))
    return Window(whole.start, min(whole.end, _ALL_TIMES.end) + part)


def is_within(item: FetchedItem, window: Window | None) -> bool:
    """Whether the item's instant or range is in the window; an item with an unreadable time is rejected later."""
    return window is None or are_within(item.times, window)


def are_within(times: dict[str, Any], window: Window) -> bool:
    """The same for the times of an item: `datetime`, `start_datetime` and `end_datetime`."""
    properties = {"properties": times}
    try:
        instant, interval = item_time(properties), item_interval(properties)
    except ValueError:
        return True
    if instant is None or interval is None:
        return True
    return _within(instant, instant, window) or _within(*interval, window)


def _within(start: datetime, end: datetime, window: Window) -> bool:
    return start <= window.end and end >= window.start


def estimate_by_density(page: Page, window: Window) -> int:
    """An estimate of the items in the window: all of it as dense as the first page."""
    times = []
    for item in page.items:
        try:
            times.append(item.instant())
        except ValueError:
            continue
    found = [time for time in times if time is not None]
    if len(found) < 2:
        return page.received * 4
    span = max((max(found) - min(found)).total_seconds(), 1.0)
    return int(page.received * max(1.0, (window.end - window.start).total_seconds() / span))
