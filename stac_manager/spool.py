"""Items and refusals on their way through a step: kept on disk, one of each, given back in a fixed order.

Memory stays small however many there are, and the result is the same in whatever order they came.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from stac_manager.errors import StorageError
from stac_manager.items import Refusal, content_hash, dumps, loads, storable
from stac_manager.scratch import scratch_folder

__all__ = [
    "ItemSpool",
    "QuarantineRecord",
    "RefusalSpool",
    "Spoolable",
    "SpooledItem",
    "quarantine_record",
    "refusal_of",
]

SpooledItem = tuple[str, bytes]
"""Id and JSON line."""

QuarantineRecord = dict[str, Any]
"""`{item_id, error_type, error_message, error_context: {step, source_data, timestamp}}`."""


def quarantine_record(refusal: Refusal, timestamp: str) -> QuarantineRecord:
    """A refusal as quarantine keeps it."""
    return {
        "item_id": refusal.item_id,
        "error_type": refusal.error_type,
        "error_message": refusal.error_message,
        "error_context": {"step": refusal.step, "source_data": refusal.source_data, "timestamp": timestamp},
    }


def refusal_of(record: QuarantineRecord) -> Refusal:
    """The refusal that a quarantine record keeps."""
    context = record["error_context"]
    reason = (record["error_type"], record["error_message"])
    return Refusal(record["item_id"], *reason, context["step"], context["source_data"])


class Spoolable(Protocol):
    """What a spool must know of an item."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def updated(self) -> str:
        """When it was updated, as it says itself; empty where it does not."""
        ...

    @property
    def line(self) -> bytes:
        """Its JSON, in one line."""
        ...


class _Spool:
    """A temporary SQLite file; use as a context manager."""

    table: str

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._folder = opened.enter_context(scratch_folder())
            self._db = sqlite3.connect(self._folder / "spool.sqlite", isolation_level=None)
            opened.callback(self._db.close)
            self._db.execute("PRAGMA page_size = 65536")  # an item of usual size in one page
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            with self._writing():
                self._db.execute(self.table)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self._folder}: no room for what passes between steps: {error}") from None

    def _count(self, table: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a constant name


_KEEP_THE_NEWER = """
INSERT INTO items (id, updated, line) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, line = excluded.line
WHERE (excluded.updated, excluded.line) > (items.updated, items.line)
"""


class ItemSpool(_Spool):
    """Items by id. Of several with one id the one updated last is kept; a tie is broken by their content."""

    table = "CREATE TABLE items (id TEXT PRIMARY KEY, updated TEXT, line BLOB)"

    def __init__(self) -> None:
        self.received = 0

    def add(self, items: Iterable[Spoolable]) -> None:
        """Take items over.

        Raises:
            StorageError: the temporary folder is full.
        """
        rows = [(item.id, item.updated, item.line) for item in items]
        self.received += len(rows)
        with self._writing():
            self._db.executemany(_KEEP_THE_NEWER, rows)

    def __len__(self) -> int:
        return self._count("items")

    def __iter__(self) -> Iterator[SpooledItem]:
        yield from self._db.execute("SELECT id, line FROM items ORDER BY id")


class RefusalSpool(_Spool):
    """Refused items with their reasons, each once, as quarantine records."""

    table = """
    CREATE TABLE refused (id TEXT, type TEXT, message TEXT, step TEXT, hash TEXT, data BLOB, time TEXT,
                          PRIMARY KEY (id, type, message, step, hash))
    """

    def __init__(self) -> None:
        self.received = 0

    def add(self, refusals: Iterable[Refusal]) -> None:
        """Take refusals over; the same one again is not kept twice.

        Raises:
            StorageError: the temporary folder is full.
        """
        rows = [_refusal_row(refusal) for refusal in refusals]
        self.received += len(rows)
        with self._writing():
            self._db.executemany("INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?, ?, NULL)", rows)

    def keep_times(self, before: Iterable[QuarantineRecord]) -> None:
        """Give refusals that were there before the time at which they were first refused."""
        with self._writing():
            for record in before:
                key = _refusal_row(refusal_of(record))[:5]
                self._db.execute(
                    "UPDATE refused SET time = ? WHERE (id, type, message, step, hash) = (?, ?, ?, ?, ?)",
                    (record["error_context"]["timestamp"], *key),
                )

    def __len__(self) -> int:
        return self._count("refused")

    def records(self, now: Callable[[], str]) -> Iterator[QuarantineRecord]:
        """The quarantine records, sorted; new ones get the time that `now` gives."""
        fields = "id, type, message, step, data, time"
        query = f"SELECT {fields} FROM refused ORDER BY id, type, message, step, hash"  # noqa: S608 - constants
        for item_id, kind, message, step, data, time in self._db.execute(query):
            yield quarantine_record(Refusal(item_id or None, kind, message, step, loads(data)), time or now())


def _refusal_row(refusal: Refusal) -> tuple[str, str, str, str, str, bytes]:
    source = storable(refusal.source_data)
    data = dumps(source)
    return (
        refusal.item_id or "",
        refusal.error_type,
        refusal.error_message,
        refusal.step,
        content_hash(source),
        data,
    )
