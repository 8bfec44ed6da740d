"""What a source no longer has: found by complete scans only, asked for by id, and held back where it is very much.

What goes leaves a tombstone, `{id, content_hash, deleted}`, for as long as it stays away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stac_manager.errors import IncompleteError
from stac_manager.ingest import IngestModule
from stac_manager.items import dumps, loads
from stac_manager.pipeline.manifest import STAGES, Manifest, Place
from stac_manager.pipeline.stage_files import StagedItem, compare_indexes, read_file, read_index, read_items, read_whole
from stac_manager.spool import SpooledItem
from stac_manager.storage import Storage
from stac_manager.times import timestamp

__all__ = ["Deletions", "read_held", "read_staying", "read_tombstones", "require_most"]

_MOST_ASKED = 20_000
"""Ids that are looked for elsewhere; where more than that are missing, a person has to look anyway."""


def _is_too_much(gone: int, known: int, threshold: float) -> bool:
    """Whether a person must confirm that so many of the known items are gone: more than a share of them, or all."""
    return gone > threshold * known or 0 < gone == known


class Deletions:
    """What became of the items of the last generation that did not come again.

    Args:
        storage: where the stages are kept.
        before: the last generation; None where there is none.
        threshold: the share of a partition's items above which deletions wait for a person.
        refiltered: the workflow has other filters since: what they leave out goes, but not all at once.
    """

    def __init__(self, storage: Storage, before: Manifest | None, threshold: float, *, refiltered: bool) -> None:
        self._storage, self._before, self._threshold = storage, before, 1.0 if refiltered else threshold
        self._refiltered = refiltered
        self.gone: list[str] = []
        """Ids that are taken away now."""
        self.held: list[str] = []
        """Ids that are gone at the source and stay here until a person confirms."""
        self.staying: dict[str, str] = {}
        """Ids that the source has moved and that stay here until they are published there, and where that is."""
        self._back: set[str] = set()

    def find(
        self,
        ingest: IngestModule,
        came: Iterable[SpooledItem],
        elsewhere: Callable[[list[str]], dict[str, str | None]],
        *,
        confirmed: bool,
    ) -> None:
        """Compare a complete scan with the last generation.

        Args:
            ingest: what the scan brought.
            came: of that what belongs to this partition, sorted by id.
            elsewhere: which of some ids the source has outside of this partition, and where what stays as yet belongs.
            confirmed: a person wants what is missing to go, however much it is.
        """
        if self._before is None:
            return
        missing = self._missing(ingest, came)
        moved = elsewhere(missing[:_MOST_ASKED]) if missing and not self._refiltered else {}
        self.staying = {item_id: home for item_id in missing if (home := moved.get(item_id))}
        gone = [item_id for item_id in missing if item_id not in moved]
        left = self._before.index.lines - len(moved)
        if not confirmed and _is_too_much(len(gone), left, self._threshold):
            self.held = gone
        else:
            self.gone = gone
        tombs = {tomb["id"] for tomb in read_tombstones(self._storage, self._before)}
        self._back = {item_id for item_id, _ in ingest if item_id in tombs} if tombs else set()

    def _missing(self, ingest: IngestModule, came: Iterable[SpooledItem]) -> list[str]:
        refused = {record["item_id"] for record in ingest.refusals.records(str)}
        ids = ((item_id, "") for item_id, _ in came)
        compared = compare_indexes(read_index(self._storage, self._before), ids)
        return [item_id for kind, item_id in compared if kind == "deleted" and item_id not in refused]

    def carry_over(self, received: set[str], staying: dict[str, str]) -> None:
        """Keep what was held and what was gone as it was, but for the ids that were received now."""
        self.staying = staying
        self.held = sorted(self.held_before() - received)
        self._back = received

    def held_before(self) -> set[str]:
        """The ids that the last generation held."""
        return read_held(self._storage, self._before)

    def held_items(self) -> Iterator[StagedItem]:
        """The items that stay, as they were, sorted by id."""
        held = {*self.held, *self.staying}
        if held and self._before:
            yield from (item for item in read_items(self._storage, self._before) if item[0] in held)

    def files(self) -> dict[str, Iterable[bytes]]:
        """What the stage keeps of this: file name -> lines."""
        tombs = self._tombstones()
        files: dict[str, Iterable[bytes]] = {}
        if self.held:
            files["held_ids"] = map(dumps, self.held)
        if self.staying:
            files["staying"] = map(dumps, self.staying.items())
        if tombs:
            files["tombstones"] = (dumps(tombs[item_id]) for item_id in sorted(tombs))
        return files

    def _tombstones(self) -> dict[str, dict[str, str]]:
        tombs = {tomb["id"]: tomb for tomb in read_tombstones(self._storage, self._before)}
        gone = set(self.gone)
        now = timestamp()
        for item_id, digest in read_index(self._storage, self._before) if gone else ():
            if item_id in gone:
                tombs[item_id] = {"id": item_id, "content_hash": digest, "deleted": now}
        return {item_id: tomb for item_id, tomb in tombs.items() if item_id not in self._back}


def require_most(storage: Storage, place: Place, came: Iterable[SpooledItem], threshold: float) -> None:
    """Where the files of the first stage are lost, what is gone cannot be held back; much of it is then a failure.

    Raises:
        IncompleteError: more of what a later stage knows is gone than may go unasked.
    """
    manifests = (read_whole(storage, place.at(stage)) for stage in STAGES[1:])
    known = {item_id for item_id, _ in read_index(storage, next(filter(None, manifests), None))}
    gone = known.difference(item_id for item_id, _ in came)
    if _is_too_much(len(gone), len(known), threshold):
        raise IncompleteError(
            f"{place.collection} {place.partition}: {len(gone)} of {len(known)} items are gone at the source, and "
            "cannot be kept, since the files of raw_items are lost or damaged; nothing was taken over. If they are "
            "really gone, run this partition with --allow-deletes"
        )


def read_held(storage: Storage, manifest: Manifest | None) -> set[str]:
    """The ids that a partition of `raw_items` keeps, though they are gone at the source."""
    key = manifest.details.get("held_ids") if manifest else None
    return {loads(line) for line in read_file(storage, key)}


def read_staying(storage: Storage, manifest: Manifest | None) -> dict[str, str]:
    """The ids that a partition of `raw_items` keeps until they are published in another one, and in which."""
    key = manifest.details.get("staying") if manifest else None
    return dict(map(loads, read_file(storage, key)))


def read_tombstones(storage: Storage, manifest: Manifest | None) -> Iterator[dict[str, str]]:
    """What is gone from a partition of `raw_items`, sorted by id: `{id, content_hash, deleted}`."""
    key = manifest.details.get("tombstones") if manifest else None
    for line in read_file(storage, key):
        tomb: dict[str, str] = loads(line)
        yield tomb
