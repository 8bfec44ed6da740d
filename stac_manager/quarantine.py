"""Rejected items: the item, the reason, and the quarantine record of both.

Where quarantine files are stored does not belong here: see `stac_manager.pipeline.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stac_manager.disk_buffer import DiskBuffer
from stac_manager.items import content_hash, dumps, loads, storable

__all__ = ["QuarantineRecord", "RejectedItem", "RejectedItemBuffer", "quarantine_record", "rejected_item_of"]


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that a step rejected: it is stored in quarantine with the reason, never dropped."""

    item_id: str | None
    """None if the item has no usable id."""
    error_type: str
    """A short, stable name, such as `InvalidItem`."""
    error_message: str
    """One line for a person."""
    step: str
    """The stage that rejected it."""
    source_data: Any
    """The item as the stage received it, for replay."""


QuarantineRecord = dict[str, Any]
"""`{item_id, error_type, error_message, error_context: {step, source_data, timestamp}}`."""


def quarantine_record(rejection: RejectedItem, timestamp: str) -> QuarantineRecord:
    """The quarantine record of a rejected item."""
    return {
        "item_id": rejection.item_id,
        "error_type": rejection.error_type,
        "error_message": rejection.error_message,
        "error_context": {"step": rejection.step, "source_data": rejection.source_data, "timestamp": timestamp},
    }


def rejected_item_of(record: QuarantineRecord) -> RejectedItem:
    """The rejected item of a quarantine record."""
    context = record["error_context"]
    reason = (record["error_type"], record["error_message"])
    return RejectedItem(record["item_id"], *reason, context["step"], context["source_data"])


class RejectedItemBuffer(DiskBuffer):
    """Rejected items with their reasons, each stored once, as quarantine records."""

    tables = (
        "CREATE TABLE rejected (id TEXT, type TEXT, message TEXT, step TEXT, hash TEXT, data BLOB, time TEXT, "
        "PRIMARY KEY (id, type, message, step, hash))",
    )

    def __init__(self) -> None:
        self.received = 0

    def add(self, rejected_items: Iterable[RejectedItem]) -> None:
        """Store rejected items; an item with the same reason is stored once.

        Raises:
            StorageError: the temporary folder is full.
        """
        rows = [_rejection_row(rejection) for rejection in rejected_items]
        self.received += len(rows)
        with self.writing():
            self.db.executemany("INSERT OR IGNORE INTO rejected VALUES (?, ?, ?, ?, ?, ?, NULL)", rows)

    def keep_first_times(self, before: Iterable[QuarantineRecord]) -> None:
        """Give items that were rejected before the time of their first rejection."""
        with self.writing():
            for record in before:
                key = _rejection_row(rejected_item_of(record))[:5]
                self.db.execute(
                    "UPDATE rejected SET time = ? WHERE (id, type, message, step, hash) = (?, ?, ?, ?, ?)",
                    (record["error_context"]["timestamp"], *key),
                )

    def __len__(self) -> int:
        return self.count("rejected")

    def records(self, now: Callable[[], str]) -> Iterator[QuarantineRecord]:
        """The quarantine records, sorted; new ones get the time that `now` gives."""
        fields = "id, type, message, step, data, time"
        query = f"SELECT {fields} FROM rejected ORDER BY id, type, message, step, hash"  # noqa: S608 - constants
        for item_id, kind, message, step, data, time in self.db.execute(query):
            rejected = RejectedItem(item_id[1:] if item_id else None, kind, message, step, loads(data))
            yield quarantine_record(rejected, time or now())


def _rejection_row(rejection: RejectedItem) -> tuple[str, str, str, str, str, bytes]:
    source = storable(rejection.source_data)
    data = dumps(source)
    return (
        "" if rejection.item_id is None else f"={rejection.item_id}",  # an empty id is not the same as no id
        rejection.error_type,
        rejection.error_message,
        rejection.step,
        content_hash(source),
        data,
    )
