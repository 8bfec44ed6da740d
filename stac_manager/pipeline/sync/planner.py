"""Plan a sync: find the partitions that are stale, within a budget of requests.

A sync check has four steps. It finds partitions that are unfinished here. It fetches the items that the source dates
after the watermark, if the source can filter by `updated`. It probes the latest windows, and older ones in turn. With
the rest of the budget it compares partitions, in turn, item by item with the source. See docs/sync.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from stac_manager.errors import FilterIgnoredError, SourceError, StorageError
from stac_manager.ingest import NO_FILTER, PAGE_SIZE, IngestModule, Probe, is_surely_found, target_partition
from stac_manager.items import content_hash, loads_exactly
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.changes.moved_items import mark_moved
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.state.paths import after_blobs, state_folder
from stac_manager.pipeline.state.stage_files import read_index, read_rejected
from stac_manager.pipeline.state.sync_state import SyncState
from stac_manager.pipeline.sync.bucket_state import known_state
from stac_manager.pipeline.sync.comparison import differs
from stac_manager.pipeline.sync.coverage import Coverage, oldest_of
from stac_manager.pipeline.sync.stale_partition import RANKS, StalePartition
from stac_manager.pipeline.sync.unfinished import (
    CHECKED_EACH_TIME,
    find_unfinished,
    in_a_circle,
    republish_documents,
)
from stac_manager.times import format_rfc3339, parse_rfc3339, utc_now

__all__ = ["StalePartition", "SyncPlanner"]

log = logging.getLogger(__name__)

_PROBE_SHARE = 6
"""Probes of older windows may use one part in this many of the budget; the rest is for comparisons."""

_MIN_COMPARED_PAGES = 10
_COMPARED_SHARE = 50
"""A sync check compares `_MIN_COMPARED_PAGES`, or one part in this many of the collection's pages if that is more."""

_MIN_SECONDS = 1.0
"""No request is started with less time left than this."""


@dataclass
class _Change:
    """An item that the source dates after the watermark."""

    item_id: str
    content_hash: str


