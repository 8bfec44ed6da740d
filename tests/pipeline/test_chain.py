from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pystac
import pytest

from demo.server import create_app, serve
from stac_manager.errors import IncompleteError, LedgerError, SourceError, StacManagerError, StorageError, UsageError
from stac_manager.files import read_lines
from stac_manager.pipeline import STAGES, Chain, Ledger, partition_counts, run_check
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow


def some_items() -> list[dict[str, Any]]:
    return [
        make_item("a", "2024-01-05T10:00:00Z", cloud=10),
        make_item("b", "2024-01-31T23:59:59.999999Z", cloud=20.5),
        make_item("edge", "2024-02-01T00:00:00Z"),
        make_item("range", None, start_datetime="2024-01-20T00:00:00Z", end_datetime="2024-02-20T00:00:00Z"),
    ]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    items = some_items()
    with serve(create_app([make_collection()], items)) as url:
        yield Site(url, items, tmp_path)


def test_an_item_goes_to_the_partition_of_its_time_and_to_no_other(site: Site) -> None:
    site.run("2024-01")
    site.run("2024-02")
    assert set(site.published("2024-01")) == {"a", "b", "range"}
    assert set(site.published("2024-02")) == {"edge"}


def test_the_ledger_of_the_chain_accounts_for_every_fetched_item(site: Site) -> None:
    site.items.append({**make_item("bad", "2024-01-07T00:00:00Z"), "assets": None})
    site.items.append(make_item("nan", "2024-01-08T00:00:00Z", cloud=math.nan))
    site.run()
    counts = partition_counts(site.chain.storage, "c", "2024-01")
    assert counts is not None
    assert counts.balances
    assert (counts.published, counts.quarantined, counts.skipped) == (3, 2, 1)


def test_every_stage_keeps_items_to_the_letter(site: Site) -> None:
    odd = make_item("odd", "2024-01-09T00:00:00.000000Z", none=None, empty={}, big=2**60, text="\u2028é\\d")
    site.items.append(odd)
    done = site.run()
    for stage in STAGES[:4]:
        items = done[stage].items
        assert items is not None
        lines = list(read_lines(site.folder / "data" / items.key))
        found = next(item for item in map(orjson.loads, lines) if item["id"] == "odd")
        assert {**found, "links": []} == {**odd, "links": []}


def test_quarantine_says_what_where_when_and_why(site: Site) -> None:
    site.items.append({**make_item("bad", "2024-01-07T00:00:00Z"), "assets": None})
    site.run()
    (record,) = site.quarantine()
    assert set(record) == {"item_id", "error_type", "error_message", "error_context"}
    assert (record["item_id"], record["error_type"]) == ("bad", "InvalidItem")
    assert set(record["error_context"]) == {"step", "source_data", "timestamp"}
    assert record["error_context"]["step"] == "validated"
    assert record["error_context"]["source_data"]["id"] == "bad"


def test_quarantine_is_gone_when_its_items_are_mended(site: Site) -> None:
    site.items.append({**make_item("bad", "2024-01-07T00:00:00Z"), "assets": None})
    site.run()
    site.items[-1]["assets"] = {}
    site.run()
    assert site.quarantine() == []
    assert "bad" in site.published()


def test_a_rerun_without_change_changes_no_file(site: Site) -> None:
    site.items.append({**make_item("bad", "2024-01-07T00:00:00Z"), "assets": None})
    site.run()
    before = site.files()
    site.run()
    assert site.files() == before


