"""The changes that a sync check fetched are merged as they are: the source is not asked for them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.pipeline import Chain
from stac_manager.pipeline.sync import SyncPlanner
from stac_manager.pipeline.sync.runs import rebuild, sync
from stac_manager.times import format_rfc3339
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

Json = dict[str, Any]
LONG_AGO = datetime(2024, 6, 1, tzinfo=UTC)


class Asked:
    """The searches that a server was asked."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        self.then: Callable[[], None] | None = None
        """Done once, right after the next search for changes."""

    @property
    def feeds(self) -> list[Json]:
        return [body for body in self.bodies if "updated" in (body.get("query") or {})]

    @web.middleware
    async def record(self, request: web.Request, handler: Any) -> Any:
        body = await request.json() if request.method == "POST" else {}
        self.bodies.append(body)
        answer = await handler(request)
        if self.then and "updated" in (body.get("query") or {}):
            then, self.then = self.then, None
            then()
        return answer


def item(item_id: str, time: str | None, minutes: float = 0, **properties: Any) -> Json:
    return make_item(item_id, time, updated=format_rfc3339(LONG_AGO + timedelta(minutes=minutes)), **properties)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def site(asked: Asked, tmp_path: Path) -> Iterator[Site]:
    """Three months of ten items, up to date; the source filters by `updated`."""
    items = [item(f"i{month}-{n}", f"2024-{month:02}-{n + 1:02}T10:00:00Z") for month in (1, 2, 3) for n in range(10)]
    app = create_app([make_collection()], items)
    app.middlewares.append(asked.record)
    with serve(app) as url:
        site = Site(url, items, tmp_path, sync={"overlap_minutes": 1, "latest_windows": 1})
        site.sync()
        site.sync()
        asked.bodies.clear()
        yield site


def require_same_as_rebuilt(site: Site, folder: Path) -> None:
    folder.mkdir()
    fresh = Site(site.url, site.items, folder)
    list(rebuild(fresh.chain, fresh.chain.partitions()))

    def published(one: Site) -> dict[str, bytes]:
        return {name: data for name, (data, _) in one.files().items() if name.startswith("published/")}

    assert published(site) == published(fresh)


def test_changes_of_many_partitions_are_fetched_once(site: Site, asked: Asked, tmp_path: Path) -> None:
    for number in (0, 10, 20):
        old = site.items[number]
        site.items[number] = item(old["id"], old["properties"]["datetime"], 10, cloud=5)
    site.items.append(item("new", "2024-01-20T00:00:00Z", 11))
    done = site.sync()
    assert [(key, done[key].changes.added, done[key].changes.modified) for key in sorted(done)] == [
        ("2024-01", 1, 1),
        ("2024-02", 0, 1),
        ("2024-03", 0, 1),
    ]
    probes_alone = 2
    assert {result.manifests["raw_items"].run["requests"] for result in done.values()} == {probes_alone}
    assert len(asked.feeds) == 1
    require_same_as_rebuilt(site, tmp_path / "fresh")


def test_ranges_and_edges_are_counted_where_they_reach(site: Site, asked: Asked, tmp_path: Path) -> None:
    long = {"start_datetime": "2024-01-25T00:00:00Z", "end_datetime": "2024-03-05T00:00:00Z"}
    site.items += [item("long", None, 10, **long), item("edge", "2024-03-01T00:00:00Z", 11)]
    site.items += [item("one", "2024-02-20T00:00:00Z", 12), item("two", "2024-01-20T00:00:00Z", 12)]
    done = site.sync()
    assert {key: result.manifests["raw_items"].ledger.skipped for key, result in done.items()} == {
        "2024-01": 0,
        "2024-02": 2,
        "2024-03": 1,
    }
    assert len(asked.feeds) == 1
    require_same_as_rebuilt(site, tmp_path / "fresh")


def test_what_does_not_add_up_is_read_whole(site: Site, asked: Asked, tmp_path: Path) -> None:
    site.items[0] = item("i1-0", "2024-01-01T10:00:00Z", 10, cloud=5)
    del site.items[5]
    done = site.sync()
    assert done["2024-01"].manifests["raw_items"].ledger.received == 9
    assert len(asked.feeds) == 1
    require_same_as_rebuilt(site, tmp_path / "fresh")


@pytest.mark.parametrize("fault", [{"huge": 2**80 + 1}, {"cloud": float("nan")}])
def test_a_damaged_item_among_the_changes_is_rejected_where_it_belongs(site: Site, fault: Json) -> None:
    site.items[0] = item("i1-0", "2024-01-01T10:00:00Z", 10, **fault)
    site.items[1] = item("i1-1", "2024-01-02T10:00:00Z", 10, cloud=5)
    for _ in range(2):
        site.sync()
        assert site.published()["i1-1"]["properties"]["cloud"] == 5
    assert "i1-0" not in site.published()
    assert [record["item_id"] for record in site.quarantine()] == ["i1-0"]


@pytest.mark.parametrize("partition", ["2024-01", "2024-03"])
def test_a_change_right_after_the_changes_were_fetched_is_found_by_the_next_sync(
    site: Site, asked: Asked, partition: str
) -> None:
    number = 0 if partition == "2024-01" else 20
    old = site.items[number]

    def change(minutes: float, **properties: Any) -> None:
        site.items[number] = item(old["id"], old["properties"]["datetime"], minutes, **properties)

    change(10, cloud=5)
    asked.then = lambda: change(11, cloud=6)
    site.sync()
    assert site.published(partition)[old["id"]]["properties"]["cloud"] == 5
    site.sync()
    assert site.published(partition)[old["id"]]["properties"]["cloud"] == 6


def test_the_probe_of_a_latest_window_is_older_than_what_is_merged(site: Site, asked: Asked) -> None:
    """Else a change between the two would be in the fingerprint, and not in the files."""
    site.items[20] = item("i3-0", "2024-03-01T10:00:00Z", 10, cloud=5)
    before = SyncPlanner(site.chain, dry=True)
    before.plan()
    probed = [number for number, body in enumerate(asked.bodies) if body.get("datetime", "").startswith("2024-03")]
    fed = asked.bodies.index(asked.feeds[0])
    assert probed[0] < fed


def test_a_partition_that_another_run_has_written_meanwhile_is_asked_for_again(site: Site, asked: Asked) -> None:
    site.items[0] = item("i1-0", "2024-01-01T10:00:00Z", 10, cloud=5)
    site.items[20] = item("i3-0", "2024-03-01T10:00:00Z", 10, cloud=5)
    site.chain = Chain.of(site.workflow, "c")
    results = sync(site.chain)
    assert next(results).partition == "2024-03"
    site.items[0] = item("i1-0", "2024-01-01T10:00:00Z", 12, cloud=7)
    Site(site.url, site.items, site.folder).run()  # the newer version is here already
    assert [(result.partition, result.error) for result in results] == [("2024-01", None)]
    assert site.published()["i1-0"]["properties"]["cloud"] == 7
    assert [body["datetime"] for body in asked.feeds] == [
        "2024-01-01T00:00:00Z/2024-04-01T00:00:00Z",
        "2024-01-01T00:00:00Z/2024-02-01T00:00:00Z",
    ]
