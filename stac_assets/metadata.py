"""The metadata of a materialization in Dagster: counts, changes, plots, failures, paths."""

from __future__ import annotations

import time
from typing import Any

import dagster as dg

from stac_assets.checks import reasons_table
from stac_manager.pipeline import Manifest, last_compared, quarantine_key, quarantine_reasons
from stac_manager.storage import Storage

__all__ = ["Metadata", "changes_metadata", "stage_metadata"]

Metadata = dict[str, Any]

_KINDS = ("added", "modified", "deleted")
_MOST_RUNS = 100
"""Runs in the plot of changes; it bounds the reads from Dagster's event log."""


def stage_metadata(storage: Storage, manifest: Manifest) -> Metadata:
    """The metadata of one stage of one partition."""
    ledger, changes = manifest.ledger, manifest.changes
    shown: Metadata = {
        "dagster/partition_row_count": ledger.passed,
        "received": ledger.received,
        "carried over": ledger.carried,
        "passed": ledger.passed,
        "quarantined": ledger.quarantined,
        "added": changes.added,
        "modified": changes.modified,
        "deleted": changes.deleted,
        "unchanged": changes.unchanged,
    }
    more = {"raw_items": _raw, "validated": _validated, "published": _published}.get(manifest.stage)
    return {**shown, **(more(storage, manifest) if more else {})}


def changes_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, manifest: Manifest) -> Metadata:
    """A plot of how many items the latest runs of the collection added, modified and deleted."""
    from stac_assets.plots import changes_chart  # matplotlib is slow to import, and code servers make no plots

    wanted = dg.AssetRecordsFilter(asset_key=key)
    records = instance.fetch_materializations(wanted, limit=_MOST_RUNS).records
    history = [(record.timestamp, _counts(record.asset_materialization)) for record in reversed(records)]
    now = [getattr(manifest.changes, kind) for kind in _KINDS]
    return {"changes over time": dg.MetadataValue.md(changes_chart([*history, (time.time(), now)], _KINDS))}


def _counts(materialization: dg.AssetMaterialization | None) -> list[int]:
    shown = materialization.metadata if materialization else {}
    values = [shown[kind].value if kind in shown else 0 for kind in _KINDS]
    return [value if isinstance(value, int) else 0 for value in values]


def _raw(storage: Storage, manifest: Manifest) -> Metadata:
    shown: Metadata = {name: manifest.run[name] for name in ("slices", "splits", "pages", "requests", "retries")}
    shown["deletions awaiting approval"] = manifest.details["pending_deletions"]
    shown["in no partition"] = manifest.details.get("in_no_partition", 0)
    shown["left for no partition"] = manifest.run.get("left_for_no_partition", 0)
    shown["last compared"] = last_compared(storage, manifest)
    shown["interval"] = manifest.details["interval"]
    shown["received MB"] = round(manifest.run["received_bytes"] / 1e6, 3)
    return {**shown, "deduplicated": manifest.ledger.deduplicated, "skipped": manifest.ledger.skipped}


def _validated(storage: Storage, manifest: Manifest) -> Metadata:
    details = manifest.details
    return {
        "valid": details["valid"],
        "invalid": details["invalid"],
        "unchecked": details["unchecked"],
        "failures": reasons_table(details["top_reasons"]),
        "report": dg.MetadataValue.path(storage.locate(details["report"])),
    }


def _published(storage: Storage, manifest: Manifest) -> Metadata:
    collection, partition = manifest.collection, manifest.partition
    shown: Metadata = {}
    for file in manifest.files:
        if file.output == "parquet":
            from stac_assets.plots import footprint_map, timeline

            with storage.local_copy(file.key) as path:
                shown["footprints"] = dg.MetadataValue.md(footprint_map(path))
                shown["timeline"] = dg.MetadataValue.md(timeline(path))
    for name in dict.fromkeys(file.output for file in manifest.files):
        files = [file for file in manifest.files if file.output == name]
        shown[name] = dg.MetadataValue.path(storage.locate(files[0].key))
        if len(files) > 1:
            shown[f"{name} files"] = len(files)
    if manifest.files:
        shown["size MB"] = round(sum(file.size for file in manifest.files) / 1e6, 3)
    reasons = quarantine_reasons(storage, collection, partition)
    if reasons:
        top = [(f"{step}: {message}", count) for (step, _, message), count in reasons.most_common(10)]
        shown["failures"] = reasons_table(top)
        shown["quarantine"] = dg.MetadataValue.path(storage.locate(quarantine_key(collection, partition)))
    return shown
