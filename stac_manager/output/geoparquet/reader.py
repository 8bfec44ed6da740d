"""Read stac-geoparquet back, and compare items with the originals: only the changes of docs/parquet.md are allowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from stac_manager.items import Item
from stac_manager.output.geoparquet.checksum import TableChecksum
from stac_manager.output.geoparquet.rows import PROJ_GEOMETRY, TIMES, TOP_LEVEL
from stac_manager.times import format_rfc3339, parse_rfc3339

__all__ = ["parquet_form", "read_checked_rows", "read_geoparquet", "read_rows", "read_with_nulls", "same_after_parquet"]

_BATCH = 500
_TOGETHER = 10
"""Rows to build as objects at once; many objects at a time slow down garbage collection."""
_SHOWN = 80


def read_geoparquet(path: str | Path) -> Iterator[Item]:
    """The items of a stac-geoparquet file, each in its `parquet_form`, with one batch of rows in memory at a time.

    The result is that of stac_geoparquet's own reader, in less time and also for a null geometry or bbox.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing, or is no stac-geoparquet file.
    """
    return map(_compacted, read_with_nulls(path))


def read_with_nulls(path: str | Path) -> Iterator[Item]:
    """The same, but each item has all members that any item of the file has."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                yield _item(row)


def read_rows(path: str | Path, rows: Sequence[int]) -> Iterator[Item]:
    """The same for some rows only, by their numbers, which must rise."""
    for table in _taken(path, rows, None):
        yield from _items(table)


def read_checked_rows(path: str | Path, rows: Sequence[int], checksum: str) -> Iterator[Item] | None:
    """The same; None if the rows of the file do not have this checksum. The file is read once."""
    total = TableChecksum()
    taken = list(_taken(path, rows, total))
    return chain.from_iterable(map(_items, taken)) if total.hexdigest() == checksum else None


def _taken(path: str | Path, rows: Sequence[int], checksum: TableChecksum | None) -> Iterator[pa.Table]:
    """Some rows; all rows are added to the checksum, if there is one."""
    with pq.ParquetFile(path) as file:
        first, left = 0, list(rows)
        for number in range(file.num_row_groups):
            end = first + file.metadata.row_group(number).num_rows
            wanted = [row - first for row in left if row < end]
            left, first = left[len(wanted) :], end
            if wanted or checksum:
                table = file.read_row_group(number, use_threads=False)
                if checksum:
                    checksum.add(table)
                if wanted:
                    yield table.take(wanted)


def _items(table: pa.Table) -> Iterator[Item]:
    for batch in table.to_batches(max_chunksize=_TOGETHER):
        yield from map(_item, batch.to_pylist())


def _item(row: dict[str, Any]) -> Item:
    item = {"type": "Feature", **{name: row.pop(name) for name in TOP_LEVEL if name in row}}
    bbox = item.get("bbox")
    if isinstance(bbox, dict):
        item["bbox"] = [bbox[name] for name in ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax") if name in bbox]
    assets = item.get("assets")
    for members in (row, *(assets.values() if isinstance(assets, dict) else ())):
        if isinstance(members, dict) and isinstance(members.get(PROJ_GEOMETRY), bytes):
            members[PROJ_GEOMETRY] = _geojson(members[PROJ_GEOMETRY])
    if isinstance(item.get("geometry"), bytes):
        item["geometry"] = _geojson(item["geometry"])
    times = {name: _text(value) for name, value in row.items() if isinstance(value, datetime)}
    return _formed({**item, "properties": {**row, **times}})


def _text(time: datetime) -> str:
    return format_rfc3339(time if time.tzinfo else time.replace(tzinfo=UTC))


def _geojson(wkb: bytes) -> Any:
    return orjson.loads(orjson.dumps(shapely.geometry.mapping(shapely.from_wkb(wkb))))


def parquet_form(item: Item) -> Item:
    """The item after it was written to Parquet and read back: equal to the result of `read_geoparquet`, by value.

    Source: the table "What changes" in docs/parquet.md.
    """
    return _compacted(_formed(item))


def _formed(item: Item) -> Item:
    """The same, with null members."""
    properties = dict(item.get("properties") or {})
    members = {name: item[name] for name in TOP_LEVEL if item.get(name) is not None}
    properties |= {name: value for name, value in item.items() if name not in TOP_LEVEL and name != "properties"}
    for name in TIMES & properties.keys():
        properties[name] = _utc(properties[name])
    assets = members.get("assets", {})
    if isinstance(assets, dict):
        assets = {key: _projected(asset) for key, asset in assets.items()}
    geometry = _plain(members.get("geometry"))
    return {**members, "geometry": geometry, "assets": assets, "properties": _projected(properties)}


def _compacted(item: Item) -> Item:
    formed = {name: value if name == "geometry" else _compact(value) for name, value in item.items()}
    return {
        **formed,
        "assets": formed["assets"] or {},
        "properties": {"datetime": None, **(formed["properties"] or {})},
    }


def _utc(value: Any) -> Any:
    try:
        return format_rfc3339(parse_rfc3339(value)) if isinstance(value, str) else value
    except ValueError:
        return value


def _projected(members: Any) -> Any:
    """Properties or an asset, with `proj:geometry` converted as a geometry."""
    if not isinstance(members, dict) or PROJ_GEOMETRY not in members:
        return members
    geometry = _plain(members[PROJ_GEOMETRY])
    return {**members, PROJ_GEOMETRY: geometry if geometry and geometry["coordinates"] else None}


def _plain(geometry: Any) -> Any:
    """A geometry with only what WKB can represent."""
    if not isinstance(geometry, dict) or "coordinates" not in geometry:
        return geometry
    return {"type": geometry.get("type"), "coordinates": geometry["coordinates"]}


def _compact(value: Any) -> Any:
    """Without null members; an object without members is null."""
    if isinstance(value, dict):
        kept = {}
        for name, member in value.items():
            compact = _compact(member) if isinstance(member, dict | list) else member
            if compact is not None:
                kept[name] = compact
        return kept or None
    if isinstance(value, list):
        return [_compact(member) if isinstance(member, dict | list) else member for member in value]
    return value


def same_after_parquet(original: Item, read_back: Item) -> str | None:
    """None if two items differ only as documented; else the path and the two values, in one line.

    `read_back` may come from `read_geoparquet` or from stac_geoparquet.
    """
    if _same(_formed(original), _formed(read_back)):
        return None
    return _difference(parquet_form(original), parquet_form(read_back), "")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal except for null members; fast if their JSON is identical."""
    letters = _letters(one)
    if letters is not None and letters == _letters(other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(map(_same, one, other))
    return _difference(_compact(one), _compact(other), "") is None


def _letters(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None


def _difference(one: Any, other: Any, path: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys())
        found = (_difference(one.get(name), other.get(name), f"{path}.{name}" if path else name) for name in names)
        return next(filter(None, found), None)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (_difference(a, b, f"{path}[{number}]") for number, (a, b) in pairs)), None)
    if isinstance(one, bool) == isinstance(other, bool) and one == other:
        return None
    return f"{path}: {_show(one)} became {_show(other)}"


def _show(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
