"""Items and refusals on their way through a step: kept on disk, one of each, given back in a fixed order.

SyncStateStore stays small however many there are, and the result is the same in whatever order they came.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from stac_manager.errors import StorageError
from stac_manager.items import RejectedItem, content_hash, dumps, loads, storable
from stac_manager.scratch import scratch_folder

__all__ = [
    "Bufferable",
    "BufferedItem",
    "DedupBuffer",
    "QuarantineRecord",
    "RejectedItemBuffer",
    "quarantine_record",
    "rejected_item_of",
]

BufferedItem = tuple[str, bytes]
"""Id and JSON line."""

QuarantineRecord = dict[str, Any]
"""`{item_id, error_type, error_message, error_context: {step, source_data, timestamp}}`."""


def quarantine_record(rejection: RejectedItem, timestamp: str) -> QuarantineRecord:
    """A refusal as quarantine keeps it."""
    return {
        "item_id": rejection.item_id,
        "error_type": rejection.error_type,
        "error_message": rejection.error_message,
        "error_context": {"step": rejection.step, "source_data": rejection.source_data, "timestamp": timestamp},
    }


def rejected_item_of(record: QuarantineRecord) -> RejectedItem:
    """The refusal that a quarantine record keeps."""
    context = record["error_context"]
    reason = (record["error_type"], record["error_message"])
    return RejectedItem(record["item_id"], *reason, context["step"], context["source_data"])


class Bufferable(Protocol):
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


class DedupBuffer(_Spool):
    """Items by id. Of several with one id the one updated last is kept; a tie is broken by their content."""

    table = "CREATE TABLE items (id TEXT PRIMARY KEY, updated TEXT, line BLOB)"

    def __init__(self) -> None:
        self.received = 0

    def add(self, items: Iterable[Bufferable]) -> None:
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

    def __iter__(self) -> Iterator[BufferedItem]:
        yield from self._db.execute("SELECT id, line FROM items ORDER BY id")


class RejectedItemBuffer(_Spool):
    """Refused items with their reasons, each once, as quarantine records."""

    table = """
    CREATE TABLE refused (id TEXT, type TEXT, message TEXT, step TEXT, hash TEXT, data BLOB, time TEXT,
                          PRIMARY KEY (id, type, message, step, hash))
    """

    def __init__(self) -> None:
        self.received = 0

    def add(self, rejected_items: Iterable[RejectedItem]) -> None:
        """Take refusals over; the same one again is not kept twice.

        Raises:
            StorageError: the temporary folder is full.
        """
        rows = [_rejection_row(rejection) for rejection in rejected_items]
        self.received += len(rows)
        with self._writing():
            self._db.executemany("INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?, ?, NULL)", rows)

    def keep_first_times(self, before: Iterable[QuarantineRecord]) -> None:
        """Give refusals that were there before the time at which they were first refused."""
        with self._writing():
            for record in before:
                key = _rejection_row(rejected_item_of(record))[:5]
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
            yield quarantine_record(RejectedItem(item_id or None, kind, message, step, loads(data)), time or now())


def _rejection_row(rejection: RejectedItem) -> tuple[str, str, str, str, str, bytes]:
    source = storable(rejection.source_data)
    data = dumps(source)
    return (
        rejection.item_id or "",
        rejection.error_type,
        rejection.error_message,
        rejection.step,
        content_hash(source),
        data,
    )
