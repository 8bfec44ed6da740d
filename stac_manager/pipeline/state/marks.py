"""Marks: small files about work that has begun or must still be done, so that the next run sees it after a crash."""

from __future__ import annotations

import uuid

from stac_manager.items import safe_name
from stac_manager.pipeline.state.manifest import Manifest, StagePartition
from stac_manager.pipeline.state.paths import dirty_marks_folder, new_id_marks_folder, publish_intent, rescan_mark
from stac_manager.storage import Storage

__all__ = [
    "mark_collection_dirty",
    "mark_new_ids",
    "partitions_to_rescan",
    "put_publish_intent",
    "put_rescan_mark",
    "remove_marks_of_version_1",
]


def mark_new_ids(storage: Storage, collection: str, partition: str, content_hash: str = "unknown") -> None:
    """Mark a partition that got new ids: another partition may have them, if their items have moved.

    The mark has the name of the generation, so that who removes a mark does not remove that of a later generation.
    """
    _put(storage, f"{new_id_marks_folder(collection)}/{partition}/{content_hash[:16]}")


def put_rescan_mark(storage: Storage, collection: str, partition: str) -> None:
    """Mark a partition for a scan. Each mark has different content, so that sensors can tell that it is new."""
    storage.put(rescan_mark(collection, partition), uuid.uuid4().bytes)


def partitions_to_rescan(storage: Storage, collection: str) -> list[str]:
    """The partitions marked for a scan, sorted: items have moved away from them, or to them."""
    keys = storage.list(f"stages/{safe_name(collection)}/raw_items")
    return sorted(key.split("/")[-2] for key in keys if key.endswith("/rescan"))


def put_publish_intent(storage: Storage, stage_partition: StagePartition) -> None:
    """Mark a partition whose published files are about to change, until its manifest is written.

    Without a manifest no mark is needed, because the partition counts as unfinished.
    """
    key = publish_intent(stage_partition.collection, stage_partition.partition)
    if storage.size(stage_partition.manifest_key) is not None and storage.size(key) is None:
        storage.put(key, b"")


def mark_collection_dirty(storage: Storage, manifest: Manifest) -> None:
    """Mark a partition that is about to be published: `collection.json` and the quarantine file are older than it."""
    put_publish_intent(storage, manifest.stage_partition)
    _put(storage, f"{dirty_marks_folder(manifest.collection)}/{manifest.partition}")


def remove_marks_of_version_1(storage: Storage, collection: str) -> None:
    """Remove the marks of earlier versions; every partition is run again, so they have no meaning."""
    for folder in ("arrivals", "unlisted"):
        if keys := storage.list(f"stages/{safe_name(collection)}/{folder}"):
            storage.delete(*keys, f"stages/{safe_name(collection)}/number_types.json")


def _put(storage: Storage, key: str) -> None:
    storage.remove_orphans(key)
    storage.put(key, b"")
