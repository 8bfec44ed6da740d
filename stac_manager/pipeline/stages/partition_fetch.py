"""Fetch a partition: scan the whole window, or merge changed items into the last generation."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import batched, filterfalse
from typing import Any

from stac_manager.config import Workflow
from stac_manager.dedup import BufferedItem
from stac_manager.errors import SourceError
from stac_manager.files import write_lines
from stac_manager.ingest import FetchFacts, IngestModule, Probe, Source
from stac_manager.ingest.partition_assignment import Assignment, PartitionAssigner, Unassigned
from stac_manager.items import dumps
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.changes.deletions import Deletions, require_below_threshold
from stac_manager.pipeline.changes.left_items import LeftItems, tell_unassigned
from stac_manager.pipeline.state.manifest import Ledger, Manifest, StagePartition
from stac_manager.pipeline.state.marks import mark_new_ids
from stac_manager.pipeline.state.paths import collection_lock, rescan_mark, source_collection_key
from stac_manager.pipeline.state.stage_files import (
    read_entries,
    read_index,
    read_intact_manifest,
    read_manifest,
    read_rejected,
    remove_orphaned_files,
)
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.progress import ProgressCallback
from stac_manager.quarantine import RejectedItem, rejected_item_of
from stac_manager.storage import Storage
from stac_manager.times import Window, format_rfc3339, parse_rfc3339, utc_now

__all__ = ["PartitionFetcher"]

log = logging.getLogger(__name__)

_RUN_FACTS = ("slices", "splits", "pages", "requests", "retries", "received_bytes")


@dataclass
class _Tally:
    """Counts of the items of one run."""

    skipped: int = 0
    carried: int = 0
    added: int = 0
    moved_out: int = 0
    """Items of the last generation that now belong elsewhere."""
    retained: dict[str, str] = field(default_factory=dict)
    """Those of them that stay until another partition has published them -> that partition."""
    ids: set[str] = field(default_factory=set)
    """The ids received in a merge."""
    unassigned: Unassigned = field(default_factory=Unassigned)
    """Fetched items that belong to no partition."""
    left: Unassigned = field(default_factory=Unassigned)
    """Items of the last generation that belong to no partition now."""


@dataclass
class PartitionFetcher:
    """Fetches the windows of one collection."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    code_version: str
    _is_stored: bool = field(default=False, init=False)
    """Whether this run has stored the collection as the source describes it."""

    @cached_property
    def scheme(self) -> PartitionScheme:
        """The partitions of the collection."""
        temporal = self.workflow.source.filters.temporal
        return replace(self.workflow.scheme(), wanted_from=temporal.start_date, wanted_until=temporal.end_date)

    def window(self, partition: str) -> Window:
        """The window to fetch: the partition's window, limited to the workflow's temporal filter."""
        return self.scheme.asked(partition)

    def all_time(self) -> Window:
        """From the start of the first partition to the end of the present one."""
        keys = self.scheme.keys(utc_now())
        return Window(self.window(keys[0]).start, self.window(keys[-1]).end)

    def stage_partition(self, partition: str) -> StagePartition:
        """The stage `raw_items` of a partition."""
        return StagePartition(collection=self.collection, stage="raw_items", partition=partition)

    def reusable_manifest(self, partition: str) -> Manifest | None:
        """The manifest of the last run, if it was made with the present workflow and is not marked for a scan."""
        manifest = read_manifest(self.storage, self.stage_partition(partition))
        if manifest is None or manifest.code_version != self.code_version:
            return None
        return None if self.storage.size(rescan_mark(self.collection, partition)) is not None else manifest

    def pending_manifest(self, partition: str) -> Manifest | None:
        """The same, if it has pending deletions."""
        manifest = self.reusable_manifest(partition)
        return manifest if manifest and manifest.details["pending_deletions"] else None

    def intact_manifest(self, partition: str) -> Manifest | None:
        """The same, if all its files are intact."""
        return self.reusable_manifest(partition) and read_intact_manifest(self.storage, self.stage_partition(partition))

    def scan(self, partition: str, on_progress: ProgressCallback, *, allow_deletes: bool = False) -> Manifest:
        """Read the whole window. Items that the source no longer has are deleted, or await approval if they are many.

        Raises:
            SourceError: the source failed, or is not complete; nothing was changed.
        """
        window = self.window(partition)
        self._store_collection()
        with ExitStack() as stack:
            out = stack.enter_context(StageWriter(self.storage, self.stage_partition(partition)))
            before = out.previous
            ingest, facts, probe = self._fetch_unchanged(stack, window, on_progress)
            assigner, left_items = PartitionAssigner(partition, self.scheme), self._left_items(partition, before)
            tally = _Tally(ingest.outside, unassigned=assigner.unassigned, left=left_items.unassigned)
            if before is None and not allow_deletes:
                require_below_threshold(self.storage, out.stage_partition, ingest, self.workflow.sync.delete_threshold)
            deletions = self._deletions(before)
            fetched_items = filterfalse(assigner.is_elsewhere, ingest)
            deletions.find(
                ingest, fetched_items, lambda ids: left_items.find(self.source, ids), confirmed=allow_deletes
            )
            assigned = ((entry[0], assigner(entry)) for entry in ingest)
            pending = ((item[0], item) for item in deletions.retained_items())
            for _, verdict in heapq.merge(assigned, pending, key=lambda pair: pair[0]):
                tally.skipped += not self._write_item(verdict, out)
            self._reject(ingest, out)
            tally.carried = len(deletions.pending) + len(deletions.retained)
            details = {
                "matched": facts.matched,
                "distinct": len(ingest.items) + len(ingest.rejected_items) + ingest.outside,
                "probe": probe.fingerprint,
                "newest": format_rfc3339(assigner.newest) if assigner.newest else None,
                "in_no_partition": assigner.unassigned.count,
            }
            return self._commit(out, window, ingest, tally, facts, deletions, details)

    def merge(
        self,
        partition: str,
        on_progress: ProgressCallback,
        fill: Callable[[IngestModule, Window], FetchFacts],
        *,
        counted: bool,
        probe: Probe | None = None,
    ) -> Manifest | None:
        """Merge the items that `fill` fetches, and keep the others; None if a scan is needed.

        Args:
            partition: its name.
            on_progress: called with the number of items handled.
            fill: fetches the changed items; it may fetch others too.
            counted: compare the source's count of the window with the result of the merge.
            probe: the probe of the window from before the changes were fetched, if they are fetched already.
        """
        window, before = self.window(partition), self.intact_manifest(partition)
        if before is None:
            return None
        self._store_collection()
        with ExitStack() as stack:
            out = stack.enter_context(StageWriter(self.storage, self.stage_partition(partition)))
            ingest = stack.enter_context(IngestModule(self.source))
            if counted and probe is None:
                probe = asyncio.run(self.source.probe(window))
            facts = fill(ingest, window)
            assigner = PartitionAssigner(partition, self.scheme)
            tally = self._merged(ingest, before, assigner, out, on_progress)
            if probe is not None and not _count_adds_up(before.details["matched"], probe.matched, tally):
                return None
            details = _merged_details(before, probe, assigner, tally)
            deletions = self._deletions(before)
            deletions.carry_over(tally.ids, tally.retained)
            return self._commit(out, window, ingest, tally, facts, deletions, details)

    def unchanged(self, manifest: Manifest) -> Manifest:
        """The manifest as the result of a run without work."""
        remove_orphaned_files(self.storage, manifest)
        return manifest.as_unchanged(dict.fromkeys(_RUN_FACTS, 0))

    def _fetch_unchanged(
        self, stack: ExitStack, window: Window, on_progress: ProgressCallback
    ) -> tuple[IngestModule, FetchFacts, Probe]:
        """Fetch a window, and fetch it again if the source changed meanwhile, because shifting pages can hide items.

        Later changes are found by the next sync check, because the stored probe is from before the fetch.
        """
        before = asyncio.run(self.source.probe(window))
        for last in (False, True):
            ingest = stack.enter_context(IngestModule(self.source))
            facts = ingest.fetch(window, on_progress=on_progress)
            after = asyncio.run(self.source.probe(window))
            if last or after == before:
                break
            log.info("%s, %s: changed during the fetch; fetching it again", self.collection, window.interval)
            before = after
        return ingest, facts, before

    @cached_property
    def _filters(self) -> str:
        others = set(type(self.workflow.source).model_fields) - {"filters"}
        return self.workflow.section_hash("source", leaving_out={"source": others})

    def _deletions(self, before: Manifest | None) -> Deletions:
        refiltered = before is not None and before.details.get("filters") != self._filters
        return Deletions(self.storage, before, self.workflow.sync.delete_threshold, refiltered=refiltered)

    def _left_items(self, partition: str, before: Manifest | None) -> LeftItems:
        return LeftItems(self.storage, self.collection, partition, self.scheme, before)

    def _moved_out(self, ingest: IngestModule, before: Manifest, assigner: PartitionAssigner) -> Iterator[BufferedItem]:
        """Fetched items of the last generation that now belong elsewhere."""
        moved_out = dict(filter(assigner.is_elsewhere, ingest))
        known = read_index(self.storage, before) if moved_out else ()
        return ((item_id, moved_out[item_id]) for item_id, _ in known if item_id in moved_out)

    def _write_item(self, verdict: Assignment, out: StageWriter) -> bool:
        """Write or reject an item; False if it belongs to another partition."""
        if isinstance(verdict, RejectedItem):
            out.reject([verdict])
        elif verdict is not None:
            out.write(verdict)
        return verdict is not None

    def _reject(self, ingest: IngestModule, out: StageWriter) -> None:
        for records in batched(ingest.rejected_items.records(str), 100):
            out.reject(map(rejected_item_of, records))

    def _merged(
        self,
        ingest: IngestModule,
        before: Manifest,
        assigner: PartitionAssigner,
        out: StageWriter,
        on_progress: ProgressCallback,
    ) -> _Tally:
        left_items = self._left_items(out.stage_partition.partition, before)
        tally = _Tally(ingest.outside, unassigned=assigner.unassigned, left=left_items.unassigned)
        tally.retained = left_items.of_those_that_came(self._moved_out(ingest, before, assigner))
        old = read_entries(self.storage, before)
        rest = next(old, None)
        for entry in ingest:
            item_id, verdict = entry[0], assigner(entry)
            while rest is not None and rest[0] < item_id:
                out.carry_over(rest[1], rest[2])
                tally.carried += 1
                rest = next(old, None)
            known = rest is not None and rest[0] == item_id
            here = self._write_item(verdict, out)
            if rest is not None and known:
                if item_id in tally.retained:
                    out.carry_over(rest[1], rest[2])
                    tally.carried += 1
                rest = next(old, None)
            tally.ids.add(item_id)
            tally.skipped += not here
            tally.moved_out += known and not here
            tally.added += here and not known
            on_progress(1)
        while rest is not None:
            out.carry_over(rest[1], rest[2])
            tally.carried += 1
            rest = next(old, None)
        self._carry_rejected(ingest, before, out, tally)
        return tally

    def _carry_rejected(self, ingest: IngestModule, before: Manifest, out: StageWriter, tally: _Tally) -> None:
        self._reject(ingest, out)
        tally.ids |= {str(record["item_id"]) for record in ingest.rejected_items.records(str)}
        fresh = len(out.rejected_items)
        earlier = (rejected_item_of(record) for record in read_rejected(self.storage, before))
        out.reject([rejection for rejection in earlier if rejection.item_id not in tally.ids])
        tally.carried += len(out.rejected_items) - fresh

    def _store_collection(self) -> None:
        if self._collection.get("id") != self.collection:
            raise SourceError(
                f"the source describes the collection {self._collection.get('id')!r}, not {self.collection!r}"
            )
        if self._is_stored:
            return
        document = dumps(self._collection)
        key = source_collection_key(self.collection)
        self.storage.update(key, lambda _: document, collection_lock(self.collection))
        self._is_stored = True

    @cached_property
    def _collection(self) -> dict[str, Any]:
        return self.source.collection()

    def _commit(
        self,
        out: StageWriter,
        window: Window,
        ingest: IngestModule,
        tally: _Tally,
        facts: FetchFacts,
        deletions: Deletions,
        details: dict[str, Any],
    ) -> Manifest:
        ledger = Ledger(
            received=ingest.received,
            carried=tally.carried,
            passed=out.written,
            quarantined=len(out.rejected_items),
            deduplicated=ingest.duplicates,
            skipped=tally.skipped,
        )
        run = {name: getattr(facts, name) for name in _RUN_FACTS}
        done = out.commit(
            ledger,
            code_version=self.code_version,
            details={
                "interval": window.interval,
                "filters": self._filters,
                **details,
                "pending_deletions": len(deletions.pending),
            },
            run={**run, "requests": run["requests"] + 2, "left_for_no_partition": tally.left.count},
            files={name: _written(out, name, lines) for name, lines in deletions.files().items()},
            before_manifest=self._mark_new_ids,
        )
        tell_unassigned(done, tally.left, tally.unassigned)
        return done

    def _mark_new_ids(self, manifest: Manifest) -> None:
        """Mark the partition if it got new ids: another partition may have them, if their items have moved."""
        if manifest.changes.added:
            mark_new_ids(self.storage, self.collection, manifest.partition, manifest.content_hash)


