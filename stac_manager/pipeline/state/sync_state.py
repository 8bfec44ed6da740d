"""The state of a collection's syncs, for the next sync. If it is lost, no item is lost, but the next syncs do more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from pydantic import BaseModel, Field, ValidationError

from stac_manager.errors import StorageError
from stac_manager.pipeline.state.paths import collection_lock, sync_key
from stac_manager.storage import Storage
from stac_manager.times import format_rfc3339, parse_rfc3339, timestamp

__all__ = ["ScannedPartition", "SyncState", "SyncStateStore"]

log = logging.getLogger(__name__)

_LAG = timedelta(hours=1)

_COLLECTED_SECONDS = 10.0
"""How long changes wait to be written together: each write takes a lock, or calls to a bucket."""


@dataclass(frozen=True, slots=True)
class ScannedPartition:
    """A partition that was scanned, for the sync state."""

    partition: str
    cycle: str | None
    """The full comparison that had begun before, from `ensure_full_compare`."""
    at: str
    """When (RFC 3339)."""


class SyncState(BaseModel):
    """The content of `sync.json`."""

    made_for: str
    """Code version of the first stage; with another source or filter, the state is discarded."""
    updated_filter: str | None = None
    """How the source filters by `updated`, from a test; None: not known yet."""
    watermark: str | None = None
    """All changes that the source dates up to this instant are merged (RFC 3339)."""
    full_compare_newest: str | None = None
    """The newest update that was known when the present full comparison began."""
    full_compare_left: list[str] = Field(default_factory=list)
    """Partitions that it has not compared yet. When none is left, `full_compare_newest` becomes the watermark."""
    probe_cursor: str | None = None
    """The old partition that was probed last; the next sync check continues after it."""
    state_cursor: str | None = None
    """The old partition whose stored files were checked last; the next sync check continues after it."""
    compared: str | None = None
    """The partition that was compared last; the next sync check continues after it."""
    compared_at: dict[str, str] = Field(default_factory=dict)
    """When each partition was last scanned or compared item by item (RFC 3339). It may be up to an hour too old, so
    that repeated comparisons without a change write nothing."""
    round_left: list[str] = Field(default_factory=list)
    """Partitions that the present round has not compared yet; empty after all were compared."""
    budget_overrun: int = 0
    """Requests that a large partition took beyond the budget; they are deducted from later budgets."""


Change = Callable[[SyncState], None]
"""Changes the state in place."""


def _stamp(record: SyncState, partitions: Collection[str], now: str) -> None:
    for partition in partitions:
        before = record.compared_at.get(partition)
        if before is None or not timedelta(0) <= parse_rfc3339(now) - parse_rfc3339(before) < _LAG:
            record.compared_at[partition] = now


class SyncStateStore:
    """Reads and writes the sync state of a collection."""

    def __init__(self, storage: Storage, collection: str, made_for: str) -> None:
        self._storage, self._collection, self._made_for = storage, collection, made_for
        self._asked_newest = False
        self.read_only = False
        """If True, nothing is written."""
        self._queued: list[Change] | None = None
        """Changes that are not written yet; None if each is written at once."""
        self._record: SyncState | None = None
        """The state with the queued changes, while changes are collected; None until it is needed."""
        self._write_at = 0.0
        self._one_at_a_time = threading.RLock()
        self.pass_on: Callable[[ScannedPartition], None] | None = None
        """Gets the scanned partitions instead, if another process writes them."""

    def load(self) -> SyncState:
        """The state; an empty one if the file is missing, damaged, or made for another source."""
        with self._one_at_a_time:
            if self._queued is not None and self._record is not None:
                return self._record.model_copy(deep=True)
            record = self._decoded(self._storage.get_seen(sync_key(self._collection)))
            if self._queued is not None:
                self._record = record.model_copy(deep=True)
            return record

    def _decoded(self, data: bytes | None) -> SyncState:
        try:
            record = SyncState.model_validate_json(data) if data else None
        except ValidationError:
            record = None
        return record if record and record.made_for == self._made_for else SyncState(made_for=self._made_for)

    def change(self, change: Change) -> SyncState:
        """Change the state, at once, or within `collecting` a little later; returns the changed state.

        `change` may be called again, with the state as another run has left it.
        """
        if self.read_only:
            record = self.load()
            change(record)
            return record
        with self._one_at_a_time:
            if self._queued is None:
                return self._write([change])
            record = self.load()
            change(record)
            self._record = record.model_copy(deep=True)
            self._queued.append(change)
            if time.monotonic() > self._write_at:
                self._write_queued()
            return record

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Within the block, changes are written together, every few seconds and at its end.

        If the process is killed before that, the next syncs do more.
        """
        if self._queued is not None or self.pass_on:
            yield
            return
        self._record, self._queued, self._write_at = None, [], time.monotonic() + _COLLECTED_SECONDS
        try:
            yield
        finally:
            with self._one_at_a_time:
                self._write_queued()
                self._record, self._queued = None, None

    def _write_queued(self) -> None:
        queued, self._queued = self._queued or [], []
        self._write_at = time.monotonic() + _COLLECTED_SECONDS
        try:
            if queued:
                self._record = self._write(queued)
        except StorageError as error:
            log.warning("%s; the next syncs do more", error)

    def _write(self, changes: Sequence[Change]) -> SyncState:
        record = SyncState(made_for=self._made_for)

        def changed(before: bytes | None) -> bytes:
            nonlocal record
            record = self._decoded(before)
            for change in changes:
                change(record)
            return orjson.dumps(record.model_dump(exclude_defaults=True), option=orjson.OPT_INDENT_2) + b"\n"

        self._storage.update(sync_key(self._collection), changed, collection_lock(self._collection))
        return record

    def ensure_full_compare(
        self, partitions: Callable[[], Sequence[str]], newest: Callable[[], datetime | None]
    ) -> str | None:
        """Begin a full comparison if there is neither a watermark nor a full comparison; returns its newest update.

        Every change dated up to `newest` has already happened, so a partition that is read from now on includes it.
        """
        record = self.load()
        if record.watermark is None and record.full_compare_newest is None and not self._asked_newest:
            self._asked_newest = True
            instant = newest()
            if instant is not None:
                self.begin_full_compare(partitions(), instant)
        return self.load().full_compare_newest

    def begin_full_compare(self, partitions: Sequence[str], newest: datetime) -> None:
        """Begin a full comparison, if none has begun."""

        def begin(record: SyncState) -> None:
            if record.watermark is None and record.full_compare_newest is None:
                record.full_compare_newest, record.full_compare_left = format_rfc3339(newest), list(partitions)

        self.change(begin)

    def compared(self, partitions: Collection[str], cycle: str | None, every: Sequence[str] = ()) -> SyncState:
        """Record that some partitions were scanned or compared since `cycle` began; returns the new state.

        Args:
            partitions: their names.
            cycle: from `ensure_full_compare`.
            every: all partitions, to begin a new round if there is none; empty: do not begin one.
        """
        if not partitions:
            return self.load()
        now = timestamp()
        return self.change(lambda record: self._note(record, partitions, cycle, every, now))

    def scanned(self, partition: str, cycle: str | None) -> None:
        """Record that a partition was scanned since `cycle` began; at once, or within `collecting` a little later."""
        self.note_scanned(ScannedPartition(partition, cycle, timestamp()))

    def note_scanned(self, scanned: ScannedPartition) -> None:
        """The same, for a partition that another process has scanned. Any thread may call this."""
        if self.pass_on:
            self.pass_on(scanned)
        else:
            self.change(lambda record: self._note(record, [scanned.partition], scanned.cycle, (), scanned.at))

    def leave_full_compare(self) -> None:
        """Do not ask the source for its newest update, because another process has asked already."""
        self._asked_newest = True

    def _note(
        self, record: SyncState, partitions: Collection[str], cycle: str | None, every: Sequence[str], now: str
    ) -> None:
        """Note compared partitions in a record."""
        left = [one for one in record.round_left if not every or one in every]
        if not left and not set(every).issubset(partitions):
            left = list(every)
        record.round_left = [one for one in left if one not in partitions]
        _stamp(record, partitions, now)
        if cycle is not None and record.full_compare_newest == cycle:
            record.full_compare_left = [one for one in record.full_compare_left if one not in partitions]
            if not record.full_compare_left:
                self._end_full_compare(record)

    def forget_updated_filter(self) -> None:
        """Discard the test result after the source ignored the filter; the next sync check tests it again."""
        self.set_updated_filter(None)

    def set_updated_filter(self, found: str | None) -> None:
        """Record how the source filters by `updated`."""

        def set_filter(record: SyncState) -> None:
            record.updated_filter = found

        self.change(set_filter)

    def set_cursors(self, **values: str | int | None) -> None:
        """Record where the next sync check continues: members of the state by their names."""

        def set_values(record: SyncState) -> None:
            for name, value in values.items():
                setattr(record, name, value)

        self.change(set_values)

    def advance(self, newest: datetime) -> None:
        """Set the watermark: all changes up to this instant are merged."""

        def advance(record: SyncState) -> None:
            if record.watermark is None or parse_rfc3339(record.watermark) < newest:
                record.watermark = format_rfc3339(newest)

        self.change(advance)

    @staticmethod
    def _end_full_compare(record: SyncState) -> None:
        before = parse_rfc3339(record.watermark) if record.watermark else None
        newest = parse_rfc3339(record.full_compare_newest or "")
        record.watermark = format_rfc3339(max(before, newest) if before else newest)
        record.full_compare_newest = None
