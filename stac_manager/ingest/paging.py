"""Follow the pages of one STAC API search, whatever way the server links them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from stac_manager.errors import SourceError
from stac_manager.http import HttpClient, public_url
from stac_manager.ingest.source import Page
from stac_manager.items import Item, Refusal, features_of, item_problem

__all__ = ["ApiPage", "Query", "pages"]

_EMPTY_PAGES_ALLOWED = 10


@dataclass(frozen=True, slots=True)
class Query:
    """One request of a search."""

    method: str
    url: str
    params: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Equal for requests that a server cannot tell apart."""
        return json.dumps([self.method, self.url, self.params, self.body, dict(self.headers)], sort_keys=True)


@dataclass(frozen=True, slots=True)
class ApiPage(Page):
    """A page of an item collection, with the server's own count where it gives one."""

    matched: int | None = None
    next: Query | None = None


async def pages(client: HttpClient, first: Query) -> AsyncIterator[ApiPage]:
    """Every page from `first` on.

    Source: STAC API 1.0.0, Item Search, "Pagination" (`next` links with method, body, merge and headers).

    Raises:
        SourceError: a request failed for good, a page repeats an earlier request, or `next` leaves the host.
    """
    query: Query | None = first
    asked: set[str] = set()
    empty = 0
    while query is not None:
        if query.identity in asked:
            raise SourceError(f"{public_url(query.url)}: the `next` links run in a circle")
        asked.add(query.identity)
        page = await fetch_page(client, query)
        yield page
        empty = 0 if page.received else empty + 1
        if empty > _EMPTY_PAGES_ALLOWED:
            raise SourceError(f"{public_url(query.url)}: more than {_EMPTY_PAGES_ALLOWED} empty pages in a row")
        query = page.next


async def fetch_page(client: HttpClient, query: Query) -> ApiPage:
    """Ask for one page."""

    def parse(body: bytes) -> ApiPage:
        return _parse_page(body, query)

    return await client.request(
        query.method, query.url, parse, params=query.params, json=query.body, headers=query.headers
    )


def _parse_page(body: bytes, query: Query) -> ApiPage:
    envelope, members, refusals = features_of(body, "raw_items")
    items: list[Item] = []
    for member in members:
        problem = item_problem(member)
        if problem is None:
            items.append(member)
        else:
            item_id = member.get("id") if isinstance(member, dict) else None
            name = item_id if isinstance(item_id, str) else None
            refusals.append(Refusal(name, "NotAnItem", f"the item {problem}", "raw_items", member))
    return ApiPage(items, refusals, _matched(envelope), _next_query(envelope, query))


def _matched(envelope: Mapping[str, Any]) -> int | None:
    context = envelope.get("context")
    claims = [envelope.get("numberMatched"), context.get("matched") if isinstance(context, dict) else None]
    return next((claim for claim in claims if isinstance(claim, int) and not isinstance(claim, bool)), None)


def _next_query(envelope: Mapping[str, Any], asked: Query) -> Query | None:
    links = envelope.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            return _follow(link, asked)
    return None


def _follow(link: Mapping[str, Any], asked: Query) -> Query:
    url = urljoin(asked.url, link["href"])
    here, there = urlsplit(asked.url), urlsplit(url)
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise SourceError(f"{public_url(asked.url)}: the `next` link leaves for {there.scheme}://{there.hostname}")
    method = str(link.get("method", "GET")).upper()
    headers = link.get("headers")
    body = link.get("body")
    if method == "POST" and (link.get("merge") or body is None):
        body = {**(asked.body or {}), **(body or {})}
    return Query(
        method=method,
        url=url,
        body=body if method == "POST" else None,
        headers=headers if isinstance(headers, dict) else {},
    )
