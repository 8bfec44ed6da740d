"""One page of a STAC API search, and the request for the next one, for every way in which servers link pages."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from stac_manager.errors import SourceError
from stac_manager.http import HttpClient, origin, public_url
from stac_manager.ingest.protocol import Page
from stac_manager.ingest.stac_api.page_parser import parse_page

__all__ = ["ApiPage", "EndlessPagesError", "SearchRequest", "fetch_page", "follow_pages"]

_EMPTY_PAGES = 10
"""Empty pages in a row that are followed: servers send some if they filter a page after they cut it."""


class EndlessPagesError(Exception):
    """The pages of a search do not end."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One request of a search."""

    method: str
    url: str
    params: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """A text that is equal for equal requests."""
        return json.dumps([self.method, self.url, self.params, self.body, dict(self.headers)], sort_keys=True)


@dataclass(frozen=True, slots=True)
class ApiPage(Page):
    """A page of an item collection, with the server's count if it gives one."""

    matched: int | None = None
    next: SearchRequest | None = None


async def follow_pages(
    first: SearchRequest, fetch: Callable[[SearchRequest], Awaitable[ApiPage]]
) -> AsyncGenerator[ApiPage]:
    """Every page of a search, by its `next` links.

    Raises:
        EndlessPagesError: the links run in a circle, or lead to too many empty pages in a row.
    """
    request: SearchRequest | None = first
    asked: set[str] = set()
    empty = 0
    while request is not None:
        if request.identity in asked:
            raise EndlessPagesError("the `next` links run in a circle")
        asked.add(request.identity)
        page = await fetch(request)
        yield page
        empty = 0 if page.received else empty + 1
        if page.next is not None and empty > _EMPTY_PAGES:
            raise EndlessPagesError(f"more than {_EMPTY_PAGES} empty pages in a row")
        request = page.next


async def fetch_page(
    client: HttpClient, request: SearchRequest, *, attempts: int | None = None, secrets: frozenset[str] = frozenset()
) -> ApiPage:
    """Fetch one page.

    Args:
        client: sends the request.
        request: the request for the page.
        attempts: the number of tries, instead of the client's own.
        secrets: query parameters, in lower case, to remove from every href.

    Raises:
        TooMuchError: the page may be too large for the server.
        SourceError: every try failed, or `next` leads to another host.
    """

    def parse(body: bytes) -> ApiPage:
        return _to_page(body, request, secrets)

    return await client.request(
        request.method,
        request.url,
        parse,
        params=request.params,
        json=request.body,
        headers=request.headers,
        attempts=attempts,
    )


def _to_page(body: bytes, request: SearchRequest, secrets: frozenset[str]) -> ApiPage:
    envelope, items, rejected_items = parse_page(body, secrets)
    return ApiPage(items, rejected_items, matched=_matched(envelope), next=_next_request(envelope, request))


def _matched(envelope: Mapping[str, Any]) -> int | None:
    context = envelope.get("context")
    # the second one is from before STAC API 1.0.0
    claims = [envelope.get("numberMatched"), context.get("matched") if isinstance(context, dict) else None]
    return next((claim for claim in claims if isinstance(claim, int) and not isinstance(claim, bool)), None)


def _next_request(envelope: Mapping[str, Any], asked: SearchRequest) -> SearchRequest | None:
    links = envelope.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            return _follow(link, asked)
    return None


def _follow(link: Mapping[str, Any], asked: SearchRequest) -> SearchRequest:
    url = urljoin(asked.url, link["href"])
    if origin(url) != origin(asked.url):
        raise SourceError(f"{public_url(asked.url)}: the `next` link leaves for {public_url(url)}")
    method = str(link.get("method", "GET")).upper()
    headers = link.get("headers")
    body = link.get("body")
    if method == "POST" and (link.get("merge") or body is None):
        body = {**(asked.body or {}), **(body or {})}
    return SearchRequest(
        method=method,
        url=url,
        body=body if method == "POST" else None,
        headers=headers if isinstance(headers, dict) else {},
    )
