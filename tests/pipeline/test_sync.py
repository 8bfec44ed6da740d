from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.errors import StacManagerError
from stac_manager.pipeline import STAGES, Chain, Mode, Stage, quarantine_key, read_tombstones, run_check
from stac_manager.pipeline.changes.moved_items import mark_moved
from stac_manager.pipeline.state.paths import rescan_mark
from stac_manager.pipeline.sync import SyncPlanner
from stac_manager.pipeline.sync.runs import rebuild
from stac_manager.pipeline.sync.targeted import fetch_items_into, find_target_partitions, published_in, replay
from stac_manager.storage import Storage
from stac_manager.times import format_rfc3339
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

LONG_AGO = datetime(2024, 6, 1, tzinfo=UTC)


def item(item_id: str, time: str, minutes: float = 0, **properties: Any) -> dict[str, Any]:
    """An item that was updated so many minutes after all others."""
    return make_item(item_id, time, updated=format_rfc3339(LONG_AGO + timedelta(minutes=minutes)), **properties)


def many() -> list[dict[str, Any]]:
    return [
        item(f"i{month}-{n:02}", f"2024-{month:02}-{n % 28 + 1:02}T10:00:00Z") for month in (1, 2, 3) for n in range(30)
    ]


EXTENSIONS = {"all": ("sort", "fields", "query"), "no query": ("sort", "fields"), "none": ()}


