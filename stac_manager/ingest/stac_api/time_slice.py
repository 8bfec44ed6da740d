"""A slice of a window scan: what was asked for, and what has come of it so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.ingest.stac_api.temporal_filter import are_within
from stac_manager.times import Window

__all__ = ["MAX_TIMES", "TimeSlice"]

MAX_TIMES = 20_000
"""Items whose times are kept, some 5 MB. A slice has four pages, unless its items cannot be split by time."""


@dataclass(eq=False)
class TimeSlice:
    """A stretch of time to read, and what its pages have brought."""

    window: Window | None
    size: int
    """Items a page to request."""
    parent: TimeSlice | None = None
    claim: int | None = None
    """The server's count, from the latest page."""
    ids: set[str] = field(default_factory=set)
    other_ids: set[str] = field(default_factory=set)
    """Other members, by id or reason; needed to detect a page that has nothing new."""
    others: int = 0
    """Other members that the server counts: rejected items, and items of another collection."""
    outside: int = 0
    """Items of another time; they do not count as items of this slice."""
    far_outside: int = 0
    """Items outside by more than `_ROUNDING`."""
    repeats: int = 0
    changed: bool = False
    """The server's count changed from one page to the next."""
    pages: int = 0
    last_id: str = ""
    times: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The times of its items by id; of no more than `MAX_TIMES`."""

    @property
    def depth(self) -> int:
        """How often the window was split until it came to this slice."""
        return self.parent.depth + 1 if self.parent else 0

    @property
    def name(self) -> str:
        """The interval, for messages."""
        return self.window.interval if self.window else "all times"

    @property
    def received(self) -> int:
        """How many of the items that the server counts have come."""
        return len(self.ids) + self.others + (self.outside if self.window is None else 0)

    def restart(self) -> None:
        """Forget what came, to read it again."""
        self.ids.clear()
        self.other_ids.clear()
        self.times.clear()
        self.others = self.outside = self.far_outside = self.repeats = self.pages = 0
        self.changed = False

    def note(self, items: Iterable[FetchedItem]) -> None:
        """Keep the times of items, as long as they are few."""
        if len(self.times) <= MAX_TIMES:
            self.times.update((item.id, item.times) for item in items)

    def within(self, window: Window) -> int | None:
        """How many of the items that came lie in a part of the window; None where too many came to know."""
        if len(self.times) > MAX_TIMES:
            return None
        return sum(are_within(times, window) for times in self.times.values())
