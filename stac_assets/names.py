"""The names of assets, groups, pools, jobs, sensors and tags in Dagster. Only names belong here."""

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
"""The run tag for the mode, which is how much a run does again; without it, everything."""

ALLOW_DELETES = ALLOW_DELETES_TAG
"""The run tag with which a person approves deletions; its value is `true`."""


def asset_key(workflow: Workflow, collection: str, stage: Stage) -> dg.AssetKey:
    """The key of a stage of a collection; characters that Dagster does not allow in keys become `_`."""
    return dg.AssetKey([workflow.workflow.name, re.sub(r"[^A-Za-z0-9_.-]", "_", collection), stage])


def catalog_key(workflow: Workflow) -> dg.AssetKey:
    """The key of a workflow's catalog."""
    return dg.AssetKey([workflow.workflow.name, "catalog"])


def collection_group(workflow: Workflow, collection: str) -> str:
    """The group of a collection's assets, so that each chain is a group in the lineage of a workflow."""
    return dagster_name(f"{workflow.workflow.name}_{collection}")


def workflow_group(workflow: Workflow) -> str:
    """The group of the catalog asset of a workflow."""
    return dagster_name(workflow.workflow.name)


def pool_name(host: str) -> str:
    """The pool that bounds how many runs use one host at once."""
    return f"api_{dagster_name(host)}"


def targeted_job_name(workflow: Workflow, collection: str) -> str:
    """The job that fetches single items or partitions of a collection."""
    return f"targeted_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def replay_job_name(workflow: Workflow, collection: str) -> str:
    """The job that replays a collection's quarantine."""
    return f"replay_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def rebuild_job_name(workflow: Workflow, collection: str) -> str:
    """The job that rebuilds a collection."""
    return f"rebuild_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"


def sync_sensor_name(workflow: Workflow, collection: str) -> str:
    """The sensor that keeps a collection up to date with its source."""
    return f"sync_{dagster_name(workflow.workflow.name)}_{dagster_name(collection)}"
