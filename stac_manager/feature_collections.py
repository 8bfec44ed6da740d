"""Split the item collections of servers and files into items, with damaged items apart from the others."""

from __future__ import annotations

import json
from typing import Any

import orjson

from stac_manager.items import Item, has_non_json
from stac_manager.quarantine import RejectedItem

__all__ = ["features_of"]


def features_of(data: bytes, step: str) -> tuple[dict[str, Any], list[Item], list[RejectedItem]]:
    """Split an item collection into its envelope, its items and the items that are not strict JSON.

    A single `NaN` makes the whole page unreadable to a strict parser. The page is then parsed leniently, so that only
    the items with the fault are rejected.

    Raises:
        ValueError: the page is not JSON at all, or has no `features` array.
    """
    try:
        page = orjson.loads(data)
        strict = True
    except orjson.JSONDecodeError:
        page = _loads_lenient(data)
        strict = False
    if not isinstance(page, dict) or not isinstance(page.get("features"), list):
        raise ValueError("not an item collection: no `features` array")
    features = page.pop("features")
    if strict:
        return page, features, []
    items: list[Item] = []
    rejected_items: list[RejectedItem] = []
    for feature in features:
        rejection = _strictness_rejection(feature, step)
        if rejection is None:
            items.append(feature)
        else:
            rejected_items.append(rejection)
    return page, items, rejected_items


def _loads_lenient(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _strictness_rejection(feature: Any, step: str) -> RejectedItem | None:
    reason = "holds NaN or Infinity, which JSON does not have" if has_non_json(feature) else None
    if reason is None:
        try:
            orjson.dumps(feature)
        except TypeError as error:
            reason = f"cannot be written as JSON: {error}"
    if reason is None:
        return None
    item_id = feature.get("id") if isinstance(feature, dict) else None
    text = json.dumps(feature, ensure_ascii=True)
    return RejectedItem(item_id if isinstance(item_id, str) else None, "InvalidJson", reason, step, text)
