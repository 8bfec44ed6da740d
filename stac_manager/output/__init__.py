"""Published files: output formats, and the catalog and collections that link to their files.

What belongs here: from items to files. What does not: how files are put in place, which the `published` stage does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stac_manager.errors import UsageError
from stac_manager.files import atomic_file
from stac_manager.items import Item
from stac_manager.output.catalog import PartitionSummary, build_catalog, build_collection
from stac_manager.output.geoparquet.number_types import NumberTypes
from stac_manager.output.geoparquet.reader import parquet_form, read_geoparquet, read_with_nulls, same_after_parquet
from stac_manager.output.geoparquet.writer import GeoParquetResult, write_geoparquet
from stac_manager.output.protocol import LastWrite, Output, OutputFile, OutputResult, PartitionJob
from stac_manager.quarantine import RejectedItem
from stac_manager.registry import OUTPUTS
from stac_manager.scratch import scratch_folder

__all__ = [
    "GeoParquetResult",
    "LastWrite",
    "NumberTypes",
    "Output",
    "OutputFile",
    "OutputModule",
    "OutputResult",
    "PartitionJob",
    "PartitionSummary",
    "WrittenFiles",
    "build_catalog",
    "build_collection",
    "parquet_form",
    "read_geoparquet",
    "read_with_nulls",
    "same_after_parquet",
    "write_geoparquet",
]


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """The result of a write; `rows` and `rejected` add up to all items."""

    rows: int
    rejected: Sequence[RejectedItem]
    paths: Sequence[Path]


class OutputModule:
    """Items in, files out, in any format."""

    @staticmethod
    def write(
        items: Callable[[], Iterable[Item]] | Sequence[Item],
        target: Path,
        format: str = "parquet",  # noqa: A002 - the name in workflows and on the command line
        *,
        collection: dict[str, Any] | None = None,
    ) -> WrittenFiles:
        """Write items to a local path in a format of `stac_manager.registry.OUTPUTS`.

        Args:
            items: a list, or a function that returns the items again each time it is called.
            target: a file; for a format with several files, the folder for them.
            format: the name of the format.
            collection: written into the files, if the format has a place for it.

        Raises:
            UsageError: there is no such format.
            OutputError: the items were not the same each time.
            StorageError: a file cannot be written.
        """
        if format not in OUTPUTS:
            known = ", ".join(OUTPUTS.names)
            raise UsageError(f"output format {format!r} is not supported yet; supported: {known}")
        give = items if callable(items) else lambda: items
        with scratch_folder() as folder:
            job = PartitionJob(
                collection or {"id": target.name.split(".")[0]}, "items", give, folder, described=bool(collection)
            )
            result = OUTPUTS.get(format).write(job)
            paths = [_put(file, target, alone=len(result.files) == 1) for file in result.files]
        return WrittenFiles(sum(file.items for file in result.files), result.rejected, paths)


def _put(file: OutputFile, target: Path, *, alone: bool) -> Path:
    path = target if alone else target / file.key
    with atomic_file(path) as staging:
        shutil.copyfile(file.path, staging)
    return path
