"""Coverage: how much of a collection was compared item by item with its source, and how long ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from stac_manager.times import parse_rfc3339

__all__ = ["Coverage", "oldest_of"]


@dataclass(frozen=True)
class Coverage:
    """The present round of comparisons. A scan counts as a comparison. The round ends after every partition."""

    partitions: int
    compared: int
    """Partitions that were compared in the present round."""
    share_of_items: float | None
    """Their share of all items; None if it is not known."""
    oldest: tuple[str, datetime] | None
    """The partition whose last comparison is the oldest, and its time; None if one was never compared."""
    never: int
    """Partitions without a recorded comparison."""
    checks_left: int
    """About how many more sync checks complete the round."""
    now: datetime

    def __str__(self) -> str:
        return f"{self._share}; {self._age}{self._rest}"

    @property
    def _share(self) -> str:
        if self.compared == self.partitions > 0:
            return f"all {self.partitions} partitions were compared item by item in the present round"
        items = "" if self.share_of_items is None else f" ({self.share_of_items:.0%} of the items)"
        return f"{self.compared} of {self.partitions} partitions{items} were compared item by item in the present round"

    @property
    def _age(self) -> str:
        if self.oldest is None:
            return f"of {self.never}, no comparison is recorded yet" if self.never else "there is nothing to compare"
        partition, when = self.oldest
        return f"the oldest comparison is {_span(self.now - when)} old ({partition})"

    @property
    def _rest(self) -> str:
        if self.compared == self.partitions:
            return ""
        more = "1 more sync check" if self.checks_left == 1 else f"{self.checks_left} more sync checks"
        return f"; all will have been compared after about {more}"


def oldest_of(partitions: list[str], compared_at: Mapping[str, str]) -> tuple[str, datetime] | None:
    """The partition whose last comparison is the oldest; None if one of them was never compared."""
    if not partitions or any(partition not in compared_at for partition in partitions):
        return None
    return min(((one, parse_rfc3339(compared_at[one])) for one in partitions), key=lambda pair: pair[1])


def _span(age: timedelta) -> str:
    """A duration in words."""
    minutes = max(0, round(age.total_seconds() / 60))
    for name, size in (("day", 24 * 60), ("hour", 60)):
        if minutes >= size:
            count = minutes // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
