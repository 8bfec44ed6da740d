"""The Parquet file itself: row groups, and the metadata of GeoParquet and stac-geoparquet."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from stac_manager.output.geoparquet.checksum import TableChecksum, schema_fingerprint
from stac_manager.output.geoparquet.row_groups import RowGroupCutter
from stac_manager.output.geoparquet.rows import PROJ_GEOMETRY

__all__ = ["GeoParquetFile"]

_FLAT_BOX = ("xmin", "ymin", "xmax", "ymax")
"""The members that bboxes of 4 and of 6 numbers have in common."""

_TYPE_NAMES = (
    "Point",
    "LineString",
    "LinearRing",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)


class GeoParquetFile:
    """A file that is being written."""

    def __init__(self, target: Path, collection: dict[str, Any] | None, schema: pa.Schema) -> None:
        self._collection = collection
        # for a folder, pyarrow and geopandas use the metadata of the Arrow schema, other readers that of the file
        common = _encoded({**self._stac(), "geo": _geo(schema)})
        self._schema = _tagged(schema).with_metadata(common)
        # DuckDB 2.0.0 fails on filters on dictionary-encoded members of a struct, such as `bbox.xmin < 8 AND …`
        flat = [field.name for field in self._schema if not pa.types.is_nested(field.type)]
        self._writer = pq.ParquetWriter(
            target, self._schema, compression="zstd", compression_level=3, use_dictionary=flat
        )
        self._row_groups = RowGroupCutter()
        self._seen = {name: _Seen() for name in ("geometry", PROJ_GEOMETRY) if name in schema.names}
        self._checksum = TableChecksum()
        self.rows = 0
        self.columns = len(schema)
        self.fingerprint = schema_fingerprint(schema)

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self.rows += len(table)
        for columns in self._row_groups.add(table):
            self._write(columns)

    def finish(self) -> None:
        """Write the remaining rows and the metadata."""
        for columns in self._row_groups.rest():
            self._write(columns)
        exact = _geo(self._schema, self._seen)
        self._writer.add_key_value_metadata(_encoded({**self._stac(), "geo": exact}))

    @property
    def checksum(self) -> str:
        """The checksum of all rows that were written."""
        return self._checksum.hexdigest()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._writer.close()

    def _write(self, columns: list[pa.Array]) -> None:
        """Write a row group. Each column is one array, because Parquet also ends pages where an array ends."""
        # not cast(): its arrays are too short for objects with members that are always null
        table = pa.Table.from_arrays(columns, schema=self._schema)
        for name, seen in self._seen.items():
            seen.add(table.column(name))
        self._checksum.add(table)
        self._writer.write_table(table, row_group_size=len(table))

    def _stac(self) -> dict[str, Any]:
        """Source: stac-geoparquet 1.0.0, "Metadata"."""
        collections = {"collections": {self._collection["id"]: self._collection}} if self._collection else {}
        return {"stac-geoparquet": {"version": "1.0.0", **collections}}


class _Seen:
    """The types and the extent of a geometry column."""

    def __init__(self) -> None:
        self._codes: set[tuple[int, bool]] = set()
        self._low = np.full(3, np.inf)
        self._high = np.full(3, -np.inf)

    def add(self, column: pa.ChunkedArray) -> None:
        geometries = shapely.from_wkb(column.to_numpy())
        has_z = shapely.has_z(geometries)
        self._codes |= set(zip(shapely.get_type_id(geometries).tolist(), has_z.tolist(), strict=True))
        coordinates = shapely.get_coordinates(geometries, include_z=bool(has_z.any()))
        size = coordinates.shape[1]
        self._low[:size] = np.fmin(self._low[:size], np.fmin.reduce(coordinates, axis=0, initial=np.inf))
        self._high[:size] = np.fmax(self._high[:size], np.fmax.reduce(coordinates, axis=0, initial=-np.inf))

    def types(self) -> list[str]:
        """The names in GeoParquet, such as `Polygon` or `Polygon Z`."""
        return sorted(_TYPE_NAMES[code] + (" Z" if has_z else "") for code, has_z in self._codes)

    @property
    def bounds(self) -> list[float] | None:
        """[xmin, ymin, xmax, ymax], with zmin and zmax if any geometry has z; None without a geometry."""
        ends = np.isfinite(self._low)
        return [*self._low[ends].tolist(), *self._high[ends].tolist()] if ends.any() else None


def _geo(schema: pa.Schema, seen: dict[str, _Seen] | None = None) -> dict[str, Any]:
    """The GeoParquet metadata of a file; without `seen`, the part that is true for every file of these columns.

    Source: GeoParquet 1.1.0, "File metadata": `geometry_types` is empty where the types are not known.
    """
    seen = seen or {}
    box = [field.name for field in schema.field("bbox").type] if seen else list(_FLAT_BOX)
    types = {name: one.types() for name, one in seen.items()}
    primary: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": types.get("geometry", []),
        "crs": _wgs84(),
        "edges": "planar",
        "covering": {"bbox": {name: ["bbox", name] for name in box}},
    }
    if seen and seen["geometry"].bounds is not None:
        primary["bbox"] = seen["geometry"].bounds
    columns = {"geometry": primary}
    if PROJ_GEOMETRY in schema.names:
        columns[PROJ_GEOMETRY] = {"encoding": "WKB", "geometry_types": types.get(PROJ_GEOMETRY, []), "crs": None}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": columns}


def _encoded(metadata: dict[str, Any]) -> dict[str, bytes]:
    return {key: orjson.dumps(value) for key, value in metadata.items()}


def _tagged(schema: pa.Schema) -> pa.Schema:
    number = schema.get_field_index("geometry")
    metadata = {
        "ARROW:extension:name": "geoarrow.wkb",
        "ARROW:extension:metadata": orjson.dumps({"crs": _wgs84()}),
    }
    return schema.set(number, schema.field(number).with_metadata(metadata))


@functools.cache
def _wgs84() -> dict[str, Any]:
    """The CRS that stac-geoparquet writes; in GeoParquet x is the longitude, whatever the axis order of a CRS."""
    crs: dict[str, Any] = CRS.from_epsg(4326).to_json_dict()
    return crs
