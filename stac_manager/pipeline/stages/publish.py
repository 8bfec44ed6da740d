"""The last stage: a partition's Parquet file, and the collection and catalog that lead to it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from stac_manager.config import Workflow
from stac_manager.items import Item, loads, safe_name
from stac_manager.output import PartitionSummary, build_catalog, build_collection, write_geoparquet
from stac_manager.pipeline.number_types import add_doubles, number_details, read_doubles, settle_doubles
from stac_manager.pipeline.state.manifest import FileRef, Manifest, StagePartition
from stac_manager.pipeline.state.paths import (
    CATALOG_KEY,
    catalog_lock,
    collection_key,
    collection_lock,
    dirty_marks_folder,
    parquet_key,
    publish_intent,
    quarantine_key,
    source_collection_key,
    sync_key,
)
from stac_manager.pipeline.state.stage_files import StageWriter, read_items
from stac_manager.storage import Storage

log = logging.getLogger(__name__)

Publish = Callable[[], FileRef | None]

__all__ = ["collection_totals", "mark_collection_dirty", "publish_catalog", "publish_collection", "publish_partition"]


def publish_partition(storage: Storage, upstream: Manifest, out: StageWriter) -> tuple[Publish, dict[str, Any]]:
    """Write the Parquet file of a partition; tells `out` what is published and what was refused.

    Returns:
        What puts the file in place and gives it (None where nothing is left to publish), and the manifest's facts.
    """

    def items() -> Iterator[Item]:
        return (loads(line) for _, _, line in read_items(storage, upstream))

    path = out.folder / "items.parquet"
    result = write_geoparquet(
        items,
        path,
        collection=source_collection(storage, upstream.collection),
        doubles=read_doubles(storage, upstream.collection),
    )
    add_doubles(storage, upstream.collection, result.numbers.double)
    out.reject(result.rejected)
    rejected = {rejection.item_id for rejection in result.rejected}
    summary = PartitionSummary()
    for entry in read_items(storage, upstream):
        if entry[0] not in rejected:
            out.write(entry, with_line=False)
            summary.add(loads(entry[2]))
    facts = {"summary": summary.to_dict(), "columns": result.columns, **number_details(result.numbers)}
    return lambda: _put_parquet(storage, out.stage_partition, path, result.rows), facts


def _put_parquet(storage: Storage, stage_partition: StagePartition, path: Path, rows: int) -> FileRef | None:
    key = parquet_key(stage_partition.collection, stage_partition.partition)
    storage.remove_orphans(key)
    if not rows and storage.size(key) is None:
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    ref = FileRef(key=key, sha256=digest, size=path.stat().st_size, lines=rows)
    if rows and storage.holds(key, digest, ref.size):
        return ref
    # from here to the manifest the two do not agree; whoever comes after a crash must see that
    storage.put(publish_intent(stage_partition.collection, stage_partition.partition), b"")
    if not rows:
        storage.delete(key)
        return None
    storage.put(key, path)
    return ref


def source_collection(storage: Storage, collection: str) -> dict[str, Any]:
    """The STAC Collection as the source served it last; a bare id where the source was never asked."""
    document = storage.get(source_collection_key(collection))
    found: dict[str, Any] = loads(document) if document else {"id": collection}
    return found


def publish_collection(storage: Storage, workflow: Workflow, collection: str) -> list[str]:
    """Write a collection's `collection.json` from what all of its partitions hold, and the catalog above it.

    Returns:
        The partitions whose number columns have another type than in the other partitions: to be published again.

    Raises:
        StorageError: a manifest or the file cannot be read or written.
    """
    with storage.lock(collection_lock(collection)):
        dirty_marks = storage.list(dirty_marks_folder(collection))
        _retire(storage, workflow, collection)
        published = _published(storage, collection)
        stale = settle_doubles(storage, collection, published)
        document = _collection_document(storage, collection, published)
        for key in (collection_key(collection), source_collection_key(collection), sync_key(collection)):
            storage.remove_orphans(key)
        _put_json(storage, collection_key(collection), document)
        publish_catalog(storage, workflow)
        for key in dirty_marks:
            storage.delete(key)
    return stale


def mark_collection_dirty(storage: Storage, manifest: Manifest) -> None:
    """Say that `collection.json` and the quarantine file are about to be behind a published partition."""
    storage.put(publish_intent(manifest.collection, manifest.partition), b"")
    key = f"{dirty_marks_folder(manifest.collection)}/{manifest.partition}"
    storage.remove_orphans(key)
    storage.put(key, b"")


def _retire(storage: Storage, workflow: Workflow, collection: str) -> None:
    """Take away partitions that the workflow cannot have: they would publish their items beside the present ones."""
    scheme = workflow.scheme()
    folder = f"stages/{safe_name(collection)}"
    for key in storage.list(folder):
        parts = key.removeprefix(f"{folder}/").split("/")
        if len(parts) != 3 or scheme.may_have(parts[1]):
            continue
        if parts[2] == "manifest.json" and parts[0] == "published":
            log.warning("%s %s: the workflow no longer has this partition; it is taken away", collection, parts[1])
        storage.delete(parquet_key(collection, parts[1]))
        storage.delete(quarantine_key(collection, parts[1]))
        storage.delete(key)


def _published(storage: Storage, collection: str) -> list[Manifest]:
    keys = storage.list(f"stages/{safe_name(collection)}/published")
    partitions = [key.split("/")[-2] for key in keys if key.endswith("/manifest.json")]
    stage_partitions = (
        StagePartition(collection=collection, stage="published", partition=partition) for partition in partitions
    )
    return [manifest for stage_partition in stage_partitions if (manifest := stage_partition.read(storage))]


def _collection_document(storage: Storage, collection: str, manifests: list[Manifest]) -> dict[str, Any]:
    summaries = {m.partition: PartitionSummary.from_dict(m.details["summary"]) for m in manifests if m.items}
    names = {partition: f"{partition}.parquet" for partition in summaries}
    return build_collection(source_collection(storage, collection), summaries, parquet_names=names)


def publish_catalog(storage: Storage, workflow: Workflow) -> dict[str, Any]:
    """Write `published/catalog.json` over the workflow's collections that are published."""
    head = workflow.workflow
    with storage.lock(catalog_lock()):
        found = [storage.get(collection_key(collection)) for collection in workflow.collections]
        document = build_catalog(head.name, head.description or head.name, [loads(data) for data in found if data])
        storage.remove_orphans(CATALOG_KEY)
        _put_json(storage, CATALOG_KEY, document)
        return document


def collection_totals(storage: Storage, workflow: Workflow) -> list[dict[str, str | int]]:
    """For each collection of a workflow: how many partitions and items are published, from when to when."""
    totals: list[dict[str, str | int]] = []
    for collection in workflow.collections:
        manifests = [manifest for manifest in _published(storage, collection) if manifest.items]
        keys = sorted(manifest.partition for manifest in manifests)
        totals.append(
            {
                "collection": collection,
                "partitions": len(keys),
                "items": sum(manifest.ledger.passed for manifest in manifests),
                "first": keys[0] if keys else "",
                "last": keys[-1] if keys else "",
            }
        )
    return totals


def _put_json(storage: Storage, key: str, document: dict[str, Any]) -> None:
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
    if storage.get(key) != data:
        storage.put(key, data)
