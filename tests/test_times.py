from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.times import Window, format_rfc3339, parse_interval, parse_rfc3339

instants = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda value: value.replace(tzinfo=UTC)
)


@given(instants)
def test_a_written_time_reads_back_the_same(instant: datetime) -> None:
    assert parse_rfc3339(format_rfc3339(instant)) == instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31T10:00:00Z", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("2024-01-31t10:00:00.5z", datetime(2024, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-01-31T10:00:00+02:00", datetime(2024, 1, 31, 8, tzinfo=UTC)),
        ("2024-01-31 10:00:00.123456789Z", datetime(2024, 1, 31, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_every_spelling_of_rfc3339_is_read(text: str, expected: datetime) -> None:
    assert parse_rfc3339(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2024-01-31", "2024-02-30T00:00:00Z", "2024-01-31T10:00:00", "now", "٢٠٢٤-01-01T00:00:00Z"]
)
def test_what_is_no_rfc3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_rfc3339(text)


@given(instants, st.integers(1, 10_000_000), st.integers(1, 64))
def test_slices_cover_the_window_without_gap_or_overlap(start: datetime, seconds: int, parts: int) -> None:
    window = Window(start, start + timedelta(seconds=seconds))
    slices = window.split(parts)
    assert len(slices) <= parts
    assert (slices[0].start, slices[-1].end) == (window.start, window.end)
    assert all(one.end == other.start for one, other in pairwise(slices))
    assert all(part.start < part.end for part in slices)


def test_a_date_in_an_interval_means_its_whole_day() -> None:
    start, end = parse_interval("2024-01-01/2024-01-31")
    assert start == datetime(2024, 1, 1, tzinfo=UTC)
    assert end == datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_an_interval_may_be_open_at_either_end() -> None:
    assert parse_interval("../2024-01-01T00:00:00Z")[0] is None
    assert parse_interval("2024-01-01/")[1] is None


@pytest.mark.parametrize("text", ["", "2024-02-01/2024-01-01", "yesterday/today"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|ends before|time"):
        parse_interval(text)
