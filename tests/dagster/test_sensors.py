from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from stac_assets import sensors
from stac_manager.pipeline import STAGE_TABLE, Chain, rescan_mark
from stac_manager.pipeline.state.marks import mark_new_ids
from tests.dagster.conftest import QUIET, Site
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


ALL = ["2024-01", "2024-02", "2024-03"]


def test_what_is_not_there_yet_is_asked_for_the_latest_first(site: Site) -> None:
    requests, _ = tick(site)
    assert [request.partition_key for request in requests] == ALL[::-1]


def test_a_tick_asks_for_so_many_runs_and_the_next_for_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "_MAX_RUN_REQUESTS", 2)
    first, cursor = tick(site)
    second, _ = tick(site, cursor)
    assert [partitions(first), partitions(second)] == [["2024-02", "2024-03"], ["2024-01"]]


def test_what_is_published_already_is_not_asked_for_even_without_a_cursor(site: Site) -> None:
    site.run("2024-01", "2024-03")
    assert tick(site)[0] == []


def test_exactly_the_window_that_changed_is_asked_for(site: Site) -> None:
    site.run("2024-01", "2024-03")
    site.items.append(make_item("new", "2024-02-20T00:00:00Z"))
    requests, _ = tick(site)
    assert partitions(requests) == ["2024-02"]
    site.run("2024-02")
    assert tick(site)[0] == []


def test_a_run_that_was_asked_for_does_what_it_takes_and_no_more(site: Site) -> None:
    site.run("2024-01", "2024-03")
    site.items.append(make_item("new", "2024-02-20T00:00:00Z"))
    ((request,), _) = tick(site)
    job = site.definitions.resolve_job_def("rebuild_w_c")
    result = job.execute_in_process(
        partition_key=request.partition_key, instance=site.instance, run_config=QUIET, tags=dict(request.tags)
    )
    assert result.success
    assert request.tags["stac_manager/mode"] == "scan"
    assert site.materializations("published")["2024-02"].metadata["added"].value == 1
    assert tick(site)[0] == []


def test_a_change_inside_an_item_is_seen(site: Site) -> None:
    site.run("2024-01", "2024-03")
    site.items[3]["properties"]["cloud"] = 1
    assert partitions(tick(site)[0]) == ["2024-03"]


def test_a_late_change_in_an_old_window_is_seen(site: Site) -> None:
    site.run("2024-01", "2024-03")
    site.items[0]["properties"]["cloud"] = 1
    assert partitions(tick(site)[0]) == ["2024-01"]


def test_the_same_change_is_not_asked_for_again_at_once_but_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, cursor = tick(site)
    again, cursor = tick(site, cursor)
    assert (len(requests), again) == (3, [])
    now = datetime.now(UTC)
    monkeypatch.setattr(sensors, "utc_now", lambda: now + timedelta(hours=1))
    retried, _ = tick(site, cursor)
    assert partitions(retried) == ALL
    assert not {request.run_key for request in retried} & {request.run_key for request in requests}


def test_a_clock_wound_back_does_not_hold_up_what_was_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(sensors, "utc_now", lambda: now + timedelta(days=400))
    _, cursor = tick(site)
    monkeypatch.undo()
    assert partitions(tick(site, cursor)[0]) == ALL


@pytest.mark.parametrize("cursor", ["", "{", "[]", "null", '{"2024-01": 1}', '{"2024-01": ["x", 1]}'])
def test_a_damaged_or_old_cursor_loses_nothing(site: Site, cursor: str) -> None:
    assert partitions(tick(site, cursor)[0]) == ALL


def test_a_change_that_comes_and_goes_is_asked_for_each_time(site: Site) -> None:
    site.run("2024-01", "2024-03")
    keys = set()
    cursor = None
    for cloud in (1, 2, 1, 2):
        site.items[0]["properties"]["cloud"] = cloud
        requests, cursor = tick(site, cursor)
        assert partitions(requests) == ["2024-01"]
        keys.add(requests[0].run_key)
        site.run("2024-01")
    assert len(keys) >= 2


