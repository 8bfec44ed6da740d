"""One limiter a host for all requests of the process: it bounds their number and rate, and slows down on request.

A limiter belongs to the process and not to an event loop. So it applies to every `asyncio.run`, to every thread and to
requests without an event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from stac_manager.errors import SourceError

__all__ = ["HostLimiter", "Share", "limiter_for", "use_share"]

log = logging.getLogger(__name__)

_CALM = 1.0
"""Seconds in which several throttled requests count as one: a host throttles all current requests together."""

_SETTLING = 0.01
"""Seconds between two looks at the requests that are under way."""

_USUAL_BOUND = 5
"""Requests at once to a host without a configured limit."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of each host's limits that is this process's own, if several processes of a run share them."""

    number: int = 0
    """Which part; counted from 0."""
    parts: int = 1

    def of(self, bound: int) -> int:
        """This part of a number of requests. All parts add up to it, unless there are more parts than requests."""
        return max(1, bound // self.parts + (self.number < bound % self.parts))


_share = Share()


class HostLimiter:
    """Bounds requests to one host.

    When the host throttles (429, or 503 with `Retry-After`), the bound is halved, and all requests pause until
    `Retry-After` expires. Each round of successful requests raises the bound by one again.

    If callers have different limits, the strictest ones apply until the process ends, so that one workflow does not
    exceed the limit that another workflow has set for the host.
    """

    # aiolimiter belongs to one event loop. Libraries without a loop (pyrate-limiter, limits) limit the rate, but they
    # neither bound the number of current requests nor pause them; the token bucket itself is only ten lines.

    def __init__(self, name: str, concurrency: int | None = None, rate_limit: float | None = None) -> None:
        self.name = name
        self.most: int | None = None
        self.bound = _USUAL_BOUND
        self.rate: float | None = None
        self.under_way = 0
        self._successes = 0
        self._opens_at = 0.0
        self._cut_at = time.monotonic() - _CALM
        self._tokens = 0.0
        self._filled_at = 0.0
        self._waiting: dict[Future[None], asyncio.AbstractEventLoop | None] = {}
        # reentrant: the garbage collector may end an abandoned coroutine, and so free a slot, at any time
        self._lock = threading.RLock()
        self.limit(concurrency, rate_limit)

    @property
    def allowed(self) -> int:
        """Requests at once that this process may send."""
        return _share.of(self.bound)

    def limit(self, concurrency: int | None, rate_limit: float | None) -> None:
        """Apply these limits from now on; None sets no limit."""
        with self._lock:
            if concurrency is not None:
                self.bound = min(self.bound, concurrency) if self.most is not None else concurrency
                self.most = concurrency if self.most is None else min(self.most, concurrency)
            if rate_limit is not None and self.rate is None:
                self.rate, self._tokens, self._filled_at = rate_limit, _burst(rate_limit), time.monotonic()
            elif rate_limit is not None and self.rate is not None:
                self.rate = min(self.rate, rate_limit)

    def slot(self, patience: float | None = None) -> _Slot:
        """A slot for the time of one request: `with` waits in this thread, `async with` in this event loop.

        Do not use plain `with` in an event loop: it would block the loop.

        Args:
            patience: the longest pause, in seconds, to wait for.

        Raises:
            SourceError: on entry, if the host's pause is longer.
        """
        return _Slot(self, patience)

    def enter(self, loop: asyncio.AbstractEventLoop | None = None) -> Future[None]:
        """Queue for a slot, which is free when the future is done; `loop` is the event loop that waits for it."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting[turn] = loop
            self._hand_on()
        return turn

    def leave(self, turn: Future[None]) -> None:
        """Give a slot back, or leave the queue."""
        with self._lock:
            if turn.cancel():
                self._waiting.pop(turn, None)
                return
            self.under_way -= 1
            self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self.under_way < self.allowed:
            turn = next(iter(self._waiting))
            loop = self._waiting.pop(turn)
            # skip waiters that were cancelled or whose event loop is closed
            if not (loop and loop.is_closed()) and turn.set_running_or_notify_cancel():
                self.under_way += 1
                turn.set_result(None)

    def delay(self, patience: float | None) -> float:
        """Seconds to wait before a request; 0: the request may start.

        Raises:
            SourceError: the host's pause is longer than `patience`.
        """
        with self._lock:
            now = time.monotonic()
            pause = self._opens_at - now
            if patience is not None and pause > patience:
                most = f"but a request may take {patience:g} s only"
                raise SourceError(f"{self.name}: asks for no requests for another {pause:.0f} s, {most}")
            if pause > 0:
                return pause
            if self.rate is None:
                return 0.0
            rate = self.rate / _share.parts
            self._tokens = min(_burst(rate), self._tokens + (now - self._filled_at) * rate)
            self._filled_at = now
            if self._tokens < 1:
                # a little more, because with a coarse clock the bucket might still lack a token
                return (1 - self._tokens) / rate + 0.001
            self._tokens -= 1
            return 0.0

    def refused(self, wait: float) -> None:
        """The host throttled: all requests pause for `wait` seconds, and then half as many run at once."""
        with self._lock:
            now = time.monotonic()
            self._opens_at = max(self._opens_at, now + wait)
            self._successes = 0
            if now - self._cut_at >= _CALM and self.bound > 1:
                self.bound //= 2
                log.info("%s asks for fewer requests: from now on %d at once", self.name, self.bound)
            self._cut_at = now

    def succeeded(self) -> None:
        """The host answered."""
        with self._lock:
            self._successes += 1
            if self._successes >= self.bound and self.bound < (self.most or _USUAL_BOUND):
                self.bound += 1
                self._successes = 0
                self._hand_on()


class _Slot:
    """A slot for one request. Leaving never waits, so the slot is freed even if its event loop is closed."""

    def __init__(self, limiter: HostLimiter, patience: float | None) -> None:
        self._limiter_of = limiter
        self._patience = patience

    def __enter__(self) -> None:
        self._turn = self._limiter_of.enter()
        try:
            self._turn.result()
            while delay := self._limiter_of.delay(self._patience):
                time.sleep(delay)
        except BaseException:
            self._limiter_of.leave(self._turn)
            raise

    def __exit__(self, *failure: object) -> None:
        self._limiter_of.leave(self._turn)

    async def __aenter__(self) -> None:
        self._turn = self._limiter_of.enter(asyncio.get_running_loop())
        try:
            if not self._turn.done():
                await asyncio.wrap_future(self._turn)
            while delay := self._limiter_of.delay(self._patience):  # noqa: ASYNC110 - there is no event for time
                await asyncio.sleep(delay)
        except BaseException:
            self._limiter_of.leave(self._turn)
            raise

    async def __aexit__(self, *failure: object) -> None:
        self._limiter_of.leave(self._turn)


def _burst(rate: float) -> float:
    """Requests that may start together: those of a tenth of a second, so that no second sees many more."""
    return max(1.0, rate / 10)


_Place = tuple[str, str, int | None]
_limiters: dict[_Place, HostLimiter] = {}
# a forked process (a Celery worker) does not have the threads that hold slots
os.register_at_fork(after_in_child=_limiters.clear)


def limiter_for(place: _Place, concurrency: int | None = None, rate_limit: float | None = None) -> HostLimiter:
    """The limiter of an origin, one for the whole process; the strictest limits apply."""
    limiter = _limiters.get(place) or _limiters.setdefault(place, HostLimiter(place[1]))
    limiter.limit(concurrency, rate_limit)
    return limiter


def use_share(share: Share) -> None:
    """Use only this part of every host's limits from now on; returns when no more requests than that are under way."""
    global _share
    _share = share
    while any(limiter.under_way > limiter.allowed for limiter in list(_limiters.values())):
        time.sleep(_SETTLING)
