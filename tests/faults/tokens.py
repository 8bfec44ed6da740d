"""A small token server: OAuth 2 client credentials (RFC 6749 section 4.4)."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from demo.server import serve


@dataclass
class TokenServer:
    """Gives tokens to one client and knows which of them still hold."""

    client_id: str = "client"
    client_secret: str = "secret"
    expires_in: float = 3600.0
    """Seconds for which a token holds."""
    refuses: int | None = None
    """Answer every request with this status."""
    issued: list[str] = field(default_factory=list, init=False)
    """Every token given, in order."""
    asked: int = field(default=0, init=False)
    """How often a token was asked for."""

    def __post_init__(self) -> None:
        self._ends: dict[str, float] = {}

    def accepts(self, authorization: str) -> bool:
        """Whether this header holds a token that is good now."""
        return self._ends.get(authorization.removeprefix("Bearer "), 0.0) > time.monotonic()

    def revoke(self) -> None:
        """No token given so far holds any more."""
        self._ends.clear()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on 127.0.0.1; gives the URL to ask for tokens."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        with serve(app) as url:
            yield f"{url}/token"

    async def _token(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.refuses is not None:
            return web.json_response({"error": "temporarily_unavailable"}, status=self.refuses)
        form = await request.post()
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        in_form = (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)
        if not in_form and request.headers.get("Authorization") != self._basic:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(self._issue(), headers={"Cache-Control": "no-store"})

    @property
    def _basic(self) -> str:
        pair = f"{self.client_id}:{self.client_secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _issue(self) -> dict[str, object]:
        token = f"token-{len(self.issued)}"
        self.issued.append(token)
        self._ends[token] = time.monotonic() + self.expires_in
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in}
