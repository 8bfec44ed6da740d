"""Items for the tests of this folder, and the file's readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from stac_geoparquet.arrow import stac_table_to_items

from stac_manager.items import Item
from stac_manager.output import GeoParquetResult, write_geoparquet

SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46.5], [10, 46.5], [10, 45]]]}


def item(item_id: str = "a", *, assets: Any = None, top: dict[str, Any] | None = None, **properties: Any) -> Item:
    """A small valid item; `top` sets members beside `properties` (`...` as a value removes one)."""
    made: Item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "geometry": SQUARE,
        "bbox": [10, 45, 11, 46.5],
        "properties": {"datetime": "2024-01-31T10:00:00Z", **properties},
        "links": [{"rel": "collection", "href": "./collection.json", "type": "application/json"}],
        "assets": {"data": {"href": "https://example.com/a.tif"}} if assets is None else assets,
        "collection": "things",
    }
    made.update(top or {})
    return {name: value for name, value in made.items() if value is not ...}


def write(items: Sequence[Item], path: Path, **options: Any) -> GeoParquetResult:
    return write_geoparquet(lambda: items, path, **options)


def read_reference(path: Path) -> list[Item]:
    """What the format's reference reader says."""
    return list(stac_table_to_items(pq.read_table(path)))


def rejected_items(result: GeoParquetResult) -> dict[str | None, tuple[str, str]]:
    return {rejection.item_id: (rejection.error_type, rejection.error_message) for rejection in result.rejected}
