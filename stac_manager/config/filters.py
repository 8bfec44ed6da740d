"""The filters of a source: which items of its collections to fetch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stac_manager.config.fields import NOT_BOOL, Broken, Instant, LastInstant, Section, Where, refuse, rule

__all__ = ["Filters", "SpatialFilter", "TemporalFilter"]


def _bbox(values: tuple[float, ...]) -> tuple[float, ...]:
    refuse(_broken_bbox(values))
    return values


def _broken_bbox(values: tuple[float, ...]) -> Iterator[Broken]:
    if len(values) not in (4, 6):
        yield (), "4 numbers (west, south, east, north) or 6 (with a lowest and a highest elevation)"
        return
    half = len(values) // 2
    outside = [corner for corner in (0, half) if not -180 <= values[corner] <= 180]
    yield from (((corner,), "a longitude from -180 to 180") for corner in outside)
    beyond = [corner + 1 for corner in (0, half) if not -90 <= values[corner + 1] <= 90]
    yield from (((corner,), "a latitude from -90 to 90") for corner in beyond)
    if not beyond and values[1] > values[half + 1]:
        yield (half + 1,), "a north that is not south of the south; the order is west, south, east, north"
    if half == 3 and values[2] > values[5]:
        yield (5,), "a highest elevation that is not below the lowest"


_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "Polygon": 2,
    "MultiLineString": 2,
    "MultiPolygon": 3,
}
_TYPES = ", ".join([*_DEPTHS, "GeometryCollection"])


def _geometry(value: dict[str, Any]) -> dict[str, Any]:
    refuse(_broken_geometry(value, ()))
    return value


def _broken_geometry(value: Any, where: Where) -> Iterator[Broken]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "GeometryCollection":
        members = value.get("geometries")
        if not isinstance(members, list) or not members:
            yield (*where, "geometries"), "a list of GeoJSON geometries"
            return
        for index, member in enumerate(members):
            yield from _broken_geometry(member, (*where, "geometries", index))
    elif not isinstance(kind, str) or kind not in _DEPTHS:
        yield (*where, "type"), f"a GeoJSON geometry: one of {_TYPES}"
    else:
        yield from _broken_coordinates(value.get("coordinates"), (*where, "coordinates"), _DEPTHS[kind])


def _broken_coordinates(value: Any, where: Where, depth: int) -> Iterator[Broken]:
    if depth == 0:
        if not _is_position(value):
            yield where, "a position: longitude, latitude and perhaps an elevation, in degrees"
    elif not isinstance(value, list) or not value:
        yield where, "a list of positions" if depth == 1 else "a list of lists of positions"
    else:
        for index, member in enumerate(value):
            yield from _broken_coordinates(member, (*where, index), depth - 1)


def _is_position(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 3):
        return False
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
        return False
    return bool(-180 <= value[0] <= 180 and -90 <= value[1] <= 90)


def _cql2(value: dict[str, Any]) -> dict[str, Any]:
    broken: list[Broken] = []
    if not isinstance(value.get("op"), str):
        broken.append((("op",), "the name of an operator, as `<=` or `and` (CQL2 JSON)"))
    if not isinstance(value.get("args"), list):
        broken.append((("args",), "a list of what the operator works on (CQL2 JSON)"))
    refuse(broken)
    return value


def _query(value: dict[str, Any]) -> dict[str, Any]:
    refuse(
        ((name,), "a mapping of operators, as {lt: 20}")
        for name, operators in value.items()
        if not isinstance(operators, dict) or not operators
    )
    if not value:
        raise rule("properties and their operators, as {eo:cloud_cover: {lt: 20}}")
    return value


class TemporalFilter(Section):
    """The time range of the items."""

    start_date: Instant | None = None
    """The first moment, such as 2024-01-31 (UTC) or 2024-01-31T10:00:00Z. Without it: from the first partition on."""

    end_date: LastInstant | None = None
    """The last moment; a date means its whole day. Without it: no end."""

    @field_validator("end_date")
    @classmethod
    def _after_the_start(cls, end: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("start_date")
        if start and end and end <= start:
            raise rule("a time after `start_date`")
        return end


class SpatialFilter(Section):
    """The area of the items: `bbox` or `intersects`, not both."""

    bbox: (
        Annotated[
            tuple[Annotated[float, NOT_BOOL], ...], AfterValidator(_bbox), Field(json_schema_extra={"minItems": 4})
        ]
        | None
    ) = None
    """West, south, east, north in degrees (WGS 84); a west greater than the east crosses the antimeridian."""

    intersects: Annotated[dict[str, Any], AfterValidator(_geometry)] | None = None
    """A GeoJSON geometry that items must touch."""

    @field_validator("intersects")
    @classmethod
    def _only_one_shape(cls, value: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if value is not None and info.data.get("bbox") is not None:
            raise rule("either `bbox` or `intersects`, not both")
        return value


class Filters(Section):
    """Which items to fetch; without any filter, all of them."""

    temporal: TemporalFilter = Field(default_factory=TemporalFilter)
    """The time range of the items."""

    spatial: SpatialFilter = Field(default_factory=SpatialFilter)
    """The area of the items."""

    cql2: Annotated[dict[str, Any], AfterValidator(_cql2)] | None = None
    """A condition on properties in CQL2 JSON, such as {op: "<", args: [{property: "eo:cloud_cover"}, 20]}."""

    query: Annotated[dict[str, Any], AfterValidator(_query)] | None = None
    """A condition for APIs that have only the Query extension, such as {"eo:cloud_cover": {lt: 20}}."""

    @field_validator("query")
    @classmethod
    def _only_one_language(cls, value: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if value is not None and info.data.get("cql2") is not None:
            raise rule("either `cql2` or `query`, not both")
        return value
