"""Rows of an earlier file that are still right, so that only changed items are converted.

A file that is written in full has the columns of all its items. The rows of an earlier file may be used only if that
would give the columns of the earlier file again. So each column must be proven: by a changed item, or by a value in a
row that stays. What neither proves, such as a column of nulls, may have come from an item that has changed since.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stac_manager.items import Item
from stac_manager.output.geoparquet.number_types import NumberTypes, path_pointer
from stac_manager.output.geoparquet.rows import Path as FieldPath
from stac_manager.output.geoparquet.schema import ELEMENT, LARGE, Node
from stac_manager.output.geoparquet.wkb import EMPTY_POLYGON

__all__ = ["EarlierRows", "EarlierWrite", "prove"]

_EXACT = 2**53
_MOST_KEPT = 96 << 20
"""Bytes of a row group that is kept in memory between two passes, if it is the only one."""


@dataclass(frozen=True, slots=True)
class EarlierWrite:
    """A file that was written earlier, and which of its rows are not right any more."""

    path: Path
    numbers: NumberTypes
    """The number columns of the file."""
    changed: frozenset[str]
    """The ids of the items that were added or modified since."""
    deleted: frozenset[str]
    """The ids of the items that are gone."""
    items: Callable[[Collection[str]], Iterable[Item]]
    """Returns the present items with some ids, sorted by id."""


class EarlierRows:
    """The rows of an earlier file, which is sorted by id. Use it as a context manager."""

    def __init__(self, earlier: EarlierWrite) -> None:
        self._outdated = earlier.changed | earlier.deleted
        self._file = pq.ParquetFile(earlier.path)
        self._kept: pa.Table | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the file."""
        return pa.schema([(field.name, _plain_type(field.type)) for field in self._file.schema_arrow])

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    def ids_that_stay(self, most: int) -> list[str]:
        """Ids of rows that stay, evenly spread; at most so many."""
        column = pa.concat_tables(
            self._file.read_row_group(number, columns=["id"]) for number in range(self._file.num_row_groups)
        ).column("id")
        ids = [item_id for item_id in column.to_pylist() if item_id not in self._outdated]
        return ids[:: max(1, -(-len(ids) // most))]

    def that_stay(self) -> Iterator[pa.Table]:
        """The rows that stay, by row group."""
        return (_combined(parts) for parts in self._merged(None, []) if parts)

    def merged(self, fresh: pa.Table | None) -> Iterator[pa.Table]:
        """All rows of the new file, sorted by id, by row group of the earlier file."""
        ids = fresh.column("id").to_pylist() if fresh is not None else []
        return (_combined(parts) for parts in self._merged(fresh, ids) if parts)

    def _merged(self, fresh: pa.Table | None, fresh_ids: Sequence[str]) -> Iterator[list[pa.Table]]:
        numbers = {item_id: number for number, item_id in enumerate(fresh_ids)}
        events = sorted(self._outdated)
        groups = self._file.num_row_groups
        for group in range(groups):
            table = self._read(group)
            ids: list[str] = table.column("id").to_pylist()
            # those beyond the last group's rows follow it
            count = len(events) if group == groups - 1 else bisect_right(events, ids[-1])
            due, events = events[:count], events[count:]
            parts, start = [], 0
            for item_id in due:
                at = bisect_left(ids, item_id, start)
                parts.append(table.slice(start, at - start))
                start = at + (at < len(ids) and ids[at] == item_id)
                if fresh is not None and item_id in numbers:
                    parts.append(fresh.slice(numbers[item_id], 1))
            parts.append(table.slice(start))
            yield [part for part in parts if len(part)]

    def _read(self, group: int) -> pa.Table:
        if self._kept is not None:
            return self._kept
        columns = [_plain_column(column) for column in self._file.read_row_group(group, use_threads=False).columns]
        table = pa.Table.from_arrays(columns, schema=self.schema)
        if self._file.num_row_groups == 1 and table.nbytes <= _MOST_KEPT:
            self._kept = table
        return table


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without an extension, which other packages may have registered."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain_column(column: Any) -> pa.Array:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _combined(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).combine_chunks()


def prove(tree: Node, table: pa.Table, numbers: NumberTypes) -> None:
    """Add to the tree which kinds of values the items of these rows had, as far as the rows prove it.

    Args:
        tree: of the rows known so far.
        table: rows of a file.
        numbers: the number columns of that file.
    """
    integers = frozenset(numbers.integer)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if len(table):
            _prove_member(tree, name, _plain_column(column), (name,), integers)


def _prove_member(parent: Node, name: str, array: Any, path: FieldPath, integers: frozenset[str]) -> None:
    child = parent.fields.get(name) or Node()
    _prove(child, array, path, integers)
    if child.kinds:
        parent.fields[name] = child


def _prove(node: Node, array: Any, path: FieldPath, integers: frozenset[str]) -> None:
    kind = array.type
    if array.null_count == len(array):
        return
    if path == ("bbox",):
        node.kinds.add(f"bbox of {kind.num_fields}")
    elif pa.types.is_struct(kind):
        node.kinds.add("object")
        for field, child in zip(kind, array.flatten(), strict=True):
            _prove_member(node, field.name, child, (*path, field.name), integers)
    elif pa.types.is_list(kind):
        node.kinds.add("list")
        node.element = node.element or Node()
        _prove(node.element, array.flatten(), (*path, ELEMENT), integers)
    else:
        node.kinds |= _scalar_kinds(array, path, integers)


def _scalar_kinds(array: Any, path: FieldPath, integers: frozenset[str]) -> set[str]:
    kind = array.type
    if pa.types.is_string(kind):
        return {"string"}
    if pa.types.is_boolean(kind):
        return {"boolean"}
    if pa.types.is_timestamp(kind):
        return {"time"}
    if pa.types.is_binary(kind):
        return {"geometry"} if pc.any(pc.not_equal(array, EMPTY_POLYGON)).as_py() else set()
    if path_pointer(path) in integers:
        return {"integer"}
    if pa.types.is_int64(kind):
        ends = pc.min_max(array)
        return {LARGE if max(-ends["min"].as_py(), ends["max"].as_py()) > _EXACT else "integer"}
    # 1.0 and 1 look alike in a column of doubles
    values = array.drop_null().to_numpy(zero_copy_only=False)
    return {"float"} if (values != np.trunc(values)).any() else set()
