"""Keep collections up to date: which partitions are stale, and the runs that bring them up to date."""

from __future__ import annotations

from stac_manager.pipeline.sync.planner import StalePartition, SyncPlanner
from stac_manager.pipeline.sync.runs import PartitionProgress, PartitionResult, rebuild, select, sync
from stac_manager.pipeline.sync.targeted import (
    fetch_items_into,
    find_target_partitions,
    has_quarantine,
    published_in,
    replay,
)

__all__ = [
    "PartitionProgress",
    "PartitionResult",
    "StalePartition",
    "SyncPlanner",
    "fetch_items_into",
    "find_target_partitions",
    "has_quarantine",
    "published_in",
    "rebuild",
    "replay",
    "select",
    "sync",
]
