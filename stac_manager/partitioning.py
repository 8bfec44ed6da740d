"""Partitions by time: which window an instant belongs to, and how each window is named.

Which partition an item belongs to is decided in `stac_manager.ingest.partition_assignment`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from stac_manager.errors import UsageError
from stac_manager.times import Window

__all__ = ["PartitionBy", "PartitionScheme"]

PartitionBy = Literal["day", "week", "month", "year"]

KEY_FORMATS: dict[PartitionBy, str] = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
"""`strftime` formats of partition names, the same as in Dagster's UI; a week is named by its Monday."""


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _floor(instant: datetime, by: PartitionBy) -> datetime:
    day = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if by == "week":
        return max(day, _FIRST + timedelta(days=7)) - timedelta(days=day.weekday())
    if by == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if by == "year" else day


def _next(start: datetime, by: PartitionBy) -> datetime:
    if _LAST - start < timedelta(days=366):
        return _LAST
    if by == "year":
        return start.replace(year=start.year + 1)
    if by == "month":
        return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    return start + timedelta(days=7 if by == "week" else 1)


@dataclass(frozen=True, slots=True)
class PartitionScheme:
    """How a collection is cut into partitions by time. An item belongs to one window at most."""

    by: PartitionBy
    start: datetime
    """Any instant of the first window, timezone-aware."""
    end: datetime | None = None
    """Any instant of the last window, timezone-aware; None: the present window is the last one."""
    wanted_from: datetime | None = None
    """The first instant of the temporal filter; an earlier item belongs to no partition."""
    wanted_until: datetime | None = None
    """The last instant of the temporal filter; a later item belongs to no partition."""

    def __post_init__(self) -> None:
        if self.by not in get_args(PartitionBy):
            raise UsageError(f"partitions are cut by {', '.join(get_args(PartitionBy))}, not by {self.by!r}")

    @property
    def first(self) -> datetime:
        """The start of the first window."""
        return _floor(self.start, self.by)

    def key_of(self, instant: datetime) -> str:
        """The name of the window that contains this instant, also outside of the scheme's range."""
        return _floor(instant, self.by).strftime(KEY_FORMATS[self.by])

    def window(self, key: str) -> Window:
        """The window of a partition name.

        Raises:
            UsageError: no partition of this scheme has that name.
        """
        try:
            start = datetime.strptime(key, KEY_FORMATS[self.by]).replace(tzinfo=UTC)
        except ValueError:
            start = _FIRST
        if self.key_of(start) != key or start < self.first:
            example = self.key_of(self.start)
            raise UsageError(
                f"{key!r} is no partition: they are one a {self.by}, named like {example}, from {example} on"
            )
        return Window(start, _next(start, self.by))

    def may_have(self, key: str) -> bool:
        """Whether a partition of that name exists now or will exist later."""
        try:
            window = self.window(key)
        except UsageError:
            return False
        return self.end is None or window.start <= self.end

    def around(self, instant: datetime) -> Window:
        """The window that contains this instant, also outside of the scheme's range."""
        start = _floor(instant, self.by)
        return Window(start, _next(start, self.by))

    def target_partition(self, instant: datetime) -> str | None:
        """The partition that an instant belongs to; None before the first one and after `end`.

        It may be a partition of the future: `exists` tells whether it exists yet.
        """
        start = _floor(instant, self.by)
        if start < self.first or (self.end is not None and start > self.end):
            return None
        return start.strftime(KEY_FORMATS[self.by])

    def exists(self, key: str, now: datetime) -> bool:
        """Whether this partition of the scheme exists by now."""
        return self.window(key).start <= now

    def asked(self, key: str) -> Window:
        """The part of a partition's window inside the temporal filter; a single instant if no part is inside."""
        window = self.window(key)
        start = max(window.start, self.wanted_from or window.start)
        end = min(window.end, self.wanted_until or window.end)
        return Window(min(start, window.end), max(end, window.start))

    def is_wanted(self, start: datetime, end: datetime) -> bool:
        """Whether an interval overlaps the temporal filter."""
        after = self.wanted_from is None or end >= self.wanted_from
        return after and (self.wanted_until is None or start <= self.wanted_until)

    def keys(self, now: datetime) -> list[str]:
        """Every partition name in order, up to the window of `now`, or to the scheme's end if that is earlier."""
        return [self.key_of(start) for start in self._starts(now)]

    def _starts(self, now: datetime) -> Iterator[datetime]:
        last = now if self.end is None else min(now, self.end)
        start = self.first
        while start <= last:
            yield start
            start = _next(start, self.by)
