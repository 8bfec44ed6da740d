"""A client that keeps to the letter of the STAC API and mends nothing, to see what a server really answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import aiohttp

from tests.faults.ask import Json, params_of_query
from tests.faults.paging import Paging
from tests.stac_items import make_item


def january(count: int) -> list[Json]:
    """Items from 1 to 28 January 2024, two to an instant."""
    return [make_item(f"i{number:02}", f"2024-01-{number // 2 % 28 + 1:02}T00:00:00Z") for number in range(count)]


@dataclass(frozen=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def page(self) -> Json:
        """The body as (lenient) JSON."""
        page: Json = json.loads(self.body)
        return page

    @property
    def ids(self) -> list[Any]:
        """The ids on the page."""
        return [item["id"] for item in self.page["features"]]

    @property
    def next(self) -> Json | None:
        """The first `next` link."""
        return next((link for link in self.page["links"] if link["rel"] == "next"), None)


async def ask(
    url: str,
    query: Json | None = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    patience: float = 5,
    redirects: bool = False,
) -> Answer:
    """One request; a query goes into the body of a POST, else into the URL."""
    in_url = params_of_query(query) if query and method == "GET" else None
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(patience)) as session,
        session.request(
            method,
            url,
            json=query if method == "POST" else None,
            params=in_url,
            headers=headers,
            allow_redirects=redirects,
        ) as response,
    ):
        return Answer(response.status, dict(response.headers), await response.read())


async def search(url: str, limit: int = 10, **query: Any) -> Answer:
    """The first page of a POST search."""
    return await ask(f"{url}/search", {"limit": limit, **query})


async def follow(url: str, paging: Paging, query: Json, *, most: int = 100) -> list[Answer]:
    """Every page of a search, at most so many."""
    method = "GET" if paging in ("get", "features") else "POST"
    place = "collections/c/items" if paging == "features" else "search"
    pages = [await ask(f"{url}/{place}", query, method=method)]
    here = f"{url}/{place}"
    while (link := pages[-1].next) and len(pages) < most:
        here = urljoin(here, link["href"])
        body = {**query, **link.get("body", {})} if link.get("merge") else link.get("body")
        way = link.get("method", "GET")
        pages.append(await ask(here, body if way == "POST" else None, method=way, headers=link.get("headers")))
    return pages


def ids_of(pages: list[Answer]) -> list[Any]:
    """The ids on all pages, in order."""
    return [item_id for page in pages for item_id in page.ids]
