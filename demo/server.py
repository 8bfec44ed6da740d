"""A small STAC API (core, collections, features, item-search with GET and POST) over items in memory.

Item-search has the extensions sort, fields and query. Each can be switched off: it is then not declared, and ignored.

python -m demo.server --port 8765
"""

from __future__ import annotations

import asyncio
import errno
import json
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import click
from aiohttp import web

from demo.items import COLLECTIONS, demo_items
from stac_manager.items import item_interval
from stac_manager.times import parse_interval, parse_rfc3339

__all__ = ["Extension", "create_app", "serve"]

Extension = Literal["sort", "fields", "query"]
"""Of item-search."""

CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]
"""The declared conformance classes with only the sort extension."""

MAX_LIMIT = 1000

_EXTENSION_CLASS = "https://api.stacspec.org/v1.0.0/item-search#"
_ASKED_BY: dict[Extension, str] = {"sort": "sortby", "fields": "fields", "query": "query"}
_Item = dict[str, Any]
_Test = Callable[[_Item], bool]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class Catalog:
    """The collections and items of the server; `items` may be changed while it runs."""

    def __init__(self, collections: list[_Item], items: list[_Item]) -> None:
        self.collections = {collection["id"]: collection for collection in collections}
        self.items = items

    def search(self, query: Mapping[str, Any]) -> list[_Item]:
        """Items that match `collections`, `ids`, `datetime`, `bbox` and `query`, sorted by `sortby` or newest first."""
        tests = _tests(query.get("query") or {})
        found = [item for item in self.items if _matches(item, query) and all(test(item) for test in tests)]
        for rule in reversed(query.get("sortby") or [{"field": "datetime", "direction": "desc"}]):
            name = rule["field"].removeprefix("properties.")
            found.sort(key=lambda item: item["id"])
            found.sort(key=lambda item: _sort_key(item, name), reverse=rule["direction"] == "desc")
        return found


_CATALOG = web.AppKey("catalog", Catalog)
_EXTENSIONS = web.AppKey("extensions", frozenset[Extension])


def _sort_key(item: _Item, name: str) -> str:
    return str(item.get(name) or item["properties"].get(name) or "")


def _matches(item: _Item, query: Mapping[str, Any]) -> bool:
    if query.get("collections") and item["collection"] not in query["collections"]:
        return False
    if query.get("ids") and item["id"] not in query["ids"]:
        return False
    if query.get("bbox") and not _touches(item.get("bbox"), query["bbox"]):
        return False
    return not query.get("datetime") or _in_time(item, query["datetime"])


def _tests(query: Mapping[str, Mapping[str, Any]]) -> list[_Test]:
    """The conditions of the query extension on properties."""
    return [
        _test(name.removeprefix("properties."), _OPERATORS[sign], asked)
        for name, signs in query.items()
        for sign, asked in signs.items()
    ]


def _test(name: str, compare: Callable[[Any, Any], bool], asked: Any) -> _Test:
    asked_time = _time(asked)

    def test(item: _Item) -> bool:
        value = item["id"] if name == "id" else item["properties"].get(name)
        time = _time(value) if asked_time else None
        if asked_time and time:
            return compare(time, asked_time)
        return isinstance(value, type(asked) if isinstance(asked, str) else int | float) and compare(value, asked)

    return test


def _time(value: Any) -> datetime | None:
    try:
        return parse_rfc3339(value)
    except (ValueError, TypeError):
        return None


def _touches(box: list[float] | None, asked: list[float]) -> bool:
    if box is None:
        return False
    west, south, east, north = asked if len(asked) == 4 else [*asked[:2], *asked[3:5]]
    return box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south


def _in_time(item: _Item, interval: str) -> bool:
    start, end = parse_interval(interval)
    times = item_interval(item)
    if times is None:
        return False
    low = start or datetime.min.replace(tzinfo=UTC)
    high = end or datetime.max.replace(tzinfo=UTC)
    return times[0] <= high and times[1] >= low


