"""Published files: stac-geoparquet, and the catalog and collections that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from stac_manager.errors import UsageError
from stac_manager.items import Item
from stac_manager.output.catalog import PartitionSummary, build_catalog, build_collection
from stac_manager.output.geoparquet.reader import parquet_form, read_geoparquet, read_with_nulls, same_after_parquet
from stac_manager.output.geoparquet.writer import GeoParquetResult, write_geoparquet

__all__ = [
    "OUTPUT_FORMATS",
    "GeoParquetResult",
    "OutputModule",
    "PartitionSummary",
    "build_catalog",
    "build_collection",
    "parquet_form",
    "read_geoparquet",
    "read_with_nulls",
    "same_after_parquet",
    "write_geoparquet",
]

OUTPUT_FORMATS: dict[str, Callable[..., GeoParquetResult]] = {"parquet": write_geoparquet}
"""Writers by format name, called as `writer(items, target, collection=…)`."""


class OutputModule:
    """Items in, files out, whatever the format."""

    @staticmethod
    def write(
        items: Callable[[], Iterable[Item]] | Sequence[Item],
        target: Path,
        format: str = "parquet",  # noqa: A002 - the word that workflows and the command line use
        *,
        collection: dict[str, Any] | None = None,
    ) -> GeoParquetResult:
        """Write items to a local path in a format of `OUTPUT_FORMATS`.

        `items` is a list, or a function that gives the items anew each time it is called.

        Raises:
            UsageError: there is no writer for the format.
            OutputError: the items were not the same each time.
        """
        writer = OUTPUT_FORMATS.get(format)
        if writer is None:
            known = ", ".join(OUTPUT_FORMATS)
            raise UsageError(f"output format {format!r} is not supported yet; supported: {known}")
        return writer(items if callable(items) else lambda: items, target, collection=collection)
