"""Rows as an Arrow table with a given layout, without any conversion of values.

The rows go through Arrow's JSON reader, which fails on a member without a column and on a value of another type.
`pa.array(rows, type=…)` is as fast, but accepts 1.5 as the integer 1, true as 1.0 and a text as a list of letters.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from stac_manager.output.geoparquet.rows import Path, Row
from stac_manager.output.geoparquet.schema import Layout
from stac_manager.output.geoparquet.wkb import EMPTY_POLYGON

__all__ = ["SchemaMismatch", "table_of"]

_BLOCK = 4 << 20
"""Bytes of JSON that one thread parses at a time; this was the fastest for rows of 5 to 50 KB."""
_EXACT = 2.0**53
_UINT64 = 2.0**64
"""A JSON parser gives no integer beyond this, so a larger double was a double in the JSON."""


class SchemaMismatch(Exception):  # noqa: N818 - not an error of the program: another layout is tried
    """The rows do not fit the layout."""


def table_of(rows: Sequence[Row], layout: Layout, *, exact: bool = False) -> pa.Table:
    """The rows in the layout's columns.

    `exact` promises that no integer beyond 2^53 is in a column of floats; without it, a possible one is a mismatch.

    Raises:
        SchemaMismatch: a row has a member or a type that the layout does not have.
    """
    known = set(layout.geometries)
    if any(row.geometries.keys() - known for row in rows):
        raise SchemaMismatch("a geometry without a column")
    bbox = _bbox(rows, layout.file.field("bbox").type)
    try:
        parsed = _parse([row.json for row in rows], layout.json).combine_chunks()
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(str(error)) from None
    if not exact and any(_may_be_inexact(column) for column in parsed.itercolumns()):
        raise SchemaMismatch("integers beyond 2^53 may have been rounded")
    geometries = {path: _wkb(rows, path) for path in layout.geometries}
    columns = {("bbox",): bbox, **geometries}
    for name in parsed.column_names:
        if name in layout.file.names:
            place = (name,)
            target = layout.file.field(name).type
            try:
                columns[place] = _conform(_whole(parsed.column(name)), target, place, geometries)
            except pa.ArrowInvalid as error:  # an integer beyond 2^53 in a column that is written as double
                raise SchemaMismatch(str(error)) from None
    return pa.Table.from_arrays([columns[(name,)] for name in layout.file.names], schema=layout.file)


def _parse(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    longest = max(map(len, lines))
    return pj.read_json(
        io.BytesIO(b"\n".join(lines)),
        read_options=pj.ReadOptions(block_size=max(_BLOCK, longest + 2)),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _may_be_inexact(column: Any) -> bool:
    """Whether a double may be a rounded integer."""
    kind = column.type
    if pa.types.is_struct(kind):
        array = _whole(column) if isinstance(column, pa.ChunkedArray) else column
        return any(_may_be_inexact(array.field(number)) for number in range(kind.num_fields))
    if pa.types.is_list(kind):
        array = _whole(column) if isinstance(column, pa.ChunkedArray) else column
        return _may_be_inexact(array.values)
    if not pa.types.is_float64(kind):
        return False
    ends = pc.min_max(column)
    if not ends["max"].is_valid or max(-ends["min"].as_py(), ends["max"].as_py()) < _EXACT:
        return False
    sizes = np.abs(column.to_numpy(zero_copy_only=False))
    return bool(((sizes >= _EXACT) & (sizes <= _UINT64)).any())


def _bbox(rows: Sequence[Row], target: pa.DataType) -> pa.Array:
    size = target.num_fields
    if any(len(row.bbox) != size for row in rows):
        raise SchemaMismatch("a bbox of another size")
    numbers = np.array([row.bbox for row in rows], dtype=np.float64)
    return pa.StructArray.from_arrays([pa.array(column) for column in numbers.T], fields=list(target))


def _wkb(rows: Sequence[Row], path: Path) -> pa.Array:
    """A geometry column. A row without one gets an empty polygon, because stac_geoparquet cannot read a null."""
    return pa.array([row.geometries.get(path, EMPTY_POLYGON) for row in rows], pa.binary())


def _conform(array: pa.Array, target: pa.DataType, path: Path, geometries: dict[Path, pa.Array]) -> pa.Array:
    """Insert the geometries, leave out the objects without members, and widen integers."""
    if array.type.equals(target):
        return array
    if pa.types.is_null(target):
        return pa.nulls(len(array))
    if pa.types.is_int64(array.type):
        return array.cast(target)
    if pa.types.is_list(target):
        values = _conform(array.values, target.value_type, path, geometries)
        return pa.ListArray.from_arrays(array.offsets, values, mask=array.is_null())
    children = []
    for field in target:
        place = (*path, field.name)
        known = geometries.get(place)
        children.append(_conform(array.field(field.name), field.type, place, geometries) if known is None else known)
    return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())
