"""The interface of a source: it yields the items of a window, and reports whether a window changed.

What belongs here: what every source must offer, and the types it exchanges with a fetch. What does not: any one source.
"""

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
"""The result of `Source.detect_updated_filter` for a source that cannot filter by `updated`."""


@dataclass(frozen=True, slots=True)
class Since:
    """Only items whose `updated` is at or after an instant."""

    instant: datetime
    updated_filter: str
    """The result of `Source.detect_updated_filter`; only the source knows its meaning."""


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one request."""

    items: Sequence[FetchedItem]
    rejected_items: Sequence[RejectedItem] = ()
    """Members of the page that are no items, or not strict JSON."""
    outside: int = 0
    """Items that were not requested: of another collection, or of another time."""

    @property
    def received(self) -> int:
        """The number of members of the page."""
        return len(self.items) + len(self.rejected_items) + self.outside


PageSink = Callable[[Page, int | None], None]
"""Called with each page, in any order, and with the total number of items expected, if that is known."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap check of a window: an equal fingerprint means that the probe found no change."""

    fingerprint: str
    matched: int | None
    """The source's count of the window's items; None if it gives none."""


@dataclass(slots=True)
class FetchFacts:
    """Numbers of a fetch, for people and for the proof that it is complete."""

    slices: int = 0
    """Time slices that were proven complete."""
    splits: int = 0
    """Slices that could not be proven complete, and were read again."""
    pages: int = 0
    requests: int = 0
    retries: int = 0
    received_bytes: int = 0
    matched: int | None = None
    """The source's count for the whole window; None if it gave none, or a wrong one."""


class Source(Protocol):
    """A source of the items of one collection."""

    @property
    def host(self) -> str:
        """The host that answers, for limits across runs."""
        ...

    def collection(self) -> dict[str, Any]:
        """The STAC Collection as the source serves it."""
        ...

    async def probe(self, window: Window) -> Probe:
        """Check a window with one request, or with two if its items have no `updated`."""
        ...

    async def newest(self, window: Window) -> datetime | None:
        """The latest `updated` of the window's items that is not in the future.

        None if the source does not sort by `updated`, or items do not have it.

        Raises:
            SourceError: the source failed.
        """
        ...

    async def detect_updated_filter(self, window: Window) -> str | None:
        """How the source filters by `updated`, tested against known items of the window.

        `NO_FILTER` if it cannot; None if the window has no item to test with, so that the test must be repeated later.

        Raises:
            SourceError: the source failed.
        """
        ...

    async def fetch(
        self, window: Window | None, sink: PageSink, limit: int | None = None, *, since: Since | None = None
    ) -> FetchFacts:
        """Pass every item of the closed window to `sink`; an item may come more than once.

        Args:
            window: None: the whole collection.
            sink: called with each page.
            limit: stop after this many different items.
            since: only items that were updated at or after an instant.

        Raises:
            SourceError: the source failed, or ignores `since`; the sink did not get all items.
            IncompleteError: the source has more items than it sent, or it cannot be proven that it sent all.
        """
        ...

    async def find(self, ids: Sequence[str], sink: PageSink) -> FetchFacts:
        """Pass every item with one of these ids to `sink`, at any time, if it passes the filters.

        An id that the source does not have gives no item. A source that cannot combine ids with filters may pass items
        that the filters exclude.

        Raises:
            SourceError: the source failed; an item that did not reach the sink may still exist.
        """
        ...


class SourceType(Protocol):
    """A type of source, named by `source.type` of a workflow and registered in `stac_manager.registry.SOURCES`."""

    @property
    def config(self) -> type[BaseSourceConfig]:
        """The model of the section `source` for this type."""
        ...

    def build(self, workflow: Workflow, collection: str) -> Source | ReadOnceSource:
        """The source of a collection. It must not use the network, because loading the definitions calls it."""
        ...
