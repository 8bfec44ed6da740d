"""Deletions: items that the source no longer has.

Only complete scans find them. Each missing id is then requested from the source. Too many deletions await a person's
approval. A deleted item leaves a tombstone, `{id, content_hash, deleted}`, until the item reappears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stac_manager.dedup import BufferedItem
from stac_manager.errors import IncompleteError
from stac_manager.ingest import IngestModule
from stac_manager.items import HashedItem, dumps, loads
from stac_manager.pipeline.state.manifest import STAGES, Manifest, StagePartition
from stac_manager.pipeline.state.stage_files import (
    compare_indexes,
    read_file,
    read_index,
    read_intact_manifest,
    read_items,
)
from stac_manager.storage import Storage
from stac_manager.times import timestamp

__all__ = ["Deletions", "read_pending_deletions", "read_retained", "read_tombstones", "require_below_threshold"]

_MAX_IDS_ASKED = 20_000
"""Ids that the source is asked for, at 100 a request. Where more are missing, all deletions await approval."""


def _exceeds_threshold(deleted: int, known: int, threshold: float) -> bool:
    """Whether a person must approve so many deletions: more than a share of the known items, or all of them."""
    return deleted > threshold * known or 0 < deleted == known


class Deletions:
    """The items of the last generation that a scan did not find again.

    Args:
        storage: where the stages are stored.
        before: the last generation; None if there is none.
        threshold: the share of a partition's items above which deletions await approval.
        refiltered: the workflow's filters have changed. Items that they exclude are deleted, but never all at once.
    """

    def __init__(self, storage: Storage, before: Manifest | None, threshold: float, *, refiltered: bool) -> None:
        self._storage, self._before, self._threshold = storage, before, 1.0 if refiltered else threshold
        self._refiltered = refiltered
        self.deleted: list[str] = []
        """Ids that are deleted now."""
        self.pending: list[str] = []
        """Ids that the source no longer has, and whose deletion awaits approval."""
        self.retained: dict[str, str] = {}
        """Ids that have moved to another partition and stay here until it has published them -> that partition."""
        self._reappeared: set[str] = set()

    def find(
        self,
        ingest: IngestModule,
        fetched_items: Iterable[BufferedItem],
        elsewhere: Callable[[list[str]], dict[str, str | None]],
        *,
        confirmed: bool,
    ) -> None:
        """Compare a complete scan with the last generation.

        Args:
            ingest: the items of the scan.
            fetched_items: those that belong to this partition, sorted by id.
            elsewhere: returns which ids the source has outside of this partition, each with the partition it waits for.
            confirmed: a person approved the deletions, however many they are.
        """
        if self._before is None:
            return
        missing = self._missing(ingest, fetched_items)
        moved = elsewhere(missing[:_MAX_IDS_ASKED]) if missing and not self._refiltered else {}
        self.retained = {item_id: target for item_id in missing if (target := moved.get(item_id))}
        deleted = [item_id for item_id in missing if item_id not in moved]
        left = self._before.index.lines - len(moved)
        unasked = not self._refiltered and len(missing) > _MAX_IDS_ASKED
        if not confirmed and (unasked or _exceeds_threshold(len(deleted), left, self._threshold)):
            self.pending = deleted
        else:
            self.deleted = deleted
        tombstones = {tombstone["id"] for tombstone in read_tombstones(self._storage, self._before)}
        self._reappeared = {item_id for item_id, _ in ingest if item_id in tombstones} if tombstones else set()

    def _missing(self, ingest: IngestModule, fetched_items: Iterable[BufferedItem]) -> list[str]:
        rejected = {record["item_id"] for record in ingest.rejected_items.records(str)}
        ids = ((item_id, "") for item_id, _ in fetched_items)
        compared = compare_indexes(read_index(self._storage, self._before), ids)
        return [item_id for kind, item_id in compared if kind == "deleted" and item_id not in rejected]

    def carry_over(self, received: set[str], retained: dict[str, str]) -> None:
        """Keep pending deletions and tombstones as they were, except for the ids that were received now."""
        self.retained = retained
        self.pending = sorted(self.pending_before() - received)
        self._reappeared = received

    def pending_before(self) -> set[str]:
        """The pending deletions of the last generation."""
        return read_pending_deletions(self._storage, self._before)

    def retained_items(self) -> Iterator[HashedItem]:
        """The pending and retained items, unchanged, sorted by id."""
        pending = {*self.pending, *self.retained}
        if pending and self._before:
            yield from (item for item in read_items(self._storage, self._before) if item[0] in pending)

    def files(self) -> dict[str, Iterable[bytes]]:
        """The files to store: name -> lines."""
        tombstones = self._tombstones()
        files: dict[str, Iterable[bytes]] = {}
        if self.pending:
            files["pending_deletion_ids"] = map(dumps, self.pending)
        if self.retained:
            files["retained_until_moved"] = map(dumps, self.retained.items())
        if tombstones:
            files["tombstones"] = (dumps(tombstones[item_id]) for item_id in sorted(tombstones))
        return files

    def _tombstones(self) -> dict[str, dict[str, str]]:
        tombstones = {tombstone["id"]: tombstone for tombstone in read_tombstones(self._storage, self._before)}
        deleted = set(self.deleted)
        now = timestamp()
        for item_id, digest in read_index(self._storage, self._before) if deleted else ():
            if item_id in deleted:
                tombstones[item_id] = {"id": item_id, "content_hash": digest, "deleted": now}
        return {item_id: tombstone for item_id, tombstone in tombstones.items() if item_id not in self._reappeared}


def require_below_threshold(
    storage: Storage, stage_partition: StagePartition, fetched_items: Iterable[BufferedItem], threshold: float
) -> None:
    """Fail on many deletions if the first stage's files are lost, because its items cannot be retained then.

    Raises:
        IncompleteError: the source no longer has more of the items of a later stage than may be deleted unapproved.
    """
    manifests = (read_intact_manifest(storage, stage_partition.at(stage)) for stage in STAGES[1:])
    known = {item_id for item_id, _ in read_index(storage, next(filter(None, manifests), None))}
    if not known:
        return
    deleted = known.difference(item_id for item_id, _ in fetched_items)
    if _exceeds_threshold(len(deleted), len(known), threshold):
        raise IncompleteError(
            f"{stage_partition.collection} {stage_partition.partition}: {len(deleted)} of {len(known)} items are gone "
            "at the source, and "
            "cannot be kept, because the files of raw_items are lost or damaged; nothing was stored. If they are "
            "really gone, run this partition with --allow-deletes"
        )


def read_pending_deletions(storage: Storage, manifest: Manifest | None) -> set[str]:
    """The ids of a partition of `raw_items` whose deletion awaits approval."""
    key = manifest.details.get("pending_deletion_ids") if manifest else None
    return {loads(line) for line in read_file(storage, key)}


def read_retained(storage: Storage, manifest: Manifest | None) -> dict[str, str]:
    """The ids that a partition of `raw_items` retains until another one has published them -> that partition."""
    key = manifest.details.get("retained_until_moved") if manifest else None
    return dict(map(loads, read_file(storage, key)))


def read_tombstones(storage: Storage, manifest: Manifest | None) -> Iterator[dict[str, str]]:
    """The deleted items of a partition of `raw_items`, sorted by id: `{id, content_hash, deleted}`."""
    key = manifest.details.get("tombstones") if manifest else None
    for line in read_file(storage, key):
        tombstone: dict[str, str] = loads(line)
        yield tombstone
