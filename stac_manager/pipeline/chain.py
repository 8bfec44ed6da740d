"""One collection's chain of stages, each run by itself for one partition, on files that the next one reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import batched
from typing import Any

from stac_manager.config import Workflow
from stac_manager.errors import StorageError
from stac_manager.ingest import FetchFacts, IngestModule, Probe, Source, belongs_to
from stac_manager.items import Refusal, content_hash, dumps, loads, loads_exactly
from stac_manager.pipeline.builders import schema_store_of, source_of
from stac_manager.pipeline.layout import source_collection_key
from stac_manager.pipeline.manifest import STAGES, Ledger, Manifest, Place, Stage
from stac_manager.pipeline.publishing import publish_collection, publish_partition
from stac_manager.pipeline.stage_files import StageWriter, read_items
from stac_manager.spool import SpooledItem, refusal_of
from stac_manager.storage import Storage
from stac_manager.times import Window
from stac_manager.validate import ReportBuilder, SchemaStore, Validator
from stac_manager.windows import PartitionScheme

__all__ = ["Chain", "Progress", "code_version"]

log = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Hears how many items a step has just handled."""

_CODE = {"raw_items": "1", "transformed": "1", "extended": "1", "validated": "1", "published": "1"}
"""Raised when the code of a stage changes what it makes."""

_SECTIONS = {
    "raw_items": ("source", "partitions"),
    "transformed": ("transformation",),
    "extended": ("extensions",),
    "validated": ("validation",),
}
"""The parts of the workflow that a stage's result depends on."""


