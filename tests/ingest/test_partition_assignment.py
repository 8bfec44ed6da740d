from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.ingest import belongs_to, is_out_of_its_range, is_surely_found, target_partition
from stac_manager.items import item_interval, item_time
from stac_manager.partitioning import PartitionScheme
from stac_manager.times import Window, format_rfc3339
from tests.stac_items import make_item

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 6, 30, tzinfo=UTC)
SCHEME = PartitionScheme("month", START, END)
KEYS = SCHEME.keys(END)
EDGES = [*(SCHEME.window(key).start for key in KEYS), SCHEME.window(KEYS[-1]).end]

near_edges = st.builds(
    lambda edge, micro: edge + timedelta(microseconds=micro), st.sampled_from(EDGES), st.integers(-1, 1)
)
anywhen = st.datetimes(min_value=datetime(2023, 11, 1), max_value=datetime(2024, 8, 30)).map(
    lambda value: value.replace(tzinfo=UTC)
)
instants = near_edges | anywhen


schemes = st.builds(
    lambda end, low, high: PartitionScheme("month", START, end, low, high),
    st.sampled_from([None, END]),
    st.none() | instants,
    st.none() | instants,
)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    instant = draw(instants)
    kind = draw(st.sampled_from(["instant", "range", "both", "far outside"]))
    if kind == "instant":
        zone = timezone(timedelta(hours=draw(st.integers(-14, 14))))
        return make_item("i", instant.astimezone(zone).isoformat())
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


@given(item=items(), scheme=schemes)
def test_an_item_is_in_one_partition_at_most_and_one_function_says_in_which(
    item: dict[str, Any], scheme: PartitionScheme
) -> None:
    keys = [*KEYS, "2024-07"]
    target = target_partition(item, scheme)
    assert [key for key in keys if scheme.may_have(key) and belongs_to(item, key, scheme)] == [target] * (
        target in keys
    )
    assert target is None or scheme.may_have(target)


@given(item=items(), scheme=schemes)
def test_an_item_is_in_none_only_where_its_time_is_outside(item: dict[str, Any], scheme: PartitionScheme) -> None:
    instant, interval = item_time(item), item_interval(item)
    assert instant is not None
    assert interval is not None
    times = {instant, interval[0]}
    inside = {time for time in times if scheme.target_partition(time) is not None}
    wanted = scheme.is_wanted(instant, instant) or scheme.is_wanted(*interval)
    target = target_partition(item, scheme)
    assert target in {*map(scheme.target_partition, times), None}
    if inside == times and wanted:
        assert target is not None
    if not inside or not wanted:
        assert target is None


@given(item=items())
def test_the_windows_together_hold_what_the_unsplit_scan_holds_each_item_once(item: dict[str, Any]) -> None:
    whole = Window(SCHEME.first, SCHEME.window(KEYS[-1]).end)
    owners = [key for key in KEYS if by_range(item, SCHEME.window(key)) and belongs_to(item, key, SCHEME)]
    assert len(owners) == (1 if by_range(item, whole) and target_partition(item, SCHEME) else 0)


@given(item=items(), scheme=schemes)
def test_a_search_by_range_finds_an_item_where_it_belongs(item: dict[str, Any], scheme: PartitionScheme) -> None:
    target = target_partition(item, scheme)
    if target is not None:
        assert by_range(item, scheme.window(target))
        if is_surely_found(item, target, scheme):
            assert by_range(item, scheme.asked(target))


@given(item=items(), scheme=schemes)
def test_a_search_by_datetime_finds_an_item_where_it_belongs_or_it_is_rejected_where_it_is_found(
    item: dict[str, Any], scheme: PartitionScheme
) -> None:
    instant = item_time(item)
    assert instant is not None
    here, target = scheme.target_partition(instant), target_partition(item, scheme)
    if here is None or target is None:
        return
    assert by_datetime(item, scheme.window(here))
    assert (here == target) != is_out_of_its_range(item, here, scheme)
    if item["properties"]["datetime"] is not None and is_surely_found(item, target, scheme):
        assert by_datetime(item, scheme.asked(target))


def test_a_date_outside_of_its_range_gives_way_to_the_start_of_the_range() -> None:
    item = make_item(
        "i", "2024-05-10T00:00:00Z", start_datetime="2024-02-10T00:00:00Z", end_datetime="2024-03-10T00:00:00Z"
    )
    assert target_partition(item, SCHEME) == "2024-02"
    assert [key for key in KEYS if belongs_to(item, key, SCHEME)] == ["2024-02"]


def test_an_item_on_an_edge_belongs_to_the_window_that_starts_there() -> None:
    item = make_item("i", "2024-02-01T00:00:00Z")
    assert not belongs_to(item, "2024-01", SCHEME)
    assert belongs_to(item, "2024-02", SCHEME)


def test_an_offset_is_honoured() -> None:
    assert belongs_to(make_item("i", "2024-02-01T00:30:00+01:00"), "2024-01", SCHEME)


def test_an_item_with_a_range_belongs_by_its_start() -> None:
    item = make_item("i", None, start_datetime="2024-01-31T00:00:00Z", end_datetime="2024-03-01T00:00:00Z")
    assert [key for key in KEYS if belongs_to(item, key, SCHEME)] == ["2024-01"]


@pytest.mark.parametrize(
    ("instant", "target"),
    [
        ("2019-05-01T00:00:00Z", None),
        ("2023-12-31T23:59:59.999999Z", None),
        ("2024-01-01T00:00:00Z", "2024-01"),
        ("2024-06-30T23:59:59.999999Z", "2024-06"),
        ("2024-07-01T00:00:00Z", None),
        ("2024-07-01T00:30:00+01:00", "2024-06"),
    ],
)
def test_what_is_dated_outside_of_all_partitions_belongs_to_none(instant: str, target: str | None) -> None:
    assert target_partition(make_item("i", instant), SCHEME) == target


def test_what_started_before_the_first_window_belongs_to_none() -> None:
    item = make_item("i", None, start_datetime="2023-12-01T00:00:00Z", end_datetime="2024-02-01T00:00:00Z")
    assert [key for key in KEYS if belongs_to(item, key, SCHEME)] == []


def test_a_future_date_belongs_to_a_partition_that_is_not_there_yet() -> None:
    endless = PartitionScheme("month", START)
    assert target_partition(make_item("i", "2999-05-01T00:00:00Z"), endless) == "2999-05"
    assert not endless.exists("2999-05", END)


@pytest.mark.parametrize(("end", "target"), [("2024-01-19T00:00:00Z", None), ("2024-01-20T00:00:00Z", "2024-01")])
def test_what_the_temporal_filter_leaves_out_belongs_to_none(end: str, target: str | None) -> None:
    scheme = replace(SCHEME, wanted_from=datetime(2024, 1, 20, tzinfo=UTC))
    item = make_item("i", None, start_datetime="2024-01-10T00:00:00Z", end_datetime=end)
    assert target_partition(item, scheme) == target


def test_an_item_without_any_time_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        belongs_to(make_item("i", None), "2024-01", SCHEME)
