"""The HTTP client of every source: one limiter a host, retries that honour `Retry-After`, and deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urljoin

import aiohttp
from tenacity import AsyncRetrying

from stac_manager.errors import SourceError, one_line
from stac_manager.http.limiter import HostLimiter, limiter_for
from stac_manager.http.retries import PASSING, TryAgainError, retry_after, retry_options
from stac_manager.http.urls import origin, public_url

if TYPE_CHECKING:
    from stac_manager.http.auth import Credentials  # which asks for tokens with these settings

__all__ = ["HttpClient", "HttpSettings", "HttpStats", "HttpStatusError", "TooMuchError"]

_TOO_MUCH = frozenset({413, 500, 502, 504})
"""Statuses for which a smaller page may help."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits, retries and timeouts of requests."""

    concurrency: int = 5
    """Requests to one host at the same time."""
    rate_limit: float | None = None
    """Requests a second to one host; None: no limit."""
    attempts: int = 5
    """Tries of one request before it counts as failed; four times as many if the host throttles."""
    timeout: float = 60.0
    """Seconds for one try, from the connection to the last byte."""
    deadline: float = 900.0
    """Seconds for one request with all its tries and waits."""
    retry_after_unit: Literal["s", "ms"] = "s"
    """The unit of a number in `Retry-After`: the standard says seconds, some providers send milliseconds."""
    largest_answer: int = 1 << 28
    """The greatest size of an answer, in bytes, decompressed."""
    slice_deadline: float = 3600.0
    """Seconds for one time slice of a fetch with all its pages."""


@dataclass(slots=True)
class HttpStats:
    """What a client has done so far."""

    requests: int = 0
    retries: int = 0
    received_bytes: int = 0


class HttpStatusError(SourceError):
    """The server answered a request with an error status, after every try."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooMuchError(HttpStatusError):
    """The answer may be too large for the server; a smaller page may work."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Use as `async with HttpClient(settings, …) as client`.

    Args:
        settings: limits, retries and timeouts.
        credentials: sent to the origin of `home` only.
        home: the URL that the credentials are for.
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
        connector = aiohttp.TCPConnector(limit=0)  # the limiter bounds the number of requests
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
        """Send a request until `parse` accepts the complete body of a 2xx answer.

        Args:
            method: GET or POST.
            url: the absolute URL.
            parse: turns the body into a value; a `ValueError` from it means a damaged answer, which is retried.
            params: query parameters, in addition to those of the URL.
            json: the body to send.
            headers: in addition to the client's own.
            attempts: the number of tries, instead of that of the settings.

        Raises:
            TooMuchError: every try failed with a status for which a smaller page may help.
            HttpStatusError: every try failed with another error status.
            SourceError: no usable answer after every try.
        """
        tries = retry_options(attempts or self.settings.attempts, self.settings.deadline, self._note_retry)
        options = {"params": dict(params or {}), "json": json, "headers": dict(headers or {})}
        try:
            async for attempt in AsyncRetrying(**tries):
                with attempt:
                    return await self._try(method, url, parse, options)
        except TryAgainError as error:
            count = attempt.retry_state.attempt_number
            raise _failure(f"{method} {public_url(url)}: {error}; gave up after {count} tries", error.status) from None
        raise AssertionError("the retry loop returns or raises")

    async def _try[T](self, method: str, url: str, parse: Callable[[bytes], T], options: dict[str, Any]) -> T:
        answer = await self._send(method, url, options)
        if answer.status == 401 and self._credentials and self._credentials.renew():
            answer = await self._send(method, url, options)
        status = answer.status
        if status in PASSING:
            wait = retry_after(answer.headers.get("Retry-After"), self.settings.retry_after_unit)
            error = TryAgainError(f"HTTP {status}{_detail(answer.body)}", wait=wait, status=status)
            if error.throttled:
                self._limiter_of(url).refused(error.pause)
            raise error
        self._limiter_of(url).succeeded()
        if not 200 <= status < 300:
            raise _failure(f"{method} {public_url(url)}: HTTP {status}{_detail(answer.body)}", status)
        try:
            return parse(answer.body)
        except ValueError as error:
            raise TryAgainError(f"HTTP {status}, but the answer is damaged: {error}") from None

    def _limiter_of(self, url: str) -> HostLimiter:
        return limiter_for(origin(url), self.settings.concurrency, self.settings.rate_limit)

    async def _send(self, method: str, url: str, options: dict[str, Any]) -> _Answer:
        """One try, including redirects within the origin."""
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
        async with self._limiter_of(url).slot(self.settings.deadline):
            self.stats.requests += 1
            try:
                async with self._session.request(method, url, allow_redirects=False, **options) as response:
                    body = await self._body(response)
                    self.stats.received_bytes += len(body)
                    return _Answer(response.status, response.headers, body)
            except TimeoutError:
                raise TryAgainError(f"no complete answer within {self.settings.timeout:g} s") from None
            except (aiohttp.InvalidURL, ValueError):
                raise SourceError(f"{public_url(url)}: is not a usable URL") from None
            except (aiohttp.ClientError, ConnectionError) as error:
                raise TryAgainError(one_line(error)) from None

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

    def _note_retry(self) -> None:
        self.stats.retries += 1


def _failure(message: str, status: int | None) -> SourceError:
    if status is None:
        return SourceError(message)
    return (TooMuchError if status in _TOO_MUCH else HttpStatusError)(message, status)


def _detail(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f": {text}" if text else ""
