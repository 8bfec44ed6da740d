"""One limiter a host, through which every request of the process goes: bounded, rate-limited, slower when told.

It belongs to the process and not to an event loop, so that it holds for every `asyncio.run`, for every thread and for
requests without a loop alike.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import Future

from stac_manager.errors import SourceError

__all__ = ["HostLimiter", "limiter_for"]

log = logging.getLogger(__name__)

_CALM = 1.0
"""Seconds in which refusals count as one: all requests under way are refused together."""

_USUAL_BOUND = 5
"""Requests at once to a host for which nobody said how many."""


class HostLimiter:
    """Bounds requests to one host.

    When the host refuses (429, or 503 with `Retry-After`), the bound is halved and all requests pause until the host's
    time expires; each round of successes widens it by one again.

    Where callers come with different limits, the strictest ones hold until the process ends: what one workflow promised
    to the host, another one must not break.
    """

    # aiolimiter belongs to one event loop. Libraries that belong to none (pyrate-limiter, limits) count requests in a
    # time, but know no bound of what is under way and no pause; beside these the token bucket is ten lines.

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
        # reentrant, since the garbage collector may end an abandoned coroutine, and so a slot, at any time
        self._lock = threading.RLock()
        self.limit(concurrency, rate_limit)

    def limit(self, concurrency: int | None, rate_limit: float | None) -> None:
        """Ask for no more than this from now on; None says nothing."""
        with self._lock:
            if concurrency is not None:
                self.bound = min(self.bound, concurrency) if self.most is not None else concurrency
                self.most = concurrency if self.most is None else min(self.most, concurrency)
            if rate_limit is not None and self.rate is None:
                self.rate, self._tokens, self._filled_at = rate_limit, _burst(rate_limit), time.monotonic()
            elif rate_limit is not None and self.rate is not None:
                self.rate = min(self.rate, rate_limit)

    def slot(self, patience: float | None = None) -> _Passage:
        """A turn, held for the time of one request: `with` waits in this thread, `async with` in this event loop.

        Without `async` it must not be used where an event loop runs, which it would block.

        Args:
            patience: the longest pause, in seconds, to wait for.

        Raises:
            SourceError: when it is entered, if the host's pause is longer.
        """
        return _Passage(self, patience)

    def enter(self, loop: asyncio.AbstractEventLoop | None = None) -> Future[None]:
        """Queue for a turn, which has come when the future is done; the loop is the one that waits for it."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting[turn] = loop
            self._hand_on()
        return turn

    def leave(self, turn: Future[None]) -> None:
        """Give a turn back, whether it has come or not."""
        with self._lock:
            if turn.cancel():
                self._waiting.pop(turn, None)
                return
            self.under_way -= 1
            self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self.under_way < self.bound:
            turn = next(iter(self._waiting))
            loop = self._waiting.pop(turn)
            # whose event loop has cancelled it, or is closed, waits no longer
            if not (loop and loop.is_closed()) and turn.set_running_or_notify_cancel():
                self.under_way += 1
                turn.set_result(None)

    def delay(self, patience: float | None) -> float:
        """Seconds until it is worth asking again; 0 starts a request.

        Raises:
            SourceError: the host's pause is longer than `patience`.
        """
        with self._lock:
            now = time.monotonic()
            pause = self._opens_at - now
            if patience is not None and pause > patience:
                most = f"and one may take {patience:g} s"
                raise SourceError(f"{self.name}: wants no request for {pause:.0f} s more, {most}")
            if pause > 0:
                return pause
            if self.rate is None:
                return 0.0
            self._tokens = min(_burst(self.rate), self._tokens + (now - self._filled_at) * self.rate)
            self._filled_at = now
            if self._tokens < 1:
                # a little more, since a clock that is too coarse would find it short of one again
                return (1 - self._tokens) / self.rate + 0.001
            self._tokens -= 1
            return 0.0

    def refused(self, wait: float) -> None:
        """The host asked for less: all requests pause for `wait` seconds, and then half as many run at once."""
        with self._lock:
            now = time.monotonic()
            self._opens_at = max(self._opens_at, now + wait)
            self._successes = 0
            if now - self._cut_at >= _CALM and self.bound > 1:
                self.bound //= 2
                log.info("%s asks for less: %d requests at once from now on", self.name, self.bound)
            self._cut_at = now

    def succeeded(self) -> None:
        """The host answered."""
        with self._lock:
            self._successes += 1
            if self._successes >= self.bound and self.bound < (self.most or _USUAL_BOUND):
                self.bound += 1
                self._successes = 0
                self._hand_on()


class _Passage:
    """One turn; leaving never waits, so that a slot is given back also where an event loop is closed."""

    def __init__(self, gate: HostLimiter, patience: float | None) -> None:
        self._limiter_of = gate
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
            while delay := self._limiter_of.delay(self._patience):  # noqa: ASYNC110 - no event tells of time
                await asyncio.sleep(delay)
        except BaseException:
            self._limiter_of.leave(self._turn)
            raise

    async def __aexit__(self, *failure: object) -> None:
        self._limiter_of.leave(self._turn)


def _burst(rate: float) -> float:
    """Requests that may come at once: half a second's, since a full second's would come as one burst at the start."""
    return max(1.0, rate / 2)


_Place = tuple[str, str, int | None]
_limiters: dict[_Place, HostLimiter] = {}
# a forked process (Celery's workers) has none of the threads that hold slots
os.register_at_fork(after_in_child=_limiters.clear)


def limiter_for(place: _Place, concurrency: int | None = None, rate_limit: float | None = None) -> HostLimiter:
    """The limiter of an origin: the same for everybody in the process; the strictest limits hold."""
    gate = _limiters.get(place) or _limiters.setdefault(place, HostLimiter(place[1]))
    gate.limit(concurrency, rate_limit)
    return gate
