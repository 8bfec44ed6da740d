"""A day of a collection: its source changes, and the platform, as it is deployed, follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.output import same_after_parquet
from stac_manager.times import format_rfc3339
from tests.pipeline.site import Site
from tests.scenarios.platform import JOB, SENSOR, Platform, platform, wait_for
from tests.stac_items import make_collection, make_item

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

LONG_AGO = datetime(2024, 6, 1, tzinfo=UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SYNC = {"every_minutes": 0.08, "overlap_minutes": 1}


@dataclass
class Day:
    """A source, what is published of it, and the platform between them."""

    site: Site
    platform: Platform
    slow: dict[str, float]
    """How many seconds each answer takes."""
    clock: int = 0

    def put(self, item_id: str, time: str, **properties: Any) -> None:
        """Publish an item at the source, in place of the one with its id."""
        self.clock += 10
        updated = format_rfc3339(LONG_AGO + timedelta(minutes=self.clock))
        self.replace(make_item(item_id, time, updated=updated, **properties))

    def replace(self, item: dict[str, Any]) -> None:
        self.site.items[:] = [one for one in self.site.items if one["id"] != item["id"]] + [item]

    def delete(self, *ids: str) -> None:
        self.site.items[:] = [one for one in self.site.items if one["id"] not in ids]

    def differences(self, keeps: tuple[str, ...] = (), refuses: tuple[str, ...] = ()) -> list[str]:
        """How what is published differs from the source; it may keep some ids, and refuse some."""
        places = self.site.everywhere()
        source = {one["id"]: one for one in self.site.items if one["id"] not in refuses}
        found = [f"{item_id} is missing" for item_id in source if item_id not in places]
        found += [f"{item_id} is kept" for item_id in places if item_id not in source and item_id not in keeps]
        found += [f"{item_id} is in {keys}" for item_id, keys in places.items() if len(keys) != 1]
        for partition in self.site.chain.partitions():
            for item_id, one in self.site.published(partition).items():
                if item_id in source and not _same(source[item_id], one, partition):
                    found.append(f"{item_id} in {partition} is old")
        return found

    def wait_until_in_step(self, **but: tuple[str, ...]) -> None:
        wait_for(lambda: self.differences(**but) == [], lambda: [*self.differences(**but), self.platform.log])

    def wait_for_check(self, *, passed: bool) -> None:
        """Wait until the deletions of January are red, or green."""

        def is_so() -> bool:
            check = self.platform.deletions("2024-01")
            return check is not None and check.passed is passed

        wait_for(is_so, lambda: self.platform.log)

    def published_files(self) -> dict[str, tuple[bytes, int]]:
        return {name: found for name, found in self.site.files().items() if name.startswith("published/")}


def _same(source: dict[str, Any], published: dict[str, Any], partition: str) -> bool:
    at_home = source["properties"]["datetime"].startswith(partition)
    return at_home and same_after_parquet({**source, "links": []}, {**published, "links": []}) is None


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    """Three months of thirty items, and the platform just started."""
    items = [
        make_item(f"i{month}-{n:02}", f"2024-{month:02}-{n % 28 + 1:02}T10:00:00Z", updated=format_rfc3339(LONG_AGO))
        for month in (1, 2, 3)
        for n in range(30)
    ]
    slow: dict[str, float] = {"seconds": 0}

    @web.middleware
    async def delayed(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(slow["seconds"])
        return await handler(request)

    app = create_app([make_collection()], items)
    app.middlewares.append(delayed)
    with serve(app) as url:
        site = Site(url, items, tmp_path, sync=SYNC)
        with platform(tmp_path, tmp_path) as running:
            yield Day(site, running, slow)


def new_late_changed_deleted_and_moved_items_are_followed_and_invalid_ones_refused(day: Day) -> None:
    day.put("new", "2024-03-15T00:00:00Z")
    day.put("i3-05", "2024-03-06T10:00:00Z", cloud=5)
    day.delete("i3-07")
    day.put("late", "2024-01-15T00:00:00Z")
    day.put("i2-03", "2024-01-20T10:00:00Z")  # nothing else of February changes
    day.put("i1-09", "2024-01-10T10:00:00Z")
    day.site.items[-1]["assets"] = None
    day.wait_until_in_step(refuses=("i1-09",))
    (record,) = day.site.quarantine("2024-01")
    assert record["item_id"] == "i1-09"
    assert "assets" in record["error_message"]


def mended_items_are_published_and_many_deletions_wait_for_a_person(day: Day) -> None:
    gone = tuple(f"i1-{n:02}" for n in range(10, 20))
    day.delete(*gone)
    day.put("i1-09", "2024-01-10T10:00:00Z")
    day.wait_until_in_step(keeps=gone)
    day.wait_for_check(passed=False)
    assert day.site.quarantine("2024-01") == []
    assert set(gone) <= set(day.site.published("2024-01"))
    tags = {"dagster/partition": "2024-01", "stac_manager/allow_deletes": "true"}
    day.platform.dagster("job", "launch", "-j", JOB, "--tags", json.dumps(tags))
    day.wait_until_in_step()
    day.wait_for_check(passed=True)


def nothing_is_run_or_written_while_nothing_changes(day: Day) -> None:
    wait_for(lambda: not day.platform.under_way(), lambda: day.platform.log)
    day.platform.wait_for_ticks(1)
    wait_for(lambda: not day.platform.under_way(), lambda: day.platform.log)
    runs, files = day.platform.runs(), day.published_files()
    day.platform.wait_for_ticks(3)
    assert len(day.platform.runs()) == len(runs)
    assert day.published_files() == files


def a_lost_cursor_and_a_platform_that_is_killed_amid_a_run_lose_nothing(day: Day) -> None:
    day.platform.dagster("sensor", "cursor", SENSOR, "--delete")
    wait_for(lambda: not day.platform.under_way(), lambda: day.platform.log)
    day.slow["seconds"] = 1
    day.put("last-minute", "2024-02-15T00:00:00Z")
    wait_for(lambda: day.platform.runs(statuses=[dg.DagsterRunStatus.STARTED]), lambda: day.platform.log)
    day.platform.kill()
    (killed,) = day.platform.runs(statuses=[dg.DagsterRunStatus.STARTED])
    day.slow["seconds"] = 0
    day.put("meanwhile", "2024-03-15T00:00:00Z")
    day.put("i2-04", "2024-03-21T10:00:00Z")
    day.delete("i3-01")
    day.platform.start()
    day.wait_until_in_step()
    (run,) = day.platform.runs(run_ids=[killed.run_id])
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_a_day_of_changes_is_followed_by_the_platform(day: Day) -> None:
    day.wait_until_in_step()
    new_late_changed_deleted_and_moved_items_are_followed_and_invalid_ones_refused(day)
    mended_items_are_published_and_many_deletions_wait_for_a_person(day)
    nothing_is_run_or_written_while_nothing_changes(day)
    a_lost_cursor_and_a_platform_that_is_killed_amid_a_run_lose_nothing(day)
