"""The chain of stages of a collection, and everything that runs it."""

from __future__ import annotations

from stac_manager.pipeline.chain import Chain, Progress, schema_store_of
from stac_manager.pipeline.checks import BLOCKING, CHECKS, CheckOutcome, run_check
from stac_manager.pipeline.layout import CATALOG_KEY, collection_key, parquet_key, quarantine_key
from stac_manager.pipeline.manifest import STAGES, Changes, FileRef, Ledger, Manifest, Place, Stage
from stac_manager.pipeline.publishing import publish_catalog, publish_collection
from stac_manager.pipeline.stage_files import read_index, read_items, read_refused

__all__ = [
    "BLOCKING",
    "CATALOG_KEY",
    "CHECKS",
    "STAGES",
    "Chain",
    "Changes",
    "CheckOutcome",
    "FileRef",
    "Ledger",
    "Manifest",
    "Place",
    "Progress",
    "Stage",
    "collection_key",
    "parquet_key",
    "publish_catalog",
    "publish_collection",
    "quarantine_key",
    "read_index",
    "read_items",
    "read_refused",
    "run_check",
    "schema_store_of",
]
