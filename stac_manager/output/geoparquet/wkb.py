"""GeoJSON geometries as well-known binary (WKB), coordinate for coordinate.

`shapely.geometry.shape` silently closes open rings, and `shapely.from_geojson` silently fills a missing z with NaN.
Here such a geometry is an error, and every other geometry can be read back from WKB unchanged.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import Any

__all__ = ["EMPTY_POLYGON", "geojson_to_wkb"]

EMPTY_POLYGON = struct.pack("<BII", 1, 3, 0)
"""The value for "no geometry", because readers need one in every row. RFC 7946 section 3.1: it may mean null."""

_CODES = {"Point": 1, "LineString": 2, "Polygon": 3, "MultiPoint": 4, "MultiLineString": 5, "MultiPolygon": 6}
_Z = 1000
_EXACT = 2**53


def geojson_to_wkb(geometry: Any) -> bytes | None:
    """A GeoJSON geometry as little-endian ISO WKB, or None when it has no coordinates at all.

    Source: RFC 7946 section 3.1; OGC 06-103r4 section 8.2 with the ISO codes for z.

    Raises:
        ValueError: WKB, or a reader of the format, cannot represent the geometry; the text is the reason.
    """
    if not isinstance(geometry, dict):
        raise ValueError("is not a GeoJSON geometry")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if not isinstance(kind, str) or kind not in _CODES:
        raise ValueError(f"is a {kind!r}, which the format's readers do not take")
    if not isinstance(coordinates, list):
        raise ValueError("has no list of coordinates")
    if not coordinates:
        return None
    size = _dimensions(coordinates)
    try:
        return _encode(kind, coordinates, size)
    except (TypeError, struct.error):
        raise ValueError(f"has coordinates that are not those of a {kind}") from None


def _dimensions(coordinates: list[Any]) -> int:
    first: Any = coordinates
    while isinstance(first, list) and first and isinstance(first[0], list):
        first = first[0]
    size = len(first) if isinstance(first, list) else 0
    if size == 0:
        raise ValueError("has an empty part")
    if size not in (2, 3):
        raise ValueError(f"has positions of {size} numbers, not 2 or 3")
    return size


def _encode(kind: str, coordinates: list[Any], size: int) -> bytes:
    head = struct.pack("<BI", 1, _CODES[kind] + (_Z if size == 3 else 0))
    if kind == "Point":
        return head + _positions([coordinates], size)[4:]
    if kind == "LineString":
        if len(coordinates) < 2:
            raise ValueError("has a line of fewer than two positions")
        return head + _positions(coordinates, size)
    if kind == "Polygon":
        return head + _count(coordinates) + b"".join([_ring(ring, size) for ring in coordinates])
    part = kind.removeprefix("Multi")
    return head + _count(coordinates) + b"".join([_encode(part, member, size) for member in coordinates])


def _count(members: list[Any]) -> bytes:
    if not members:
        raise ValueError("has an empty part")
    return struct.pack("<I", len(members))


def _ring(positions: list[Any], size: int) -> bytes:
    if len(positions) < 4 or positions[0] != positions[-1]:
        raise ValueError("has a ring that is not closed or has fewer than four positions")
    return _positions(positions, size)


def _positions(positions: list[Any], size: int) -> bytes:
    if set(map(len, positions)) != {size}:
        raise ValueError("mixes positions of two and of three numbers")
    numbers = list(chain.from_iterable(positions))
    types = set(map(type, numbers))
    if not types <= {int, float}:
        raise ValueError("has a coordinate that is not a number")
    if int in types and any(type(number) is int and abs(number) > _EXACT for number in numbers):
        raise ValueError("has a coordinate beyond what a double holds exactly")
    return struct.pack(f"<I{len(numbers)}d", len(positions), *numbers)
