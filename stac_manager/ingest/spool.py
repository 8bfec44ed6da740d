"""Items on their way from a source: kept on disk, one of each id, given back in the order of their ids."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from stac_manager.items import Item, content_hash, dumps

__all__ = ["ItemSpool", "SpooledItem"]

SpooledItem = tuple[str, str, bytes]
"""Id, content hash, JSON line."""

_KEEP_THE_NEWER = """
INSERT INTO items (id, updated, hash, line) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, hash = excluded.hash, line = excluded.line
WHERE (excluded.updated, excluded.hash, excluded.line) > (items.updated, items.hash, items.line)
"""


class ItemSpool:
    """Use as a context manager. Memory stays small however many items there are.

    Of several items with one id the one updated last is kept; where that does not decide, the content does, so that
    the result is the same in whatever order they came.
    """

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="stac-manager-")
        self._db = sqlite3.connect(Path(self._folder.name) / "items.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE items (id TEXT PRIMARY KEY, updated TEXT, hash TEXT, line BLOB)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, items: Iterable[Item]) -> None:
        """Take items over, each with an `id` and `properties`."""
        rows = [(item["id"], _updated(item), content_hash(item), dumps(item)) for item in items]
        self.received += len(rows)
        self._db.execute("BEGIN")
        self._db.executemany(_KEEP_THE_NEWER, rows)
        self._db.execute("COMMIT")

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM items").fetchone()[0])

    def __iter__(self) -> Iterator[SpooledItem]:
        with closing(self._db.execute("SELECT id, hash, line FROM items ORDER BY id")) as rows:
            yield from rows


def _updated(item: Item) -> str:
    value = item["properties"].get("updated")
    return value if isinstance(value, str) else ""
