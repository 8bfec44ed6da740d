"""The output format `parquet`: one stac-geoparquet file a partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stac_manager.items import Item, safe_name
from stac_manager.output.geoparquet import read_with_nulls, same_after_parquet, write_geoparquet
from stac_manager.output.protocol import Output, OutputFile, OutputResult, PartitionJob

__all__ = ["PARQUET", "PARQUET_TYPE", "ParquetOutput"]

PARQUET_TYPE = "application/vnd.apache.parquet"


class ParquetOutput(Output):
    """Writes stac-geoparquet. A partition without items has no file."""

    name = "parquet"
    version = "1"

    def write(self, job: PartitionJob) -> OutputResult:
        """One file with all items that the format can hold."""
        path = job.folder / "items.parquet"
        result = write_geoparquet(job.items, path, collection=dict(job.collection) if job.described else None)
        file = OutputFile(
            f"published/{safe_name(job.collection_id)}/items/{job.partition}.parquet",
            path,
            result.rows,
            PARQUET_TYPE,
            title=f"Items of {job.partition} as stac-geoparquet",
            roles=("collection-mirror",),
        )
        return OutputResult([file] if result.rows else [], result.rejected, {"columns": result.columns})

    def read(self, paths: Sequence[Path]) -> Iterator[Item]:
        """The items, each with all members that any item of its file has."""
        return (item for path in paths for item in read_with_nulls(path))

    def read_ids(self, paths: Sequence[Path]) -> Iterator[str]:
        """The ids, by reading that column only."""
        for path in paths:
            column: pa.ChunkedArray = pq.read_table(path, columns=["id"], partitioning=None).column("id")
            yield from column.to_pylist()

    def difference(self, original: Item, read_back: Item) -> str | None:
        """What differs beyond the table in docs/parquet.md."""
        return same_after_parquet(original, read_back)


PARQUET = ParquetOutput()
"""The output format `parquet`."""
