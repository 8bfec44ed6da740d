"""Each fault alone: what passes is survived, what lasts is survived or said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from stac_manager.errors import IncompleteError
from stac_manager.ingest import IngestModule, StacApiSource
from stac_manager.times import format_rfc3339
from tests.faults import (
    RETRY_AFTER,
    BadGzip,
    Body,
    BurstLimit,
    Claims,
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
    LoopingNext,
    NextAt,
    NoNext,
    Paging,
    Redirect,
    Reset,
    ShiftNext,
    Shuffled,
    Slow,
    Spoilt,
    Status,
    Truncated,
    When,
)
from tests.faults.fetching import HTTP, JUNK, STRANGERS, WINDOW, assert_whole, fetched, forty
from tests.stac_items import make_item

PASSING: dict[str, Fault] = {
    **{f"status {status}": Status(status) for status in (408, 429, 500, 502, 503, 504)},
    **{
        f"429, wait {name}": Status(429, RETRY_AFTER[name])
        for name in ("seconds", "date", "past date", "zero", "negative", "not a number", "overflowing", "text")
    },
    "reset": Reset(),
    "reset in the body": Reset(300),
    "closed in the body": Reset(300, politely=True),
    "truncated at 0": Truncated(0),
    "truncated at 1": Truncated(1),
    "truncated in the middle": Truncated(900),
    "truncated at the end": Truncated(-1),
    "web page": Body(),
    **{f"junk {junk.decode()}": Body(junk, "application/json") for junk in JUNK},
    "bad gzip": BadGzip(100),
    "cut gzip": BadGzip(100, cut=True),
    "deep": DeepJson(),
    "hung": Hung(),
    "hung in the body": Hung(after=300),
    "drip": Drip(),
    "slow": Slow(0.2),
    **{f"redirect {status} within": Redirect(status) for status in (301, 302, 303, 307, 308)},
    "burst limit": BurstLimit(rate=4, retry_after="1"),
    "empty page": EmptyPage(),
    "overlap": ShiftNext(-3),
    "outside": Extra(STRANGERS),
    "no objects": Extra([None, 7, "text", [], {}]),
    "next is missing": NoNext(),
    "dropped items": DropItems(2),
    "gap": ShiftNext(3),
    "claims too many": Claims(1000),
}
"""What a fetch survives if it happens once."""

LASTING: dict[str, Fault] = {
    **{f"status {status}": Status(status) for status in (400, 403, 429, 503)},
    "reset": Reset(),
    "truncated": Truncated(900),
    "web page": Body(),
    **{f"{depth} deep": DeepJson(depth) for depth in (200, 500, 2000, 100_000)},
    "hung": Hung(),
    "drip": Drip(),
    "redirect within": Redirect(307),
    "empty pages only": EmptyPage(),
    "no objects": Extra([None, 7, "text", [], {}]),
    "outside": Extra(STRANGERS),
    "next is missing": NoNext(),
    "dropped items": DropItems(2),
    "gaps": ShiftNext(3),
    "overlaps": ShiftNext(-3),
    **{f"429, wait {name}": Status(429, RETRY_AFTER[name]) for name in ("huge", "milliseconds")},
    "redirect in a circle": Redirect(307, "circle"),
    **{f"redirect {status} elsewhere": Redirect(status, "//localhost:9") for status in (301, 302, 303, 307, 308)},
    "redirect to https": Redirect(308, "https:"),
    "redirect that forgets": Redirect(303, forgetful=True),
    "gzip bomb": GzipBomb(64),
    "loop to itself": LoopingNext("itself"),
    "loop to the first": LoopingNext("first"),
    "stuck": LoopingNext("stuck"),
    "next at https": NextAt("https:"),
    "next elsewhere": NextAt("//localhost:9"),
    "next at a name that is not": NextAt("//inner.invalid:80"),
    "shuffled": Shuffled(),
    "shuffled ties": Shuffled(ties_only=True),
    "time ignored": Ignores(),
    "not a number": Spoilt(1),
    "half a character": Spoilt(1, "\ud800"),
    **{f"{status} above 3": Status(status, when=When(limit_above=3)) for status in (400, 413, 500, 502, 503, 504)},
    "500 for more than 3": Status(500, when=When(longer_than=3)),
    "500 for one item among others": Status(500, when=When(holds="i05", limit_above=1)),
    "500 for one item": Status(500, when=When(holds="i05")),
    **{f"claims {claim!r}": Claims(claim) for claim in (-1, "many", 1e400, True, [3])},
    "claims nothing": Claims(0),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_fails_at_first_is_survived(name: str) -> None:
    times = 1 if name.startswith("429") else 2  # each refusal is a second of waiting
    fault = replace(PASSING[name], when=When(times=times, tries=1))
    found = fetched(FaultyApi(forty(), faults=[fault]))
    assert found is not None
    assert_whole(found, forty())
    assert fault.happened


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_survived_or_said(name: str) -> None:
    fault = replace(LASTING[name])
    found = fetched(FaultyApi(forty(), faults=[fault]))
    if found is not None:
        assert_whole(found, forty(), [fault])
    assert fault.happened


def test_a_wait_in_milliseconds_is_honoured_where_the_provider_means_that() -> None:
    fault = Status(429, RETRY_AFTER["milliseconds"], when=When(times=1))
    found = fetched(FaultyApi(forty(), faults=[fault]), retry_after_unit="ms")
    assert found is not None
    assert_whole(found, forty())


@pytest.mark.parametrize("count", ["right", "absent"])
@pytest.mark.parametrize("page_size", [7, 10])
@pytest.mark.parametrize("page", [0, 1])
def test_a_filter_that_some_pages_ignore_hides_nothing(page: int, page_size: int, count: Any) -> None:
    found = fetched(FaultyApi(forty(), count=count, faults=[Ignores(when=When(pages={page}))]), page_size)
    if found is not None:
        assert_whole(found, forty())


@pytest.mark.parametrize("page_size", [7, 50])
def test_what_was_not_asked_for_does_not_make_up_for_what_is_missing(page_size: int) -> None:
    found = fetched(FaultyApi(forty(), faults=[DropItems(2), Extra(STRANGERS)]), page_size)
    if found is not None:
        assert_whole(found, forty())


@pytest.mark.parametrize("paging", get_args(Paging))
@pytest.mark.parametrize("page_numbers", [True, False])
@pytest.mark.parametrize("fault", [Status(413, when=When(limit_above=3)), Status(500, when=When(longer_than=3))])
def test_pages_that_are_too_long_are_made_shorter(paging: Any, page_numbers: bool, fault: Fault) -> None:
    found = fetched(FaultyApi(forty(), paging=paging, page_numbers=page_numbers, faults=[replace(fault)]))
    assert found is not None
    assert_whole(found, forty())


@pytest.mark.parametrize("beyond", ["error", "end"])
@pytest.mark.parametrize("cap", [8, 14, 20])
def test_a_deep_cap_hides_nothing(beyond: Any, cap: int) -> None:
    found = fetched(FaultyApi(forty(), deep_cap=cap, beyond=beyond))
    if found is not None:
        assert_whole(found, forty())


def hundreds(seconds: int = 1) -> list[dict[str, Any]]:
    """Items at the start of the window, so that slices of equal length are not equally full."""
    times = [WINDOW.start + timedelta(seconds=number * seconds) for number in range(1000)]
    return [make_item(f"i{number:04}", format_rfc3339(time)) for number, time in enumerate(times)]


@pytest.mark.parametrize("count", ["right", "absent"])
@pytest.mark.parametrize("status", [400, 403, 404, 413, 414, 416, 422, 500])
def test_a_server_that_refuses_deep_pages_is_read_in_narrower_slices(status: int, count: Any) -> None:
    api = FaultyApi(hundreds(), deep_cap=120, deep_status=status, count=count)
    found = fetched(api, 50)
    assert found is not None
    assert_whole(found, api.items)


def test_the_depth_that_a_server_refused_is_remembered() -> None:
    api = FaultyApi(hundreds(100), deep_cap=120, deep_status=422)
    found = fetched(api, 50, concurrency=1)
    assert found is not None
    assert_whole(found, api.items)
    # those that were under way when the first one was refused
    assert sum(ask.status == 422 for ask in api.searches) <= 2
    assert len(api.searches) < 60


def test_deep_pages_of_one_instant_are_refused_with_the_servers_reason() -> None:
    crowd = [make_item(f"i{number:03}", "2024-01-02T00:00:00Z") for number in range(200)]
    api = FaultyApi(crowd, deep_cap=120, deep_status=422)
    settings = replace(HTTP, concurrency=3)
    with (
        api.serve() as url,
        IngestModule(StacApiSource(url, "c", http=settings, page_size=50)) as ingest,
        pytest.raises(IncompleteError, match=r"after 100 items.* HTTP 422.*must not exceed 120"),
    ):
        ingest.fetch(WINDOW)


@pytest.mark.parametrize("status", [401, 422, 429])
def test_a_server_that_refuses_the_first_page_is_asked_no_further(status: int) -> None:
    api = FaultyApi(forty(), faults=[Status(status)])
    assert fetched(api) is None
    assert len(api.searches) <= 8


def test_refused_credentials_in_the_middle_are_no_depth() -> None:
    api = FaultyApi(forty(), faults=[Status(401, when=When(pages={1, 2, 3, 4, 5}))])
    assert fetched(api) is None
    assert len(api.searches) <= 20


def test_a_count_that_is_a_usual_cap_is_not_believed() -> None:
    many = [
        make_item(f"i{number:05}", format_rfc3339(WINDOW.start + timedelta(seconds=number))) for number in range(10_050)
    ]
    found = fetched(FaultyApi(many, deep_cap=10_000, beyond="capped_count"), page_size=5000)
    if found is not None:
        assert_whole(found, many)


@pytest.mark.parametrize(
    ("count", "cap", "page_size"), [(150, 60, 50), (500, 100, 50), (1600, 500, 250), (1600, 700, 250)]
)
def test_a_count_that_stops_at_the_servers_depth_hides_nothing(count: int, cap: int, page_size: int) -> None:
    step = (WINDOW.end - WINDOW.start) / (count + 1)
    many = [make_item(f"i{number:04}", format_rfc3339(WINDOW.start + number * step)) for number in range(count)]
    found = fetched(FaultyApi(many, deep_cap=cap, beyond="capped_count"), page_size=page_size)
    assert found is not None
    assert_whole(found, many)
