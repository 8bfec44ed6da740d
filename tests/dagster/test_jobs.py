from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from stac_assets.names import replay_job_name, targeted_job_name
from stac_manager.pipeline import STAGES
from tests.dagster.conftest import QUIET, Site
from tests.stac_items import make_item

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def run(site: Site, name: str, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    job = site.definitions.resolve_job_def(name)
    ops = {f"{name}_op": {"config": config}}
    return job.execute_in_process(instance=site.instance, run_config={**QUIET, "ops": ops}, raise_on_error=False)


def test_single_items_are_taken_over_by_a_job_with_config(site: Site) -> None:
    site.run("2024-01")
    site.items[0]["properties"]["cloud"] = 1
    site.items.append(make_item("other", "2024-01-20T00:00:00Z"))
    result = run(site, targeted_job_name(site.workflow, "c"), {"item_ids": ["a"]})
    assert result.success
    shown = site.materializations("published")["2024-01"].metadata
    assert (shown["added"].value, shown["modified"].value) == (0, 1)
    assert site.checks("published", "round_trip")["2024-01"].passed


def test_partitions_are_rebuilt_by_a_job_with_config(site: Site) -> None:
    result = run(site, targeted_job_name(site.workflow, "c"), {"partitions": ["2024-02"]})
    assert result.success
    assert set(site.materializations("published")) == {"2024-02"}


def test_what_a_job_took_over_is_not_stale_afterwards(site: Site) -> None:
    site.run("2024-01", "2024-01")
    site.items[0]["properties"]["cloud"] = 1
    assert run(site, targeted_job_name(site.workflow, "c"), {"item_ids": ["a"]}).success
    graph = site.definitions.resolve_asset_graph()
    stale = CachingStaleStatusResolver(site.instance, graph, LoadingContextForTest(site.instance))
    keys = [key for key in graph.materializable_asset_keys if key.path[-1] in STAGES]
    assert {stale.get_status(key, "2024-01") for key in keys} == {StaleStatus.FRESH}
    assert len(keys) == len(STAGES)
    assert "changes over time" in site.materializations("published")["2024-01"].metadata


@pytest.mark.parametrize("config", [{}, {"item_ids": ["nobody"]}, {"partitions": ["2019-01"]}])
def test_what_cannot_be_taken_fails_the_run(site: Site, config: dict[str, Any]) -> None:
    assert not run(site, targeted_job_name(site.workflow, "c"), config).success


def test_a_job_names_the_item_of_no_partition_and_says_why(site: Site) -> None:
    site.run("2024-01")
    site.items[0]["properties"]["datetime"] = "2019-05-01T00:00:00Z"
    result = run(site, targeted_job_name(site.workflow, "c"), {"item_ids": ["a", "nobody"]})
    (failure,) = [event for event in result.all_node_events if event.is_step_failure]
    said = failure.step_failure_data.error.message + str(failure.step_failure_data.user_failure_data)
    assert "'a': it is at the source, dated 2019-05-01; the first partition starts 2024-01-01" in said
    assert "the source does not have 'nobody'" in said
    site.run("2024-01")
    shown = site.materializations("raw_items")["2024-01"].metadata
    assert (shown["left for no partition"].value, shown["in no partition"].value) == (1, 0)


def test_quarantine_is_replayed_by_a_job_that_shows_what_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.validate import Validator

    site.run("2024-02")
    name = replay_job_name(site.workflow, "c")
    result = run(site, name, {})
    assert result.success
    (output,) = result.filter_events(lambda event: event.is_successful_output)
    assert output.step_output_data.metadata["still in quarantine"].value == 1
    check = Validator.check
    monkeypatch.setattr(Validator, "check", lambda self, one: check(self, {**one, "assets": {}}))
    result = run(site, name, {"partitions": ["2024-02"]})
    (output,) = result.filter_events(lambda event: event.is_successful_output)
    assert output.step_output_data.metadata["published now"].value == 1
    assert site.materializations("published")["2024-02"].metadata["added"].value == 1


def test_deletions_are_confirmed_by_a_run_tag(site: Site) -> None:
    site.run("2024-01")
    del site.items[0]
    site.run("2024-01")
    assert not site.checks("raw_items", "deletions")["2024-01"].passed
    job = site.definitions.resolve_job_def("rebuild_w_c")
    tags = {"stac_manager/allow_deletes": "true"}
    job.execute_in_process(partition_key="2024-01", instance=site.instance, run_config=QUIET, tags=tags)
    assert site.checks("raw_items", "deletions")["2024-01"].passed
    assert site.materializations("published")["2024-01"].metadata["deleted"].value == 1


def test_what_a_job_made_is_not_stale(site: Site) -> None:
    site.run("2024-01")
    site.items[0]["properties"]["cloud"] = 1
    run(site, targeted_job_name(site.workflow, "c"), {"item_ids": ["a"]})
    versions = {
        stage: site.materializations(stage)["2024-01"].tags for stage in ("raw_items", "validated", "published")
    }
    assert all("dagster/data_version" in (tags or {}) for tags in versions.values())
