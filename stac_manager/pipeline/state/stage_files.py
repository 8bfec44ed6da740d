"""Read the files of a stage of a partition: items, their index, and rejected items.

A stage that changes nothing has no files of its own: its manifest lists those of the stage before. So a file is in use
as long as the manifest of any stage of the partition lists it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress

from stac_manager.errors import CatalogVersionError, DamagedManifestError, StorageError
from stac_manager.files import read_lines, write_lines
from stac_manager.items import HashedItem, dumps, loads, safe_name
from stac_manager.pipeline.state.manifest import STAGES, FileRef, Manifest, Stage, StagePartition
from stac_manager.pipeline.state.paths import blobs_folder, quarantine_key
from stac_manager.quarantine import QuarantineRecord
from stac_manager.scratch import scratch_folder
from stac_manager.storage import Storage

__all__ = [
    "assemble_quarantine",
    "compare_indexes",
    "compare_lines",
    "finished_partitions",
    "hash_of_index",
    "orphaned_files",
    "other_manifests",
    "read_entries",
    "read_file",
    "read_index",
    "read_index_lines",
    "read_intact_manifest",
    "read_items",
    "read_manifest",
    "read_rejected",
    "remove_orphaned_files",
]

log = logging.getLogger(__name__)

_MARKS_OF_VERSION_1 = ("moved", "publishing")

Entry = tuple[str, str]
"""Id and content hash."""


def read_file(storage: Storage, key: str | None) -> Iterator[bytes]:
    """The lines of a file of a stage; none if `key` is None."""
    if key is not None:
        with storage.local_copy(key) as path:
            yield from read_lines(path)


def _lines(storage: Storage, ref: FileRef | None) -> Iterator[bytes]:
    return read_file(storage, ref.key if ref else None)


def read_index_lines(storage: Storage, manifest: Manifest | None) -> Iterator[bytes]:
    """The lines of the index of a stage, `[id, content hash]`, sorted by id."""
    return _lines(storage, manifest.index if manifest else None)


def read_index(storage: Storage, manifest: Manifest | None) -> Iterator[Entry]:
    """Id and content hash of every item of a stage, sorted by id."""
    for line in read_index_lines(storage, manifest):
        item_id, digest = loads(line)
        yield item_id, digest


def read_items(storage: Storage, manifest: Manifest) -> Iterator[HashedItem]:
    """Id, content hash and JSON line of every item of a stage before `published`, sorted by id."""
    lines = _lines(storage, manifest.items)
    for (item_id, digest), line in zip(read_index(storage, manifest), lines, strict=True):
        yield item_id, digest, line


def read_entries(storage: Storage, manifest: Manifest) -> Iterator[tuple[str, bytes, bytes]]:
    """Id, line of the index and JSON line of every item of a stage before `published`, sorted by id."""
    lines = _lines(storage, manifest.items)
    for entry, line in zip(read_index_lines(storage, manifest), lines, strict=True):
        yield _id_of(entry), entry, line


def _id_of(entry: bytes) -> str:
    """The id in a line of an index."""
    return str(loads(entry[1 : entry.rindex(b",")]))


def read_rejected(storage: Storage, manifest: Manifest | None) -> Iterator[QuarantineRecord]:
    """The quarantine records of a stage."""
    for line in _lines(storage, manifest.rejected if manifest else None):
        yield loads(line)


def finished_partitions(storage: Storage, collection: str, stage: Stage) -> list[StagePartition]:
    """The partitions that have a manifest of a stage, sorted."""
    keys = storage.list(f"stages/{safe_name(collection)}/{stage}")
    found = [key.split("/")[-2] for key in keys if key.endswith("/manifest.json")]
    return [StagePartition(collection=collection, stage=stage, partition=partition) for partition in found]


def read_manifest(storage: Storage, stage_partition: StagePartition) -> Manifest | None:
    """The manifest; None if the stage was never finished, or if the manifest is damaged (the stage then runs again)."""
    try:
        return stage_partition.read(storage)
    except CatalogVersionError:
        raise
    except StorageError as error:
        log.warning("%s", str(error).replace("delete it and run the stage again", "the stage is run again"))
        return None


def read_intact_manifest(storage: Storage, stage_partition: StagePartition, *, ask: bool = True) -> Manifest | None:
    """The manifest; None also if a file that it lists is missing or damaged.

    Without `ask`, a bucket is not asked for each file: only those that a listing shows are looked at.
    """
    manifest = read_manifest(storage, stage_partition)
    for ref in (manifest.items, *manifest.files, manifest.index, manifest.rejected) if manifest else ():
        if ref and (ask or storage.is_known(ref.key)) and storage.size(ref.key) != ref.size:
            log.warning("%s: does not match its manifest; the stage is run again", storage.locate(ref.key))
            return None
    return manifest


def orphaned_files(storage: Storage, manifest: Manifest, others: Iterable[Manifest]) -> list[str]:
    """The files of a partition that none of its manifests lists, and whatever else is in the folder of this stage.

    Args:
        storage: where the stages are stored.
        manifest: the last generation of one stage.
        others: the manifests of the other stages.
    """
    stage_partition = manifest.stage_partition
    in_use = {stage_partition.manifest_key}.union(*map(_keys_of, (manifest, *others)))
    folders = (stage_partition.folder, blobs_folder(stage_partition.collection, stage_partition.partition))
    return [key for folder in folders for key in storage.list(folder) if key not in in_use]


def _keys_of(manifest: Manifest) -> set[str]:
    refs = (manifest.items, manifest.index, manifest.rejected)
    return {ref.key for ref in refs if ref} | {value for value in manifest.details.values() if isinstance(value, str)}


def remove_orphaned_files(storage: Storage, manifest: Manifest) -> None:
    """Remove the files of a run that was killed right after it wrote the manifest; marks stay.

    A lost quarantine file is written again.
    """
    others = other_manifests(storage, manifest)
    if manifest.rejected and storage.size(quarantine_key(manifest.collection, manifest.partition)) is None:
        assemble_quarantine(storage, manifest, others)
    names = {key: key.rpartition("/")[2] for key in orphaned_files(storage, manifest, others)}
    storage.delete(*(key for key, name in names.items() if "." in name or name in _MARKS_OF_VERSION_1))


def other_manifests(storage: Storage, manifest: Manifest) -> list[Manifest]:
    """The manifests of the other stages of a partition, in their order; damaged ones are left out.

    Raises:
        StorageError: one cannot be read, so that it is not known which files are in use.
    """
    found = []
    for place in (manifest.stage_partition.at(stage) for stage in STAGES if stage != manifest.stage):
        with suppress(DamagedManifestError):  # its stage is run again
            found.append(place.read(storage))
    return [one for one in found if one]


def compare_indexes(before: Iterable[Entry], now: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Compare two indexes, both sorted by id; yields for each id what changed, and the id."""
    older, newer = iter(before), iter(now)
    old, new = next(older, None), next(newer, None)
    while old or new:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            yield "deleted", old[0]
            old = next(older, None)
        elif old is None or new[0] < old[0]:
            yield "added", new[0]
            new = next(newer, None)
        else:
            yield "unchanged" if old[1] == new[1] else "modified", new[0]
            old, new = next(older, None), next(newer, None)


