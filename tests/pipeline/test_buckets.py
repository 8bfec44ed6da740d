"""Catalogs in a bucket: few calls, and nothing is believed that has changed since it was read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.s3_proxy import CountingProxy
from demo.server import create_app, serve
from stac_manager import storage as storage_module
from stac_manager.items import dumps
from stac_manager.pipeline import STAGES, Chain, publish_catalog
from stac_manager.pipeline.state.paths import blobs_folder, dirty_marks_folder, manifest_cache_key, rescan_mark
from stac_manager.pipeline.sync import SyncPlanner, bucket_state, planner, rebuild, sync, unfinished
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

pytestmark = pytest.mark.s3

FIRST = date(2024, 1, 1)
DAYS = [(FIRST + timedelta(days=number)).isoformat() for number in range(40)]


@pytest.fixture
def items() -> list[dict[str, Any]]:
    return [make_item(f"i{day}", f"{day}T10:00:00Z", updated=f"{day}T12:00:00Z") for day in DAYS]


@pytest.fixture
def source(items: list[dict[str, Any]]) -> Iterator[str]:
    with serve(create_app([make_collection()], items)) as url:
        yield url


def bucket_site(source: str, items: list[dict[str, Any]], folder: Path, root: str, days: int, name: str) -> Site:
    partitions = {"by": "day", "start": DAYS[0], "end": DAYS[days - 1]}
    return Site(source, items, folder, partitions=partitions, output={"path": f"{root}/{name}"})


@pytest.fixture
def site(source: str, items: list[dict[str, Any]], tmp_path: Path, s3_url: str, request: pytest.FixtureRequest) -> Site:
    """Forty partitions, all of them up to date."""
    site = bucket_site(source, items, tmp_path, s3_url, len(DAYS), request.node.name.partition("[")[0])
    assert all(result.error is None for result in rebuild(site.chain, DAYS))
    return site


@pytest.fixture(params=["few", "many"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether forty partitions count as few, or as more than one look can read closely."""
    if request.param == "many":
        monkeypatch.setattr(unfinished, "CHECKED_EACH_TIME", 12)
        monkeypatch.setattr(planner, "CHECKED_EACH_TIME", 12)
        monkeypatch.setattr(bucket_state, "CHECKED_EACH_TIME", 12)
        monkeypatch.setattr(storage_module, "_PAGE", 50)
    return str(request.param)


def check(site: Site) -> dict[str, str]:
    """The stale partitions that a sync check finds in a process of its own, with their reasons."""
    chain = Chain.of(site.workflow, "c")
    return {stale.partition: stale.reason for stale in SyncPlanner(chain).plan()}


def test_a_small_partition_takes_few_calls_through_all_stages(
    source: str, items: list[dict[str, Any]], tmp_path: Path, s3_url: str, s3_calls: CountingProxy
) -> None:
    site = bucket_site(source, items, tmp_path, s3_url, 1, "small")
    (result,) = rebuild(site.chain, DAYS[:1])
    assert result.error is None
    assert all(outcome.passed for outcome in result.checks)
    assert sum(s3_calls.counts().values()) <= 25
    s3_calls.reset()
    items[0]["properties"]["cloud"] = 7
    items[0]["properties"]["updated"] = "2024-02-01T00:00:00Z"
    (result,) = site.sync().values()
    assert (result.error, result.changes.modified) == (None, 1)
    assert sum(s3_calls.counts().values()) <= 50


@pytest.mark.usefixtures("size")
def test_a_check_with_nothing_to_do_takes_few_calls_however_many_partitions_there_are(
    site: Site, s3_calls: CountingProxy
) -> None:
    for _ in range(2):
        assert check(site) == {}
    s3_calls.reset()
    assert check(site) == {}
    counts = s3_calls.counts()
    assert sum(counts.values()) <= 30
    assert counts["GET"] <= 8, "the manifests are known by their ETags"


@pytest.mark.usefixtures("size")
def test_what_another_run_has_written_is_seen_by_its_etag(site: Site, items: list[dict[str, Any]]) -> None:
    assert check(site) == {}
    items[-1]["properties"]["cloud"] = 7
    other = Chain.of(site.workflow, "c")
    other.run("raw_items", DAYS[-1], mode="scan")
    assert check(site) == {DAYS[-1]: "was not finished, or the workflow has changed"}
    for stage in STAGES[1:]:
        other.run(stage, DAYS[-1], mode="resume")
    other.publish_collection()
    assert check(site) == {}


@pytest.mark.parametrize("content", [None, b"", b"damaged", b"x" * 5000])
def test_a_lost_or_damaged_object_with_manifests_is_made_again(site: Site, content: bytes | None) -> None:
    storage, key = site.chain.storage, manifest_cache_key("c")
    assert storage.get(key)
    if content is None:
        storage.delete(key)
    else:
        storage.put(key, content)
    assert check(site) == {}
    made = Chain.of(site.workflow, "c").storage.get(key)
    assert made
    assert made != content


def test_an_object_with_manifests_of_a_while_ago_hides_nothing(site: Site, items: list[dict[str, Any]]) -> None:
    key = manifest_cache_key("c")
    old = site.chain.storage.get(key) or b""
    items[3]["properties"]["cloud"] = 7
    items[3]["properties"]["updated"] = "2024-03-01T00:00:00Z"
    assert set(site.sync()) == {DAYS[3]}
    site.chain.storage.put(key, old)
    assert check(site) == {}
    assert Chain.of(site.workflow, "c").is_up_to_date(DAYS[3])


