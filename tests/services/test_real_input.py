"""Real items, served by a real STAC API, through the whole chain by Dagster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
from pystac_client import Client

from stac_assets.definitions import build_defs
from stac_assets.names import rebuild_job_name
from stac_manager.config import Workflow, load_workflow
from stac_manager.output import read_geoparquet, same_after_parquet
from stac_manager.pipeline import StagePartition, partition_counts, read_rejected
from stac_manager.storage import Storage
from stac_manager.times import utc_now
from tests.services.pgstac import PgStac, pgstac_api

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

COLLECTIONS = {
    "sentinel-s2-l2a-cogs": "stac-check",
    "landsat-c2l2-sr": "landsat",
    "met-office-uk-deterministic-near-surface": "met-office-deterministic",
    "charter-hazards": "monty-stac-extension",
    "goes-cmi": "goes",
    "pgstac-test-collection": "pgstac",
    "usda-cdl": "usda-cdl",
}
"""Collection -> the source of the corpus that holds it."""


def corpus_of(corpus_dir: Path, source: str, collection: str) -> list[dict[str, Any]]:
    lines = (corpus_dir / source / "items.ndjson").read_bytes().splitlines()
    items = [orjson.loads(line) for line in lines]
    return [item for item in items if item.get("collection") == collection]


def collection_document(collection: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection,
        "description": collection,
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


@pytest.fixture(scope="module")
def api(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgStac]:
    folder = tmp_path_factory.mktemp("ndjson")
    with pgstac_api() as api:
        api.load("collections", [collection_document(collection) for collection in COLLECTIONS], folder)
        for collection, source in COLLECTIONS.items():
            api.load("items", corpus_of(corpus_dir, source, collection), folder)
        yield api


@pytest.fixture(scope="module")
def workflow(api: PgStac, schema_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    folder = tmp_path_factory.mktemp("catalog")
    path = folder / "real.yaml"
    document = {
        "workflow": {"name": "real"},
        "source": {"type": "stac_api", "catalog_url": api.url, "collections": list(COLLECTIONS)},
        "validation": {"schema_dirs": [str(schema_dir)], "offline": True},
        "output": {"path": str(folder / "data")},
        "partitions": {"by": "year", "start": "1980-01-01", "per_run": 100},
        "processing": {"page_size": 20},
    }
    path.write_bytes(orjson.dumps(document))
    return load_workflow(path)


@pytest.fixture(scope="module")
def published(workflow: Workflow) -> Storage:
    """The storage after Dagster has run every partition of every collection, as range runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definitions = build_defs([workflow])
    keys = workflow.scheme().keys(utc_now())
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        for collection in workflow.collections:
            job = definitions.resolve_job_def(rebuild_job_name(workflow, collection))
            assert job.execute_in_process(tags=tags, instance=instance, run_config=quiet).success
    return Storage(workflow.output.path)


def served_items(api: PgStac, collection: str) -> dict[str, dict[str, Any]]:
    search = Client.open(api.url).search(collections=[collection], datetime="1980-01-01/2026-12-31", limit=100)
    return {item["id"]: item for item in search.items_as_dicts()}


def read_back(storage: Storage, collection: str) -> dict[str, dict[str, Any]]:
    keys = [key for key in storage.list(f"published/{collection}/items") if key.endswith(".parquet")]
    found = {}
    for key in keys:
        with storage.local_copy(key) as path:
            found |= {item["id"]: item for item in read_geoparquet(path)}
    return found


def quarantined(storage: Storage, workflow: Workflow, collection: str) -> dict[str, str]:
    records = {}
    for partition in workflow.scheme().keys(utc_now()):
        for stage in ("raw_items", "validated", "published"):
            manifest = StagePartition(collection=collection, stage=stage, partition=partition).read(storage)
            records |= {record["item_id"]: record["error_message"] for record in read_rejected(storage, manifest)}
    return records


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_served_item_is_published_or_quarantined_with_a_reason(
    api: PgStac, workflow: Workflow, published: Storage, collection: str
) -> None:
    served, found = served_items(api, collection), read_back(published, collection)
    refused = quarantined(published, workflow, collection)
    assert served
    assert set(found) | set(refused) == set(served)
    assert not set(found) & set(refused)
    assert all(refused.values())


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_published_item_is_the_served_one_but_for_what_parquet_changes(
    api: PgStac, published: Storage, collection: str
) -> None:
    served, found = served_items(api, collection), read_back(published, collection)
    assert {item_id: same_after_parquet(served[item_id], found[item_id]) for item_id in found} == dict.fromkeys(found)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_partition_balances(workflow: Workflow, published: Storage, collection: str) -> None:
    for partition in workflow.scheme().keys(utc_now()):
        counts = partition_counts(published, collection, partition)
        assert counts is not None
        assert counts.balances, f"{partition}: {counts}"


def test_the_corpus_brings_old_and_new_versions_and_invalid_items(
    api: PgStac, workflow: Workflow, published: Storage
) -> None:
    served = [item for collection in COLLECTIONS for item in served_items(api, collection).values()]
    assert {"1.0.0-beta.2", "1.0.0", "1.1.0"} <= {item["stac_version"] for item in served}
    assert sum(len(quarantined(published, workflow, collection)) for collection in COLLECTIONS) >= 15
