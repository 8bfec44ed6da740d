"""When a request is tried again, and after what time. The rules are the same with and without an event loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from tenacity import RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from stac_manager.times import utc_now

__all__ = ["PASSING", "TryAgainError", "retry_after", "retry_options"]

log = logging.getLogger(__name__)

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of failures that may be temporary."""

_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)
_THROTTLED_FACTOR = 4
"""A throttled request is tried this many times as often as a failed one: the host works, it only asks to wait."""


class TryAgainError(Exception):
    """A failure that may be temporary; `wait` is the time that the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.status = status

    @property
    def throttled(self) -> bool:
        """Whether the server asks for fewer requests."""
        return self.status == 429 or (self.status == 503 and self.wait is not None)

    @property
    def pause(self) -> float:
        """Seconds without requests for a server that throttles."""
        return 0.5 if self.wait is None else self.wait


def retry_options(attempts: int, deadline: float, note: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The arguments of `tenacity.Retrying` and `AsyncRetrying`.

    Args:
        attempts: tries before the request counts as failed; four times as many if the host throttles.
        deadline: seconds for all tries and waits together.
        note: called before each further try.
    """

    def stop(state: RetryCallState) -> bool:
        error = _error_of(state)
        if (state.seconds_since_start or 0.0) + _wait(state) > deadline:
            return True
        throttled = isinstance(error, TryAgainError) and error.throttled
        return state.attempt_number >= attempts * (_THROTTLED_FACTOR if throttled else 1)

    def before_sleep(state: RetryCallState) -> None:
        note()
        log.warning("trying again: %s", _error_of(state))

    return {
        "stop": stop,
        "wait": _wait,
        "retry": retry_if_exception_type(TryAgainError),
        "before_sleep": before_sleep,
        "reraise": True,
    }


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    error = _error_of(state)
    backoff = float(_BACKOFF(state))
    if isinstance(error, TryAgainError) and error.wait is not None:
        # a random part, so that requests that were throttled together do not all start again together
        return error.wait + min(backoff, 0.2 * state.attempt_number)
    return backoff


def retry_after(value: str | None, unit: Literal["s", "ms"] = "s") -> float | None:
    """Seconds to wait by a `Retry-After` header: a number or a date (RFC 9110 section 10.2.3), None if unusable."""
    if not value:
        return None
    try:
        seconds = float(value) / (1000 if unit == "ms" else 1)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - utc_now()).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
