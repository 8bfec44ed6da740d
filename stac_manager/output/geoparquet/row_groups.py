"""Cut rows into row groups. The cut depends on the values only, not on the tables that the rows arrive in.

So a file has the same bytes whether its rows were converted from items or taken from an earlier file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stac_manager.output.geoparquet.checksum import offsets_of

__all__ = ["RowGroupCutter"]

_ROW_GROUP_BYTES = 64 << 20
"""Size of the values of a row group: large enough to keep the footer small, small enough for memory."""

_BLOCK_ROWS = 1000
"""Rows that are measured together; fewer would cost more time, more would let row groups grow too large."""


@dataclass(slots=True)
class _Part:
    """Rows of a table that wait for the others of their row group."""

    table: pa.Table
    start: int
    stop: int

    def last(self, count: int) -> pa.Table:
        """The last rows, at most so many."""
        start = max(self.start, self.stop - count)
        return self.table.slice(start, self.stop - start)


class RowGroupCutter:
    """Collects rows until they fill a row group."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._unmeasured = 0
        self._bytes = 0

    def add(self, table: pa.Table) -> list[list[pa.Array]]:
        """Add rows; returns the columns of each row group that is full now, each column as one array."""
        full = []
        start = 0
        while start < len(table):
            stop = min(len(table), start + _BLOCK_ROWS - self._unmeasured)
            self._append(table, start, stop)
            if self._unmeasured == _BLOCK_ROWS:
                self._bytes += sum(map(_size, self._block()))
                self._unmeasured = 0
            if self._bytes >= _ROW_GROUP_BYTES:
                full.append(self._end_group())
            start = stop
        return full

    def rest(self) -> list[list[pa.Array]]:
        """The rows that fill no row group: one row group, or none."""
        return [self._end_group()] if self._parts else []

    def _append(self, table: pa.Table, start: int, stop: int) -> None:
        self._unmeasured += stop - start
        if self._parts and self._parts[-1].table is table:
            self._parts[-1].stop = stop
        else:
            self._parts.append(_Part(table, start, stop))

    def _block(self) -> Iterator[pa.Array]:
        """The columns of the rows that are not measured yet."""
        tables: list[pa.Table] = []
        missing = self._unmeasured
        for part in reversed(self._parts):
            tables.insert(0, part.last(missing))
            missing -= len(tables[0])
            if not missing:
                break
        return (_one_array(column.chunks) for column in pa.concat_tables(tables).columns)

    def _end_group(self) -> list[pa.Array]:
        columns = [part.last(part.stop).columns for part in self._parts]
        self._parts, self._unmeasured, self._bytes = [], 0, 0
        group = []
        for number in range(len(columns[0])):
            group.append(_one_array([chunk for part in columns for chunk in part[number].chunks]))
            for part in columns:  # frees the memory of the parts
                part[number] = None
        return group


def _one_array(parts: list[pa.Array]) -> pa.Array:
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _size(array: Any) -> int:
    """Bytes of the values of an array; what Arrow holds below a null does not count."""
    kind = array.type
    if pa.types.is_struct(kind):
        return sum(map(_size, array.flatten()))
    if pa.types.is_list(kind):
        return 4 * len(array) + _size(array.flatten())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        offsets = offsets_of(array.drop_null() if array.null_count else array)
        return 4 * len(array) + int(offsets[-1] - offsets[0])
    return 0 if pa.types.is_null(kind) else 8 * len(array)
