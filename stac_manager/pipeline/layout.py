"""The names of the files that other people's tools read. What passes between stages is named in `manifest`."""

from __future__ import annotations

from stac_manager.items import safe_name

__all__ = ["CATALOG_KEY", "collection_key", "parquet_key", "quarantine_key", "source_collection_key"]

CATALOG_KEY = "published/catalog.json"


def collection_key(collection: str) -> str:
    """The published STAC Collection."""
    return f"published/{safe_name(collection)}/collection.json"


def parquet_key(collection: str, partition: str) -> str:
    """The published stac-geoparquet file of a partition."""
    return f"published/{safe_name(collection)}/items/{partition}.parquet"


def quarantine_key(collection: str, partition: str) -> str:
    """What the stages of a partition refused."""
    return f"quarantine/{safe_name(collection)}/{partition}.ndjson"


def source_collection_key(collection: str) -> str:
    """The STAC Collection as the source served it last."""
    return f"stages/{safe_name(collection)}/collection.json"
