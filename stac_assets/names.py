"""What things are called in Dagster. Only names belong here."""

from __future__ import annotations

import re

import dagster as dg

from stac_manager.config import Workflow, dagster_name
from stac_manager.pipeline import ALLOW_DELETES_TAG, Stage

__all__ = [
    "ALLOW_DELETES",
    "MODE",
    "asset_key",
    "catalog_key",
    "collection_group",
    "pool_name",
    "rebuild_job_name",
    "replay_job_name",
    "sync_sensor_name",
    "targeted_job_name",
    "workflow_group",
]

MODE = "stac_manager/mode"
"""The run tag that says how much a run does over again; without it, everything."""

ALLOW_DELETES = ALLOW_DELETES_TAG
"""The run tag, `true`, by which a person confirms deletions."""


def asset_key(workflow: Workflow, collection: str, stage: Stage) -> dg.AssetKey:
    """The key of a stage of a collection; characters that Dagster refuses in keys are `_`."""
    return dg.AssetKey([workflow.workflow.name, re.sub(r"[^A-Za-z0-9_.-]", "_", collection), stage])


def catalog_key(workflow: Workflow) -> dg.AssetKey:
    """The key of a workflow's catalog."""
    return dg.AssetKey([workflow.workflow.name, "catalog"])


def collection_group(workflow: Workflow, collection: str) -> str:
    """The group of a collection's assets, so that the lineage of a workflow tells its chains apart."""
    return dagster_name(f"{workflow.workflow.name}_{collection}")


def workflow_group(workflow: Workflow) -> str:
    """The group of the asset over all collections of a workflow."""
    return dagster_name(workflow.workflow.name)


def pool_name(host: str) -> str:
    """The pool that bounds how many runs ask one host at once."""
    return f"api_{dagster_name(host)}"


def targeted_job_name(workflow: Workflow, collection: str) -> str:
    """The job that takes over single items or partitions of a collection."""
    return f"targeted_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def replay_job_name(workflow: Workflow, collection: str) -> str:
    """The job that tries a collection's quarantine again."""
    return f"replay_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def rebuild_job_name(workflow: Workflow, collection: str) -> str:
    """The job that rebuilds a collection."""
    return f"rebuild_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def sync_sensor_name(workflow: Workflow, collection: str) -> str:
    """The sensor that keeps a collection in step with its source."""
    return f"sync_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"