def code_version(workflow: Workflow, stage: Stage) -> str:
    """Changes exactly when the stage would make something else of the same input."""
    # where the output goes does not change what it is
    made_of = workflow.section_hash(*_SECTIONS[stage]) if stage in _SECTIONS else "-".join(workflow.output.format)
    return f"{_CODE[stage]}-{made_of}"


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
        return self.workflow.scheme()

    def place(self, stage: Stage, partition: str) -> Place:
        """Where a stage of a partition is kept."""
        return Place(collection=self.collection, stage=stage, partition=partition)

    def window(self, partition: str) -> Window:
        """What to ask the source for: the partition's window, cut to the workflow's temporal filter."""
        window = self.scheme.window(partition)
        temporal = self.workflow.source.filters.temporal
        start = max(window.start, temporal.start_date or window.start)
        return Window(start, min(window.end, temporal.end_date or window.end))

    async def probe(self, partition: str) -> Probe:
        """Ask the source whether a partition's window still is as it was."""
        return await self.source.probe(self.window(partition))

    def is_current(self, partition: str, fingerprint: str) -> bool:
        """Whether all stages of a partition are finished, from a source that looked as the fingerprint says."""
        before: Manifest | None = None
        for stage in STAGES:
            manifest = self.place(stage, partition).read(self.storage)
            if manifest is None or manifest.code_version != code_version(self.workflow, stage):
                return False
            if before is None and manifest.details["probe"] != fingerprint:
                return False
            if before is not None and manifest.input_hash != before.content_hash:
                return False
            before = manifest
        return True

    def run(self, stage: Stage, partition: str, progress: Progress | None = None) -> Manifest:
        """Run one stage of one partition.

        Raises:
            UsageError: there is no such partition.
            SourceError: the source failed, or is not complete; what was published stays.
            StorageError: the stage before has not run yet, or a file cannot be read or written.
            LedgerError: the counts do not balance; nothing was changed.
        """
        self.scheme.window(partition)
        steps: dict[Stage, Callable[[str, Progress], Manifest]] = {
            "raw_items": self._raw_items,
            "transformed": lambda key, heard: self._pass_on("transformed", key, heard),
            "extended": lambda key, heard: self._pass_on("extended", key, heard),
            "validated": self._validated,
            "published": self._published,
        }
        return steps[stage](partition, progress or (lambda _: None))

    def _raw_items(self, partition: str, progress: Progress) -> Manifest:
        window = self.window(partition)
        self._keep_collection()
        with ExitStack() as stack:
            out = stack.enter_context(StageWriter(self.storage, self.place("raw_items", partition)))
            ingest, facts, probe = self._fetch_still(stack, window, progress)
            skipped = ingest.outside + sum(not self._take(entry, partition, out) for entry in ingest)
            for records in batched(ingest.refusals.records(str), 100):
                out.refuse(map(refusal_of, records))
            ledger = Ledger(
                received=ingest.received,
                passed=out.kept,
                quarantined=len(out.refusals),
                deduplicated=ingest.duplicates,
                skipped=skipped,
            )
            details = {
                "interval": window.interval,
                "claimed": facts.matched,
                "distinct": len(ingest.items) + len(ingest.refusals) + ingest.outside,
                "probe": probe.fingerprint,
            }
            run = {
                "slices": facts.slices,
                "splits": facts.splits,
                "pages": facts.pages,
                "requests": facts.requests + 2,
                "retries": facts.retries,
                "received_bytes": facts.received_bytes,
            }
            version = code_version(self.workflow, "raw_items")
            return out.commit(ledger, code_version=version, details=details, run=run)

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

    def _take(self, entry: SpooledItem, partition: str, out: StageWriter) -> bool:
        """Keep or refuse an item; False where it belongs to another partition."""
        item_id, line = entry
        try:
            item = loads_exactly(line)
        except ValueError as error:
            out.refuse([Refusal(item_id, "InvalidJson", str(error), "raw_items", line.decode())])
            return True
        try:
            if not belongs_to(item, partition, self.scheme):
                return False
            out.keep((item_id, content_hash(item), line))
        except ValueError as error:
            out.refuse([Refusal(item_id, "NoTime", str(error), "raw_items", item)])
        return True

    def _keep_collection(self) -> None:
        document = dumps(self.source.collection())
        key = source_collection_key(self.collection)
        if self.storage.get(key) != document:
            self.storage.put(key, document)

    def upstream(self, place: Place) -> Manifest:
        """The manifest of the stage before.

        Raises:
            StorageError: it has not run yet.
        """
        before = place.before
        manifest = before.read(self.storage) if before else None
        if before is None or manifest is None:
            name = before.stage if before else place.stage
            raise StorageError(f"{place.collection} {place.partition}: {name} has not run yet; run it first")
        return manifest

    def _pass_on(self, stage: Stage, partition: str, progress: Progress) -> Manifest:
        """A stage for which the workflow declares nothing: every item as it came, to the byte."""
        place = self.place(stage, partition)
        upstream = self.upstream(place)
        with StageWriter(self.storage, place) as out:
            for entry in read_items(self.storage, upstream):
                out.keep(entry)
                progress(1)
            return self._commit(out, stage, upstream)

    def _commit(self, out: StageWriter, stage: Stage, upstream: Manifest, **more: Any) -> Manifest:
        ledger = Ledger(received=upstream.ledger.passed, passed=out.kept, quarantined=len(out.refusals))
        version = code_version(self.workflow, stage)
        return out.commit(ledger, code_version=version, input_hash=upstream.content_hash, **more)

    def _validated(self, partition: str, progress: Progress) -> Manifest:
        place = self.place("validated", partition)
        upstream = self.upstream(place)
        report = ReportBuilder()
        with StageWriter(self.storage, place) as out:
            for entry in read_items(self.storage, upstream):
                item = loads(entry[2])
                verdict = self.validator.check(item)
                report.add(verdict)
                if verdict.accepted:
                    out.keep(entry)
                else:
                    out.refuse([Refusal(entry[0], "InvalidItem", verdict.summary, "validated", item)])
                progress(1)
            path = out.folder / "report.json"
            report.write(path)
            counts = {str(verdict): count for verdict, count in report.counts.items()}
            details = {**counts, "top_reasons": report.top_reasons(10)}
            return self._commit(out, "validated", upstream, details=details, files={"report": path})

    def _published(self, partition: str, progress: Progress) -> Manifest:
        place = self.place("published", partition)
        upstream = self.upstream(place)
        with StageWriter(self.storage, place) as out:
            file, details = publish_partition(self.storage, upstream, out)
            progress(out.kept)
            return self._commit(out, "published", upstream, details=details, items=file)

    def publish_collection(self) -> None:
        """Bring `collection.json` and `catalog.json` up to what is published."""
        publish_collection(self.storage, self.workflow, self.collection)
