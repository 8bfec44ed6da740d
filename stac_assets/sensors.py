"""One sensor a collection: it runs the sync check, and requests runs of the stale partitions only."""

import hashlib
import json
from collections.abc import Iterator
from urllib.parse import quote

import dagster as dg

# Dagster gives no public name to the states of a backfill
from dagster._core.execution.backfill import BulkActionStatus

from resources import SchemaStoreResource, SourceResource, StorageResource, open_chain
from stac_assets.names import MODE, asset_key, rebuild_job_name, sync_sensor_name
from stac_manager.config import Workflow
from stac_manager.http import public_url
from stac_manager.pipeline import STAGES, Chain, read_manifest, rescan_mark
from stac_manager.pipeline.sync import StalePartition, SyncPlanner
from stac_manager.times import utc_now

__all__ = ["build_sync_sensor"]

_TICK_SECONDS = 40.0
"""Seconds for a sync check; Dagster discards the result and the cursor of a tick that takes a minute."""

_RETRY_AFTER_SECONDS = 900.0
"""Seconds until a partition that its run did not bring up to date is requested again."""

_MAX_RUN_REQUESTS = 25
"""Runs that one tick requests; the next tick requests more."""

Cursor = dict[str, tuple[str, float]]
"""Partition -> the state for which a run was requested, and when (seconds since 1970). If it is lost, failed runs are
only requested again sooner."""

_RUNNING_STATUSES = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def build_sync_sensor(workflow: Workflow, collection: str) -> dg.SensorDefinition:
    """The sensor of a collection. It is on by default if the workflow has a `sync` section."""
    declared = "sync" in workflow.model_fields_set
    status = dg.DefaultSensorStatus.RUNNING if declared else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=sync_sensor_name(workflow, collection),
        job_name=rebuild_job_name(workflow, collection),
        minimum_interval_seconds=max(1, round(workflow.sync.every_minutes * 60)),
        default_status=status,
        description=f"Requests runs for the partitions of {collection} that differ from "
        f"{public_url(workflow.source.address)}.",
    )
    def sync(
        context: dg.SensorEvaluationContext,
        storage: StorageResource,
        schemas: SchemaStoreResource,
        source: SourceResource,
    ) -> dg.SensorResult:
        chain = open_chain(workflow, collection, storage, schemas, source)
        cursor = _read(context.cursor)
        running = _running(context.instance, workflow, collection)
        planner = SyncPlanner(chain, running=running, seconds=_TICK_SECONDS)
        with planner.looked_at():
            stale_partitions = planner.plan()
            _forget(cursor, running.union(stale.partition for stale in stale_partitions))
            requests = list(_requests(chain, stale_partitions, cursor))
            after = json.dumps(cursor)
            coverage = planner.coverage()
        if requests:
            context.log.info(str(coverage))
            return dg.SensorResult(run_requests=requests, cursor=after)
        reason = f"no stale partition was found with {planner.requests} requests; {coverage}"
        if stale_partitions:
            names = ", ".join(stale.partition for stale in stale_partitions[:5])
            reason = (
                f"{len(stale_partitions)} are still stale after their last runs; new runs are requested after 15 "
                f"minutes: {names}"
            )
        return dg.SensorResult(skip_reason=reason, cursor=after)

    return sync


def _read(text: str | None) -> Cursor:
    """The cursor; empty if it is damaged or of another version."""
    try:
        found = json.loads(text or "{}")
        return {str(key): (str(state), float(when)) for key, (state, when) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _forget(cursor: Cursor, stale: set[str]) -> None:
    """Forget requests that succeeded, and those that are old enough to be repeated."""
    now = utc_now().timestamp()
    for partition, (_, when) in list(cursor.items()):
        if partition not in stale or abs(now - when) >= _RETRY_AFTER_SECONDS:
            del cursor[partition]


def _requests(chain: Chain, stale_partitions: list[StalePartition], cursor: Cursor) -> Iterator[dg.RunRequest]:
    now = utc_now().timestamp()
    requested = 0
    for stale in stale_partitions:
        state = _state(chain, stale)
        if cursor.get(stale.partition, ("",))[0] == state:
            continue
        if requested == _MAX_RUN_REQUESTS:
            return
        requested += 1
        cursor[stale.partition] = (state, now)
        yield dg.RunRequest(
            # the time makes each key new: Dagster skips a known run key, but the same change may come again
            run_key=f"{chain.collection}:{stale.partition}:{state}:{int(now)}",
            partition_key=stale.partition,
            tags={MODE: stale.mode, "stac_manager/reason": _tag(stale.reason)},
        )


def _state(chain: Chain, stale: StalePartition) -> str:
    """The present content of a partition, and the reason of its run; a failed run changes neither."""
    mark = chain.storage.get(rescan_mark(chain.collection, stale.partition))
    manifests = [read_manifest(chain.storage, chain.stage_partition(stage, stale.partition)) for stage in STAGES]
    here = [(one.code_version, one.content_hash, one.details.get("probe")) if one else None for one in manifests]
    return hashlib.sha256(json.dumps([stale.mode, mark and mark.hex(), here]).encode()).hexdigest()[:16]


def _tag(text: str) -> str:
    return quote(text.replace(" ", "_").replace(",", ""), safe="_-.")[:63]


def _running(instance: dg.DagsterInstance, workflow: Workflow, collection: str) -> set[str]:
    """The partitions that a run or a backfill is about to write."""
    job = rebuild_job_name(workflow, collection)
    key = asset_key(workflow, collection, "raw_items")
    running: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_RUNNING_STATUSES)):
        if run.job_name == job or key in (run.asset_selection or ()):
            running |= _partitions_of(run, workflow)
    for backfill in instance.get_backfills(status=BulkActionStatus.REQUESTED):
        origin = backfill.partition_set_origin
        if key in (backfill.asset_selection or ()) or (origin and origin.partition_set_name.startswith(f"{job}_")):
            running |= set(backfill.partition_names or ())
    return running


def _partitions_of(run: dg.DagsterRun, workflow: Workflow) -> set[str]:
    tags = run.tags
    if "dagster/partition" in tags:
        return {tags["dagster/partition"]}
    first, last = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    if first is None or last is None:
        return set()
    return {name for name in workflow.scheme().keys(utc_now()) if first <= name <= last}
