"""The chain of stages of a collection, and everything that runs it."""

from __future__ import annotations

from stac_manager.pipeline.builders import schema_store_of, source_of
from stac_manager.pipeline.chain import Chain, Mode, Progress, code_version
from stac_manager.pipeline.checks import ALLOW_DELETES_TAG, BLOCKING, CHECKS, CheckOutcome, run_check
from stac_manager.pipeline.deletions import read_held, read_tombstones
from stac_manager.pipeline.layout import CATALOG_KEY, collection_key, moved_key, parquet_key, quarantine_key
from stac_manager.pipeline.manifest import STAGES, Changes, FileRef, Ledger, Manifest, Place, Stage
from stac_manager.pipeline.publishing import collection_totals, publish_catalog, publish_collection
from stac_manager.pipeline.rebuild import partition_counts, quarantine_reasons
from stac_manager.pipeline.stage_files import read_index, read_items, read_refused, read_sound
from stac_manager.pipeline.sync import Finding, Look

__all__ = [
    "ALLOW_DELETES_TAG",
    "BLOCKING",
    "CATALOG_KEY",
    "CHECKS",
    "STAGES",
    "Chain",
    "Changes",
    "CheckOutcome",
    "FileRef",
    "Finding",
    "Ledger",
    "Look",
    "Manifest",
    "Mode",
    "Place",
    "Progress",
    "Stage",
    "code_version",
    "collection_key",
    "collection_totals",
    "moved_key",
    "parquet_key",
    "partition_counts",
    "publish_catalog",
    "publish_collection",
    "quarantine_key",
    "quarantine_reasons",
    "read_held",
    "read_index",
    "read_items",
    "read_refused",
    "read_sound",
    "read_tombstones",
    "run_check",
    "schema_store_of",
    "source_of",
]
