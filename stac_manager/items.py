"""STAC items as plain dictionaries: strict JSON in and out, content hashes, time and file names.

Items stay `dict`s where many are processed; one pystac object an item would need ten times the memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from stac_manager.times import parse_rfc3339

__all__ = [
    "HashedItem",
    "Item",
    "content_hash",
    "dumps",
    "has_non_json",
    "item_interval",
    "item_problem",
    "item_time",
    "iter_lines",
    "loads",
    "loads_exactly",
    "loads_hashed",
    "printable",
    "safe_name",
    "storable",
]

Item = dict[str, Any]
"""A STAC Item as parsed JSON."""

HashedItem = tuple[str, str, bytes]
"""Id, content hash and JSON line of an item."""


def loads(data: bytes | str) -> Any:
    """Parse strict JSON (RFC 8259): NaN, Infinity and lone surrogates are errors.

    Raises:
        ValueError: the text is not strict JSON; the message has the position.
    """
    return orjson.loads(data)


_ONLY_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_MANY_DIGITS = b"0" * 19
_LONG_NUMBER = re.compile(rb"(?:^|[:,\[])[ \t\r\n]*-?[0-9]{19}")


def loads_exactly(line: bytes) -> Any:
    """Parse strict JSON that can be written again without a change.

    Raises:
        ValueError: not strict JSON, nested deeper than can be written, or an integer beyond 64 bits.
    """
    return loads_hashed(line)[0]


def loads_hashed(line: bytes) -> tuple[Any, str]:
    """The same, with the `content_hash`.

    Raises:
        ValueError: as `loads_exactly`.
    """
    value = orjson.loads(line)
    try:
        digest = content_hash(value)
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON again: {error}") from None
    # translate() and `in` take a tenth of the time of the pattern, and few items have so many digits in a row
    if _MANY_DIGITS in line.translate(_ONLY_DIGITS) and _LONG_NUMBER.search(line) and json.loads(line) != value:
        raise ValueError("holds a number that needs more than 64 bits")
    return value, digest


def storable(value: Any) -> Any:
    """The value, or its text if it cannot be written as JSON."""
    try:
        orjson.dumps(value)
    except TypeError:
        return repr(value)[:100_000]
    return value


def printable(text: str) -> str:
    """The text with control characters escaped, so that it cannot control a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def dumps(value: Any) -> bytes:
    """One line of compact JSON, with the members in their original order."""
    return orjson.dumps(value)


def content_hash(item: Any) -> str:
    """SHA-256 (hex) of the canonical form: compact JSON with sorted members.

    Two items have the same hash exactly when they are equal as JSON, however a server ordered their members.
    """
    return hashlib.sha256(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)).hexdigest()


def has_non_json(value: Any) -> bool:
    """Whether a value holds NaN or Infinity, which JSON does not have."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(has_non_json(member) for member in value.values())
    if isinstance(value, list):
        return any(has_non_json(member) for member in value)
    return False


def item_problem(item: Any) -> str | None:
    """Why this value is no item at all, or None if it is one.

    This checks only what every later step relies on; the schemas check the rest.
    """
    if not isinstance(item, dict):
        return f"is a JSON {type(item).__name__}, not an object"
    item_id = item.get("id")
    if item_id == "":
        return 'has an empty id: `id` is ""'
    if not isinstance(item_id, str):
        return f"`id` is {item_id!r}, not a non-empty string"
    if not isinstance(item.get("properties"), dict):
        return "`properties` is not an object"
    return None


def item_time(item: Item) -> datetime | None:
    """The instant (UTC) that decides an item's partition: `datetime`, else `start_datetime`, else None.

    Source: STAC common metadata, "Date and Time" (`datetime` may be null if a start and an end are given).

    Raises:
        ValueError: the member exists but is no RFC 3339 time.
    """
    properties = item.get("properties") or {}
    for name in ("datetime", "start_datetime"):
        value = properties.get(name)
        if value is not None:
            return _time_member(name, value)
    return None


def item_interval(item: Item) -> tuple[datetime, datetime] | None:
    """The closed interval (UTC) that an API's `datetime` filter matches, or None if the item has no time.

    Raises:
        ValueError: a member is no RFC 3339 time.
    """
    properties = item.get("properties") or {}
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if start is not None and end is not None:
        return _time_member("start_datetime", start), _time_member("end_datetime", end)
    instant = item_time(item)
    return None if instant is None else (instant, instant)


def _time_member(name: str, value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is {value!r}, not a text")
    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None


_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NAME_LIMIT = 120


def safe_name(identifier: str) -> str:
    """A file name for any STAC id: no separators, no dot names, at most 120 characters, a different one for each id.

    Bytes outside `[A-Za-z0-9._-]` become `=XX`; a name that would be too long is cut and gets a hash of the whole id.
    """
    encoded = _UNSAFE.sub(
        lambda match: "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")),
        identifier,
    )
    if encoded.startswith("."):
        encoded = "=2E" + encoded[1:]
    if len(encoded) <= _NAME_LIMIT:
        return encoded or "=00"
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{encoded[: _NAME_LIMIT - 18]}=-{digest}"


_SHORT = 1000
"""Bytes of a line that is shorter than those of items."""


def iter_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split a stream of byte chunks into lines without their line ends; blank lines are skipped."""
    rest: list[bytes] = []
    for chunk in chunks:
        start = 0
        if chunk.find(b"\n", 0, _SHORT) < 0:  # split() takes more time than find() where lines are long
            while (end := chunk.find(b"\n", start)) >= 0:
                line = b"".join([*rest, chunk[start:end]]) if rest else chunk[start:end]
                rest, start = [], end + 1
                if line and not line.isspace():
                    yield line
            rest.append(chunk[start:])
            continue
        lines = chunk.split(b"\n")
        lines[0] = b"".join([*rest, lines[0]])
        rest = [lines.pop()]
        for line in lines:
            if line and not line.isspace():
                yield line
    last = b"".join(rest)
    if last.strip():
        yield last
