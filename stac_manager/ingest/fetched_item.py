"""An item as a source gave it: its bytes, and what a fetch must know of it.

Id, collection and times are read from the bytes without building the item; numbers keep the spelling that the source
gave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stac_manager.ingest.redaction import SECRET_MARKERS, redact_in_place
from stac_manager.items import Item, dumps, item_interval, item_problem, item_time, loads
from stac_manager.quarantine import RejectedItem
from stac_manager.times import sortable_time

__all__ = ["STEP", "FetchedItem", "item_of", "parse_item"]

STEP = "raw_items"


class _Properties(msgspec.Struct):
    datetime: str | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None
    updated: str | None = None


class _Head(msgspec.Struct):
    id: str
    properties: _Properties
    collection: str | None = None


_HEAD = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class FetchedItem:
    """An item as it was sent, and what a fetch must know of it."""

    id: str
    line: bytes
    """One line of JSON."""
    collection: str | None
    updated: str
    """In a form whose order is that of time; empty where the item does not say."""
    times: dict[str, Any]
    """`datetime`, `start_datetime` and `end_datetime` as the item has them."""

    def instant(self) -> datetime | None:
        """The instant that decides the partition.

        Raises:
            ValueError: it cannot be read.
        """
        return item_time({"properties": self.times})

    def updated_at(self) -> datetime | None:
        """`updated` as an instant; None where the item does not say."""
        return datetime.fromisoformat(self.updated).replace(tzinfo=UTC) if self.updated else None

    def interval(self) -> tuple[datetime, datetime] | None:
        """The closed interval that a search by range matches.

        Raises:
            ValueError: it cannot be read.
        """
        return item_interval({"properties": self.times})


def parse_item(line: bytes, secrets: frozenset[str] = frozenset()) -> FetchedItem | RejectedItem:
    """A line of JSON as an item, freed of secrets; or why it is none.

    Args:
        line: strict JSON.
        secrets: query parameters, in lower case, that must not stay in any href.
    """
    if secrets or b"\n" in line or any(sign in line for sign in SECRET_MARKERS):
        return item_of(loads(line), secrets, line)
    try:
        head = _HEAD.decode(line)
    except msgspec.ValidationError:
        return item_of(loads(line), secrets, line)
    if not head.id:
        return item_of(loads(line), secrets, line)
    own = head.properties
    times = {"datetime": own.datetime, "start_datetime": own.start_datetime, "end_datetime": own.end_datetime}
    return FetchedItem(head.id, line, head.collection, sortable_time(own.updated), times)


def item_of(value: Any, secrets: frozenset[str] = frozenset(), line: bytes = b"") -> FetchedItem | RejectedItem:
    """The same for a value that is parsed already; `line` are its bytes, where they are at hand."""
    problem = item_problem(value)
    if problem is not None:
        item_id = value.get("id") if isinstance(value, dict) else None
        name = item_id if isinstance(item_id, str) else None
        return RejectedItem(name, "NotAnItem", f"the item {problem}", STEP, value)
    item: Item = value
    if redact_in_place(item, secrets) or not line or b"\n" in line:
        line = dumps(item)
    properties, collection = item["properties"], item.get("collection")
    return FetchedItem(
        item["id"],
        line,
        collection if isinstance(collection, str) else None,
        sortable_time(properties.get("updated")),
        {name: properties.get(name) for name in ("datetime", "start_datetime", "end_datetime")},
    )
