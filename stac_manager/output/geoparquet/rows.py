"""Items as rows of a stac-geoparquet file, or the reason why an item cannot be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from stac_manager.items import item_problem
from stac_manager.output.geoparquet.wkb import geojson_to_wkb
from stac_manager.times import parse_rfc3339

__all__ = ["PROJ_GEOMETRY", "TIMES", "TOP_LEVEL", "Path", "Row", "UnrepresentableItem", "row_of"]

Path = tuple[str, ...]
"""The path of a value in a row: the names of its parents and its own."""

TOP_LEVEL = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
"""The members of an item that stay beside `properties`, in the order of their columns."""

TIMES = frozenset(
    {"datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published", "unpublished"}
)
"""The properties that are timestamps in the file."""

PROJ_GEOMETRY = "proj:geometry"

_RESERVED = frozenset({*TOP_LEVEL, "properties"})
_EXACT = 2**53
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class UnrepresentableItem(Exception):  # noqa: N818 - not an error of the program: it becomes a RejectedItem
    """An item that the format cannot represent."""

    def __init__(self, error_type: str, reason: str) -> None:
        super().__init__(reason)
        self.error_type = error_type
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """One item, ready to be a row. It is bytes, not objects, so that many rows do not slow down garbage collection."""

    json: bytes
    """The item with its properties and unknown members at the top, without bbox and geometries."""
    bbox: list[float]
    """4 or 6 numbers."""
    geometries: dict[Path, bytes]
    """Its geometries as WKB, by their path."""


def row_of(item: Any) -> Row:
    """The row of an item.

    Raises:
        UnrepresentableItem: the format, or one of its usual readers, cannot represent this item.
    """
    problem = item_problem(item)
    if problem is not None:
        raise UnrepresentableItem("InvalidItem", problem)
    members = _flat(item)
    for name in ("type", "stac_version", "collection"):
        if members.get(name) is not None and not isinstance(members[name], str):
            raise _conflict(name, members[name], "a string")
    _check_extensions(members.get("stac_extensions"))
    _check_links(members.get("links"))
    geometries: dict[Path, bytes] = {("geometry",): _geometry(members.pop("geometry", None))}
    bbox = _bbox(members.pop("bbox", None))
    members["assets"] = _assets(members.get("assets"), geometries)
    _take_projected(members, ("properties",), (PROJ_GEOMETRY,), geometries)
    for name in TIMES & members.keys():
        members[name] = _time(name, members[name])
    try:
        return Row(orjson.dumps(members), bbox, geometries)
    except TypeError as error:
        raise UnrepresentableItem("InvalidItem", f"cannot be written as JSON: {error}") from None


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = item["properties"]
    members = {name: value for name, value in item.items() if name != "properties"}
    taken = properties.keys() & (_RESERVED | members.keys())
    if taken:
        raise UnrepresentableItem(
            "ParquetNameConflict",
            f"`properties.{min(taken)}` has the name of a member beside `properties`: they would be one column",
        )
    members.update(properties)
    return members


def _conflict(where: str, value: Any, expected: str) -> UnrepresentableItem:
    return UnrepresentableItem(
        "ParquetTypeConflict", f"`{where}` is {_NAMES.get(type(value), 'null')}; the column is {expected}"
    )


def _check_extensions(extensions: Any) -> None:
    if extensions is None:
        return
    if not isinstance(extensions, list):
        raise _conflict("stac_extensions", extensions, "a list of strings")
    for number, extension in enumerate(extensions):
        if not isinstance(extension, str):
            raise _conflict(f"stac_extensions[{number}]", extension, "a string")


def _check_links(links: Any) -> None:
    """Every link must have `href` and `rel`: if one has not, rustac cannot read the whole file."""
    if links is None:
        return
    if not isinstance(links, list):
        raise _conflict("links", links, "a list of objects")
    for number, link in enumerate(links):
        if not isinstance(link, dict):
            raise _conflict(f"links[{number}]", link, "an object")
        for name in ("href", "rel"):
            if not isinstance(link.get(name), str):
                raise _conflict(f"links[{number}].{name}", link.get(name), "a string in every link")


def _geometry(value: Any) -> bytes:
    if value is None:
        raise UnrepresentableItem(
            "ParquetGeometry", "`geometry` is null: stac_geoparquet cannot read a file with such a row"
        )
    wkb = _wkb("geometry", value)
    if wkb is None:
        raise UnrepresentableItem(
            "ParquetGeometry", "`geometry` has no coordinates: stac_geoparquet cannot tell it from null"
        )
    return wkb


def _wkb(where: str, value: Any) -> bytes | None:
    try:
        return geojson_to_wkb(value)
    except ValueError as error:
        raise UnrepresentableItem("ParquetGeometry", f"`{where}` {error}") from None


def _take_projected(members: dict[str, Any], where: Path, path: Path, geometries: dict[Path, bytes]) -> None:
    """Move `proj:geometry` out of the members; a null or empty one is dropped."""
    value = members.pop(PROJ_GEOMETRY, None)
    wkb = None if value is None else _wkb(".".join((*where, PROJ_GEOMETRY)), value)
    if wkb is not None:
        geometries[path] = wkb


def _bbox(bbox: Any) -> list[float]:
    if bbox is None:
        raise UnrepresentableItem(
            "ParquetGeometry", "`bbox` is missing: stac_geoparquet cannot read a file with such a row"
        )
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        raise UnrepresentableItem("ParquetGeometry", "`bbox` is not a list of 4 or 6 numbers")
    for number in bbox:
        if type(number) not in (int, float) or (type(number) is int and abs(number) > _EXACT):
            raise UnrepresentableItem(
                "ParquetGeometry", f"`bbox` holds {number!r}, which is not a number or too large for a double"
            )
    return bbox


def _assets(assets: Any, geometries: dict[Path, bytes]) -> dict[str, Any]:
    """The assets, without those that are null.

    Every asset must have `href`: if one has not, rustac cannot read the whole file.
    """
    if assets is None:
        return {}
    if not isinstance(assets, dict):
        raise _conflict("assets", assets, "an object")
    found = {key: asset for key, asset in assets.items() if asset is not None}
    for key, asset in found.items():
        if not isinstance(asset, dict):
            raise _conflict(f"assets.{key}", asset, "an object")
        if not isinstance(asset.get("href"), str):
            raise _conflict(f"assets.{key}.href", asset.get("href"), "a string in every asset")
        if PROJ_GEOMETRY in asset:
            found[key] = copy = dict(asset)
            _take_projected(copy, ("assets", key), ("assets", key, PROJ_GEOMETRY), geometries)
    return found


def _time(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _conflict(f"properties.{name}", value, "a time")
    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise UnrepresentableItem("ParquetTime", f"`properties.{name}`: {error}") from None
