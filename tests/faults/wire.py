"""Faults of the answer on its way: refused, redirected, late, cut off, damaged or far too large."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, cast
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from tests.faults.ask import MOVED, Ask
from tests.faults.fault import AnswerFault
from tests.faults.tokens import TokenServer

CLOSING = web.AppKey("closing", asyncio.Event)
"""Set when the server shuts down, so that nothing keeps it waiting."""

_JSON = "application/geo+json"
_MEBIBYTE = 1 << 20

RetryAfter = str | Callable[[], str] | None


def http_date(seconds: float) -> Callable[[], str]:
    """`Retry-After` as a date so many seconds from when it is sent."""
    return lambda: formatdate(time.time() + seconds, usegmt=True)


RETRY_AFTER: dict[str, RetryAfter] = {
    "seconds": "1",
    "date": http_date(1),
    "past date": http_date(-3600),
    "milliseconds": "300",
    "absent": None,
    "empty": "",
    "zero": "0",
    "huge": "99999999999",
    "overflowing": "1e400",
    "negative": "-5",
    "not a number": "NaN",
    "infinite": "inf",
    "text": "soon",
    "broken date": "Wed, 99 Foo 2024 99:99:99 GMT",
}
"""The forms in which servers tell when to come again."""


def moved(url: str, place: str) -> str:
    """The URL at another `scheme:`, `//host` or `scheme://host`."""
    there, here = urlsplit(place), urlsplit(url)
    return urlunsplit(here._replace(scheme=there.scheme or here.scheme, netloc=there.netloc or here.netloc))


@dataclass
class Status(AnswerFault):
    """An error status, with or without `Retry-After`."""

    status: int
    retry_after: RetryAfter = None
    text: str = '{"code": "Error", "description": "refused by a test"}'
    headers: Mapping[str, str] = field(default_factory=dict)

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        wait = self.retry_after() if callable(self.retry_after) else self.retry_after
        headers = dict(self.headers) if wait is None else {**self.headers, "Retry-After": wait}
        return web.Response(status=self.status, text=self.text, headers=headers, content_type="application/json")


@dataclass
class BurstLimit(Status):
    """Refuses what exceeds so many requests a second; what is refused does not count."""

    status: int = 429
    rate: int = 5

    def __post_init__(self) -> None:
        self._let_in: list[float] = []

    def applies(self, ask: Ask) -> bool:
        if not super().applies(ask):
            return False
        self._let_in = [moment for moment in self._let_in if ask.time - moment < 1]
        if len(self._let_in) >= self.rate:
            return True
        self._let_in.append(ask.time)
        return False


@dataclass
class NeedsToken(AnswerFault):
    """401 for whoever brings no token that still holds."""

    tokens: TokenServer

    def applies(self, ask: Ask) -> bool:
        return super().applies(ask) and not self.tokens.accepts(ask.headers.get("Authorization", ""))

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})


@dataclass
class Redirect(AnswerFault):
    """A redirect: `within` the origin, in a `circle`, or to a place as in `NextAt`.

    Within the origin it leads to the very answer, also for those who turn a POST into a GET, unless the server forgets
    the query.
    """

    status: Literal[301, 302, 303, 307, 308]
    to: str = "within"
    forgetful: bool = False

    def applies(self, ask: Ask) -> bool:
        return super().applies(ask) and not ask.moved

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        return web.Response(status=self.status, headers={"Location": self._location(request, ask)})

    def _location(self, request: web.Request, ask: Ask) -> str:
        if self.to == "circle":
            return request.path_qs
        if self.to != "within":
            return moved(str(request.url), self.to)
        if self.forgetful:
            return MOVED + ask.path
        return f"{MOVED}{ask.path}?kept={ask.number}" if ask.method == "POST" else MOVED + request.path_qs


@dataclass
class Slow(AnswerFault):
    """The right answer, late."""

    seconds: float

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        return web.Response(body=answer, content_type=_JSON)


@dataclass
class Hung(AnswerFault):
    """No answer at all, or none after the first so many bytes."""

    after: int | None = None

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(answer) + 1), "Content-Type": _JSON})
        if self.after is not None:
            await response.prepare(request)
            await response.write(answer[: self.after])
        while not _gone(request):
            await _pause(request, 0.02)
        return response if self.after is not None else web.Response(status=503)


@dataclass
class Drip(AnswerFault):
    """A byte every so many seconds, and blanks for ever after the last one."""

    every: float = 0.02

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        await response.prepare(request)
        sent = 0
        while not _gone(request):
            await response.write(answer[sent : sent + 1] or b" ")
            sent += 1
            await _pause(request, self.every)
        return response


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing() or request.app[CLOSING].is_set()


async def _pause(request: web.Request, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(request.app[CLOSING].wait(), seconds)


@dataclass
class Reset(AnswerFault):
    """The connection breaks before the headers, or after so many bytes of the body."""

    after: int | None = None
    politely: bool = False
    """Close it, so that what was sent arrives, instead of resetting it."""

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(answer) + 1), "Content-Type": _JSON})
        if self.after is not None:
            await response.prepare(request)
            await response.write(answer[: self.after])
        _break(request, politely=self.politely)
        return response if self.after is not None else web.Response(status=503)


def _break(request: web.Request, *, politely: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if politely:
        transport.close()
        return
    # a linger time of zero makes the system send RST instead of FIN
    raw = cast(socket.socket, transport.get_extra_info("socket"))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@dataclass
class Truncated(AnswerFault):
    """Only the first bytes of the JSON, as if that were all; negative: all but the last."""

    at: int

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        return web.Response(body=answer[: self.at], content_type=_JSON)


@dataclass
class Body(AnswerFault):
    """Something else with status 200."""

    body: bytes = b"<!doctype html><title>Please wait</title><p>We are making the site better for you."
    content_type: str = "text/html"

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        return web.Response(body=self.body, content_type=self.content_type)


@dataclass
class BadGzip(AnswerFault):
    """A gzip stream that is damaged from a byte on, or ends there."""

    at: int
    cut: bool = False

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        packed = gzip.compress(answer, mtime=0)
        damaged = b"" if self.cut else bytes(byte ^ 0xFF for byte in packed[self.at :])
        headers = {"Content-Encoding": "gzip"}
        return web.Response(body=packed[: self.at] + damaged, headers=headers, content_type=_JSON)


@dataclass
class GzipBomb(AnswerFault):
    """A small gzip stream that unpacks to blanks without end in sight."""

    mebibytes: int = 1024

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip", "Content-Type": _JSON})
        await response.prepare(request)
        packer = zlib.compressobj(9, wbits=31)
        for _ in range(self.mebibytes):
            if _gone(request):
                return response
            await response.write(packer.compress(b" " * _MEBIBYTE))
            await asyncio.sleep(0)
        await response.write(packer.flush())
        return response


@dataclass
class DeepJson(AnswerFault):
    """A page with an array in an array in an array …"""

    depth: int = 100_000

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        page = json.dumps({"type": "FeatureCollection", "links": [], "features": []})
        nest = "[" * self.depth + "]" * self.depth
        return web.Response(text=page.replace('"features": []', f'"features": [{nest}]'), content_type=_JSON)
