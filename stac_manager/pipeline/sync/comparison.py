"""Compare a partition item by item with its source; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator

from stac_manager.ingest import IngestModule
from stac_manager.ingest.partition_assignment import PartitionAssigner, rejection_key
from stac_manager.pipeline.changes.deletions import read_pending_deletions
from stac_manager.pipeline.stages.partition_fetch import PartitionFetcher
from stac_manager.pipeline.state.stage_files import (
    compare_indexes,
    hash_of_index,
    read_index,
    read_rejected,
)
from stac_manager.quarantine import RejectedItem, rejected_item_of

__all__ = ["differs"]


def differs(fetcher: PartitionFetcher, partition: str, seconds: float) -> tuple[bool, int]:
    """Read the whole window and compare every item with the stored one; nothing is written.

    Returns:
        Whether anything differs, and the number of requests.

    Raises:
        TimeoutError: it took longer than `seconds`.
        SourceError: the source failed, or is not complete.
    """
    before = fetcher.reusable_manifest(partition)
    if before is None:
        return True, 0
    pending = read_pending_deletions(fetcher.storage, before)
    with IngestModule(fetcher.source) as ingest:
        facts = ingest.fetch(fetcher.window(partition), seconds=seconds)
        assigner = PartitionAssigner(partition, fetcher.scheme)
        rejected = {rejection_key(rejected_item_of(record)) for record in ingest.rejected_items.records(str)}

        def entries() -> Iterator[tuple[str, str]]:
            for entry in ingest:
                verdict = assigner(entry)
                if isinstance(verdict, RejectedItem):
                    rejected.add(rejection_key(verdict))
                elif verdict is not None:
                    yield verdict[0], verdict[1]

        if not pending and before.rejected is None:
            # most partitions have not changed, and their index need not be read to see that
            digest = hash_of_index(entries())
            return bool(rejected) or digest != before.content_hash, facts.requests
        known = (entry for entry in read_index(fetcher.storage, before) if entry[0] not in pending)
        if any(kind != "unchanged" for kind, _ in compare_indexes(known, entries())):
            return True, facts.requests
    known_rejected = {rejection_key(rejected_item_of(record)) for record in read_rejected(fetcher.storage, before)}
    return rejected != known_rejected, facts.requests
