"""What a stage is: its row in the table of stages, what it works with, and what one run of it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from stac_manager.config import Workflow
from stac_manager.extension import Extension
from stac_manager.ingest import Source
from stac_manager.output import Output
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.stages.builders import extensions_of, outputs_of, transforms_of
from stac_manager.pipeline.stages.partition_fetch import PartitionFetcher
from stac_manager.pipeline.state.manifest import FileRef, Ledger, Manifest, Stage, StagePartition
from stac_manager.pipeline.state.stage_files import StageWriter
from stac_manager.pipeline.state.sync_state import SyncStateStore
from stac_manager.progress import ProgressCallback
from stac_manager.storage import Storage
from stac_manager.transform import Transform
from stac_manager.validate import SchemaStore, Validator

__all__ = ["Mode", "StageContext", "StageDefinition", "StageRun", "commit", "copied"]

Mode = Literal["full", "scan", "changes", "resume", "replay"]
"""How much a run does over again.

`full`: everything. `scan`: the window is read whole, and unchanged items are left alone. `changes`: only what changed,
as the source says, is asked for. `resume`: the source is not asked where the first stage is up to date. `replay`: as
`resume`, and what a stage rejected is tried again.
"""


@dataclass
class StageContext:
    """What the stages of a collection work with; made once, used for every partition."""

    workflow: Workflow
    collection: str
    storage: Storage
    source: Source
    schemas: SchemaStore
    code_versions: Callable[[Stage], str]

    @cached_property
    def validator(self) -> Validator:
        """Compiled once, used for every partition."""
        return Validator(self.schemas, level=self.workflow.validation.level)

    @cached_property
    def transforms(self) -> list[Transform]:
        """What the workflow declares under `transformation`."""
        return transforms_of(self.workflow)

    @cached_property
    def extensions(self) -> list[Extension]:
        """What the workflow declares under `extensions`."""
        return extensions_of(self.workflow)

    @cached_property
    def outputs(self) -> list[Output]:
        """What the workflow declares under `output.format`."""
        return outputs_of(self.workflow)

    @cached_property
    def fetcher(self) -> PartitionFetcher:
        """Fetches partitions for the first stage."""
        version = self.code_versions("raw_items")
        return PartitionFetcher(self.workflow, self.collection, self.storage, self.source, version)

    @cached_property
    def sync_state(self) -> SyncStateStore:
        """What earlier sync checks found."""
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
    """The changes that have just been fetched, for the mode `changes`."""

    @property
    def input(self) -> Manifest:
        """The manifest of the stage before, of a stage that has one."""
        assert self.upstream is not None, "only the first stage has none before it"
        return self.upstream

    @property
    def reuse(self) -> bool:
        """Whether what earlier runs made of unchanged items stands."""
        return self.mode != "full"


@dataclass(frozen=True)
class StageDefinition:
    """One row of the table of stages."""

    name: Stage
    code_version: str
    """Raised when the code of the stage changes what it makes."""
    description: str
    kinds: frozenset[str]
    """Labels in Dagster."""
    run: Callable[[StageContext, StageRun], Manifest]
    sections: tuple[str, ...] = ()
    """The parts of the workflow file that the stage's result depends on."""
    without_effect: Mapping[str, set[str]] = field(default_factory=dict)
    """Members of these parts that change which partitions there are, or who asks, but not what a partition holds."""
    parts: Callable[[Workflow], Sequence[str]] = lambda workflow: ()
    """What else the result depends on, as the versions of plugins."""
    files: Callable[[Workflow], Sequence[Path]] = lambda workflow: ()
    """Files and folders that the workflow names, whose content the result depends on."""
    is_intact: Callable[[StageContext, Manifest], bool] = lambda context, manifest: True
    """Whether what the manifest says also holds outside of the stage's own files."""
    reads_source: bool = False


def commit(context: StageContext, run: StageRun, out: StageWriter, **more: Any) -> Manifest:
    """Finish a run of a stage that has one before it: every item that it passed on is written or rejected."""
    ledger = Ledger(received=run.input.ledger.passed, passed=out.written, quarantined=len(out.rejected_items))
    version = context.code_versions(run.stage_partition.stage)
    return out.commit(ledger, code_version=version, input_hash=run.input.content_hash, **more)


def copied(out: StageWriter, upstream: Manifest) -> Callable[[], FileRef]:
    """Puts the items of the stage before in place, where they are the same to the byte."""
    assert upstream.items is not None, "only a published partition has no items"
    return partial(out.copy, upstream.items)
