"""The interface of an output: items of a partition in, any number of files out.

What belongs here: the interface and its types. What does not: any format, and how files are put in place, which the
`published` stage does in the same way for all formats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stac_manager.items import Item
from stac_manager.quarantine import RejectedItem

__all__ = ["LastWrite", "Output", "OutputFile", "OutputResult", "PartitionJob"]


@dataclass(frozen=True)
class LastWrite:
    """What an output wrote for the same partition last time, and what has changed since."""

    paths: Sequence[Path]
    """Local copies of its files, sorted by key, with the bytes that it wrote. Only to be read."""
    details: Mapping[str, Any]
    """Its `OutputResult.details`."""
    changed: frozenset[str]
    """The ids of the items that are new or modified since; all others are the same, or in `PartitionJob.deleted`."""
    items: Callable[[Collection[str]], Iterable[Item]]
    """Returns the present items with some ids, sorted by id; the other items are not built."""


@dataclass(frozen=True)
class PartitionJob:
    """One partition to write."""

    collection: Mapping[str, Any]
    """The STAC Collection as the source last served it; at least its `id`."""
    partition: str
    items: Callable[[], Iterable[Item]]
    """Returns all items of the partition, sorted by id; may be called more than once."""
    folder: Path
    """An empty local folder to write files into."""
    deleted: Sequence[str] = ()
    """Ids that this partition published before and no longer has, sorted; known before anything is written."""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """What all partitions of the collection agree on; see `Output.contract_of`."""
    described: bool = True
    """False if `collection` is only a placeholder with an id."""
    last: LastWrite | None = None
    """An output may use it to save work, if the files that it writes have the same bytes as without it. None if it has
    not written the partition with this version and workflow, if its files are damaged, or if all is to be written."""

    @property
    def collection_id(self) -> str:
        """The id of the collection."""
        return str(self.collection["id"])


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that an output wrote."""

    key: str
    """Its key below `output.path`, such as `published/<collection>/items/<partition>.parquet`."""
    path: Path
    """The local file that was written."""
    items: int
    """The number of items in it."""
    media_type: str
    title: str | None = None
    """Set where `collection.json` should name the file as an asset."""
    roles: Sequence[str] = ("data",)


@dataclass(frozen=True, slots=True)
class OutputResult:
    """The result of the write of a partition."""

    files: Sequence[OutputFile]
    """All files of the partition in this format. A file of an earlier run that is not listed here is removed."""
    rejected: Sequence[RejectedItem] = ()
    """Items that the format cannot represent. They go to quarantine, and no output of the workflow publishes them."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Facts to store in the manifest, for people and for the collection's contract; JSON."""
    compare_all: bool = True
    """Whether the check `round_trip` must compare all items now, even if the workflow asks for a sample."""


class Output(ABC):
    """An output format. Implement `write`; the same items must give the same bytes."""

    name: ClassVar[str]
    """Its name in `output.format` of a workflow."""
    version: ClassVar[str] = "1"
    """Raise it when the code writes other files for the same items: every published partition is then stale."""

    @abstractmethod
    def write(self, job: PartitionJob) -> OutputResult:
        """Write the files of a partition into `job.folder`.

        Raises:
            OutputError: the files cannot be produced; the published files do not change.
        """

    def locations(self, collection_id: str, partition: str) -> Sequence[str]:
        """Where a partition may have files: keys, or folders that end in `/`.

        Any file there that the latest `write` did not list is removed, even if the manifest is lost.
        """
        return ()

    def read(self, paths: Sequence[Path]) -> Iterator[Item] | None:
        """The items of the files of `write`, in the same order; None if the format cannot be read back.

        The check `round_trip` compares them with the written items.
        """
        return None

    def read_sample(
        self, paths: Sequence[Path], details: Mapping[str, Any], rows: Sequence[int]
    ) -> Iterator[Item] | None:
        """Some items of the files of `write`, by their positions, which rise; None if all items must be compared.

        A format that returns items here promises that it has compared the whole content of the files with `details`,
        without building the items.
        """
        return None

    def read_ids(self, paths: Sequence[Path]) -> Iterator[str] | None:
        """The ids of the items in such files, for the check `unique_ids`."""
        items = self.read(paths)
        return None if items is None else (str(item["id"]) for item in items)

    def difference(self, original: Item, read_back: Item) -> str | None:
        """None if an item that was read back differs only as documented; else the difference, in one line."""
        return None if original == read_back else "the item is not what was written"

    def contract_of(self, details: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """What all partitions of a collection must agree on, from the `OutputResult.details` of each; JSON.

        It is stored between runs, and computed again whenever the collection is published. By default it is empty.
        """
        return {}

    def extended_contract(self, contract: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
        """The contract extended by one more partition, so that the next partitions follow it at once."""
        return dict(contract)

    def keeps_contract(self, details: Mapping[str, Any], contract: Mapping[str, Any]) -> bool:
        """Whether files with these details follow the contract; if not, the partition is published again."""
        return True
