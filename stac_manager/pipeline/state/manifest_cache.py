"""The manifests of a collection in one object of a bucket, each with its ETag, so that a sync check need not read them.

A manifest counts only while a listing shows the same ETag for it. If the object is lost or damaged, the manifests are
read one by one, and the object is made again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence

from stac_manager.errors import StorageError
from stac_manager.files import read_lines, write_lines
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.paths import manifest_cache_key, state_folder
from stac_manager.scratch import scratch_folder
from stac_manager.storage import Storage

__all__ = ["fetch_manifests", "load_manifests", "note_written", "store_manifests"]

log = logging.getLogger(__name__)

_NEWLINE = b"\x01"
"""Replaces line ends, which manifests have and the lines of the object must not; JSON has no such character."""

_WORTH_STORING = 20
"""So few manifests that the object does not have are read by the next check rather than written now."""


def load_manifests(storage: Storage, collection: str) -> None:
    """Remember the manifests of the object. A folder on a disk has no such object."""
    key = manifest_cache_key(collection)
    if not storage.is_bucket or key in storage.cache.stored_manifests or storage.size(key) is None:
        return
    stored = storage.cache.stored_manifests.setdefault(key, {})
    try:
        with storage.local_copy(key) as path:
            for line in read_lines(path):
                name, e_tag, content = line.split(b"\t", 2)
                storage.cache.learn(name.decode(), e_tag.decode(), content.replace(_NEWLINE, b"\n"))
                stored[name.decode()] = e_tag.decode()
    except (StorageError, OSError, ValueError) as error:
        log.info("%s: cannot be read, and is made again: %s", storage.locate(key), error)


def fetch_manifests(storage: Storage, collection: str, keys: Sequence[str]) -> None:
    """Read manifests of a listed collection from a bucket: from the object, and the others many at once."""
    if sum(map(storage.is_worth_fetching, keys)) > _WORTH_STORING:
        load_manifests(storage, collection)
    storage.fetch(keys)


def note_written(storage: Storage, manifests: Iterable[Manifest]) -> None:
    """Remember manifests that another process of this run has written; most stores have the MD5 as the ETag."""
    for manifest in manifests if storage.is_bucket else ():
        data = manifest.encoded()
        e_tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        storage.cache.remember(manifest.stage_partition.manifest_key, f'"{e_tag}"', data)


def store_manifests(storage: Storage, collection: str) -> None:
    """Write the object again, if many manifests are known that it does not have.

    Raises:
        StorageError: the object cannot be written.
    """
    if not storage.is_bucket:
        return
    key = manifest_cache_key(collection)
    stored = storage.cache.stored_manifests.get(key, {})
    known = sorted(_known(storage, collection))
    if sum(stored.get(name) != e_tag for name, e_tag, _ in known) <= _WORTH_STORING:
        return
    with scratch_folder() as folder:
        path = folder / "manifests.zst"
        lines = (b"\t".join((name.encode(), e_tag.encode(), content)) for name, e_tag, content in known)
        write_lines(path, (line.replace(b"\n", _NEWLINE) for line in lines))
        storage.put(key, path)
    storage.cache.stored_manifests[key] = {name: e_tag for name, e_tag, _ in known}


def _known(storage: Storage, collection: str) -> Iterator[tuple[str, str, bytes]]:
    """The manifests that are known, and are still there if the state is listed."""
    for key, e_tag, content in storage.cache.known_content(f"{state_folder(collection)}/"):
        if (key.endswith("/manifest.json") or "/contracts/" in key) and not storage.is_absent(key):
            yield key, e_tag, content
