"""Split a page into items without building them: each item stays the bytes that the server sent.

A fetch needs only the id, the collection and the times of an item, which are parsed from the bytes. So numbers keep the
spelling of the server.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stac_manager.feature_collections import features_of
from stac_manager.ingest.fetched_item import STEP, FetchedItem, item_of, parse_item
from stac_manager.quarantine import RejectedItem

__all__ = ["parse_page"]


class _Envelope(msgspec.Struct):
    features: list[msgspec.Raw]
    links: Any = None
    numberMatched: Any = None  # noqa: N815 - as OGC API Features spells it
    context: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def parse_page(body: bytes, secrets: frozenset[str]) -> tuple[dict[str, Any], list[FetchedItem], list[RejectedItem]]:
    """The page's envelope, its items, and its members that are no items or not strict JSON.

    Raises:
        ValueError: the page is not JSON, or no item collection.
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
        member = parse_item(bytes(raw), secrets)
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
    found = [item_of(member, secrets) for member in members]
    rejected_items += [member for member in found if isinstance(member, RejectedItem)]
    return envelope, [member for member in found if isinstance(member, FetchedItem)], rejected_items
