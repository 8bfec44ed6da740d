"""The errors of the library, one tree:

    StacManagerError            exit 3: failed, nothing half-written
    ├── UsageError              exit 2: wrong arguments, nothing done
    ├── ConfigError             exit 2: the workflow is wrong; carries every problem found
    │   └── NotSupportedError   exit 2: the workflow asks for something not built yet
    ├── InputError              exit 2: an input file cannot be read
    ├── SourceError             the source could not be reached, or its answer is not usable
    │   ├── HttpStatusError     in `http`: it answered with an error status; carries the status
    │   │   └── TooMuchError    in `http`: the answer may be too large for the server; a smaller page may work
    │   ├── IncompleteError     the source reports more items than could be fetched
    │   └── FilterIgnoredError  the source ignores a filter that it honoured before
    ├── ItemStepError           a transform or an extension cannot change an item
    ├── PluginError             exit 2: what an entry point adds cannot be loaded
    ├── StorageError            something could not be read from or written to storage
    │   ├── DamagedManifestError  a manifest cannot be understood; its stage is run again
    │   └── CatalogVersionError a later version wrote the catalog; no file of it is changed
    ├── LedgerError             counts do not balance: items would be lost
    ├── OutputError             a file could not be produced
    ├── WorkerError             the process that ran a partition ended before it was done
    └── SchemaUnavailableError  in `validate`: a schema cannot be loaded; its items count as unchecked

A single bad item is no error but a `stac_manager.quarantine.RejectedItem`: it goes to quarantine, the others continue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CatalogVersionError",
    "ConfigError",
    "DamagedManifestError",
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
    "WorkerError",
    "one_line",
]


class StacManagerError(Exception):
    """Base of everything the library raises on purpose. `str(error)` is one line for a person."""

    exit_code = 3

    def __reduce__(self) -> tuple[Any, ...]:
        # not by `__init__`, whose parameters differ between the classes
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[StacManagerError], args: tuple[Any, ...], members: dict[str, Any]) -> StacManagerError:
    """An error that was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


class UsageError(StacManagerError):
    """The caller asked for something that makes no sense; nothing was done."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a workflow file."""

    file: str
    """The file, as the user named it."""
    line: int | None
    """Counted from 1; None if the problem has no line."""
    path: str
    """Where in the document, such as `source.filters.spatial.bbox[2]`; empty for the whole file."""
    found: str
    """What the file has there."""
    expected: str
    """What the file may have there, and what to do."""

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
    """The source reports more items than could be fetched; the published files stay as they were."""


class FilterIgnoredError(SourceError):
    """The source ignores a filter that it honoured before, so its answer is not usable."""


class ItemStepError(StacManagerError):
    """A transform or an extension cannot change this item; the item goes to quarantine with the error's text."""

    error_type = "ItemStepFailed"
    """A short, stable name of the reason, shown in quarantine; a subclass may set its own."""


class PluginError(StacManagerError):
    """An entry point of a package cannot be loaded, or its name exists already."""

    exit_code = 2


class StorageError(StacManagerError):
    """A read from or a write to storage failed; earlier content is unchanged."""


class DamagedManifestError(StorageError):
    """A manifest is there, but cannot be understood; its stage is run again."""


class CatalogVersionError(StorageError):
    """A later version of stac-manager wrote this catalog; this version cannot read it, and does not change it."""


class LedgerError(StacManagerError):
    """The counts of a stage do not balance."""


class OutputError(StacManagerError):
    """An output file could not be produced."""


class WorkerError(StacManagerError):
    """The process that ran a partition ended before it was done; the partition is as after a crash."""


def one_line(error: object) -> str:
    """The message of another library's error, in one line; the error's name if it has no message."""
    said = str(error).strip()
    if isinstance(error, OSError) and error.strerror and said.startswith("[Errno"):
        said = error.strerror  # without the number, and without the file, which the caller names
    return said.splitlines()[0] if said else type(error).__name__
