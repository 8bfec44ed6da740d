"""Each fault alone: what passes is survived, what lasts is survived or said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

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
from tests.faults.fetching import JUNK, STRANGERS, WINDOW, assert_whole, fetched, forty
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


def test_a_wait_in_milliseconds_is_heard_where_the_provider_means_that() -> None:
    fault = Status(429, RETRY_AFTER["milliseconds"], when=When(times=1))
    found = fetched(FaultyApi(forty(), faults=[fault]), retry_after_unit="ms")
    assert found is not None
    assert_whole(found, forty())


@pytest.mark.parametrize("count", ["right", "absent"])
@pytest.mark.parametrize("page_size", [7, 10])
@pytest.mark.parametrize("page", [0, 1])
def test_a_filter_that_some_pages_do_not_hear_hides_nothing(page: int, page_size: int, count: Any) -> None:
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


def test_a_count_that_is_a_usual_cap_is_not_believed() -> None:
    many = [
        make_item(f"i{number:05}", format_rfc3339(WINDOW.start + timedelta(seconds=number))) for number in range(10_050)
    ]
    found = fetched(FaultyApi(many, deep_cap=10_000, beyond="capped_count"), page_size=5000)
    if found is not None:
        assert_whole(found, many)
