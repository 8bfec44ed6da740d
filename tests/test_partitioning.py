from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import partitions_definition
from stac_manager.errors import UsageError
from stac_manager.partitioning import PartitionBy, PartitionScheme

NOW = datetime(2025, 6, 18, 12, tzinfo=UTC)
days = st.datetimes(min_value=datetime(2015, 1, 1), max_value=datetime(2025, 6, 17)).map(
    lambda value: value.replace(tzinfo=UTC)
)
kinds: st.SearchStrategy[PartitionBy] = st.sampled_from(["day", "week", "month", "year"])


@given(kinds, days)
def test_every_instant_lies_in_the_window_of_its_key_and_in_no_other(by: PartitionBy, instant: datetime) -> None:
    scheme = PartitionScheme(by, datetime(2015, 1, 1, tzinfo=UTC))
    key = scheme.key_of(instant)
    assert instant in scheme.window(key)
    assert [other for other in scheme.keys(NOW) if instant in scheme.window(other)] == [key]


@given(kinds, days)
def test_windows_join_without_gap(by: PartitionBy, start: datetime) -> None:
    scheme = PartitionScheme(by, start)
    windows = [scheme.window(key) for key in scheme.keys(NOW)]
    assert windows[0].start <= start < windows[0].end
    assert all(one.end == other.start for one, other in pairwise(windows))
    assert NOW in windows[-1]


@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
@pytest.mark.parametrize("end", [None, datetime(2025, 2, 14, tzinfo=UTC)])
def test_dagster_names_the_same_windows(by: PartitionBy, end: datetime | None) -> None:
    scheme = PartitionScheme(by, datetime(2024, 5, 15, tzinfo=UTC), end)
    definition = partitions_definition(scheme)
    keys = definition.get_partition_keys(current_time=NOW)
    assert keys == scheme.keys(NOW)
    for key in (keys[0], keys[-1]):
        window = definition.time_window_for_partition_key(key)
        assert (window.start, window.end) == (scheme.window(key).start, scheme.window(key).end)


@pytest.mark.parametrize("key", ["2024-13", "2024-1", "2024-05-01", "", "../x", "2023-12", "2024-05\n"])
def test_a_name_that_is_no_partition_is_refused_with_an_example(key: str) -> None:
    scheme = PartitionScheme("month", datetime(2024, 5, 15, tzinfo=UTC))
    with pytest.raises(UsageError, match="2024-05"):
        scheme.window(key)