def test_the_same_items_give_the_same_bytes_in_whatever_order_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")  # when a partition was compared is told to the second
    files = []
    items = [make_item(f"i{number}", f"2024-01-{number % 28 + 1:02}T00:00:00Z", n=number) for number in range(50)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    app = create_app([make_collection()], items)
    with serve(app) as url:
        for folder in ("one", "two"):
            site = Site(url, items, tmp_path / folder)
            site.run()
            files.append({name: data for name, (data, _) in site.files().items()})
            items.reverse()
    assert files[0] == files[1]


def test_changes_against_the_last_run_are_counted(site: Site) -> None:
    assert site.run()["published"].changes.model_dump() == {"added": 3, "modified": 0, "deleted": 0, "unchanged": 0}
    site.items[0]["properties"]["cloud"] = 99
    del site.items[1]
    site.items.append(make_item("new", "2024-01-09T00:00:00Z"))
    done = site.run(allow_deletes=True)
    assert done["published"].changes.model_dump() == {"added": 1, "modified": 1, "deleted": 1, "unchanged": 1}


def test_a_partition_without_items_publishes_no_file(site: Site) -> None:
    site.run("2024-03")
    assert not (site.folder / "data" / "published" / "c" / "items" / "2024-03.parquet").exists()


def test_a_partition_that_became_empty_loses_its_file(site: Site) -> None:
    site.run()
    site.items.clear()
    site.run(allow_deletes=True)
    assert site.published() == {}
    collection = orjson.loads((site.folder / "data" / "published" / "c" / "collection.json").read_bytes())
    assert not collection.get("assets")


def test_a_source_that_fails_leaves_what_is_published(tmp_path: Path) -> None:
    items = some_items()
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        site.run()
        before = site.files()
    fresh = Chain.of(make_workflow(tmp_path, url), "c")
    with pytest.raises(SourceError):
        fresh.run("raw_items", "2024-01")
    assert site.files() == before


def test_an_incomplete_fetch_leaves_what_is_published(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run()
    before = site.files()
    # the server now counts an item that its pages do not hold
    from stac_manager.ingest.stac_api import paging

    parse = paging._to_page

    def without_a(body: bytes, query: Any, secrets: Any) -> Any:
        page = parse(body, query, secrets)
        return replace(page, items=[item for item in page.items if item.id != "a"])

    monkeypatch.setattr(paging, "_to_page", without_a)
    with pytest.raises(IncompleteError, match="says it has 1 items, but its pages brought 0"):
        site.run()
    assert site.files() == before


def test_a_stage_without_the_one_before_says_so(site: Site) -> None:
    with pytest.raises(StorageError, match="extended has not run yet"):
        site.chain.run("validated", "2024-01")


def test_a_partition_that_is_none_is_refused(site: Site) -> None:
    with pytest.raises(UsageError, match="2023-12"):
        site.chain.run("raw_items", "2023-12")


def test_a_damaged_manifest_is_one_clear_line(site: Site) -> None:
    site.run()
    path = site.folder / "data" / "stages" / "c" / "extended" / "2024-01" / "manifest.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(StorageError, match="is damaged") as caught:
        site.chain.run("validated", "2024-01")
    assert "\n" not in str(caught.value)


def test_files_of_an_older_generation_are_removed(site: Site) -> None:
    site.run()
    site.items[0]["properties"]["cloud"] = 99
    site.run()
    folder = site.folder / "data" / "stages" / "c"
    assert [path.name for path in (folder / "raw_items" / "2024-01").iterdir()] == ["manifest.json"]
    found = sorted(path.name.split("-")[0] for path in (folder / "blobs" / "2024-01").iterdir())
    assert found == ["index", "items", "report"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_ledger_check_recounts_the_files(site: Site, stage: str) -> None:
    done = site.run()
    manifest = done[stage]
    assert run_check("ledger_balances", site.chain.storage, manifest).passed
    wrong = manifest.model_copy(update={"ledger": Ledger(received=4, passed=4)})
    outcome = run_check("ledger_balances", site.chain.storage, wrong)
    assert not outcome.passed
    assert outcome.blocking
    assert "the files have 3 items" in outcome.description


def test_a_ledger_that_does_not_balance_is_refused() -> None:
    with pytest.raises(LedgerError, match="10 items came in"):
        Ledger(received=10, passed=8, quarantined=1).require_balance()


def test_the_round_trip_check_finds_an_item_that_was_changed(site: Site) -> None:
    manifest = site.run()["published"]
    assert run_check("round_trip", site.chain.storage, manifest).passed
    other = Site(site.url, site.items, site.folder)
    site.items[0]["properties"]["cloud"] = 99
    for stage in STAGES[:4]:
        other.chain.run(stage, "2024-01")
    outcome = run_check("round_trip", site.chain.storage, manifest)
    assert not outcome.passed
    assert "a: " in outcome.facts["examples"][0]


def test_the_published_catalog_is_read_by_pystac_with_true_extents(site: Site) -> None:
    site.run("2024-01")
    site.run("2024-02")
    catalog = pystac.Catalog.from_file(str(site.folder / "data" / "published" / "catalog.json"))
    (collection,) = list(catalog.get_children())
    assert isinstance(collection, pystac.Collection)
    assert collection.extent.spatial.bboxes == [[7.5, 46.5, 7.5, 46.5]]
    start, end = collection.extent.temporal.intervals[0]
    assert start is not None
    assert end is not None
    assert (start.isoformat(), end.isoformat()) == ("2024-01-05T10:00:00+00:00", "2024-02-20T00:00:00+00:00")
    parquet = [asset.get_absolute_href() for asset in collection.assets.values()]
    assert all(href and Path(href).is_file() for href in parquet)
    assert len(parquet) == 2


@pytest.mark.s3
def test_a_bucket_holds_the_same_bytes_as_a_folder(
    site: Site, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")  # when a partition was compared is told to the second
    site.run()
    workflow = make_workflow(tmp_path, site.url, output={"path": f"{s3_url}/same"})
    chain = Chain.of(workflow, "c")
    for stage in STAGES:
        chain.run(stage, "2024-01")
    chain.publish_collection()
    bucket = {key: chain.storage.get(key) for prefix in ("published", "stages") for key in chain.storage.list(prefix)}
    folder = {name: data for name, (data, _) in site.files().items() if "lock" not in name}
    assert bucket == folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_in_any_stage_leaves_the_last_generation(
    site: Site, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run()
    before = site.chain.stage_partition(stage, "2024-01").read(site.chain.storage)
    site.items[0]["properties"]["cloud"] = 99
    put = type(site.chain.storage).put

    def full(self: Any, key: str, content: Any) -> None:
        if f"/{stage}/" in key and key.endswith("manifest.json"):
            raise StorageError(f"{key}: cannot be written: no space left on device")
        put(self, key, content)

    monkeypatch.setattr(type(site.chain.storage), "put", full)
    with pytest.raises(StacManagerError):
        site.run()
    assert site.chain.stage_partition(stage, "2024-01").read(site.chain.storage) == before
    monkeypatch.undo()
    site.run()
    assert site.published()["a"]["properties"]["cloud"] == 99
