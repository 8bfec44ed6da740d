"""Find out what a STAC API offers: its conformance classes, its search and its collections.

Fetching items does not belong here: see `stac_manager.ingest`.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from urllib.parse import quote, urljoin

import pystac
from pystac_client import Client, ConformanceClasses
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests import Request, Response, codes
from requests.exceptions import RequestException

from stac_manager.errors import SourceError, UsageError
from stac_manager.geometry import boxes_touch, flat_bbox
from stac_manager.http import Credentials, HttpSettings, limit_session, origin, public_url
from stac_manager.times import parse_interval, parse_rfc3339

__all__ = ["Collection", "CollectionFilter", "DiscoveryModule", "StacApi", "open_api"]

Collection = dict[str, Any]
"""A STAC Collection as the source serves it."""

log = logging.getLogger(__name__)

_QUERY = re.compile(r"\?[^\s'\")]+")
"""A query in the message of another library; it may contain keys and tokens."""


@dataclass(frozen=True)
class StacApi:
    """A STAC API that declares the conformance classes that a sync needs."""

    url: str
    title: str
    search_url: str | None
    """None if the API has no item-search; items then come from each collection's `items`."""
    search_methods: frozenset[str]
    """`GET`, `POST` or both, as the landing page advertises them."""
    sortable: bool
    """Whether item-search can sort (STAC API, Sort extension)."""
    fields: bool
    """Whether item-search can return a part of the fields only (STAC API, Fields extension)."""
    filters: frozenset[str]
    """Which of `query` and `cql2` item-search declares; it would silently ignore the others."""
    collections_url: str
    io: StacApiIO = field(repr=False)

    def items_url(self, collection_id: str) -> str:
        """The features endpoint of a collection."""
        return f"{self.collections_url.partition('?')[0]}/{quote(collection_id, safe='')}/items"

    def collection(self, collection_id: str) -> Collection:
        """One collection as the source serves it.

        Raises:
            SourceError: the source has no such collection, or does not answer.
        """
        url = f"{self.collections_url.partition('?')[0]}/{quote(collection_id, safe='')}"
        with _source_errors(url, f"collection {collection_id!r}"):
            document: Any = self.io.read_json(url)
        if not isinstance(document, dict) or document.get("id") != collection_id:
            raise SourceError(f"{public_url(url)}: the answer is not the collection {collection_id!r}")
        return document

    def collections(self) -> Iterator[Collection]:
        """Every collection, over all pages of the listing.

        Raises:
            SourceError: the source does not answer with collections.
        """
        with _source_errors(self.collections_url, "the list of collections"):
            for page in self.io.get_pages(self.collections_url):
                if not isinstance(page.get("collections"), list):
                    raise SourceError(f"{public_url(self.collections_url)}: the answer holds no `collections`")
                yield from page["collections"]


@contextmanager
def _source_errors(url: str, what: str) -> Iterator[None]:
    """Turns the errors of pystac-client and requests into a `SourceError` of one clear line."""
    place = f"{public_url(url)}: cannot get {what}"
    try:
        yield
    except APIError as error:
        status = getattr(error, "status_code", None)
        raise SourceError(f"{place}: {f'HTTP {status}: ' if status else ''}{_line(error)}") from None
    except (
        RequestException,
        ClientTypeError,
        pystac.STACError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise SourceError(f"{place}: {_line(error)}") from None


def _line(error: BaseException) -> str:
    # requests and urllib3 wrap their errors; the innermost one says what happened
    inner = error.__context__ if isinstance(error, APIError) else error
    reason = getattr(inner.args[0], "reason", None) if inner and inner.args else None
    said = str(reason).rpartition("): ")[2] if reason else str(error)
    text = _QUERY.sub("?…", " ".join(said.split())) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


_FILTERS = {"query": "query", "cql2": "filter"}
"""Our name of a filter extension -> the name of its conformance class."""


def _authoriser(url: str, credentials: Credentials | None) -> Callable[[Request], Request]:
    """Adds credentials to requests that go to the origin of `url`."""
    allowed_origin = origin(url)

    def authorise(request: Request) -> Request:
        if credentials is not None and origin(request.url) == allowed_origin:
            request.headers.update(credentials.headers())
            request.params.update(credentials.params())
        return request

    return authorise


def _session(
    authorise: Callable[[Request], Request], credentials: Credentials | None, settings: HttpSettings
) -> StacApiIO:
    """pystac-client's session, without redirects to another origin and without logs of headers and queries."""
    # both libraries log headers and queries, which contain credentials
    logging.getLogger("pystac_client").setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)

    def stay_on_origin(response: Response, **_: Any) -> None:
        target = urljoin(response.url, response.headers.get("location", ""))
        if response.is_redirect and origin(target) != origin(response.url):
            response.close()
            raise SourceError(f"{public_url(response.url)}: redirects to another place, {public_url(target)}")

    def renew_credentials(response: Response, **options: Any) -> Response:
        if response.status_code != codes.unauthorized or credentials is None or not credentials.renew():
            return response
        response.close()
        again = response.request.copy()
        again.headers.update(credentials.headers())
        return response.connection.send(again, **options)

    io = StacApiIO(timeout=settings.timeout, max_retries=None, request_modifier=authorise)
    limit_session(io.session, settings)
    io.session.headers["Connection"] = "close"  # requests are rare, and nothing closes the session
    io.session.hooks["response"] += [stay_on_origin, renew_credentials]
    return io


