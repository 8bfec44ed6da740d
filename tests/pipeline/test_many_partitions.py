"""Collections of more partitions than one sync check reads closely."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.pipeline.sync import rebuild, sync, unfinished
from stac_manager.pipeline.sync.unfinished import in_a_circle
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

DAYS = [f"2024-01-{day:02}" for day in range(1, 10)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    items = [make_item(f"i{day}", f"{day}T10:00:00Z") for day in DAYS]
    with serve(create_app([make_collection()], items)) as url:
        yield Site(url, items, tmp_path, **OPTIONS)


OPTIONS: dict[str, Any] = {
    "partitions": {"by": "day", "start": DAYS[0], "end": DAYS[-1]},
    "sync": {"latest_windows": 1},
}


def test_a_changed_workflow_reaches_every_partition_however_many_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "CHECKED_EACH_TIME", 2)
    assert all(result.error is None for result in rebuild(site.chain, DAYS))
    changed = Site(site.url, site.items, site.folder, validation={"level": "lenient"}, **OPTIONS)
    ran: list[str] = []
    for _ in range(5):
        ran += [result.partition for result in sync(changed.chain)]
    assert sorted(ran) == DAYS
    assert all(changed.chain.is_up_to_date(day) for day in DAYS)
    assert list(sync(changed.chain)) == []


@pytest.mark.parametrize(
    ("last", "expected"), [(None, "abc"), ("a", "bca"), ("b", "cab"), ("c", "abc"), ("aa", "bca"), ("d", "abc")]
)
def test_a_turn_begins_after_the_last_one(last: str | None, expected: str) -> None:
    assert "".join(in_a_circle(["a", "b", "c"], last)) == expected
