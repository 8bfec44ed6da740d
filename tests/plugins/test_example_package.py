"""A package adds a source, a transform, an extension, an output and a check; the core is not touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.stac_items import make_item

Run = Callable[..., subprocess.CompletedProcess[str]]

WORKFLOW = """
workflow: {name: example}
source: {type: ndjson_file, path: %(path)s, collections: [c]}
transformation: {transforms: [{name: upper_case_title}]}
extensions: [{name: asset-count, config: {labels: %(labels)s}}]
validation: {offline: true}
output: {path: %(output)s, format: [parquet, footprints]}
partitions: {by: month, start: "2024-01-01", end: "2024-03-31"}
"""

EXTENSION = "https://example.com/asset-count/v1.0.0/schema.json"


def items() -> list[dict[str, Any]]:
    made = [
        make_item(f"i{number}", f"2024-0{number % 3 + 1}-05T00:00:00Z", title=f"scene {number}") for number in range(9)
    ]
    for item in made:
        item["assets"] = {"data": {"href": "https://example.com/a.tif"}}
    return made


def write_source(folder: Path, found: list[dict[str, Any]]) -> None:
    (folder / "items.ndjson").write_bytes(b"\n".join(map(orjson.dumps, found)) + b"\n")


@pytest.fixture
def workflow(tmp_path: Path) -> str:
    write_source(tmp_path, items())
    (tmp_path / "labels.json").write_text('{"1": "one"}')
    path = tmp_path / "example.yaml"
    values = {
        name: tmp_path / file for name, file in [("path", "items.ndjson"), ("labels", "labels.json"), ("output", "out")]
    }
    path.write_text(WORKFLOW % values)
    return str(path)


def published(tmp_path: Path) -> dict[str, dict[str, Any]]:
    from stac_manager.output import read_geoparquet

    files = sorted((tmp_path / "out/published/c/items").glob("*.parquet"))
    return {item["id"]: item for file in files for item in read_geoparquet(file)}


def summary(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "summary.json").read_text())
    return found


def sync(run: Run, workflow: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run("--", "rebuild-catalog", "--config", workflow, "--summary", "summary.json", *options)


def test_everything_that_a_package_adds_takes_part(run: Run, workflow: str, tmp_path: Path) -> None:
    assert run("--", "check-config", workflow).returncode == 0
    done = sync(run, workflow)
    assert done.returncode == 0, done.stderr
    found = published(tmp_path)
    assert set(found) == {f"i{number}" for number in range(9)}
    assert found["i0"]["properties"]["title"] == "SCENE 0"
    assert found["i0"]["properties"]["count:assets"] == 1
    assert found["i0"]["properties"]["count:label"] == "one"
    assert EXTENSION in found["i0"]["stac_extensions"]
    features = sorted((tmp_path / "out/published/c/footprints").rglob("*.geojson"))
    assert [path.stem for path in features] == sorted(found, key=lambda name: (int(name[1:]) % 3, name))
    collection = json.loads((tmp_path / "out/published/c/collection.json").read_text())
    assert collection["assets"]["footprints-2024-01"]["href"] == "./footprints/2024-01.csv"
    assert collection["assets"]["items-2024-01"]["href"] == "./items/2024-01.parquet"


def test_an_output_of_many_files_follows_deletions_and_is_removed_with_its_format(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    sync(run, workflow)
    left = [item for item in items() if item["id"] != "i3"]
    write_source(tmp_path, left)
    done = sync(run, workflow, "--allow-deletes")
    assert done.returncode == 0, done.stderr
    assert "i3" not in published(tmp_path)
    footprints = tmp_path / "out/published/c/footprints"
    assert not list(footprints.rglob("i3.geojson"))
    assert (footprints / "2024-01.csv").read_text().split() == ["i0", "i6"]
    manifest = json.loads((tmp_path / "out/stages/c/published/2024-01/manifest.json").read_text())
    assert manifest["details"]["outputs"]["footprints"]["deleted"] == ["i3"]
    Path(workflow).write_text(Path(workflow).read_text().replace("[parquet, footprints]", "[parquet]"))
    assert sync(run, workflow, "--mode", "incremental").returncode == 0
    assert not [path for path in footprints.rglob("*") if path.is_file()]
    assert set(published(tmp_path)) == {item["id"] for item in left}


def test_an_unchanged_source_runs_nothing_and_a_changed_one_only_its_partition(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    sync(run, workflow)
    before = {path: path.read_bytes() for path in (tmp_path / "out/published").rglob("*") if path.is_file()}
    done = sync(run, workflow, "--mode", "incremental")
    assert "nothing to do" in done.stderr, done.stderr
    changed = items()
    changed[1]["properties"]["title"] = "another"
    write_source(tmp_path, changed)
    done = sync(run, workflow, "--mode", "incremental")
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path)["modified"] == 1
    assert "2024-01" not in done.stderr
    assert published(tmp_path)["i1"]["properties"]["title"] == "ANOTHER"
    assert all(
        path.read_bytes() == data
        for path, data in before.items()
        if "2024-02" not in str(path) and path.name != "collection.json"
    )


def test_the_content_of_a_file_that_an_extension_names_makes_only_later_stages_stale(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    sync(run, workflow)

    def versions(stage: str) -> set[str]:
        manifests = (tmp_path / "out/stages/c" / stage).glob("*/manifest.json")
        return {json.loads(path.read_text())["code_version"] for path in manifests}

    before = {stage: versions(stage) for stage in ("raw_items", "transformed", "extended", "validated")}
    (tmp_path / "labels.json").write_text('{"1": "a single one"}')
    done = sync(run, workflow, "--mode", "incremental")
    assert done.returncode == 0, done.stderr
    assert {stage for stage in before if versions(stage) != before[stage]} == {"extended"}
    assert {item["properties"]["count:label"] for item in published(tmp_path).values()} == {"a single one"}


def test_an_item_that_a_step_cannot_change_is_quarantined_and_the_rest_published(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    found = items()
    found[0]["properties"]["title"] = 5
    del found[1]["assets"]
    write_source(tmp_path, found)
    done = sync(run, workflow)
    assert done.returncode == 1, done.stderr
    assert set(published(tmp_path)) == {f"i{number}" for number in range(2, 9)}
    records = [
        json.loads(line) for path in (tmp_path / "out/quarantine/c").iterdir() for line in path.read_text().splitlines()
    ]
    assert {(one["item_id"], one["error_context"]["step"]) for one in records} == {
        ("i0", "transformed"),
        ("i1", "extended"),
    }
    assert all(one["error_context"]["source_data"]["id"] == one["item_id"] for one in records)


def test_a_check_of_a_package_is_run_and_its_failure_is_told(run: Run, workflow: str, tmp_path: Path) -> None:
    found = items()
    found[0]["assets"] = {}
    write_source(tmp_path, found)
    done = sync(run, workflow)
    assert "has_assets" in done.stderr
    assert "1 items have no asset" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("labels:", "lables:", "extensions[0].config.lables: found the unknown key 'lables'"),
        ("asset-count", "asset-cuont", "extensions[0].name"),
        ("path: ", "pth: ", "source.path: "),
        (
            "footprints]",
            "footprint]",
            "output.format[1]: found 'footprint'; expected one of parquet, json, pgstac, footprints",
        ),
    ],
)
def test_a_workflow_with_a_fault_in_a_section_of_a_package_is_told_where(
    run: Run, workflow: str, before: str, after: str, message: str
) -> None:
    Path(workflow).write_text(Path(workflow).read_text().replace(before, after, 1))
    done = run("--", "check-config", workflow)
    assert done.returncode == 2
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_dagster_shows_the_chain_with_the_checks_of_the_package(run: Run, workflow: str) -> None:
    code = f"""
