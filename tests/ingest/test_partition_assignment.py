from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.ingest import belongs_to
from stac_manager.items import item_interval, item_time
from stac_manager.partitioning import PartitionScheme
from stac_manager.times import Window, format_rfc3339
from tests.stac_items import make_item

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 6, 30, tzinfo=UTC)
SCHEME = PartitionScheme("month", START, END)
KEYS = SCHEME.keys(END)
EDGES = [SCHEME.window(key).start for key in KEYS]

near_edges = st.builds(
    lambda edge, micro: edge + timedelta(microseconds=micro), st.sampled_from(EDGES), st.integers(-1, 1)
)
anywhen = st.datetimes(min_value=datetime(2023, 11, 1), max_value=datetime(2024, 6, 30)).map(
    lambda value: value.replace(tzinfo=UTC)
)
instants = near_edges | anywhen


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    instant = draw(instants)
    kind = draw(st.sampled_from(["instant", "range", "both", "astray"]))
    if kind == "instant":
        return make_item("i", format_rfc3339(instant))
    low, high = sorted([draw(instants), draw(instants)])
    between = {"start_datetime": format_rfc3339(low), "end_datetime": format_rfc3339(high)}
    if kind == "range":
        return make_item("i", None, **between)
    return make_item("i", format_rfc3339(min(max(instant, low), high) if kind == "both" else instant), **between)


def by_range(item: dict[str, Any], window: Window) -> bool:
    interval = item_interval(item)
    return interval is not None and interval[0] <= window.end and interval[1] >= window.start


def by_datetime(item: dict[str, Any], window: Window) -> bool:
    instant = item_time(item)
    return instant is not None and window.start <= instant <= window.end


def astray_on_an_edge(item: dict[str, Any]) -> bool:
    """Then no window can tell by what the API found it, and both keep it."""
    instant, interval = item_time(item), item_interval(item)
    assert instant is not None
    assert interval is not None
    return instant in [*EDGES, SCHEME.window(KEYS[-1]).end] and not interval[0] <= instant <= interval[1]


@pytest.mark.parametrize("matches", [by_range, by_datetime])
@given(item=items())
def test_the_windows_together_hold_what_the_unsplit_scan_holds_each_item_once(
    matches: Any, item: dict[str, Any]
) -> None:
    whole = Window(SCHEME.first, SCHEME.window(KEYS[-1]).end)
    found_in = [key for key in KEYS if matches(item, SCHEME.window(key))]
    owners = [key for key in found_in if belongs_to(item, key, SCHEME)]
    if astray_on_an_edge(item):
        assert bool(owners) == matches(item, whole)
    else:
        assert len(owners) == (1 if matches(item, whole) else 0)


def test_an_item_on_an_edge_belongs_to_the_window_that_starts_there() -> None:
    item = make_item("i", "2024-02-01T00:00:00Z")
    assert not belongs_to(item, "2024-01", SCHEME)
    assert belongs_to(item, "2024-02", SCHEME)


def test_an_offset_is_heard() -> None:
    assert belongs_to(make_item("i", "2024-02-01T00:30:00+01:00"), "2024-01", SCHEME)


def test_an_item_with_a_range_belongs_by_its_start() -> None:
    item = make_item("i", None, start_datetime="2024-01-31T00:00:00Z", end_datetime="2024-03-01T00:00:00Z")
    assert [key for key in KEYS if belongs_to(item, key, SCHEME)] == ["2024-01"]


def test_what_started_before_the_first_window_belongs_to_the_first() -> None:
    item = make_item("i", None, start_datetime="2023-12-01T00:00:00Z", end_datetime="2024-02-01T00:00:00Z")
    assert [key for key in KEYS if belongs_to(item, key, SCHEME)] == ["2024-01"]


def test_an_item_without_any_time_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        belongs_to(make_item("i", None), "2024-01", SCHEME)
