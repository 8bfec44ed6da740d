"""Cut rows into row groups. The cut depends on the values only, not on the tables that the rows arrive in.

So a file has the same bytes whether its rows were converted from items or taken from an earlier file.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["RowGroupCutter"]

_ROW_GROUP_BYTES = 64 << 20
"""Size of the values of a row group: large enough to keep the footer small, small enough for memory."""

_BLOCK_ROWS = 1000
"""Rows that are measured together; fewer would cost more time, more would let row groups grow too large."""


class RowGroupCutter:
    """Collects rows until they fill a row group."""

    def __init__(self) -> None:
        self._block: list[pa.Table] = []
        self._block_rows = 0
        self._blocks: list[list[pa.Array]] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> list[list[pa.Array]]:
        """Add rows; returns the columns of each row group that is full now, each column as one array."""
        full = []
        while len(table):
            part = table.slice(0, _BLOCK_ROWS - self._block_rows)
            table = table.slice(len(part))
            self._block.append(part)
            self._block_rows += len(part)
            if self._block_rows == _BLOCK_ROWS:
                self._end_block()
            if self._bytes >= _ROW_GROUP_BYTES:
                full.append(self._end_group())
        return full

    def rest(self) -> list[list[pa.Array]]:
        """The rows that fill no row group: one row group, or none."""
        if self._block:
            self._end_block()
        return [self._end_group()] if self._blocks else []

    def _end_block(self) -> None:
        block = pa.concat_tables(self._block)
        columns = [_one_array(column.chunks) for column in block.columns]
        self._block, self._block_rows = [], 0
        self._blocks.append(columns)
        self._bytes += sum(map(_size, columns))

    def _end_group(self) -> list[pa.Array]:
        blocks, self._blocks, self._bytes = self._blocks, [], 0
        group = []
        for number in range(len(blocks[0])):
            group.append(_one_array([block[number] for block in blocks]))
            for block in blocks:  # frees the memory of the parts
                block[number] = None
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
        return 4 * len(array) + (pc.sum(pc.binary_length(array)).as_py() or 0)
    return 0 if pa.types.is_null(kind) else 8 * len(array)