def _answer(document: Any, status: int = 200, kind: str = "application/json") -> web.Response:
    return web.Response(text=json.dumps(document), status=status, content_type=kind)


def _error(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"code": "BadRequest", "description": message}))


async def _landing(request: web.Request) -> web.Response:
    root = str(request.url.origin())
    geojson = "application/geo+json"
    links = [
        {"rel": "self", "href": f"{root}/", "type": "application/json"},
        {"rel": "root", "href": f"{root}/", "type": "application/json"},
        {"rel": "conformance", "href": f"{root}/conformance", "type": "application/json"},
        {"rel": "data", "href": f"{root}/collections", "type": "application/json"},
        {"rel": "search", "href": f"{root}/search", "type": geojson, "method": "GET"},
        {"rel": "search", "href": f"{root}/search", "type": geojson, "method": "POST"},
    ]
    document = {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "alps-scenes",
        "title": "Alps scenes",
        "description": "A made-up provider of Sentinel-2 scenes over the Alps.",
        "conformsTo": _conforms_to(request.app),
        "links": links,
    }
    return _answer(document)


async def _conformance(request: web.Request) -> web.Response:
    return _answer({"conformsTo": _conforms_to(request.app)})


def _conforms_to(app: web.Application) -> list[str]:
    core = [uri for uri in CONFORMANCE if not uri.startswith(_EXTENSION_CLASS)]
    return core + [f"{_EXTENSION_CLASS}{name}" for name in _ASKED_BY if name in app[_EXTENSIONS]]


def _with_links(request: web.Request, collection: _Item) -> _Item:
    root = str(request.url.origin())
    here = f"{root}/collections/{collection['id']}"
    links = [
        {"rel": "self", "href": here, "type": "application/json"},
        {"rel": "root", "href": f"{root}/", "type": "application/json"},
        {"rel": "parent", "href": f"{root}/", "type": "application/json"},
        {"rel": "items", "href": f"{here}/items", "type": "application/geo+json"},
    ]
    return {**collection, "links": [*links, *collection.get("links", [])]}


async def _collections(request: web.Request) -> web.Response:
    found = [_with_links(request, collection) for collection in request.app[_CATALOG].collections.values()]
    return _answer({"collections": found, "links": [{"rel": "self", "href": str(request.url)}]})


async def _collection(request: web.Request) -> web.Response:
    collection = request.app[_CATALOG].collections.get(request.match_info["collection"])
    if collection is None:
        return _answer({"code": "NotFound", "description": "no such collection"}, status=404)
    return _answer(_with_links(request, collection))


def _query_of(request: web.Request) -> dict[str, Any]:
    query: dict[str, Any] = dict(request.query)
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
    if "fields" in query:
        names = query["fields"].split(",")
        query["fields"] = {
            "include": [name.lstrip("+") for name in names if not name.startswith("-")],
            "exclude": [name[1:] for name in names if name.startswith("-")],
        }
    return query


async def _features(request: web.Request) -> web.Response:
    query = {name: value for name, value in _query_of(request).items() if name not in _ASKED_BY.values()}
    return _page(request, {**query, "collections": [request.match_info["collection"]]})


async def _search_get(request: web.Request) -> web.Response:
    query = _query_of(request)
    if "query" in query:
        try:
            query["query"] = json.loads(query["query"])
        except ValueError as error:
            raise _error(f"`query`: {error}") from None
    return _page(request, query)


async def _search_post(request: web.Request) -> web.Response:
    return _page(request, await request.json())