def _written(out: StageWriter, name: str, lines: Iterable[bytes]) -> Any:
    path = out.folder / f"{name}.ndjson.zst"
    write_lines(path, lines)
    return path


def _merged_details(
    before: Manifest, probe: Probe | None, assigner: PartitionAssigner, tally: _Tally
) -> dict[str, Any]:
    written = {name: before.details[name] for name in ("matched", "distinct", "probe")}
    written["in_no_partition"] = max(before.details.get("in_no_partition", 0), tally.unassigned.count)
    newest = max(filter(None, (assigner.newest, _instant(before.details["newest"]))), default=None)
    text = format_rfc3339(newest) if newest else None
    if probe is None:
        return {**written, "newest": text}
    grown = tally.added if probe.matched is None else probe.matched - before.details["matched"]
    return {
        "matched": probe.matched,
        "distinct": before.details["distinct"] + grown,
        "probe": probe.fingerprint,
        "newest": text,
        "in_no_partition": written["in_no_partition"],
    }


def _instant(text: str | None) -> datetime | None:
    return parse_rfc3339(text) if text else None


def _count_adds_up(claimed: int | None, matched: int | None, tally: _Tally) -> bool:
    """Whether the source's count grew by the added items; items of other windows may have been counted before."""
    if claimed is None or matched is None:
        return claimed is None and matched is None
    grown = matched - claimed
    return tally.added - tally.moved_out <= grown <= tally.added + tally.skipped
