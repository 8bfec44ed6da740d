"""Fetch single items by their ids, and replay rejected items, without reading whole windows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from stac_manager.ingest import FetchFacts, IngestModule, why_in_no_partition
from stac_manager.ingest.partition_assignment import partition_of
from stac_manager.items import Item, loads
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.state.manifest import Manifest, Stage, all_stages
from stac_manager.pipeline.state.stage_files import read_index, read_manifest, read_rejected
from stac_manager.pipeline.sync.runs import PartitionProgress, PartitionResult, rescan_moved, run_partitions
from stac_manager.progress import ProgressCallback
from stac_manager.quarantine import RejectedItem, rejected_item_of
from stac_manager.times import Window, utc_now

__all__ = [
    "Located",
    "fetch_items_into",
    "find_target_partitions",
    "has_quarantine",
    "locate",
    "published_in",
    "replay",
]


@dataclass
class Located:
    """The partitions that some ids belong to, by their present dates at the source."""

    targets: dict[str, list[str]] = field(default_factory=dict)
    """Ids by partition."""
    rejected: dict[str, RejectedItem] = field(default_factory=dict)
    """Ids that the source has but that cannot be fetched, with the reason. The source does not have any other id."""


def locate(chain: Chain, ids: Collection[str]) -> Located:
    """Fetch ids from the source, and assign them to partitions.

    Raises:
        SourceError: the source failed.
    """
    located, now = Located(), utc_now()
    with IngestModule(chain.source) as ingest:
        ingest.find(sorted(ids))
        for item_id, line in ingest:
            item = loads(line)
            target = partition_of(item, chain.scheme, now)
            if target is None:
                located.rejected[item_id] = _rejected(chain, item, now)
            else:
                located.targets.setdefault(target, []).append(item_id)
        for rejection in map(rejected_item_of, ingest.rejected_items.records(str)):
            reason = f"it is at the source, but {rejection.error_message}"
            located.rejected[rejection.item_id or ""] = replace(rejection, error_message=reason)
    return located


def _rejected(chain: Chain, item: Item, now: datetime) -> RejectedItem:
    why = why_in_no_partition(item, chain.scheme, now)
    if why.startswith("dated"):
        return RejectedItem(item["id"], "NotInPartitions", f"it is at the source, {why}", "raw_items", item)
    return RejectedItem(item["id"], "NoTime", f"it is at the source, but {why}", "raw_items", item)


def find_target_partitions(chain: Chain, ids: Collection[str]) -> dict[str, list[str]]:
    """The ids that the source has, by the partition that they belong to now; ids of no partition are left out.

    Raises:
        SourceError: the source failed.
    """
    return locate(chain, ids).targets


def fetch_items_into(
    chain: Chain, targets: Mapping[str, Sequence[str]], on_progress: PartitionProgress | None = None
) -> Iterator[PartitionResult]:
    """Fetch items by their ids, and merge them into the partitions that they belong to.

    Args:
        chain: of the collection.
        targets: ids by partition, from `find_target_partitions`.
        on_progress: called with the progress of each stage.

    Raises:
        SourceError: the source failed.
    """
    yield from run_partitions(
        chain, ((target, partial(_fetch_into, chain, ids)) for target, ids in sorted(targets.items())), on_progress
    )
    yield from rescan_moved(chain, on_progress)


def published_in(chain: Chain, item_id: str) -> str | None:
    """The partition that has an id here; None if none has it."""
    for partition in chain.partitions():
        manifest = chain.raw.reusable_manifest(partition)
        if any(known == item_id for known, _ in read_index(chain.storage, manifest)):
            return partition
    return None


def _fetch_into(
    chain: Chain, ids: Sequence[str], stage: Stage, partition: str, on_progress: ProgressCallback
) -> Manifest:
    if stage != "raw_items":
        return chain.run(stage, partition, on_progress, mode="resume")

    def found(ingest: IngestModule, window: Window) -> FetchFacts:
        return ingest.find(ids)

    merged = chain.raw.merge(partition, on_progress, found, counted=False)
    return merged or chain.run(stage, partition, on_progress, mode="scan")


def has_quarantine(chain: Chain, partition: str) -> bool:
    """Whether any stage of a partition rejected items."""
    manifests = (read_manifest(chain.storage, place) for place in all_stages(chain.collection, partition))
    return any(manifest.rejected for manifest in manifests if manifest)


def replay(
    chain: Chain, partitions: Sequence[str], on_progress: PartitionProgress | None = None
) -> Iterator[PartitionResult]:
    """Process the rejected items again, and nothing else; items that pass now are published.

    Items that the first stage rejected are fetched again by their ids. Items that a later stage rejected are processed
    again as they were fetched. If a stage's part of the workflow has changed, it processes all of its items again.

    Args:
        chain: of the collection.
        partitions: names; those without quarantine are skipped.
        on_progress: called with the progress of each stage.

    Raises:
        SourceError: the source failed.
    """
    work = ((key, partial(_replay, chain)) for key in partitions if has_quarantine(chain, key))
    yield from run_partitions(chain, work, on_progress)
    yield from rescan_moved(chain, on_progress)


def _replay(chain: Chain, stage: Stage, partition: str, on_progress: ProgressCallback) -> Manifest:
    manifest = read_manifest(chain.storage, chain.stage_partition(stage, partition))
    records = list(read_rejected(chain.storage, manifest))
    if not records:
        return chain.run(stage, partition, on_progress, mode="resume")
    if stage == "raw_items":
        ids = sorted({record["item_id"] for record in records if record["item_id"]})
        return (
            _fetch_into(chain, ids, stage, partition, on_progress)
            if ids
            else chain.run(stage, partition, on_progress, mode="resume")
        )
    return chain.run(stage, partition, on_progress, mode="replay")
