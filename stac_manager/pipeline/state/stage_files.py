"""Read and write the files of a stage of a partition: items, their index, and rejected items."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa

from stac_manager.errors import CatalogVersionError, StorageError
from stac_manager.files import read_lines, write_lines
from stac_manager.items import HashedItem, dumps, loads, safe_name
from stac_manager.pipeline.state.manifest import (
    STAGES,
    Changes,
    FileRef,
    Ledger,
    Manifest,
    PublishedFile,
    Stage,
    StagePartition,
)
from stac_manager.pipeline.state.paths import partition_lock, quarantine_key
from stac_manager.quarantine import QuarantineRecord, RejectedItem, RejectedItemBuffer
from stac_manager.scratch import scratch_folder
from stac_manager.storage import Storage
from stac_manager.times import timestamp

__all__ = [
    "StageWriter",
    "compare_indexes",
    "finished_partitions",
    "read_file",
    "read_index",
    "read_intact_manifest",
    "read_items",
    "read_manifest",
    "read_rejected",
    "remove_orphaned_files",
]

log = logging.getLogger(__name__)

_BUFFER = 1 << 20

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


def read_index(storage: Storage, manifest: Manifest | None) -> Iterator[tuple[str, str]]:
    """Id and content hash of every item of a stage, sorted by id."""
    for line in _lines(storage, manifest.index if manifest else None):
        item_id, digest = loads(line)
        yield item_id, digest


def read_items(storage: Storage, manifest: Manifest) -> Iterator[HashedItem]:
    """Id, content hash and JSON line of every item of a stage before `published`, sorted by id."""
    lines = _lines(storage, manifest.items)
    for (item_id, digest), line in zip(read_index(storage, manifest), lines, strict=True):
        yield item_id, digest, line


def read_rejected(storage: Storage, manifest: Manifest | None) -> Iterator[QuarantineRecord]:
    """The quarantine records of a stage."""
    for line in _lines(storage, manifest.rejected if manifest else None):
        yield loads(line)


class StageWriter:
    """Collects the results of a stage and puts them in place: first files named by their content, then the manifest.

    Use it as a context manager; without `commit` nothing changes.
    """

    def __init__(self, storage: Storage, stage_partition: StagePartition) -> None:
        self.storage = storage
        self.stage_partition = stage_partition
        self.previous = read_intact_manifest(storage, stage_partition)
        self.written = 0
        self.rejected_items = RejectedItemBuffer()
        self._open = ExitStack()
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        self.folder = self._open.enter_context(scratch_folder())
        self.storage.remove_orphans_in(self.stage_partition.folder)
        self._open.enter_context(self.rejected_items)
        self._items = pa.output_stream(str(self.folder / "items.ndjson.zst"), "zstd", _BUFFER)
        self._index = pa.output_stream(str(self.folder / "index.ndjson.zst"), "zstd", _BUFFER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._items.close()
            self._index.close()
        finally:
            self._open.close()
        if isinstance(error, OSError):
            raise StorageError(f"{self.folder}: cannot be written: {error.strerror or error}") from None

    def write(self, item: HashedItem, *, with_line: bool = True) -> None:
        """Pass an item; items must be sorted by id. With `with_line` False, only its index entry is written."""
        item_id, digest, line = item
        entry = dumps([item_id, digest])
        self._index.write(entry + b"\n")
        self._digest.update(entry)
        if with_line:
            self._items.write(line + b"\n")
        self.written += 1

    def reject(self, rejected_items: Iterable[RejectedItem]) -> None:
        """Put items into quarantine."""
        self.rejected_items.add(rejected_items)

    def commit(
        self,
        ledger: Ledger,
        *,
        code_version: str,
        input_hash: str | None = None,
        details: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
        items: Callable[[], FileRef] | None = None,
        published: Callable[[], Sequence[PublishedFile]] | None = None,
        before_manifest: Callable[[Manifest], None] | None = None,
    ) -> Manifest:
        """Put everything in place and return the manifest.

        Args:
            ledger: must balance, and match the numbers of passed and rejected items.
            code_version: of the stage.
            input_hash: `content_hash` of the input.
            details: facts about the stage's content; each of `files` is added with its key.
            run: facts about this run, which are not stored.
            files: further files of the stage, by name.
            items: puts the items in place, if they were written without their lines; called last.
            published: puts published files in place instead of items; called last.
            before_manifest: called with the manifest before it is written.

        Raises:
            LedgerError: the counts do not balance; nothing was changed.
            StorageError: a write failed; the manifest, and so the last generation, is unchanged.
        """
        ledger.require_balance()
        Ledger(
            received=ledger.passed + ledger.quarantined, passed=self.written, quarantined=len(self.rejected_items)
        ).require_balance()
        self._items.close()
        self._index.close()
        with self.storage.lock(partition_lock(self.stage_partition.collection, self.stage_partition.partition)) as lock:
            extra = {name: self._put(path, ledger.passed).key for name, path in (files or {}).items()}
            rejected = self._rejected_file()
            index = self._put(self.folder / "index.ndjson.zst", self.written)
            changes = self._changes(index)
            lock.require()
            manifest = Manifest(
                collection=self.stage_partition.collection,
                stage=self.stage_partition.stage,
                partition=self.stage_partition.partition,
                code_version=code_version,
                input_hash=input_hash,
                content_hash=self._digest.hexdigest(),
                items=None if published else items() if items else self._put_items(),
                files=tuple(sorted(published(), key=lambda file: file.key)) if published else (),
                index=index,
                rejected=rejected,
                ledger=ledger,
                details={**(details or {}), **extra},
                changes=changes,
                run=dict(run or {}),
            )
            if before_manifest:
                before_manifest(manifest)
            lock.require()
            self._put_manifest(manifest)
        return manifest

    def _put_items(self) -> FileRef:
        return self._put(self.folder / "items.ndjson.zst", self.written)

    def _rejected_file(self) -> FileRef | None:
        if not len(self.rejected_items):
            return None
        self.rejected_items.keep_first_times(read_rejected(self.storage, self.previous))
        path = self.folder / "rejected.ndjson.zst"
        for record in self.rejected_items.records(timestamp):
            self._digest.update(dumps([record["item_id"], record["error_type"], record["error_message"]]))
        count = write_lines(path, map(dumps, self.rejected_items.records(timestamp)))
        return self._put(path, count)

    def _put(self, path: Path, lines: int) -> FileRef:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name, _, ending = path.name.partition(".")
        key = f"{self.stage_partition.folder}/{name}-{digest[:16]}.{ending}"
        size = path.stat().st_size
        if not self.storage.holds(key, digest, size):
            self.storage.put(key, path)
        return FileRef(key=key, sha256=digest, size=size, lines=lines)

    def copy(self, ref: FileRef) -> FileRef:
        """Put a copy of another stage's file in place, if the items are identical."""
        key = f"{self.stage_partition.folder}/{ref.key.rpartition('/')[2]}"
        if not self.storage.holds(key, ref.sha256, ref.size):
            self.storage.copy(ref.key, key)
        return ref.model_copy(update={"key": key})

    def _changes(self, index: FileRef) -> Changes:
        counts = {"added": 0, "modified": 0, "deleted": 0, "unchanged": 0}
        if self.previous and self.previous.index == index:
            return Changes(unchanged=index.lines)
        now = _lines_of_index(self.folder / "index.ndjson.zst")
        for kind, _ in compare_indexes(read_index(self.storage, self.previous), now):
            counts[kind] += 1
        return Changes(**counts)

    def _put_manifest(self, manifest: Manifest) -> None:
        data = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
        if self.storage.get(self.stage_partition.manifest_key) != data:
            self.storage.put(self.stage_partition.manifest_key, data)
        _assemble_quarantine(self.storage, self.stage_partition)
        for key in orphaned_files(self.storage, manifest):
            self.storage.delete(key)


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


