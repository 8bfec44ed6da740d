"""Read the state of a collection in a bucket with few calls, for one sync check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.state.manifest_cache import load_manifests, store_manifests
from stac_manager.pipeline.state.paths import (
    after_blobs,
    blobs_folder,
    collection_key,
    published_folder,
    quarantine_key,
    state_folder,
)
from stac_manager.pipeline.sync.unfinished import CHECKED_EACH_TIME, next_in_turn

__all__ = ["known_state"]


@contextmanager
def known_state(chain: Chain, partitions: list[str], *, dry: bool) -> Iterator[None]:
    """Know the keys of a collection from listings and its manifests from one object, until the end of the block.

    The files that manifests list are known too: of all partitions if they are few, else of those that are next in turn.
    A folder on a disk is read as before.

    Args:
        chain: of the collection.
        partitions: all of them.
        dry: write nothing.
    """
    storage, collection = chain.storage, chain.collection
    folder = state_folder(collection)
    are_many = len(partitions) > CHECKED_EACH_TIME
    with ExitStack() as listings:
        after = after_blobs(collection) if are_many else ""
        listings.enter_context(storage.listed(folder, after=after, root=folder))
        load_manifests(storage, collection)
        if are_many:
            for first, last in _stretches(next_in_turn(chain, partitions)):
                for place in (blobs_folder, published_folder, quarantine_key):
                    start, end = (place(collection, one).removesuffix(".ndjson") for one in (first, last))
                    listings.enter_context(storage.listed_between(start.rpartition("/")[0], start, f"{end}0"))
        else:
            files = (one.rpartition("/")[0] for one in (collection_key(collection), quarantine_key(collection, "")))
            listings.enter_context(storage.listed(*files))
        yield
        if not dry:
            store_manifests(storage, collection)


def _stretches(partitions: list[str]) -> list[tuple[str, str]]:
    """The first and the last partition of each stretch in which they rise: one, or two for a turn that begins anew."""
    cut = next((number for number in range(1, len(partitions)) if partitions[number] < partitions[number - 1]), None)
    return [(part[0], part[-1]) for part in (partitions[:cut], partitions[cut:] if cut else []) if part]
