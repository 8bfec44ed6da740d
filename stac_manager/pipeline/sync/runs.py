"""Run whole chains without Dagster, and add up what they did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing

from stac_manager.config import Workflow
from stac_manager.errors import SourceError, UsageError
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.changes.moved_items import mark_moved
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.state.manifest_cache import note_written
from stac_manager.pipeline.state.marks import partitions_to_rescan
from stac_manager.pipeline.state.paths import new_id_marks_folder, state_folder
from stac_manager.pipeline.sync.partition_run import (
    PartitionProgress,
    PartitionResult,
    PartitionRun,
    RunStage,
    check_stage,
    run_partition,
)
from stac_manager.pipeline.sync.planner import SyncPlanner
from stac_manager.pipeline.sync.worker_pool import WorkerPool, worker_count
from stac_manager.times import utc_now

__all__ = [
    "PartitionProgress",
    "PartitionResult",
    "check_stage",
    "rebuild",
    "rescan_moved",
    "run_partitions",
    "select",
    "sync",
]

log = logging.getLogger(__name__)

_FAILURES_IN_A_ROW = 3  # then the source or the storage is down, and more partitions would fail too
_MAX_RESCANS = 2  # of one partition; a source with one id twice would otherwise cause endless rescans


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


def rebuild(
    chain: Chain,
    partitions: Sequence[str],
    on_progress: PartitionProgress | None = None,
    *,
    mode: Mode = "full",
    allow_deletes: bool = False,
    workers: int = 1,
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition; a partition that fails does not stop the others.

    Args:
        chain: of the collection.
        partitions: names, in the order to start them.
        on_progress: called with the progress of each stage; with several workers also from other threads.
        mode: how much is done again.
        allow_deletes: a person approved the deletions, however many they are.
        workers: how many processes run partitions. This one is the first; the others build their chains from the
            workflow. The results come in the order in which the partitions end.

    Raises:
        SourceError: three partitions in a row failed: the source, or the storage, is not available.
    """
    runs = [PartitionRun(partition, mode, allow_deletes) for partition in partitions]
    yield from _run(chain, runs, on_progress, workers)
    yield from rescan_moved(chain, on_progress, workers=workers)


def sync(
    chain: Chain,
    only: Sequence[str] | None = None,
    on_progress: PartitionProgress | None = None,
    *,
    allow_deletes: bool = False,
    planner: SyncPlanner | None = None,
    workers: int = 1,
) -> Iterator[PartitionResult]:
    """Bring a collection up to date with its source, by running its stale partitions only.

    Args:
        chain: of the collection.
        only: partitions to check; None for all.
        on_progress: called with the progress of each stage; with several workers also from other threads.
        allow_deletes: a person approved the deletions, however many they are.
        planner: the sync check to run, for a caller that needs its results; it must not have run yet.
        workers: how many processes run partitions, as for `rebuild`.

    Raises:
        SourceError: the source does not answer, or three partitions in a row failed.
    """
    planner = planner or SyncPlanner(chain, only=only, confirmed=allow_deletes)
    with ExitStack() as stack:
        stale_partitions = planner.plan(keep=stack)
        if stale_partitions:
            planner.end_look()
        for stale in stale_partitions:
            log.info("%s %s: %s", chain.collection, stale.partition, stale.reason)
        runs = [PartitionRun(one.partition, one.mode, allow_deletes) for one in stale_partitions]
        yield from _run(chain, runs, on_progress, workers, planner.feed)
    if stale_partitions:
        yield from rescan_moved(chain, on_progress, workers=workers)
    planner.confirm()


def rescan_moved(chain: Chain, on_progress: PartitionProgress | None, *, workers: int = 1) -> Iterator[PartitionResult]:
    """Scan the partitions that items have moved to or away from, each twice at most.

    A source may have an id twice, so without this limit the rescans might never end.
    """
    done: Counter[str] = Counter()
    folder = state_folder(chain.collection)
    while True:
        folders = (f"{folder}/raw_items", new_id_marks_folder(chain.collection))
        with chain.storage.listed(*folders, root=folder, fresh=True, seen=True):
            mark_moved(chain.storage, chain.collection)
            marked = set(partitions_to_rescan(chain.storage, chain.collection)).intersection(chain.partitions())
        stale = sorted(partition for partition in marked if done[partition] < _MAX_RESCANS)
        if not stale:
            return
        done.update(stale)
        for result in _run(chain, [PartitionRun(partition, "scan") for partition in stale], on_progress, workers):
            if result.error:
                done[result.partition] = _MAX_RESCANS
            yield result


def run_partitions(
    chain: Chain, work: Iterable[tuple[str, RunStage]], on_progress: PartitionProgress | None
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition, each with its own function; publish the collection at the end."""
    results = (run_partition(chain, partition, run, on_progress) for partition, run in work)
    yield from _until_failures(chain, results, results.close)


def _run(
    chain: Chain,
    runs: Sequence[PartitionRun],
    on_progress: PartitionProgress | None,
    workers: int,
    feed: ChangeFeed | None = None,
) -> Iterator[PartitionResult]:
    """Run partitions in this process, or in several."""
    count = worker_count(chain, runs, workers)
    if count == 1:
        yield from run_partitions(chain, ((run.partition, run.with_chain(chain, feed)) for run in runs), on_progress)
        return
    pool = WorkerPool(chain, runs, count, on_progress, feed)
    yield from _until_failures(chain, pool.results(), pool.stop)


def _until_failures(
    chain: Chain, results: Generator[PartitionResult], stop: Callable[[], None]
) -> Iterator[PartitionResult]:
    """Pass results on; after three failures in a row, only those of partitions that run already."""
    failures, published, stopped = 0, False, False
    try:
        with chain.sync_state.collecting(), closing(results):
            for result in results:
                note_written(chain.storage, result.manifests.values())
                failures = failures + 1 if result.error else 0
                published = published or not result.error
                yield result
                if failures == _FAILURES_IN_A_ROW and not stopped:
                    stopped = True
                    stop()
        if stopped:
            raise SourceError(f"{chain.collection}: stopped after {_FAILURES_IN_A_ROW} partitions in a row failed")
    finally:
        if published:
            chain.publish_collection()
