"""One collection's chain of stages, each run by itself for one partition, on files that the next one reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any, Literal

from stac_manager.config import Workflow
from stac_manager.errors import FilterIgnoredError, StacManagerError, StorageError
from stac_manager.ingest import NO_FILTER, FetchFacts, IngestModule, Probe, Since, Source
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.builders import schema_store_of, source_of
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.number_types import has_stale_numbers, read_doubles
from stac_manager.pipeline.stages.publish import mark_collection_dirty, publish_collection, publish_partition
from stac_manager.pipeline.stages.raw import Progress, RawStage
from stac_manager.pipeline.stages.validate import validate_partition
from stac_manager.pipeline.state.manifest import STAGES, FileRef, Ledger, Manifest, Stage, StagePartition
from stac_manager.pipeline.state.paths import partition_lock, publish_intent, quarantine_key, rescan_mark
from stac_manager.pipeline.state.stage_files import (
    StageWriter,
    read_index,
    read_intact_manifest,
    read_manifest,
    remove_orphaned_files,
)
from stac_manager.pipeline.state.sync_state import SyncStateStore
from stac_manager.storage import Storage
from stac_manager.times import Window, parse_rfc3339, utc_now
from stac_manager.validate import SchemaStore, Validator

__all__ = ["Chain", "Mode", "Progress", "code_version"]

log = logging.getLogger(__name__)

Mode = Literal["full", "scan", "changes", "resume", "replay"]
"""How much a run does over again.

`full`: everything. `scan`: the window is read whole, and what comes of it unchanged is left alone. `changes`: only what
the source says has changed is asked for. `resume`: the source is not asked where the first stage is as it should be.
`replay`: as `resume`, and what a stage refused is tried again.
"""

_CODE_VERSIONS = {"raw_items": "2", "transformed": "1", "extended": "1", "validated": "1", "published": "2"}
"""Raised when the code of a stage changes what it makes."""

_ROUNDS = 4
"""How often number columns are brought to one type: manifests that do not tell theirs take two rounds, the rest one."""

_SECTIONS = {
    "raw_items": ("source", "partitions"),
    "transformed": ("transformation",),
    "extended": ("extensions",),
    "validated": ("validation",),
}
"""The parts of the workflow that a stage's result depends on."""

_WITHOUT_EFFECT = {"source": {"collections", "auth"}, "partitions": {"per_run", "end"}}
"""Members of those parts that change which partitions there are, or who asks, but not what a partition holds."""


def code_version(workflow: Workflow, stage: Stage) -> str:
    """Changes exactly when the stage would make something else of the same input."""
    if stage in _SECTIONS:
        made_of = workflow.section_hash(*_SECTIONS[stage], leaving_out=_WITHOUT_EFFECT)
    else:
        made_of = "-".join(workflow.output.format)  # where the output goes does not change what it is
    return f"{_CODE_VERSIONS[stage]}-{made_of}"


