"""The run of one partition: all of its stages and their checks, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from stac_manager.errors import LedgerError, OutputError, SourceError, StacManagerError, StorageError
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.checks import CheckOutcome, run_checks
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.state.manifest import STAGES, Changes, Manifest, Stage
from stac_manager.pipeline.state.totals import PartitionCounts, partition_counts
from stac_manager.storage import Storage

__all__ = ["PartitionProgress", "PartitionResult", "PartitionRun", "RunStage", "check_stage", "run_partition"]

RunStage = Callable[..., Manifest]
"""Called with the stage, the partition and a progress callback."""

PartitionProgress = Callable[[str, Stage, int], None]
"""Called with the partition, the stage, and the number of items that the stage has just handled."""


@dataclass
class PartitionResult:
    """The result of a run of one partition."""

    collection: str
    partition: str
    counts: PartitionCounts = field(default_factory=PartitionCounts)
    changes: Changes = field(default_factory=Changes)
    outcomes: dict[Stage, list[CheckOutcome]] = field(default_factory=dict)
    manifests: dict[Stage, Manifest] = field(default_factory=dict)
    error: StacManagerError | None = None
    """Why the partition failed; its published files did not change."""

    @property
    def checks(self) -> list[CheckOutcome]:
        """The checks of all stages."""
        return [outcome for outcomes in self.outcomes.values() for outcome in outcomes]


@dataclass(frozen=True, slots=True)
class PartitionRun:
    """What to do with a partition; any process can do it."""

    partition: str
    mode: Mode
    allow_deletes: bool = False

    def with_chain(self, chain: Chain, feed: ChangeFeed | None) -> RunStage:
        """The function that runs a stage."""
        return partial(chain.run, mode=self.mode, allow_deletes=self.allow_deletes, feed=feed)


def run_partition(
    chain: Chain, partition: str, run: RunStage, on_progress: PartitionProgress | None
) -> PartitionResult:
    """Run all stages and checks of a partition, each with `run`; its failure is part of the result."""
    result = PartitionResult(chain.collection, partition)
    try:
        with chain.locked(partition):
            _run_stages(chain, result, run, on_progress)
    except (SourceError, StorageError, LedgerError, OutputError) as error:
        result.error = error
    return result


def _run_stages(chain: Chain, result: PartitionResult, run: RunStage, on_progress: PartitionProgress | None) -> None:
    for stage in STAGES:

        def report(count: int, total: int | None = None, /, *, stage: Stage = stage) -> None:
            if on_progress:
                on_progress(result.partition, stage, count)

        manifest = result.manifests[stage] = run(stage, result.partition, report)
        result.outcomes[stage] = check_stage(chain.storage, manifest)
        if stage == "published":
            result.changes = manifest.changes
    result.counts = partition_counts(chain.storage, chain.collection, result.partition) or PartitionCounts()


def check_stage(storage: Storage, manifest: Manifest) -> list[CheckOutcome]:
    """Every check of a stage.

    Raises:
        LedgerError: a blocking check failed.
    """
    outcomes = run_checks(storage, manifest)
    for outcome in outcomes:
        if outcome.blocking and not outcome.passed:
            stage_partition = f"{manifest.collection} {manifest.partition} {manifest.stage}"
            raise LedgerError(f"{stage_partition}: {outcome.name} failed: {outcome.description}")
    return outcomes
