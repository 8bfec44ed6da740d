"""The asset for the root of a workflow's published catalog, above all of its collections."""

import dagster as dg

from resources import StorageResource
from stac_assets.names import asset_key, catalog_key, workflow_group
from stac_manager.config import Workflow, dagster_name
from stac_manager.pipeline import CATALOG_KEY, collection_totals, publish_catalog

__all__ = ["build_catalog_asset", "build_catalog_sensor"]


def build_catalog_asset(workflow: Workflow) -> dg.AssetsDefinition:
    """The asset `[workflow, "catalog"]`. It runs after its collections have been published, when no run is active."""
    condition = (
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )

    @dg.asset(
        key=catalog_key(workflow),
        deps=[asset_key(workflow, collection, "published") for collection in workflow.collections],
        automation_condition=condition,
        code_version="1",
        description=workflow.workflow.description or f"The published catalog of {workflow.workflow.name}.",
        group_name=workflow_group(workflow),
        kinds={"stac", "json"},
        owners=list(workflow.workflow.owners),
    )
    def catalog(context: dg.AssetExecutionContext, storage: StorageResource) -> dg.MaterializeResult[None]:
        root = storage.of(workflow)
        publish_catalog(root, workflow)
        totals = collection_totals(root, workflow)
        records = [dg.TableRecord(total) for total in totals]
        return dg.MaterializeResult(
            metadata={
                "collections": len(totals),
                "items": sum(int(total["items"]) for total in totals),
                "contents": dg.MetadataValue.table(records) if records else "nothing is published yet",
                "catalog": dg.MetadataValue.path(root.locate(CATALOG_KEY)),
            }
        )

    return catalog


def build_catalog_sensor(workflow: Workflow) -> dg.AutomationConditionSensorDefinition:
    """The sensor that runs the catalog's automation; it is on by default, because it only writes one small file."""
    return dg.AutomationConditionSensorDefinition(
        f"catalog_{dagster_name(workflow.workflow.name)}",
        target=dg.AssetSelection.assets(catalog_key(workflow)),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
