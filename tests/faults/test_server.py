from __future__ import annotations

from typing import Any, get_args

import aiohttp
import pytest
from pystac_client import Client, ItemSearch

from tests.faults import Changing, Count, FaultyApi, NeedsToken, Paging, TokenServer, When, delete, insert, update
from tests.faults.asking import Answer, ask, follow, ids_of, january, search
from tests.stac_items import make_item

PAGINGS = get_args(Paging)
COUNTS = get_args(Count)
WINDOW = "2024-01-03T00:00:00Z/2024-01-20T00:00:00Z"
IN_WINDOW = [item["id"] for item in january(50) if "2024-01-03" <= item["properties"]["datetime"][:10] <= "2024-01-20"]


@pytest.mark.parametrize("page_limit", [None, 7])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("paging", PAGINGS)
async def test_whoever_follows_the_links_gets_every_item_once(paging: Any, count: Any, page_limit: int | None) -> None:
    api = FaultyApi(january(50), paging=paging, count=count, page_limit=page_limit)
    with api.serve() as url:
        pages = await follow(url, paging, {"collections": ["c"], "datetime": WINDOW, "limit": 9})
    assert sorted(ids_of(pages)) == IN_WINDOW
    assert [len(page.ids) for page in pages[:-1]] == [page_limit or 9] * (len(pages) - 1)
    assert len(api.searches) == len(pages)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("paging", [paging for paging in PAGINGS if paging not in ("relative", "features")])
def test_pystac_client_gets_every_item_once(paging: Any, count: Any) -> None:
    with FaultyApi(january(50), paging=paging, count=count).serve() as url:
        client = Client.open(url)
        method = "GET" if paging == "get" else "POST"
        found = client.search(method=method, collections=["c"], datetime=WINDOW, limit=9)
        assert sorted(item["id"] for item in found.items_as_dicts()) == IN_WINDOW


@pytest.mark.parametrize("count", COUNTS)
def test_pystac_client_gets_every_item_of_a_collection_without_search(count: Any) -> None:
    with FaultyApi(january(50), paging="features", count=count).serve() as url:
        found = ItemSearch(f"{url}/collections/c/items", method="GET", datetime=WINDOW, limit=9, max_items=None)
        assert sorted(item["id"] for item in found.items_as_dicts()) == IN_WINDOW


@pytest.mark.parametrize(
    ("paging", "told"),
    [
        ("post", {"method", "body"}),
        ("get", {"method"}),
        ("merge", {"method", "body", "merge"}),
        ("header", {"method", "headers", "merge"}),
        ("relative", {"method", "body"}),
        ("features", {"method"}),
    ],
)
async def test_each_way_of_paging_has_its_own_link(paging: Any, told: set[str]) -> None:
    with FaultyApi(january(50), paging=paging).serve() as url:
        link = (await follow(url, paging, {"limit": 9}, most=1))[0].next
    assert link is not None
    assert set(link) - {"rel", "type", "href"} == told
    assert link["href"].startswith("http") == (paging != "relative")


async def test_a_get_search_is_answered_and_linked_by_get() -> None:
    with FaultyApi(january(20), paging="merge").serve() as url:
        pages = await follow(url, "get", {"limit": 9, "datetime": WINDOW})
    assert sorted(ids_of(pages)) == [item for item in IN_WINDOW if item < "i20"]


@pytest.mark.parametrize(("paging", "status"), [("get", 405), ("features", 404)])
async def test_what_is_not_advertised_is_not_there(paging: Any, status: int) -> None:
    with FaultyApi(january(5), paging=paging).serve() as url:
        links = (await ask(f"{url}/", method="GET")).page["links"]
        assert (await search(url)).status == status
    assert "POST" not in [link.get("method") for link in links]


@pytest.mark.parametrize(
    ("count", "claim"),
    [("right", 36), ("absent", None), ("ignores_filter", 50), ("too_many", 39), ("too_few", 18), ("context", None)],
)
async def test_each_way_of_counting_claims_its_own_number(count: Any, claim: int | None) -> None:
    with FaultyApi(january(50), count=count).serve() as url:
        page = (await search(url, datetime=WINDOW)).page
    assert page.get("numberMatched") == claim
    assert page.get("context", {}).get("matched") == (36 if count == "context" else None)


@pytest.mark.parametrize(
    ("sort", "first"), [("datetime_desc", "i08"), ("datetime_asc", "i00"), ("id", "i00"), ("none", "i09")]
)
async def test_items_come_in_the_servers_order(sort: Any, first: str) -> None:
    with FaultyApi(january(10)[::-1], sort=sort).serve() as url:
        assert (await search(url)).ids[0] == first


@pytest.mark.parametrize(("sortable", "first"), [(True, "i19"), (False, "i18")])
async def test_the_clients_order_is_kept_where_the_server_can_sort(sortable: bool, first: str) -> None:
    with FaultyApi(january(20), sortable=sortable).serve() as url:
        page = await search(url, sortby=[{"field": "id", "direction": "desc"}])
        conformance = (await ask(f"{url}/conformance", method="GET")).page["conformsTo"]
    assert page.ids[0] == first
    assert any(uri.endswith("#sort") for uri in conformance) == sortable


