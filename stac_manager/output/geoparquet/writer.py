"""Write items to one stac-geoparquet file, with a schema that fits all items and with bounded memory.

Usually one pass is enough: the schema of the first chunk fits all rows. If a later chunk needs another schema, the rest
of the pass only collects types, and a second pass writes. If items disagree about a type, the type of most items wins.
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
"""Rows of the first chunk that give the first schema."""

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
) -> GeoParquetResult:
    """Write items, in their order, to a stac-geoparquet file; the same items give the same bytes.

    `items` is called for each pass (usually one, at most five) and must return the same items each time. `collection`
    is written to the file's metadata. Integers at the paths in `doubles` (in the form of `NumberTypes`) become doubles,
    because other files of the collection have floats there. The file is written in place: for an atomic write, give a
    staging path and rename it.

    Source: stac-geoparquet specification 1.0.0; GeoParquet 1.1.0.

    Raises:
        OutputError: the items were not the same in two passes.
        OSError: the file cannot be written.
    """
    source = _Source(items)
    tree = base_tree()
    settled = False
    while True:
        attempt = _Pass(source, tree, functools.partial(GeoParquetFile, target, collection), frozenset(doubles))
        written = attempt.run()
        if written is not None:
            numbers = number_types(tree, doubles)
            return GeoParquetResult(
                written.rows,
                source.rejected_items(),
                written.columns,
                numbers,
                written.fingerprint,
                written.checksum,
            )
        if attempt.places:
            source.reject(outvoted(type_votes(source.rows(), attempt.places)))
            tree = base_tree()
        elif settled:
            raise OutputError(_CHANGED)
        settled = not attempt.places


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
        self._layout = self._layout_of_tree()
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
            self._file = self._open(self._layout_of_tree().file)
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
            self._layout = self._layout_of_tree()

    def _layout_of_tree(self) -> Layout:
        return layout_of(self._tree, lambda path: path_pointer(path) in self._doubles)

    def _widen(self, chunk: dict[int, Row]) -> pa.Table | None:
        """The chunk as a table in a layout that also fits the earlier rows, or None if there is no such layout."""
        verdicts = {number: why for number, row in chunk.items() if (why := observe(self._tree, row))}
        self.places = conflicts(self._tree)
        if verdicts:
            self._source.reject(verdicts)
        if verdicts or self.places:
            self._useless = True
            return None
        layout = self._layout_of_tree()
        if not layout.file.equals(self._layout.file):
            self._useless |= self._file is not None
        self._layout = layout
        return table_of(list(chunk.values()), layout, exact=True)