def hash_of_index(entries: Iterable[Entry]) -> str:
    """The `content_hash` of a stage with these items, sorted by id, that has rejected none."""
    digest = hashlib.sha256()
    for item_id, content in entries:
        digest.update(dumps([item_id, content]))
    return digest.hexdigest()


def compare_lines(before: Iterable[bytes], now: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The differences between the lines of two indexes; lines that are equal are neither parsed nor yielded."""
    older, newer = iter(before), iter(now)
    old, new = next(older, None), next(newer, None)
    while old is not None or new is not None:
        if old == new:
            old, new = next(older, None), next(newer, None)
            continue
        old_id: str | None = loads(old)[0] if old else None
        new_id: str | None = loads(new)[0] if new else None
        if old_id is not None and (new_id is None or old_id < new_id):
            yield "deleted", old_id
            old = next(older, None)
        elif new_id is not None and (old_id is None or new_id < old_id):
            yield "added", new_id
            new = next(newer, None)
        elif new_id is not None:
            yield "modified", new_id
            old, new = next(older, None), next(newer, None)


def assemble_quarantine(storage: Storage, manifest: Manifest, others: Iterable[Manifest]) -> None:
    """Write one file for people with the rejected items of all stages; no file if there are none."""
    key = quarantine_key(manifest.collection, manifest.partition)
    manifests = sorted((manifest, *others), key=lambda one: STAGES.index(one.stage))
    refs = [one.rejected for one in manifests if one.rejected]
    storage.remove_orphans(key)
    if not refs:
        storage.delete(key)
        return
    with scratch_folder() as folder:
        path = folder / "quarantine.ndjson"
        write_lines(path, (line for ref in refs for line in _lines(storage, ref)))
        if storage.size(key) != path.stat().st_size or storage.get(key) != path.read_bytes():
            storage.put(key, path)
