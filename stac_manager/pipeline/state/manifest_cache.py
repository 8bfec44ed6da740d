"""The manifests of a collection in one object of a bucket, each with its ETag, so that a sync check need not read them.

A manifest counts only while a listing shows the same ETag for it. If the object is lost or damaged, the manifests are
read one by one, and the object is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from stac_manager.errors import StorageError
from stac_manager.files import read_lines, write_lines
from stac_manager.pipeline.state.paths import manifest_cache_key, state_folder
from stac_manager.scratch import scratch_folder
from stac_manager.storage import Storage

__all__ = ["load_manifests", "store_manifests"]

log = logging.getLogger(__name__)

_NEWLINE = b"\x01"
"""Replaces line ends, which manifests have and the lines of the object must not; JSON has no such character."""

_WORTH_STORING = 20
"""So many manifests that the object does not have are read again by the next check rather than written now."""


def load_manifests(storage: Storage, collection: str) -> set[str]:
    """Remember the manifests of the object; returns their keys.

    Call it within a listing of the state of the collection. A folder on a disk has no such object.
    """
    key = manifest_cache_key(collection)
    if not storage.is_bucket or storage.size(key) is None:
        return set()
    keys = set()
    try:
        with storage.local_copy(key) as path:
            for line in read_lines(path):
                name, e_tag, content = line.split(b"\t", 2)
                storage.cache.remember(name.decode(), e_tag.decode(), content.replace(_NEWLINE, b"\n"))
                keys.add(name.decode())
    except (StorageError, OSError, ValueError) as error:
        log.info("%s: cannot be read, and is made again: %s", storage.locate(key), error)
    return keys


def store_manifests(storage: Storage, collection: str, stored: set[str]) -> None:
    """Write the object again, if many manifests are known that it does not have.

    Args:
        storage: where the state is.
        collection: its id.
        stored: the keys that it has, from `load_manifests`; those that have changed since count as new.

    Raises:
        StorageError: the object cannot be written.
    """
    if not storage.is_bucket:
        return
    known = sorted(_known(storage, collection))
    if sum(key not in stored for key, _, _ in known) <= _WORTH_STORING:
        return
    with scratch_folder() as folder:
        path = folder / "manifests.zst"
        lines = (b"\t".join((key.encode(), e_tag.encode(), content)) for key, e_tag, content in known)
        write_lines(path, (line.replace(b"\n", _NEWLINE) for line in lines))
        storage.put(manifest_cache_key(collection), path)


def _known(storage: Storage, collection: str) -> Iterator[tuple[str, str, bytes]]:
    """The manifests that are known, and are still there if the state is listed."""
    for key, e_tag, content in storage.cache.known_content(f"{state_folder(collection)}/"):
        if key.endswith("/manifest.json") and not storage.is_absent(key):
            yield key, e_tag, content
