"""The output format `parquet`: one stac-geoparquet file a partition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stac_manager.items import Item, safe_name
from stac_manager.output.geoparquet import EarlierWrite, read_with_nulls, same_after_parquet, write_geoparquet
from stac_manager.output.geoparquet.checksum import file_checksum
from stac_manager.output.geoparquet.number_types import NumberTypes
from stac_manager.output.geoparquet.reader import read_checked_rows, read_rows
from stac_manager.output.protocol import Output, OutputFile, OutputResult, PartitionJob

__all__ = ["PARQUET", "PARQUET_TYPE", "ParquetOutput"]

PARQUET_TYPE = "application/vnd.apache.parquet"

_MOST_SCHEMAS = 1000
"""Schemas of files to remember; items of files with another schema are all compared after each write."""

_MOST_ROWS = 1000
"""Items to hold in memory, so that a file is read only once."""


class ParquetOutput(Output):
    """Writes stac-geoparquet. A partition without items has no file.

    All partitions agree on which number columns are doubles, because readers use the types of the first file for all.
    """

    name = "parquet"
    version = "2"

    def write(self, job: PartitionJob) -> OutputResult:
        """One file with all items that the format can represent."""
        path = job.folder / "items.parquet"
        result = write_geoparquet(
            job.items,
            path,
            collection=dict(job.collection) if job.described else None,
            doubles=_doubles(job.contract),
            earlier=_earlier(job),
        )
        file = OutputFile(
            *self.locations(job.collection_id, job.partition),
            path,
            result.rows,
            PARQUET_TYPE,
            title=f"Items of {job.partition} as stac-geoparquet",
            roles=("collection-mirror",),
        )
        numbers = {name: list(paths) for name, paths in asdict(result.numbers).items()}
        details = {
            "columns": result.columns,
            "number_types": numbers,
            "schema": result.fingerprint,
            "checksum": result.checksum,
        }
        is_new = result.fingerprint not in _texts(job.contract, "schemas")
        return OutputResult([file] if result.rows else [], result.rejected, details, compare_all=is_new)

    def locations(self, collection_id: str, partition: str) -> tuple[str]:
        """The one file of a partition."""
        return (f"published/{safe_name(collection_id)}/items/{partition}.parquet",)

    def contract_of(self, details: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The columns that have floats in any partition, and the schemas of the files."""
        doubles, schemas = set[str](), set[str]()
        for one in details:
            numbers = _recorded(one)
            doubles.update(numbers.double if numbers else ())
            schemas.update(_schema(one))
        return _contract(doubles, schemas)

    def extended_contract(self, contract: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the columns of one more partition."""
        numbers = _recorded(details)
        doubles = _doubles(contract).union(numbers.double if numbers else ())
        return _contract(doubles, _texts(contract, "schemas").union(_schema(details)))

    def keeps_contract(self, details: Mapping[str, Any], contract: Mapping[str, Any]) -> bool:
        """Whether the file has doubles in exactly the columns that the contract lists."""
        numbers, doubles = _recorded(details), _doubles(contract)
        return numbers is not None and numbers.widened == tuple(path for path in numbers.integer if path in doubles)

    def read(self, paths: Sequence[Path]) -> Iterator[Item]:
        """The items, each with all members that any item of its file has."""
        return (item for path in paths for item in read_with_nulls(path))

    def read_sample(
        self, paths: Sequence[Path], details: Mapping[str, Any], rows: Sequence[int]
    ) -> Iterator[Item] | None:
        """Some items, if the checksum of the rows in the file is that of the rows that were written."""
        if len(paths) != 1:
            return None
        if len(rows) > _MOST_ROWS:
            return read_rows(paths[0], rows) if file_checksum(paths[0]) == details.get("checksum") else None
        return read_checked_rows(paths[0], rows, str(details.get("checksum")))

    def read_ids(self, paths: Sequence[Path]) -> Iterator[str]:
        """The ids, by reading that column only."""
        for path in paths:
            with pq.ParquetFile(path) as file:
                yield from file.read(columns=["id"], use_threads=False).column("id").to_pylist()

    def difference(self, original: Item, read_back: Item) -> str | None:
        """The first difference that the table in docs/parquet.md does not allow."""
        return same_after_parquet(original, read_back)


def _earlier(job: PartitionJob) -> EarlierWrite | None:
    last = job.last
    numbers = _recorded(last.details) if last else None
    if last is None or numbers is None or len(last.paths) != 1:
        return None
    return EarlierWrite(last.paths[0], numbers, last.changed, frozenset(job.deleted), last.items)


def _doubles(contract: Mapping[str, Any]) -> frozenset[str]:
    return _texts(contract, "double")


def _texts(contract: Mapping[str, Any], name: str) -> frozenset[str]:
    texts = contract.get(name)
    return frozenset(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else frozenset()


def _schema(details: Mapping[str, Any]) -> tuple[str, ...]:
    schema = details.get("schema")
    return (schema,) if isinstance(schema, str) else ()


def _contract(doubles: Collection[str], schemas: Collection[str]) -> dict[str, Any]:
    members = {"double": sorted(doubles), "schemas": sorted(schemas)[:_MOST_SCHEMAS]}
    return {name: texts for name, texts in members.items() if texts}


def _recorded(details: Mapping[str, Any]) -> NumberTypes | None:
    """The number types in the details of a file; None if the details do not have them."""
    numbers = details.get("number_types")
    if not isinstance(numbers, dict):
        return None
    lists = [numbers.get(name) for name in ("integer", "double", "widened")]
    if not all(isinstance(paths, list) and all(isinstance(path, str) for path in paths) for paths in lists):
        return None
    return NumberTypes(*(tuple(paths or ()) for paths in lists))


PARQUET = ParquetOutput()
"""The output format `parquet`."""
