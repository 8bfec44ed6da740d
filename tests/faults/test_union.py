"""What is fetched from a server that fails is the whole truth, or the fetch fails and says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from stac_manager.times import format_rfc3339
from tests.faults import (
    RETRY_AFTER,
    BadGzip,
    Body,
    BurstLimit,
    Changing,
    DeepJson,
    Drip,
    DropItems,
    EmptyPage,
    Extra,
    Fault,
    FaultyApi,
    GzipBomb,
    Hung,
    Ignores,
    Json,
    LoopingNext,
    NextAt,
    NoNext,
    Paging,
    Redirect,
    Reset,
    ShiftNext,
    Shuffled,
    Spoilt,
    Status,
    Truncated,
    When,
    delete,
    insert,
    update,
)
from tests.faults.fetching import EDGES, JUNK, STRANGERS, assert_whole, fetched, in_window
from tests.stac_items import make_item

near_edges = st.builds(
    lambda edge, micro: edge + timedelta(microseconds=micro), st.sampled_from(EDGES), st.integers(-1, 1)
)
anywhen = st.datetimes(min_value=datetime(2023, 12, 31), max_value=datetime(2024, 1, 4), timezones=st.just(UTC))
instants = near_edges | anywhen


@st.composite
def items(draw: st.DrawFn) -> Json:
    kind = draw(st.sampled_from(["instant", "instant", "range", "both"]))
    if kind == "instant":
        return make_item("", format_rfc3339(draw(instants)))
    low, high = sorted([draw(instants), draw(instants)])
    between = {"start_datetime": format_rfc3339(low), "end_datetime": format_rfc3339(high)}
    return make_item("", format_rfc3339(low) if kind == "both" else None, **between)


def numbered(found: list[Json]) -> list[Json]:
    return [{**item, "id": f"i{number:02}"} for number, item in enumerate(found)]


item_sets = st.integers(0, 60).flatmap(lambda size: st.lists(items(), min_size=size, max_size=size)).map(numbered)
whens = st.builds(
    When,
    times=st.sampled_from([1, 2, None]),
    chance=st.sampled_from([1.0, 0.5, 0.2]),
    seed=st.integers(0, 9),
)
ids = st.integers(0, 59).map(lambda number: f"i{number:02}")
offsets = st.integers(0, 5000)
on_the_wire = st.one_of(
    st.builds(
        Status,
        st.sampled_from([400, 401, 403, 404, 413, 429, 500, 502, 503, 504]),
        st.sampled_from([RETRY_AFTER[name] for name in RETRY_AFTER if name not in ("seconds", "date")]),
        when=whens,
    ),
    st.builds(Status, st.sampled_from([413, 500, 504]), when=st.builds(When, limit_above=st.integers(0, 20))),
    st.builds(Status, st.sampled_from([413, 500, 504]), when=st.builds(When, longer_than=st.integers(0, 20))),
    st.builds(Status, st.just(500), when=st.builds(When, holds=ids, limit_above=st.integers(0, 1))),
    st.builds(BurstLimit, rate=st.just(30), retry_after=st.just("0.3")),
    st.builds(Reset, st.none() | offsets, st.booleans(), when=whens),
    st.builds(Truncated, offsets, when=whens),
    st.builds(Body, st.sampled_from(JUNK), when=whens),
    st.builds(BadGzip, offsets, st.booleans(), when=whens),
    st.builds(DeepJson, st.sampled_from([500, 2000, 100_000]), when=whens),
    st.builds(GzipBomb, st.just(16), when=whens),
    st.builds(Drip, when=whens),
    st.builds(Hung, st.none() | offsets, when=whens),
    st.builds(Redirect, st.sampled_from([301, 302, 303, 307, 308]), st.sampled_from(["within", "https:"]), when=whens),
)
of_paging = st.one_of(
    st.builds(EmptyPage, when=st.builds(When, pages=st.sets(st.integers(0, 3)))),
    st.builds(LoopingNext, st.sampled_from(["itself", "first", "stuck"]), when=whens),
    st.builds(ShiftNext, st.integers(-5, -1), when=whens),
    st.builds(NextAt, st.sampled_from(["https:", "//localhost:9"]), when=whens),
)
strange = st.one_of(
    st.builds(Extra, st.just(STRANGERS), when=whens),
    st.builds(Extra, st.just([None, 7, "text", [], {}]), when=whens),
    st.builds(Spoilt, st.integers(0, 9), when=whens),
    st.just(Ignores()),
)
harmless = on_the_wire | of_paging | strange
"""The answers themselves show these, or they lose nothing."""

losing = st.one_of(
    st.builds(DropItems, st.integers(1, 3), when=whens),
    st.builds(ShiftNext, st.integers(1, 5), when=whens),
    st.builds(Shuffled, st.booleans(), st.integers(0, 9)),
    st.builds(NoNext, when=whens),
)
"""Only a right count can show these, and only where nothing else makes up the numbers."""


@st.composite
def servers(draw: st.DrawFn, faults: st.SearchStrategy[list[Fault]], counts: Sequence[str]) -> FaultyApi:
    return FaultyApi(
        draw(item_sets),
        paging=draw(st.sampled_from(get_args(Paging))),
        page_limit=draw(st.none() | st.integers(1, 20)),
        count=draw(st.sampled_from(counts)),
        sort=draw(st.sampled_from(["datetime_desc", "datetime_asc", "id", "none"])),
        page_numbers=draw(st.booleans()),
        faults=[replace(fault) for fault in draw(faults)],
    )


ANY_COUNT = ["right", "absent", "ignores_filter", "too_many", "too_few", "context"]
RIGHT_COUNT = ["right", "context"]
page_sizes, concurrencies = st.integers(1, 30), st.integers(1, 8)
caps = st.none() | st.integers(5, 60)
some = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a fetch may wait for seconds; shrinking would take minutes
)
few = settings(some, max_examples=15)


def assert_whole_or_said(api: FaultyApi, page_size: int, concurrency: int) -> None:
    found = fetched(api, page_size, concurrency)
    if found is not None:
        assert_whole(found, api.items, api.faults)


@given(servers(st.just([]), RIGHT_COUNT), page_sizes, concurrencies)
@some
def test_a_server_without_faults_gives_everything(api: FaultyApi, page_size: int, concurrency: int) -> None:
    found = fetched(api, page_size, concurrency)
    assert found is not None
    assert_whole(found, api.items)


@given(servers(st.just([]), ANY_COUNT), page_sizes, concurrencies)
@few
def test_a_count_is_never_believed_against_the_items(api: FaultyApi, page_size: int, concurrency: int) -> None:
    assert_whole_or_said(api, page_size, concurrency)


@given(servers(st.lists(harmless, min_size=1, max_size=3), ANY_COUNT), page_sizes, concurrencies, caps)
@some
def test_whatever_fails_nothing_is_lost_without_a_word(
    api: FaultyApi, page_size: int, concurrency: int, cap: int | None
) -> None:
    api.deep_cap = cap
    assert_whole_or_said(api, page_size, concurrency)


@given(servers(st.tuples(losing, on_the_wire | of_paging | losing).map(list), RIGHT_COUNT), page_sizes, concurrencies)
@few
def test_what_a_server_loses_shows_by_its_count(api: FaultyApi, page_size: int, concurrency: int) -> None:
    assert_whole_or_said(api, page_size, concurrency)


@given(servers(st.just([]), ["absent", "ignores_filter", "too_many"]), page_sizes, concurrencies, whens)
@few
def test_a_full_page_without_next_is_never_the_end(
    api: FaultyApi, page_size: int, concurrency: int, when: When
) -> None:
    api.page_limit = None
    api.faults = [NoNext(when=when)]
    assert_whole_or_said(api, page_size, concurrency)


@given(servers(st.just([]), RIGHT_COUNT), page_sizes, concurrencies, ids, instants, st.data())
@few
def test_what_changes_while_it_is_read_hides_nothing_else(
    api: FaultyApi, page_size: int, concurrency: int, item_id: str, instant: datetime, data: st.DataObject
) -> None:
    assume(item_id in in_window(api.items))
    time, moment = format_rfc3339(instant), data.draw(st.integers(0, 20))
    changes = [insert(make_item("new", time)), delete(item_id), update(item_id, datetime=time)]
    change = data.draw(st.sampled_from(changes))
    untouched = in_window(api.items).keys() - {item_id}
    api.faults = [Changing(change, when=When(times=1, where=lambda ask: ask.number >= moment))]
    found = fetched(api, page_size, concurrency)
    if found is not None:
        assert sorted(untouched - found.keys()) == []
        assert found.keys() <= untouched | {item_id, "new"}
