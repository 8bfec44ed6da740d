"""The first stage: what the source has in a partition's window, read whole, or merged into what is there already."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import batched, filterfalse
from typing import Any

from stac_manager.config import Workflow
from stac_manager.errors import IncompleteError
from stac_manager.files import write_lines
from stac_manager.ingest import FetchFacts, IngestModule, Probe, Source
from stac_manager.items import Refusal, dumps
from stac_manager.pipeline.deletions import Deletions, read_held, read_staying, require_most
from stac_manager.pipeline.judging import Judge, Verdict, shape_of
from stac_manager.pipeline.layout import collection_lock, moved_key, source_collection_key
from stac_manager.pipeline.manifest import Ledger, Manifest, Place
from stac_manager.pipeline.moves import announce, homes_of, staying
from stac_manager.pipeline.stage_files import (
    StageWriter,
    compare_indexes,
    read_index,
    read_items,
    read_refused,
    read_sound,
    read_whole,
    tidy,
)
from stac_manager.spool import refusal_of
from stac_manager.storage import Storage
from stac_manager.times import Window, format_rfc3339, parse_rfc3339
from stac_manager.windows import PartitionScheme

__all__ = ["Progress", "RawStage"]

log = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Hears how many items a step has just handled."""

_NO_RUN = ("slices", "splits", "pages", "requests", "retries", "received_bytes")


@dataclass
class _Tally:
    """What became of the items of one run."""

    skipped: int = 0
    carried: int = 0
    added: int = 0
    left: int = 0
    """Items of the last generation that now belong elsewhere."""
    staying: dict[str, str] = field(default_factory=dict)
    """Those of them that are kept until they have come there."""
    ids: set[str] = field(default_factory=set)
    """Of what was received in a merge."""


