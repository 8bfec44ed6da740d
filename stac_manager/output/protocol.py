"""What an output is: items of a partition in, any number of files out.

What belongs here: the interface and the values that pass through it. What does not: any format, and how files are
put in place, which the `published` stage does alike for all formats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stac_manager.items import Item
from stac_manager.quarantine import RejectedItem

__all__ = ["Output", "OutputFile", "OutputResult", "PartitionJob"]


@dataclass(frozen=True)
class PartitionJob:
    """One partition to write."""

    collection: Mapping[str, Any]
    """The STAC Collection as the source served it last; at least its `id`."""
    partition: str
    items: Callable[[], Iterable[Item]]
    """Gives all items of the partition, sorted by id; may be called more than once."""
    folder: Path
    """An empty local folder to write files into."""
    deleted: Sequence[str] = ()
    """Ids that were published in this partition before and no longer are, sorted; known before anything is written."""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """What all partitions of the collection agree on; see `Output.contract_of`."""
    described: bool = True
    """False where `collection` holds nothing but an id that was made up."""

    @property
    def collection_id(self) -> str:
        """The id of the collection."""
        return str(self.collection["id"])


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that an output wrote."""

    key: str
    """Where it belongs below `output.path`, as `published/<collection>/items/<partition>.parquet`."""
    path: Path
    """Where it was written."""
    items: int
    """How many items it holds."""
    media_type: str
    title: str | None = None
    """Set where `collection.json` should name the file as an asset."""
    roles: Sequence[str] = ("data",)


@dataclass(frozen=True, slots=True)
class OutputResult:
    """What became of the items of a partition."""

    files: Sequence[OutputFile]
    """What the output has for the partition now. A file of an earlier run that is not named here is removed."""
    rejected: Sequence[RejectedItem] = ()
    """Items that the format cannot hold. They go to quarantine, and no output of the workflow publishes them."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Facts that the manifest keeps, for people and for the collection's contract; JSON."""


class Output(ABC):
    """A format to publish in. Implement `write`; the same items must give the same bytes."""

    name: ClassVar[str]
    """As `output.format` of a workflow names it."""
    version: ClassVar[str] = "1"
    """Raise it when the code makes other files of the same items: every published partition is then stale."""

    @abstractmethod
    def write(self, job: PartitionJob) -> OutputResult:
        """Write the files of a partition into `job.folder`.

        Raises:
            OutputError: the files cannot be made; nothing that is published changes.
        """

    def locations(self, collection_id: str, partition: str) -> Sequence[str]:
        """Where files of a partition may lie: keys, or folders that end in `/`.

        What lies there and is not named by the latest `write` is removed, also where the manifest is lost.
        """
        return ()

    def read(self, paths: Sequence[Path]) -> Iterator[Item] | None:
        """The items of files that `write` made, in its order; None where they cannot be read back.

        The check `round_trip` compares them with what was given.
        """
        return None

    def read_ids(self, paths: Sequence[Path]) -> Iterator[str] | None:
        """The ids of the items in such files, for the check `unique_ids`."""
        items = self.read(paths)
        return None if items is None else (str(item["id"]) for item in items)

    def difference(self, original: Item, read_back: Item) -> str | None:
        """None where an item that was read back differs as documented only, else what differs, in one line."""
        return None if original == read_back else "the item is not what was written"

    def contract_of(self, details: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """What all partitions of a collection must agree on, from the `OutputResult.details` of each; JSON.

        It is kept between runs, and made anew whenever the collection is published. By default there is nothing.
        """
        return {}

    def extended_contract(self, contract: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
        """The contract with what one more partition brings, so that the next partitions follow it at once."""
        return dict(contract)

    def keeps_contract(self, details: Mapping[str, Any], contract: Mapping[str, Any]) -> bool:
        """Whether files with these details are as the contract says; else the partition is published again."""
        return True
