"""Cut a page into its items without building them: each stays the bytes that the server sent.

What a fetch must know of an item (its id, its collection, its times) is read from the bytes; numbers keep the spelling
that the server gave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stac_manager.ingest.redaction import SECRET_MARKERS, redact_in_place
from stac_manager.items import Item, RejectedItem, dumps, features_of, item_interval, item_problem, item_time, loads
from stac_manager.times import parse_rfc3339

__all__ = ["FetchedItem", "parse_page"]

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


class _Envelope(msgspec.Struct):
    features: list[msgspec.Raw]
    links: Any = None
    numberMatched: Any = None  # noqa: N815 - as OGC API Features spells it
    context: Any = None


_HEAD = msgspec.json.Decoder(_Head)
_ENVELOPE = msgspec.json.Decoder(_Envelope)


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


def parse_page(body: bytes, secrets: frozenset[str]) -> tuple[dict[str, Any], list[FetchedItem], list[RejectedItem]]:
    """The page's envelope, its items, and its members that are no items or not strict JSON.

    Raises:
        ValueError: the page is no JSON, or no item collection.
    """
    try:
        body.decode()
        page = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(body, secrets)
    if page.features and not any(bytes(raw).startswith(b"{") for raw in page.features):
        raise ValueError("not an item collection: none of its features is an object")
    items: list[FetchedItem] = []
    rejected_items: list[RejectedItem] = []
    for raw in page.features:
        member = _member(bytes(raw), secrets)
        if isinstance(member, RejectedItem):
            rejected_items.append(member)
        else:
            items.append(member)
    return {"links": page.links, "numberMatched": page.numberMatched, "context": page.context}, items, rejected_items


def _parse_leniently(
    body: bytes, secrets: frozenset[str]
) -> tuple[dict[str, Any], list[FetchedItem], list[RejectedItem]]:
    envelope, members, rejected_items = features_of(body, STEP)
    if not members and rejected_items and not any(rejection.item_id for rejection in rejected_items):
        raise ValueError("not an item collection: none of its features is an object")
    found = [_from_value(member, secrets) for member in members]
    rejected_items += [member for member in found if isinstance(member, RejectedItem)]
    return envelope, [member for member in found if isinstance(member, FetchedItem)], rejected_items


def _member(line: bytes, secrets: frozenset[str]) -> FetchedItem | RejectedItem:
    if secrets or b"\n" in line or any(sign in line for sign in SECRET_MARKERS):
        return _from_value(loads(line), secrets, line)
    try:
        head = _HEAD.decode(line)
    except msgspec.ValidationError:
        return _from_value(loads(line), secrets, line)
    if not head.id:
        return _from_value(loads(line), secrets, line)
    own = head.properties
    times = {"datetime": own.datetime, "start_datetime": own.start_datetime, "end_datetime": own.end_datetime}
    return FetchedItem(head.id, line, head.collection, _sortable(own.updated), times)


def _sortable(time: Any) -> str:
    try:
        return parse_rfc3339(time).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (ValueError, TypeError):
        return ""


def _from_value(value: Any, secrets: frozenset[str], line: bytes = b"") -> FetchedItem | RejectedItem:
    """The slow way, for what needs a closer look."""
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
        _sortable(properties.get("updated")),
        {name: properties.get(name) for name in ("datetime", "start_datetime", "end_datetime")},
    )
