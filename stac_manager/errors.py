"""The errors of the library, one tree:

    StacManagerError            exit 3: failed, nothing half-written
    ├── UsageError              exit 2: wrong arguments, nothing done
    ├── ConfigError             exit 2: the workflow is wrong; carries every problem found
    │   └── NotSupportedError   exit 2: the workflow asks for something not built yet
    ├── InputError              exit 2: an input file cannot be read
    ├── SourceError             the source did not answer as a source of items must
    │   ├── HttpStatusError     in `http`: it answered with a status of failure; carries the status
    │   │   └── TooMuchError    in `http`: the answer may be too large for it; a smaller page may pass
    │   ├── IncompleteError     the source says it has items that could not be fetched
    │   └── FilterIgnoredError  the source ignores a filter that it did honour before
    ├── ItemStepError           a transform or an extension cannot change an item
    ├── PluginError             exit 2: what an entry point adds cannot be loaded
    ├── StorageError            something could not be read from or written to storage
    │   └── CatalogVersionError a later version wrote the catalog; nothing of it is touched
    ├── LedgerError             counts do not balance: items would be lost
    ├── OutputError             a file could not be produced
    └── SchemaUnavailableError  in `validate`: a schema cannot be had; its items count as unchecked

A single bad item is not an error but a `stac_manager.quarantine.RejectedItem`: it goes to quarantine, the rest goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CatalogVersionError",
    "ConfigError",
    "FilterIgnoredError",
    "IncompleteError",
    "InputError",
    "ItemStepError",
    "LedgerError",
    "NotSupportedError",
    "OutputError",
    "PluginError",
    "Problem",
    "SourceError",
    "StacManagerError",
    "StorageError",
    "UsageError",
    "one_line",
]


class StacManagerError(Exception):
    """Base of everything the library raises on purpose. `str(error)` is one line for a person."""

    exit_code = 3


class UsageError(StacManagerError):
    """The caller asked for something that makes no sense; nothing was done."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a workflow file."""

    file: str
    """The file, as the person named it."""
    line: int | None
    """1-based, None when the file has no such place."""
    path: str
    """Where in the document, as `source.filters.spatial.bbox[2]`; empty for the whole file."""
    found: str
    """What stands there."""
    expected: str
    """What may stand there, and what to do."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f" {self.path}:" if self.path else ""
        return f"{place}:{where} found {self.found}; expected {self.expected}"


class ConfigError(StacManagerError):
    """A workflow that cannot be used, with every problem in it."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotSupportedError(ConfigError):
    """The workflow is well-formed, but uses something that this version does not do yet."""


class InputError(StacManagerError):
    """An input file is missing, unreadable or not what its name says."""

    exit_code = 2


class SourceError(StacManagerError):
    """The source could not be reached, or its answer is not usable."""


class IncompleteError(SourceError):
    """The source claims more items than could be fetched; what was published before stays."""


class FilterIgnoredError(SourceError):
    """The source no longer heeds a filter that it did heed; what it gave is no answer to what was asked."""


class ItemStepError(StacManagerError):
    """A transform or an extension cannot change this item; the item goes to quarantine with the error's text."""

    error_type = "ItemStepFailed"
    """A short stable name of the reason, which quarantine shows; a subclass may have its own."""


class PluginError(StacManagerError):
    """A package adds something by an entry point that cannot be loaded, or whose name is there already."""

    exit_code = 2


class StorageError(StacManagerError):
    """A read from or a write to storage failed; what was there before is still whole."""


class CatalogVersionError(StorageError):
    """A later version of stac-manager wrote this catalog; this one would misread it, and leaves it as it is."""


class LedgerError(StacManagerError):
    """The counts of a stage do not balance."""


class OutputError(StacManagerError):
    """An output file could not be produced."""


def one_line(error: object) -> str:
    """What an error of another library says, in one line; its name where it says nothing."""
    said = str(error).strip()
    if isinstance(error, OSError) and error.strerror and said.startswith("[Errno"):
        said = error.strerror  # without its number and the file, which the caller names
    return said.splitlines()[0] if said else type(error).__name__
