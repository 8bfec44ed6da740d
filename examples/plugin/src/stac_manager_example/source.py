"""A source: the items of one NDJSON file. It is read once, and its items are routed to their partitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from stac_manager.config import BaseSourceConfig, Workflow
from stac_manager.errors import SourceError
from stac_manager.ingest import FetchFacts, Page, PageSink, parse_item
from stac_manager.quarantine import RejectedItem


class NdjsonFileConfig(BaseSourceConfig):
    """The items of an NDJSON file."""

    type: Literal["ndjson_file"]
    """The type of source."""

    path: Path
    """The file."""

    @property
    def address(self) -> str:
        """The file."""
        return str(self.path)


class NdjsonFile:
    """Reads every line as an item; a line that is no item becomes a rejected item."""

    host = ""

    def __init__(self, path: Path, collection_id: str) -> None:
        self._path, self._collection_id = path, collection_id

    def collection(self) -> dict[str, Any]:
        """The collection; a file of items has only its id."""
        return {"id": self._collection_id}

    async def fingerprint(self) -> str:
        """The size and the modification time, so that an unchanged file is not read again."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be read: {error.strerror}") from None
        return f"{found.st_size}-{found.st_mtime_ns}"

    async def read(self, sink: PageSink) -> FetchFacts:
        """One page a line keeps the example short; a thousand are faster."""
        with self._path.open("rb") as file:
            for line in file:
                try:
                    found = parse_item(line.strip())
                except ValueError as error:
                    found = RejectedItem(None, "InvalidJson", str(error), "raw_items", line.decode("utf-8", "replace"))
                sink(Page((), [found]) if isinstance(found, RejectedItem) else Page([found]), None)
        return FetchFacts()


class _NdjsonFileType:
    config = NdjsonFileConfig

    def build(self, workflow: Workflow, collection: str) -> NdjsonFile:
        """The source of a collection, as the workflow configures it."""
        source = workflow.source
        assert isinstance(source, NdjsonFileConfig)
        return NdjsonFile(source.path, collection)


NDJSON_FILE = _NdjsonFileType()