@dataclass
class Chain:
    """Runs the stages of one collection. Dagster and the command line both call this, on the same files."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    schemas: SchemaStore

    @classmethod
    def of(cls, workflow: Workflow, collection: str) -> Chain:
        """The chain of a collection as its workflow describes it."""
        storage, source = Storage(workflow.output.path), source_of(workflow, collection)
        return cls(workflow, collection, storage, source, schema_store_of(workflow))

    @cached_property
    def validator(self) -> Validator:
        """Compiled once, used for every partition."""
        return Validator(self.schemas, level=self.workflow.validation.level)

    @cached_property
    def scheme(self) -> PartitionScheme:
        """How the collection's time is cut."""
        return self.raw.scheme

    @cached_property
    def raw(self) -> RawStage:
        """The first stage."""
        version = code_version(self.workflow, "raw_items")
        return RawStage(self.workflow, self.collection, self.storage, self.source, version)

    @cached_property
    def sync_state(self) -> SyncStateStore:
        """What earlier syncs found out."""
        return SyncStateStore(self.storage, self.collection, code_version(self.workflow, "raw_items"))

    def stage_partition(self, stage: Stage, partition: str) -> StagePartition:
        """Where a stage of a partition is kept."""
        return StagePartition(collection=self.collection, stage=stage, partition=partition)

    def partitions(self) -> list[str]:
        """The names of all partitions up to the present one."""
        return self.scheme.keys(utc_now())

    def all_time(self) -> Window:
        """From the start of the first partition to the end of the present one."""
        keys = self.partitions()
        return Window(self.raw.window(keys[0]).start, self.raw.window(keys[-1]).end)

    @contextmanager
    def locked(self, partition: str) -> Iterator[None]:
        """Hold a partition while its stages are written and looked at; a second writer waits.

        Raises:
            StorageError: another run holds it for too long.
        """

        def waiting() -> None:
            log.warning("%s %s: another run is writing it; waiting", self.collection, partition)

        with self.storage.lock(partition_lock(self.collection, partition), waiting=waiting):
            yield

    async def probe(self, partition: str) -> Probe:
        """Ask the source whether a partition's window still is as it was."""
        return await self.source.probe(self.raw.window(partition))

    def is_up_to_date(self, partition: str) -> bool:
        """Whether every stage of a partition is there, made as the workflow says now, each from the one before."""
        if any(self.storage.size(key(self.collection, partition)) is not None for key in (rescan_mark, publish_intent)):
            return False
        before: Manifest | None = None
        rejected = False
        for stage in STAGES:
            manifest = self._reusable(stage, partition, before)
            if manifest is None:
                return False
            rejected |= manifest.rejected is not None
            before = manifest
        return not rejected or self.storage.size(quarantine_key(self.collection, partition)) is not None

    def _reusable(self, stage: Stage, partition: str, upstream: Manifest | None) -> Manifest | None:
        """What a stage made last, if the stage would make the same again."""
        manifest = read_intact_manifest(self.storage, self.stage_partition(stage, partition))
        if manifest is None or manifest.code_version != code_version(self.workflow, stage):
            return None
        if upstream is not None and manifest.input_hash != upstream.content_hash:
            return None
        return None if stage == "published" and self._is_stale(manifest) else manifest

    def _is_stale(self, manifest: Manifest) -> bool:
        """Whether a published file was not finished, or has number columns of another type than the other files."""
        if self.storage.size(publish_intent(self.collection, manifest.partition)) is not None:
            return True
        return has_stale_numbers(manifest, read_doubles(self.storage, self.collection))

    def run(
        self,
        stage: Stage,
        partition: str,
        progress: Progress | None = None,
        *,
        mode: Mode = "full",
        allow_deletes: bool = False,
        feed: ChangeFeed | None = None,
    ) -> Manifest:
        """Run one stage of one partition.

        Args:
            stage: which one.
            partition: its name.
            progress: hears how many items were handled.
            mode: how much is done over again.
            allow_deletes: a person confirmed what is gone at the source, however much it is.
            feed: the changes that have just been fetched, for the mode `changes`.

        Raises:
            UsageError: there is no such partition.
            SourceError: the source failed, or is not complete; what was published stays.
            StorageError: the stage before has not run yet, or a file cannot be read or written.
            LedgerError: the counts do not balance; nothing was changed.
        """
        self.scheme.window(partition)
        on_progress = progress or (lambda _: None)
        with self.locked(partition):
            if stage == "raw_items":
                return self._raw_items(partition, on_progress, mode, allow_deletes, feed)
            upstream = self.upstream(self.stage_partition(stage, partition))
            if mode not in ("full", "replay") and (done := self._reusable(stage, partition, upstream)):
                remove_orphaned_files(self.storage, done)
                return done.as_unchanged()
            steps: dict[Stage, Callable[[Manifest, Progress, bool], Manifest]] = {
                "transformed": lambda manifest, on_progress, _: self._pass_on("transformed", manifest, on_progress),
                "extended": lambda manifest, on_progress, _: self._pass_on("extended", manifest, on_progress),
                "validated": self._validate,
                "published": self._publish,
            }
            return steps[stage](upstream, on_progress, mode != "full")

    def _raw_items(
        self, partition: str, progress: Progress, mode: Mode, allow_deletes: bool, feed: ChangeFeed | None
    ) -> Manifest:
        if mode in ("resume", "replay") and (done := self.raw.intact_manifest(partition)):
            return self.raw.unchanged(done)
        if mode == "changes" and (merged := self._changes(partition, progress, feed)):
            return merged
        cycle = self.sync_state.ensure_full_compare(self.partitions, self._newest)
        done = self.raw.scan(partition, progress, allow_deletes=allow_deletes)
        self.sync_state.compared([partition], cycle)
        return done

    def _changes(self, partition: str, progress: Progress, feed: ChangeFeed | None) -> Manifest | None:
        """Take over what the source says has changed; None where that cannot be told."""
        if feed and feed.holds(self.raw.reusable_manifest(partition)):
            fetched, probe = partial(feed.fill, partition), feed.probe(partition)
            return self.raw.merge(partition, progress, lambda ingest, _: fetched(ingest), counted=True, probe=probe)
        since = self.since()
        if since is None:
            return None

        def changed(ingest: IngestModule, window: Window) -> FetchFacts:
            return ingest.fetch(window, since=since)

        try:
            return self.raw.merge(partition, progress, changed, counted=True)
        except FilterIgnoredError as error:
            log.warning("%s; reading all of %s", error, partition)
            return None

    def since(self) -> Since | None:
        """From when on to ask what changed; None where the source cannot say, or it is not known yet."""
        sync_state = self.sync_state.load()
        overlap = timedelta(minutes=self.workflow.sync.overlap_minutes)
        if sync_state.watermark is None or sync_state.updated_filter in (None, NO_FILTER):
            return None
        return Since(parse_rfc3339(sync_state.watermark) - overlap, sync_state.updated_filter)

    def _newest(self) -> datetime | None:
        return asyncio.run(self.source.newest(self.all_time()))

    def upstream(self, stage_partition: StagePartition) -> Manifest:
        """The manifest of the stage before.

        Raises:
            StorageError: it has not run yet.
        """
        before = stage_partition.before
        manifest = before.read(self.storage) if before else None
        if before is None or manifest is None:
            name = before.stage if before else stage_partition.stage
            raise StorageError(
                f"{stage_partition.collection} {stage_partition.partition}: {name} has not run yet; run it first"
            )
        return manifest

    def _pass_on(self, stage: Stage, upstream: Manifest, progress: Progress) -> Manifest:
        """A stage for which the workflow declares nothing: every item as it came, to the byte."""
        with StageWriter(self.storage, self.stage_partition(stage, upstream.partition)) as out:
            for item_id, digest in read_index(self.storage, upstream):
                out.write((item_id, digest, b""), with_line=False)
            progress(out.written)
            return self._commit(out, stage, upstream, items=partial(_copied, out, upstream))

    def _commit(self, out: StageWriter, stage: Stage, upstream: Manifest, **more: Any) -> Manifest:
        ledger = Ledger(received=upstream.ledger.passed, passed=out.written, quarantined=len(out.rejected_items))
        version = code_version(self.workflow, stage)
        return out.commit(ledger, code_version=version, input_hash=upstream.content_hash, **more)

    def _validate(self, upstream: Manifest, progress: Progress, reuse: bool) -> Manifest:
        with StageWriter(self.storage, self.stage_partition("validated", upstream.partition)) as out:
            version = code_version(self.workflow, "validated")
            before = out.previous if reuse and out.previous and out.previous.code_version == version else None
            report = validate_partition(self.storage, self.validator, upstream, before, out, progress)
            path = out.folder / "report.json"
            report.write(path)
            counts = {str(verdict): count for verdict, count in report.counts.items()}
            details = {**counts, "top_reasons": report.top_reasons(10)}
            items = None if len(out.rejected_items) else partial(_copied, out, upstream)
            return self._commit(out, "validated", upstream, details=details, files={"report": path}, items=items)

    def _publish(self, upstream: Manifest, progress: Progress, _: bool) -> Manifest:
        with StageWriter(self.storage, self.stage_partition("published", upstream.partition)) as out:
            put, details = publish_partition(self.storage, upstream, out)
            progress(out.written)
            mark = partial(mark_collection_dirty, self.storage)
            return self._commit(out, "published", upstream, details=details, items=put, before_manifest=mark)

    def publish_collection(self) -> None:
        """Bring `collection.json` and `catalog.json` up to what is published, and number columns to one type.

        Call it without holding a partition: those whose columns are stale are published again, under their own locks.
        """
        for _ in range(_ROUNDS):
            stale = publish_collection(self.storage, self.workflow, self.collection)
            if not [partition for partition in stale if self._publish_again(partition)]:
                return

    def _publish_again(self, partition: str) -> bool:
        """Write the file of a partition anew from the same items; False where that is left to another run."""
        with ExitStack() as held:
            try:
                held.enter_context(self.storage.lock(partition_lock(self.collection, partition), wait=0.0))
            except StorageError as error:  # whoever writes it publishes the collection afterwards
                log.info("%s", error)
                return False
            manifest = read_manifest(self.storage, self.stage_partition("published", partition))
            upstream = read_intact_manifest(self.storage, self.stage_partition("validated", partition))
            if manifest is None or upstream is None or manifest.input_hash != upstream.content_hash:
                return False
            if not has_stale_numbers(manifest, read_doubles(self.storage, self.collection)):
                return False
            log.info("%s %s: published again, with number columns as in other partitions", self.collection, partition)
            try:
                self._publish(upstream, lambda _: None, False)
            except StacManagerError as error:
                log.warning("%s; its number columns differ from those of other partitions until it is run", error)
                return False
            return True


def _copied(out: StageWriter, upstream: Manifest) -> FileRef:
    assert upstream.items is not None, "only a published partition has no items"
    return out.copy(upstream.items)
