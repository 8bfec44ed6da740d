"""Items whose time changed, so that they belong to another partition: taken away where they were."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np

from stac_manager.errors import StorageError
from stac_manager.items import safe_name
from stac_manager.pipeline.layout import arrivals_folder, moved_key, partition_lock
from stac_manager.pipeline.manifest import STAGES, Manifest, Place
from stac_manager.pipeline.stage_files import read_index, read_refused, read_sound, read_whole
from stac_manager.storage import Storage

__all__ = ["announce", "mark_moves", "moved_partitions", "staying"]

log = logging.getLogger(__name__)


def announce(storage: Storage, collection: str, partition: str) -> None:
    """Say that ids have come to a partition: they may be known elsewhere, from before their items moved."""
    key = f"{arrivals_folder(collection)}/{partition}"
    storage.sweep(key)
    storage.put(key, b"")


def staying(storage: Storage, collection: str, homes: Mapping[str, str | None], stayed: set[str]) -> dict[str, bool]:
    """Which of the ids that have left a partition stay there as yet, so that each is published somewhere.

    Where they belong is marked to be read, if it does not have them; for that they wait once, since they may not come.

    Args:
        storage: where the stages are kept.
        collection: its id.
        homes: the ids, with the partitions they belong to now; None for one that the workflow does not have.
        stayed: ids that waited already.
    """
    stays = dict.fromkeys(homes, False)
    for home in sorted(set(filter(None, homes.values()))):
        ids = {item_id for item_id, at in homes.items() if at == home}
        stays.update(dict.fromkeys(_awaited(storage, collection, home, ids, stayed), True))
    return stays


def _awaited(storage: Storage, collection: str, home: str, ids: set[str], stayed: set[str]) -> set[str]:
    """Which of some ids a partition has neither published nor refused."""
    try:
        fetched, settled = _known(storage, collection, home)
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        fetched, settled = ids, set()
    missing = ids - settled
    if missing & fetched:
        announce(storage, collection, home)
    mark = moved_key(collection, home)
    marked = storage.size(mark) is not None
    unread = {item_id for item_id in missing - fetched if marked or item_id not in stayed}
    if unread and not marked:
        storage.put(mark, b"")
    return unread | (missing & fetched)


def _known(storage: Storage, collection: str, partition: str) -> tuple[set[str], set[str]]:
    """The ids that a partition has fetched, and those that it has published or refused."""
    places = [Place(collection=collection, stage=stage, partition=partition) for stage in STAGES]
    manifests = [read_whole(storage, place) for place in places]
    fetched, published = ({item_id for item_id, _ in read_index(storage, one)} for one in (manifests[0], manifests[-1]))
    refused = {record["item_id"] for manifest in manifests for record in read_refused(storage, manifest)}
    return fetched, published | refused


def mark_moves(storage: Storage, collection: str) -> list[str]:
    """Mark the partitions that hold an id which has since come to another one; they are to be read again.

    Costs a look at every index of the collection, and only after ids have come somewhere that were not there before.
    A partition that another run is writing just now keeps for the next look what is to be found out about it.

    Returns:
        The partitions that were marked.
    """
    arrived = {key.rpartition("/")[2] for key in storage.list(arrivals_folder(collection))}
    if not arrived:
        return []
    manifests = _manifests(storage, collection)
    try:
        doubtful = [pair for pair in _sharing(storage, manifests) if not arrived.isdisjoint(pair)]
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        return []
    # where only one of two is new, the other one is behind; where both are, either may be
    behind = {side for pair in doubtful for side in pair if side not in arrived or arrived.issuperset(pair)}
    marked = {partition for partition in behind if _mark(storage, manifests[partition])}
    waiting = {side for pair in doubtful for side in pair if not marked.issuperset(behind.intersection(pair))}
    for partition in arrived - waiting:
        _settle(storage, collection, partition, manifests.get(partition))
    return sorted(marked)


def moved_partitions(storage: Storage, collection: str) -> list[str]:
    """The partitions that are marked, sorted: items have moved away from them, or to them."""
    keys = storage.list(f"stages/{safe_name(collection)}/raw_items")
    return sorted(key.split("/")[-2] for key in keys if key.endswith("/moved"))


def _mark(storage: Storage, manifest: Manifest) -> bool:
    """Mark a partition, if it still is what was looked at: a run removes the mark with what it commits."""
    with _still(storage, manifest.collection, manifest.partition, manifest) as still:
        if still:
            storage.put(moved_key(manifest.collection, manifest.partition), b"")
        return still


def _settle(storage: Storage, collection: str, partition: str, manifest: Manifest | None) -> None:
    """Forget that ids came to a partition, unless others have come since."""
    with _still(storage, collection, partition, manifest) as still:
        if still:
            storage.delete(f"{arrivals_folder(collection)}/{partition}")


@contextmanager
def _still(storage: Storage, collection: str, partition: str, manifest: Manifest | None) -> Iterator[bool]:
    """Whether a partition still is what was looked at, and stays so meanwhile."""
    place = Place(collection=collection, stage="raw_items", partition=partition)
    with ExitStack() as stack:
        try:
            stack.enter_context(storage.lock(partition_lock(collection, partition), wait=0))
        except StorageError as error:
            log.info("%s", error)
            yield False
            return
        now = read_sound(storage, place)
        yield (now and now.content_hash) == (manifest and manifest.content_hash)


def _manifests(storage: Storage, collection: str) -> dict[str, Manifest]:
    folder = f"stages/{safe_name(collection)}/raw_items"
    partitions = [key.split("/")[-2] for key in storage.list(folder) if key.endswith("/manifest.json")]
    places = (Place(collection=collection, stage="raw_items", partition=partition) for partition in partitions)
    return {place.partition: manifest for place in places if (manifest := read_sound(storage, place))}


def _sharing(storage: Storage, manifests: dict[str, Manifest]) -> set[tuple[str, str]]:
    """Pairs of partitions that hold an id in common."""
    hashes, numbers = [], []
    partitions = list(manifests)
    for number, manifest in enumerate(manifests.values()):
        ids = np.fromiter((hash(item_id) for item_id, _ in read_index(storage, manifest)), dtype=np.int64)
        hashes.append(ids)
        numbers.append(np.full(len(ids), number, dtype=np.int32))
    if not hashes:
        return set()
    every, owner = np.concatenate(hashes), np.concatenate(numbers)
    order = np.argsort(every, kind="stable")
    every, owner = every[order], owner[order]
    same = np.flatnonzero(every[1:] == every[:-1])
    return {(partitions[owner[at]], partitions[owner[at + 1]]) for at in same}
