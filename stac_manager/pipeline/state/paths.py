"""The keys of published files, state files, locks and marks. The keys of stage files are in the manifests."""

from __future__ import annotations

from stac_manager.items import safe_name

__all__ = [
    "CATALOG_KEY",
    "after_blobs",
    "blobs_folder",
    "catalog_lock",
    "collection_key",
    "collection_lock",
    "contract_key",
    "dirty_marks_folder",
    "manifest_cache_key",
    "new_id_marks_folder",
    "partition_folders",
    "partition_lock",
    "publish_intent",
    "published_folder",
    "quarantine_key",
    "rescan_mark",
    "source_collection_key",
    "state_folder",
    "sync_key",
]

CATALOG_KEY = "published/catalog.json"


def collection_key(collection: str) -> str:
    """The published STAC Collection."""
    return f"published/{safe_name(collection)}/collection.json"


def published_folder(collection: str, partition: str) -> str:
    """Where the files of a partition in the usual format begin."""
    return f"published/{safe_name(collection)}/items/{partition}"


def quarantine_key(collection: str, partition: str) -> str:
    """The items that the stages of a partition rejected."""
    return f"quarantine/{safe_name(collection)}/{partition}.ndjson"


def blobs_folder(collection: str, partition: str) -> str:
    """The files of all stages of a partition, named by their content; the manifests list them."""
    return f"stages/{safe_name(collection)}/blobs/{partition}"


def manifest_cache_key(collection: str) -> str:
    """The manifests of a collection in one object; only in buckets."""
    return f"stages/{safe_name(collection)}/manifests.zst"


def after_blobs(collection: str) -> str:
    """A key after all blobs of a collection, and before its other private files but the earlier ones."""
    return f"stages/{safe_name(collection)}/blobs0"


def partition_folders(collection: str, partition: str) -> list[str]:
    """The folders that only the holder of a partition's lock writes to, but for marks."""
    folder = f"stages/{safe_name(collection)}"
    stages = ("raw_items", "transformed", "extended", "validated", "published")
    return [*(f"{folder}/{stage}/{partition}" for stage in stages), blobs_folder(collection, partition)]


def state_folder(collection: str) -> str:
    """All private files of a collection."""
    return f"stages/{safe_name(collection)}"


def source_collection_key(collection: str) -> str:
    """The STAC Collection as the source last served it."""
    return f"stages/{safe_name(collection)}/collection.json"


def sync_key(collection: str) -> str:
    """The state of the last sync of a collection, for the next one."""
    return f"stages/{safe_name(collection)}/sync.json"


def contract_key(collection: str, output: str) -> str:
    """The contract of the partitions of a collection for an output."""
    return f"stages/{safe_name(collection)}/contracts/{safe_name(output)}.json"


def partition_lock(collection: str, partition: str) -> str:
    """The lock of a partition."""
    return f"stages/{safe_name(collection)}/locks/{partition}"


def collection_lock(collection: str) -> str:
    """The lock of the files that all partitions of a collection share."""
    return f"stages/{safe_name(collection)}/locks/collection"


def catalog_lock() -> str:
    """The lock of the root catalog."""
    return "stages/catalog.lock"


def new_id_marks_folder(collection: str) -> str:
    """One empty file for each partition that got new ids, until it is known whether other partitions have them too."""
    return f"stages/{safe_name(collection)}/new-ids"


def rescan_mark(collection: str, partition: str) -> str:
    """The mark of a partition that must be scanned, because items have moved away from it or to it."""
    return f"stages/{safe_name(collection)}/raw_items/{partition}/rescan"


def publish_intent(collection: str, partition: str) -> str:
    """The mark that exists from before a published file changes until its manifest is written."""
    return f"stages/{safe_name(collection)}/published/{partition}/publish-intent"


def dirty_marks_folder(collection: str) -> str:
    """One empty file for each published partition that `collection.json` may not include yet."""
    return f"stages/{safe_name(collection)}/dirty"
