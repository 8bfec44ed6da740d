"""Run whole chains without Dagster, and add up what they did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from stac_manager.config import Workflow
from stac_manager.errors import LedgerError, OutputError, SourceError, StacManagerError, StorageError, UsageError
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.moved_items import mark_moved
from stac_manager.pipeline.checks import CheckOutcome, run_checks
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.state.manifest import STAGES, Changes, Manifest, Stage
from stac_manager.pipeline.state.marks import partitions_to_rescan
from stac_manager.pipeline.state.totals import PartitionCounts, partition_counts
from stac_manager.pipeline.sync.planner import SyncPlanner
from stac_manager.storage import Storage
from stac_manager.times import utc_now

__all__ = [
    "PartitionProgress",
    "PartitionResult",
    "rebuild",
    "rescan_moved",
    "run_partitions",
    "select",
    "sync",
]

log = logging.getLogger(__name__)

_FAILURES_IN_A_ROW = 3  # then the source or the storage is down, and more partitions would fail too
_MAX_RESCANS = 2  # of one partition; a source with one id twice would otherwise cause endless rescans


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


def select(
    workflow: Workflow, collections: Sequence[str] = (), partitions: Sequence[str] = ()
) -> list[tuple[str, list[str]]]:
    """The partitions to run, by collection; an empty choice means all.

    Raises:
        UsageError: a chosen collection or partition is not in the workflow.
    """
    for collection in collections:
        if collection not in workflow.collections:
            known = ", ".join(workflow.collections)
            raise UsageError(f"{collection!r} is not a collection of {workflow.workflow.name}; there are: {known}")
    scheme = workflow.scheme()
    every = scheme.keys(utc_now())
    if not every:
        raise UsageError(f"{workflow.workflow.name} has no partition yet: its first one starts {scheme.first:%Y-%m-%d}")
    for partition in partitions:
        scheme.window(partition)
        if partition not in every:
            raise UsageError(f"{partition!r} lies outside of the workflow's partitions, {every[0]} to {every[-1]}")
    chosen = sorted(set(partitions)) or every
    return [(collection, chosen) for collection in workflow.collections if not collections or collection in collections]


PartitionProgress = Callable[[str, Stage, int], None]
"""Called with the partition, the stage, and the number of items that the stage has just handled."""


def rebuild(
    chain: Chain,
    partitions: Sequence[str],
    on_progress: PartitionProgress | None = None,
    *,
    mode: Mode = "full",
    allow_deletes: bool = False,
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition in turn; a partition that fails does not stop the others.

    Args:
        chain: of the collection.
        partitions: names, in the order to run them.
        on_progress: called with the progress of each stage.
        mode: how much is done again.
        allow_deletes: a person approved the deletions, however many they are.

    Raises:
        SourceError: three partitions in a row failed: the source, or the storage, is not available.
    """
    work = ((partition, partial(chain.run, mode=mode, allow_deletes=allow_deletes)) for partition in partitions)
    yield from run_partitions(chain, work, on_progress)
    yield from rescan_moved(chain, on_progress)


def sync(
    chain: Chain,
    only: Sequence[str] | None = None,
    on_progress: PartitionProgress | None = None,
    *,
    allow_deletes: bool = False,
    planner: SyncPlanner | None = None,
) -> Iterator[PartitionResult]:
    """Bring a collection up to date with its source, by running its stale partitions only.

    Args:
        chain: of the collection.
        only: partitions to check; None for all.
        on_progress: called with the progress of each stage.
        allow_deletes: a person approved the deletions, however many they are.
        planner: the sync check to run, for a caller that needs its results; it must not have run yet.

    Raises:
        SourceError: the source does not answer, or three partitions in a row failed.
    """
    planner = planner or SyncPlanner(chain, only=only, confirmed=allow_deletes)
    with ExitStack() as stack:
        stale_partitions = planner.plan(keep=stack)
        for stale in stale_partitions:
            log.info("%s %s: %s", chain.collection, stale.partition, stale.reason)
        run = partial(chain.run, allow_deletes=allow_deletes, feed=planner.feed)
        yield from run_partitions(
            chain, ((one.partition, partial(run, mode=one.mode)) for one in stale_partitions), on_progress
        )
    yield from rescan_moved(chain, on_progress)
    planner.confirm()


def rescan_moved(chain: Chain, on_progress: PartitionProgress | None) -> Iterator[PartitionResult]:
    """Scan the partitions that items have moved to or away from, each twice at most.

    A source may have an id twice, so without this limit the rescans might never end.
    """
    done: Counter[str] = Counter()
    while True:
        mark_moved(chain.storage, chain.collection)
        marked = set(partitions_to_rescan(chain.storage, chain.collection)).intersection(chain.partitions())
        stale = sorted(partition for partition in marked if done[partition] < _MAX_RESCANS)
        if not stale:
            return
        done.update(stale)
        work = ((partition, partial(chain.run, mode="scan")) for partition in stale)
        for result in run_partitions(chain, work, on_progress):
            if result.error:
                done[result.partition] = _MAX_RESCANS
            yield result


def run_partitions(
    chain: Chain, work: Iterable[tuple[str, Callable[..., Manifest]]], on_progress: PartitionProgress | None
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition, each with its own function; publish the collection at the end."""
    failures, published = 0, False
    try:
        for partition, run in work:
            result = PartitionResult(chain.collection, partition)
            try:
                with chain.locked(partition):
                    _run_partition(chain, result, run, on_progress)
                failures, published = 0, True
            except (SourceError, StorageError, LedgerError, OutputError) as error:
                result.error = error
                failures += 1
            yield result
            if failures == _FAILURES_IN_A_ROW:
                raise SourceError(f"{chain.collection}: stopped after {failures} partitions in a row failed")
    finally:
        if published:
            chain.publish_collection()


def _run_partition(
    chain: Chain, result: PartitionResult, run: Callable[..., Manifest], on_progress: PartitionProgress | None
) -> None:
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
