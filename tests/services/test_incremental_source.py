"""What a real STAC API (pgstac) tells of changes, while its catalog changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stac_manager.http import HttpSettings
from stac_manager.ingest import IngestModule, SearchFilter, Since, StacApiSource
from stac_manager.ingest.stac_api.search_filter import FilterLanguage
from stac_manager.items import loads
from stac_manager.times import Window, format_rfc3339
from tests.ingest.test_updated_filter import updated_items
from tests.services.pgstac import PgStac, pgstac_api
from tests.stac_items import make_collection, make_item

pytestmark = pytest.mark.postgres

SUMMER = Window(datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 9, 1, tzinfo=UTC))
CHANGED = datetime(2024, 10, 1, 12, tzinfo=UTC)
LANGUAGES: list[FilterLanguage] = ["cql2", "query"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgStac]:
    with pgstac_api() as api:
        names = ["c", "moves", "odd", "shrinks", "empty"]
        api.load("collections", [make_collection(name) for name in names], tmp_path_factory.mktemp("ndjson"))
        api.upsert(summer_items(300))
        yield api


def summer_items(count: int, collection: str = "c") -> list[dict[str, Any]]:
    """Items over the summer; the later the number, the later the time and the update."""
    step = (SUMMER.end - SUMMER.start) / count
    return [
        {
            **make_item(
                f"s{number:04}",
                format_rfc3339(SUMMER.start + step * number),
                updated=format_rfc3339(CHANGED + timedelta(minutes=number)),
                number=number,
            ),
            "collection": collection,
        }
        for number in range(count)
    ]


def source(api: PgStac, collection: str = "c", **options: Any) -> StacApiSource:
    return StacApiSource(api.url, collection, http=HttpSettings(attempts=2), **options)


def ids_of(ingest: IngestModule) -> list[str]:
    return [item_id for item_id, _ in ingest]


def detect(found: StacApiSource, window: Window = SUMMER) -> str | None:
    return asyncio.run(found.detect_updated_filter(window))


def test_sort_fields_and_filters_are_declared(api: PgStac) -> None:
    found = source(api).api
    assert found.sortable
    assert found.fields
    assert found.filters == {"cql2", "query"}


def test_the_updated_filter_is_honoured_in_cql2(api: PgStac) -> None:
    assert detect(source(api)) == "cql2"
    assert detect(source(api, "empty")) is None


NUMBER_IS_LOW = {"op": "<", "args": [{"property": "number"}, 100]}


@pytest.mark.parametrize(
    ("wanted", "detected"),
    [
        (SearchFilter(bbox=(0, 40, 10, 50)), "cql2"),
        (SearchFilter(cql2=NUMBER_IS_LOW), "cql2"),
        (SearchFilter(query={"number": {"lt": 100}}), "query"),
        (SearchFilter(query={"updated": {"lt": "2025-01-01T00:00:00Z"}}), "no"),
    ],
)
def test_the_updated_filter_is_honoured_beside_the_workflows_filters_in_their_language(
    api: PgStac, wanted: SearchFilter, detected: str
) -> None:
    assert detect(source(api, filter=wanted)) == detected


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_what_was_updated_since_comes(api: PgStac, language: FilterLanguage) -> None:
    with IngestModule(source(api, page_size=20)) as ingest:
        ingest.fetch(SUMMER, since=Since(CHANGED + timedelta(minutes=200), language))
        assert ids_of(ingest) == [f"s{number:04}" for number in range(200, 300)]


def test_the_workflows_filters_and_since_are_honoured_together(api: PgStac) -> None:
    for wanted, language in [
        (SearchFilter(cql2=NUMBER_IS_LOW), LANGUAGES[0]),
        (SearchFilter(query={"number": {"lt": 100}}), LANGUAGES[1]),
    ]:
        with IngestModule(source(api, filter=wanted)) as ingest:
            ingest.fetch(SUMMER, since=Since(CHANGED + timedelta(minutes=90), language))
            assert ids_of(ingest) == [f"s{number:04}" for number in range(90, 100)]


def test_the_newest_update_is_found(api: PgStac) -> None:
    assert asyncio.run(source(api).newest(SUMMER)) == CHANGED + timedelta(minutes=299)


def test_ids_collection_and_filters_are_honoured_together(api: PgStac) -> None:
    asked = ["s0001", "s0250", "gone"]
    for wanted, found in [
        (SearchFilter(), ["s0001", "s0250"]),
        (SearchFilter(cql2=NUMBER_IS_LOW), ["s0001"]),
        (SearchFilter(query={"number": {"lt": 100}}), ["s0001"]),
        (SearchFilter(bbox=(100, 0, 101, 1)), []),
    ]:
        with IngestModule(source(api, filter=wanted)) as ingest:
            ingest.find(asked)
            assert ids_of(ingest) == found
            assert ingest.outside == 0
    with IngestModule(source(api, "empty")) as ingest:
        ingest.find(asked)
        assert ids_of(ingest) == []


def test_a_probe_notices_what_is_created_changed_and_deleted(api: PgStac) -> None:
    found = source(api, "moves")
    items = summer_items(5, "moves")
    seen = [asyncio.run(found.probe(SUMMER))]
    for change in (
        lambda: api.upsert(items),
        lambda: api.upsert([{**items[1], "properties": {**items[1]["properties"], "updated": "2024-11-01T00:00:00Z"}}]),
        lambda: api.delete(["s0002"], "moves"),
    ):
        change()
        seen.append(asyncio.run(found.probe(SUMMER)))
    assert len({probe.fingerprint for probe in seen}) == 4


def test_an_item_that_moves_to_another_month_is_there_once(api: PgStac) -> None:
    item = {**make_item("mover", "2024-02-01T00:00:00Z", updated="2024-10-01T00:00:00Z"), "collection": "moves"}
    api.upsert([item])
    later = {"datetime": "2024-05-20T00:00:00Z", "updated": "2024-10-02T00:00:00Z"}
    api.upsert([{**item, "properties": later}])
    with IngestModule(source(api, "moves")) as ingest:
        ingest.find(["mover"])
        ((_, line),) = list(ingest)
        assert ingest.received == 1
    assert loads(line)["properties"] == later
    api.delete(["mover"], "moves")
    with IngestModule(source(api, "moves")) as ingest:
        ingest.find(["mover"])
        assert ids_of(ingest) == []


@pytest.mark.parametrize(
    ("spelling", "detected"),
    [
        ("2024-02-05T10:00:00.5Z", "cql2"),
        ("2024-02-05T10:00:00.123456+00:00", "cql2"),
        ("2024-02-05T10:00:00+02:00", "no"),
        (None, "no"),
    ],
)
def test_updated_is_compared_as_a_text(api: PgStac, spelling: str | None, detected: str) -> None:
    items = [{**item, "collection": "odd"} for item in updated_items(8)]
    odd = items[3]["properties"]
    odd["updated"] = spelling
    if spelling is None:
        del odd["updated"]
    api.upsert(items)
    january = Window(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
    assert detect(source(api, "odd"), january) == detected


@pytest.mark.parametrize("window", [SUMMER, None], ids=["window", "all times"])
def test_a_count_from_before_a_deletion_costs_one_request(api: PgStac, window: Window | None) -> None:
    api.upsert(summer_items(40, "shrinks"))
    for left in (40, 39, 38):
        with IngestModule(source(api, "shrinks")) as ingest:
            facts = ingest.fetch(window)
            assert len(ingest.items) == facts.matched == left
        assert facts.splits == 0
        assert facts.requests <= 2
        api.delete([f"s{left - 1:04}"], "shrinks")
    api.delete([f"s{number:04}" for number in range(37)], "shrinks")
