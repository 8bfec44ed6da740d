"""The workflow's spatial filter, applied here for servers that ignore it in a search by ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely
from shapely.geometry import shape

from stac_manager.geometry import flat_bbox, longitude_spans
from stac_manager.ingest.fetched_item import FetchedItem
from stac_manager.ingest.stac_api.search_filter import SearchFilter
from stac_manager.items import loads

__all__ = ["lies_outside"]


def lies_outside(item: FetchedItem, wanted: SearchFilter) -> bool:
    """Whether neither the item's geometry nor its bbox touches the filter's area.

    Servers compare one of the two. An item without a readable geometry and bbox is not outside.
    """
    if wanted.bbox is None and wanted.intersects is None:
        return False
    document = loads(item.line)
    try:
        places = [_box(wanted.bbox)] if wanted.bbox else []
        places += [shape(wanted.intersects)] if wanted.intersects else []
        own = [_box(document["bbox"])] if document.get("bbox") else []
        own += [shape(document["geometry"])] if document.get("geometry") else []
    except (shapely.errors.ShapelyError, ValueError, TypeError, LookupError, AttributeError):
        return False
    return bool(own) and any(not any(shapely.intersects(place, part) for part in own) for place in places)


def _box(bbox: Sequence[float]) -> Any:
    """The area of a bbox."""
    west, south, east, north = flat_bbox(bbox)
    return shapely.union_all([shapely.box(a, south, b, north) for a, b in longitude_spans(west, east)])
