from __future__ import annotations

import base64
import re

import dagster as dg
import pyarrow.parquet as pq
import pytest

from stac_assets.names import catalog_key
from stac_manager.pipeline import STAGES, Chain, checks_of
from tests.dagster.conftest import QUIET, Site

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def test_one_partition_goes_through_all_stages_in_one_run(site: Site) -> None:
    assert site.run("2024-02").success
    assert [set(site.materializations(stage)) for stage in STAGES] == [{"2024-02"}] * 5
    published = site.materializations("published")["2024-02"].metadata
    assert published["passed"].value == 1
    assert published["added"].value == 1
    assert str(published["parquet"].value).endswith("published/c/items/2024-02.parquet")


def test_a_float_in_one_partition_makes_the_integers_of_the_others_double(site: Site) -> None:
    site.items[0]["properties"]["cloud"] = 19
    site.items[1]["properties"]["cloud"] = 19.6
    assert site.run("2024-01").success
    assert site.run("2024-02").success
    files = sorted((site.folder / "data" / "published" / "c" / "items").glob("*.parquet"))
    assert [str(pq.read_schema(path).field("cloud").type) for path in files] == ["double", "double"]
    assert set(site.materializations("published")) == {"2024-01", "2024-02"}


def test_a_range_in_one_run_is_recorded_partition_by_partition(site: Site) -> None:
    assert site.run("2024-01", "2024-03").success
    for stage in STAGES:
        found = site.materializations(stage)
        assert set(found) == {"2024-01", "2024-02", "2024-03"}
    counts = {key: one.metadata["passed"].value for key, one in site.materializations("validated").items()}
    assert counts == {"2024-01": 1, "2024-02": 1, "2024-03": 1}


@pytest.mark.parametrize("last", [None, "2024-02", "2024-03"], ids=["one partition", "a range of one", "a range"])
def test_every_check_is_recorded_for_each_partition_and_tied_to_its_materialization(
    site: Site, last: str | None
) -> None:
    site.run("2024-02", last)
    wanted = {"2024-02", last or "2024-02"}
    for stage in STAGES:
        for check in checks_of(stage):
            found = site.checks(stage, check.name)
            assert wanted <= set(found), f"{stage} {check.name}"
            assert all(found[key].target_materialization_data for key in wanted)


def test_the_validation_report_is_seen_per_partition(site: Site) -> None:
    site.run("2024-01", "2024-03")
    found = site.checks("validated", "schema_valid")
    assert {key: one.passed for key, one in found.items() if key} == {
        "2024-01": True,
        "2024-02": False,
        "2024-03": True,
    }
    red = found["2024-02"]
    assert red.severity is dg.AssetCheckSeverity.WARN
    assert (red.metadata["valid"].value, red.metadata["invalid"].value) == (1, 1)
    assert "assets" in str(red.metadata["top reasons"].value)
    assert str(red.metadata["report"].value).endswith(".json")


@pytest.mark.parametrize("last", [None, "2024-02"], ids=["one partition", "a range"])
def test_a_ledger_that_does_not_balance_stops_the_chain(
    site: Site, last: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stac_manager.pipeline import checks

    kept = checks.read_index

    def lose_one(storage: object, manifest: object) -> object:
        return list(kept(storage, manifest))[1:]  # type: ignore[arg-type]

    monkeypatch.setattr(checks, "read_index", lose_one)
    result = site.run("2024-01", last)
    assert not result.success
    assert not site.checks("raw_items", "ledger_balances")["2024-01"].passed
    assert site.materializations("transformed") == {}


def test_a_source_that_is_gone_fails_the_run_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.errors import IncompleteError

    def fail(self: Chain, stage: str, partition: str, **options: object) -> None:
        raise IncompleteError("c: the source says it has 3 items, but its pages brought 2")

    monkeypatch.setattr(Chain, "run", fail)
    result = site.run("2024-01")
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "1 of 1 partitions failed: 2024-01: c: the source says it has 3 items" in str(
        failure.step_failure_data.error_display_string
    ) + str(failure.step_failure_data.user_failure_data)
    evaluation = site.checks("raw_items", "complete")["2024-01"]
    assert not evaluation.passed


def test_in_a_range_one_failing_partition_does_not_hide_the_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from stac_manager.errors import StorageError

    run = Chain.run

    def fail_one(self: Chain, stage: str, partition: str, **options: object) -> object:
        if partition == "2024-02":
            raise StorageError("disk full")
        return run(self, stage, partition, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Chain, "run", fail_one)
    assert not site.run("2024-01", "2024-03").success
    assert set(site.materializations("raw_items")) == {"2024-01", "2024-03"}


def test_pictures_are_small_pngs(site: Site) -> None:
    site.run("2024-01")
    metadata = site.materializations("published")["2024-01"].metadata
    for name in ("footprints", "timeline"):
        match = re.fullmatch(r"!\[\w+\]\(data:image/png;base64,(.+)\)", str(metadata[name].value))
        assert match
        png = base64.b64decode(match[1])
        assert png.startswith(b"\x89PNG")
        assert len(png) <= 20_000


def test_an_unchanged_rerun_has_the_same_data_version(site: Site) -> None:
    site.run("2024-01")
    first = site.materializations("published")["2024-01"].tags
    site.run("2024-01")
    second = site.materializations("published")["2024-01"].tags
    assert first is not None
    assert second is not None
    assert first["dagster/data_version"] == second["dagster/data_version"]


def test_dagster_and_the_library_see_each_others_results(site: Site) -> None:
    site.run("2024-01")
    site.items[0]["properties"]["cloud"] = 5
    chain = Chain.of(site.workflow, "c")
    assert chain.run("raw_items", "2024-01").changes.modified == 1
    for stage in STAGES[1:]:
        chain.run(stage, "2024-01")
    site.run("2024-01")
    assert site.materializations("raw_items")["2024-01"].metadata["unchanged"].value == 1


def test_the_catalog_sums_up_its_collections(site: Site) -> None:
    site.run("2024-01", "2024-03")
    asset = site.definitions.get_assets_def(catalog_key(site.workflow))
    done = dg.materialize([asset], instance=site.instance, resources=site.definitions.resources, run_config=QUIET)
    (event,) = done.asset_materializations_for_node(asset.node_def.name)
    assert event.metadata["items"].value == 3
    assert (site.folder / "data" / "published" / "catalog.json").is_file()
