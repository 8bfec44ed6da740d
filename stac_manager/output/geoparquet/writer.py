"""Write items to one stac-geoparquet file, with a schema that fits all items and with bounded memory.

Usually one pass is enough: the schema of the first chunk fits all rows. If a later chunk needs another schema, the rest
of the pass only collects types, and a second pass writes. If items disagree about a type, the type of most items wins.

Where an earlier file is given, the rows of unchanged items are taken from it, if that gives the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from stac_manager.errors import OutputError
from stac_manager.items import Item
from stac_manager.output.geoparquet.carry import EarlierRows, EarlierWrite, prove
from stac_manager.output.geoparquet.file import GeoParquetFile
from stac_manager.output.geoparquet.number_types import NumberTypes, mark_large, number_types, path_pointer
from stac_manager.output.geoparquet.rows import Path as FieldPath
from stac_manager.output.geoparquet.rows import Row, UnrepresentableItem, row_of
from stac_manager.output.geoparquet.schema import (
    Layout,
    Node,
    base_tree,
    conflicts,
    layout_of,
    observe,
    outvoted,
    type_votes,
)
from stac_manager.output.geoparquet.tables import SchemaMismatch, table_of
from stac_manager.quarantine import RejectedItem

__all__ = ["GeoParquetResult", "write_geoparquet"]

_CHUNK_ROWS = 1000
_CHUNK_BYTES = 24 << 20
"""The greatest chunk, in rows and in bytes; a larger one saves no time and needs more memory."""

_GUESSED_ROWS = 30
"""Rows of the first chunk that give the first schema, and unchanged rows that may show the columns of the others."""

_MOST_CHANGED = 96 << 20
"""Bytes of JSON of changed items; if they have more, the whole file is written in bounded memory."""

STEP = "published"
_CHANGED = "the items were not the same when they were read again"


@dataclass(frozen=True, slots=True)
class GeoParquetResult:
    """The result of the write; `rows` and `rejected` add up to all items."""

    rows: int
    rejected: list[RejectedItem]
    """The items that are not in the file, in their order."""
    columns: int
    """Top-level columns."""
    numbers: NumberTypes
    """The number columns."""
    fingerprint: str
    """Equal for files with the same columns and types."""
    checksum: str
    """Of the rows; see `file_checksum`."""


def write_geoparquet(
    items: Callable[[], Iterable[Item]],
    target: Path,
    *,
    collection: dict[str, Any] | None = None,
    doubles: Collection[str] = (),
    earlier: EarlierWrite | None = None,
) -> GeoParquetResult:
    """Write items, in their order, to a stac-geoparquet file; the same items give the same bytes.

    `items` is called for each pass (usually one, at most five) and must return the same items each time. `collection`
    is written to the file's metadata. Integers at the paths in `doubles` (in the form of `NumberTypes`) become doubles,
    because other files of the collection have floats there. The file is written in place: for an atomic write, give a
    staging path and rename it. `earlier` saves the conversion of unchanged items, and never changes the result.

    Source: stac-geoparquet specification 1.0.0; GeoParquet 1.1.0.

    Raises:
        OutputError: the items were not the same in two passes.
        OSError: the file cannot be written.
    """
    opener = functools.partial(GeoParquetFile, target, collection)
    if earlier is not None and (carried := _carry_over(earlier, frozenset(doubles), opener)):
        return carried
    source = _Source(items)
    tree = base_tree()
    settled = False
    while True:
        attempt = _Pass(source, tree, opener, frozenset(doubles))
        written = attempt.run()
        if written is not None:
            return _result(written, source, tree, doubles)
        if attempt.places:
            source.reject(outvoted(type_votes(source.rows(), attempt.places)))
            tree = base_tree()
        elif settled:
            raise OutputError(_CHANGED)
        settled = not attempt.places


def _result(file: GeoParquetFile, source: _Source, tree: Node, doubles: Collection[str]) -> GeoParquetResult:
    numbers = number_types(tree, doubles)
    return GeoParquetResult(file.rows, source.rejected_items(), file.columns, numbers, file.fingerprint, file.checksum)


def _carry_over(
    earlier: EarlierWrite, doubles: frozenset[str], opener: Callable[[pa.Schema], GeoParquetFile]
) -> GeoParquetResult | None:
    """Write the changed items and the earlier rows of the others; None if that may differ from a write in full."""
    source = _Source(lambda: earlier.items(earlier.changed))
    tree = base_tree()
    rows = _observed(source, tree)
    with EarlierRows(earlier) as before:
        if (
            rows is None
            or 2 * len(earlier.changed) > before.count
            or not _has_columns_of(tree, before, earlier, doubles)
        ):
            return None
        layout = _layout_of(tree, doubles)
        tables = [table_of(list(chunk.values()), layout, exact=True) for chunk in _chunks(rows.items())]
        file = opener(layout.file)
        try:
            for table in before.merged(pa.concat_tables(tables).combine_chunks() if tables else None):
                file.add(table)
            file.finish()
        finally:
            file.close()
    return _result(file, source, tree, doubles)


def _observed(source: _Source, tree: Node) -> dict[int, Row] | None:
    """The rows of a source, whose types are added to the tree; None if they are too large, or one does not fit."""
    rows: dict[int, Row] = {}
    size = 0
    for number, row in source.rows():
        rows[number] = row
        size += len(row.json)
        if size > _MOST_CHANGED or observe(tree, row):
            return None
    return rows


def _has_columns_of(tree: Node, before: EarlierRows, earlier: EarlierWrite, doubles: frozenset[str]) -> bool:
    """Whether the changed items and the rows that stay certainly need the columns of the earlier file, and no others.

    The tree has the types of the changed items. The types of the others are added as far as they are proven.
    """
    numbers = earlier.numbers
    if _fits(tree, before.schema, doubles):
        found = number_types(tree, doubles)
        if (found.integer, found.double) == (numbers.integer, numbers.double):
            return True
    for table in before.that_stay():
        prove(tree, table, numbers)
    if _is_proven(tree, before.schema, numbers, doubles):
        return True
    sample = _Source(lambda: earlier.items(before.ids_that_stay(_GUESSED_ROWS)))
    return _observed(sample, tree) is not None and _is_proven(tree, before.schema, numbers, doubles)


def _fits(tree: Node, schema: pa.Schema, doubles: frozenset[str]) -> bool:
    return bool(tree.fields["bbox"].kinds) and not conflicts(tree) and _layout_of(tree, doubles).file.equals(schema)


def _is_proven(tree: Node, schema: pa.Schema, numbers: NumberTypes, doubles: frozenset[str]) -> bool:
    return _fits(tree, schema, doubles) and set(numbers.double) <= set(number_types(tree, doubles).double)


def _layout_of(tree: Node, doubles: Collection[str]) -> Layout:
    return layout_of(tree, lambda path: path_pointer(path) in doubles)


class _Source:
    """A stream of items that can be read again, without the rejected items."""

    def __init__(self, items: Callable[[], Iterable[Item]]) -> None:
        self._items = items
        self._verdicts: dict[int, UnrepresentableItem] = {}
        self._rejected: dict[int, RejectedItem] = {}

    def reject(self, verdicts: dict[int, UnrepresentableItem]) -> None:
        """Reject these rows, by number, from the next pass on."""
        if not verdicts.keys() - self._verdicts.keys():
            raise OutputError(_CHANGED)
        self._verdicts.update(verdicts)

    def rejected_items(self) -> list[RejectedItem]:
        return [self._rejected[number] for number in sorted(self._rejected)]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows with their numbers."""
        for number, item in enumerate(self._items()):
            if number in self._rejected:
                continue
            try:
                if number in self._verdicts:
                    raise self._verdicts[number]
                row = row_of(item)
            except UnrepresentableItem as why:
                self._reject(number, item, why)
            else:
                yield number, row

    def _reject(self, number: int, item: Any, why: UnrepresentableItem) -> None:
        item_id = item.get("id") if isinstance(item, dict) else None
        known = item_id if isinstance(item_id, str) else None
        self._rejected[number] = RejectedItem(known, why.error_type, why.reason, STEP, item)


