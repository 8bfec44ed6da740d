"""Small valid items for tests."""

from __future__ import annotations

from typing import Any


def make_item(item_id: str, datetime: str | None = "2024-01-15T10:00:00Z", **properties: Any) -> dict[str, Any]:
    """A valid STAC 1.1.0 item in collection `c`."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "c",
        "geometry": {"type": "Point", "coordinates": [7.5, 46.5]},
        "bbox": [7.5, 46.5, 7.5, 46.5],
        "properties": {"datetime": datetime, **properties},
        "links": [{"rel": "collection", "href": "https://example.com/collections/c"}],
        "assets": {"data": {"href": f"https://example.com/{item_id}.tif"}},
    }


def make_collection(collection_id: str = "c") -> dict[str, Any]:
    """A valid STAC 1.1.0 collection."""
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection_id,
        "description": "Items of a test.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }
