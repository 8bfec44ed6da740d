"""The names of the files that other people's tools read. What passes between stages is named in `manifest`."""

from __future__ import annotations

from stac_manager.items import safe_name

__all__ = [
    "CATALOG_KEY",
    "catalog_lock",
    "collection_key",
    "collection_lock",
    "contract_key",
    "dirty_marks_folder",
    "new_id_marks_folder",
    "partition_lock",
    "publish_intent",
    "quarantine_key",
    "rescan_mark",
    "source_collection_key",
    "sync_key",
]

CATALOG_KEY = "published/catalog.json"


def collection_key(collection: str) -> str:
    """The published STAC Collection."""
    return f"published/{safe_name(collection)}/collection.json"


def quarantine_key(collection: str, partition: str) -> str:
    """What the stages of a partition refused."""
    return f"quarantine/{safe_name(collection)}/{partition}.ndjson"


def source_collection_key(collection: str) -> str:
    """The STAC Collection as the source served it last."""
    return f"stages/{safe_name(collection)}/collection.json"


def sync_key(collection: str) -> str:
    """What the last syncs of a collection found out, for the next one."""
    return f"stages/{safe_name(collection)}/sync.json"


def contract_key(collection: str, output: str) -> str:
    """What the partitions of a collection agree on for an output."""
    return f"stages/{safe_name(collection)}/contracts/{safe_name(output)}.json"


def partition_lock(collection: str, partition: str) -> str:
    """Held by whoever writes a partition."""
    return f"stages/{safe_name(collection)}/locks/{partition}"


def collection_lock(collection: str) -> str:
    """Held by whoever writes what all partitions of a collection share."""
    return f"stages/{safe_name(collection)}/locks/collection"


def catalog_lock() -> str:
    """Held by whoever writes the root of the catalog."""
    return "stages/catalog.lock"


def new_id_marks_folder(collection: str) -> str:
    """One empty file for each partition that new ids have come to since it was last seen where they were before."""
    return f"stages/{safe_name(collection)}/new-ids"


def rescan_mark(collection: str, partition: str) -> str:
    """There as long as a partition may hold items that have moved to another one, or lack some that have come."""
    return f"stages/{safe_name(collection)}/raw_items/{partition}/rescan"


def publish_intent(collection: str, partition: str) -> str:
    """There from before a published file is changed until its manifest says so."""
    return f"stages/{safe_name(collection)}/published/{partition}/publish-intent"


def dirty_marks_folder(collection: str) -> str:
    """One empty file for each published partition that `collection.json` may not tell of yet."""
    return f"stages/{safe_name(collection)}/dirty"
