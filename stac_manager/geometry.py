"""GeoJSON bboxes: 4 or 6 numbers. A bbox whose west is greater than its east crosses the antimeridian.

Source: RFC 7946 section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FlatBbox", "boxes_touch", "flat_bbox", "longitude_spans"]

FlatBbox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def flat_bbox(bbox: Sequence[float]) -> FlatBbox:
    """A bbox without its elevations.

    Raises:
        ValueError: it does not have 4 or 6 numbers.
    """
    if len(bbox) not in (4, 6):
        raise ValueError(f"a bbox has 4 or 6 numbers, not {len(bbox)}")
    half = len(bbox) // 2
    return bbox[0], bbox[1], bbox[half], bbox[half + 1]


def longitude_spans(west: float, east: float) -> list[tuple[float, float]]:
    """The longitudes of a bbox: one span, or two if it crosses the antimeridian."""
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def boxes_touch(one: FlatBbox, other: FlatBbox) -> bool:
    """Whether two bboxes share a point."""
    if one[1] > other[3] or one[3] < other[1]:
        return False
    spans = longitude_spans(other[0], other[2])
    return any(west <= b and east >= a for west, east in longitude_spans(one[0], one[2]) for a, b in spans)
