from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from stac_assets import sensors
from tests.dagster.conftest import Site
from tests.stac_items import make_item

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def tick(site: Site, cursor: str | None = None) -> tuple[list[dg.RunRequest], str | None]:
    (sensor,) = [one for one in site.definitions.sensors or [] if one.name == "sync_w_c"]
    assert isinstance(sensor, dg.SensorDefinition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = dg.build_sensor_context(
            instance=site.instance,
            cursor=cursor,
            resources=site.definitions.resources,
            definitions=site.definitions,
        )
        data = sensor.evaluate_tick(context)
    return list(data.run_requests or []), data.cursor


def partitions(requests: list[dg.RunRequest]) -> list[str | None]:
    return sorted(request.partition_key or "" for request in requests)


def test_the_first_tick_asks_for_the_latest_windows(site: Site) -> None:
    requests, _ = tick(site)
    assert partitions(requests) == ["2024-02", "2024-03"]


def test_what_is_published_already_is_not_asked_for_even_without_a_cursor(site: Site) -> None:
    site.run("2024-02", "2024-03")
    assert tick(site)[0] == []


def test_exactly_the_window_that_changed_is_asked_for(site: Site) -> None:
    site.run("2024-02", "2024-03")
    site.items.append(make_item("new", "2024-02-20T00:00:00Z"))
    requests, _ = tick(site)
    assert partitions(requests) == ["2024-02"]
    site.run("2024-02")
    assert tick(site)[0] == []


def test_a_change_inside_an_item_is_seen(site: Site) -> None:
    site.run("2024-02", "2024-03")
    site.items[3]["properties"]["cloud"] = 1
    assert partitions(tick(site)[0]) == ["2024-03"]


def test_the_same_change_is_not_asked_for_twice_within_the_hour(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, cursor = tick(site)
    again, cursor = tick(site, cursor)
    assert (len(requests), again) == (2, [])
    later = datetime.now(UTC).timestamp() + 3700

    class Clock(datetime):
        def timestamp(self) -> float:
            return later

    monkeypatch.setattr(sensors, "utc_now", lambda: Clock.now(UTC))
    retried, _ = tick(site, cursor)
    assert partitions(retried) == ["2024-02", "2024-03"]
    assert not {request.run_key for request in retried} & {request.run_key for request in requests}


def test_run_keys_name_what_changed(site: Site) -> None:
    first = {request.partition_key: request.run_key for request in tick(site)[0]}
    site.items.append(make_item("new", "2024-03-20T00:00:00Z"))
    second = {request.partition_key: request.run_key for request in tick(site)[0]}
    assert first["2024-02"] == second["2024-02"]
    assert first["2024-03"] != second["2024-03"]


def test_a_changed_workflow_asks_for_a_new_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.pipeline import chain

    site.run("2024-02", "2024-03")
    monkeypatch.setitem(chain._CODE, "validated", "2")
    assert partitions(tick(site)[0]) == ["2024-02", "2024-03"]


def test_the_sensor_works_to_a_budget(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "_BUDGET", -1.0)
    assert tick(site)[0] == []


def test_a_source_that_is_gone_makes_the_tick_fail_and_keeps_the_cursor(site: Site, monkeypatch: Any) -> None:
    from stac_manager.errors import SourceError
    from stac_manager.pipeline import Chain

    async def gone(self: Chain, partition: str) -> None:
        raise SourceError("127.0.0.1: no answer")

    monkeypatch.setattr(Chain, "probe", gone)
    with pytest.raises(Exception, match="no answer"):
        tick(site)
