"""Deduplication: of several items with one id, the one that was updated last is kept.

The result does not depend on the order in which the items arrive.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stac_manager.disk_buffer import DiskBuffer

__all__ = ["Bufferable", "BufferedItem", "BufferedItems", "DedupBuffer", "KeptItem", "keep_the_newer"]

BufferedItem = tuple[str, bytes]
"""Id and JSON line."""


class Bufferable(Protocol):
    """What the buffer must know of an item."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def updated(self) -> str:
        """The item's own `updated`; empty if it has none."""
        ...

    @property
    def line(self) -> bytes:
        """Its JSON in one line."""
        ...


@dataclass(frozen=True, slots=True)
class KeptItem:
    """An item that was read from one buffer and goes into another."""

    id: str
    updated: str
    line: bytes


def keep_the_newer(*more: str) -> str:
    """The statement that stores an item, unless a newer one with its id is there; `more` are further columns."""
    names = ("id", "updated", "line", *more)
    taken = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    return (
        f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - our own names
        f"ON CONFLICT (id) DO UPDATE SET {taken} WHERE (excluded.updated, excluded.line) > (items.updated, items.line)"
    )


_KEEP_THE_NEWER = keep_the_newer()


@dataclass(frozen=True, slots=True)
class BufferedItems:
    """Reads the items of a buffer, which may belong to another process; it can be pickled.

    The buffer must stay open, and must not change.
    """

    path: Path

    def pick(self, ids: Iterable[str]) -> Iterator[Bufferable]:
        """The buffered items with these ids, unchanged."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as db:
            for item_id in ids:
                for row in db.execute("SELECT id, updated, line FROM items WHERE id = ?", (item_id,)):
                    yield KeptItem(*row)


class DedupBuffer(DiskBuffer):
    """Items by id. Of several items with one id, the one updated last is kept; their content breaks a tie."""

    tables = ("CREATE TABLE items (id TEXT PRIMARY KEY, updated TEXT, line BLOB)",)

    def __init__(self) -> None:
        self.received = 0

    def add(self, items: Iterable[Bufferable]) -> None:
        """Store items.

        Raises:
            StorageError: the temporary folder is full.
        """
        rows = [(item.id, item.updated, item.line) for item in items]
        self.received += len(rows)
        with self.writing():
            self.db.executemany(_KEEP_THE_NEWER, rows)

    @property
    def reader(self) -> BufferedItems:
        """The items, as long as the buffer is open."""
        return BufferedItems(self.path)

    def __len__(self) -> int:
        return self.count("items")

    def __iter__(self) -> Iterator[BufferedItem]:
        yield from self._rows("SELECT id, line FROM items ORDER BY id")

    def as_they_came(self) -> Iterator[BufferedItem]:
        """The items, ordered by when their id first arrived."""
        yield from self._rows("SELECT id, line FROM items ORDER BY rowid")

    def _rows(self, query: str) -> Iterator[BufferedItem]:
        # not `yield from`: it closes the cursor of an abandoned generator, which fails once the database is closed
        for row in self.db.execute(query):  # noqa: UP028
            yield row
