from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

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
from tests.faults.asking import Answer, ask, follow, ids_of, january, search
from tests.stac_items import make_item

ALL = [item["id"] for item in january(40)]
WINDOW = "2024-01-03T00:00:00Z/2024-01-04T00:00:00Z"


async def read(*faults: Fault, most: int = 100, **query: Any) -> list[Answer]:
    """All pages of ten of forty items in the order of their ids."""
    with FaultyApi(january(40), sort="id", faults=faults).serve() as url:
        return await follow(url, "post", {"limit": 10, **query}, most=most)


async def first(*faults: Fault, limit: int = 10, **query: Any) -> Answer:
    with FaultyApi(january(40), sort="id", faults=faults).serve() as url:
        return await search(url, limit, **query)


@pytest.mark.parametrize(
    ("when", "struck"),
    [
        (When(), [0, 1, 2, 3]),
        (When(times=2), [0, 1]),
        (When(pages={1, 3}), [1, 3]),
        (When(limit_above=9), [0, 1, 2, 3]),
        (When(limit_above=10), []),
        (When(longer_than=9), [0, 1, 2, 3]),
        (When(longer_than=10), []),
        (When(holds="i25"), [2]),
        (When(chance=0), []),
        (When(where=lambda one: one.offset > 15), [2, 3]),
        (When(pages={1, 2}, holds="i15"), [1]),
    ],
)
async def test_a_fault_strikes_when_told(when: When, struck: list[int]) -> None:
    fault = Claims(-1, when=when)
    pages = await read(fault)
    assert [number for number, page in enumerate(pages) if page.page["numberMatched"] == -1] == struck
    assert fault.happened == len(struck)


async def test_a_fault_may_strike_only_the_first_tries_of_each_request() -> None:
    api = FaultyApi(january(40), faults=[Status(503, when=When(tries=2))])
    with api.serve() as url:
        statuses = [(await search(url, limit)).status for limit in (5, 6, 5, 5, 6, 6)]
    assert statuses == [503, 503, 503, 200, 503, 200]


async def test_the_same_seed_is_the_same_luck() -> None:
    async def struck(seed: int) -> list[bool]:
        fault = Claims(-1, when=When(chance=0.5, seed=seed))
        return [page.page["numberMatched"] == -1 for page in await read(fault, limit=2)]

    lucks = [await struck(seed) for seed in (1, 1, 2)]
    assert lucks[0] == lucks[1] != lucks[2]
    assert len(set(lucks[0])) == 2


async def test_other_requests_are_spared_unless_told() -> None:
    for spared in (True, False):
        with FaultyApi([], faults=[Status(500, when=When(searches_only=spared))]).serve() as url:
            answers = [await ask(f"{url}{path}", method="GET") for path in ("/", "/collections/c")]
        assert [answer.status for answer in answers] == [200 if spared else 500] * 2


async def test_next_is_missing_once_or_always() -> None:
    assert ids_of(await read(NoNext(when=When(pages={1})))) == ALL[:20]
    assert ids_of(await read(NoNext())) == ALL[:10]


async def test_a_last_page_misses_no_next() -> None:
    fault = NoNext()
    await read(fault, limit=40)
    assert fault.happened == 0


async def test_an_empty_page_leads_on_to_what_it_should_have_had() -> None:
    pages = await read(EmptyPage(when=When(pages={1, 2})))
    tokens = [page.next["body"]["token"] for page in pages if page.next]
    assert [len(page.ids) for page in pages] == [10, 0, 0, 10, 10, 10]
    assert ids_of(pages) == ALL
    assert len(set(tokens)) == len(tokens) == 5


