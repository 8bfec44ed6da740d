"""How pages are linked, in each way that STAC API Item Search, "Pagination", allows."""

from __future__ import annotations

from typing import Literal

from tests.faults.ask import HEADER, Ask, Json, bad_request, with_params

Paging = Literal["post", "get", "merge", "header", "relative", "features"]
"""
post: the next body in full; get: by URL, no POST at all; merge: only what changes of the body; header: only a header
that changes; relative: as post, but the address is relative; features: no item-search, only a collection's `items`.
"""


def next_link(ask: Ask, page: int, offset: int) -> Json:
    """The link to that page of the same search."""
    token = f"{page}.{offset}.{ask.limit}"
    path = ask.path.rpartition("/")[2] if ask.style == "relative" else f"{ask.origin}{ask.path}"
    link: Json = {"rel": "next", "type": "application/geo+json", "method": ask.method, "href": path}
    if ask.method == "GET":
        return {**link, "href": with_params(path, {**ask.link_params, "token": token})}
    if ask.style == "merge":
        return {**link, "merge": True, "body": {"next": token}}
    if ask.style == "header":
        return {**link, "merge": True, "headers": {HEADER: token}}
    return {**link, "body": {**ask.query, "token": token}}


def read_token(ask: Ask, *, page_numbers: bool) -> None:
    """Find where the asked page starts.

    Raises:
        HTTPBadRequest: the token is none that the server gave.
    """
    token = _token_of(ask)
    if token is None:
        return
    try:
        ask.page, ask.offset, made_for = (int(part) for part in str(token).split("."))
    except ValueError:
        raise bad_request("unknown token") from None
    if page_numbers:
        ask.offset = ask.offset // made_for * ask.limit


def _token_of(ask: Ask) -> object:
    if ask.method == "GET":
        return ask.query.get("token")
    if ask.style == "header":
        return ask.headers.get(HEADER)
    return ask.query.get("next" if ask.style == "merge" else "token")


def with_next(page: Json, link: Json | None) -> Json:
    """The page with another `next`, or with none."""
    links = [old for old in page["links"] if old["rel"] != "next"]
    return {**page, "links": [*links, link] if link else links}


def has_next(page: Json) -> bool:
    """Whether the page links to another one."""
    return any(link["rel"] == "next" for link in page["links"])
