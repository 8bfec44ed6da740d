"""A STAC API over items in memory that fails exactly as told, and remembers what it was asked.

Without faults it keeps to STAC API 1.0.0, however it pages and counts.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Literal

from aiohttp import web

from demo.server import CONFORMANCE, Catalog, serve
from tests.faults.ask import MOVED, Ask, Json, bad_request, hear, query_of_params, rejection
from tests.faults.fault import AnswerFault, Fault, FoundFault, PageFault, QueryFault, StoreFault
from tests.faults.paging import Paging, next_link, read_token
from tests.faults.wire import CLOSING
from tests.stac_items import make_collection

Count = Literal["right", "absent", "ignores_filter", "too_many", "too_few", "context"]
Sort = Literal["datetime_desc", "datetime_asc", "id", "none"]

_SORTS: dict[str, list[Json]] = {
    "datetime_desc": [{"field": "properties.datetime", "direction": "desc"}],
    "datetime_asc": [{"field": "properties.datetime", "direction": "asc"}],
    "id": [{"field": "id", "direction": "asc"}],
}
_JSON, _GEOJSON = "application/json", "application/geo+json"
_Step = StoreFault | QueryFault | FoundFault | PageFault
_Handler = Callable[[web.Request, Ask], Awaitable[web.Response]]


@dataclass
class FaultyApi:
    """The server; use as `with FaultyApi(items).serve() as url`."""

    items: list[Json]
    """May be changed while it serves, from outside or by a `Changing` fault."""
    collection: Json = field(default_factory=make_collection, repr=False)
    _: KW_ONLY
    paging: Paging = "post"
    page_limit: int | None = None
    """No page is longer, whatever was asked for."""
    count: Count = "right"
    sort: Sort = "datetime_desc"
    """Where the client does not ask for an order."""
    sortable: bool = True
    deep_cap: int | None = None
    """Items beyond this place of a search cannot be had."""
    beyond: Literal["error", "end", "capped_count"] = "error"
    """How the cap shows: an error status; pages that just end; or an end that the count does not tell either."""
    deep_status: int = 400
    """The status of the error."""
    page_numbers: bool = False
    """Tokens are page numbers: with another page size they mean another place."""
    faults: Sequence[Fault] = ()
    log: list[Ask] = field(default_factory=list, init=False, repr=False)
    """Every request, in the order they came."""

    def __post_init__(self) -> None:
        self._tries: Counter[str] = Counter()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on 127.0.0.1 from a thread of its own; gives the URL."""
        with serve(self.app()) as url:
            try:
                yield url
            finally:
                # asyncio of Python 3.12 leaks the socket of a connection that comes while its server closes
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), self._loop).result(timeout=10)

    @property
    def searches(self) -> list[Ask]:
        """The requests for items."""
        return [ask for ask in self.log if ask.search is not None]

    def app(self) -> web.Application:
        """The application that answers."""
        app = web.Application(client_max_size=2**24)
        app[CLOSING] = asyncio.Event()
        app.on_startup.append(self._start)
        app.on_shutdown.append(_close)
        routes: list[tuple[str, str, _Handler]] = [
            ("GET", "/", self._landing),
            ("GET", "/conformance", self._conformance),
            ("GET", "/collections", self._collections),
            ("GET", "/collections/{collection}", self._one_collection),
            ("GET", "/collections/{collection}/items", self._search),
            ("GET", "/collections/{collection}/items/{item}", self._item),
        ]
        if self.paging != "features":
            routes.append(("GET", "/search", self._search))
        if self.paging not in ("features", "get"):
            routes.append(("POST", "/search", self._search))
        for method, path, handler in [*routes, ("*", "/{else:.*}", self._nothing)]:
            app.router.add_route(method, path, partial(self._serve, handler))
            app.router.add_route(method, MOVED + path, partial(self._serve, handler))
        return app

    async def _start(self, app: web.Application) -> None:
        self._loop = asyncio.get_running_loop()

    async def _serve(self, handler: _Handler, request: web.Request) -> web.StreamResponse:
        ask = await hear(request, len(self.log))
        ask.style = self.paging
        ask.tries = self._tries[ask.identity]
        self._tries[ask.identity] += 1
        if handler == self._search:
            ask.search = len(self.searches)
        self.log.append(ask)
        try:
            response = await self._spoil(request, await handler(request, ask), ask)
        except web.HTTPException as rejection:
            ask.status = rejection.status
            raise
        ask.status = response.status
        return response

    async def _spoil(self, request: web.Request, response: web.Response, ask: Ask) -> web.StreamResponse:
        assert isinstance(response.body, bytes)
        for fault in self.faults:
            if isinstance(fault, AnswerFault) and fault.applies(ask):
                fault.happened += 1
                return await fault.act(request, response.body, ask)
        return response

    def _through[T](self, kind: type[_Step], subject: T, ask: Ask) -> T:
        for fault in self.faults:
            if isinstance(fault, kind) and fault.applies(ask):
                changed: Any = fault.act(subject, ask)  # type: ignore[arg-type]
                fault.happened += changed is not subject or isinstance(fault, StoreFault)
                subject = changed
        return subject

    async def _search(self, request: web.Request, ask: Ask) -> web.Response:
        try:
            self._understand(request, ask)
            self.items = self._through(StoreFault, self.items, ask)
            ask.answer = self._page(ask)
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(str(error)) from None
        ask.answer = self._through(PageFault, ask.answer, ask)
        return _answer(ask.answer, _GEOJSON)

    def _understand(self, request: web.Request, ask: Ask) -> None:
        ask.query = dict(ask.body or {}) if ask.method == "POST" else query_of_params(ask.params)
        if "kept" in ask.params:
            before = self.log[int(ask.params["kept"])]
            ask.query = {name: value for name, value in before.query.items() if name not in ("token", "next")}
            ask.page, ask.offset = before.page, before.offset
        if "collection" in request.match_info:
            ask.query["collections"] = [request.match_info["collection"]]
        ask.limit = min(ask.asked_limit, self.page_limit or ask.asked_limit)
        if ask.limit < 1:
            raise bad_request("`limit` must be positive")
        read_token(ask, page_numbers=self.page_numbers)

    def _page(self, ask: Ask) -> Json:
        query = self._through(QueryFault, ask.query, ask)
        found = self._through(FoundFault, self._find(query), ask)
        matched, end = len(found), ask.offset + ask.limit
        if self.deep_cap is not None and self.beyond == "error":
            if end > self.deep_cap:
                raise rejection(self.deep_status, f"offset and limit must not exceed {self.deep_cap} together")
        elif self.deep_cap is not None:
            found = found[: self.deep_cap]
            matched = len(found) if self.beyond == "capped_count" else matched
        features = found[ask.offset : end]
        links = [next_link(ask, ask.page + 1, end)] if end < len(found) else []
        page = {"type": "FeatureCollection", "features": features, "links": links, "numberReturned": len(features)}
        return {**page, **self._count(matched, ask)}

    def _find(self, query: Json) -> list[Json]:
        catalog = Catalog([self.collection], self.items)
        if self.sortable and query.get("sortby"):
            return catalog.search(query)
        if self.sort != "none":
            return catalog.search({**query, "sortby": _SORTS[self.sort]})
        found = {id(item) for item in catalog.search(query)}
        return [item for item in self.items if id(item) in found]

    def _count(self, matched: int, ask: Ask) -> Json:
        if self.count == "context":
            return {"context": {"matched": matched, "limit": ask.limit}}
        claims = {
            "right": matched,
            "ignores_filter": len(self.items),
            "too_many": matched + 3,
            "too_few": matched // 2,
        }
        return {"numberMatched": claims[self.count]} if self.count in claims else {}

    async def _landing(self, request: web.Request, ask: Ask) -> web.Response:
        root = ask.origin
        links = [
            {"rel": "self", "href": f"{root}/", "type": _JSON},
            {"rel": "root", "href": f"{root}/", "type": _JSON},
            {"rel": "conformance", "href": f"{root}/conformance", "type": _JSON},
            {"rel": "data", "href": f"{root}/collections", "type": _JSON},
        ]
        methods = {"features": [], "get": ["GET"]}.get(self.paging, ["GET", "POST"])
        links += [{"rel": "search", "href": f"{root}/search", "type": _GEOJSON, "method": way} for way in methods]
        about = {"type": "Catalog", "stac_version": "1.1.0", "id": "faulty", "description": "Fails as told."}
        return _answer({**about, "conformsTo": self._conforms_to, "links": links})

    async def _conformance(self, request: web.Request, ask: Ask) -> web.Response:
        return _answer({"conformsTo": self._conforms_to})

    @property
    def _conforms_to(self) -> list[str]:
        left_out = ("item-search", "#sort") if self.paging == "features" else () if self.sortable else ("#sort",)
        return [uri for uri in CONFORMANCE if not uri.endswith(left_out)]

    def _described(self, root: str) -> Json:
        here = f"{root}/collections/{self.collection['id']}"
        links = [
            {"rel": "self", "href": here, "type": _JSON},
            {"rel": "root", "href": f"{root}/", "type": _JSON},
            {"rel": "items", "href": f"{here}/items", "type": _GEOJSON},
        ]
        return {**self.collection, "links": links}

    async def _collections(self, request: web.Request, ask: Ask) -> web.Response:
        return _answer({"collections": [self._described(ask.origin)], "links": []})

    async def _one_collection(self, request: web.Request, ask: Ask) -> web.Response:
        if request.match_info["collection"] != self.collection["id"]:
            raise web.HTTPNotFound
        return _answer(self._described(ask.origin))

    async def _item(self, request: web.Request, ask: Ask) -> web.Response:
        wanted = request.match_info["collection"], request.match_info["item"]
        for item in self.items:
            if (item["collection"], item["id"]) == wanted:
                return _answer(item, _GEOJSON)
        raise web.HTTPNotFound

    async def _nothing(self, request: web.Request, ask: Ask) -> web.Response:
        if ask.path == "/search" and self.paging == "get":
            raise web.HTTPMethodNotAllowed(ask.method, ["GET"])
        raise web.HTTPNotFound


def _answer(document: Json, kind: str = _JSON) -> web.Response:
    return web.Response(text=json.dumps(document), content_type=kind)


async def _close(app: web.Application) -> None:
    app[CLOSING].set()
