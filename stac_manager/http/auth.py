"""Credentials of requests. They are sent only to the origin that they are for."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import requests

from stac_manager.errors import SourceError
from stac_manager.http.session import limit_session
from stac_manager.http.urls import public_url

__all__ = ["ApiKey", "Basic", "Bearer", "ClientCredentials", "Credentials"]

_EARLY = 60.0
"""A token is renewed this many seconds before it expires, so that it does not expire during a request."""

_TIMEOUT = 30.0
"""Seconds to wait for a token server."""


class Credentials(Protocol):
    """What to add to a request."""

    def headers(self) -> dict[str, str]:
        """Headers to send; may send a request to a token server."""
        ...

    def params(self) -> dict[str, str]:
        """Query parameters to send."""
        ...

    def renew(self) -> bool:
        """Discard what the server has just rejected; False if there is nothing to renew."""
        ...


@dataclass(frozen=True)
class _Fixed:
    def headers(self) -> dict[str, str]:
        return {}

    def params(self) -> dict[str, str]:
        return {}

    def renew(self) -> bool:
        return False


@dataclass(frozen=True)
class Bearer(_Fixed):
    """A token in the `Authorization` header (RFC 6750)."""

    token: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """The header."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Basic(_Fixed):
    """A user and a password (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """The header."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


@dataclass(frozen=True)
class ApiKey(_Fixed):
    """A key in a header or in a query parameter."""

    name: str
    key: str = field(repr=False)
    in_query: bool = False

    def headers(self) -> dict[str, str]:
        """The header, if the key is sent there."""
        return {} if self.in_query else {self.name: self.key}

    def params(self) -> dict[str, str]:
        """The parameter, if the key is sent there."""
        return {self.name: self.key} if self.in_query else {}


@dataclass
class ClientCredentials:
    """A token fetched with a client's own credentials and renewed before it expires (RFC 6749 section 4.4)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._token = ""
        self._ends = 0.0

    def headers(self) -> dict[str, str]:
        """The header with a valid token.

        Raises:
            SourceError: the token server rejects the request, or returns no token.
        """
        with self._lock:
            if time.monotonic() >= self._ends:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def params(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def renew(self) -> bool:
        """Fetch a new token for the next request."""
        with self._lock:
            self._ends = 0.0
        return True

    def _fetch(self) -> None:
        place = public_url(self.token_url)
        form = {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.client_secret}
        if self.scope:
            form["scope"] = self.scope
        try:
            with limit_session(requests.Session()) as session:
                answer = session.post(self.token_url, data=form, timeout=_TIMEOUT, allow_redirects=False)
            document = answer.json() if answer.status_code == requests.codes.ok else {}
            token, lifetime = document.get("access_token"), float(document.get("expires_in") or 300)
        except (requests.RequestException, ValueError, AttributeError, TypeError) as error:
            raise SourceError(f"{place}: cannot get a token: {type(error).__name__}") from None
        if not isinstance(token, str) or not token:
            raise SourceError(f"{place}: cannot get a token: HTTP {answer.status_code}")
        self._token = token
        self._ends = time.monotonic() + max(lifetime - min(_EARLY, lifetime / 2), 1.0)
