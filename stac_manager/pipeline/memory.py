"""What the syncs of a collection remember from one to the next. All of it may be lost without losing an item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

import orjson
from pydantic import BaseModel, Field, ValidationError

from stac_manager.pipeline.layout import collection_lock, sync_key
from stac_manager.storage import Storage
from stac_manager.times import format_rfc3339, parse_rfc3339

__all__ = ["Memory", "SyncRecord"]


class SyncRecord(BaseModel):
    """What is kept in `sync.json`."""

    made_for: str
    """Code version of the first stage; what was found out about another source or filter says nothing."""
    language: Literal["cql2", "query", "no"] | None = None
    """How the source filters by `updated`, verified; None: not known yet."""
    watermark: str | None = None
    """Every change that the source dates up to this instant is taken over (RFC 3339)."""
    cycle_newest: str | None = None
    """The newest update that was known when a round of complete comparisons began."""
    cycle_left: list[str] = Field(default_factory=list)
    """Partitions that the round has yet to compare. When none is left, `cycle_newest` is the watermark."""
    looked_at: str | None = None
    """The old partition that was looked at last; the next look goes on after it."""
    compared: str | None = None
    """The partition that was compared in full last."""
    owed: int = 0
    """Requests beyond the budget that a large partition took, and that the next looks save."""


class Memory:
    """Reads and writes the record of a collection."""

    def __init__(self, storage: Storage, collection: str, made_for: str) -> None:
        self._storage, self._collection, self._made_for = storage, collection, made_for
        self._asked_newest = False
        self.read_only = False
        """Nothing is written then."""

    def load(self) -> SyncRecord:
        """The record; an empty one where there is none, it is damaged, or it was made for another source."""
        data = self._storage.get(sync_key(self._collection))
        try:
            record = SyncRecord.model_validate_json(data) if data else None
        except ValidationError:
            record = None
        return record if record and record.made_for == self._made_for else SyncRecord(made_for=self._made_for)

    @contextmanager
    def change(self) -> Iterator[SyncRecord]:
        """The record, to change; written at the end of the block if it did."""
        if self.read_only:
            yield self.load()
            return
        with self._storage.lock(collection_lock(self._collection)):
            self._storage.sweep(sync_key(self._collection))
            record = self.load()
            yield record
            data = orjson.dumps(record.model_dump(exclude_defaults=True), option=orjson.OPT_INDENT_2) + b"\n"
            if self._storage.get(sync_key(self._collection)) != data:
                self._storage.put(sync_key(self._collection), data)

    def open_cycle(self, partitions: Callable[[], Sequence[str]], newest: Callable[[], datetime | None]) -> str | None:
        """Begin a round of complete comparisons where there is neither a watermark nor a round; gives the round.

        Whatever is dated up to `newest` had happened by now, so a partition that is read from now on holds it.
        """
        record = self.load()
        if record.watermark is None and record.cycle_newest is None and not self._asked_newest:
            self._asked_newest = True
            instant = newest()
            if instant is not None:
                self.begin_cycle(partitions(), instant)
        return self.load().cycle_newest

    def begin_cycle(self, partitions: Sequence[str], newest: datetime) -> None:
        """Begin a round, if none is under way."""
        with self.change() as record:
            if record.watermark is None and record.cycle_newest is None:
                record.cycle_newest, record.cycle_left = format_rfc3339(newest), list(partitions)

    def compared(self, partition: str, cycle: str | None) -> None:
        """A partition was read whole since the round began, and what it holds is taken over."""
        if cycle is None or partition not in self.load().cycle_left:
            return
        with self.change() as record:
            if record.cycle_newest != cycle or partition not in record.cycle_left:
                return
            record.cycle_left.remove(partition)
            if not record.cycle_left:
                self._end_cycle(record)

    def doubt_language(self) -> None:
        """The source does not filter as it did; the next look finds out anew whether it does."""
        with self.change() as record:
            record.language = None

    def advance(self, newest: datetime) -> None:
        """Every change up to this instant is taken over."""
        with self.change() as record:
            if record.watermark is None or parse_rfc3339(record.watermark) < newest:
                record.watermark = format_rfc3339(newest)

    @staticmethod
    def _end_cycle(record: SyncRecord) -> None:
        before = parse_rfc3339(record.watermark) if record.watermark else None
        newest = parse_rfc3339(record.cycle_newest or "")
        record.watermark = format_rfc3339(max(before, newest) if before else newest)
        record.cycle_newest = None