@pytest.mark.parametrize(
    ("to", "offsets", "different"),
    [
        ("itself", [0, 10, 10, 10, 10, 10], 3),
        ("first", [0, 10, 0, 10, 0, 10], 3),
        ("stuck", [0, 10, 10, 10, 10, 10], 6),
    ],
)
async def test_next_leads_nowhere_new(to: Any, offsets: list[int], different: int) -> None:
    api = FaultyApi(january(40), faults=[LoopingNext(to, when=When(where=lambda one: one.offset == 10))])
    with api.serve() as url:
        pages = await follow(url, "post", {"limit": 10}, most=6)
    assert [one.offset for one in api.searches] == offsets
    bodies = [json.dumps(one.body) for one in api.searches]
    assert len(set(bodies)) == (different if to != "itself" else 2)
    assert len(set(ids_of(pages))) == 20


async def test_items_are_missing_from_the_middle_of_a_page() -> None:
    pages = await read(DropItems(2, when=When(pages={1})))
    assert ids_of(pages) == ALL[:14] + ALL[16:]
    assert {page.page["numberMatched"] for page in pages} == {40}
    assert pages[1].page["numberReturned"] == 8


@pytest.mark.parametrize(("by", "lost", "twice"), [(3, ["i10", "i11", "i12"], []), (-3, [], ["i07", "i08", "i09"])])
async def test_pages_leave_gaps_or_overlap(by: int, lost: list[str], twice: list[str]) -> None:
    ids = ids_of(await read(ShiftNext(by, when=When(times=1))))
    assert sorted(set(ALL) - set(ids)) == lost
    assert sorted(item_id for item_id in set(ids) if ids.count(item_id) > 1) == twice


async def test_overlapping_pages_still_come_to_an_end() -> None:
    assert set(ids_of(await read(ShiftNext(-100)))) == set(ALL)


async def test_an_unstable_order_loses_some_items_and_repeats_others() -> None:
    ids = ids_of(await read(Shuffled()))
    assert len(ids) == 40
    assert len(set(ids)) < 40


async def test_an_unstable_order_may_concern_ties_only() -> None:
    with FaultyApi(january(40), sort="datetime_asc", faults=[Shuffled(ties_only=True)]).serve() as url:
        ids = ids_of(await follow(url, "post", {"limit": 3}))
    assert [item_id[:2] for item_id in ids[::10]] == ["i0", "i1", "i2", "i3"]
    assert ids != ALL
    assert len(set(ids)) < 40


async def test_a_part_of_the_query_is_ignored() -> None:
    pages = await read(Ignores(), datetime=WINDOW)
    assert ids_of(pages) == ALL
    assert pages[0].page["numberMatched"] == 40
    assert pages[0].next is not None
    assert pages[0].next["body"]["datetime"] == WINDOW


async def test_a_page_holds_what_was_not_asked_for() -> None:
    odd: list[Any] = [make_item("late", "2025-01-01T00:00:00Z"), None, 7, "text", [], {}]
    page = (await first(Extra(odd), datetime=WINDOW)).page
    assert page["features"][4:] == odd
    assert page["numberMatched"] == 4


@pytest.mark.parametrize(
    ("value", "sent"),
    [(math.nan, b"NaN"), (math.inf, b"Infinity"), (-math.inf, b"-Infinity"), ("\ud800", b'"\\ud800"')],
)
async def test_an_item_holds_what_json_does_not_have(value: float | str, sent: bytes) -> None:
    answer = await first(Spoilt(3, value))
    assert str(answer.page["features"][3]["properties"]["spoilt"]) == str(value)
    assert b'"spoilt": ' + sent in answer.body


@pytest.mark.parametrize(
    ("place", "scheme", "host"),
    [("https:", "https", None), ("//inner.example:81", "http", "inner.example:81"), ("ftp://a.example", "ftp", None)],
)
@pytest.mark.parametrize("paging", ["post", "get"])
async def test_next_leaves_for_another_place(paging: Any, place: str, scheme: str, host: str | None) -> None:
    with FaultyApi(january(40), paging=paging, faults=[NextAt(place)]).serve() as url:
        link = (await follow(url, paging, {"limit": 10}, most=1))[0].next
    assert link is not None
    parts = urlsplit(link["href"])
    assert (parts.scheme, parts.path) == (scheme, "/search")
    assert parts.netloc == (host or ("a.example" if scheme == "ftp" else urlsplit(url).netloc))
    assert ("token=" in parts.query) == (paging == "get")


