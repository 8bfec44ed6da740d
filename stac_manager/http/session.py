"""Requests without an event loop, for discovery and tokens, with the same limits, pauses and retries as for items."""

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
    """A try without an answer; carries the error that requests raised."""

    def __init__(self, place: str, error: requests.RequestException) -> None:
        super().__init__(f"{place}: {type(error).__name__}")
        self.error = error


class _RefusedError(TryAgainError):
    """A try with an error status that may be temporary."""

    def __init__(self, place: str, answer: requests.Response, wait: float | None) -> None:
        super().__init__(f"{place}: HTTP {answer.status_code}", wait=wait, status=answer.status_code)
        self.answer = answer


class _LimitedAdapter(HTTPAdapter):
    """Sends each request, including redirects and repeated ones, when the host's limiter has a free slot."""

    def __init__(self, settings: HttpSettings | None) -> None:
        super().__init__(max_retries=0)  # the limiter would not see urllib3's own retries
        self._settings = settings or HttpSettings()
        self._limits = (settings.concurrency, settings.rate_limit) if settings else (None, None)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        settings = self._settings
        limiter = limiter_for(origin(request.url or ""), *self._limits)
        try:
            for attempt in Retrying(**retry_options(settings.attempts, settings.deadline)):
                with attempt:
                    return self._try(limiter, request, *args, **options)
        except _RefusedError as refused:
            return refused.answer
        except _UnansweredError as unanswered:
            raise unanswered.error from None
        raise AssertionError("the retry loop returns or raises")

    def _try(
        self, limiter: HostLimiter, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        place = public_url(request.url or "")
        with limiter.slot(self._settings.deadline):
            try:
                answer = super().send(request, *args, **options)
                answer.content  # noqa: B018 - read while the slot is held, and kept by requests
            except _PASSING_ERRORS as error:
                raise _UnansweredError(place, error) from error
        if answer.status_code not in PASSING:
            limiter.succeeded()
            return answer
        wait = retry_after(answer.headers.get("Retry-After"), self._settings.retry_after_unit)
        refused = _RefusedError(place, answer, wait)
        if refused.throttled:
            limiter.refused(refused.pause)
        raise refused


def limit_session(session: requests.Session, settings: HttpSettings | None = None) -> requests.Session:
    """Send every request of a session through the limiter of its host, with the retries of the settings.

    Without settings, the limits of other callers apply.
    """
    for scheme in ("http://", "https://"):
        session.mount(scheme, _LimitedAdapter(settings))
    return session