def _chunks(rows: Iterable[tuple[int, Row]]) -> Iterator[dict[int, Row]]:
    chunk: dict[int, Row] = {}
    size = 0
    for number, row in rows:
        chunk[number] = row
        size += len(row.json)
        if len(chunk) == _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = {}, 0
    if chunk:
        yield chunk


class _Pass:
    """One pass over the items, with the schema known so far."""

    def __init__(
        self, source: _Source, tree: Node, opener: Callable[[pa.Schema], GeoParquetFile], doubles: frozenset[str]
    ) -> None:
        self._source = source
        self._tree = tree
        self._doubles = doubles
        self._layout = _layout_of(tree, doubles)
        self._open = opener
        self._file: GeoParquetFile | None = None
        self._useless = False
        self.places: list[FieldPath] = []
        """The paths at which the items disagree about a type."""

    def run(self) -> GeoParquetFile | None:
        """The finished file, or None if another pass is needed."""
        try:
            rows = 0
            for chunk in _chunks(self._source.rows()):
                self._add_chunk(chunk)
                rows += len(chunk)
            return None if self._useless else self._finish(rows)
        finally:
            if self._file is not None:
                self._file.close()

    def _finish(self, rows: int) -> GeoParquetFile:
        if self._file is None:
            self._tree.fields["bbox"].kinds.add("bbox of 4")
            self._file = self._open(_layout_of(self._tree, self._doubles).file)
        if self._file.rows != rows:
            raise OutputError(f"{rows} items were taken, but {self._file.rows} rows were written")
        self._file.finish()
        return self._file

    def _add_chunk(self, chunk: dict[int, Row]) -> None:
        table = None
        if self._file is None and not self.places:
            self._guess(chunk)
        if not self.places:
            with contextlib.suppress(SchemaMismatch):
                table = table_of(list(chunk.values()), self._layout)
        if table is None:
            table = self._widen(chunk)
        if table is None or self._useless:
            return
        mark_large(self._tree, table)
        if self._file is None:
            self._file = self._open(self._layout.file)
        self._file.add(table)

    def _guess(self, chunk: dict[int, Row]) -> None:
        """Make the layout from some of the rows, because the others usually have the same columns."""
        for row in islice(chunk.values(), 0, None, max(1, len(chunk) // _GUESSED_ROWS)):
            observe(self._tree, row)
        if not conflicts(self._tree):
            self._layout = _layout_of(self._tree, self._doubles)

    def _widen(self, chunk: dict[int, Row]) -> pa.Table | None:
        """The chunk as a table in a layout that also fits the earlier rows, or None if there is no such layout."""
        verdicts = {number: why for number, row in chunk.items() if (why := observe(self._tree, row))}
        self.places = conflicts(self._tree)
        if verdicts:
            self._source.reject(verdicts)
        if verdicts or self.places:
            self._useless = True
            return None
        layout = _layout_of(self._tree, self._doubles)
        if not layout.file.equals(self._layout.file):
            self._useless |= self._file is not None
        self._layout = layout
        return table_of(list(chunk.values()), layout, exact=True)