@pytest.mark.parametrize("status", [401, 403, 404, 413, 429, 500, 502, 503, 504])
async def test_a_page_size_or_one_item_is_too_much(status: int) -> None:
    faults = [Status(status, when=When(limit_above=20)), Status(status, when=When(holds="i07"))]
    assert (await first(faults[0], limit=21)).status == status
    assert (await first(faults[0], limit=20)).status == 200
    assert [page.status for page in [await first(faults[1], limit=size) for size in (7, 8)]] == [200, status]
    single = Status(status, when=When(holds="i00", limit_above=1))
    assert [(await first(single, limit=size)).status for size in (1, 2)] == [200, status]


@pytest.mark.parametrize("form", RETRY_AFTER)
async def test_retry_after_comes_in_every_form(form: str) -> None:
    answer = await first(Status(429, RETRY_AFTER[form]))
    told = answer.headers.get("Retry-After")
    assert answer.status == 429
    if form == "date":
        assert told is not None
        assert -1 < parsedate_to_datetime(told).timestamp() - time.time() <= 1
    elif form != "past date":
        assert told == RETRY_AFTER[form]


async def test_a_burst_is_refused_until_a_second_is_over() -> None:
    fault = BurstLimit(retry_after="0.5", rate=3)
    with FaultyApi(january(5), faults=[fault]).serve() as url:
        statuses = sorted(answer.status for answer in await asyncio.gather(*(search(url) for _ in range(5))))
        await asyncio.sleep(1)
        assert (await search(url)).status == 200
    assert statuses == [200, 200, 200, 429, 429]
    assert fault.happened == 2


@pytest.mark.parametrize("after", [None, 0, 100])
@pytest.mark.parametrize("politely", [True, False])
async def test_the_connection_breaks(after: int | None, politely: bool) -> None:
    with pytest.raises(aiohttp.ClientError):
        await first(Reset(after, politely))


async def test_what_came_before_a_polite_break_is_the_answer() -> None:
    with FaultyApi(january(5), faults=[Reset(50, politely=True)]).serve() as url:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/search", json={}) as response:
            assert len(await response.content.readexactly(50)) == 50
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


@pytest.mark.parametrize("at", [0, 1, 100, -1])
async def test_json_is_truncated(at: int) -> None:
    faults = [Truncated(at, when=When(times=1))]
    with FaultyApi(january(40), faults=faults).serve() as url:
        answer, whole = await search(url), await search(url)
    assert answer.status == 200
    assert answer.body == whole.body[:at]
    assert answer.headers["Content-Length"] == str(len(answer.body))


async def test_a_web_page_comes_with_status_200() -> None:
    answer = await first(Body())
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")


@pytest.mark.parametrize("at", [0, 20, 200])
async def test_gzip_is_damaged(at: int) -> None:
    # damage may also read as a stream that ends early, which aiohttp passes on
    with pytest.raises((aiohttp.ClientError, ValueError)):
        (await first(BadGzip(at))).page.keys()


async def test_gzip_ends_early() -> None:
    with FaultyApi(january(5), faults=[BadGzip(200, cut=True)]).serve() as url:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(f"{url}/search", json={}) as response,
        ):
            packed = await response.read()
    assert len(packed) == 200
    with pytest.raises(EOFError):
        gzip.decompress(packed)


async def test_a_gzip_bomb_is_small_on_its_way_and_large_then() -> None:
    with FaultyApi([], faults=[GzipBomb(mebibytes=8)]).serve() as url:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(f"{url}/search", json={}) as response,
        ):
            packed = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 20_000
    assert len(zlib.decompress(packed, wbits=31)) == 8 << 20


