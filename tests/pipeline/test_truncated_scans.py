"""A scan that does not bring everything, in whatever way, deletes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from stac_manager.errors import StacManagerError
from stac_manager.pipeline.sync.runs import rebuild
from tests.faults.ask import Ask
from tests.faults.fault import Fault, When
from tests.faults.pages import DropItems, NoNext
from tests.faults.server import Count, FaultyApi
from tests.faults.wire import Truncated
from tests.pipeline.site import Site
from tests.stac_items import make_item


def by_window(ask: Ask) -> bool:
    """Whether a search is not one by ids, which says of each id whether it is there."""
    return "ids" not in ask.query


WINDOWS = When(where=by_window)


@dataclass(frozen=True)
class Truncation:
    """How a scan is cut short."""

    name: str
    faults: Sequence[Fault]
    count: Count = "right"


TRUNCATIONS = [
    Truncation("the first page is the last", [NoNext(when=WINDOWS)]),
    Truncation("the first page is the last, uncounted", [NoNext(when=WINDOWS)], "absent"),
    Truncation("a page lacks an item that is counted", [DropItems(when=When(where=by_window, holds="i1-20"))]),
    Truncation("pages lack items, uncounted", [DropItems(2, when=WINDOWS)], "absent"),
    Truncation("pages are empty, uncounted", [DropItems(99, when=WINDOWS)], "absent"),
    Truncation("an answer breaks off", [Truncated(100, when=When(where=by_window, pages={1, 2, 3}))]),
]


@pytest.fixture(params=TRUNCATIONS, ids=lambda one: one.name)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Site, FaultyApi, Truncation]]:
    """Two months of forty items, synced."""
    items = [
        make_item(f"i{month}-{n:02}", f"2024-{month:02}-{n % 28 + 1:02}T{n % 24:02}:00:00Z")
        for month in (1, 2)
        for n in range(40)
    ]
    api = FaultyApi(items, count=request.param.count)
    quick = {"page_size": 10, "retry_max_attempts": 1, "timeout_seconds": 5}
    with api.serve() as url:
        site = Site(url, items, tmp_path, processing=quick, sync={"delete_threshold": 1.0})
        site.sync()
        assert len(site.everywhere()) == 80
        yield site, api, request.param


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_truncated_scan_deletes_nothing(site: tuple[Site, FaultyApi, Truncation], mode: str) -> None:
    at, api, truncation = site
    before = {name: data for name, (data, _) in at.files().items() if name.startswith("published/")}
    api.faults = truncation.faults
    try:
        results = list(at.sync().values() if mode == "incremental" else rebuild(at.chain, ["2024-01", "2024-02"]))
    except StacManagerError:
        results = []
    assert [result.changes.deleted for result in results if not result.error] == [0] * sum(
        not result.error for result in results
    )
    assert {name: data for name, (data, _) in at.files().items() if name.startswith("published/")} == before
    api.faults = ()
    at.sync()
    assert len(at.everywhere()) == 80