async def test_beyond_a_deep_cap_is_an_error_or_an_end() -> None:
    def capped(beyond: Any) -> FaultyApi:
        return FaultyApi(january(50), deep_cap=20, beyond=beyond)

    with capped("error").serve() as url:
        pages = await search(url, 20), await search(url, 21)
    assert [page.status for page in pages] == [200, 400]
    for beyond, claim in (("end", 50), ("capped_count", 20)):
        with capped(beyond).serve() as url:
            ended = await follow(url, "post", {"limit": 8})
        assert [len(page.ids) for page in ended] == [8, 8, 4]
        assert ended[-1].page["numberMatched"] == claim


@pytest.mark.parametrize(("page_numbers", "second"), [(False, 10), (True, 2)])
async def test_a_token_may_hold_for_one_page_size_only(page_numbers: bool, second: int) -> None:
    with FaultyApi(january(50), sort="id", page_numbers=page_numbers).serve() as url:
        link = (await search(url, 10)).next
        assert link is not None
        page = await ask(f"{url}/search", {**link["body"], "limit": 2})
    assert page.ids[0] == f"i{second:02}"


async def test_the_log_holds_what_was_asked() -> None:
    api = FaultyApi(january(5))
    with api.serve() as url:
        await ask(f"{url}/search?x=1", {"limit": 2}, headers={"Authorization": "Bearer t"})
        await ask(f"{url}/search?x=1", {"limit": 2})
        await ask(f"{url}/collections", method="GET")
    first, again, other = api.log
    assert (first.method, first.path, first.params, first.body) == ("POST", "/search", {"x": "1"}, {"limit": 2})
    assert first.headers["Authorization"] == "Bearer t"
    assert first.origin == url
    assert first.time <= again.time <= other.time
    assert ([one.search for one in api.log], [one.tries for one in api.log]) == ([0, 1, None], [0, 1, 0])
    assert [one.status for one in api.log] == [200, 200, 200]


async def test_items_and_collections_can_be_had_one_by_one() -> None:
    async def get(place: str) -> Answer:
        return await ask(f"{url}/{place}", method="GET")

    with FaultyApi(january(5)).serve() as url:
        assert (await get("collections/c/items/i03")).page == january(5)[3]
        assert (await get("collections/c")).page["id"] == "c"
        assert [(await get(f"collections/{name}")).status for name in ("d", "c/items/nothing")] == [404, 404]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": "many"}, {"token": "mine"}, {"datetime": "yesterday"}])
async def test_what_cannot_be_understood_is_refused(query: dict[str, Any]) -> None:
    with FaultyApi(january(5)).serve() as url:
        assert (await ask(f"{url}/search", query)).status == 400


async def test_items_may_change_between_two_requests() -> None:
    changes = [insert(make_item("new")), delete("i00"), update("i01", v=2)]
    faults = [Changing(change, when=When(times=1, pages={1})) for change in changes]
    api = FaultyApi(january(20), faults=faults)
    with api.serve() as url:
        before, after = await follow(url, "post", {"limit": 10})
    assert (before.page["numberMatched"], after.page["numberMatched"]) == (20, 20)
    assert [item["properties"].get("v") for item in api.items if item["id"] in ("i00", "i01", "new")] == [2, None]


async def test_tokens_are_given_for_a_while_and_counted() -> None:
    tokens = TokenServer(expires_in=0.2)
    api = FaultyApi(january(5), faults=[NeedsToken(tokens, when=When(searches_only=False))])
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
    with api.serve() as url, tokens.serve() as token_url:
        status, document = await post_form(token_url, form)
        header = {"Authorization": f"Bearer {document['access_token']}"}
        good = await ask(f"{url}/search", {}, headers=header)
        tokens.revoke()
        revoked = await ask(f"{url}/search", {}, headers=header)
        none = await ask(f"{url}/", method="GET")
    assert (status, document["expires_in"], tokens.asked, len(tokens.issued)) == (200, 0.2, 1, 1)
    assert (good.status, revoked.status, none.status) == (200, 401, 401)


async def test_a_token_ends_in_time() -> None:
    tokens = TokenServer(expires_in=0.0)
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
    with tokens.serve() as token_url:
        _, document = await post_form(token_url, form)
    assert not tokens.accepts(f"Bearer {document['access_token']}")


@pytest.mark.parametrize(
    ("refuses", "form", "status"),
    [
        (503, {}, 503),
        (None, {"grant_type": "password"}, 400),
        (None, {"grant_type": "client_credentials", "client_id": "client", "client_secret": "guess"}, 401),
    ],
)
async def test_tokens_can_be_refused(refuses: int | None, form: dict[str, str], status: int) -> None:
    tokens = TokenServer(refuses=refuses)
    with tokens.serve() as token_url:
        assert (await post_form(token_url, form))[0] == status
    assert tokens.issued == []


async def post_form(url: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
        return response.status, await response.json()
