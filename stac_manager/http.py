"""A polite HTTP client for every source: bounded concurrency, a rate limit a host, retries that heed `Retry-After`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from stac_manager.errors import SourceError
from stac_manager.times import utc_now

__all__ = ["HttpClient", "HttpSettings", "HttpStats", "public_url"]

log = logging.getLogger(__name__)

_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 120.0
_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How politely, and how stubbornly, to ask."""

    concurrency: int = 5
    """Requests under way at once."""
    rate_limit: float | None = None
    """Requests a second to one host; None: no limit."""
    attempts: int = 5
    """Tries of one request before it counts as failed."""
    timeout: float = 60.0
    """Seconds for one try, from connecting to the last byte."""


@dataclass(slots=True)
class HttpStats:
    """What a client did so far."""

    requests: int = 0
    retries: int = 0
    received_bytes: int = 0


class _TryAgainError(Exception):
    """A failure that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class HttpClient:
    """Use as `async with HttpClient(settings) as client`; one for all slices, so that the limits hold for all."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self.stats = HttpStats()
        self._slots = asyncio.Semaphore(self.settings.concurrency)
        self._limiters: dict[str, AsyncLimiter] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        headers = {"Accept": "application/geo+json, application/json", "User-Agent": "stac-manager"}
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers)
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
    ) -> T:
        """Send a request until `parse` accepts the whole body of a 2xx answer.

        Args:
            parse: turns the body into a value; a `ValueError` from it counts as a damaged answer and is retried.

        Raises:
            SourceError: refused by the server, or still failing after every try.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.settings.attempts),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=self._note_retry,
            reraise=True,
        )
        options = {"params": params, "json": json, "headers": headers}
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._try(method, url, parse, options)
        except _TryAgainError as error:
            tries = self.settings.attempts
            raise SourceError(f"{method} {public_url(url)}: {error}; gave up after {tries} tries") from None
        raise AssertionError("the retry loop returns or raises")

    async def _try[T](self, method: str, url: str, parse: Callable[[bytes], T], options: dict[str, Any]) -> T:
        async with self._slots:
            await self._limit(url)
            self.stats.requests += 1
            try:
                async with self._session.request(method, url, **options) as response:
                    body = await response.read()
                    status, answer_headers = response.status, response.headers
            except TimeoutError:
                raise _TryAgainError(f"no whole answer within {self.settings.timeout:g} s") from None
            except aiohttp.InvalidURL:
                raise SourceError(f"{public_url(url)}: is not a URL that can be asked") from None
            except aiohttp.ClientError as error:
                raise _TryAgainError(_describe(error)) from None
        self.stats.received_bytes += len(body)
        if status in _RETRIED_STATUSES:
            wait = _retry_after(answer_headers.get("Retry-After"))
            raise _TryAgainError(f"HTTP {status}{_detail(body)}", wait)
        if not 200 <= status < 300:
            raise SourceError(f"{method} {public_url(url)}: HTTP {status}{_detail(body)}")
        try:
            return parse(body)
        except ValueError as error:
            raise _TryAgainError(f"HTTP {status}, but the answer is damaged: {error}") from None

    async def _limit(self, url: str) -> None:
        rate = self.settings.rate_limit
        if rate is None:
            return
        host = urlsplit(url).netloc
        if host not in self._limiters:
            # one token at a time: a full bucket would let a burst through at the start
            self._limiters[host] = AsyncLimiter(1, 1 / rate)
        await self._limiters[host].acquire()

    def _note_retry(self, state: RetryCallState) -> None:
        self.stats.retries += 1
        error = state.outcome.exception() if state.outcome else None
        log.warning("trying again: %s", error)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _TryAgainError) and error.wait is not None:
        return error.wait
    return float(_BACKOFF(state))


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110 section 10.2.3), at most two minutes."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - utc_now()).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT) if seconds == seconds else None


def _describe(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _detail(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f": {text}" if text else ""


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment: what may stand in a message."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
