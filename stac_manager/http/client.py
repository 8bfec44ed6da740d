"""A polite HTTP client for every source: one gate a host, retries that heed `Retry-After`, deadlines that hold."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urljoin

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from stac_manager.errors import SourceError
from stac_manager.http.auth import Credentials
from stac_manager.http.limiter import HostLimiter, limiter_for
from stac_manager.http.urls import origin, public_url
from stac_manager.times import utc_now

__all__ = ["HttpClient", "HttpSettings", "HttpStats", "TooMuchError"]

log = logging.getLogger(__name__)

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_TOO_MUCH = frozenset({413, 500, 502, 504})
"""Statuses that a smaller page may cure."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)
_CHUNK = 1 << 16
_THROTTLED_FACTOR = 4
"""How many times as often a request is tried that the host only wants later."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How politely, and how stubbornly, to ask."""

    concurrency: int = 5
    """Requests under way to one host at once."""
    rate_limit: float | None = None
    """Requests a second to one host; None: no limit."""
    attempts: int = 5
    """Tries of one request before it counts as failed; four times as many where the host only wants fewer."""
    timeout: float = 60.0
    """Seconds for one try, from connecting to the last byte."""
    deadline: float = 900.0
    """Seconds for one request with all of its tries and waits."""
    retry_after_unit: Literal["s", "ms"] = "s"
    """The unit of a number in `Retry-After`; the standard says seconds, some providers send milliseconds."""
    largest_answer: int = 1 << 28
    """Bytes of an answer, decompressed."""
    slice_deadline: float = 3600.0
    """Seconds for one time slice of a fetch with all of its pages."""


@dataclass(slots=True)
class HttpStats:
    """What a client did so far."""

    requests: int = 0
    retries: int = 0
    received_bytes: int = 0


class TooMuchError(SourceError):
    """The server failed for good with an answer that may be too large for it; a smaller page may pass."""


