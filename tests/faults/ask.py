"""What a request to the server asked for, kept for the faults and for assertions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

Json = dict[str, Any]

DEFAULT_LIMIT = 10
HEADER = "Search-After"
"""Carries the token where pages are linked by headers."""
MOVED = "/moved"
"""A path before which everything is served once more, for redirects."""


@dataclass
class Ask:
    """One request, in the order they came, and what became of it."""

    number: int
    """Of all requests, from 0."""
    method: str
    path: str
    """Without the place that a redirect led to."""
    moved: bool
    """Whether a redirect led here."""
    params: dict[str, str]
    headers: Mapping[str, str]
    body: Json | None
    origin: str
    """Scheme, host and port as the client wrote them."""
    time: float = field(default_factory=time.monotonic)
    query: Json = field(default_factory=dict)
    """What is searched for, whether it came in the URL or in the body; empty for what is no search."""
    search: int | None = None
    """Number among the searches, from 0; None for what is no search."""
    tries: int = 0
    """How often just this was asked for before."""
    style: str = "post"
    """How the server links its pages."""
    page: int = 0
    """Which page of its sequence, from 0."""
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    """How many items the answer may hold: what was asked for, or the server's cap."""
    answer: Json | None = None
    """The page that it gets, unless the answer is spoilt on its way."""
    status: int | None = None
    """None while no answer has been sent."""

    @property
    def asked_limit(self) -> int:
        """The page size that was asked for."""
        return int(self.query.get("limit", DEFAULT_LIMIT))

    @property
    def identity(self) -> str:
        """Equal for requests that ask for the same, at whatever port."""
        asked = [self.method, self.path, self.params, self.body, self.headers.get(HEADER)]
        return json.dumps(asked, sort_keys=True)

    @property
    def link_params(self) -> dict[str, str]:
        """The parameters that a link to another page carries on."""
        return params_of_query(self.query) if "kept" in self.params else self.params

    @property
    def features(self) -> list[Any]:
        """The members of the page."""
        return self.answer["features"] if self.answer else []


async def hear(request: web.Request, number: int) -> Ask:
    """Take a request down.

    Raises:
        HTTPBadRequest: its body is no JSON object.
    """
    text = await request.text()
    try:
        body = json.loads(text) if text else None
    except ValueError:
        body = text
    if body is not None and not isinstance(body, dict):
        raise bad_request("the body is no JSON object")
    return Ask(
        number=number,
        method=request.method,
        path=request.path.removeprefix(MOVED),
        moved=request.path.startswith(f"{MOVED}/"),
        params=dict(request.query),
        headers=request.headers.copy(),
        body=body,
        origin=str(request.url.origin()),
    )


def query_of_params(params: Mapping[str, str]) -> Json:
    """The search in a URL, as a POST body would hold it."""
    query: Json = dict(params)
    for name in ("collections", "ids"):
        if name in query:
            query[name] = query[name].split(",")
    if "bbox" in query:
        query["bbox"] = [float(number) for number in query["bbox"].split(",")]
    if "sortby" in query:
        query["sortby"] = [
            {"field": rule.lstrip("+-"), "direction": "desc" if rule.startswith("-") else "asc"}
            for rule in query["sortby"].split(",")
        ]
    return query


def params_of_query(query: Json) -> dict[str, str]:
    """A POST body as the parameters of a URL."""
    params: dict[str, str] = {name: str(query[name]) for name in ("datetime", "limit", "token") if name in query}
    for name in ("collections", "ids", "bbox"):
        if name in query:
            params[name] = ",".join(str(value) for value in query[name])
    if "sortby" in query:
        signs = {"asc": "+", "desc": "-"}
        params["sortby"] = ",".join(signs[rule["direction"]] + rule["field"] for rule in query["sortby"])
    return params


def with_params(url: str, params: Mapping[str, str]) -> str:
    """A URL with these parameters."""
    return f"{url}?{urlencode(params)}" if params else url


def bad_request(message: str) -> web.HTTPException:
    """An answer for what cannot be asked."""
    return rejection(400, message)


def rejection(status: int, message: str) -> web.HTTPException:
    """An answer for what the server does not do."""

    class RejectedItem(web.HTTPException):
        status_code = status

    return RejectedItem(text=json.dumps({"code": "Refused", "description": message}), content_type="application/json")
