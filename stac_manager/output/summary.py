"""A summary of the items of a partition: their number, extent, times, and the values of their properties."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stac_manager.geometry import flat_bbox
from stac_manager.items import Item
from stac_manager.times import format_rfc3339, parse_rfc3339

__all__ = ["PartitionSummary"]

_MOST_VALUES = 25  # of a property; a longer list is no summary
_LONGEST_VALUE = 64  # characters; longer texts are prose
_INSTANTS = ("datetime", "start_datetime", "end_datetime")
_NUMBERS = frozenset({int, float})
_CODES = frozenset({"proj:epsg"})
"""Numbers that are codes: a range of them has no meaning."""
_PROSE = frozenset({"title", "description"})
_IDENTIFIER = re.compile(r"(?:^|[:_-])(?:ids?|uuid|guid|identifier|uri|url|href)$")
_TIME_OR_HREF = re.compile(r"\d{4}-\d{2}-\d{2}|.*://")

Span = tuple[float, float]


@dataclass(slots=True)
class _Values:
    """The distinct values of a property, all of one type."""

    kind: str
    found: set[Any]


@dataclass(slots=True)
class _Range:
    minimum: float
    maximum: float


_Seen = _Values | _Range | None
"""None: the property has no summary, and will have none."""

_NEW = _Values("", set())


@dataclass(slots=True)
class PartitionSummary:
    """Facts about the items of a partition, built item by item, stored as JSON, and merged into a collection's summary.

    Longitudes are kept separately for bboxes in the eastern half, in the western half, through Greenwich, and across
    the antimeridian (west > east, RFC 7946 section 5.2). So `bbox` is small and right for items around 180 degrees.
    """

    rows: int = 0
    _latitudes: Span | None = None
    _longitudes: dict[str, Span] = field(default_factory=dict)
    _interval: tuple[datetime, datetime] | None = None
    _properties: dict[str, _Seen] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Add an item; an invalid bbox or time is skipped."""
        self.rows += 1
        box = item.get("bbox")
        if isinstance(box, list) and len(box) in (4, 6) and _NUMBERS.issuperset(map(type, box)):
            self._add_box(*flat_bbox(box))
        properties = item.get("properties") or {}
        for name in _INSTANTS:
            if isinstance(properties.get(name), str):
                with contextlib.suppress(ValueError):
                    time = parse_rfc3339(properties[name])
                    self._add_interval((time, time))
        known = self._properties
        for name, value in properties.items():
            seen = known.get(name, _NEW)
            if value is not None and seen is not None and not _covers(seen, value):
                self._add_seen(name, _seen(name, value))

    def merge(self, others: Iterable[PartitionSummary]) -> PartitionSummary:
        """A new summary of the items of this one and of the others."""
        total = PartitionSummary()
        for part in (self, *others):
            total.rows += part.rows
            total._latitudes = _hull(total._latitudes, part._latitudes)
            for side, span in part._longitudes.items():
                total._longitudes[side] = _hull(total._longitudes.get(side), span) or span
            if part._interval is not None:
                total._add_interval(part._interval)
            for name, seen in part._properties.items():
                total._add_seen(name, seen)
        return total

    @property
    def bbox(self) -> list[float] | None:
        """[west, south, east, north] in degrees; west > east if it crosses the antimeridian; None if there is none."""
        if self._latitudes is None:
            return None
        south, north = self._latitudes
        west, east = self._west_east()
        return [west, south, east, north]

    @property
    def interval(self) -> list[str] | None:
        """[first, last] instant of the items, RFC 3339 in UTC; None if there is none."""
        return None if self._interval is None else [format_rfc3339(instant) for instant in self._interval]

    @property
    def summaries(self) -> dict[str, Any]:
        """Summaries of a STAC collection: `{"minimum", "maximum"}` of numbers, or a sorted list of up to 25 values."""
        return {name: _as_summary(seen) for name, seen in sorted(self._properties.items()) if seen is not None}

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON; the same items give the same JSON."""
        return {
            "rows": self.rows,
            "latitudes": self._latitudes and list(self._latitudes),
            "longitudes": {side: list(span) for side, span in sorted(self._longitudes.items())},
            "interval": self.interval,
            "properties": {name: _as_json(seen) for name, seen in sorted(self._properties.items())},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PartitionSummary:
        """The summary from the result of `to_dict`."""
        interval = data["interval"]
        return cls(
            data["rows"],
            _span(data["latitudes"]),
            {side: (span[0], span[1]) for side, span in data["longitudes"].items()},
            interval and (parse_rfc3339(interval[0]), parse_rfc3339(interval[1])),
            {name: _from_json(seen) for name, seen in data["properties"].items()},
        )

    def _add_box(self, west: float, south: float, east: float, north: float) -> None:
        side = "across" if west > east else "east" if west >= 0 else "west" if east <= 0 else "through"
        self._latitudes = _hull(self._latitudes, (south, north))
        self._longitudes[side] = _hull(self._longitudes.get(side), (west, east)) or (west, east)

    def _west_east(self) -> Span:
        """The plain extent; if items cross the antimeridian but none crosses Greenwich, the extent crosses it too."""
        spans = self._longitudes
        if "across" not in spans:
            return min(west for west, _ in spans.values()), max(east for _, east in spans.values())
        west = min(spans[side][0] for side in ("across", "east") if side in spans)
        east = max(spans[side][1] for side in ("across", "west") if side in spans)
        return (west, east) if "through" not in spans and west > east else (-180, 180)

    def _add_interval(self, interval: tuple[datetime, datetime]) -> None:
        known = self._interval or interval
        self._interval = min(known[0], interval[0]), max(known[1], interval[1])

    def _add_seen(self, name: str, seen: _Seen) -> None:
        self._properties[name] = _union(self._properties[name], seen) if name in self._properties else seen


def _span(pair: list[float] | None) -> Span | None:
    return None if pair is None else (pair[0], pair[1])


def _hull(one: Span | None, other: Span | None) -> Span | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _seen(name: str, value: Any) -> _Seen:
    """The summary of one value; each text of a list counts as a value, as in `instruments`."""
    if name in _INSTANTS or name in _PROSE or _IDENTIFIER.search(name):
        return None
    if type(value) in (int, float) and name not in _CODES:
        return _Range(value, value)
    values = value if isinstance(value, list) else [value]
    kinds = {type(member).__name__ for member in values}
    if len(kinds) != 1 or not kinds <= {"str", "bool", "int"} or not all(map(_is_listable, values)):
        return None
    if kinds == {"int"} and name not in _CODES:
        return None
    return _limited(_Values(kinds.pop(), set(values)))


def _covers(seen: _Values | _Range, value: Any) -> bool:
    """Whether the summary has a value already, as for most items and properties."""
    kind = type(value)
    if isinstance(seen, _Range):
        return (kind is float or kind is int) and seen.minimum <= value <= seen.maximum
    if kind is list:
        return bool(value) and all(type(one).__name__ == seen.kind and one in seen.found for one in value)
    return kind.__name__ == seen.kind and value in seen.found


def _is_listable(value: Any) -> bool:
    return not isinstance(value, str) or (len(value) <= _LONGEST_VALUE and not _TIME_OR_HREF.match(value))


def _limited(values: _Values) -> _Seen:
    return values if len(values.found) <= _MOST_VALUES else None


def _union(one: _Seen, other: _Seen) -> _Seen:
    if isinstance(one, _Range) and isinstance(other, _Range):
        return _Range(min(one.minimum, other.minimum), max(one.maximum, other.maximum))
    if isinstance(one, _Values) and isinstance(other, _Values) and one.kind == other.kind:
        return one if other.found <= one.found else _limited(_Values(one.kind, one.found | other.found))
    return None


def _as_summary(seen: _Seen) -> Any:
    if isinstance(seen, _Range):
        return {"minimum": seen.minimum, "maximum": seen.maximum}
    return sorted(seen.found) if isinstance(seen, _Values) else None


def _as_json(seen: _Seen) -> Any:
    return {"kind": seen.kind, "found": sorted(seen.found)} if isinstance(seen, _Values) else _as_summary(seen)


def _from_json(data: Any) -> _Seen:
    if data is None:
        return None
    if "kind" in data:
        return _Values(data["kind"], set(data["found"]))
    return _Range(data["minimum"], data["maximum"])
