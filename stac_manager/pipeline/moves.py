"""Items whose time changed, so that they belong to another partition: taken away where they were."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import numpy as np

from stac_manager.errors import StorageError
from stac_manager.ingest import home_of
from stac_manager.items import loads, safe_name
from stac_manager.pipeline.layout import arrivals_folder, moved_key, partition_lock
from stac_manager.pipeline.manifest import STAGES, Manifest, Place
from stac_manager.pipeline.stage_files import read_index, read_refused, read_sound, read_whole
from stac_manager.spool import SpooledItem
from stac_manager.storage import Storage
from stac_manager.times import utc_now
from stac_manager.windows import PartitionScheme

__all__ = ["announce", "homes_of", "mark_moves", "moved_partitions", "staying"]

log = logging.getLogger(__name__)


def announce(storage: Storage, collection: str, partition: str) -> None:
    """Say that ids have come to a partition: they may be known elsewhere, from before their items moved."""
    key = f"{arrivals_folder(collection)}/{partition}"
    storage.sweep(key)
    storage.put(key, b"")


def staying(
    storage: Storage, collection: str, homes: Mapping[str, str | None], stayed: Mapping[str, str]
) -> dict[str, str]:
    """Which of the ids that have left a partition stay there as yet, so that each is published somewhere.

    Where they belong is marked to be read, if it does not have them; for that they wait once, since they may not come.

    Args:
        storage: where the stages are kept.
        collection: its id.
        homes: the ids, with the partitions they belong to now; None for one that the workflow does not have.
        stayed: ids that waited already, with the partitions they waited for.

    Returns:
        The ids that stay, with the partitions they wait for.
    """
    stays: dict[str, str] = {}
    for home in sorted(set(filter(None, homes.values()))):
        ids = {item_id for item_id, at in homes.items() if at == home}
        asked = {item_id for item_id in ids if stayed.get(item_id) == home}
        stays |= dict.fromkeys(_awaited(storage, collection, home, ids, asked), home)
    return stays


def _awaited(storage: Storage, collection: str, home: str, ids: set[str], asked: set[str]) -> set[str]:
    """Which of some ids a partition has neither published nor refused."""
    try:
        fetched, settled = _known(storage, collection, home)
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        fetched, settled = ids, set()
    missing = ids - settled
    if missing & fetched:
        announce(storage, collection, home)
    marked = storage.size(moved_key(collection, home)) is not None
    unread = missing - fetched if marked else missing - fetched - asked
    if unread and not marked:
        _put_mark(storage, collection, home)
    return unread | (missing & fetched)


def _known(storage: Storage, collection: str, partition: str) -> tuple[set[str], set[str]]:
    """The ids that a partition has fetched, and those of them that it has published, or refused."""
    manifests = [read_whole(storage, place) for place in _places(collection, partition)]
    fetched, published = ({item_id for item_id, _ in read_index(storage, one)} for one in (manifests[0], manifests[-1]))
    first, *later = ({record["item_id"] for record in read_refused(storage, manifest)} for manifest in manifests)
    return fetched, first | published.union(*later) & fetched  # later stages may be behind


def _places(collection: str, partition: str) -> list[Place]:
    return [Place(collection=collection, stage=stage, partition=partition) for stage in STAGES]


def homes_of(entries: Iterable[SpooledItem], scheme: PartitionScheme) -> dict[str, str | None]:
    """Where items belong; None outside of the workflow's partitions."""
    keys = set(scheme.keys(utc_now()))

    def home(line: bytes) -> str | None:
        try:
            found = home_of(loads(line), scheme)
        except ValueError:
            return None
        return found if found in keys else None

    return {item_id: home(line) for item_id, line in entries}


def _put_mark(storage: Storage, collection: str, partition: str) -> None:
    """Mark a partition to be read; each mark is another, so that what asks for runs sees that this one is new."""
    storage.put(moved_key(collection, partition), uuid.uuid4().bytes)


def mark_moves(storage: Storage, collection: str) -> list[str]:
    """Mark the partitions that hold an id which has since come to another one; they are to be read again.

    Costs a look at every index of the collection, and only after ids have come somewhere that were not there before.
    What is to be found out about a partition that another run is writing just now is left to the next look, as is what
    is known of ids that have come to the first stage only: until they are published they stay where they were.

    Returns:
        The partitions that were marked.
    """
    announced = {key.rpartition("/")[2] for key in storage.list(arrivals_folder(collection))}
    arrived = {partition for partition in announced if _is_through(storage, collection, partition)}
    if not arrived:
        return []
    manifests = _manifests(storage, collection)
    try:
        doubtful = [set(pair) for pair in _sharing(storage, manifests) if not arrived.isdisjoint(pair)]
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        return []
    ready = [pair for pair in doubtful if pair & announced <= arrived]
    # where only one of two is new, the other one is behind; where both are, either may be
    behind = set().union(*((pair - arrived or pair) for pair in ready))
    marked = {partition for partition in behind if _mark(storage, manifests[partition])}
    waiting = set().union(*(pair for pair in doubtful if pair not in ready or not pair & behind <= marked))
    for partition in arrived - waiting:
        _settle(storage, collection, partition, manifests.get(partition))
    return sorted(marked)


def _is_through(storage: Storage, collection: str, partition: str) -> bool:
    """Whether every stage of a partition was made of what the one before holds now, or there is nothing of it."""
    manifests = [read_sound(storage, place) for place in _places(collection, partition)]
    return manifests[0] is None or all(
        before is not None and after is not None and after.input_hash == before.content_hash
        for before, after in pairwise(manifests)
    )


def moved_partitions(storage: Storage, collection: str) -> list[str]:
    """The partitions that are marked, sorted: items have moved away from them, or to them."""
    keys = storage.list(f"stages/{safe_name(collection)}/raw_items")
    return sorted(key.split("/")[-2] for key in keys if key.endswith("/moved"))


def _mark(storage: Storage, manifest: Manifest) -> bool:
    """Mark a partition, if it still is what was looked at: a run removes the mark with what it commits."""
    with _still(storage, manifest.collection, manifest.partition, manifest) as still:
        if still:
            _put_mark(storage, manifest.collection, manifest.partition)
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
