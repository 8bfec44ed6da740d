"""One sensor a collection: it asks the source what is new in the latest windows, and requests exactly those."""

import asyncio
import json
import time
from collections.abc import Iterator

import dagster as dg

from resources import SchemaStoreResource, SourceResource, StorageResource, open_chain
from stac_assets.names import rebuild_job_name, sync_sensor_name
from stac_manager.config import Workflow
from stac_manager.http import public_url
from stac_manager.pipeline import Chain
from stac_manager.times import utc_now

__all__ = ["build_sync_sensor"]

_BUDGET = 40.0
"""Seconds; a tick that takes a minute loses its result and its cursor."""

_AGAIN_AFTER = 3600.0
"""Seconds until a window whose run did not bring it up to date is asked for again."""

Cursor = dict[str, tuple[str, float]]
"""Partition -> fingerprint that a run was requested for, and when (seconds since 1970)."""


def build_sync_sensor(workflow: Workflow, collection: str) -> dg.SensorDefinition:
    """The sensor of a collection. It runs from the start where the workflow has a `sync` section."""
    declared = "sync" in workflow.model_fields_set
    status = dg.DefaultSensorStatus.RUNNING if declared else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=sync_sensor_name(workflow, collection),
        job_name=rebuild_job_name(workflow, collection),
        minimum_interval_seconds=workflow.sync.every_minutes * 60,
        default_status=status,
        description=f"Asks {public_url(workflow.source.address)} what is new in the latest windows of {collection}.",
    )
    def sync(
        context: dg.SensorEvaluationContext,
        storage: StorageResource,
        schemas: SchemaStoreResource,
        source: SourceResource,
    ) -> dg.SensorResult | dg.SkipReason:
        chain = open_chain(workflow, collection, storage, schemas, source)
        cursor: Cursor = json.loads(context.cursor) if context.cursor else {}
        requests = list(_requests(chain, cursor))
        if not requests:
            return dg.SkipReason(f"nothing new in the latest {workflow.sync.latest_windows} windows")
        kept = dict(sorted(cursor.items())[-10 * workflow.sync.latest_windows :])
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(kept))

    return sync


def _requests(chain: Chain, cursor: Cursor) -> Iterator[dg.RunRequest]:
    started = time.monotonic()
    keys = chain.scheme.keys(utc_now())[-chain.workflow.sync.latest_windows :]
    for partition in reversed(keys):
        if time.monotonic() - started > _BUDGET:
            return
        left = max(1.0, _BUDGET - (time.monotonic() - started))
        fingerprint = asyncio.run(asyncio.wait_for(chain.probe(partition), left)).fingerprint
        if chain.is_current(partition, fingerprint):
            continue
        now = utc_now().timestamp()
        before, when = cursor.get(partition, ("", 0.0))
        if before == fingerprint and now - when < _AGAIN_AFTER:
            continue
        cursor[partition] = (fingerprint, now)
        yield dg.RunRequest(
            run_key=f"{chain.collection}:{partition}:{fingerprint}:{int(now // _AGAIN_AFTER)}",
            partition_key=partition,
        )
