"""The chain of stages of one collection. Each stage runs separately for one partition, on the files of the one before.

How a stage does its work does not belong here: see `stac_manager.pipeline.stages`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from stac_manager.config import Workflow
from stac_manager.errors import StacManagerError, StorageError
from stac_manager.ingest import Probe, Since, Source
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.stages.builders import schema_store_of, source_of
from stac_manager.pipeline.stages.collection import publish_collection
from stac_manager.pipeline.stages.partition_fetch import PartitionFetcher
from stac_manager.pipeline.stages.protocol import Mode, StageContext, StageRun
from stac_manager.pipeline.stages.publish import round_trip_facts
from stac_manager.pipeline.stages.raw import since_of
from stac_manager.pipeline.stages.registry import STAGE_TABLE, code_version
from stac_manager.pipeline.state.manifest import STAGES, Manifest, Stage, StagePartition, all_stages
from stac_manager.pipeline.state.paths import (
    partition_folders,
    partition_lock,
    publish_intent,
    quarantine_key,
    rescan_mark,
    state_folder,
)
from stac_manager.pipeline.state.stage_files import read_intact_manifest, read_manifest, remove_orphaned_files
from stac_manager.pipeline.state.sync_state import SyncStateStore
from stac_manager.progress import ProgressCallback, no_progress
from stac_manager.storage import Storage
from stac_manager.times import Window, utc_now
from stac_manager.validate import SchemaStore

__all__ = ["Chain"]

log = logging.getLogger(__name__)

_ROUNDS = 4
"""How often partitions are published again until they agree. One round is usual; old manifests need two."""


@dataclass
class Chain:
    """Runs the stages of one collection. Dagster and the command line both call this, on the same files."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    schemas: SchemaStore
    _code_versions: dict[Stage, str] = field(default_factory=dict, repr=False)
    _looked: set[str] = field(default_factory=set, repr=False)
    """Locked partitions whose state is known."""

    @classmethod
    def of(cls, workflow: Workflow, collection: str) -> Chain:
        """The chain of a collection, as the workflow configures it."""
        storage, source = Storage(workflow.output.path), source_of(workflow, collection)
        return cls(workflow, collection, storage, source, schema_store_of(workflow))

    @cached_property
    def context(self) -> StageContext:
        """What the stages work with."""
        return StageContext(
            self.workflow, self.collection, self.storage, self.source, self.schemas, self.code_version_of
        )

    def code_version_of(self, stage: Stage) -> str:
        """The code version of a stage; a chain reads the files that the workflow names only once."""
        if stage not in self._code_versions:
            self._code_versions[stage] = code_version(self.workflow, stage)
        return self._code_versions[stage]

    @property
    def scheme(self) -> PartitionScheme:
        """How the collection's time is cut."""
        return self.raw.scheme

    @property
    def raw(self) -> PartitionFetcher:
        """Fetches partitions for the first stage."""
        return self.context.fetcher

    @property
    def sync_state(self) -> SyncStateStore:
        """What earlier sync checks found."""
        return self.context.sync_state

    def stage_partition(self, stage: Stage, partition: str) -> StagePartition:
        """A stage of a partition of this collection."""
        return StagePartition(collection=self.collection, stage=stage, partition=partition)

    def partitions(self) -> list[str]:
        """The names of all partitions up to the present one."""
        return self.scheme.keys(utc_now())

    def all_time(self) -> Window:
        """From the start of the first partition to the end of the present one."""
        return self.raw.all_time()

    @contextmanager
    def locked(self, partition: str) -> Iterator[None]:
        """Lock a partition while its stages are written and read; a second writer waits.

        Raises:
            StorageError: another run holds the lock for too long.
        """

        def waiting() -> None:
            log.warning("%s %s: another run is writing it; waiting", self.collection, partition)

        with self.storage.lock(partition_lock(self.collection, partition), waiting=waiting), self._looked_at(partition):
            yield

    @contextmanager
    def _looked_at(self, partition: str) -> Iterator[None]:
        """Read the state of a locked partition from a bucket at once; nobody else changes it."""
        if partition in self._looked:
            yield
            return
        folders = partition_folders(self.collection, partition)
        with ExitStack() as opened:
            opened.enter_context(
                self.storage.listed(*folders, root=state_folder(self.collection), only=True, fresh=True)
            )
            self._looked.add(partition)
            opened.callback(self._looked.discard, partition)
            self.storage.fetch(place.manifest_key for place in all_stages(self.collection, partition))
            yield

    async def probe(self, partition: str) -> Probe:
        """Probe a partition's window at the source."""
        return await self.source.probe(self.raw.window(partition))

    def since(self) -> Since | None:
        """From when on to request changes; None if the source cannot filter by `updated`, or there is no watermark."""
        return since_of(self.context)

    def is_up_to_date(self, partition: str) -> bool:
        """Whether every stage of a partition exists, was made with the present workflow, and from the stage before.

        Within a listing of a bucket, only the files that it shows are looked at.
        """
        if any(self.storage.size(key(self.collection, partition)) is not None for key in (rescan_mark, publish_intent)):
            return False
        ask = not self.storage.is_known(rescan_mark(self.collection, partition))
        upstream: Manifest | None = None
        rejected = False
        for stage in STAGES:
            manifest = self._reusable(stage, partition, upstream, ask=ask)
            if manifest is None:
                return False
            rejected |= manifest.rejected is not None
            upstream = manifest
        quarantine = quarantine_key(self.collection, partition)
        looked_for = rejected and (ask or self.storage.is_known(quarantine))
        return not looked_for or self.storage.size(quarantine) is not None

    def _reusable(
        self, stage: Stage, partition: str, upstream: Manifest | None, *, ask: bool = True
    ) -> Manifest | None:
        """The manifest of a stage, if a run of the stage would give the same result."""
        manifest = read_intact_manifest(self.storage, self.stage_partition(stage, partition), ask=ask)
        if manifest is None or manifest.code_version != self.code_version_of(stage):
            return None
        if upstream is not None and manifest.input_hash != upstream.content_hash:
            return None
        return manifest if STAGE_TABLE[stage].is_intact(self.context, manifest) else None

    def run(
        self,
        stage: Stage,
        partition: str,
        on_progress: ProgressCallback | None = None,
        *,
        mode: Mode = "full",
        allow_deletes: bool = False,
        feed: ChangeFeed | None = None,
    ) -> Manifest:
        """Run one stage of one partition.

        Args:
            stage: the stage to run.
            partition: its name.
            on_progress: called with the number of items handled.
            mode: how much is done again.
            allow_deletes: a person approved the deletions, however many they are.
            feed: the changes that a sync check has just fetched, for the mode `changes`.

        Raises:
            UsageError: there is no such partition.
            SourceError: the source failed, or is not complete; the published files do not change.
            StorageError: the stage before has not run yet, or a file cannot be read or written.
            LedgerError: the counts do not balance; nothing was changed.
        """
        self.scheme.window(partition)
        place = self.stage_partition(stage, partition)
        with self.locked(partition):
            upstream = self._upstream(place)
            if upstream and mode not in ("full", "replay") and (done := self._reusable(stage, partition, upstream)):
                remove_orphaned_files(self.storage, done)
                return done.as_unchanged(round_trip_facts(self.workflow))
            run = StageRun(place, upstream, mode, on_progress or no_progress, allow_deletes, feed)
            return STAGE_TABLE[stage].run(self.context, run)

    def _upstream(self, stage_partition: StagePartition) -> Manifest | None:
        """The manifest of the stage before; None for the first stage.

        Raises:
            StorageError: it has not run yet.
        """
        before = stage_partition.upstream
        if before is None:
            return None
        manifest = before.read(self.storage)
        if manifest is None:
            raise StorageError(f"{self.collection} {before.partition}: {before.stage} has not run yet; run it first")
        return manifest

    def publish_collection(self) -> None:
        """Update `collection.json` and `catalog.json`, and publish partitions that do not agree with the others again.

        Call it without the lock of a partition: each partition is published again under its own lock.
        """
        for _ in range(_ROUNDS):
            stale = publish_collection(self.storage, self.workflow, self.collection)
            if not [partition for partition in stale if self._publish_again(partition)]:
                return

    def _publish_again(self, partition: str) -> bool:
        """Write the files of a partition again from the same items; False if another run will do that."""
        published = STAGE_TABLE["published"]
        with ExitStack() as held:
            try:
                held.enter_context(self.storage.lock(partition_lock(self.collection, partition), wait=0.0))
                held.enter_context(self._looked_at(partition))
            except StorageError as error:  # the run that writes it publishes the collection afterwards
                log.info("%s", error)
                return False
            place = self.stage_partition("published", partition)
            manifest = read_manifest(self.storage, place)
            upstream = read_intact_manifest(self.storage, place.at("validated"))
            if manifest is None or upstream is None or manifest.input_hash != upstream.content_hash:
                return False
            if published.is_intact(self.context, manifest):
                return False
            log.info("%s %s: published again, to agree with the other partitions", self.collection, partition)
            try:
                published.run(self.context, StageRun(place, upstream, "full", no_progress))
            except StacManagerError as error:
                log.warning("%s; its columns differ from those of other partitions until it is run", error)
                return False
            return True
