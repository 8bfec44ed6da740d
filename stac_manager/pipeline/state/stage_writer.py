"""Write the files of a stage of a partition, and put them in place: first the files, then the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from stac_manager.errors import StorageError
from stac_manager.files import read_lines, write_lines
from stac_manager.items import HashedItem, dumps
from stac_manager.pipeline.state.manifest import (
    STAGES,
    Changes,
    FileRef,
    Ledger,
    Manifest,
    PublishedFile,
    StagePartition,
)
from stac_manager.pipeline.state.paths import blobs_folder, partition_lock
from stac_manager.pipeline.state.stage_files import (
    assemble_quarantine,
    compare_lines,
    orphaned_files,
    other_manifests,
    read_index_lines,
    read_intact_manifest,
    read_rejected,
)
from stac_manager.quarantine import RejectedItem, RejectedItemBuffer
from stac_manager.scratch import scratch_folder
from stac_manager.storage import Storage
from stac_manager.times import timestamp

__all__ = ["StageWriter"]

_BUFFER = 1 << 20
_TOGETHER = 1 << 17
"""Bytes of items that are passed to the compression at once; its result depends on the items only."""


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
        self._passed_on: Manifest | None = None
        self._lines: list[bytes] = []
        self._entries: list[bytes] = []
        self._waiting = 0

    def __enter__(self) -> Self:
        self.folder = self._open.enter_context(scratch_folder())
        for folder in (self.stage_partition.folder, self._blobs):
            self.storage.remove_orphans_in(folder)
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

    @property
    def _blobs(self) -> str:
        return blobs_folder(self.stage_partition.collection, self.stage_partition.partition)

    def write(self, item: HashedItem, *, with_line: bool = True) -> None:
        """Pass an item; items must be sorted by id. With `with_line` False, only its index entry is written."""
        item_id, digest, line = item
        self._write(dumps([item_id, digest]), line if with_line else None)

    def carry_over(self, entry: bytes, line: bytes) -> None:
        """Pass an item with its line of an earlier index; the item must follow the others in the order of the ids."""
        self._write(entry, line)

    def _write(self, entry: bytes, line: bytes | None) -> None:
        self._digest.update(entry)
        self._entries.append(entry)
        self._waiting += len(entry)
        if line is not None:
            self._lines.append(line)
            self._waiting += len(line)
        self.written += 1
        if self._waiting >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        for stream, lines in ((self._items, self._lines), (self._index, self._entries)):
            if lines:
                stream.write(b"\n".join([*lines, b""]))
                lines.clear()
        self._waiting = 0

    def pass_on(self, upstream: Manifest) -> None:
        """Pass all items of the stage before unchanged: this stage then points to the files of that stage."""
        self.written = upstream.index.lines
        self._passed_on = upstream

    def reject(self, rejected_items: Iterable[RejectedItem]) -> None:
        """Put items into quarantine."""
        self.rejected_items.add(rejected_items)

    def commit(
        self,
        ledger: Ledger,
        *,
        code_version: str,
        upstream: Manifest | None = None,
        details: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
        published: Callable[[], Sequence[PublishedFile]] | None = None,
        before_manifest: Callable[[Manifest], None] | None = None,
    ) -> Manifest:
        """Put everything in place and return the manifest.

        Args:
            ledger: must balance, and match the numbers of passed and rejected items.
            code_version: of the stage.
            upstream: the manifest of the stage before; None for the first stage.
            details: facts about the stage's content; each of `files` is added with its key.
            run: facts about this run, which are not stored.
            files: further files of the stage, by name.
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
        self._flush()
        self._items.close()
        self._index.close()
        with self.storage.lock(partition_lock(self.stage_partition.collection, self.stage_partition.partition)) as lock:
            extra = {name: self._put(path, ledger.passed).key for name, path in (files or {}).items()}
            known_hash = self._hash_of_passed_on()
            rejected = self._rejected_file()
            items, index = self._items_and_index(upstream, with_items=published is None)
            changes = self._changes(index)
            lock.require()
            manifest = Manifest(
                collection=self.stage_partition.collection,
                stage=self.stage_partition.stage,
                partition=self.stage_partition.partition,
                code_version=code_version,
                input_hash=upstream.content_hash if upstream else None,
                content_hash=known_hash or self._digest.hexdigest(),
                items=items,
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

    def _hash_of_passed_on(self) -> str | None:
        """The content hash, if that of the stage before has the same items and no others."""
        upstream = self._passed_on
        if upstream and upstream.rejected is None and not len(self.rejected_items):
            return upstream.content_hash
        for entry in read_index_lines(self.storage, upstream):
            self._digest.update(entry)
        return None

    def _items_and_index(self, upstream: Manifest | None, *, with_items: bool) -> tuple[FileRef | None, FileRef]:
        """The files with the items and their index: those of the stage before, if they are the same."""
        if self._passed_on:
            return self._passed_on.items if with_items else None, self._passed_on.index
        path = self.folder / "index.ndjson.zst"
        if upstream and upstream.index.sha256 == _sha256(path):
            return upstream.items if with_items else None, upstream.index
        items = self._put(self.folder / "items.ndjson.zst", self.written) if with_items else None
        return items, self._put(path, self.written)

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
        digest, size = _sha256(path), path.stat().st_size
        name, _, ending = path.name.partition(".")
        key = f"{self._blobs}/{name}-{digest[:16]}.{ending}"
        if not self.storage.holds(key, digest, size):
            self.storage.put(key, path)
        return FileRef(key=key, sha256=digest, size=size, lines=lines)

    def _changes(self, index: FileRef) -> Changes:
        before = self.previous.index if self.previous else None
        if before is None or before.sha256 == index.sha256:
            return Changes(unchanged=index.lines) if before else Changes(added=index.lines)
        counts = {"added": 0, "modified": 0, "deleted": 0}
        with self.storage.local_copy(index.key) as path:
            for kind, _ in compare_lines(read_index_lines(self.storage, self.previous), read_lines(path)):
                counts[kind] += 1
        return Changes(**counts, unchanged=index.lines - counts["added"] - counts["modified"])

    def _put_manifest(self, manifest: Manifest) -> None:
        data = manifest.encoded()
        if self.storage.get(self.stage_partition.manifest_key) != data:
            self.storage.put(self.stage_partition.manifest_key, data)
        others = other_manifests(self.storage, manifest)
        if self._may_have_quarantine(manifest, others):
            assemble_quarantine(self.storage, manifest, others)
        self.storage.delete(*orphaned_files(self.storage, manifest, others))

    def _may_have_quarantine(self, manifest: Manifest, others: Iterable[Manifest]) -> bool:
        """Whether there may be a quarantine file, or must be one; to remove a file from a bucket costs a call."""
        before = [self.previous] if self.previous else []
        again = manifest.stage == STAGES[-1] or not self.storage.is_bucket
        return any(one.rejected for one in (manifest, *others, *before)) or (again and self.previous is not None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
