from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest
from aiohttp import web

from demo.server import serve
from stac_manager.errors import SourceError
from stac_manager.http import HttpClient, HttpSettings, public_url
from stac_manager.items import loads

Handler = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


def counting(handler: Handler) -> tuple[web.Application, list[float]]:
    """An app that hands each request its number, and when each came."""
    times: list[float] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        times.append(time.monotonic())
        return await handler(request, len(times))

    app = web.Application()
    app.router.add_route("*", "/", handle)
    return app, times


async def ask(url: str, method: str = "GET", **settings: float) -> tuple[object, HttpClient]:
    async with HttpClient(HttpSettings(**settings)) as client:  # type: ignore[arg-type]
        return await client.request(method, url, loads), client


async def good(request: web.Request) -> web.StreamResponse:
    return web.json_response({"good": True})


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_failure_is_tried_again(method: str, status: int) -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(status=status) if number < 3 else await good(request)

    app, times = counting(handler)
    with serve(app) as url:
        answer, client = await ask(f"{url}/", method)
    assert answer == {"good": True}
    assert (len(times), client.stats.requests, client.stats.retries) == (3, 3, 2)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_waited_for(form: str) -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        if number > 1:
            return await good(request)
        wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        return web.Response(status=429, headers={"Retry-After": wait})

    app, times = counting(handler)
    with serve(app) as url:
        await ask(f"{url}/")
    assert times[1] - times[0] >= 0.9


@pytest.mark.parametrize(
    "damaged",
    [
        web.Response(text="<html>Please wait</html>", content_type="text/html"),
        web.Response(text='{"features": [', content_type="application/json"),
        web.Response(body=gzip.compress(b"{}")[:10], headers={"Content-Encoding": "gzip"}),
    ],
    ids=["html", "truncated", "bad gzip"],
)
async def test_a_damaged_answer_is_never_taken_as_data(damaged: web.Response) -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        return damaged if number == 1 else await good(request)

    app, times = counting(handler)
    with serve(app) as url:
        answer, _ = await ask(f"{url}/")
    assert answer == {"good": True}
    assert len(times) == 2


async def test_a_connection_that_breaks_off_is_tried_again() -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        if number > 1:
            return await good(request)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"a": 1')
        assert request.transport is not None
        request.transport.close()
        return response

    app, times = counting(handler)
    with serve(app) as url:
        answer, _ = await ask(f"{url}/")
    assert answer == {"good": True}
    assert len(times) == 2


async def test_giving_up_names_the_place_and_the_reason() -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(status=503, text="down for\nmaintenance")

    app, times = counting(handler)
    with serve(app) as url, pytest.raises(SourceError, match=r"503: down for maintenance; gave up after 3 tries"):
        await ask(f"{url}/", attempts=3)
    assert len(times) == 3


async def test_a_refused_request_is_not_tried_again() -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(status=400, text="bad filter")

    app, times = counting(handler)
    with serve(app) as url, pytest.raises(SourceError, match="HTTP 400: bad filter"):
        await ask(f"{url}/")
    assert len(times) == 1


async def test_a_server_that_never_answers_ends_at_the_timeout() -> None:
    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    app, _ = counting(handler)
    with serve(app) as url, pytest.raises(SourceError, match=r"no complete answer within 0\.3 s"):
        await ask(f"{url}/", attempts=2, timeout=0.3)


async def test_the_rate_limit_holds_for_all_requests_to_a_host() -> None:

    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        return await good(request)

    app, times = counting(handler)
    with serve(app) as url:
        async with HttpClient(HttpSettings(concurrency=8, rate_limit=20)) as client:
            await asyncio.gather(*(client.request("GET", f"{url}/", loads) for _ in range(40)))
    assert times[-1] - times[0] >= (40 - 11) / 20 * 0.9


async def test_no_more_requests_are_under_way_than_allowed() -> None:

    under_way, most = 0, 0

    async def handler(request: web.Request, number: int) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return await good(request)

    app, _ = counting(handler)
    with serve(app) as url:
        async with HttpClient(HttpSettings(concurrency=3)) as client:
            await asyncio.gather(*(client.request("GET", f"{url}/", loads) for _ in range(20)))
    assert most == 3


def test_messages_hold_no_secret_of_a_url() -> None:
    assert public_url("https://user:pass@example.com/search?token=secret#x") == "https://example.com/search"