def test_objects_that_somebody_removed_are_noticed(site: Site) -> None:
    storage = site.chain.storage
    storage.delete(*storage.list(blobs_folder("c", DAYS[5])))
    storage.delete(site.chain.stage_partition("extended", DAYS[7]).manifest_key)
    storage.delete(site.chain.stage_partition("raw_items", DAYS[9]).manifest_key)
    storage.put(rescan_mark("c", DAYS[11]), b"x")
    assert set(check(site)) == {DAYS[5], DAYS[7], DAYS[9], DAYS[11]}
    site.sync()
    assert check(site) == {}


def test_published_files_that_somebody_removed_are_noticed(site: Site) -> None:
    storage = site.chain.storage
    for day in (DAYS[0], DAYS[-1]):
        storage.delete(f"published/c/items/{day}.parquet")
    assert set(check(site)) == {DAYS[0], DAYS[-1]}
    site.sync()
    assert storage.size(f"published/c/items/{DAYS[0]}.parquet")
    for key in ("published/c/collection.json", "published/catalog.json"):
        storage.delete(key)
        site.sync()
        assert storage.size(key)


@pytest.mark.parametrize("day", [DAYS[5], DAYS[-1]])
def test_lost_files_of_many_partitions_are_noticed_in_turn(
    site: Site, monkeypatch: pytest.MonkeyPatch, day: str
) -> None:
    monkeypatch.setattr(unfinished, "CHECKED_EACH_TIME", 12)
    monkeypatch.setattr(planner, "CHECKED_EACH_TIME", 12)
    monkeypatch.setattr(bucket_state, "CHECKED_EACH_TIME", 12)
    monkeypatch.setattr(storage_module, "_PAGE", 50)
    storage = site.chain.storage
    storage.delete(f"published/c/items/{day}.parquet")
    found = set()
    for _ in range(6):
        found |= set(check(site))
    assert found == {day}


def test_two_runs_of_a_collection_lose_nothing_of_each_other(site: Site) -> None:
    """Both look at the collection before either writes it."""
    one, two = Chain.of(site.workflow, "c"), Chain.of(site.workflow, "c")
    for chain in (one, two):
        chain.publish_collection()  # each knows the present documents now
    one.sync_state.set_cursors(probe_cursor=DAYS[1])
    two.sync_state.set_cursors(state_cursor=DAYS[2])
    state = Chain.of(site.workflow, "c").sync_state.load()
    assert (state.probe_cursor, state.state_cursor) == (DAYS[1], DAYS[2])


def test_a_rebuild_in_a_bucket_finds_what_sync_has_left(site: Site, items: list[dict[str, Any]]) -> None:
    items[2]["properties"]["datetime"] = f"{DAYS[30]}T10:00:00Z"
    items[2]["properties"]["updated"] = "2024-03-01T00:00:00Z"
    for _ in range(2):
        list(sync(Chain.of(site.workflow, "c")))
    counts = {
        day: manifest.ledger.passed
        for day in (DAYS[2], DAYS[30])
        if (manifest := site.chain.stage_partition("published", day).read(Chain.of(site.workflow, "c").storage))
    }
    assert counts == {DAYS[2]: 0, DAYS[30]: 2}


def test_a_collection_that_is_published_meanwhile_stays_in_the_catalog(
    source: str, items: list[dict[str, Any]], tmp_path: Path, s3_url: str
) -> None:
    """One run has seen that another collection has nothing yet; the other run publishes it before the first does."""
    workflow = bucket_site(source, items, tmp_path, s3_url, 1, "meanwhile").workflow
    both = workflow.model_copy(
        update={"source": workflow.source.model_copy(update={"collections": ("c", "d")})}  # d is made by hand
    )
    storage = Chain.of(both, "c").storage
    publish_catalog(storage, both)
    other = Chain.of(both, "c").storage
    other.put("published/d/collection.json", dumps({"type": "Collection", "id": "d", "links": []}))
    publish_catalog(other, both)
    links = [link["href"] for link in publish_catalog(storage, both)["links"] if link["rel"] == "child"]
    assert links == ["./d/collection.json"]


def test_a_run_that_is_killed_after_its_manifest_leaves_its_mark_to_the_next_one(
    site: Site, items: list[dict[str, Any]]
) -> None:
    """Another run publishes the collection between the mark and the manifest."""
    items[4]["properties"]["cloud"] = 7
    items[4]["properties"]["updated"] = "2024-03-01T00:00:00Z"
    killed, other = Chain.of(site.workflow, "c"), Chain.of(site.workflow, "c")
    put, key = killed.storage.put, killed.stage_partition("published", DAYS[4]).manifest_key

    def put_after_the_other_run(place: str, content: bytes | Path) -> None:
        if place == key:
            other.publish_collection()
        put(place, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killed.storage, "put", put_after_the_other_run)
        with killed.locked(DAYS[4]):
            for stage in STAGES:
                killed.run(stage, DAYS[4], mode="scan")
    storage = Chain.of(site.workflow, "c").storage
    assert storage.list(dirty_marks_folder("c"))
    assert check(site) == {}
    assert not storage.list(dirty_marks_folder("c"))