class SyncPlanner:
    """One sync check of one collection.

    Args:
        chain: of the collection.
        only: partitions to check; None for all.
        confirmed: a person approved deletions, so partitions with pending deletions are stale.
        running: partitions that a run is writing now; they are left out.
        dry: write nothing, not even the state of the sync.
        seconds: the time limit of the check.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        only: Collection[str] | None = None,
        confirmed: bool = False,
        running: Collection[str] = (),
        dry: bool = False,
        seconds: float = 1e9,
    ) -> None:
        self._chain, self._running, self._confirmed, self._dry = chain, running, confirmed, dry
        chain.sync_state.read_only = dry
        self._keys = [key for key in chain.partitions() if only is None or key in only]
        self._until = time.monotonic() + seconds
        self._feed: dict[str, list[_Change]] = {}
        self._feed_newest: datetime | None = None
        self._probes: dict[str, Probe] = {}
        self.feed: ChangeFeed | None = None
        """The fetched changes, if the caller keeps them."""
        self._feed_known = False
        self._look: ExitStack | None = None
        self._compared: list[str] = []
        self._after_comparing: SyncState | None = None
        self._last_compared: str | None = None
        self.requests = 0
        self.found: dict[str, StalePartition] = {}

    def plan(self, keep: ExitStack | None = None) -> list[StalePartition]:
        """Check the collection; returns its stale partitions, the latest first.

        Args:
            keep: if given, the fetched changes stay available as `feed` until it is closed.

        Raises:
            SourceError: the source does not answer, and no stale partition was found.
            StorageError: a file cannot be read or written.
        """
        chain = self._chain
        with chain.sync_state.collecting(), self.looked_at():
            self._find_unfinished()
            try:
                self._read_change_feed(keep)
                self._probe_windows()
                self._compare()
            except TimeoutError:
                log.info("%s: the sync check took too long; the next one continues", chain.collection)
            except SourceError:
                if not self.found:
                    raise
            if not self._dry:
                self.confirm()
        return [self.found[key] for key in reversed(self._keys) if key in self.found]

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Know the state of a bucket from one look, until the end of the block or `end_look`.

        `plan` looks; a caller that also reads the state of partitions that are up to date does so around all that.
        """
        if self._look is not None:
            yield
            return
        with ExitStack() as self._look:
            try:
                self._look.enter_context(known_state(self._chain, self._keys, dry=self._dry))
                yield
            finally:
                self._look = None

    def end_look(self) -> None:
        """Forget the look, because partitions are run now, perhaps by other processes."""
        if self._look is not None:
            self._look.close()
            self._look = None

    def confirm(self) -> None:
        """Move the watermark to the newest change, if all fetched changes are merged."""
        if not self._feed_known or self._feed_newest is None:
            return
        if not any(self._missing(partition, changes) for partition, changes in self._feed.items()):
            self._chain.sync_state.advance(self._feed_newest)

    @property
    def _seconds_left(self) -> float:
        left = self._until - time.monotonic()
        if left < _MIN_SECONDS:
            raise TimeoutError
        return left

    def _add(self, partition: str, mode: Mode, reason: str) -> None:
        """Note a stale partition; the mode that does more wins: a scan includes a merge, and both run later stages."""
        known = self.found.get(partition)
        if partition not in self._running and (known is None or RANKS[mode] > RANKS[known.mode]):
            self.found[partition] = StalePartition(partition, mode, reason)

    def _reads_source(self, partition: str) -> bool:
        """Whether the run of a stale partition reads the source anyway."""
        return partition in self.found and self.found[partition].mode != "resume"

    def _find_unfinished(self) -> None:
        chain = self._chain
        if not self._dry:
            mark_moved(chain.storage, chain.collection)
        after = after_blobs(chain.collection)
        there = set(chain.storage.list(state_folder(chain.collection), after=after))
        if not self._running and not self._dry:
            republish_documents(chain, there)
        for partition, mode, reason in find_unfinished(chain, self._keys, there, approved=self._confirmed):
            self._add(partition, mode, reason)

    def _read_change_feed(self, keep: ExitStack | None) -> None:
        """Fetch the items that the source dates after the watermark, of all windows."""
        chain = self._chain
        if not self._keys or not self._has_updated_filter():
            return
        since = chain.since()
        if since is None:
            return
        # probe before the fetch, so that a change in between is found by the next sync check
        for partition in self._keys[-chain.workflow.sync.latest_windows :]:
            self._probe(partition)
        with ExitStack() as stack:
            ingest = (keep or stack).enter_context(IngestModule(chain.source))
            feed = ChangeFeed(ingest, chain.scheme, self._probes)
            for partition in self._keys[-CHECKED_EACH_TIME:]:
                feed.note(partition, chain.raw.reusable_manifest(partition))
            try:
                facts = ingest.fetch(chain.all_time(), since=since, seconds=self._seconds_left)
            except FilterIgnoredError as error:
                log.warning("%s; comparing windows instead", error)
                chain.sync_state.forget_updated_filter()
                return
            self.requests += facts.requests
            for item_id, line in ingest:
                self._note_change(feed, item_id, line)
            self.feed = feed if keep else None
            self._feed_known = True
            for partition, changes in self._feed.items():
                feed.note(partition, chain.raw.reusable_manifest(partition))
                if missing := self._missing(partition, changes):
                    self._add(partition, "changes", f"new or changed items: {missing}")

    def _has_updated_filter(self) -> bool:
        record = self._chain.sync_state.load()
        if record.updated_filter is None:
            found = asyncio.run(
                asyncio.wait_for(self._chain.source.detect_updated_filter(self._chain.all_time()), self._seconds_left)
            )
            self.requests += 1
            self._chain.sync_state.set_updated_filter(found)
            record.updated_filter = found
        return record.updated_filter not in (None, NO_FILTER)

    def _note_change(self, feed: ChangeFeed, item_id: str, line: bytes) -> None:
        try:
            item = loads_exactly(line)
            target = target_partition(item, self._chain.scheme)
            found = target in self._keys and is_surely_found(item, target, self._chain.scheme)
            feed.add(item_id, item, target if found else None)
        except ValueError:
            feed.is_readable = False
            return  # it belongs to no partition; only window probes may find it
        if target is not None and found:
            self._feed.setdefault(target, []).append(_Change(item_id, content_hash(item)))
        try:
            updated = parse_rfc3339(item["properties"]["updated"])
        except (KeyError, TypeError, ValueError):
            return
        if updated <= utc_now() and (self._feed_newest is None or updated > self._feed_newest):
            self._feed_newest = updated

    def _missing(self, partition: str, changes: list[_Change]) -> int:
        """How many of these changes are not merged yet."""
        manifest = self._chain.raw.reusable_manifest(partition)
        if manifest is None:
            return len(changes)
        try:
            known = dict(read_index(self._chain.storage, manifest))
            for record in read_rejected(self._chain.storage, manifest):
                known[record["item_id"]] = content_hash(record["error_context"]["source_data"])
        except StorageError as error:  # a file is lost; the run makes it again
            log.warning("%s", error)
            return len(changes)
        return sum(known.get(one.item_id) != one.content_hash for one in changes)

    def _probe_windows(self) -> None:
        """Probe windows for a changed fingerprint: the latest each time, older ones in turn."""
        sync = self._chain.workflow.sync
        for partition in reversed(self._keys[-sync.latest_windows :]):
            self._probe_window(partition)
        old = self._keys[: -sync.latest_windows]
        record, start = self._chain.sync_state.load(), self.requests
        last = record.probe_cursor
        for partition in in_a_circle(old, last):
            if self.requests - start >= max(1, sync.request_budget // _PROBE_SHARE):
                break
            self._probe_window(partition)
            last = partition
        else:
            return  # all of them were probed
        self._chain.sync_state.set_cursors(probe_cursor=last)

    def _probe_window(self, partition: str) -> None:
        if self._probe(partition) is None or self._reads_source(partition):
            return
        manifest = self._chain.raw.reusable_manifest(partition)
        if manifest is None:
            self._add(partition, "scan", "was made for another source or filter, or by an earlier version")
        elif manifest.details["probe"] != self._probes[partition].fingerprint:
            self._add(partition, "scan", "its fingerprint at the source has changed")

    def _probe(self, partition: str) -> Probe | None:
        """Probe a window, once; None if its run reads the source anyway, or another run is writing it."""
        if self._reads_source(partition) or partition in self._running:
            return None
        if partition not in self._probes:
            probe = self._chain.probe(partition)
            self._probes[partition] = asyncio.run(asyncio.wait_for(probe, self._seconds_left))
            self.requests += 1
        return self._probes[partition]

    def _compare(self) -> None:
        """Compare partitions in turn, item by item, with the source."""
        chain, budget = self._chain, self._share_to_compare()
        record = chain.sync_state.load()
        budget, budget_overrun = max(0, budget - record.budget_overrun), max(0, record.budget_overrun - budget)
        self._begin_full_compare()
        cycle = chain.sync_state.load().full_compare_newest
        last, used = record.compared, 0
        try:
            for partition in in_a_circle(self._keys, last):
                if used >= budget:
                    break
                if not self._reads_source(partition) and partition not in self._running:
                    used += self._compare_one(partition)
                last = partition
            else:
                last = record.compared
        finally:
            self._after_comparing = chain.sync_state.compared(self._compared, cycle, chain.partitions())
        budget_overrun += max(0, used - budget)
        self.requests += used
        self._last_compared = last
        if (last, budget_overrun) != (record.compared, record.budget_overrun):
            chain.sync_state.set_cursors(compared=last, budget_overrun=budget_overrun)

    def coverage(self) -> Coverage:
        """How much of the collection was compared item by item in this round, and how long ago."""
        with self.looked_at():
            return self._coverage()

    def _coverage(self) -> Coverage:
        keys = self._chain.partitions()
        record = (self._after_comparing if self._dry else None) or self._chain.sync_state.load()
        now = format_rfc3339(utc_now())
        compared_at = {**record.compared_at, **dict.fromkeys(self._compared, now)}
        left = [key for key in keys if key in record.round_left or key not in compared_at]
        left = [key for key in left if key not in self._compared]
        turn = in_a_circle(keys, self._last_compared or record.compared)
        until = max((number for number, key in enumerate(turn, 1) if key in left), default=0)
        requests = max(1, self._pages(keys) // max(1, len(keys))) * until
        return Coverage(
            partitions=len(keys),
            compared=sum(key not in left and key in compared_at for key in keys),
            share_of_items=self._share_of_items(keys, left),
            oldest=oldest_of(keys, compared_at),
            never=sum(key not in compared_at for key in keys),
            checks_left=-(-requests // self._share_to_compare()),
            now=parse_rfc3339(now),
        )

    def _share_of_items(self, keys: list[str], left: list[str]) -> float | None:
        if len(keys) > CHECKED_EACH_TIME:
            return None
        lines = {key: manifest.index.lines for key in keys if (manifest := self._chain.raw.reusable_manifest(key))}
        total = sum(lines.values())
        return 1 - sum(lines.get(key, 0) for key in left) / total if total else None

    def _share_to_compare(self) -> int:
        """Requests for comparisons: a large collection is compared completely in about fifty sync checks."""
        pages = self._pages(self._keys)
        return max(1, min(self._chain.workflow.sync.request_budget, max(_MIN_COMPARED_PAGES, pages // _COMPARED_SHARE)))

    def _pages(self, keys: list[str]) -> int:
        """About how many pages these partitions have at the source."""
        page_size = self._chain.workflow.processing.page_size or PAGE_SIZE
        manifests = (self._chain.raw.reusable_manifest(partition) for partition in keys[-CHECKED_EACH_TIME:])
        pages = sum(-(-manifest.index.lines // page_size) for manifest in manifests if manifest)
        return pages * len(keys) // max(1, min(len(keys), CHECKED_EACH_TIME))

    def _begin_full_compare(self) -> None:
        """Begin a full comparison if the source can filter by `updated` but there is no watermark; its end sets one."""
        record = self._chain.sync_state.load()
        if (
            record.updated_filter not in (None, NO_FILTER)
            and record.watermark is None
            and record.full_compare_newest is None
        ):
            newest = max(self._known_updates(), default=None)
            if newest is not None:
                self._chain.sync_state.begin_full_compare(self._keys, newest)

    def _known_updates(self) -> Iterator[datetime]:
        for partition in self._keys:
            manifest = self._chain.raw.reusable_manifest(partition)
            if manifest and manifest.details["newest"]:
                yield parse_rfc3339(manifest.details["newest"])

    def _compare_one(self, partition: str) -> int:
        try:
            is_stale, requests = differs(self._chain.raw, partition, self._seconds_left)
        except TimeoutError:
            self._add(partition, "scan", "takes too long to compare in one sync check, so it is scanned")
            raise
        except StorageError as error:
            log.warning("%s", error)
            is_stale, requests = True, 0
        if is_stale:
            self._add(partition, "scan", "the source has something else than is here")
        else:
            self._compared.append(partition)
        return requests
