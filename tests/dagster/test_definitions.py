from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from demo.items import COLLECTIONS
from stac_assets.definitions import build_defs
from stac_manager.pipeline import STAGES
from tests.dagster.conftest import Site
from tests.workflows import make_workflow

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def load(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Load the code location as the server does, in a process of its own."""
    command = [str(Path(sys.executable).parent / "dagster"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **settings}, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_workspace_file_loads_the_code_location(tmp_path: Path) -> None:
    settings = {"STAC_WORKFLOWS": "demo/workflows", "DAGSTER_HOME": str(tmp_path)}
    done = load("definitions", "validate", "-w", "workspace.yaml", **settings)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_workflow_is_named_when_the_location_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("workflow: {name: w}\nsauce: {}\n")
    settings = {"STAC_WORKFLOWS": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    done = load("definitions", "validate", "-w", "workspace.yaml", **settings)
    assert done.returncode != 0
    assert "wrong.yaml:2" in done.stdout + done.stderr


def test_the_example_workflows_load_without_the_network(tmp_path: Path) -> None:
    settings = {"STAC_WORKFLOWS": "workflows", "DAGSTER_HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9"}
    done = load("definitions", "validate", "-w", "workspace.yaml", **settings)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_has_the_assets_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("STAC_WORKFLOWS", "demo/workflows")
    from stac_assets.definitions import defs

    definitions = defs()
    keys = {tuple(key.path) for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    wanted = {("alps", collection["id"], stage) for collection in COLLECTIONS for stage in STAGES}
    assert keys == wanted | {("alps", "catalog")}


def test_any_collection_id_of_stac_loads(tmp_path: Path) -> None:
    odd = ["a/b", "c d", "e:f", "g+h", "i.j-k", "l\u00ef"]
    workflow = make_workflow(tmp_path, "http://127.0.0.1:9", source={"collections": odd})
    keys = {tuple(key.path) for key in build_defs([workflow]).resolve_asset_graph().get_all_asset_keys()}
    assert ("w", "a_b", "published") in keys
    assert ("w", "i.j-k", "published") in keys
    assert len(keys) == len(odd) * 5 + 1


def test_no_description_shows_the_query_of_an_address(tmp_path: Path) -> None:
    workflow = make_workflow(tmp_path, "http://127.0.0.1:9/?token=SECRET")
    definitions = build_defs([workflow])
    assert not [sensor.name for sensor in definitions.sensors or [] if "SECRET" in (sensor.description or "")]


def test_each_collection_has_its_job_sensor_pool_and_policy(site: Site) -> None:
    graph = site.definitions.resolve_asset_graph()
    raw = graph.get(site.key("raw_items"))
    assert raw.backfill_policy == dg.BackfillPolicy.multi_run(1)
    assert {graph.get(site.key(stage)).group_name for stage in STAGES} == {"w_c"}
    assert all(graph.get(site.key(stage)).code_version for stage in STAGES)
    assert {sensor.name for sensor in site.definitions.sensors or []} == {"sync_w_c", "catalog_w"}
    assert site.definitions.resolve_job_def("rebuild_w_c").partitions_def == raw.partitions_def
    (pool,) = raw.pools or {""}
    assert pool.startswith("api_127_0_0_1_")
