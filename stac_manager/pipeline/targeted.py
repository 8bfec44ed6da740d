"""Take over single items by their ids, and replay what was refused, without reading whole windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from stac_manager.ingest import FetchFacts, IngestModule, home_of
from stac_manager.items import loads_exactly
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.manifest import STAGES, Manifest, Place, Stage
from stac_manager.pipeline.rebuild import Heard, PartitionResult, run_all, run_moved
from stac_manager.pipeline.stage_files import read_index, read_refused, read_sound
from stac_manager.times import Window

__all__ = ["find_homes", "has_quarantine", "published_in", "replay", "take_items"]

log = logging.getLogger(__name__)


def find_homes(chain: Chain, ids: Collection[str]) -> dict[str, list[str]]:
    """The ids that the source has, by the partition that they belong to now.

    Raises:
        SourceError: the source failed.
    """
    keys = set(chain.partitions())
    homes: dict[str, list[str]] = {}
    with IngestModule(chain.source) as ingest:
        ingest.find(sorted(ids))
        for item_id, line in ingest:
            try:
                home = home_of(loads_exactly(line), chain.scheme)
            except ValueError as error:
                log.warning("%s %s: %s", chain.collection, item_id, error)
                continue
            if home in keys:
                homes.setdefault(home, []).append(item_id)
    return homes


def take_items(
    chain: Chain, homes: Mapping[str, Sequence[str]], heard: Heard | None = None
) -> Iterator[PartitionResult]:
    """Fetch items by their ids, and take them over into the partitions that they belong to.

    Args:
        chain: of the collection.
        homes: ids by partition, from `find_homes`.
        heard: hears what is being done.

    Raises:
        SourceError: the source failed.
    """
    yield from run_all(chain, ((home, partial(_take, chain, ids)) for home, ids in sorted(homes.items())), heard)
    yield from run_moved(chain, heard)


def published_in(chain: Chain, item_id: str) -> str | None:
    """The partition that an id is in here."""
    for partition in chain.partitions():
        manifest = chain.raw.current(partition)
        if any(known == item_id for known, _ in read_index(chain.storage, manifest)):
            return partition
    return None


def _take(chain: Chain, ids: Sequence[str], stage: Stage, partition: str, progress: Callable[[int], None]) -> Manifest:
    if stage != "raw_items":
        return chain.run(stage, partition, progress, mode="resume")

    def found(ingest: IngestModule, window: Window) -> FetchFacts:
        return ingest.find(ids)

    merged = chain.raw.merge(partition, progress, found, counted=False)
    return merged or chain.run(stage, partition, progress, mode="scan")


def has_quarantine(chain: Chain, partition: str) -> bool:
    """Whether any stage of a partition refused something."""
    places = (Place(collection=chain.collection, stage=stage, partition=partition) for stage in STAGES)
    return any(manifest.refused for place in places if (manifest := read_sound(chain.storage, place)))


def replay(chain: Chain, partitions: Sequence[str], heard: Heard | None = None) -> Iterator[PartitionResult]:
    """Try again what was refused, and nothing else; what passes now moves into the published partition.

    What the first stage refused is asked for again by its id. What a later stage refused is judged again as it was
    fetched. A stage whose part of the workflow has changed does all of its items again.

    Args:
        chain: of the collection.
        partitions: names; those without quarantine are passed over.
        heard: hears what is being done.

    Raises:
        SourceError: the source failed.
    """
    work = ((key, partial(_replay, chain)) for key in partitions if has_quarantine(chain, key))
    yield from run_all(chain, work, heard)
    yield from run_moved(chain, heard)


def _replay(chain: Chain, stage: Stage, partition: str, progress: Callable[[int], None]) -> Manifest:
    manifest = read_sound(chain.storage, chain.place(stage, partition))
    records = list(read_refused(chain.storage, manifest))
    if not records:
        return chain.run(stage, partition, progress, mode="resume")
    if stage == "raw_items":
        ids = sorted({record["item_id"] for record in records if record["item_id"]})
        return (
            _take(chain, ids, stage, partition, progress)
            if ids
            else chain.run(stage, partition, progress, mode="resume")
        )
    return chain.run(stage, partition, progress, mode="replay")
