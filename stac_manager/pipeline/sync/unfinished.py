"""Partitions that are stale by their stored files: missing, unfinished, or made for another workflow.

Nothing here sends a request to the source.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from stac_manager.errors import StorageError
from stac_manager.items import safe_name
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.stages.protocol import Mode
from stac_manager.pipeline.state.manifest import STAGES, all_stages
from stac_manager.pipeline.state.paths import (
    CATALOG_KEY,
    collection_key,
    dirty_marks_folder,
    publish_intent,
    rescan_mark,
)

__all__ = ["CHECKED_EACH_TIME", "find_unfinished", "in_a_circle", "next_in_turn", "republish_documents"]

log = logging.getLogger(__name__)

CHECKED_EACH_TIME = 400
"""Each sync check reads the files of this many of the latest partitions, and of this many older ones in turn.

Each costs about ten reads from storage, so this bounds the time of a check."""


def find_unfinished(
    chain: Chain, partitions: list[str], there: set[str], *, approved: bool
) -> Iterator[tuple[str, Mode, str]]:
    """The partitions that are stale by their stored files: the name, the mode that updates them, and the reason.

    Args:
        chain: of the collection.
        partitions: to check.
        there: every key below the collection's `stages/` folder.
        approved: a person approved deletions, so partitions with pending deletions are stale.
    """
    closely = _read_closely(chain, partitions)
    places = (place for key in sorted(closely) for place in all_stages(chain.collection, key))
    chain.storage.fetch(place.manifest_key for place in places)
    for partition in partitions:
        manifests = [chain.stage_partition(stage, partition).manifest_key for stage in STAGES]
        if manifests[0] not in there:
            yield partition, "scan", "is missing"
        elif rescan_mark(chain.collection, partition) in there:
            yield partition, "scan", "items have moved"
        elif publish_intent(chain.collection, partition) in there or not there.issuperset(manifests):
            yield partition, "resume", "was not finished"
        elif approved and chain.raw.pending_manifest(partition):
            yield partition, "scan", "its deletions are approved"
        elif partition in closely and not chain.is_up_to_date(partition):
            yield partition, "resume", "was not finished, or the workflow has changed"


def _read_closely(chain: Chain, partitions: list[str]) -> set[str]:
    """The latest partitions, and the older ones that are next in turn."""
    latest, turn = partitions[-CHECKED_EACH_TIME:], next_in_turn(chain, partitions)
    if turn and len(turn) < len(partitions) - len(latest):
        chain.sync_state.set_cursors(state_cursor=turn[-1])
    return {*latest, *turn}


def next_in_turn(chain: Chain, partitions: list[str]) -> list[str]:
    """Partitions whose stored files this sync check looks at in turn; the next check continues after them.

    In a folder these are older ones, because it looks at the files of the latest ones each time.
    """
    cursor, older = chain.sync_state.load().state_cursor, partitions[:-CHECKED_EACH_TIME]
    if older and chain.storage.is_bucket:
        # of the latest ones only the state is known; the files of so many partitions are on one page of a LIST
        return in_a_circle(partitions, cursor)[: CHECKED_EACH_TIME * 3 // 4]
    return in_a_circle(older, cursor)[:CHECKED_EACH_TIME]


def in_a_circle(partitions: list[str], last: str | None) -> list[str]:
    """The partitions in their order, starting after `last` and continuing with the first."""
    later = [partition for partition in partitions if last is not None and partition > last]
    return later + partitions[: len(partitions) - len(later)]


def republish_documents(chain: Chain, there: set[str]) -> None:
    """Write `collection.json` and `catalog.json` if they are missing or older than the published partitions."""
    published = f"stages/{safe_name(chain.collection)}/published/"
    stale = any(key.startswith(f"{dirty_marks_folder(chain.collection)}/") for key in there)
    if any(key.startswith(published) for key in there):
        stale |= any(chain.storage.size(key) is None for key in (collection_key(chain.collection), CATALOG_KEY))
    if not stale:
        return
    try:
        chain.publish_collection()
    except StorageError as error:
        log.warning("%s; the collection is published after the stale partitions", error)