async def test_json_is_nested_as_deep_as_told() -> None:
    answer = await first(DeepJson())
    assert answer.body.count(b"[") > 100_000
    with pytest.raises(RecursionError):
        json.loads(answer.body)


@pytest.mark.parametrize("fault", [Drip(0.01), Hung(), Hung(after=0), Hung(after=100)], ids=repr)
async def test_an_answer_never_ends(fault: Fault) -> None:
    with FaultyApi(january(1), faults=[fault]).serve() as url:
        with pytest.raises(TimeoutError):
            await ask(f"{url}/search", {}, patience=0.3)
        assert fault.happened == 1


async def test_a_drip_starts_with_the_right_answer() -> None:
    with FaultyApi([], faults=[Drip(0)]).serve() as url:
        whole = json.dumps({"type": "FeatureCollection"})[:-1].encode()
        async with aiohttp.ClientSession() as session, session.post(f"{url}/search", json={}) as response:
            assert await response.content.readexactly(len(whole)) == whole


async def test_a_slow_answer_is_right() -> None:
    start = time.monotonic()
    answer = await first(Slow(0.2))
    assert time.monotonic() - start >= 0.2
    assert answer.ids == ALL[:10]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("paging", ["post", "merge", "header", "get", "features"])
async def test_a_redirect_within_the_origin_leads_to_the_answer(paging: Any, status: Any) -> None:
    fault = Redirect(status)
    method, place = {"get": ("GET", "search"), "features": ("GET", "collections/c/items")}.get(
        paging, ("POST", "search")
    )
    with FaultyApi(january(40), sort="id", paging=paging, faults=[fault]).serve() as url:
        query = {"limit": 10, "datetime": "2024-01-06T00:00:00Z/.."}
        plain = await ask(f"{url}/{place}", query, method=method)
        led = await ask(f"{url}/{place}", query, method=method, redirects=True)
        link = led.next
        assert link is not None
        body = {**query, **link.get("body", {})} if link.get("merge") else link.get("body")
        second = await ask(link["href"], body, method=link["method"], headers=link.get("headers"), redirects=True)
    assert (plain.status, led.status, second.status) == (status, 200, 200)
    assert (led.ids, second.ids) == (ALL[10:20], ALL[20:30])
    assert fault.happened == 3


async def test_a_forgetful_redirect_loses_the_query() -> None:
    with FaultyApi(january(40), sort="id", faults=[Redirect(303, forgetful=True)]).serve() as url:
        answer = await ask(f"{url}/search", {"limit": 3, "datetime": "2024-01-06T00:00:00Z/.."}, redirects=True)
    assert answer.ids == ALL[:10]


async def test_a_redirect_runs_in_a_circle() -> None:
    with FaultyApi([], faults=[Redirect(307, "circle")]).serve() as url, pytest.raises(aiohttp.TooManyRedirects):
        await ask(f"{url}/search", {}, redirects=True)


@pytest.mark.parametrize(
    ("to", "start"),
    [("https:", "https://127.0.0.1:"), ("//localhost:1", "http://localhost:1/"), ("ftp://a", "ftp://a/")],
)
async def test_a_redirect_leaves_for_another_place(to: str, start: str) -> None:
    answer = await first(Redirect(308, to))
    assert answer.status == 308
    assert answer.headers["Location"].startswith(start)
    assert answer.headers["Location"].endswith("/search")


async def test_a_redirect_to_another_server_is_seen_there() -> None:
    other = FaultyApi(january(3))
    with other.serve() as there:
        fault = Redirect(307, there)
        with FaultyApi([], faults=[fault]).serve() as url:
            answer = await ask(f"{url}/search", {}, headers={"X-Key": "secret"}, redirects=True)
    assert len(answer.ids) == 3
    assert other.log[0].headers["X-Key"] == "secret"
