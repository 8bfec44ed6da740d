"""Items whose time changed, so that they belong to another partition: taken away where they were."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import numpy as np

from stac_manager.errors import StorageError
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


def retained(
    storage: Storage, collection: str, targets: Mapping[str, str | None], stayed: Mapping[str, str]
) -> dict[str, str]:
    """Which of the ids that have left a partition stay there as yet, so that each is published somewhere.

    Where they belong is marked to be read, if it does not have them; for that they wait once, since they may not come.

    Args:
        storage: where the stages are kept.
        collection: its id.
        targets: the ids, with the partitions they belong to now; None for one that the workflow does not have.
        stayed: ids that waited already, with the partitions they waited for.

    Returns:
        The ids that stay, with the partitions they wait for.
    """
    stays: dict[str, str] = {}
    for target in sorted(set(filter(None, targets.values()))):
        ids = {item_id for item_id, at in targets.items() if at == target}
        asked = {item_id for item_id in ids if stayed.get(item_id) == target}
        stays |= dict.fromkeys(_not_yet_published(storage, collection, target, ids, asked), target)
    return stays


def _not_yet_published(storage: Storage, collection: str, target: str, ids: set[str], asked: set[str]) -> set[str]:
    """Which of some ids a partition has neither published nor refused."""
    try:
        fetched, settled = _known(storage, collection, target)
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        fetched, settled = ids, set()
    missing = ids - settled
    if missing & fetched:
        mark_new_ids(storage, collection, target)
    marked = storage.size(rescan_mark(collection, target)) is not None
    unread = missing - fetched if marked else missing - fetched - asked
    if unread and not marked:
        put_rescan_mark(storage, collection, target)
    return unread | (missing & fetched)


def _known(storage: Storage, collection: str, partition: str) -> tuple[set[str], set[str]]:
    """The ids that a partition has fetched, and those of them that it has published, or refused."""
    manifests = [
        read_intact_manifest(storage, stage_partition) for stage_partition in all_stages(collection, partition)
    ]
    fetched, published = ({item_id for item_id, _ in read_index(storage, one)} for one in (manifests[0], manifests[-1]))
    first, *later = ({record["item_id"] for record in read_rejected(storage, manifest)} for manifest in manifests)
    return fetched, first | published.union(*later) & fetched  # later stages may be behind


def mark_moved(storage: Storage, collection: str) -> list[str]:
    """Mark the partitions that hold an id which has since come to another one; they are to be read again.

    Costs a look at every index of the collection, and only after ids have come somewhere that were not there before.
    What is to be found out about a partition that another run is writing just now is left to the next look, as is what
    is known of ids that have come to the first stage only: until they are published they stay where they were.

    Returns:
        The partitions that were marked.
    """
    announced = {key.rpartition("/")[2] for key in storage.list(new_id_marks_folder(collection))}
    arrived = {partition for partition in announced if _is_chain_current(storage, collection, partition)}
    if not arrived:
        return []
    manifests = _manifests(storage, collection)
    try:
        doubtful = [set(pair) for pair in _pairs_sharing_ids(storage, manifests) if not arrived.isdisjoint(pair)]
    except StorageError as error:
        log.info("%s; another run may just have replaced it", error)
        return []
    ready = [pair for pair in doubtful if pair & announced <= arrived]
    # where only one of two is new, the other one is behind; where both are, either may be
    behind = set().union(*((pair - arrived or pair) for pair in ready))
    marked = {partition for partition in behind if _mark(storage, manifests[partition])}
    waiting = set().union(*(pair for pair in doubtful if pair not in ready or not pair & behind <= marked))
    for partition in arrived - waiting:
        _clear_new_id_mark(storage, collection, partition, manifests.get(partition))
    return sorted(marked)


def _is_chain_current(storage: Storage, collection: str, partition: str) -> bool:
    """Whether every stage of a partition was made of what the one before holds now, or there is nothing of it."""
    manifests = [read_manifest(storage, stage_partition) for stage_partition in all_stages(collection, partition)]
    return manifests[0] is None or all(
        before is not None and after is not None and after.input_hash == before.content_hash
        for before, after in pairwise(manifests)
    )


def _mark(storage: Storage, manifest: Manifest) -> bool:
    """Mark a partition, if it still is what was looked at: a run removes the mark with what it commits."""
    with _locked_if_unchanged(storage, manifest.collection, manifest.partition, manifest) as still:
        if still:
            put_rescan_mark(storage, manifest.collection, manifest.partition)
        return still


def _clear_new_id_mark(storage: Storage, collection: str, partition: str, manifest: Manifest | None) -> None:
    """Forget that ids came to a partition, unless others have come since."""
    with _locked_if_unchanged(storage, collection, partition, manifest) as still:
        if still:
            storage.delete(f"{new_id_marks_folder(collection)}/{partition}")


@contextmanager
def _locked_if_unchanged(
    storage: Storage, collection: str, partition: str, manifest: Manifest | None
) -> Iterator[bool]:
    """Whether a partition still is what was looked at, and stays so meanwhile."""
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
    manifests = (read_manifest(storage, place) for place in finished_partitions(storage, collection, "raw_items"))
    return {manifest.partition: manifest for manifest in manifests if manifest}


def _pairs_sharing_ids(storage: Storage, manifests: dict[str, Manifest]) -> set[tuple[str, str]]:
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
