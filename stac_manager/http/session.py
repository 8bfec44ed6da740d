"""Requests without an event loop, for discovery and tokens: the same limits, pauses and tries as for items."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, Timeout
from requests.exceptions import ConnectionError as NoConnectionError
from tenacity import Retrying

from stac_manager.http.client import HttpSettings
from stac_manager.http.limiter import HostLimiter, limiter_for
from stac_manager.http.retries import PASSING, TryAgainError, retry_after, retry_options
from stac_manager.http.urls import origin, public_url

__all__ = ["limit_session"]

_PASSING_ERRORS = (NoConnectionError, Timeout, ChunkedEncodingError, ContentDecodingError)


class _UnansweredError(TryAgainError):
    """A try without an answer; keeps what requests raised."""

    def __init__(self, place: str, error: requests.RequestException) -> None:
        super().__init__(f"{place}: {type(error).__name__}")
        self.error = error


class _RefusedError(TryAgainError):
    """A try with an answer that may be another one next time."""

    def __init__(self, place: str, answer: requests.Response, wait: float | None) -> None:
        super().__init__(f"{place}: HTTP {answer.status_code}", wait=wait, status=answer.status_code)
        self.answer = answer


class _LimitedAdapter(HTTPAdapter):
    """Sends each request, redirects and renewed ones included, when the host's limiter lets it."""

    def __init__(self, settings: HttpSettings | None) -> None:
        super().__init__(max_retries=0)  # urllib3's own tries would not be known to the limiter
        self._settings = settings or HttpSettings()
        self._limits = (settings.concurrency, settings.rate_limit) if settings else (None, None)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        settings = self._settings
        gate = limiter_for(origin(request.url or ""), *self._limits)
        try:
            for attempt in Retrying(**retry_options(settings.attempts, settings.deadline)):
                with attempt:
                    return self._try(gate, request, *args, **options)
        except _RefusedError as refused:
            return refused.answer
        except _UnansweredError as unanswered:
            raise unanswered.error from None
        raise AssertionError("the retry loop returns or raises")

    def _try(
        self, gate: HostLimiter, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        place = public_url(request.url or "")
        with gate.slot(self._settings.deadline):
            try:
                answer = super().send(request, *args, **options)
                answer.content  # noqa: B018 - read while the slot is held, and kept by requests
            except _PASSING_ERRORS as error:
                raise _UnansweredError(place, error) from error
        if answer.status_code not in PASSING:
            gate.succeeded()
            return answer
        wait = retry_after(answer.headers.get("Retry-After"), self._settings.retry_after_unit)
        refused = _RefusedError(place, answer, wait)
        if refused.throttled:
            gate.refused(refused.pause)
        raise refused


def limit_session(session: requests.Session, settings: HttpSettings | None = None) -> requests.Session:
    """Let every request of a session go through the limiters of its hosts, and be tried as the settings say.

    Without settings, the limits are those that others ask the hosts with.
    """
    for scheme in ("http://", "https://"):
        session.mount(scheme, _LimitedAdapter(settings))
    return session
