"""One gate a host, through which every request of the process goes: bounded, rate-limited, slower when told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from aiolimiter import AsyncLimiter

__all__ = ["HostLimiter", "limiter_for"]

log = logging.getLogger(__name__)

_CALM = 1.0
"""Seconds in which refusals count as one: all requests under way are refused together."""


class HostLimiter:
    """Bounds requests to one host.

    When the host refuses (429, or 503 with `Retry-After`), the bound is halved and nobody asks until the host's time is
    over; each round of successes widens it by one again.
    """

    def __init__(self, concurrency: int, rate_limit: float | None) -> None:
        self.most = concurrency
        self.bound = concurrency
        self.under_way = 0
        self._successes = 0
        self._opens_at = 0.0
        self._cut_at = -_CALM
        self._changed = asyncio.Condition()
        # a bucket of half a second: a full second's worth would come as one burst at the start
        burst = max(1.0, (rate_limit or 0) / 2)
        self._limiter = AsyncLimiter(burst, burst / rate_limit) if rate_limit else None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the time of one request."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.under_way < self.bound)
            self.under_way += 1
        try:
            await self._until_open()
            if self._limiter:
                await self._limiter.acquire()
            yield
        finally:
            async with self._changed:
                self.under_way -= 1
                self._changed.notify(max(1, self.bound - self.under_way))

    async def _until_open(self) -> None:
        closed = self._opens_at - _now()
        if closed > 0:
            await asyncio.sleep(closed)
            await self._until_open()

    def refused(self, wait: float) -> None:
        """The host asked for less: nobody asks for `wait` seconds, and then half as many at once."""
        now = _now()
        self._opens_at = max(self._opens_at, now + wait)
        self._successes = 0
        if now - self._cut_at >= _CALM and self.bound > 1:
            self.bound //= 2
            log.info("the host asks for less: %d requests at once from now on", self.bound)
        self._cut_at = now

    def succeeded(self) -> None:
        """The host answered."""
        self._successes += 1
        if self._successes >= self.bound and self.bound < self.most:
            self.bound += 1
            self._successes = 0


def _now() -> float:
    return asyncio.get_running_loop().time()


_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[object, ...], HostLimiter]] = WeakKeyDictionary()


def limiter_for(place: tuple[object, ...], concurrency: int, rate_limit: float | None) -> HostLimiter:
    """The gate of an origin: the same for everybody who asks it from this event loop; the first sets it up."""
    gates = _limiters.setdefault(asyncio.get_running_loop(), {})
    if place not in gates:
        gates[place] = HostLimiter(concurrency, rate_limit)
    return gates[place]
