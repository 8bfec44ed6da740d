"""A checksum over the values of Arrow tables, whatever their buffers and chunks are.

The writer takes it from the rows that it passes to Parquet, the check `round_trip` from the rows that it reads back. If
both are equal, the file holds what was passed to it, and no item has to be built for that.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["TableChecksum", "file_checksum", "offsets_of", "schema_fingerprint"]


class TableChecksum:
    """The SHA-256 of row groups, in their order: types, nulls and values of all columns."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, table: pa.Table) -> None:
        """Add one row group."""
        for name, column in zip(table.column_names, table.columns, strict=True):
            array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            self._add(name, array.storage if isinstance(array, pa.ExtensionArray) else array)

    def hexdigest(self) -> str:
        """The checksum so far."""
        return self._hash.hexdigest()

    def _add(self, name: str, array: Any) -> None:
        kind = array.type
        # not the text of a nested type: Parquet and Arrow have different names for the element of a list
        label = kind.id if pa.types.is_nested(kind) else kind
        self._hash.update(f"{name}\0{label}\0{len(array)}\0{array.null_count}\0".encode())
        if array.null_count == len(array):
            return
        if array.null_count:
            self._hash.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
        if pa.types.is_struct(kind):
            for field, child in zip(kind, array.flatten(), strict=True):  # not field(): below null may be anything
                self._add(field.name, child)
        elif pa.types.is_list(kind):
            self._hash.update(np.diff(offsets_of(_without_nulls(array))))
            self._add("", array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._add_texts(_without_nulls(array))
        elif not pa.types.is_null(kind):
            self._hash.update(np.ascontiguousarray(_without_nulls(array).to_numpy(zero_copy_only=False)))

    def _add_texts(self, array: Any) -> None:
        offsets = offsets_of(array)
        self._hash.update(np.diff(offsets))
        content = array.buffers()[2]
        if len(array) and content is not None:
            self._hash.update(memoryview(content)[offsets[0] : offsets[-1]])


def offsets_of(array: Any) -> Any:
    """Where each text or list of an array starts in its content, and where the last one ends."""
    ends = array.buffers()[1]
    if not len(array) or ends is None:
        return np.zeros(1, np.int32)
    return np.frombuffer(ends, dtype=np.int32)[array.offset : array.offset + len(array) + 1]


def _without_nulls(array: Any) -> Any:
    return array.drop_null() if array.null_count else array


def file_checksum(path: Path) -> str:
    """The checksum of the row groups of a Parquet file.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing, or is no Parquet file.
    """
    checksum = TableChecksum()
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            checksum.add(file.read_row_group(number, use_threads=False))
    return checksum.hexdigest()


def schema_fingerprint(schema: pa.Schema) -> str:
    """16 hex digits that are equal for files with the same columns and types."""
    text = "\n".join(f"{field.name}\0{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
