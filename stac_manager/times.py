"""RFC 3339 times and time windows, all in UTC and to the microsecond."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Window", "format_rfc3339", "parse_interval", "parse_rfc3339", "sortable_time", "timestamp", "utc_now"]

_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:)(\d{2})(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})\Z", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


@functools.lru_cache(maxsize=1024)  # each time of an item is read several times in a row
def parse_rfc3339(text: str) -> datetime:
    """Parse a time with an offset. Digits beyond microseconds are cut off; a leap second counts as the next minute.

    Source: RFC 3339 section 5.6.

    Raises:
        ValueError: the text is no such time.
    """
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2024-01-31T10:00:00Z")
    date, minutes, seconds, fraction, offset = match.groups()
    leap = seconds == "60"
    micro = ((fraction or ".")[1:7]).ljust(6, "0")
    zone = "+00:00" if offset in "Zz" else offset
    try:
        value = datetime.fromisoformat(f"{date}T{minutes}{'59' if leap else seconds}.{micro}{zone}")
        return (value + timedelta(seconds=1) if leap else value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time that exists") from None


def format_rfc3339(instant: datetime) -> str:
    """`2024-01-31T10:00:00Z`, with microseconds only if they are not zero."""
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text}Z"


def sortable_time(text: Any) -> str:
    """A time as a text that sorts by time; empty if it is no RFC 3339 time."""
    try:
        return parse_rfc3339(text).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (ValueError, TypeError):
        return ""


def utc_now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return datetime.now(UTC)


def timestamp() -> str:
    """The present to the second, for records. `SOURCE_DATE_EPOCH` replaces it, so that builds are reproducible.

    Source: reproducible-builds.org, SOURCE_DATE_EPOCH (seconds since 1970).
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    instant = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else utc_now()
    return format_rfc3339(instant.replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class Window:
    """An interval that includes its start but not its end; both are timezone-aware and in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, instant: object) -> bool:
        return isinstance(instant, datetime) and self.start <= instant < self.end

    @property
    def interval(self) -> str:
        """The closed interval for a request: its end is the next window's start, so there is no gap between windows.

        Source: OGC API Features, parameter `datetime`.
        """
        return f"{format_rfc3339(self.start)}/{format_rfc3339(self.end)}"

    def split(self, parts: int) -> list[Window]:
        """Split into at most `parts` windows of equal length (to the second), without gaps."""
        seconds = int((self.end - self.start).total_seconds())
        parts = max(1, min(parts, seconds))
        cuts = [self.start + timedelta(seconds=seconds * number // parts) for number in range(parts)]
        return [Window(start, end) for start, end in zip(cuts, [*cuts[1:], self.end], strict=True)]


def parse_interval(text: str) -> tuple[datetime | None, datetime | None]:
    """Parse `A/B`, `A/..`, `../B` or a single time or date into closed bounds; a date means its whole day.

    Source: OGC API Features, parameter `datetime`.

    Raises:
        ValueError: the text is no interval, or its end is before its start.
    """
    first, slash, second = text.partition("/")
    start = _bound(first, last=False)
    end = _bound(second if slash else first, last=True)
    if start and end and end < start:
        raise ValueError(f"{text!r} ends before it starts")
    if start is None and end is None and not slash:
        raise ValueError(f"{text!r} is not a time or an interval such as 2024-01-01/2024-02-01")
    return start, end


def _bound(text: str, *, last: bool) -> datetime | None:
    if text in ("", ".."):
        return None
    if _DATE.match(text):
        clock = "23:59:59.999999" if last else "00:00:00"
        return parse_rfc3339(f"{text}T{clock}Z")
    return parse_rfc3339(text)
