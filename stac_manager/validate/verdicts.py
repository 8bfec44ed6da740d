"""The result of the validation of one object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stac_manager.errors import StacManagerError

__all__ = [
    "ItemVerdict",
    "SchemaFailure",
    "SchemaOutcome",
    "SchemaUnavailableError",
    "Verdict",
    "one_line",
    "unavailable",
]

_HALF = 250
"""Half of the characters that a message may have."""


class Verdict(StrEnum):
    """`valid`: all schemas pass; `invalid`: one fails; `unchecked`: none fails, but not all schemas could be loaded."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class SchemaFailure:
    """One schema that an object fails, or that could not be loaded."""

    schema: str
    """The public URL of the schema; empty if the object fails before any schema is known."""
    path: str
    """Where in the object, such as `assets.B04.href` or `links[0].rel`; empty for the whole object."""
    message: str
    """One line for a person; `unavailable: …` if the schema could not be loaded."""


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """The verdict on one object and its consequences."""

    item_id: str | None
    """None if the object has no usable id."""
    collection: str | None
    verdict: Verdict
    errors: tuple[SchemaFailure, ...]
    """Empty if and only if the verdict is `valid`; at most one error a schema."""
    accepted: bool
    """Whether the object is accepted: valid, unchecked, or invalid but accepted by level `lenient`."""
    lenient: bool
    """Invalid by extensions only, and accepted by level `lenient`."""

    @property
    def summary(self) -> str:
        """All errors, in one line."""
        reasons = (f"{error.path}: {error.message}" if error.path else error.message for error in self.errors)
        return "; ".join(dict.fromkeys(reasons))


class SchemaUnavailableError(StacManagerError):
    """A schema, or one that it refers to, cannot be loaded; the text is the reason."""


@dataclass(frozen=True, slots=True)
class SchemaOutcome:
    """The error of one schema for an object."""

    failure: SchemaFailure
    failed: bool
    """False: the schema could not be loaded."""


def unavailable(schema: str, reason: str) -> SchemaOutcome:
    """The outcome of a schema that could not be loaded."""
    return SchemaOutcome(SchemaFailure(schema, "", one_line(f"unavailable: {reason}")), failed=False)


def one_line(text: str) -> str:
    """The text in one line of at most 500 characters; of a longer text, the start and the end.

    A message starts with the value and ends with its error, and the value may be a whole object.
    """
    if len(text) > 2 * _HALF:
        text = f"{text[:_HALF]} … {text[-_HALF:]}"
    return " ".join(text.split())
