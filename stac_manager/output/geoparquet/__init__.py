"""stac-geoparquet: items to rows, rows to Arrow tables, tables to one file, and back."""

from __future__ import annotations

from stac_manager.output.geoparquet.carry import EarlierWrite
from stac_manager.output.geoparquet.reader import parquet_form, read_geoparquet, read_with_nulls, same_after_parquet
from stac_manager.output.geoparquet.writer import GeoParquetResult, write_geoparquet

__all__ = [
    "EarlierWrite",
    "GeoParquetResult",
    "parquet_form",
    "read_geoparquet",
    "read_with_nulls",
    "same_after_parquet",
    "write_geoparquet",
]
