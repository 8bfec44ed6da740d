"""The chain of stages of a collection: what a stage is, what it stores, and how it is run.

Which partitions are run, and when, is in `stac_manager.pipeline.sync`.
"""

from __future__ import annotations

from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.deletions import read_pending_deletions, read_tombstones
from stac_manager.pipeline.checks import (
    ALLOW_DELETES_TAG,
    Check,
    CheckOutcome,
    checks_of,
    last_compared,
    run_check,
    run_checks,
)
from stac_manager.pipeline.stages.builders import schema_store_of, source_of
from stac_manager.pipeline.stages.collection import collection_totals, publish_catalog, publish_collection
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.stages.registry import STAGE_TABLE, code_version
from stac_manager.pipeline.state.manifest import (
    STAGES,
    Changes,
    FileRef,
    Ledger,
    Manifest,
    PublishedFile,
    Stage,
    StagePartition,
)
from stac_manager.pipeline.state.paths import CATALOG_KEY, collection_key, quarantine_key, rescan_mark
from stac_manager.pipeline.state.stage_files import read_index, read_items, read_manifest, read_rejected
from stac_manager.pipeline.state.totals import partition_counts, quarantine_reasons

__all__ = [
    "ALLOW_DELETES_TAG",
    "CATALOG_KEY",
    "STAGES",
    "STAGE_TABLE",
    "Chain",
    "Changes",
    "Check",
    "CheckOutcome",
    "FileRef",
    "Ledger",
    "Manifest",
    "Mode",
    "PublishedFile",
    "Stage",
    "StagePartition",
    "checks_of",
    "code_version",
    "collection_key",
    "collection_totals",
    "last_compared",
    "partition_counts",
    "publish_catalog",
    "publish_collection",
    "quarantine_key",
    "quarantine_reasons",
    "read_index",
    "read_items",
    "read_manifest",
    "read_pending_deletions",
    "read_rejected",
    "read_tombstones",
    "rescan_mark",
    "run_check",
    "run_checks",
    "schema_store_of",
    "source_of",
]