import warnings
warnings.simplefilter("ignore")
from stac_assets.definitions import build_defs
from stac_manager.config import load_workflow
graph = build_defs([load_workflow({workflow!r})]).resolve_asset_graph()
keys = sorted("/".join(key.path) for key in graph.get_all_asset_keys())
checks = sorted(key.name for key in graph.asset_check_keys if key.asset_key.path[-1] == "extended")
print(keys, checks)
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "'example/c/published'" in done.stdout
    assert "['has_assets', 'ledger_balances']" in done.stdout


def test_a_plugin_that_takes_a_name_or_cannot_be_loaded_ends_in_one_line(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    points = next((tmp_path / "site").glob("*.dist-info")) / "entry_points.txt"
    good = points.read_text()
    for before, after, message in (
        ("footprints =", "parquet =", "the output format 'parquet' is there already"),
        (
            "extension:AssetCount",
            "extension:Nothing",
            "the extension 'asset-count' of stac-manager-example cannot be loaded",
        ),
        (
            "stac_manager_example.source",
            "not_there",
            "the source type 'ndjson_file' of stac-manager-example cannot be loaded",
        ),
    ):
        points.write_text(good.replace(before, after))
        done = run("--", "check-config", workflow)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_filter_that_a_source_type_does_not_honour_is_refused(run: Run, workflow: str) -> None:
    text = (
        Path(workflow)
        .read_text()
        .replace("collections: [c]", "collections: [c], filters: {spatial: {bbox: [0, 0, 1, 1]}}")
    )
    Path(workflow).write_text(text)
    done = run("--", "check-config", workflow)
    assert done.returncode == 2
    assert "source.filters.spatial" in done.stderr
    assert "this source type does not filter by it" in done.stderr
