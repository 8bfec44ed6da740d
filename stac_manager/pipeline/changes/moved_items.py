"""Moved items: their time changed, so they belong to another partition, and the old one must drop them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stac_manager.errors import StorageError
from stac_manager.items import content_hash
from stac_manager.pipeline.state.manifest import Manifest, StagePartition, all_stages
from stac_manager.pipeline.state.marks import mark_new_ids, put_rescan_mark
from stac_manager.pipeline.state.paths import new_id_marks_folder, partition_lock, rescan_mark
from stac_manager.pipeline.state.stage_files import (
    finished_partitions,
    read_index,
    read_intact_manifest,
    read_manifest,
    read_rejected,
)
from stac_manager.storage import Storage

__all__ = ["mark_moved", "retained"]

log = logging.getLogger(__name__)

_AT_ONCE = 32
"""Indexes to read from a bucket at the same time."""


def retained(
    storage: Storage, collection: str, targets: Mapping[str, str | None], stayed: Mapping[str, str]
) -> dict[str, str]:
    """Which of the ids that have left a partition stay there for now, so that each is always published somewhere.

    The target partition is marked for a scan, if it does not have the ids. They wait for one scan only, because that
    scan may not find them.

    Args:
        storage: where the stages are stored.
        collection: its id.
        targets: the ids, each with the partition it belongs to now; None if the workflow has no such partition.
        stayed: ids that have waited already, each with the partition it waited for.

    Returns:
        The ids that stay, each with the partition it waits for.
    """
    stays: dict[str, str] = {}
    for target in sorted(set(filter(None, targets.values()))):
        ids = {item_id for item_id, at in targets.items() if at == target}
        asked = {item_id for item_id in ids if stayed.get(item_id) == target}
        stays |= dict.fromkeys(_not_yet_published(storage, collection, target, ids, asked), target)
    return stays


def _not_yet_published(storage: Storage, collection: str, target: str, ids: set[str], asked: set[str]) -> set[str]:
    """Which of some ids a partition has neither published nor rejected."""
    try:
        fetched, settled = _known(storage, collection, target)
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        fetched, settled = ids, set()
    missing = ids - settled
    if missing & fetched:
        mark_new_ids(storage, collection, target, content_hash(sorted(missing & fetched)))
    marked = storage.size(rescan_mark(collection, target)) is not None
    unread = missing - fetched if marked else missing - fetched - asked
    if unread and not marked:
        put_rescan_mark(storage, collection, target)
    return unread | (missing & fetched)


def _known(storage: Storage, collection: str, partition: str) -> tuple[set[str], set[str]]:
    """The ids that a partition has fetched, and those of them that it has published or rejected."""
    manifests = [
        read_intact_manifest(storage, stage_partition) for stage_partition in all_stages(collection, partition)
    ]
    fetched, published = ({item_id for item_id, _ in read_index(storage, one)} for one in (manifests[0], manifests[-1]))
    first, *later = ({record["item_id"] for record in read_rejected(storage, manifest)} for manifest in manifests)
    return fetched, first | published.union(*later) & fetched  # later stages may be stale


def mark_moved(storage: Storage, collection: str) -> list[str]:
    """Mark the partitions that have an id which is now also in another partition; they must be scanned again.

    This reads every index of the collection, but only after a partition got new ids. Two cases wait for the next sync
    check: a partition that another run is writing, and ids that only the first stage has. Until an id is published in
    its new partition, it stays in the old one.

    Returns:
        The partitions that were marked.
    """
    marks: dict[str, list[str]] = {}
    folder = new_id_marks_folder(collection)
    for key in storage.list(folder):
        marks.setdefault(key.removeprefix(f"{folder}/").partition("/")[0], []).append(key)
    with_new_ids = set(marks)
    # before any manifest is read: a run that has put a mark, but not its manifest yet, holds the lock
    free = {partition for partition in marks if not storage.is_locked(partition_lock(collection, partition))}
    settled = {partition for partition in free if _is_chain_current(storage, collection, partition)}
    if not settled:
        return []
    manifests = _manifests(storage, collection)
    try:
        sharing = [set(pair) for pair in _pairs_sharing_ids(storage, manifests) if not settled.isdisjoint(pair)]
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        return []
    ready = [pair for pair in sharing if pair & with_new_ids <= settled]
    # if only one of the two got new ids, the other one is stale; if both did, either may be
    stale = set().union(*((pair - settled or pair) for pair in ready))
    marked = {partition for partition in stale if _mark(storage, manifests[partition])}
    waiting = set().union(*(pair for pair in sharing if pair not in ready or not pair & stale <= marked))
    for partition in settled - waiting:
        storage.delete(*marks[partition])
    return sorted(marked)


def _is_chain_current(storage: Storage, collection: str, partition: str) -> bool:
    """Whether every stage of a partition was made from the present content of the stage before, or none exists."""
    manifests = [read_manifest(storage, stage_partition) for stage_partition in all_stages(collection, partition)]
    return manifests[0] is None or all(
        before is not None and after is not None and after.input_hash == before.content_hash
        for before, after in pairwise(manifests)
    )


def _mark(storage: Storage, manifest: Manifest) -> bool:
    """Mark a partition, if no run has changed it since it was read: a run's commit removes the mark."""
    with _locked_if_unchanged(storage, manifest.collection, manifest.partition, manifest) as still:
        if still:
            put_rescan_mark(storage, manifest.collection, manifest.partition)
        return still


@contextmanager
def _locked_if_unchanged(
    storage: Storage, collection: str, partition: str, manifest: Manifest | None
) -> Iterator[bool]:
    """Lock a partition; yields whether it is still as it was read."""
    stage_partition = StagePartition(collection=collection, stage="raw_items", partition=partition)
    with ExitStack() as stack:
        try:
            stack.enter_context(storage.lock(partition_lock(collection, partition), wait=0))
        except StorageError as error:
            log.info("%s", error)
            yield False
            return
        now = read_manifest(storage, stage_partition)
        yield (now and now.content_hash) == (manifest and manifest.content_hash)


def _manifests(storage: Storage, collection: str) -> dict[str, Manifest]:
    places = finished_partitions(storage, collection, "raw_items")
    storage.fetch(place.manifest_key for place in places)
    manifests = (read_manifest(storage, place) for place in places)
    return {manifest.partition: manifest for manifest in manifests if manifest}


def _hashes_of_ids(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    return np.fromiter((hash(item_id) for item_id, _ in read_index(storage, manifest)), dtype=np.int64)


def _pairs_sharing_ids(storage: Storage, manifests: dict[str, Manifest]) -> set[tuple[str, str]]:
    """Pairs of partitions that have an id in common."""
    if len(manifests) < 2:
        return set()
    partitions = list(manifests)
    with ThreadPoolExecutor(_AT_ONCE if storage.is_bucket else 1) as pool:
        hashes = list(pool.map(partial(_hashes_of_ids, storage), manifests.values()))
    numbers = [np.full(len(ids), number, dtype=np.int32) for number, ids in enumerate(hashes)]
    every, owner = np.concatenate(hashes), np.concatenate(numbers)
    order = np.argsort(every, kind="stable")
    every, owner = every[order], owner[order]
    same = np.flatnonzero(every[1:] == every[:-1])
    return {(partitions[owner[at]], partitions[owner[at + 1]]) for at in same}
