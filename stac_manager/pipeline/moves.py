"""Items whose time changed, so that they belong to another partition: taken away where they were."""

from __future__ import annotations

import numpy as np

from stac_manager.items import safe_name
from stac_manager.pipeline.layout import arrivals_folder, moved_key
from stac_manager.pipeline.manifest import Place
from stac_manager.pipeline.stage_files import read_index
from stac_manager.storage import Storage

__all__ = ["mark_moves"]


def mark_moves(storage: Storage, collection: str) -> list[str]:
    """Mark the partitions that hold an id which has since come to another one; they are to be read again.

    Costs a look at every index of the collection, and only after ids have come somewhere that were not there before.

    Returns:
        The partitions that were marked.
    """
    arrivals = storage.list(arrivals_folder(collection))
    if not arrivals:
        return []
    arrived = {key.rpartition("/")[2] for key in arrivals}
    partitions = _partitions(storage, collection)
    shared = _sharing(storage, collection, partitions)
    doubtful = [(one, other) for one, other in shared if one in arrived or other in arrived]
    # where only one of two is new, the other one is behind; where both are, either may be
    behind = {side for one, other in doubtful for side in (one, other) if side not in arrived}
    behind |= {side for one, other in doubtful if {one, other} <= arrived for side in (one, other)}
    for partition in sorted(behind):
        storage.put(moved_key(collection, partition), b"")
    for key in arrivals:
        storage.delete(key)
    return sorted(behind)


def _partitions(storage: Storage, collection: str) -> list[str]:
    folder = f"stages/{safe_name(collection)}/raw_items"
    return [key.split("/")[-2] for key in storage.list(folder) if key.endswith("/manifest.json")]


def _sharing(storage: Storage, collection: str, partitions: list[str]) -> set[tuple[str, str]]:
    """Pairs of partitions that hold an id in common."""
    hashes, numbers = [], []
    for number, partition in enumerate(partitions):
        place = Place(collection=collection, stage="raw_items", partition=partition)
        ids = np.fromiter((hash(item_id) for item_id, _ in read_index(storage, place.read(storage))), dtype=np.int64)
        hashes.append(ids)
        numbers.append(np.full(len(ids), number, dtype=np.int32))
    if not hashes:
        return set()
    every, owner = np.concatenate(hashes), np.concatenate(numbers)
    order = np.argsort(every, kind="stable")
    every, owner = every[order], owner[order]
    same = np.flatnonzero(every[1:] == every[:-1])
    return {(partitions[owner[at]], partitions[owner[at + 1]]) for at in same}
