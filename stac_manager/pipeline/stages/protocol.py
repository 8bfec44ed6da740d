"""The interface of a stage: its row in the table of stages, its context, and the parameters of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stac_manager.config import Workflow
from stac_manager.extension import Extension
from stac_manager.ingest import Source
from stac_manager.output import Output
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.stages.builders import extensions_of, outputs_of, transforms_of
from stac_manager.pipeline.stages.partition_fetch import PartitionFetcher
from stac_manager.pipeline.state.manifest import Ledger, Manifest, Stage, StagePartition
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.pipeline.state.sync_state import SyncStateStore
from stac_manager.progress import ProgressCallback
from stac_manager.storage import Storage
from stac_manager.transform import Transform
from stac_manager.validate import SchemaStore, Validator

__all__ = ["Mode", "StageContext", "StageDefinition", "StageRun", "commit"]

Mode = Literal["full", "scan", "changes", "resume", "replay"]
"""How much a run does again.

`full`: everything. `scan`: read the whole window; unchanged items are not processed again. `changes`: fetch only the
items that the source dates after the watermark. `resume`: do not read the source if the first stage is up to date.
`replay`: as `resume`, but process rejected items again.
"""


@dataclass
class StageContext:
    """What all stages of a collection use; made once for all partitions."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    schemas: SchemaStore
    code_versions: Callable[[Stage], str]

    @cached_property
    def validator(self) -> Validator:
        """The validator; its schemas are compiled once for all partitions."""
        return Validator(self.schemas, level=self.workflow.validation.level)

    @cached_property
    def transforms(self) -> list[Transform]:
        """The transforms of the workflow's section `transformation`."""
        return transforms_of(self.workflow)

    @cached_property
    def extensions(self) -> list[Extension]:
        """The extensions of the workflow's section `extensions`."""
        return extensions_of(self.workflow)

    @cached_property
    def outputs(self) -> list[Output]:
        """The outputs of the workflow's `output.format`."""
        return outputs_of(self.workflow)

    @cached_property
    def fetcher(self) -> PartitionFetcher:
        """Fetches partitions for the first stage."""
        version = self.code_versions("raw_items")
        return PartitionFetcher(self.workflow, self.collection, self.storage, self.source, version)

    @cached_property
    def sync_state(self) -> SyncStateStore:
        """The state of earlier sync checks."""
        return SyncStateStore(self.storage, self.collection, self.code_versions("raw_items"))


@dataclass
class StageRun:
    """One run of a stage for one partition."""

    stage_partition: StagePartition
    upstream: Manifest | None
    """The manifest of the stage before; None for the first."""
    mode: Mode
    on_progress: ProgressCallback
    allow_deletes: bool = False
    """A person approved the deletions of this partition, however many they are."""
    feed: ChangeFeed | None = None
    """The changes that a sync check has just fetched, for the mode `changes`."""

    @property
    def input(self) -> Manifest:
        """The manifest of the stage before; not for the first stage."""
        assert self.upstream is not None, "only the first stage has no stage before it"
        return self.upstream

    @property
    def reuse(self) -> bool:
        """Whether results of earlier runs are used for unchanged items."""
        return self.mode != "full"


@dataclass(frozen=True)
class StageDefinition:
    """One row of the table of stages."""

    name: Stage
    code_version: str
    """Raised when the code of the stage changes its results."""
    description: str
    kinds: frozenset[str]
    """Labels in Dagster."""
    run: Callable[[StageContext, StageRun], Manifest]
    sections: tuple[str, ...] = ()
    """The sections of the workflow file that the stage's result depends on."""
    without_effect: Mapping[str, set[str]] = field(default_factory=dict)
    """Members of these sections that change the list of partitions or the credentials, but no partition's content."""
    parts: Callable[[Workflow], Sequence[str]] = lambda workflow: ()
    """Other things that the result depends on, such as the versions of plugins."""
    files: Callable[[Workflow], Sequence[Path]] = lambda workflow: ()
    """Files and folders that the workflow names, whose content the result depends on."""
    is_intact: Callable[[StageContext, Manifest], bool] = lambda context, manifest: True
    """Whether the manifest is also valid for files outside of the stage's folder."""
    reads_source: bool = False


def commit(
    context: StageContext, run: StageRun, out: StageWriter, *, facts: Mapping[str, Any] | None = None, **more: Any
) -> Manifest:
    """Finish a run of any stage but the first: every item of the stage before is written or rejected.

    `facts` are about this run, and are not stored.
    """
    ledger = Ledger(received=run.input.ledger.passed, passed=out.written, quarantined=len(out.rejected_items))
    version = context.code_versions(run.stage_partition.stage)
    return out.commit(ledger, code_version=version, upstream=run.input, run=facts, **more)