def read_intact_manifest(storage: Storage, stage_partition: StagePartition) -> Manifest | None:
    """The manifest; None also if a file that it lists is missing or damaged."""
    manifest = read_manifest(storage, stage_partition)
    for ref in (manifest.items, *manifest.files, manifest.index, manifest.rejected) if manifest else ():
        if ref and storage.size(ref.key) != ref.size:
            log.warning("%s: does not match its manifest; the stage is run again", storage.locate(ref.key))
            return None
    return manifest


def orphaned_files(storage: Storage, manifest: Manifest) -> list[str]:
    """The files in a stage's folder that its last generation does not list: earlier files, and marks."""
    stage_partition = manifest.stage_partition
    named = {ref.key for ref in (manifest.items, manifest.index, manifest.rejected) if ref} | {
        stage_partition.manifest_key
    }
    named |= {value for value in manifest.details.values() if isinstance(value, str)}
    return [key for key in storage.list(stage_partition.folder) if key not in named]


def remove_orphaned_files(storage: Storage, manifest: Manifest) -> None:
    """Remove the files of a run that was killed right after it wrote the manifest; marks stay.

    A lost quarantine file is written again.
    """
    if manifest.rejected and storage.size(quarantine_key(manifest.collection, manifest.partition)) is None:
        _assemble_quarantine(storage, manifest.stage_partition)
    for key in orphaned_files(storage, manifest):
        name = key.rpartition("/")[2]
        if "." in name or name in _MARKS_OF_VERSION_1:
            storage.delete(key)


def _lines_of_index(path: Path) -> Iterator[tuple[str, str]]:
    for line in read_lines(path):
        item_id, digest = loads(line)
        yield item_id, digest


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


def _assemble_quarantine(storage: Storage, stage_partition: StagePartition) -> None:
    """Write one file for people with the rejected items of all stages; no file if there are none."""
    key = quarantine_key(stage_partition.collection, stage_partition.partition)
    manifests = [read_manifest(storage, stage_partition.at(stage)) for stage in STAGES]
    refs = [manifest.rejected for manifest in manifests if manifest and manifest.rejected]
    storage.remove_orphans(key)
    if not refs:
        storage.delete(key)
        return
    with scratch_folder() as folder:
        path = folder / "quarantine.ndjson"
        write_lines(path, (line for ref in refs for line in _lines(storage, ref)))
        if not _same_content(storage, key, path):
            storage.put(key, path)


def _same_content(storage: Storage, key: str, path: Path) -> bool:
    return storage.size(key) == path.stat().st_size and storage.get(key) == path.read_bytes()
