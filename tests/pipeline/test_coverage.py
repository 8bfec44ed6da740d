"""What a sync check has not compared yet is told: that nothing is known to be stale is not that nothing is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from demo.server import create_app, serve
from stac_manager.cli import run
from stac_manager.pipeline import Chain, run_check
from stac_manager.pipeline.state.sync_state import SyncState
from stac_manager.pipeline.sync import SyncPlanner
from stac_manager.pipeline.sync.coverage import Coverage
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

Json = dict[str, Any]
SLOW = {"sync": {"request_budget": 1, "latest_windows": 1}}


@pytest.fixture
def items() -> list[Json]:
    return [
        make_item(f"i{month}-{n:02}", f"2024-{month:02}-{n + 1:02}T10:00:00Z")
        for month in (1, 2, 3)
        for n in range(month * 5)
    ]


@pytest.fixture
def site(items: list[Json], tmp_path: Path) -> Iterator[Site]:
    """Three months, of which each sync check compares one."""
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path, **SLOW)
        for partition in site.chain.partitions():
            site.run(partition)
        yield site


def record(site: Site) -> SyncState:
    return Chain.of(site.workflow, "c").sync_state.load()


def incremental(site: Site, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    path = str(write_workflow(site.folder, site.url, **SLOW))
    assert run(["rebuild-catalog", "--config", path, "--mode", "incremental", *options]) == 0
    return " ".join("".join(capsys.readouterr()).split())


def test_nothing_to_do_tells_what_was_not_compared_yet(
    site: Site, items: list[Json], capsys: pytest.CaptureFixture[str]
) -> None:
    for item in items[8:15]:
        item["properties"]["cloud"] = 1
    before = site.files()
    dry = incremental(site, capsys, "--dry-run")
    assert site.files() == before
    told = incremental(site, capsys)
    assert dry == told
    assert re.fullmatch(
        r"c: nothing to do; 1 of 3 partitions \(17% of the items\) were compared item by item in the present round; "
        r"the oldest comparison is \d minutes? old \(2024-0[23]\); "
        r"all will have been compared after about 2 more sync checks",
        told,
    )
    # the next one finds February by a look at its window, reads it, and compares March
    assert "c: all 3 partitions were compared item by item in the present round" in incremental(site, capsys)
    assert site.published("2024-02")["i2-03"]["properties"]["cloud"] == 1
    assert "c: nothing to do; 1 of 3 partitions" in incremental(site, capsys)


def test_a_scan_counts_as_a_comparison(site: Site) -> None:
    assert set(record(site).compared_at) == {"2024-01", "2024-02", "2024-03"}
    raw = site.chain.raw.reusable_manifest("2024-02")
    assert raw is not None
    outcome = run_check("complete", site.chain.storage, raw)
    assert outcome.facts["last_compared"] == record(site).compared_at["2024-02"]


def test_the_age_is_that_of_the_oldest_comparison(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.chain.sync_state.change(lambda kept: kept.compared_at.update({"2024-02": "2024-01-01T00:00:00Z"}))
    coverage = SyncPlanner(Chain.of(site.workflow, "c"), dry=True).coverage()
    assert coverage.oldest == ("2024-02", datetime(2024, 1, 1, tzinfo=UTC))
    site.chain.sync_state.change(lambda kept: kept.compared_at.__delitem__("2024-03"))
    coverage = SyncPlanner(Chain.of(site.workflow, "c"), dry=True).coverage()
    assert (coverage.oldest, coverage.never) == (None, 1)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    site.run("2024-03")
    assert record(site).compared_at["2024-03"] == "2023-11-14T22:13:20Z"


def test_a_record_of_the_version_before_is_read(site: Site) -> None:
    path = site.folder / "data" / "stages" / "c" / "sync.json"
    old = orjson.loads(path.read_bytes())
    del old["compared_at"]
    path.write_bytes(orjson.dumps({**old, "watermark": "2024-01-01T00:00:00Z"}))
    assert record(site).watermark == "2024-01-01T00:00:00Z"
    told = str(SyncPlanner(Chain.of(site.workflow, "c"), dry=True).coverage())
    assert told.startswith("0 of 3 partitions (0% of the items)")
    assert "; of 3, no comparison is recorded yet; all will have been compared after about" in told
    raw = site.chain.raw.reusable_manifest("2024-01")
    assert raw is not None
    assert run_check("complete", site.chain.storage, raw).facts["last_compared"] == "not yet"


def test_a_round_forgets_partitions_that_are_no_more(site: Site) -> None:
    site.chain.sync_state.change(lambda kept: setattr(kept, "round_left", ["2019-01"]))
    for _ in range(3):
        assert site.sync() == {}
    assert record(site).round_left == []


def test_comparing_a_small_collection_again_writes_nothing(items: list[Json], tmp_path: Path) -> None:
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        site.sync()
        site.sync()
        before = site.files()
        assert site.sync() == {}
        assert site.files() == before
        assert "all 3 partitions were compared" in str(SyncPlanner(Chain.of(site.workflow, "c"), dry=True).coverage())


NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-5), "0 minutes"),
        (timedelta(seconds=50), "1 minute"),
        (timedelta(minutes=59), "59 minutes"),
        (timedelta(hours=1.5), "1 hour"),
        (timedelta(hours=23), "23 hours"),
        (timedelta(days=8.5), "8 days"),
    ],
)
def test_an_age_is_said_as_a_person_says_it(age: timedelta, said: str) -> None:
    coverage = Coverage(12, 4, None, ("2024-02", NOW - age), 0, 1, NOW)
    assert str(coverage) == (
        "4 of 12 partitions were compared item by item in the present round; "
        f"the oldest comparison is {said} old (2024-02); all will have been compared after about 1 more sync check"
    )
