"""What a fetched item is to a partition: its own, another's, or none that can be kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stac_manager.dedup import BufferedItem
from stac_manager.ingest import belongs_to
from stac_manager.items import Item, content_hash, loads, loads_exactly
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.state.stage_files import StagedItem
from stac_manager.quarantine import RejectedItem
from stac_manager.times import parse_rfc3339, utc_now

__all__ = ["PartitionAssigner", "Verdict", "rejection_key"]

Verdict = StagedItem | RejectedItem | None
"""What an item is to a partition; None: it belongs to another one."""


class PartitionAssigner:
    """Judges items for one partition, and remembers the latest `updated` among those that belong to it."""

    def __init__(self, partition: str, scheme: PartitionScheme) -> None:
        self._partition, self._scheme = partition, scheme
        self._now = utc_now()
        self.newest: datetime | None = None
        """The latest `updated` that does not lie in the future."""

    def __call__(self, entry: BufferedItem) -> Verdict:
        """The item with its hash, a reason to refuse it, or None where it belongs to another partition."""
        item_id, line = entry
        try:
            item = loads_exactly(line)
        except ValueError as error:
            if self.is_elsewhere(entry):
                return None
            return RejectedItem(item_id, "InvalidJson", str(error), "raw_items", line.decode())
        try:
            if not belongs_to(item, self._partition, self._scheme):
                return None
        except ValueError as error:
            return RejectedItem(item_id, "NoTime", str(error), "raw_items", item)
        self._note(item)
        return item_id, content_hash(item), line

    def is_elsewhere(self, entry: BufferedItem) -> bool:
        """Whether an item belongs to another partition: its time meets both, as a range or on their edge."""
        try:
            return not belongs_to(loads(entry[1]), self._partition, self._scheme)
        except ValueError:
            return False

    def _note(self, item: Item) -> None:
        updated: Any = item["properties"].get("updated")
        try:
            instant = parse_rfc3339(updated)
        except (ValueError, TypeError):
            return
        if instant <= self._now and (self.newest is None or instant > self.newest):
            self.newest = instant


def rejection_key(rejection: RejectedItem) -> tuple[str | None, str, str]:
    """What makes a refusal the same as an earlier one."""
    return rejection.item_id, rejection.error_type, content_hash(rejection.source_data)
