"""The code location of Dagster: the definitions of every workflow below `STAC_WORKFLOWS` (by default `workflows/`)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence

import dagster as dg

from resources import RESOURCES
from stac_assets.catalog import build_catalog_asset, build_catalog_sensor
from stac_assets.chain import build_chain
from stac_assets.jobs import build_rebuild_job, build_replay_job, build_targeted_job
from stac_assets.sensors import build_sync_sensor
from stac_manager.config import Workflow, load_workflows

__all__ = ["build_defs", "defs"]


def build_defs(workflows: Sequence[Workflow], resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """The definitions of these workflows; tests replace resources by name."""
    assets: list[dg.AssetsDefinition] = []
    sensors: list[dg.SensorDefinition] = []
    for workflow in workflows:
        for collection in workflow.collections:
            assets += build_chain(workflow, collection)
            sensors.append(build_sync_sensor(workflow, collection))
        assets.append(build_catalog_asset(workflow))
        sensors.append(build_catalog_sensor(workflow))
    return dg.Definitions(
        assets=assets,
        jobs=[
            build(workflow, collection)
            for build in (build_rebuild_job, build_targeted_job, build_replay_job)
            for workflow in workflows
            for collection in workflow.collections
        ],
        sensors=sensors,
        resources={**RESOURCES, **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location. It reads files, but never uses the network."""
    with warnings.catch_warnings():
        # partitioned checks are a preview feature of Dagster; the docs say so, so there is no warning at every start
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return build_defs(load_workflows(os.environ.get("STAC_WORKFLOWS", "workflows")))
