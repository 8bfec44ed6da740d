"""What a validation says about one object."""

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


class Verdict(StrEnum):
    """`valid`: every schema passes; `invalid`: one refuses; `unchecked`: none refuses, but not all could be asked."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class SchemaFailure:
    """One schema that refused an object, or that could not be asked."""

    schema: str
    """The public address of the schema; empty where the object is refused before any schema is known."""
    path: str
    """Where in the object, as `assets.B04.href` or `links[0].rel`; empty for the whole object."""
    message: str
    """One line for a person; `unavailable: …` where the schema could not be asked."""


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """The verdict on one object and what follows from it."""

    item_id: str | None
    """None where the object has no usable id."""
    collection: str | None
    verdict: Verdict
    errors: tuple[SchemaFailure, ...]
    """Empty exactly when the verdict is `valid`; at most one per schema."""
    accepted: bool
    """Whether the object goes on: valid, unchecked, or invalid and let through by level `lenient`."""
    lenient: bool
    """Invalid by an extension only, and let through by level `lenient`."""

    @property
    def summary(self) -> str:
        """Everything that is wrong, in one line."""
        reasons = (f"{error.path}: {error.message}" if error.path else error.message for error in self.errors)
        return "; ".join(dict.fromkeys(reasons))


class SchemaUnavailableError(StacManagerError):
    """A schema, or something that it refers to, cannot be had; the text is the reason."""


@dataclass(frozen=True, slots=True)
class SchemaOutcome:
    """What one schema has against an object."""

    failure: SchemaFailure
    refused: bool
    """False: the schema could not be asked."""


def unavailable(schema: str, reason: str) -> SchemaOutcome:
    """A schema that could not be asked."""
    return SchemaOutcome(SchemaFailure(schema, "", one_line(f"unavailable: {reason}")), refused=False)


def one_line(text: str) -> str:
    """At most 500 characters: of more, the start and the end.

    A message starts with the value and ends with what is wrong with it, and the value may be a whole object.
    """
    if len(text) > 2 * _HALF:
        text = f"{text[:_HALF]} … {text[-_HALF:]}"
    return " ".join(text.split())
