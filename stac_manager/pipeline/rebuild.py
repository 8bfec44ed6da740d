"""Run whole chains without Dagster, and add up what they did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from stac_manager.config import Workflow
from stac_manager.errors import LedgerError, OutputError, SourceError, StacManagerError, StorageError, UsageError
from stac_manager.pipeline.chain import Chain, Mode
from stac_manager.pipeline.checks import CHECKS, CheckOutcome, run_check
from stac_manager.pipeline.manifest import STAGES, Changes, Manifest, Place, Stage
from stac_manager.pipeline.moves import mark_moves, moved_partitions
from stac_manager.pipeline.stage_files import read_refused
from stac_manager.pipeline.sync import Look
from stac_manager.storage import Storage
from stac_manager.times import utc_now

__all__ = [
    "Heard",
    "PartitionCounts",
    "PartitionResult",
    "partition_counts",
    "quarantine_reasons",
    "rebuild",
    "run_all",
    "run_moved",
    "select",
    "sync",
]

log = logging.getLogger(__name__)

_FAILURES_IN_A_ROW = 3
_TIMES_READ = 2


@dataclass(frozen=True)
class PartitionCounts:
    """The ledger of a whole chain: `fetched + carried = published + quarantined + deduplicated + skipped`."""

    fetched: int = 0
    carried: int = 0
    published: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    skipped: int = 0

    @property
    def balances(self) -> bool:
        """Whether every fetched item is accounted for."""
        return self.fetched + self.carried == self.published + self.quarantined + self.deduplicated + self.skipped


@dataclass
class PartitionResult:
    """What a run of one partition came to."""

    collection: str
    partition: str
    counts: PartitionCounts = field(default_factory=PartitionCounts)
    changes: Changes = field(default_factory=Changes)
    outcomes: dict[Stage, list[CheckOutcome]] = field(default_factory=dict)
    manifests: dict[Stage, Manifest] = field(default_factory=dict)
    error: StacManagerError | None = None
    """Why the partition failed; what was published before still is."""

    @property
    def checks(self) -> list[CheckOutcome]:
        """The checks of all stages."""
        return [outcome for outcomes in self.outcomes.values() for outcome in outcomes]


def partition_counts(storage: Storage, collection: str, partition: str) -> PartitionCounts | None:
    """The ledger of a chain from the manifests of its stages; None where it has not run to the end."""
    manifests = [Place(collection=collection, stage=stage, partition=partition).read(storage) for stage in STAGES]
    ledgers = [manifest.ledger for manifest in manifests if manifest]
    if len(ledgers) < len(STAGES):
        return None
    return PartitionCounts(
        fetched=ledgers[0].received,
        carried=ledgers[0].carried,
        published=ledgers[-1].passed,
        quarantined=sum(ledger.quarantined for ledger in ledgers),
        deduplicated=sum(ledger.deduplicated for ledger in ledgers),
        skipped=sum(ledger.skipped for ledger in ledgers),
    )


def quarantine_reasons(storage: Storage, collection: str, partition: str) -> Counter[tuple[str, str, str]]:
    """How many items each step refused, by `(step, error_type, error_message)`."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    for stage in STAGES:
        manifest = Place(collection=collection, stage=stage, partition=partition).read(storage)
        for record in read_refused(storage, manifest):
            reasons[stage, record["error_type"], record["error_message"]] += 1
    return reasons


def select(
    workflow: Workflow, collections: Sequence[str] = (), partitions: Sequence[str] = ()
) -> list[tuple[str, list[str]]]:
    """The partitions to run, by collection; empty choices mean all.

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


Heard = Callable[[str, Stage, int], None]
"""Hears partition, stage and how many items the stage has just handled."""


def rebuild(
    chain: Chain,
    partitions: Sequence[str],
    heard: Heard | None = None,
    *,
    mode: Mode = "full",
    allow_deletes: bool = False,
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition in turn; a partition that fails does not stop the others.

    Args:
        chain: of the collection.
        partitions: names, in the order to run them.
        heard: hears what is being done.
        mode: how much is done over again.
        allow_deletes: a person confirmed what is gone at the source, however much it is.

    Raises:
        SourceError: three partitions in a row failed: the source, or the storage, is not there.
    """
    work = ((partition, partial(chain.run, mode=mode, allow_deletes=allow_deletes)) for partition in partitions)
    yield from run_all(chain, work, heard)
    yield from run_moved(chain, heard)


def sync(
    chain: Chain, only: Sequence[str] | None = None, heard: Heard | None = None, *, allow_deletes: bool = False
) -> Iterator[PartitionResult]:
    """Bring a collection in step with its source, and do no more than that takes.

    Args:
        chain: of the collection.
        only: partitions to look at; None for all.
        heard: hears what is being done.
        allow_deletes: a person confirmed what is gone at the source, however much it is.

    Raises:
        SourceError: the source does not answer, or three partitions in a row failed.
    """
    look = Look(chain, only=only, confirmed=allow_deletes)
    findings = look.run()
    for finding in findings:
        log.info("%s %s: %s", chain.collection, finding.partition, finding.reason)
    work = ((one.partition, partial(chain.run, mode=one.mode, allow_deletes=allow_deletes)) for one in findings)
    yield from run_all(chain, work, heard)
    yield from run_moved(chain, heard)
    look.confirm()


def run_moved(chain: Chain, heard: Heard | None) -> Iterator[PartitionResult]:
    """Read the partitions again that items have moved to or away from, each twice at most.

    A source may have an id twice, so there need be no end to it.
    """
    done: Counter[str] = Counter()
    while True:
        mark_moves(chain.storage, chain.collection)
        marked = set(moved_partitions(chain.storage, chain.collection)).intersection(chain.partitions())
        behind = sorted(partition for partition in marked if done[partition] < _TIMES_READ)
        if not behind:
            return
        done.update(behind)
        work = ((partition, partial(chain.run, mode="scan")) for partition in behind)
        for result in run_all(chain, work, heard):
            if result.error:
                done[result.partition] = _TIMES_READ
            yield result


def run_all(
    chain: Chain, work: Iterable[tuple[str, Callable[..., Manifest]]], heard: Heard | None
) -> Iterator[PartitionResult]:
    """Run all stages and checks of each partition, each by its own function; publish the collection at the end."""
    failures, published = 0, False
    try:
        for partition, run in work:
            result = PartitionResult(chain.collection, partition)
            try:
                with chain.locked(partition):
                    _run_partition(chain, result, run, heard)
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


def _run_partition(chain: Chain, result: PartitionResult, run: Callable[..., Manifest], heard: Heard | None) -> None:
    for stage in STAGES:

        def progress(count: int, stage: Stage = stage) -> None:
            if heard:
                heard(result.partition, stage, count)

        manifest = result.manifests[stage] = run(stage, result.partition, progress)
        result.outcomes[stage] = check_stage(chain.storage, manifest)
        if stage == "published":
            result.changes = manifest.changes
    result.counts = partition_counts(chain.storage, chain.collection, result.partition) or PartitionCounts()


def check_stage(storage: Storage, manifest: Manifest) -> list[CheckOutcome]:
    """Every check of a stage.

    Raises:
        LedgerError: a blocking check failed.
    """
    outcomes = [run_check(name, storage, manifest) for name in CHECKS[manifest.stage]]
    for outcome in outcomes:
        if outcome.blocking and not outcome.passed:
            place = f"{manifest.collection} {manifest.partition} {manifest.stage}"
            raise LedgerError(f"{place}: {outcome.name} failed: {outcome.description}")
    return outcomes
