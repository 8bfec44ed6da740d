"""A check: every extended item has an asset."""

from __future__ import annotations

from stac_manager.items import loads
from stac_manager.pipeline import Check, CheckOutcome, Manifest, read_items
from stac_manager.storage import Storage


def _has_assets(storage: Storage, manifest: Manifest) -> CheckOutcome:
    without = [item_id for item_id, _, line in read_items(storage, manifest) if not loads(line).get("assets")]
    text = f"{len(without)} items have no asset" if without else "every item has an asset"
    return CheckOutcome("has_assets", not without, text, {"without": len(without), "examples": without[:10]})


HAS_ASSETS = Check("has_assets", ("extended",), "Every item has an asset.", _has_assets, warning=True)
