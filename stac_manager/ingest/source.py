"""What a source of items is: it yields the items of a window, and tells whether a window changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stac_manager.ingest.members import FetchedItem
from stac_manager.items import Refusal
from stac_manager.times import Window

__all__ = ["FetchFacts", "Page", "PageSink", "Probe", "Source"]


@dataclass(frozen=True, slots=True)
class Page:
    """What one request brought."""

    items: Sequence[FetchedItem]
    refusals: Sequence[Refusal] = ()
    """Members of the page that are no items, or not strict JSON."""
    outside: int = 0
    """Items that were not asked for: of another collection, or another time."""

    @property
    def received(self) -> int:
        """How many members the page had."""
        return len(self.items) + len(self.refusals) + self.outside


PageSink = Callable[[Page, int | None], None]
"""Takes each page as it arrives, in any order, and how many items are expected in all, where that is known."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap look at a window: if the fingerprint is as before, nothing that the look shows has changed."""

    fingerprint: str
    matched: int | None
    """How many items the source says the window has; None where it does not say."""


@dataclass(slots=True)
class FetchFacts:
    """How a fetch went, for people and for the proof that it is complete."""

    slices: int = 0
    """Time slices that were read to their ends."""
    splits: int = 0
    """Slices that could not be proven complete, and were cut and read again."""
    pages: int = 0
    requests: int = 0
    retries: int = 0
    received_bytes: int = 0
    matched: int | None = None
    """Items that the source claimed for the whole window; None where it made no claim, or one that proved false."""


class Source(Protocol):
    """A place that items come from, for one collection."""

    @property
    def host(self) -> str:
        """The host that answers, for limits that span runs."""
        ...

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the source has it."""
        ...

    async def probe(self, window: Window) -> Probe:
        """Look at a window with one request."""
        ...

    async def fetch(self, window: Window | None, sink: PageSink, limit: int | None = None) -> FetchFacts:
        """Hand every item that the source has in the closed window to `sink`; items may come more than once.

        Args:
            window: None takes the whole collection.
            sink: takes the pages as they arrive.
            limit: stop when this many different items have come.

        Raises:
            SourceError: the source failed; what reached the sink is not the whole.
            IncompleteError: the source has more than it gave, or it cannot be shown that it has not.
        """
        ...
