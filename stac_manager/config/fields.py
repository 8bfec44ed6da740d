"""The base class of all sections of a workflow file, and the types of values that several sections use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from stac_manager.times import parse_interval

__all__ = [
    "NOT_BOOL",
    "NO_START",
    "Broken",
    "Collections",
    "HttpUrl",
    "Instant",
    "LastInstant",
    "Location",
    "Section",
    "Text",
    "Where",
    "dagster_name",
    "refuse",
    "relocated",
    "rule",
]

Where = tuple[str | int, ...]
"""A path in a document: keys and list positions."""

Broken = tuple[Where, str]
"""A broken rule: the path, relative to the checked value, and what is expected there."""

NO_START = object()
"""The start, if neither `partitions` nor the temporal filter gives one."""


class Section(BaseModel):
    """A mapping in a workflow file: unknown keys are an error, and a key without a value counts as absent."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def rule(expected: str) -> PydanticCustomError:
    """The error of a value that breaks a rule; `expected` completes the sentence "expected …"."""
    return PydanticCustomError("rule", "{expected}", {"expected": expected})


def refuse(broken: Iterable[Broken]) -> None:
    """Report all broken rules at once, each at its own path.

    Raises:
        ValidationError: there is at least one; its errors have the type `rule`.
    """
    errors = [InitErrorDetails(type=rule(expected), loc=where, input=None) for where, expected in broken]
    if errors:
        raise ValidationError.from_exception_data("rules", errors)


_KEPT = frozenset({"missing", "extra_forbidden"})


def relocated(error: ValidationError, *where: str | int) -> ValidationError:
    """The errors of a plugin's model, with paths relative to its section."""
    details = error.errors(include_url=False, include_input=False)
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                type=one["type"] if one["type"] in _KEPT else rule(one.get("ctx", {}).get("expected") or one["msg"]),
                loc=(*where, *one["loc"]),
                input=None,
            )
            for one in details
        ],
    )


def dagster_name(text: str) -> str:
    """The text in the names of Dagster's ops, jobs and sensors: other characters than word characters become `_`."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def _text(value: str) -> str:
    if not value.strip():
        raise rule("a text that is not empty")
    return value


Text = Annotated[str, AfterValidator(_text), Field(json_schema_extra={"minLength": 1})]


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise rule("a number")
    return value


NOT_BOOL = BeforeValidator(_no_bool)
"""Rejects `true` as the number 1. It must be last in the annotation: otherwise the JSON Schema loses the limits."""


def _http_url(value: str) -> str:
    address = _split(value)
    if address is None or address.scheme not in ("http", "https") or not address.hostname:
        raise rule("an address that starts with http:// or https://")
    if address.username is not None or address.password is not None:
        raise rule("an address without a user and a password; `source.auth` has keys for them")
    return value


def _split(value: str) -> SplitResult | None:
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        return None
    try:
        address = urlsplit(value)
        _ = address.port
    except ValueError:
        return None
    return address


HttpUrl = Annotated[
    str,
    AfterValidator(_http_url),
    Field(json_schema_extra={"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}),
]

_STORES = ("s3", "gs", "az", "file")


def _location(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not value.strip() or (separator and (scheme not in _STORES or not rest)):
        raise rule("a folder, or a bucket as s3://…, gs://… or az://…")
    return value


Location = Annotated[str, AfterValidator(_location), Field(json_schema_extra={"minLength": 1})]

_TIME = "a date that exists, as 2024-01-31, or a time with an offset as 2024-01-31T10:00:00Z"


def _first_instant(value: Any) -> datetime:
    if value is NO_START:
        raise rule("where the first partition starts, as 2024-01-31 (or `source.filters.temporal.start_date`)")
    return _instant(value, last=False)


def _last_instant(value: Any) -> datetime:
    return _instant(value, last=True)


def _instant(value: Any, *, last: bool) -> datetime:
    text = value.isoformat() if isinstance(value, date) else value
    try:
        start, end = parse_interval(text) if isinstance(text, str) and "/" not in text else (None, None)
    except ValueError:
        start = end = None
    instant = end if last else start
    if instant is None:
        raise rule(_TIME)
    if instant.year <= 1000:
        raise rule("a time after the year 1000")
    return instant


_TIME_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2}))?$"}
)

Instant = Annotated[datetime, BeforeValidator(_first_instant), _TIME_SCHEMA]
"""A time in UTC; a date means its first moment."""

LastInstant = Annotated[datetime, BeforeValidator(_last_instant), _TIME_SCHEMA]
"""A time in UTC; a date means its last microsecond."""


def _collections(values: tuple[str, ...]) -> tuple[str, ...]:
    broken: list[Broken] = []
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if not value.strip():
            broken.append(((index,), "the id of a collection"))
        elif "*" in value or "?" in value:
            broken.append(((index,), "one exact id; `stac-manager discover-collections` lists those that match"))
        elif value.casefold() == "catalog.json":
            broken.append(((index,), "an id other than the name of the published root, catalog.json"))
        else:
            other = first.setdefault(dagster_name(value).casefold(), index)
            if other != index:
                broken.append(((index,), _difference(value, values[other], other)))
    refuse(broken)
    return values


def _difference(value: str, earlier: str, index: int) -> str:
    if value == earlier:
        return f"each collection once; collections[{index}] is the same"
    if value.casefold() == earlier.casefold():
        return f"an id that differs from collections[{index}] in more than upper and lower case, as file names need"
    return f"an id that differs from collections[{index}] in a letter or a digit: Dagster reads `a-b` and `a_b` as one"


Collections = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_collections)]
"""Exact collection ids, at least one; no two may have the same name in Dagster or on disk."""
