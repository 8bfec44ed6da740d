"""One sensor a collection: it looks at the source for what is behind, and requests runs of exactly that."""

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
"""Seconds; a tick that takes a minute loses its result and its cursor."""

_RETRY_AFTER_SECONDS = 900.0
"""Seconds until a partition whose run did not bring it up to date is asked for again."""

_MAX_RUN_REQUESTS = 25
"""Runs that one tick asks for; the next one asks for more."""

Cursor = dict[str, tuple[str, float]]
"""Partition -> from which state a run was requested, and when (seconds since 1970). It may be lost: then a partition
whose run failed is only tried again sooner."""

_RUNNING_STATUSES = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def build_sync_sensor(workflow: Workflow, collection: str) -> dg.SensorDefinition:
    """The sensor of a collection. It runs from the start where the workflow has a `sync` section."""
    declared = "sync" in workflow.model_fields_set
    status = dg.DefaultSensorStatus.RUNNING if declared else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=sync_sensor_name(workflow, collection),
        job_name=rebuild_job_name(workflow, collection),
        minimum_interval_seconds=max(1, round(workflow.sync.every_minutes * 60)),
        default_status=status,
        description=f"Finds what of {collection} is behind {public_url(workflow.source.address)}.",
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
        stale_partitions = planner.plan()
        _forget(cursor, running.union(stale.partition for stale in stale_partitions))
        requests = list(_requests(chain, stale_partitions, cursor))
        after = json.dumps(cursor)
        coverage = planner.coverage()
        if requests:
            context.log.info(str(coverage))
            return dg.SensorResult(run_requests=requests, cursor=after)
        reason = f"nothing is behind, as far as {planner.requests} requests tell; {coverage}"
        if stale_partitions:
            names = ", ".join(stale.partition for stale in stale_partitions[:5])
            reason = (
                f"{len(stale_partitions)} behind since their last runs, which are tried again after 15 minutes: {names}"
            )
        return dg.SensorResult(skip_reason=reason, cursor=after)

    return sync


def _read(text: str | None) -> Cursor:
    """The cursor; a damaged one, or one of another version, is as good as none."""
    try:
        found = json.loads(text or "{}")
        return {str(key): (str(state), float(when)) for key, (state, when) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _forget(cursor: Cursor, behind: set[str]) -> None:
    """Forget requests that were met, and those that are old enough to be made again."""
    now = utc_now().timestamp()
    for partition, (_, when) in list(cursor.items()):
        if partition not in behind or abs(now - when) >= _RETRY_AFTER_SECONDS:
            del cursor[partition]


def _requests(chain: Chain, stale_partitions: list[StalePartition], cursor: Cursor) -> Iterator[dg.RunRequest]:
    now = utc_now().timestamp()
    asked = 0
    for stale in stale_partitions:
        state = _state(chain, stale)
        if cursor.get(stale.partition, ("",))[0] == state:
            continue
        if asked == _MAX_RUN_REQUESTS:
            return
        asked += 1
        cursor[stale.partition] = (state, now)
        yield dg.RunRequest(
            # a key that came before would be passed over, and the same change may come again
            run_key=f"{chain.collection}:{stale.partition}:{state}:{int(now)}",
            partition_key=stale.partition,
            tags={MODE: stale.mode, "stac_manager/reason": _tag(stale.reason)},
        )


def _state(chain: Chain, stale: StalePartition) -> str:
    """What is here of a partition, and what is to be done about it: a run that failed leaves both as they were."""
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