@dataclass
class RawStage:
    """Fetches the windows of one collection."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    code_version: str

    @cached_property
    def scheme(self) -> PartitionScheme:
        """How the collection's time is cut."""
        return self.workflow.scheme()

    def window(self, partition: str) -> Window:
        """What to ask the source for: the partition's window, cut to the workflow's temporal filter."""
        window = self.scheme.window(partition)
        temporal = self.workflow.source.filters.temporal
        start = max(window.start, temporal.start_date or window.start)
        return Window(start, min(window.end, temporal.end_date or window.end))

    def place(self, partition: str) -> Place:
        """Where the stage of a partition is kept."""
        return Place(collection=self.collection, stage="raw_items", partition=partition)

    def current(self, partition: str) -> Manifest | None:
        """What the last run made, if it was made as the workflow says now and nothing says to look again."""
        manifest = read_sound(self.storage, self.place(partition))
        if manifest is None or manifest.code_version != self.code_version:
            return None
        return None if self.storage.size(moved_key(self.collection, partition)) is not None else manifest

    def holding(self, partition: str) -> Manifest | None:
        """The same, if deletions wait there for a person."""
        manifest = self.current(partition)
        return manifest if manifest and manifest.details["held"] else None

    def whole(self, partition: str) -> Manifest | None:
        """What the last run made, if its files are there too."""
        return self.current(partition) and read_whole(self.storage, self.place(partition))

    def scan(self, partition: str, progress: Progress, *, allow_deletes: bool = False) -> Manifest:
        """Read the whole window. What the source no longer has goes, unless it is more than a person must confirm.

        Raises:
            SourceError: the source failed, or is not complete; nothing was changed.
        """
        window = self.window(partition)
        self._keep_collection()
        with ExitStack() as stack:
            out = stack.enter_context(StageWriter(self.storage, self.place(partition)))
            before = out.previous
            ingest, facts, probe = self._fetch_still(stack, window, progress)
            tally, judge = _Tally(skipped=ingest.outside), Judge(partition, self.scheme)
            if before is None and not allow_deletes:
                require_most(self.storage, out.place, ingest, self.workflow.sync.delete_threshold)
            deletions = self._deletions(before)
            came = filterfalse(judge.is_elsewhere, ingest)
            deletions.find(ingest, came, lambda ids: self._moved(ids, partition, before), confirmed=allow_deletes)
            judged = ((entry[0], judge(entry)) for entry in ingest)
            held = ((item[0], item) for item in deletions.held_items())
            for _, verdict in heapq.merge(judged, held, key=lambda pair: pair[0]):
                tally.skipped += not self._take(verdict, out)
            self._refuse(ingest, out)
            tally.carried = len(deletions.held) + len(deletions.staying)
            details = {
                "claimed": facts.matched,
                "distinct": len(ingest.items) + len(ingest.refusals) + ingest.outside,
                "probe": probe.fingerprint,
                "newest": format_rfc3339(judge.newest) if judge.newest else None,
            }
            return self._commit(out, window, ingest, tally, facts, deletions, details)

    def merge(
        self, partition: str, progress: Progress, fill: Callable[[IngestModule, Window], FetchFacts], *, counted: bool
    ) -> Manifest | None:
        """Take over what `fill` brings, and leave the rest as it is; None where only a scan can tell.

        Args:
            partition: its name.
            progress: hears how many items were handled.
            fill: fetches the items that changed; it may bring others.
            counted: hold the source's count of the window against what the merge comes to.
        """
        window, before = self.window(partition), self.whole(partition)
        if before is None:
            return None
        self._keep_collection()
        with ExitStack() as stack:
            out = stack.enter_context(StageWriter(self.storage, self.place(partition)))
            ingest = stack.enter_context(IngestModule(self.source))
            probe = asyncio.run(self.source.probe(window)) if counted else None
            facts = fill(ingest, window)
            judge = Judge(partition, self.scheme)
            tally = self._merged(ingest, before, judge, out, progress)
            if probe is not None and not _adds_up(before.details["claimed"], probe.matched, tally):
                return None
            details = _merged_details(before, probe, judge, tally)
            deletions = self._deletions(before)
            deletions.carry_over(tally.ids, tally.staying)
            return self._commit(out, window, ingest, tally, facts, deletions, details)

    def unchanged(self, manifest: Manifest) -> Manifest:
        """The manifest as that of a run that had nothing to do."""
        tidy(self.storage, manifest)
        return manifest.as_unchanged(dict.fromkeys(_NO_RUN, 0))

    def differs(self, partition: str, seconds: float) -> tuple[bool, int]:
        """Read the whole window and compare every item with what is there; nothing is kept.

        Returns:
            Whether anything differs, and how many requests it took.

        Raises:
            TimeoutError: it took longer than `seconds`.
            SourceError: the source failed, or is not complete.
        """
        before = self.current(partition)
        if before is None:
            return True, 0
        held = read_held(self.storage, before)
        with IngestModule(self.source) as ingest:
            facts = ingest.fetch(self.window(partition), seconds=seconds)
            judge = Judge(partition, self.scheme)
            refused = {shape_of(refusal_of(record)) for record in ingest.refusals.records(str)}

            def entries() -> Iterator[tuple[str, str]]:
                for entry in ingest:
                    verdict = judge(entry)
                    if isinstance(verdict, Refusal):
                        refused.add(shape_of(verdict))
                    elif verdict is not None:
                        yield verdict[0], verdict[1]

            known = (entry for entry in read_index(self.storage, before) if entry[0] not in held)
            if any(kind != "unchanged" for kind, _ in compare_indexes(known, entries())):
                return True, facts.requests
        known_refused = {shape_of(refusal_of(record)) for record in read_refused(self.storage, before)}
        return refused != known_refused, facts.requests

    def _fetch_still(
        self, stack: ExitStack, window: Window, progress: Progress
    ) -> tuple[IngestModule, FetchFacts, Probe]:
        """Fetch a window, once more if the source changed meanwhile: pages that shift hide items.

        What still changes is found by the next look at the source, since the probe is the one before the fetch.
        """
        before = asyncio.run(self.source.probe(window))
        for last in (False, True):
            ingest = stack.enter_context(IngestModule(self.source))
            facts = ingest.fetch(window, progress=lambda count, _: progress(count))
            after = asyncio.run(self.source.probe(window))
            if last or after == before:
                break
            log.info("%s, %s: changed while it was read; reading it again", self.collection, window.interval)
            before = after
        return ingest, facts, before

    @cached_property
    def _filters(self) -> str:
        others = set(type(self.workflow.source).model_fields) - {"filters"}
        return self.workflow.section_hash("source", leaving_out={"source": others})

    def _deletions(self, before: Manifest | None) -> Deletions:
        refiltered = before is not None and before.details.get("filters") != self._filters
        return Deletions(self.storage, before, self.workflow.sync.delete_threshold, refiltered=refiltered)

    def _moved(self, missing: list[str], partition: str, before: Manifest | None) -> dict[str, str | None]:
        """Which of the ids that did not come with their window the source has elsewhere, and where what stays belongs.

        Such a partition is marked to be read. An id stays only until that was done, whether it came or not.

        Raises:
            IncompleteError: the source has one of them in this very window, so the scan was not whole.
        """
        with IngestModule(self.source) as found:
            found.find(missing)
            judge = Judge(partition, self.scheme)
            here = [entry[0] for entry in found if judge(entry) is not None]
            here += [str(record["item_id"]) for record in found.refusals.records(str)]
            if here:
                raise IncompleteError(
                    f"{self.collection} {partition}: the source has {here[0]!r}, but left it out of its window; "
                    "nothing was taken over"
                )
            homes = homes_of(found, self.scheme)
        return {**dict.fromkeys(homes), **self._staying(homes, before)}

    def _leaving(self, ingest: IngestModule, before: Manifest, judge: Judge) -> dict[str, str]:
        """Which items of the last generation came, belong elsewhere now, and stay as yet; and where they belong."""
        strays = dict(filter(judge.is_elsewhere, ingest))
        if not strays:
            return {}
        known = (item_id for item_id, _ in read_index(self.storage, before) if item_id in strays)
        return self._staying(homes_of(((item_id, strays[item_id]) for item_id in known), self.scheme), before)

    def _staying(self, homes: dict[str, str | None], before: Manifest | None) -> dict[str, str]:
        return staying(self.storage, self.collection, homes, read_staying(self.storage, before))

    def _take(self, verdict: Verdict, out: StageWriter) -> bool:
        """Keep or refuse an item; False where it belongs to another partition."""
        if isinstance(verdict, Refusal):
            out.refuse([verdict])
        elif verdict is not None:
            out.keep(verdict)
        return verdict is not None

    def _refuse(self, ingest: IngestModule, out: StageWriter) -> None:
        for records in batched(ingest.refusals.records(str), 100):
            out.refuse(map(refusal_of, records))

    def _merged(
        self, ingest: IngestModule, before: Manifest, judge: Judge, out: StageWriter, progress: Progress
    ) -> _Tally:
        tally = _Tally(skipped=ingest.outside, staying=self._leaving(ingest, before, judge))
        old = read_items(self.storage, before)
        rest = next(old, None)
        for entry in ingest:
            item_id, verdict = entry[0], judge(entry)
            while rest is not None and rest[0] < item_id:
                out.keep(rest)
                tally.carried += 1
                rest = next(old, None)
            known = rest is not None and rest[0] == item_id
            here = self._take(verdict, out)
            if rest is not None and known:
                if item_id in tally.staying:
                    out.keep(rest)
                    tally.carried += 1
                rest = next(old, None)
            tally.ids.add(item_id)
            tally.skipped += not here
            tally.left += known and not here
            tally.added += here and not known
            progress(1)
        while rest is not None:
            out.keep(rest)
            tally.carried += 1
            rest = next(old, None)
        self._carry_refused(ingest, before, out, tally)
        return tally

    def _carry_refused(self, ingest: IngestModule, before: Manifest, out: StageWriter, tally: _Tally) -> None:
        self._refuse(ingest, out)
        tally.ids |= {str(record["item_id"]) for record in ingest.refusals.records(str)}
        fresh = len(out.refusals)
        earlier = (refusal_of(record) for record in read_refused(self.storage, before))
        out.refuse([refusal for refusal in earlier if refusal.item_id not in tally.ids])
        tally.carried += len(out.refusals) - fresh

    def _keep_collection(self) -> None:
        document = dumps(self._collection)
        key = source_collection_key(self.collection)
        if self.storage.get(key) != document:
            with self.storage.lock(collection_lock(self.collection)):
                self.storage.sweep(key)
                self.storage.put(key, document)

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
            passed=out.kept,
            quarantined=len(out.refusals),
            deduplicated=ingest.duplicates,
            skipped=tally.skipped,
        )
        run = {name: getattr(facts, name) for name in _NO_RUN}
        return out.commit(
            ledger,
            code_version=self.code_version,
            details={"interval": window.interval, "filters": self._filters, **details, "held": len(deletions.held)},
            run={**run, "requests": run["requests"] + 2},
            files={name: _written(out, name, lines) for name, lines in deletions.files().items()},
            before_manifest=self._announce,
        )

    def _announce(self, manifest: Manifest) -> None:
        """Say that ids are new here: they may be known elsewhere, from before their items moved."""
        if manifest.changes.added:
            announce(self.storage, self.collection, manifest.partition)


def _written(out: StageWriter, name: str, lines: Iterable[bytes]) -> Any:
    path = out.folder / f"{name}.ndjson.zst"
    write_lines(path, lines)
    return path


def _merged_details(before: Manifest, probe: Probe | None, judge: Judge, tally: _Tally) -> dict[str, Any]:
    kept = {name: before.details[name] for name in ("claimed", "distinct", "probe")}
    newest = max(filter(None, (judge.newest, _instant(before.details["newest"]))), default=None)
    text = format_rfc3339(newest) if newest else None
    if probe is None:
        return {**kept, "newest": text}
    grown = tally.added if probe.matched is None else probe.matched - before.details["claimed"]
    return {
        "claimed": probe.matched,
        "distinct": before.details["distinct"] + grown,
        "probe": probe.fingerprint,
        "newest": text,
    }


def _instant(text: str | None) -> datetime | None:
    return parse_rfc3339(text) if text else None


def _adds_up(claimed: int | None, matched: int | None, tally: _Tally) -> bool:
    """Whether the source's count grew by what came: what belongs to other windows may have been counted before."""
    if claimed is None or matched is None:
        return claimed is None and matched is None
    grown = matched - claimed
    return tally.added - tally.left <= grown <= tally.added + tally.skipped
