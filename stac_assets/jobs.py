"""One job a collection, which rebuilds it: a partition, a range, or all of it as a backfill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from stac_assets.names import asset_key, rebuild_job_name
from stac_manager.config import Workflow
from stac_manager.pipeline import STAGES

if TYPE_CHECKING:
    # what `define_asset_job` returns has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["build_rebuild_job"]


def build_rebuild_job(workflow: Workflow, collection: str) -> UnresolvedAssetJobDefinition:
    """The job of a collection."""
    return dg.define_asset_job(
        rebuild_job_name(workflow, collection),
        selection=dg.AssetSelection.assets(*(asset_key(workflow, collection, stage) for stage in STAGES)),
        description=f"Fetch, validate and publish {collection} anew; for many partitions, launch a backfill.",
    )