def test_what_a_run_is_about_to_write_is_left_alone(site: Site) -> None:
    job = site.definitions.resolve_job_def("rebuild_w_c")
    site.instance.create_run_for_job(job, tags={"dagster/partition": "2024-02"}, status=dg.DagsterRunStatus.STARTED)
    assert partitions(tick(site)[0]) == ["2024-01", "2024-03"]


def test_a_changed_workflow_asks_for_a_new_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run("2024-01", "2024-03")
    monkeypatch.setitem(STAGE_TABLE, "validated", replace(STAGE_TABLE["validated"], code_version="another"))
    assert partitions(tick(site)[0]) == ALL


def test_the_sensor_works_to_a_budget(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run("2024-01", "2024-03")
    site.items[0]["properties"]["cloud"] = 1
    monkeypatch.setattr(sensors, "_TICK_SECONDS", -1.0)
    assert tick(site)[0] == []


def test_a_source_that_is_gone_makes_the_tick_fail_and_keeps_the_cursor(site: Site, monkeypatch: Any) -> None:
    from stac_manager.errors import SourceError

    async def gone(self: Chain, partition: str) -> None:
        raise SourceError("127.0.0.1: no answer")

    site.run("2024-01", "2024-03")
    monkeypatch.setattr(Chain, "probe", gone)
    with pytest.raises(Exception, match="no answer"):
        tick(site)


def test_a_change_right_after_another_was_met_is_asked_for_at_once(site: Site) -> None:
    site.run("2024-01", "2024-03")
    parquet = site.folder / "data" / "published" / "c" / "items" / "2024-01.parquet"
    parquet.unlink()
    requests, cursor = tick(site)
    assert [request.tags["stac_manager/mode"] for request in requests] == ["resume"]
    site.run("2024-01")
    site.items[0]["properties"]["cloud"] = 1
    assert partitions(tick(site, cursor)[0]) == ["2024-01"]


def test_what_was_met_is_forgotten(site: Site) -> None:
    site.run("2024-01", "2024-03")
    parquet = site.folder / "data" / "published" / "c" / "items" / "2024-01.parquet"
    content = parquet.read_bytes()
    parquet.unlink()
    _, cursor = tick(site)
    parquet.write_bytes(content)
    requests, cursor = tick(site, cursor)
    assert (requests, cursor) == ([], "{}")


def test_a_run_that_failed_is_not_asked_for_at_every_tick(site: Site) -> None:
    requests, cursor = tick(site)
    assert partitions(requests) == ALL
    assert tick(site, cursor)[0] == []


def test_what_is_marked_once_more_after_its_run_is_asked_for_once_more(site: Site) -> None:
    site.items.append(make_item("moves", "2024-02-06T00:00:00Z"))
    site.run("2024-01", "2024-03")
    assert tick(site)[0] == []
    site.items[-1] = make_item("moves", "2024-03-06T00:00:00Z")
    site.run("2024-03")
    requests, cursor = tick(site)
    assert partitions(requests) == ["2024-02"]
    assert tick(site, cursor)[0] == []
    storage = Chain.of(site.workflow, "c").storage
    storage.delete(rescan_mark("c", "2024-02"))
    mark_new_ids(storage, "c", "2024-03")
    assert partitions(tick(site, cursor)[0]) == ["2024-02"]


def test_a_tick_tells_how_much_was_compared_and_a_partition_when(site: Site) -> None:
    site.run("2024-01", "2024-03")
    (sensor,) = [one for one in site.definitions.sensors or [] if one.name == "sync_w_c"]
    assert isinstance(sensor, dg.SensorDefinition)
    resources = site.definitions.resources
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = dg.build_sensor_context(instance=site.instance, resources=resources, definitions=site.definitions)
        said = sensor.evaluate_tick(context).skip_message
    assert "all 3 partitions were compared item by item in the present round; the oldest comparison is 0 min" in str(
        said
    )
    when = site.materializations("raw_items")["2024-02"].metadata["last compared"].value
    assert site.checks("raw_items", "complete")["2024-02"].metadata["last_compared"].value == when
    assert str(when).startswith("20")
