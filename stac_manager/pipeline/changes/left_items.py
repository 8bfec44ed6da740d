"""Items of a partition that the source still has and that no longer belong there: where they belong, which stay."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stac_manager.dedup import BufferedItem
from stac_manager.errors import IncompleteError
from stac_manager.ingest import IngestModule, Source, is_surely_found, why_in_no_partition
from stac_manager.ingest.partition_assignment import Unassigned, partition_of
from stac_manager.items import Item, loads
from stac_manager.partitioning import PartitionScheme
from stac_manager.pipeline.changes.deletions import read_retained
from stac_manager.pipeline.changes.moved_items import retained
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.storage import Storage
from stac_manager.times import utc_now

__all__ = ["LeftItems", "tell_unassigned"]

log = logging.getLogger(__name__)


@dataclass
class LeftItems:
    """What left a partition since its last generation, `before`."""

    storage: Storage
    collection: str
    partition: str
    scheme: PartitionScheme
    before: Manifest | None
    unassigned: Unassigned = field(default_factory=Unassigned)
    """What left and belongs to no partition now."""

    def find(self, source: Source, missing: list[str]) -> dict[str, str | None]:
        """Which of the ids that did not come with their window the source has, and where what stays as yet belongs.

        Such a partition is marked to be read. An id stays only until that was done, whether it came or not.

        Raises:
            IncompleteError: the source has one of them in this very window, so the scan was not complete.
        """
        with IngestModule(source) as found:
            found.find(missing)
            self._require_ids(found)
            targets = {item_id: self._target(item_id, item) for item_id, item in _items_of(found)}
        return {**dict.fromkeys(targets), **self._retained(targets)}

    def of_those_that_came(self, moved_out: Iterable[BufferedItem]) -> dict[str, str]:
        """Which items of the last generation came, belong elsewhere now, and stay as yet; and where they belong."""
        return self._retained({item_id: self._target(item_id, loads(line)) for item_id, line in moved_out})

    def _target(self, item_id: str, item: Item) -> str | None:
        if self._is_left_out(item):
            raise IncompleteError(
                f"{self.collection} {self.partition}: the source has {item_id!r}, but left it out of its window; "
                "nothing was taken over"
            )
        now = utc_now()
        target = partition_of(item, self.scheme, now)
        if target == self.partition:
            self.unassigned.add(item_id, "the source does not find it by its time")
            return None
        if target is None:
            self.unassigned.add(item_id, why_in_no_partition(item, self.scheme, now))
        return target

    def _require_ids(self, found: IngestModule) -> None:
        """What has no id may be any of those that are missing."""
        if any(record["item_id"] is None for record in found.rejected_items.records(str)):
            raise IncompleteError(
                f"{self.collection} {self.partition}: asked for ids, the source gave an item without one; "
                "nothing was taken over"
            )

    def _is_left_out(self, item: Item) -> bool:
        try:
            return is_surely_found(item, self.partition, self.scheme)
        except ValueError:
            return False

    def _retained(self, targets: dict[str, str | None]) -> dict[str, str]:
        return retained(self.storage, self.collection, targets, read_retained(self.storage, self.before))


def tell_unassigned(manifest: Manifest, left: Unassigned, came: Unassigned) -> None:
    """Say what of a partition belongs to none: nothing is dropped silently."""
    name = f"{manifest.collection} {manifest.partition}"
    if left.count:
        what = "1 item left, since it is" if left.count == 1 else f"{left.count} items left, since they are"
        log.warning("%s: %s dated outside of all partitions, such as %s", name, what, left.example)
    if came.count:
        what = "1 item came that belongs" if came.count == 1 else f"{came.count} items came that belong"
        skipped = "is skipped" if came.count == 1 else "are skipped"
        log.warning("%s: %s to no partition, and %s, such as %s", name, what, skipped, came.example)


def _items_of(found: IngestModule) -> Iterator[tuple[str, Item]]:
    """What was found, also what is rejected; of what cannot be read, nothing is known but the id."""
    for item_id, line in found:
        yield item_id, _readable(line)
    for record in found.rejected_items.records(str):
        yield str(record["item_id"]), _readable(record["error_context"]["source_data"])


def _readable(data: object) -> Item:
    """An item that may be damaged: its times can be read all the same."""
    try:
        value = json.loads(data) if isinstance(data, str | bytes) else data
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("properties"), dict) else {}