def _page(request: web.Request, query: dict[str, Any]) -> web.Response:
    off = {member for name, member in _ASKED_BY.items() if name not in request.app[_EXTENSIONS]}
    honoured = {name: value for name, value in query.items() if name not in off}
    try:
        found = request.app[_CATALOG].search(honoured)
        limit = min(int(query.get("limit", 10)), MAX_LIMIT)
        offset = int(str(query.get("token", "next:0")).removeprefix("next:"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _error(str(error)) from None
    fields = honoured.get("fields") or {}
    features = [_cut(_with_item_links(request, item), fields) for item in found[offset : offset + limit]]
    page = {
        "type": "FeatureCollection",
        "features": features,
        "numberMatched": len(found),
        "numberReturned": len(features),
        "links": _page_links(request, query, offset + limit) if offset + limit < len(found) else [],
    }
    return _answer(page, kind="application/geo+json")


def _page_links(request: web.Request, query: dict[str, Any], offset: int) -> list[_Item]:
    token = f"next:{offset}"
    link: _Item = {"rel": "next", "type": "application/geo+json", "method": request.method}
    if request.method == "POST":
        return [{**link, "href": str(request.url), "body": {**query, "token": token}}]
    return [{**link, "href": str(request.url.update_query(token=token))}]


def _with_item_links(request: web.Request, item: _Item) -> _Item:
    root = str(request.url.origin())
    collection = f"{root}/collections/{item['collection']}"
    links = [
        {"rel": "self", "href": f"{collection}/items/{item['id']}", "type": "application/geo+json"},
        {"rel": "collection", "href": collection, "type": "application/json"},
        {"rel": "parent", "href": collection, "type": "application/json"},
        {"rel": "root", "href": f"{root}/", "type": "application/json"},
    ]
    return {**item, "links": [*links, *item.get("links", [])]}


def _cut(item: _Item, fields: Mapping[str, list[str]]) -> _Item:
    """The members of an item that are included, without those that are excluded."""
    wanted, unwanted = fields.get("include") or [], frozenset(fields.get("exclude") or [])
    kept: _Item = {name: item[name] for name in wanted or item if name in item and name not in unwanted}
    inner = [name.removeprefix("properties.") for name in wanted if name.startswith("properties.")]
    properties = item["properties"]
    if inner and "properties" not in kept:
        kept["properties"] = {name: properties[name] for name in inner if name in properties}
    if "properties" in kept:
        own = kept["properties"].items()
        kept["properties"] = {name: value for name, value in own if f"properties.{name}" not in unwanted}
    return kept


async def _item(request: web.Request) -> web.Response:
    wanted = request.match_info
    for item in request.app[_CATALOG].items:
        if (item["collection"], item["id"]) == (wanted["collection"], wanted["item"]):
            return _answer(_with_item_links(request, item), kind="application/geo+json")
    return _answer({"code": "NotFound", "description": "no such item"}, status=404)


def create_app(
    collections: list[_Item] | None = None,
    items: list[_Item] | None = None,
    extensions: Sequence[Extension] = get_args(Extension),
) -> web.Application:
    """The API with the demo's collections and items, or with others, and with some or all extensions."""
    app = web.Application(client_max_size=2**24)
    app[_EXTENSIONS] = frozenset(extensions)
    app[_CATALOG] = Catalog(
        COLLECTIONS if collections is None else collections, demo_items() if items is None else items
    )
    app.add_routes(
        [
            web.get("/", _landing),
            web.get("/conformance", _conformance),
            web.get("/collections", _collections),
            web.get("/collections/{collection}", _collection),
            web.get("/collections/{collection}/items", _features),
            web.get("/collections/{collection}/items/{item}", _item),
            web.get("/search", _search_get),
            web.post("/search", _search_post),
        ]
    )
    return app


@contextmanager
def serve(app: web.Application, port: int = 0) -> Iterator[str]:
    """Serve an app on 127.0.0.1 in its own thread; yields the URL (port 0: any free port)."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, bound_port = runner.addresses[0][:2]
        return f"http://{host}:{bound_port}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(timeout=10)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise click.ClickException(f"port {port} on 127.0.0.1 is in use; is another demo running?") from None
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


@click.command()
@click.option("--port", default=8765, show_default=True, help="Port on 127.0.0.1.")
def main(port: int) -> None:
    """Serve the demo's STAC API on 127.0.0.1 until interrupted."""
    web.run_app(create_app(), host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
