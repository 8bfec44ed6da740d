"""What things are called in Dagster. Only names belong here."""

from __future__ import annotations

import re

import dagster as dg

from stac_manager.config import Workflow
from stac_manager.pipeline import ALLOW_DELETES_TAG, Stage

__all__ = [
    "ALLOW_DELETES",
    "MODE",
    "asset_key",
    "catalog_key",
    "group_name",
    "pool_name",
    "rebuild_job_name",
    "replay_job_name",
    "sync_sensor_name",
    "targeted_job_name",
    "word",
]

MODE = "stac_manager/mode"
"""The run tag that says how much a run does over again; without it, everything."""

ALLOW_DELETES = ALLOW_DELETES_TAG
"""The run tag, `true`, by which a person confirms deletions."""


def word(text: str) -> str:
    """The text with every character that is not of a word as `_`."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def asset_key(workflow: Workflow, collection: str, stage: Stage) -> dg.AssetKey:
    """The key of a stage of a collection; characters that Dagster refuses in keys are `_`."""
    return dg.AssetKey([workflow.workflow.name, re.sub(r"[^A-Za-z0-9_.-]", "_", collection), stage])


def catalog_key(workflow: Workflow) -> dg.AssetKey:
    """The key of a workflow's catalog."""
    return dg.AssetKey([workflow.workflow.name, "catalog"])


def group_name(workflow: Workflow) -> str:
    """The group that a workflow's assets are shown in."""
    return word(workflow.workflow.name)


def pool_name(host: str) -> str:
    """The pool that bounds how many runs ask one host at once."""
    return f"api_{word(host)}"


def targeted_job_name(workflow: Workflow, collection: str) -> str:
    """The job that takes over single items or partitions of a collection."""
    return f"targeted_{word(workflow.workflow.name)}_{word(collection)}"


def replay_job_name(workflow: Workflow, collection: str) -> str:
    """The job that tries a collection's quarantine again."""
    return f"replay_{word(workflow.workflow.name)}_{word(collection)}"


def rebuild_job_name(workflow: Workflow, collection: str) -> str:
    """The job that rebuilds a collection."""
    return f"rebuild_{word(workflow.workflow.name)}_{word(collection)}"


def sync_sensor_name(workflow: Workflow, collection: str) -> str:
    """The sensor that keeps a collection in step with its source."""
    return f"sync_{word(workflow.workflow.name)}_{word(collection)}"
