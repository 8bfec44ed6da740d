"""Items that are dated outside of all partitions belong to none: they hold nothing up, and are told by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.cli import run
from stac_manager.items import item_time
from stac_manager.pipeline import read_pending_deletions, read_tombstones, run_check
from stac_manager.pipeline.sync.runs import rebuild
from stac_manager.pipeline.sync.targeted import find_target_partitions
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

Json = dict[str, Any]
EXTENSIONS = {"all": ("sort", "fields", "query"), "none": ()}
OUTSIDE = {
    "before the first": make_item("i1-00", "2019-05-01T10:00:00Z"),
    "after the last": make_item("i1-00", "2024-04-01T00:00:00Z"),
    "no time": make_item("i1-00", None),
    "damaged, before the first": make_item("i1-00", "2019-05-01T10:00:00Z", cloud=float("nan")),
    "beyond 64 bits, before the first": make_item("i1-00", "2019-05-01T10:00:00Z", huge=2**80 + 1),
    "a range that starts before": make_item(
        "i1-00", None, start_datetime="2023-12-20T00:00:00Z", end_datetime="2024-01-20T00:00:00Z"
    ),
    "a date before, its range here": make_item(
        "i1-00",
        "2023-12-20T00:00:00Z",
        start_datetime="2023-12-10T00:00:00Z",
        end_datetime="2024-02-20T00:00:00Z",
    ),
}


def many() -> list[Json]:
    return [
        make_item(f"i{month}-{n:02}", f"2024-{month:02}-{n + 1:02}T10:00:00Z") for month in (1, 2, 3) for n in range(20)
    ]


@pytest.fixture(params=EXTENSIONS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three months of twenty items, synced; the source offers more or less to ask by."""
    items = many()
    with serve(create_app([make_collection()], items, extensions=EXTENSIONS[request.param])) as url:
        site = Site(url, items, tmp_path)
        site.sync()
        yield site


def require_green(site: Site, partition: str = "2024-01") -> Any:
    raw = site.chain.raw.reusable_manifest(partition)
    assert raw is not None
    for name in ("ledger_balances", "complete", "deletions"):
        assert run_check(name, site.chain.storage, raw).passed
    assert read_pending_deletions(site.chain.storage, raw) == set()
    return raw


