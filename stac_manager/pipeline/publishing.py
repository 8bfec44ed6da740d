"""The last stage: a partition's Parquet file, and the collection and catalog that lead to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from stac_manager.config import Workflow
from stac_manager.items import Item, loads, safe_name
from stac_manager.output import PartitionSummary, build_catalog, build_collection, write_geoparquet
from stac_manager.pipeline.layout import CATALOG_KEY, collection_key, parquet_key, source_collection_key
from stac_manager.pipeline.manifest import FileRef, Manifest, Place
from stac_manager.pipeline.stage_files import StageWriter, read_items
from stac_manager.storage import Storage

__all__ = ["collection_totals", "publish_catalog", "publish_collection", "publish_partition"]


def publish_partition(storage: Storage, upstream: Manifest, out: StageWriter) -> tuple[FileRef | None, dict[str, Any]]:
    """Write the Parquet file of a partition and put it in place; tells `out` what was published and what was refused.

    Returns:
        The file (None where nothing is left to publish) and the facts for the manifest.
    """

    def items() -> Iterator[Item]:
        return (loads(line) for _, _, line in read_items(storage, upstream))

    path = out.folder / "items.parquet"
    result = write_geoparquet(items, path, collection=source_collection(storage, upstream.collection))
    out.refuse(result.refused)
    refused = {refusal.item_id for refusal in result.refused}
    summary = PartitionSummary()
    for entry in read_items(storage, upstream):
        if entry[0] not in refused:
            out.keep(entry, with_line=False)
            summary.add(loads(entry[2]))
    file = _put_parquet(storage, out.place, path, result.rows, out.previous)
    return file, {"summary": summary.to_dict(), "columns": result.columns}


def _put_parquet(storage: Storage, place: Place, path: Path, rows: int, previous: Manifest | None) -> FileRef | None:
    key = parquet_key(place.collection, place.partition)
    if not rows:
        storage.delete(key)
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    ref = FileRef(key=key, sha256=digest, size=path.stat().st_size, lines=rows)
    there = previous.items if previous else None
    if ref != there or storage.size(key) != ref.size:
        storage.put(key, path)
    return ref


def source_collection(storage: Storage, collection: str) -> dict[str, Any]:
    """The STAC Collection as the source served it last; a bare id where the source was never asked."""
    document = storage.get(source_collection_key(collection))
    found: dict[str, Any] = loads(document) if document else {"id": collection}
    return found


def publish_collection(storage: Storage, workflow: Workflow, collection: str) -> dict[str, Any]:
    """Write a collection's `collection.json` from what all of its partitions hold, and the catalog above it.

    Two runs may finish at once: each looks again after it has written, so that the last one leaves the whole.

    Raises:
        StorageError: a manifest or the file cannot be read or written.
    """
    while True:
        manifests = _published(storage, collection)
        document = _collection_document(storage, collection, manifests)
        _put_json(storage, collection_key(collection), document)
        if [found.content_hash for found in _published(storage, collection)] == [m.content_hash for m in manifests]:
            publish_catalog(storage, workflow)
            return document


def _published(storage: Storage, collection: str) -> list[Manifest]:
    keys = storage.list(f"stages/{safe_name(collection)}/published")
    partitions = [key.split("/")[-2] for key in keys if key.endswith("/manifest.json")]
    places = (Place(collection=collection, stage="published", partition=partition) for partition in partitions)
    return [manifest for place in places if (manifest := place.read(storage))]


def _collection_document(storage: Storage, collection: str, manifests: list[Manifest]) -> dict[str, Any]:
    summaries = {m.partition: PartitionSummary.from_dict(m.details["summary"]) for m in manifests if m.items}
    names = {partition: f"{partition}.parquet" for partition in summaries}
    return build_collection(source_collection(storage, collection), summaries, parquet_names=names)


def publish_catalog(storage: Storage, workflow: Workflow) -> dict[str, Any]:
    """Write `published/catalog.json` over the workflow's collections that are published."""
    found = (storage.get(collection_key(collection)) for collection in workflow.collections)
    head = workflow.workflow
    document = build_catalog(head.name, head.description or head.name, [loads(data) for data in found if data])
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
