"""What a source of items is: it yields the items of a window, and tells what of it changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.quarantine import RejectedItem
from stac_manager.times import Window

if TYPE_CHECKING:
    from stac_manager.config import BaseSourceConfig, Workflow
    from stac_manager.ingest.routing import ReadOnceSource

__all__ = ["NO_FILTER", "FetchFacts", "Page", "PageSink", "Probe", "Since", "Source", "SourceType"]

NO_FILTER = "no"
"""What `Source.detect_updated_filter` gives for a source that cannot be asked for changes."""


@dataclass(frozen=True, slots=True)
class Since:
    """Only items whose `updated` is at or after an instant."""

    instant: datetime
    updated_filter: str
    """What `Source.detect_updated_filter` gave; only the source knows what it means."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one request brought."""

    items: Sequence[FetchedItem]
    rejected_items: Sequence[RejectedItem] = ()
    """Members of the page that are no items, or not strict JSON."""
    outside: int = 0
    """Items that were not asked for: of another collection, or another time."""

    @property
    def received(self) -> int:
        """How many members the page had."""
        return len(self.items) + len(self.rejected_items) + self.outside


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
        """Look at a window with one request, or two where items do not say when they were updated."""
        ...

    async def newest(self, window: Window) -> datetime | None:
        """The latest `updated` of the window's items that is not in the future.

        None where the source does not sort by it, or items do not say it.

        Raises:
            SourceError: the source failed.
        """
        ...

    async def detect_updated_filter(self, window: Window) -> str | None:
        """How the source can be asked for what was updated since an instant, tested against known items of the window.

        `NO_FILTER` where it cannot; None where the window has no item to test with, so that it is to be asked again.

        Raises:
            SourceError: the source failed.
        """
        ...

    async def fetch(
        self, window: Window | None, sink: PageSink, limit: int | None = None, *, since: Since | None = None
    ) -> FetchFacts:
        """Hand every item that the source has in the closed window to `sink`; items may come more than once.

        Args:
            window: None takes the whole collection.
            sink: takes the pages as they arrive.
            limit: stop when this many different items have come.
            since: only what was updated at or after an instant.

        Raises:
            SourceError: the source failed, or ignores `since`; what reached the sink is not the whole.
            IncompleteError: the source has more than it gave, or it cannot be shown that it has not.
        """
        ...

    async def find(self, ids: Sequence[str], sink: PageSink) -> FetchFacts:
        """Hand every item with one of these ids to `sink`, whatever its time, if it passes the filters.

        Ids that the source does not have bring nothing. Where a source gives items by their ids only, and not by ids
        and filters together, they come as they are found.

        Raises:
            SourceError: the source failed; what did not reach the sink may be there all the same.
        """
        ...


class SourceType(Protocol):
    """A type of source, as `source.type` of a workflow names it; registered in `stac_manager.registry.SOURCES`."""

    @property
    def config(self) -> type[BaseSourceConfig]:
        """The model of the section `source` for this type."""
        ...

    def build(self, workflow: Workflow, collection: str) -> Source | ReadOnceSource:
        """The source of a collection. Must not ask the network: definitions are loaded with it."""
        ...