@pytest.fixture(params=EXTENSIONS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three months of thirty items, synced; the source offers more or less to ask by."""
    items = many()
    with serve(create_app([make_collection()], items, extensions=EXTENSIONS[request.param])) as url:
        site = Site(url, items, tmp_path, sync={"overlap_minutes": 1})
        site.sync()
        yield site


def test_the_first_sync_builds_everything(site: Site) -> None:
    assert len(site.everywhere()) == 90


def test_a_sync_without_change_runs_nothing_and_changes_no_byte(site: Site) -> None:
    site.sync()
    before = site.files()
    assert site.sync() == {}
    assert site.files() == before


def test_exactly_the_changed_partition_is_run(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    done = site.sync()
    assert set(done) == {"2024-01"}
    assert done["2024-01"].changes.model_dump() == {"added": 0, "modified": 1, "deleted": 0, "unchanged": 29}
    assert site.published("2024-01")["i1-00"]["properties"]["cloud"] == 5


def test_a_late_arrival_goes_to_the_partition_of_its_time(site: Site) -> None:
    site.items.append(item("late", "2024-01-15T00:00:00Z", 10))
    assert site.sync()["2024-01"].changes.added == 1
    assert site.everywhere()["late"] == ["2024-01"]


def test_an_item_that_is_gone_at_the_source_goes_and_leaves_a_tombstone(site: Site) -> None:
    del site.items[0]
    assert site.sync()["2024-01"].changes.deleted == 1
    assert "i1-00" not in site.everywhere()
    raw = site.chain.raw.reusable_manifest("2024-01")
    assert [tomb["id"] for tomb in read_tombstones(site.chain.storage, raw)] == ["i1-00"]


def test_an_item_that_comes_back_loses_its_tombstone(site: Site) -> None:
    gone = site.items.pop(0)
    site.sync()
    site.items.append(gone)
    site.sync()
    raw = site.chain.raw.reusable_manifest("2024-01")
    assert list(read_tombstones(site.chain.storage, raw)) == []
    assert site.everywhere()["i1-00"] == ["2024-01"]


def test_an_item_whose_time_changes_is_published_once(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-03-20T10:00:00Z", 10)
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-03"]
    assert len(site.everywhere()) == 90


def test_an_item_whose_time_changes_without_a_new_update_is_published_once(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-03-20T10:00:00Z")
    site.sync()
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-03"]


def test_a_change_that_is_not_dated_is_found_by_comparison(site: Site) -> None:
    site.items[31]["properties"]["cloud"] = 7
    site.sync()
    assert site.published("2024-02")["i2-01"]["properties"]["cloud"] == 7


def test_many_deletions_wait_for_a_person(site: Site) -> None:
    del site.items[:10]
    result = site.sync()["2024-01"]
    assert (result.changes.deleted, result.changes.unchanged) == (0, 30)
    (check,) = [check for check in result.checks if check.name == "deletions"]
    assert not check.passed
    assert "10 of 30 items are gone" in check.description
    assert len(site.published("2024-01")) == 30
    assert site.sync() == {}
    assert site.sync(allow_deletes=True)["2024-01"].changes.deleted == 10
    assert len(site.published("2024-01")) == 20
    assert site.sync(allow_deletes=True) == {}


def test_pending_deletions_do_not_hold_up_new_items(site: Site) -> None:
    del site.items[:10]
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.sync()
    assert {"new", "i1-00"} <= set(site.published("2024-01"))
    site.items.append(item("newer", "2024-01-15T00:00:00Z", 20))
    site.sync()
    assert {"new", "newer", "i1-00"} <= set(site.published("2024-01"))
    raw = site.chain.raw.reusable_manifest("2024-01")
    assert raw is not None
    assert not run_check("deletions", site.chain.storage, raw).passed
    assert run_check("ledger_balances", site.chain.storage, raw).passed


def test_all_items_of_a_partition_are_never_deleted_unasked(tmp_path: Path) -> None:
    items = [item("only", "2024-01-05T00:00:00Z"), item("other", "2024-02-05T00:00:00Z")]
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path, sync={"delete_threshold": 1})
        site.sync()
        del items[0]
        site.sync()
        assert set(site.everywhere()) == {"only", "other"}


def test_items_that_moved_do_not_count_as_deletions(site: Site) -> None:
    for number in range(30):
        site.items[number] = item(f"i1-{number:02}", "2024-02-10T10:00:00Z", 10)
    site.sync()
    assert site.published("2024-01") == {}
    assert len(site.published("2024-02")) == 60
    assert {len(places) for places in site.everywhere().values()} == {1}


def test_a_full_rebuild_holds_back_deletions_too(site: Site) -> None:
    del site.items[:10]
    assert len(list(rebuild(site.chain, ["2024-01"]))) == 1
    assert len(site.published("2024-01")) == 30


def test_a_changed_filter_is_no_deletion(site: Site) -> None:
    narrow = Site(
        site.url, site.items, site.folder, source={"filters": {"temporal": {"start_date": "2024-01-20T00:00:00Z"}}}
    )
    narrow.sync()
    assert 0 < len(narrow.published("2024-01")) < 15


def test_sync_published_the_same_bytes_as_a_full_rebuild(site: Site, tmp_path: Path) -> None:
    site.items[0] = item("i1-00", "2024-03-20T10:00:00Z", 10)
    site.items[40]["properties"].update(cloud=3, updated=format_rfc3339(LONG_AGO + timedelta(minutes=11)))
    site.items.append({**item("bad", "2024-02-15T00:00:00Z", 12), "assets": None})
    del site.items[70]
    site.sync()
    (tmp_path / "fresh").mkdir()
    fresh = Site(site.url, site.items, tmp_path / "fresh")
    list(rebuild(fresh.chain, fresh.chain.partitions()))

    def published(one: Site) -> dict[str, bytes]:
        return {name: data for name, (data, _) in one.files().items() if name.startswith("published/")}

    assert published(site) == published(fresh)


def test_a_lost_memory_loses_no_item(site: Site) -> None:
    (site.folder / "data" / "stages" / "c" / "sync.json").unlink(missing_ok=True)
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.sync()
    assert "new" in site.everywhere()


def test_a_memory_wound_back_loses_no_item(site: Site) -> None:
    site.sync()
    path = site.folder / "data" / "stages" / "c" / "sync.json"
    before = path.read_bytes() if path.exists() else None
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.sync()
    if before is not None:
        path.write_bytes(before)
    site.items.append(item("newer", "2024-01-16T00:00:00Z", 20))
    site.sync()
    assert {"new", "newer"} <= set(site.everywhere())


def test_a_memory_that_is_damaged_is_made_anew(site: Site) -> None:
    path = site.folder / "data" / "stages" / "c" / "sync.json"
    path.write_bytes(b'{"watermark": ')
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.sync()
    assert "new" in site.everywhere()


def test_a_source_whose_clock_was_wound_back_loses_no_item(site: Site) -> None:
    site.sync()
    site.items.append(item("past", "2024-01-15T00:00:00Z", -60 * 24 * 365))
    site.sync()
    assert "past" in site.everywhere()


def test_an_update_from_the_future_does_not_stop_later_ones(site: Site) -> None:
    site.items.append(make_item("future", "2024-01-15T00:00:00Z", updated="2199-01-01T00:00:00Z"))
    site.sync()
    site.items.append(item("new", "2024-02-15T00:00:00Z", 30))
    site.sync()
    assert {"future", "new"} <= set(site.everywhere())


def test_a_clock_wound_back_takes_no_partition_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.pipeline import chain as module

    monkeypatch.setattr(module, "utc_now", lambda: datetime(2024, 2, 10, tzinfo=UTC))
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.sync()
    assert len(site.published("2024-03")) == 30
    assert "new" in site.everywhere()


@pytest.mark.parametrize(
    "name", ["quarantine/c/2024-01.ndjson", "published/c/collection.json", "published/catalog.json"]
)
def test_a_missing_document_is_made_again(site: Site, name: str) -> None:
    site.items[0]["assets"] = None
    site.sync()
    before = site.files()[name][0]
    (site.folder / "data" / name).unlink()
    site.sync()
    assert site.files()[name][0] == before


def test_changes_of_a_partition_that_was_not_finished_are_taken_over_by_the_same_sync(site: Site) -> None:
    (site.folder / "data" / "published" / "c" / "items" / "2024-01.parquet").unlink()
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    site.sync()
    assert site.published("2024-01")["i1-00"]["properties"]["cloud"] == 5


def test_old_stages_beside_newer_files_are_brought_in_step_by_one_sync(site: Site, tmp_path: Path) -> None:
    site.sync()
    shutil.copytree(site.folder / "data" / "stages", tmp_path / "old")
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    site.items.append(item("new", "2024-02-15T00:00:00Z", 10))
    site.sync()
    shutil.rmtree(site.folder / "data" / "stages")
    shutil.copytree(tmp_path / "old", site.folder / "data" / "stages")
    site.sync()
    assert site.published("2024-01")["i1-00"]["properties"]["cloud"] == 5
    assert "new" in site.everywhere()


def test_a_source_that_stops_to_filter_is_compared_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = many()
    with serve(create_app([make_collection()], items, extensions=("sort", "query"))) as url:
        site = Site(url, items, tmp_path, sync={"overlap_minutes": 1})
        site.sync()
        items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
        site.sync()
        assert site.chain.sync_state.load().updated_filter == "query"
        items.append(item("new", "2024-03-15T00:00:00Z", 20))
        monkeypatch.setattr("demo.server._tests", lambda query: [])
        site.sync()
        assert site.everywhere()["new"] == ["2024-03"]
        items.append(item("newer", "2024-03-15T00:00:00Z", 30))
        site.sync()
        assert site.everywhere()["newer"] == ["2024-03"]
        assert site.chain.sync_state.load().updated_filter == "no"


def test_a_refused_item_does_not_keep_the_watermark_from_being_known(tmp_path: Path) -> None:
    items = [*many(), item("", "2024-01-15T00:00:00Z")]
    with serve(create_app([make_collection()], items, extensions=("sort", "query"))) as url:
        site = Site(url, items, tmp_path)
        list(rebuild(site.chain, site.chain.partitions()))
        assert site.chain.sync_state.load().watermark == format_rfc3339(LONG_AGO)


def test_a_partition_with_a_missing_file_is_made_whole(site: Site) -> None:
    (site.folder / "data" / "published" / "c" / "items" / "2024-02.parquet").unlink()
    assert set(site.sync()) == {"2024-02"}
    assert len(site.published("2024-02")) == 30


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_manifest_holds_up_nothing_and_is_made_anew(site: Site, stage: Stage) -> None:
    site.sync()
    before = site.files()
    place = site.chain.stage_partition(stage, "2024-02")
    site.chain.storage.put(place.manifest_key, b'{"version": 1, ')
    site.items.append(item("new", "2024-03-15T00:00:00Z", 10))
    assert {"2024-02", "2024-03"} <= set(site.sync())
    assert site.everywhere()["new"] == ["2024-03"]
    assert site.files()[f"{place.manifest_key}"][0] == before[f"{place.manifest_key}"][0]


@pytest.mark.parametrize("chosen", [["2024-01", "2024-02", "2024-03"], ["2024-03"]])
def test_an_item_whose_time_changes_is_published_once_also_after_a_full_rebuild(site: Site, chosen: list[str]) -> None:
    site.items[0] = item("i1-00", "2024-03-09T10:00:00Z", 10)
    list(rebuild(site.chain, chosen))
    assert site.everywhere()["i1-00"] == ["2024-03"]


def test_an_item_whose_move_is_not_dated_is_always_published(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-03-09T10:00:00Z")
    site.run("2024-01")
    assert site.everywhere()["i1-00"] == ["2024-01"]
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-03"]


@pytest.mark.parametrize("done", STAGES[:-1])
@pytest.mark.parametrize("probe_cursor", [False, True])
def test_an_item_stays_until_it_is_published_where_it_moved_to(site: Site, done: Stage, probe_cursor: bool) -> None:
    site.items[0] = item("i1-00", "2024-03-09T10:00:00Z", 10)
    for stage in STAGES[: STAGES.index(done) + 1]:
        site.chain.run(stage, "2024-03")
    if probe_cursor:
        assert mark_moved(site.chain.storage, "c") == []
    site.run("2024-01")
    assert site.everywhere()["i1-00"] == ["2024-01"]
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-03"]


@pytest.mark.parametrize(("minutes", "mode"), [(10, "scan"), (20, "changes")])
def test_an_item_whose_range_meets_both_windows_stays_until_it_is_published_in_the_other_one(
    site: Site, minutes: float, mode: Mode
) -> None:
    long = {"start_datetime": "2024-01-10T00:00:00Z", "end_datetime": "2024-03-20T00:00:00Z"}
    site.items.append(item("long", "2024-01-15T00:00:00Z", 10, **long))
    site.sync()
    site.items[-1] = item("long", "2024-03-15T00:00:00Z", minutes, **long)
    for stage in STAGES:
        site.chain.run(stage, "2024-01", mode=mode)
    assert site.everywhere()["long"] == ["2024-01"]
    site.sync()
    assert site.everywhere()["long"] == ["2024-03"]


def test_an_item_that_moves_to_the_edge_of_its_window_stays_until_it_is_published_behind_it(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-02-01T00:00:00Z", 10)
    site.run("2024-01")
    assert site.everywhere()["i1-00"] == ["2024-01"]
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-02"]


def test_an_item_that_moves_on_before_it_came_anywhere_stays_until_it_does(site: Site) -> None:
    for minutes, time in ((10, "2024-02-09T10:00:00Z"), (20, "2024-03-09T10:00:00Z")):
        site.items[0] = item("i1-00", time, minutes)
        site.run("2024-01")
        assert site.everywhere()["i1-00"] == ["2024-01"]
    site.chain.storage.delete(rescan_mark("c", "2024-02"))
    site.run("2024-01")
    assert site.everywhere()["i1-00"] == ["2024-01"]
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-03"]


def test_an_item_that_moves_back_while_it_is_taken_away_is_always_published(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-02-09T10:00:00Z", 10)
    site.run("2024-02")
    site.chain.run("raw_items", "2024-01")  # one run lets it go
    site.items[0] = item("i1-00", "2024-01-09T10:00:00Z", 20)
    site.chain.run("raw_items", "2024-02")  # and so would another one
    for partition in ("2024-01", "2024-02"):
        for stage in STAGES[1:]:
            site.chain.run(stage, partition)
        assert site.everywhere()["i1-00"][-1] == "2024-02"
    site.sync()
    assert site.everywhere()["i1-00"] == ["2024-01"]


@pytest.mark.parametrize("fault", [{"assets": None}, {"huge": 2**80 + 1}])
def test_an_item_that_is_refused_where_it_moved_to_does_not_stay(site: Site, fault: dict[str, Any]) -> None:
    site.items[0] = {**item("i1-00", "2024-03-09T10:00:00Z", 10), **fault}
    site.run("2024-03")
    site.run("2024-01")
    assert "i1-00" not in site.everywhere()
    assert [record["item_id"] for record in site.quarantine("2024-03")] == ["i1-00"]


def test_an_item_that_does_not_come_where_it_moved_to_stays_no_longer_than_that_is_read(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-03-09T10:00:00Z")
    site.run("2024-01")
    site.chain.storage.delete(rescan_mark("c", "2024-03"))
    site.run("2024-01")
    assert "i1-00" not in site.published("2024-01")


def test_what_is_written_by_another_run_is_not_marked_but_at_the_next_sync_check(site: Site) -> None:
    storage = site.chain.storage
    site.items[0] = item("i1-00", "2024-03-09T10:00:00Z", 10)
    site.run("2024-03")
    with ThreadPoolExecutor(1) as other, site.chain.locked("2024-01"):
        assert other.submit(mark_moved, storage, "c").result() == []
    assert mark_moved(storage, "c") == ["2024-01"]
    assert mark_moved(storage, "c") == []


def test_a_quarantine_file_that_is_behind_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    key = quarantine_key("c", "2024-01")
    site.items[0]["huge"] = 2**63
    list(rebuild(site.chain, ["2024-01"]))
    before, put = site.files()[key], Storage.put
    site.items[0]["huger"] = site.items[0].pop("huge")

    def dies(storage: Storage, name: str, content: Any) -> None:
        if name == key:
            raise StacManagerError("killed")
        put(storage, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", dies)
        with pytest.raises(StacManagerError, match="killed"):
            list(rebuild(site.chain, ["2024-01"]))
    assert site.files()[key] == before
    assert set(site.sync()) == {"2024-01"}
    assert "huger" in site.quarantine()[0]["error_message"]


def test_a_run_that_ended_between_the_stages_is_taken_up(site: Site) -> None:
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    site.chain.run("raw_items", "2024-01", mode="scan")
    assert set(site.sync()) == {"2024-01"}
    assert "new" in site.everywhere()


def test_a_file_that_is_newer_than_its_manifest_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = site.items[0]
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    put = type(site.chain.storage).put

    def dies(self: Any, key: str, content: Any) -> None:
        if "/published/" in key and key.endswith("manifest.json"):
            raise StacManagerError("killed")
        put(self, key, content)

    monkeypatch.setattr(type(site.chain.storage), "put", dies)
    with pytest.raises(StacManagerError, match="killed"):
        site.sync()
    monkeypatch.undo()
    site.items[0] = changed
    for stage in STAGES[:4]:
        site.chain.run(stage, "2024-01", mode="scan")
    assert set(site.sync()) == {"2024-01"}
    assert "cloud" not in site.published("2024-01")["i1-00"]["properties"]


def test_a_collection_document_that_is_behind_is_brought_up_to_date(site: Site) -> None:
    site.items.append(item("new", "2024-01-31T23:00:00Z", 10) | {"bbox": [9.0, 48.0, 9.0, 48.0]})
    for stage in STAGES:
        site.chain.run(stage, "2024-01", mode="scan")
    before = site.files()["published/c/collection.json"]
    assert site.sync() == {}
    assert site.files()["published/c/collection.json"] != before


def test_a_few_changed_items_are_validated_and_the_rest_is_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.validate import Validator

    asked = []
    check = Validator.check
    monkeypatch.setattr(Validator, "check", lambda self, one: asked.append(one["id"]) or check(self, one))
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    site.sync()
    assert asked == ["i1-00"]


def test_single_items_are_taken_over_and_nothing_else(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-01-01T10:00:00Z", 10, cloud=5)
    site.items[1] = item("i1-01", "2024-01-02T10:00:00Z", 10, cloud=5)
    (result,) = fetch_items_into(site.chain, find_target_partitions(site.chain, ["i1-00"]))
    assert result.changes.modified == 1
    assert "cloud" not in site.published("2024-01")["i1-01"]["properties"]
    site.sync()
    assert site.published("2024-01")["i1-01"]["properties"]["cloud"] == 5


def test_a_single_item_that_moved_is_taken_away_where_it_was(site: Site) -> None:
    site.items[0] = item("i1-00", "2024-03-20T10:00:00Z", 10)
    list(fetch_items_into(site.chain, find_target_partitions(site.chain, ["i1-00"])))
    assert site.everywhere()["i1-00"] == ["2024-03"]


def test_an_id_that_the_source_does_not_have_is_no_deletion(site: Site) -> None:
    del site.items[0]
    targets = find_target_partitions(site.chain, ["i1-00"])
    assert targets == {}
    assert list(fetch_items_into(site.chain, targets)) == []
    assert published_in(site.chain, "i1-00") == "2024-01"
    assert "i1-00" in site.everywhere()


def test_what_was_refused_is_replayed_after_a_fix(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.validate import Validator

    site.items.append({**item("bad", "2024-02-15T00:00:00Z", 12), "assets": None})
    site.sync()
    assert [record["item_id"] for record in site.quarantine("2024-02")] == ["bad"]
    assert list(replay(site.chain, ["2024-01"])) == []
    (result,) = replay(site.chain, site.chain.partitions())
    assert (result.partition, result.changes.added) == ("2024-02", 0)
    valid = Validator.check
    asked = []

    def mended(self: Validator, one: Any) -> Any:
        asked.append(one["id"])
        return valid(self, {**one, "assets": {}})

    monkeypatch.setattr(Validator, "check", mended)
    (result,) = replay(Chain.of(site.workflow, "c"), site.chain.partitions())
    assert (asked, result.changes.added) == (["bad"], 1)
    assert site.quarantine("2024-02") == []


def test_what_the_first_stage_refused_is_asked_for_again(site: Site) -> None:
    site.items.append({**item("bad", "2024-02-15T00:00:00Z", 12), "huge": 2**80 + 1})
    site.sync()
    assert [record["item_id"] for record in site.quarantine("2024-02")] == ["bad"]
    del site.items[-1]["huge"]
    (result,) = replay(site.chain, site.chain.partitions())
    assert result.changes.added == 1
    assert site.quarantine("2024-02") == []


def test_a_dry_sync_check_writes_nothing(site: Site) -> None:
    site.items.append(item("new", "2024-01-15T00:00:00Z", 10))
    before = site.files()
    (stale,) = SyncPlanner(Chain.of(site.workflow, "c"), dry=True).plan()
    assert stale.partition == "2024-01"
    assert site.files() == before


def test_the_budget_bounds_a_sync_check_and_every_partition_has_its_turn(tmp_path: Path) -> None:
    items = many()
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path, sync={"request_budget": 1, "latest_windows": 1})
        site.sync()
        for one in items:
            one["properties"]["cloud"] = 1
        for _ in range(12):
            site.sync()
        assert all(
            one["properties"]["cloud"] == 1
            for key in ("2024-01", "2024-02", "2024-03")
            for one in site.published(key).values()
        )


def test_the_watermark_is_that_of_what_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = many()
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        site.sync()
        site.sync()
        assert site.chain.sync_state.load().watermark == format_rfc3339(LONG_AGO)
        items.append(item("new", "2024-01-15T00:00:00Z", 10))
        planner = SyncPlanner(Chain.of(site.workflow, "c"))
        assert [stale.mode for stale in planner.plan()] == ["changes"]
        planner.confirm()
        assert site.chain.sync_state.load().watermark == format_rfc3339(LONG_AGO)
        site.sync()
        assert site.chain.sync_state.load().watermark == format_rfc3339(LONG_AGO + timedelta(minutes=10))
