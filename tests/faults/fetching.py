"""Fetch from a server that fails, and hold the result against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stac_manager.errors import SourceError
from stac_manager.http import HttpSettings
from stac_manager.ingest import IngestModule, StacApiSource
from stac_manager.items import item_interval, loads
from stac_manager.times import Window, format_rfc3339
from tests.faults import Fault, FaultyApi, Json, Spoilt, Status, When
from tests.stac_items import make_item

WINDOW = Window(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
EDGES = [part.start for parts in (1, 2, 3, 4) for part in WINDOW.split(parts)] + [WINDOW.end]
HTTP = HttpSettings(attempts=2, timeout=0.5, deadline=2.0, slice_deadline=30.0, largest_answer=4 << 20)
MOST_REQUESTS = 6000
STRANGERS = [make_item("before", "2023-12-31T23:59:59.999999Z"), make_item("after", "2024-01-03T00:00:00.000001Z")]
JUNK = [b"", b"null", b"[]", b"{}", b'"busy"', b'{"features": null}', b'{"code": 429, "description": "slow down"}']


def fetched(api: FaultyApi, page_size: int = 7, concurrency: int = 3, **http: Any) -> dict[str, Json | None] | None:
    """What was fetched, by id (None: refused); None if the fetch failed as it may."""
    watchdog = Status(410, when=When(where=lambda ask: ask.number >= MOST_REQUESTS))
    api.faults = [watchdog, *api.faults]
    settings = replace(HTTP, concurrency=concurrency, **http)
    with api.serve() as url, IngestModule(StacApiSource(url, "c", http=settings, page_size=page_size)) as ingest:
        try:
            ingest.fetch(WINDOW)
        except SourceError as error:
            message = str(error)
        else:
            refused = {record["item_id"]: None for record in ingest.rejected_items.records(str) if record["item_id"]}
            return {**refused, **{entry[0]: loads(entry[-1]) for entry in ingest}}
    assert not watchdog.happened, "the fetch would never have ended"
    assert message.strip()
    assert "\n" not in message
    return None


def in_window(items: Sequence[Json]) -> dict[str, Json]:
    intervals = [(item, item_interval(item)) for item in items]
    return {item["id"]: item for item, times in intervals if times and _meets(times)}


def _meets(times: tuple[datetime, datetime]) -> bool:
    return times[0] <= WINDOW.end and times[1] >= WINDOW.start


def assert_whole(found: dict[str, Json | None], items: Sequence[Json], faults: Sequence[Fault] = ()) -> None:
    spoils = any(isinstance(fault, Spoilt) for fault in faults)
    truth = in_window(items)
    assert sorted(truth.keys() - found.keys()) == [], "lost without a word"
    assert sorted(found.keys() - truth.keys()) == [], "not asked for"
    for item_id, item in found.items():
        assert item == truth[item_id] or (item is None and spoils)


def forty() -> list[Json]:
    """Forty items all over the window, eight of them at one instant, and some outside."""
    step = (WINDOW.end - WINDOW.start) / 31
    times = [*(WINDOW.start + step * number for number in range(32)), *[EDGES[1]] * 8]
    return [make_item(f"i{number:02}", format_rfc3339(time)) for number, time in enumerate(times)] + STRANGERS