def open_api(url: str, credentials: Credentials | None = None, settings: HttpSettings | None = None) -> StacApi:
    """Open a STAC API and check that it declares core, and item-search or features.

    Credentials are sent to the origin of `url` only. The settings, with their limits, apply to these requests too.

    Source: STAC API 1.0.0, conformance classes of the landing page.

    Raises:
        UsageError: the address is no http(s) URL.
        SourceError: no usable STAC API answers there.
    """
    if not url.startswith(("http://", "https://")) or not origin(url)[1]:
        raise UsageError(f"{url!r} is not an http(s) URL")
    with _source_errors(url, "the landing page"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks below cover what pystac-client warns about
        authorise = _authoriser(url, credentials)
        io = _session(authorise, credentials, settings or HttpSettings())
        client = Client.open(url, stac_io=io, request_modifier=authorise, timeout=io.timeout)
        return _api_of(client, url, io)


def _api_of(client: Client, url: str, io: StacApiIO) -> StacApi:
    if not client.conforms_to(ConformanceClasses.CORE):
        raise SourceError(f"{public_url(url)}: does not declare the STAC API core conformance class; is it a STAC API?")
    searchable = client.conforms_to(ConformanceClasses.ITEM_SEARCH)
    if not searchable and not client.conforms_to(ConformanceClasses.FEATURES):
        raise SourceError(
            f"{public_url(url)}: declares neither item-search nor features; its items cannot be requested"
        )
    searches = [link for link in client.get_links("search") if link.absolute_href]
    methods = {str(link.extra_fields.get("method", "GET")).upper() for link in searches}
    extensions = _search_extensions(client)
    data = client.get_single_link("data")
    collections_url = data.absolute_href if data else f"{url.rstrip('/')}/collections"
    return StacApi(
        url=url,
        title=client.title or client.id,
        search_url=(searches[0].absolute_href if searches else f"{url.rstrip('/')}/search") if searchable else None,
        search_methods=frozenset(methods or {"GET"}),
        sortable="sort" in extensions,
        fields="fields" in extensions,
        filters=frozenset(name for name, declared in _FILTERS.items() if declared in extensions),
        collections_url=collections_url,
        io=io,
    )


_SEARCH_EXTENSION = re.compile(r"https://api\.stacspec\.org/v1\.[^/]+/item-search#(\w+)\Z")
"""Each extension has its own version; pystac-client knows version 1.0 only."""


def _search_extensions(client: Client) -> set[str]:
    declared = (_SEARCH_EXTENSION.match(str(uri)) for uri in client.get_conforms_to())
    return {match[1] for match in declared if match}


@dataclass(frozen=True)
class CollectionFilter:
    """Which collections to list; an empty field does not filter."""

    ids: Sequence[str] = ()
    """Names or wildcards (`sentinel-2-*`); one of them must match."""
    provider: str | None = None
    """Part of a provider's name; upper and lower case are the same."""
    datetime: str | None = None
    """An interval `A/B`; the collection's temporal extent must touch it."""
    bbox: Sequence[float] | None = None
    """West, south, east, north in degrees; the collection's spatial extent must touch it. West > east crosses 180°."""

    def __contains__(self, collection: object) -> bool:
        return (
            isinstance(collection, dict)
            and self._by_id(collection)
            and self._by_provider(collection)
            and self._by_time(collection)
            and self._by_place(collection)
        )

    def _by_id(self, collection: Collection) -> bool:
        return not self.ids or any(fnmatchcase(str(collection.get("id")), pattern) for pattern in self.ids)

    def _by_provider(self, collection: Collection) -> bool:
        if self.provider is None:
            return True
        wanted = self.provider.casefold()
        providers = collection.get("providers") or []
        return any(wanted in str(provider.get("name", "")).casefold() for provider in providers)

    def _by_time(self, collection: Collection) -> bool:
        if self.datetime is None:
            return True
        start, end = parse_interval(self.datetime)
        low, high = start or _EVER[0], end or _EVER[1]
        return any(first <= high and last >= low for first, last in _intervals(collection))

    def _by_place(self, collection: Collection) -> bool:
        if self.bbox is None:
            return True
        boxes = ((collection.get("extent") or {}).get("spatial") or {}).get("bbox") or []
        return any(boxes_touch(flat_bbox(box), flat_bbox(self.bbox)) for box in boxes)


_EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _intervals(collection: Collection) -> Iterator[tuple[datetime, datetime]]:
    for interval in ((collection.get("extent") or {}).get("temporal") or {}).get("interval") or []:
        start, end = interval
        yield parse_rfc3339(start) if start else _EVER[0], parse_rfc3339(end) if end else _EVER[1]


def _fits(wanted: CollectionFilter, found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        log.warning("a collection without an id was left out")
        return False
    try:
        return found in wanted
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        log.warning("%s: its extent or its providers cannot be read, so it was left out: %s", found["id"], error)
        return False


class DiscoveryModule:
    """Lists the collections of one API."""

    def __init__(self, catalog_url: str) -> None:
        self.api = open_api(catalog_url)

    def collections(self, wanted: CollectionFilter | None = None) -> list[Collection]:
        """The collections that match, sorted by id.

        Raises:
            SourceError: the source does not answer.
        """
        wanted = wanted or CollectionFilter()
        return sorted(filter(partial(_fits, wanted), self.api.collections()), key=lambda found: str(found["id"]))