class _TryAgainError(Exception):
    """A failure that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.status = status

    @property
    def throttled(self) -> bool:
        """Whether the server only wants fewer requests."""
        return self.status == 429 or (self.status == 503 and self.wait is not None)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Use as `async with HttpClient(settings, …) as client`.

    Args:
        settings: limits.
        credentials: sent to the origin of `home` only.
        home: the address that the credentials are for.
    """

    def __init__(
        self, settings: HttpSettings | None = None, credentials: Credentials | None = None, home: str = ""
    ) -> None:
        self.settings = settings or HttpSettings()
        self.stats = HttpStats()
        self._credentials = credentials
        self._home = origin(home) if home else None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        headers = {"Accept": "application/geo+json, application/json", "User-Agent": "stac-manager"}
        connector = aiohttp.TCPConnector(limit=0)  # the gate bounds what is under way
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request[T](
        self,
        method: str,
        url: str,
        parse: Callable[[bytes], T],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        attempts: int | None = None,
    ) -> T:
        """Send a request until `parse` accepts the whole body of a 2xx answer.

        Args:
            method: GET or POST.
            url: absolute.
            parse: turns the body into a value; a `ValueError` from it counts as a damaged answer and is retried.
            params: of the query, beside those in the URL.
            json: body to send.
            headers: beside the client's own.
            attempts: tries, instead of the settings' number.

        Raises:
            TooMuchError: still failing with a status that a smaller page may cure.
            SourceError: refused by the server, or still failing after every try.
        """
        retrying = AsyncRetrying(
            stop=lambda state: self._stop(state, attempts or self.settings.attempts),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=self._note_retry,
            reraise=True,
        )
        options = {"params": dict(params or {}), "json": json, "headers": dict(headers or {})}
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._try(method, url, parse, options)
        except _TryAgainError as error:
            tries = attempt.retry_state.attempt_number
            kind = TooMuchError if error.status in _TOO_MUCH else SourceError
            raise kind(f"{method} {public_url(url)}: {error}; gave up after {tries} tries") from None
        raise AssertionError("the retry loop returns or raises")

    def _stop(self, state: RetryCallState, attempts: int) -> bool:
        error = state.outcome.exception() if state.outcome else None
        spent = (state.seconds_since_start or 0.0) + _wait(state)
        if spent > self.settings.deadline:
            return True
        throttled = isinstance(error, _TryAgainError) and error.throttled
        return state.attempt_number >= attempts * (_THROTTLED_FACTOR if throttled else 1)

    async def _try[T](self, method: str, url: str, parse: Callable[[bytes], T], options: dict[str, Any]) -> T:
        answer = await self._send(method, url, options)
        if answer.status == 401 and self._credentials and self._credentials.renew():
            answer = await self._send(method, url, options)
        status = answer.status
        if status in _PASSING:
            wait = self._retry_after(answer.headers.get("Retry-After"))
            error = _TryAgainError(f"HTTP {status}{_detail(answer.body)}", wait=wait, status=status)
            if error.throttled:
                self._limiter_of(url).refused(0.5 if wait is None else wait)
            raise error
        self._limiter_of(url).succeeded()
        if not 200 <= status < 300:
            kind = TooMuchError if status in _TOO_MUCH else SourceError
            raise kind(f"{method} {public_url(url)}: HTTP {status}{_detail(answer.body)}")
        try:
            return parse(answer.body)
        except ValueError as error:
            raise _TryAgainError(f"HTTP {status}, but the answer is damaged: {error}") from None

    def _limiter_of(self, url: str) -> HostLimiter:
        return limiter_for(origin(url), self.settings.concurrency, self.settings.rate_limit)

    async def _send(self, method: str, url: str, options: dict[str, Any]) -> _Answer:
        """One try, redirects within the origin included."""
        here = url
        for _ in range(_MOST_REDIRECTS):
            answer = await self._exchange(method, here, await self._with_credentials(here, options))
            if answer.status not in _REDIRECTS:
                return answer
            there = urljoin(here, answer.headers.get("Location", ""))
            if origin(there) != origin(url):
                raise SourceError(f"{method} {public_url(url)}: redirects to another place, {public_url(there)}")
            here, options = there, {**options, "params": {}}
            if answer.status == 303:
                method, options = "GET", {**options, "json": None}
        raise SourceError(f"{method} {public_url(url)}: redirects in a circle")

    async def _with_credentials(self, url: str, options: dict[str, Any]) -> dict[str, Any]:
        if self._credentials is None or origin(url) != self._home:
            return options
        own = await asyncio.to_thread(self._credentials.headers)
        params = {**options["params"], **self._credentials.params()}
        return {**options, "params": params, "headers": {**options["headers"], **own}}

    async def _exchange(self, method: str, url: str, options: dict[str, Any]) -> _Answer:
        async with self._limiter_of(url).slot():
            self.stats.requests += 1
            try:
                async with self._session.request(method, url, allow_redirects=False, **options) as response:
                    body = await self._body(response)
                    self.stats.received_bytes += len(body)
                    return _Answer(response.status, response.headers, body)
            except TimeoutError:
                raise _TryAgainError(f"no whole answer within {self.settings.timeout:g} s") from None
            except (aiohttp.InvalidURL, ValueError):
                raise SourceError(f"{public_url(url)}: is not a URL that can be asked") from None
            except (aiohttp.ClientError, ConnectionError) as error:
                raise _TryAgainError(_describe(error)) from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > self.settings.largest_answer:
                limit = self.settings.largest_answer >> 20
                raise SourceError(f"{public_url(str(response.url))}: the answer is larger than {limit} MiB")
        return b"".join(chunks)

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds to wait by a `Retry-After` header: a number or a date (RFC 9110 section 10.2.3), None if unusable."""
        if not value:
            return None
        try:
            seconds = float(value) / (1000 if self.settings.retry_after_unit == "ms" else 1)
        except ValueError:
            try:
                moment = parsedate_to_datetime(value)
            except ValueError:
                return None
            seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - utc_now()).total_seconds()
        return max(seconds, 0.0) if math.isfinite(seconds) else None

    def _note_retry(self, state: RetryCallState) -> None:
        self.stats.retries += 1
        error = state.outcome.exception() if state.outcome else None
        log.warning("trying again: %s", error)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    backoff = float(_BACKOFF(state))
    if isinstance(error, _TryAgainError) and error.wait is not None:
        # those who were refused together do not all knock again at once
        return error.wait + min(backoff, 0.2 * state.attempt_number)
    return backoff


def _describe(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _detail(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f": {text}" if text else ""
