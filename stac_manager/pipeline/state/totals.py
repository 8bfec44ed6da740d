"""Totals over the stages of a partition: the ledger of the chain, and the reasons of all items in quarantine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from stac_manager.pipeline.state.manifest import STAGES, all_stages
from stac_manager.pipeline.state.stage_files import read_rejected
from stac_manager.storage import Storage

__all__ = ["PartitionCounts", "partition_counts", "quarantine_reasons"]


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


def partition_counts(storage: Storage, collection: str, partition: str) -> PartitionCounts | None:
    """The ledger of a chain, from the manifests of its stages; None if not all stages have run."""
    manifests = [place.read(storage) for place in all_stages(collection, partition)]
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
    """How many items each step rejected, by `(step, error_type, error_message)`."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    for place in all_stages(collection, partition):
        for record in read_rejected(storage, place.read(storage)):
            reasons[place.stage, record["error_type"], record["error_message"]] += 1
    return reasons
