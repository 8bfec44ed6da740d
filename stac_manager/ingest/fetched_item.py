"""An item as the source sent it: its bytes, and the members that a fetch needs.

Id, collection and times are parsed from the bytes; the rest of the item is not built. So numbers keep the spelling of
the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stac_manager.ingest.redaction import may_hold_secrets, redact_in_place
from stac_manager.items import Item, dumps, item_interval, item_problem, item_time, loads
from stac_manager.quarantine import RejectedItem
from stac_manager.times import sortable_time

__all__ = ["STEP", "FetchedItem", "item_of", "parse_item", "times_of_line"]

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
    """An item as the source sent it, and the members that a fetch needs."""

    id: str
    line: bytes
    """One line of JSON."""
    collection: str | None
    updated: str
    """`updated` as a text that sorts by time; empty if the item has none."""
    times: dict[str, Any]
    """`datetime`, `start_datetime` and `end_datetime` as the item has them."""

    def instant(self) -> datetime | None:
        """The instant that decides the partition.

        Raises:
            ValueError: it cannot be read.
        """
        return item_time({"properties": self.times})

    def updated_at(self) -> datetime | None:
        """`updated` as an instant; None if the item has none."""
        return datetime.fromisoformat(self.updated).replace(tzinfo=UTC) if self.updated else None

    def interval(self) -> tuple[datetime, datetime] | None:
        """The closed interval that a search by range matches.

        Raises:
            ValueError: it cannot be read.
        """
        return item_interval({"properties": self.times})


def parse_item(line: bytes, secrets: frozenset[str] = frozenset()) -> FetchedItem | RejectedItem:
    """Parse a line of JSON as an item and remove secrets; a line that is no item becomes a `RejectedItem`.

    Args:
        line: strict JSON.
        secrets: query parameters, in lower case, to remove from every href.
    """
    if b"\n" in line or may_hold_secrets(line, secrets):
        return item_of(loads(line), secrets, line)
    try:
        head = _HEAD.decode(line)
    except msgspec.ValidationError:
        return item_of(loads(line), secrets, line)
    if not head.id:
        return item_of(loads(line), secrets, line)
    return FetchedItem(head.id, line, head.collection, sortable_time(head.properties.updated), _times(head.properties))


def times_of_line(line: bytes) -> Item:
    """An item with nothing but the members that decide where it belongs; they alone are parsed, if that is possible.

    Raises:
        ValueError: the line is not strict JSON.
    """
    try:
        own = _HEAD.decode(line).properties
    except msgspec.ValidationError:
        item: Item = loads(line)
        return item
    return {"properties": _times(own)}


def _times(own: _Properties) -> dict[str, Any]:
    return {"datetime": own.datetime, "start_datetime": own.start_datetime, "end_datetime": own.end_datetime}


def item_of(value: Any, secrets: frozenset[str] = frozenset(), line: bytes = b"") -> FetchedItem | RejectedItem:
    """The same for a parsed value; `line` has its bytes, if they are known."""
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
