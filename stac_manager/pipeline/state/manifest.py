"""The manifest of a finished stage of a partition: its files, its counts, and its input. It is written last."""

from __future__ import annotations

from typing import Any, Literal, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stac_manager.errors import CatalogVersionError, DamagedManifestError, LedgerError
from stac_manager.items import loads, safe_name
from stac_manager.storage import Storage

__all__ = [
    "STAGES",
    "Changes",
    "FileRef",
    "Ledger",
    "Manifest",
    "PublishedFile",
    "Stage",
    "StagePartition",
    "all_stages",
    "from_version_1",
]

Stage = Literal["raw_items", "transformed", "extended", "validated", "published"]

STAGES: tuple[Stage, ...] = get_args(Stage)


_VERSION = 2


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRef(_Record):
    """A file of a stage."""

    key: str
    sha256: str
    size: int
    """Bytes."""
    lines: int


class PublishedFile(FileRef):
    """A file that an output wrote below `output.path`; `lines` is the number of its items."""

    output: str
    """The format, as in `output.format`."""
    media_type: str
    title: str | None = None
    """Set where `collection.json` names the file as an asset."""
    roles: tuple[str, ...] = ()


class Ledger(_Record):
    """Where every item went: `received + carried = passed + quarantined + deduplicated + skipped`."""

    received: int
    carried: int = 0
    """Items from the last generation: those not fetched again, and those whose deletion awaits approval."""
    passed: int
    quarantined: int = 0
    deduplicated: int = 0
    skipped: int = 0
    """Left out on purpose: the item belongs to another partition, or to none."""

    def require_balance(self) -> None:
        """Raises:
        LedgerError: the counts do not add up, so an item would be lost.
        """
        accounted = self.passed + self.quarantined + self.deduplicated + self.skipped
        if self.received + self.carried != accounted:
            carried = f" and {self.carried} were carried over" if self.carried else ""
            raise LedgerError(
                f"{self.received} items came in{carried}, but {self.passed} passed, {self.quarantined} quarantined, "
                f"{self.deduplicated} deduplicated and {self.skipped} skipped make {accounted}"
            )


class Changes(_Record):
    """How a stage's items differ from its last generation."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    unchanged: int = 0


class Manifest(_Record):
    """One finished stage of one partition."""

    version: Literal[2] = 2
    """Raised when the meaning of a member changes. See `from_version_1` for earlier manifests."""
    collection: str
    stage: Stage
    partition: str
    code_version: str
    """Changes when the workflow or the library changes in a way that this stage's result depends on."""
    input_hash: str | None = None
    """`content_hash` of the stage before."""
    content_hash: str
    """SHA-256 over the ids and contents of the items and of the rejected items."""
    items: FileRef | None
    """The items for the next stage; None for `published`, which has `files`."""
    files: tuple[PublishedFile, ...] = ()
    """The files of all outputs for the partition, sorted by key; only for `published`."""
    index: FileRef
    """Lines of `[id, content hash]`, sorted by id."""
    rejected: FileRef | None = None
    ledger: Ledger
    details: dict[str, Any] = Field(default_factory=dict)
    """Facts about the stage's content, for people and later stages."""
    changes: Changes = Field(default_factory=Changes, exclude=True)
    """The changes of the run that made this object. Not stored, so that a rerun without changes changes no byte."""
    run: dict[str, Any] = Field(default_factory=dict, exclude=True)
    """Facts about that run, such as requests and retries. Not stored either."""

    @property
    def stage_partition(self) -> StagePartition:
        """Where it is kept."""
        return StagePartition(collection=self.collection, stage=self.stage, partition=self.partition)

    def encoded(self) -> bytes:
        """The content of its file."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"

    def as_unchanged(self, run: dict[str, Any] | None = None) -> Manifest:
        """The manifest as the result of a run that found no change."""
        return self.model_copy(update={"changes": Changes(unchanged=self.index.lines), "run": run or {}})


class StagePartition(_Record):
    """A stage of a partition, and the paths of its files."""

    collection: str
    stage: Stage
    partition: str

    @property
    def folder(self) -> str:
        """The folder of the stage's own files."""
        return f"stages/{safe_name(self.collection)}/{self.stage}/{self.partition}"

    @property
    def manifest_key(self) -> str:
        """The key of the manifest, which lists all other files."""
        return f"{self.folder}/manifest.json"

    def at(self, stage: Stage) -> StagePartition:
        """The same partition at another stage."""
        return StagePartition(collection=self.collection, stage=stage, partition=self.partition)

    @property
    def upstream(self) -> StagePartition | None:
        """The stage that this one reads; None for the first."""
        number = STAGES.index(self.stage)
        return self.at(STAGES[number - 1]) if number else None

    def read(self, storage: Storage) -> Manifest | None:
        """The manifest, or None if the stage was never finished.

        Raises:
            StorageError: the manifest cannot be read or is damaged.
        """
        data = storage.get(self.manifest_key)
        if data is None:
            return None
        place = storage.locate(self.manifest_key)
        try:
            document = loads(data)
            version = document.get("version") if isinstance(document, dict) else None
            if isinstance(version, int) and version > _VERSION:
                raise CatalogVersionError(f"{place}: was written by a later version of stac-manager; use that version")
            return Manifest.model_validate(from_version_1(document) if version == 1 else document)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        except ValueError as error:
            reason = str(error)
        raise DamagedManifestError(f"{place}: is damaged ({reason}); delete it and run the stage again")


def all_stages(collection: str, partition: str) -> list[StagePartition]:
    """The stages of a partition, in their order."""
    return [StagePartition(collection=collection, stage=stage, partition=partition) for stage in STAGES]


_NAMES_OF_VERSION_1 = {
    "claimed": "matched",
    "held": "pending_deletions",
    "held_ids": "pending_deletion_ids",
    "staying": "retained_until_moved",
}


def from_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """A manifest of version 1 with today's names.

    Every code version has changed since then, so its stage is run again. Until then this manifest lists the known
    items, so that deletions are still detected and await approval.
    """
    details = document.get("details")
    renamed = {_NAMES_OF_VERSION_1.get(name, name): value for name, value in (details or {}).items()}
    document = {**document, "version": _VERSION, "rejected": document.get("refused"), "details": renamed}
    del document["refused"]
    items = document.get("items")
    if document.get("stage") == "published" and items:
        file = {**items, "output": "parquet", "media_type": "application/vnd.apache.parquet"}
        document |= {"items": None, "files": [file]}
    return document
