"""One limit a host for the whole process: over event loops, threads, and for discovery and tokens as for items."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.discovery import open_api
from stac_manager.errors import SourceError
from stac_manager.http import ClientCredentials, HttpClient, HttpSettings
from stac_manager.http.limiter import HostLimiter, Share, limiter_for, use_share
from stac_manager.items import loads
from tests.stac_items import make_collection

Refuse = Callable[[web.Request, int], web.Response | None]


@contextmanager
def served(refuse: Refuse = lambda request, number: None, seconds: float = 0) -> Iterator[tuple[str, list[float]]]:
    """A STAC API with a time for each request; what `refuse` gives is the answer."""
    times: list[float] = []

    @web.middleware
    async def note(request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        times.append(time.monotonic())
        refused = refuse(request, len(times))
        await asyncio.sleep(seconds)
        return refused or await handler(request)

    app = create_app([make_collection()], [])
    app.middlewares.append(note)
    with serve(app) as url:
        yield url, times


def refuse_first(wait: str, status: int = 429) -> Refuse:
    def refuse(request: web.Request, number: int) -> web.Response | None:
        return web.Response(status=status, headers={"Retry-After": wait}) if number == 1 else None

    return refuse


async def ask(url: str, settings: HttpSettings, times: int = 1) -> None:
    async with HttpClient(settings) as client:
        await asyncio.gather(*(client.request("GET", f"{url}/collections", loads) for _ in range(times)))


def test_the_rate_limit_holds_over_event_loops() -> None:
    settings = HttpSettings(rate_limit=10)
    with served() as (url, times):
        for _ in range(20):
            asyncio.run(ask(url, settings))
    assert times[-1] - times[0] >= (20 - 6) / 10 * 0.9


def test_the_rate_limit_holds_over_threads_and_for_discovery() -> None:
    settings = HttpSettings(rate_limit=10)
    with served() as (url, times), ThreadPoolExecutor(4) as pool:
        done = [pool.submit(asyncio.run, ask(url, settings, 5)) for _ in range(2)]
        done += [pool.submit(lambda: list(open_api(url, None, settings).collections())) for _ in range(5)]
        for each in done:
            each.result()
    assert len(times) == 20
    assert times[-1] - times[0] >= (20 - 6) / 10 * 0.9


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_holds_in_the_next_event_loop_and_for_discovery(status: int) -> None:
    once = HttpSettings(attempts=1, deadline=0.5)
    with served(refuse_first("1", status)) as (url, times):
        with pytest.raises(SourceError, match=str(status)):
            asyncio.run(ask(url, once))
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(asyncio.run, ask(url, HttpSettings())), pool.submit(open_api, url)]
            for each in done:
                each.result()
    assert len(times) >= 3
    assert min(times[1:]) - times[0] >= 0.9


def test_discovery_waits_as_told_and_everybody_with_it() -> None:
    with served(refuse_first("1")) as (url, times):
        open_api(url)
        asyncio.run(ask(url, HttpSettings()))
    assert times[1] - times[0] >= 0.9
    with served(refuse_first("1")) as (url, times), ThreadPoolExecutor(2) as pool:
        found = pool.submit(open_api, url)
        while not times:
            time.sleep(0.01)
        time.sleep(0.2)
        pool.submit(asyncio.run, ask(url, HttpSettings())).result()
        found.result()
    assert min(times[1:]) - times[0] >= 0.9


def test_discovery_tries_as_often_as_the_settings_say() -> None:
    answers = served(lambda request, number: web.Response(status=502))
    with answers as (url, times), pytest.raises(SourceError, match="HTTP 502"):
        open_api(url, None, HttpSettings(attempts=2))
    assert len(times) == 2


def test_a_pause_that_is_longer_than_the_deadline_is_an_error_at_once() -> None:
    settings = HttpSettings(attempts=1, deadline=5)
    with served(refuse_first("86400")) as (url, times):
        with pytest.raises(SourceError, match="429"):
            asyncio.run(ask(url, settings))
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"86[34]\d\d s"):
            asyncio.run(ask(url, settings))
        with pytest.raises(SourceError, match=r"86[34]\d\d s"):
            open_api(url, None, settings)
    assert len(times) == 1
    assert time.monotonic() - start < 4


def test_threads_and_discovery_share_the_bound() -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    app = create_app([make_collection()], [])

    @web.middleware
    async def count(request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        await asyncio.sleep(0.02)
        with lock:
            under_way -= 1
        return await handler(request)

    app.middlewares.append(count)
    settings = HttpSettings(concurrency=3)
    with serve(app) as url, ThreadPoolExecutor(8) as pool:
        done = [pool.submit(asyncio.run, ask(url, settings, 10)) for _ in range(3)]
        done += [pool.submit(open_api, url, None, settings) for _ in range(5)]
        for each in done:
            each.result()
    assert most == 3


def test_the_strictest_limits_of_the_process_hold() -> None:
    with served() as (url, times):
        asyncio.run(ask(url, HttpSettings(rate_limit=10)))
        asyncio.run(ask(url, HttpSettings(), 20))
    assert times[-1] - times[0] >= (21 - 6) / 10 * 0.9
    limiter = limiter_for(("http", "strict.example", 80), 4, 20)
    assert limiter_for(("http", "strict.example", 80), 9, None) is limiter
    assert (limiter.most, limiter.rate) == (4, 20)
    limiter_for(("http", "strict.example", 80), 2, 5)
    assert (limiter.most, limiter.bound, limiter.rate) == (2, 2, 5)


def test_a_cancelled_run_gives_its_slots_back() -> None:
    settings = HttpSettings(concurrency=2)

    async def cut_short(url: str) -> None:
        await asyncio.wait_for(ask(url, settings, 10), 0.3)

    with served(seconds=0.2) as (url, _):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                asyncio.run(cut_short(url))
        asyncio.run(asyncio.wait_for(ask(url, settings, 4), 10))


def test_an_interrupted_run_gives_its_slots_back() -> None:
    limiter = HostLimiter("a.example", 1, None)

    async def interrupted() -> None:
        async def waits() -> None:
            async with limiter.slot():
                raise AssertionError("nobody gives it a turn")

        async with limiter.slot():
            waiting = asyncio.create_task(waits())
            await asyncio.sleep(0.01)
            assert not waiting.done()
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(interrupted())
    with limiter.slot():
        assert limiter.under_way == 1
    assert limiter.under_way == 0


def test_a_loop_that_is_closed_with_tasks_in_it_gives_its_slots_back() -> None:
    limiter = HostLimiter("a.example", 1, None)

    async def hold() -> None:
        async with limiter.slot():
            await asyncio.sleep(100)

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold()) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert limiter.under_way == 1
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    del tasks, task
    gc.collect()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(limiter.slot().__enter__).result(timeout=5)


def test_a_turn_goes_from_one_loop_to_another_and_to_a_thread() -> None:
    limiter = HostLimiter("a.example", 1, None)
    order: list[str] = []

    def in_a_thread() -> None:
        for _ in range(50):
            with limiter.slot():
                order.append("thread")

    async def in_a_loop(name: str) -> None:
        for _ in range(50):
            async with limiter.slot():
                order.append(name)
                await asyncio.sleep(0)

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(in_a_thread)]
        done += [pool.submit(asyncio.run, in_a_loop(name)) for name in ("one", "two")]
        for each in done:
            each.result(timeout=20)
    assert len(order) == 150
    assert limiter.under_way == 0


def test_tokens_are_asked_for_within_the_limits_too() -> None:
    def answer(request: web.Request, number: int) -> web.Response:
        if number == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.json_response({"access_token": "t"})

    with served(answer) as (url, times):
        assert ClientCredentials(f"{url}/token", "me", "s").headers() == {"Authorization": "Bearer t"}
    assert times[1] - times[0] >= 0.9


@pytest.fixture
def share() -> Iterator[Callable[[int, int], None]]:
    yield lambda number, parts: use_share(Share(number, parts))
    use_share(Share())


@pytest.mark.parametrize(("bound", "parts"), [(5, 2), (5, 5), (8, 3), (64, 7), (1, 1)])
def test_the_shares_of_all_processes_add_up_to_the_limit(bound: int, parts: int) -> None:
    assert sum(Share(number, parts).of(bound) for number in range(parts)) == bound


def test_a_share_has_one_request_at_least() -> None:
    assert [Share(number, 4).of(2) for number in range(4)] == [1, 1, 1, 1]


def test_a_process_with_a_share_sends_fewer_requests_at_once(share: Callable[[int, int], None]) -> None:
    limiter = HostLimiter("h", 5)
    share(1, 2)
    turns = [limiter.enter() for _ in range(5)]
    assert [turn.done() for turn in turns] == [True, True, False, False, False]
    share(0, 1)
    limiter.leave(turns[0])
    assert all(turn.done() for turn in turns)


def test_a_process_with_a_share_has_that_part_of_the_rate(
    share: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    limiter = HostLimiter("h", rate_limit=2)
    assert limiter.delay(None) == 0
    alone = limiter.delay(None)
    share(0, 4)
    assert limiter.delay(None) / alone == pytest.approx(4, rel=0.01)


def test_a_share_holds_once_earlier_requests_have_ended(share: Callable[[int, int], None]) -> None:
    limiter = limiter_for(("http", "h", 1), 4)
    turns = [limiter.enter() for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        divided = pool.submit(share, 0, 2)
        for turn in turns[:2]:
            assert not divided.done()
            limiter.leave(turn)
        divided.result(timeout=60)
    assert limiter.under_way == 2
