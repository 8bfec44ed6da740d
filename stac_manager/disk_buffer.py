"""A temporary file for the rows that a step works on, so that memory use does not grow with their number.

What belongs here: the file itself. What does not: which rows it has, and in which order (see `dedup` and `quarantine`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from stac_manager.errors import StorageError
from stac_manager.scratch import scratch_folder

__all__ = ["DiskBuffer"]


class DiskBuffer:
    """A temporary SQLite file; use as a context manager. A subclass says which tables it has."""

    tables: tuple[str, ...]
    """The SQL statements that create them."""

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._folder = opened.enter_context(scratch_folder())
            self.path = self._folder / "buffer.sqlite"
            self.db = sqlite3.connect(self.path, isolation_level=None)
            opened.callback(self.db.close)
            self.db.execute("PRAGMA page_size = 65536")  # one page fits an item of usual size
            self.db.execute("PRAGMA journal_mode = OFF")
            self.db.execute("PRAGMA synchronous = OFF")
            with self.writing():
                for statement in self.tables:
                    self.db.execute(statement)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction.

        Raises:
            StorageError: the temporary folder is full.
        """
        try:
            self.db.execute("BEGIN")
            yield
            self.db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self._folder}: no room for the temporary files of a step: {error}") from None

    def count(self, table: str) -> int:
        """The number of rows of a table."""
        return int(self.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a constant name
