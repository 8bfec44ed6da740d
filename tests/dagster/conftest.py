"""A small catalog for Dagster's side."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from demo.server import create_app, serve
from stac_assets.definitions import build_defs
from stac_assets.names import asset_key, rebuild_job_name
from stac_manager.config import Workflow
from stac_manager.pipeline import Stage
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Site:
    """A source, its workflow, its definitions, and an instance to run on."""

    items: list[dict[str, Any]]
    workflow: Workflow
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    folder: Path

    def run(self, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def(rebuild_job_name(self.workflow, "c"))
        if last is None:
            return job.execute_in_process(
                partition_key=first, instance=self.instance, run_config=QUIET, raise_on_error=False
            )
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return job.execute_in_process(tags=tags, instance=self.instance, run_config=QUIET, raise_on_error=False)

    def key(self, stage: Stage) -> dg.AssetKey:
        return asset_key(self.workflow, "c", stage)

    def materializations(self, stage: Stage) -> dict[str | None, dg.AssetMaterialization]:
        records = self.instance.fetch_materializations(self.key(stage), limit=100).records
        found = [record.asset_materialization for record in reversed(records)]
        return {one.partition: one for one in found if one}

    def checks(self, stage: Stage, name: str) -> dict[str | None, dg.AssetCheckEvaluation]:
        """The latest evaluation of a check for each partition."""
        key = dg.AssetCheckKey(self.key(stage), name)
        found: dict[str | None, dg.AssetCheckEvaluation] = {}
        for record in reversed(self.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)):
            event = record.event.dagster_event if record.event else None
            if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                found[evaluation.partition] = evaluation
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    items = [
        make_item("a", "2024-01-05T10:00:00Z"),
        make_item("b", "2024-02-05T10:00:00Z"),
        {**make_item("bad", "2024-02-07T00:00:00Z"), "assets": None},
        make_item("d", "2024-03-05T10:00:00Z"),
    ]
    with serve(create_app([make_collection()], items)) as url, dg.DagsterInstance.ephemeral() as instance:
        workflow = make_workflow(tmp_path, url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            definitions = build_defs([workflow])
        yield Site(items, workflow, definitions, instance, tmp_path)
