"""Find out which partitions are behind their source, within a budget of requests.

A look asks, in this order: what is unfinished here; what the source dates after the watermark, where it can be asked
that; whether the latest windows look as they did, and older ones in turn; and, with what is left, whether partitions in
turn still are, item by item, what the source has. See docs/sync.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from stac_manager.errors import SourceError, StorageError, UnheardError
from stac_manager.ingest import PAGE_SIZE, IngestModule, home_of
from stac_manager.items import content_hash, loads_exactly, safe_name
from stac_manager.pipeline.chain import Chain, Mode
from stac_manager.pipeline.layout import CATALOG_KEY, collection_key, moved_key, publishing_key, unlisted_folder
from stac_manager.pipeline.manifest import STAGES
from stac_manager.pipeline.moves import mark_moves
from stac_manager.pipeline.stage_files import read_index, read_refused
from stac_manager.times import parse_rfc3339, utc_now

__all__ = ["Finding", "Look"]

log = logging.getLogger(__name__)

_ALL_AT_ONCE = 400
"""Up to so many partitions are checked here at every look; of more, the latest and those whose turn it is."""

_SHARE_OF_LOOKS = 6
"""The part of the budget that looks at older windows may take."""

_LEAST_COMPARED = 10
_SHARE_COMPARED = 50
"""A look compares so many pages, or this part of all pages of the collection, whichever is more, within the budget."""

_AT_LEAST = 1.0
"""Seconds that a request must have left to be worth asking."""


_RANKS: dict[Mode, int] = {"resume": 0, "changes": 1, "scan": 2}


@dataclass(frozen=True)
class Finding:
    """A partition that is behind."""

    partition: str
    mode: Mode
    """What brings it up to date."""
    reason: str
    """One line for a person."""


@dataclass
class _Change:
    """An item that the source dates after the watermark."""

    item_id: str
    content_hash: str


class Look:
    """One look at one collection.

    Args:
        chain: of the collection.
        only: partitions to look at; None for all.
        confirmed: a person confirmed deletions, so partitions that hold some back are behind.
        busy: partitions that a run is writing just now; they are left alone.
        dry: write nothing, not even what was found out.
        seconds: after which nothing more is asked.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        only: Collection[str] | None = None,
        confirmed: bool = False,
        busy: Collection[str] = (),
        dry: bool = False,
        seconds: float = 1e9,
    ) -> None:
        self._chain, self._busy, self._confirmed, self._dry = chain, busy, confirmed, dry
        chain.memory.read_only = dry
        self._keys = [key for key in chain.partitions() if only is None or key in only]
        self._until = time.monotonic() + seconds
        self._feed: dict[str, list[_Change]] = {}
        self._feed_newest: datetime | None = None
        self._feed_known = False
        self.requests = 0
        self.found: dict[str, Finding] = {}

    def run(self) -> list[Finding]:
        """Look, and give what is behind, the latest partitions first.

        Raises:
            SourceError: the source does not answer, and nothing was found out.
            StorageError: a file cannot be read or written.
        """
        self._unfinished()
        try:
            self._changes()
            self._windows()
            self._compare()
        except TimeoutError:
            log.info("%s: the look took too long, and goes on at the next one", self._chain.collection)
        except SourceError:
            if not self.found:
                raise
        if not self._dry:
            self.confirm()
        return [self.found[key] for key in reversed(self._keys) if key in self.found]

    def confirm(self) -> None:
        """Move the watermark up to the newest change, if all that this look heard of is taken over."""
        if not self._feed_known or self._feed_newest is None:
            return
        if not any(self._missing(partition, changes) for partition, changes in self._feed.items()):
            self._chain.memory.advance(self._feed_newest)

    @property
    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left < _AT_LEAST:
            raise TimeoutError
        return left

    def _add(self, partition: str, mode: Mode, reason: str) -> None:
        """What asks for more stands: a scan does what a merge does, and both go on to the later stages."""
        known = self.found.get(partition)
        if partition not in self._busy and (known is None or _RANKS[mode] > _RANKS[known.mode]):
            self.found[partition] = Finding(partition, mode, reason)

    def _asks_source(self, partition: str) -> bool:
        """Whether what was found will be read from the source anyway."""
        return partition in self.found and self.found[partition].mode != "resume"

    def _unfinished(self) -> None:
        chain, collection = self._chain, self._chain.collection
        if not self._dry:
            mark_moves(chain.storage, collection)
        there = set(chain.storage.list(f"stages/{safe_name(collection)}"))
        if not self._busy and not self._dry:
            self._relist(there)
        closely = set(self._keys if len(self._keys) <= _ALL_AT_ONCE else self._keys[-_ALL_AT_ONCE:])
        for partition in self._keys:
            manifests = [chain.place(stage, partition).manifest_key for stage in STAGES]
            if manifests[0] not in there:
                self._add(partition, "scan", "is not there yet")
            elif moved_key(collection, partition) in there:
                self._add(partition, "scan", "items have moved")
            elif publishing_key(collection, partition) in there or not there.issuperset(manifests):
                self._add(partition, "resume", "was not finished")
            elif self._confirmed and chain.raw.holding(partition):
                self._add(partition, "scan", "deletions were held back, and are confirmed")
            elif partition in closely and not chain.is_finished(partition):
                self._add(partition, "resume", "was not finished, or the workflow has changed")

    def _relist(self, there: set[str]) -> None:
        """Write the documents above the partitions where they are missing or behind."""
        chain, collection = self._chain, self._chain.collection
        published = f"stages/{safe_name(collection)}/published/"
        above = (collection_key(collection), CATALOG_KEY)
        behind = any(key.startswith(f"{unlisted_folder(collection)}/") for key in there)
        if any(key.startswith(published) for key in there):
            behind |= any(chain.storage.size(key) is None for key in above)
        if not behind:
            return
        try:
            chain.publish_collection()
        except StorageError as error:
            log.warning("%s; the collection is published after what is behind", error)

    def _changes(self) -> None:
        """Ask what the source dates after the watermark, wherever in time it lies."""
        chain = self._chain
        if not self._keys or not self._language():
            return
        since = chain.since()
        if since is None:
            return
        with IngestModule(chain.source) as ingest:
            try:
                facts = ingest.fetch(chain.all_time(), since=since, seconds=self._left)
            except UnheardError as error:
                log.warning("%s; comparing windows instead", error)
                chain.memory.doubt_language()
                return
            self.requests += facts.requests
            for item_id, line in ingest:
                self._hear(item_id, line)
        self._feed_known = True
        for partition, changes in self._feed.items():
            if missing := self._missing(partition, changes):
                self._add(partition, "changes", f"new or changed items: {missing}")

    def _language(self) -> bool:
        record = self._chain.memory.load()
        if record.language is None:
            found = asyncio.run(asyncio.wait_for(self._chain.source.hears_updated(self._chain.all_time()), self._left))
            self.requests += 1
            with self._chain.memory.change() as record:
                record.language = found
        return record.language in ("cql2", "query")

    def _hear(self, item_id: str, line: bytes) -> None:
        try:
            item = loads_exactly(line)
            home = home_of(item, self._chain.scheme)
        except ValueError:
            return  # it belongs to no partition; the windows show it, if any can
        if home in self._keys:
            self._feed.setdefault(home, []).append(_Change(item_id, content_hash(item)))
        try:
            updated = parse_rfc3339(item["properties"]["updated"])
        except (KeyError, TypeError, ValueError):
            return
        if updated <= utc_now() and (self._feed_newest is None or updated > self._feed_newest):
            self._feed_newest = updated

    def _missing(self, partition: str, changes: list[_Change]) -> int:
        """How many of these changes are not taken over."""
        manifest = self._chain.raw.current(partition)
        if manifest is None:
            return len(changes)
        known = dict(read_index(self._chain.storage, manifest))
        for record in read_refused(self._chain.storage, manifest):
            known[record["item_id"]] = content_hash(record["error_context"]["source_data"])
        return sum(known.get(one.item_id) != one.content_hash for one in changes)

    def _windows(self) -> None:
        """Ask whether windows look as they did: the latest each time, older ones in turn."""
        sync = self._chain.workflow.sync
        for partition in reversed(self._keys[-sync.latest_windows :]):
            self._look_at(partition)
        old = self._keys[: -sync.latest_windows]
        record, start = self._chain.memory.load(), self.requests
        last = record.looked_at
        for partition in _after(old, last):
            if self.requests - start >= max(1, sync.request_budget // _SHARE_OF_LOOKS):
                break
            self._look_at(partition)
            last = partition
        else:
            return  # all of them had their turn
        with self._chain.memory.change() as record:
            record.looked_at = last

    def _look_at(self, partition: str) -> None:
        if self._asks_source(partition) or partition in self._busy:
            return
        look = asyncio.run(asyncio.wait_for(self._chain.probe(partition), self._left))
        self.requests += 1
        manifest = self._chain.raw.current(partition)
        if manifest is None or manifest.details["probe"] != look.fingerprint:
            self._add(partition, "scan", "the source shows something else than it did")

    def _compare(self) -> None:
        """Compare partitions in turn, item by item, with the source."""
        chain, budget = self._chain, self._share_to_compare()
        record = chain.memory.load()
        budget, owed = max(0, budget - record.owed), max(0, record.owed - budget)
        self._begin_cycle()
        last, used = record.compared, 0
        for partition in _after(self._keys, last):
            if used >= budget:
                break
            if not self._asks_source(partition) and partition not in self._busy:
                used += self._compare_one(partition)
            last = partition
        else:
            last = record.compared
        owed += max(0, used - budget)
        self.requests += used
        if (last, owed) != (record.compared, record.owed):
            with chain.memory.change() as record:
                record.compared, record.owed = last, owed

    def _share_to_compare(self) -> int:
        """Requests: enough for all of a small collection, and for a large one in some fifty looks."""
        workflow = self._chain.workflow
        page_size = workflow.processing.page_size or PAGE_SIZE
        manifests = (self._chain.raw.current(partition) for partition in self._keys[-_ALL_AT_ONCE:])
        pages = sum(-(-manifest.index.lines // page_size) for manifest in manifests if manifest)
        pages = pages * len(self._keys) // max(1, min(len(self._keys), _ALL_AT_ONCE))
        return max(1, min(workflow.sync.request_budget, max(_LEAST_COMPARED, pages // _SHARE_COMPARED)))

    def _begin_cycle(self) -> None:
        """Where the source filters by update but no watermark is known, one full round of comparisons finds it."""
        record = self._chain.memory.load()
        if record.language in ("cql2", "query") and record.watermark is None and record.cycle_newest is None:
            newest = max(self._known_updates(), default=None)
            if newest is not None:
                self._chain.memory.begin_cycle(self._keys, newest)

    def _known_updates(self) -> Iterator[datetime]:
        for partition in self._keys:
            manifest = self._chain.raw.current(partition)
            if manifest and manifest.details["newest"]:
                yield parse_rfc3339(manifest.details["newest"])

    def _compare_one(self, partition: str) -> int:
        cycle = self._chain.memory.load().cycle_newest
        try:
            differs, requests = self._chain.raw.differs(partition, self._left)
        except TimeoutError:
            self._add(partition, "scan", "takes too long to compare in one look, so it is read again")
            raise
        if differs:
            self._add(partition, "scan", "the source has something else than is here")
        else:
            self._chain.memory.compared(partition, cycle)
        return requests


def _after(keys: list[str], last: str | None) -> list[str]:
    """The keys in a circle, beginning after `last`."""
    later = [key for key in keys if last is not None and key > last]
    return later + keys[: len(keys) - len(later)]