@pytest.mark.parametrize("outside", OUTSIDE)
def test_an_item_that_is_now_dated_outside_leaves_and_the_partition_goes_on(
    site: Site, outside: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.items[0] = OUTSIDE[outside]
    site.items[1]["properties"]["cloud"] = 5
    results = site.sync()
    assert results["2024-01"].error is None
    assert results["2024-01"].changes.model_dump() == {"added": 0, "modified": 1, "deleted": 1, "unchanged": 18}
    assert len(site.published()) == 19
    raw = require_green(site)
    assert list(read_tombstones(site.chain.storage, raw)) == []
    (line,) = [record.getMessage() for record in caplog.records if "left, since" in record.getMessage()]
    assert "such as 'i1-00': " in line
    assert line.startswith("c 2024-01: 1 item left")
    assert site.sync() == {}
    for result in rebuild(site.chain, site.chain.partitions()):
        assert result.error is None
    assert len(site.everywhere()) == 59


def test_a_partition_whose_items_are_all_dated_outside_waits_for_nobody(site: Site) -> None:
    for number in range(20):
        site.items[number]["properties"]["datetime"] = "2019-05-01T10:00:00Z"
    assert site.sync()["2024-01"].error is None
    assert site.published() == {}
    require_green(site)


def test_deletions_that_waited_go_once_the_source_dates_the_items_outside(site: Site) -> None:
    gone = [site.items.pop(0) for _ in range(10)]
    site.sync()
    assert len(site.published()) == 20
    site.items += [{**item, "properties": {"datetime": "2019-05-01T10:00:00Z"}} for item in gone]
    results = list(rebuild(site.chain, ["2024-01"]))
    assert [result.error for result in results] == [None]
    assert len(site.published()) == 10
    require_green(site)


def test_what_comes_and_belongs_to_no_partition_is_skipped_and_counted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    times = {"start_datetime": "2023-12-20T00:00:00Z", "end_datetime": "2024-01-20T00:00:00Z"}
    site.items += [make_item("long", None, **times), make_item("longer", "2023-12-25T00:00:00Z", **times)]
    for _ in range(2):
        caplog.clear()
        (result,) = rebuild(site.chain, ["2024-01"])
        assert result.counts.skipped == 2
        assert result.manifests["raw_items"].details["in_no_partition"] == 2
        text = "c 2024-01: 2 items came that belong to no partition, and are skipped, such as 'long': "
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [line for line in lines if line.startswith(text)] == [
            f"{text}dated 2023-12-20; the first partition starts 2024-01-01"
        ]
    require_green(site)
    before = site.files()
    assert site.sync() == {}
    assert site.files() == before


def test_a_catalog_of_the_rule_before_lets_them_go_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    items = [*many(), OUTSIDE["a range that starts before"] | {"id": "long"}, make_item("old", "2019-05-01T10:00:00Z")]
    items[-1]["properties"]["datetime"] = "2024-01-05T00:00:00Z"
    with serve(create_app([make_collection()], items)) as url, monkeypatch.context() as patch:
        patch.setattr("stac_manager.ingest.partition_assignment.belongs_to", lambda item, key, scheme: True)
        site = Site(url, items, tmp_path)
        site.run()
        patch.undo()
        assert {"long", "old"} <= set(site.published())
        items[-1]["properties"]["datetime"] = "2019-05-01T10:00:00Z"
        (result,) = rebuild(site.chain, ["2024-01"])
        assert result.error is None
        assert len(site.published()) == 20
        assert (
            "c 2024-01: 2 items left, since they are dated outside of all partitions, such as 'long': " in caplog.text
        )


FILTER = {"filters": {"temporal": {"start_date": "2024-01-10T00:00:00Z", "end_date": "2024-03-15T00:00:00Z"}}}


@pytest.mark.parametrize(
    "times",
    [
        {"datetime": "2024-01-05T00:00:00Z"},
        {"datetime": "2024-03-20T00:00:00Z"},
        {"datetime": None, "start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-01-04T00:00:00Z"},
    ],
)
def test_an_item_that_is_now_dated_outside_of_the_filter_leaves(site: Site, times: Json) -> None:
    narrow = Site(site.url, site.items, site.folder, source=FILTER)
    narrow.sync()
    assert len(narrow.published("2024-03")) == 14
    site.items[54] = {**make_item("i3-14"), "properties": times}
    site.items[45] = {**make_item("i3-05"), "properties": times}
    site.items[11] = {**make_item("i1-11"), "properties": times}
    for _ in range(2):
        assert [result.error for result in rebuild(narrow.chain, narrow.chain.partitions())] == [None] * 3
    assert len(narrow.published("2024-03")) == 13
    assert not {"i3-14", "i3-05", "i1-11"} & set(narrow.everywhere())


def test_an_item_that_reaches_into_the_filter_is_wanted(site: Site) -> None:
    site.items.append(
        make_item("long", None, start_datetime="2024-01-05T00:00:00Z", end_datetime="2024-02-05T00:00:00Z")
    )
    narrow = Site(site.url, site.items, site.folder, source=FILTER)
    narrow.sync()
    assert narrow.everywhere()["long"] == ["2024-01"]


@pytest.mark.parametrize("temporal", [{"start_date": "2024-02-10"}, {"end_date": "2024-02-10"}])
def test_a_partition_that_the_filter_does_not_reach_is_empty_and_no_failure(
    site: Site, tmp_path: Path, temporal: Json
) -> None:
    (tmp_path / "other").mkdir()
    narrow = Site(site.url, site.items, tmp_path / "other", source={"filters": {"temporal": temporal}})
    for result in rebuild(narrow.chain, narrow.chain.partitions()):
        assert result.error is None
    assert {places[0] for places in narrow.everywhere().values()} > {"2024-02"}
    assert 0 < len(narrow.published("2024-02")) < 20
    assert narrow.sync() == {}


FILTERED: Json = {"source": FILTER}
ENDLESS: Json = {"partitions": {"end": None}}
CASES: list[tuple[Json, Json, str]] = [
    ({"datetime": "2019-05-01T10:00:00Z"}, {}, "dated 2019-05-01; the first partition starts 2024-01-01"),
    (
        {"datetime": "2024-04-01T00:00:00Z"},
        {},
        "dated 2024-04-01T00:00:00Z; the last partition ends 2024-04-01T00:00:00Z",
    ),
    ({"datetime": None}, {}, "but the item has neither `datetime` nor `start_datetime`"),
    (
        {"datetime": None, "start_datetime": "2023-12-20T00:00:00Z", "end_datetime": "2024-01-20T00:00:00Z"},
        {},
        "dated 2023-12-20; the first partition starts 2024-01-01",
    ),
    (
        {"datetime": "2024-01-05T00:00:00Z"},
        {"source": FILTER},
        "dated 2024-01-05; the temporal filter starts 2024-01-10",
    ),
    ({"datetime": "2024-03-20T00:00:00Z"}, FILTERED, "dated 2024-03-20; the temporal filter ends 2024-03-15"),
    (
        {"datetime": "2999-01-01T00:00:00Z"},
        {"partitions": {"end": None}},
        "dated 2999-01-01; the present partition ends",
    ),
]


@pytest.mark.parametrize(("times", "changes", "reason"), CASES)
@pytest.mark.parametrize("known", [False, True])
def test_a_targeted_run_of_an_item_of_no_partition_says_so_and_changes_nothing(
    times: Json, changes: Json, reason: str, known: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [make_item(f"i{n:02}", f"2024-01-{n + 11:02}T10:00:00Z") for n in range(9)]
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        path = str(write_workflow(tmp_path, url, **changes))
        if known:
            items.append(make_item("odd", "2024-01-20T00:00:00Z"))
        assert run(["rebuild-catalog", "--config", path, "--partition", "2024-01"]) == 0
        items[9:] = [{**make_item("odd"), "properties": times}]
        before = site.files()
        capsys.readouterr()
        targeted = ["rebuild-catalog", "--config", path, "--mode", "targeted", "--item-id", "odd", "--item-id", "no"]
        assert run(targeted) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"failed odd: it is at the source, {reason}" in said
        assert ("it stays in c 2024-01 until that partition is run" in said) == known
        assert "failed no: the source does not have it" in said
        assert site.files() == before
        assert run(["rebuild-catalog", "--config", path, "--partition", "2024-01"]) == 0
        assert len(site.published("2024-01")) == 9


def test_a_date_outside_of_its_range_is_rejected_where_a_search_by_datetime_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.server.item_interval", lambda item: (item_time(item),) * 2)
    items = many()
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        site.sync()
        times = {"start_datetime": "2024-02-03T00:00:00Z", "end_datetime": "2024-02-05T00:00:00Z"}
        items[0] = make_item("i1-00", "2024-03-05T00:00:00Z", updated="2025-01-01T00:00:00Z", **times)
        for _ in range(3):
            results = [*site.sync().values(), *rebuild(site.chain, site.chain.partitions())]
            assert {result.error for result in results} == {None}
        assert "i1-00" not in site.everywhere()
        (record,) = site.quarantine("2024-03")
        assert (record["item_id"], record["error_type"]) == ("i1-00", "TimeOutsideItsRange")


def test_an_item_outside_of_all_partitions_has_no_target_partition(site: Site) -> None:
    site.items[0] = make_item("i1-00", "2019-05-01T10:00:00Z")
    assert find_target_partitions(site.chain, ["i1-00", "i1-01"]) == {"2024-01": ["i1-01"]}
